//! What kprobe-events lacks beside eBPF: both watch the same senders at once, and the
//! differences between their events, field by field, are those that `doctor` declares.
//! Each declared one must be met, and what is met must be declared.

use crate::ctx::{Case, Ctx, Hooks, skip};
use crate::event::epoch;
use crate::stage::{SERVER, python_on, serve};
use crate::topology::{A_MAC, A4, B_MAC, B4, B6, Chain, FAR4, Pair};
use crate::tracer::Tracer;
use anyhow::{Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub const CASES: &[Case] = &[Case::new("declared_lacks", declared_lacks)
    .hooks(Hooks::Auto)
    .tools(&["python3", "curl", "ping", "unshare"])];

/// The backend that is compared, and the one that can do everything.
const BACKENDS: [&str; 2] = ["kprobe-events", "ebpf"];

/// Declared, and met by none of these senders: `owner` takes a send by a thread of the
/// kernel's own (io_uring before Linux 5.12); `kernel_sockets` a neighbour that has to be
/// asked for, which the kernel does again and again, when it likes.
const NOT_MET: [&str; 2] = ["owner", "kernel_sockets"];

/// Keys that are not compared: they are of the capture, not of what was sent.
const OWN: [&str; 2] = ["time", "hook"];

/// Answers every query with b's address.
const RESOLVER: &str = r#"
import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((sys.argv[1], 53))
print("ready", flush=True)
while True:
    q, peer = s.recvfrom(2048)
    at = 12
    while q[at]: at += q[at] + 1
    kind = struct.unpack("!H", q[at + 1:at + 3])[0]
    records = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(sys.argv[1])
    head = q[:2] + b"\x81\x80" + struct.pack("!HHHH", 1, int(kind == 1), 0, 0)
    s.sendto(head + q[12:at + 5] + (records if kind == 1 else b""), peer)
"#;

/// Requests that one of both does not see, or not whole.
const CLIENT: &str = r#"
import tempfile
def req(path, more=b""): return b"GET /" + path + b" HTTP/1.1\r\n" + more + b"Host: h\r\n\r\n"
def conn(): return socket.create_connection(B)
def answered(s): assert s.recv(100); s.close()
s = conn(); s.send(req(b"plain")); answered(s)
s = conn(); s.send(req(b"beyond", b"X: " + b"x" * 900 + b"\r\n")); answered(s)
f = tempfile.TemporaryFile(buffering=0); n = f.write(req(b"sendfile"))
s = conn(); os.sendfile(s.fileno(), f.fileno(), 0, n); answered(s)
for _ in range(2):
    s = socket.socket(); s.sendto(req(b"fast_open"), 0x20000000, B); answered(s)
"#;

fn declared_lacks(ctx: &Ctx) -> Result<()> {
    let doctor = &ctx.env.doctor;
    if let Some(missing) =
        BACKENDS.iter().find(|b| !doctor.backends.iter().any(|d| d.name == **b && d.usable))
    {
        return Err(skip(format!("compares two backends, and {missing} cannot be used here")));
    }
    let declared: BTreeSet<String> = doctor
        .backends
        .iter()
        .filter(|b| b.name == BACKENDS[0])
        .flat_map(|b| b.hooks.iter().flat_map(|h| h.lacks.clone()))
        .collect();
    let [tried, whole] = events(ctx)?;
    let differences = compare(&tried, &whole);
    let mut met = BTreeSet::new();
    let mut others = Vec::new();
    for difference in differences {
        match difference.lack() {
            Some(lack) => drop(met.insert(lack.to_owned())),
            None => others.push(difference.text()),
        }
    }
    ensure!(others.is_empty(), "not declared by any name:\n{}", others.join("\n"));
    let sees = |name: &str| {
        doctor.backends.iter().any(|b| {
            b.name == BACKENDS[0] && b.hooks.iter().any(|h| h.sees.iter().any(|s| s == name))
        })
    };
    ensure!(met.remove("packet_socket") && !sees("packet_socket"), "packet_socket was seen");
    met.extend(NOT_MET.map(str::to_owned));
    ensure!(met == declared, "met: {met:?}, declared: {declared:?}");
    Ok(())
}

/// The events of both, by what was sent.
fn events(ctx: &Ctx) -> Result<[BTreeMap<String, Value>; 2]> {
    let (pair, chain) = (Pair::new(ctx)?, Chain::new(ctx)?);
    for ns in [&pair.a, &pair.b] {
        ns.sh("echo 3 > /proc/sys/net/ipv4/tcp_fastopen")?;
    }
    let _web = serve(ctx, &pair.b, SERVER)?;
    let mut names = ctx.tool("python3")?.args(["-c", RESOLVER, B4]).in_ns(&pair.b)?.spawn()?;
    names.await_output("ready", ctx.secs(20))?;
    let spaces = [&pair.a, &pair.b, &chain.a, &chain.router];
    let start = |backend: &str| {
        let inodes = spaces.map(|ns| format!("--netns={}", ns.inode()));
        let tracer = ctx.tracing("connect").args(["http", "icmp", "dns"]);
        tracer.args(["--kernel", "--forwarded", "--backend", backend]).args(inodes).start()
    };
    let tracers = [start(BACKENDS[0])?, start(BACKENDS[1])?];
    send(ctx, &pair, &chain)?;
    let [tried, whole] = tracers.map(by_what_was_sent);
    Ok([tried?, whole?])
}

fn send(ctx: &Ctx, pair: &Pair, chain: &Chain) -> Result<()> {
    let ping = |to: &str| ctx.tool("ping").map(|ping| ping.args(["-n", "-q", "-c", "1", to]));
    pair.a.run(ping(B4)?, ctx.secs(20))?;
    pair.a.run(ping(B6)?, ctx.secs(20))?;
    chain.a.run(ping(FAR4)?, ctx.secs(20))?;
    let frames = ["raw", "a0", A_MAC, B_MAC, A4, B4, "21", "1"];
    pair.a.run(ctx.sender("packet").args(frames), ctx.secs(20))?;
    pair.a.run(ctx.sender("query").args(["gso", B4, "53"]), ctx.secs(20))?;
    python_on(ctx, &pair.a, CLIENT)?;
    let conf = ctx.dir().join("resolv.conf");
    std::fs::write(&conf, format!("nameserver {B4}\n"))?;
    let script = format!(
        "mount --make-rprivate / && mount --bind {} /etc/resolv.conf && \
         curl -s -4 http://web.example/named",
        conf.display()
    );
    let curl = ctx.tool("unshare")?.args(["-m", "sh", "-c", &script]);
    pair.a.run(curl, ctx.secs(30)).map(drop)
}

/// Events by protocol, ends, and what tells one from another between the same ends.
fn by_what_was_sent(tracer: Tracer) -> Result<BTreeMap<String, Value>> {
    let trace = tracer.stop()?;
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    let mut found = BTreeMap::new();
    for line in trace.text().lines() {
        let event: Value = serde_json::from_str(line)?;
        let part = |path: &str| event.pointer(path).map(Value::to_string).unwrap_or_default();
        let proto = event["proto"].as_str().unwrap_or_default();
        let own = ["type_number", "id", "seq", "method", "target", "name", "qtype"];
        let own = own.map(|key| part(&format!("/{proto}/{key}")));
        let ends =
            ["proto", "netns", "src", "sport", "dst", "dport"].map(|k| part(&format!("/{k}")));
        let what = [&ends[..], &own].concat().join(" ");
        let mut times = (0..).map(|n| format!("{what} #{n}"));
        let key = times.find(|key| !found.contains_key(key)).unwrap_or_default();
        found.insert(key, event);
    }
    Ok(found)
}

/// One difference.
enum Difference {
    /// No such event.
    Absent { key: String, proto: String },
    /// An event that eBPF has not.
    More { key: String },
    /// A field has another value, or none.
    Field { key: String, path: String, tried: Option<Value>, whole: Option<Value> },
}

impl Difference {
    fn text(&self) -> String {
        match self {
            Difference::Absent { key, .. } => format!("no event {key}"),
            Difference::More { key } => format!("an event more, {key}"),
            Difference::Field { key, path, tried, whole } => {
                format!("{path} is {tried:?}, not {whole:?}: {key}")
            }
        }
    }

    /// The lack that it is.
    fn lack(&self) -> Option<&'static str> {
        match self {
            Difference::More { .. } => None,
            Difference::Absent { key, proto } => match proto.as_str() {
                "icmp" if key.contains(" 21 ") => Some("packet_socket"),
                "http" if key.contains("/sendfile") => Some("sendfile"),
                "http" if key.contains("/fast_open") => Some("fast_open"),
                "dns" if is_one_of_three(key) => Some("segments"),
                _ => None,
            },
            Difference::Field { key, path, tried, whole } => {
                let of = |value: &Option<Value>| {
                    value.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
                };
                let http = key.starts_with("\"http\"");
                match path.as_str() {
                    "dst_name" | "dst_name_from" => Some("dst_name"),
                    "start" if near(&of(tried), &of(whole)) => Some("start_ns"),
                    "socket" if tried.is_none() => Some("socket"),
                    "iface" if http && tried.is_none() => Some("iface"),
                    "len" if http && tried.is_none() => Some("len"),
                    "len" if is_one_of_three(key) => Some("segments"),
                    "connect" => Some("outcome"),
                    "http" | "faults" if key.contains("/beyond") => Some("beyond_672_bytes"),
                    "evidence" if of(tried) == "unknown" && of(whole) == "forwarded" => {
                        Some("forwarded")
                    }
                    "evidence" | "kernel_part" if of(tried) != "task" && key.contains("icmp") => {
                        Some("kernel_sockets")
                    }
                    _ => None,
                }
            }
        }
    }
}

