//! What the user asked for, lowered once at start for backends to drop early.
//!
//! A plan may let too much through, never too little: the filter in user space
//! decides. So a backend may ignore any part of it, and drops only by what it knows
//! and will report: a packet whose sender, interface or namespace it cannot tell
//! passes, because enrichment may find the wanted value yet. Names longer than a comm
//! are cut here to what the kernel keeps of them.

use ipnet::IpNet;
use std::ops::RangeInclusive;
use wire::start::Start;

/// Which senders are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Senders {
    /// Packets that the kernel sends for itself.
    pub kernel: bool,
    /// Packets that only pass through.
    pub forwarded: bool,
}

/// Addresses to keep: any of `include` (all if empty) and none of `exclude`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nets {
    /// Wanted networks.
    pub include: Vec<IpNet>,
    /// Unwanted networks.
    pub exclude: Vec<IpNet>,
}

/// Exact values to keep; empty keeps all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnyOf<T>(pub Vec<T>);

impl<T> Default for AnyOf<T> {
    fn default() -> Self {
        AnyOf(Vec::new())
    }
}

/// Ports of TCP and UDP to keep, by side: all where a list is empty. What has no ports
/// passes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// Wanted source ports.
    pub src: Vec<RangeInclusive<u16>>,
    /// Wanted destination ports.
    pub dst: Vec<RangeInclusive<u16>>,
    /// Ports one of which is wanted, source or destination.
    pub either: Vec<RangeInclusive<u16>>,
}

impl Plan {
    /// Whether requests inside of TCP or UDP are wanted.
    pub fn wants_payload(&self) -> bool {
        !self.streams.is_empty() || !self.datagrams.is_empty() || self.openings
    }
}

/// The plan a backend gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// IP protocol numbers to capture.
    pub ip_protocols: Vec<u8>,
    /// How what is sent over TCP begins, where it is wanted.
    pub streams: Vec<Start>,
    /// How the payload of UDP packets begins, where it is wanted.
    pub datagrams: Vec<Start>,
    /// Whether TCP connections are wanted as they are opened, and how that ends.
    pub openings: bool,
    /// Whether answers to DNS queries are wanted, for the names of destinations; no
    /// filter asks for them.
    pub names: bool,
    /// Which senders are wanted beside processes.
    pub senders: Senders,
    /// Process ids; with `children`, their descendants too.
    pub pids: AnyOf<u32>,
    /// Follow descendants of `pids`.
    pub children: bool,
    /// Thread ids.
    pub tids: AnyOf<u32>,
    /// Real user ids.
    pub uids: AnyOf<u32>,
    /// Exact comms, at most 15 bytes each.
    pub comms: AnyOf<Vec<u8>>,
    /// Exact interface names.
    pub ifaces: AnyOf<Vec<u8>>,
    /// Network namespace inodes.
    pub netns: AnyOf<u32>,
    /// Source addresses.
    pub src: Nets,
    /// Destination addresses.
    pub dst: Nets,
    /// Networks that one of them is in, source or destination; all if empty.
    pub either: Vec<IpNet>,
    /// Ports.
    pub ports: Ports,
}
