//! ClientHellos of real clients: fingerprints, and which library they look like; cut into
//! records and sends in every way.

mod common;

use common::invariants::check_stream;
use wire::protocol::by_name;
use wire::{Fault, Layer, Next, Progress, Protocol, Request, Stream, Switches};

/// A line of `clients/hellos.tsv`: see its head.
struct Kept {
    what: &'static str,
    /// client, client_version, client_rule, client_sure, ja3, ja4: empty where absent.
    told: [&'static str; 6],
    bytes: Vec<u8>,
}

const TOLD: [&str; 6] = ["client", "client_version", "client_rule", "client_sure", "ja3", "ja4"];

fn kept() -> Vec<Kept> {
    let lines = include_str!("clients/hellos.tsv").lines().filter(|line| !line.starts_with('#'));
    lines.map(parse).collect()
}

fn parse(line: &'static str) -> Kept {
    let cells: Vec<&str> = line.split('\t').collect();
    let [what, told @ .., hex] = &cells[..] else { panic!("too few cells: {line}") };
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    Kept {
        what,
        told: told.try_into().expect("six cells"),
        bytes: (0..hex.len()).step_by(2).map(byte).collect(),
    }
}

fn tls() -> &'static dyn Protocol {
    by_name("tls").expect("a protocol")
}

fn stream(bytes: &[u8], ended: bool) -> Progress<'_> {
    tls().decode_stream(&Stream { bytes, ended, on: Switches::OFF })
}

fn hello(bytes: &[u8], ended: bool) -> Request<'_> {
    match stream(bytes, ended) {
        Progress::Done(request, Next::Never) => request,
        other => panic!("{other:?}"),
    }
}

/// An IPv4 packet with a UDP datagram.
fn datagram(payload: &[u8]) -> Vec<u8> {
    let len = |len: usize| u16::try_from(len).expect("a short datagram").to_be_bytes();
    let [whole, udp] = [len(28 + payload.len()), len(8 + payload.len())];
    let ip = [0x45, 0, whole[0], whole[1], 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 2, 192, 0, 2, 7];
    let udp = [0x9c, 0xb8, 0x11, 0x51, udp[0], udp[1], 0, 0];
    [&ip[..], &udp, payload].concat()
}

fn show(request: &Request<'_>, field: &str) -> String {
    let text = request.text(field).map(|text| String::from_utf8_lossy(text).into_owned());
    text.or_else(|| request.name(field).map(str::to_owned)).unwrap_or_default()
}

fn is_dtls(bytes: &[u8]) -> bool {
    bytes[1] == 0xfe
}

#[test]
fn real_clients_look_like_what_they_are() {
    let mut go = 0;
    for kept in kept() {
        let packet = datagram(&kept.bytes);
        let request = if is_dtls(&kept.bytes) {
            let packet = wire::packet::parse(Layer::Ip, &packet).expect("a packet");
            tls().decode(&packet, Switches::OFF).expect("a hello")
        } else {
            hello(&kept.bytes, false)
        };
        assert_eq!(TOLD.map(|field| show(&request, field)), kept.told, "{}", kept.what);
        assert_eq!(request.faults, [], "{}", kept.what);
        go += usize::from(kept.told[0] == "go");
    }
    assert!(go >= 60, "only {go} hellos of Go were kept");
}

/// The version of the toolchain that sent a hello is in the range that is told.
#[test]
fn versions_of_go_are_within_what_is_told() {
    for kept in kept().iter().filter(|kept| kept.told[0] == "go") {
        let toolchain = kept.what.strip_prefix("go1.").and_then(|rest| rest.split('.').next());
        let minor = |version: &str| version.trim_start_matches("1.").parse::<u32>().expect("1.N");
        let sent = minor(toolchain.expect("goM.N.P"));
        let range = kept.told[1];
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (minor(first), minor(last)),
            None if range.ends_with('+') => (minor(range.trim_end_matches('+')), u32::MAX),
            None => (minor(range), minor(range)),
        };
        assert!((first..=last).contains(&sent), "{}: {range}", kept.what);
    }
}

/// The same hello in records of another size.
fn in_records(bytes: &[u8], size: usize) -> Vec<u8> {
    let record = |piece: &[u8]| {
        let len = u16::try_from(piece.len()).expect("a short record").to_be_bytes();
        [&[0x16, 3, 1], &len[..], piece].concat()
    };
    bytes[5..].chunks(size).flat_map(record).collect()
}

#[test]
fn records_of_any_size_make_the_same_hello() {
    for kept in kept().iter().filter(|kept| !is_dtls(&kept.bytes)) {
        let whole = hello(&kept.bytes, false);
        for size in [1, 2, 3, 5, 100, kept.bytes.len() - 6] {
            let bytes = in_records(&kept.bytes, size);
            let parts = hello(&bytes, false);
            let place = format!("{} in records of {size}", kept.what);
            assert!(parts.fields().eq(whole.fields()), "{place}");
            assert_eq!(parts.faults, [], "{place}");
        }
    }
}

