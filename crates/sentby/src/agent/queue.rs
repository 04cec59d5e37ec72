//! The queue in front of an output: bounded, so that a slow or absent output costs events,
//! which are counted, and never slows the capture.

use crate::owned::Owned;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// The longest time that a stop request goes unnoticed by who waits for room.
const NOTICE: Duration = Duration::from_millis(50);

/// Events that travel together, shared by all outputs.
pub struct Events {
    /// In the order in which they were sent.
    pub events: Vec<Owned>,
    /// Bytes of memory, about.
    pub size: usize,
}

/// What a queue gives.
pub enum Popped {
    /// Events.
    Events(Arc<Events>),
    /// None within the time.
    Nothing,
    /// There are none, and none will come.
    Ended,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Events>>,
    size: usize,
    ended: bool,
    reopen: bool,
}

/// A bounded queue of events.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit: usize,
}

impl Queue {
    /// Of at most so many bytes of memory; one batch always finds room.
    pub fn new(limit: usize) -> Queue {
        Queue { state: Mutex::default(), changed: Condvar::new(), limit }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Adds events, unless there is no room. Returns whether there was.
    pub fn push(&self, events: &Arc<Events>) -> bool {
        self.pushed(self.state(), events)
    }

    /// Adds events as soon as there is room, for sources that can wait; gives up when `stop` is
    /// set. Returns whether they were added.
    pub fn push_waiting(&self, events: &Arc<Events>, stop: &AtomicBool) -> bool {
        let full = |s: &mut State| !s.ended && s.size > 0 && s.size + events.size > self.limit;
        loop {
            let waited = self.changed.wait_timeout_while(self.state(), NOTICE, full);
            let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
            if !full(&mut state) || stop.load(Ordering::Relaxed) {
                return self.pushed(state, events);
            }
        }
    }

    fn pushed(&self, mut state: MutexGuard<'_, State>, events: &Arc<Events>) -> bool {
        let fits = state.size == 0 || state.size + events.size <= self.limit;
        if !fits || state.ended {
            return false;
        }
        state.size += events.size;
        state.waiting.push_back(events.clone());
        self.changed.notify_all();
        true
    }

    /// Takes events, waiting at most this long.
    pub fn pop(&self, wait: Duration) -> Popped {
        let idle = |s: &mut State| s.waiting.is_empty() && !s.ended && !s.reopen;
        let waited = self.changed.wait_timeout_while(self.state(), wait, idle);
        let (mut state, _) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        match state.waiting.pop_front() {
            Some(events) => {
                state.size -= events.size;
                self.changed.notify_all();
                Popped::Events(events)
            }
            None if state.ended => Popped::Ended,
            None => Popped::Nothing,
        }
    }

    /// Waits, whatever is in it, but not beyond its end. Returns whether it has ended.
    pub fn wait_for_end(&self, wait: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.state(), wait, |s| !s.ended);
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.ended
    }

    /// Nothing more comes.
    pub fn end(&self) {
        self.state().ended = true;
        self.changed.notify_all();
    }

    /// Asks for the output to be opened anew.
    pub fn ask_reopen(&self) {
        self.state().reopen = true;
        self.changed.notify_all();
    }

    /// Whether that was asked for since the last time.
    pub fn take_reopen(&self) -> bool {
        std::mem::take(&mut self.state().reopen)
    }

    /// Events and bytes that wait.
    pub fn waiting(&self) -> (u64, usize) {
        let state = self.state();
        (state.waiting.iter().map(|e| e.events.len() as u64).sum(), state.size)
    }

    /// Waits until it is empty, but not beyond a moment.
    pub fn drained(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(self.state(), left, |s| !s.waiting.is_empty());
        waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn events(size: usize) -> Arc<Events> {
        Arc::new(Events { events: Vec::new(), size })
    }

    #[test]
    fn what_has_no_room_is_refused_and_one_always_has() {
        let queue = Queue::new(100);
        assert!(queue.push(&events(500)));
        assert!(!queue.push(&events(1)));
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Events(_)));
        assert!(queue.push(&events(60)) && queue.push(&events(40)) && !queue.push(&events(1)));
    }

    #[test]
    fn after_the_end_what_waits_is_still_given() {
        let queue = Queue::new(100);
        assert!(queue.push(&events(1)));
        queue.end();
        assert!(!queue.push(&events(1)));
        assert!(matches!(queue.pop(Duration::ZERO), Popped::Events(_)));
        assert!(matches!(queue.pop(Duration::from_secs(60)), Popped::Ended));
    }

    #[test]
    fn a_source_that_can_wait_waits_for_room_until_it_is_stopped() {
        let (queue, stop) = (Queue::new(10), AtomicBool::new(false));
        assert!(queue.push(&events(10)));
        thread::scope(|scope| {
            let pushing = scope.spawn(|| queue.push_waiting(&events(10), &stop));
            assert!(matches!(queue.pop(Duration::ZERO), Popped::Events(_)));
            assert!(pushing.join().unwrap());
        });
        stop.store(true, Ordering::Relaxed);
        assert!(!queue.push_waiting(&events(10), &stop));
    }

    #[test]
    fn asking_to_reopen_wakes_whoever_waits() {
        let queue = Queue::new(10);
        queue.ask_reopen();
        assert!(matches!(queue.pop(Duration::from_secs(60)), Popped::Nothing));
        assert!(queue.take_reopen() && !queue.take_reopen());
    }
}
