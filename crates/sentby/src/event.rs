//! What travels through the pipeline: [`Capture`] (from a backend), [`Process`]
//! (facts about a sender) and [`Event`] (what outputs see).
//!
//! Absent is not zero: whatever a backend cannot know is `None` all the way to the
//! output.

use crate::enrich::{ContainerInfo, GoBuild, SHORT_ID};
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use wire::{Ending, Fault, Layer, Packet, Request};

/// Length of `comm` in the kernel (`TASK_COMM_LEN`, include/linux/sched.h).
pub const COMM_LEN: usize = 16;

/// Why an event names the process that it names (ARCHITECTURE.md, "Attribution").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// The hook ran in the sending task itself.
    Task,
    /// Sent from an interrupt or a kernel thread; the socket's owner is known.
    Owner,
    /// Found by matching socket tables to /proc/PID/fd.
    Procfs,
    /// A capture file of another program names the process, and does not say why.
    Recorded,
    /// The kernel sent it; no process did.
    Kernel,
    /// Not from this machine.
    Forwarded,
    /// Nobody can be named.
    Unknown,
}

impl Evidence {
    /// Every evidence, strongest first.
    pub const ALL: [Evidence; 7] = [
        Evidence::Task,
        Evidence::Owner,
        Evidence::Procfs,
        Evidence::Recorded,
        Evidence::Kernel,
        Evidence::Forwarded,
        Evidence::Unknown,
    ];

    /// The word in text and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Evidence::Task => "task",
            Evidence::Owner => "owner",
            Evidence::Procfs => "procfs",
            Evidence::Recorded => "recorded",
            Evidence::Kernel => "kernel",
            Evidence::Forwarded => "forwarded",
            Evidence::Unknown => "unknown",
        }
    }

    /// What it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Evidence::Task => "The packet was seen in the sending task itself.",
            Evidence::Owner => {
                "It was sent from an interrupt or a kernel thread; the process is the recorded \
                 owner of the socket. Another process may share the socket."
            }
            Evidence::Procfs => {
                "Found a moment later, by matching the socket to /proc. Where several processes \
                 hold it, all are listed as candidates."
            }
            Evidence::Recorded => {
                "A capture file of another program names the process and does not say why."
            }
            Evidence::Kernel => "No process sent it.",
            Evidence::Forwarded => "It only passed through this machine.",
            Evidence::Unknown => "Nobody can be named.",
        }
    }

    /// Whether events of this evidence name a process.
    pub fn names_a_process(self) -> bool {
        matches!(self, Evidence::Task | Evidence::Owner | Evidence::Procfs | Evidence::Recorded)
    }
}

/// A process's identity: a pid alone is used again, a pid and its start are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// The process id (kernel: tgid), as seen in sentby's own pid namespace.
    pub pid: u32,
    /// When its leader started: clock ticks (1/100 s) since boot, the unit of
    /// /proc/PID/stat's field 22, so that kernel and /proc agree.
    pub start_ticks: u64,
}

/// Nanoseconds in one tick of [`ProcessKey::start_ticks`] (USER_HZ is 100 on every
/// architecture sentby builds for).
pub const NS_PER_TICK: u64 = 10_000_000;

/// The task that sent, or owns the socket that sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its process; `None` when it has no pid in sentby's pid namespace.
    pub key: Option<ProcessKey>,
    /// Thread id; `None` when unknown (owner evidence may know the process alone).
    pub tid: Option<u32>,
    /// Its name at the time of sending; NUL-terminated unless full.
    pub comm: Option<[u8; COMM_LEN]>,
    /// Real user id.
    pub uid: Option<u32>,
}

/// Where a packet comes from and goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source and destination port, for protocols that have ports.
    pub ports: Option<(u16, u16)>,
}

impl Ends {
    /// Those of a packet.
    pub fn of(packet: &Packet<'_>) -> Ends {
        Ends { src: packet.src, dst: packet.dst, ports: wire::transport::ports(packet) }
    }
}

/// What of a packet a capture is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The packet as a whole.
    Packet,
    /// What it carries: perhaps the beginning of a request (`begins`), or more of one.
    Payload {
        /// A request may begin where the payload does.
        begins: bool,
        /// The packet itself is wanted as well: it opens a connection.
        opens: bool,
    },
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Iface {
    /// Interface index in its netns.
    pub index: Option<u32>,
    /// Name; NUL-terminated unless full (IFNAMSIZ is 16).
    pub name: [u8; 16],
}

