//! The socket's filter: which packets the kernel copies at all, as a classic BPF program
//! (Documentation/networking/filter.rst). It is part of the socket, needs no privilege
//! beyond it, and is no bpf(2).
//!
//! It sees a packet from its network header on, as SOCK_DGRAM delivers it. Addresses and
//! ports are compared where the plan asks for some ([`ends`]). It keeps no state, so it lets through every TCP segment that carries something; what of that is
//! wanted, user space decides (capture/select.rs).

mod ends;
mod program;

use crate::plan::{Plan, Ports};
use ends::Family;
use libc::sock_filter;
use program::{Program, To, op};
use wire::transport::{TCP, UDP, flag};

/// Bytes of a packet that are captured: a request, and the headers before it.
pub const SNAP: u32 = 16 * 1024 + 512;

/// Bytes of a packet that tell its flow: IPv6 with extension headers and ports.
pub const SNAP_FLOW: u32 = 256;

/// What a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// What is captured.
    Capture,
    /// The first packets of flows, to look up their sockets at once.
    Scout,
}

/// What comes in and is looked at as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// Answers to SYNs, and errors about them.
    pub outcomes: bool,
    /// Answers of DNS servers.
    pub names: bool,
}

/// Values of sll_pkttype (linux/if_packet.h).
pub mod pkttype {
    /// To this host.
    pub const HOST: u8 = 0;
    /// Out of this host.
    pub const OUTGOING: u8 = 4;
}

/// linux/if_ether.h.
pub mod ethertype {
    pub const IPV4: u16 = 0x0800;
    pub const IPV6: u16 = 0x86dd;
    /// 802.1Q, 802.1ad, and what came before that.
    pub const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
}

const ICMP: u32 = 1;
const ICMPV6: u32 = 58;
const DOMAIN: u32 = 53;

/// IPv6 extension headers after which the upper header stands somewhere.
const EXTENSIONS: [u32; 5] = [0, 43, 44, 51, 60];

/// The program for a plan; `None` if it grew out of what jumps can reach. Addresses and
/// ports that take more than that are left to user space.
pub fn program(plan: &Plan, purpose: Purpose, incoming: Incoming) -> Option<Vec<sock_filter>> {
    exact(plan, purpose, incoming).or_else(|| {
        let (src, dst, either) = Default::default();
        let wider = Plan { src, dst, either, ports: Ports::default(), ..plan.clone() };
        exact(&wider, purpose, incoming)
    })
}

fn exact(plan: &Plan, purpose: Purpose, incoming: Incoming) -> Option<Vec<sock_filter>> {
    let mut p = Program::default();
    p.put(op::LD_W_ABS, ancillary(libc::SKF_AD_PKTTYPE));
    p.is(u32::from(pkttype::OUTGOING), "outgoing");
    let comes_in = purpose == Purpose::Capture && incoming != Incoming::default();
    if comes_in {
        p.is(u32::from(pkttype::HOST), "to incoming");
    }
    p.put(op::RET, 0);
    if comes_in {
        p.label("to incoming");
        p.go(To::Label("incoming"));
    }
    p.label("outgoing");
    outgoing(&mut p, plan, purpose, incoming.names && purpose == Purpose::Scout);
    if comes_in {
        p.label("incoming");
        coming_in(&mut p, incoming);
        p.label("flow");
        p.put(op::RET, SNAP_FLOW);
        p.label("accept");
        p.put(op::RET, SNAP);
        p.label("drop");
        p.put(op::RET, 0);
    }
    p.finish()
}

fn ancillary(what: i32) -> u32 {
    (libc::SKF_AD_OFF + what) as u32
}

/// What differs between the versions of IP.
struct Version {
    family: Family,
    /// Where the number of the next protocol stands.
    protocol: u32,
    tcp: &'static str,
    udp: &'static str,
    query: &'static str,
    elsewhere: &'static str,
    accept: &'static str,
    drop: &'static str,
}

const FOUR: Version = Version {
    family: Family::Four,
    protocol: 9,
    tcp: "tcp4",
    udp: "udp4",
    query: "query4",
    elsewhere: "elsewhere4",
    accept: "accept4",
    drop: "drop4",
};

const SIX: Version = Version {
    family: Family::Six,
    protocol: 6,
    tcp: "tcp6",
    udp: "udp6",
    query: "query6",
    elsewhere: "elsewhere6",
    accept: "accept6",
    drop: "drop6",
};

/// `queries`: DNS queries as well, whatever the plan says, for the names of destinations.
fn outgoing(p: &mut Program, plan: &Plan, purpose: Purpose, queries: bool) {
    let whole = if purpose == Purpose::Scout { SNAP_FLOW } else { SNAP };
    p.put(op::LD_W_ABS, ancillary(libc::SKF_AD_PROTOCOL));
    p.is(u32::from(ethertype::IPV4), "four");
    p.is(u32::from(ethertype::IPV6), "to six");
    for tag in ethertype::TAGS {
        p.is(u32::from(tag), "tagged");
    }
    p.put(op::RET, 0);
    p.label("tagged");
    p.put(op::RET, whole);
    p.label("to six");
    p.go(To::Label("six"));

    p.label("four");
    // Fragments other than the first carry no transport header.
    p.put(op::LD_H_ABS, 6);
    p.jump(op::JSET, 0x1fff, To::Next, To::Label("first"));
    p.put(op::RET, 0);
    p.label("first");
    of_version(p, plan, purpose, queries, &FOUR, whole);
    p.label("six");
    of_version(p, plan, purpose, queries, &SIX, whole);
}

