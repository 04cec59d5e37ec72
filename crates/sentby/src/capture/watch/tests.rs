use super::*;
use crate::event::Process;
use std::collections::HashMap;
use std::process::Command;
use std::time::SystemTime;

/// Processes that a test runs.
const RUNS: u64 = 200;

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A watch, where this machine and our place in it have one.
fn watch() -> Option<Watch> {
    match Watch::start(&Host::read()) {
        Ok(watch) => Some(watch),
        Err(why) => {
            eprintln!("not tested: {why}");
            None
        }
    }
}

fn ask(watch: &Watch, pid: u32, time: u64) -> Option<(ProcessKey, Option<Process>)> {
    let mut batch = Batch::default();
    let key = watch.facts(pid, time, &mut batch)?;
    let facts = batch.items.pop().map(|item| match item {
        Item::Process(of, facts) if of == key => *facts,
        other => panic!("{other:?}"),
    });
    assert!(batch.items.is_empty());
    Some((key, facts))
}

#[test]
fn the_shortest_lives_are_told_whole() {
    let Some(watch) = watch() else { return };
    let mut ran = HashMap::new();
    for n in 0..RUNS {
        let before = now();
        let mut child = Command::new("/bin/true").args(["a b", &n.to_string()]).spawn().unwrap();
        let pid = child.id();
        assert!(child.wait().unwrap().success());
        ran.insert(pid, (n, before..now()));
    }
    let mut whole = 0;
    for (pid, (n, time)) in ran {
        // It has ended; nothing in /proc knows it. Its last moment is somewhere before.
        let steps = time.clone().rev().step_by(100_000);
        let found = steps.into_iter().find_map(|t| ask(&watch, pid, t));
        let (key, facts) = found.expect("it was seen");
        let facts = facts.expect("it was not told yet");
        assert_eq!((key.pid, facts.ppid), (pid, Some(std::process::id())));
        // To a tick, and what /proc/uptime rounds off.
        assert!(facts.start.unwrap() <= time.end + 2 * crate::event::NS_PER_TICK);
        let argv = Some(format!("/bin/true\0a b\0{n}").into_bytes());
        // Where others had the CPUs, it may have ended before: then nothing is said.
        assert!(facts.argv == argv || (facts.argv.is_none() && facts.exe.is_none()), "{facts:?}");
        whole += u64::from(facts.argv == argv);
    }
    let lost: HashMap<_, _> = watch.lost().into_iter().collect();
    assert!(whole + lost["watch-late"] >= RUNS, "{whole} {lost:?}");
    // Nearly all, but a busy machine reads many too late.
    assert!(whole >= RUNS / 10, "{whole} {lost:?}");
    eprintln!("{whole} of {RUNS} whole; lost: {lost:?}");
    assert_eq!(watch.lost()[0], ("watch-overrun", 0));
}

#[test]
fn this_process_was_there_before_and_is_told_once() {
    let Some(watch) = watch() else { return };
    let me = std::process::id();
    let (key, facts) = ask(&watch, me, now()).unwrap();
    let stat = Procfs::new("/proc").stat(me).unwrap();
    assert_eq!(key.start_ticks, stat.start_ticks);
    assert!(facts.unwrap().argv.is_some());
    assert_eq!(ask(&watch, me, now()), Some((key, None)));
}

#[test]
fn what_just_happened_is_known() {
    let Some(watch) = watch() else { return };
    for _ in 0..50 {
        let mut child = Command::new("/bin/sleep").arg("9").spawn().unwrap();
        let (key, mut facts) = ask(&watch, child.id(), now()).unwrap();
        let start = Procfs::new("/proc").stat(child.id()).unwrap().start_ticks;
        assert_eq!(key.start_ticks, start);
        // spawn() returns a moment before the kernel tells that the program runs.
        let until = Instant::now() + Duration::from_secs(5);
        let own = |facts: &Option<Process>| {
            facts.as_ref().is_some_and(|f| f.argv.as_deref() == Some(b"/bin/sleep\x009"))
        };
        while !own(&facts) && Instant::now() < until {
            facts = ask(&watch, child.id(), now()).unwrap().1.or(facts);
        }
        assert!(own(&facts), "{facts:?}");
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn what_a_followed_process_makes_is_followed() {
    let Some(watch) = watch() else { return };
    let begun = now();
    let mut stranger = Command::new("/bin/true").spawn().unwrap();
    watch.follow(&[std::process::id()]);
    let mut child = Command::new("/bin/true").spawn().unwrap();
    let (key, _) = ask(&watch, child.id(), now()).unwrap();
    let time = now();
    assert_eq!(watch.descends(key.pid, time), Some(true));
    assert_eq!(watch.descends(1, begun), Some(false), "was there before");
    let mut batch = Batch::default();
    watch.facts_of(ProcessKey { start_ticks: key.start_ticks + 100, ..key }, time, &mut batch);
    assert!(batch.items.is_empty(), "another process of that pid");
    for child in [&mut stranger, &mut child] {
        child.wait().unwrap();
    }
}
