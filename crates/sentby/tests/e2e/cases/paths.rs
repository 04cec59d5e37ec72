//! The ways a packet can take on one machine: each packet counts once, with the
//! address it leaves with, on the interface it leaves by.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::netns::Netns;
use crate::topology::{A4, A4_OTHER, A6, B4, Chain, FAR4, FAR6, NOBODY4, Pair};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("through_bridge_and_router", |ctx| chain(ctx, A4, FAR4)).hooks(Hooks::EachAndAll),
    Case::new("through_bridge_and_router_v6", |ctx| chain(ctx, A6, FAR6)).hooks(Hooks::EachAndAll),
    Case::new("forwarded_is_told_apart", forwarded)
        .sees(&["process", "forwarded"])
        .hooks(Hooks::EachAndAll),
    Case::new("over_vlan_device", |ctx| stacked(ctx, Upper::Vlan)).hooks(Hooks::EachAndAll),
    Case::new("over_bridge_device", |ctx| stacked(ctx, Upper::Bridge)).hooks(Hooks::EachAndAll),
    Case::new("over_macvlan_device", |ctx| stacked(ctx, Upper::Macvlan)).hooks(Hooks::EachAndAll),
    Case::new("multicast_v4", multicast_v4).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("multicast_v6", multicast_v6).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("broadcast", broadcast).hooks(Hooks::EachAndAll).tools(&["ping"]),
    Case::new("masquerade", masquerade).hooks(Hooks::EachAndAll).tools(&["ping", "nft"]),
    Case::new("neighbour_not_known_yet", neighbour_not_known_yet).hooks(Hooks::EachAndAll),
    Case::new("no_such_host", no_such_host).hooks(Hooks::EachAndAll),
    Case::new("dropped_on_the_way_out", dropped_on_the_way_out),
];

const SEQS: [u16; 5] = [1, 2, 3, 4, 5];

fn chain(ctx: &Ctx, src: &str, dst: &str) -> Result<()> {
    let net = Chain::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "5", "-i", "0.01", "-e", "51", dst]);
    let ping = net.a.run(ping, ctx.secs(20))?;
    let trace = tracer.stop()?;
    let all = trace.within(&[&net.a, &net.switch, &net.router, &net.far]);
    let sent = Sent { iface: Some("a0"), id: Some(51), ..Sent::echo(src, dst) };
    check::exactly(&all, &Who::of(&ping), &sent, &SEQS)?;
    ensure!(net.far.counted("request")? == 5, "the far end did not get 5 requests");
    Ok(())
}

fn forwarded(ctx: &Ctx) -> Result<()> {
    ctx.need("netns")?;
    let net = Chain::new(ctx)?;
    let tracer = ctx.tracer().args(["--forwarded"]).start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "5", "-i", "0.01", "-e", "52", FAR4]);
    let ping = net.a.run(ping, ctx.secs(20))?;
    let trace = tracer.stop()?;
    let sent = Sent { id: Some(52), ..Sent::echo(A4, FAR4) };
    check::exactly(&trace.within(&[&net.a]), &Who::of(&ping), &sent, &SEQS)?;
    let passing = of_echo(trace.within(&[&net.router]));
    check::blames_nobody(&passing, "forwarded")?;
    // Requests one way, replies the other: each once.
    check::count_distinct(&passing, 10)?;
    let requests = passing.iter().filter(|e| e.icmp.kind == "echo-request");
    for request in requests {
        check::carries(request, &Sent { iface: Some("r1"), ..sent.clone() })?;
    }
    // A switch has no IP layer to see it; a hook at devices may all the same, and then
    // also sees what kernels tell each other about groups.
    let switched = of_echo(trace.within(&[&net.switch]));
    check::blames_nobody(&switched, "forwarded")?;
    ensure!([0, 10].contains(&switched.len()), "{} events in the switch", switched.len());
    check::count_distinct(&switched, switched.len() as u64)?;
    ensure!(trace.within(&[&net.far]).is_empty(), "replies are the kernel's, not asked for");
    Ok(())
}

