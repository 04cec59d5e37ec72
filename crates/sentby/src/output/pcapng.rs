//! A capture file: pcapng that Wireshark opens, with the sender beside each packet, and
//! from which `sentby replay` makes the same events.
//!
//! Where the hook saw the packet, it is written as it was; its checksums are filled in,
//! as the network card would have done. Requests that several packets carried, or one
//! packet with others, are written as one packet of their own: `"packet":"rebuilt"`.
//!
//! Files are made of whole blocks, and written whole blocks at a time: what a kill leaves
//! behind can be read.

use super::rotation::{Rotating, Turn};
use super::text::Printer;
use super::{Output, PREFIX, json};
use crate::event::{Event, Evidence, Process, Raw};
use crate::ledger::Ledger;
use anyhow::Context;
use serde_json::json;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;
use wire::Fault;
use wire::capture_file::write::{self, MAX_OPTION, Packet, Statistics};
use wire::link::linktype;
use wire::rebuild::{self, Sent};

/// Bytes that are written at once.
const PIECE: usize = 64 * 1024;

/// Most interfaces that are told apart; packets of others are at one without a name.
const INTERFACES_MAX: usize = 1024;

/// Longest line of JSON in a comment, in bytes: the line for people has to fit as well.
const MAX_JSON: usize = 60_000;

/// Bytes of a command line that are kept where the whole does not fit.
const SHORT_ARGV: usize = 1024;

/// Version of what stands in the comments.
const FORMAT: u64 = 1;

/// An interface: network namespace and name.
type Place = (Option<u32>, Option<[u8; 16]>);

/// Where it is written to.
enum Target {
    Stdout(Box<dyn Write>),
    File { file: File, path: PathBuf, rotating: Box<Rotating> },
}

/// The output.
pub struct Pcapng {
    target: Target,
    printer: Printer,
    interfaces: HashMap<Place, Interface>,
    /// Whole blocks that are not written yet.
    blocks: Vec<u8>,
    /// Bytes of the present file that were written.
    written: u64,
    packet: Vec<u8>,
    json: Vec<u8>,
    comment: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Interface {
    number: u32,
    first: u64,
    last: u64,
    packets: u64,
}

impl Pcapng {
    /// To stdout.
    pub fn to_stdout(stdout: Box<dyn Write>, printer: Printer) -> Pcapng {
        Self::to(Target::Stdout(stdout), printer)
    }

    /// To files.
    pub fn to_files(mut rotating: Rotating, printer: Printer) -> anyhow::Result<Pcapng> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let path = rotating.first(now.as_secs())?;
        let file = create(&path)?;
        Ok(Self::to(Target::File { file, path, rotating: Box::new(rotating) }, printer))
    }

    fn to(target: Target, printer: Printer) -> Pcapng {
        let mut output = Pcapng {
            target,
            printer,
            interfaces: HashMap::new(),
            blocks: Vec::with_capacity(2 * PIECE),
            written: 0,
            packet: Vec::new(),
            json: Vec::new(),
            comment: Vec::new(),
        };
        output.begin();
        output
    }

    fn begin(&mut self) {
        self.interfaces.clear();
        self.written = 0;
        write::section(&mut self.blocks, concat!("sentby ", env!("CARGO_PKG_VERSION")));
    }

    /// Goes on to the next file, if it is time.
    fn turn(&mut self, time: u64) -> io::Result<()> {
        let Target::File { rotating, .. } = &mut self.target else { return Ok(()) };
        let written = self.written + self.blocks.len() as u64;
        let turn = rotating.turn(time / 1_000_000_000, written).map_err(io::Error::other)?;
        let next = match turn {
            Turn::Stay => return Ok(()),
            // The user has what was asked for: an end, not an error.
            Turn::Enough => return Err(io::ErrorKind::BrokenPipe.into()),
            Turn::Next(next) => next,
        };
        self.statistics(None);
        self.pass_on()?;
        if let Target::File { file, path, .. } = &mut self.target {
            *file = create(&next).map_err(io::Error::other)?;
            *path = next;
        }
        self.begin();
        Ok(())
    }

    fn pass_on(&mut self) -> io::Result<()> {
        match &mut self.target {
            Target::Stdout(out) => out.write_all(&self.blocks)?,
            Target::File { file, path, .. } => {
                file.write_all(&self.blocks).map_err(|e| {
                    // What was written of the last block can be read by nobody.
                    let _ = file.set_len(self.written);
                    io::Error::new(e.kind(), format!("{}: {e}", path.display()))
                })?;
            }
        }
        self.written += self.blocks.len() as u64;
        self.blocks.clear();
        Ok(())
    }

    /// The number of the event's interface, which is described if it is new.
    fn interface(&mut self, event: &Event<'_>) -> u32 {
        let named = event.capture.iface.as_ref().map(|iface| iface.name);
        let place: Place = (event.capture.netns, named);
        let known = self.interfaces.contains_key(&place);
        let full = !known && self.interfaces.len() >= INTERFACES_MAX;
        let place = if full { (None, None) } else { place };
        let time = event.capture.time;
        let fresh =
            Interface { number: self.interfaces.len() as u32, first: time, last: time, packets: 0 };
        if !self.interfaces.contains_key(&place) {
            let text = place.0.map(|netns| format!("network namespace {netns}"));
            let name = if full { None } else { event.iface_name() };
            let text = text.as_ref().map(String::as_bytes);
            write::interface(&mut self.blocks, linktype::RAW, name, text);
        }
        let interface = self.interfaces.entry(place).or_insert(fresh);
        interface.first = interface.first.min(time);
        interface.last = interface.last.max(time);
        interface.packets += 1;
        interface.number
    }

