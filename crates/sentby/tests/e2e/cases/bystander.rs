//! Packets that no process sent, on a machine where every core is busy with processes
//! that did not send them. None may ever be blamed.

use crate::check;
use crate::ctx::{Case, Ctx, Hooks, skip};
use crate::event::Event;
use crate::netns::Netns;
use crate::pid1::{all_shown, undisturbed};
use crate::proc::Proc;
use crate::topology::{A4, A6, B4, Chain, FAR4, FAR6, Pair};
use crate::tracer::Trace;
use anyhow::{Result, ensure};

const KERNEL: &[&str] = &["process", "kernel"];
const FORWARDED: &[&str] = &["process", "forwarded"];

pub const CASES: &[Case] = &[
    Case::new("replies_under_load", replies).sees(KERNEL).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("replies_hidden_by_default", hidden).tools(&["ping"]),
    Case::new("forwarded_under_load", forwarded)
        .sees(FORWARDED)
        .hooks(Hooks::EachAndAll)
        .tools(&["ping"]),
    Case::new("port_unreachable", port_unreachable).sees(KERNEL).hooks(Hooks::EachAndAll),
    Case::new("port_unreachable_loopback", port_unreachable_loopback).sees(KERNEL),
    Case::new("time_exceeded", time_exceeded).sees(KERNEL),
    Case::new("tcp_rejected", tcp_rejected).sees(KERNEL).tools(&["nft"]),
    Case::new("rejected_on_the_way_out", rejected_on_the_way_out).sees(KERNEL).tools(&["nft"]),
    Case::new("errors_hidden_by_default", errors_hidden),
    Case::new("tun_writer", tun_writer).sees(&["process", "kernel", "forwarded"]),
];

/// One busy process per CPU.
fn hogs(ctx: &Ctx) -> Result<Vec<Proc>> {
    let cpus = std::thread::available_parallelism()?.get();
    let mut hogs = Vec::new();
    for cpu in 0..cpus {
        let mut hog = ctx.sender("hog").arg(cpu.to_string()).spawn()?;
        hog.await_output("ready", ctx.secs(10))?;
        hogs.push(hog);
    }
    Ok(hogs)
}

/// Has packets that arrive on `iface` handled by any CPU, so that they interrupt whoever
/// runs there. Best effort: without it they interrupt whoever runs here.
fn spread(ns: &Netns, iface: &str) {
    let _ = ns.sh_with_sysfs(&format!(
        "for q in /sys/class/net/{iface}/queues/rx-*; do echo 3 > $q/rps_cpus; done"
    ));
}

/// Events that blame one of the hogs, anywhere on the machine.
fn blamed(trace: &Trace, hogs: &[Proc]) -> usize {
    trace.events.iter().filter(|e| hogs.iter().any(|h| e.pid == Some(h.pid()))).count()
}

fn flood_from(ctx: &Ctx, ns: &Netns, dst: &str, n: u64) -> Result<crate::proc::Done> {
    let count = n.to_string();
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-f", "-c", &count, "-w", "60", dst]);
    ns.run(ping, ctx.secs(90))
}

fn of_kind<'a>(events: &[&'a Event], kind: &str) -> Vec<&'a Event> {
    events.iter().copied().filter(|e| e.icmp.kind == kind).collect()
}

/// b floods a: a's replies are nobody's, b's requests are ping's. 0 wrong of 10,000.
fn replies(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    for (target, n) in [(A4, ctx.scaled(8000)), (A6, ctx.scaled(2000))] {
        undisturbed(ctx, || replies_of(ctx, target, n))?;
    }
    Ok(())
}

fn replies_of(ctx: &Ctx, target: &str, n: u64) -> Result<()> {
    let pair = Pair::new(ctx)?;
    spread(&pair.a, "a0");
    let hogs = hogs(ctx)?;
    let tracer = ctx.tracer().args(["--kernel"]).start()?;
    let ping = flood_from(ctx, &pair.b, target, n)?;
    let trace = tracer.stop()?;
    let in_a = trace.within(&[&pair.a]);
    check::blames_nobody(&in_a, "kernel")?;
    let replies = of_kind(&in_a, "echo-reply");
    ensure!(
        replies.iter().all(|e| e.kernel_part.as_deref() == Some("icmp-reply")),
        "kernel_part is not icmp-reply"
    );
    let requests = of_kind(&trace.within(&[&pair.b]), "echo-request");
    ensure!(requests.iter().all(|e| e.pid == Some(ping.pid)), "a request is not ping's");
    ensure!(requests.len() as u64 >= n, "{} of {n} requests", requests.len());
    ensure!(blamed(&trace, &hogs) == 0, "a bystander was blamed");
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    all_shown("replies", replies.len() as u64, pair.b.counted("reply")?)
}

