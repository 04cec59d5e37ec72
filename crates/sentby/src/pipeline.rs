//! The whole journey of a request, on one screen:
//!
//! ```text
//! backend ──Capture──▶ decode ──Request──▶ enrich ──Event──▶ filter ──▶ outputs
//! ```
//!
//! One thread, one direction. The reader thread in front of it (capture/reader.rs)
//! and the kernel in front of that never wait for anything that flows back.

use crate::capture::Counts;
use crate::capture::reader::{Message, Reader};
use crate::enrich::Enricher;
use crate::event::{Batch, Capture, Item};
use crate::filter::Filter;
use crate::ledger::Ledger;
use crate::output::Output;
use anyhow::Result;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};
use wire::{Packet, Protocol, Request};

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
    pub protocols: Vec<&'static dyn Protocol>,
    /// Fills in what the backend could not know.
    pub enricher: Enricher,
    /// Decides.
    pub filter: Filter,
    /// Where events go.
    pub output: Box<dyn Output + 'a>,
    /// Where every capture went.
    pub ledger: Ledger,
}

/// Whether to go on.
#[derive(PartialEq, Eq)]
enum Flow {
    More,
    Enough,
}

impl Pipeline<'_> {
    /// Runs until a limit is reached or nobody reads any more, then drains the
    /// backend, so that the ledger is complete.
    pub fn run(&mut self, reader: &Reader, limits: &Limits<'_>) -> Result<()> {
        let mut flow = Flow::More;
        let end = loop {
            if limits.reached() {
                reader.stop();
            }
            let message = match reader.messages.recv_timeout(NOTICE) {
                Ok(message) => message,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break None,
            };
            match message {
                Message::End(counts) => break Some(counts),
                Message::Batch(batch) => {
                    if self.batch(&batch, &mut flow, limits)? == Flow::Enough {
                        reader.stop();
                    }
                    reader.recycle(batch);
                }
            }
        };
        let flushed = self.output.flush();
        if let Some(counts) = end {
            self.close_ledger((*counts)?);
        }
        quiet_pipe(flushed).map(drop)
    }

    fn batch(&mut self, batch: &Batch, flow: &mut Flow, limits: &Limits<'_>) -> Result<Flow> {
        for item in &batch.items {
            match item {
                Item::Process(key, process) => self.enricher.learn(*key, (**process).clone()),
                Item::Capture(_) if *flow == Flow::Enough => self.ledger.left += 1,
                Item::Capture(capture) => {
                    let shown = self.capture(capture, &batch.bytes[capture.bytes.clone()]);
                    if quiet_pipe(shown)? == Flow::Enough
                        || limits.count.is_some_and(|n| self.ledger.shown >= n)
                    {
                        *flow = Flow::Enough;
                    }
                }
            }
        }
        if quiet_pipe(self.output.flush())? == Flow::Enough {
            *flow = Flow::Enough;
        }
        Ok(if *flow == Flow::Enough { Flow::Enough } else { Flow::More })
    }

    fn capture(&mut self, capture: &Capture, bytes: &[u8]) -> io::Result<()> {
        let packet = wire::packet::parse(capture.layer, bytes);
        let decoded = packet.as_ref().and_then(|p| Some((p, decode(&self.protocols, p)?)));
        let Some((packet, request)) = decoded else {
            *self.ledger.lost.entry("undecodable").or_default() += 1;
            return Ok(());
        };
        let event = self.enricher.event(capture, packet, &request);
        if !self.filter.matches(&event) {
            self.ledger.filtered += 1;
            return Ok(());
        }
        self.ledger.shown += 1;
        self.output.event(&event)
    }

    fn close_ledger(&mut self, counts: Counts) {
        self.ledger.hooks = counts.hooks;
        for (place, n) in counts.lost {
            *self.ledger.lost.entry(place).or_default() += n;
        }
        for (place, n) in counts.details_lost {
            *self.ledger.details_lost.entry(place).or_default() += n;
        }
        for (place, n) in self.enricher.counters() {
            if n > 0 {
                *self.ledger.details_lost.entry(place).or_default() += n;
            }
        }
    }
}

impl Limits<'_> {
    fn reached(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|d| Instant::now() >= d)
    }
}

fn decode<'a>(protocols: &[&'static dyn Protocol], packet: &Packet<'a>) -> Option<Request<'a>> {
    protocols.iter().find_map(|p| p.decode(packet, wire::Switches::OFF))
}

/// A closed pipe is a reader who has seen enough, not an error.
fn quiet_pipe(result: io::Result<()>) -> Result<Flow> {
    match result {
        Ok(()) => Ok(Flow::More),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Flow::Enough),
        Err(e) => Err(anyhow::Error::new(e).context("writing events")),
    }
}
