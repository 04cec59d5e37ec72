use super::*;

/// A name as it is sent; no label has a dot.
fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|l| [&[l.len() as u8], l.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// The question's name, by pointer.
const ASKED: &[u8] = &[0xc0, HEADER_LEN as u8];

fn record(owner: &[u8], kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes =
        [owner, &kind.to_be_bytes()[..], &IN.to_be_bytes(), &ttl.to_be_bytes()].concat();
    bytes.extend((data.len() as u16).to_be_bytes());
    bytes.extend(data);
    bytes
}

/// The response to a question for `www.example`, with these records.
fn response(kind: u16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x81, 0x80, 0, 1];
    bytes.extend((records.len() as u16).to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(name("www.example"));
    bytes.extend(kind.to_be_bytes());
    bytes.extend(IN.to_be_bytes());
    bytes.extend(records.concat());
    bytes
}

fn v4(last: u8) -> [u8; 4] {
    [192, 0, 2, last]
}

/// Addresses with their times, e.g. `192.0.2.1 60`.
fn told(message: &[u8]) -> Option<Vec<String>> {
    let answers = answers(message)?;
    assert_eq!(&*answers.name, b"www.example");
    Some(answers.addresses.iter().map(|(address, ttl)| format!("{address} {ttl}")).collect())
}

fn canonical(message: &[u8]) -> Option<String> {
    answers(message)?.canonical.map(|name| String::from_utf8(name.into_owned()).expect("ASCII"))
}

#[test]
fn addresses_belong_to_the_name_asked_for() {
    let records = [record(ASKED, A, 60, &v4(1)), record(&name("WWW.Example"), A, 61, &v4(2))];
    let message = response(A, &records);
    assert_eq!(told(&message).unwrap(), ["192.0.2.1 60", "192.0.2.2 61"]);
    assert_eq!(canonical(&message), None);

    let v6 = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().octets();
    let message = response(AAAA, &[record(ASKED, AAAA, 5, &v6)]);
    assert_eq!(told(&message).unwrap(), ["2001:db8::1 5"]);
}

#[test]
fn aliases_are_followed_in_any_order_and_limit_the_time() {
    let records = [
        record(&name("c.example"), A, 300, &v4(1)),
        record(&name("b.example"), CNAME, 20, &name("C.example")),
        record(ASKED, CNAME, 60, &name("b.example")),
    ];
    let message = response(A, &records);
    assert_eq!(told(&message).unwrap(), ["192.0.2.1 20"]);
    assert_eq!(canonical(&message).as_deref(), Some("C.example"));
}

#[test]
fn records_beside_the_chain_name_nothing() {
    let forged = [
        record(&name("other.example"), A, 60, &v4(66)),
        record(&name("example"), A, 60, &v4(67)),
        record(&name("x.www.example"), A, 60, &v4(68)),
        record(&name("other.example"), CNAME, 60, &name("www.example")),
    ];
    assert_eq!(told(&response(A, &forged)).unwrap(), [""; 0]);
    // Nor do addresses of the kind that was not asked for, other classes and types.
    assert_eq!(told(&response(AAAA, &[record(ASKED, A, 60, &v4(1))])).unwrap(), [""; 0]);
    assert_eq!(told(&response(16, &[record(ASKED, A, 60, &v4(1))])).unwrap(), [""; 0]);
    let mut chaos = record(ASKED, A, 60, &v4(1));
    chaos[5] = 3;
    assert_eq!(told(&response(A, &[chaos])).unwrap(), [""; 0]);
    assert_eq!(told(&response(ANY, &[record(ASKED, A, 60, &v4(1))])).unwrap(), ["192.0.2.1 60"]);
}

/// Authorities and additional records are no answers.
#[test]
fn other_sections_name_nothing() {
    for section in [8, 10] {
        let mut message =
            response(A, &[record(ASKED, A, 60, &v4(1)), record(ASKED, A, 60, &v4(66))]);
        message[7] -= 1;
        message[section + 1] = 1;
        assert_eq!(told(&message).unwrap(), ["192.0.2.1 60"]);
    }
}

/// A name with an alias has nothing else; of what contradicts that, the least is taken.
#[test]
fn contradictions_add_nothing() {
    let b = name("b.example");
    let alias = |to: &[u8]| record(ASKED, CNAME, 60, to);
    let both = [alias(&b), record(ASKED, A, 60, &v4(1)), record(&b, A, 60, &v4(66))];
    assert_eq!(told(&response(A, &both)).unwrap(), ["192.0.2.1 60"]);
    let two = [alias(&b), alias(&name("c.example")), record(&name("c.example"), A, 60, &v4(66))];
    assert_eq!(told(&response(A, &two)).unwrap(), [""; 0]);
}

#[test]
fn loops_end() {
    let to_itself = response(A, &[record(ASKED, CNAME, 60, ASKED)]);
    assert_eq!(told(&to_itself).unwrap(), [""; 0]);
    let records = [
        record(ASKED, CNAME, 60, &name("b.example")),
        record(&name("b.example"), CNAME, 60, ASKED),
        record(&name("c.example"), A, 60, &v4(66)),
    ];
    let message = response(A, &records);
    assert_eq!(told(&message).unwrap(), [""; 0]);
    assert_eq!(canonical(&message), None);
}

#[test]
fn chains_have_a_limit() {
    let chain = |aliases: usize| {
        let nth = |n: usize| if n == 0 { ASKED.to_vec() } else { name(&format!("n{n}.example")) };
        let mut records: Vec<_> =
            (0..aliases).map(|n| record(&nth(n), CNAME, 60, &nth(n + 1))).collect();
        records.push(record(&nth(aliases), A, 60, &v4(1)));
        response(A, &records)
    };
    assert_eq!(told(&chain(MAX_ALIASES)).unwrap(), ["192.0.2.1 60"]);
    assert_eq!(told(&chain(MAX_ALIASES + 1)).unwrap(), [""; 0]);
}

#[test]
fn records_have_a_limit() {
    let records: Vec<_> = (0..=MAX_RECORDS as u8).map(|n| record(ASKED, A, 60, &v4(n))).collect();
    let told = told(&response(A, &records)).unwrap();
    assert_eq!(told.len(), MAX_RECORDS);
    assert_eq!(told.last().unwrap(), "192.0.2.63 60");
}

#[test]
fn what_is_no_good_response_is_refused() {
    let good = response(A, &[record(ASKED, A, 60, &v4(1))]);
    assert!(answers(&good).is_some());
    for (what, at, byte) in [
        ("a query", 2, 0x01),
        ("another opcode", 2, 0x91),
        ("a failure", 3, 0x83),
        ("no question", 5, 0),
        ("two questions", 5, 2),
        ("more answers than there are", 7, 2),
        ("a class that has no addresses", 28, 3),
    ] {
        let mut bad = good.clone();
        bad[at] = byte;
        assert_eq!(answers(&bad), None, "{what}");
    }
    for len in 0..good.len() {
        assert_eq!(answers(&good[..len]), None, "cut at {len}");
    }
}

#[test]
fn malformed_records_are_refused() {
    let good = record(ASKED, A, 60, &v4(1));
    for (what, bad) in [
        ("an address of five bytes", record(ASKED, A, 60, &[1, 2, 3, 4, 5])),
        ("an address of four bytes", record(ASKED, AAAA, 60, &[1, 2, 3, 4])),
        ("an owner that points forwards", record(&[0xc0, 0xff], A, 60, &v4(1))),
        ("an alias beyond its data", record(ASKED, CNAME, 60, &[1, b'a'])),
        ("an alias before its data ends", record(ASKED, CNAME, 60, &[1, b'a', 0, 0])),
        ("an alias in a loop", record(ASKED, CNAME, 60, &[0xc0, 0x29])),
    ] {
        assert_eq!(answers(&response(A, &[bad, good.clone()])), None, "{what}");
    }
}

#[test]
fn times_beyond_the_highest_are_zero() {
    let records = [i32::MAX as u32, 1 << 31].map(|ttl| record(ASKED, A, ttl, &v4(1)));
    assert_eq!(told(&response(A, &records)).unwrap(), ["192.0.2.1 2147483647", "192.0.2.1 0"]);
}

#[test]
fn names_are_escaped() {
    let mut message = response(A, &[record(ASKED, A, 60, &v4(1))]);
    message[13] = b'.';
    message[14] = 0x1b;
    assert_eq!(answers(&message).unwrap().name, &b"\\.\\027w.example"[..]);
}
