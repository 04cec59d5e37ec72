//! The agent through the program, without privileges: capture files go in, and what its outputs
//! have is what `replay` shows of them. Live it is tested end to end (tests/e2e).

#[allow(dead_code, reason = "each test uses a part")]
mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{
    PATIENCE, Scratch, capture, command, free_port, refused, said, sentby, sorted, text, until,
};

/// A running agent, killed with the value.
struct Agent {
    child: Child,
    stderr: PathBuf,
}

impl Agent {
    fn start(scratch: &Scratch, mut command: Command) -> Agent {
        let stderr = PathBuf::from(scratch.path("stderr"));
        let to = fs::File::create(&stderr).expect("a file");
        Agent { child: command.stderr(to).spawn().expect("sentby runs"), stderr }
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: kill takes no pointers, and the child has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).expect("its stderr")
    }

    /// Ends it as systemd does.
    fn stop(mut self) -> String {
        self.signal(libc::SIGTERM);
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "{status}: {}", self.stderr());
        self.stderr()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A capture file that does not end, so that the agent stays: a fifo with this in it.
struct Endless {
    path: String,
    open: Option<fs::File>,
}

impl Endless {
    fn new(scratch: &Scratch) -> Endless {
        let path = scratch.path("endless.pcap");
        assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        Endless { path, open: None }
    }

    /// Sends all of the capture but its last bytes.
    fn send(&mut self) {
        let bytes = fs::read(capture("backwards.pcap")).expect("a capture");
        let file = fs::OpenOptions::new().write(true).open(&self.path);
        let file = self.open.insert(file.expect("the fifo"));
        file.write_all(&bytes).expect("sent");
    }
}

fn scrape(port: u16) -> Option<String> {
    get(port, "/metrics")
}

/// What a server of this machine answers, with its head.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut page = String::new();
    stream.read_to_string(&mut page).ok()?;
    Some(page)
}

/// A program that is killed with the value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Prometheus's answer to a query, without its head.
fn query(port: u16, expression: &str) -> Option<String> {
    let encoded: String = expression.bytes().map(|b| format!("%{b:02x}")).collect();
    let answer = get(port, &format!("/api/v1/query?query={encoded}"))?;
    let (_, body) = answer.split_once("\r\n\r\n")?;
    Some(body.to_owned())
}

/// Every expression of the dashboard, as Grafana asks it.
fn of_dashboard() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/grafana/sentby.json");
    let text = fs::read_to_string(path).expect("the dashboard");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|p| p["targets"].as_array().expect("targets"));
    let texts = targets.map(|t| t["expr"].as_str().expect("an expression"));
    texts.map(|e| e.replace("$instance", ".*").replace("$__rate_interval", "1m")).collect()
}

#[test]
fn every_output_has_what_replay_shows() {
    let scratch = Scratch::new("outputs");
    let (json, record) = (scratch.path("events.json"), scratch.path("events.db"));
    let want = sorted(&said(&["replay", &capture("backwards.pcap"), "-q", "--json"]));
    assert!(want.len() > 1);
    let file = capture("backwards.pcap");
    let run = ["agent", "--from", &file, "--json", &json, "--record", &record];
    let stderr = text(&sentby(&run).stderr);
    let n = want.len();
    for output in ["record", "json"] {
        let line = format!("sentby: output {output}: {n} events, 0 lost");
        assert!(stderr.lines().any(|l| l == line), "{line} is not in {stderr}");
    }
    assert_eq!(sorted(&fs::read_to_string(&json).expect("the file")), want);
    assert_eq!(sorted(&said(&["replay", &record, "-q", "--json"])), want);
    // Events are added to what is there, and stdout is an output as well.
    let printed = said(&["agent", "-q", "--from", &file, "--json", "-"]);
    assert_eq!(sorted(&printed), want);
    said(&["agent", "-q", "--from", &file, "--json", &json]);
    assert_eq!(fs::read_to_string(&json).expect("the file").lines().count(), 2 * n);
}

#[test]
fn a_source_that_can_wait_loses_nothing_to_a_small_queue() {
    let scratch = Scratch::new("queue");
    let many = scratch.path("many.db");
    said(&["__fill", &many, "20000"]);
    let (json, file) = (scratch.path("events.json"), many.as_str());
    let run = ["agent", "--from", file, "--json", &json, "--queue-size", "4K"];
    let stderr = text(&sentby(&run).stderr);
    assert!(stderr.contains("output json: 20000 events, 0 lost\n"), "{stderr}");
    assert_eq!(fs::read_to_string(&json).expect("the file").lines().count(), 20_000);
}

