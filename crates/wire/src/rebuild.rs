//! Packets around bytes of which only what they carry was kept, and checksums that a
//! network card would have filled in.

use crate::packet::{self, Layer};
use crate::transport::{TCP, UDP, flag};
use std::net::IpAddr;

/// Longest IPv4 packet, and payload of an IPv6 packet, in bytes.
const MAX_LEN: usize = 65_535;

/// What was sent.
#[derive(Clone, Copy, Debug)]
pub struct Sent<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address, of the same family.
    pub dst: IpAddr,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// [`TCP`] or [`UDP`].
    pub protocol: u8,
    /// TCP: the sequence number of the first byte.
    pub seq: u32,
    /// As far as it was kept.
    pub bytes: &'a [u8],
    /// How long it was.
    pub whole: u64,
}

/// Appends a packet with this inside. Returns how long the packet would be if all had
/// been kept.
pub fn packet(sent: &Sent<'_>, out: &mut Vec<u8>) -> u32 {
    let from = out.len();
    let transport = if sent.protocol == TCP { 20 } else { 8 };
    let head = if sent.src.is_ipv4() { 20 } else { 40 };
    let room = MAX_LEN - head - transport;
    let bytes = &sent.bytes[..sent.bytes.len().min(room)];
    let whole = usize::try_from(sent.whole).unwrap_or(usize::MAX).clamp(bytes.len(), room);
    let len = transport + whole;
    match (sent.src, sent.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let [high, low] = ((head + len) as u16).to_be_bytes();
            out.extend([0x45, 0, high, low, 0, 0, 0x40, 0, 64, sent.protocol, 0, 0]);
            out.extend(src.octets());
            out.extend(dst.octets());
        }
        (src, dst) => {
            let [high, low] = (len as u16).to_be_bytes();
            out.extend([0x60, 0, 0, 0, high, low, sent.protocol, 64]);
            out.extend(v6(src));
            out.extend(v6(dst));
        }
    }
    out.extend(sent.ports.0.to_be_bytes());
    out.extend(sent.ports.1.to_be_bytes());
    if sent.protocol == TCP {
        out.extend(sent.seq.to_be_bytes());
        // Nobody knows what was acknowledged; the window is the largest.
        out.extend([0, 0, 0, 1, 0x50, PUSH | flag::ACK, 0xff, 0xff, 0, 0, 0, 0]);
    } else {
        out.extend((len as u16).to_be_bytes());
        out.extend([0, 0]);
    }
    out.extend_from_slice(bytes);
    fill_checksums(&mut out[from..]);
    (head + len) as u32
}

/// The sender asks that it be passed on at once (RFC 9293 section 3.1).
const PUSH: u8 = 8;

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => six.octets(),
    }
}

/// Fills in the checksums of an IPv4 header, of TCP and of UDP, as far as all that they
/// sum up is there. Those of ICMP are made by the sender, right or wrong.
pub fn fill_checksums(ip: &mut [u8]) {
    if ip.first().is_some_and(|b| b >> 4 == 4) {
        let head = usize::from(ip[0] & 0x0f) * 4;
        if (20..=ip.len()).contains(&head) {
            ip[10..12].fill(0);
            let sum = !folded(add(0, &ip[..head]));
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
        }
    }
    let Some(parsed) = packet::parse(Layer::Ip, ip) else { return };
    if parsed.truncated || parsed.more_fragments || parsed.ip_len.is_none() {
        return;
    }
    let at = match parsed.protocol {
        TCP => 16,
        UDP => 6,
        _ => return,
    };
    let (from, len) = (parsed.header_len as usize, parsed.payload.len());
    if len < at + 2 {
        return;
    }
    let addresses = match (parsed.src, parsed.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => add(add(0, &src.octets()), &dst.octets()),
        (src, dst) => add(add(0, &v6(src)), &v6(dst)),
    };
    let pseudo = addresses + u64::from(parsed.protocol) + len as u64;
    let payload = &mut ip[from..from + len];
    payload[at..at + 2].fill(0);
    let sum = match !folded(add(pseudo, payload)) {
        // Zero stands for none (RFC 768).
        0 if at == 6 => u16::MAX,
        sum => sum,
    };
    payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071.
fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let sum = pairs.iter().fold(sum, |sum, pair| sum + u64::from(u16::from_be_bytes(*pair)));
    sum + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

fn folded(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport;

    fn sent<'a>(family: u8, protocol: u8, bytes: &'a [u8], whole: u64) -> Sent<'a> {
        let (src, dst) = match family {
            4 => ("192.0.2.1", "192.0.2.9"),
            _ => ("2001:db8::1", "2001:db8::9"),
        };
        let address = |text: &str| text.parse().expect("an address");
        Sent {
            src: address(src),
            dst: address(dst),
            ports: (40000, 80),
            protocol,
            seq: 0xffff_fff0,
            bytes,
            whole,
        }
    }

    #[test]
    fn what_is_built_is_read_again_and_adds_up() {
        for family in [4, 6] {
            for protocol in [TCP, UDP] {
                let mut out = Vec::new();
                let len = packet(&sent(family, protocol, b"hello", 5), &mut out);
                assert_eq!(len as usize, out.len());
                let parsed = packet::parse(Layer::Ip, &out).expect("a packet");
                assert!(!parsed.truncated);
                assert_eq!(transport::ports(&parsed), Some((40000, 80)));
                let inside = match protocol {
                    TCP => transport::tcp(&parsed).map(|s| (s.seq, s.payload)),
                    _ => transport::udp(&parsed).map(|d| (0xffff_fff0, d.payload)),
                };
                assert_eq!(inside, Some((0xffff_fff0, &b"hello"[..])));
                // A sum over all that includes the checksum is all ones.
                let addresses = match (parsed.src, parsed.dst) {
                    (IpAddr::V4(a), IpAddr::V4(b)) => add(add(0, &a.octets()), &b.octets()),
                    (a, b) => add(add(0, &v6(a)), &v6(b)),
                };
                let pseudo = addresses + u64::from(protocol) + parsed.payload.len() as u64;
                assert_eq!(folded(add(pseudo, parsed.payload)), 0xffff);
                if family == 4 {
                    assert_eq!(folded(add(0, &out[..20])), 0xffff);
                }
            }
        }
    }

    #[test]
    fn what_was_not_kept_is_told_by_the_length() {
        let mut out = Vec::new();
        assert_eq!(packet(&sent(4, TCP, b"POST", 1004), &mut out), 1044);
        let parsed = packet::parse(Layer::Ip, &out).expect("a packet");
        assert!(parsed.truncated);
        assert_eq!(transport::tcp(&parsed).and_then(|s| s.len), Some(1004));
        out.clear();
        assert_eq!(packet(&sent(6, TCP, b"POST", u64::MAX), &mut out), 65_535);
        out.clear();
        assert_eq!(packet(&sent(4, UDP, &[7; 70_000], 70_000), &mut out), 65_535);
        assert_eq!(out.len(), 65_535);
    }

    #[test]
    fn nothing_is_filled_in_where_nothing_is() {
        for len in 0..60 {
            let mut bytes = vec![0x45; len];
            fill_checksums(&mut bytes);
            let mut bytes = vec![0x60; len];
            fill_checksums(&mut bytes);
        }
    }
}
