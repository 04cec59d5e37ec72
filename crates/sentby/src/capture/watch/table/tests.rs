use super::*;
use crate::fixture::Scratch;
use std::os::unix::fs::symlink;

/// When the machines of these tests started.
const BOOT: u64 = 1_000_000_000_000_000_000;
const CLOCKS: Clocks = Clocks { monotonic: BOOT as i64, boot: BOOT as i64, now: BOOT };
const MS: u64 = 1_000_000;

/// A machine on which only init runs.
struct Machine(Scratch);

impl Machine {
    fn new() -> (Machine, Table) {
        let machine = Machine(Scratch::new());
        machine.0.write("uptime", b"100.00 50.00\n");
        machine.process(1, 0, 0, "init");
        let table = Table::new(Procfs::new(machine.0.path("")));
        (machine, table)
    }

    fn process(&self, pid: u32, ppid: u32, start: u64, words: &str) {
        let name = words.split(' ').next().unwrap();
        let zeros = "0 ".repeat(17);
        let line = format!("{pid} ({name}) S {ppid} {zeros}{start} 0 0\n");
        self.0.write(&format!("{pid}/stat"), line.as_bytes());
        self.0.write(&format!("{pid}/cmdline"), (words.replace(' ', "\0") + "\0").as_bytes());
        self.0.write(&format!("{pid}/status"), b"Uid:\t7\t7\t7\t7\n");
        let exe = self.0.path(&format!("{pid}/exe"));
        let _ = std::fs::remove_file(&exe);
        symlink(format!("/bin/{name}"), exe).unwrap();
    }

    fn gone(&self, pid: u32) {
        std::fs::remove_dir_all(self.0.path(&pid.to_string())).unwrap();
    }
}

/// What happened, this many milliseconds after the start of the machine.
fn happened(table: &mut Table, ms: u64, what: What) {
    table.happened(BOOT + ms * MS, what, &CLOCKS);
}

/// Start in ticks, and the command line where it was not told before.
fn asked(table: &mut Table, pid: u32, ms: u64) -> Option<(u64, Option<String>)> {
    let (key, facts) = table.at(pid, BOOT + ms * MS, &CLOCKS)?;
    assert_eq!(key.pid, pid);
    let words = facts.map(|f| {
        String::from_utf8(f.argv.clone().unwrap_or(b"?".to_vec())).unwrap().replace('\0', " ")
    });
    Some((key.start_ticks, words))
}

fn told(start: u64, words: &str) -> Option<(u64, Option<String>)> {
    Some((start, Some(words.to_owned())))
}

#[test]
fn who_was_there_before_is_known_when_it_has_gone() {
    let (machine, mut table) = Machine::new();
    machine.process(7, 1, 100, "sender one");
    machine.process(8, 1, 100, "sender two");
    let now = Clocks { now: BOOT + 2000 * MS, ..CLOCKS };
    let calls = std::cell::Cell::new(0);
    table.take_in(&now, || calls.replace(calls.get() + 1) < 1);
    machine.gone(7);
    machine.gone(8);
    happened(&mut table, 2005, What::Exit(8));
    assert_eq!(asked(&mut table, 8, 2004), told(100, "sender two"));
    assert_eq!(asked(&mut table, 8, 3000), None, "it had ended");
    assert_eq!(asked(&mut table, 7, 2004), None, "there was no time for it");
}

#[test]
fn a_process_that_becomes_another_users_is_told_again() {
    let (machine, mut table) = Machine::new();
    machine.process(30, 1, 60, "daemon");
    let uid = |table: &mut Table, ms: u64| {
        table
            .at(30, BOOT + ms * MS, &CLOCKS)
            .unwrap()
            .1
            .map(|facts| (facts.uid, facts.argv.clone()))
    };
    let argv = Some(b"daemon".to_vec());
    assert_eq!(uid(&mut table, 700), Some((Some(7), argv.clone())));
    happened(&mut table, 800, What::Uid(30, 7));
    assert_eq!(uid(&mut table, 801), None, "it was that already");
    happened(&mut table, 900, What::Uid(30, 65534));
    assert_eq!(uid(&mut table, 850), None, "before that");
    assert_eq!(uid(&mut table, 901), Some((Some(65534), argv)));
    assert_eq!(uid(&mut table, 902), None, "told once");
}

