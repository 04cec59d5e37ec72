//! Reads the rings into batches, in the order of time.

use super::clock::Clock;
use super::decode::{self, Deciding, Hit, Reading, Wanted};
use super::probes::Spec;
use super::ring::{Event, Kind, Record, Ring, Scope};
use super::sends::Sockets;
use super::tasks::Tasks;
use super::tracefs::{Probe, Profile, Tracefs};
use crate::capture::select::Selector;
use crate::capture::watch::Watch;
use crate::capture::{Counts, Source};
use crate::event::Batch;
use crate::ledger::HookCount;
use crate::plan::Plan;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::time::Duration;

/// How long records of other CPUs may be on their way, in nanoseconds: what is younger
/// waits for the next look, so that all is in order.
const ORDER_WINDOW: u64 = 1_000_000;

/// Fewest pages of a CPU's ring.
const PAGES_MIN: usize = 16;

/// A defined probe in use.
struct Active {
    /// One for each CPU, but for those that made the rings. Before the probe: one in
    /// use cannot be removed.
    events: Vec<Event>,
    probe: Probe,
    reading: Reading,
    hook: &'static str,
    id: u16,
    /// Records that came.
    got: u64,
    /// Hits that passed the filter, once it is stopped.
    hits: u64,
}

/// A record that waits for its turn.
struct Held {
    time: u64,
    pid: u32,
    tid: u32,
    raw: Range<usize>,
}

/// The running probes.
pub struct KprobeSource {
    // Before the probes, as their events are the first probe's.
    rings: Vec<Ring>,
    active: Vec<Active>,
    profile: Option<Profile>,
    clock: Clock,
    deciding: Deciding,
    held: Vec<Held>,
    bytes: Vec<u8>,
    delivered: BTreeMap<&'static str, u64>,
    missed: BTreeMap<&'static str, u64>,
    detached: bool,
}

impl KprobeSource {
    /// Defines the probes and starts them, all at the end.
    pub fn open(
        tracefs: &Tracefs,
        specs: &[Spec],
        plan: &Plan,
        watch: Option<Watch>,
        buffer: usize,
    ) -> Result<Self> {
        let mut source = KprobeSource {
            rings: Vec::new(),
            active: Vec::new(),
            profile: Profile::open(tracefs),
            clock: Clock::new()?,
            deciding: Deciding {
                selector: Selector::new(plan)?,
                tasks: Tasks::new(watch, plan),
                sockets: Sockets::new(),
                wanted: Wanted { kernel: plan.senders.kernel, forwarded: plan.senders.forwarded },
            },
            held: Vec::new(),
            bytes: Vec::new(),
            delivered: BTreeMap::new(),
            missed: BTreeMap::new(),
            detached: false,
        };
        for spec in specs {
            source.active.push(activate(tracefs, spec)?);
        }
        let cpus = online_cpus()?;
        let pages = (buffer / cpus.len().max(1) / rustix::param::page_size()).max(PAGES_MIN);
        // The power of two below: what was asked for is a limit.
        let pages = 1 << pages.ilog2();
        for cpu in cpus {
            source.listen(specs, cpu, pages).with_context(|| format!("listening to CPU {cpu}"))?;
        }
        let own = source.rings.iter().map(Ring::event);
        own.chain(source.active.iter().flat_map(|a| &a.events)).try_for_each(Event::enable)?;
        Ok(source)
    }

    /// One ring for a CPU, shared by all probes.
    fn listen(&mut self, specs: &[Spec], cpu: u32, pages: usize) -> Result<()> {
        let wake = (pages * rustix::param::page_size() / 4) as u32;
        let mut ring: Option<Ring> = None;
        for (active, spec) in self.active.iter_mut().zip(specs) {
            let event = Event::open(Kind::Trace(active.id), Scope::Cpu(cpu), wake)?;
            event.filter(&spec.filter)?;
            match &ring {
                None => ring = Some(Ring::new(event, pages)?),
                Some(ring) => {
                    event.join(ring)?;
                    active.events.push(event);
                }
            }
        }
        self.rings.extend(ring);
        Ok(())
    }

