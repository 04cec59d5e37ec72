//! How connections that are opened in a file end: their first answer tells.
//!
//! Deliberately absent: what routers say (ICMP), and silence; without an answer an
//! opening has no outcome.

use crate::enrich::Lru;
use crate::event::{Ends, Outcome};
use wire::Ending;
use wire::transport::{Segment, flag};

/// Openings that wait for an answer at the same time.
const OPENINGS_MAX: usize = 16 * 1024;

/// The first number of an opening: no inode is that large.
const FIRST: u64 = 1 << 63;

/// Openings by their ends.
pub struct Openings {
    waiting: Lru<Ends, (u64, u32)>,
    next: u64,
}

/// What a segment is to an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It begins this one, or repeats its SYN.
    Opens(u64),
    /// It answers one.
    Ends(Outcome),
    /// Nothing.
    Other,
}

impl Openings {
    /// None yet.
    pub fn new() -> Openings {
        Openings { waiting: Lru::new(OPENINGS_MAX), next: FIRST }
    }

    /// Looks at a segment that was seen at `time`.
    pub fn look(&mut self, ends: Ends, segment: &Segment<'_>, time: u64) -> Seen {
        const KINDS: u8 = flag::SYN | flag::RST | flag::ACK;
        match segment.flags & KINDS {
            flag::SYN => Seen::Opens(self.opens(ends, segment.seq)),
            kind if kind & (flag::SYN | flag::RST) == 0 => Seen::Other,
            kind => {
                let (src, dst) = (ends.dst, ends.src);
                let ports = ends.ports.map(|(sport, dport)| (dport, sport));
                let Some((inode, _)) = self.waiting.remove(&Ends { src, dst, ports }) else {
                    return Seen::Other;
                };
                let refused = kind & flag::RST != 0;
                let ending = if refused { Ending::Refused } else { Ending::Established };
                Seen::Ends(Outcome { time, inode, ending })
            }
        }
    }

    fn opens(&mut self, ends: Ends, seq: u32) -> u64 {
        match self.waiting.get_mut(&ends) {
            Some((number, first)) if *first == seq => *number,
            _ => {
                self.next += 1;
                self.waiting.insert(ends, (self.next, seq));
                self.next
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(openings: &mut Openings, back: bool, flags: u8, seq: u32) -> Seen {
        let (a, b) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let ends = match back {
            false => Ends { src: a, dst: b, ports: Some((1000, 80)) },
            true => Ends { src: b, dst: a, ports: Some((80, 1000)) },
        };
        let segment = Segment { sport: 0, dport: 0, seq, flags, payload: &[], len: None };
        openings.look(ends, &segment, 5)
    }

    #[test]
    fn the_first_answer_ends_it() {
        for (answer, ending) in
            [(flag::SYN | flag::ACK, Ending::Established), (flag::RST | flag::ACK, Ending::Refused)]
        {
            let mut openings = Openings::new();
            let Seen::Opens(number) = look(&mut openings, false, flag::SYN, 7) else { panic!() };
            assert_eq!(look(&mut openings, false, flag::SYN, 7), Seen::Opens(number), "again");
            assert_eq!(look(&mut openings, false, flag::ACK, 8), Seen::Other);
            let Seen::Ends(outcome) = look(&mut openings, true, answer, 1) else { panic!() };
            assert_eq!((outcome.inode, outcome.ending, outcome.time), (number, ending, 5));
            assert_eq!(look(&mut openings, true, answer, 1), Seen::Other, "once");
        }
    }

    #[test]
    fn another_sequence_number_is_another_opening() {
        let mut openings = Openings::new();
        let first = look(&mut openings, false, flag::SYN, 7);
        assert_ne!(look(&mut openings, false, flag::SYN, 8), first);
    }
}
