//! What comes in about what went out: how the opening of a connection ends, and answers
//! to DNS queries.

use super::sockets::{Flow, ICMP, ICMPV6};
use crate::enrich::Lru;
use crate::event::Outcome;
use std::time::{Duration, Instant};
use wire::transport::{self, TCP, UDP, flag};
use wire::{Ending, Layer, Packet};

/// Connections that are being opened.
const OPENINGS_MAX: usize = 16 * 1024;

/// Queries that wait for an answer.
const QUERIES_MAX: usize = 4096;

/// How often openings that nobody answered are looked at.
const PAUSE: Duration = Duration::from_millis(50);

/// How many of them at a time.
const LOOKED_AT_MAX: usize = 256;

/// The first SYN is repeated after this time, the next after twice that, and so on
/// (RFC 6298 section 2: 1 s). Timers are a little early at times.
const FIRST_REPEAT: u64 = 950_000_000;

const DOMAIN: u16 = 53;

/// A connection that is being opened.
#[derive(Clone, Copy, Debug)]
struct Opening {
    inode: Option<u64>,
    seq: u32,
    /// When the last SYN was sent.
    last: u64,
    syns: u32,
}

/// What is waited for.
pub struct Waiting {
    openings: Lru<Flow, Opening>,
    queries: Lru<(Flow, u16), ()>,
    next: Instant,
    /// Openings that had to make room.
    pub forgotten: u64,
}

impl Waiting {
    /// Nothing yet.
    pub fn new() -> Waiting {
        Waiting {
            openings: Lru::new(OPENINGS_MAX),
            queries: Lru::new(QUERIES_MAX),
            next: Instant::now(),
            forgotten: 0,
        }
    }

    /// A SYN was sent. False if it repeats one of a socket that nobody knows: then nobody
    /// puts the two together later.
    pub fn opens(&mut self, flow: Flow, seq: u32, inode: Option<u64>, time: u64) -> bool {
        let former = self.openings.remove(&flow).filter(|o| o.seq == seq);
        let again = former.is_some_and(|o| o.inode.is_none());
        let inode = former.map_or(inode, |o| o.inode);
        let syns = former.map_or(1, |o| o.syns.saturating_add(1));
        if self.openings.insert(flow, Opening { inode, seq, last: time, syns }) {
            self.forgotten += 1;
        }
        !again
    }

    /// The socket that a repeated SYN was sent on at first.
    pub fn inode(&self, flow: &Flow, seq: u32) -> Option<u64> {
        self.openings.peek(flow).filter(|o| o.seq == seq)?.inode
    }

    /// A DNS query was sent.
    pub fn asks(&mut self, packet: &Packet<'_>) {
        if let Some(id) = query_id(packet, false) {
            self.queries.insert((Flow::of(packet), id), ());
        }
    }

    /// Whether a packet answers a DNS query, once; the flow of that.
    pub fn answers(&mut self, packet: &Packet<'_>) -> Option<Flow> {
        let id = query_id(packet, true)?;
        let asked = Flow::of(packet).reverse();
        self.queries.remove(&(asked, id)).map(|()| asked)
    }

    /// How an opening ended, if a packet that came in tells.
    pub fn outcome(&mut self, packet: &Packet<'_>, time: u64) -> Option<Outcome> {
        let (flow, ending) = match packet.protocol {
            TCP => answer(packet, &self.openings)?,
            ICMP | ICMPV6 => error(packet)?,
            _ => return None,
        };
        let inode = self.openings.remove(&flow)?.inode?;
        Some(Outcome { time, inode, ending })
    }

    /// How openings ended that nobody answered. `is_there` tells whether a flow's socket
    /// still exists.
    pub fn unanswered(
        &mut self,
        time: u64,
        mut is_there: impl FnMut(&Flow, u64) -> bool,
    ) -> Vec<Outcome> {
        let now = Instant::now();
        if now < self.next || self.openings.len() == 0 {
            return Vec::new();
        }
        self.next = now + PAUSE;
        let mut ended = Vec::new();
        for _ in 0..self.openings.len().min(LOOKED_AT_MAX) {
            let Some((flow, opening)) = self.openings.pop_oldest() else { break };
            let Some(inode) = opening.inode else { continue };
            if is_there(&flow, inode) {
                self.openings.insert(flow, opening);
                continue;
            }
            let patience = FIRST_REPEAT << (opening.syns - 1).min(16);
            let ending = match time.saturating_sub(opening.last) >= patience {
                true => Ending::TimedOut,
                false => Ending::Abandoned,
            };
            ended.push(Outcome { time, inode, ending });
        }
        ended
    }
}

/// An answer to a SYN: the flow of the SYN, and what it means.
fn answer(packet: &Packet<'_>, openings: &Lru<Flow, Opening>) -> Option<(Flow, Ending)> {
    let segment = transport::tcp(packet)?;
    let flow = Flow::of(packet).reverse();
    let opening = openings.peek(&flow)?;
    let acknowledged = packet.payload.get(8..12)?.try_into().ok().map(u32::from_be_bytes)?;
    // Of data in the SYN (RFC 7413) less or more may be acknowledged.
    let of_this = acknowledged.wrapping_sub(opening.seq.wrapping_add(1)) < 1 << 16;
    match segment.flags {
        f if f & flag::RST != 0 && of_this => Some((flow, Ending::Refused)),
        f if f & flag::SYN != 0 && f & flag::ACK != 0 && of_this => {
            Some((flow, Ending::Established))
        }
        _ => None,
    }
}