fn hidden(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let ping = flood_from(ctx, &pair.b, A4, ctx.scaled(500))?;
    let trace = tracer.stop()?;
    let in_a = trace.within(&[&pair.a]);
    ensure!(in_a.is_empty(), "{} events where no process sent", in_a.len());
    ensure!(trace.by(ping.pid).len() as u64 >= ctx.scaled(500), "requests are missing");
    Ok(())
}

/// The router only passes on: requests one way, replies the other, 0 wrong of 10,000.
fn forwarded(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    for (dst, n) in [(FAR4, ctx.scaled(4000)), (FAR6, ctx.scaled(1000))] {
        undisturbed(ctx, || forwarded_to(ctx, dst, n))?;
    }
    Ok(())
}

fn forwarded_to(ctx: &Ctx, dst: &str, n: u64) -> Result<()> {
    let net = Chain::new(ctx)?;
    spread(&net.router, "r0");
    spread(&net.router, "r1");
    let hogs = hogs(ctx)?;
    let tracer = ctx.tracer().args(["--forwarded"]).start()?;
    let ping = flood_from(ctx, &net.a, dst, n)?;
    let trace = tracer.stop()?;
    let passing = trace.within(&[&net.router]);
    check::blames_nobody(&passing, "forwarded")?;
    check::blames_nobody(&trace.within(&[&net.switch]), "forwarded")?;
    let counted = net.far.counted("request")?;
    let sent = trace.by(ping.pid).len() as u64;
    ensure!(sent == counted, "{sent} sent, {counted} arrived");
    ensure!(blamed(&trace, &hogs) == 0, "a bystander was blamed");
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    all_shown("requests", of_kind(&passing, "echo-request").len() as u64, counted)
}

/// Pokes a closed or forbidden port; the answer is `kind` out of `from`, the kernel's.
fn poked(ctx: &Ctx, spaces: (&Netns, &Netns), args: [&str; 5], kind: &str) -> Result<()> {
    undisturbed(ctx, || poked_once(ctx, spaces, args, kind))
}

fn poked_once(ctx: &Ctx, spaces: (&Netns, &Netns), args: [&str; 5], kind: &str) -> Result<()> {
    let (sender, answerer) = spaces;
    let hogs = hogs(ctx)?;
    let mut tracer = ctx.tracer().args(["--kernel"]).start()?;
    let poke = sender.run(ctx.sender("poke").args(args), ctx.secs(30))?;
    let n: usize = args[4].parse()?;
    // Errors may be on their way in another CPU's softirq when the sender has ended.
    let inode = answerer.inode();
    let wanted = |e: &Event| e.netns == Some(inode) && e.icmp.kind == kind;
    let waited = tracer.await_events(n, ctx.secs(5), wanted);
    let trace = tracer.stop()?;
    let errors = trace.within(&[answerer]);
    check::blames_nobody(&errors, "kernel")?;
    ensure!(errors.iter().all(|e| e.kernel_part.is_some()), "no kernel_part");
    ensure!(trace.by(poke.pid).is_empty(), "who sent UDP or TCP has sent no ICMP");
    ensure!(blamed(&trace, &hogs) == 0, "a bystander was blamed");
    let count = errors.iter().filter(|e| e.icmp.kind == kind).count();
    all_shown("errors", count as u64, n as u64)?;
    waited
}

const UNREACHABLE: &str = "dest-unreachable";

fn port_unreachable(ctx: &Ctx) -> Result<()> {
    // Fewer than a CPU's backlog holds (net.core.netdev_max_backlog is 1000).
    let n = ctx.scaled(500).to_string();
    let pair = Pair::new(ctx)?;
    spread(&pair.b, "b0");
    poked(ctx, (&pair.a, &pair.b), ["udp", B4, "9", "64", &n], UNREACHABLE)
}

