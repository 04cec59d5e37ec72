//! IP packets that were cut into fragments (RFC 791 section 3.2, RFC 8200 section 4.5),
//! put together again.
//!
//! Bounded in number, size and time. What overlaps otherwise than by repeating itself is
//! given up, as systems do since RFC 5722: nobody sends that who means well. What stays
//! incomplete is handed out as far as it goes from its beginning on.

use crate::bytes::{array, be16, be32};
use crate::packet::{MAX_EXTENSION_HEADERS, extension, extension_len};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Packets that wait for fragments at the same time: 16 MiB at the most.
pub const MAX_WAITING: usize = 256;

/// Gaps in one packet at the same time; fragments come in order, or in reverse.
pub const MAX_PIECES: usize = 64;

/// How long a packet waits after its first fragment, in nanoseconds (Linux:
/// net.ipv4.ipfrag_time).
pub const PATIENCE: u64 = 30_000_000_000;

/// Longest packet, in bytes.
const MAX_LEN: usize = 65_535;

/// What the fragments of one packet have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    protocol: u8,
}

/// One fragment.
#[derive(Clone, Copy, Debug)]
pub struct Fragment<'a> {
    key: Key,
    /// Where in the packet's payload it stands.
    offset: usize,
    more: bool,
    /// The headers that stand before each fragment.
    head: &'a [u8],
    /// Where in them the fragment header begins (IPv6), and where its number is told.
    extension: Option<(usize, usize)>,
    payload: &'a [u8],
}

/// A packet of which not all has come.
#[derive(Debug, Default)]
struct Waiting {
    /// The headers of the first fragment, once that has come.
    head: Option<Vec<u8>>,
    extension: Option<(usize, usize)>,
    payload: Vec<u8>,
    /// What of the payload is there: beginnings and ends, in order, with gaps between.
    pieces: Vec<(usize, usize)>,
    /// Length of the whole payload, once the last fragment has come.
    len: Option<usize>,
    since: u64,
    /// Tells it from an earlier one with the same key.
    number: u64,
}

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// More have to come.
    Waits,
    /// The packet is whole.
    Whole,
    /// It contradicts the others: all of them are given up.
    GivenUp,
}

/// The packets that wait for fragments.
#[derive(Debug, Default)]
pub struct Fragments {
    waiting: HashMap<Key, Waiting>,
    /// In the order in which they came; some may be done already.
    order: VecDeque<(Key, u64)>,
    number: u64,
}

/// The fragment that an IP packet is, if it is one.
pub fn fragment(ip: &[u8]) -> Option<Fragment<'_>> {
    match ip.first()? >> 4 {
        4 => ipv4(ip),
        6 => ipv6(ip),
        _ => None,
    }
}

fn ipv4(ip: &[u8]) -> Option<Fragment<'_>> {
    const MORE: u16 = 0x2000;
    const OFFSET: u16 = 0x1fff;
    let place = be16(ip, 6)?;
    if place & (MORE | OFFSET) == 0 {
        return None;
    }
    let head = ip.get(..usize::from(ip[0] & 0x0f) * 4).filter(|head| head.len() >= 20)?;
    let len = usize::from(be16(ip, 2)?).min(ip.len());
    Some(Fragment {
        key: Key {
            src: Ipv4Addr::from(array::<4>(ip, 12)?).into(),
            dst: Ipv4Addr::from(array::<4>(ip, 16)?).into(),
            id: be16(ip, 4)?.into(),
            protocol: ip[9],
        },
        offset: usize::from(place & OFFSET) * 8,
        more: place & MORE != 0,
        head,
        extension: None,
        payload: ip.get(head.len()..len)?,
    })
}

fn ipv6(ip: &[u8]) -> Option<Fragment<'_>> {
    const HEADER_LEN: usize = 40;
    let (mut told_at, mut at) = (6, HEADER_LEN);
    for _ in 0..MAX_EXTENSION_HEADERS {
        let kind = *ip.get(told_at)?;
        let len = extension_len(kind, ip.get(at..)?)?;
        if kind != extension::FRAGMENT {
            (told_at, at) = (at, at + len);
            continue;
        }
        let place = be16(ip, at + 2)?;
        // A packet that is all in one fragment (RFC 6946) needs no others.
        if place & 0xfff9 == 0 {
            return None;
        }
        let end = (HEADER_LEN + usize::from(be16(ip, 4)?)).min(ip.len());
        return Some(Fragment {
            key: Key {
                src: Ipv6Addr::from(array::<16>(ip, 8)?).into(),
                dst: Ipv6Addr::from(array::<16>(ip, 24)?).into(),
                id: be32(ip, at + 4)?,
                protocol: ip[at],
            },
            offset: usize::from(place & 0xfff8),
            more: place & 1 != 0,
            head: ip.get(..at + len)?,
            extension: Some((at, told_at)),
            payload: ip.get(at + len..end)?,
        });
    }
    None
}

