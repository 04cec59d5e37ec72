//! Runtimes made of a socket and what it answers.

use super::socket::Api;
use super::*;
use crate::enrich::tests::{KEY, machine, with};
use crate::event::{Ends, Process};
use crate::fixture::{Probe, Scratch, capture};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use wire::Request;

const WEB: &str = "3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa3f2a91bc0d1e44aa";
const NEW: &str = "00000000000000000000000000000000000000000000000000000000000000ff";
/// Known when it is asked for.
pub const LATE: &str = "00000000000000000000000000000000000000000000000000000000000000ee";

fn id(text: &str) -> ContainerId {
    ContainerId::parse(text).unwrap()
}

/// Serves each connection by a thread: what it asks for goes to `answer`, which may write and
/// wait as it likes.
fn serve(path: &Path, answer: impl Fn(&str, &mut UnixStream) + Clone + Send + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (answer, mut stream) = (answer.clone(), stream.unwrap());
            thread::spawn(move || {
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let Some(Ok(first)) = lines.next() else { return };
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                answer(first.split(' ').nth(1).unwrap_or_default(), &mut stream);
            });
        }
    });
}

fn write(stream: &mut UnixStream, status: &str, body: &str) {
    let len = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {len}\r\n\r\n");
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}

/// A piece of a body without an end.
fn piece(stream: &mut UnixStream, text: &str) {
    let _ = stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
}

/// Waits until the other end is closed.
fn hold(stream: &mut UnixStream) {
    let _ = stream.read(&mut [0]);
}

