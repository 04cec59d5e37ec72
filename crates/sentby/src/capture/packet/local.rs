//! What is local to this network namespace: addresses, by the kernel's own routing
//! (rtnetlink(7)), and whether it forwards.

use super::netlink::Netlink;
use crate::enrich::Lru;
use std::fs;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Addresses that are remembered.
const ADDRESSES_MAX: usize = 4096;

/// How long an answer counts.
const FRESH: Duration = Duration::from_secs(1);

/// linux/rtnetlink.h.
const RTM_GETROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
const RTN_LOCAL: u8 = 2;

/// Offset of the type in `struct rtmsg`, and that structure's length.
const TYPE: usize = 7;
const RTMSG: usize = 12;

/// Whether packets of either family may only pass through.
const FORWARDING: [&str; 2] =
    ["/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv6/conf/all/forwarding"];

/// Answers about this namespace.
pub struct Local {
    netlink: Option<Netlink>,
    addresses: Lru<IpAddr, (Instant, bool)>,
    forwarding: Option<(Instant, bool)>,
}

impl Local {
    /// Nothing asked yet.
    pub fn new() -> Local {
        Local {
            netlink: Netlink::open(None).ok(),
            addresses: Lru::new(ADDRESSES_MAX),
            forwarding: None,
        }
    }

    /// Whether an address is this machine's; what cannot be asked is.
    pub fn has(&mut self, address: IpAddr, ifindex: u32) -> bool {
        // Who has no address yet (RFC 4291 section 2.5.2) is not forwarded for.
        if address.is_unspecified() {
            return true;
        }
        let now = Instant::now();
        if let Some((at, known)) = self.addresses.get_mut(&address)
            && now.saturating_duration_since(*at) < FRESH
        {
            return *known;
        }
        let Some(netlink) = &mut self.netlink else { return true };
        let mut kind = None;
        let asked = netlink.ask(RTM_GETROUTE, 0, &request(address, ifindex), |answer| {
            kind = answer.get(TYPE).copied();
        });
        // No way there: then it is not here.
        let local = asked.is_ok() && kind == Some(RTN_LOCAL);
        self.addresses.insert(address, (now, local));
        local
    }

    /// Whether this namespace forwards packets.
    pub fn forwards(&mut self) -> bool {
        let now = Instant::now();
        if let Some((at, known)) = self.forwarding
            && now.saturating_duration_since(at) < FRESH
        {
            return known;
        }
        let on = |path| fs::read_to_string(path).is_ok_and(|text| text.trim() != "0");
        let forwards = FORWARDING.into_iter().any(on);
        self.forwarding = Some((now, forwards));
        forwards
    }
}

/// `struct rtmsg` with the destination, and the interface where the address needs one.
fn request(address: IpAddr, ifindex: u32) -> Vec<u8> {
    let mut body = vec![0; RTMSG];
    let raw = match address {
        IpAddr::V4(four) => four.octets().to_vec(),
        IpAddr::V6(six) => six.octets().to_vec(),
    };
    body[0] = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    body[1] = (raw.len() * 8) as u8;
    attribute(&mut body, RTA_DST, &raw);
    if matches!(address, IpAddr::V6(six) if six.is_unicast_link_local()) {
        attribute(&mut body, RTA_OIF, &ifindex.to_ne_bytes());
    }
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    body.extend((4 + value.len() as u16).to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_local_and_documentation_is_not() {
        let mut local = Local::new();
        assert!(local.has("127.0.0.1".parse().unwrap(), 1));
        assert!(local.has("127.8.9.1".parse().unwrap(), 1));
        assert!(local.has("::".parse().unwrap(), 1));
        assert!(!local.has("203.0.113.77".parse().unwrap(), 1));
        assert!(!local.has("2001:db8:ffff::1".parse().unwrap(), 1));
    }
}
