//! Tests of the enricher, on a machine made of files.

use super::*;
use crate::fixture::{Probe, Scratch, capture};
use std::os::unix::fs::symlink;
use wire::Request;

pub const KEY: ProcessKey = ProcessKey { pid: 4711, start_ticks: 100 };

pub fn machine() -> Scratch {
    let dir = Scratch::new();
    let zeros = "0 ".repeat(17);
    dir.write("1/stat", format!("1 (init) S 0 {zeros}0 0").as_bytes());
    dir.write("4711/stat", format!("4711 (ping) S 1 {zeros}100 0").as_bytes());
    dir.write("4711/status", b"Uid:\t5\t5\t5\t5\n");
    dir.write("4711/cmdline", b"ping\0-c\x001\0");
    dir.write("4711/cgroup", b"0::/system.slice/x.service\n");
    symlink("/usr/bin/ping", dir.path("4711/exe")).unwrap();
    dir.write("passwd", b"root:x:0:\nfive:x:5:\n");
    dir
}

pub fn enricher(dir: &Scratch) -> Enricher {
    with(dir, None)
}

/// The same, with a runtime to ask.
pub fn with(dir: &Scratch, containers: Option<Containers>) -> Enricher {
    Enricher::of(Some(Local {
        procfs: Procfs::new(dir.path("")),
        users: Users::new(dir.path("passwd")),
        sockets: Sockets::new(),
        containers,
    }))
}

/// What an event says, owned.
#[derive(Debug, PartialEq)]
struct Said {
    evidence: Evidence,
    pid: Option<u32>,
    comm: Option<String>,
    user: Option<String>,
    exe: Option<String>,
    argv: Option<String>,
    unit: Option<String>,
    candidates: usize,
}

fn say(enricher: &mut Enricher, capture: &Capture) -> Said {
    let ends = Ends {
        src: "192.0.2.1".parse().unwrap(),
        dst: "192.0.2.2".parse().unwrap(),
        ports: Some((40_112, 80)),
    };
    let request = Request::new(&Probe);
    let event = enricher.event(capture, ends, &request);
    assert_eq!((event.sport, event.dport), (Some(40_112), Some(80)));
    let text = |b: Option<&[u8]>| b.map(|b| String::from_utf8_lossy(b).replace('\0', " "));
    Said {
        evidence: event.evidence,
        pid: event.key.map(|k| k.pid),
        comm: text(event.comm),
        user: event.user.map(str::to_owned),
        exe: text(event.process.and_then(|p| p.exe.as_deref())),
        argv: text(event.process.and_then(|p| p.argv.as_deref())),
        unit: event.unit.map(str::to_owned),
        candidates: event.candidates.len(),
    }
}

fn lost(enricher: &Enricher, name: &str) -> u64 {
    enricher.counters().iter().find(|(n, _)| *n == name).unwrap().1
}

#[test]
fn absent_facts_come_from_proc() {
    let dir = machine();
    let said = say(&mut enricher(&dir), &capture());
    assert_eq!((said.evidence, said.pid), (Evidence::Task, Some(4711)));
    assert_eq!(said.user.as_deref(), Some("root"), "the task's uid, not /proc's");
    assert_eq!(said.exe.as_deref(), Some("/usr/bin/ping"));
    assert_eq!(said.argv.as_deref(), Some("ping -c 1"));
    assert_eq!(said.unit.as_deref(), Some("x.service"));
}

/// The number of the facts that an event is made of.
fn facts(enricher: &mut Enricher, capture: &Capture) -> Option<u64> {
    let address = "192.0.2.1".parse().unwrap();
    let request = Request::new(&Probe);
    enricher.event(capture, Ends { src: address, dst: address, ports: None }, &request).facts
}

#[test]
fn facts_have_a_number_until_they_change() {
    let dir = machine();
    let mut enricher = enricher(&dir);
    let (first, again) = (facts(&mut enricher, &capture()), facts(&mut enricher, &capture()));
    assert!(first.is_some() && first == again);
    enricher.learn(KEY, Process { argv: Some(b"other".to_vec()), ..Process::default() });
    let told = facts(&mut enricher, &capture());
    assert!(told.is_some() && told != first);
    let other = ProcessKey { pid: 1, start_ticks: 0 };
    let mut capture = capture();
    capture.task.as_mut().unwrap().key = Some(other);
    assert!(![first, told].contains(&facts(&mut enricher, &capture)));
}

