//! What a capture leaves behind for the next one of the same stream: a request that is
//! not whole yet, or how far the body of the last one goes.
//!
//! Bounded in number and in bytes; what has to go is decoded as far as it came.

use crate::enrich::Lru;
use crate::event::{Capture, Ends};

/// Streams of which something is kept.
const FLOWS_MAX: usize = 16 * 1024;

/// Bytes of one request that are put together; backends capture no more.
pub const REQUEST_MAX: usize = 16 * 1024;

/// How long something is kept after the last capture of its stream, in nanoseconds.
const IDLE: u64 = 10_000_000_000;

/// One direction of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// Addresses and ports.
    pub ends: Ends,
}

/// What is kept of a stream.
#[derive(Debug, Default)]
pub struct Flow {
    /// The request that is not whole: its first capture, and its bytes so far.
    pub pending: Option<Pending>,
    /// Sequence number after the last byte that was looked at.
    pub next: u32,
    /// Sequence number before which no request begins.
    pub skip_to: Option<u32>,
    /// Several requests came one after the other, up to the one that is not whole.
    pub several: bool,
    /// When its last capture was sent.
    touched: u64,
}

/// A request that is not whole.
#[derive(Debug)]
pub struct Pending {
    /// The capture it began in, which names the sender.
    pub capture: Capture,
    /// From its first byte on.
    pub bytes: Vec<u8>,
    /// Sequence number of that byte.
    pub seq: u32,
}

/// The streams of which something is kept.
pub struct Flows {
    kept: Lru<Key, Flow>,
}

impl Flows {
    /// None yet.
    pub fn new() -> Flows {
        Flows { kept: Lru::new(FLOWS_MAX) }
    }

    /// Takes out what is kept of a stream.
    pub fn take(&mut self, key: &Key) -> Flow {
        self.kept.remove(key).unwrap_or_default()
    }

    /// Keeps something until the stream's next capture, sent at `now` the last. Returns
    /// a request that had to make room.
    #[must_use]
    pub fn keep(&mut self, key: Key, mut flow: Flow, now: u64) -> Option<(Key, Pending)> {
        flow.touched = now;
        let evicted = match self.kept.len() >= FLOWS_MAX {
            true => self.kept.pop_oldest(),
            false => None,
        };
        self.kept.insert(key, flow);
        evicted.and_then(|(key, flow)| Some((key, flow.pending?)))
    }

    /// The next request that has waited too long; at the end (`None`) any.
    pub fn expired(&mut self, now: Option<u64>) -> Option<(Key, Pending)> {
        loop {
            let (_, oldest) = self.kept.oldest()?;
            if now.is_some_and(|now| now.saturating_sub(oldest.touched) < IDLE) {
                return None;
            }
            let (key, flow) = self.kept.pop_oldest()?;
            if let Some(pending) = flow.pending {
                return Some((key, pending));
            }
        }
    }
}

impl Flow {
    /// Where in a segment's payload a request may begin, if anywhere: what belongs to
    /// the body of the one before is passed over.
    pub fn begin_in(&mut self, seq: u32, len: usize, begins: bool) -> Option<usize> {
        let Some(skip_to) = self.skip_to else { return begins.then_some(0) };
        let ahead = skip_to.wrapping_sub(seq) as i32;
        if ahead >= len as i32 && len > 0 {
            return None;
        }
        self.skip_to = None;
        match ahead {
            ..=0 => begins.then_some(0),
            inside => Some(inside as usize),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn key(sport: u16) -> Key {
        let address = "192.0.2.1".parse().unwrap();
        Key { netns: None, ends: Ends { src: address, dst: address, ports: Some((sport, 80)) } }
    }

    fn pending() -> Flow {
        let pending = Pending { capture: fixture::capture(), bytes: b"GET".to_vec(), seq: 1 };
        Flow { pending: Some(pending), ..Flow::default() }
    }

    #[test]
    fn what_is_kept_is_taken_once() {
        let mut flows = Flows::new();
        assert!(flows.keep(key(1), pending(), 0).is_none());
        assert!(flows.take(&key(2)).pending.is_none());
        assert_eq!(flows.take(&key(1)).pending.unwrap().bytes, b"GET");
        assert!(flows.take(&key(1)).pending.is_none());
    }

    #[test]
    fn the_oldest_makes_room_and_is_not_lost() {
        let mut flows = Flows::new();
        for n in 0..FLOWS_MAX {
            assert!(flows.keep(key(n as u16), pending(), n as u64).is_none());
        }
        let other = Key { netns: Some(1), ..key(1) };
        assert_eq!(flows.keep(other, pending(), 0).unwrap().0, key(0));
    }

    #[test]
    fn requests_expire_but_not_early() {
        let mut flows = Flows::new();
        let body = Flow { skip_to: Some(1), ..Flow::default() };
        assert!(flows.keep(key(1), body, 1).is_none());
        assert!(flows.keep(key(2), pending(), 2).is_none());
        assert!(flows.expired(Some(IDLE)).is_none());
        assert_eq!(flows.expired(Some(2 + IDLE)).unwrap().0, key(2));
        assert!(flows.expired(None).is_none());
    }

    #[test]
    fn a_body_is_passed_over_even_across_the_end_of_sequence_numbers() {
        let seq = u32::MAX - 9;
        let mut flow = Flow { skip_to: Some(20), ..Flow::default() };
        assert_eq!(flow.begin_in(seq, 30, true), None);
        assert_eq!(flow.begin_in(seq, 31, false), Some(30));
        assert_eq!(flow.skip_to, None);
        assert_eq!(flow.begin_in(seq, 31, true), Some(0));
        assert_eq!(flow.begin_in(seq, 31, false), None);
    }

    #[test]
    fn what_follows_a_body_begins_at_its_own_start() {
        let mut flow = Flow { skip_to: Some(100), ..Flow::default() };
        assert_eq!(flow.begin_in(100, 5, true), Some(0));
        let mut flow = Flow { skip_to: Some(100), ..Flow::default() };
        assert_eq!(flow.begin_in(300, 5, false), None);
    }
}
