//! EDNS: the record that extends the header (RFC 6891 section 6.1).

use super::message::Record;
use crate::Fault;
use crate::bytes::be16;
use std::net::{Ipv4Addr, Ipv6Addr};

const OPT: u16 = 41;
const CLIENT_SUBNET: u16 = 8;
const DNSSEC_OK: u32 = 0x8000;

/// What a message says by EDNS.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Edns {
    /// Largest UDP payload that the sender takes.
    pub(super) size: u16,
    /// RFC 3225.
    pub(super) dnssec_ok: bool,
    /// The upper bits of the outcome.
    pub(super) rcode: u8,
    /// For whom it is asked, as address and prefix length (RFC 7871 section 6).
    pub(super) subnet: Option<String>,
    /// What is wrong with the options.
    pub(super) fault: Option<Fault>,
}

/// Reads an additional record, if it is this one.
pub(super) fn read(message: &[u8], record: &Record) -> Option<Edns> {
    // It belongs to the root, whose name is one byte.
    if record.kind != OPT || message.get(record.owner) != Some(&0) {
        return None;
    }
    let mut edns = Edns {
        size: record.class,
        dnssec_ok: record.ttl & DNSSEC_OK != 0,
        rcode: (record.ttl >> 24) as u8,
        subnet: None,
        fault: None,
    };
    if let Some(options) = message.get(record.data.clone())
        && edns.options(options).is_none()
    {
        edns.fault = Some(Fault::BadLength);
    }
    Some(edns)
}

impl Edns {
    /// `None` where an option ends beyond the record.
    fn options(&mut self, mut rest: &[u8]) -> Option<()> {
        while !rest.is_empty() {
            let (code, len) = (be16(rest, 0)?, usize::from(be16(rest, 2)?));
            let (option, after) = rest[4..].split_at_checked(len)?;
            if code == CLIENT_SUBNET && self.subnet.is_none() {
                self.subnet = subnet(option);
                if self.subnet.is_none() {
                    self.fault = Some(Fault::BadValue);
                }
            }
            rest = after;
        }
        Some(())
    }
}

/// Family, length of the prefix, length that the answer is for, and the prefix.
fn subnet(option: &[u8]) -> Option<String> {
    let [high, low, prefix, _, sent @ ..] = option else { return None };
    if sent.len() != usize::from(*prefix).div_ceil(8) {
        return None;
    }
    let mut address = [0; 16];
    address.get_mut(..sent.len())?.copy_from_slice(sent);
    let [a, b, c, d, ..] = address;
    match (u16::from_be_bytes([*high, *low]), prefix) {
        // Some clients ask this way not to be told about.
        (0, 0) => Some("0/0".to_owned()),
        (1, 0..=32) => Some(format!("{}/{prefix}", Ipv4Addr::new(a, b, c, d))),
        (2, 0..=128) => Some(format!("{}/{prefix}", Ipv6Addr::from(address))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_as_long_as_they_say() {
        let text = |option: &[u8]| subnet(option);
        assert_eq!(text(&[0, 1, 24, 0, 192, 0, 2]).as_deref(), Some("192.0.2.0/24"));
        assert_eq!(text(&[0, 1, 0, 0]).as_deref(), Some("0.0.0.0/0"));
        assert_eq!(text(&[0, 2, 32, 0, 0x20, 1, 0xd, 0xb8]).as_deref(), Some("2001:db8::/32"));
        assert_eq!(text(&[0, 0, 0, 0]).as_deref(), Some("0/0"));
        for bad in [
            &[0, 1, 24][..],
            &[0, 1, 24, 0, 192, 0],
            &[0, 1, 24, 0, 192, 0, 2, 0],
            &[0, 1, 33, 0, 192, 0, 2, 0, 0],
            &[0, 3, 8, 0, 1],
            &[0, 0, 8, 0, 1],
            &[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(text(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_second_subnet_and_a_broken_option_do_not_hide_the_first() {
        let options = [0, 8, 0, 5, 0, 1, 8, 0, 10, 0, 8, 0, 5, 0, 1, 8, 0, 11, 0, 9, 0, 1];
        let data = 0..options.len();
        let record = Record { owner: 22, kind: OPT, class: 1232, ttl: 0, data };
        let message = [&options[..], &[0]].concat();
        let edns = read(&message, &record).expect("EDNS");
        assert_eq!(edns.subnet.as_deref(), Some("10.0.0.0/8"));
        assert_eq!(edns.fault, Some(Fault::BadLength));
        assert_eq!(read(&message, &Record { owner: 1, ..record }), None);
    }
}
