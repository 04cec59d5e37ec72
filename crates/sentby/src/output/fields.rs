//! The envelope: what an event says beside the request, field by field.
//!
//! One table declares every field with its meaning and how to get it; JSON walks it,
//! and docs/events.md is generated from it. A protocol's own fields are declared by
//! the protocol ([`wire::Protocol::fields`]).

use crate::enrich::{ContainerInfo, GoBuild};
use crate::event::{Ancestor, Candidate, Event};
use std::net::IpAddr;
use wire::Fault;

/// The type of a field's value in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned number.
    Number,
    /// `true`; never `false`.
    Flag,
    /// A string out of a fixed vocabulary.
    Name,
    /// A string: RFC 3339, UTC, nanoseconds.
    Time,
    /// A string: an IPv4 or IPv6 address.
    Address,
    /// A string, of bytes that someone else chose.
    Text,
    /// An array of such strings.
    Texts,
    /// An array of unsigned numbers.
    Numbers,
    /// An array of strings out of a fixed vocabulary.
    Names,
    /// An array of objects `{"pid", "comm"}`.
    Processes,
    /// An object `{"version", "path", "module", "module_version"}`.
    Build,
}

impl Kind {
    /// The kind in documentation.
    #[cfg_attr(not(test), expect(dead_code, reason = "docs/events.md is made of it"))]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Number => "number",
            Kind::Flag => "true",
            Kind::Name => "name",
            Kind::Time => "time",
            Kind::Address => "address",
            Kind::Text => "text",
            Kind::Texts => "list of texts",
            Kind::Numbers => "list of numbers",
            Kind::Names => "list of names",
            Kind::Processes => "list of processes",
            Kind::Build => "build",
        }
    }
}

