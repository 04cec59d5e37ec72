//! Network namespaces of our own: made, wired and removed; those that a killed run
//! left behind are swept by the next one.

use crate::proc::{Cmd, poll};
use anyhow::{Context, Result, bail};
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// What the names of all our namespaces (and folders and cgroups) begin with.
pub const PREFIX: &str = "sentby-e2e-";

const NAMED: &str = "/run/netns";

/// A named network namespace; removed when dropped.
pub struct Netns {
    name: String,
    inode: u32,
}

impl Netns {
    /// Makes one called `name`, with its loopback up, and without the packets that a
    /// kernel sends by itself when IPv6 comes up on a link.
    pub fn new(name: String) -> Result<Self> {
        must(Command::new("ip").args(["netns", "add", &name]))?;
        // From here on Drop removes it.
        let mut ns = Netns { name, inode: 0 };
        ns.inode = u32::try_from(std::fs::metadata(ns.path())?.ino())?;
        ns.sh("for k in default all; do cd /proc/sys/net/ipv6/conf/$k || continue
               echo 0 > accept_dad; echo 0 > router_solicitations; echo 0 > accept_ra
               echo 1 > addr_gen_mode; done 2>/dev/null; ip link set lo up")?;
        Ok(ns)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its inode, by which events name it.
    pub fn inode(&self) -> u32 {
        self.inode
    }

    /// The file that stands for it.
    pub fn path(&self) -> PathBuf {
        Path::new(NAMED).join(&self.name)
    }

    /// An open descriptor of it.
    pub fn fd(&self) -> Result<OwnedFd> {
        Ok(File::open(self.path()).with_context(|| format!("open netns {}", self.name))?.into())
    }

    fn command(&self, program: &str) -> Result<Command> {
        let fd = self.fd()?;
        let mut command = Command::new(program);
        // SAFETY: between fork and exec the closure makes one system call and
        // allocates nothing.
        unsafe { command.pre_exec(move || enter(&fd)) };
        Ok(command)
    }

    /// Runs a shell script inside (`-e`: the first failure ends it).
    pub fn sh(&self, script: &str) -> Result<String> {
        must(self.command("/bin/sh")?.args(["-ec", script]))
    }

    /// As [`Netns::sh`], with a /sys that shows this namespace's interfaces.
    pub fn sh_with_sysfs(&self, script: &str) -> Result<String> {
        must(Command::new("ip").args(["netns", "exec", &self.name, "/bin/sh", "-ec", script]))
    }

    /// Runs `ip` commands, one per line.
    pub fn ip(&self, batch: &str) -> Result<()> {
        let mut child = self
            .command("ip")?
            .args(["-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("start ip")?;
        child.stdin.take().context("no stdin")?.write_all(batch.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("ip in {}: {}", self.name, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// As [`Netns::ip`] with one command whose device type this kernel may not have.
    pub fn ip_if_supported(&self, command: &str) -> Result<()> {
        match self.ip(command) {
            Err(e)
                if ["Unknown device type", "not supported", "No such device"]
                    .iter()
                    .any(|m| e.to_string().contains(m)) =>
            {
                Err(crate::ctx::skip(format!("this kernel cannot do `ip {command}`")))
            }
            other => other,
        }
    }

    /// Counts what arrives: echo requests and echo replies of both families.
    pub fn count_arrivals(&self) -> Result<()> {
        self.sh(r#"nft -f - <<'END'
table inet e2e {
  counter request {}
  counter reply {}
  chain in {
    type filter hook prerouting priority -310;
    icmp type echo-request counter name request
    icmpv6 type echo-request counter name request
    icmp type echo-reply counter name reply
    icmpv6 type echo-reply counter name reply
  }
}
END"#)?;
        Ok(())
    }

    /// Packets that a counter of [`Netns::count_arrivals`] has seen.
    pub fn counted(&self, counter: &str) -> Result<u64> {
        let text = self.sh(&format!("nft -j list counter inet e2e {counter}"))?;
        let json: serde_json::Value = serde_json::from_str(&text).context("nft's JSON")?;
        json["nftables"]
            .as_array()
            .into_iter()
            .flatten()
            .find_map(|o| o["counter"]["packets"].as_u64())
            .with_context(|| format!("no counter in {text}"))
    }

    /// Runs `cmd` to its end inside.
    pub fn run(&self, cmd: Cmd, limit: Duration) -> Result<crate::proc::Done> {
        cmd.in_ns(self)?.run(limit)
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

/// Moves the calling thread into a network namespace. Safe between fork and exec.
pub fn enter(ns: &OwnedFd) -> std::io::Result<()> {
    // SAFETY: setns takes no pointers, and the descriptor is open.
    match unsafe { libc::setns(ns.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Runs a command of the harness itself and wants success.
pub fn must(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("start {:?}", command.get_program()))?;
    if !status.success() {
        let errors = String::from_utf8_lossy(&stderr);
        bail!("{:?} {status}: {}", command.get_program(), errors.trim());
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn remove(name: &str) {
    let _ = Command::new("ip")
        .args(["netns", "del", name])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
}

/// The start time of a process in clock ticks, which with its pid names it for good.
pub fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command name may hold spaces and parentheses: fields follow its last ')'.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The name under which this run keeps its things.
pub fn run_tag() -> String {
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}", start_ticks(pid).unwrap_or(0))
}

/// Whether `name` belongs to a run that is no more.
fn is_orphan(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.split('-');
    let (Some(pid), Some(start)) = (
        parts.next().and_then(|p| p.parse::<u32>().ok()),
        parts.next().and_then(|s| s.parse::<u64>().ok()),
    ) else {
        return false;
    };
    start_ticks(pid) != Some(start)
}

/// Removes what earlier runs left because they were killed.
pub fn sweep() {
    for name in names_in(NAMED).filter(|n| is_orphan(n)) {
        remove(&name);
    }
    let temp = std::env::temp_dir();
    for name in names_in(&temp).filter(|n| is_orphan(n)) {
        let _ = std::fs::remove_dir_all(temp.join(name));
    }
    for root in crate::cgroup::roots() {
        for name in names_in(&root).filter(|n| is_orphan(n)) {
            crate::cgroup::remove_tree(&root.join(name));
        }
    }
}

/// Removes what this run still has (the watchdog's last deed).
pub fn remove_own() {
    let tag = run_tag();
    for name in names_in(NAMED).filter(|n| n.starts_with(&tag)) {
        remove(&name);
    }
    let _ = std::fs::remove_dir_all(std::env::temp_dir().join(tag));
}

fn names_in(dir: impl AsRef<Path>) -> impl Iterator<Item = String> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
}

/// Waits until an interface of `ns` is up and ready to send.
pub fn await_link(ns: &Netns, name: &str, limit: Duration) -> Result<()> {
    let up = poll(limit, || {
        let text = ns.sh(&format!("ip -o link show dev {name}"))?;
        Ok((text.contains("state UP") || text.contains("state UNKNOWN")).then_some(()))
    })?;
    up.with_context(|| format!("{name} did not come up"))
}
