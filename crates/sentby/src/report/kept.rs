//! The events that the page has in full: a bounded number, thinned where there are many
//! alike.
//!
//! The newest would be a flood's, and a rare sender is what a report is read for. So of
//! each flow (sender, destination, protocol) the first few are kept, and of the others
//! every so-many-th, evenly. When there is no room, that becomes every second of those.

use super::encode::Encoded;
use std::collections::HashSet;
use std::rc::Rc;

/// Events in full.
pub const MAX_EVENTS: usize = 100_000;

/// Bytes of what they say.
pub const MAX_BYTES: usize = 96 << 20;

/// The first events of each flow, as long as there is room.
const FIRST: u64 = 8;

/// Thinning beyond this changes nothing any more.
const MAX_EVERY: u64 = 1 << 40;

/// An event, with parts that others say as well.
pub struct Kept {
    /// Its number within its flow.
    nth: u64,
    /// Names of its values.
    pub shape: Rc<str>,
    /// The sender.
    pub context: Rc<str>,
    /// The destination.
    pub place: Rc<str>,
    /// Its own values.
    pub values: Box<str>,
}

/// What is kept.
pub struct Events {
    events: Vec<Kept>,
    parts: HashSet<Rc<str>>,
    bytes: usize,
    first: u64,
    every: u64,
    room: (usize, usize),
    closed: bool,
}

impl Events {
    /// None, with room for this many events and bytes.
    pub fn new(room: (usize, usize)) -> Events {
        let (events, parts) = (Vec::new(), HashSet::new());
        Events { events, parts, bytes: 0, first: FIRST, every: 1, room, closed: false }
    }

    /// Whether the event of this number within its flow is to be kept.
    pub fn wants(&self, nth: u64) -> bool {
        !self.closed && wanted(nth, self.first, self.every)
    }

    /// Keeps an event.
    pub fn keep(&mut self, nth: u64, event: Encoded) {
        self.bytes += event.values.len();
        let kept = Kept {
            nth,
            shape: self.part(event.shape),
            context: self.part(event.context),
            place: self.part(event.place),
            values: event.values.into(),
        };
        self.events.push(kept);
        if self.full() {
            self.thin();
        }
    }

    /// In the order in which they came.
    pub fn all(&self) -> &[Kept] {
        &self.events
    }

    /// Of each flow the first so many are here, then every so-many-th.
    pub fn rule(&self) -> (u64, u64) {
        (self.first, self.every)
    }

    /// Nothing more was taken at some moment, since the first events alone filled the room.
    pub fn closed(&self) -> bool {
        self.closed
    }

    fn full(&self) -> bool {
        self.events.len() > self.room.0 || self.bytes > self.room.1
    }

    fn part(&mut self, text: String) -> Rc<str> {
        if let Some(known) = self.parts.get(text.as_str()) {
            return known.clone();
        }
        self.bytes += text.len();
        let part: Rc<str> = text.into();
        self.parts.insert(part.clone());
        part
    }

    /// Makes room for an eighth, so that this is not done again at once.
    fn thin(&mut self) {
        let room = (self.room.0 / 8 * 7, self.room.1 / 8 * 7);
        while self.events.len() > room.0 || self.bytes > room.1 {
            if self.every < MAX_EVERY {
                self.every *= 2;
            } else if self.first > 1 {
                self.first /= 2;
            } else {
                self.closed = true;
                return;
            }
            let (first, every) = (self.first, self.every);
            let before = self.events.len();
            self.events.retain(|e| wanted(e.nth, first, every));
            // Rare flows fill it: their first events are all that can go.
            if before - self.events.len() < before / 64 && self.first > 1 {
                self.first /= 2;
                self.events.retain(|e| wanted(e.nth, self.first, every));
            }
            self.forget();
        }
    }

    /// Forgets parts that no event has any more.
    fn forget(&mut self) {
        self.parts.retain(|part| Rc::strong_count(part) > 1);
        self.bytes = self.parts.iter().map(|p| p.len()).sum::<usize>()
            + self.events.iter().map(|e| e.values.len()).sum::<usize>();
    }
}

fn wanted(nth: u64, first: u64, every: u64) -> bool {
    nth < first || nth.is_multiple_of(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(who: u64, what: u64) -> Encoded {
        Encoded {
            shape: "[]".into(),
            context: who.to_string(),
            place: "{}".into(),
            values: what.to_string(),
        }
    }

    fn offer(events: &mut Events, nth: u64, event: Encoded) {
        if events.wants(nth) {
            events.keep(nth, event);
        }
    }

    #[test]
    fn a_flood_is_thinned_evenly_and_the_rare_stays() {
        let mut events = Events::new((1000, 1 << 20));
        offer(&mut events, 0, encoded(1, 0));
        for n in 0..1_000_000 {
            offer(&mut events, n, encoded(2, n));
        }
        offer(&mut events, 1, encoded(1, 1));
        let of = |who: &str| events.all().iter().filter(|e| &*e.context == who).collect::<Vec<_>>();
        assert_eq!(of("1").len(), 2);
        let (first, every) = events.rule();
        let flood: Vec<u64> = of("2").iter().map(|e| e.nth).collect();
        let want: Vec<u64> = (0..1_000_000).filter(|n| *n < first || n % every == 0).collect();
        assert_eq!((first, flood), (8, want));
        assert!((400..=1000).contains(&events.all().len()), "{}", events.all().len());
    }

    #[test]
    fn many_rare_flows_keep_one_each() {
        let mut events = Events::new((1000, 1 << 20));
        for n in 0..4000 {
            offer(&mut events, n / 800, encoded(n % 800, n));
        }
        let who: HashSet<_> = events.all().iter().map(|e| e.context.clone()).collect();
        assert_eq!(who.len(), 800);
        assert!(events.all().len() <= 1000);
        assert!(!events.closed());
    }

    #[test]
    fn bytes_are_bounded_whatever_comes() {
        let mut events = Events::new((1000, 4096));
        for n in 0..10_000 {
            let mut event = encoded(n, n);
            event.context = format!("{n:0>100}");
            offer(&mut events, 0, event);
        }
        assert!(events.bytes <= 4096 + 200, "{}", events.bytes);
        assert!(events.closed());
    }
}