    /// Puts the packet together; its length as it was sent, and whether it is made up.
    fn packet(&mut self, event: &Event<'_>) -> (u32, bool) {
        self.packet.clear();
        packet(event, &mut self.packet)
    }

    /// Writes what is known about the sender: a line for programs, and one for people.
    fn comment(&mut self, event: &Event<'_>, rebuilt: bool) -> io::Result<()> {
        self.json.clear();
        json::write_envelope(event, &mut self.json)?;
        if self.json.len() > MAX_JSON {
            self.json.clear();
            let process = event.process.cloned().map(short);
            let cut = Event { process: process.as_ref(), ..*event };
            json::write_envelope(&cut, &mut self.json)?;
        }
        let packet = if rebuilt { "rebuilt" } else { "captured" };
        self.comment.clear();
        self.comment.extend_from_slice(PREFIX);
        write!(self.comment, "{{\"format\":{FORMAT},\"packet\":\"{packet}\"")?;
        if let Some(outcome) = outcome(event) {
            write!(self.comment, ",\"outcome\":{outcome}")?;
        }
        self.comment.extend_from_slice(b",\"event\":");
        self.comment.extend_from_slice(&self.json);
        self.comment.extend_from_slice(b"}\n");
        let line = self.printer.line(event).map_err(io::Error::other)?;
        let room = MAX_OPTION.saturating_sub(self.comment.len());
        let end = (0..=room.min(line.len())).rev().find(|n| line.is_char_boundary(*n));
        self.comment.extend_from_slice(line[..end.unwrap_or_default()].trim_end().as_bytes());
        Ok(())
    }

    /// Writes what was counted: of each interface, and with the first of the whole run.
    fn statistics(&mut self, ledger: Option<&Ledger>) {
        let mut interfaces: Vec<Interface> = self.interfaces.values().copied().collect();
        interfaces.sort_by_key(|interface| interface.number);
        for Interface { number, first, last, packets } in interfaces {
            let mut counts =
                Statistics { time: (first, last), delivered: packets, ..Statistics::default() };
            let mut comment = Vec::new();
            if let Some(ledger) = ledger.filter(|_| number == 0) {
                counts.received = Some(ledger.seen());
                counts.dropped = Some(ledger.all_lost());
                comment.extend_from_slice(b"received and dropped: of all interfaces. ");
                let mut text = String::new();
                let _ = ledger.write_text(false, &mut text);
                comment.extend_from_slice(text.trim_end().as_bytes());
            }
            write::statistics(&mut self.blocks, number, &counts, &comment);
        }
    }
}

impl Output for Pcapng {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.turn(event.capture.time)?;
        let interface = self.interface(event);
        let (len, rebuilt) = self.packet(event);
        self.comment(event, rebuilt)?;
        let sent = event.evidence.names_a_process() || event.evidence == Evidence::Kernel;
        let packet = Packet {
            interface,
            time: event.capture.time,
            bytes: &self.packet,
            len,
            comment: &self.comment,
            process: event.key.map(|key| (key.pid, event.tid.unwrap_or_default())),
            outbound: sent,
        };
        write::packet(&mut self.blocks, &packet);
        if self.blocks.len() >= PIECE { self.pass_on() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        match &mut self.target {
            Target::Stdout(out) => out.flush(),
            Target::File { .. } => Ok(()),
        }
    }

    fn finish(&mut self, ledger: &Ledger) -> io::Result<()> {
        self.statistics(Some(ledger));
        self.flush()
    }
}

/// Appends the packet of an event, or one made up around what was sent; its length as it
/// was sent, and whether it is made up.
pub(super) fn packet(event: &Event<'_>, out: &mut Vec<u8>) -> (u32, bool) {
    let from = out.len();
    match event.raw {
        Raw::Packet(bytes) => {
            let parsed = wire::packet::parse(wire::Layer::Ip, bytes);
            let stated = parsed.and_then(|p| p.ip_len);
            let end = stated.map_or(bytes.len(), |len| bytes.len().min(len as usize));
            out.extend_from_slice(&bytes[..end]);
            rebuild::fill_checksums(&mut out[from..]);
            (stated.or(event.len).unwrap_or_default(), false)
        }
        Raw::Payload { protocol, seq, bytes, whole } => {
            let ports = (event.sport.unwrap_or_default(), event.dport.unwrap_or_default());
            let (src, dst) = (event.src, event.dst);
            // There was more of it, and nobody knows how much.
            let cut = event.request.faults.contains(&Fault::Truncated);
            let whole = whole + u64::from(cut);
            let sent = Sent { src, dst, ports, protocol, seq, bytes, whole };
            (rebuild::packet(&sent, out), true)
        }
    }
}

/// How what it opened has ended, as the comments tell it.
pub(super) fn outcome(event: &Event<'_>) -> Option<serde_json::Value> {
    let outcome = event.outcome?;
    let mut object = json!({ "attempts": outcome.attempts });
    if let Some(ending) = outcome.ending {
        object["ending"] = json!(ending.name());
    }
    if let Some(after) = outcome.after {
        object["after_ns"] = json!(after);
    }
    Some(object)
}

/// Creates a file for nobody else to read: packets hold cookies and passwords, which
/// events leave out.
fn create(path: &Path) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).with_context(|| format!("writing {}", path.display()))
}

/// The same with the beginning of its command line.
fn short(mut process: Process) -> Process {
    if let Some(argv) = &mut process.argv {
        process.argv_truncated |= argv.len() > SHORT_ARGV;
        argv.truncate(SHORT_ARGV);
    }
    process
}
