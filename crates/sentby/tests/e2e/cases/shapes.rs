//! The shapes an ICMP packet can have: options, extension headers, fragments, corked
//! sends, written headers, odd types, packets too short for their header.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx, Hooks, skip};
use crate::proc::Cmd;
use crate::topology::{A4, A6, B4, B6, Pair};
use anyhow::{Context, Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("dgram_socket", |ctx| dgram(ctx, A4, B4)),
    Case::new("dgram_socket_v6", |ctx| dgram(ctx, A6, B6)),
    Case::new("ping_dgram", ping_dgram).tools(&["ping"]),
    Case::new("ip_options_timestamp", |ctx| ip_options(ctx, &["-T", "tsonly"])).tools(&["ping"]),
    Case::new("ip_options_record_route", |ctx| ip_options(ctx, &["-R"])).tools(&["ping"]),
    Case::new("v6_hop_by_hop", |ctx| v6_extension(ctx, "hop", 112)),
    Case::new("v6_destination_options", |ctx| v6_extension(ctx, "dest", 112)),
    Case::new("v6_both_options", |ctx| v6_extension(ctx, "both", 120)),
    Case::new("fragmented_v4", |ctx| fragmented(ctx, A4, B4)).hooks(Hooks::EachAndAll),
    Case::new("fragmented_v6", |ctx| fragmented(ctx, A6, B6)).hooks(Hooks::EachAndAll),
    Case::new("corked_v4", |ctx| corked(ctx, A4, B4)),
    Case::new("corked_v6", |ctx| corked(ctx, A6, B6)),
    Case::new("hdrincl", |ctx| hdrincl(ctx, "plain", 84)),
    Case::new("hdrincl_options", |ctx| hdrincl(ctx, "options", 92)),
    Case::new("hdrincl_fragments", |ctx| hdrincl(ctx, "fragments", 52)),
    Case::new("other_types", other_types),
    Case::new("reply_by_a_process", reply_by_a_process),
    Case::new("too_short_for_a_header", too_short_for_a_header),
];

/// Runs one sender and wants exactly these sequence numbers.
fn one(ctx: &Ctx, pair: &Pair, sender: Cmd, sent: &Sent, seqs: &[u16]) -> Result<()> {
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(sender, ctx.secs(20))?;
    let trace = tracer.stop()?;
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &Who::of(&done), sent, seqs)
}

fn open_ping_sockets(pair: &Pair) -> Result<()> {
    pair.a.sh("echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range").map(drop)
}

fn dgram(ctx: &Ctx, src: &str, dst: &str) -> Result<()> {
    let pair = Pair::new(ctx)?;
    open_ping_sockets(&pair)?;
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.sender("dgram").args([dst, "3", "65534"]), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let id = u16::try_from(done.number("id")?)?;
    let who = Who { uid: Some(65534), ..Who::of(&done) };
    let sent = Sent { id: Some(id), ..Sent::echo(src, dst) };
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &who, &sent, &[1, 2, 3])?;
    ensure!(pair.b.counted("request")? == 3, "the peer did not get 3 requests");
    Ok(())
}

fn ping_dgram(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    open_ping_sockets(&pair)?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "3", "-i", "0.01", B4]);
    one(ctx, &pair, ping, &Sent { len: Some(84), ..Sent::echo(A4, B4) }, &[1, 2, 3])
}

fn ip_options(ctx: &Ctx, options: &[&str]) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "3", "-i", "0.01", "-e", "5"]);
    let sent = Sent { id: Some(5), ..Sent::echo(A4, B4) };
    one(ctx, &pair, ping.args(options).arg(B4), &sent, &[1, 2, 3])?;
    ensure!(pair.b.counted("request")? == 3, "the peer did not get 3 requests");
    Ok(())
}

fn v6_extension(ctx: &Ctx, which: &str, len: u32) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let sender = ctx.sender("v6ext").args([which, B6, "6", "3"]);
    let sent = Sent { id: Some(6), len: Some(len), ..Sent::echo(A6, B6) };
    one(ctx, &pair, sender, &sent, &[1, 2, 3])?;
    ensure!(pair.b.counted("request")? == 3, "the peer did not get 3 requests");
    Ok(())
}

