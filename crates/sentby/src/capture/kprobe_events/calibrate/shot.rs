//! One look at a function's arguments: a probe, one action of this thread, and what the
//! probe saw of it.

use crate::capture::kprobe_events::ring::{Event, Kind, Record, Ring, Scope};
use crate::capture::kprobe_events::tracefs::Tracefs;
use anyhow::{Context, Result, ensure};
use std::fmt::Display;
use std::fmt::Write;

/// Most places in one shot: an event has at most 128 arguments, and what is beyond them
/// is dropped silently.
pub const PLACES_MAX: usize = 126;

/// Pages of a shot's ring: some hundred hits.
const PAGES: usize = 32;

/// A hit of the probe in this thread.
#[derive(Clone, Debug)]
pub struct Hit {
    /// `common_flags`.
    pub flags: u8,
    /// The 8 bytes at each place; 0 where there is nothing to read.
    pub words: Vec<u64>,
}

/// Fires probes one after the other.
pub struct Gun<'a> {
    /// Where probes are defined.
    pub tracefs: &'a Tracefs,
    /// How many were fired.
    pub fired: u32,
}

impl Gun<'_> {
    /// Defines a probe on a function, acts, and tells what was at these places each time.
    pub fn shoot(
        &mut self,
        function: &str,
        places: &[impl Display],
        act: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<Hit>> {
        ensure!(places.len() <= PLACES_MAX, "{} places at once", places.len());
        let mut arguments = String::new();
        for (n, place) in places.iter().enumerate() {
            let _ = write!(arguments, "w{n}={place}:u64 ");
        }
        self.fired += 1;
        let probe = self.tracefs.define(&format!("c{}", self.fired), function, &arguments)?;
        let format = probe.format()?;
        let event = Event::open(Kind::Trace(format.id), Scope::ThisThread, u32::MAX)?;
        let mut ring = Ring::new(event, PAGES)?;
        ring.event().enable()?;
        let acted = act();
        ring.event().disable()?;
        acted?;
        let flags = format.field("common_flags").context("records without common_flags")?.offset;
        let first = match places.is_empty() {
            true => 0,
            false => format.field("w0").context("records without arguments")?.offset,
        };
        let mut hits = Vec::new();
        ring.drain(|record| {
            if let Record::Sample { raw, .. } = record {
                hits.extend(hit(raw, flags, first, places.len()));
            }
        });
        Ok(hits)
    }
}

fn hit(raw: &[u8], flags: usize, first: usize, places: usize) -> Option<Hit> {
    let words = raw.get(first..first + places * 8)?.as_chunks::<8>().0;
    let words = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    Some(Hit { flags: *raw.get(flags)?, words })
}
