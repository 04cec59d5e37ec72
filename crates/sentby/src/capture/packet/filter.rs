//! The socket's filter: which packets the kernel copies at all, as a classic BPF program
//! (Documentation/networking/filter.rst). It is part of the socket, needs no privilege
//! beyond it, and is no bpf(2).
//!
//! It sees a packet from its network header on, as SOCK_DGRAM delivers it. It keeps no
//! state, so it lets through every TCP segment that carries something; what of that is
//! wanted, user space decides (capture/select.rs).

use crate::plan::Plan;
use libc::sock_filter;
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

/// linux/filter.h: class, size, mode, operation.
mod op {
    pub const LD_B_ABS: u16 = 0x30;
    pub const LD_H_ABS: u16 = 0x28;
    pub const LD_W_ABS: u16 = 0x20;
    pub const LD_B_IND: u16 = 0x50;
    pub const LD_H_IND: u16 = 0x48;
    pub const LD_MEM: u16 = 0x60;
    pub const LDX_MSH: u16 = 0xb1;
    pub const ST: u16 = 0x02;
    pub const TAX: u16 = 0x07;
    pub const AND: u16 = 0x54;
    pub const RSH: u16 = 0x74;
    pub const LSH: u16 = 0x64;
    pub const SUB_X: u16 = 0x1c;
    pub const JEQ: u16 = 0x15;
    pub const JSET: u16 = 0x45;
    pub const JGT_X: u16 = 0x2d;
    pub const RET: u16 = 0x06;
}

/// Where a jump leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum To {
    /// To the next instruction.
    Next,
    /// To where this label is put.
    Label(&'static str),
}

/// A program in the making: jumps lead forward to labels.
#[derive(Default)]
struct Program {
    code: Vec<(u16, u32, To, To)>,
    labels: Vec<(&'static str, usize)>,
}

impl Program {
    fn put(&mut self, code: u16, k: u32) {
        self.code.push((code, k, To::Next, To::Next));
    }

    fn jump(&mut self, code: u16, k: u32, yes: To, no: To) {
        self.code.push((code, k, yes, no));
    }

    /// Jumps there if the accumulator is this.
    fn is(&mut self, k: u32, there: &'static str) {
        self.jump(op::JEQ, k, To::Label(there), To::Next);
    }

    fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.code.len()));
    }

    /// The instructions, if every jump is short enough (255).
    fn finish(self) -> Option<Vec<sock_filter>> {
        let distance = |from: usize, to: To| match to {
            To::Next => Some(0),
            To::Label(name) => {
                let (_, at) = self.labels.iter().find(|(n, _)| *n == name)?;
                u8::try_from(at.checked_sub(from + 1)?).ok()
            }
        };
        let each = self.code.iter().enumerate();
        each.map(|(at, (code, k, yes, no))| {
            Some(sock_filter {
                code: *code,
                jt: distance(at, *yes)?,
                jf: distance(at, *no)?,
                k: *k,
            })
        })
        .collect()
    }
}

/// The program for a plan; `None` if it grew out of what jumps can reach.
pub fn program(plan: &Plan, purpose: Purpose, incoming: Incoming) -> Option<Vec<sock_filter>> {
    let mut p = Program::default();
    p.put(op::LD_W_ABS, ancillary(libc::SKF_AD_PKTTYPE));
    p.is(u32::from(pkttype::OUTGOING), "outgoing");
    let comes_in = purpose == Purpose::Capture && incoming != Incoming::default();
    if comes_in {
        p.is(u32::from(pkttype::HOST), "incoming");
    }
    p.put(op::RET, 0);
    p.label("outgoing");
    outgoing(&mut p, plan, purpose, incoming.names && purpose == Purpose::Scout);
    if comes_in {
        p.label("incoming");
        coming_in(&mut p, incoming);
    }
    p.label("drop");
    p.put(op::RET, 0);
    p.label("flow");
    p.put(op::RET, SNAP_FLOW);
    p.label("accept");
    p.put(op::RET, if purpose == Purpose::Scout { SNAP_FLOW } else { SNAP });
    p.finish()
}

