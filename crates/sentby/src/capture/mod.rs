//! Backends: where captures come from. One folder each, one line each in [`BACKENDS`].
//!
//! Facts ([`Host`]), choice ([`Backend::check`], pure) and action ([`Backend::open`])
//! are separate. A backend opened by name is never replaced; `auto` takes the first
//! that opens and says why those before it did not.

pub mod ebpf;
mod kprobe_events;
pub mod packet;
pub mod reader;
pub mod replay;
pub mod select;
pub mod systemtap;
pub mod watch;

use crate::event::Batch;
use crate::host::Host;
use crate::ledger::HookCount;
use crate::plan::Plan;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Every backend, best first.
pub static BACKENDS: &[&dyn Backend] =
    &[&ebpf::Ebpf, &kprobe_events::KprobeEvents, &systemtap::SystemTap, &packet::AfPacket];

/// Looks a backend up by name.
pub fn by_name(name: &str) -> Option<&'static dyn Backend> {
    BACKENDS.iter().copied().find(|b| b.name() == name)
}

/// A way to capture.
pub trait Backend: Sync {
    /// The name users choose it by.
    fn name(&self) -> &'static str;

    /// The names of its hooks.
    fn hooks(&self) -> Vec<&'static str>;

    /// Whether options were given that it alone takes: then no other is meant.
    fn is_meant(&self, _options: &Options) -> bool {
        false
    }

    /// What opening it would do first that takes long; then it is not opened unannounced,
    /// nor only to try it.
    fn slow(&self, _host: &Host) -> Option<&'static str> {
        None
    }

    /// What the facts say about each of its hooks, for this plan. Pure.
    fn check(&self, host: &Host, plan: &Plan) -> Vec<HookCheck>;

    /// Attaches. Everything attached is owned by file descriptors of this process.
    fn open(&self, host: &Host, plan: &Plan, options: &Options) -> Result<Opened>;
}

/// What the user decided about capturing, beyond what is wanted.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Use these hooks and no others.
    pub hooks: Vec<String>,
    /// BTF of the running kernel, where it carries none.
    pub btf: Option<PathBuf>,
    /// Where everything is in the running kernel, instead of finding out.
    pub offsets: Option<PathBuf>,
    /// A kernel module that was made elsewhere.
    pub module: Option<PathBuf>,
    /// Bytes of the buffer between kernel and user space.
    pub buffer_size: usize,
    /// Use the perf buffer even where there is a BPF ring buffer.
    pub perf_buffer: bool,
    /// Have the verifier tell how much work each program was.
    pub verifier_stats: bool,
}

/// An attached backend.
pub struct Opened {
    /// Delivers captures.
    pub source: Box<dyn Source>,
    /// The hooks in use with what each answers for, for people.
    pub hooks: Vec<(&'static str, Vec<Sender>)>,
    /// What the user should know: hooks that were refused, senders nobody sees.
    pub notes: Vec<String>,
}

/// An attached backend's stream of captures.
pub trait Source {
    /// Appends what has arrived, waiting at most this long for something.
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()>;

    /// Detaches every probe. What was captured before can still be read.
    fn detach(&mut self);

    /// What the kernel side counted so far.
    fn counts(&mut self) -> Counts;

    /// Whether nothing more can come.
    fn ended(&self) -> bool {
        false
    }
}

/// What a source counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Per hook.
    pub hooks: Vec<HookCount>,
    /// Captures lost, by place.
    pub lost: BTreeMap<&'static str, u64>,
    /// Losses that cost details only, by place.
    pub details_lost: BTreeMap<&'static str, u64>,
    /// What the user should know, at the end.
    pub notes: Vec<String>,
    /// Why it could not deliver all there was.
    pub failed: Option<anyhow::Error>,
}

/// Kinds of senders that a hook can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Sender {
    /// Processes, through the IP layer.
    Process,
    /// The kernel itself.
    Kernel,
    /// Other machines, through this one.
    Forwarded,
    /// Processes past the IP layer, through AF_PACKET sockets.
    PacketSocket,
}