/// A field's value in one event.
#[derive(Clone, Copy, Debug)]
pub enum Value<'e> {
    /// See [`Kind::Number`].
    Number(u64),
    /// See [`Kind::Flag`]: present and true.
    Flag,
    /// See [`Kind::Name`].
    Name(&'e str),
    /// See [`Kind::Time`]: nanoseconds since the Unix epoch.
    Time(u64),
    /// See [`Kind::Address`].
    Address(IpAddr),
    /// See [`Kind::Text`].
    Text(&'e [u8]),
    /// See [`Kind::Texts`]: joined by NUL.
    Joined(&'e [u8]),
    /// See [`Kind::Texts`]: names of ancestors.
    AncestorNames(&'e [Ancestor]),
    /// See [`Kind::Numbers`]: pids of ancestors.
    AncestorPids(&'e [Ancestor]),
    /// See [`Kind::Names`].
    Faults(&'e [Fault]),
    /// See [`Kind::Processes`].
    Processes(&'e [Candidate]),
    /// See [`Kind::Build`].
    Build(&'e GoBuild),
}

/// What a field's value depends on, where the sender is one known process: an output may
/// use again what it made of it (kept.rs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// The event itself.
    Event,
    /// Who sent it on which socket to whom ([`super::kept::Sender`]).
    Sender,
    /// What is known about the process ([`Event::facts`]).
    Process,
}

/// A declared field of the envelope.
pub struct Field {
    /// The key in JSON.
    pub name: &'static str,
    /// What its value depends on.
    pub of: Of,
    /// What values it takes.
    #[cfg_attr(not(test), expect(dead_code, reason = "docs/events.md is made of it"))]
    pub kind: Kind,
    /// What it means, its unit, and where it comes from.
    pub doc: &'static str,
    /// Its value in an event; `None` where it is unknown or does not apply.
    pub get: for<'e> fn(&'e Event<'_>) -> Option<Value<'e>>,
}

/// What a runtime says about the sender's container.
fn told<'e>(
    event: &'e Event<'_>,
    word: impl Fn(&'e ContainerInfo) -> Option<&'e str>,
) -> Option<Value<'e>> {
    word(event.process?.container.as_deref()?).map(|text| Value::Text(text.as_bytes()))
}

/// Where the protocol's own object stands: after all fields of the envelope.
pub static FIELDS: &[Field] = &[
    Field {
        name: "time",
        of: Of::Event,
        kind: Kind::Time,
        doc: "When the packet was sent, as the hook saw it.",
        get: |e| Some(Value::Time(e.capture.time)),
    },
    Field {
        name: "proto",
        of: Of::Sender,
        kind: Kind::Name,
        doc: "The protocol of the request. Its own fields are in an object under this name.",
        get: |e| Some(Value::Name(e.request.protocol.name())),
    },
    Field {
        name: "evidence",
        of: Of::Sender,
        kind: Kind::Name,
        doc: "Why this event names the process it names: see below.",
        get: |e| Some(Value::Name(e.evidence.name())),
    },
    Field {
        name: "kernel_part",
        of: Of::Sender,
        kind: Kind::Name,
        doc: "With evidence `kernel`: the part of the kernel that sent it.",
        get: |e| e.kernel_part().map(Value::Name),
    },
    Field {
        name: "hook",
        of: Of::Sender,
        kind: Kind::Name,
        doc: "Where in the kernel the packet was seen; `file` in a capture file that does not tell.",
        get: |e| Some(Value::Name(e.capture.hook)),
    },
    Field {
        name: "pid",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "The sending process, in sentby's pid namespace.",
        get: |e| e.key.map(|k| Value::Number(k.pid.into())),
    },
    Field {
        name: "tid",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "The sending thread, in sentby's pid namespace.",
        get: |e| e.tid.map(|t| Value::Number(t.into())),
    },
    Field {
        name: "pid_in_ns",
        of: Of::Process,
        kind: Kind::Number,
        doc: "The process's pid in its own (innermost) pid namespace, where it differs from `pid`.",
        get: |e| e.process?.inner_pid.map(|p| Value::Number(p.into())),
    },
    Field {
        name: "start",
        of: Of::Process,
        kind: Kind::Time,
        doc: "When the process started. With `pid` it identifies the process: pids are used again. \
              The kernel keeps it in steps of 10 ms.",
        get: |e| e.process?.start.map(Value::Time),
    },
    Field {
        name: "ppid",
        of: Of::Process,
        kind: Kind::Number,
        doc: "The parent's pid; 0 where it is outside sentby's pid namespace.",
        get: |e| e.process?.ppid.map(|p| Value::Number(p.into())),
    },
    Field {
        name: "ancestors",
        of: Of::Process,
        kind: Kind::Texts,
        doc: "Names of parent, grandparent, …, nearest first, at most 8.",
        get: |e| e.process?.ancestors.as_deref().map(Value::AncestorNames),
    },
    Field {
        name: "ancestor_pids",
        of: Of::Process,
        kind: Kind::Numbers,
        doc: "Their pids, in the same order; ends at the first that has none in sentby's pid \
              namespace.",
        get: |e| e.process?.ancestors.as_deref().map(Value::AncestorPids),
    },
    Field {
        name: "candidates",
        of: Of::Sender,
        kind: Kind::Processes,
        doc: "Instead of `pid`, where several processes hold the socket: all of them, at most 16.",
        get: |e| (!e.candidates.is_empty()).then_some(Value::Processes(e.candidates)),
    },
    Field {
        name: "comm",
        of: Of::Sender,
        kind: Kind::Text,
        doc: "Name of the sending thread, at most 15 bytes.",
        get: |e| e.comm.map(Value::Text),
    },
    Field {
        name: "process_comm",
        of: Of::Sender,
        kind: Kind::Text,
        doc: "Name of the process's first thread, where it differs from `comm`.",
        get: |e| {
            let comm = e.process?.comm.as_deref();
            comm.filter(|c| e.comm.is_some_and(|thread| thread != *c)).map(Value::Text)
        },
    },
    Field {
        name: "exe",
        of: Of::Process,
        kind: Kind::Text,
        doc: "Path of the executable.",
        get: |e| e.process?.exe.as_deref().map(Value::Text),
    },
    Field {
        name: "exe_deleted",
        of: Of::Process,
        kind: Kind::Flag,
        doc: "The executable was deleted or replaced while the process ran.",
        get: |e| e.process?.exe_deleted.then_some(Value::Flag),
    },
    Field {
        name: "go",
        of: Of::Event,
        kind: Kind::Build,
        doc: "How Go built the executable, as it says itself; only beside requests for which that \
              is evidence, and absent where the process had ended.",
        get: |e| e.go.map(Value::Build),
    },
    Field {
        name: "cmdline",
        of: Of::Process,
        kind: Kind::Texts,
        doc: "The command line, one string per argument, as the process shows it (it may rewrite \
              it).",
        get: |e| e.process?.argv.as_deref().map(Value::Joined),
    },
    Field {
        name: "cmdline_truncated",
        of: Of::Process,
        kind: Kind::Flag,
        doc: "`cmdline` is not all of it: the last string may be cut, and more may be missing.",
        get: |e| e.process?.argv_truncated.then_some(Value::Flag),
    },
    Field {
        name: "uid",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "Real user id of the sender, in sentby's user namespace.",
        get: |e| e.uid.map(|u| Value::Number(u.into())),
    },
    Field {
        name: "user",
        of: Of::Sender,
        kind: Kind::Text,
        doc: "Name of `uid` in this machine's /etc/passwd (not a container's).",
        get: |e| e.user.map(|u| Value::Text(u.as_bytes())),
    },
    Field {
        name: "cgroup",
        of: Of::Process,
        kind: Kind::Text,
        doc: "Path in the cgroup hierarchy.",
        get: |e| e.process?.cgroup.as_deref().map(Value::Text),
    },
    Field {
        name: "unit",
        of: Of::Process,
        kind: Kind::Text,
        doc: "Innermost systemd service or scope in `cgroup`, as systemd escapes it.",
        get: |e| e.unit.map(|u| Value::Text(u.as_bytes())),
    },
    Field {
        name: "container",
        of: Of::Process,
        kind: Kind::Text,
        doc: "Innermost container in `cgroup`: 64 hex digits, or the name for LXC and \
              systemd-nspawn.",
        get: |e| e.container.map(|c| Value::Text(c.as_bytes())),
    },
    Field {
        name: "container_name",
        of: Of::Process,
        kind: Kind::Text,
        doc: "What its runtime calls `container`; in a pod the name that the pod's specification \
              has for it. Absent until the runtime has answered.",
        get: |e| told(e, |info| info.name.as_deref()),
    },
    Field {
        name: "container_image",
        of: Of::Process,
        kind: Kind::Text,
        doc: "The image that `container` was made of, as it was asked for.",
        get: |e| told(e, |info| info.image.as_deref()),
    },
    Field {
        name: "pod",
        of: Of::Process,
        kind: Kind::Text,
        doc: "Name of the Kubernetes pod that `container` belongs to.",
        get: |e| told(e, |info| info.pod.as_deref()),
    },
    Field {
        name: "pod_namespace",
        of: Of::Process,
        kind: Kind::Text,
        doc: "Namespace of `pod`.",
        get: |e| told(e, |info| info.pod_namespace.as_deref()),
    },
    Field {
        name: "netns",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "Inode of the network namespace, as in `readlink /proc/PID/ns/net`.",
        get: |e| e.capture.netns.map(|n| Value::Number(n.into())),
    },
    Field {
        name: "socket",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "Inode of the socket, as in `readlink /proc/PID/fd/N`.",
        get: |e| e.capture.socket_inode.map(Value::Number),
    },
    Field {
        name: "shared",
        of: Of::Sender,
        kind: Kind::Flag,
        doc: "More than one process has used the socket: with evidence `owner`, any of them may be \
              behind the packet.",
        get: |e| e.capture.shared.then_some(Value::Flag),
    },
    Field {
        name: "src",
        of: Of::Sender,
        kind: Kind::Address,
        doc: "Source address in the packet.",
        get: |e| Some(Value::Address(e.src)),
    },
    Field {
        name: "sport",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "Source port, for transports that have ports.",
        get: |e| e.sport.map(|p| Value::Number(p.into())),
    },
    Field {
        name: "dst",
        of: Of::Sender,
        kind: Kind::Address,
        doc: "Destination address in the packet.",
        get: |e| Some(Value::Address(e.dst)),
    },
    Field {
        name: "dport",
        of: Of::Sender,
        kind: Kind::Number,
        doc: "Destination port.",
        get: |e| e.dport.map(|p| Value::Number(p.into())),
    },
    Field {
        name: "dst_name",
        of: Of::Sender,
        kind: Kind::Text,
        doc: "A name of the destination; nothing is looked up, see `dst_name_from`.",
        get: |e| e.dst_name.map(|n| Value::Text(n.name)),
    },
    Field {
        name: "dst_name_from",
        of: Of::Sender,
        kind: Kind::Name,
        doc: "Who called it so: see \"Names of destinations\".",
        get: |e| e.dst_name.map(|n| Value::Name(n.source)),
    },
    Field {
        name: "iface",
        of: Of::Sender,
        kind: Kind::Text,
        doc: "Name of the interface it leaves by.",
        get: |e| e.iface_name().map(Value::Text),
    },
    Field {
        name: "len",
        of: Of::Event,
        kind: Kind::Number,
        doc: "Length of the whole packet in bytes, from the IP header on.",
        get: |e| e.len.map(|l| Value::Number(l.into())),
    },
    Field {
        name: "host",
        of: Of::Event,
        kind: Kind::Text,
        doc: "The machine that it was sent from; only where events of several come together.",
        get: |e| e.host.map(|h| Value::Text(h.as_bytes())),
    },
    Field {
        name: "sampled",
        of: Of::Event,
        kind: Kind::Number,
        doc: "How many events of its process it stands for, itself included; only where \
              `agent --max-cpu` left some out.",
        get: |e| e.sampled.map(|n| Value::Number(n.into())),
    },
    Field {
        name: "faults",
        of: Of::Event,
        kind: Kind::Names,
        doc: "What was wrong with the request's bytes: `truncated` (the capture ends before the \
              request), `bad-length`, `bad-value`.",
        get: |e| {
            let faults = e.request.faults.as_slice();
            (!faults.is_empty()).then_some(Value::Faults(faults))
        },
    },
];
