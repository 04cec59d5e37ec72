//! What the lines of one sender have in common, as it was written: all but the time, the
//! length and the request itself. A copy costs a tenth of writing it field by field.

use super::fields::{FIELDS, Field, Of};
use crate::enrich::Lru;
use crate::event::{Event, Evidence, Iface, ProcessKey};
use std::io;
use std::net::IpAddr;
use std::sync::LazyLock;

/// Senders that are kept, each in the place that its socket tells: another one with the
/// same place replaces it.
const MAX_SENDERS: usize = 1024;

/// Longest text that is kept of a sender, in bytes: a few have long command lines.
const MAX_TEXT: usize = 4096;

/// Processes of which the fields are kept, for senders that are not.
const MAX_PROCESSES: usize = 256;

/// The fields, in runs of those that may be kept and those that may not.
pub static RUNS: LazyLock<Vec<&[Field]>> =
    LazyLock::new(|| FIELDS.chunk_by(|a, b| (a.of == Of::Event) == (b.of == Of::Event)).collect());

/// Appends fields as the output has them, behind others.
type Write = fn(&Event<'_>, &[Field], &mut Vec<u8>) -> io::Result<()>;

/// Text in pieces, one for each run of fields.
#[derive(Default)]
pub struct Pieces {
    bytes: Vec<u8>,
    /// Where in `bytes` each ends.
    ends: Vec<usize>,
}

impl Pieces {
    /// The pieces, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut from = 0;
        self.ends.iter().map(move |end| &self.bytes[std::mem::replace(&mut from, *end)..*end])
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

/// What fields of [`Of::Sender`] depend on, but for texts.
#[derive(Clone, Copy, PartialEq)]
struct Numbers {
    protocol: &'static str,
    hook: &'static str,
    evidence: Evidence,
    key: Option<ProcessKey>,
    tid: Option<u32>,
    uid: Option<u32>,
    facts: u64,
    netns: Option<u32>,
    socket: Option<u64>,
    shared: bool,
    ends: (IpAddr, IpAddr),
    ports: (Option<u16>, Option<u16>),
    iface: Option<Iface>,
}

impl Numbers {
    /// `None` where fields depend on more: the sender is no one known process.
    fn of(event: &Event<'_>) -> Option<Numbers> {
        event.key.filter(|_| event.candidates.is_empty() && event.evidence.names_a_process())?;
        Some(Numbers {
            protocol: event.request.protocol.name(),
            hook: event.capture.hook,
            evidence: event.evidence,
            key: event.key,
            tid: event.tid,
            uid: event.uid,
            facts: event.facts?,
            netns: event.capture.netns,
            socket: event.capture.socket_inode,
            shared: event.capture.shared,
            ends: (event.src, event.dst),
            ports: (event.sport, event.dport),
            iface: event.capture.iface,
        })
    }

    /// Its place among [`MAX_SENDERS`].
    fn place(&self) -> usize {
        let port = u64::from(self.ports.0.unwrap_or_default());
        let mixed = self.socket.unwrap_or_default() ^ port << 32 ^ self.facts << 48;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize % MAX_SENDERS
    }
}

/// Who sent on which socket to whom, and how that was written.
struct Sender {
    numbers: Numbers,
    comm: Option<Vec<u8>>,
    user: Option<String>,
    dst_name: Option<(Vec<u8>, String)>,
    pieces: Pieces,
}

impl Sender {
    fn is(&self, numbers: &Numbers, event: &Event<'_>) -> bool {
        let called = self.dst_name.as_ref().map(|(name, from)| (name.as_slice(), from.as_str()));
        self.numbers == *numbers
            && self.comm.as_deref() == event.comm
            && self.user.as_deref() == event.user
            && called == event.dst_name.map(|n| (n.name, n.source))
    }
}

/// What is kept of senders and of processes.
pub struct Kept {
    senders: Vec<Option<Sender>>,
    processes: Lru<u64, Pieces>,
    /// The last that was too long to be kept.
    long: Pieces,
}

impl Kept {
    /// Nothing yet.
    pub fn new() -> Self {
        let senders = std::iter::repeat_with(|| None).take(MAX_SENDERS).collect();
        Kept { senders, processes: Lru::new(MAX_PROCESSES), long: Pieces::default() }
    }

    /// The runs of [`RUNS`] that may be kept, as `write` writes them for this event. `None`
    /// where they may not.
    pub fn of(&mut self, event: &Event<'_>, write: Write) -> io::Result<Option<&Pieces>> {
        let Some(numbers) = Numbers::of(event) else { return Ok(None) };
        let place = numbers.place();
        let known = self.senders[place].as_ref().is_some_and(|s| s.is(&numbers, event));
        if !known {
            let pieces = self.write(event, numbers.facts, write)?;
            if pieces.bytes.len() > MAX_TEXT {
                self.long = pieces;
                return Ok(Some(&self.long));
            }
            self.senders[place] = Some(Sender {
                numbers,
                comm: event.comm.map(<[u8]>::to_vec),
                user: event.user.map(str::to_owned),
                dst_name: event.dst_name.map(|n| (n.name.to_vec(), n.source.to_owned())),
                pieces,
            });
        }
        let pieces = self.senders[place].as_ref().map(|s| &s.pieces);
        Ok(pieces)
    }

    fn write(&mut self, event: &Event<'_>, facts: u64, write: Write) -> io::Result<Pieces> {
        if self.processes.get_mut(&facts).is_none() {
            self.processes.insert(facts, process(event, write)?);
        }
        let mut process = self.processes.peek(&facts).map(Pieces::iter);
        let mut pieces = Pieces::default();
        for run in RUNS.iter().filter(|run| run[0].of != Of::Event) {
            for part in parts(run) {
                let known = process.as_mut().filter(|_| part[0].of == Of::Process);
                match known.and_then(Iterator::next) {
                    Some(bytes) => pieces.bytes.extend_from_slice(bytes),
                    None => write(event, part, &mut pieces.bytes)?,
                }
            }
            pieces.end();
        }
        Ok(pieces)
    }
}

/// The fields of a run, by what they depend on.
fn parts(run: &'static [Field]) -> impl Iterator<Item = &'static [Field]> {
    run.chunk_by(|a, b| a.of == b.of)
}

/// What depends on the process alone, in its parts.
fn process(event: &Event<'_>, write: Write) -> io::Result<Pieces> {
    let mut pieces = Pieces::default();
    for part in RUNS.iter().flat_map(|run| parts(run)).filter(|part| part[0].of == Of::Process) {
        write(event, part, &mut pieces.bytes)?;
        pieces.end();
    }
    Ok(pieces)
}
