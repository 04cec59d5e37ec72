//! What the cases about requests inside of TCP and UDP share: a server, clients, and
//! what is expected of their requests.

use crate::check::{self, Who};
use crate::ctx::Ctx;
use crate::event::Event;
use crate::netns::Netns;
use crate::proc::{Done, Proc, poll};
use crate::topology::{A6, B4, B6, Pair};
use crate::tracer::Tracer;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// A web server on port 80 of every address; answers anything, keeps connections, and
/// says what it got from whom, which is what events are held against.
pub const SERVER: &str = r#"
import http.server, socket, socketserver
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        address, port = self.client_address[0].removeprefix("::ffff:"), self.client_address[1]
        print(f"got {address} {port} {self.command} {self.path.split('?')[0]}\n", end="", flush=True)
        if self.command == "CONNECT":  # what is in the tunnel is ours to answer, too
            self.send_response(200)
            return self.end_headers()
        self.send_response(404 if "missing" in self.path else 200)
        self.send_header("Content-Length", "2")
        if (self.headers.get("Connection") or "").lower() == "keep-alive":  # of HTTP/1.0
            self.send_header("Connection", "keep-alive")
        self.end_headers()
        self.wfile.write(b"ok")
    do_GET = do_HEAD = do_POST = do_PUT = do_FROB = do_CONNECT = answer
    def log_message(self, *a): pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 64
s = S(("::", 80), H)
print("ready", flush=True)
s.serve_forever()
"#;

/// Takes whatever comes and answers nothing.
pub const SINK: &str = r#"
import socket, threading
s = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
print("ready", flush=True)
def swallow(c):
    while c.recv(65536): pass
while True: threading.Thread(target=swallow, args=(s.accept()[0],), daemon=True).start()
"#;

/// Starts a Python script and waits until it says it is ready.
pub fn serve(ctx: &Ctx, ns: &Netns, script: &str) -> Result<Proc> {
    let mut server = ctx.tool("python3")?.args(["-c", script]).in_ns(ns)?.spawn()?;
    server.await_output("ready", ctx.secs(20))?;
    Ok(server)
}

/// A server on b, and sentby.
pub struct Stage {
    /// The client's side and the server's.
    pub pair: Pair,
    /// What answers.
    pub server: Proc,
    /// Sentby.
    pub tracer: Tracer,
}

impl Stage {
    /// With a web server.
    pub fn new(ctx: &Ctx, protocol: &str, args: &[&str]) -> Result<Stage> {
        Self::with(ctx, SERVER, protocol, args)
    }

    /// With a server that answers nothing.
    pub fn sink(ctx: &Ctx, protocol: &str) -> Result<Stage> {
        Self::with(ctx, SINK, protocol, &[])
    }

    /// With a Python script on b.
    pub fn with(ctx: &Ctx, script: &str, protocol: &str, args: &[&str]) -> Result<Stage> {
        let pair = Pair::new(ctx)?;
        let server = serve(ctx, &pair.b, script)?;
        // What others on this machine send meanwhile is none of ours.
        let spaces = [&pair.a, &pair.b].map(|ns| format!("--netns={}", ns.inode()));
        let tracer = ctx.tracing(protocol).args(args).args(spaces).start()?;
        Ok(Stage { pair, server, tracer })
    }

    /// Waits until the web server has got `n` requests with `word` in them.
    pub fn await_got(&self, ctx: &Ctx, word: &str, n: usize) -> Result<()> {
        let all = poll(ctx.secs(20), || {
            let said = std::fs::read_to_string(self.server.out())?;
            let got = said.lines().filter(|l| l.starts_with("got ") && l.contains(word)).count();
            Ok((got >= n).then_some(()))
        })?;
        all.with_context(|| format!("the server did not get {n} requests for {word:?}"))
    }

    /// Stops sentby; what was sent out of a, or with the server's answers also out of b.
    pub fn events(self, ctx: &Ctx) -> Result<Vec<Event>> {
        let (events, said) = self.events_and_said(ctx)?;
        as_received(&events, &said)?;
        Ok(events)
    }

    /// As [`Stage::events`], with what the server said, for others to compare.
    pub fn events_and_said(self, ctx: &Ctx) -> Result<(Vec<Event>, String)> {
        let spaces = [&self.pair.a, &self.pair.b];
        let trace = self.tracer.stop()?;
        ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
        let events = trace.within(&spaces).into_iter().cloned().collect();
        let server = self.server.interrupt(ctx.secs(10))?;
        Ok((events, server.text()))
    }
}

