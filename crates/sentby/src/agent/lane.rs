//! An output at work: its queue, its thread, and what became of what it was given.

use super::outputs::{Sink, Standing, Wanted};
use super::queue::{Events, Popped, Queue};
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long an output without events waits before it looks around.
const IDLE: Duration = Duration::from_millis(200);

/// How long the end waits for an output to take what waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long an output that has no more time may take to count what it did not pass on.
const GRACE: Duration = Duration::from_secs(1);

/// The first pause before what failed is opened anew; each further one is twice as long,
const PAUSE: Duration = Duration::from_secs(1);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where events are lost: the queue had no room.
pub const QUEUE_FULL: &str = "queue-full";

/// Where events are lost: the output failed with them.
pub const FAILED: &str = "failed";

/// Where events are lost: the end came before the output took them.
pub const STOPPED: &str = "stopped";

/// What became of an output's events. It outlives the output: one that is opened anew by
/// other settings goes on counting.
#[derive(Debug)]
pub struct Tally {
    /// The output.
    pub name: &'static str,
    /// Events that it was to have.
    pub given: AtomicU64,
    /// Whether it works.
    pub up: AtomicBool,
    /// What it says of itself.
    pub standing: Mutex<Standing>,
    lost: Mutex<BTreeMap<&'static str, u64>>,
}

impl Tally {
    /// Of an output that was given nothing.
    pub fn new(name: &'static str) -> Tally {
        let (given, up) = (AtomicU64::new(0), AtomicBool::new(true));
        Tally { name, given, up, standing: Mutex::default(), lost: Mutex::default() }
    }

    fn lose(&self, place: &'static str, n: u64) {
        if n > 0 {
            let mut lost = self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            *lost.entry(place).or_default() += n;
        }
    }

    /// What it says of itself.
    pub fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Events lost, by place.
    pub fn lost(&self) -> BTreeMap<&'static str, u64> {
        let lost = self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        lost.clone()
    }
}

/// An output at work.
pub struct Lane {
    /// What was asked for.
    pub wanted: Wanted,
    limit: usize,
    /// What became of its events.
    pub tally: Arc<Tally>,
    /// What waits for it.
    pub queue: Arc<Queue>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    /// Opens an output in this thread, and has it work in one of its own.
    pub fn open(wanted: Wanted, tally: Arc<Tally>, limit: usize) -> Result<Lane> {
        let attempt = || format!("the {} output", wanted.name);
        let sink = (wanted.open)().with_context(attempt)?;
        let queue = Arc::new(Queue::new(limit));
        let stopped = Arc::new(AtomicBool::new(false));
        tally.up.store(true, Ordering::Relaxed);
        let mut worker = Worker {
            wanted: wanted.clone(),
            queue: queue.clone(),
            tally: tally.clone(),
            stopped: stopped.clone(),
            sink_lost: BTreeMap::new(),
            current: None,
        };
        let thread = thread::Builder::new().name(format!("sentby-{}", tally.name));
        let thread = thread.spawn(move || {
            crate::privileges::drop_unneeded();
            worker.run(sink);
        });
        let thread = Some(thread.context("starting an output's thread")?);
        Ok(Lane { wanted, limit, tally, queue, stopped, thread })
    }

    /// Whether what is wanted is what it does.
    pub fn is(&self, wanted: &Wanted, limit: usize) -> bool {
        let own = (self.wanted.name, &self.wanted.settings, self.limit);
        own == (wanted.name, &wanted.settings, limit)
    }

    /// Hands events on, or counts them as lost. A source that can wait does so until it is
    /// stopped.
    pub fn give(&self, events: &Arc<Events>, waits: Option<&AtomicBool>) {
        let n = events.events.len() as u64;
        self.tally.given.fetch_add(n, Ordering::Relaxed);
        let taken = match waits {
            Some(stop) => self.queue.push_waiting(events, stop),
            None => self.queue.push(events),
        };
        if !taken {
            self.tally.lose(QUEUE_FULL, n);
        }
    }

