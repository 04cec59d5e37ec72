use super::*;
use crate::protocol::{Interest, PROTOCOLS, Switches};
use crate::start::least;

const fn one(byte: u8) -> Step {
    Step::One(Bytes::range(byte, byte))
}

const LETTERS: Bytes = Bytes::range(b'a', b'z');
const GET: Start = &[one(b'G'), one(b'E'), one(b'T'), Step::Until(*b"\r\n\r\n")];
const GEM: Start = &[one(b'G'), one(b'E'), one(b'M'), Step::Total { at: 1, size: 2, add: 3 }];
const WORD: Start = &[Step::Some(LETTERS), one(b' ')];
const FRAME: Start = &[Step::One(Bytes::ANY), Step::One(Bytes::ANY), one(7)];

fn compile(starts: &[Start]) -> Table {
    Table::compile(starts).expect("a table")
}

/// The start that is complete after these bytes or earlier; whether one may yet be.
fn told(table: &Table, bytes: &[u8]) -> (Option<usize>, bool) {
    let state = table.run(table.start(), bytes);
    (table.accepts(state), !table.rejects(state))
}

#[test]
fn a_start_is_awaited_until_its_last_byte() {
    let table = compile(&[GET]);
    assert_eq!(table.start(), 2);
    for len in 0..3 {
        assert_eq!(told(&table, &b"GET"[..len]), (None, true), "{len}");
        let other = [&b"GET"[..len], b"x"].concat();
        assert_eq!(told(&table, &other), (None, false), "{len}");
    }
    assert_eq!(told(&table, b"GET"), (Some(0), true));
    assert_eq!(told(&table, b"GET anything"), (Some(0), true));
}

#[test]
fn bytes_may_come_one_by_one() {
    let table = compile(&[GET, WORD, FRAME]);
    for bytes in [&b"GET /"[..], b"word x", b"ab\x07z", b"a\x07\x07", b"GEx", b"\0\0\0"] {
        let one_by_one = bytes.iter().fold(table.start(), |state, b| table.run(state, &[*b]));
        assert_eq!(table.run(table.start(), bytes), one_by_one, "{}", bytes.escape_ascii());
    }
}

#[test]
fn starts_may_begin_alike() {
    let table = compile(&[GET, GEM, FRAME]);
    assert_eq!(told(&table, b"GE"), (None, true));
    assert_eq!(told(&table, b"GET"), (Some(0), true));
    assert_eq!(told(&table, b"GEM"), (Some(1), true));
    assert_eq!(told(&table, b"GE\x07"), (Some(2), true));
    assert_eq!(told(&table, b"GEx"), (None, false));
}

#[test]
fn several_bytes_of_a_set_are_one_step() {
    let table = compile(&[WORD]);
    assert_eq!(told(&table, b" "), (None, false));
    assert_eq!(told(&table, b"a "), (Some(0), true));
    assert_eq!(told(&table, &[b'a'; 1000]), (None, true));
    assert_eq!(told(&table, &[&[b'a'; 1000][..], b" "].concat()), (Some(0), true));
    assert_eq!(told(&table, b"aA"), (None, false));
}

#[test]
fn the_first_that_is_complete_is_told_and_the_lowest_of_several() {
    const SHORT: Start = &[one(b'G')];
    assert_eq!(told(&compile(&[GET, SHORT]), b"GET"), (Some(1), true));
    let any: Start = &[Step::Some(Bytes::ANY), Step::One(Bytes::ANY), Step::One(Bytes::ANY)];
    assert_eq!(told(&compile(&[GET, any]), b"GET"), (Some(0), true));
    assert_eq!(told(&compile(&[any, GET]), b"GET"), (Some(0), true));
    assert_eq!(told(&compile(&[any, GET]), b"GEM"), (Some(0), true));
}

#[test]
fn final_states_are_never_left() {
    let table = compile(&[GET, WORD]);
    for state in 0..table.start() {
        assert_eq!(table.run(state, b"GET a "), state);
        let row = table.next()[usize::from(state)];
        assert!(table.class_of().iter().all(|class| row[usize::from(*class)] == state));
    }
    assert!(table.rejects(table.run(u8::MAX, b"G")), "no such state");
}

#[test]
fn rules_are_those_of_the_starts() {
    let rules = [
        Rule { until: Some(*b"\r\n\r\n"), total: None },
        Rule { until: None, total: Some((1, 2, 3)) },
        Rule::default(),
    ];
    assert_eq!(compile(&[GET, GEM, WORD]).rules(), rules);
    assert_eq!([GET, GEM, WORD].map(least), [3, 3, 2]);
}

#[test]
fn no_start_rejects_and_an_empty_one_accepts() {
    let table = compile(&[]);
    assert_eq!((table.start(), table.rules()), (1, &[][..]));
    assert_eq!(table.next(), [[REJECT; CLASSES]; 2]);
    assert_eq!(told(&table, b""), (None, true));
    assert_eq!(told(&table, b"x"), (None, false));
    assert_eq!(told(&compile(&[GET, &[]]), b""), (Some(1), true));
}

