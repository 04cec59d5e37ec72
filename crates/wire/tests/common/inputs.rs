//! How each fuzz target reads its input: shared with the test that replays the corpus.
#![allow(dead_code)] // a fuzz target uses its own function alone

use super::invariants;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use wire::{Layer, Packet};

/// A fuzz target: checks one input, panics on a finding.
pub type Target = fn(&[u8]);

/// Every target and the folder of its corpus.
pub const TARGETS: &[(&str, Target)] = &[
    ("packet", packet),
    ("icmp", icmp),
    ("stream", stream),
    ("answers", answers),
    ("capture_file", capture_file),
];

/// A byte that chooses the layer, then a captured packet.
pub fn packet(input: &[u8]) {
    let Some((choice, bytes)) = input.split_first() else { return };
    let layer = if choice & 1 == 0 { Layer::Ip } else { Layer::Ethernet };
    invariants::check_bytes(layer, bytes);
}

/// What a process sent over a stream, and again cut anywhere.
pub fn stream(input: &[u8]) {
    invariants::check_stream(input);
}

/// A capture file, of any format.
pub fn capture_file(input: &[u8]) {
    super::captures::check_file(input);
}

/// A DNS response.
pub fn answers(input: &[u8]) {
    invariants::check_answers(input);
}

/// A byte that chooses the headers before it, then an ICMP or ICMPv6 message.
pub fn icmp(input: &[u8]) {
    let Some((choice, payload)) = input.split_first() else { return };
    let bit = |n: u8| choice >> n & 1 != 0;
    let address =
        if bit(1) { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) };
    invariants::check_requests(&Packet {
        src: address,
        dst: address,
        protocol: if bit(0) { 58 } else { 1 },
        ttl: 64,
        payload,
        header_len: if bit(1) { 40 } else { 20 },
        ip_len: bit(2).then_some(0xffff),
        more_fragments: bit(3),
        truncated: bit(4),
    });
}
