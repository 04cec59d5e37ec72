use super::*;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

/// A block with its two lengths.
fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let n = |n: u32| if big { n.to_be_bytes() } else { n.to_le_bytes() };
    let len = n(body.len() as u32 + 12);
    [&n(kind), &len, body, &len].concat()
}

fn section(big: bool) -> Vec<u8> {
    let magic = if big { "1a2b3c4d 0001 0000" } else { "4d3c2b1a 0100 0000" };
    block(big, pcapng::SECTION, &hex(&format!("{magic} ffffffffffffffff")))
}

const IDB: &str = "0100 0000 00000400 0200 0400 65746830 0900 0100 09000000 00000000";

/// A packet of four bytes with two comments and its sender.
const EPB: &str = "00000000 01000000 02000000 03000000 09000000 aabbcc00 \
                   0100 0200 68690000 0800 0800 d2040000 d3040000 0100 0300 68657900 \
                   0200 0400 01000000 00000000";

/// All steps, and the fault at the end if there is one.
fn steps(bytes: &[u8]) -> (Vec<Step<'_>>, Option<Fault>) {
    let (mut reader, mut at, mut steps) = (Reader::new(), 0, Vec::new());
    loop {
        match reader.step(&bytes[at..]) {
            Err(fault) => return (steps, Some(fault)),
            Ok(step) => {
                steps.push(step);
                match step {
                    Step::More(_) => return (steps, None),
                    Step::Record(_, n) | Step::Other(n) | Step::Bad(_, n) => at += n,
                }
            }
        }
    }
}

fn records(bytes: &[u8]) -> Vec<Record<'_>> {
    let step = |s| if let Step::Record(record, _) = s { Some(record) } else { None };
    steps(bytes).0.into_iter().filter_map(step).collect()
}

#[test]
fn pcap_of_every_byte_order_and_resolution() {
    for (magic, fraction_ns) in [("d4c3b2a1", 2000), ("4d3cb2a1", 2)] {
        let head = hex(&format!("{magic} 0200 0400 00000000 00000000 00000400 65000000"));
        let record = hex("01000000 02000000 03000000 09000000 aabbcc");
        let bytes = [head, record].concat();
        let found = records(&bytes);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].time, found[0].link), (Some(1_000_000_000 + fraction_ns), 101));
        assert_eq!((found[0].bytes, found[0].len), (&[0xaa, 0xbb, 0xcc][..], 9));
    }
    let big = hex("a1b2c3d4 0002 0004 00000000 00000000 00040000 00000001");
    let bytes = [big, hex("00000001 00000002 00000001 00000001 ff")].concat();
    assert_eq!(records(&bytes)[0].time, Some(1_000_002_000));
}

#[test]
fn pcapng_with_names_times_and_senders() {
    let bytes = [section(false), block(false, 1, &hex(IDB)), block(false, 6, &hex(EPB))].concat();
    let found = records(&bytes);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].time, Some((1 << 32) + 2));
    assert_eq!((found[0].bytes.len(), found[0].len, found[0].link), (3, 9, 1));
    assert_eq!(found[0].options.process_and_thread(), Some((1234, 1235)));
    assert_eq!(found[0].options.inbound(), Some(true));
    assert_eq!(found[0].options.comments().collect::<Vec<_>>(), [&b"hi"[..], b"hey"]);
    let mut reader = Reader::new();
    let Ok(Step::Other(n)) = reader.step(&bytes) else { panic!() };
    let Ok(Step::Other(_)) = reader.step(&bytes[n..]) else { panic!() };
    assert_eq!(reader.interface(0).unwrap().name, Some(*b"eth0\0\0\0\0\0\0\0\0\0\0\0\0"));
}

#[test]
fn a_section_begins_anew_in_its_own_byte_order() {
    let little = [section(false), block(false, 1, &hex(IDB))].concat();
    let idb = hex("0065 0000 00000000");
    let spb = hex("00000004 01020304");
    let big = [section(true), block(true, 1, &idb), block(true, 3, &spb)].concat();
    let bytes = [little, big].concat();
    let found = records(&bytes);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].link, found[0].time, found[0].bytes), (101, None, &[1, 2, 3, 4][..]));
}

#[test]
fn what_is_wrong_inside_a_block_does_not_end_the_file() {
    let mut long = hex(EPB);
    long[12] = 200;
    let mut foreign = hex(EPB);
    foreign[0] = 7;
    let bytes = [
        section(false),
        block(false, 1, &hex(IDB)),
        block(false, 6, &long),
        block(false, 6, &foreign),
        block(false, 6, &hex("00000000")),
        block(false, 6, &hex(EPB)),
    ]
    .concat();
    let (found, end) = steps(&bytes);
    assert_eq!(end, None);
    let faults: Vec<_> = found
        .iter()
        .filter_map(|s| if let Step::Bad(f, _) = s { Some(*f) } else { None })
        .collect();
    assert_eq!(faults, [Fault::Inside, Fault::Interface, Fault::Inside]);
    assert_eq!(records(&bytes).len(), 1);
}

#[test]
fn what_is_wrong_around_one_ends_it() {
    let start = [section(false), block(false, 1, &hex(IDB))].concat();
    let of = |tail: &[u8]| steps(&[&start[..], tail].concat()).1;
    let mut lengths = block(false, 6, &hex(EPB));
    *lengths.last_mut().unwrap() ^= 1;
    assert_eq!(of(&lengths), Some(Fault::Lengths));
    assert_eq!(of(&hex("06000000 08000000 00000000")), Some(Fault::Length));
    assert_eq!(of(&hex("06000000 ffffff7f 00000000")), Some(Fault::Length));
    assert_eq!(of(&hex("06000000 0d000000 00000000")), Some(Fault::Length));
    for (begin, fault) in [
        ("47455420", Fault::Foreign),
        ("1f8b0800", Fault::Compressed("zcat")),
        ("34cdb2a1", Fault::Variant),
        ("0a0d0d0a 1c000000 01020304", Fault::Foreign),
    ] {
        assert_eq!(steps(&hex(begin)).1, Some(fault), "{begin}");
    }
    let pcap = hex("d4c3b2a1 0200 0400 00000000 00000000 00000400 65000000");
    let long = hex("00000000 00000000 01000001 00000000");
    assert_eq!(steps(&[pcap, long].concat()).1, Some(Fault::Length));
}

#[test]
fn a_cut_file_asks_for_what_is_missing() {
    let bytes = [section(false), block(false, 1, &hex(IDB)), block(false, 6, &hex(EPB))].concat();
    for len in 0..bytes.len() {
        let (found, fault) = steps(&bytes[..len]);
        assert_eq!(fault, None);
        let Some(Step::More(n)) = found.last() else { panic!("{len}: {found:?}") };
        let taken: usize = found.iter().map(|s| if let Step::Other(n) = s { *n } else { 0 }).sum();
        assert!(taken + n > len, "{len} bytes are enough, it says");
    }
}
