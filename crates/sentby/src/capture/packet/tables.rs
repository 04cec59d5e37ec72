//! Sockets as /proc/net lists them (proc(5)), for those that the kernel tells no other
//! way. It is this thread's network namespace that is listed.

use super::sockets::Found;
use crate::enrich::read_limited;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use wire::transport::{TCP, UDP};

/// Most bytes of a table that are read.
const TABLE_MAX: u64 = 8 << 20;

/// IPv4 and IPv6 sockets that packets of an IP protocol and source may leave by; `cut`
/// becomes true, as with all of these, where those are not all.
pub fn read(protocol: u8, src: IpAddr, cut: &mut bool) -> Vec<Found> {
    let names: &[&str] = match (protocol, src) {
        (TCP, IpAddr::V4(_)) => &["tcp", "tcp6"],
        (TCP, IpAddr::V6(_)) => &["tcp6"],
        (UDP, IpAddr::V4(_)) => &["udp", "udp6"],
        (UDP, IpAddr::V6(_)) => &["udp6"],
        (_, IpAddr::V4(_)) => &["raw"],
        (_, IpAddr::V6(_)) => &["raw6"],
    };
    names.iter().flat_map(|name| table(name, cut)).collect()
}

/// Ping sockets (icmp(7)): their port is the identifier.
pub fn pings(src: IpAddr, cut: &mut bool) -> Vec<Found> {
    match src {
        IpAddr::V4(_) => table("icmp", cut),
        IpAddr::V6(_) => table("icmp6", cut),
    }
}

/// Inodes of AF_PACKET sockets.
pub fn packet_sockets(cut: &mut bool) -> Vec<u64> {
    let text = text("packet", cut);
    let last = |line: &str| line.split_ascii_whitespace().last()?.parse().ok();
    text.lines().skip(1).filter_map(last).collect()
}

/// Whether an interface has an IPv6 address.
pub fn has_address(address: Ipv6Addr) -> bool {
    listed(&text("if_inet6", &mut false), address)
}

fn listed(table: &str, address: Ipv6Addr) -> bool {
    let hex = format!("{:032x}", u128::from(address));
    table.lines().any(|line| line.starts_with(&hex))
}

fn text(name: &str, cut: &mut bool) -> String {
    let read = read_limited(&Path::new("/proc/thread-self/net").join(name), TABLE_MAX);
    let (bytes, more) = read.unwrap_or_default();
    *cut |= more;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn table(name: &str, cut: &mut bool) -> Vec<Found> {
    text(name, cut).lines().skip(1).filter_map(row).collect()
}

/// `sl local rem st tx:rx tr:when retrnsmt uid timeout inode …`
fn row(line: &str) -> Option<Found> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let (local, remote) = (end(fields.next()?)?, end(fields.next()?)?);
    let inode = fields.nth(6)?.parse().ok()?;
    Some(Found { inode, local, remote })
}

/// Address and port in hexadecimal; addresses as words of this machine's byte order.
fn end(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let port = u16::from_str_radix(port, 16).ok()?;
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
            let raw: [u8; 16] = words.try_into().ok()?;
            Ipv6Addr::from(raw).to_canonical()
        }
        _ => return None,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    #[cfg(target_endian = "little")]
    fn rows_are_read_whatever_their_family() {
        let four = "   7: 0102000A:0035 00000000:0000 07 00000000:00000000 00:00000000 \
                    00000000     0        0 4711 2 0000000000000000 0";
        let found = row(four).unwrap();
        assert_eq!(found.inode, 4711);
        assert_eq!(found.local, ("10.0.2.1".parse().unwrap(), 53));
        let six = "  12: 0000000000000000FFFF00000100007F:0035 B80D0120000000000000000001000000:01BB \
                   01 00000000:00000000 00:00000000 00000000  1000        0 99 2 0 0";
        let found = row(six).unwrap();
        assert_eq!(found.local, ("127.0.0.1".parse().unwrap(), 53));
        assert_eq!(found.remote, ("2001:db8::1".parse().unwrap(), 443));
        for bad in ["", "1: x:y", "1: 0:0 0:0 0 0 0 0 0 0 7", "  sl  local_address rem_address"] {
            assert_eq!(row(bad), None, "{bad}");
        }
    }

    #[test]
    fn link_local_addresses_are_listed() {
        let table = "fe80000000000000000000000000000a 02 40 20 80       a0\n";
        assert!(listed(table, "fe80::a".parse().unwrap()));
        assert!(!listed(table, "fe80::b".parse().unwrap()));
    }

    #[test]
    fn this_machines_tables_are_read() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let own = socket.local_addr().unwrap();
        let inode = rustix::fs::fstat(&socket).unwrap().st_ino;
        let found = read(UDP, own.ip(), &mut false);
        assert!(found.iter().any(|s| s.inode == inode && s.local == (own.ip(), own.port())));
    }
}
