//! Which sockets of this network namespace a packet may have left by: asked of the kernel
//! (sock_diag(7)), or read from /proc/net where it cannot be asked (a module that is not
//! there; ping sockets; AF_PACKET sockets).

use super::diag::Diag;
use super::tables;
use std::net::IpAddr;
use wire::transport::{TCP, UDP};

/// Sockets that are considered for one packet.
pub const SOCKETS_MAX: usize = 64;

/// A socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its inode; 0 where no process can hold it.
    pub inode: u64,
    /// Its own address; unspecified where it has none yet.
    pub local: (IpAddr, u16),
    /// The other side's, if it is connected.
    pub remote: (IpAddr, u16),
}

/// What makes a socket fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its own address and port, which no other has.
    Bound,
    /// It may send such packets, as others may that are gone already.
    Raw,
    /// It may send anything, under any name.
    Forged,
}

/// Sockets that fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitting {
    /// Their inodes.
    pub inodes: Vec<u64>,
    /// Why.
    pub how: How,
    /// There may be others: a limit came before the end of a list.
    pub cut: bool,
}

/// A packet, as far as sockets are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// IP protocol number.
    pub protocol: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port; of echo requests the identifier, 0 of what has neither.
    pub sport: u16,
    /// Destination port; 0 of what has none.
    pub dport: u16,
    /// Type of ICMP messages.
    pub kind: u8,
}

pub const ICMP: u8 = 1;
pub const ICMPV6: u8 = 58;

/// IP protocol number of sockets that write whole packets.
const RAW: u8 = 255;

impl Flow {
    /// That of a packet.
    pub fn of(packet: &wire::Packet<'_>) -> Flow {
        let mut flow = Flow {
            protocol: packet.protocol,
            src: packet.src,
            dst: packet.dst,
            sport: 0,
            dport: 0,
            kind: 0,
        };
        if let Some((sport, dport)) = wire::transport::ports(packet) {
            (flow.sport, flow.dport) = (sport, dport);
        } else if matches!(packet.protocol, ICMP | ICMPV6) {
            flow.kind = packet.payload.first().copied().unwrap_or_default();
            if flow.asks() {
                let id = packet.payload.get(4..6).and_then(|b| b.try_into().ok());
                flow.sport = u16::from_be_bytes(id.unwrap_or_default());
            }
        }
        flow
    }

    /// Whether it is an echo request, of either family.
    pub fn asks(&self) -> bool {
        matches!((self.protocol, self.kind), (ICMP, 8) | (ICMPV6, 128))
    }

    /// Whether it is an ICMP message that kernels send by themselves.
    pub fn may_be_the_kernels(&self) -> bool {
        matches!(self.protocol, ICMP | ICMPV6) && !self.asks()
    }

    /// Whether it tells which multicast groups this machine listens to (RFC 2710 section 3,
    /// RFC 3810 section 5.2). The kernel does for every process that joins one, and does for
    /// those that would do it themselves as well.
    pub fn reports_memberships(&self) -> bool {
        matches!((self.protocol, self.kind), (ICMPV6, 131 | 132 | 143))
    }

    /// The flow of what answers it.
    pub fn reverse(&self) -> Flow {
        let (src, dst) = (self.dst, self.src);
        Flow { src, dst, sport: self.dport, dport: self.sport, ..*self }
    }
}

/// The ways to ask.
pub struct Sockets {
    diag: Option<Diag>,
    /// Ours, which send nothing.
    own: Vec<u64>,
    /// The last list ended at a limit.
    pub cut: bool,
}

impl Sockets {
    /// Asks from now on; `own` are inodes that are never meant.
    pub fn new(own: Vec<u64>) -> Sockets {
        Sockets { diag: Diag::open().ok(), own, cut: false }
    }

