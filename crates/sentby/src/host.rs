//! Facts about this machine, read once. Nothing is decided here.

use caps::{CapSet, Capability};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Inode of the initial pid namespace (`PROC_PID_INIT_INO`, include/linux/proc_ns.h).
const PID_INIT_INO: u64 = 0xEFFF_FFFC;

/// Where distributions mount cgroup2; hybrid set-ups use `unified`.
const CGROUP2_PLACES: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// The cgroup2 hierarchy, as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroup2 {
    /// Its root is mounted here.
    Root(PathBuf),
    /// A part of it is mounted here (a container's view): most senders are elsewhere.
    Part(PathBuf),
    /// Not mounted.
    Absent,
}

/// What the kernel and our place in it allow.
#[derive(Clone, Debug)]
pub struct Host {
    /// `uname -r`.
    pub release: String,
    /// Effective capabilities of this process.
    pub capabilities: HashSet<Capability>,
    /// Effective user id.
    pub euid: u32,
    /// The kernel carries its own BTF.
    pub btf: bool,
    /// Lockdown mode in force (`none`, `integrity`, `confidentiality`); `None` where
    /// this kernel has no lockdown.
    pub lockdown: Option<String>,
    /// The cgroup2 hierarchy.
    pub cgroup2: Cgroup2,
    /// The kernel owns kprobes by file descriptor (perf PMU `kprobe`, 4.17 and later).
    pub kprobe_pmu: bool,
    /// Where tracefs is mounted.
    pub tracefs: Option<PathBuf>,
    /// Kprobes can be defined there.
    pub kprobe_events: bool,
    /// Inode of our pid namespace; `None` when it is the initial one.
    pub pidns: Option<u32>,
    /// SystemTap.
    pub systemtap: Tools,
}

/// What there is of SystemTap.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// The program that makes modules.
    pub stap: Option<PathBuf>,
    /// The program that loads them.
    pub staprun: Option<PathBuf>,
    /// The running kernel's headers are installed.
    pub headers: bool,
    /// A module that was made elsewhere: `--module`, else [`MODULE_VARIABLE`].
    pub module: Option<PathBuf>,
}

/// The environment's name for a module that was made elsewhere.
const MODULE_VARIABLE: &str = "SENTBY_STAP_MODULE";

impl Host {
    /// Reads the facts. What cannot be read counts as not there.
    pub fn read() -> Host {
        let release = read_line("/proc/sys/kernel/osrelease").unwrap_or_default();
        let tracefs = tracefs();
        Host {
            systemtap: Tools::read(&release),
            release,
            capabilities: caps::read(None, CapSet::Effective).unwrap_or_default(),
            euid: rustix::process::geteuid().as_raw(),
            btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            lockdown: lockdown(),
            cgroup2: cgroup2(&CGROUP2_PLACES.map(Path::new)),
            kprobe_pmu: Path::new("/sys/bus/event_source/devices/kprobe/type").exists(),
            kprobe_events: tracefs.as_ref().is_some_and(|p| p.join("kprobe_events").exists()),
            tracefs,
            pidns: pidns(),
        }
    }

    /// Whether this process has a capability, or `CAP_SYS_ADMIN`, which stood for
    /// `CAP_BPF` and `CAP_PERFMON` before Linux 5.8 and includes them since.
    pub fn can(&self, capability: Capability) -> bool {
        self.capabilities.contains(&capability)
            || (matches!(capability, Capability::CAP_BPF | Capability::CAP_PERFMON)
                && self.capabilities.contains(&Capability::CAP_SYS_ADMIN))
    }
}

impl Tools {
    fn read(release: &str) -> Tools {
        let module = std::env::var_os(MODULE_VARIABLE).filter(|v| !v.is_empty());
        Tools {
            stap: program("stap"),
            staprun: program("staprun"),
            headers: Path::new("/lib/modules").join(release).join("build/Makefile").exists(),
            module: module.map(PathBuf::from),
        }
    }
}

/// The first two numbers of a release.
pub fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// A program on PATH, or where administrators have theirs.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = ["/usr/bin", "/usr/sbin", "/usr/local/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(own).map(|p| p.join(name)).find(|p| p.is_file())
}

fn read_line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|s| s.trim().to_owned())
}

/// Before Linux 4.1 it is a part of debugfs.
fn tracefs() -> Option<PathBuf> {
    let places = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"].map(PathBuf::from);
    places.into_iter().find(|p| p.join("trace").exists())
}

/// The mode in brackets: `none [integrity] confidentiality`.
fn lockdown() -> Option<String> {
    let modes = read_line("/sys/kernel/security/lockdown")?;
    let chosen = modes.split('[').nth(1)?.split(']').next()?;
    Some(chosen.to_owned())
}

/// The root of the hierarchy has no `cgroup.events` (Documentation/admin-guide/cgroup-v2.rst).
fn cgroup2(places: &[&Path]) -> Cgroup2 {
    let mounted = places.iter().find(|p| p.join("cgroup.controllers").exists());
    match mounted {
        None => Cgroup2::Absent,
        Some(p) if p.join("cgroup.events").exists() => Cgroup2::Part(p.to_path_buf()),
        Some(p) => Cgroup2::Root(p.to_path_buf()),
    }
}

fn pidns() -> Option<u32> {
    let inode = fs::metadata("/proc/self/ns/pid").ok()?.ino();
    (inode != PID_INIT_INO).then_some(inode as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup2_mount_is_told_from_a_part_of_one() {
        let folder = std::env::temp_dir().join(format!("sentby-host-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        assert_eq!(cgroup2(&[&folder]), Cgroup2::Absent);
        fs::write(folder.join("cgroup.controllers"), "").unwrap();
        assert_eq!(cgroup2(&[&folder]), Cgroup2::Root(folder.clone()));
        fs::write(folder.join("cgroup.events"), "").unwrap();
        assert_eq!(cgroup2(&[&folder]), Cgroup2::Part(folder.clone()));
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn sys_admin_stands_for_bpf() {
        let mut host = Host::read();
        host.capabilities = [Capability::CAP_SYS_ADMIN].into();
        assert!(host.can(Capability::CAP_BPF));
        assert!(!host.can(Capability::CAP_NET_ADMIN));
    }
}
