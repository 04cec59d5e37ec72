//! The pipeline's thread: one source after the other, into the same outputs.

use super::fan::Fan;
use super::reload::Settings;
use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::capture::{BACKENDS, replay};
use crate::enrich::Enricher;
use crate::filter::{Filter, Window};
use crate::pipeline::{Limits, Pipeline};
use crate::plan::Plan;
use crate::{privileges, trace};
use anyhow::{Context, Result, anyhow};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// One source with what is asked of it, until another follows.
pub struct Segment {
    asked: Vec<Asked>,
    filter: Filter,
    reader: Reader,
    enricher: Enricher,
    count: Option<u64>,
    duration: Option<Duration>,
    /// Where its time ends: [`Window::until`].
    until: Arc<AtomicU64>,
    /// When it is to end.
    stop: Arc<AtomicBool>,
}

impl Segment {
    /// Opens what captures.
    pub fn open(settings: &Settings) -> Result<Segment> {
        let args = &settings.args;
        let asked = settings.asked.clone();
        let names = !args.capture.no_names;
        let (mut filter, enricher, reader) = match &args.from {
            None => {
                let filter = Filter::new(&args.filter)?;
                let plan = Plan { names, ..filter.plan(&asked) };
                let enricher = args.capture.enricher()?;
                let reader = trace::open(&args.capture, &plan, &args.run)?;
                reader.report();
                (filter, enricher, reader)
            }
            Some(path) => {
                let filter = Filter::detached(&args.filter)?;
                let plan = Plan { names, ..filter.plan(&asked) };
                let protocols = asked.iter().map(|a| a.protocol.name()).collect();
                let path = path.clone();
                let open = move || replay::open(&path, &plan, protocols);
                let reader = Reader::spawn(open, privileges::drop_unneeded)?;
                (filter, Enricher::detached(), reader)
            }
        };
        let until = Arc::new(AtomicU64::new(u64::MAX));
        filter.within(Window { from: 0, until: until.clone() });
        Ok(Segment {
            asked,
            filter,
            reader,
            enricher,
            count: args.run.count,
            duration: args.run.duration,
            until,
            stop: Arc::default(),
        })
    }

    /// Says that it is live.
    pub fn announce(&self, settings: &Settings) -> Result<()> {
        trace::announce(&settings.args.run, &self.reader)
    }

    /// Its hooks, each with its backend.
    pub fn hooks(&self) -> Vec<(&'static str, &'static str)> {
        let backend = |hook: &'static str| {
            let of = BACKENDS.iter().find(|b| b.hooks().contains(&hook));
            (hook, of.map_or("replay", |b| b.name()))
        };
        self.reader.hooks.iter().map(|(hook, _)| backend(hook)).collect()
    }
}

/// How it all ended.
pub struct Ended {
    /// What the user should know.
    pub notes: Vec<String>,
    /// Why it ended early.
    pub failed: Option<anyhow::Error>,
}

/// The thread.
pub struct Running {
    to: Option<Sender<Segment>>,
    /// What ends the present source.
    present: Option<(Arc<AtomicBool>, Arc<AtomicU64>)>,
    thread: Option<JoinHandle<Ended>>,
}

impl Running {
    /// Starts it; nothing happens until there is a source.
    pub fn start(mut fan: Fan, stop: Arc<AtomicBool>) -> Result<Running> {
        let (to, from) = mpsc::channel();
        let thread = thread::Builder::new().name("sentby-pipeline".to_owned());
        let thread = thread.spawn(move || {
            privileges::drop_unneeded();
            run(&mut fan, &from, &stop)
        });
        let thread = Some(thread.context("starting the pipeline's thread")?);
        Ok(Running { to: Some(to), present: None, thread })
    }

    /// Has a source follow the present one. Both are live for a moment: what was sent before
    /// it is the old one's, and the rest the new one's, so that nothing is missed or doubled.
    pub fn follow(&mut self, mut segment: Segment) -> Result<()> {
        let ends = (segment.stop.clone(), segment.until.clone());
        if let Some((stop, until)) = self.present.replace(ends) {
            let now = now();
            segment.filter.within(Window { from: now, until: segment.until.clone() });
            until.store(now, Ordering::Release);
            stop.store(true, Ordering::Release);
        }
        let to = self.to.as_ref().context("the end has begun")?;
        to.send(segment).map_err(|_| anyhow!("the pipeline has ended"))
    }

    /// Whether it has ended by itself.
    pub fn ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends the present source, and waits until all that it had is handed on.
    pub fn end(&mut self) -> Result<Ended> {
        self.to = None;
        if let Some((stop, _)) = self.present.take() {
            stop.store(true, Ordering::Release);
        }
        let thread = self.thread.take().context("it has ended before")?;
        thread.join().map_err(|_| anyhow!("the pipeline's thread has panicked"))
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or_default() * 1_000_000_000 + now.tv_nsec as u64
}

fn run(fan: &mut Fan, from: &Receiver<Segment>, stop: &AtomicBool) -> Ended {
    let mut ended = Ended { notes: Vec::new(), failed: None };
    while let Ok(segment) = from.recv() {
        let Segment { asked, filter, reader, enricher, count, duration, until, stop: own } =
            segment;
        let deadline = duration.map(|d| Instant::now() + d);
        let mut pipeline = Pipeline::new(asked, filter, enricher, Box::new(&mut *fan));
        let done = pipeline.run(&reader, &Limits { count, deadline, stop: &own });
        let ledger = std::mem::take(&mut pipeline.ledger);
        ended.notes = std::mem::take(&mut pipeline.notes);
        drop(pipeline);
        fan.source_ended(&ledger);
        // Whatever else ends a source ends the agent.
        let followed = until.load(Ordering::Acquire) != u64::MAX;
        if let Err(e) = done {
            ended.failed = Some(e);
            break;
        }
        if !followed || stop.load(Ordering::Relaxed) {
            break;
        }
    }
    ended
}
