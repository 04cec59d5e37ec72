//! Requests inside of TCP and UDP: real clients, every way to send, each request once.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::stage::{SERVER, Stage, all_by, expect, lines, python, run, serve, text};
use crate::topology::{A4, A6, B4, Pair};
use anyhow::{Context, Result, ensure};

pub const CASES: &[Case] = &[
    case("http_curl", http_curl, &["curl", "python3"]),
    case("http_keep_alive", http_keep_alive, &["curl", "python3"]),
    case("http_proxy", http_proxy, &["curl", "python3"]),
    case("http_wget", http_wget, &["wget", "python3"]),
    case("http_send_paths", http_send_paths, &["python3"]),
    case("http_shapes", http_shapes, &["python3"]),
    case("http_retransmitted", http_retransmitted, &["curl", "python3"]),
    case("http_connected_before", http_connected_before, &["python3"]),
    case("http_inherited_socket", http_inherited_socket, &["python3"]),
    case("http_responses", http_responses, &["curl", "python3"]),
    case("http_secrets", http_secrets, &["curl", "python3"]),
    case("tls_clients", tls_clients, &["curl", "openssl", "python3"]),
    case("tls_split", tls_split, &["python3"]),
    case("dns_dig", dns_dig, &["dig", "python3"]),
    case("all_at_once", all_at_once, &["curl", "dig", "ping", "python3"]),
    case("payload_hook_by_name", payload_hook_by_name, &[]).hooks(Hooks::Auto),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Payload).tools(tools)
}

fn http_curl(ctx: &Ctx) -> Result<()> {
    for (src, url, host) in
        [(A4, format!("http://{B4}/"), B4), (A6, format!("http://[{}]/", crate::topology::B6), "")]
    {
        let stage = Stage::new(ctx, "http", &[])?;
        let args = ["-s", "-0", "-A", "tester/1", "-d", "twelve bytes", &format!("{url}a/b?c=1")];
        let curl = run(ctx, &stage, "curl", &args)?;
        let events = stage.events(ctx)?;
        ensure!(events.len() == 1, "{} events", events.len());
        all_by(&events, &Who { tid: None, comm: None, ..Who::of(&curl) }, src)?;
        let event = &events[0];
        ensure!(text(event, "method") == Some("POST"), "{:?}", event.own);
        ensure!(text(event, "target") == Some("/a/b?c=*"), "{:?}", event.own);
        ensure!(text(event, "version") == Some("1.0"), "{:?}", event.own);
        ensure!(text(event, "user_agent") == Some("tester/1"), "{:?}", event.own);
        ensure!(event.own["content_length"] == 12, "{:?}", event.own);
        ensure!(host.is_empty() || text(event, "host") == Some(host), "{:?}", event.own);
    }
    Ok(())
}

/// Several on one connection; the uploaded body holds what looks like requests.
fn http_keep_alive(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let body = ctx.dir().join("body");
    let evil = "GET /evil HTTP/1.1\r\nHost: evil\r\n\r\n";
    std::fs::write(&body, evil.repeat(8000))?;
    let url = |path: &str| format!("http://{B4}/{path}");
    let upload = format!("@{}", body.display());
    let (one, two, three) = (url("one"), url("two"), url("three"));
    let next = ["--next", "-s", "-H", "Expect:"];
    let mut args = vec!["-s", &one];
    args.extend(
        next.iter().chain(&["--data-binary", &upload, &two]).chain(&next).chain(&[three.as_str()]),
    );
    let curl = run(ctx, &stage, "curl", &args)?;
    let events = stage.events(ctx)?;
    let line = |method: &str, path: &str| format!("{method} {B4} /{path} 1.1");
    let wanted = [line("GET", "one"), line("POST", "two"), line("GET", "three")];
    expect(&events, &wanted.each_ref().map(String::as_str))?;
    ensure!(events.iter().all(|e| e.sport == events[0].sport), "not one connection");
    all_by(&events, &Who { tid: None, comm: None, ..Who::of(&curl) }, A4)
}

