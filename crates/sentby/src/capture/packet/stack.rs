//! One packet on its way through several devices of one machine: a VLAN on a bond, a
//! bridge and its port. Each shows it; the first one counts.
//!
//! It is the same packet if its bytes are (IP header with its id, what is carried), and
//! another device shows it a moment later. What one device shows twice was sent twice.

use crate::enrich::Lru;
use std::hash::{DefaultHasher, Hash, Hasher};
use wire::Packet;
use wire::transport::{TCP, UDP};

/// Packets that are remembered.
const RECENT_MAX: usize = 4096;

/// How long one packet may take from device to device, in nanoseconds: a queue may stand
/// between them.
const WINDOW: u64 = 20_000_000;

/// Bytes of a packet that are compared.
const COMPARED: usize = 512;

/// Where a packet was seen last.
#[derive(Clone, Copy, Debug)]
struct Seen {
    time: u64,
    ifindex: u32,
}

/// Packets that were seen a moment ago.
pub struct Recent {
    seen: Lru<u64, Seen>,
}

impl Recent {
    /// None yet.
    pub fn new() -> Recent {
        Recent { seen: Lru::new(RECENT_MAX) }
    }

    /// Whether another device has shown this packet just before.
    pub fn again(&mut self, bytes: &[u8], packet: &Packet<'_>, ifindex: u32, time: u64) -> bool {
        let hash = fingerprint(bytes, packet);
        let now = Seen { time, ifindex };
        if let Some(seen) = self.seen.get_mut(&hash) {
            let again = seen.ifindex != ifindex && time.abs_diff(seen.time) < WINDOW;
            // From there on it may go down one device more.
            *seen = now;
            return again;
        }
        self.seen.insert(hash, now);
        false
    }
}

/// What stays the same from device to device: all but checksums, which a device may be
/// left to fill in, and the hop limit.
fn fingerprint(bytes: &[u8], packet: &Packet<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let header = (packet.header_len as usize).min(bytes.len());
    (packet.src, packet.dst, packet.protocol, packet.ip_len).hash(&mut hasher);
    match packet.src.is_ipv4() {
        // Identification and flags; time to live and checksum follow.
        true => bytes.get(4..8).hash(&mut hasher),
        // Traffic class and flow label.
        false => bytes.get(..4).hash(&mut hasher),
    }
    let carried = &bytes[header..bytes.len().min(header + COMPARED)];
    let checksum = match packet.protocol {
        TCP => 16,
        UDP => 6,
        _ => 2,
    };
    carried.get(..checksum).hash(&mut hasher);
    carried.get(checksum + 2..).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Layer;

    fn echo(id: u8, seq: u8, checksum: u8) -> Vec<u8> {
        let head = [0x45, 0, 0, 28, 0, id, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        [&head[..], &[8, 0, checksum, 0, 0, 7, 0, seq]].concat()
    }

    #[test]
    fn a_packet_on_its_way_down_is_one() {
        // Bytes, device, microseconds; whether it was seen.
        let steps = [
            (echo(1, 1, 0), 5, 0, false),
            (echo(1, 1, 9), 4, 10, true),
            (echo(1, 1, 9), 3, 20, true),
            (echo(1, 2, 0), 5, 30, false),
            (echo(2, 1, 0), 4, 40, false),
            (echo(9, 9, 0), 5, 50, false),
            (echo(9, 9, 0), 5, 60, false),
            (echo(9, 9, 0), 4, 50_000, false),
        ];
        let mut recent = Recent::new();
        for (n, (bytes, device, us, seen)) in steps.into_iter().enumerate() {
            let packet = wire::packet::parse(Layer::Ip, &bytes).unwrap();
            assert_eq!(recent.again(&bytes, &packet, device, us * 1000), seen, "step {n}");
        }
        for n in 0..2 * RECENT_MAX {
            let bytes = echo((n >> 8) as u8, n as u8, 0);
            let packet = wire::packet::parse(Layer::Ip, &bytes).unwrap();
            recent.again(&bytes, &packet, 1, 0);
        }
        assert!(recent.seen.len() <= RECENT_MAX);
    }
}
