//! The whole journey of a request, on one screen:
//!
//! ```text
//! backend ──Capture──▶ decode ──Request──▶ enrich ──Event──▶ filter ──▶ outputs
//! ```
//!
//! One thread, one direction. The reader thread in front of it (capture/reader.rs)
//! and the kernel in front of that never wait for anything that flows back.

mod show;

use crate::asked::{self, Asked, Found};
use crate::capture::Counts;
use crate::capture::reader::{Message, Reader};
use crate::enrich::Enricher;
use crate::event::{Batch, Capture, Ends, Item, Outcome, Raw, Recorded, Stored, Wanted};
use crate::filter::Filter;
use crate::flows::{Flow, Flows, Key, Pending, REQUEST_MAX};
use crate::ledger::Ledger;
use crate::openings::{Kept, Opening, Openings};
use crate::output::Output;
use anyhow::Result;
use show::Unnamed;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use wire::transport::{Segment, TCP, UDP, flag};
use wire::{Next, Packet, Request};

/// The longest time a stop request goes unnoticed.
const NOTICE: Duration = Duration::from_millis(20);

/// When to stop.
pub struct Limits<'a> {
    /// After this many events.
    pub count: Option<u64>,
    /// At this moment.
    pub deadline: Option<Instant>,
    /// When this is set: a signal, or the traced command has ended.
    pub stop: &'a AtomicBool,
}

/// The stages behind the backend.
pub struct Pipeline<'a> {
    /// Protocols that were asked for.
    pub asked: Vec<Asked>,
    /// Requests that are not whole yet.
    pub flows: Flows,
    /// Connections of which nobody knows yet how their opening ends.
    pub openings: Openings,
    /// Fills in what the backend could not know.
    pub enricher: Enricher,
    /// Events whose containers get their names in a moment.
    unnamed: Unnamed,
    /// Decides.
    pub filter: Filter,
    /// Where events go.
    pub output: Box<dyn Output + 'a>,
    /// Where every capture went.
    pub ledger: Ledger,
    /// What the user should know at the end.
    pub notes: Vec<String>,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Go {
    On,
    Enough,
}

impl<'a> Pipeline<'a> {
    /// One that has seen nothing.
    pub fn new(
        asked: Vec<Asked>,
        filter: Filter,
        enricher: Enricher,
        output: Box<dyn Output + 'a>,
    ) -> Pipeline<'a> {
        let (flows, openings) = (Flows::new(), Openings::new());
        let (ledger, notes, unnamed) = (Ledger::default(), Vec::new(), Unnamed::new());
        Pipeline { asked, flows, openings, enricher, unnamed, filter, output, ledger, notes }
    }
}