    fn wait(&self, wait: Duration) -> Result<()> {
        let mut fds: Vec<PollFd<'_>> =
            self.rings.iter().map(|ring| PollFd::new(ring.fd(), PollFlags::IN)).collect();
        let wait = Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() };
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(e) => Err(e).context("waiting for the perf rings"),
        }
    }

    fn collect(&mut self) {
        let (held, bytes) = (&mut self.held, &mut self.bytes);
        for ring in &mut self.rings {
            ring.drain(|record| {
                if let Record::Sample { pid, tid, time, raw } = record {
                    let from = bytes.len();
                    bytes.extend_from_slice(raw);
                    held.push(Held { time, pid, tid, raw: from..bytes.len() });
                }
            });
        }
        held.sort_by_key(|h| h.time);
    }

    fn deliver(&mut self, batch: &mut Batch) {
        let now = if self.detached { u64::MAX } else { self.clock.now() };
        let until = now.saturating_sub(ORDER_WINDOW);
        let ready = self.held.partition_point(|h| h.time <= until);
        for held in self.held.drain(..ready) {
            let raw = &self.bytes[held.raw];
            let id = raw.first_chunk().map(|id| u16::from_ne_bytes(*id));
            let Some(active) = self.active.iter_mut().find(|a| Some(a.id) == id) else { continue };
            active.got += 1;
            let time = self.clock.since_epoch(held.time);
            let hit = Hit { pid: held.pid, tid: held.tid, time, raw };
            if decode::packet(&hit, &active.reading, &mut self.deciding, batch).is_some() {
                *self.delivered.entry(active.hook).or_default() += 1;
            }
        }
        self.forget_delivered();
    }

    /// Keeps only the bytes of what still waits.
    fn forget_delivered(&mut self) {
        let mut kept = Vec::new();
        for held in &mut self.held {
            let from = kept.len();
            kept.extend_from_slice(&self.bytes[held.raw.clone()]);
            held.raw = from..kept.len();
        }
        self.bytes.clear();
        self.bytes.extend_from_slice(&kept);
    }
}

fn activate(tracefs: &Tracefs, spec: &Spec) -> Result<Active> {
    // `$comm` came with Linux 4.14.
    let named = format!("{} comm=$comm", spec.arguments);
    let probe = tracefs
        .define(spec.event, spec.function, &named)
        .or_else(|_| tracefs.define(spec.event, spec.function, &spec.arguments))?;
    let format = probe.format()?;
    let reading = Reading::new(spec, &format)?;
    let (events, hook) = (Vec::new(), spec.hook);
    Ok(Active { events, probe, reading, hook, id: format.id, got: 0, hits: 0 })
}

/// CPUs that run, as in `0-3,8`. One that is started later is not listened to.
fn online_cpus() -> Result<Vec<u32>> {
    let path = "/sys/devices/system/cpu/online";
    let text = fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    parse_cpus(&text).with_context(|| format!("{path} makes no sense: {}", text.trim()))
}

fn parse_cpus(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?);
    }
    Some(cpus)
}

impl Source for KprobeSource {
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()> {
        if !wait.is_zero() {
            self.wait(wait)?;
        }
        self.clock.refresh();
        self.collect();
        self.deliver(batch);
        Ok(())
    }

    fn detach(&mut self) {
        let own = self.rings.iter().map(Ring::event);
        for event in own.chain(self.active.iter().flat_map(|a| &a.events)) {
            let _ = event.disable();
        }
        for (n, active) in self.active.iter_mut().enumerate() {
            // The rings' own events are the first probe's.
            let own = self.rings.iter().map(Ring::event).filter(|_| n == 0);
            active.hits = own.chain(&active.events).filter_map(|e| e.hits().ok()).sum();
            let missed = self.profile.as_ref().and_then(|p| p.missed(active.probe.event()));
            if let Some(missed) = missed {
                *self.missed.entry(active.hook).or_default() += missed;
            }
        }
        self.detached = true;
    }

    fn counts(&mut self) -> Counts {
        let mut counts = Counts::default();
        for active in &self.active {
            let lost = active.hits.saturating_sub(active.got);
            if lost > 0 {
                *counts.lost.entry("perf-ring").or_default() += lost;
            }
            match counts.hooks.iter_mut().find(|h| h.hook == active.hook) {
                Some(hook) => hook.seen += lost,
                None => counts.hooks.push(HookCount {
                    hook: active.hook,
                    seen: lost + self.delivered.get(active.hook).copied().unwrap_or(0),
                    filtered: 0,
                    missed: self.missed.get(active.hook).copied(),
                    cost: None,
                }),
            }
        }
        let Deciding { selector, tasks, .. } = &self.deciding;
        for (place, n) in tasks.lost().chain([("streams-forgotten", selector.forgotten)]) {
            if n > 0 {
                counts.details_lost.insert(place, n);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(parse_cpus("0\n"), Some(vec![0]));
        assert_eq!(parse_cpus("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_cpus(""), None);
        assert_eq!(parse_cpus("0-x"), None);
    }
}
