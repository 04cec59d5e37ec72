//! HTTP by the programs that speak it, and by those in between: each request once, by its
//! process, from the address and port that the server saw.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::proc::Proc;
use crate::stage::{Stage, all_by, expect, go_client, python, run, source, text};
use crate::topology::{A4, A6, B4, B6};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;

pub const CASES: &[Case] = &[
    case("http_curl_versions", curl_versions, &["curl"]).heavy(),
    case("http_tunnel", tunnel, &["curl"]).heavy(),
    case("http_pipelined", pipelined, &[]),
    case("http_nc", netcat, &["busybox"]),
    case("http_beyond_capture", beyond_capture, &["python3"]),
    case("http_python", python_clients, &[]).heavy(),
    case("http_ab", ab, &["ab"]).heavy(),
    case("http_node", node, &["node"]).heavy(),
    case("http_go", go, &["go"]).heavy(),
    case("http_java", java, &["java", "javac"]).heavy(),
    case("http_nginx", nginx_between, &["nginx", "curl"]),
    case("http_nginx_file", nginx_file, &["nginx", "curl"]),
    case("http_haproxy", haproxy_between, &["haproxy", "curl"]).heavy(),
    case("http_wrk", wrk, &["nginx", "wrk"]).heavy(),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Payload).tools(tools)
}

/// Whoever of its threads it was.
fn any_thread(who: Who) -> Who {
    Who { tid: None, comm: None, ..who }
}

fn curl_versions(ctx: &Ctx) -> Result<()> {
    for (src, host) in [(A4, B4.to_owned()), (A6, format!("[{B6}]"))] {
        let stage = Stage::new(ctx, "http", &[])?;
        let mut wanted = Vec::new();
        for (option, method, version) in [
            ("-0", "GET", "1.0"),
            ("--http1.1", "GET", "1.1"),
            ("--http2", "GET", "1.1"),
            ("-I", "HEAD", "1.1"),
            ("-XFROB", "FROB", "1.1"),
        ] {
            let url = format!("http://{host}/{}", wanted.len());
            let curl = run(ctx, &stage, "curl", &["-s", option, &url])?;
            let line = format!("{method} {host} /{} {version}", wanted.len());
            wanted.push((line, any_thread(Who::of(&curl))));
        }
        let url = format!("http://{host}/");
        let curl = run(ctx, &stage, "curl", &["-s", "--http2-prior-knowledge", &url])?;
        let mut events = stage.events(ctx)?;
        let preface = events.pop().context("no event")?;
        ensure!(preface.own["h2c"] == true, "the preface is {:?}", preface.own);
        all_by(&[preface], &any_thread(Who::of(&curl)), src)?;
        expect(&events, &wanted.iter().map(|(line, _)| line.as_str()).collect::<Vec<_>>())?;
        for (event, (_, who)) in events.iter().zip(&wanted) {
            all_by(std::slice::from_ref(event), who, src)?;
        }
    }
    Ok(())
}

/// What goes through a tunnel in the clear is seen as well, once.
fn tunnel(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let proxy = format!("http://{B4}:80");
    let args = ["-s", "-p", "-x", &proxy, "http://inner.example/1", "http://inner.example/2"];
    let curl = run(ctx, &stage, "curl", &args)?;
    ensure!(curl.text() == "okok", "curl got {:?}", curl.text());
    let events = stage.events(ctx)?;
    let connect = "CONNECT inner.example:80 inner.example:80 1.1";
    expect(&events, &[connect, "GET inner.example /1 1.1", "GET inner.example /2 1.1"])?;
    all_by(&events, &any_thread(Who::of(&curl)), A4)
}

