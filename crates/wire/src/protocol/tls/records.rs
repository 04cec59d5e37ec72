//! From the wire to the bytes of a ClientHello: TLS records on a stream (RFC 8446
//! section 5.1), DTLS records and fragments in a datagram (RFC 9147 section 5.5,
//! RFC 6347 section 4.2.3).

use super::super::Fault;
use crate::bytes::be16;
use std::borrow::Cow;

/// Largest hello that is read: a hello of today has 0.2 to 2 kB, and one with several
/// post-quantum key shares a few more. What follows is neither waited for nor told.
pub(super) const MAX_HELLO: usize = 64 * 1024;

/// Longest fragment in a record (RFC 8446 section 5.1).
const MAX_FRAGMENT: usize = 1 << 14;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;

/// Handshake bytes that tell a hello from chance: its header and its version.
const TELLING: usize = 6;

/// A ClientHello without its handshake header, as far as it is there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message<'a> {
    pub body: Cow<'a, [u8]>,
    /// Why `body` is not all of it; `None` when it is.
    pub short: Option<Fault>,
}

/// How far the records on a stream came.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Records<'a> {
    /// No ClientHello begins here.
    No,
    /// The rest is yet to come.
    More,
    /// As much of the hello as there will be.
    Hello(Message<'a>),
}

/// Puts together the ClientHello with which a stream begins, however it is cut into
/// records.
pub(super) fn of_stream(bytes: &[u8], ended: bool) -> Records<'_> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut rest = bytes;
    loop {
        let (fragment, len) = match record(rest) {
            Record::Plain(fragment, len) => (fragment, len),
            Record::Short if ended => break,
            Record::Short => return Records::More,
            // Handshake messages are not interleaved with anything: same section.
            Record::Other if message.len() < TELLING => return Records::No,
            Record::Other => return hello(message, Some(Fault::BadValue)),
        };
        if message.is_empty() {
            message = Cow::Borrowed(fragment);
        } else {
            message.to_mut().extend_from_slice(fragment);
        }
        if !plausible(&message) {
            return Records::No;
        }
        if stated_len(&message).is_some_and(|len| message.len() - 4 >= len.min(MAX_HELLO)) {
            return hello(message, None);
        }
        match rest.get(5 + len..) {
            Some(after) => rest = after,
            None if ended => break,
            None => return Records::More,
        }
    }
    if message.len() < TELLING {
        return Records::No;
    }
    hello(message, Some(Fault::Truncated))
}

enum Record<'a> {
    /// A record with a piece of a handshake, as far as it is there, and its length.
    Plain(&'a [u8], usize),
    /// Its header is not all there.
    Short,
    /// Anything else.
    Other,
}

fn record(bytes: &[u8]) -> Record<'_> {
    let fits = |at: usize, fits: &dyn Fn(u8) -> bool| bytes.get(at).is_none_or(|b| fits(*b));
    if !(fits(0, &|b| b == HANDSHAKE) && fits(1, &|b| b == 3) && fits(2, &|b| b <= 4)) {
        return Record::Other;
    }
    match (be16(bytes, 3).map(usize::from), bytes.get(5..)) {
        // Empty pieces of a handshake are not allowed: same section.
        (Some(len @ 1..=MAX_FRAGMENT), Some(rest)) => {
            Record::Plain(&rest[..len.min(rest.len())], len)
        }
        (Some(_), Some(_)) => Record::Other,
        _ => Record::Short,
    }
}

/// Whether handshake bytes can begin a ClientHello, as far as they are there.
fn plausible(message: &[u8]) -> bool {
    let fits = |at: usize, byte| message.get(at).is_none_or(|b| *b == byte);
    fits(0, CLIENT_HELLO) && fits(4, 3)
}

/// The length that a handshake header states.
fn stated_len(message: &[u8]) -> Option<usize> {
    be24(message, 1)
}

fn be24(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(*bytes.get(at)?) << 16 | usize::from(be16(bytes, at + 1)?))
}

/// A message without its header, cut at its stated length and at the limit.
fn hello(message: Cow<'_, [u8]>, short: Option<Fault>) -> Records<'_> {
    let stated = stated_len(&message).unwrap_or_default();
    let end = message.len().min(4 + stated.min(MAX_HELLO));
    let body = match message {
        Cow::Borrowed(bytes) => Cow::Borrowed(&bytes[4..end]),
        Cow::Owned(bytes) => Cow::Owned(bytes[4..end].to_vec()),
    };
    let short = short.or((stated > MAX_HELLO).then_some(Fault::BadLength));
    Records::Hello(Message { body, short })
}

/// The ClientHello that begins in a datagram's first record; `None` where none does,
/// and for a later fragment of one. `cut` is the fault of a datagram that ends early.
pub(super) fn of_datagram(payload: &[u8], cut: Fault) -> Option<Message<'_>> {
    const RECORD_HEADER: usize = 13;
    const HEADERS: usize = RECORD_HEADER + 12;

    let [HANDSHAKE, 0xfe, 0xff | 0xfd | 0xfc, 0, 0, ..] = payload else { return None };
    let record_len = usize::from(be16(payload, 11)?);
    let len = be24(payload, 14)?;
    let offset = be24(payload, 19)?;
    let fragment = be24(payload, 22)?;
    let fits = fragment <= len && record_len >= fragment + HEADERS - RECORD_HEADER;
    if payload[RECORD_HEADER] != CLIENT_HELLO || offset != 0 || !fits {
        return None;
    }
    let rest = &payload[HEADERS..];
    // The version comes first; without it this may be anything.
    if *rest.first()? != 0xfe || rest.len() < 2 || fragment < 2 {
        return None;
    }
    let body = &rest[..fragment.min(rest.len()).min(MAX_HELLO)];
    let short = match body.len() {
        all if all == len => None,
        some if some < fragment.min(MAX_HELLO) => Some(cut),
        // The other fragments are in datagrams of their own.
        _ => Some(Fault::Truncated),
    };
    Some(Message { body: Cow::Borrowed(body), short })
}
