//! What stands before the IP header, by the link's type.
//!
//! Deliberately absent: MPLS, PPPoE, LLC/SNAP framing, radio links.

use crate::bytes::be16;

/// How many VLAN tags are looked through: a service tag and a customer tag
/// (IEEE 802.1Q, formerly 802.1ad).
pub const MAX_VLAN_TAGS: usize = 2;

/// LINKTYPE numbers (draft-ietf-opsawg-pcaplinktype).
pub mod linktype {
    /// BSD loopback: the address family, in the capturing machine's byte order.
    pub const NULL: u16 = 0;
    /// Ethernet.
    pub const ETHERNET: u16 = 1;
    /// IP without anything before it, as DLT_RAW is numbered by most systems, and by OpenBSD.
    pub const DLT_RAW: u16 = 12;
    /// The same.
    pub const DLT_RAW_OPENBSD: u16 = 14;
    /// IP without anything before it, v4 or v6.
    pub const RAW: u16 = 101;
    /// OpenBSD loopback: the address family, in network byte order.
    pub const LOOP: u16 = 108;
    /// Linux "cooked" capture, as of `tcpdump -i any`.
    pub const LINUX_SLL: u16 = 113;
    /// IPv4 without anything before it.
    pub const IPV4: u16 = 228;
    /// IPv6 without anything before it.
    pub const IPV6: u16 = 229;
    /// Linux "cooked" capture, version 2.
    pub const LINUX_SLL2: u16 = 276;
}

/// IANA "IEEE 802 Numbers".
pub(crate) mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    /// Ethernet inside of something else (RFC 7637 for GRE, RFC 8926 for GENEVE).
    pub const ETHERNET: u16 = 0x6558;
    pub const CUSTOMER_TAG: u16 = 0x8100;
    pub const SERVICE_TAG: u16 = 0x88a8;
    /// Never assigned, but what switches used for the outer tag before 802.1ad.
    pub const OLD_SERVICE_TAG: u16 = 0x9100;
}

/// Whether packets of this LINKTYPE can be read.
pub fn is_known(link: u16) -> bool {
    use linktype::*;
    matches!(
        link,
        NULL | ETHERNET
            | DLT_RAW
            | DLT_RAW_OPENBSD
            | RAW
            | LOOP
            | LINUX_SLL
            | IPV4
            | IPV6
            | LINUX_SLL2
    )
}

/// The IP packet in a packet of this LINKTYPE, with what the link may have put behind it.
pub fn ip(link: u16, bytes: &[u8]) -> Option<&[u8]> {
    const FAMILY_LEN: usize = 4;
    const SLL_TYPE: usize = 14;
    const SLL2_LEN: usize = 20;
    match link {
        linktype::ETHERNET => ethernet(bytes),
        linktype::RAW | linktype::DLT_RAW | linktype::DLT_RAW_OPENBSD => any_version(bytes),
        linktype::IPV4 => of_version(4, bytes),
        linktype::IPV6 => of_version(6, bytes),
        // The numbers of IPv6 differ between systems, and the byte order is theirs: the
        // version tells as well.
        linktype::NULL | linktype::LOOP => any_version(bytes.get(FAMILY_LEN..)?),
        linktype::LINUX_SLL => carried(be16(bytes, SLL_TYPE)?, &bytes[SLL_TYPE + 2..]),
        linktype::LINUX_SLL2 => carried(be16(bytes, 0)?, bytes.get(SLL2_LEN..)?),
        _ => None,
    }
}

/// The IP packet in an Ethernet frame; VLAN tags are looked through.
pub fn ethernet(bytes: &[u8]) -> Option<&[u8]> {
    const ADDRESSES_LEN: usize = 12;
    carried(be16(bytes, ADDRESSES_LEN)?, &bytes[ADDRESSES_LEN + 2..])
}

/// The IP packet in what an EtherType announces.
pub(crate) fn carried(ethertype: u16, bytes: &[u8]) -> Option<&[u8]> {
    let (mut ethertype, mut rest) = (ethertype, bytes);
    for _ in 0..=MAX_VLAN_TAGS {
        match ethertype {
            ethertype::IPV4 => return of_version(4, rest),
            ethertype::IPV6 => return of_version(6, rest),
            ethertype::CUSTOMER_TAG | ethertype::SERVICE_TAG | ethertype::OLD_SERVICE_TAG => {
                ethertype = be16(rest, 2)?;
                rest = &rest[4..];
            }
            _ => return None,
        }
    }
    None
}

fn any_version(bytes: &[u8]) -> Option<&[u8]> {
    matches!(bytes.first()? >> 4, 4 | 6).then_some(bytes)
}

pub(crate) fn of_version(version: u8, bytes: &[u8]) -> Option<&[u8]> {
    (bytes.first()? >> 4 == version).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: &[u8] = b"\x45rest";

    #[test]
    fn each_link_has_its_header() {
        let with = |head: &[u8]| [head, IP].concat();
        let sll = |proto: &[u8]| with(&[&[0; 14], proto].concat());
        let sll2 = |proto: &[u8]| with(&[proto, &[0; 18]].concat());
        for (link, bytes) in [
            (linktype::RAW, with(&[])),
            (linktype::DLT_RAW, with(&[])),
            (linktype::IPV4, with(&[])),
            (linktype::NULL, with(&[2, 0, 0, 0])),
            (linktype::NULL, with(&[0, 0, 0, 2])),
            (linktype::LOOP, with(&[0, 0, 0, 2])),
            (linktype::LINUX_SLL, sll(&[8, 0])),
            (linktype::LINUX_SLL2, sll2(&[8, 0])),
            (linktype::ETHERNET, with(&[&[0; 12][..], &[8, 0]].concat())),
            (linktype::ETHERNET, with(&[&[0; 12][..], &[0x81, 0, 0, 1, 8, 0]].concat())),
        ] {
            assert!(is_known(link));
            assert_eq!(ip(link, &bytes), Some(IP), "link type {link}");
            for len in 0..bytes.len() - IP.len() + 1 {
                assert_eq!(ip(link, &bytes[..len]), None, "link type {link}, {len} bytes");
            }
        }
        assert!(!is_known(127));
        assert_eq!(ip(127, IP), None);
        assert_eq!(ip(linktype::IPV6, IP), None);
    }

    #[test]
    fn tags_are_looked_through_but_not_without_end() {
        let tag = [0x81, 0, 0, 1];
        let frame = |tags: usize| [&[0; 12], tag.repeat(tags).as_slice(), &[8, 0], IP].concat();
        assert_eq!(ethernet(&frame(MAX_VLAN_TAGS)), Some(IP));
        assert_eq!(ethernet(&frame(MAX_VLAN_TAGS + 1)), None);
    }
}