/// Three fragments each, one event: those after the first carry no ICMP header.
fn fragmented(ctx: &Ctx, src: &str, dst: &str) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let args = ["-n", "-c", "3", "-i", "0.01", "-s", "4000", "-e", "8", dst];
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.tool("ping")?.args(args), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    let sent = Sent { id: Some(8), ..Sent::echo(src, dst) };
    check::exactly(&events, &Who::of(&done), &sent, &[1, 2, 3])?;
    let whole = 4008 + if src.contains(':') { 40 } else { 20 };
    for event in events {
        let len = event.len.context("no len")?;
        // Above the device it is whole, at the device it is the first fragment.
        let below = event.hook == "net_dev_queue" || ctx.lacks("fragmented");
        let fragment = below && (1400..=1500).contains(&len);
        ensure!(len == whole || fragment, "len {len} at {}", event.hook);
    }
    Ok(())
}

fn corked(ctx: &Ctx, src: &str, dst: &str) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let sent = Sent {
        id: Some(9),
        len: Some(64 + if src.contains(':') { 40 } else { 20 }),
        ..Sent::echo(src, dst)
    };
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.sender("cork").args([dst, "9", "3"]), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    // The v6 checksum of a corked packet is the kernel's; v4's is the sender's.
    ensure!(pair.b.counted("request")? == 3, "the peer did not get 3 requests");
    if events.iter().all(|e| e.hook == "cgroup_skb") {
        return check::exactly(&events, &Who::of(&done), &sent, &[1, 2, 3]);
    }
    // What was added under MSG_MORE is in page fragments, which only the cgroup hook
    // can read: id and seq are absent there, and the sender is right all the same.
    ensure!(events.len() == 3, "{} events, not 3", events.len());
    events.iter().try_for_each(|e| check::names(e, &Who::of(&done)))?;
    events.iter().try_for_each(|e| check::carries(e, &Sent { id: None, ..sent }))
}

fn hdrincl(ctx: &Ctx, mode: &str, len: u32) -> Result<()> {
    let pair = Pair::new(ctx)?;
    // Not an address of this machine: whoever writes the header chooses it.
    let src = "203.0.113.77";
    let sent = Sent { id: Some(10), len: Some(len), ..Sent::echo(src, B4) };
    one(ctx, &pair, ctx.sender("hdrincl").args([mode, src, B4, "10"]), &sent, &[1])
}

fn other_types(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    // Destination, type, its name, whether it has id and seq.
    let kinds = [
        (B4, 13, "timestamp-request"),
        (B4, 10, "router-solicitation"),
        (B4, 3, "dest-unreachable"),
        (B6, 133, "router-solicitation"),
        (B6, 135, "neighbour-solicitation"),
    ];
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let mut pids = Vec::new();
    for (dst, number, _) in kinds {
        let args = [dst, &number.to_string(), "0", "11", "1", "64"];
        pids.push(pair.a.run(ctx.sender("icmp").args(args), ctx.secs(10))?);
    }
    let trace = tracer.stop()?;
    ensure!(trace.within(&[&pair.a]).len() == kinds.len(), "one event per sender expected");
    for (done, (dst, number, name)) in pids.iter().zip(kinds) {
        let [event] = trace.by(done.pid)[..] else { anyhow::bail!("no single event of {name}") };
        let src = if dst == B4 { A4 } else { A6 };
        ensure!(event.icmp.type_number == number, "type {}", event.icmp.type_number);
        ensure!(event.icmp.code == 0, "code {}", event.icmp.code);
        let kind = event.icmp.kind.clone();
        check::names(event, &Who::of(done))?;
        check::carries(event, &Sent { kind: &kind, ..Sent::echo(src, dst) })?;
        ensure!(kind == name, "type {number} is called {kind:?}");
    }
    Ok(())
}

/// Replies are usually the kernel's. This one is not, and is shown by default.
fn reply_by_a_process(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let pair = Pair::new(ctx)?;
    let sent = Sent { kind: "echo-reply", id: Some(12), ..Sent::echo(A4, B4) };
    one(ctx, &pair, ctx.sender("icmp").args([B4, "0", "0", "12", "5", "64"]), &sent, &[5])
}

/// Four bytes of ICMP: type, code, checksum, and then nothing: no id, no seq, no guess.
fn too_short_for_a_header(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let sender = ctx.sender("icmp").args([B4, "8", "0", "12", "5", "4"]).in_ns(&pair.a)?;
    let done = sender.spawn()?.wait(ctx.secs(10))?;
    if !done.status.success() {
        return Err(skip(format!("the kernel refuses it: {}", done.errors().trim())));
    }
    let trace = tracer.stop()?;
    let [event] = trace.by(done.pid)[..] else { anyhow::bail!("one event expected") };
    check::names(event, &Who::of(&done))?;
    check::carries(event, &Sent { len: Some(24), ..Sent::echo(A4, B4) })?;
    ensure!(event.icmp.id.is_none() && event.icmp.seq.is_none(), "id or seq out of nothing");
    Ok(())
}