#[test]
fn facts_of_a_backend_win() {
    let dir = machine();
    let mut enricher = enricher(&dir);
    let argv = Some(b"ping\0-c\x001".to_vec());
    enricher
        .learn(KEY, Process { argv, cgroup: Some(b"/y.service".to_vec()), ..Process::default() });
    let said = say(&mut enricher, &capture());
    assert_eq!(said.unit.as_deref(), Some("y.service"));
    assert_eq!(said.exe.as_deref(), Some("/usr/bin/ping"), "filled in: same command line");
}

#[test]
fn the_next_programs_path_is_not_the_last_ones() {
    let dir = machine();
    let mut enricher = enricher(&dir);
    let argv = Some(b"sh".to_vec());
    enricher.learn(KEY, Process { argv, ..Process::default() });
    let said = say(&mut enricher, &capture());
    assert_eq!((said.argv.as_deref(), said.exe), (Some("sh"), None));
    assert_eq!(said.unit.as_deref(), Some("x.service"), "an exec does not move a process");
}

#[test]
fn a_new_program_replaces_the_old_and_keeps_the_place() {
    let dir = machine();
    let mut enricher = enricher(&dir);
    let told = |argv: &[u8], cgroup: Option<&[u8]>| Process {
        argv: Some(argv.to_vec()),
        exe: Some(argv.to_vec()),
        cgroup: cgroup.map(<[u8]>::to_vec),
        ..Process::default()
    };
    enricher.learn(KEY, told(b"sh", Some(b"/a.service")));
    enricher.learn(KEY, told(b"curl", None));
    let said = say(&mut enricher, &capture());
    assert_eq!((said.argv.as_deref(), said.unit.as_deref()), (Some("curl"), Some("a.service")));
}

#[test]
fn another_process_of_the_same_pid_is_not_asked() {
    let dir = machine();
    let mut enricher = enricher(&dir);
    let mut other = capture();
    other.task.as_mut().unwrap().key = Some(ProcessKey { pid: 4711, start_ticks: 99 });
    let said = say(&mut enricher, &other);
    assert_eq!((said.pid, said.comm.as_deref()), (Some(4711), Some("ping")));
    assert_eq!((said.exe, said.argv), (None, None));
    assert_eq!(lost(&enricher, "pid-reused"), 1);
    say(&mut enricher, &other);
    assert_eq!(lost(&enricher, "pid-reused"), 1, "one process lost its details, not two");
}

#[test]
fn a_detached_enricher_asks_nobody() {
    let said = say(&mut Enricher::detached(), &capture());
    assert_eq!((said.pid, said.comm.as_deref()), (Some(4711), Some("ping")));
    assert_eq!((said.user, said.exe, said.unit), (None, None, None));
}

#[test]
fn an_unknown_sender_is_looked_for_by_its_socket() {
    let dir = machine();
    dir.write("4711/fd/x", b"");
    symlink("socket:[42]", dir.path("4711/fd/3")).unwrap();
    let mut unknown = capture();
    unknown.evidence = Evidence::Unknown;
    unknown.task = None;
    assert_eq!(say(&mut enricher(&dir), &unknown).evidence, Evidence::Unknown);
    unknown.socket_inode = Some(42);
    let said = say(&mut enricher(&dir), &unknown);
    assert_eq!((said.evidence, said.pid), (Evidence::Procfs, Some(4711)));
    assert_eq!((said.comm.as_deref(), said.user.as_deref()), (Some("ping"), Some("five")));
    let detached = say(&mut Enricher::detached(), &unknown);
    assert_eq!((detached.evidence, detached.pid), (Evidence::Unknown, None));

    let zeros = "0 ".repeat(17);
    dir.write("1/stat", format!("1 (init) S 0 {zeros}0 0").as_bytes());
    dir.write("1/fd/x", b"");
    symlink("socket:[42]", dir.path("1/fd/7")).unwrap();
    let mut enricher = enricher(&dir);
    let said = say(&mut enricher, &unknown);
    assert_eq!((said.evidence, said.pid, said.candidates), (Evidence::Procfs, None, 2));
    assert_eq!(say(&mut enricher, &capture()).candidates, 0, "not the last event's");
}