/// Without what kernels tell each other by themselves (MLD).
fn of_echo(events: Vec<&Event>) -> Vec<&Event> {
    events.into_iter().filter(|e| e.icmp.kind.starts_with("echo")).collect()
}

pub enum Upper {
    Vlan,
    Bridge,
    Macvlan,
}

/// The sender's address is on a device on top of another: two devices, one packet.
pub fn stacked(ctx: &Ctx, upper: Upper) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let vlan = "link add link a0 name up0 type vlan id 42";
    match upper {
        Upper::Vlan => {
            pair.a.ip_if_supported(vlan)?;
            pair.b.ip("link add link b0 name up0 type vlan id 42
                       link set up0 up
                       addr add 203.0.113.66/26 dev up0")?;
        }
        Upper::Bridge => {
            pair.a.ip_if_supported("link add name up0 type bridge")?;
            pair.a.ip("link set a0 master up0")?;
            pair.b.ip("addr add 203.0.113.66/26 dev b0")?;
        }
        Upper::Macvlan => {
            pair.a.ip_if_supported("link add link a0 name up0 type macvlan mode bridge")?;
            pair.b.ip("addr add 203.0.113.66/26 dev b0")?;
        }
    }
    pair.a.ip("link set up0 up
               addr add 203.0.113.65/26 dev up0")?;
    crate::netns::await_link(&pair.a, "up0", ctx.secs(10))?;
    // Once before it counts, so that both ends know each other's MAC address.
    let warm_up = ["-n", "-c", "1", "-W", "5", "203.0.113.66"];
    pair.a.run(ctx.tool("ping")?.args(warm_up), ctx.secs(20))?;
    let tracer = ctx.tracer().start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "5", "-i", "0.01", "-e", "53"]);
    let ping = pair.a.run(ping.arg("203.0.113.66"), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let sent = Sent {
        iface: Some("up0"),
        id: Some(53),
        len: Some(84),
        ..Sent::echo("203.0.113.65", "203.0.113.66")
    };
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &Who::of(&ping), &sent, &SEQS)
}

/// A multicast packet is also looped back to its sender: still one packet.
fn multicast_v4(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    group(ctx, &pair, &["-I", "a0", "224.0.0.1"], &Sent::echo(A4, "224.0.0.1"))
}

fn multicast_v6(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    pair.a.ip("addr add fe80::a/64 dev a0 nodad")?;
    group(ctx, &pair, &["-6", "-I", "a0", "ff02::1"], &Sent::echo("fe80::a", "ff02::1"))
}

fn broadcast(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    pair.a.ip("addr flush dev a0
               addr add 192.0.2.1/24 broadcast 192.0.2.255 dev a0")?;
    group(ctx, &pair, &["-b", "192.0.2.255"], &Sent::echo(A4, "192.0.2.255"))
}

fn group(ctx: &Ctx, pair: &Pair, target: &[&str], sent: &Sent) -> Result<()> {
    let tracer = ctx.tracer().start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "3", "-i", "0.02", "-W", "0.2", "-e", "54"]);
    // Whether anyone answers does not matter.
    let ping = ping.args(target).in_ns(&pair.a)?.spawn()?.wait(ctx.secs(20))?;
    let trace = tracer.stop()?;
    let sent = Sent { id: Some(54), iface: Some("a0"), ..sent.clone() };
    let who = Who::of(&ping);
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &who, &sent, &[1, 2, 3])
}

fn masquerade(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    pair.a.sh("nft -f - <<'END'
table ip e2e {
  chain out {
    type nat hook postrouting priority srcnat;
    ip saddr 203.0.113.0/24 masquerade
  }
}
END")?;
    let tracer = ctx.tracer().start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "5", "-i", "0.01", "-I", A4_OTHER, B4]);
    let ping = pair.a.run(ping, ctx.secs(20))?;
    let trace = tracer.stop()?;
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &Who::of(&ping), &Sent::echo(A4, B4), &SEQS)
}

