//! What holds for every capture file, however broken.

use super::invariants;
use wire::capture_file::{Fault, MAX_BLOCK, Reader, Record, Step};
use wire::fragments::{Fragments, Taken, fragment};
use wire::packet::{Layer, parse};
use wire::tunnel::{self, MAX_TUNNELS};

/// Reads a file at once and again byte by byte, which must come to the same, and all
/// that is in its packets.
pub fn check_file(bytes: &[u8]) {
    let (whole, fault) = read(bytes, usize::MAX);
    assert_eq!(read(bytes, 1), (whole.clone(), fault), "in pieces it reads otherwise");
    let mut fragments = Fragments::new();
    for record in &whole {
        let (all, own) = (bytes.as_ptr_range(), record.bytes.as_ptr_range());
        assert!(all.start <= own.start && own.end <= all.end, "a packet outside the file");
        for (_, value) in record.options {
            let own = value.as_ptr_range();
            assert!(all.start <= own.start && own.end <= all.end, "an option outside the file");
        }
        let _ = (record.options.process_and_thread(), record.options.inbound());
        if let Some(ip) = wire::link::ip(record.link, record.bytes) {
            check_packet(ip, &mut fragments, record.time.unwrap_or(0), MAX_TUNNELS);
        }
    }
    let mut out = Vec::new();
    while fragments.give_up(None, &mut out).is_some() {
        if let Some(packet) = parse(Layer::Ip, &out) {
            invariants::check_packet(&packet, &out);
        }
        out.clear();
    }
}

/// The packets of a file of which at first `step` bytes more are there each time.
fn read(bytes: &[u8], step: usize) -> (Vec<Record<'_>>, Option<Fault>) {
    let (mut reader, mut at, mut records) = (Reader::new(), 0_usize, Vec::new());
    let mut end = 0_usize;
    loop {
        end = end.saturating_add(step).min(bytes.len());
        loop {
            match reader.step(&bytes[at..end]) {
                Err(fault) => return (records, Some(fault)),
                Ok(Step::More(n)) => {
                    assert!(n > end - at, "it asks for what is there");
                    assert!(n <= MAX_BLOCK + 16, "it asks for {n} bytes");
                    if end == bytes.len() {
                        return (records, None);
                    }
                    break;
                }
                Ok(Step::Record(record, used)) => {
                    records.push(record);
                    at += used;
                }
                Ok(Step::Other(used) | Step::Bad(_, used)) => {
                    assert!(used > 0, "it does not move");
                    at += used;
                }
            }
            assert!(at <= end, "it takes more than is there");
        }
    }
}

fn check_packet(ip: &[u8], fragments: &mut Fragments, now: u64, tunnels: usize) {
    if let Some(fragment) = fragment(ip) {
        let mut out = Vec::new();
        if fragments.add(&fragment, now, &mut out) == Taken::Whole {
            // What is put together is no fragment of the same again, but may hold another.
            check_inside(&out, fragments, now, tunnels);
        }
        fragments.give_up(Some(now), &mut out);
        return;
    }
    check_inside(ip, fragments, now, tunnels);
}

fn check_inside(ip: &[u8], fragments: &mut Fragments, now: u64, tunnels: usize) {
    invariants::check_bytes(Layer::Ip, ip);
    if let Some(packet) = parse(Layer::Ip, ip)
        && let Some(inner) = tunnel::inside(&packet)
    {
        assert!(inner.len() < ip.len(), "what is inside is no smaller");
        if tunnels > 0 {
            check_packet(inner, fragments, now, tunnels - 1);
        }
    }
}