/// On loopback the error is made while the sender is still sending: in its own context.
fn port_unreachable_loopback(ctx: &Ctx) -> Result<()> {
    let n = ctx.scaled(200).to_string();
    for dst in ["127.0.0.1", "::1"] {
        let ns = ctx.netns("lo")?;
        ns.sh("echo 0 > /proc/sys/net/ipv4/icmp_ratemask
               echo 0 > /proc/sys/net/ipv6/icmp/ratelimit")?;
        poked(ctx, (&ns, &ns), ["udp", dst, "9", "64", &n], UNREACHABLE)?;
    }
    Ok(())
}

fn time_exceeded(ctx: &Ctx) -> Result<()> {
    let n = ctx.scaled(200).to_string();
    let net = Chain::new(ctx)?;
    let args = ["udp", FAR4, "9", "1", &n];
    poked(ctx, (&net.a, &net.router), args, "time-exceeded")
}

fn tcp_rejected(ctx: &Ctx) -> Result<()> {
    let n = ctx.scaled(200).to_string();
    let net = Chain::new(ctx)?;
    net.router.sh("nft -f - <<'END'
table ip e2e {
  chain forward {
    type filter hook forward priority filter;
    tcp dport 9 reject with icmp type admin-prohibited
  }
}
END")?;
    poked(ctx, (&net.a, &net.router), ["tcp", FAR4, "9", "64", &n], UNREACHABLE)
}

/// A firewall's refusal is made in the very task that tried to send, by the kernel.
fn rejected_on_the_way_out(ctx: &Ctx) -> Result<()> {
    let n = ctx.scaled(200).to_string();
    let pair = Pair::new(ctx)?;
    pair.a.sh("nft -f - <<'END'
table ip e2e {
  chain out {
    type filter hook output priority filter;
    udp dport 9 reject with icmp type port-unreachable
  }
}
END")?;
    poked(ctx, (&pair.a, &pair.a), ["udp", B4, "9", "64", &n], UNREACHABLE)
}

fn errors_hidden(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    pair.a.run(ctx.sender("poke").args(["udp", B4, "9", "64", "20"]), ctx.secs(10))?;
    // Something that is shown, after it.
    pair.a.run(ctx.sender("oneshot").args([B4, "71", "1"]), ctx.secs(10))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    ensure!(events.len() == 1, "{} events, not the one a process sent", events.len());
    Ok(())
}

/// What comes in through a tun device comes from outside, even though it does so in
/// the write() of a process.
fn tun_writer(ctx: &Ctx) -> Result<()> {
    let ns = Chain::new(ctx)?;
    let outside = "203.0.113.200";
    for (dst, id, n) in [(FAR4, "72", 50u64), ("192.0.2.254", "73", 50)] {
        let args = ["tun0", outside, dst, id, &n.to_string()];
        let cmd = ctx.sender("tun").args(args).in_ns(&ns.router)?.with_stdin();
        let mut tun = cmd.spawn()?;
        tun.await_output("ready", ctx.secs(10))?;
        ns.router.sh("echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
                      echo 0 > /proc/sys/net/ipv4/conf/tun0/rp_filter || true")?;
        ns.router
            .ip("link set tun0 up
                 addr add 203.0.113.254/32 dev tun0
                 route replace 203.0.113.0/24 dev tun0")
            .map_err(|e| skip(format!("no tun device: {e}")))?;
        let mut tracer = ctx.tracer().args(["--kernel", "--forwarded"]).start()?;
        tun.ask("go", "written", ctx.secs(10))?;
        let (inode, id): (u32, u16) = (ns.router.inode(), id.parse()?);
        let kind = if dst == FAR4 { "echo-request" } else { "echo-reply" };
        let ours =
            move |e: &Event| e.netns == Some(inode) && e.icmp.kind == kind && e.icmp.id == Some(id);
        tracer.await_events(n as usize, ctx.secs(10), ours)?;
        let trace = tracer.stop()?;
        let events: Vec<&Event> = trace.events.iter().filter(|e| ours(e)).collect();
        check::blames_nobody(&events, if dst == FAR4 { "forwarded" } else { "kernel" })?;
        check::count_distinct(&events, n)?;
        ensure!(trace.by(tun.pid()).is_empty(), "the writer of the device was blamed");
    }
    Ok(())
}
