//! Connections that are being opened: captures that wait for how it ends.
//!
//! Bounded in number and time; what has to go is shown without its end.

use crate::enrich::Lru;
use crate::event::{Capture, Outcome};

/// Openings that wait at the same time.
const OPENINGS_MAX: usize = 16 * 1024;

/// Ends that came before their beginning: per-CPU buffers (before Linux 5.8) are read
/// one after the other.
const EARLY_MAX: usize = 1024;

/// How long an opening waits, in nanoseconds: longer than the kernel tries by default
/// (tcp_syn_retries 6: 127 s).
const PATIENCE: u64 = 600_000_000_000;

/// A connection that is being opened.
#[derive(Debug)]
pub struct Opening {
    /// Its first SYN.
    pub capture: Capture,
    /// That packet.
    pub bytes: Vec<u8>,
    /// SYNs until now.
    pub syns: u32,
}

/// What became of a capture.
#[derive(Debug)]
pub enum Kept {
    /// It waits; another had to make room.
    Waits(Option<Opening>),
    /// It repeats one that waits.
    Again,
    /// Its end is known already.
    Ended(Opening, Outcome),
}

/// Openings by the inode of their socket.
pub struct Openings {
    waiting: Lru<u64, Opening>,
    early: Lru<u64, Outcome>,
}

impl Openings {
    /// None yet.
    pub fn new() -> Openings {
        Openings { waiting: Lru::new(OPENINGS_MAX), early: Lru::new(EARLY_MAX) }
    }

    /// Takes a SYN. `bytes` are those of the packet.
    pub fn keep(&mut self, inode: u64, capture: &Capture, bytes: &[u8]) -> Kept {
        if let Some(known) = self.waiting.get_mut(&inode)
            && repeats(&known.bytes, bytes)
        {
            known.syns += 1;
            return Kept::Again;
        }
        let opening = Opening { capture: capture.clone(), bytes: bytes.to_vec(), syns: 1 };
        if let Some(outcome) = self.early.remove(&inode)
            && outcome.time >= capture.time
        {
            return Kept::Ended(opening, outcome);
        }
        // A socket may be connected again; how the last attempt ended was lost then.
        let former = self.waiting.remove(&inode);
        let evicted = match self.waiting.len() >= OPENINGS_MAX {
            true => self.waiting.pop_oldest().map(|(_, opening)| opening),
            false => None,
        };
        self.waiting.insert(inode, opening);
        Kept::Waits(former.or(evicted))
    }

    /// The opening that ended so.
    pub fn ended(&mut self, outcome: &Outcome) -> Option<Opening> {
        let opening = self.waiting.remove(&outcome.inode);
        if opening.is_none() {
            self.early.insert(outcome.inode, *outcome);
        }
        opening
    }

    /// The next that has waited too long; at the end (`None`) any.
    pub fn expired(&mut self, now: Option<u64>) -> Option<Opening> {
        let (_, oldest) = self.waiting.oldest()?;
        if now.is_some_and(|now| now.saturating_sub(oldest.capture.time) < PATIENCE) {
            return None;
        }
        self.waiting.pop_oldest().map(|(_, opening)| opening)
    }
}

/// Whether a SYN has the addresses, ports and sequence number of another. The IP id
/// and checksums differ, and what options say about the time.
fn repeats(first: &[u8], next: &[u8]) -> bool {
    let of = |bytes| {
        let packet = wire::packet::parse(wire::Layer::Ip, bytes)?;
        let segment = wire::transport::tcp(&packet)?;
        Some((packet.src, packet.dst, segment.sport, segment.dport, segment.seq))
    };
    of(first) == of(next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;
    use wire::Ending;

    /// A SYN of this sequence number, sent at a time.
    fn syn(seq: u8, time: u64) -> (Capture, Vec<u8>) {
        let mut bytes = vec![0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        bytes.extend([0x80, 1, 0, 80, 0, 0, 0, seq, 0, 0, 0, 0, 0x50, 2, 1, 0, 0, 0, 0, 0]);
        (Capture { time, ..fixture::capture() }, bytes)
    }

    fn keep(openings: &mut Openings, inode: u64, seq: u8, time: u64) -> Kept {
        let (capture, bytes) = syn(seq, time);
        openings.keep(inode, &capture, &bytes)
    }

    fn end(inode: u64, time: u64) -> Outcome {
        Outcome { time, inode, ending: Ending::Refused }
    }

    #[test]
    fn an_end_finds_its_beginning_once() {
        let mut openings = Openings::new();
        assert!(matches!(keep(&mut openings, 1, 1, 10), Kept::Waits(None)));
        let mut again = syn(1, 20);
        again.1[5] = 9; // another IP id
        assert!(matches!(openings.keep(1, &again.0, &again.1), Kept::Again));
        let opening = openings.ended(&end(1, 30)).unwrap();
        assert_eq!((opening.syns, opening.capture.time), (2, 10));
        assert!(openings.ended(&end(1, 30)).is_none());
    }

    #[test]
    fn a_socket_that_connects_again_is_another_opening() {
        let mut openings = Openings::new();
        keep(&mut openings, 1, 1, 10);
        let Kept::Waits(Some(former)) = keep(&mut openings, 1, 2, 20) else { panic!() };
        assert_eq!(former.capture.time, 10);
        assert_eq!(openings.ended(&end(1, 30)).unwrap().capture.time, 20);
    }

    #[test]
    fn an_end_may_be_read_before_its_beginning_but_not_before_an_earlier_one() {
        let mut openings = Openings::new();
        assert!(openings.ended(&end(1, 30)).is_none());
        assert!(matches!(keep(&mut openings, 1, 1, 10), Kept::Ended(..)));
        assert!(openings.ended(&end(2, 30)).is_none());
        assert!(matches!(keep(&mut openings, 2, 1, 40), Kept::Waits(None)));
    }

    #[test]
    fn nothing_waits_for_ever() {
        let mut openings = Openings::new();
        keep(&mut openings, 1, 1, 10);
        keep(&mut openings, 2, 1, 20);
        assert!(openings.expired(Some(PATIENCE)).is_none());
        assert_eq!(openings.expired(Some(PATIENCE + 10)).unwrap().capture.time, 10);
        assert!(openings.expired(Some(PATIENCE + 10)).is_none());
        assert_eq!(openings.expired(None).unwrap().capture.time, 20);
        for inode in 0..OPENINGS_MAX as u64 {
            keep(&mut openings, inode, 1, 30 + inode);
        }
        let Kept::Waits(Some(oldest)) = keep(&mut openings, u64::MAX, 1, 99) else { panic!() };
        assert_eq!(oldest.capture.time, 30);
    }
}