/// An error about a SYN (RFC 792, RFC 4443 section 3.1): it carries the SYN's beginning.
fn error(packet: &Packet<'_>) -> Option<(Flow, Ending)> {
    let (kind, code) = (*packet.payload.first()?, *packet.payload.get(1)?);
    let ending = match (packet.protocol, kind, code) {
        // Ports; a firewall may say so of TCP.
        (ICMP, 3, 3) | (ICMPV6, 1, 4) => Ending::Refused,
        // Too big: nothing has ended.
        (ICMP, 3, 4) => return None,
        (ICMP, 3, _) | (ICMPV6, 1, _) => Ending::Unreachable,
        _ => return None,
    };
    let about = wire::packet::parse(Layer::Ip, packet.payload.get(8..)?)?;
    (about.protocol == TCP).then(|| (Flow::of(&about), ending))
}

/// The identifier of a DNS message to a server, or from one.
fn query_id(packet: &Packet<'_>, answer: bool) -> Option<u16> {
    if packet.protocol != UDP {
        return None;
    }
    let datagram = transport::udp(packet)?;
    let port = if answer { datagram.sport } else { datagram.dport };
    let id = datagram.payload.first_chunk().map(|b| u16::from_be_bytes(*b))?;
    (port == DOMAIN).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 4] = [192, 0, 2, 1];
    const B: [u8; 4] = [192, 0, 2, 2];

    fn ip(protocol: u8, src: [u8; 4], dst: [u8; 4], carried: &[u8]) -> Vec<u8> {
        let len = (20 + carried.len() as u16).to_be_bytes();
        let head = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0];
        [&head[..], &src, &dst, carried].concat()
    }

    fn tcp(ports: [u8; 2], seq: u8, ack: u8, flags: u8) -> Vec<u8> {
        let head = [0, ports[0], 0, ports[1], 0, 0, 0, seq, 0, 0, 0, ack, 0x50, flags];
        [&head[..], &[0; 6]].concat()
    }

    fn packet(bytes: &[u8]) -> Packet<'_> {
        wire::packet::parse(Layer::Ip, bytes).unwrap()
    }

    #[test]
    fn openings_end_by_what_comes_in() {
        let syn = ip(TCP, A, B, &tcp([7, 80], 100, 0, flag::SYN));
        let came = |ack, flags| ip(TCP, B, A, &tcp([80, 7], 1, ack, flags));
        let icmp =
            |kind, code| ip(ICMP, B, A, &[&[kind, code, 0, 0, 0, 0, 0, 0][..], &syn].concat());
        for (bytes, ending) in [
            (came(101, flag::SYN | flag::ACK), Some(Ending::Established)),
            (came(101, flag::RST | flag::ACK), Some(Ending::Refused)),
            (came(99, flag::RST | flag::ACK), None),
            (came(101, flag::ACK), None),
            (icmp(3, 1), Some(Ending::Unreachable)),
            (icmp(3, 3), Some(Ending::Refused)),
            (icmp(3, 4), None),
            (icmp(11, 0), None),
            (syn.clone(), None),
        ] {
            let mut waiting = Waiting::new();
            assert!(waiting.opens(Flow::of(&packet(&syn)), 100, Some(5), 10));
            let outcome = waiting.outcome(&packet(&bytes), 20);
            assert_eq!(outcome.map(|o| o.ending), ending, "{bytes:?}");
            assert!(outcome.is_none_or(|o| (o.inode, o.time) == (5, 20)));
            assert_eq!(waiting.openings.len(), usize::from(ending.is_none()));
        }
    }

    #[test]
    fn repeated_syns_of_nobody_are_not_shown_again() {
        let syn = ip(TCP, A, B, &tcp([7, 80], 100, 0, flag::SYN));
        let flow = Flow::of(&packet(&syn));
        let mut waiting = Waiting::new();
        assert!(waiting.opens(flow, 100, None, 10));
        assert!(!waiting.opens(flow, 100, Some(5), 20));
        assert!(waiting.opens(flow, 101, Some(5), 30));
        assert!(waiting.opens(flow, 101, None, 40));
        assert_eq!(waiting.inode(&flow, 101), Some(5));
    }

    #[test]
    fn who_gave_up_is_told_by_the_time() {
        let syn = ip(TCP, A, B, &tcp([7, 80], 100, 0, flag::SYN));
        let flow = Flow::of(&packet(&syn));
        let second = 1_000_000_000;
        for (syns, after, ending) in [
            (1, second / 2, Ending::Abandoned),
            (1, second, Ending::TimedOut),
            (2, second, Ending::Abandoned),
            (2, 2 * second, Ending::TimedOut),
        ] {
            let mut waiting = Waiting::new();
            for _ in 0..syns {
                waiting.opens(flow, 100, Some(5), 0);
            }
            assert!(waiting.unanswered(after, |_, _| true).is_empty());
            waiting.next = Instant::now();
            let ended = waiting.unanswered(after, |_, _| false);
            assert_eq!(ended.iter().map(|o| o.ending).collect::<Vec<_>>(), [ending]);
        }
    }

    #[test]
    fn only_what_was_asked_is_answered_and_once() {
        let udp = |ports: [u8; 2], id| [0, ports[0], 0, ports[1], 0, 10, 0, 0, 0, id];
        let query = ip(UDP, A, B, &udp([7, 53], 9));
        let answer = |id| ip(UDP, B, A, &udp([53, 7], id));
        let mut waiting = Waiting::new();
        assert_eq!(waiting.answers(&packet(&answer(9))), None);
        waiting.asks(&packet(&query));
        assert_eq!(waiting.answers(&packet(&answer(8))), None);
        assert_eq!(waiting.answers(&packet(&answer(9))), Some(Flow::of(&packet(&query))));
        assert_eq!(waiting.answers(&packet(&answer(9))), None);
    }
}
