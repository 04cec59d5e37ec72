//! How messages begin. The decoder claims only what fits these, so that it sees the
//! same whether or not a kernel looked first.

use crate::start::{Bytes, Start, Step, least};

/// Most questions in a message. Servers take one (RFC 9619); multicast queries carry
/// dozens (RFC 6762 section 5.3).
pub(super) const MAX_QUESTIONS: u8 = 64;

/// Most additional records in a request, of which EDNS and a signature make two.
const MAX_ADDITIONAL: u8 = 4;

/// High byte of the number of records that 64 KiB have room for.
const MAX_RECORDS_HIGH: u8 = (0xffff / super::message::SHORTEST_RECORD / 0x100) as u8;

/// The same, of 9000 bytes: a multicast query's known answers (RFC 6762 sections 7.1
/// and 17), and what it is about to claim (section 8.2).
const MAX_KNOWN_HIGH: u8 = (9000 / super::message::SHORTEST_RECORD / 0x100) as u8;

/// Bytes of the length that goes before a message on a stream.
const LENGTH: u8 = 2;

const ANY: Step = Step::One(Bytes::ANY);
const ZERO: Step = one(0, 0);
/// A name's first byte: the root's, or the length of a label.
const NAME: Step = one(0, 63);
/// Flags whose lowest four bits, the outcome, are zero: there is none yet.
const NO_OUTCOME: Step = Step::One(Bytes::of(&[
    0, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0, 0xb0, 0xc0, 0xd0, 0xe0, 0xf0,
]));

/// Id, flags, and the numbers of questions, answers, authorities and additional
/// records. The flags' low bits differ between unicast, multicast and LLMNR.
const QUERY: [Step; 13] = [
    ANY,
    ANY,
    one(0x00, 0x07), // no response, opcode 0
    NO_OUTCOME,
    ZERO,
    one(1, MAX_QUESTIONS),
    one(0, MAX_KNOWN_HIGH),
    ANY,
    one(0, MAX_KNOWN_HIGH),
    ANY,
    ZERO,
    one(0, MAX_ADDITIONAL),
    NAME,
];

/// NOTIFY (RFC 1996 section 3) and UPDATE (RFC 2136 section 2): about one zone.
const CHANGE: [Step; 13] = [
    ANY,
    ANY,
    one(0x20, 0x2f), // no response, opcodes 4 and 5
    NO_OUTCOME,
    ZERO,
    one(1, 1),
    one(0, MAX_RECORDS_HIGH),
    ANY,
    one(0, MAX_RECORDS_HIGH),
    ANY,
    ZERO,
    one(0, MAX_ADDITIONAL),
    NAME,
];

/// What answers them. Multicast responses have no question (RFC 6762 section 6).
const RESPONSE: [Step; 12] = [
    ANY,
    ANY,
    Step::One(Bytes::range(0x80, 0x87).and_range(0xa0, 0xaf)),
    ANY,
    ZERO,
    one(0, MAX_QUESTIONS),
    one(0, MAX_RECORDS_HIGH),
    ANY,
    one(0, MAX_RECORDS_HIGH),
    ANY,
    one(0, MAX_RECORDS_HIGH),
    ANY,
];

const QUERY_FRAMED: [Step; 16] = framed(&QUERY);
const CHANGE_FRAMED: [Step; 16] = framed(&CHANGE);
const RESPONSE_FRAMED: [Step; 15] = framed(&RESPONSE);

/// Of datagrams; responses come last.
const DATAGRAM: &[Start] = &[&QUERY, &CHANGE, &RESPONSE];

/// Of messages on a stream, after their length (RFC 1035 section 4.2.2).
const STREAM: &[Start] = &[&QUERY_FRAMED, &CHANGE_FRAMED, &RESPONSE_FRAMED];

/// How datagrams begin.
pub(super) fn datagram(responses: bool) -> &'static [Start] {
    chosen(DATAGRAM, responses)
}

/// How messages on a stream begin.
pub(super) fn stream(responses: bool) -> &'static [Start] {
    chosen(STREAM, responses)
}

fn chosen(starts: &'static [Start], responses: bool) -> &'static [Start] {
    if responses { starts } else { &starts[..2] }
}

/// Whether bytes begin like one of these.
pub(super) fn fit(starts: &[Start], bytes: &[u8]) -> bool {
    starts.iter().any(|start| bytes.len() >= least(start) && fits(start, bytes))
}

/// Whether they may yet turn out to, when more of them come.
pub(super) fn may_fit(starts: &[Start], bytes: &[u8]) -> bool {
    starts.iter().any(|start| fits(start, bytes))
}

fn fits(start: Start, bytes: &[u8]) -> bool {
    let fits = |(step, byte): (&Step, &u8)| step.set().is_none_or(|set| set.has(*byte));
    start.iter().zip(bytes).all(fits)
}

const fn one(first: u8, last: u8) -> Step {
    Step::One(Bytes::range(first, last))
}

/// The start of a message that its length goes before.
const fn framed<const N: usize, const M: usize>(start: &[Step; N]) -> [Step; M] {
    let mut steps = [ANY; M];
    let mut i = 0;
    while i < N {
        steps[i + LENGTH as usize] = start[i];
        i += 1;
    }
    steps[M - 1] = Step::Total { at: 0, size: LENGTH, add: LENGTH as u16 };
    steps
}
