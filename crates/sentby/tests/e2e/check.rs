//! What is expected of events, and in what words they fall short.

use crate::ctx::skip;
use crate::doctor::Doctor;
use crate::event::{Event, epoch};
use crate::proc::{Done, Proc};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::OnceLock;

/// The process that must be named. `None` is not looked at.
#[derive(Clone, Debug, Default)]
pub struct Who {
    pub pid: u32,
    pub tid: Option<u32>,
    pub ppid: Option<u32>,
    pub argv: Option<Vec<Vec<u8>>>,
    pub exe: Option<PathBuf>,
    pub comm: Option<String>,
    pub uid: Option<u32>,
    pub pid_in_ns: Option<u32>,
}

impl Who {
    /// A single-threaded child of the harness, run by root, that has ended.
    pub fn of(done: &Done) -> Self {
        Self::child(done.pid, &done.argv, &done.exe)
    }

    /// The same of one that still runs.
    pub fn running(proc: &Proc) -> Self {
        Self::child(proc.pid(), &proc.argv(), proc.exe())
    }

    fn child(pid: u32, argv: &[Vec<u8>], exe: &std::path::Path) -> Self {
        let name = exe.file_name().unwrap_or_default().to_string_lossy();
        Who {
            pid,
            tid: Some(pid),
            ppid: Some(std::process::id()),
            argv: Some(argv.to_vec()),
            comm: Some(name.chars().take(15).collect()),
            exe: Some(exe.to_owned()),
            uid: Some(0),
            pid_in_ns: None,
        }
    }
}

/// An event names a process that did not send: the one failure that no second try excuses.
#[derive(Debug)]
pub struct Bystander {
    named: u32,
    sender: u32,
}

impl std::fmt::Display for Bystander {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}, not {}", self.named, self.sender)
    }
}

impl std::error::Error for Bystander {}

/// What was sent.
#[derive(Clone, Debug, Default)]
pub struct Sent<'a> {
    pub src: &'a str,
    pub dst: &'a str,
    pub kind: &'a str,
    pub iface: Option<&'a str>,
    pub id: Option<u16>,
    /// Length from the IP header on.
    pub len: Option<u32>,
}

impl<'a> Sent<'a> {
    /// Echo requests.
    pub fn echo(src: &'a str, dst: &'a str) -> Self {
        Sent { src, dst, kind: "echo-request", ..Sent::default() }
    }
}

/// Hooks that look senders up afterwards, by their own word.
static LOOKING_UP: OnceLock<Vec<String>> = OnceLock::new();

/// Hears from the doctor what hooks cannot tell.
pub fn know(doctor: &Doctor) {
    let looking_up = doctor.hooks().filter(|h| doctor.lacks(&h.name, "task"));
    let _ = LOOKING_UP.set(looking_up.map(|h| h.name.clone()).collect());
}

fn looks_up(hook: &str) -> bool {
    LOOKING_UP.get().is_some_and(|hooks| hooks.iter().any(|h| h == hook))
}

/// The event names this process, with evidence that its hook can have. Where senders are
/// looked up afterwards, one that was gone by then ends the trial, aloud.
pub fn names(event: &Event, who: &Who) -> Result<()> {
    let looked_up = looks_up(&event.hook);
    if looked_up && event.evidence == "unknown" {
        return Err(skip(format!("{}: a sender was gone before it was looked up", event.hook)));
    }
    if looked_up && event.pid == Some(who.pid) && event.cmdline.is_none() {
        return Err(skip(format!("{}: a sender was gone before it was read", event.hook)));
    }
    let check = || -> Result<()> {
        // A hook below the neighbour table may see a packet only after its neighbour
        // has answered: then the sender is known as the socket's owner.
        let late = event.hook == "net_dev_queue" && event.evidence == "owner";
        let evidence = if looked_up { "procfs" } else { "task" };
        ensure!(event.evidence == evidence || late, "evidence is {:?}", event.evidence);
        if event.pid.is_some_and(|pid| pid != who.pid) {
            return Err(Bystander { named: event.pid.unwrap_or_default(), sender: who.pid }.into());
        }
        ensure!(event.pid.is_some(), "no pid, not {}", who.pid);
        ensure!(!looked_up || event.tid.is_none(), "a thread, by /proc: {:?}", event.tid);
        if who.tid.is_some() && !((late || looked_up) && event.tid.is_none()) {
            ensure!(event.tid == who.tid, "tid {:?}, not {:?}", event.tid, who.tid);
        }
        if who.ppid.is_some() {
            ensure!(event.ppid == who.ppid, "ppid {:?}, not {:?}", event.ppid, who.ppid);
        }
        if let Some(argv) = &who.argv {
            let wanted: Vec<String> =
                argv.iter().map(|a| String::from_utf8_lossy(a).into_owned()).collect();
            ensure!(!event.cmdline_truncated, "cmdline_truncated");
            let got = event.cmdline.as_ref().context("no cmdline")?;
            ensure!(*got == wanted, "cmdline {got:?}, not {wanted:?}");
        }
        if let Some(exe) = &who.exe {
            let wanted = String::from_utf8_lossy(exe.as_os_str().as_bytes()).into_owned();
            ensure!(event.exe == Some(wanted), "exe {:?}, not {exe:?}", event.exe);
        }
        if who.comm.is_some() {
            ensure!(event.comm == who.comm, "comm {:?}, not {:?}", event.comm, who.comm);
        }
        if let Some(uid) = who.uid {
            ensure!(event.uid == Some(uid), "uid {:?}, not {uid}", event.uid);
            if uid == 0 {
                ensure!(event.user.as_deref() == Some("root"), "user {:?}", event.user);
            }
        }
        ensure!(
            event.pid_in_ns == who.pid_in_ns,
            "pid_in_ns {:?}, not {:?}",
            event.pid_in_ns,
            who.pid_in_ns
        );
        let start = event.start.as_deref().context("no start")?;
        epoch(start).map(drop)
    };
    check().with_context(|| describe(event))
}