fn of_version(
    p: &mut Program,
    plan: &Plan,
    purpose: Purpose,
    queries: bool,
    v: &Version,
    whole: u32,
) {
    let unwanted = To::Label(if queries { v.elsewhere } else { v.drop });
    ends::addresses(p, plan, v.family, unwanted);
    p.put(op::LD_B_ABS, v.protocol);
    for number in &plan.ip_protocols {
        p.is(u32::from(*number), v.accept);
    }
    let tcp_wanted = !plan.streams.is_empty() || plan.openings;
    if tcp_wanted {
        p.is(u32::from(TCP), v.tcp);
    }
    let udp_wanted = !plan.datagrams.is_empty();
    if udp_wanted || queries {
        p.is(u32::from(UDP), if udp_wanted { v.udp } else { v.query });
    }
    if v.family == Family::Six {
        for extension in EXTENSIONS {
            p.is(extension, v.accept);
        }
    }
    p.put(op::RET, 0);
    if tcp_wanted {
        p.label(v.tcp);
        tcp(p, plan, purpose, v);
    }
    if udp_wanted {
        p.label(v.udp);
        header(p, v);
        ends::ports(p, &plan.ports, v.family, To::Label(if queries { v.query } else { v.drop }));
        p.go(To::Label(v.accept));
    }
    if queries {
        p.label(v.elsewhere);
        p.put(op::LD_B_ABS, v.protocol);
        p.jump(op::JEQ, u32::from(UDP), To::Label(v.query), To::Label(v.drop));
        p.label(v.query);
        header(p, v);
        match v.family {
            Family::Four => p.put(op::LD_H_IND, 2),
            Family::Six => p.put(op::LD_H_ABS, 40 + 2),
        }
        p.jump(op::JEQ, DOMAIN, To::Label(v.accept), To::Label(v.drop));
    }
    p.label(v.accept);
    p.put(op::RET, whole);
    p.label(v.drop);
    p.put(op::RET, 0);
}

/// Has X say where IPv4's transport header begins.
fn header(p: &mut Program, v: &Version) {
    if v.family == Family::Four {
        p.put(op::LDX_MSH, 0);
    }
}

/// TCP that opens a connection or carries something.
fn tcp(p: &mut Program, plan: &Plan, purpose: Purpose, v: &Version) {
    header(p, v);
    ends::ports(p, &plan.ports, v.family, To::Label(v.drop));
    let byte = |p: &mut Program, at: u32| match v.family {
        Family::Four => p.put(op::LD_B_IND, at),
        Family::Six => p.put(op::LD_B_ABS, 40 + at),
    };
    byte(p, 13);
    if purpose == Purpose::Scout {
        p.put(op::AND, u32::from(flag::SYN | flag::ACK));
        return p.jump(op::JEQ, u32::from(flag::SYN), To::Label(v.accept), To::Label(v.drop));
    }
    p.jump(op::JSET, u32::from(flag::SYN), To::Label(v.accept), To::Next);
    // What stands in front of and with the segment (IPv4), or behind the header (IPv6); it
    // is 0 above 64 KiB.
    p.put(op::LD_H_ABS, if v.family == Family::Four { 2 } else { 4 });
    p.is(0, v.accept);
    if v.family == Family::Four {
        p.put(op::SUB_X, 0);
    }
    // The segment's own length in M[0], its data offset in X.
    p.put(op::ST, 0);
    byte(p, 12);
    p.put(op::RSH, 4);
    p.put(op::LSH, 2);
    p.put(op::TAX, 0);
    p.put(op::LD_MEM, 0);
    p.jump(op::JGT_X, 0, To::Label(v.accept), To::Label(v.drop));
}

fn coming_in(p: &mut Program, incoming: Incoming) {
    p.put(op::LD_W_ABS, ancillary(libc::SKF_AD_PROTOCOL));
    p.is(u32::from(ethertype::IPV4), "in4");
    p.is(u32::from(ethertype::IPV6), "in6");
    p.put(op::RET, 0);
    for (label, at, protocol) in [("in4", 9, ICMP), ("in6", 6, ICMPV6)] {
        p.label(label);
        p.put(op::LD_B_ABS, at);
        if incoming.outcomes {
            p.is(u32::from(TCP), if at == 9 { "answer4" } else { "answer6" });
            p.is(protocol, "flow");
        }
        if incoming.names {
            p.is(u32::from(UDP), if at == 9 { "domain4" } else { "domain6" });
        }
        p.put(op::RET, 0);
    }
    for (four, answer, domain) in [(true, "answer4", "domain4"), (false, "answer6", "domain6")] {
        if incoming.outcomes {
            p.label(answer);
            p.put(op::LDX_MSH, 0);
            match four {
                true => p.put(op::LD_B_IND, 13),
                false => p.put(op::LD_B_ABS, 40 + 13),
            }
            let ends = u32::from(flag::SYN | flag::RST);
            p.jump(op::JSET, ends, To::Label("flow"), To::Label("drop"));
        }
        if incoming.names {
            p.label(domain);
            p.put(op::LDX_MSH, 0);
            match four {
                true => p.put(op::LD_H_IND, 0),
                false => p.put(op::LD_H_ABS, 40),
            }
            p.jump(op::JEQ, DOMAIN, To::Label("accept"), To::Label("drop"));
        }
    }
}

/// The program that lets nothing through.
pub fn nothing() -> Vec<sock_filter> {
    vec![sock_filter { code: op::RET, jt: 0, jf: 0, k: 0 }]
}

#[cfg(test)]
mod tests;