    /// Has what waits taken, and ends the output; waits no longer than
    /// [`PATIENCE`] and the output's own time.
    pub fn close(&mut self) {
        self.queue.end();
        let until = Instant::now() + PATIENCE + self.wanted.linger;
        self.queue.drained(until);
        let Some(thread) = self.thread.take() else { return };
        let ended = |until| {
            while !thread.is_finished() && Instant::now() < until {
                thread::sleep(Duration::from_millis(5));
            }
        };
        ended(until);
        self.stopped.store(true, Ordering::Release);
        ended(Instant::now() + GRACE);
        if thread.is_finished() {
            let _ = thread.join();
        } else {
            self.tally.lose(STOPPED, self.queue.waiting().0);
            say(format_args!("the {} output does not end, and is left as it is", self.tally.name));
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.close();
    }
}

/// The thread's side.
struct Worker {
    wanted: Wanted,
    queue: Arc<Queue>,
    tally: Arc<Tally>,
    stopped: Arc<AtomicBool>,
    /// What the present sink has told to have lost.
    sink_lost: BTreeMap<&'static str, u64>,
    /// Events that are being handed over, and how many of them were.
    current: Option<(Arc<Events>, usize)>,
}

/// How working with a sink has ended.
enum End {
    Done,
    Failed(io::Error),
}

impl Worker {
    fn run(&mut self, sink: Box<dyn Sink>) {
        let mut next = Some(sink);
        while let Some(mut sink) = next.take() {
            let end = self.work(sink.as_mut());
            self.count_lost(sink.as_ref());
            let End::Failed(error) = end else {
                self.tally.lose(STOPPED, sink.waiting());
                break;
            };
            self.tally.lose(FAILED, sink.waiting());
            drop(sink);
            self.sink_lost.clear();
            self.tally.up.store(false, Ordering::Relaxed);
            say(format_args!("the {} output failed: {error}; trying again", self.tally.name));
            next = self.reopened();
        }
        if let Some((events, at)) = self.current.take() {
            self.tally.lose(STOPPED, (events.events.len() - at) as u64);
        }
        while let Popped::Events(events) = self.queue.pop(Duration::ZERO) {
            self.tally.lose(STOPPED, events.events.len() as u64);
        }
    }

    /// Opens the output anew, however long that takes; `None` if the end comes before.
    fn reopened(&mut self) -> Option<Box<dyn Sink>> {
        let mut pause = PAUSE;
        loop {
            if self.queue.wait_for_end(pause) {
                return None;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            if let Ok(sink) = (self.wanted.open)() {
                self.tally.up.store(true, Ordering::Relaxed);
                say(format_args!("the {} output works again", self.tally.name));
                return Some(sink);
            }
        }
    }

    fn work(&mut self, sink: &mut dyn Sink) -> End {
        loop {
            match self.step(sink) {
                Ok(true) => {}
                Ok(false) => return End::Done,
                Err(e) => return End::Failed(e),
            }
            self.count_lost(sink);
        }
    }

    /// Hands over what has come. Returns whether more may come.
    fn step(&mut self, sink: &mut dyn Sink) -> io::Result<bool> {
        if self.queue.take_reopen() {
            sink.reopen()?;
        }
        if self.current.is_none() {
            match self.queue.pop(IDLE) {
                Popped::Events(events) => self.current = Some((events, 0)),
                Popped::Nothing => {}
                Popped::Ended => return sink.settle().map(|()| false),
            }
        }
        if let Some((events, at)) = &mut self.current {
            for owned in &events.events[*at..] {
                if self.stopped.load(Ordering::Acquire) {
                    return Ok(false);
                }
                if !sink.ready(IDLE) {
                    return sink.flush().map(|()| true);
                }
                // Whatever comes of it, it was handed over.
                *at += 1;
                sink.event(&owned.event())?;
            }
            self.current = None;
        }
        sink.flush().map(|()| true)
    }

    /// Adds what a sink has lost by itself since the last time.
    fn count_lost(&mut self, sink: &dyn Sink) {
        for (place, n) in sink.lost() {
            let before = self.sink_lost.insert(place, n).unwrap_or_default();
            self.tally.lose(place, n.saturating_sub(before));
        }
        let mut standing = self.tally.standing.lock().unwrap_or_else(|p| p.into_inner());
        *standing = sink.standing();
    }
}

fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("sentby: {}", what.to_string().replace('\n', " "));
}

#[cfg(test)]
mod tests;