#[test]
fn settings_come_from_the_file_the_environment_and_the_command_line() {
    let scratch = Scratch::new("settings");
    let (of_file, of_env) = (scratch.path("file.json"), scratch.path("env.json"));
    let config = scratch.write("agent.toml", &format!("json = {of_file:?}\nquiet = true\n"));
    let file = capture("backwards.pcap");
    let run = ["agent", "--config", &config, "--from", &file];
    assert!(command(&run).status().expect("sentby runs").success());
    assert!(command(&run).env("SENTBY_JSON", &of_env).status().expect("sentby runs").success());
    let lengths = [&of_file, &of_env].map(|path| fs::metadata(path).expect("a file").len());
    assert!(lengths[0] > 0 && lengths[0] == lengths[1], "{lengths:?}");
    let printed = command(&run).env("SENTBY_JSON", &of_env).args(["--json", "-"]).output();
    assert_eq!(printed.expect("sentby runs").stdout.len() as u64, lengths[0]);
    assert_eq!(fs::metadata(&of_env).expect("a file").len(), lengths[0]);
}

#[test]
fn wrong_settings_are_one_line() {
    let scratch = Scratch::new("wrong");
    let file = capture("backwards.pcap");
    let none = refused(&["agent", "--config", "/dev/null", "--from", &file], 2);
    let want =
        "the agent has no output: give one of --record, --json, --nats, --otlp, --prometheus";
    assert!(none.contains(want), "{none}");
    let config = scratch.write("agent.toml", "quiet = true\njsn = \"-\"\n");
    let unknown = refused(&["agent", "--config", &config], 2);
    assert!(unknown.contains("agent.toml:2: unknown key \"jsn\""), "{unknown}");
    let nowhere = ["agent", "-q", "--from", &file, "--json", "/nowhere/at/all.json"];
    let nowhere = refused(&nowhere, 1);
    assert!(nowhere.contains("the json output: opening /nowhere/at/all.json"), "{nowhere}");
}

#[test]
fn a_reload_takes_what_is_right_and_leaves_the_rest_as_it_was() {
    let scratch = Scratch::new("reload");
    let notify = UnixDatagram::bind(scratch.path("notify")).expect("a socket");
    notify.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let told = || {
        let mut bytes = [0; 200];
        let n = notify.recv(&mut bytes).expect("systemd is told");
        text(&bytes[..n])
    };
    let port = free_port();
    let (first, second) = (scratch.path("first.json"), scratch.path("second.json"));
    let settings = |json: &str, more: &str| {
        scratch.write("agent.toml", &format!("json = {json:?}\nprometheus = {port}\n{more}"));
    };
    settings(&first, "");
    let mut endless = Endless::new(&scratch);
    let mut agent = command(&["agent", "--from", &endless.path]);
    agent.args(["--config", &scratch.path("agent.toml")]);
    agent.env("NOTIFY_SOCKET", scratch.path("notify"));
    let agent = Agent::start(&scratch, agent);
    endless.send();
    assert!(told().starts_with("READY=1"));
    let lines = |path: &str| fs::read_to_string(path).map_or(0, |text| text.lines().count());
    until("no events", || (lines(&first) > 0).then_some(()));
    // logrotate: moved away, opened anew.
    fs::rename(&first, scratch.path("first.json.1")).expect("renamed");
    agent.signal(libc::SIGHUP);
    assert!(told().starts_with("RELOADING=1"));
    assert!(told().starts_with("READY=1"));
    until("no new file", || Path::new(&first).exists().then_some(()));
    settings(&first, "oops = 1\n");
    agent.signal(libc::SIGHUP);
    assert!(told().starts_with("RELOADING=1"));
    assert!(told().contains("failed"));
    settings("/nowhere/at/all.json", "");
    agent.signal(libc::SIGHUP);
    assert!(told().starts_with("RELOADING=1") && told().contains("failed"));
    settings(&second, "");
    agent.signal(libc::SIGHUP);
    assert!(told().starts_with("RELOADING=1") && told().starts_with("READY=1"));
    assert!(Path::new(&second).exists());
    let page = until("no page", || scrape(port));
    for line in ["{result=\"done\"} 2", "{result=\"failed\"} 2", "{output=\"json\"} 1"] {
        assert!(page.contains(line), "{line}: {page}");
    }
    let stderr = agent.stop();
    assert!(told().starts_with("STOPPING=1"));
    let lines: Vec<&str> = stderr.lines().filter(|l| l.contains("reloading")).collect();
    assert_eq!(lines.len(), 2, "{stderr}");
    assert!(lines[0].contains("agent.toml:3: unknown key \"oops\""), "{stderr}");
    assert!(lines[1].contains("the json output: opening /nowhere"), "{stderr}");
}