#[test]
fn who_made_no_child_was_alone() {
    let (machine, mut table) = Machine::new();
    machine.process(30, 1, 100, "sender");
    happened(&mut table, 1000, FORK);
    let key = table.at(30, BOOT + 1000 * MS, &CLOCKS).unwrap().0;
    let alone = |table: &Table, since: u64, time: u64| {
        table.was_alone(key, BOOT + since * MS, BOOT + time * MS)
    };
    assert!(alone(&table, 1000, 1500));
    happened(&mut table, 1600, What::Fork { parent: 30, child: 31 });
    happened(&mut table, 2000, What::Exit(30));
    assert!(alone(&table, 1700, 1900), "a child before that");
    assert!(!alone(&table, 1500, 1900), "a child since");
    assert!(!alone(&table, 1700, 2100), "it had ended");
    let later = ProcessKey { start_ticks: key.start_ticks + 50, ..key };
    assert!(!table.was_alone(later, BOOT + 1700 * MS, BOOT + 1900 * MS), "another process");
    let there = |table: &Table, time: u64| table.was_there(key, BOOT + time * MS);
    let is = [999, 1001, 1999, 2001].map(|time| there(&table, time).unwrap());
    assert_eq!(is, [false, true, true, false]);
    assert_eq!(table.last_end(), BOOT + 2000 * MS);
    assert_eq!(table.was_there(later, BOOT + 1500 * MS), None);
    table.doubt(BOOT + 3000 * MS);
    assert!(!alone(&table, 1700, 1900), "something may have been missed");
    assert_eq!((there(&table, 1900), table.last_end()), (None, BOOT + 3000 * MS));
}

const FORK: What = What::Fork { parent: 1, child: 30 };

#[test]
fn a_process_that_has_ended_still_has_its_command_line() {
    let (machine, mut table) = Machine::new();
    machine.process(30, 1, 60, "init");
    happened(&mut table, 600, FORK);
    machine.process(30, 1, 60, "ping -c 1");
    happened(&mut table, 601, What::Exec(30));
    machine.gone(30);
    happened(&mut table, 603, What::Exit(30));
    assert_eq!(asked(&mut table, 30, 602), told(60, "ping -c 1"));
    assert_eq!(asked(&mut table, 30, 602), Some((60, None)), "told once");
    assert_eq!(asked(&mut table, 30, 600), told(60, "init"), "what it ran before");
    let facts = {
        let (_machine, mut other) = Machine::new();
        happened(&mut other, 600, FORK);
        other.at(30, BOOT + 600 * MS, &CLOCKS).unwrap().1.cloned().unwrap()
    };
    assert_eq!((facts.ppid, facts.uid), (Some(1), Some(7)));
    assert_eq!(facts.ancestors.unwrap()[0].comm, b"init");
    assert_eq!(facts.start, Some(BOOT + 600 * MS));
}

#[test]
fn a_pid_used_again_is_another_process() {
    let (machine, mut table) = Machine::new();
    for (ms, start, words) in [(600, 60, "first"), (700, 70, "second")] {
        machine.process(30, 1, start, words);
        happened(&mut table, ms, FORK);
        happened(&mut table, ms + 1, What::Exec(30));
        machine.gone(30);
        happened(&mut table, ms + 50, What::Exit(30));
    }
    assert_eq!(asked(&mut table, 30, 610), told(60, "first"));
    assert_eq!(asked(&mut table, 30, 710), told(70, "second"));
    assert_eq!(asked(&mut table, 30, 654), Some((60, None)), "the clocks' difference");
    assert_eq!(asked(&mut table, 30, 670), None, "nobody had it then");
    assert_eq!(asked(&mut table, 30, 590), None);
    assert_eq!(table.shortfall, Shortfall { late: 0, unknown: 2 });
}

#[test]
fn between_two_that_are_near_nobody_is_named() {
    let (_machine, mut table) = Machine::new();
    happened(&mut table, 600, FORK);
    happened(&mut table, 610, What::Exit(30));
    happened(&mut table, 614, FORK);
    assert_eq!(asked(&mut table, 30, 612), None);
    assert_eq!(asked(&mut table, 30, 610).map(|f| f.0), Some(60));
    assert_eq!(asked(&mut table, 30, 614).map(|f| f.0), Some(61));
}

#[test]
fn who_was_there_before_is_found() {
    let (machine, mut table) = Machine::new();
    machine.process(40, 1, 20, "old daemon");
    assert_eq!(asked(&mut table, 40, 900), told(20, "old daemon"));
    assert_eq!(asked(&mut table, 40, 900), Some((20, None)));
    machine.process(41, 1, 95, "too young");
    assert_eq!(asked(&mut table, 41, 900), None);
    assert_eq!(asked(&mut table, 42, 900), None);
}

#[test]
fn a_program_that_was_not_seen_is_not_guessed() {
    let (_machine, mut table) = Machine::new();
    happened(&mut table, 600, FORK);
    happened(&mut table, 601, What::Exec(30));
    assert_eq!(asked(&mut table, 30, 602), told(60, "?"));
    assert_eq!(table.shortfall.late, 1);
    assert_eq!(asked(&mut table, 30, 600), told(60, "init"));
}

