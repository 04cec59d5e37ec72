use super::*;
use crate::fixture::Scratch;

const SUBJECT: &str = "sentby.h.probe";

fn open(scratch: &Scratch, limit: u64, run: &str) -> Spool {
    Spool::open(&scratch.path("spool"), limit, run.to_owned()).unwrap()
}

fn push(spool: &mut Spool, payloads: std::ops::Range<u64>) {
    for n in payloads {
        spool.push(SUBJECT, format!("payload {n}").as_bytes());
        spool.flush().unwrap();
    }
}

fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(|r| String::from_utf8(r.payload.clone()).unwrap()).collect()
}

fn want(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| format!("payload {n}")).collect()
}

fn files(scratch: &Scratch) -> usize {
    let all = fs::read_dir(scratch.path("spool")).unwrap();
    all.filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|e| e == "spool")).count()
}

#[test]
fn what_is_not_acknowledged_is_there_for_the_next_run_under_the_same_ids() {
    let scratch = Scratch::new();
    let mut spool = open(&scratch, 1 << 20, "a");
    push(&mut spool, 0..10);
    let first = spool.after(0, 100);
    assert_eq!(payloads(&first), want(0..10));
    assert_eq!((first[9].id.as_str(), first[9].subject.as_str()), ("a.10", SUBJECT));
    spool.acknowledge(4).unwrap();
    drop(spool);
    let mut spool = open(&scratch, 1 << 20, "b");
    assert_eq!((spool.acknowledged(), spool.waiting()), (4, 6));
    push(&mut spool, 10..12);
    let again = spool.after(4, 100);
    assert_eq!(again[..6], first[4..]);
    assert_eq!(again[6].id, "b.11");
    assert_eq!(payloads(&again), want(4..12));
    spool.acknowledge(12).unwrap();
    assert_eq!(spool.waiting(), 0);
    drop(spool);
    // Numbers are not given again, though nothing is left.
    let mut spool = open(&scratch, 1 << 20, "c");
    assert_eq!(files(&scratch), 0);
    push(&mut spool, 12..13);
    assert_eq!(spool.after(12, 9)[0].id, "c.13");
}

#[test]
fn reading_goes_on_while_it_is_written() {
    let scratch = Scratch::new();
    let mut spool = open(&scratch, 1 << 20, "a");
    let mut seen = Vec::new();
    for n in 0..200 {
        push(&mut spool, n..n + 1);
        if n % 3 == 0 {
            let from = seen.len() as u64;
            seen.extend(payloads(&spool.after(from, 2)));
        }
    }
    let from = seen.len() as u64;
    seen.extend(payloads(&spool.after(from, 1000)));
    assert_eq!(seen, want(0..200));
    assert!(spool.after(200, 9).is_empty());
    assert_eq!(spool.dropped, 0);
}

#[test]
fn what_is_too_much_is_dropped_oldest_first_and_counted() {
    let scratch = Scratch::new();
    let limit = 4096;
    let mut spool = open(&scratch, limit, "a");
    push(&mut spool, 0..1000);
    assert!(spool.size() <= limit + limit / FILES + 100, "{}", spool.size());
    let left = spool.after(0, 2000);
    assert_eq!(left.len() as u64 + spool.dropped, 1000);
    assert!(spool.dropped > 0 && spool.waiting() == left.len() as u64);
    assert_eq!(payloads(&left), want(spool.dropped..1000));
    // What was acknowledged is no loss when it goes.
    let scratch = Scratch::new();
    let mut spool = open(&scratch, limit, "a");
    for n in 0..1000 {
        push(&mut spool, n..n + 1);
        spool.acknowledge(n + 1).unwrap();
    }
    assert_eq!((spool.dropped, spool.waiting()), (0, 0));
    assert!(files(&scratch) <= 1);
}

#[test]
fn a_torn_record_ends_its_file_and_harms_nothing_else() {
    let scratch = Scratch::new();
    let mut spool = open(&scratch, 1 << 20, "a");
    push(&mut spool, 0..5);
    let path = spool.path(1);
    drop(spool);
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(bytes.len() - 3);
    fs::write(&path, &bytes).unwrap();
    let mut spool = open(&scratch, 1 << 20, "b");
    push(&mut spool, 5..7);
    let mut left = want(0..4);
    left.extend(want(5..7));
    assert_eq!(payloads(&spool.after(0, 99)), left);
    drop(spool);
    // A byte that changed.
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let spool = open(&scratch, 1 << 20, "c");
    assert!(spool.waiting() < 6 && spool.waiting() >= 2, "{}", spool.waiting());
    fs::write(&path, b"anything").unwrap();
    assert_eq!(open(&scratch, 1 << 20, "d").waiting(), 2);
}
