//! Which packets a plan wants, for backends whose kernel side cannot tell: the twin, in
//! user space, of what `ebpf/bpf/stream.bpf.h` decides in the kernel, over the same
//! tables (wire/src/start.rs).
//!
//! It may let too much through, never too little; the decoders decide. Of a stream
//! something is kept only from its first request on, so bulk data costs a look-up.

use crate::enrich::Lru;
use crate::event::{Ends, Wanted};
use crate::flows::{Key, REQUEST_MAX};
use crate::plan::Plan;
use anyhow::{Context, Result};
use wire::Packet;
use wire::start::{REJECT, Rule, Start, Table};
use wire::transport::{self, Segment, TCP, UDP, flag};

/// Streams of which something is kept.
const STREAMS_MAX: usize = 64 * 1024;

/// Bytes looked at to tell whether a request begins.
const LOOK: usize = 32;

/// What of a packet is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    /// As what.
    pub wanted: Wanted,
    /// How many bytes, from the IP header on.
    pub bytes: usize,
}

/// How far a stream's data is known.
#[derive(Clone, Copy, Debug)]
struct Stream {
    /// Sequence number of what comes next; what is before was seen.
    expect: u32,
    /// Bytes of the present request still to be captured.
    remaining: usize,
    /// Of the table: a beginning that is not told yet.
    state: u8,
    /// How the present request ends.
    rule: Rule,
}

/// What a stream's new bytes are worth: how many, and whether a request may begin there.
type Worth = Option<(usize, bool)>;

/// Decides about packets, in the order in which they were sent.
pub struct Selector {
    ip_protocols: [bool; 256],
    openings: bool,
    streams: Option<Table>,
    datagrams: Option<Table>,
    kept: Lru<Key, Stream>,
    /// Streams that had to make room: a request of theirs may be shown twice, or not whole.
    pub forgotten: u64,
}

impl Selector {
    /// What a plan asks for. Fails where its starts do not fit into a table.
    pub fn new(plan: &Plan) -> Result<Selector> {
        let mut ip_protocols = [false; 256];
        for number in &plan.ip_protocols {
            ip_protocols[usize::from(*number)] = true;
        }
        Ok(Selector {
            ip_protocols,
            openings: plan.openings,
            streams: table(&plan.streams)?,
            datagrams: table(&plan.datagrams)?,
            kept: Lru::new(STREAMS_MAX),
            forgotten: 0,
        })
    }

    /// Decides about a packet, as far as it was captured: what of it is wanted, if anything.
    pub fn look(&mut self, netns: Option<u32>, packet: &Packet<'_>) -> Option<Selected> {
        let header = packet.header_len as usize;
        let whole = header + packet.payload.len();
        if self.ip_protocols[usize::from(packet.protocol)] {
            return Some(Selected { wanted: Wanted::Packet, bytes: whole });
        }
        match packet.protocol {
            TCP => self.segment(netns, packet, whole),
            UDP => {
                let table = self.datagrams.as_ref()?;
                let payload = transport::udp(packet)?.payload;
                table.accepts(follow(table, table.start(), payload))?;
                let wanted = Wanted::Payload { begins: true, opens: false };
                Some(Selected { wanted, bytes: whole })
            }
            _ => None,
        }
    }

    /// Forgets a stream: another socket has its ends now, and numbers its bytes anew. For
    /// backends that see no SYN.
    pub fn forget(&mut self, netns: Option<u32>, packet: &Packet<'_>) {
        self.kept.remove(&Key { netns, ends: Ends::of(packet) });
    }

    fn segment(
        &mut self,
        netns: Option<u32>,
        packet: &Packet<'_>,
        whole: usize,
    ) -> Option<Selected> {
        let segment = transport::tcp(packet)?;
        let syn = segment.flags & flag::SYN != 0;
        let opens = self.openings && syn && segment.flags & flag::ACK == 0;
        let before = whole - segment.payload.len();
        let key = Key { netns, ends: Ends::of(packet) };
        if syn {
            // Another connection between the same ends.
            self.kept.remove(&key);
        }
        let worth = match segment.payload.is_empty() {
            true => None,
            false => self.data(key, &segment),
        };
        let bytes = before + worth.map_or(0, |(bytes, _)| bytes);
        let begins = worth.is_some_and(|(_, begins)| begins);
        (opens || worth.is_some())
            .then_some(Selected { wanted: Wanted::Payload { begins, opens }, bytes })
    }

