//! What is looked up after it was sent: by whom if that is certain, else by whom it may
//! have been, and by nobody rather than by the wrong one.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::netns::Netns;
use crate::proc::{Proc, poll};
use crate::topology::{B4, Pair};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[
    case("looked_up_lasting", lasting, &["ping"]),
    case("looked_up_loopback_once", loopback_once, &["ping"]),
    case("looked_up_candidates", candidates, &["ping"]),
    case("looked_up_by_its_own_id", by_its_own_id, &["ping"]),
    case("looked_up_last", last, &["ping"]),
    case("looked_up_over_vlan", over_vlan, &["ping"]),
    case("looked_up_what_is_asked_for", what_is_asked_for, &["ping"]),
    case("looked_up_gone", gone, &["ping"]),
    case("looked_up_shared_port", shared_port, &["python3"]),
    case("looked_up_inherited", inherited, &["python3"]),
    case("looked_up_by_a_thread", by_a_thread, &["python3"]),
    case("looked_up_with_net_raw_only", with_net_raw_only, &["ping", "setpriv"]),
];

const fn case(
    name: &'static str,
    run: fn(&Ctx) -> Result<()>,
    tools: &'static [&'static str],
) -> Case {
    Case::new(name, run).hooks(Hooks::Only("af_packet")).tools(tools)
}

/// A ping that goes on.
fn ping(ctx: &Ctx, ns: &Netns, args: &[&str]) -> Result<Proc> {
    ctx.tool("ping")?.args(["-n", "-i", "0.1"]).args(args).in_ns(ns)?.spawn()
}

fn asks(event: &Event) -> bool {
    event.icmp.kind == "echo-request"
}

/// Waits until a namespace has this many raw sockets.
fn await_raw(ctx: &Ctx, ns: &Netns, n: usize) -> Result<()> {
    let there = poll(ctx.secs(20), || {
        let table = ns.sh("cat /proc/self/net/raw")?;
        Ok((table.lines().count() > n).then_some(()))
    })?;
    there.context("raw sockets did not open")
}

/// Each names this process.
fn all_named(events: &[&Event], proc: &Proc) -> Result<()> {
    for event in events {
        ensure!(event.evidence == "procfs", "evidence {}: {event:?}", event.evidence);
        check::names(event, &Who::running(proc))?;
    }
    Ok(())
}

/// Sequence numbers in a row, each once.
fn each_once(events: &[&Event]) -> Result<()> {
    let seqs: Vec<u16> = events.iter().filter_map(|e| e.icmp.seq).collect();
    let first = *seqs.first().context("no events")?;
    let wanted: Vec<u16> = (first..first + seqs.len() as u16).collect();
    ensure!(seqs == wanted, "sequence numbers {seqs:?}");
    Ok(())
}

/// Who goes on is always named, of both families, whether it began before or after.
fn lasting(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let before = ping(ctx, &pair.a, &[B4])?;
    let mut tracer = ctx.tracer().start()?;
    let after = ping(ctx, &pair.a, &[crate::topology::B6])?;
    tracer.await_events(20, ctx.secs(30), asks)?;
    let trace = tracer.stop()?;
    for (proc, six) in [(&before, false), (&after, true)] {
        let events: Vec<&Event> =
            trace.events.iter().filter(|e| asks(e) && e.dst.is_ipv6() == six).collect();
        ensure!(events.len() > 4, "{} events", events.len());
        all_named(&events, proc)?;
        each_once(&events)?;
    }
    ensure!(trace.events.iter().all(|e| e.netns == Some(pair.a.inode())), "another namespace");
    Ok(())
}

/// A loopback shows each packet on its way out and on its way in.
fn loopback_once(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let proc = ping(ctx, &pair.a, &["127.0.0.1"])?;
    let mut tracer = ctx.tracer().start()?;
    tracer.await_events(5, ctx.secs(30), asks)?;
    let trace = tracer.stop()?;
    let events: Vec<&Event> = trace.events.iter().filter(|e| asks(e)).collect();
    all_named(&events, &proc)?;
    each_once(&events)?;
    ensure!(events.iter().all(|e| e.iface.as_deref() == Some("lo")), "not on lo");
    Ok(())
}

