//! IP headers: from captured bytes to addresses and a payload.
//!
//! What stands before them is in [`crate::link`]; fragments are put together in
//! [`crate::fragments`], tunnels are looked into in [`crate::tunnel`].
//!
//! Deliberately absent: checksums (they are often left to the network card, so a
//! sender's own capture has them wrong).

use crate::bytes::{array, be16};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How many IPv6 extension headers are looked through. RFC 8200 section 4.1 lists
/// seven in its recommended order; more are legal but only attackers send them. A
/// longer chain ends the walk: `protocol` then is the next extension header's number.
pub const MAX_EXTENSION_HEADERS: usize = 8;

/// Where the captured bytes begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// At the IP header (v4 or v6, told by its version nibble).
    Ip,
    /// At an Ethernet header (IEEE 802.3; VLAN tags are looked through).
    Ethernet,
}

/// The headers of one packet, as far as they could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// IP protocol number of `payload` (for IPv6: after the extension headers; where
    /// their chain is cut or longer than [`MAX_EXTENSION_HEADERS`], the number of the
    /// extension header at which `payload` begins).
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// The bytes after the IP headers, cut at the IP length and at the capture's end.
    pub payload: &'a [u8],
    /// Length of the IP headers before `payload`, in bytes.
    pub header_len: u32,
    /// Length of the IP packet by its own header, in bytes; `None` where the header
    /// does not say (jumbograms, and lengths the stack had not filled in yet).
    pub ip_len: Option<u32>,
    /// Set on the first fragment of a fragmented packet: the payload goes on elsewhere.
    pub more_fragments: bool,
    /// The capture ends before the packet does. Where `ip_len` is `None` nothing in
    /// the packet tells, and only a cut IP header sets it.
    pub truncated: bool,
}

/// Parses the headers of a packet. `None` where there is no IP header, or for a
/// fragment other than the first (its payload has no transport header).
pub fn parse(layer: Layer, bytes: &[u8]) -> Option<Packet<'_>> {
    match layer {
        Layer::Ip => match bytes.first()? >> 4 {
            4 => ipv4(bytes),
            6 => ipv6(bytes),
            _ => None,
        },
        Layer::Ethernet => parse(Layer::Ip, crate::link::ethernet(bytes)?),
    }
}

/// RFC 791 section 3.1.
fn ipv4(bytes: &[u8]) -> Option<Packet<'_>> {
    const HEADER_LEN: usize = 20;
    const MORE_FRAGMENTS: u16 = 0x2000;
    const FRAGMENT_OFFSET: u16 = 0x1fff;

    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if header[0] >> 4 != 4 || header_len < HEADER_LEN || fragment & FRAGMENT_OFFSET != 0 {
        return None;
    }
    // Zero before the stack has filled it in, and on segments above 64 KiB (IPv4 BIG
    // TCP, Linux 6.3).
    let ip_len = match u16::from_be_bytes([header[2], header[3]]) {
        0 => None,
        len if usize::from(len) < header_len => return None,
        len => Some(u32::from(len)),
    };
    let (packet, truncated) = cut(bytes, ip_len);
    Some(Packet {
        src: IpAddr::V4(Ipv4Addr::from(array::<4>(header, 12)?)),
        dst: IpAddr::V4(Ipv4Addr::from(array::<4>(header, 16)?)),
        protocol: header[9],
        ttl: header[8],
        payload: &packet[header_len.min(packet.len())..],
        header_len: header_len as u32,
        ip_len,
        more_fragments: fragment & MORE_FRAGMENTS != 0,
        truncated: truncated || packet.len() < header_len,
    })
}