    /// Data in a segment: each byte once, whatever is retransmitted.
    fn data(&mut self, key: Key, segment: &Segment<'_>) -> Worth {
        let table = self.streams.as_ref()?;
        let syn = u32::from(segment.flags & flag::SYN != 0);
        let seq = segment.seq.wrapping_add(syn);
        let payload = segment.payload;
        let next = seq.wrapping_add(segment.len.unwrap_or(0).max(payload.len() as u32));
        let Some(stream) = self.kept.get_mut(&key) else {
            let mut stream =
                Stream { expect: next, remaining: 0, state: REJECT, rule: Rule::default() };
            let worth = stream.goes_on(table, payload);
            if worth.is_some() && self.kept.insert(key, stream) {
                self.forgotten += 1;
            }
            return worth;
        };
        let ahead = seq.wrapping_sub(stream.expect) as i32;
        let seen = match ahead {
            0.. => 0,
            _ => ahead.unsigned_abs() as usize,
        };
        if ahead > 0 {
            stream.remaining = 0;
            stream.state = REJECT;
        }
        if seen > 0 && seen >= payload.len() {
            return None;
        }
        stream.expect = next;
        let (bytes, begins) = stream.goes_on(table, &payload[seen..])?;
        Some((seen + bytes, begins))
    }
}

impl Stream {
    /// New bytes.
    fn goes_on(&mut self, table: &Table, bytes: &[u8]) -> Worth {
        let own = follow(table, table.start(), bytes);
        let state = match self.state {
            REJECT => own,
            state => follow(table, state, bytes),
        };
        // What went before may have been the end of something else.
        let state = if table.rejects(state) || table.accepts(own).is_some() { own } else { state };
        let accepted = table.accepts(state);
        self.state = if accepted.is_some() { REJECT } else { state };
        if let Some(start) = accepted {
            self.rule = table.rules()[start];
            self.remaining = if state == own { whole(self.rule, bytes) } else { REQUEST_MAX };
        } else if table.rejects(self.state) && self.remaining == 0 {
            return None;
        }
        let undecided = !table.rejects(self.state) && self.remaining == 0;
        let mut want = if undecided { bytes.len() } else { self.remaining.min(bytes.len()) };
        self.remaining = self.remaining.saturating_sub(want);
        if self.rule.until.is_some_and(|end| bytes.ends_with(&end)) {
            self.remaining = 0;
        }
        // Others may stand behind it: glibc sends two queries at once, and so do resolvers.
        if want < bytes.len() && table.accepts(own).is_some() {
            want = bytes.len().min(REQUEST_MAX);
        }
        (want > 0).then_some((want, !table.rejects(own)))
    }
}

fn table(starts: &[Start]) -> Result<Option<Table>> {
    if starts.is_empty() {
        return Ok(None);
    }
    Table::compile(starts).map(Some).context("putting together how requests begin")
}

/// The state after the first bytes: what is undecided after [`LOOK`] is rejected, for no
/// method is that long, and what is encoded as text often begins so.
fn follow(table: &Table, state: u8, bytes: &[u8]) -> u8 {
    let state = table.run(state, &bytes[..bytes.len().min(LOOK)]);
    match table.accepts(state) {
        None if bytes.len() > LOOK => REJECT,
        _ => state,
    }
}

