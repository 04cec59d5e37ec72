//! Names of destinations: from what a process's resolver was told, and from requests.

use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::proc::Proc;
use crate::topology::{B4, B4_OTHER, B6, Pair};
use crate::tracer::Tracer;
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    case("names_of_a_resolver", names_of_a_resolver, &["curl", "python3", "ping"]),
    case("names_in_requests", names_in_requests, &["curl", "python3"]),
    case("names_not_asked_for", names_not_asked_for, &["python3"]),
    case("names_off", names_off, &["curl", "python3"]),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Payload).tools(tools)
}

/// A name server and a web server. Names that begin with `bad` are answered from
/// another address, those with `id` with another id, before the answer from here.
const SERVER: &str = r#"
import http.server, socket, socketserver, struct, sys, threading
B4, B4_OTHER, B6 = sys.argv[1:4]
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *a): pass
class S(socketserver.ThreadingMixIn, http.server.HTTPServer):
    address_family = socket.AF_INET6
    daemon_threads = True
def names(address):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    while True:
        q, peer = s.recvfrom(2048)
        at = 12
        while q[at]: at += q[at] + 1
        first, kind = q[13:13 + q[12]], struct.unpack("!H", q[at + 1:at + 3])[0]
        def answer(id, a, aaaa):
            data = {1: socket.inet_aton(a), 28: socket.inet_pton(socket.AF_INET6, aaaa)}.get(kind)
            if first.startswith({1: b"six", 28: b"four"}.get(kind, b"-")): data = None
            # The name is an alias of cdn.example, which has the address.
            records = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 13) + b"\x03cdn\x07example\x00"
            cdn = struct.pack("!H", 0xc000 | len(q[:at + 5]) + 12)
            if data: records += cdn + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
            head = id + b"\x81\x80" + struct.pack("!HHHH", 1, 2 if data else 1, 0, 0)
            return head + q[12:at + 5] + records
        if first.startswith(b"bad"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as o:
                o.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                o.bind((B4_OTHER, 53)); o.sendto(answer(q[:2], B4, B6), peer)
            continue
        if first.startswith(b"id"):
            s.sendto(answer(bytes([q[0] ^ 1, q[1]]), B4, B6), peer)
            continue
        s.sendto(answer(q[:2], B4, B6), peer)
for address in (B4, B6): threading.Thread(target=names, args=(address,), daemon=True).start()
web = S(("::", 80), H)
print("ready", flush=True)
web.serve_forever()
"#;

struct Stage {
    pair: Pair,
    _server: Proc,
    tracer: Tracer,
}

impl Stage {
    fn new(ctx: &Ctx, args: &[&str]) -> Result<Stage> {
        let pair = Pair::new(ctx)?;
        let server = ctx.tool("python3")?.args(["-c", SERVER, B4, B4_OTHER, B6]).in_ns(&pair.b)?;
        let mut server = server.spawn()?;
        server.await_output("ready", ctx.secs(20))?;
        let tracer = ctx.tracing("connect").args(["http", "icmp"]).args(args).start()?;
        Ok(Stage { pair, _server: server, tracer })
    }

    /// Runs a shell command whose resolver asks `server`.
    fn resolving(&self, ctx: &Ctx, server: &str, command: &str) -> Result<()> {
        let conf = ctx.dir().join("resolv.conf");
        std::fs::write(&conf, format!("nameserver {server}\noptions timeout:1 attempts:1\n"))?;
        let script = format!(
            "mount --make-rprivate / && mount --bind {} /etc/resolv.conf && {command}",
            conf.display()
        );
        let unshare = ctx.tool("unshare")?.args(["-m", "sh", "-c", &script]).in_ns(&self.pair.a)?;
        unshare.spawn()?.wait_ok(ctx.secs(30)).map(drop)
    }

    /// What each event calls its destination.
    fn names(self) -> Result<Vec<String>> {
        let trace = self.tracer.stop()?;
        Ok(trace.within(&[&self.pair.a]).into_iter().map(name).collect())
    }
}

fn name(event: &Event) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!("{} {} {}", event.proto, part(&event.dst_name), part(&event.dst_name_from))
}

