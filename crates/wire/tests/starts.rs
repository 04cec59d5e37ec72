//! What protocols claim begins as they say it does: a kernel that looks for that passes
//! on all that their decoders would tell.

mod common;

use common::{Input, Vector, vectors};
use wire::packet::parse;
use wire::start::{Start, Table};
use wire::{PROTOCOLS, Protocol, transport};

#[test]
fn what_is_claimed_is_not_rejected() {
    let (mut streams, mut datagrams) = (0, 0);
    for vector in vectors() {
        for protocol in PROTOCOLS {
            if vector.request(*protocol).is_none() {
                continue;
            }
            let interest = protocol.interest(vector.switches(*protocol));
            match vector.input_of(&vector.bytes) {
                Input::Stream(bytes) => {
                    check(&vector, *protocol, interest.stream, bytes);
                    streams += 1;
                }
                Input::Packet(layer, bytes) => {
                    let packet = parse(layer, bytes).expect("a claimed packet");
                    let Some(datagram) = transport::udp(&packet) else { continue };
                    check(&vector, *protocol, interest.datagram, datagram.payload);
                    datagrams += 1;
                }
            }
        }
    }
    assert!(streams > 0 && datagrams > 0, "{streams} streams, {datagrams} datagrams");
}

fn check(vector: &Vector, protocol: &'static dyn Protocol, starts: &[Start], bytes: &[u8]) {
    let table = Table::compile(starts).expect("a table");
    let state = table.run(table.start(), bytes);
    assert!(!table.rejects(state), "{}: {protocol:?} does not look for it", vector.name);
}