/// How long the request that begins here is, if its start tells.
fn whole(rule: Rule, bytes: &[u8]) -> usize {
    let Some((at, size, add)) = rule.total else { return REQUEST_MAX };
    let from = usize::from(at);
    let Some(digits) = bytes.get(from..from + usize::from(size)) else { return REQUEST_MAX };
    let number = digits.iter().fold(0, |n, digit| n << 8 | usize::from(*digit));
    (number + usize::from(add)).min(REQUEST_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::asked::Asked;
    use crate::filter::Filter;
    use wire::{Layer, PROTOCOLS};

    const SYN: u8 = flag::SYN;
    const ACK: u8 = flag::ACK;

    fn selector() -> Selector {
        let asked: Vec<Asked> = PROTOCOLS.iter().map(|p| Asked::plain(*p)).collect();
        Selector::new(&Filter::default().plan(&asked)).unwrap()
    }

    fn ip(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let len = (20 + payload.len() as u16).to_be_bytes();
        let head = [0x45, 0, len[0], len[1], 0, 0, 0, 0, 64, protocol, 0, 0];
        [&head[..], &[192, 0, 2, 1], &[192, 0, 2, 2], payload].concat()
    }

    fn tcp(seq: u32, flags: u8, data: &[u8]) -> Vec<u8> {
        let head = [&[0x9c, 0x40, 0, 80][..], &seq.to_be_bytes(), &[0, 0, 0, 0, 0x50, flags]];
        ip(TCP, &[&head.concat()[..], &[0; 6], data].concat())
    }

    fn udp(data: &[u8]) -> Vec<u8> {
        let len = (8 + data.len() as u16).to_be_bytes();
        ip(UDP, &[&[0x9c, 0x40, 0, 53, len[0], len[1], 0, 0][..], data].concat())
    }

    /// Bytes wanted of what is carried, and whether a request begins and a connection opens.
    fn look(selector: &mut Selector, bytes: &[u8]) -> Option<(usize, bool, bool)> {
        let packet = wire::packet::parse(Layer::Ip, bytes).unwrap();
        let selected = selector.look(None, &packet)?;
        match selected.wanted {
            Wanted::Packet => Some((selected.bytes, false, false)),
            Wanted::Payload { begins, opens } => Some((selected.bytes - 40, begins, opens)),
        }
    }

    const JUNK: &[u8] = &[0xff; 40];
    const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    #[test]
    fn the_start_of_a_request_is_wanted_and_other_data_is_not() {
        let mut s = selector();
        assert_eq!(look(&mut s, &tcp(1, ACK, GET)), Some((GET.len(), true, false)));
        assert_eq!(look(&mut s, &tcp(1 + GET.len() as u32, ACK, JUNK)), None);
        assert_eq!(look(&mut s, &tcp(100, ACK, b"")), None, "an acknowledgment");
    }

    #[test]
    fn a_retransmission_is_seen_once_and_a_new_connection_again() {
        let mut s = selector();
        assert!(look(&mut s, &tcp(1, ACK, GET)).is_some());
        assert_eq!(look(&mut s, &tcp(1, ACK, GET)), None);
        let more = [GET, GET].concat();
        assert_eq!(look(&mut s, &tcp(1, ACK, &more)), Some((more.len(), true, false)));
        assert_eq!(look(&mut s, &tcp(0, SYN, b"")), Some((0, false, true)));
        assert!(look(&mut s, &tcp(1, ACK, GET)).is_some());
        assert_eq!(look(&mut s, &tcp(1, ACK, GET)), None);
        s.forget(None, &wire::packet::parse(Layer::Ip, &tcp(1, ACK, GET)).unwrap());
        assert!(look(&mut s, &tcp(1, ACK, GET)).is_some());
    }

    #[test]
    fn a_start_in_pieces_and_what_belongs_to_it() {
        let mut s = selector();
        assert_eq!(look(&mut s, &tcp(1, ACK, b"G")), Some((1, true, false)));
        assert_eq!(look(&mut s, &tcp(2, ACK, b"ET ")), Some((3, true, false)));
        assert_eq!(look(&mut s, &tcp(5, ACK, b"/ HTTP/1.1\r\n")), Some((12, false, false)));
        assert_eq!(look(&mut s, &tcp(17, ACK, b"h: 1\r\n\r\n")), Some((8, false, false)));
        assert_eq!(look(&mut s, &tcp(25, ACK, JUNK)), None, "it has ended");
    }

    #[test]
    fn a_gap_ends_a_request() {
        let mut s = selector();
        assert!(look(&mut s, &tcp(1, ACK, b"GET / HTTP/1.1\r\n")).is_some());
        assert_eq!(look(&mut s, &tcp(9000, ACK, JUNK)), None);
    }

    #[test]
    fn syns_and_datagrams_and_whole_packets() {
        let mut s = selector();
        assert_eq!(look(&mut s, &tcp(0, SYN | ACK, b"")), None, "an answer");
        assert_eq!(look(&mut s, &tcp(0, SYN, GET)), Some((GET.len(), true, true)), "Fast Open");
        let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01";
        assert!(look(&mut s, &udp(query)).is_some());
        assert_eq!(look(&mut s, &udp(b"\xff\xff")), None);
        assert_eq!(look(&mut s, &ip(1, &[8, 0, 0, 0])), Some((24, false, false)));
    }

    #[test]
    fn streams_are_bounded_and_that_is_counted() {
        let mut s = selector();
        s.kept = Lru::new(1);
        assert!(look(&mut s, &tcp(1, ACK, GET)).is_some());
        let mut other = tcp(1, ACK, GET);
        other[15] = 9;
        assert!(look(&mut s, &other).is_some());
        assert_eq!(s.forgotten, 1);
    }
}