    /// Those that a packet of this flow may have left by; `local` tells whether its source
    /// is an address of this machine.
    pub fn of(&mut self, flow: &Flow, ifindex: u32, local: bool) -> Fitting {
        self.cut = false;
        let (mut inodes, how) = match flow.protocol {
            _ if !local => (self.forgers(flow), How::Forged),
            TCP => (self.connection(flow, ifindex), How::Bound),
            UDP => (best(flow, &self.all(flow, UDP)), How::Bound),
            ICMP | ICMPV6 => self.messages(flow),
            _ => (best(flow, &self.all(flow, flow.protocol)), How::Raw),
        };
        inodes.retain(|inode| *inode != 0 && !self.own.contains(inode));
        inodes.sort_unstable();
        inodes.dedup();
        self.cut |= inodes.len() > SOCKETS_MAX;
        inodes.truncate(SOCKETS_MAX);
        Fitting { inodes, how, cut: self.cut }
    }

    /// The one socket of a connection.
    fn connection(&mut self, flow: &Flow, ifindex: u32) -> Vec<u64> {
        let found = match self.diag.as_mut().filter(|d| d.has(TCP)) {
            Some(diag) => diag.connection(flow, ifindex).into_iter().collect(),
            None => tables::read(TCP, flow.src, &mut self.cut),
        };
        let ours = |s: &&Found| s.local.1 == flow.sport && s.remote == (flow.dst, flow.dport);
        found.iter().filter(ours).map(|s| s.inode).collect()
    }

    /// Ping sockets of this identifier; else raw sockets of the protocol.
    fn messages(&mut self, flow: &Flow) -> (Vec<u64>, How) {
        if flow.asks() {
            let mut ping = tables::pings(flow.src, &mut self.cut);
            ping.retain(|s| s.local.1 == flow.sport);
            ping.iter_mut().for_each(|s| s.remote.1 = flow.dport);
            let ping = best(flow, &ping);
            if !ping.is_empty() {
                return (ping, How::Bound);
            }
        }
        let mut raw = self.all(flow, flow.protocol);
        raw.iter_mut().for_each(|s| s.remote.1 = flow.dport);
        (best(flow, &raw), How::Raw)
    }

    /// The raw sockets by which a process could send such packets as its own; `cut` says
    /// whether those are all.
    pub fn raw(&mut self, flow: &Flow) -> Vec<u64> {
        self.cut = false;
        let of = |protocol| self.all(flow, protocol).into_iter().map(|s| s.inode);
        [flow.protocol, RAW].into_iter().flat_map(of).collect()
    }

    /// Sockets through which processes send under any address: raw ones, whose sender may
    /// write the IP header, and AF_PACKET.
    fn forgers(&mut self, flow: &Flow) -> Vec<u64> {
        let mut raw = self.all(flow, RAW);
        if matches!(flow.protocol, ICMP | ICMPV6) {
            raw.extend(self.all(flow, flow.protocol));
        }
        raw.iter().map(|s| s.inode).chain(tables::packet_sockets(&mut self.cut)).collect()
    }

    /// UDP sockets of the flow's source port; of other protocols all raw sockets.
    fn all(&mut self, flow: &Flow, protocol: u8) -> Vec<Found> {
        let port = if protocol == UDP { flow.sport } else { u16::from(protocol) };
        let known = self.diag.as_mut().filter(|d| d.has(protocol));
        let mut found = match known {
            Some(diag) => diag.all(protocol, flow.src, port, &mut self.cut),
            None => tables::read(protocol, flow.src, &mut self.cut),
        };
        found.retain(|s| s.local.1 == port);
        found
    }
}

/// Those that fit best: connected to where the packet goes, or to nowhere; only where
/// there is none of them, those that are connected elsewhere (sendto(2) may go past that).
fn best(flow: &Flow, found: &[Found]) -> Vec<u64> {
    let bound = |s: &&Found| is_any(s.local.0) || s.local.0 == flow.src;
    let fits =
        |s: &&Found| is_any(s.remote.0) || s.remote.0 == flow.dst && s.remote.1 == flow.dport;
    let here: Vec<&Found> = found.iter().filter(bound).collect();
    let fitting: Vec<u64> = here.iter().copied().filter(fits).map(|s| s.inode).collect();
    match fitting.is_empty() {
        true => here.iter().map(|s| s.inode).collect(),
        false => fitting,
    }
}

