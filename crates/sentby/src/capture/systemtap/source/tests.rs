use super::*;
use crate::event::{Evidence, Wanted};
use wire::start::{Bytes, Step};

const GET: &[Step] =
    &[Step::One(Bytes::of(b"G")), Step::One(Bytes::of(b"E")), Step::One(Bytes::of(b"T"))];

fn maker() -> Maker {
    let plan = Plan { ip_protocols: vec![1], streams: vec![GET], ..Plan::default() };
    Maker::new(Selector::new(&plan).unwrap(), None, &plan)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn take(maker: &mut Maker, lines: &[String]) -> Batch {
    let mut batch = Batch::default();
    for line in lines {
        maker.take(line::parse(line.as_bytes()).expect(line), &mut batch).expect(line);
    }
    batch
}

fn captures(batch: &Batch) -> Vec<(&Capture, &[u8])> {
    batch
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Capture(c) => Some((c, &batch.bytes[c.bytes.clone()])),
            _ => None,
        })
        .collect()
}

const WHO: &str = "t 149 150 10790320472 0 70696e67 1247 7";

fn send(number: u64, seq: u32, ends: &str, payload: &[u8]) -> String {
    format!("S {number} 17 {WHO} {seq} 51534 8000 {ends} {}", hex(payload))
}

const V4: &str = "7f000001 7f000002";

/// An echo request from 127.0.0.1 to 127.0.0.2.
fn echo() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2];
    packet.extend([8, 0, 0, 0, 0, 1, 0, 1]);
    packet
}

#[test]
fn a_packet_is_captured_whole() {
    let mut maker = maker();
    let line = format!("P 1 17 {WHO} 1 6c6f 0 28 {}", hex(&echo()));
    let batch = take(&mut maker, &[line]);
    let [(capture, bytes)] = captures(&batch)[..] else { panic!() };
    assert_eq!(bytes, echo());
    assert_eq!((capture.wanted, capture.len, capture.netns), (Wanted::Packet, Some(28), Some(7)));
    assert_eq!((capture.evidence, capture.socket_inode), (Evidence::Task, Some(1247)));
    assert_eq!(capture.opening(), None, "an opening would wait for an end that nobody tells");
    assert_eq!(capture.task.unwrap().tid, Some(150));
}

#[test]
fn sends_become_segments_of_one_stream() {
    let six = format!("{} {}", "0".repeat(31) + "1", "f".repeat(32));
    for ends in [V4, &six] {
        let mut maker = maker();
        let lines = [send(1, u32::MAX - 1, ends, b"GET / HTT"), send(2, 7, ends, b"P/1.1\r\n\r\n")];
        let batch = take(&mut maker, &lines);
        let found = captures(&batch);
        assert_eq!(found.len(), 2);
        let mut next = u32::MAX - 1;
        for ((capture, bytes), (begins, payload)) in
            found.into_iter().zip([(true, &b"GET / HTT"[..]), (false, b"P/1.1\r\n\r\n")])
        {
            assert_eq!(capture.wanted, Wanted::Payload { begins, opens: false });
            assert_eq!(capture.len, None, "no packet yet, so no length of one");
            let packet = wire::packet::parse(Layer::Ip, bytes).unwrap();
            let segment = wire::transport::tcp(&packet).unwrap();
            assert_eq!((segment.payload, segment.seq), (payload, next));
            assert_eq!(wire::transport::ports(&packet), Some((51534, 8000)));
            assert_eq!(segment.len, Some(payload.len() as u32), "nothing is missing");
            next = next.wrapping_add(payload.len() as u32);
        }
    }
}

#[test]
fn what_is_not_wanted_is_no_capture() {
    let mut maker = maker();
    let batch = take(&mut maker, &[send(1, 5, V4, b"SSH-2.0-x")]);
    assert!(batch.items.is_empty() && batch.bytes.is_empty());
    assert_eq!(maker.counts(0).hooks[0].seen, 0);
}

#[test]
fn a_send_that_is_repeated_is_captured_once() {
    let mut maker = maker();
    let line = |n| send(n, 5, V4, b"GET / HTTP/1.1\r\n\r\n");
    let batch = take(&mut maker, &[line(1), line(2)]);
    assert_eq!(captures(&batch).len(), 1);
}