fn neighbour_not_known_yet(ctx: &Ctx) -> Result<()> {
    ctx.need("brief")?;
    let pair = Pair::without_neighbours(ctx)?;
    let tracer = ctx.tracer().start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "3", "-i", "0.05", "-e", "55", B4]);
    let ping = pair.a.run(ping, ctx.secs(20))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    check::count_distinct(&events, 3)?;
    let cgroup = events[2].cgroup.clone();
    for event in events {
        check::carries(event, &Sent { id: Some(55), ..Sent::echo(A4, B4) })?;
        // The first packet leaves in the softirq of the neighbour's answer. At the device
        // alone, nothing was seen of its sender before: /proc may tell, or nobody.
        let first = event.hook == "net_dev_queue" && event.icmp.seq == Some(1);
        match event.evidence.as_str() {
            "unknown" if first => continue,
            "procfs" if first => ensure!(event.pid == Some(ping.pid), "{:?}", event.pid),
            _ => check::names(event, &Who::of(&ping))?,
        }
        // Wherever facts come from, they are the same.
        ensure!(event.cgroup == cgroup, "cgroup {:?}, elsewhere {cgroup:?}", event.cgroup);
    }
    Ok(())
}

/// Nobody answers for the address: the request is shown where hooks lie above the
/// neighbour table, and the kernel's complaint to itself is nobody's doing.
fn no_such_host(ctx: &Ctx) -> Result<()> {
    ctx.need("task")?;
    let pair = Pair::new(ctx)?;
    pair.a.sh("echo 1 > /proc/sys/net/ipv4/neigh/a0/mcast_solicit
               echo 100 > /proc/sys/net/ipv4/neigh/a0/retrans_time_ms")?;
    let tracer = ctx.tracer().args(["--kernel"]).start()?;
    let ping = ctx.tool("ping")?.args(["-n", "-c", "1", "-W", "2", "-e", "56", NOBODY4]);
    let ping = ping.in_ns(&pair.a)?.spawn()?.wait(ctx.secs(20))?;
    let trace = tracer.stop()?;
    let (requests, errors): (Vec<&Event>, Vec<&Event>) =
        trace.within(&[&pair.a]).into_iter().partition(|e| e.icmp.kind == "echo-request");
    check::blames_nobody(&errors, "kernel")?;
    if ctx.hook.to_string() == "net_dev_queue" {
        ensure!(requests.is_empty(), "it never reached the device");
        return Ok(());
    }
    check::exactly(&requests, &Who::of(&ping), &Sent::echo(A4, NOBODY4), &[1])
}

/// What the machine's own firewall drops has not been sent.
fn dropped_on_the_way_out(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    pair.a.sh("nft -f - <<'END'
table ip e2e {
  chain out {
    type filter hook output priority filter;
    icmp sequence 2 drop
  }
}
END")?;
    let tracer = ctx.tracer().start()?;
    let mut sender = lockstep(ctx, &pair.a, "57")?;
    sender.ask("go", "sent 1", ctx.secs(10))?;
    // The second send fails (EPERM), and the sender with it.
    let refused = sender.ask("go", "sent 2", ctx.secs(10));
    ensure!(refused.is_err_and(|e| e.to_string().contains("not permitted")), "not dropped");
    let who = Who::running(&sender);
    let trace = tracer.stop()?;
    let sent = Sent { id: Some(57), ..Sent::echo(A4, B4) };
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &who, &sent, &[1])
}

fn lockstep(ctx: &Ctx, ns: &Netns, id: &str) -> Result<crate::proc::Proc> {
    let cmd = ctx.sender("lockstep").args([B4, id, "raw"]);
    let mut sender = cmd.in_ns(ns)?.with_stdin().spawn()?;
    sender.await_output("ready", ctx.secs(10))?;
    Ok(sender)
}
