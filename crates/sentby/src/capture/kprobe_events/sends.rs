//! What TCP carries, as it is sent: its probes, and its records as packets.
//!
//! A send is no packet: the headers of the one that it is made into say what is known,
//! with the socket's own sequence number. What a socket did not take is offered again, with
//! the number that it had.

use super::decode::number;
use super::layout::{Layout, key};
use super::path::Path;
use super::probes::{Shape, Spec};
use super::tracefs::{Field, Format};
use super::{FUNCTION_SEND, SENDS};
use crate::enrich::Lru;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::rebuild;
use wire::transport::TCP;

/// Words fetched of the first vector: with those of the second all that ftrace takes.
const FIRST_WORDS: u16 = 84;

/// Words fetched of the second vector.
const SECOND_WORDS: u16 = 16;

/// Sockets whose bytes are counted.
const SOCKETS_MAX: usize = 16 * 1024;

/// The first address of the kernel's half.
const KERNEL: u64 = 0xff00_0000_0000_0000;

/// The probes for what TCP carries; none where the layout does not tell.
pub fn specs(layout: &Layout) -> Vec<Spec> {
    let by_vectors = layout.get(key::IOVEC).and_then(|place| {
        let arguments = arguments(layout, &place.then(0), Some(place))?;
        // What is not in the kernel's half are no vectors.
        Some(spec("tcp_iov", arguments, format!("place>={KERNEL:#x}&&size>0")))
    });
    let direct = layout.get(key::UBUF).and_then(|place| {
        let arguments = arguments(layout, place, None)?;
        Some(spec("tcp_buf", arguments, format!("place<{KERNEL:#x}&&size>0")))
    });
    by_vectors.into_iter().chain(direct).collect()
}

fn spec(event: &'static str, arguments: String, filter: String) -> Spec {
    let (hook, function, shape) = (SENDS, FUNCTION_SEND, Shape::Send);
    Spec { hook, event, function, arguments, words: FIRST_WORDS, filter, shape }
}

/// What is fetched: `data` leads to the bytes, or through `vectors`.
fn arguments(layout: &Layout, data: &Path, vectors: Option<&Path>) -> Option<String> {
    let mut text = String::new();
    let mut field = |name: &str, place: &Path, kind: &str| {
        let _ = write!(text, "{name}={place}:{kind} ");
    };
    for n in 0..FIRST_WORDS {
        field(&format!("d{n}"), &data.then(8 * n), "u64");
    }
    field("place", layout.get(key::IOVEC)?, "u64");
    field("size", layout.get(key::SIZE)?, "u64");
    field("seq", layout.get(key::SEQ)?, "u32");
    field("sock", layout.get(key::SOCK)?, "u64");
    field("family", layout.get(key::FAMILY)?, "u16");
    field("dst", layout.get(key::ENDS4)?, "u32");
    field("src", &layout.get(key::ENDS4)?.further(4), "u32");
    field("dport", layout.get(key::PORTS)?, "u16");
    field("sport", &layout.get(key::PORTS)?.further(2), "u16");
    if let Some(netns) = layout.get(key::NETNS) {
        field("netns", netns, "u32");
    }
    if let (Some(dst), Some(src)) = (layout.get(key::DADDR6), layout.get(key::SADDR6)) {
        for (name, place) in [
            ("dst0", dst.clone()),
            ("dst1", dst.further(8)),
            ("src0", src.clone()),
            ("src1", src.further(8)),
        ] {
            field(name, &place, "u64");
        }
    }
    if let Some(vectors) = vectors {
        field("base", &vectors.then(0), "u64");
        field("len", &vectors.then(8), "u64");
        field("base1", &vectors.then(16), "u64");
        for n in 0..SECOND_WORDS {
            field(&format!("e{n}"), &vectors.then(16).then(8 * n), "u64");
        }
    }
    Some(text.trim_end().to_owned())
}

/// Where the fields of a send's records are.
pub struct Reading {
    data: usize,
    second: Option<usize>,
    fields: [Option<Field>; 16],
}