/// Two raw sockets, and nothing that tells which of them sent: both are listed.
fn candidates(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let pings = [ping(ctx, &pair.a, &["-e", "3", B4])?, ping(ctx, &pair.a, &["-e", "4", B4])?];
    let pids: BTreeSet<u64> = pings.iter().map(|p| u64::from(p.pid())).collect();
    ensure!(!pids.contains(&3) && !pids.contains(&4), "pids {pids:?}");
    await_raw(ctx, &pair.a, 2)?;
    let mut tracer = ctx.tracer().start()?;
    tracer.await_events(6, ctx.secs(30), asks)?;
    let trace = tracer.stop()?;
    for event in trace.events.iter().filter(|e| asks(e)) {
        ensure!(event.evidence == "procfs" && event.pid.is_none(), "{event:?}");
        let listed = event.candidates.iter().flatten().filter_map(|c| c["pid"].as_u64());
        ensure!(listed.collect::<BTreeSet<_>>() == pids, "{:?}, not {pids:?}", event.candidates);
    }
    Ok(())
}

/// Two raw sockets whose senders take their pid for an identifier.
fn by_its_own_id(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let pings = [ping(ctx, &pair.a, &[B4])?, ping(ctx, &pair.a, &[B4])?];
    await_raw(ctx, &pair.a, 2)?;
    let mut tracer = ctx.tracer().start()?;
    tracer.await_events(10, ctx.secs(30), asks)?;
    let trace = tracer.stop()?;
    for event in trace.events.iter().filter(|e| asks(e)) {
        let id = event.icmp.id.context("no id")?;
        let Some(sender) = pings.iter().find(|p| p.pid() as u16 == id) else {
            return Err(crate::ctx::skip("this ping takes another identifier than its pid"));
        };
        all_named(&[event], sender)?;
    }
    Ok(())
}

/// The last packet of a ping is looked at when it has ended.
fn last(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    // Whether it asks by a raw socket or by one for pings.
    for range in ["1 0", "0 0"] {
        pair.a.sh(&format!("echo {range} > /proc/sys/net/ipv4/ping_group_range"))?;
        let tracer = ctx.tracer().start()?;
        let mut done = Vec::new();
        for _ in 0..5 {
            let args = ["-n", "-q", "-c", "3", "-i", "0.2", B4];
            done.push(pair.a.run(ctx.tool("ping")?.args(args), ctx.secs(20))?);
        }
        let trace = tracer.stop()?;
        let events: Vec<&Event> = trace.events.iter().filter(|e| asks(e)).collect();
        ensure!(events.len() == 15, "{} events", events.len());
        for (three, ping) in events.chunks(3).zip(&done) {
            for event in three {
                ensure!(event.evidence == "procfs", "evidence {}: {event:?}", event.evidence);
                check::names(event, &Who::of(ping))?;
            }
        }
    }
    Ok(())
}

/// The leader has ended, and a thread goes on: /proc shows the files of threads only.
fn by_a_thread(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let script = format!(
        r#"
import ctypes, os, socket, threading, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", 5355))
def send():
    time.sleep(0.5)
    for _ in range(4):
        query = bytes.fromhex("123401000001000000000000") + b"\x01t\x04test\0\0\x01\0\x01"
        s.sendto(query, ("{B4}", 53))
        time.sleep(0.1)
    time.sleep(1)
    os._exit(0)
threading.Thread(target=send).start()
ctypes.CDLL(None).syscall({exit}, 0)
"#,
        exit = libc::SYS_exit
    );
    let tracer = ctx.tracing("dns").start()?;
    let cmd = ctx.tool("python3")?.args(["-c", &script]).in_ns(&pair.a)?;
    let done = cmd.spawn()?.wait_ok(ctx.secs(30))?;
    let trace = tracer.stop()?;
    let events: Vec<&Event> = trace.events.iter().filter(|e| e.sport == Some(5355)).collect();
    ensure!(events.len() == 4, "{} events", events.len());
    for event in events {
        ensure!((event.evidence.as_str(), event.pid) == ("procfs", Some(done.pid)), "{event:?}");
    }
    Ok(())
}