/// The event describes this packet.
pub fn carries(event: &Event, sent: &Sent) -> Result<()> {
    let check = || -> Result<()> {
        let (src, dst): (std::net::IpAddr, std::net::IpAddr) =
            (sent.src.parse()?, sent.dst.parse()?);
        ensure!(event.src == src, "src {}, not {src}", event.src);
        ensure!(event.dst == dst, "dst {}, not {dst}", event.dst);
        ensure!(event.icmp.kind == sent.kind, "type {:?}, not {:?}", event.icmp.kind, sent.kind);
        let iface = event.iface.as_deref();
        ensure!(iface.is_some(), "no iface");
        ensure!(sent.iface.is_none() || iface == sent.iface, "iface {iface:?}");
        ensure!(sent.id.is_none() || event.icmp.id == sent.id, "id {:?}", event.icmp.id);
        ensure!(sent.len.is_none() || event.len == sent.len, "len {:?}", event.len);
        ensure!(event.len.is_some(), "no len");
        Ok(())
    };
    check().with_context(|| describe(event))
}

/// The events are exactly these `seqs`, each once, from this process.
pub fn exactly(events: &[&Event], who: &Who, sent: &Sent, seqs: &[u16]) -> Result<()> {
    let mut got: Vec<u16> = events.iter().map(|e| e.icmp.seq.unwrap_or(u16::MAX)).collect();
    got.sort_unstable();
    let mut wanted = seqs.to_vec();
    wanted.sort_unstable();
    ensure!(got == wanted, "sequence numbers {got:?}, not {wanted:?}");
    events.iter().try_for_each(|e| names(e, who).and_then(|()| carries(e, sent)))
}

/// There are `n` of them, no packet twice.
pub fn count_distinct(events: &[&Event], n: u64) -> Result<()> {
    let mut seen: BTreeMap<_, u32> = BTreeMap::new();
    for e in events {
        let icmp = &e.icmp;
        *seen.entry((e.netns, e.src, e.dst, icmp.type_number, icmp.id, icmp.seq)).or_default() += 1;
    }
    if let Some((packet, times)) = seen.iter().find(|(_, times)| **times > 1) {
        anyhow::bail!("{times} events for one packet: {packet:?}");
    }
    ensure!(events.len() as u64 == n, "{} events, not {n}", events.len());
    Ok(())
}

/// None of them blames a process; their evidence is `evidence`.
pub fn blames_nobody<'a>(
    events: impl IntoIterator<Item = &'a &'a Event>,
    evidence: &str,
) -> Result<()> {
    for event in events {
        ensure!(
            event.pid.is_none() && event.evidence == evidence,
            "evidence is not {evidence:?}: {}",
            describe(event)
        );
    }
    Ok(())
}

fn describe(e: &Event) -> String {
    let mut e = e.clone();
    // Hostile command lines are long, and in the notes anyhow.
    if let Some(cmdline) = &mut e.cmdline {
        cmdline.truncate(16);
        for arg in cmdline {
            arg.truncate(arg.floor_char_boundary(80));
        }
    }
    e.cmdline_hex = None;
    format!("in {e:?}")
}