/// Each request that the server says it got is one event, from that address and port.
fn as_received(events: &[Event], said: &str) -> Result<()> {
    let mut got: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("got ")).collect();
    if got.is_empty() {
        return Ok(());
    }
    let of_requests = |e: &&Event| text(e, "method").is_some() && e.own["h2c"] != true;
    let mut seen = Vec::new();
    for event in events.iter().filter(of_requests) {
        let (method, target) = (text(event, "method"), text(event, "target").unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let port = event.sport.context("no sport")?;
        seen.push(format!("{} {port} {} {path}", event.src, method.unwrap_or_default()));
    }
    got.sort_unstable();
    seen.sort_unstable();
    ensure!(seen == got, "the server got {got:?}, events say {seen:?}");
    Ok(())
}

/// A text among the protocol's own fields.
pub fn text<'a>(event: &'a Event, field: &str) -> Option<&'a str> {
    event.own.get(field).and_then(Value::as_str)
}

/// What every request line was, in order.
pub fn lines(events: &[Event]) -> Vec<String> {
    let part = |e: &Event, name| text(e, name).unwrap_or("-").to_owned();
    events
        .iter()
        .map(|e| {
            [part(e, "method"), part(e, "host"), part(e, "target"), part(e, "version")].join(" ")
        })
        .collect()
}

/// The request lines are these, in this order.
pub fn expect(events: &[Event], wanted: &[&str]) -> Result<()> {
    let lines = lines(events);
    ensure!(lines == wanted, "requests {lines:?}, wanted {wanted:?}");
    Ok(())
}

/// All of them are `who`'s, over TCP to port 80 of b.
pub fn all_by(events: &[Event], who: &Who, src: &str) -> Result<()> {
    let dst = if src == A6 { B6 } else { B4 };
    for event in events {
        check::names(event, who)?;
        ensure!(event.src.to_string() == src, "from {}", event.src);
        ensure!(event.dst.to_string() == dst, "to {}", event.dst);
        ensure!(event.dport == Some(80) && event.sport.is_some(), "ports {:?}", event.dport);
    }
    Ok(())
}

/// Runs a client on a to its end.
pub fn run(ctx: &Ctx, stage: &Stage, tool: &str, args: &[&str]) -> Result<Done> {
    client(ctx, &stage.pair.a, tool, args)
}

/// Runs a client to its end, however that is: not all get an answer they like.
pub fn client(ctx: &Ctx, ns: &Netns, tool: &str, args: &[&str]) -> Result<Done> {
    ctx.tool(tool)?.args(args).in_ns(ns)?.spawn()?.wait(ctx.secs(30))
}

/// Runs a Python client on a; `B` is the server's address.
pub fn python(ctx: &Ctx, stage: &Stage, script: &str) -> Result<Done> {
    python_on(ctx, &stage.pair.a, script)
}

/// The same in any namespace.
pub fn python_on(ctx: &Ctx, ns: &Netns, script: &str) -> Result<Done> {
    let script = format!("import os, socket, struct, sys, time\nB = ('{B4}', 80)\n{script}");
    let done = client(ctx, ns, "python3", &["-c", &script])?;
    ensure!(done.status.success(), "the client failed: {}", done.errors());
    Ok(done)
}

/// One of our own senders that needs no compiler, as it stands in the source tree.
pub fn source(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/senders")).join(name)
}

/// Our client in Go: built when it is first needed, and when it has changed.
pub fn go_client(ctx: &Ctx) -> Result<PathBuf> {
    let (source, binary) = (source("get.go"), ctx.env.senders.join("get-go"));
    let modified = |path: &Path| std::fs::metadata(path).and_then(|m| m.modified());
    if modified(&binary).is_ok_and(|built| modified(&source).is_ok_and(|s| built >= s)) {
        return Ok(binary);
    }
    let cache = ctx.env.senders.with_file_name("go-cache");
    let go = ctx.tool("go")?.args(["build", "-o"]).arg(&binary).arg(source);
    let go = go.env("GOCACHE", cache).env("GO111MODULE", "off").env("GOTOOLCHAIN", "local");
    go.run(ctx.secs(200)).context("build tests/senders/get.go")?;
    Ok(binary)
}
