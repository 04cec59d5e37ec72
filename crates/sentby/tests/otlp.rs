//! Events to collectors of OpenTelemetry logs. One is real: `rotel` of PyPI, whose program is
//! what ROTEL names, or `rotel-agent`, or where scripts/deps puts it; without it those tests say
//! so and do nothing. The others are servers of these tests, which answer as collectors in
//! trouble do.

#[allow(dead_code, reason = "each test uses a part")]
mod support;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};
use support::{
    Scratch, capture, certificate, command, free_port, refused, said, sentby, text, until,
};

/// The real collector, killed with the value. What it gets it prints.
struct Collector {
    http: u16,
    grpc: u16,
    printed: String,
    pid_file: String,
    child: Option<Child>,
}

impl Collector {
    /// One that does not run yet.
    fn new(scratch: &Scratch) -> Collector {
        let (printed, pid_file) = (scratch.path("printed"), scratch.path("pid"));
        Collector { http: free_port(), grpc: free_port(), printed, pid_file, child: None }
    }

    /// Whether there is one that can be run.
    fn start(&mut self) -> bool {
        self.child = programs().into_iter().find_map(|program| {
            let mut command = Command::new(program);
            command.args(["start", "--exporter", "blackhole", "--pid-file", &self.pid_file]);
            command.args(["--debug-log", "logs", "--debug-log-verbosity", "detailed"]);
            command.args(["--otlp-http-endpoint", &format!("127.0.0.1:{}", self.http)]);
            command.args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{}", self.grpc)]);
            let to = fs::File::create(&self.printed).expect("a file");
            command.stdin(Stdio::null()).stdout(to).stderr(Stdio::null()).spawn().ok()
        });
        if self.child.is_none() {
            eprintln!("skipped: rotel-agent is not installed (rotel of PyPI)");
        }
        self.child.is_some()
    }

    /// Where it listens, and how.
    fn ways(&self) -> [(&'static str, String); 2] {
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        [("http", url(self.http)), ("grpc", url(self.grpc))]
    }

    fn is_up(&self) -> bool {
        [self.http, self.grpc].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok())
    }

    /// The first records that it got, as soon as there are so many: each by its attributes, and
    /// what else stands above them.
    fn records(&self, n: usize) -> Vec<BTreeMap<String, String>> {
        until("records do not arrive", || {
            let printed = fs::read_to_string(&self.printed).expect("what it prints");
            // The last is whole when what stands behind its attributes is there.
            (printed.matches("Flags: ").count() >= n).then(|| records(&printed))
        })
    }
}

/// Where the collector may be.
fn programs() -> Vec<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    if let Some(named) = variable("ROTEL") {
        return vec![named];
    }
    let cache = || variable("HOME").map(|home| home.join(".cache/sentby-tools"));
    let tools = variable("SENTBY_TOOLS").or_else(cache);
    let of_deps = tools.map(|tools| tools.join("rotel/rotel-agent"));
    [Some(PathBuf::from("rotel-agent")), of_deps].into_iter().flatten().collect()
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Records as rotel prints them: `Key: value` lines, and attributes behind arrows.
fn records(printed: &str) -> Vec<BTreeMap<String, String>> {
    let begins = printed.split("LogRecord #").skip(1);
    begins
        .map(|record| {
            let lines = record.lines().skip(1).take_while(|line| !line.contains("Flags: "));
            let pairs = lines.filter_map(|line| line.split_once(": "));
            let key = |key: &str| key.trim_start_matches([' ', '-', '>']).to_owned();
            pairs.map(|(k, value)| (key(k), value.to_owned())).collect()
        })
        .collect()
}

/// A JSON value as rotel prints attributes.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("Str({text})"),
        Value::Bool(flag) => format!("Bool({flag})"),
        Value::Array(list) => {
            format!("Slice({})", list.iter().map(shown).collect::<Vec<_>>().join(", "))
        }
        number => format!("Int({number})"),
    }
}