fn http_proxy(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let proxy = format!("http://user:secret@{B4}:80");
    for args in [
        ["-s", "-x", &proxy, "http://example.com/x"],
        ["-sk", "-x", &proxy, "https://example.com/"],
    ] {
        run(ctx, &stage, "curl", &args)?;
    }
    let events = stage.events(ctx)?;
    expect(
        &events,
        &[
            "GET example.com http://example.com/x 1.1",
            "CONNECT example.com:443 example.com:443 1.1",
        ],
    )?;
    let all = format!("{events:?}");
    // In the command line it stands because the user put it there.
    ensure!(events.iter().all(|e| !e.own.to_string().contains("secret")), "{all}");
    Ok(())
}

fn http_wget(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let url = format!("http://{B4}/w");
    let wget = run(ctx, &stage, "wget", &["-q", "-O", "/dev/null", &url])?;
    let events = stage.events(ctx)?;
    expect(&events, &[&format!("GET {B4} /w 1.1")])?;
    all_by(&events, &Who { tid: None, comm: None, ..Who::of(&wget) }, A4)
}

/// Every call that puts bytes into a TCP socket.
fn http_send_paths(ctx: &Ctx) -> Result<()> {
    ctx.need("sendfile")?;
    let stage = Stage::new(ctx, "http", &[])?;
    stage.pair.b.sh("echo 3 > /proc/sys/net/ipv4/tcp_fastopen")?;
    stage.pair.a.sh("echo 3 > /proc/sys/net/ipv4/tcp_fastopen")?;
    let client = python(
        ctx,
        &stage,
        r#"
def req(path): return b"GET /" + path + b" HTTP/1.1\r\nHost: h\r\n\r\n"
def conn(): return socket.create_connection(B)
def answered(s): assert s.recv(100); s.close()
import tempfile; f = tempfile.TemporaryFile(buffering=0)
def filed(path): f.seek(0); f.truncate(); f.write(req(path)); f.seek(0); return len(req(path))
s = conn(); os.write(s.fileno(), req(b"write")); answered(s)
s = conn(); s.send(req(b"send")); answered(s)
s = conn(); os.writev(s.fileno(), [bytes([c]) for c in req(b"writev")]); answered(s)
s = conn(); s.sendmsg([req(b"sendmsg")[:9], req(b"sendmsg")[9:]]); answered(s)
s = conn(); n = filed(b"sendfile"); os.sendfile(s.fileno(), f.fileno(), 0, n); answered(s)
s = conn(); n = filed(b"splice"); r, w = os.pipe()
os.splice(f.fileno(), w, n); os.splice(r, s.fileno(), n); answered(s)
s = conn(); s.setsockopt(socket.SOL_SOCKET, 60, 1); s.send(req(b"zerocopy"), 0x4000000); answered(s)
s = socket.socket(); s.sendto(req(b"fastopen1"), 0x20000000, B); answered(s)
s = socket.socket(); s.sendto(req(b"fastopen2"), 0x20000000, B); answered(s)
s = conn(); s.setsockopt(6, 1, 1)
for c in req(b"bytes"): s.send(bytes([c]))
answered(s)
s = conn(); s.send(req(b"corked")[:7], socket.MSG_MORE); s.send(req(b"corked")[7:]); answered(s)
"#,
    )?;
    let events = stage.events(ctx)?;
    let wanted: Vec<String> = [
        "write",
        "send",
        "writev",
        "sendmsg",
        "sendfile",
        "splice",
        "zerocopy",
        "fastopen1",
        "fastopen2",
        "bytes",
        "corked",
    ]
    .map(|path| format!("GET h /{path} 1.1"))
    .to_vec();
    expect(&events, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
    all_by(&events, &Who { tid: None, comm: None, ..Who::of(&client) }, A4)
}

/// Long, split and pipelined ones, and what is none.
fn http_shapes(ctx: &Ctx) -> Result<()> {
    ctx.need("beyond_672_bytes")?;
    let stage = Stage::sink(ctx, "http")?;
    python(
        ctx,
        &stage,
        r#"
def sent(*parts):
    s = socket.create_connection(B); s.setsockopt(6, 1, 1)
    for part in parts: s.sendall(part); time.sleep(0.05)
    s.close()
H = b" HTTP/1.1\r\nHost: h\r\n\r\n"
sent(b"GET /p1" + H + b"GET /p2" + H + b"FROB /p3" + H)
sent(b"GET /" + b"u" * 8000 + b" HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 3000 + b"\r\n\r\n")
sent(b"GET /large HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 20000 + b"\r\n\r\n")
sent(b"GE", b"T /spl", b"it HTTP/1.1\r", b"\nHost: h\r\n", b"\r\n")
sent(b"\x00GET / HTTP/1.1\r\n\r\n", b"EHLO example.com\r\n", b"SSH-2.0-x\r\n", os.urandom(5000))
sent(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
"#,
    )?;
    let events = stage.events(ctx)?;
    let long = format!("GET h /{} 1.1", "u".repeat(8000));
    let wanted = [
        "GET h /p1 1.1",
        "GET h /p2 1.1",
        "FROB h /p3 1.1",
        &long,
        "GET h /large 1.1",
        "GET h /split 1.1",
    ];
    ensure!(events.len() == 7, "{} events: {:?}", events.len(), lines(&events));
    expect(&events[..6], &wanted)?;
    ensure!(events[6].own["h2c"] == true, "the preface is {:?}", events[6].own);
    let faults = |e: &Event| e.faults.clone().unwrap_or_default();
    ensure!(faults(&events[4]) == ["truncated"], "20 kB of header: {:?}", faults(&events[4]));
    ensure!(faults(&events[3]).is_empty(), "11 kB of header: {:?}", faults(&events[3]));
    Ok(())
}

/// A link that loses a fifth of all packets: each request once all the same.
fn http_retransmitted(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    for ns in [(&stage.pair.a, "a0"), (&stage.pair.b, "b0")] {
        ns.0.sh(&format!("tc qdisc add dev {} root netem loss 20%", ns.1))
            .map_err(|e| crate::ctx::skip(format!("no netem: {e}")))?;
    }
    let n = 12;
    let urls = format!("http://{B4}/[1-{n}]");
    let cmd = ctx.tool("curl")?.args(["-s", "-o", "/dev/null", &urls]);
    let curl = stage.pair.a.run(cmd, ctx.secs(60))?;
    ensure!(curl.status.success(), "curl failed: {}", curl.errors());
    let events = stage.events(ctx)?;
    let wanted: Vec<String> = (1..=n).map(|i| format!("GET {B4} /{i} 1.1")).collect();
    expect(&events, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
    all_by(&events, &Who { tid: None, comm: None, ..Who::of(&curl) }, A4)
}

const WAITING: &str = r#"
import os, socket, sys
s = socket.create_connection((sys.argv[1], 80))
print("ready", flush=True)
sys.stdin.readline()
if len(sys.argv) > 2 and os.fork(): os.wait(); sys.exit()
s.sendall(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n")
s.recv(100)
"#;

fn http_connected_before(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let server = serve(ctx, &pair.b, SERVER)?;
    let cmd = ctx.tool("python3")?.args(["-c", WAITING, B4]).in_ns(&pair.a)?.with_stdin();
    let mut client = cmd.spawn()?;
    client.await_output("ready", ctx.secs(20))?;
    let tracer = ctx.tracing("http").start()?;
    client.say("go")?;
    let stage = Stage { pair, server, tracer };
    let done = client.wait(ctx.secs(20))?;
    let events = stage.events(ctx)?;
    expect(&events, &["GET h /late 1.1"])?;
    all_by(&events, &Who { tid: None, comm: None, ..Who::of(&done) }, A4)
}

/// The child sends on its parent's connection: the child did it.
fn http_inherited_socket(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let cmd =
        ctx.tool("python3")?.args(["-c", WAITING, B4, "fork"]).in_ns(&stage.pair.a)?.with_stdin();
    let mut client = cmd.spawn()?;
    client.await_output("ready", ctx.secs(20))?;
    client.say("go")?;
    let done = client.wait(ctx.secs(20))?;
    let events = stage.events(ctx)?;
    expect(&events, &["GET h /late 1.1"])?;
    if ctx.lacks("task") && events[0].pid.is_none() {
        // Both hold it, or one that has ended did.
        ensure!(["procfs", "unknown"].contains(&events[0].evidence.as_str()), "{:?}", events[0]);
        return Ok(());
    }
    ensure!(events[0].pid.is_some_and(|pid| pid != done.pid), "the parent was blamed");
    ensure!(events[0].ppid == Some(done.pid), "not its child: {:?}", events[0].ppid);
    Ok(())
}

fn http_responses(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    let stage = Stage::new(ctx, "http", &["--responses"])?;
    let server = Who { tid: None, comm: None, ..Who::running(&stage.server) };
    let urls = [format!("http://{B4}/here"), format!("http://{B4}/missing")];
    run(ctx, &stage, "curl", &["-s", &urls[0], &urls[1]])?;
    let events = stage.events(ctx)?;
    let (answers, requests): (Vec<Event>, Vec<Event>) =
        events.into_iter().partition(|e| e.own.get("status").is_some());
    ensure!(requests.len() == 2, "{} requests", requests.len());
    let statuses: Vec<_> = answers.iter().map(|e| e.own["status"].as_u64()).collect();
    ensure!(statuses == [Some(200), Some(404)], "answers {statuses:?}");
    for answer in &answers {
        check::names(answer, &server)?;
        ensure!(answer.sport == Some(80), "from port {:?}", answer.sport);
    }
    Ok(())
}

/// Nothing that opens doors is in an event.
fn http_secrets(ctx: &Ctx) -> Result<()> {
    for (args, shown) in [(&[][..], "/s?token=*"), (&["--full-url"][..], "/s?token=q5k")] {
        let stage = Stage::new(ctx, "http", args)?;
        let url = format!("http://{B4}/s?token=q5k");
        let hidden = ["-s", "-u", "u:p4w", "-b", "id=c00k", &url];
        run(ctx, &stage, "curl", &hidden)?;
        let events = stage.events(ctx)?;
        ensure!(events.len() == 1, "{} events", events.len());
        ensure!(text(&events[0], "target") == Some(shown), "{:?}", events[0].own);
        let own = events[0].own.to_string();
        ensure!(!own.contains("c00k") && !own.contains("p4w"), "{own}");
    }
    Ok(())
}

fn tls_clients(ctx: &Ctx) -> Result<()> {
    let to = format!("{B4}:80");
    let resolve = format!("host.example:80:{B4}");
    let python = format!(
        "import socket, ssl\nc = ssl._create_unverified_context(); c.set_alpn_protocols(['h2', 'x'])\n\
         c.wrap_socket(socket.create_connection(('{B4}', 80)), server_hostname='host.example')"
    );
    let clients: [(&str, Vec<&str>, &[&str]); 3] = [
        (
            "curl",
            vec!["-sk", "--resolve", &resolve, "https://host.example:80/"],
            &["h2", "http/1.1"],
        ),
        (
            "openssl",
            vec!["s_client", "-connect", &to, "-servername", "host.example", "-alpn", "h2"],
            &["h2"],
        ),
        ("python3", vec!["-c", &python], &["h2", "x"]),
    ];
    for (tool, args, alpn) in clients {
        let stage = Stage::new(ctx, "tls", &[])?;
        let done = run(ctx, &stage, tool, &args)?;
        let events = stage.events(ctx)?;
        ensure!(events.len() == 1, "{tool}: {} events", events.len());
        all_by(&events, &Who { tid: None, comm: None, ..Who::of(&done) }, A4)?;
        let event = &events[0];
        ensure!(text(event, "sni") == Some("host.example"), "{tool}: {:?}", event.own);
        ensure!(event.own["alpn"] == serde_json::json!(alpn), "{tool}: {:?}", event.own);
        ensure!(text(event, "version") == Some("1.3"), "{tool}: {:?}", event.own);
        ensure!(text(event, "client") == Some("openssl"), "{tool}: {:?}", event.own);
        ensure!(
            text(event, "ja4").is_some_and(|j| j.starts_with("t13d")),
            "{tool}: {:?}",
            event.own
        );
        ensure!(event.faults.is_none(), "{tool}: {:?}", event.faults);
    }
    Ok(())
}

/// A hello that comes in four sends is one hello, and what follows it is none.
fn tls_split(ctx: &Ctx) -> Result<()> {
    let stage = Stage::sink(ctx, "tls")?;
    python(
        ctx,
        &stage,
        r#"
import ssl
c = ssl._create_unverified_context(); out = ssl.MemoryBIO()
o = c.wrap_bio(ssl.MemoryBIO(), out, server_hostname="split.example")
try: o.do_handshake()
except ssl.SSLWantReadError: pass
hello = out.read()
s = socket.create_connection(B); s.setsockopt(6, 1, 1)
for part in hello[:3], hello[3:60], hello[60:200], hello[200:]: s.send(part); time.sleep(0.05)
s.send(b"\x17\x03\x03\x00\x20" + os.urandom(32)); s.close()
"#,
    )?;
    let events = stage.events(ctx)?;
    ensure!(events.len() == 1, "{} events", events.len());
    ensure!(text(&events[0], "sni") == Some("split.example"), "{:?}", events[0].own);
    ensure!(text(&events[0], "ja4").is_some(), "{:?}", events[0].own);
    Ok(())
}

fn dns_dig(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let stage = Stage::new(ctx, "dns", &[])?;
    let server = format!("@{B4}");
    let common = [server.as_str(), "+tries=1", "+time=1", "+retry=0"];
    let runs: [(&[&str], &str, &str, u16); 3] = [
        (&["-p", "5300", "a.example", "MX"], "a.example", "MX", 5300),
        (&["b.example", "AAAA"], "b.example", "AAAA", 53),
        (&["-p", "80", "+tcp", "c.example"], "c.example", "A", 80),
    ];
    let mut pids = Vec::new();
    for (args, ..) in &runs {
        let args: Vec<&str> = common.iter().chain(args.iter()).copied().collect();
        pids.push(run(ctx, &stage, "dig", &args)?.pid);
    }
    let events = stage.events(ctx)?;
    ensure!(events.len() == 3, "{} events", events.len());
    for ((event, pid), (_, name, kind, port)) in events.iter().zip(pids).zip(runs) {
        ensure!(event.pid == Some(pid), "pid {:?}, not dig's", event.pid);
        ensure!(text(event, "name") == Some(name), "{:?}", event.own);
        ensure!(text(event, "type") == Some(kind), "{:?}", event.own);
        ensure!(event.dport == Some(port), "to port {:?}", event.dport);
    }
    Ok(())
}

fn all_at_once(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "all", &[])?;
    let (url, server) = (format!("http://{B4}/"), format!("@{B4}"));
    run(ctx, &stage, "curl", &["-s", &url])?;
    run(ctx, &stage, "dig", &[&server, "+tries=1", "+time=1", "d.example"])?;
    run(ctx, &stage, "ping", &["-n", "-c", "1", B4])?;
    run(
        ctx,
        &stage,
        "curl",
        &[
            "-sk",
            &url.replace("http:", "https:").replace("/\n", ":80/"),
            "--connect-to",
            &format!("::{B4}:80"),
        ],
    )?;
    let events = stage.events(ctx)?;
    let mut protocols: Vec<&str> = events.iter().map(|e| e.proto.as_str()).collect();
    protocols.dedup();
    let wanted = ["connect", "http", "dns", "icmp", "connect", "tls"];
    ensure!(protocols == wanted, "{protocols:?}");
    Ok(())
}

fn payload_hook_by_name(ctx: &Ctx) -> Result<()> {
    let hook = ctx.env.doctor.chosen().find(|h| h.name != "cgroup_skb");
    let hook = hook.context("no other hook")?.name.clone();
    let tracer = ctx.tracing("http").args(["--hook", &hook]).spawn()?;
    let done = tracer.wait_any(ctx.secs(20))?;
    ensure!(done.status.code() == Some(1), "{:?}", done.status);
    let said = done.errors();
    ensure!(said.lines().count() == 1 && said.contains("cgroup_skb"), "{said:?}");
    Ok(())
}
