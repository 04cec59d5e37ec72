//! TCP and UDP headers: from a packet's payload to ports and what is carried.

use crate::bytes::{be16, be32};
use crate::packet::Packet;

/// IP protocol number of TCP (IANA "Assigned Internet Protocol Numbers").
pub const TCP: u8 = 6;
/// IP protocol number of UDP.
pub const UDP: u8 = 17;

/// A TCP segment (RFC 9293 section 3.1), as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Sequence number of the first byte carried, or of SYN or FIN.
    pub seq: u32,
    /// Control bits, as sent: see [`flag`].
    pub flags: u8,
    /// The bytes carried, cut at the capture's end.
    pub payload: &'a [u8],
    /// How many bytes the segment carries; `None` where the packet does not say.
    pub len: Option<u32>,
}

/// Control bits (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronises sequence numbers.
    pub const SYN: u8 = 2;
    /// Resets the connection.
    pub const RST: u8 = 4;
    /// The acknowledgment field counts.
    pub const ACK: u8 = 16;
}

/// A UDP datagram (RFC 768), as far as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// The bytes carried, cut at the capture's end.
    pub payload: &'a [u8],
}

/// The TCP segment that a packet carries, where it carries one and its header is there.
pub fn tcp<'a>(packet: &Packet<'a>) -> Option<Segment<'a>> {
    const HEADER_LEN: usize = 20;
    let bytes = packet.payload;
    if packet.protocol != TCP || bytes.len() < HEADER_LEN {
        return None;
    }
    let header_len = usize::from(bytes[12] >> 4) * 4;
    if header_len < HEADER_LEN {
        return None;
    }
    let whole = packet.ip_len.map(|len| len.saturating_sub(packet.header_len));
    Some(Segment {
        sport: be16(bytes, 0)?,
        dport: be16(bytes, 2)?,
        seq: be32(bytes, 4)?,
        flags: bytes[13],
        payload: bytes.get(header_len..).unwrap_or_default(),
        len: whole.map(|len| len.saturating_sub(header_len as u32)),
    })
}

/// The UDP datagram that a packet carries, where it carries one and its header is there.
pub fn udp<'a>(packet: &Packet<'a>) -> Option<Datagram<'a>> {
    const HEADER_LEN: usize = 8;
    let bytes = packet.payload;
    if packet.protocol != UDP || bytes.len() < HEADER_LEN {
        return None;
    }
    let len = match be16(bytes, 4)? {
        // Before the stack has filled it in, and in jumbograms (RFC 2675).
        0 => bytes.len(),
        len => usize::from(len),
    };
    Some(Datagram {
        sport: be16(bytes, 0)?,
        dport: be16(bytes, 2)?,
        payload: &bytes[HEADER_LEN..len.clamp(HEADER_LEN, bytes.len())],
    })
}

/// The payloads of the packets that a device makes of one send (Linux's UDP_SEGMENT):
/// each a UDP header, and `size` bytes of what is carried; the last one may have fewer.
pub fn datagrams<'a>(packet: &Packet<'a>, size: usize) -> impl Iterator<Item = Vec<u8>> + 'a {
    let header = packet.payload.first_chunk::<4>();
    let carried = udp(packet).map(|datagram| datagram.payload).unwrap_or_default();
    carried.chunks(size.max(1)).filter_map(move |part| {
        let len = u16::try_from(8 + part.len()).ok()?.to_be_bytes();
        Some([header?.as_slice(), &len, &[0; 2], part].concat())
    })
}

/// The ports of a packet, where they were captured and its transport begins with both:
/// TCP, UDP, DCCP, SCTP, UDP-Lite.
pub fn ports(packet: &Packet<'_>) -> Option<(u16, u16)> {
    match packet.protocol {
        TCP | UDP | 33 | 132 | 136 => Some((be16(packet.payload, 0)?, be16(packet.payload, 2)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Layer, parse};

    #[test]
    fn one_send_is_cut_as_the_device_cuts_it() {
        let ip = [0x45, 0, 0, 33, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        let bytes = [&ip[..], &[0x9c, 0xb8, 0, 53, 0, 13, 1, 2], b"abcde"].concat();
        let packet = parse(Layer::Ip, &bytes).expect("a packet");
        let cut = |size| datagrams(&packet, size).collect::<Vec<_>>();
        let datagram = |len, data: &[u8]| [&[0x9c, 0xb8, 0, 53, 0, len, 0, 0], data].concat();
        assert_eq!(cut(2), [datagram(10, b"ab"), datagram(10, b"cd"), datagram(9, b"e")]);
        assert_eq!(cut(9), [datagram(13, b"abcde")]);
        assert_eq!(cut(0).len(), 5, "a size that no kernel gives");
    }
}