/// Whether it is a query of the send that has three: that is no query as a whole, or (5.10)
/// the first with the length of all.
fn is_one_of_three(key: &str) -> bool {
    ["one.example", "two.example", "six.example"].iter().any(|name| key.contains(name))
}

/// Within two ticks of the kernel's clock.
fn near(one: &str, other: &str) -> bool {
    let seconds = |text: &str| epoch(text).unwrap_or(f64::NAN);
    (seconds(one) - seconds(other)).abs() < 0.02
}

fn compare(tried: &BTreeMap<String, Value>, whole: &BTreeMap<String, Value>) -> Vec<Difference> {
    let mut differences = Vec::new();
    let more = tried.keys().filter(|key| !whole.contains_key(*key));
    differences.extend(more.map(|key| Difference::More { key: key.clone() }));
    for (key, whole) in whole {
        let text = |name: &str| whole[name].as_str().unwrap_or_default().to_owned();
        let Some(tried) = tried.get(key) else {
            differences.push(Difference::Absent { key: key.clone(), proto: text("proto") });
            continue;
        };
        let fields = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let (tried, whole) = (fields(tried), fields(whole));
        let names: BTreeSet<&String> = tried.keys().chain(whole.keys()).collect();
        for name in names.into_iter().filter(|name| !OWN.contains(&name.as_str())) {
            let (tried, whole) = (tried.get(name).cloned(), whole.get(name).cloned());
            // What eBPF happens not to have is no lack.
            if tried != whole && whole.is_some() {
                let (key, path) = (key.clone(), name.clone());
                differences.push(Difference::Field { key, path, tried, whole });
            }
        }
    }
    differences
}