/// What is missing may come with the next send; once it cannot, what is there is told.
#[test]
fn sends_are_waited_for_until_the_stream_ends() {
    let kept = kept().into_iter().find(|kept| kept.what.contains("http_name")).expect("a hello");
    for bytes in [kept.bytes.clone(), in_records(&kept.bytes, 7)] {
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            assert!(matches!(stream(cut, false), Progress::More), "{len} bytes");
            match stream(cut, true) {
                Progress::Done(request, _) => {
                    assert_eq!(request.faults, [Fault::Truncated], "{len} bytes");
                    for field in ["ja3", "ja4", "client"] {
                        assert!(request.get(field).is_none(), "{field} of {len} bytes");
                    }
                }
                Progress::No => assert!(len < 40, "{len} bytes say nothing"),
                Progress::More => panic!("waits for the end"),
            }
        }
        let early = hello(&bytes[..bytes.len() - 1], true);
        assert_eq!(show(&early, "sni"), "example.com");
    }
}

/// A hello may not be waited for without end, however long it says it is.
#[test]
fn no_more_than_the_limit_is_waited_for() {
    const LIMIT: usize = 64 * 1024;
    // What fits into the limit is in itself without a fault: one large extension.
    let head = [&[3, 3][..], &[0; 36], &[0xff, 0xd8, 0, 99, 0xff, 0xd4]].concat();
    let message = [&[1, 0xff, 0xff, 0xff], &head[..], &[0; LIMIT]].concat();
    let bytes = in_records(&[&[0; 5], &message[..]].concat(), 1 << 14);
    // Four records hold the limit but for the handshake header.
    let enough = LIMIT + 5 * 5 + 4;
    assert!(matches!(stream(&bytes[..enough - 1], false), Progress::More));
    let request = hello(&bytes[..enough], false);
    assert_eq!(request.faults, [Fault::BadLength]);
    assert_eq!(request.number("ciphers"), Some(0));
}

#[test]
fn what_only_begins_like_a_hello_is_none() {
    let kept = kept().into_iter().find(|kept| !is_dtls(&kept.bytes)).expect("a hello");
    let wrong: [(usize, u8, &str); 6] = [
        (0, 0x17, "another record"),
        (1, 4, "another version of records"),
        (2, 5, "a version of records that there is not"),
        (3, 0x50, "a record that is too long"),
        (5, 2, "a ServerHello"),
        (9, 1, "a version that there is not"),
    ];
    for (at, byte, what) in wrong {
        let mut bytes = kept.bytes.clone();
        bytes[at] = byte;
        for ended in [false, true] {
            assert!(matches!(stream(&bytes, ended), Progress::No), "{what}");
        }
    }
}

/// A hello that asks for a name and offers protocols, in records of the usual size.
fn asking(name: &[u8], protocols: &[&[u8]]) -> Vec<u8> {
    let vector = |bytes: &[u8]| {
        let len = u16::try_from(bytes.len()).expect("a short vector").to_be_bytes();
        [&len[..], bytes].concat()
    };
    let short = |bytes: &&[u8]| [&[u8::try_from(bytes.len()).expect("short")][..], bytes].concat();
    let names = vector(&[&[0][..], &vector(name)].concat());
    let offers = vector(&protocols.iter().flat_map(short).collect::<Vec<u8>>());
    let extensions = [&[0, 0][..], &vector(&names), &[0, 16], &vector(&offers)].concat();
    let head = [&[3, 3][..], &[0; 32], &[0], &vector(&[0x13, 1]), &[1, 0]].concat();
    let body = [head, vector(&extensions)].concat();
    let len = u32::try_from(body.len()).expect("a short hello").to_be_bytes();
    in_records(&[&[0; 5][..], &[1], &len[1..], &body].concat(), 1 << 14)
}

fn text(bytes: &[u8]) -> String {
    let mut line = String::new();
    let request = hello(bytes, false);
    request.protocol.describe(&request, &mut line).expect("writing to a string");
    line
}

/// Whatever a client asks for, and however much of it has to be escaped.
#[test]
fn a_description_stays_short() {
    let characters = ["a", "\u{1}", "\"", "\u{7ff}", "\u{fffd}", "\u{10ffff}"];
    let bytes = characters.map(|c| c.as_bytes().to_vec()).into_iter().chain([vec![0xff]]);
    for unit in bytes {
        for times in [1, 20, 60, 250, 10_000] {
            let name = unit.repeat(times);
            let protocol = unit.repeat(times.min(250 / unit.len()));
            check_stream(&asking(&name, &[&protocol[..]; 32]));
        }
    }
}

#[test]
fn names_and_protocols_that_clients_use_are_shown_whole() {
    let name = "a23456789.".repeat(25) + "abc";
    let line = text(&asking(name.as_bytes(), &[b"h2", b"http/1.1", b"acme-tls/1"]));
    let start = format!("{name} h2,http/1.1,acme-tls/1 TLS 1.2 ja4 t12d0102h2_");
    assert!(line.starts_with(&start), "{line}");
    let line = text(&asking("a".repeat(1000).as_bytes(), &[]));
    assert!(line.starts_with(&("a".repeat(500) + "... TLS 1.2")), "{line}");
}