/// Fields of a send, in the order of [`Reading::fields`].
const FIELDS: [&str; 16] = [
    "place", "size", "seq", "sock", "family", "dst", "src", "dport", "sport", "dst0", "dst1",
    "src0", "src1", "base", "len", "base1",
];

/// Which sockets have sent before.
pub struct Sockets {
    sent: Lru<u64, Sent>,
}

/// What one socket has sent last.
struct Sent {
    /// The number of its first byte: it does not go back.
    seq: u32,
    /// The socket's ports. With others it is another socket at the same address.
    ports: (u16, u16),
}

impl Sockets {
    /// None yet.
    pub fn new() -> Sockets {
        Sockets { sent: Lru::new(SOCKETS_MAX) }
    }

    /// Whether these are the first bytes that are known of the socket.
    fn is_fresh(&mut self, socket: u64, ports: (u16, u16), seq: u32) -> bool {
        let goes_on = |sent: &Sent| sent.ports == ports && seq.wrapping_sub(sent.seq) as i32 >= 0;
        let known = self.sent.get_mut(&socket).is_some_and(|sent| goes_on(sent));
        self.sent.insert(socket, Sent { seq, ports });
        !known
    }
}

impl Reading {
    /// By the format that the kernel gave the probe.
    pub fn new(format: &Format) -> Result<Reading> {
        Ok(Reading {
            data: format.field("d0").context("records without bytes")?.offset,
            second: format.field("e0").map(|f| f.offset),
            fields: FIELDS.map(|name| format.field(name).cloned()),
        })
    }

    fn get(&self, raw: &[u8], name: &str) -> Option<u64> {
        let at = FIELDS.iter().position(|n| *n == name)?;
        number(raw, &self.fields[at])
    }

    /// The packet that a send is like, and whether it is the first that is known of its
    /// socket; `None` where its ends, or its bytes, are not known.
    pub fn packet(&self, raw: &[u8], sockets: &mut Sockets) -> Option<(Vec<u8>, bool)> {
        let size = self.get(raw, "size")?;
        let dport = self.get(raw, "dport")? as u16;
        // The peer's is in network byte order as it stands.
        let ports = (self.get(raw, "sport")? as u16, u16::from_be(dport));
        // With Fast Open the call itself connects: the socket has no peer yet.
        if dport == 0 {
            return None;
        }
        let seq = self.get(raw, "seq")? as u32;
        let fresh = sockets.is_fresh(self.get(raw, "sock")?, ports, seq);
        let bytes = self.bytes(raw, size)?;
        let (src, dst) = self.addresses(raw)?;
        let sent =
            rebuild::Sent { src, dst, ports, protocol: TCP, seq, bytes: &bytes, whole: size };
        let mut packet = Vec::new();
        rebuild::packet(&sent, &mut packet);
        Some((packet, fresh))
    }

