//! The plan in the kernel's terms: `struct sentby_plan`.
//!
//! What does not fit into the fixed lists is not lowered at all: letting everything
//! through is right, dropping a part would not be.

use super::hooks::{self, Choice};
use super::skeleton::types;
use super::softirq::Signal;
use crate::host::Host;
use crate::plan::{AnyOf, Nets, Plan};
use ipnet::IpNet;

/// Records queued before user space is woken, in bytes.
const WAKEUP_BYTES: u32 = 64 * 1024;
const _: () = assert!(WAKEUP_BYTES.is_power_of_two());

/// Lowers a plan. `ring`: this kernel has the BPF ring buffer.
pub fn lower(
    plan: &Plan,
    host: &Host,
    choice: &Choice,
    signal: Signal,
    ring: bool,
) -> types::sentby_plan {
    let mut to = types::sentby_plan {
        per_cpu_offset: signal.per_cpu_offset,
        preempt_count: signal.preempt_count,
        runqueue_distance: signal.runqueue_distance,
        signal: signal.kind.0,
        ring: u32::from(ring),
        wakeup_bytes: WAKEUP_BYTES,
        pidns: host.pidns.unwrap_or(0),
        children: u32::from(follows_children(plan, host)),
        streams: u32::from(!plan.streams.is_empty()),
        datagrams: u32::from(!plan.datagrams.is_empty()),
        openings: u32::from(plan.openings),
        names: u32::from(plan.names),
        tids: list(&plan.tids),
        uids: list(&plan.uids),
        netns: list(&plan.netns),
        comms: names(&plan.comms),
        ifaces: names(&plan.ifaces),
        src: nets(&plan.src),
        dst: nets(&plan.dst),
        either: nets(&Nets { include: plan.either.clone(), exclude: Vec::new() }),
        ..types::sentby_plan::default()
    };
    // Descendants are known to the kernel only, so pids alone would let too little through.
    if !plan.children {
        to.pids = list(&plan.pids);
    }
    for &protocol in &plan.ip_protocols {
        to.ip_protocols[usize::from(protocol >> 6)] |= 1 << (protocol & 63);
    }
    for (name, senders) in &choice.hooks {
        if let Some(hook) = hooks::by_name(name) {
            to.roles[hook.id.0 as usize] =
                senders.iter().fold(0, |roles, s| roles | hooks::role(*s));
        }
    }
    to
}

/// Whether the kernel follows descendants: its table is keyed by global pids, so only
/// where ours are global too. Elsewhere user space goes by ancestry.
pub fn follows_children(plan: &Plan, host: &Host) -> bool {
    plan.children && !plan.pids.0.is_empty() && host.pidns.is_none()
}

fn list(values: &AnyOf<u32>) -> types::sentby_list {
    let mut to = types::sentby_list::default();
    if values.0.len() <= to.value.len() {
        to.count = values.0.len() as u32;
        to.value[..values.0.len()].copy_from_slice(&values.0);
    }
    to
}

fn names(values: &AnyOf<Vec<u8>>) -> types::sentby_names {
    let mut to = types::sentby_names::default();
    let fit = |name: &Vec<u8>| name.len() < to.value[0].len();
    if values.0.len() > to.value.len() || !values.0.iter().all(fit) {
        return to;
    }
    to.count = values.0.len() as u32;
    for (slot, name) in to.value.iter_mut().zip(&values.0) {
        for (c, byte) in slot.iter_mut().zip(name) {
            *c = *byte as _;
        }
    }
    to
}

fn nets(nets: &Nets) -> types::sentby_nets {
    let mut to = types::sentby_nets::default();
    if nets.include.len() <= to.include.len() {
        to.includes = nets.include.len() as u32;
        for (slot, n) in to.include.iter_mut().zip(&nets.include) {
            *slot = net(n);
        }
    }
    if nets.exclude.len() <= to.exclude.len() {
        to.excludes = nets.exclude.len() as u32;
        for (slot, n) in to.exclude.iter_mut().zip(&nets.exclude) {
            *slot = net(n);
        }
    }
    to
}

fn net(net: &IpNet) -> types::sentby_net {
    let mut to = types::sentby_net::default();
    match net.trunc() {
        IpNet::V4(n) => {
            to.family = 4;
            to.addr[0] = u32::from_ne_bytes(n.network().octets());
            to.mask[0] = u32::from_ne_bytes(n.netmask().octets());
        }
        IpNet::V6(n) => {
            to.family = 6;
            to.addr = words(n.network().octets());
            to.mask = words(n.netmask().octets());
        }
    }
    to
}

fn words(octets: [u8; 16]) -> [u32; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(octets.as_chunks::<4>().0) {
        *word = u32::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_in_network_order() {
        let four = net(&"192.0.2.77/24".parse().unwrap());
        assert_eq!(four.addr[0].to_ne_bytes(), [192, 0, 2, 0]);
        assert_eq!(four.mask[0].to_ne_bytes(), [255, 255, 255, 0]);
        let six = net(&"2001:db8::/32".parse().unwrap());
        assert_eq!(six.addr[0].to_ne_bytes(), [0x20, 1, 0xd, 0xb8]);
        assert_eq!((six.mask[0], six.mask[1]), (u32::MAX, 0));
    }

    #[test]
    fn what_does_not_fit_is_not_lowered() {
        assert_eq!(list(&AnyOf((0..17).collect())).count, 0);
        assert_eq!(list(&AnyOf((0..16).collect())).count, 16);
        assert_eq!(names(&AnyOf(vec![b"ping".to_vec(), vec![b'x'; 16]])).count, 0);
        assert_eq!(names(&AnyOf(vec![vec![b'x'; 15]])).count, 1);
    }
}
