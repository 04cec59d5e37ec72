//! TCP connections as they are opened: who, where to, and how it ended.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::netns::Netns;
use crate::proc::{Done, Proc};
use crate::topology::{A4, A6, B4, B6, Pair};
use anyhow::{Result, ensure};
use serde_json::Value;

pub const CASES: &[Case] = &[
    case("connect_established", connect_established, &["curl", "wget", "python3"]),
    case("connect_outcomes", connect_outcomes, &["python3", "nft"]),
    case("connect_fast_open", connect_fast_open, &["python3"]),
    case("connect_many", connect_many, &["python3"]),
    case("connect_multipath", connect_multipath, &["python3"]),
    case("connect_pending", connect_pending, &["python3", "nft"]),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Payload).tools(tools)
}

/// Accepts on port 80 of every address, answers once, and closes.
const SERVER: &str = r#"
import socket, threading
s = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True, backlog=512)
s.setsockopt(6, 23, 16)
print("ready", flush=True)
def answer(c):
    with c:
        if c.recv(65536): c.sendall(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
while True: threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
"#;

/// An address that no route leads to.
const NOWHERE4: &str = "203.0.113.99";

fn serve(ctx: &Ctx, ns: &Netns) -> Result<Proc> {
    let mut server = ctx.tool("python3")?.args(["-c", SERVER]).in_ns(ns)?.spawn()?;
    server.await_output("ready", ctx.secs(20))?;
    Ok(server)
}

fn python(ctx: &Ctx, ns: &Netns, script: &str) -> Result<Done> {
    let script = format!("import errno, os, socket, time\nB = ('{B4}', 80)\n{script}");
    ctx.tool("python3")?.args(["-c", &script]).in_ns(ns)?.spawn()?.wait_ok(ctx.secs(60))
}

fn outcome(event: &Event) -> &str {
    event.own.get("outcome").and_then(Value::as_str).unwrap_or("-")
}

fn took_ms(event: &Event) -> u64 {
    event.own.get("took_us").and_then(Value::as_u64).unwrap_or(0) / 1000
}

/// One connection each, of both families; who accepts opens nothing.
fn connect_established(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let server = serve(ctx, &pair.b)?;
    let tracer = ctx.tracing("connect").start()?;
    let url4 = format!("http://{B4}/");
    let url6 = format!("http://[{B6}]/");
    let curl = |url: &str| {
        ctx.tool("curl")?.args(["-s", url]).in_ns(&pair.a)?.spawn()?.wait_ok(ctx.secs(30))
    };
    let (four, six) = (curl(&url4)?, curl(&url6)?);
    let wget = ctx.tool("wget")?.args(["-q", "-O", "/dev/null", &url4]).in_ns(&pair.a)?;
    let wget = wget.spawn()?.wait_ok(ctx.secs(30))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    ensure!(events.len() == 3, "{} events", events.len());
    for (event, (done, src, dst)) in
        events.into_iter().zip([(&four, A4, B4), (&six, A6, B6), (&wget, A4, B4)])
    {
        check::names(event, &Who { tid: None, comm: None, ..Who::of(done) })?;
        let ends = (event.src.to_string(), event.dst.to_string());
        ensure!(ends == (src.to_owned(), dst.to_owned()), "{ends:?}");
        ensure!(event.dport == Some(80) && event.sport.is_some(), "ports {:?}", event.dport);
        ensure!(outcome(event) == "established", "{:?}", event.own);
        ensure!(took_ms(event) < 20_000, "{:?}", event.own);
        ensure!(event.own.get("syns").is_none(), "{:?}", event.own);
    }
    server.interrupt(ctx.secs(10)).map(drop)
}

/// Every other way in which it ends, in the order of the ends.
fn connect_outcomes(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let pair = Pair::new(ctx)?;
    let server = serve(ctx, &pair.b)?;
    // Nothing answers at this port; one SYN more, and the client gives up.
    pair.b.sh(
        "nft 'add table inet t; add chain inet t in { type filter hook input priority 0; }; \
         add rule inet t in tcp dport 81 drop'",
    )?;
    pair.a.sh("echo 1 > /proc/sys/net/ipv4/tcp_syn_retries")?;
    // A router that knows of no way there.
    pair.a.ip(&format!("route add {NOWHERE4}/32 via {B4}"))?;
    pair.b.ip(&format!("route add unreachable {NOWHERE4}/32"))?;
    pair.b.sh("echo 1 > /proc/sys/net/ipv4/ip_forward")?;
    let tracer = ctx.tracing("connect").start()?;
    let client = python(
        ctx,
        &pair.a,
        &format!(
            r#"
def fails(address, error, timeout=None):
    s = socket.socket(); s.settimeout(timeout)
    try: s.connect(address)
    except TimeoutError as e: assert error in (None, e.errno), e
    except OSError as e: assert e.errno == error, e
    else: assert False, "connected"
    s.close()
fails(('{B4}', 1), errno.ECONNREFUSED)
fails(('{B4}', 81), None, 0.3)
fails(('{B4}', 81), errno.ETIMEDOUT)
fails(('{NOWHERE4}', 80), errno.EHOSTUNREACH)
s = socket.socket()
try: s.connect(('{B4}', 1))
except OSError: pass
s.connect(B)
"#
        ),
    )?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    let got: Vec<_> = events.iter().map(|e| (outcome(e), e.dport.unwrap_or(0))).collect();
    let wanted = [
        ("refused", 1),
        ("abandoned", 81),
        ("timed-out", 81),
        ("unreachable", 80),
        // The same socket twice.
        ("refused", 1),
        ("established", 80),
    ];
    ensure!(got == wanted, "{got:?}");
    for event in &events {
        check::names(event, &Who { tid: None, comm: None, ..Who::of(&client) })?;
    }
    let (abandoned, timed_out) = (events[1], events[2]);
    ensure!((250..20_000).contains(&took_ms(abandoned)), "{:?}", abandoned.own);
    ensure!((2500..40_000).contains(&took_ms(timed_out)), "{:?}", timed_out.own);
    // Two, and since Linux 6.5 as many as tcp_syn_linear_timeouts add.
    ensure!(timed_out.own["syns"].as_u64() >= Some(2), "{:?}", timed_out.own);
    server.interrupt(ctx.secs(10)).map(drop)
}

/// A SYN with data is a connection and a request.
fn connect_fast_open(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    for ns in [&pair.a, &pair.b] {
        ns.sh("echo 3 > /proc/sys/net/ipv4/tcp_fastopen")?;
    }
    let server = serve(ctx, &pair.b)?;
    let tracer = ctx.tracing("http").args(["connect"]).start()?;
    let script = r#"
for path in (b"1", b"2"):
    s = socket.socket(); s.sendto(b"GET /" + path + b" HTTP/1.0\r\n\r\n", 0x20000000, B)
    assert s.recv(100)
    s.close()
"#;
    let client = python(ctx, &pair.a, script)?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    let of = |proto: &str| events.iter().filter(|e| e.proto == proto).collect::<Vec<_>>();
    let (http, connect) = (of("http"), of("connect"));
    let targets: Vec<_> = http.iter().map(|e| e.own["target"].as_str().unwrap_or("-")).collect();
    ensure!(targets == ["/1", "/2"], "{targets:?}");
    let fast: Vec<_> = connect.iter().map(|e| e.own.get("fast_open").is_some()).collect();
    // The first one asks for the cookie only.
    ensure!(fast == [false, true], "{fast:?}");
    for (event, request) in connect.iter().zip(&http) {
        ensure!(event.sport == request.sport, "{:?}", event.sport);
        // Whose socket was gone when it was looked for has no outcome either.
        check::names(event, &Who { tid: None, comm: None, ..Who::of(&client) })?;
        ensure!(outcome(event) == "established", "{:?}", event.own);
    }
    server.interrupt(ctx.secs(10)).map(drop)
}

/// Many at once, from threads; each once.
fn connect_many(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let pair = Pair::new(ctx)?;
    let server = serve(ctx, &pair.b)?;
    let tracer = ctx.tracing("connect").start()?;
    let each = ctx.scaled(50);
    let script = format!(
        r#"
import threading
def some():
    for _ in range({each}): socket.create_connection(B).close()
threads = [threading.Thread(target=some) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
"#
    );
    let client = python(ctx, &pair.a, &script)?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    ensure!(events.len() as u64 == 4 * each, "{} events of {}", events.len(), 4 * each);
    for event in &events {
        ensure!(outcome(event) == "established", "{:?}", event.own);
        check::names(event, &Who { tid: None, comm: None, ..Who::of(&client) })?;
    }
    let mut ports: Vec<_> = events.iter().map(|e| e.sport).collect();
    ports.sort_unstable();
    ports.dedup();
    ensure!(ports.len() == events.len(), "ports come twice");
    server.interrupt(ctx.secs(10)).map(drop)
}

/// MPTCP: what leaves are TCP sockets of the kernel's, for a socket of the process.
fn connect_multipath(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let server = serve(ctx, &pair.b)?;
    let tracer = ctx.tracing("connect").args(["http"]).start()?;
    let script = r#"
try: s = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
except OSError as e: print("unsupported", e, flush=True); os._exit(0)
s.connect(B); s.sendall(b"GET /multi HTTP/1.0\r\n\r\n"); assert s.recv(100)
"#;
    let client = python(ctx, &pair.a, script)?;
    let trace = tracer.stop()?;
    server.interrupt(ctx.secs(10))?;
    if client.text().starts_with("unsupported") {
        return Err(crate::ctx::skip(client.text().trim().to_owned()));
    }
    let events = trace.within(&[&pair.a, &pair.b]);
    let protocols: Vec<_> = events.iter().map(|e| e.proto.as_str()).collect();
    ensure!(protocols == ["connect", "http"], "{protocols:?}");
    for event in &events {
        check::names(event, &Who { tid: None, comm: None, ..Who::of(&client) })?;
    }
    ensure!(outcome(events[0]) == "established", "{:?}", events[0].own);
    Ok(())
}

/// What has not ended when sentby does is told without an end.
fn connect_pending(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    pair.b.sh(
        "nft 'add table inet t; add chain inet t in { type filter hook input priority 0; }; \
         add rule inet t in tcp dport 80 drop'",
    )?;
    let tracer = ctx.tracing("connect").start()?;
    let script = format!(
        "import socket\ns = socket.socket(); s.setblocking(False)\n\
         try: s.connect(('{B4}', 80))\nexcept BlockingIOError: print('ready', flush=True)\n\
         input()"
    );
    let client = ctx.tool("python3")?.args(["-c", &script]).in_ns(&pair.a)?.with_stdin();
    let mut client = client.spawn()?;
    client.await_output("ready", ctx.secs(20))?;
    let who = Who { tid: None, comm: None, ..Who::running(&client) };
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    ensure!(events.len() == 1, "{} events", events.len());
    ensure!(outcome(events[0]) == "-" && took_ms(events[0]) == 0, "{:?}", events[0].own);
    check::names(events[0], &who)
}
