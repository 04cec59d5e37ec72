//! The programs people ping with: every packet, right pid, argv and addresses, none twice.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::proc::Done;
use crate::topology::{A4, A4_OTHER, A6, B4, B4_OTHER, B6, Pair};
use anyhow::{Context, Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("ping_v4", ping_v4).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("perf_buffer", |ctx| ping_captured_with(ctx, &["--perf-buffer"])).tools(&["ping"]),
    Case::new("btf_from_a_file", |ctx| {
        ping_captured_with(ctx, &["--btf", "/sys/kernel/btf/vmlinux"])
    })
    .tools(&["ping"]),
    Case::new("ping_v6", ping_v6).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("ping_source_address", ping_source_address).tools(&["ping"]),
    Case::new("ping_loopback", ping_loopback).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("busybox_ping", busybox_ping).tools(&["busybox"]),
    Case::new("fping", fping).tools(&["fping"]),
    Case::new("traceroute", traceroute).tools(&["traceroute"]),
    Case::new("mtr", mtr).tools(&["mtr", "mtr-packet"]),
    Case::new("hping3", hping3).tools(&["hping3"]),
    Case::new("python_raw_socket", python_raw_socket).tools(&["python3"]),
    Case::new("ping_started_before", ping_started_before).tools(&["ping"]),
];

/// Runs one program while sentby watches, and hands over its events. The peer must
/// have received as many requests as there are events.
fn observe(ctx: &Ctx, tool: &str, args: &[&str]) -> Result<(Done, Vec<Event>)> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.tool(tool)?.args(args), ctx.secs(30))?;
    let trace = tracer.stop()?;
    let events: Vec<Event> = trace.within(&[&pair.a, &pair.b]).into_iter().cloned().collect();
    let counted = pair.b.counted("request")?;
    let requests = events.iter().filter(|e| e.icmp.kind == "echo-request").count() as u64;
    ensure!(requests == counted, "{requests} requests shown, the peer counted {counted}");
    Ok((done, events))
}

fn refs(events: &[Event]) -> Vec<&Event> {
    events.iter().collect()
}

/// All events are `n` different requests from `who` to `dst`.
fn requests(events: &[Event], who: &Who, sent: &Sent, n: u64) -> Result<()> {
    let events = refs(events);
    check::count_distinct(&events, n)?;
    events.iter().try_for_each(|e| check::names(e, who).and_then(|()| check::carries(e, sent)))
}

fn ping_v4(ctx: &Ctx) -> Result<()> {
    let args = ["-n", "-c", "5", "-i", "0.01", "-e", "4711", B4];
    let (ping, events) = observe(ctx, "ping", &args)?;
    let sent = Sent { iface: Some("a0"), id: Some(4711), len: Some(84), ..Sent::echo(A4, B4) };
    check::exactly(&refs(&events), &Who::of(&ping), &sent, &[1, 2, 3, 4, 5])
}

/// A ping under other options of capture: what it shows must not depend on them.
fn ping_captured_with(ctx: &Ctx, options: &[&str]) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().args(options).start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "5", "-i", "0.01", "-e", "4712", B4]);
    let done = pair.a.run(ping, ctx.secs(20))?;
    let trace = tracer.stop()?;
    let sent = Sent { iface: Some("a0"), id: Some(4712), len: Some(84), ..Sent::echo(A4, B4) };
    let events = trace.within(&[&pair.a, &pair.b]);
    check::exactly(&events, &Who::of(&done), &sent, &[1, 2, 3, 4, 5])
}

fn ping_v6(ctx: &Ctx) -> Result<()> {
    let args = ["-6", "-n", "-c", "5", "-i", "0.01", "-e", "4711", B6];
    let (ping, events) = observe(ctx, "ping", &args)?;
    let sent = Sent { iface: Some("a0"), id: Some(4711), len: Some(104), ..Sent::echo(A6, B6) };
    check::exactly(&refs(&events), &Who::of(&ping), &sent, &[1, 2, 3, 4, 5])
}

fn ping_source_address(ctx: &Ctx) -> Result<()> {
    let args = ["-n", "-c", "2", "-i", "0.01", "-I", A4_OTHER, B4];
    let (ping, events) = observe(ctx, "ping", &args)?;
    check::exactly(&refs(&events), &Who::of(&ping), &Sent::echo(A4_OTHER, B4), &[1, 2])
}

fn ping_loopback(ctx: &Ctx) -> Result<()> {
    let ns = ctx.netns("lo")?;
    let tracer = ctx.tracer().start()?;
    let v4 = ns.run(ctx.tool("ping")?.args(["-nc3", "-i0.01", "127.0.0.1"]), ctx.secs(20))?;
    let v6 = ns.run(ctx.tool("ping")?.args(["-nc3", "-i0.01", "::1"]), ctx.secs(20))?;
    let trace = tracer.stop()?;
    ensure!(trace.within(&[&ns]).len() == 6, "6 events expected");
    let lo = |src| Sent { iface: Some("lo"), ..Sent::echo(src, src) };
    check::exactly(&trace.by(v4.pid), &Who::of(&v4), &lo("127.0.0.1"), &[1, 2, 3])?;
    check::exactly(&trace.by(v6.pid), &Who::of(&v6), &lo("::1"), &[1, 2, 3])
}