/// Two devices, of which the lower sees a tag: one packet, and its sender.
fn over_vlan(ctx: &Ctx) -> Result<()> {
    super::paths::stacked(ctx, super::paths::Upper::Vlan)
}

/// What an expression asks for is compared by the socket's filter: the rest is not even seen.
fn what_is_asked_for(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    // The loopback answers, and what it answers leaves this machine as well.
    for (expression, seen) in [
        (format!("dst host {B4}"), 4..5),
        ("dst host 127.0.0.9".to_owned(), 3..4),
        ("host 127.0.0.9".to_owned(), 6..7),
        ("src net 127.0.0.8/30 or dst net 127.0.0.8/30".to_owned(), 6..7),
        // Nothing that the socket's filter could tell by itself.
        (format!("dst host {B4} or tcp"), 10..1000),
    ] {
        let tracer = ctx.tracing("icmp").args([&expression]).start()?;
        for (address, n) in [(B4, "4"), ("127.0.0.9", "3")] {
            let args = ["-n", "-q", "-c", n, "-i", "0.05", address];
            pair.a.run(ctx.tool("ping")?.args(args), ctx.secs(20))?;
        }
        let trace = tracer.stop()?;
        let hooks = &trace.ledger.hooks;
        let got: u64 = hooks.iter().filter_map(|hook| hook["seen"].as_u64()).sum();
        ensure!(seen.contains(&got), "{expression}: {hooks:?}");
    }
    Ok(())
}

/// Senders that are gone at once, beside one that goes on and might have sent as much.
fn gone(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut tracer = ctx.tracer().start()?;
    let other = ping(ctx, &pair.a, &[B4])?;
    tracer.await_events(3, ctx.secs(30), asks)?;
    let n = ctx.scaled(40);
    let mut pids = Vec::new();
    for i in 0..n {
        let id = (40_000 + i).to_string();
        let sender = ctx.sender("icmp").args([B4, "8", "0", &id, "1", "64"]);
        pids.push(pair.a.run(sender, ctx.secs(20))?.pid);
    }
    let trace = tracer.stop()?;
    let mut named = 0;
    for (i, pid) in pids.iter().enumerate() {
        let id = 40_000 + i as u16;
        let events: Vec<_> = trace.events.iter().filter(|e| e.icmp.id == Some(id)).collect();
        ensure!(events.len() == 1, "{} events of identifier {id}", events.len());
        let right = events[0].pid.is_none_or(|p| p == *pid);
        ensure!(right, "pid {:?}, not {pid}, nor {}", events[0].pid, other.pid());
        named += usize::from(events[0].pid.is_some());
    }
    println!("of {n} senders that were gone at once {named} were named");
    Ok(())
}

/// Two processes on one UDP port.
fn shared_port(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let script = format!(
        r#"
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
s.bind(("0.0.0.0", 5353))
print("ready", flush=True)
while True:
    time.sleep(0.1)
    s.sendto(bytes.fromhex("1234010000010000000000000161076578616d706c650000010001"), ("{B4}", 53))
"#
    );
    let mut senders = Vec::new();
    for _ in 0..2 {
        let cmd = ctx.tool("python3")?.args(["-c", &script]).in_ns(&pair.a)?;
        let mut sender = cmd.spawn()?;
        sender.await_output("ready", ctx.secs(20))?;
        senders.push(sender);
    }
    let pids: BTreeSet<u64> = senders.iter().map(|p| u64::from(p.pid())).collect();
    let mut tracer = ctx.tracing("dns").start()?;
    tracer.await_events(5, ctx.secs(30), |e| e.sport == Some(5353))?;
    let trace = tracer.stop()?;
    for event in trace.events.iter().filter(|e| e.sport == Some(5353)) {
        ensure!(event.evidence == "procfs" && event.pid.is_none(), "{event:?}");
        let listed = event.candidates.iter().flatten().filter_map(|c| c["pid"].as_u64());
        ensure!(listed.collect::<BTreeSet<_>>() == pids, "{:?}, not {pids:?}", event.candidates);
    }
    Ok(())
}

