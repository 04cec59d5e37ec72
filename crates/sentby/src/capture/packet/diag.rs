//! Sockets by the kernel's own word: sock_diag(7), `struct inet_diag_req_v2` and
//! `inet_diag_msg` (linux/inet_diag.h). It tells about this network namespace, and needs
//! no privilege.
//!
//! TCP by its four-tuple, which is one look-up. UDP by dumping one port: the exact look-up
//! tells one socket where several may share a port, and takes source and destination the
//! other way round (`udp_dump_one`, net/ipv4/udp_diag.c). Raw sockets (Linux 4.10,
//! 432490f9d455) by their protocol, which stands in place of the port.

use super::netlink::{DUMP, Netlink};
use super::sockets::{Flow, Found};
use rustix::net::netlink::SOCK_DIAG;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::transport::{TCP, UDP};

/// linux/sock_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;

/// IP protocol number of the table of raw sockets.
const RAW: u8 = 255;

/// Sockets of one answer that are taken.
const ANSWERS_MAX: usize = 4096;

/// Offsets in `struct inet_diag_msg`, the identity beginning at 4.
mod at {
    pub const SPORT: usize = 4;
    pub const DPORT: usize = 6;
    pub const SRC: usize = 8;
    pub const DST: usize = 24;
    pub const INODE: usize = 68;
}

/// A way to ask.
pub struct Diag {
    netlink: Netlink,
    tcp: bool,
    udp: bool,
    raw: bool,
}

