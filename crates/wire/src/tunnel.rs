//! IP packets inside of IP packets: IP in IP (RFC 2003, RFC 4213), GRE (RFC 2784, RFC
//! 2890), VXLAN (RFC 7348) and GENEVE (RFC 8926).
//!
//! Deliberately absent: what is encrypted (ESP, WireGuard), GRE's source routes and its
//! version 1 (PPTP), L2TP, ERSPAN, and tunnels at ports of their own choice.

use crate::bytes::be16;
use crate::link::{self, ethertype};
use crate::packet::Packet;
use crate::transport::{UDP, udp};

/// How many tunnels inside of each other are looked into. More are legal, but only
/// attackers, and packets caught in a loop, have them.
pub const MAX_TUNNELS: usize = 8;

/// IP protocol numbers (IANA "Assigned Internet Protocol Numbers").
const IPV4: u8 = 4;
const IPV6: u8 = 41;
const GRE: u8 = 47;

/// UDP ports (IANA); Linux's own default for VXLAN is older than the assignment.
const VXLAN: u16 = 4789;
const VXLAN_LINUX: u16 = 8472;
const GENEVE: u16 = 6081;

/// The IP packet that a packet carries, if it is a tunnel's.
pub fn inside<'a>(packet: &Packet<'a>) -> Option<&'a [u8]> {
    match packet.protocol {
        _ if packet.more_fragments => None,
        IPV4 => link::of_version(4, packet.payload),
        IPV6 => link::of_version(6, packet.payload),
        GRE => gre(packet.payload),
        UDP => {
            let datagram = udp(packet)?;
            match datagram.dport {
                VXLAN | VXLAN_LINUX => vxlan(datagram.payload),
                GENEVE => geneve(datagram.payload),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What a tunnel announces by an EtherType.
fn carried(kind: u16, bytes: &[u8]) -> Option<&[u8]> {
    match kind {
        ethertype::ETHERNET => link::ethernet(bytes),
        ethertype::IPV4 | ethertype::IPV6 => link::carried(kind, bytes),
        _ => None,
    }
}

fn gre(bytes: &[u8]) -> Option<&[u8]> {
    const HEADER_LEN: usize = 4;
    const CHECKSUM: u16 = 0x8000;
    const ROUTING: u16 = 0x4000;
    const KEY: u16 = 0x2000;
    const SEQUENCE: u16 = 0x1000;
    const VERSION: u16 = 7;
    let flags = be16(bytes, 0)?;
    if flags & (ROUTING | VERSION) != 0 {
        return None;
    }
    let fields = (flags & (CHECKSUM | KEY | SEQUENCE)).count_ones() as usize;
    carried(be16(bytes, 2)?, bytes.get(HEADER_LEN + 4 * fields..)?)
}

fn vxlan(bytes: &[u8]) -> Option<&[u8]> {
    const HEADER_LEN: usize = 8;
    const HAS_NUMBER: u8 = 0x08;
    let header: &[u8; HEADER_LEN] = bytes.first_chunk()?;
    (header[0] & HAS_NUMBER != 0).then(|| link::ethernet(&bytes[HEADER_LEN..]))?
}

fn geneve(bytes: &[u8]) -> Option<&[u8]> {
    const HEADER_LEN: usize = 8;
    const VERSION: u8 = 0xc0;
    let first = *bytes.first()?;
    let options = usize::from(first & !VERSION) * 4;
    if first & VERSION != 0 {
        return None;
    }
    carried(be16(bytes, 2)?, bytes.get(HEADER_LEN + options..)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{IpAddr, Ipv4Addr};

    const IP: &[u8] = b"\x45rest";

    fn packet(protocol: u8, payload: &[u8]) -> Packet<'_> {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Packet {
            src: address,
            dst: address,
            protocol,
            ttl: 64,
            payload,
            header_len: 20,
            ip_len: None,
            more_fragments: false,
            truncated: false,
        }
    }

    fn to_port(port: u16, parts: &[&[u8]]) -> Vec<u8> {
        [&[0, 1], port.to_be_bytes().as_slice(), &[0; 4], &parts.concat()].concat()
    }

    #[test]
    fn each_tunnel_has_its_header() {
        let frame = [&[0; 12][..], &[8, 0], IP].concat();
        for (protocol, bytes) in [
            (IPV4, IP.to_vec()),
            (GRE, [&[0, 0, 8, 0], IP].concat()),
            (GRE, [&[0xb0, 0, 8, 0], &[0; 12][..], IP].concat()),
            (GRE, [&[0, 0, 0x65, 0x58], frame.as_slice()].concat()),
            (UDP, to_port(VXLAN, &[&[8, 0, 0, 0, 0, 0, 1, 0], &frame])),
            (UDP, to_port(VXLAN_LINUX, &[&[8, 0, 0, 0, 0, 0, 1, 0], &frame])),
            (UDP, to_port(GENEVE, &[&[0, 0, 0x65, 0x58, 0, 0, 1, 0], &frame])),
            (UDP, to_port(GENEVE, &[&[1, 0, 8, 0, 0, 0, 1, 0], &[0; 4], IP])),
        ] {
            let outer = packet(protocol, &bytes);
            assert_eq!(inside(&outer), Some(IP), "{protocol}: {bytes:x?}");
            let fragment = Packet { more_fragments: true, ..outer };
            assert_eq!(inside(&fragment), None);
        }
    }

    #[test]
    fn what_only_looks_like_a_tunnel_is_none() {
        for (protocol, bytes) in [
            (IPV6, IP.to_vec()),
            (6, IP.to_vec()),
            (GRE, [&[0x40, 0, 8, 0], IP].concat()),
            (GRE, [&[0, 1, 8, 0], IP].concat()),
            (GRE, [&[0, 0, 8, 1], IP].concat()),
            (UDP, to_port(53, &[&[8, 0, 0, 0, 0, 0, 1, 0], IP])),
            (UDP, to_port(VXLAN, &[&[0; 8], &[0; 12], &[8, 0], IP])),
            (UDP, to_port(GENEVE, &[&[0x40, 0, 8, 0, 0, 0, 1, 0], IP])),
        ] {
            assert_eq!(inside(&packet(protocol, &bytes)), None, "{protocol}: {bytes:x?}");
        }
    }
}