#[test]
fn an_output_that_fails_costs_its_own_events_alone() {
    let scratch = Scratch::new("full");
    let port = free_port();
    let mut endless = Endless::new(&scratch);
    let mut agent = command(&["agent", "--from", &endless.path, "--json", "/dev/full"]);
    agent.args(["--prometheus", &port.to_string()]);
    let agent = Agent::start(&scratch, agent);
    endless.send();
    let page = until("no loss", || {
        scrape(port).filter(|page| page.contains("output=\"json\",place=\"failed\"}"))
    });
    assert!(page.contains("sentby_output_up{output=\"json\"} 0"), "{page}");
    assert!(!page.contains("sentby_output_lost_total{output=\"prometheus\""), "{page}");
    let stderr = agent.stop();
    let failed = "the json output failed: writing /dev/full: No space left on device";
    assert!(stderr.contains(failed), "{stderr}");
}

#[test]
fn what_costs_too_much_is_sampled_and_says_for_how_many_it_stands() {
    let scratch = Scratch::new("sampled");
    let (port, json) = (free_port(), scratch.path("events.json"));
    let mut endless = Endless::new(&scratch);
    let mut agent = command(&["agent", "--from", &endless.path, "--json", &json]);
    agent.args(["--prometheus", &port.to_string(), "--max-cpu", "0.5%"]);
    let agent = Agent::start(&scratch, agent);
    endless.send();
    let bytes = fs::read(capture("backwards.pcap")).expect("a capture");
    // The file's header stands once.
    let more = bytes[24..].repeat(100);
    let page = until("nothing is left out", || {
        endless.open.as_mut().expect("the fifo").write_all(&more).expect("sent");
        scrape(port).filter(|page| page.contains("\nsentby_sample_quota "))
    });
    assert!(page.contains("\nsentby_sampled_out_total "), "{page}");
    // Of what comes now a part is handed on.
    for _ in 0..20 {
        endless.open.as_mut().expect("the fifo").write_all(&more).expect("sent");
    }
    drop(endless.open.take());
    let stderr = agent.stop();
    let shown: u64 = stderr
        .split(" shown")
        .next()
        .and_then(|t| t.rsplit(' ').next()?.parse().ok())
        .expect("a number");
    let lines = fs::read_to_string(&json).expect("events");
    let stands_for = |line: &str| {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        event["sampled"].as_u64().unwrap_or(1)
    };
    let (n, sum) = (lines.lines().count() as u64, lines.lines().map(stands_for).sum::<u64>());
    let left_out = format!("{} events were left out (--max-cpu)", shown - n);
    assert!(n < shown && stderr.contains(&left_out), "{n}: {stderr}");
    assert!(stderr.contains("is more than --max-cpu 0.5%"), "{stderr}");
    // Those that were left out behind the last one nobody stands for.
    assert!(sum > n && sum <= shown && sum >= shown - shown / 10, "{n}, {sum}: {stderr}");
    let wrong = refused_in_a_line(&["agent", "--json", &json, "--max-cpu", "2"]);
    assert!(wrong.contains("give a part of one CPU such as 2%"), "{wrong}");
}

fn refused_in_a_line(run: &[&str]) -> String {
    let output = sentby(run);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    text(&output.stderr)
}

#[test]
fn a_real_prometheus_scrapes_it_and_answers_the_dashboard() {
    let scratch = Scratch::new("prometheus");
    let (port, of_prometheus) = (free_port(), free_port());
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: sentby\n  \
         static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n"
    );
    let config = scratch.write("prometheus.yml", &config);
    let mut prometheus = Command::new("prometheus");
    prometheus.arg(format!("--config.file={config}"));
    prometheus.arg(format!("--storage.tsdb.path={}", scratch.path("data")));
    prometheus.arg(format!("--web.listen-address=127.0.0.1:{of_prometheus}"));
    let silent = prometheus.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let Ok(child) = silent else {
        eprintln!("skipped: prometheus is not installed");
        return;
    };
    let _server = Server(child);
    let mut endless = Endless::new(&scratch);
    let mut agent = command(&["agent", "-q", "--from", &endless.path]);
    agent.args(["--prometheus", &port.to_string()]);
    let agent = Agent::start(&scratch, agent);
    endless.send();
    let want = said(&["replay", &capture("backwards.pcap"), "-q", "--json"]).lines().count();
    let sum = |answer: &str| {
        let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse::<usize>().ok()
    };
    // What waits in the file's last bytes may be decoded at the end only.
    until("no requests", || {
        let n = sum(&query(of_prometheus, "sum(sentby_requests_total)")?)?;
        (n > 0 && n <= want).then_some(())
    });
    let info = query(of_prometheus, "sentby_build_info").expect("an answer");
    assert!(info.contains("\"version\":\"0."), "{info}");
    for expression in of_dashboard() {
        let answer = query(of_prometheus, &expression).expect("an answer");
        assert!(answer.starts_with("{\"status\":\"success\""), "{expression}: {answer}");
    }
    let wrong = query(of_prometheus, "sum(").expect("an answer");
    assert!(wrong.starts_with("{\"status\":\"error\""), "errors are told apart: {wrong}");
    agent.stop();
}
