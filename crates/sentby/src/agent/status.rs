//! What the agent knows about itself: written by the pipeline, read by outputs that tell it.

use super::lane::{Lane, Tally};
use super::queue::Queue;
use crate::ledger::Ledger;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

/// An output's counts.
#[derive(Clone)]
pub struct Counted {
    /// What became of its events.
    pub tally: Arc<Tally>,
    /// What waits for it.
    pub queue: Arc<Queue>,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    hooks: Vec<(&'static str, &'static str)>,
    outputs: Vec<Counted>,
    reloads: (u64, u64),
    max_cpu: Option<f64>,
    sampling: Sampling,
}

/// What is left out so that the agent costs no more than it may.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sampling {
    /// Events of a process in a second that are handed on; `None`: all.
    pub quota: Option<u64>,
    /// Events that were left out.
    pub left_out: u64,
}

/// The agent's state, as a whole.
pub struct Status {
    /// When it began.
    pub started: SystemTime,
    state: Mutex<State>,
}

impl Status {
    /// Nothing has happened.
    pub fn new() -> Status {
        Status { started: SystemTime::now(), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Where every capture went, since the agent was started.
    pub fn set_ledger(&self, ledger: Ledger) {
        self.state().ledger = ledger;
    }

    /// The same, to be told.
    pub fn ledger(&self) -> Ledger {
        self.state().ledger.clone()
    }

    /// The hooks in use, each with its backend.
    pub fn set_hooks(&self, hooks: Vec<(&'static str, &'static str)>) {
        self.state().hooks = hooks;
    }

    /// The same, to be told.
    pub fn hooks(&self) -> Vec<(&'static str, &'static str)> {
        self.state().hooks.clone()
    }

    /// The outputs at work.
    pub fn set_outputs(&self, lanes: &[Lane]) {
        let counted = |l: &Lane| Counted { tally: l.tally.clone(), queue: l.queue.clone() };
        self.state().outputs = lanes.iter().map(counted).collect();
    }

    /// The same, to be told.
    pub fn outputs(&self) -> Vec<Counted> {
        self.state().outputs.clone()
    }

    /// What part of a CPU the agent may cost.
    pub fn set_max_cpu(&self, part: Option<f64>) {
        self.state().max_cpu = part;
    }

    /// The same, to be kept to.
    pub fn max_cpu(&self) -> Option<f64> {
        self.state().max_cpu
    }

    /// What is left out for it.
    pub fn set_sampling(&self, sampling: Sampling) {
        self.state().sampling = sampling;
    }

    /// The same, to be told.
    pub fn sampling(&self) -> Sampling {
        self.state().sampling
    }

    /// The configuration was read anew, well or not.
    pub fn reloaded(&self, well: bool) {
        let (done, failed) = &mut self.state().reloads;
        *(if well { done } else { failed }) += 1;
    }

    /// How often it was read anew: well, and not.
    pub fn reloads(&self) -> (u64, u64) {
        self.state().reloads
    }
}