#[test]
fn after_an_overrun_proc_is_asked_again() {
    let (machine, mut table) = Machine::new();
    for pid in [30, 31, 32] {
        machine.process(pid, 1, 60, "before");
        happened(&mut table, 600, What::Fork { parent: 1, child: pid });
        happened(&mut table, 601, What::Exec(pid));
        assert_eq!(asked(&mut table, pid, 602), told(60, "before"));
    }
    machine.process(31, 1, 60, "another program");
    machine.process(32, 1, 80, "another process");
    table.doubt(0);
    let clocks = Clocks { now: BOOT + 900 * MS, ..CLOCKS };
    let mut ask = |pid| {
        let (key, facts) = table.at(pid, BOOT + 901 * MS, &clocks).unwrap();
        (key.start_ticks, facts.and_then(|f| f.argv.clone()))
    };
    assert_eq!(ask(30), (60, None));
    assert_eq!(ask(31), (60, Some(b"another\0program".to_vec())));
    assert_eq!(ask(32).0, 80);
}

#[test]
fn what_is_kept_is_bounded() {
    let (machine, mut table) = Machine::new();
    let long = "x ".repeat(MAX_ARGV) + "y";
    machine.process(30, 1, 60, &long);
    happened(&mut table, 600, FORK);
    for ms in 601..700 {
        happened(&mut table, ms, What::Exec(30));
    }
    let facts = table.at(30, BOOT + 700 * MS, &CLOCKS).unwrap().1.cloned().unwrap();
    assert!(facts.argv_truncated && facts.argv.unwrap().len() == MAX_ARGV);
    assert_eq!(table.lives.peek(&30).unwrap()[0].programs.len(), MAX_EACH);
    for ms in 701..800 {
        happened(&mut table, ms, FORK);
    }
    assert_eq!(table.lives.peek(&30).unwrap().len(), MAX_EACH);
    for child in 100..100 + MAX_PIDS as u32 {
        happened(&mut table, 900, What::Fork { parent: 1, child });
    }
    assert_eq!(table.lives.len(), MAX_PIDS);
}

#[test]
fn a_leader_that_ended_before_its_threads_is_found_again() {
    let (machine, mut table) = Machine::new();
    machine.process(30, 1, 60, "threads");
    happened(&mut table, 600, FORK);
    happened(&mut table, 610, What::Exit(30));
    assert_eq!(asked(&mut table, 30, 700).map(|f| f.0), Some(60));
}

#[test]
fn who_is_followed_is_so_with_all_that_it_makes() {
    let (machine, mut table) = Machine::new();
    machine.process(40, 1, 20, "shell");
    table.follow([40]);
    happened(&mut table, 600, What::Fork { parent: 40, child: 41 });
    happened(&mut table, 601, What::Fork { parent: 41, child: 42 });
    happened(&mut table, 602, What::Fork { parent: 1, child: 43 });
    // Its parents have ended, and init has it.
    machine.gone(40);
    machine.process(42, 1, 60, "orphan");
    happened(&mut table, 603, What::Exit(41));
    happened(&mut table, 604, What::Exec(42));
    let of = |pid| table.is_followed(pid, BOOT + 605 * MS);
    assert_eq!((of(40), of(42), of(43), of(44)), (Some(true), Some(true), Some(false), None));
}

#[test]
fn who_is_about_to_go_had_a_parent() {
    let (machine, mut table) = Machine::new();
    happened(&mut table, 600, FORK);
    machine.process(30, 0, 60, "true");
    happened(&mut table, 601, What::Exec(30));
    let facts = table.at(30, BOOT + 602 * MS, &CLOCKS).unwrap().1.unwrap();
    assert_eq!((facts.ppid, facts.argv.as_deref()), (Some(1), Some(&b"true"[..])));
    assert_eq!(facts.ancestors.as_ref().unwrap()[0].comm, b"init");
}

#[test]
fn a_process_that_was_there_before_keeps_its_start_when_it_runs_another_program() {
    let (machine, mut table) = Machine::new();
    machine.process(40, 1, 20, "new program");
    table.follow([40]);
    happened(&mut table, 600, What::Exec(40));
    happened(&mut table, 601, What::Fork { parent: 40, child: 41 });
    assert_eq!(asked(&mut table, 40, 602), told(20, "new program"));
    assert_eq!(table.is_followed(41, BOOT + 602 * MS), Some(true));
    happened(&mut table, 603, What::Exec(42));
    assert_eq!(asked(&mut table, 42, 604), None, "nobody knows it");
}