impl Diag {
    /// Opens one, and finds out which tables this kernel tells about.
    pub fn open() -> io::Result<Diag> {
        let mut diag =
            Diag { netlink: Netlink::open(Some(SOCK_DIAG))?, tcp: false, udp: false, raw: false };
        // A port that is hardly used: whether it can be asked is all that matters.
        let mut can = |protocol| {
            let flow = (IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
            let body = request(libc::AF_INET as u8, protocol, flow, None, 0);
            diag.netlink.ask(SOCK_DIAG_BY_FAMILY, DUMP, &body, |_| {}).is_ok()
        };
        let (tcp, udp, raw) = (can(TCP), can(UDP), can(RAW));
        (diag.tcp, diag.udp, diag.raw) = (tcp, udp, raw);
        Ok(diag)
    }

    /// Whether it tells about sockets of an IP protocol.
    pub fn has(&self, protocol: u8) -> bool {
        match protocol {
            TCP => self.tcp,
            UDP => self.udp,
            _ => self.raw,
        }
    }

    /// The socket of a TCP connection.
    pub fn connection(&mut self, flow: &Flow, ifindex: u32) -> Option<Found> {
        let (src, dst) = ((flow.src, flow.sport), (flow.dst, flow.dport));
        let body = request(family(flow.src), TCP, src, Some(dst), ifindex);
        let mut found = None;
        let asked = self.netlink.ask(SOCK_DIAG_BY_FAMILY, 0, &body, |m| found = socket(m));
        asked.ok().and(found)
    }

    /// All sockets of a protocol that packets of this source may leave by, and a port;
    /// `cut` becomes true where those are not all.
    pub fn all(&mut self, protocol: u8, src: IpAddr, port: u16, cut: &mut bool) -> Vec<Found> {
        let mut found = Vec::new();
        let table = if matches!(protocol, TCP | UDP) { protocol } else { RAW };
        // IPv6 sockets send IPv4 as well, raw ones do not.
        let both = protocol == UDP && src.is_ipv4();
        let six = both.then_some(libc::AF_INET6 as u8);
        for family in [Some(family(src)), six].into_iter().flatten() {
            let body = request(family, table, (src, port), None, 0);
            let each = |message: &[u8]| match found.len() < ANSWERS_MAX {
                true => found.extend(socket(message)),
                false => *cut = true,
            };
            // What cannot be told is not there; what was not told in time may be.
            if let Err(e) = self.netlink.ask(SOCK_DIAG_BY_FAMILY, DUMP, &body, each) {
                let late = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
                *cut |= late.contains(&e.kind());
            }
        }
        found
    }
}

fn family(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

/// `struct inet_diag_req_v2`: without `dst` for a dump, which compares ports only.
fn request(
    family: u8,
    protocol: u8,
    src: (IpAddr, u16),
    dst: Option<(IpAddr, u16)>,
    ifindex: u32,
) -> Vec<u8> {
    let mut body = vec![family, protocol, 0, 0];
    body.extend(u32::MAX.to_ne_bytes()); // every state
    body.extend(src.1.to_be_bytes());
    body.extend(dst.map_or(0, |d| d.1).to_be_bytes());
    for address in [dst.map(|_| src.0), dst.map(|d| d.0)] {
        body.extend(raw_address(address));
    }
    body.extend(ifindex.to_ne_bytes());
    body.extend([0xff; 8]); // INET_DIAG_NOCOOKIE
    body
}

fn raw_address(address: Option<IpAddr>) -> [u8; 16] {
    let mut raw = [0; 16];
    match address {
        None => {}
        Some(IpAddr::V4(four)) => raw[..4].copy_from_slice(&four.octets()),
        Some(IpAddr::V6(six)) => raw = six.octets(),
    }
    raw
}

/// Reads a `struct inet_diag_msg`.
fn socket(message: &[u8]) -> Option<Found> {
    let four = i32::from(*message.first()?) == libc::AF_INET;
    let port = |at: usize| message.get(at..)?.first_chunk().map(|b| u16::from_be_bytes(*b));
    let address = |at: usize| {
        let raw: &[u8; 16] = message.get(at..)?.first_chunk()?;
        Some(match four {
            true => IpAddr::V4(Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3])),
            false => Ipv6Addr::from(*raw).to_canonical(),
        })
    };
    let inode: &[u8; 4] = message.get(at::INODE..)?.first_chunk()?;
    Some(Found {
        inode: u64::from(u32::from_ne_bytes(*inode)),
        local: (address(at::SRC)?, port(at::SPORT)?),
        remote: (address(at::DST)?, port(at::DPORT)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    fn inode(socket: impl AsFd) -> u64 {
        rustix::fs::fstat(socket).unwrap().st_ino
    }

    #[test]
    fn a_connection_is_found_by_its_ends() {
        let Ok(mut diag) = Diag::open() else { return };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (src, dst) = (client.local_addr().unwrap(), client.peer_addr().unwrap());
        let flow = Flow {
            protocol: TCP,
            src: src.ip(),
            dst: dst.ip(),
            sport: src.port(),
            dport: dst.port(),
            kind: 0,
        };
        let found = diag.connection(&flow, 1).unwrap();
        assert_eq!((found.inode, found.local), (inode(&client), (src.ip(), src.port())));
        drop((client, listener));
        assert!(diag.connection(&flow, 1).is_none_or(|s| s.inode == 0));
    }

    #[test]
    fn sockets_of_a_port_are_all_found() {
        let Ok(mut diag) = Diag::open() else { return };
        let four = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = four.local_addr().unwrap().port();
        let six = UdpSocket::bind(("::1", port)).unwrap();
        let mut cut = false;
        let found = diag.all(UDP, "127.0.0.1".parse().unwrap(), port, &mut cut);
        let inodes: Vec<u64> = found.iter().map(|s| s.inode).collect();
        assert!(inodes.contains(&inode(&four)) && inodes.contains(&inode(&six)), "{found:?}");
        let six_only = diag.all(UDP, "::1".parse().unwrap(), port, &mut cut);
        assert_eq!(six_only.iter().map(|s| s.inode).collect::<Vec<_>>(), [inode(&six)]);
        assert!(!cut);
    }

    #[test]
    fn cut_answers_are_none() {
        let message = [[2u8; 72], [0; 72]].concat();
        assert!(socket(&message).is_some());
        for cut in 0..72 {
            assert_eq!(socket(&message[..cut]), None);
        }
    }
}