#[test]
fn what_did_not_come_is_counted() {
    let mut maker = maker();
    let packet = |n| format!("P {n} 17 {WHO} 1 6c6f 0 28 {}", hex(&echo()));
    take(&mut maker, &[packet(1), packet(4)]);
    let counts = maker.counts(1);
    assert_eq!((counts.lost["stap-transport"], counts.lost["stap-lines"]), (1, 1));
    assert_eq!(counts.hooks[0].seen, 4);
    take(&mut maker, &["E 9 2 3 4".to_owned()]);
    let counts = maker.counts(0);
    assert_eq!((counts.lost["stap-transport"], counts.lost["unreadable"]), (7, 2));
    assert_eq!((counts.details_lost["stap-cut"], counts.details_lost["stap-sockets"]), (3, 4));
    assert_eq!(counts.hooks[0].seen, 11);
}

#[test]
fn bytes_that_make_no_packet_are_left_to_the_pipeline() {
    let mut maker = maker();
    let batch = take(&mut maker, &[format!("P 1 17 {WHO} 1 6c6f 0 28 ff")]);
    assert_eq!(captures(&batch).len(), 1);
    let mut batch = Batch::default();
    let bad = format!("P 2 17 {WHO} 1 6c6f 0 28 4g");
    assert_eq!(maker.take(line::parse(bad.as_bytes()).unwrap(), &mut batch), None);
    assert!(batch.items.is_empty() && batch.bytes.is_empty());
}

#[test]
fn arguments_go_ahead_of_the_first_capture() {
    let mut maker = maker();
    let program = format!("A 149 10790320472 3 - 12 {}", hex(b"ping\0-c\x001\0"));
    let packet = format!("P 1 17 {WHO} 1 6c6f 0 28 {}", hex(&echo()));
    let batch = take(&mut maker, &[program, packet.clone(), packet]);
    let key = ProcessKey { pid: 149, start_ticks: 1079 };
    let [Item::Process(of, facts), Item::Capture(_), Item::Capture(_)] = &batch.items[..] else {
        panic!("{batch:?}")
    };
    assert_eq!((*of, facts.ppid, facts.argv_truncated), (key, Some(3), true));
    assert_eq!(facts.argv.as_deref(), Some(&b"ping\0-c\x001\0"[..]));
    let whole = format!("A 149 10790320472 3 {} 5 {}", hex(b"/x (deleted)"), hex(b"ping\0"));
    assert!(take(&mut maker, &[whole]).items.is_empty());
    let key = maker.programs.peek(&key).unwrap();
    assert_eq!((key.argv.as_deref(), key.argv_truncated), (Some(&b"ping"[..]), false));
    assert_eq!((key.exe.as_deref(), key.exe_deleted), (Some(&b"/x"[..]), true));
}

#[test]
fn what_was_read_as_it_sent_is_so() {
    let read = |argv: &[u8]| Process {
        argv: Some(argv.to_vec()),
        exe: Some(b"/bin/x".to_vec()),
        ..Process::default()
    };
    let own = |argv: &[u8], cut| Process {
        argv: Some(argv.to_vec()),
        argv_truncated: cut,
        ppid: Some(3),
        exe: Some(b"/own".to_vec()),
        ..Process::default()
    };
    let mut facts = Process { exe: None, ..read(b"x") };
    merge(&mut facts, own(b"x", false));
    assert_eq!(facts.exe.as_deref(), Some(&b"/own"[..]), "it ended as it was read");
    for (own, expected, exe) in [
        (own(b"x", false), &b"x"[..], &b"/bin/x"[..]),
        (own(b"y", false), b"y", b"/own"),
        (own(b"x", true), b"x", b"/bin/x"),
        (Process::default(), b"x", b"/bin/x"),
    ] {
        let mut facts = read(b"x");
        merge(&mut facts, own);
        assert_eq!((facts.argv.as_deref(), facts.exe.as_deref()), (Some(expected), Some(exe)));
    }
}
