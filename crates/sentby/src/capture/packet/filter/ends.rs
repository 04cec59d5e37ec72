//! Addresses and ports that a plan asks for, as instructions. Each part jumps away where a
//! packet is unwanted, and goes on behind itself where it is wanted.
//!
//! Lists that are longer than [`LIST_MAX`] are not lowered: user space decides.

use super::program::{Program, To, op};
use crate::plan::{Nets, Plan, Ports};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::ops::RangeInclusive;

/// Networks or ports of one list that are lowered: a test of an IPv6 network takes up to
/// eight instructions, and conditional jumps reach 255.
pub const LIST_MAX: usize = 16;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Four,
    Six,
}

impl Family {
    /// Where the source and the destination address stand.
    fn addresses(self) -> (u32, u32) {
        match self {
            Family::Four => (12, 16),
            Family::Six => (8, 24),
        }
    }
}

/// Tests the addresses of a packet.
pub fn addresses(p: &mut Program, plan: &Plan, family: Family, unwanted: To) {
    let (src, dst) = family.addresses();
    nets(p, &plan.src, family, src, unwanted);
    nets(p, &plan.dst, family, dst, unwanted);
    if lowered(&plan.either) {
        let wanted = p.mark();
        for at in [src, dst] {
            plan.either.iter().for_each(|net| one(p, net, family, at, wanted));
        }
        p.go(unwanted);
        p.place(wanted);
    }
}

/// Whether a list says anything here.
fn lowered<T>(list: &[T]) -> bool {
    (1..=LIST_MAX).contains(&list.len())
}

fn nets(p: &mut Program, nets: &Nets, family: Family, at: u32, unwanted: To) {
    if lowered(&nets.exclude) {
        let (found, passes) = (p.mark(), p.mark());
        nets.exclude.iter().for_each(|net| one(p, net, family, at, found));
        p.go(passes);
        p.place(found);
        p.go(unwanted);
        p.place(passes);
    }
    if lowered(&nets.include) {
        let wanted = p.mark();
        nets.include.iter().for_each(|net| one(p, net, family, at, wanted));
        p.go(unwanted);
        p.place(wanted);
    }
}

/// Jumps there if the address at this place is in the network.
fn one(p: &mut Program, net: &IpNet, family: Family, at: u32, there: To) {
    match (net, family) {
        (IpNet::V4(net), Family::Four) => words(p, &four(net), at, there),
        (IpNet::V6(net), Family::Six) => words(p, &six(net), at, there),
        _ => {}
    }
}

fn four(net: &Ipv4Net) -> [(u32, u32); 1] {
    [(u32::from(net.network()), u32::from(net.netmask()))]
}

fn six(net: &Ipv6Net) -> [(u32, u32); 4] {
    let word = |bits: u128, n: u32| (bits >> (96 - 32 * n)) as u32;
    let (network, mask) = (u128::from(net.network()), u128::from(net.netmask()));
    [0, 1, 2, 3].map(|n| (word(network, n), word(mask, n)))
}

/// Jumps there if each word is this under this mask.
fn words(p: &mut Program, words: &[(u32, u32)], at: u32, there: To) {
    let other = p.mark();
    for (n, (value, mask)) in (0u32..).zip(words).filter(|(_, (_, mask))| *mask != 0) {
        p.put(op::LD_W_ABS, at + 4 * n);
        if *mask != u32::MAX {
            p.put(op::AND, *mask);
        }
        p.jump(op::JEQ, *value, To::Next, other);
    }
    p.go(there);
    p.place(other);
}

/// Tests the ports of a packet whose transport header begins at 40 (IPv6), or where X
/// says (IPv4).
pub fn ports(p: &mut Program, ports: &Ports, family: Family, unwanted: To) {
    const SRC: u32 = 0;
    const DST: u32 = 2;
    for (list, sides) in
        [(&ports.src, &[SRC][..]), (&ports.dst, &[DST]), (&ports.either, &[SRC, DST])]
    {
        if !lowered(list) {
            continue;
        }
        let wanted = p.mark();
        for side in sides {
            match family {
                Family::Four => p.put(op::LD_H_IND, *side),
                Family::Six => p.put(op::LD_H_ABS, 40 + side),
            }
            list.iter().for_each(|range| within(p, range, wanted));
        }
        p.go(unwanted);
        p.place(wanted);
    }
}

/// Jumps there if the accumulator is in the range.
fn within(p: &mut Program, range: &RangeInclusive<u16>, there: To) {
    let (low, high) = (u32::from(*range.start()), u32::from(*range.end()));
    if low == high {
        return p.jump(op::JEQ, low, there, To::Next);
    }
    let other = p.mark();
    p.jump(op::JGE, low, To::Next, other);
    p.jump(op::JGT, high, other, there);
    p.place(other);
}
