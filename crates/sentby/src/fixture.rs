//! What the tests of several modules share: a scratch directory, a protocol with a
//! field of every kind, and an event to change.

use crate::enrich::{ContainerInfo, GoBuild};
use crate::event::{
    Candidate, Capture, DstName, Event, Evidence, Iface, Process, ProcessKey, Raw, Task, Wanted,
};
use std::borrow::Cow;
use std::fmt;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use wire::{Field, Interest, Kind, Layer, Packet, Protocol, Request, Switches, Value};

/// A directory that goes away with the value.
pub struct Scratch(PathBuf);

impl Scratch {
    /// An empty directory of its own.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("sentby-{}-{n}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file, and the directories above it.
    pub fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A protocol that exists in tests only.
pub struct Probe;

static PROBE_FIELDS: &[Field] = &[
    Field { name: "number", kind: Kind::Number, doc: "" },
    Field { name: "name", kind: Kind::Name, doc: "" },
    Field { name: "text", kind: Kind::Text, doc: "" },
    Field { name: "list", kind: Kind::List, doc: "" },
    Field { name: "flag", kind: Kind::Flag, doc: "" },
];

impl Protocol for Probe {
    fn name(&self) -> &'static str {
        "probe"
    }

    fn about(&self) -> &'static str {
        "for tests"
    }

    fn fields(&self) -> &'static [Field] {
        PROBE_FIELDS
    }

    fn interest(&self, _: Switches) -> Interest {
        Interest { ip_protocols: &[17, 6], ..Interest::NONE }
    }

    fn decode<'a>(&'static self, _: &Packet<'a>, _: Switches) -> Option<Request<'a>> {
        Some(Request::new(self))
    }

    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        match request.get("text") {
            Some(Value::Text(t)) => write!(out, "says {}", String::from_utf8_lossy(t)),
            _ => write!(out, "asks {}", request.number("number").unwrap_or(0)),
        }
    }

    fn kernel_part(&self, _: &Request<'_>) -> Option<&'static str> {
        Some("probe-reply")
    }
}

/// An event with owned parts: change them, then take the event.
pub struct Sample {
    pub host: Option<String>,
    pub sampled: Option<u32>,
    pub capture: Capture,
    pub evidence: Evidence,
    pub key: Option<ProcessKey>,
    pub tid: Option<u32>,
    pub comm: Option<Vec<u8>>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub process: Option<Process>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub candidates: Vec<Candidate>,
    pub go: Option<GoBuild>,
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ports: Option<(u16, u16)>,
    pub dst_name: Option<Vec<u8>>,
    pub request: Request<'static>,
    pub len: Option<u32>,
    pub packet: Vec<u8>,
}

impl Sample {
    /// `ping -c 1 192.0.2.7`, as the `task` evidence sees it.
    pub fn ping() -> Self {
        let mut request = Request::new(&Probe);
        request.set("number", Value::Number(7));
        Sample {
            host: None,
            sampled: None,
            capture: capture(),
            evidence: Evidence::Task,
            key: Some(ProcessKey { pid: 4711, start_ticks: 100 }),
            tid: Some(4711),
            comm: Some(b"ping".to_vec()),
            uid: Some(0),
            user: Some("root".into()),
            process: Some(Process {
                argv: Some(b"ping\0-c\x001\x00192.0.2.7".to_vec()),
                exe: Some(b"/usr/bin/ping".to_vec()),
                ..Process::default()
            }),
            unit: None,
            container: None,
            candidates: Vec::new(),
            go: None,
            src: "198.51.100.2".parse().unwrap(),
            dst: "192.0.2.7".parse().unwrap(),
            ports: None,
            dst_name: None,
            request,
            len: Some(84),
            packet: Vec::new(),
        }
    }

    /// An event of which nothing is known that can be unknown.
    pub fn unknown() -> Self {
        let mut sample = Sample::ping();
        sample.capture = Capture { netns: None, iface: None, task: None, ..sample.capture };
        sample.evidence = Evidence::Unknown;
        sample.key = None;
        sample.tid = None;
        sample.comm = None;
        sample.uid = None;
        sample.user = None;
        sample.process = None;
        sample.len = None;
        sample
    }

