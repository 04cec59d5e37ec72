//! The pipeline's output: gives every event to each of the agent's outputs.

use super::lane::Lane;
use super::notify::Notify;
use super::queue::Events;
use super::sampling::Sampler;
use super::status::Status;
use crate::event::Event;
use crate::ledger::Ledger;
use crate::output::Output;
use crate::owned::{Owned, Owning};
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// Events that are handed on at once, at the most.
const BATCH: usize = 256;

/// The outputs at work. A reload changes them while events flow.
pub type Lanes = Arc<Mutex<Vec<Lane>>>;

/// The pipeline's output.
pub struct Fan {
    lanes: Lanes,
    status: Arc<Status>,
    notify: Arc<Notify>,
    /// Set where the source can wait for outputs, until this is set.
    waits: Option<Arc<AtomicBool>>,
    sampler: Sampler,
    owning: Owning,
    batch: Vec<Owned>,
    size: usize,
    /// Where the captures of sources that have ended went.
    before: Ledger,
}

impl Fan {
    /// Over these.
    pub fn new(
        lanes: Lanes,
        status: Arc<Status>,
        notify: Arc<Notify>,
        waits: Option<Arc<AtomicBool>>,
    ) -> Fan {
        Fan {
            lanes,
            status,
            notify,
            waits,
            sampler: Sampler::new(),
            owning: Owning::new(),
            batch: Vec::with_capacity(BATCH),
            size: 0,
            before: Ledger::default(),
        }
    }

    /// A source has ended; another may follow.
    pub fn source_ended(&mut self, ledger: &Ledger) {
        self.owning.next_enricher();
        self.before.add_run(ledger);
        self.status.set_ledger(self.before.clone());
        self.sampler.tell(&self.status);
    }

    fn pass_on(&mut self) {
        self.sampler.look(&self.status);
        if self.batch.is_empty() {
            return;
        }
        let events = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let events = Arc::new(Events { events, size: std::mem::take(&mut self.size) });
        let lanes = self.lanes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        lanes.iter().for_each(|lane| lane.give(&events, self.waits.as_deref()));
    }
}

impl Output for Fan {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let Some(stands_for) = self.sampler.take(event) else { return Ok(()) };
        let sampled = event.sampled.or((stands_for > 1).then_some(stands_for));
        let owned = self.owning.own(&Event { sampled, ..event.clone() });
        self.size += owned.size();
        self.batch.push(owned);
        if self.batch.len() >= BATCH {
            self.pass_on();
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on();
        Ok(())
    }

    fn so_far(&mut self, ledger: &Ledger) {
        let mut all = self.before.clone();
        all.add_run(ledger);
        self.status.set_ledger(all);
        self.sampler.look(&self.status);
        // What is told here has come through the reader and the pipeline: both are alive.
        self.notify.alive();
    }
}
