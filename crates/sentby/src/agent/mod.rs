//! `sentby agent`: captures in the background, for any number of outputs.
//!
//! Three kinds of threads. This one reads the settings, opens what captures, and waits for
//! signals; it keeps its capabilities, so that a reload can open another capture, and never
//! looks at what was captured. One runs the pipeline, whose output ([`fan`]) gives each event
//! to a bounded queue per output. And each output has its own ([`lane`]).

mod args;
mod beat;
mod config;
mod fan;
mod lane;
mod notify;
mod outputs;
mod own;
mod queue;
mod reload;
mod running;
mod sampling;
mod status;

pub use args::NAME;
pub use beat::STOPPED;

use crate::capture::ebpf;
use crate::filter::UsageError;
use crate::trace;
use anyhow::{Context, Result};
use clap::Command;
use fan::{Fan, Lanes};
use lane::{Lane, Tally};
use notify::Notify;
use outputs::OUTPUTS;
use reload::Settings;
use running::{Running, Segment};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use status::Status;
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The longest time that a signal goes unnoticed.
const NOTICE: Duration = Duration::from_millis(20);

/// The subcommand, without what protocols declare.
pub fn command() -> Command {
    args::AgentArgs::command()
}

/// The whole grammar, with the agent's options as variables as well.
pub fn with_env(command: Command) -> Command {
    command.mut_subcommand(NAME, config::with_env)
}

/// Runs until told to stop, or until the file is at its end.
pub fn run() -> Result<()> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let status = Arc::new(Status::new());
    let settings = Settings::load(&arguments, &status)?;
    if settings.outputs.is_empty() {
        let names: Vec<_> = OUTPUTS.iter().map(|entry| format!("--{}", entry.name)).collect();
        let names = names.join(", ");
        Err(UsageError(format!("the agent has no output: give one of {names} (or in its file)")))?;
    }
    ebpf::catch_libbpf_messages(settings.args.run.verbose > 1);
    let signals = Signals::catch()?;
    let mut agent = Agent::start(settings, arguments, status, &signals)?;
    agent.wait(&signals)
}

/// What signals have set.
struct Signals {
    stop: Arc<AtomicBool>,
    reload: Arc<AtomicBool>,
}

impl Signals {
    fn catch() -> Result<Signals> {
        let signals = Signals { stop: Arc::default(), reload: Arc::default() };
        for (signal, flag) in
            [(SIGINT, &signals.stop), (SIGTERM, &signals.stop), (SIGHUP, &signals.reload)]
        {
            signal_hook::flag::register(signal, flag.clone()).context("catching signals")?;
        }
        Ok(signals)
    }
}

/// The agent at work.
struct Agent {
    settings: Settings,
    arguments: Vec<OsString>,
    status: Arc<Status>,
    notify: Arc<Notify>,
    lanes: Lanes,
    running: Running,
    /// What became of each output's events, also of those that are closed.
    tallies: Vec<Arc<Tally>>,
}

impl Agent {
    fn start(
        settings: Settings,
        arguments: Vec<OsString>,
        status: Arc<Status>,
        signals: &Signals,
    ) -> Result<Agent> {
        let notify = Arc::new(Notify::from_environment());
        status.set_max_cpu(settings.args.max_cpu);
        let lanes: Lanes = Arc::new(Mutex::new(Vec::new()));
        let waits = settings.args.from.is_some().then(|| signals.stop.clone());
        let fan = Fan::new(lanes.clone(), status.clone(), notify.clone(), waits);
        let segment = Segment::open(&settings)?;
        let mut agent = Agent {
            running: Running::start(fan, signals.stop.clone())?,
            settings,
            arguments,
            status,
            notify,
            lanes,
            tallies: Vec::new(),
        };
        for wanted in std::mem::take(&mut agent.settings.outputs) {
            let limit = agent.settings.args.queue_size;
            agent.open_output(wanted, limit)?;
        }
        segment.announce(&agent.settings)?;
        agent.tell_hooks(&segment);
        agent.running.follow(segment)?;
        agent.notify.ready("capturing");
        Ok(agent)
    }

    /// Waits for signals, and for the pipeline to end by itself.
    fn wait(&mut self, signals: &Signals) -> Result<()> {
        while !signals.stop.load(Ordering::Relaxed) && !self.running.ended() {
            if signals.reload.swap(false, Ordering::Relaxed) {
                self.reload();
            }
            thread::sleep(NOTICE);
        }
        self.notify.stopping();
        let ended = self.running.end();
        self.lanes().drain(..).for_each(|mut lane| lane.close());
        self.close(ended)
    }

    /// Says what became of everything.
    fn close(&self, ended: Result<running::Ended>) -> Result<()> {
        let run = &self.settings.args.run;
        let (ended, failed) = match ended {
            Ok(ended) => (ended.notes, ended.failed),
            Err(e) => (Vec::new(), Some(e)),
        };
        for note in ended {
            trace::say(run, format_args!("{note}"));
        }
        for tally in &self.tallies {
            let given = tally.given.load(Ordering::Relaxed);
            let lost = tally.lost();
            let all: u64 = lost.values().sum();
            let places = lost.iter().map(|(place, n)| format!(", {n} at {place}"));
            let places: String = places.collect();
            let name = tally.name;
            trace::say(run, format_args!("output {name}: {given} events, {all} lost{places}"));
        }
        let left_out = self.status.sampling().left_out;
        if left_out > 0 {
            trace::say(run, format_args!("{left_out} events were left out (--max-cpu)"));
        }
        trace::close(run, &self.status.ledger())?;
        failed.map_or(Ok(()), Err)
    }

    fn lanes(&self) -> std::sync::MutexGuard<'_, Vec<Lane>> {
        self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Opens an output, and has it get events from now on.
    fn open_output(&mut self, wanted: outputs::Wanted, limit: usize) -> Result<()> {
        let known = self.tallies.iter().find(|t| t.name == wanted.name).cloned();
        let tally = known.unwrap_or_else(|| {
            let tally = Arc::new(Tally::new(wanted.name));
            self.tallies.push(tally.clone());
            tally
        });
        let lane = Lane::open(wanted, tally, limit)?;
        let mut lanes = self.lanes();
        lanes.push(lane);
        self.status.set_outputs(&lanes);
        Ok(())
    }

    fn tell_hooks(&self, segment: &Segment) {
        self.status.set_hooks(segment.hooks());
    }
}