/// One packet or payload as a backend saw it.
#[derive(Clone, Debug)]
pub struct Capture {
    /// When it was sent: nanoseconds since the Unix epoch.
    pub time: u64,
    /// Name of the hook that saw it (one of its backend's hooks).
    pub hook: &'static str,
    /// What the backend could prove about the sender.
    pub evidence: Evidence,
    /// The sender, if `evidence` is `Task` or `Owner`.
    pub task: Option<Task>,
    /// Inode of the socket it was sent on (the number in `socket:[N]`).
    pub socket_inode: Option<u64>,
    /// Whether how an opening of that socket ends will be told, by an [`Outcome`].
    pub outcome_follows: bool,
    /// The processes that may have sent it, where the backend looked for them itself, at
    /// the time of sending. Nobody looks again.
    pub holders: Option<Arc<Holders>>,
    /// Several processes have used the socket; this is the one that did now, or did last.
    pub shared: bool,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// The interface it leaves by.
    pub iface: Option<Iface>,
    /// Whether the sender descends from the process that was asked for; `None`
    /// where the backend does not track that.
    pub descends: Option<bool>,
    /// What of it was wanted.
    pub wanted: Wanted,
    /// Where `bytes` begin.
    pub layer: Layer,
    /// The captured bytes: a range of [`Batch::bytes`].
    pub bytes: Range<usize>,
    /// Length of the whole packet in bytes, from the IP header on.
    pub len: Option<u32>,
    /// Bytes that each of its datagrams carries, where one send holds several
    /// (UDP_SEGMENT) and the device cuts them.
    pub segment: Option<u32>,
    /// What a recording says about it that no other field holds.
    pub recorded: Option<Box<Recorded>>,
}

impl Capture {
    /// What an [`Outcome`] of the connection that it opens goes by.
    pub fn opening(&self) -> Option<u64> {
        let live = self.socket_inode.filter(|_| self.outcome_follows);
        self.recorded.as_ref().map_or(live, |recorded| recorded.opening)
    }
}

/// What a recording says about a packet.
#[derive(Clone, Debug, Default)]
pub struct Recorded {
    /// It holds one request, of this protocol, as far as it was captured.
    pub protocol: Option<&'static str>,
    /// How what it opened has ended.
    pub outcome: Option<wire::Outcome>,
    /// What an [`Outcome`] that is told later goes by.
    pub opening: Option<u64>,
    /// The sender's user name there.
    pub user: Option<String>,
    /// The processes that held the socket, where there were several.
    pub candidates: Vec<Candidate>,
    /// What the sender's executable said there.
    pub go: Option<GoBuild>,
    /// The name of the destination, and who called it so.
    pub dst_name: Option<(Vec<u8>, String)>,
    /// The machine that it was sent from.
    pub host: Option<String>,
    /// How many events of its process it stands for.
    pub sampled: Option<u32>,
    /// The request itself, as it was understood then.
    pub stored: Option<Stored>,
}

/// A request as a recording of sentby's keeps it beside the packet, or without one.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its number there; later ones are higher.
    pub row: i64,
    /// Where it came from and went to.
    pub ends: Ends,
    /// The protocol's own fields, as JSON.
    pub fields: String,
    /// What was wrong with its bytes.
    pub faults: Vec<Fault>,
}

/// Processes that held a socket which a packet may have left by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// All of them.
    pub processes: Vec<Candidate>,
    /// Where it is one alone, it was that one: no other can have sent such a packet.
    pub proven: bool,
}

/// An ancestor of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ancestor {
    /// Its pid in sentby's pid namespace.
    pub pid: Option<u32>,
    /// Its name, without the terminating NUL.
    pub comm: Vec<u8>,
}

/// What is known about a process. Bytes are as the process chose them: hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Start: nanoseconds since the Unix epoch.
    pub start: Option<u64>,
    /// Parent's pid in sentby's pid namespace.
    pub ppid: Option<u32>,
    /// Names of parent, grandparent, … nearest first; at most [`MAX_ANCESTORS`].
    pub ancestors: Option<Vec<Ancestor>>,
    /// Real user id.
    pub uid: Option<u32>,
    /// The leader's name.
    pub comm: Option<Vec<u8>>,
    /// Path of the executable.
    pub exe: Option<Vec<u8>>,
    /// The executable has been deleted since.
    pub exe_deleted: bool,
    /// Arguments joined by NUL, as /proc/PID/cmdline has them (without the last NUL).
    pub argv: Option<Vec<u8>>,
    /// `argv` is not the whole command line.
    pub argv_truncated: bool,
    /// Path in the cgroup hierarchy.
    pub cgroup: Option<Vec<u8>>,
    /// What its container is called, by the runtime that made it.
    pub container: Option<Arc<ContainerInfo>>,
    /// pid in the innermost pid namespace, where it differs from the pid shown.
    pub inner_pid: Option<u32>,
}

/// Longest ancestry that is kept.
pub const MAX_ANCESTORS: usize = 8;

/// How the opening of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// When: nanoseconds since the Unix epoch.
    pub time: u64,
    /// Inode of the socket, as in [`Capture::socket_inode`].
    pub inode: u64,
    /// Which way.
    pub ending: Ending,
}

