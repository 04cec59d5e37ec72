//! From a request to the output. An event whose container was asked for just now is kept back
//! until it has its name, 50 ms at the most; others pass it meanwhile.

use super::{Go, Pipeline, quiet_pipe};
use crate::enrich::{Awaited, ContainerId};
use crate::event::{Capture, Ends, Event, Raw};
use crate::filter::Filter;
use crate::ledger::Ledger;
use crate::output::Output;
use crate::owned::{Owned, Owning};
use anyhow::Result;
use std::collections::VecDeque;
use std::io;
use std::time::Duration;
use wire::Request;

/// Most events that are kept back. Those beyond are shown at once, without the name.
const MAX_UNNAMED: usize = 256;

/// How often it is looked whether names have come.
const LOOK: Duration = Duration::from_millis(2);

/// Events that are kept back, in the order in which they came.
pub struct Unnamed {
    events: VecDeque<(ContainerId, Owned)>,
    owning: Owning,
}

impl Unnamed {
    /// None.
    pub fn new() -> Unnamed {
        Unnamed { events: VecDeque::new(), owning: Owning::new() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How long to wait for captures, if nothing else is to be done for so long.
    pub fn patience(&self, otherwise: Duration) -> Duration {
        if self.is_empty() { otherwise } else { LOOK }
    }

    /// Keeps an event back; whether there was room.
    fn keep(&mut self, container: ContainerId, event: &Event<'_>) -> bool {
        let room = self.events.len() < MAX_UNNAMED;
        if room {
            self.events.push_back((container, self.owning.own(event)));
        }
        room
    }
}

impl Pipeline<'_> {
    /// A request, as far as it was captured.
    pub(super) fn request(
        &mut self,
        capture: &Capture,
        ends: Ends,
        request: &Request<'_>,
        (raw, outcome): (Raw<'_>, Option<wire::Outcome>),
    ) -> io::Result<()> {
        let (mut event, awaited) = self.enricher.event_and_awaited(capture, ends, request);
        event.raw = raw;
        event.outcome = outcome;
        if awaited.is_some_and(|container| self.unnamed.keep(container, &event)) {
            return Ok(());
        }
        show(&self.filter, &mut *self.output, &mut self.ledger, &event)
    }

    /// Shows what has been kept back long enough; nothing where enough was shown.
    pub(super) fn release(&mut self, flow: &mut Go, most: Option<u64>) -> Result<()> {
        for _ in 0..self.unnamed.len() {
            let Some((container, mut event)) = self.unnamed.events.pop_front() else { break };
            let awaited = self.enricher.awaited(container);
            if *flow == Go::On && matches!(awaited, Awaited::Still) {
                self.unnamed.events.push_back((container, event));
                continue;
            }
            if *flow == Go::Enough {
                self.ledger.left += 1;
                continue;
            }
            if let Awaited::Named(info) = awaited {
                event.name(info);
            }
            let (filter, output) = (&self.filter, &mut *self.output);
            let shown = quiet_pipe(show(filter, output, &mut self.ledger, &event.event()));
            match shown {
                Ok(Go::On) if most.is_none_or(|n| self.ledger.shown < n) => {}
                Ok(_) => *flow = Go::Enough,
                Err(e) => {
                    *flow = Go::Enough;
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// The same at the end: waits for what is not long enough yet.
    pub(super) fn release_all(&mut self, flow: &mut Go, most: Option<u64>) -> Result<()> {
        let mut done = Ok(());
        while !self.unnamed.is_empty() {
            self.enricher.tick();
            let released = self.release(flow, most);
            done = done.and(released);
            if !self.unnamed.is_empty() {
                std::thread::sleep(LOOK);
            }
        }
        done
    }
}

/// Decides about an event, and shows it.
fn show(
    filter: &Filter,
    output: &mut dyn Output,
    ledger: &mut Ledger,
    event: &Event<'_>,
) -> io::Result<()> {
    if !filter.matches(event) {
        ledger.filtered += 1;
        return Ok(());
    }
    let taken = output.event(event);
    match taken {
        Ok(()) => ledger.shown += 1,
        Err(_) => ledger.left += 1,
    }
    taken
}