fn busybox_ping(ctx: &Ctx) -> Result<()> {
    let (ping, events) = observe(ctx, "busybox", &["ping", "-c", "3", "-i", "0.05", B4])?;
    // busybox names itself after nothing but its file; its sequence starts at 0.
    check::exactly(&refs(&events), &Who::of(&ping), &Sent::echo(A4, B4), &[0, 1, 2])
}

fn fping(ctx: &Ctx) -> Result<()> {
    let args = ["-q", "-c", "3", "-p", "20", B4, B4_OTHER];
    let (fping, events) = observe(ctx, "fping", &args)?;
    check::count_distinct(&refs(&events), 6)?;
    for dst in [B4, B4_OTHER] {
        let to: Vec<&Event> = events.iter().filter(|e| e.dst.to_string() == dst).collect();
        ensure!(to.len() == 3, "{} events to {dst}", to.len());
        for event in to {
            check::names(event, &Who::of(&fping))?;
            check::carries(event, &Sent::echo(A4, dst))?;
        }
    }
    Ok(())
}

fn traceroute(ctx: &Ctx) -> Result<()> {
    let args = ["-I", "-n", "-q", "3", "-N", "1", "-w", "2", B4];
    let (traceroute, events) = observe(ctx, "traceroute", &args)?;
    // Debian's traceroute is reached through alternatives: the name may differ.
    let who = Who { comm: None, ..Who::of(&traceroute) };
    requests(&events, &who, &Sent::echo(A4, B4), 3)
}

fn mtr(ctx: &Ctx) -> Result<()> {
    let args = ["--report", "-n", "-c", "3", "-i", "0.1", "-G", "0.5", B4];
    let (mtr, events) = observe(ctx, "mtr", &args)?;
    // A helper does the sending: a child of the program that was started.
    let pid = events.first().and_then(|e| e.pid).context("no event with a pid")?;
    ensure!(pid != mtr.pid, "mtr itself is named, not mtr-packet");
    let helper = Who {
        pid,
        tid: Some(pid),
        ppid: Some(mtr.pid),
        comm: Some("mtr-packet".into()),
        uid: Some(0),
        ..Who::default()
    };
    ensure!(events.len() >= 3, "{} events", events.len());
    requests(&events, &helper, &Sent::echo(A4, B4), events.len() as u64)?;
    for event in &events {
        let cmdline = event.cmdline.as_deref().unwrap_or_default();
        ensure!(cmdline.first().is_some_and(|a| a.ends_with("mtr-packet")), "{cmdline:?}");
        let parent = event.ancestors.as_ref().and_then(|a| a.first()).context("no ancestors")?;
        ensure!(parent == "mtr", "parent {parent:?}");
    }
    Ok(())
}

fn hping3(ctx: &Ctx) -> Result<()> {
    let args = ["--icmp", "-q", "-n", "-c", "5", "-i", "u20000", B4];
    let (hping3, events) = observe(ctx, "hping3", &args)?;
    requests(&events, &Who::of(&hping3), &Sent::echo(A4, B4), 5)
}

fn python_raw_socket(ctx: &Ctx) -> Result<()> {
    // Several lines, as heredocs have: the argument holds newlines.
    let script = "import socket, struct, sys
s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
for seq in range(1, 4):
    head = struct.pack('!BBHHH', 8, 0, 0, 77, seq)
    total = sum(struct.unpack('!4H', head))
    total = (total & 0xffff) + (total >> 16)
    s.sendto(struct.pack('!BBHHH', 8, 0, ~total & 0xffff, 77, seq), (sys.argv[1], 0))";
    let (python, events) = observe(ctx, "python3", &["-S", "-c", script, B4])?;
    // /usr/bin/python3 is a link to the versioned name; comm is the name that was run.
    let who = Who { comm: Some("python3".into()), ..Who::of(&python) };
    let sent = Sent { id: Some(77), len: Some(28), ..Sent::echo(A4, B4) };
    check::exactly(&refs(&events), &who, &sent, &[1, 2, 3])
}

fn ping_started_before(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let cmd = ctx.tool("ping")?.args(["-n", "-i", "0.05", "-e", "99", B4]).in_ns(&pair.a)?;
    let mut ping = cmd.spawn()?;
    ping.await_output("icmp_seq=1 ", ctx.secs(10))?;
    let who = Who::running(&ping);
    let mut tracer = ctx.tracer().start()?;
    tracer.await_events(5, ctx.secs(10), |e| e.pid == Some(who.pid))?;
    let trace = tracer.stop()?;
    ping.interrupt(ctx.secs(10))?;
    let events = trace.within(&[&pair.a]);
    check::count_distinct(&events, events.len() as u64)?;
    let sent = Sent { id: Some(99), ..Sent::echo(A4, B4) };
    events.iter().try_for_each(|e| check::names(e, &who).and_then(|()| check::carries(e, &sent)))
}