/// Where fields of `--json` are in a record; of an event without the field it has no attribute.
const ATTRIBUTES: &[(&str, &str)] = &[
    ("/pid", "process.pid"),
    ("/ppid", "process.parent_pid"),
    ("/start", "process.creation.time"),
    ("/exe", "process.executable.path"),
    ("/cmdline", "process.command_args"),
    ("/uid", "process.real_user.id"),
    ("/comm", "thread.name"),
    ("/tid", "thread.id"),
    ("/cgroup", "process.linux.cgroup"),
    ("/src", "source.address"),
    ("/sport", "source.port"),
    ("/dst", "destination.address"),
    ("/dport", "destination.port"),
    ("/iface", "network.interface.name"),
    ("/evidence", "sentby.evidence"),
    ("/unit", "sentby.unit"),
    ("/dns/name", "dns.question.name"),
    ("/dns/type", "sentby.dns.type"),
    ("/icmp/seq", "sentby.icmp.seq"),
    ("/http/method", "http.request.method"),
    ("/http/version", "network.protocol.version"),
    ("/http/user_agent", "user_agent.original"),
    ("/tls/sni", "tls.client.server_name"),
    ("/tls/ja3", "tls.client.ja3"),
];

fn compare(record: &BTreeMap<String, String>, event: &Value) {
    for (field, attribute) in ATTRIBUTES {
        let want = event.pointer(field).map(shown);
        assert_eq!(record.get(*attribute), want.as_ref(), "{attribute} of {event}: {record:?}");
    }
    let protocol = event["proto"].as_str().expect("a protocol");
    assert_eq!(record["EventName"], format!("sentby.{protocol}"));
    assert!(record["Body"].starts_with(&format!("Str({protocol} ")), "{record:?}");
    assert_eq!(record["SeverityText"], "INFO");
}