fn ancillary(what: i32) -> u32 {
    (libc::SKF_AD_OFF + what) as u32
}

/// `queries`: DNS queries as well, whatever the plan says, for the names of destinations.
fn outgoing(p: &mut Program, plan: &Plan, purpose: Purpose, queries: bool) {
    p.put(op::LD_W_ABS, ancillary(libc::SKF_AD_PROTOCOL));
    p.is(u32::from(ethertype::IPV4), "four");
    p.is(u32::from(ethertype::IPV6), "six");
    for tag in ethertype::TAGS {
        p.is(u32::from(tag), "accept");
    }
    p.put(op::RET, 0);

    p.label("four");
    // Fragments other than the first carry no transport header.
    p.put(op::LD_H_ABS, 6);
    p.jump(op::JSET, 0x1fff, To::Label("drop"), To::Next);
    p.put(op::LD_B_ABS, 9);
    wanted(p, plan, "tcp4", queries.then_some("query4"));
    p.put(op::RET, 0);
    if tcp_wanted(plan) {
        p.label("tcp4");
        p.put(op::LDX_MSH, 0);
        p.put(op::LD_B_IND, 13);
        tcp(p, purpose, op::LD_H_ABS, 2, |p| {
            p.put(op::SUB_X, 0);
            p.put(op::ST, 0);
            p.put(op::LD_B_IND, 12);
        });
    }
    if queries {
        p.label("query4");
        p.put(op::LDX_MSH, 0);
        p.put(op::LD_H_IND, 2);
        p.jump(op::JEQ, DOMAIN, To::Label("accept"), To::Label("drop"));
    }

    p.label("six");
    p.put(op::LD_B_ABS, 6);
    wanted(p, plan, "tcp6", queries.then_some("query6"));
    for extension in EXTENSIONS {
        p.is(extension, "accept");
    }
    p.put(op::RET, 0);
    if tcp_wanted(plan) {
        p.label("tcp6");
        p.put(op::LD_B_ABS, 40 + 13);
        tcp(p, purpose, op::LD_H_ABS, 4, |p| {
            p.put(op::ST, 0);
            p.put(op::LD_B_ABS, 40 + 12);
        });
    }
    if queries {
        p.label("query6");
        p.put(op::LD_H_ABS, 40 + 2);
        p.jump(op::JEQ, DOMAIN, To::Label("accept"), To::Label("drop"));
    }
}

fn tcp_wanted(plan: &Plan) -> bool {
    !plan.streams.is_empty() || plan.openings
}

/// The accumulator holds an IP protocol number.
fn wanted(p: &mut Program, plan: &Plan, tcp: &'static str, query: Option<&'static str>) {
    for number in &plan.ip_protocols {
        p.is(u32::from(*number), "accept");
    }
    if tcp_wanted(plan) {
        p.is(u32::from(TCP), tcp);
    }
    if !plan.datagrams.is_empty() {
        p.is(u32::from(UDP), "accept");
    } else if let Some(query) = query {
        p.is(u32::from(UDP), query);
    }
}

/// TCP that opens a connection or carries something. The accumulator holds the flags;
/// `length` loads the length of what stands in front of and with the segment, which is 0
/// above 64 KiB; `less` leaves the segment's own in M[0] and loads its data offset.
fn tcp(p: &mut Program, purpose: Purpose, length: u16, at: u32, less: impl Fn(&mut Program)) {
    if purpose == Purpose::Scout {
        p.put(op::AND, u32::from(flag::SYN | flag::ACK));
        p.is(u32::from(flag::SYN), "accept");
        p.put(op::RET, 0);
        return;
    }
    p.jump(op::JSET, u32::from(flag::SYN), To::Label("accept"), To::Next);
    p.put(length, at);
    p.is(0, "accept");
    less(p);
    p.put(op::RSH, 4);
    p.put(op::LSH, 2);
    p.put(op::TAX, 0);
    p.put(op::LD_MEM, 0);
    p.jump(op::JGT_X, 0, To::Label("accept"), To::Label("drop"));
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