/// A runtime that has WEB, tells of NEW when it is told to, and knows LATE if it is asked.
fn docker(told: Arc<std::sync::Barrier>) -> impl Fn(&str, &mut UnixStream) + Clone + Send {
    move |asked, stream| {
        if asked == "/containers/json" {
            let one = format!(r#"{{"Id":"{WEB}","Names":["/web"],"Image":"nginx","Labels":{{}}}}"#);
            write(stream, "200 OK", &format!("[{one}]"));
        } else if asked.starts_with("/events") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            told.wait();
            let of = r#""Attributes":{"name":"new","image":"i"}"#;
            piece(stream, &format!(r#"{{"Action":"create","Actor":{{"ID":"{NEW}",{of}}}}}"#));
            hold(stream);
        } else if asked == format!("/containers/{LATE}/json") {
            write(stream, "200 OK", r#"{"Name":"/late","Config":{"Image":"x"}}"#);
        } else {
            write(stream, "404 Not Found", r#"{"message":"no such container"}"#);
        }
    }
}

/// What asks one runtime, which lists nothing and gives this answer when it is asked for one.
/// Events are kept back for this long.
pub fn asking(
    path: &Path,
    keep_back: Duration,
    answer: impl Fn() -> String + Clone + Send + 'static,
) -> Containers {
    serve(path, move |asked: &str, stream: &mut UnixStream| match asked {
        "/containers/json" => write(stream, "200 OK", "[]"),
        _ if asked.starts_with("/events") => hold(stream),
        _ => write(stream, "200 OK", &answer()),
    });
    Containers { keep_back, ..start(&[(Api::Docker, path)]) }
}

fn start(sockets: &[(Api, &Path)]) -> Containers {
    let of = |(api, path): &(Api, &Path)| RuntimeSocket {
        api: *api,
        path: (*path).to_owned(),
        named: true,
    };
    Containers::start(sockets.iter().map(of).collect()).unwrap()
}

/// Looks until a container has a name, or until it takes too long.
fn name(containers: &mut Containers, text: &str) -> Option<String> {
    let until = Instant::now() + Duration::from_secs(5);
    let mut look = Look::default();
    while Instant::now() < until {
        containers.tick(Instant::now());
        if let Some(info) = containers.find(id(text), &mut look, Instant::now()) {
            return info.name.clone();
        }
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// The name that is known at this moment.
fn now(containers: &mut Containers, text: &str) -> Option<String> {
    containers.tick(Instant::now());
    containers.find(id(text), &mut Look::default(), Instant::now())?.name.clone()
}

#[test]
fn what_runs_is_known_at_once_and_what_is_made_before_it_is_asked_for() {
    let dir = Scratch::new();
    let path = dir.path("docker.sock");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let told = Arc::new(std::sync::Barrier::new(2));
    serve(&path, docker(told.clone()));
    let mut containers = start(&[(Api::Docker, &path)]);
    assert_eq!(now(&mut containers, WEB).as_deref(), Some("web"));
    told.wait();
    let before = containers.heard;
    while containers.heard == before {
        containers.tick(Instant::now());
        thread::yield_now();
    }
    assert_eq!(now(&mut containers, NEW).as_deref(), Some("new"), "nobody asked for it");
    assert_eq!(now(&mut containers, LATE), None, "the pipeline does not wait");
    assert_eq!(name(&mut containers, LATE).as_deref(), Some("late"));
    assert_eq!(containers.untold().unanswered, 0);
}

#[test]
fn who_is_not_known_is_not_asked_for_again_and_again() {
    let dir = Scratch::new();
    let path = dir.path("docker.sock");
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let list = asked.clone();
    serve(&path, move |what: &str, stream: &mut UnixStream| {
        list.lock().unwrap().push(what.to_owned());
        write(stream, "404 Not Found", "{}");
    });
    let mut containers = start(&[(Api::Docker, &path)]);
    let before = containers.heard;
    now(&mut containers, LATE);
    while containers.heard == before {
        containers.tick(Instant::now());
        thread::yield_now();
    }
    for _ in 0..100 {
        assert_eq!(now(&mut containers, LATE), None);
    }
    let of_it = || asked.lock().unwrap().iter().filter(|a| a.contains(LATE)).count();
    assert_eq!(of_it(), 1);
    assert_eq!((containers.untold().unanswered, containers.untold().unasked), (0, 0));
    let later = Instant::now() + UNKNOWN_FOR;
    assert!(containers.find(id(LATE), &mut Look::default(), later).is_none());
    let until = Instant::now() + Duration::from_secs(5);
    while of_it() < 2 && Instant::now() < until {
        thread::yield_now();
    }
    assert_eq!(of_it(), 2);
}

#[test]
fn a_socket_that_hangs_holds_up_nobody() {
    let dir = Scratch::new();
    let (hung, good) = (dir.path("hung.sock"), dir.path("good.sock"));
    for path in [&hung, &dir.path("cri.sock")] {
        serve(path, |_: &str, stream: &mut UnixStream| hold(stream));
    }
    serve(&good, docker(Arc::new(std::sync::Barrier::new(2))));
    let begun = Instant::now();
    let cri = dir.path("cri.sock");
    let mut containers = start(&[(Api::Docker, &hung), (Api::Cri, &cri), (Api::Docker, &good)]);
    assert!(begun.elapsed() < START * 3, "{:?}", begun.elapsed());
    assert_eq!(now(&mut containers, WEB).as_deref(), Some("web"));
    assert_eq!(name(&mut containers, LATE).as_deref(), Some("late"));
    assert_eq!(containers.untold().unanswered, 0, "the others' answer is enough");
    // Nobody knows this one, and two have not said so.
    now(&mut containers, NEW);
    let until = Instant::now() + PATIENCE * 3;
    while containers.untold().unanswered == 0 && Instant::now() < until {
        containers.tick(Instant::now());
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(containers.untold().unanswered, 1);
}

#[test]
fn questions_and_answers_have_limits() {
    let dir = Scratch::new();
    let hung = dir.path("hung.sock");
    serve(&hung, |_: &str, stream: &mut UnixStream| hold(stream));
    let mut containers = start(&[(Api::Docker, &hung)]);
    for n in 0..2 * MAX_CONTAINERS {
        let text = format!("{n:064x}");
        containers.find(id(&text), &mut Look::default(), Instant::now());
    }
    let untold = containers.untold();
    assert!(untold.unasked > 0 && untold.evicted == 0, "{untold:?}");
    for n in 0..2 * MAX_CONTAINERS {
        let told = Answer::Known(id(&format!("{n:064x}")), ContainerInfo::default());
        containers.take(told, Instant::now());
    }
    assert!(containers.untold().evicted >= MAX_CONTAINERS as u64);
}

#[test]
fn answers_that_are_too_long_or_nonsense_name_nobody() {
    let dir = Scratch::new();
    let path = dir.path("docker.sock");
    serve(&path, |asked: &str, stream: &mut UnixStream| match asked {
        _ if asked.contains(WEB) => {
            let _ = stream.write_all(b"\x16\x03\x01 no such protocol\r\n\r\n");
        }
        _ if asked.contains(NEW) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let long = "[".repeat(1 << 16);
            (0..2 * MAX_ANSWER / long.len()).for_each(|_| piece(stream, &long));
        }
        _ => write(stream, "500 Internal Server Error", ""),
    });
    let mut containers = start(&[(Api::Docker, &path)]);
    for (n, text) in [WEB, NEW, LATE].iter().enumerate() {
        now(&mut containers, text);
        let until = Instant::now() + PATIENCE * 3;
        while containers.untold().unanswered <= n as u64 && Instant::now() < until {
            containers.tick(Instant::now());
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(containers.untold().unanswered, n as u64 + 1, "{text}");
        assert_eq!(now(&mut containers, text), None);
    }
}

#[test]
fn no_runtime_is_no_fault() {
    let dir = Scratch::new();
    let (absent, dead) = (dir.path("absent.sock"), dir.path("dead.sock"));
    drop(UnixListener::bind(&dead).unwrap());
    let begun = Instant::now();
    let sockets = [(Api::Docker, &*absent), (Api::Cri, &*absent), (Api::Docker, &*dead)];
    let mut containers = start(&sockets);
    assert!(begun.elapsed() < START, "{:?}", begun.elapsed());
    let before = containers.heard;
    now(&mut containers, WEB);
    while containers.heard == before {
        containers.tick(Instant::now());
        thread::yield_now();
    }
    assert_eq!(now(&mut containers, WEB), None);
    assert_eq!(containers.untold().unanswered, 0);
    // But these are missed, since they were asked for by name.
    let why = "nobody listens; its containers go by their ids";
    let want = [absent, dead].map(|p| format!("container runtime at {}: {why}", p.display()));
    assert_eq!(containers.notes(), want);
}

#[test]
fn what_a_socket_fails_by_is_told_and_does_no_harm() {
    let dir = Scratch::new();
    let path = dir.path("docker.sock");
    serve(&path, |_: &str, stream: &mut UnixStream| {
        let _ = stream.write_all(b"HTTP/1.1 400 \x1b]0;x\x07\r\nContent-Length: 0\r\n\r\n");
    });
    let containers = start(&[(Api::Docker, &path)]);
    let [note] = &containers.notes()[..] else { panic!("{:?}", containers.notes()) };
    assert!(note.starts_with("container runtime at /"), "{note}");
    assert!(!note.chars().any(crate::escape::is_hidden), "{note:?}");
}

#[test]
fn an_event_has_the_name_that_came_since_and_loses_it_with_the_cgroup() {
    let dir = machine();
    let path = dir.path("docker.sock");
    serve(&path, docker(Arc::new(std::sync::Barrier::new(2))));
    let mut enricher = with(&dir, Some(start(&[(Api::Docker, &path)])));
    let mut say = |cgroup: &str| {
        let cgroup = Some(cgroup.as_bytes().to_vec());
        let argv = Some(b"ping".to_vec());
        let told = || Process { argv: argv.clone(), cgroup: cgroup.clone(), ..Process::default() };
        enricher.learn(KEY, told());
        let mut said = Vec::new();
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            enricher.tick();
            let address = "192.0.2.1".parse().unwrap();
            let (ends, capture) = (Ends { src: address, dst: address, ports: None }, capture());
            let request = Request::new(&Probe);
            let event = enricher.event(&capture, ends, &request);
            let info = event.process.and_then(|p| p.container.as_deref());
            let now = (info.and_then(|info| info.name.clone()), event.facts);
            if said.last() != Some(&now) {
                said.push(now);
            }
            thread::sleep(Duration::from_millis(1));
        }
        // What a backend tells again says nothing of this.
        enricher.learn(KEY, told());
        said
    };
    let names = |said: &[(Option<String>, _)]| said.iter().map(|s| s.0.clone()).collect::<Vec<_>>();
    let late = say(&format!("/system.slice/docker-{LATE}.scope"));
    assert_eq!(names(&late), [None, Some("late".to_owned())], "{late:?}");
    assert_ne!(late[0].1, late[1].1, "what outputs keep is written anew");
    let again = say(&format!("/system.slice/docker-{LATE}.scope"));
    assert_eq!(names(&again), [Some("late".to_owned())]);
    assert_eq!(names(&say("/system.slice/x.service")), [None]);
    let pod = say(&format!("/kubepods/besteffort/pod1/{WEB}"));
    assert_eq!(names(&pod), [Some("web".to_owned())], "from the first event on");
}