fn events(file: &str) -> Vec<Value> {
    let lines = said(&["replay", file, "-q", "--json"]);
    lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What an agent says that hands on all of a file.
fn handed_on(file: &str, url: &str, more: &[&str]) -> String {
    let run = [&["agent", "--from", file, "--otlp", url], more].concat();
    let output = sentby(&run);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn a_real_collector_gets_what_replay_shows_over_http_and_grpc() {
    let scratch = Scratch::new("real");
    let many = scratch.path("many.db");
    said(&["__fill", &many, "1500"]);
    for file in [&many, &capture("ptcpdump.pcapng"), &capture("hello-in-two.pcap")] {
        let want = events(file);
        for way in 0..2 {
            let mut collector = Collector::new(&scratch);
            if !collector.start() {
                return;
            }
            until("the collector does not come up", || collector.is_up().then_some(()));
            let (name, url) = &collector.ways()[way];
            let said = handed_on(file, url, &["--otlp-protocol", name]);
            let all = format!("output otlp: {} events, 0 lost\n", want.len());
            assert!(said.contains(&all), "{said}");
            let got = collector.records(want.len());
            assert_eq!(got.len(), want.len());
            got.iter().zip(&want).for_each(|(record, event)| compare(record, event));
        }
    }
}

#[test]
fn a_real_collector_gets_the_parts_of_a_request_under_their_names() {
    let scratch = Scratch::new("parts");
    let mut collector = Collector::new(&scratch);
    if !collector.start() {
        return;
    }
    let file = capture("ptcpdump.pcapng");
    // It may not be up yet.
    handed_on(&file, &collector.ways()[0].1, &["--otlp-linger", "60s"]);
    let got = collector.records(events(&file).len());
    let request = got.iter().find(|r| r["EventName"] == "sentby.http").expect("a request");
    let want = [
        ("Body", "Str(http GET example.com/a)"),
        ("network.protocol.name", "Str(http)"),
        ("network.transport", "Str(tcp)"),
        ("network.type", "Str(ipv4)"),
        ("process.executable.name", "Str(curl)"),
        ("url.path", "Str(/a)"),
        ("server.address", "Str(example.com)"),
        ("sentby.dst_name", "Str(example.com)"),
    ];
    for (name, value) in want {
        assert_eq!(request.get(name).map(String::as_str), Some(value), "{name}: {request:?}");
    }
    let printed = fs::read_to_string(&collector.printed).expect("what it prints");
    let host = fs::read_to_string("/proc/sys/kernel/hostname").expect("a name");
    for (name, value) in
        [("service.name", "sentby"), ("host.name", host.trim()), ("os.type", "linux")]
    {
        let line = format!("-> {name}: Str({value})");
        assert!(printed.contains(&line), "{line} is not in {printed}");
    }
}

#[test]
fn a_real_collector_that_comes_later_gets_everything() {
    let scratch = Scratch::new("later");
    let many = scratch.path("many.db");
    said(&["__fill", &many, "3000"]);
    for way in 0..2 {
        let mut collector = Collector::new(&scratch);
        let (name, url) = &collector.ways()[way];
        let said = scratch.path("said");
        let run = ["agent", "--from", &many, "--otlp", url, "--otlp-protocol", name];
        let mut agent = command(&run);
        agent.args(["--otlp-linger", "60s", "--queue-size", "100K"]);
        agent.stderr(fs::File::create(&said).expect("a file"));
        let mut agent = agent.spawn().expect("sentby runs");
        let told = || fs::read_to_string(&said).expect("what it says");
        until("it does not say that nobody is there", || {
            told().contains("; trying again").then_some(())
        });
        sleep(Duration::from_millis(500));
        if !collector.start() {
            agent.kill().expect("killed");
            agent.wait().expect("its end");
            return;
        }
        assert!(agent.wait().expect("its end").success());
        assert!(told().contains("output otlp: 3000 events, 0 lost"), "{}", told());
        assert!(told().contains("events arrive again"), "{}", told());
        assert_eq!(collector.records(3000).len(), 3000);
    }
}

/// A request to a server of these tests.
#[derive(Clone)]
struct Asked {
    when: Instant,
    head: String,
    records: usize,
}

/// An answer of it: a status with what stands below, and a body. An empty one hangs up.
type Answer = (&'static str, Vec<u8>);

fn plain(status: &'static str) -> Answer {
    (status, Vec::new())
}

/// A server that answers by a list, and by its last entry ever after.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn new(answers: Vec<Answer>) -> Server {
        Self::over("http", answers, |stream| Some(Box::new(stream)))
    }

    fn over(
        scheme: &str,
        answers: Vec<Answer>,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let own = asked.clone();
        // It ends with the tests.
        thread::spawn(move || {
            for stream in listener.incoming().filter_map(Result::ok) {
                let Some(stream) = wrap(stream) else { continue };
                let mut stream = BufReader::new(stream);
                while let Some(request) = read(&mut stream) {
                    let n = {
                        let mut asked = own.lock().expect("no panic");
                        asked.push(request);
                        asked.len()
                    };
                    let (head, body) = &answers[(n - 1).min(answers.len() - 1)];
                    if head.is_empty() {
                        break;
                    }
                    let length = body.len();
                    let head = format!("HTTP/1.1 {head}\r\nContent-Length: {length}\r\n\r\n");
                    let answer = [head.as_bytes(), body].concat();
                    let stream = stream.get_mut();
                    if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
                        break;
                    }
                }
            }
        });
        Server { url: format!("{scheme}://{address}"), asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn read(from: &mut BufReader<Box<dyn Stream>>) -> Option<Asked> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?.parse().ok()?;
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let request = ExportLogsServiceRequest::decode(body.as_slice()).expect("a message");
    let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
    let records = scopes.map(|s| s.log_records.len()).sum();
    Some(Asked { when: Instant::now(), head, records })
}

#[test]
fn who_is_busy_is_asked_again_when_it_says_and_nothing_is_lost() {
    let file = capture("backwards.pcap");
    let n = events(&file).len();
    for busy in ["", "429 Busy", "502 Bad", "503 Busy\r\nRetry-After: 3", "504 Late"] {
        let server = Server::new(vec![plain(busy), plain(busy), plain("200 OK")]);
        let linger = ["--otlp-linger", "60s"];
        let said = handed_on(&file, &server.url, &linger);
        assert!(said.contains(&format!("output otlp: {n} events, 0 lost\n")), "{said}");
        let asked = server.asked();
        assert_eq!(asked.iter().map(|a| a.records).collect::<Vec<_>>(), [n, n, n], "{busy}");
        let pauses = [asked[1].when - asked[0].when, asked[2].when - asked[1].when];
        let least = if busy.contains("Retry-After") { [3000, 3000] } else { [500, 1000] };
        let long = pauses.iter().zip(least).all(|(p, least)| p.as_millis() >= least);
        assert!(long, "{busy}: {pauses:?}");
    }
}

#[test]
fn what_is_refused_is_lost_at_a_place_of_its_own_and_what_follows_is_not() {
    let scratch = Scratch::new("refused");
    let many = scratch.path("many.db");
    said(&["__fill", &many, "2000"]);
    let server = Server::new(vec![plain("400 Bad Request"), plain("200 OK")]);
    let said = handed_on(&many, &server.url, &["--otlp-linger", "60s"]);
    let asked: Vec<usize> = server.asked().iter().map(|a| a.records).collect();
    assert_eq!(asked.iter().sum::<usize>(), 2000);
    assert!(asked.iter().all(|records| *records <= 512), "{asked:?}");
    let lost = format!("output otlp: 2000 events, {0} lost, {0} at otlp-refused\n", asked[0]);
    assert!(said.contains(&lost), "{lost} is not in {said}");
    assert!(said.contains("400 Bad Request; it refuses events, which are lost"), "{said}");
}

#[test]
fn what_a_collector_rejects_of_a_batch_is_lost_and_its_words_are_harmless() {
    let file = capture("backwards.pcap");
    let n = events(&file).len();
    let partial = ExportLogsPartialSuccess {
        rejected_log_records: 2,
        error_message: "too\n\x1b[31mold".to_owned(),
    };
    let answer = ExportLogsServiceResponse { partial_success: Some(partial) }.encode_to_vec();
    let server = Server::new(vec![("200 OK", answer)]);
    let said = handed_on(&file, &server.url, &[]);
    let lost = format!("output otlp: {n} events, 2 lost, 2 at otlp-rejected\n");
    assert!(said.contains(&lost), "{said}");
    assert!(said.contains("too\\n\\x1b[31mold; it rejects some events"), "{said:?}");
    assert_eq!(server.asked().len(), 1);
}

#[test]
fn what_helps_no_more_is_given_up_and_counted() {
    let file = capture("backwards.pcap");
    let n = events(&file).len();
    let server = Server::new(vec![plain("503 Busy\r\nRetry-After: 86400")]);
    let more = ["--otlp-retry-for", "1s", "--otlp-linger", "60s"];
    let said = handed_on(&file, &server.url, &more);
    let lost = format!("output otlp: {n} events, {n} lost, {n} at otlp-given-up\n");
    assert!(said.contains(&lost), "{said}");
    assert_eq!(server.asked().len(), 2);
}

#[test]
fn the_end_does_not_wait_longer_than_it_may_and_counts_what_has_not_arrived() {
    let scratch = Scratch::new("end");
    let many = scratch.path("many.db");
    said(&["__fill", &many, "4000"]);
    let url = format!("http://127.0.0.1:{}", free_port());
    // It has room for all, and ends by itself; or for few, and is ended.
    for queue in ["8M", "100K"] {
        let said = scratch.path("said");
        let mut agent = command(&["agent", "--from", &many, "--otlp", &url]);
        agent.args(["--otlp-linger", "300ms", "--queue-size", queue]);
        let mut agent =
            agent.stderr(fs::File::create(&said).expect("a file")).spawn().expect("runs");
        let told = || fs::read_to_string(&said).expect("what it says");
        if queue == "100K" {
            until("it does not say so", || told().contains("; trying again").then_some(()));
            let pid = i32::try_from(agent.id()).expect("a pid");
            // SAFETY: kill takes no pointers, and the child has not been waited for.
            assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
        }
        let begun = Instant::now();
        assert!(agent.wait().expect("its end").success());
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
        // All that it was given is lost, and told.
        let said = told();
        let line = said.lines().find_map(|l| l.strip_prefix("sentby: output otlp: "));
        let words: Vec<&str> = line.expect("its line").split_whitespace().collect();
        let lost: u64 = words[2].parse().expect("a number");
        assert!(lost > 0 && words[0] == words[2], "{said}");
        assert!(line.is_some_and(|l| l.contains("at stopped")), "{said}");
    }
}

#[test]
fn headers_are_sent_and_a_path_is_kept() {
    let server = Server::new(vec![plain("200 OK")]);
    let url = format!("{}/base", server.url);
    let more = ["--otlp-header", "authorization=Bearer a=b", "--otlp-header", "x-scope=7"];
    handed_on(&capture("backwards.pcap"), &url, &more);
    let asked = server.asked();
    let wanted = [
        "post /base/v1/logs http/1.1",
        "authorization: bearer a=b",
        "x-scope: 7",
        "content-type: application/x-protobuf",
    ];
    for line in wanted {
        assert!(asked[0].head.lines().any(|l| l == line), "{line} is not in {}", asked[0].head);
    }
}

#[test]
fn a_collector_with_tls_is_believed_if_its_certificate_is() {
    let scratch = Scratch::new("tls");
    let Some((cert, key)) = certificate(&scratch) else {
        eprintln!("skipped: openssl is not installed");
        return;
    };
    let provider = rustls::crypto::ring::default_provider().into();
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().expect("versions");
    let chain = vec![CertificateDer::from_pem_file(&cert).expect("a certificate")];
    let own = PrivateKeyDer::from_pem_file(&key).expect("a key");
    let config = config.with_no_client_auth().with_single_cert(chain, own).expect("both");
    let config = Arc::new(config);
    let server = Server::over("https", vec![plain("200 OK")], move |stream| {
        let connection = rustls::ServerConnection::new(config.clone()).ok()?;
        Some(Box::new(rustls::StreamOwned::new(connection, stream)))
    });
    let file = capture("backwards.pcap");
    let n = events(&file).len();
    let said = handed_on(&file, &server.url, &["--otlp-linger", "1s"]);
    assert!(said.contains(&format!("output otlp: {n} events, {n} lost, {n} at stopped")), "{said}");
    assert!(server.asked().is_empty());
    let said = handed_on(&file, &server.url, &["--otlp-ca", &cert]);
    assert!(said.contains(&format!("output otlp: {n} events, 0 lost\n")), "{said}");
    assert_eq!(server.asked()[0].records, n);
}

/// nginx with TLS and HTTP/2 in front of a collector by gRPC, killed with the value. While the
/// collector is away it answers 502.
struct Front {
    port: u16,
    child: Child,
}

impl Front {
    fn new(scratch: &Scratch, (cert, key): &(String, String), to: u16) -> Option<Front> {
        let (port, pid, temporary) = (free_port(), scratch.path("nginx.pid"), scratch.path(""));
        let folders = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {temporary};"));
        let config = format!(
            "daemon off; pid {pid}; error_log /dev/null; events {{}}
             http {{ access_log off; {}
               server {{ listen 127.0.0.1:{port} ssl http2; ssl_certificate {cert};
                 ssl_certificate_key {key}; location / {{ grpc_pass grpc://127.0.0.1:{to}; }} }} }}",
            folders.join(" ")
        );
        let config = scratch.write("nginx.conf", &config);
        let program = ["nginx", "/usr/sbin/nginx"].into_iter().find_map(|program| {
            let mut command = Command::new(program);
            let command = command.args(["-e", "/dev/null", "-c", &config]).stdin(Stdio::null());
            command.stderr(Stdio::null()).spawn().ok()
        });
        let child = program.or_else(|| {
            eprintln!("skipped: nginx is not installed");
            None
        })?;
        let front = Front { port, child };
        until("nginx does not come up", || TcpStream::connect(("127.0.0.1", port)).ok());
        Some(front)
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // Its workers end with it if it is asked to end.
        let pid = i32::try_from(self.child.id()).expect("a pid");
        // SAFETY: kill takes no pointers, and the child has not been waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_collector_behind_tls_gets_everything_over_grpc() {
    let scratch = Scratch::new("grpc-tls");
    let Some(certificate) = certificate(&scratch) else {
        eprintln!("skipped: openssl is not installed");
        return;
    };
    let mut collector = Collector::new(&scratch);
    let Some(front) = Front::new(&scratch, &certificate, collector.grpc) else { return };
    let (file, said) = (capture("backwards.pcap"), scratch.path("said"));
    let n = events(&file).len();
    let url = format!("https://127.0.0.1:{}", front.port);
    let way = ["--otlp-protocol", "grpc", "--otlp-linger", "60s", "--otlp-ca", &certificate.0];
    let mut agent = command(&["agent", "--from", &file, "--otlp", &url]);
    agent.args(way).stderr(fs::File::create(&said).expect("a file"));
    let mut agent = agent.spawn().expect("sentby runs");
    let told = || fs::read_to_string(&said).expect("what it says");
    until("it does not say so", || told().contains("; trying again").then_some(()));
    if !collector.start() {
        agent.kill().expect("killed");
        agent.wait().expect("its end");
        return;
    }
    assert!(agent.wait().expect("its end").success());
    assert!(told().contains("502 Bad Gateway; trying again"), "{}", told());
    assert!(told().contains(&format!("output otlp: {n} events, 0 lost\n")), "{}", told());
    assert_eq!(collector.records(n).len(), n);
    let said = handed_on(&file, &url, &["--otlp-protocol", "grpc", "--otlp-linger", "1s"]);
    assert!(said.contains(&format!("output otlp: {n} events, {n} lost, {n} at stopped")), "{said}");
}

#[test]
fn wrong_settings_are_one_line_without_secrets() {
    let scratch = Scratch::new("wrong");
    let file = capture("backwards.pcap");
    let with = |more: &[&str], code| {
        refused(
            &[&["agent", "-q", "--from", &file, "--otlp", "http://127.0.0.1:1"], more].concat(),
            code,
        )
    };
    let wrong = with(&["--otlp-header", "secret"], 2);
    assert!(wrong.contains("--otlp-header: number 1 is no header: give NAME=VALUE"), "{wrong}");
    assert!(!wrong.contains("secret"), "{wrong}");
    let wrong = with(&["--otlp-ca", "/nowhere/ca.pem"], 1);
    assert!(wrong.contains("the otlp output: reading /nowhere/ca.pem: "), "{wrong}");
    let empty = scratch.write("empty.pem", "");
    let wrong = with(&["--otlp-ca", &empty], 1);
    assert!(wrong.contains("empty.pem holds no certificate"), "{wrong}");
    let run = ["agent", "--from", &file, "--otlp", "http://h/x", "--otlp-protocol", "grpc"];
    let wrong = refused(&run, 2);
    assert!(wrong.contains("--otlp: gRPC's URLs have no path: give a URL such as"), "{wrong}");
}