/// A socket that a child inherits: its parent's, then of either, then of the child, whose
/// parent is a zombie.
fn inherited(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let script = format!(
        r#"
import os, socket, time
def send(s, name):
    for _ in range(4):
        query = bytes.fromhex("123401000001000000000000") + b"\x01" + name + b"\x04test\0\0\x01\0\x01"
        s.sendto(query, ("{B4}", 53))
        time.sleep(0.1)
if os.fork() == 0:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("0.0.0.0", 5354))
    time.sleep(0.5)
    send(s, b"p")
    ends, end = os.pipe()
    if os.fork() == 0:
        os.close(end)
        time.sleep(0.5)
        send(s, b"e")
        os.read(ends, 1)
        time.sleep(0.5)
        send(s, b"c")
        print("child", os.getpid(), flush=True)
        os._exit(0)
    print("parent", os.getpid(), flush=True)
    time.sleep(3)
    os._exit(0)
time.sleep(7)
"#
    );
    let mut tracer = ctx.tracing("dns").start()?;
    let cmd = ctx.tool("python3")?.args(["-c", &script]).in_ns(&pair.a)?;
    let done = cmd.spawn()?.wait_ok(ctx.secs(30))?;
    tracer.await_events(12, ctx.secs(30), |e| e.sport == Some(5354))?;
    let trace = tracer.stop()?;
    let text = done.text();
    let pid = |who: &str| text.lines().find_map(|l| l.strip_prefix(who)?.trim().parse().ok());
    let (parent, child): (u32, u32) =
        (pid("parent").context("parent")?, pid("child").context("child")?);
    for event in trace.events.iter().filter(|e| e.sport == Some(5354)) {
        let listed = event.candidates.iter().flatten().filter_map(|c| c["pid"].as_u64());
        let either = listed.collect::<BTreeSet<_>>() == [parent.into(), child.into()].into();
        let right = match event.own["name"].as_str() {
            Some("p.test") => event.pid == Some(parent),
            Some("e.test") => event.pid.is_none() && either,
            _ => event.pid == Some(child),
        };
        ensure!(right, "parent {parent}, child {child}: {event:?}");
    }
    Ok(())
}

/// As in a container, where everyone has the same few capabilities.
fn with_net_raw_only(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let only = ["--bounding-set", "-all,+net_raw", "--inh-caps", "-all"];
    let few = || ctx.tool("setpriv").map(|cmd| cmd.args(only).arg("--"));
    let ping = few()?.args(["ping", "-n", "-i", "0.1", B4]).in_ns(&pair.a)?.spawn()?;
    let sentby = few()?
        .arg(&ctx.env.bin)
        .args(["icmp", "--json", "--hook", "af_packet", "-c", "5"])
        .in_ns(&pair.a)?;
    let done = sentby.spawn()?.wait_ok(ctx.secs(30))?;
    let lines: Vec<Event> = done.text().lines().map(Event::parse).collect::<Result<_>>()?;
    let asked: Vec<&Event> = lines.iter().filter(|e| asks(e)).collect();
    ensure!(asked.len() >= 3, "{} events", asked.len());
    for event in asked {
        ensure!(event.evidence == "procfs" && event.pid == Some(ping.pid()), "{event:?}");
    }
    ensure!(done.errors().contains("CAP_SYS_PTRACE"), "{}", done.errors());
    Ok(())
}