/// RFC 8200 section 3.
fn ipv6(bytes: &[u8]) -> Option<Packet<'_>> {
    const HEADER_LEN: usize = 40;

    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    if header[0] >> 4 != 6 {
        return None;
    }
    // Zero on jumbograms (RFC 2675; Linux's BIG TCP too) and before the stack has
    // filled it in.
    let ip_len = match u16::from_be_bytes([header[4], header[5]]) {
        0 => None,
        len => Some(HEADER_LEN as u32 + u32::from(len)),
    };
    let (packet, truncated) = cut(bytes, ip_len);
    let upper = Upper::find(header[6], &packet[HEADER_LEN..])?;
    Some(Packet {
        src: IpAddr::V6(Ipv6Addr::from(array::<16>(header, 8)?)),
        dst: IpAddr::V6(Ipv6Addr::from(array::<16>(header, 24)?)),
        protocol: upper.protocol,
        ttl: header[7],
        payload: upper.payload,
        header_len: (packet.len() - upper.payload.len()) as u32,
        ip_len,
        more_fragments: upper.more_fragments,
        truncated,
    })
}

/// Cuts captured bytes at the packet's own length (what follows is padding of the
/// link); true when the capture ends before that.
fn cut(bytes: &[u8], ip_len: Option<u32>) -> (&[u8], bool) {
    match ip_len.map(|len| len as usize) {
        None => (bytes, false),
        Some(len) => (&bytes[..len.min(bytes.len())], bytes.len() < len),
    }
}

/// What an IPv6 packet carries after its extension headers.
struct Upper<'a> {
    protocol: u8,
    payload: &'a [u8],
    more_fragments: bool,
}

impl<'a> Upper<'a> {
    /// Looks through the extension headers, in whatever order they come; `None` for
    /// a fragment other than the first.
    fn find(protocol: u8, payload: &'a [u8]) -> Option<Self> {
        let mut upper = Upper { protocol, payload, more_fragments: false };
        for _ in 0..MAX_EXTENSION_HEADERS {
            let Some(len) = extension_len(upper.protocol, upper.payload) else { break };
            let Some((extension, rest)) = upper.payload.split_at_checked(len) else { break };
            if upper.protocol == extension::FRAGMENT {
                // RFC 8200 section 4.5: offset (13 bits), reserved (2), more (1).
                let fragment = be16(extension, 2)?;
                if fragment & 0xfff8 != 0 {
                    return None;
                }
                upper.more_fragments |= fragment & 1 != 0;
            }
            upper.protocol = *extension.first()?;
            upper.payload = rest;
        }
        Some(upper)
    }
}

impl Packet<'_> {
    /// The extension headers end before their chain does, so that `protocol` is not
    /// yet what the packet carries.
    pub(crate) fn inside_extensions(&self) -> bool {
        self.src.is_ipv6()
            && matches!(
                self.protocol,
                extension::HOP_BY_HOP
                    | extension::ROUTING
                    | extension::FRAGMENT
                    | extension::AUTHENTICATION
                    | extension::DESTINATION_OPTIONS
            )
    }
}

/// IANA "IPv6 Extension Header Types", those after which another header follows.
pub(crate) mod extension {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// The length of the extension header at the start of `bytes`; `None` when the
/// protocol is no extension header or its length is not there.
pub(crate) fn extension_len(protocol: u8, bytes: &[u8]) -> Option<usize> {
    let stated = usize::from(*bytes.get(1)?);
    match protocol {
        extension::HOP_BY_HOP | extension::ROUTING | extension::DESTINATION_OPTIONS => {
            Some((stated + 1) * 8)
        }
        extension::FRAGMENT => Some(8),
        // RFC 4302 section 2.2: counted in 4-byte words, minus 2.
        extension::AUTHENTICATION => Some((stated + 2) * 4),
        _ => None,
    }
}

/// The usual name of an IP protocol number (IANA "Assigned Internet Protocol
/// Numbers"), for the protocols people meet.
pub fn protocol_name(number: u8) -> Option<&'static str> {
    Some(match number {
        1 => "icmp",
        2 => "igmp",
        4 => "ipip",
        6 => "tcp",
        17 => "udp",
        33 => "dccp",
        41 => "ipv6",
        47 => "gre",
        50 => "esp",
        51 => "ah",
        58 => "icmpv6",
        89 => "ospf",
        103 => "pim",
        112 => "vrrp",
        132 => "sctp",
        136 => "udplite",
        _ => return None,
    })
}
