//! Every way to put a request into a socket, in both families: once, by who sent it.

use crate::check::Who;
use crate::ctx::{Case, Ctx, Hooks, Skip};
use crate::event::Event;
use crate::netns::Netns;
use crate::proc::{Done, poll};
use crate::stage::{SERVER, Stage, all_by, expect, lines, text};
use crate::topology::{A4, A6, B4, B6};
use anyhow::{Context, Result, bail, ensure};

pub const CASES: &[Case] = &[
    case("send_paths", send_paths),
    case("send_paths_io_uring", io_uring),
    case("send_paths_io_uring_sqpoll", io_uring_sqpoll),
    case("send_paths_fastopen", fastopen),
    case("send_paths_thread", thread),
    case("send_paths_of_others", of_others),
    case("send_paths_queued", queued),
    case("send_paths_dns", dns),
];

const fn case(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Case {
    Case::new(name, run).hooks(Hooks::Auto).tools(&["python3"])
}

/// Sends by one way.
fn send(ctx: &Ctx, stage: &Stage, way: &str, dst: &str) -> Result<Done> {
    stage.pair.a.run(ctx.sender("request").args([way, dst]), ctx.secs(20)).context(way.to_owned())
}

fn who(done: &Done) -> Who {
    Who { tid: None, comm: None, ..Who::of(done) }
}

/// Each of these ways to send, over IPv4 and IPv6: one request each, by its own process.
fn each_way(ctx: &Ctx, ways: &[&str]) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let mut senders = Vec::new();
    for (src, dst) in [(A4, B4), (A6, B6)] {
        for way in ways {
            let done = send(ctx, &stage, way, dst)?;
            senders.push((src, format!("GET h /{way} 1.1"), Who::of(&done)));
        }
    }
    let events = stage.events(ctx)?;
    let wanted: Vec<&str> = senders.iter().map(|(_, line, _)| line.as_str()).collect();
    expect(&events, &wanted)?;
    for (event, (src, _, who)) in events.iter().zip(&senders) {
        all_by(std::slice::from_ref(event), who, src)?;
    }
    Ok(())
}

fn send_paths(ctx: &Ctx) -> Result<()> {
    each_way(
        ctx,
        &[
            "write", "writev", "bytes", "sendmmsg", "zerocopy", "sendfile", "splice", "vmsplice",
            "mapped",
        ],
    )
}

/// At once, in the thread that asks.
fn io_uring(ctx: &Ctx) -> Result<()> {
    each_way(ctx, &["uring_send", "uring_write", "uring_sendmsg"])?;
    of_a_worker(ctx, "uring_async")
}

fn io_uring_sqpoll(ctx: &Ctx) -> Result<()> {
    of_a_worker(ctx, "uring_sqpoll")
}

/// By a thread that the kernel made: it is the process's all the same.
fn of_a_worker(ctx: &Ctx, way: &str) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let done = send(ctx, &stage, way, B4)?;
    let events = stage.events(ctx)?;
    expect(&events, &[&format!("GET h /{way} 1.1")])?;
    let tid = events[0].tid;
    ensure!(tid.is_some() && tid != Some(done.pid), "tid {tid:?}: no worker sent it");
    all_by(&events, &Who { tid: None, ..Who::of(&done) }, A4)
}

/// Data in the SYN, by both ways to ask for that.
fn fastopen(ctx: &Ctx) -> Result<()> {
    // Client, server, and any listener of the latter.
    let allow = "open('/proc/sys/net/ipv4/tcp_fastopen', 'w').write('1027')";
    let stage = Stage::with(ctx, &format!("{allow}\n{SERVER}"), "http", &[])?;
    stage.pair.a.sh("echo 1 > /proc/sys/net/ipv4/tcp_fastopen")?;
    let mut senders = Vec::new();
    for (src, dst, way) in [
        (A4, B4, "fastopen"),
        (A4, B4, "fastopen_connect"),
        (A6, B6, "fastopen"),
        (A6, B6, "fastopen_connect"),
    ] {
        let done = send(ctx, &stage, way, dst)?;
        senders.extend([(src, way, Who::of(&done)), (src, way, Who::of(&done))]);
    }
    let events = stage.events(ctx)?;
    ensure!(events.len() == senders.len(), "{} events: {:?}", events.len(), lines(&events));
    for (event, (src, way, who)) in events.iter().zip(&senders) {
        expect(std::slice::from_ref(event), &[&format!("GET h /{way} 1.1")])?;
        all_by(std::slice::from_ref(event), who, src)?;
    }
    Ok(())
}

fn thread(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let done = send(ctx, &stage, "thread", B4)?;
    let events = stage.events(ctx)?;
    expect(&events, &["GET h /thread 1.1"])?;
    let tid = done.number("tid")?;
    ensure!(tid != done.pid, "the sender has no second thread");
    all_by(&events, &Who { tid: Some(tid), ..who(&done) }, A4)
}