    /// Every field set, every string hostile.
    pub fn hostile() -> Self {
        let evil: &[u8] = b"\x1b]0;x\x07\n\xff\xc2\x9b31m\xe2\x80\xae\0 '\"\\";
        let text = String::from_utf8_lossy(evil).into_owned();
        let mut sample = Sample::ping();
        let iface = Iface { index: Some(2), name: *b"\x1b[2J\n\xff\0\0\0\0\0\0\0\0\0\0" };
        sample.capture.iface = Some(iface);
        sample.capture.socket_inode = Some(99);
        sample.capture.shared = true;
        sample.tid = Some(4712);
        sample.comm = Some(evil.to_vec());
        sample.host = Some(text.clone());
        sample.sampled = Some(9);
        sample.user = Some(text.clone());
        sample.unit = Some(text.clone());
        sample.container = Some(text.clone());
        let ancestor = |pid| crate::event::Ancestor { pid, comm: evil.to_vec() };
        sample.process = Some(Process {
            start: Some(1_800_000_000_000_000_000),
            ppid: Some(812),
            ancestors: Some(vec![ancestor(Some(812)), ancestor(Some(1)), ancestor(None)]),
            uid: Some(0),
            comm: Some(b"other\n".to_vec()),
            exe: Some(evil.to_vec()),
            exe_deleted: true,
            argv: Some(evil.to_vec()),
            argv_truncated: true,
            cgroup: Some(evil.to_vec()),
            inner_pid: Some(7),
            container: Some(Arc::new(ContainerInfo {
                name: Some(text.clone()),
                image: Some(text.clone()),
                pod: Some(text.clone()),
                pod_namespace: Some(text.clone()),
            })),
        });
        sample.candidates = vec![
            Candidate { key: ProcessKey { pid: 12, start_ticks: 1 }, comm: evil.to_vec() },
            Candidate { key: ProcessKey { pid: 34, start_ticks: 1 }, comm: b"b".to_vec() },
        ];
        sample.go = Some(GoBuild {
            version: evil.to_vec(),
            path: Some(evil.to_vec()),
            module: Some(evil.to_vec()),
            module_version: Some(evil.to_vec()),
        });
        sample.ports = Some((40_112, 80));
        sample.dst_name = Some(evil.to_vec());
        sample.request.set("name", Value::Name("fixed"));
        sample.request.set("text", Value::Text(Cow::Borrowed(evil)));
        sample.request.set("list", Value::List(vec![Cow::Borrowed(evil), Cow::Borrowed(b"b")]));
        sample.request.set("flag", Value::Flag(true));
        sample.request.faults = vec![wire::Fault::Truncated, wire::Fault::BadLength];
        sample
    }

    /// The event.
    pub fn event<'a>(&'a self) -> Event<'a> {
        Event {
            host: self.host.as_deref(),
            sampled: self.sampled,
            capture: &self.capture,
            evidence: self.evidence,
            key: self.key,
            tid: self.tid,
            comm: self.comm.as_deref(),
            uid: self.uid,
            user: self.user.as_deref(),
            process: self.process.as_ref(),
            facts: None,
            unit: self.unit.as_deref(),
            container: self.container.as_deref(),
            candidates: &self.candidates,
            go: self.go.as_ref(),
            src: self.src,
            dst: self.dst,
            sport: self.ports.map(|p| p.0),
            dport: self.ports.map(|p| p.1),
            dst_name: self.dst_name.as_deref().map(|name| DstName { name, source: "dns" }),
            request: &self.request,
            len: self.len,
            raw: Raw::Packet(&self.packet),
            outcome: None,
        }
    }
}

/// A capture by a task on eth0.
pub fn capture() -> Capture {
    Capture {
        time: 1_795_343_885_123_456_789,
        hook: "test",
        evidence: Evidence::Task,
        task: Some(Task {
            key: Some(ProcessKey { pid: 4711, start_ticks: 100 }),
            tid: Some(4711),
            comm: Some(*b"ping\0\0\0\0\0\0\0\0\0\0\0\0"),
            uid: Some(0),
        }),
        socket_inode: None,
        outcome_follows: true,
        holders: None,
        shared: false,
        netns: Some(4_026_531_840),
        iface: Some(Iface { index: Some(2), name: *b"eth0\0\0\0\0\0\0\0\0\0\0\0\0" }),
        descends: None,
        wanted: Wanted::Packet,
        layer: Layer::Ip,
        bytes: 0..0,
        len: Some(84),
        segment: None,
        recorded: None,
    }
}