/// glibc's resolver in the client itself, over IPv4 and IPv6; then another process.
fn names_of_a_resolver(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let stage = Stage::new(ctx, &[])?;
    stage.resolving(ctx, B4, "curl -s -4 http://four.example/")?;
    stage.resolving(ctx, B6, "curl -s -6 http://six.example/")?;
    stage.resolving(ctx, B4, &format!("ping -c 1 -q {B4}"))?;
    stage.resolving(ctx, B4, "ping -4 -c 1 -q four2.example")?;
    stage.resolving(ctx, B4, &format!("ping -c 1 -q {B4}"))?;
    let names = stage.names()?;
    let wanted = [
        "connect four.example dns",
        "http four.example dns",
        "connect six.example dns",
        "http six.example dns",
        "icmp four.example dns-other",
        "icmp four2.example dns",
        // Now the address has two names: which one is meant nobody knows.
        "icmp - -",
    ];
    ensure!(names == wanted, "{names:?}");
    Ok(())
}

/// The Host header, where nothing was looked up; not where a proxy is asked.
fn names_in_requests(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let stage = Stage::new(ctx, &[])?;
    let curl = |args: &[&str]| {
        ctx.tool("curl")?.args(args).in_ns(&stage.pair.a)?.spawn()?.wait_ok(ctx.secs(30))
    };
    let at = format!("said.example:80:{B4}");
    let literal = format!("http://{B4}/");
    curl(&["-s", "--resolve", &at, "http://said.example/", "http://said.example/2"])?;
    curl(&["-s", &literal])?;
    curl(&["-s", "-x", &format!("{B4}:80"), "http://elsewhere.example/"])?;
    let names = stage.names()?;
    let wanted = [
        "connect - -",
        "http said.example host",
        // The server closed the first connection.
        "connect said.example host",
        "http said.example host",
        "connect - -",
        "http - -",
        "connect - -",
        "http - -",
    ];
    ensure!(names == wanted, "{names:?}");
    Ok(())
}

/// An answer that nobody asked for names nothing: from another server, with another id,
/// to another socket.
fn names_not_asked_for(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let stage = Stage::new(ctx, &["--dst", B4])?;
    let script = format!(
        r#"
import socket
def ask(name, id=b"\x12\x34", **how):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10)
    labels = b"".join(bytes([len(l)]) + l for l in name.split(b"."))
    s.sendto(id + b"\x01\x00\x00\x01" + bytes(6) + labels + b"\x00\x00\x01\x00\x01", ("{B4}", 53))
    s.recv(2048)
def connect(): socket.create_connection(("{B4}", 80)).close()
ask(b"bad.example"); connect()
ask(b"id.example"); connect()
ask(b"good.example"); connect()
"#
    );
    let client = ctx.tool("python3")?.args(["-c", &script]).in_ns(&stage.pair.a)?;
    client.spawn()?.wait_ok(ctx.secs(60))?;
    let names = stage.names()?;
    ensure!(names == ["connect - -", "connect - -", "connect good.example dns"], "{names:?}");
    Ok(())
}

/// The switch, and the filter.
fn names_off(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let stage = Stage::new(ctx, &["--no-names"])?;
    stage.resolving(ctx, B4, "curl -s -4 http://four.example/")?;
    let names = stage.names()?;
    ensure!(names == ["connect - -", "http four.example host"], "{names:?}");
    let stage = Stage::new(ctx, &["--dst-name", "*2.EXAMPLE"])?;
    for host in ["four1", "four2"] {
        stage.resolving(ctx, B4, &format!("curl -s -4 http://{host}.example/"))?;
    }
    let names = stage.names()?;
    ensure!(names == ["connect four2.example dns", "http four2.example dns"], "{names:?}");
    Ok(())
}