/// Many requests by one send, with bodies that look like requests: as many as are captured
/// of one packet (16 KiB).
fn pipelined(ctx: &Ctx) -> Result<()> {
    ctx.need("beyond_672_bytes")?;
    let stage = Stage::new(ctx, "http", &[])?;
    let client = python(
        ctx,
        &stage,
        r#"
s = socket.create_connection(B)
body = b"GET /evil HTTP/1.1\r\n\r\n"
head = b"POST /%d HTTP/1.1\r\nHost: h\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
s.sendall(b"".join(head % n + body for n in range(150)))
got = b""
while got.count(b"\r\n\r\nok") < 150:
    more = s.recv(65536)
    assert more, got
    got += more
"#,
    )?;
    let events = stage.events(ctx)?;
    let wanted: Vec<String> = (0..150).map(|n| format!("POST h /{n} 1.1")).collect();
    expect(&events, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
    all_by(&events, &any_thread(Who::of(&client)), A4)
}

/// Typed into a raw connection: keep-alive and pipelined, ended by the last request.
fn netcat(ctx: &Ctx) -> Result<()> {
    for (src, dst) in [(A4, B4), (A6, B6)] {
        let stage = Stage::new(ctx, "http", &[])?;
        let nc = ctx.tool("busybox")?.args(["nc", dst, "80"]).in_ns(&stage.pair.a)?;
        let mut nc = nc.with_stdin().spawn()?;
        // What still waits for an acknowledgment (Nagle) would hold the next send back, for
        // an interrupt; an answer brings it along.
        let answers = |nc: &mut Proc, n| nc.await_outputs("HTTP/1.1 200", n, ctx.secs(20));
        nc.say("GET /0 HTTP/1.1\r\nHost: h\r\n\r")?;
        answers(&mut nc, 1)?;
        nc.say("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r")?;
        answers(&mut nc, 3)?;
        nc.say("GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r")?;
        let client = nc.wait_ok(ctx.secs(20))?;
        let events = stage.events(ctx)?;
        let wanted: Vec<String> = (0..4).map(|n| format!("GET h /{n} 1.1")).collect();
        expect(&events, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
        all_by(&events, &any_thread(Who::of(&client)), src)?;
    }
    Ok(())
}

/// More of them in one packet than is captured of one: those that are missing are told.
fn beyond_capture(ctx: &Ctx) -> Result<()> {
    ctx.need("beyond_672_bytes")?;
    let Stage { pair, server, tracer } = Stage::sink(ctx, "http")?;
    let script = format!(
        "import socket\ns = socket.create_connection(('{B4}', 80))\n\
         s.sendall(b''.join(b'GET /%d HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n' % n for n in range(3000)))\n\
         s.close()"
    );
    let client = ctx.tool("python3")?.args(["-c", &script]).in_ns(&pair.a)?.spawn()?;
    client.wait_ok(ctx.secs(30))?;
    let trace = tracer.stop()?;
    let shown = trace.within(&[&pair.a]).len();
    ensure!((100..=3000).contains(&shown), "{shown} shown");
    let told = trace.stderr.contains("details missing: beyond-capture");
    ensure!(told == (shown < 3000), "{shown} shown, and {}", trace.stderr);
    server.interrupt(ctx.secs(10)).map(drop)
}

/// Heads and bodies by sends of their own.
fn python_clients(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let client = python(
        ctx,
        &stage,
        r#"
import http.client, urllib.request
c = http.client.HTTPConnection(*B)
c.request("POST", "/one", body=b"x" * 100000); c.getresponse().read()
c.request("POST", "/two", body=iter([b"GET / HTTP/1.1\r\n\r\n"] * 3), headers={"Content-Length": "54"})
c.getresponse().read()
urllib.request.urlopen("http://%s/three" % B[0]).read()
"#,
    )?;
    let events = stage.events(ctx)?;
    let line = |method: &str, path: &str| format!("{method} {B4} /{path} 1.1");
    let wanted = [line("POST", "one"), line("POST", "two"), line("GET", "three")];
    expect(&events, &wanted.each_ref().map(String::as_str))?;
    all_by(&events, &any_thread(Who::of(&client)), A4)
}

fn ab(ctx: &Ctx) -> Result<()> {
    for options in [&["-c", "8"][..], &["-c", "8", "-k"]] {
        let stage = Stage::new(ctx, "http", &[])?;
        let n = ctx.scaled(300).to_string();
        let url = format!("http://{B4}/ab");
        let ab = run(ctx, &stage, "ab", &[&["-q", "-n", &n][..], options, &[&url]].concat())?;
        ensure!(ab.status.success(), "ab failed: {}", ab.errors());
        let events = stage.events(ctx)?;
        let line = format!("GET {B4} /ab 1.0");
        expect(&events, &vec![line.as_str(); n.parse()?])?;
        all_by(&events, &any_thread(Who::of(&ab)), A4)?;
    }
    Ok(())
}

/// `n` requests for `/1`… by a runtime's own client.
fn asks(ctx: &Ctx, stage: Stage, cmd: crate::proc::Cmd, n: usize) -> Result<()> {
    let n_text = n.to_string();
    let args = ["http", &format!("http://{B4}"), &n_text];
    let done = stage.pair.a.run(cmd.args(args), ctx.secs(60))?;
    let events = stage.events(ctx)?;
    let wanted: Vec<String> = (1..=n).map(|n| format!("GET {B4} /{n} 1.1")).collect();
    expect(&events, &wanted.iter().map(String::as_str).collect::<Vec<_>>())?;
    all_by(&events, &any_thread(Who::of(&done)), A4)
}

fn node(ctx: &Ctx) -> Result<()> {
    asks(ctx, Stage::new(ctx, "http", &[])?, ctx.tool("node")?.arg(source("get.mjs")), 5)
}

fn go(ctx: &Ctx) -> Result<()> {
    let client = go_client(ctx)?;
    asks(ctx, Stage::new(ctx, "http", &[])?, ctx.program(&client), 20)
}

/// Java asks for HTTP/2 with its first request, and goes on with HTTP/1.1.
fn java(ctx: &Ctx) -> Result<()> {
    asks(ctx, Stage::new(ctx, "http", &[])?, ctx.tool("java")?.arg(source("Get.java")), 5)
}

/// A proxy on b's port 8080, before the web server on b's port 80.
fn start_nginx(ctx: &Ctx, stage: &Stage) -> Result<Proc> {
    let dir = ctx.dir().display().to_string();
    let temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|what| format!("{what}_temp_path {dir};"))
        .join("\n");
    let config = format!(
        "daemon off; worker_processes 2; user root; pid {dir}/pid; error_log {dir}/errors;
         events {{ worker_connections 512; }}
         http {{
           {temp}
           sendfile on; tcp_nopush on; keepalive_requests 1000000;
           log_format got '$remote_addr $remote_port $request_method $uri $pid';
           access_log {dir}/access got;
           server {{
             listen 8080; listen [::]:8080;
             location /file {{ root {dir}; }}
             location /static {{ return 200 ok; }}
             location / {{ proxy_pass http://127.0.0.1:80; }}
           }}
         }}"
    );
    let path = ctx.dir().join("nginx.conf");
    std::fs::write(&path, config)?;
    std::fs::write(ctx.dir().join("file"), "x".repeat(100_000))?;
    // Its workers are another user's where it is started as root and not told else.
    let cmd = ctx.tool("nginx")?.arg("-c").arg(path).args(["-e", "stderr"]);
    let mut nginx = cmd.in_ns(&stage.pair.b)?.spawn()?;
    nginx.await_listening(8080, ctx.secs(20))?;
    Ok(nginx)
}

/// An event that is a response has a status.
fn status(event: &Event) -> Option<u64> {
    event.own.get("status").and_then(serde_json::Value::as_u64)
}

/// What goes in at one side of a proxy comes out at the other: four events, of which two
/// are the proxy's, sent by one of `pids`.
fn is_relayed(events: &[Event], path: &str, client: u32, pids: &[u32], server: u32) -> Result<u32> {
    let asked: Vec<&Event> = events.iter().filter(|e| text(e, "target") == Some(path)).collect();
    let [first, second] = asked[..] else { anyhow::bail!("{path}: {} requests", asked.len()) };
    let answered_to = |request: &Event| {
        let back = |e: &&Event| {
            status(e).is_some()
                && (e.src, e.sport, e.dst, e.dport)
                    == (request.dst, request.dport, request.src, request.sport)
        };
        events.iter().filter(back).collect::<Vec<_>>()
    };
    ensure!(first.dport == Some(8080), "{path}: first to {:?}", first.dport);
    ensure!(first.pid == Some(client), "{path}: {:?} is not the client", first.pid);
    ensure!(second.dport == Some(80), "{path}: then to {:?}", second.dport);
    let proxy = second.pid.filter(|pid| pids.contains(pid));
    let proxy = proxy.with_context(|| format!("{path}: {:?} is not of {pids:?}", second.pid))?;
    let inner = answered_to(second);
    ensure!(inner.iter().any(|e| e.pid == Some(server)), "{path}: no answer by the server");
    let outer = answered_to(first);
    ensure!(outer.len() == 1, "{path}: {} answers to the client", outer.len());
    ensure!(outer[0].pid == Some(proxy), "{path}: answered by {:?}", outer[0].pid);
    for event in [first, second, outer[0]] {
        ensure!(event.evidence == "task", "{path}: {:?}", event.evidence);
    }
    Ok(proxy)
}

/// Asks a proxy, which asks the server.
fn between(
    ctx: &Ctx,
    start: fn(&Ctx, &Stage) -> Result<Proc>,
    pids: fn(&Proc) -> Result<Vec<u32>>,
) -> Result<Vec<(String, u32)>> {
    let stage = Stage::new(ctx, "http", &["--responses"])?;
    let proxy = start(ctx, &stage)?;
    let mut clients = Vec::new();
    for (n, host) in [B4.to_owned(), format!("[{B6}]"), B4.to_owned()].iter().enumerate() {
        let url = format!("http://{host}:8080/through{n}");
        let curl = run(ctx, &stage, "curl", &["-s", &url])?;
        ensure!(curl.text() == "ok", "curl got {:?}", curl.text());
        clients.push((format!("/through{n}"), curl.pid));
    }
    let (server, pids) = (stage.server.pid(), pids(&proxy)?);
    let (events, said) = stage.events_and_said(ctx)?;
    ensure!(said.matches("got 127.0.0.1").count() == clients.len(), "the server said {said:?}");
    let relayed = |(path, client): (String, u32)| {
        Ok((path.clone(), is_relayed(&events, &path, client, &pids, server)?))
    };
    let relayed: Vec<_> = clients.into_iter().map(relayed).collect::<Result<_>>()?;
    ensure!(events.len() == 4 * relayed.len(), "{} events", events.len());
    proxy.interrupt(ctx.secs(10))?;
    Ok(relayed)
}

/// Which worker it was, nginx itself says.
fn nginx_between(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    let relayed = between(ctx, start_nginx, |nginx| {
        let children = format!("/proc/{0}/task/{0}/children", nginx.pid());
        let text = std::fs::read_to_string(children)?;
        Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect())
    })?;
    let log = std::fs::read_to_string(ctx.dir().join("access"))?;
    for (path, pid) in relayed {
        let line = log.lines().find(|line| line.contains(&format!(" {path} ")));
        let worker = line.and_then(|line| line.split(' ').next_back()?.parse().ok());
        ensure!(worker == Some(pid), "{path}: {pid}, but nginx says {worker:?}");
    }
    Ok(())
}

/// What it sends of its own: a head from memory, a body from a file. Who does not see the
/// body go takes the next head for a part of it.
fn nginx_file(ctx: &Ctx) -> Result<()> {
    ctx.need("sendfile")?;
    ctx.need("netns")?;
    let stage = Stage::new(ctx, "http", &["--responses"])?;
    let nginx = start_nginx(ctx, &stage)?;
    let url = format!("http://{B4}:8080/file");
    let curl = run(ctx, &stage, "curl", &["-s", &url, &url])?;
    ensure!(curl.stdout.len() == 200_000, "curl got {} bytes", curl.stdout.len());
    let (events, _) = stage.events_and_said(ctx)?;
    let answers: Vec<&Event> = events.iter().filter(|e| status(e).is_some()).collect();
    ensure!(events.len() == 4 && answers.len() == 2, "{} events", events.len());
    for answer in answers {
        ensure!(answer.ppid == Some(nginx.pid()), "not by a worker: {:?}", answer.ppid);
        ensure!(answer.sport == Some(8080) && answer.own["content_length"] == 100_000);
    }
    Ok(())
}

fn haproxy_between(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    let start = |ctx: &Ctx, stage: &Stage| {
        let config = "defaults
  mode http
  timeout connect 10s
  timeout client 10s
  timeout server 10s
frontend in
  bind :::8080 v4v6
  default_backend out
backend out
  server web 127.0.0.1:80
";
        let path = ctx.dir().join("haproxy.cfg");
        std::fs::write(&path, config)?;
        let cmd = ctx.tool("haproxy")?.args(["-db", "-f"]).arg(path);
        let mut haproxy = cmd.in_ns(&stage.pair.b)?.spawn()?;
        haproxy.await_listening(8080, ctx.secs(20))?;
        Ok(haproxy)
    };
    between(ctx, start, |haproxy| Ok(vec![haproxy.pid()])).map(drop)
}

/// 64 connections as fast as they can: every request is an event, or counted as lost.
fn wrk(ctx: &Ctx) -> Result<()> {
    const CONNECTIONS: u64 = 64;
    let stage = Stage::new(ctx, "http", &["--buffer-size", "256M"])?;
    let nginx = start_nginx(ctx, &stage)?;
    let url = format!("http://{B4}:8080/static");
    let connections = CONNECTIONS.to_string();
    let wrk = run(ctx, &stage, "wrk", &["-t2", "-c", &connections, "-d", "2s", &url])?;
    ensure!(wrk.status.success(), "wrk failed: {}", wrk.errors());
    let said = wrk.text();
    let words: Vec<&str> = said.split_whitespace().collect();
    let at = words.windows(2).position(|w| w == ["requests", "in"]);
    let said_count: u64 = words[at.context("no count by wrk")? - 1].parse()?;
    let (events, _) = stage.events_and_said(ctx)?;
    let in_flight = said_count..=said_count + CONNECTIONS;
    let n = events.len() as u64;
    ensure!(in_flight.contains(&n), "{n} events, wrk counts {said_count} answers");
    // As many by each port as nginx has heard, or one more on its way.
    let mut by_port: BTreeMap<u16, u64> = BTreeMap::new();
    let who = any_thread(Who::of(&wrk));
    for event in &events {
        check::names(event, &who)?;
        ensure!(event.dport == Some(8080) && text(event, "target") == Some("/static"));
        *by_port.entry(event.sport.context("no port")?).or_default() += 1;
    }
    nginx.interrupt(ctx.secs(10))?;
    let log = std::fs::read_to_string(ctx.dir().join("access"))?;
    let mut heard: BTreeMap<u16, u64> = BTreeMap::new();
    for line in log.lines() {
        let port = line.split(' ').nth(1).and_then(|port| port.parse().ok());
        *heard.entry(port.context("nginx logs no port")?).or_default() += 1;
    }
    for (port, n) in by_port {
        let heard = heard.get(&port).copied().unwrap_or(0);
        ensure!((heard..=heard + 1).contains(&n), "port {port}: {n} events, heard {heard}");
    }
    Ok(())
}
