//! Reads the kernel's buffer into batches and the kernel's counters into the ledger.

use super::decode::{self, Reading};
use super::hooks::HOOKS;
use super::skeleton::{SentbySkel, types::sentby_count};
use crate::capture::{Counts, Source};
use crate::event::Batch;
use crate::ledger::{Cost, HookCount};
use anyhow::{Context, Result};
use libbpf_rs::{
    Link, MapCore, MapFlags, PerfBuffer, PerfBufferBuilder, RingBuffer, RingBufferBuilder,
};
use rustix::time::{ClockId, clock_gettime};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

/// Where the buffer's callbacks put what they get.
struct Sink {
    batch: Batch,
    reading: Reading,
    names: Vec<&'static str>,
    unknown: u64,
    lost: u64,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) {
        let known = decode::record(bytes, &self.reading, &self.names, &mut self.batch);
        self.unknown += u64::from(!known);
    }
}

/// How records come to user space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The BPF ring buffer.
    Ring,
    /// Per-CPU perf buffers of this many bytes in all.
    Perf {
        /// Bytes, over all CPUs.
        size: usize,
    },
}

enum Buffer {
    Ring(RingBuffer<'static>),
    Perf(PerfBuffer<'static>),
}

/// The attached eBPF backend.
pub struct EbpfSource {
    // Links first: probes go before the maps they write to.
    links: Vec<Link>,
    buffer: Buffer,
    skel: SentbySkel<'static>,
    hooks: Vec<&'static str>,
    sink: Rc<RefCell<Sink>>,
    missed: BTreeMap<&'static str, u64>,
}

impl EbpfSource {
    /// Takes over what was loaded and attached.
    pub fn new(
        skel: SentbySkel<'static>,
        links: Vec<Link>,
        hooks: Vec<&'static str>,
        transport: Transport,
        follows: bool,
    ) -> Result<EbpfSource> {
        let sink = Rc::new(RefCell::new(Sink {
            batch: Batch::default(),
            reading: Reading {
                monotonic: offset(ClockId::Monotonic),
                boot: offset(ClockId::Boottime),
                follows,
            },
            names: HOOKS.iter().map(|h| h.name).collect(),
            unknown: 0,
            lost: 0,
        }));
        let buffer = match transport {
            Transport::Ring => ring_buffer(&skel, &sink)?,
            Transport::Perf { size } => perf_buffer(&skel, &sink, size)?,
        };
        Ok(EbpfSource { links, buffer, skel, hooks, sink, missed: BTreeMap::new() })
    }
}

/// Nanoseconds from a clock's zero to the Unix epoch.
fn offset(clock: ClockId) -> i64 {
    let ns = |c| {
        let t = clock_gettime(c);
        t.tv_sec * 1_000_000_000 + t.tv_nsec
    };
    ns(ClockId::Realtime) - ns(clock)
}

fn ring_buffer(skel: &SentbySkel<'static>, sink: &Rc<RefCell<Sink>>) -> Result<Buffer> {
    let sink = sink.clone();
    let mut builder = RingBufferBuilder::new();
    builder.add(&skel.maps.ring, move |bytes| {
        sink.borrow_mut().take(bytes);
        0
    })?;
    Ok(Buffer::Ring(builder.build().context("mapping the ring buffer")?))
}

fn perf_buffer(
    skel: &SentbySkel<'static>,
    sink: &Rc<RefCell<Sink>>,
    buffer_size: usize,
) -> Result<Buffer> {
    let cpus = libbpf_rs::num_possible_cpus().unwrap_or(1);
    let pages = (buffer_size / cpus / 4096).max(16).next_power_of_two();
    let (samples, losses) = (sink.clone(), sink.clone());
    let buffer = PerfBufferBuilder::new(&skel.maps.perf)
        .pages(pages)
        .sample_cb(move |_cpu, bytes| samples.borrow_mut().take(bytes))
        .lost_cb(move |_cpu, n| losses.borrow_mut().lost += n)
        .build()
        .context("mapping the perf buffers")?;
    Ok(Buffer::Perf(buffer))
}

impl Source for EbpfSource {
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()> {
        {
            let mut sink = self.sink.borrow_mut();
            std::mem::swap(&mut sink.batch, batch);
            // The wall clock is stepped and slewed; follow it.
            sink.reading.monotonic = offset(ClockId::Monotonic);
        }
        let read = match &self.buffer {
            // poll() returns early only for forced wake-ups: look at the rest as well.
            Buffer::Ring(ring) => {
                interrupted_is_fine(ring.poll(wait)).and_then(|()| ring.consume())
            }
            Buffer::Perf(perf) => {
                interrupted_is_fine(perf.poll(wait)).and_then(|()| perf.consume())
            }
        };
        std::mem::swap(&mut self.sink.borrow_mut().batch, batch);
        read.context("reading the kernel's buffer")
    }

    fn detach(&mut self) {
        if !self.links.is_empty() {
            self.missed = missed(&self.skel, &self.hooks, &self.links);
        }
        // The reverse of attaching: what captures goes before what it relies on.
        while self.links.pop().is_some() {}
    }

    fn counts(&mut self) -> Counts {
        if !self.links.is_empty() {
            self.missed = missed(&self.skel, &self.hooks, &self.links);
        }
        let sink = self.sink.borrow();
        let mut counts = Counts::default();
        let mut lose = |place, n: u64| {
            if n > 0 {
                *counts.lost.entry(place).or_default() += n;
            }
        };
        let mut details = sentby_count::default();
        for (id, hook) in HOOKS.iter().enumerate() {
            let sum = sum_over_cpus(&self.skel, id as u32);
            lose("ring", sum.lost_ring);
            lose("scratch", sum.lost_scratch);
            lose("unreadable", sum.lost_unreadable);
            details.process_lost += sum.process_lost;
            details.tracked_full += sum.tracked_full;
            details.outcome_lost += sum.outcome_lost;
            details.answer_lost += sum.answer_lost;
            if self.hooks.contains(&hook.name) {
                counts.hooks.push(HookCount {
                    hook: hook.name,
                    seen: sum.seen,
                    filtered: sum.filtered,
                    missed: self.missed.get(hook.name).copied(),
                    cost: cost(&self.skel, hook.programs),
                });
            }
        }
        lose("perf-buffer", sink.lost);
        for (place, n) in [
            ("process-records", details.process_lost),
            ("children", details.tracked_full),
            ("outcomes", details.outcome_lost),
            ("dns-answers", details.answer_lost),
            ("unknown-records", sink.unknown),
        ] {
            if n > 0 {
                counts.details_lost.insert(place, n);
            }
        }
        counts
    }
}

fn interrupted_is_fine(result: libbpf_rs::Result<()>) -> libbpf_rs::Result<()> {
    match result {
        Err(e) if e.kind() == libbpf_rs::ErrorKind::Interrupted => Ok(()),
        other => other,
    }
}

fn sum_over_cpus(skel: &SentbySkel<'static>, hook: u32) -> sentby_count {
    let mut sum = sentby_count::default();
    let values = skel.maps.counts.lookup_percpu(&hook.to_ne_bytes(), MapFlags::ANY);
    for value in values.ok().flatten().unwrap_or_default() {
        let mut words = value.as_chunks::<8>().0.iter().map(|w| u64::from_ne_bytes(*w));
        let mut next = || words.next().unwrap_or(0);
        // In the order of the header, which the generated type repeats.
        sum.seen += next();
        sum.filtered += next();
        sum.lost_ring += next();
        sum.lost_scratch += next();
        sum.lost_unreadable += next();
        sum.duplicates += next();
        sum.process_lost += next();
        sum.tracked_full += next();
        sum.outcome_lost += next();
        sum.answer_lost += next();
    }
    sum
}

/// What running these programs has cost; `None` where nothing was measured.
fn cost(skel: &SentbySkel<'static>, names: &[&str]) -> Option<Cost> {
    let programs = libbpf_rs::skel::Skel::object(skel).progs();
    let of_hook = programs.filter(|p| names.iter().any(|n| p.name() == *n));
    let costs = of_hook.filter_map(|p| super::missed::cost(&p)).filter(|c| c.runs > 0);
    costs.reduce(|a, b| Cost { runs: a.runs + b.runs, ns: a.ns + b.ns })
}

/// Runs the kernel skipped, by hook.
fn missed(
    skel: &SentbySkel<'static>,
    hooks: &[&'static str],
    links: &[Link],
) -> BTreeMap<&'static str, u64> {
    let mut missed = BTreeMap::new();
    let programs: Vec<_> = libbpf_rs::skel::Skel::object(skel).progs().collect();
    for hook in HOOKS.iter().filter(|h| hooks.contains(&h.name)) {
        let of_hook = programs.iter().filter(|p| hook.programs.iter().any(|n| p.name() == *n));
        for program in of_hook {
            if let Some(n) = super::missed::recursion_misses(program) {
                *missed.entry(hook.name).or_default() += n;
            }
        }
    }
    for n in links.iter().filter_map(super::missed::probe_misses) {
        *missed.entry("kprobe").or_default() += n;
    }
    missed
}