#[test]
fn limits_are_told() {
    assert_eq!(Table::compile(&[GET; STARTS + 1]), Err(TooMany::Starts));
    assert!(Table::compile(&[GET; STARTS]).is_ok());

    let long = |steps: usize| -> Start { vec![one(b'x'); steps].leak() };
    // What rejects, what accepts, and one before each byte.
    assert_eq!(compile(&[long(STATES - 2)]).next().len(), STATES);
    assert_eq!(Table::compile(&[long(STATES - 1)]), Err(TooMany::States));

    let many = |bytes: u8| -> Start { (0..bytes).map(one).collect::<Vec<_>>().leak() };
    // One class for each byte, one for all others.
    assert!(Table::compile(&[many(CLASSES as u8 - 1)]).is_ok());
    assert_eq!(Table::compile(&[many(CLASSES as u8)]), Err(TooMany::Classes));
    assert_eq!(TooMany::Starts.to_string(), "a table has room for 8 starts, not for more");
}

/// All starts of one kind, everything switched on.
fn registered(kind: fn(Interest) -> &'static [Start]) -> Vec<Start> {
    let starts = PROTOCOLS.iter().flat_map(|protocol| {
        let all = (0..protocol.switches().len()).fold(Switches::OFF, Switches::with);
        kind(protocol.interest(all))
    });
    starts.copied().collect()
}

#[test]
fn all_protocols_fit_in_one_table() {
    for starts in [registered(|i| i.stream), registered(|i| i.datagram)] {
        assert!(!starts.is_empty());
        let table = Table::compile(&starts).expect("room for all");
        assert!(table.next().len() <= STATES);
        assert!(table.class_of().iter().all(|class| usize::from(*class) < CLASSES));
        assert!(table.next().iter().flatten().all(|s| usize::from(*s) < table.next().len()));
    }
}

#[test]
fn what_takes_no_byte_comes_last() {
    for start in [registered(|i| i.stream), registered(|i| i.datagram)].concat() {
        let (taking, last) = start.split_at(least(start));
        assert!(taking.iter().all(|step| step.set().is_some()), "{start:?}");
        for step in last {
            if let Step::Total { size, .. } = *step {
                assert!((1..=3).contains(&size), "{start:?}");
            }
        }
    }
}

/// Whether a start takes exactly these bytes.
fn takes(start: &[Step], bytes: &[u8]) -> bool {
    match (start.split_first(), bytes.split_first()) {
        (None, None) => true,
        (Some((Step::One(set), steps)), Some((b, rest))) => set.has(*b) && takes(steps, rest),
        (Some((Step::Some(set), steps)), Some((b, rest))) => {
            set.has(*b) && (takes(steps, rest) || takes(start, rest))
        }
        _ => false,
    }
}

/// Whether it may, when more bytes come.
fn may_take(start: &[Step], bytes: &[u8]) -> bool {
    match (start.split_first(), bytes.split_first()) {
        (_, None) => true,
        (Some((Step::One(set), steps)), Some((b, rest))) => set.has(*b) && may_take(steps, rest),
        (Some((Step::Some(set), steps)), Some((b, rest))) => {
            set.has(*b) && (may_take(steps, rest) || may_take(start, rest))
        }
        _ => false,
    }
}

/// What a table should tell, found by trying every start on every beginning.
fn tried(starts: &[Start], bytes: &[u8]) -> (Option<usize>, bool) {
    let complete = |len: usize| starts.iter().position(|start| takes(start, &bytes[..len]));
    match (0..=bytes.len()).find_map(complete) {
        Some(start) => (Some(start), true),
        None => (None, starts.iter().any(|start| may_take(start, bytes))),
    }
}

/// Numbers that are the same in every run (Knuth's MMIX generator).
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005);
        self.0 = self.0.wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    /// Starts over few bytes, so that they have much in common.
    fn start(&mut self) -> Start {
        let steps = 1 + self.below(5);
        let step = |_| {
            let first = b'a' + self.below(4) as u8;
            let set = Bytes::range(first, first + self.below(3) as u8);
            if self.below(3) == 0 { Step::Some(set) } else { Step::One(set) }
        };
        (0..steps).map(step).collect::<Vec<_>>().leak()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let len = self.below(9);
        (0..len).map(|_| b'a' + self.below(7) as u8 % 6).collect()
    }
}

#[test]
fn random_tables_tell_what_trying_tells() {
    let mut random = Lcg(1);
    let (mut accepted, mut rejected, mut open) = (0, 0, 0);
    for _ in 0..300 {
        let starts: Vec<Start> = (0..1 + random.below(4)).map(|_| random.start()).collect();
        let Ok(table) = Table::compile(&starts) else { continue };
        for _ in 0..100 {
            let bytes = random.bytes();
            let told = told(&table, &bytes);
            assert_eq!(told, tried(&starts, &bytes), "{starts:?} {}", bytes.escape_ascii());
            match told {
                (Some(_), _) => accepted += 1,
                (None, true) => open += 1,
                (None, false) => rejected += 1,
            }
        }
    }
    assert!([accepted, rejected, open].iter().all(|n| *n > 1000), "{accepted} {rejected} {open}");
}