impl Pipeline<'_> {
    /// Runs until a limit is reached or nobody reads any more, then drains the
    /// backend, so that the ledger is complete.
    pub fn run(&mut self, reader: &Reader, limits: &Limits<'_>) -> Result<()> {
        let mut flow = Go::On;
        let mut error = None;
        let end = loop {
            if limits.reached() {
                reader.stop();
            }
            let message = match reader.messages.recv_timeout(self.unnamed.patience(NOTICE)) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => {
                    if self.unnamed.is_empty() {
                        continue;
                    }
                    // Nothing but a look at what waits.
                    Message::Batch(Batch::default())
                }
                Err(RecvTimeoutError::Disconnected) => break None,
            };
            match message {
                Message::End(counts) => break Some(counts),
                Message::Counts(counts) => self.output.so_far(&self.so_far(&counts)),
                Message::Batch(batch) => {
                    match self.batch(&batch, &mut flow, limits) {
                        Ok(Go::On) => {}
                        Ok(Go::Enough) => reader.stop(),
                        // What comes now is counted as left; the first error is the reason.
                        Err(e) => {
                            flow = Go::Enough;
                            error = error.or(Some(e));
                            reader.stop();
                        }
                    }
                    // What was only a look has no memory to give back.
                    if batch.items.capacity() > 0 {
                        reader.recycle(batch);
                    }
                }
            }
        };
        if flow == Go::On {
            quiet_pipe(self.expire(None))?;
        }
        self.release_all(&mut flow, limits.count)?;
        let flushed = self.output.flush();
        let settled = self.output.settle().map(|lost| {
            for (place, n) in lost.into_iter().filter(|(_, n)| *n > 0) {
                self.ledger.shown -= n.min(self.ledger.shown);
                *self.ledger.lost.entry(place).or_default() += n;
            }
        });
        let mut failed = None;
        if let Some(counts) = end {
            let mut counts = (*counts)?;
            failed = counts.failed.take();
            self.close_ledger(counts);
        }
        if let Some(error) = error {
            return Err(error);
        }
        quiet_pipe(flushed)?;
        quiet_pipe(settled)?;
        quiet_pipe(self.output.finish(&self.ledger))?;
        failed.map_or(Ok(()), Err)
    }

    fn batch(&mut self, batch: &Batch, flow: &mut Go, limits: &Limits<'_>) -> Result<Go> {
        // Not the latest: files may have a packet from the future among the others.
        let mut earliest = None;
        self.enricher.tick();
        let mut failed = self.release(flow, limits.count).err();
        for item in &batch.items {
            let shown = match item {
                Item::Process(key, process) => {
                    self.enricher.learn(*key, (**process).clone());
                    continue;
                }
                Item::Capture(_) if *flow == Go::Enough => {
                    self.ledger.left += 1;
                    continue;
                }
                _ if *flow == Go::Enough => continue,
                Item::Capture(capture) => {
                    earliest = Some(earliest.unwrap_or(u64::MAX).min(capture.time));
                    self.capture(capture, &batch.bytes[capture.bytes.clone()])
                }
                Item::Answer(capture) => {
                    let packet =
                        wire::packet::parse(capture.layer, &batch.bytes[capture.bytes.clone()]);
                    if let Some(packet) = packet {
                        self.enricher.learn_answer(capture, &packet);
                    }
                    continue;
                }
                Item::Outcome(outcome) => self.outcome(outcome),
            };
            // The rest of the batch is counted as left.
            match quiet_pipe(shown) {
                Ok(Go::On) if limits.count.is_none_or(|n| self.ledger.shown < n) => {}
                Ok(_) => *flow = Go::Enough,
                Err(e) => {
                    *flow = Go::Enough;
                    failed = Some(e);
                }
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        if *flow == Go::On && quiet_pipe(self.expire(Some(earliest.unwrap_or(0))))? == Go::Enough {
            *flow = Go::Enough;
        }
        if quiet_pipe(self.output.flush())? == Go::Enough {
            *flow = Go::Enough;
        }
        Ok(if *flow == Go::Enough { Go::Enough } else { Go::On })
    }

    fn capture(&mut self, capture: &Capture, bytes: &[u8]) -> io::Result<()> {
        if let Some(recorded) = &capture.recorded
            && let Some(stored) = &recorded.stored
        {
            return self.stored((capture, bytes), recorded, stored);
        }
        let Some(packet) = wire::packet::parse(capture.layer, bytes) else {
            self.undecodable();
            return Ok(());
        };
        let ends = Ends::of(&packet);
        if let Some(recorded) = &capture.recorded
            && let Some(protocol) = recorded.protocol
        {
            return self.recorded((capture, bytes), recorded, protocol, &packet).map(drop);
        }
        match (capture.wanted, wire::transport::tcp(&packet), capture.segment) {
            (Wanted::Payload { begins, opens }, Some(segment), _) => {
                self.ledger.parts += 1;
                if opens && let Some(request) = asked::decode(&self.asked, &packet) {
                    self.ledger.parts -= 1;
                    self.packet(capture, ends, &request, bytes)?;
                }
                self.segment((capture, bytes), ends, &segment, begins)
            }
            (Wanted::Payload { .. }, None, Some(size)) => {
                self.ledger.parts += 1;
                self.datagrams(capture, ends, &packet, size)
            }
            (wanted, ..) => match asked::decode(&self.asked, &packet) {
                Some(request) => self.packet(capture, ends, &request, bytes),
                // It only began like a request.
                None if wanted != Wanted::Packet => {
                    self.ledger.parts += 1;
                    Ok(())
                }
                None => {
                    self.undecodable();
                    Ok(())
                }
            },
        }
    }

    /// A request that a packet is by itself. One that waits for its outcome is among the
    /// parts until it is shown.
    fn packet(
        &mut self,
        capture: &Capture,
        ends: Ends,
        request: &Request<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let waits = capture.opening().filter(|_| request.protocol.awaits_outcome());
        let Some(inode) = waits else {
            return self.request(capture, ends, request, (Raw::Packet(bytes), None));
        };
        self.ledger.parts += 1;
        match self.openings.keep(inode, capture, bytes) {
            Kept::Waits(None) | Kept::Again => Ok(()),
            Kept::Waits(Some(other)) => self.opening(&other, None),
            Kept::Ended(opening, outcome) => self.opening(&opening, Some(&outcome)),
        }
    }

    fn outcome(&mut self, outcome: &Outcome) -> io::Result<()> {
        match self.openings.ended(outcome) {
            Some(opening) => self.opening(&opening, Some(outcome)),
            None => Ok(()),
        }
    }

    /// Shows an opening, with its outcome if that is known.
    fn opening(&mut self, opening: &Opening, outcome: Option<&Outcome>) -> io::Result<()> {
        let Opening { capture, bytes, syns } = opening;
        let Some(packet) = wire::packet::parse(capture.layer, bytes) else { return Ok(()) };
        let Some(mut request) = asked::decode(&self.asked, &packet) else { return Ok(()) };
        let outcome = wire::Outcome {
            ending: outcome.map(|o| o.ending),
            after: outcome.map(|o| o.time.saturating_sub(capture.time)),
            attempts: *syns,
        };
        request.protocol.conclude(&mut request, &outcome);
        self.ledger.parts -= 1;
        self.request(capture, Ends::of(&packet), &request, (Raw::Packet(bytes), Some(outcome)))
    }

    /// A request of a recording: of its packet, or as it was understood then where there is
    /// no packet, or where nobody understands it any more.
    fn stored(
        &mut self,
        (capture, bytes): (&Capture, &[u8]),
        recorded: &Recorded,
        stored: &Stored,
    ) -> io::Result<()> {
        let Some(protocol) = recorded.protocol else { return Ok(()) };
        let Some(at) = self.asked.iter().position(|a| a.protocol.name() == protocol) else {
            return Ok(());
        };
        if let Some(packet) = wire::packet::parse(capture.layer, bytes) {
            if self.recorded((capture, bytes), recorded, protocol, &packet)? {
                return Ok(());
            }
            self.ledger.parts -= 1;
        }
        let request = stored.request(self.asked[at].protocol);
        self.request(capture, stored.ends, &request, (Raw::Packet(bytes), recorded.outcome))
    }

    /// A packet that a recording has for one request, whatever came before and after it.
    /// Returns whether it is one.
    fn recorded(
        &mut self,
        (capture, bytes): (&Capture, &[u8]),
        recorded: &Recorded,
        protocol: &str,
        packet: &Packet<'_>,
    ) -> io::Result<bool> {
        self.ledger.parts += 1;
        let raw = (Raw::Packet(bytes), recorded.outcome);
        let ends = Ends::of(packet);
        let Some(at) = self.asked.iter().position(|a| a.protocol.name() == protocol) else {
            return Ok(false);
        };
        let asked = [self.asked[at]];
        if let Some(mut request) = asked::decode(&asked, packet) {
            if let Some(outcome) = &recorded.outcome {
                request.protocol.conclude(&mut request, outcome);
            }
            self.ledger.parts -= 1;
            return self.request(capture, ends, &request, raw).map(|()| true);
        }
        let Some(segment) = wire::transport::tcp(packet) else { return Ok(false) };
        if let Found::Request(request, _) = asked::decode_stream(&asked, segment.payload, true) {
            self.ledger.parts -= 1;
            return self.request(capture, ends, &request, raw).map(|()| true);
        }
        Ok(false)
    }

    /// One send that the device cuts into several datagrams (UDP_SEGMENT).
    fn datagrams(
        &mut self,
        capture: &Capture,
        ends: Ends,
        packet: &Packet<'_>,
        size: u32,
    ) -> io::Result<()> {
        let mut own = capture.clone();
        for payload in wire::transport::datagrams(packet, size as usize) {
            let len = packet.header_len + payload.len() as u32;
            own.len = Some(len);
            let datagram = Packet { payload: &payload, ip_len: Some(len), ..packet.clone() };
            if let Some(request) = asked::decode(&self.asked, &datagram) {
                let bytes = payload.get(UDP_HEADER..).unwrap_or_default();
                let whole = bytes.len() as u64;
                let raw = Raw::Payload { protocol: UDP, seq: 0, bytes, whole };
                self.ledger.parts -= 1;
                self.request(&own, ends, &request, (raw, None))?;
            }
        }
        Ok(())
    }

    fn undecodable(&mut self) {
        *self.ledger.lost.entry("undecodable").or_default() += 1;
    }

    /// A piece of what a process sent over TCP.
    fn segment(
        &mut self,
        (capture, packet): (&Capture, &[u8]),
        ends: Ends,
        segment: &Segment<'_>,
        begins: bool,
    ) -> io::Result<()> {
        let key = Key { netns: capture.netns, ends };
        // Data in a SYN comes after its own number.
        let seq = segment.seq.wrapping_add(u32::from(segment.flags & flag::SYN != 0));
        let next = seq.wrapping_add(segment.payload.len() as u32);
        // The rest of the packet was not captured, so nothing can be added to this.
        let cut = segment.len.is_some_and(|len| (len as usize) > segment.payload.len());
        let mut flow = self.flows.take(&key);
        if let Some(mut pending) = flow.pending.take() {
            if flow.next == seq {
                pending.bytes.extend_from_slice(segment.payload);
                let ended = cut || pending.bytes.len() >= REQUEST_MAX;
                let at = seq.wrapping_sub((pending.bytes.len() - segment.payload.len()) as u32);
                let before = self.ledger.parts;
                let place = Place { seq: at, packet: None };
                let rest = self.requests((&pending.capture, ends), &pending.bytes, ended, place)?;
                self.count_cut(cut, before, &mut flow);
                return self.keep(
                    key,
                    flow,
                    rest,
                    (&pending.capture, &pending.bytes),
                    (at, next),
                    capture.time,
                );
            }
            self.ended(&key, &pending)?;
        }
        let Some(from) = flow.begin_in(seq, segment.payload.len(), begins) else {
            return self.keep(key, flow, Rest::Nothing, (capture, &[]), (seq, next), capture.time);
        };
        let bytes = &segment.payload[from..];
        let before = self.ledger.parts;
        let at = seq.wrapping_add(from as u32);
        let carried = segment.len.unwrap_or_default().max(segment.payload.len() as u32);
        let place = Place { seq: at, packet: (from == 0).then_some((packet, carried.into())) };
        let ended = cut || bytes.len() >= REQUEST_MAX;
        let rest = self.requests((capture, ends), bytes, ended, place)?;
        self.count_cut(cut, before, &mut flow);
        self.keep(key, flow, rest, (capture, bytes), (at, next), capture.time)
    }

    /// Where several requests stand one after the other, more may stand in what was not
    /// captured. `before`: the parts before those were shown.
    fn count_cut(&mut self, cut: bool, before: i64, flow: &mut Flow) {
        flow.several |= before - self.ledger.parts > 1;
        if cut && flow.several {
            *self.ledger.details_lost.entry("beyond-capture").or_default() += 1;
        }
    }

    /// Shows the requests that stand one after the other.
    fn requests(
        &mut self,
        (capture, ends): (&Capture, Ends),
        bytes: &[u8],
        ended: bool,
        place: Place<'_>,
    ) -> io::Result<Rest> {
        let mut at = 0;
        while at < bytes.len() {
            match asked::decode_stream(&self.asked, &bytes[at..], ended) {
                Found::Nothing => return Ok(Rest::Nothing),
                Found::Wait => return Ok(Rest::Wait(at)),
                Found::Request(request, next) => {
                    self.ledger.parts -= 1;
                    let raw = place.raw(bytes, at, next);
                    self.request(capture, ends, &request, (raw, None))?;
                    match next {
                        Next::At(0) | Next::Somewhere | Next::Never => return Ok(Rest::Nothing),
                        Next::At(n) => {
                            at = at.saturating_add(usize::try_from(n).unwrap_or(usize::MAX))
                        }
                    }
                }
            }
        }
        Ok(if at == bytes.len() { Rest::Nothing } else { Rest::Skip(at) })
    }

    /// Keeps what the stream's next capture needs. `bytes` stand from the sequence
    /// number `place.0` on, and end before `place.1`.
    fn keep(
        &mut self,
        key: Key,
        mut flow: Flow,
        rest: Rest,
        (capture, bytes): (&Capture, &[u8]),
        place: (u32, u32),
        now: u64,
    ) -> io::Result<()> {
        match rest {
            Rest::Nothing => {}
            Rest::Skip(n) => flow.skip_to = Some(place.0.wrapping_add(n.min(MAX_SKIP) as u32)),
            Rest::Wait(at) => {
                flow.next = place.1;
                let seq = place.0.wrapping_add(at as u32);
                let bytes = bytes[at..].to_vec();
                flow.pending = Some(Pending { capture: capture.clone(), bytes, seq });
            }
        }
        if flow.pending.is_none() && flow.skip_to.is_none() {
            return Ok(());
        }
        match self.flows.keep(key, flow, now) {
            Some((key, pending)) => self.ended(&key, &pending),
            None => Ok(()),
        }
    }

    /// Decodes a request that will not become whole, as far as it came.
    fn ended(&mut self, key: &Key, pending: &Pending) -> io::Result<()> {
        let place = Place { seq: pending.seq, packet: None };
        self.requests((&pending.capture, key.ends), &pending.bytes, true, place).map(drop)
    }

    /// Gives up on requests that wait too long; at the end (`None`) on all.
    fn expire(&mut self, now: Option<u64>) -> io::Result<()> {
        while let Some((key, pending)) = self.flows.expired(now) {
            self.ended(&key, &pending)?;
        }
        while let Some(opening) = self.openings.expired(now) {
            self.opening(&opening, None)?;
        }
        Ok(())
    }

    fn close_ledger(&mut self, counts: Counts) {
        self.ledger = self.so_far(&counts);
        self.notes = counts.notes;
        self.notes.extend(self.enricher.notes());
    }

    /// Where every capture went, as far as a source has counted.
    fn so_far(&self, counts: &Counts) -> Ledger {
        let mut ledger = self.ledger.clone();
        ledger.add(counts);
        ledger.parts += self.unnamed.len() as i64;
        for (place, n) in self.enricher.counters().into_iter().filter(|(_, n)| *n > 0) {
            *ledger.details_lost.entry(place).or_default() += n;
        }
        ledger
    }
}

impl Limits<'_> {
    fn reached(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|d| Instant::now() >= d)
    }
}

