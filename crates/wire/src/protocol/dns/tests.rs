use super::*;
use std::net::{IpAddr, Ipv4Addr};

/// A query for `example`.
const QUERY: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";

static DNS_PROTOCOL: Dns = Dns;

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

fn progress(bytes: &[u8], ended: bool) -> Progress<'_> {
    DNS_PROTOCOL.decode_stream(&Stream { bytes, ended, on: Switches::OFF })
}

/// What is told of a message in a datagram to a port.
fn told(message: &[u8], dport: u16, cut: bool) -> Option<Request<'static>> {
    let mut udp = [40_000_u16.to_be_bytes(), dport.to_be_bytes()].concat();
    udp.extend((message.len() as u16 + 8).to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(message);
    let payload: &'static [u8] = udp.leak();
    let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let packet = Packet {
        src: address,
        dst: address,
        protocol: transport::UDP,
        ttl: 64,
        payload: &payload[..payload.len() - usize::from(cut)],
        header_len: 20,
        ip_len: Some(20 + payload.len() as u32),
        more_fragments: false,
        truncated: cut,
    };
    DNS_PROTOCOL.decode(&packet, Switches::OFF)
}

#[test]
fn streams_wait_for_the_whole_message_and_no_longer() {
    let bytes = framed(QUERY);
    for len in 0..bytes.len() {
        let part = progress(&bytes[..len], false);
        assert!(matches!(part, Progress::More), "{len} bytes: {part:?}");
    }
    let more = [&bytes[..], b"x"].concat();
    for bytes in [&bytes, &more] {
        let Progress::Done(request, next) = progress(bytes, false) else { panic!("no request") };
        assert_eq!(request.text("name"), Some(&b"example"[..]));
        assert_eq!(next, Next::At(2 + QUERY.len() as u64));
    }
}

#[test]
fn streams_of_something_else_are_given_up_early() {
    let bad = |at: usize, byte: u8| {
        let mut bytes = framed(QUERY);
        bytes[at] = byte;
        bytes.truncate(at + 1);
        bytes
    };
    for (what, bytes) in [
        ("a message too short", bad(1, 16)),
        ("a response", bad(4, 0x80)),
        ("an outcome", bad(5, 3)),
        ("many questions", bad(6, 1)),
        ("no name", bad(14, 0xc0)),
        ("no label", bad(22, 0x40)),
        ("no class", bad(26, 2)),
    ] {
        assert!(matches!(progress(&bytes, false), Progress::No), "{what}");
    }
    // More of the message than its questions, and nothing announced to fill it.
    let mut bytes = framed(QUERY);
    bytes[1] += 1;
    assert!(matches!(progress(&bytes, false), Progress::No));
}

#[test]
fn streams_that_end_before_the_question_does_are_nothing() {
    let bytes = framed(QUERY);
    for len in 0..bytes.len() {
        assert!(matches!(progress(&bytes[..len], true), Progress::No), "{len} bytes");
    }
}

/// The most questions that a message has, all for one long name: the list is bounded.
#[test]
fn questions_have_a_limit() {
    let message = |count: u8| {
        let mut bytes = vec![0, 0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0];
        bytes.extend([&[60][..], &[0xff; 60], &[0, 0, 1, 0, 1]].concat());
        bytes.extend([0xc0, 12, 0, 1, 0, 1].repeat(usize::from(count) - 1));
        bytes
    };
    let request = told(&message(starts::MAX_QUESTIONS), 5353, false).expect("a request");
    let Some(Value::List(names)) = request.get("names") else { panic!("no names") };
    assert_eq!(names.len(), 64);
    assert!(names.iter().all(|name| name.len() == 240));
    assert!(told(&message(starts::MAX_QUESTIONS + 1), 5353, false).is_none());
}

/// A cut record that has no room in what was sent cannot be one.
#[test]
fn a_cut_message_has_room_for_what_it_announces() {
    let message = |records: u8, data: &[u8]| {
        let mut bytes = QUERY.to_vec();
        bytes[11] = records;
        bytes.extend(data);
        bytes
    };
    let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
    assert!(told(&message(1, opt), 5399, true).is_some());
    assert!(told(&message(2, opt), 5399, true).is_none());
    assert!(told(&message(1, &opt[..10]), 5399, true).is_none());
    // Data that ends beyond what was sent.
    let mut long = opt.to_vec();
    long[10] = 2;
    long.push(0);
    assert!(told(&message(1, &long), 5399, true).is_none());
}

/// Names of other services' messages mean something else.
#[test]
fn netbios_has_a_port_of_its_own() {
    assert!(told(QUERY, 5399, false).is_some());
    assert!(told(QUERY, NETBIOS_NS, false).is_none());
}

/// Nothing but a whole, exact message is claimed where anything may be spoken.
#[test]
fn no_byte_of_a_query_may_be_missing_or_more() {
    for len in 0..QUERY.len() {
        assert!(told(&QUERY[..len], 5399, false).is_none(), "{len} bytes");
    }
    assert!(told(&[QUERY, b"\0"].concat(), 5399, false).is_none());
}

/// What a kernel that looks for these starts would not pass on is not told either.
#[test]
fn starts_are_those_of_the_interest() {
    let interest = Dns.interest(Switches::OFF);
    assert!(starts::fit(interest.datagram, QUERY));
    assert!(starts::fit(interest.stream, &framed(QUERY)));
    let mut response = QUERY.to_vec();
    response[2] = 0x81;
    assert!(!starts::fit(interest.datagram, &response));
    assert!(!starts::fit(interest.stream, &framed(&response)));
    let wanted = Dns.interest(Switches::OFF.with(RESPONSES));
    assert!(starts::fit(wanted.datagram, &response) && starts::fit(wanted.datagram, QUERY));
    assert!(starts::fit(wanted.stream, &framed(&response)));
}

/// One question of two, or the first record without one, could be anything.
#[test]
fn a_cut_message_is_certain_by_all_of_its_questions() {
    let two = [b"\0\x01\x01\0\0\x02", &QUERY[6..], &QUERY[12..]].concat();
    assert!(told(&two, 5399, false).is_some());
    assert!(told(&two, 5399, true).is_none());
    assert!(matches!(progress(&framed(&two)[..30], true), Progress::No));

    let record = b"\x01a\0\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x09";
    let bytes = framed(&[b"\0\x01\x84\0\0\0\0\x01\0\0\0\0", &record[..]].concat());
    let on = Switches::OFF.with(RESPONSES);
    let progress = |bytes, ended| DNS_PROTOCOL.decode_stream(&Stream { bytes, ended, on });
    assert!(matches!(progress(&bytes, true), Progress::Done(..)));
    let cut = &bytes[..bytes.len() - 1];
    assert!(matches!(progress(cut, false), Progress::More));
    assert!(matches!(progress(cut, true), Progress::No));
}