/// What a backend delivers.
#[derive(Clone, Debug)]
pub enum Item {
    /// A packet or payload.
    Capture(Capture),
    /// How what a capture opened has ended.
    Outcome(Outcome),
    /// An answer to a DNS query, which came in for the process that `task` names. It
    /// is no request, and in no count.
    Answer(Capture),
    /// Facts about a process, ahead of the first capture that names it and again
    /// when they changed.
    Process(ProcessKey, Box<Process>),
}

/// A batch of items; buffers are used again, so that the steady state allocates nothing.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order in which the backend saw them.
    pub items: Vec<Item>,
    /// Captured bytes, referred to by [`Capture::bytes`].
    pub bytes: Vec<u8>,
}

impl Batch {
    /// Empties the batch and keeps its memory.
    pub fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
    }
}

/// One of several processes that hold the socket a packet left by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The process.
    pub key: ProcessKey,
    /// Its leader's name, without the terminating NUL.
    pub comm: Vec<u8>,
}

/// A name that a destination was called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DstName<'a> {
    /// The name, without a last dot.
    pub name: &'a [u8],
    /// Who called it so: `dns`, `dns-other`, or the request itself.
    pub source: &'a str,
}

/// The bytes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raw<'a> {
    /// The packet that it is, or is all of, as it was captured: from the IP header on.
    Packet(&'a [u8]),
    /// What was sent, without the packets around it: they were several, or held more.
    Payload {
        /// The IP protocol that carried it.
        protocol: u8,
        /// TCP: sequence number of the first byte.
        seq: u32,
        /// As far as it was captured.
        bytes: &'a [u8],
        /// How long it is as a whole, as far as that is known.
        whole: u64,
    },
}

/// A request with its sender: what filters and outputs see.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// The machine that it was sent from, where events of several come together.
    pub host: Option<&'a str>,
    /// How many events of its process it stands for, itself included, where some were left out
    /// (`agent --max-cpu`).
    pub sampled: Option<u32>,
    /// What the backend saw.
    pub capture: &'a Capture,
    /// Final evidence: the backend's, or `procfs` where enrichment found the sender.
    pub evidence: Evidence,
    /// The sender; `None` unless the evidence names one process.
    pub key: Option<ProcessKey>,
    /// Thread id of the sender.
    pub tid: Option<u32>,
    /// Name of the sending thread, without the terminating NUL.
    pub comm: Option<&'a [u8]>,
    /// Real user id of the sender.
    pub uid: Option<u32>,
    /// User name of `uid` on this machine.
    pub user: Option<&'a str>,
    /// What else is known about the sender.
    pub process: Option<&'a Process>,
    /// A number for just this knowledge: where two events have the same, so are `process`,
    /// `unit` and `container`.
    pub facts: Option<u64>,
    /// systemd unit out of the cgroup path.
    pub unit: Option<&'a str>,
    /// Container id out of the cgroup path.
    pub container: Option<&'a str>,
    /// Where several processes hold the socket: all of them, and `key` is `None`.
    pub candidates: &'a [Candidate],
    /// What the sender's executable says about how Go built it, for protocols that ask.
    pub go: Option<&'a GoBuild>,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, for protocols that have ports.
    pub sport: Option<u16>,
    /// Destination port.
    pub dport: Option<u16>,
    /// A name of the destination.
    pub dst_name: Option<DstName<'a>>,
    /// The request.
    pub request: &'a Request<'a>,
    /// Length of the whole packet in bytes, from the IP header on.
    pub len: Option<u32>,
    /// The bytes that it was decoded from.
    pub raw: Raw<'a>,
    /// How it ended, where that was told.
    pub outcome: Option<wire::Outcome>,
}

impl Event<'_> {
    /// The number of the IP protocol that carries the request (IANA "Assigned Internet
    /// Protocol Numbers").
    pub fn ip_protocol(&self) -> Option<u8> {
        match self.raw {
            Raw::Packet(bytes) => Some(wire::packet::parse(Layer::Ip, bytes)?.protocol),
            Raw::Payload { protocol, .. } => Some(protocol),
        }
    }

    /// The interface's name, without padding.
    pub fn iface_name(&self) -> Option<&[u8]> {
        self.capture.iface.as_ref().map(|i| until_nul(&i.name))
    }

    /// What people call its container: its name, else the beginning of its id.
    pub fn container_shown(&self) -> Option<&str> {
        let told = self.process.and_then(|p| p.container.as_deref());
        if let Some(name) = told.and_then(|told| told.name.as_deref()) {
            return Some(name);
        }
        let id = self.container?;
        let hex = id.len() > SHORT_ID && id.bytes().all(|b| b.is_ascii_hexdigit());
        Some(if hex { &id[..SHORT_ID] } else { id })
    }

    /// The part of the kernel that sent it, where the evidence is `kernel` and the request tells.
    pub fn kernel_part(&self) -> Option<&'static str> {
        (self.evidence == Evidence::Kernel)
            .then(|| self.request.protocol.kernel_part(self.request))
            .flatten()
    }
}

/// A C string in a fixed array: what stands before the first NUL.
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    &bytes[..end]
}