    /// Source and destination.
    fn addresses(&self, raw: &[u8]) -> Option<(IpAddr, IpAddr)> {
        let four = |name| Some(Ipv4Addr::from((self.get(raw, name)? as u32).to_ne_bytes()).into());
        let six = |high, low| {
            let halves = [self.get(raw, high)?.to_ne_bytes(), self.get(raw, low)?.to_ne_bytes()];
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(halves.concat()).ok()?))
        };
        match self.get(raw, "family")? as i32 {
            libc::AF_INET => Some((four("src")?, four("dst")?)),
            // Such a socket may have an IPv4 peer: then its own address is a mapped one.
            libc::AF_INET6 => match six("dst0", "dst1")? {
                dst if dst.to_ipv4_mapped().is_some() => Some((four("src")?, four("dst")?)),
                dst => Some((six("src0", "src1")?.into(), dst.into())),
            },
            _ => None,
        }
    }

    /// What was fetched of what is sent, and is its own: behind a vector stands other memory.
    fn bytes(&self, raw: &[u8], size: u64) -> Option<Vec<u8>> {
        let fetched = |at: usize, words: u16| raw.get(at..at + usize::from(words) * 8);
        let first = fetched(self.data, FIRST_WORDS)?;
        let cut = |bytes: &[u8], len: u64| bytes[..bytes.len().min(len as usize)].to_vec();
        let Some(second) = self.second else { return Some(cut(first, size)) };
        // Pages, which the kernel itself sends, have no such address.
        if self.get(raw, "base")? >= KERNEL {
            return None;
        }
        let len = self.get(raw, "len")?.min(size);
        let mut bytes = cut(first, len);
        if bytes.len() as u64 == len && self.get(raw, "base1")? < KERNEL {
            bytes.extend(cut(fetched(second, SECOND_WORDS)?, size - len));
        }
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Layer;

    #[test]
    fn a_socket_goes_on_and_another_at_its_address_begins_anew() {
        let mut sockets = Sockets::new();
        assert!(sockets.is_fresh(0xff01, (40_000, 80), 100));
        assert!(!sockets.is_fresh(0xff01, (40_000, 80), 105));
        assert!(!sockets.is_fresh(0xff01, (40_000, 80), 105), "nothing of it was taken");
        assert!(sockets.is_fresh(0xff02, (40_001, 80), 5));
        assert!(sockets.is_fresh(0xff01, (40_002, 80), 106));
        assert!(sockets.is_fresh(0xff01, (40_002, 80), 7), "the same ports, another connection");
        assert!(sockets.is_fresh(0xff03, (1, 2), u32::MAX) && !sockets.is_fresh(0xff03, (1, 2), 3));
    }

    /// A send of two vectors, in a record with its fields one after the other.
    fn record(values: [u64; 16]) -> (Reading, Vec<u8>) {
        let mut raw = values.iter().flat_map(|v| v.to_ne_bytes()).collect::<Vec<u8>>();
        let field = |n: usize| Field { name: FIELDS[n].into(), offset: n * 8, size: 8 };
        let fields = std::array::from_fn(|n| Some(field(n)));
        let data = raw.len();
        raw.resize(data + usize::from(FIRST_WORDS) * 8, b'a');
        let second = raw.len();
        raw.resize(second + usize::from(SECOND_WORDS) * 8, b'b');
        (Reading { data, second: Some(second), fields }, raw)
    }

    fn values(base: u64, seq: u32) -> [u64; 16] {
        let (dst, src) = (u32::from_ne_bytes([192, 0, 2, 2]), u32::from_ne_bytes([192, 0, 2, 1]));
        let dport = u64::from(80u16.to_be());
        let ends = [libc::AF_INET as u64, dst.into(), src.into(), dport, 40000];
        let mut all = [0; 16];
        all[..4].copy_from_slice(&[KERNEL, 7, seq.into(), 99]);
        all[4..9].copy_from_slice(&ends);
        all[13..].copy_from_slice(&[base, 4, 0x7000]);
        all
    }

    #[test]
    fn a_send_is_made_into_segments_one_after_the_other() {
        let mut sockets = Sockets::new();
        for (seq, first) in [(u32::MAX, true), (6, false)] {
            let (reading, raw) = record(values(0x7000, seq));
            let (bytes, fresh) = reading.packet(&raw, &mut sockets).unwrap();
            assert_eq!(fresh, first);
            let packet = wire::packet::parse(Layer::Ip, &bytes).unwrap();
            let segment = wire::transport::tcp(&packet).unwrap();
            assert_eq!((segment.sport, segment.dport, segment.seq), (40000, 80, seq));
            assert_eq!((segment.payload, segment.len), (&b"aaaabbb"[..], Some(7)));
            assert_eq!(packet.dst.to_string(), "192.0.2.2");
        }
    }

    #[test]
    fn a_socket_without_a_peer_has_no_packet() {
        let mut all = values(0x7000, 1);
        all[7] = 0;
        let (reading, raw) = record(all);
        assert_eq!(reading.packet(&raw, &mut Sockets::new()), None);
    }

    #[test]
    fn pages_of_the_kernel_are_not_taken_for_what_is_sent() {
        let (reading, raw) = record(values(KERNEL + 8, 1));
        assert_eq!(reading.packet(&raw, &mut Sockets::new()), None);
        let (reading, raw) = record(values(0x7000, 1));
        for cut in 0..raw.len() {
            assert_eq!(reading.packet(&raw[..cut], &mut Sockets::new()), None, "{cut}");
        }
    }
}
