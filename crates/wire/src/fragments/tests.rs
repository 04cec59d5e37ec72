use super::*;
use crate::packet::{Layer, parse};

/// A fragment of an IPv4 packet from 192.0.2.1.
fn v4(id: u16, offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let place = ((offset / 8) as u16 | if more { 0x2000 } else { 0 }).to_be_bytes();
    let len = (20 + payload.len() as u16).to_be_bytes();
    let id = id.to_be_bytes();
    let head = [0x45, 0, len[0], len[1], id[0], id[1], place[0], place[1], 64, 1, 0, 0];
    [&head[..], &[192, 0, 2, 1, 192, 0, 2, 2], payload].concat()
}

/// A fragment of an IPv6 packet behind a hop-by-hop header.
fn v6(offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
    let len = (8 + 8 + payload.len() as u16).to_be_bytes();
    let place = (offset as u16 | u16::from(more)).to_be_bytes();
    let addresses = [[0x20; 16], [0x21; 16]].concat();
    let hop = [44, 0, 1, 4, 0, 0, 0, 0];
    let own = [58, 0, place[0], place[1], 0, 0, 0, 7];
    [&[0x60, 0, 0, 0, len[0], len[1], 0, 64], &addresses[..], &hop, &own, payload].concat()
}

fn add(fragments: &mut Fragments, bytes: &[u8], out: &mut Vec<u8>) -> Taken {
    fragments.add(&fragment(bytes).expect("a fragment"), 1, out)
}

const DATA: &[u8] = b"0123456789abcdefghijklmnopqrstuv";

fn put_together(pieces: &[Vec<u8>]) -> (Vec<Taken>, Vec<u8>) {
    let (mut fragments, mut out) = (Fragments::new(), Vec::new());
    let taken = pieces.iter().map(|p| add(&mut fragments, p, &mut out)).collect();
    (taken, out)
}

#[test]
fn in_any_order_they_become_the_packet() {
    let four =
        [v4(1, 0, true, &DATA[..8]), v4(1, 8, true, &DATA[8..24]), v4(1, 24, false, &DATA[24..])];
    let six = [v6(0, true, &DATA[..8]), v6(8, true, &DATA[8..24]), v6(24, false, &DATA[24..])];
    for pieces in [four, six] {
        for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0], [0, 2, 1], [2, 0, 1]] {
            let (taken, out) = put_together(&order.map(|i| pieces[i].clone()));
            assert_eq!(taken, [Taken::Waits, Taken::Waits, Taken::Whole], "{order:?}");
            let packet = parse(Layer::Ip, &out).expect("a packet");
            assert_eq!(packet.payload, DATA);
            assert!(!packet.more_fragments && !packet.truncated);
            assert_eq!(packet.ip_len, Some(out.len() as u32));
            assert!(fragment(&out).is_none());
        }
    }
}

#[test]
fn a_repeated_fragment_changes_nothing_and_a_changed_one_ends_it() {
    let first = v4(1, 0, true, &DATA[..16]);
    let (taken, out) = put_together(&[first.clone(), first.clone(), v4(1, 16, false, b"x")]);
    assert_eq!((taken[2], out.len()), (Taken::Whole, 37));
    for other in [
        v4(1, 0, true, &DATA[8..24]),
        v4(1, 8, true, &DATA[8..24]),
        v4(1, 8, false, b"y"),
        v4(1, 65_528, false, &DATA[..8]),
    ] {
        let (taken, out) = put_together(&[first.clone(), other]);
        assert_eq!((taken[1], out.len()), (Taken::GivenUp, 0));
    }
}

#[test]
fn packets_do_not_mix() {
    let (taken, _) = put_together(&[v4(1, 0, true, &DATA[..8]), v4(2, 8, false, &DATA[8..])]);
    assert_eq!(taken, [Taken::Waits, Taken::Waits]);
}

#[test]
fn what_stays_incomplete_is_shown_from_its_beginning() {
    let (mut fragments, mut out) = (Fragments::new(), Vec::new());
    add(&mut fragments, &v4(1, 0, true, &DATA[..8]), &mut out);
    add(&mut fragments, &v4(2, 8, true, &DATA[8..16]), &mut out);
    add(&mut fragments, &v6(0, true, &DATA[..16]), &mut out);
    assert!(fragments.give_up(Some(PATIENCE), &mut out).is_none());
    assert!(fragments.give_up(Some(PATIENCE + 2), &mut out).is_some());
    let packet = parse(Layer::Ip, &out).expect("a packet");
    assert_eq!((packet.payload, packet.more_fragments), (&DATA[..8], true));
    out.clear();
    assert!(fragments.give_up(None, &mut out).is_some());
    assert!(out.is_empty(), "its beginning never came");
    assert!(fragments.give_up(None, &mut out).is_some());
    let packet = parse(Layer::Ip, &out).expect("a packet");
    assert_eq!((packet.payload, packet.more_fragments), (&DATA[..16], true));
    assert!(fragments.give_up(None, &mut out).is_none());
}

#[test]
fn too_many_make_room() {
    let (mut fragments, mut out) = (Fragments::new(), Vec::new());
    for id in 0..=MAX_WAITING as u16 {
        add(&mut fragments, &v4(id, 0, true, &DATA[..8]), &mut out);
    }
    assert!(fragments.give_up(Some(1), &mut out).is_some(), "one too many");
    assert!(fragments.give_up(Some(1), &mut out).is_none());
    let pieces = (0..=MAX_PIECES).map(|n| v4(1, 16 * n, true, &DATA[..8]));
    let (taken, _) = put_together(&pieces.collect::<Vec<_>>());
    assert_eq!(taken.last(), Some(&Taken::GivenUp));
}

#[test]
fn whole_packets_are_no_fragments() {
    assert!(fragment(&v4(1, 0, false, DATA)).is_none());
    assert!(fragment(&v6(0, false, DATA)).is_none());
    let bytes = v6(8, true, DATA);
    for len in 0..56 {
        assert!(fragment(&bytes[..len]).is_none(), "{len} bytes");
    }
}
