//! DNS by the resolvers that programs use: each query once, over UDP, TCP and multicast,
//! by its process, held against what the server was asked.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks, skip};
use crate::event::Event;
use crate::proc::{Cmd, Done};
use crate::stage::{Stage, go_client, python, run, text};
use crate::topology::{A4, A6, B4, B6};
use anyhow::{Context, Result, ensure};
use std::path::Path;

pub const CASES: &[Case] = &[
    case("dns_getaddrinfo", getaddrinfo, &["python3", "unshare"]),
    case("dns_go", go, &["python3", "unshare", "go"]).heavy(),
    case("dns_edns_and_tcp", edns_and_tcp, &["python3", "dig"]).heavy(),
    case("dns_multicast", multicast, &["python3"]),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Payload).tools(tools)
}

/// Answers addresses, says who asked for what; what begins with `tc` is for TCP alone.
const DNS_SERVER: &str = r#"
import socket, struct, threading
TYPES = {1: "A", 28: "AAAA", 15: "MX"}
def answer(query, peer, how):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode()); at += 1 + query[at]
    kind, = struct.unpack_from(">H", query, at + 1)
    question, cut = query[12:at + 5], how == "udp" and labels[0].startswith("tc")
    address = peer[0].removeprefix("::ffff:")
    print(f"asked {address} {peer[1]} {'.'.join(labels)} {TYPES[kind]}\n", end="", flush=True)
    data = {1: bytes([192, 0, 2, 2]), 28: bytes(15) + b"\1"}.get(kind)
    records = data is not None and not cut
    head = query[:2] + struct.pack(">5H", 0x8380 if cut else 0x8180, 1, int(records), 0, 0)
    if records: question += struct.pack(">HHHLH", 0xc00c, kind, 1, 60, len(data)) + data
    return head + question
def stream(c, peer):
    f = c.makefile("rwb")
    while len(size := f.read(2)) == 2:
        said = answer(f.read(struct.unpack(">H", size)[0]), peer, "tcp")
        f.write(struct.pack(">H", len(said)) + said); f.flush()
def streams():
    l = socket.create_server(("::", 53), family=socket.AF_INET6, dualstack_ipv6=True)
    print("ready", flush=True)
    while True: threading.Thread(target=stream, args=l.accept(), daemon=True).start()
u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
u.bind(("::", 53))
threading.Thread(target=streams, daemon=True).start()
while True:
    query, peer = u.recvfrom(4096)
    u.sendto(answer(query, peer, "udp"), peer)
"#;

/// Each query that the server was asked is one event, and there are no others.
fn as_asked(events: &[Event], said: &str) -> Result<()> {
    let mut asked: Vec<&str> = said.lines().filter_map(|l| l.strip_prefix("asked ")).collect();
    let line = |e: &Event| -> Result<String> {
        let field = |name| text(e, name).unwrap_or("-");
        let port = e.sport.context("no sport")?;
        Ok(format!("{} {port} {} {}", e.src, field("name"), field("type")))
    };
    let mut seen: Vec<String> = events.iter().map(line).collect::<Result<_>>()?;
    asked.sort_unstable();
    seen.sort_unstable();
    ensure!(!asked.is_empty() && seen == asked, "the server was asked {asked:?}, events {seen:?}");
    Ok(())
}

/// Runs a program that finds `server` in its /etc/resolv.conf.
fn resolving(ctx: &Ctx, stage: &Stage, server: &str, program: &Cmd) -> Result<Done> {
    let file = ctx.dir().join("resolv.conf");
    std::fs::write(&file, format!("nameserver {server}\noptions timeout:5 attempts:1\n"))?;
    let own = Path::new("/etc/resolv.conf").canonicalize();
    let own = own.map_err(|e| skip(format!("/etc/resolv.conf: {e}")))?;
    let script = format!("mount --bind {} {} && exec \"$@\"", file.display(), own.display());
    let cmd = ctx.tool("unshare")?.args(["-m", "/bin/sh", "-c", &script, "sh"]);
    stage.pair.a.run(cmd.args(program.argv()), ctx.secs(30))
}

/// The process that `resolving` ends up as.
fn who(done: &Done, program: &Cmd) -> Who {
    let (argv, exe) = (program.argv(), program.exe());
    let argv = argv.iter().map(|a| a.as_encoded_bytes().to_vec()).collect();
    Who { tid: None, comm: None, argv: Some(argv), exe: Some(exe), ..Who::of(done) }
}