#[test]
fn a_bystander_is_never_named() {
    let dir = machine();
    for evidence in [Evidence::Kernel, Evidence::Forwarded, Evidence::Unknown] {
        // A task in the capture although the evidence names none: a bug elsewhere.
        let said = say(&mut enricher(&dir), &Capture { evidence, ..capture() });
        assert_eq!((said.evidence, said.pid), (evidence, None));
        assert_eq!((said.comm, said.user, said.argv), (None, None, None));
    }
}

/// What Go says in the executable of the sender of a request that asks for it.
fn go_of(enricher: &mut Enricher, protocol: &'static dyn wire::Protocol) -> Option<String> {
    let address = "192.0.2.1".parse().unwrap();
    let ends = Ends { src: address, dst: address, ports: None };
    let (capture, request) = (capture(), Request::new(protocol));
    let event = enricher.event(&capture, ends, &request);
    event.go.map(|go| String::from_utf8_lossy(&go.version).into_owned())
}

fn nosy() -> &'static dyn wire::Protocol {
    *wire::PROTOCOLS.iter().find(|p| p.looks_into_programs()).unwrap()
}

/// The machine, whose process runs a program that Go built.
fn with_go() -> Scratch {
    let dir = machine();
    dir.write("tool", &go::executable("go1.22.3"));
    std::fs::remove_file(dir.path("4711/exe")).unwrap();
    symlink(dir.path("tool"), dir.path("4711/exe")).unwrap();
    dir
}

#[test]
fn only_for_protocols_that_ask_is_the_executable_looked_into() {
    let dir = with_go();
    let mut enricher = enricher(&dir);
    assert_eq!(go_of(&mut enricher, &Probe), None);
    assert_eq!(go_of(&mut enricher, nosy()).as_deref(), Some("go1.22.3"));
    assert_eq!(go_of(&mut Enricher::detached(), nosy()), None);
    assert_eq!(lost(&enricher, "program-gone"), 0);
}

#[test]
fn an_executable_is_read_once_and_again_when_it_changed() {
    let dir = with_go();
    let mut enricher = enricher(&dir);
    assert_eq!(go_of(&mut enricher, nosy()).as_deref(), Some("go1.22.3"));
    dir.write("tool", &go::executable("go1.22.33"));
    assert_eq!(go_of(&mut enricher, nosy()).as_deref(), Some("go1.22.3"), "as of a moment ago");
    // Another program: the process is looked at again.
    enricher.learn(KEY, Process { exe: Some(b"/x/tool".to_vec()), ..Process::default() });
    assert_eq!(go_of(&mut enricher, nosy()).as_deref(), Some("go1.22.33"));
    enricher.learn(KEY, Process { exe: Some(b"/bin/sh".to_vec()), ..Process::default() });
    assert_eq!(go_of(&mut enricher, nosy()), None, "the next program's, not the sender's");
    assert_eq!(lost(&enricher, "program-gone"), 1);
}

#[test]
fn what_cannot_be_looked_into_is_absent() {
    let dir = with_go();
    let replace = |target: &std::path::Path| {
        std::fs::remove_file(dir.path("4711/exe")).unwrap();
        symlink(target, dir.path("4711/exe")).unwrap();
    };
    // Nothing there, no file, and one that would wait for a writer.
    for target in ["nothing", "4711", "fifo"] {
        if target == "fifo" {
            let fifo = (rustix::fs::CWD, dir.path("fifo"));
            rustix::fs::mknodat(fifo.0, fifo.1, rustix::fs::FileType::Fifo, 0o600.into(), 0)
                .unwrap();
        }
        replace(&dir.path(target));
        let mut enricher = enricher(&dir);
        assert_eq!(go_of(&mut enricher, nosy()), None, "{target}");
        assert_eq!(lost(&enricher, "program-gone"), 1, "{target}");
    }
    replace(&dir.path("tool"));
    dir.write("4711/stat", format!("4711 (ping) S 1 {}101 0", "0 ".repeat(17)).as_bytes());
    assert_eq!(go_of(&mut enricher(&dir), nosy()), None, "another process has the pid");
}

#[test]
fn what_is_kept_is_bounded_and_the_cost_counted() {
    let mut enricher = Enricher::detached();
    for pid in 0..u32::try_from(MAX_PROCESSES).unwrap() + 3 {
        enricher.learn(ProcessKey { pid, start_ticks: 1 }, Process::default());
    }
    assert_eq!(enricher.processes.len(), MAX_PROCESSES);
    assert_eq!(lost(&enricher, "process-evicted"), 3);
}