impl Sender {
    /// Every kind.
    #[cfg(test)]
    pub const ALL: [Sender; 4] =
        [Sender::Process, Sender::Kernel, Sender::Forwarded, Sender::PacketSocket];

    /// The word in `doctor`.
    pub fn name(self) -> &'static str {
        match self {
            Sender::Process => "process",
            Sender::Kernel => "kernel",
            Sender::Forwarded => "forwarded",
            Sender::PacketSocket => "packet_socket",
        }
    }

    /// The kinds a plan asks for. Processes always; the rest on request.
    pub fn wanted(plan: &Plan) -> Vec<Sender> {
        let mut wanted = vec![Sender::Process];
        // Nobody reads what those carry.
        if !plan.ip_protocols.is_empty() {
            wanted.push(Sender::PacketSocket);
        }
        if plan.senders.kernel {
            wanted.push(Sender::Kernel);
        }
        if plan.senders.forwarded {
            wanted.push(Sender::Forwarded);
        }
        wanted
    }
}

/// Why something cannot be used here, and what would help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why not.
    pub why: String,
    /// What to do about it, if anything.
    pub help: Option<String>,
}

impl Refusal {
    /// A refusal with advice.
    pub fn new(why: impl Into<String>, help: impl Into<String>) -> Refusal {
        Refusal { why: why.into(), help: Some(help.into()) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if let Some(help) = &self.help {
            write!(f, " ({help})")?;
        }
        Ok(())
    }
}

/// What hooks may lack.
pub mod lack {
    /// Evidence `task`: who sends is looked up afterwards.
    pub const TASK: &str = "task";
    /// Packets of other network namespaces than sentby's own.
    pub const NETNS: &str = "netns";
    /// Senders that are gone at once: they are unknown.
    pub const BRIEF: &str = "brief";
    /// The datagrams that a device cuts out of one send.
    pub const SEGMENTS: &str = "segments";
    /// Packets as a whole, where the device gets them in fragments.
    pub const FRAGMENTED: &str = "fragmented";
    /// Evidence `owner`, and with it `shared`: what leaves in an interrupt is unknown.
    pub const OWNER: &str = "owner";
    /// Whether a packet without a socket is the kernel's or came in by an interface: it is
    /// unknown, and shown where either is asked for.
    pub const FORWARDED: &str = "forwarded";
    /// Whether a packet's socket is the kernel's own: ICMP errors, and ICMPv6 messages that
    /// keep neighbours and groups, are unknown, and shown where the kernel's are asked for.
    pub const KERNEL_SOCKETS: &str = "kernel_sockets";
    /// Which interface packets leave by.
    pub const IFACE: &str = "iface";
    /// How long packets are.
    pub const LEN: &str = "len";
    /// When a process started, to the nanosecond: it is told in ticks (10 ms).
    pub const START_NS: &str = "start_ns";
    /// The inode of the socket.
    pub const SOCKET: &str = "socket";
    /// Names of destinations by DNS answers.
    pub const DST_NAME: &str = "dst_name";
    /// How the opening of a connection ends.
    pub const OUTCOME: &str = "outcome";
    /// What a request says beyond the first 672 bytes of one send.
    pub const BEYOND_672_BYTES: &str = "beyond_672_bytes";
    /// What is sent by sendfile(2) and splice(2).
    pub const SENDFILE: &str = "sendfile";
    /// What is sent in a SYN (TCP Fast Open).
    pub const FAST_OPEN: &str = "fast_open";
}

/// One hook, judged by the facts alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookCheck {
    /// The hook.
    pub name: &'static str,
    /// Which senders it can see.
    pub sees: Vec<Sender>,
    /// Whether it reads what TCP and UDP carry.
    pub payload: bool,
    /// What it cannot tell, of what the best can: of [`lack`].
    pub lacks: Vec<&'static str>,
    /// Why it cannot be used, where the facts say so. Attaching may still fail.
    pub refusal: Option<Refusal>,
}