/// Who sends on a connection that another process opened.
fn of_others(ctx: &Ctx) -> Result<()> {
    let stage = Stage::new(ctx, "http", &[])?;
    let forked = send(ctx, &stage, "fork", B4)?;
    let passed = send(ctx, &stage, "scm", B4)?;
    let events = stage.events(ctx)?;
    expect(&events, &["GET h /fork 1.1", "GET h /scm 1.1"])?;
    for (event, opener) in events.iter().zip([&forked, &passed]) {
        let child = opener.number("child")?;
        let mut who = Who { pid: child, tid: Some(child), ppid: Some(opener.pid), ..who(opener) };
        if std::ptr::eq(opener, &raw const passed) {
            who.argv = None;
            let argv = event.cmdline.clone().unwrap_or_default();
            ensure!(argv.starts_with(&["request".into(), "receive".into()]), "{argv:?}");
        }
        all_by(std::slice::from_ref(event), &who, A4)?;
    }
    Ok(())
}

/// The peer hears nothing at first. What is sent again is no second request, and what
/// waited meanwhile leaves in an interrupt: once, in the name of who wrote it, also when
/// that process has closed the socket and is gone.
fn queued(ctx: &Ctx) -> Result<()> {
    // An answer to a closed socket would end the connection.
    for (way, server) in [("queued", SERVER), ("queued_and_gone", LISTENER)] {
        let stage = Stage::with(ctx, server, "http", &[])?;
        deafen(&stage.pair.b)?;
        let cmd = ctx.sender("request").args([way, B4]).in_ns(&stage.pair.a)?;
        let mut sender = cmd.spawn()?;
        let sent_again = || Ok((lost(&stage.pair.b)? >= 3).then_some(()));
        poll(ctx.secs(20), sent_again)?.context("nothing was sent again")?;
        ensure!(sender.try_wait()?.is_some() == (way != "queued"), "{way}: ended or not");
        stage.pair.b.sh("nft delete table inet deaf")?;
        stage.await_got(ctx, way, 3)?;
        let done = sender.wait_ok(ctx.secs(20))?;
        let events = stage.events(ctx)?;
        expect(&events, &[format!("GET h /{way} 1.1").as_str(); 3])?;
        let late = events.iter().filter(|e| e.evidence == "owner").count();
        // One that is closed pushes at once what it holds.
        ensure!(late > 0 || way != "queued", "nothing left in an interrupt");
        events.iter().try_for_each(|e| named(e, done.pid)).context(way)?;
    }
    Ok(())
}

/// Says what it gets, and answers nothing.
const LISTENER: &str = r#"
import socket
s = socket.create_server(("", 80))
print("ready", flush=True)
c, (address, port) = s.accept()
for line in c.makefile():
    if line.startswith("GET"): print("got", address, port, *line.split()[:2], flush=True)
"#;

/// Drops what carries data.
fn deafen(ns: &Netns) -> Result<()> {
    let script = "nft -f - <<'END'
table inet deaf {
  counter lost {}
  chain in {
    type filter hook prerouting priority -320;
    tcp dport 80 meta length > 64 counter name lost drop
  }
}
END";
    ns.sh(script).map(drop)
}

/// Packets that were not heard.
fn lost(ns: &Netns) -> Result<u64> {
    let text = ns.sh("nft -j list counter inet deaf lost")?;
    let json: serde_json::Value = serde_json::from_str(&text).context("nft's JSON")?;
    let objects = json["nftables"].as_array().into_iter().flatten();
    objects.filter_map(|o| o["counter"]["packets"].as_u64()).max().context("no counter")
}

fn named(event: &Event, pid: u32) -> Result<()> {
    let Event { evidence, cmdline, .. } = event;
    ensure!(event.pid == Some(pid), "pid {:?} ({evidence}), not {pid}: {event:?}", event.pid);
    ensure!(cmdline.as_ref().is_some_and(|c| c.len() == 3), "cmdline {cmdline:?}");
    Ok(())
}

/// Takes queries and answers none.
const UDP_SINK: &str = r#"
import socket
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.bind(("::", 53))
print("ready", flush=True)
while True: s.recv(65536)
"#;

/// Several queries by one call.
fn dns(ctx: &Ctx) -> Result<()> {
    for way in ["sendmmsg", "gso"] {
        for dst in [B4, B6] {
            let stage = Stage::with(ctx, UDP_SINK, "dns", &[])?;
            let sent = stage.pair.a.run(ctx.sender("query").args([way, dst, "53"]), ctx.secs(10));
            let done = match sent {
                Err(e) if e.is::<Skip>() && way == "gso" => return Ok(()),
                other => other?,
            };
            let events = stage.events(ctx)?;
            let names: Vec<_> = events.iter().filter_map(|e| text(e, "name")).collect();
            if names != ["one.example", "two.example", "six.example"] {
                bail!("{way}: {names:?}");
            }
            for event in &events {
                ensure!(event.dport == Some(53) && event.dst.to_string() == dst, "{event:?}");
                crate::check::names(event, &Who::of(&done))?;
            }
        }
    }
    Ok(())
}