impl Fragments {
    /// None yet.
    pub fn new() -> Fragments {
        Fragments::default()
    }

    /// Takes a fragment that was seen at `now`; if the packet is whole, it is appended to
    /// `out`, from its IP header on.
    pub fn add(&mut self, fragment: &Fragment<'_>, now: u64, out: &mut Vec<u8>) -> Taken {
        let key = fragment.key;
        if !self.waiting.contains_key(&key) {
            self.number += 1;
            self.order.push_back((key, self.number));
        }
        let fresh = Waiting { since: now, number: self.number, ..Waiting::default() };
        let waiting = self.waiting.entry(key).or_insert(fresh);
        if !waiting.take(fragment) {
            self.waiting.remove(&key);
            return Taken::GivenUp;
        }
        if !waiting.is_whole() {
            return Taken::Waits;
        }
        if let Some(whole) = self.waiting.remove(&key) {
            whole.write(false, out);
        }
        Taken::Whole
    }

    /// The next packet that has waited too long, or is one too many; at the end (`None`)
    /// any. Appended to `out` is what is there of it from its beginning on, as a first
    /// fragment; nothing where the beginning is missing. Returns when it began to wait.
    pub fn give_up(&mut self, now: Option<u64>, out: &mut Vec<u8>) -> Option<u64> {
        while let Some((key, number)) = self.order.front().copied() {
            let current = self.waiting.get(&key).filter(|w| w.number == number);
            let late = |w: &Waiting| now.is_none_or(|now| now.saturating_sub(w.since) > PATIENCE);
            if current.is_some_and(|w| self.waiting.len() <= MAX_WAITING && !late(w)) {
                return None;
            }
            self.order.pop_front();
            if current.is_some()
                && let Some(waiting) = self.waiting.remove(&key)
            {
                let since = waiting.since;
                waiting.write(true, out);
                return Some(since);
            }
        }
        None
    }
}

impl Waiting {
    /// Takes a fragment; `false` where it contradicts the others.
    fn take(&mut self, fragment: &Fragment<'_>) -> bool {
        let (from, to) = (fragment.offset, fragment.offset + fragment.payload.len());
        let head = fragment.head.len();
        if head + to > MAX_LEN || self.len.is_some_and(|len| to > len) {
            return false;
        }
        if !fragment.more {
            let ends_inside = self.pieces.last().is_some_and(|(_, end)| *end > to);
            if ends_inside || self.len.is_some_and(|len| len != to) {
                return false;
            }
            self.len = Some(to);
        }
        if from == 0 {
            self.head.get_or_insert_with(|| fragment.head.to_vec());
            self.extension = fragment.extension;
        }
        if self.payload.len() < to {
            self.payload.resize(to, 0);
        }
        let known = self.pieces.iter().find(|(begin, end)| *begin < to && from < *end);
        if let Some((begin, end)) = known {
            let repeats = *begin <= from && to <= *end;
            return repeats && self.payload[from..to] == *fragment.payload;
        }
        self.payload[from..to].copy_from_slice(fragment.payload);
        self.insert(from, to)
    }

    /// Notes that a part of the payload is there.
    fn insert(&mut self, from: usize, to: usize) -> bool {
        let at = self.pieces.partition_point(|(begin, _)| *begin < from);
        let joins_before = at > 0 && self.pieces[at - 1].1 == from;
        let joins_behind = self.pieces.get(at).is_some_and(|(begin, _)| *begin == to);
        match (joins_before, joins_behind) {
            (true, true) => self.pieces[at - 1].1 = self.pieces.remove(at).1,
            (true, false) => self.pieces[at - 1].1 = to,
            (false, true) => self.pieces[at].0 = from,
            (false, false) => self.pieces.insert(at, (from, to)),
        }
        self.pieces.len() <= MAX_PIECES
    }

    fn is_whole(&self) -> bool {
        self.len.is_some_and(|len| self.head.is_some() && self.pieces == [(0, len)])
    }

    /// Appends the packet, or the part that is there of it from its beginning on.
    fn write(self, part: bool, out: &mut Vec<u8>) {
        let Some(mut head) = self.head else { return };
        let end = match self.pieces.first() {
            Some((0, end)) => *end,
            _ => return,
        };
        match self.extension {
            Some((at, told_at)) if !part => {
                head[told_at] = head[at];
                head.drain(at..at + 8);
            }
            Some(_) => {}
            // Only whether it may be fragmented is left of the field.
            None if !part => (head[6], head[7]) = (head[6] & 0x40, 0),
            None => {}
        }
        let (len, at) = match self.extension {
            None => (head.len() + end, 2),
            Some(_) => (head.len() + end - 40, 4),
        };
        head[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(&self.payload[..end]);
    }
}

#[cfg(test)]
mod tests;