/// Length of a UDP header.
const UDP_HEADER: usize = 8;

/// Where bytes of a stream stand.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// Sequence number of the first.
    seq: u32,
    /// The packet that they begin in, if nothing else stands before them, and how many
    /// bytes it carried.
    packet: Option<(&'a [u8], u64)>,
}

impl<'a> Place<'a> {
    /// The bytes of the request that begins at an offset, the next one beginning at `next`.
    fn raw(&self, bytes: &'a [u8], at: usize, next: Next) -> Raw<'a> {
        let rest = &bytes[at..];
        let whole = match next {
            Next::At(n) if n > 0 => n,
            _ => rest.len() as u64,
        };
        match self.packet {
            // All of the request, and nothing besides, is in it.
            Some((packet, carried))
                if at == 0 && (rest.len() as u64..=carried).contains(&whole) =>
            {
                Raw::Packet(packet)
            }
            _ => Raw::Payload {
                protocol: TCP,
                seq: self.seq.wrapping_add(at as u32),
                bytes: &rest[..rest.len().min(usize::try_from(whole).unwrap_or(usize::MAX))],
                whole,
            },
        }
    }
}

/// What is left of a stream's bytes when its requests were shown.
enum Rest {
    /// Nothing that matters.
    Nothing,
    /// A request that may become whole begins here.
    Wait(usize),
    /// The next request begins beyond them, this far from their beginning.
    Skip(usize),
}

/// Sequence numbers of one window apart can be compared; a body that is longer is
/// passed over in steps that nothing begins in.
const MAX_SKIP: usize = 1 << 30;

/// A closed pipe is a reader who has seen enough, not an error.
fn quiet_pipe(result: io::Result<()>) -> Result<Go> {
    match result {
        Ok(()) => Ok(Go::On),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Go::Enough),
        Err(e) => Err(anyhow::Error::new(e).context("writing events")),
    }
}