/// Asks for both names at both servers.
fn resolved_by(ctx: &Ctx, program: impl Fn(&str) -> Result<Cmd>) -> Result<()> {
    for (src, server) in [(A4, B4), (A6, B6)] {
        let stage = Stage::with(ctx, DNS_SERVER, "dns", &[])?;
        let mut senders = Vec::new();
        for name in ["both.example", "tc.example"] {
            let program = program(name)?;
            senders.push((name, who(&resolving(ctx, &stage, server, &program)?, &program)));
        }
        let (events, said) = stage.events_and_said(ctx)?;
        as_asked(&events, &said)?;
        for (name, who) in senders {
            let own: Vec<&Event> =
                events.iter().filter(|e| text(e, "name") == Some(name)).collect();
            let kinds: Vec<_> = own.iter().filter_map(|e| text(e, "type")).collect();
            ensure!(kinds.contains(&"A") && kinds.contains(&"AAAA"), "{name}: {kinds:?}");
            // Cut answers are asked for again over TCP.
            let n = if name == "both.example" { 2 } else { 4 };
            ensure!(own.len() == n, "{name}: {} queries", own.len());
            for event in own {
                check::names(event, &who)?;
                ensure!(event.src.to_string() == src && event.dst.to_string() == server);
                ensure!(event.dport == Some(53), "to port {:?}", event.dport);
            }
        }
    }
    Ok(())
}

/// The C library asks for both kinds of addresses by one call.
fn getaddrinfo(ctx: &Ctx) -> Result<()> {
    resolved_by(ctx, |name| {
        let script = format!("import socket; socket.getaddrinfo('{name}.', 80)");
        Ok(ctx.tool("python3")?.args(["-c", &script]))
    })
}

fn go(ctx: &Ctx) -> Result<()> {
    let client = go_client(ctx)?;
    resolved_by(ctx, |name| Ok(ctx.program(&client).args(["dns", &format!("{name}.")])))
}

fn edns_and_tcp(ctx: &Ctx) -> Result<()> {
    let stage = Stage::with(ctx, DNS_SERVER, "dns", &[])?;
    let server = format!("@{B4}");
    let options = ["+tries=1", "+bufsize=1400", "+dnssec", "+subnet=198.51.100.0/24"];
    let plain =
        run(ctx, &stage, "dig", &[&[server.as_str(), "udp.example"], &options[..]].concat())?;
    let names = ["one.example", "two.example", "three.example"];
    let tcp = ["+tcp", "+keepopen", "+noedns"];
    let open = run(ctx, &stage, "dig", &[&[server.as_str()], &tcp[..], &names].concat())?;
    let (events, said) = stage.events_and_said(ctx)?;
    as_asked(&events, &said)?;
    ensure!(events.len() == 4, "{} events", events.len());
    let (first, others) = events.split_first().context("no event")?;
    check::names(first, &Who { tid: None, comm: None, ..Who::of(&plain) })?;
    let own = &first.own;
    ensure!(own["edns_size"] == 1400 && own["dnssec_ok"] == true, "{own}");
    ensure!(own["client_subnet"] == "198.51.100.0/24", "{own}");
    for (event, name) in others.iter().zip(names) {
        check::names(event, &Who { tid: None, comm: None, ..Who::of(&open) })?;
        ensure!(text(event, "name") == Some(name), "{:?}", event.own);
        ensure!(event.sport == others[0].sport, "not one connection");
        ensure!(event.own.get("edns_size").is_none(), "{:?}", event.own);
    }
    Ok(())
}

/// Sent once, although it comes back to those who listen here.
fn multicast(ctx: &Ctx) -> Result<()> {
    let stage = Stage::with(ctx, DNS_SERVER, "dns", &[])?;
    stage.pair.a.ip("route add 224.0.0.0/4 dev a0")?;
    let client = python(
        ctx,
        &stage,
        r#"
a0 = socket.if_nametoindex("a0")
def query(name): return bytes(4) + b"\0\1" + bytes(6) + bytes([len(name)]) + name + b"\5local\0\0\x0c\0\1"
for group, port in ("224.0.0.251", 5353), ("224.0.0.252", 5355):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("", port))
    s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, struct.pack("4s4si", socket.inet_aton(group), bytes(4), a0))
    s.sendto(query(b"four%d" % port), (group, port))
    s.recv(1500)
for group, port in ("ff02::fb", 5353), ("ff02::1:3", 5355):
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", port))
    s.setsockopt(41, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, group) + struct.pack("i", a0))
    s.sendto(query(b"six%d" % port), (group, port, 0, a0))
    s.recv(1500)
"#,
    )?;
    let events = stage.events(ctx)?;
    let told: Vec<_> = events
        .iter()
        .map(|e| [text(e, "name"), text(e, "via")].map(Option::unwrap_or_default).join(" "))
        .collect();
    let wanted = [
        "four5353.local mdns",
        "four5355.local llmnr",
        "six5353.local mdns",
        "six5355.local llmnr",
    ];
    ensure!(told == wanted, "{told:?}");
    let who = Who { tid: None, comm: None, ..Who::of(&client) };
    events.iter().try_for_each(|e| check::names(e, &who))?;
    Ok(())
}