fn is_any(address: IpAddr) -> bool {
    address.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
    use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Sockets that share a port.
    fn sharing(port: u16) -> UdpSocket {
        let socket =
            socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
        let socket = socket.unwrap();
        sockopt::set_socket_reuseport(&socket, true).unwrap();
        bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).unwrap();
        UdpSocket::from(socket)
    }

    #[test]
    fn more_sockets_than_are_considered_are_told() {
        let mut all = vec![sharing(0)];
        let sport = all[0].local_addr().unwrap().port();
        let (src, dst) = (ip("127.0.0.1"), ip("127.0.0.1"));
        let flow = Flow { protocol: UDP, src, dst, sport, dport: 53, kind: 0 };
        let mut sockets = Sockets::new(Vec::new());
        let few = sockets.of(&flow, 1, true);
        assert_eq!((few.inodes.len(), few.cut), (1, false));
        all.extend((0..SOCKETS_MAX).map(|_| sharing(sport)));
        let many = sockets.of(&flow, 1, true);
        assert_eq!((many.inodes.len(), many.cut), (SOCKETS_MAX, true));
        let none = sockets.of(&Flow { sport: 1, ..flow }, 1, true);
        assert_eq!((none.inodes.len(), none.cut), (0, false));
    }

    #[test]
    fn the_best_fitting_sockets_are_all_listed() {
        let flow = Flow {
            protocol: UDP,
            src: ip("192.0.2.1"),
            dst: ip("192.0.2.2"),
            sport: 5353,
            dport: 53,
            kind: 0,
        };
        let any = (ip("0.0.0.0"), 0);
        let socket = |inode, local: &str, remote: (IpAddr, u16)| Found {
            inode,
            local: (ip(local), 5353),
            remote,
        };
        let to = |address: &str, port| (ip(address), port);
        // Inode, own address, the other side.
        let here = socket(1, "192.0.2.1", any);
        let everywhere = socket(2, "0.0.0.0", any);
        let other = socket(3, "192.0.2.9", any);
        let connected = socket(4, "192.0.2.1", to("192.0.2.2", 53));
        let elsewhere = socket(5, "192.0.2.1", to("192.0.2.3", 53));
        let other_port = socket(6, "0.0.0.0", to("192.0.2.2", 54));
        for (sockets, wanted) in [
            (&[here, other][..], &[1u64][..]),
            (&[here, everywhere], &[1, 2]),
            (&[connected, elsewhere, other], &[4]),
            (&[connected, everywhere], &[4, 2]),
            (&[elsewhere, other_port], &[5, 6]),
            (&[elsewhere, other_port, here], &[1]),
            (&[other], &[]),
            (&[], &[]),
        ] {
            assert_eq!(best(&flow, sockets), wanted, "{sockets:?}");
        }
    }

    #[test]
    fn flows_tell_echo_requests_from_what_kernels_send() {
        let parse = |protocol, kind| {
            let head = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
            let bytes = [&head[..], &[kind, 0, 0, 0, 0x12, 0x34, 0, 1]].concat();
            Flow::of(&wire::packet::parse(wire::Layer::Ip, &bytes).unwrap())
        };
        let (ask, answer) = (parse(ICMP, 8), parse(ICMP, 0));
        assert!(ask.asks() && !ask.may_be_the_kernels() && ask.sport == 0x1234);
        assert!(!answer.asks() && answer.may_be_the_kernels() && answer.sport == 0);
        assert!(!parse(UDP, 8).may_be_the_kernels());
        assert!(!ask.reports_memberships() && !answer.reports_memberships());
        assert_eq!(ask.reverse().reverse(), ask);
    }
}
