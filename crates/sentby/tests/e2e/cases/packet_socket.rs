//! Senders that go round the IP layer: AF_PACKET.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::topology::{A_MAC, A4, B_MAC, B4, Pair};
use anyhow::{Context, Result, ensure};

const SEES: &[&str] = &["process", "packet_socket"];

pub const CASES: &[Case] = &[
    Case::new("packet_raw", |ctx| packet(ctx, "raw")).sees(SEES).hooks(Hooks::EachAndAll),
    Case::new("packet_cooked", |ctx| packet(ctx, "cooked")).sees(SEES),
    Case::new("packet_vlan", |ctx| packet(ctx, "vlan")).sees(SEES),
    Case::new("packet_qinq", |ctx| packet(ctx, "qinq")).sees(SEES),
    Case::new("packet_ring", |ctx| packet(ctx, "ring")).sees(SEES),
    Case::new("packet_paged", |ctx| packet(ctx, "big")).sees(SEES),
    Case::new("nping_ethernet", nping).sees(SEES).tools(&["nping"]),
    Case::new("scapy_sendp", scapy).sees(SEES).tools(&["python3"]),
];

fn packet(ctx: &Ctx, mode: &str) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut len = 84;
    if mode == "big" {
        len = 8020;
        pair.b.ip("link set b0 mtu 9000")?;
        pair.a.ip("link set a0 mtu 9000")?;
    }
    let tracer = ctx.tracer().start()?;
    // A source that is not ours: the frame alone says who it claims to be.
    let src = "203.0.113.78";
    let args = [mode, "a0", A_MAC, B_MAC, src, B4, "21", "5"];
    let done = pair.a.run(ctx.sender("packet").args(args), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let sent = Sent { iface: Some("a0"), id: Some(21), len: Some(len), ..Sent::echo(src, B4) };
    let events = trace.within(&[&pair.a, &pair.b]);
    if !["vlan", "qinq"].contains(&mode) {
        let counted = pair.b.counted("request")?;
        ensure!(counted == 5, "the sender is wrong: the peer counted {counted}");
    }
    check::exactly(&events, &Who::of(&done), &sent, &[1, 2, 3, 4, 5])
}

fn nping(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let nping = ctx.tool("nping")?.args(["--icmp", "--send-eth", "-e", "a0", "-c", "3"]);
    let nping = nping.args(["--delay", "20ms", "--source-mac", A_MAC, "--dest-mac", B_MAC]);
    let done = pair.a.run(nping.args(["--source-ip", A4, "--icmp-id", "22", B4]), ctx.secs(30))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    let counted = pair.b.counted("request")?;
    ensure!(counted == 3, "the peer counted {counted}");
    // nping counts sends and not packets: its numbers may repeat.
    ensure!(events.len() == 3, "{} events, not 3", events.len());
    let sent = Sent { id: Some(22), ..Sent::echo(A4, B4) };
    let who = Who::of(&done);
    events.iter().try_for_each(|e| check::names(e, &who).and_then(|()| check::carries(e, &sent)))
}

fn scapy(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let script = format!(
        "import sys
try:
    from scapy.all import Ether, IP, ICMP, sendp
except ImportError:
    sys.exit(77)
for seq in (1, 2, 3):
    sendp(Ether(src='{A_MAC}', dst='{B_MAC}') / IP(src='{A4}', dst='{B4}')
          / ICMP(id=23, seq=seq), iface='a0', verbose=0)"
    );
    let tracer = ctx.tracer().start()?;
    let cmd = ctx.tool("python3")?.args(["-c", &script]).env("HOME", ctx.dir());
    let done = pair.a.run(cmd, ctx.secs(60))?;
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    let who = Who { comm: Some("python3".into()), ..Who::of(&done) };
    let sent = Sent { id: Some(23), len: Some(28), ..Sent::echo(A4, B4) };
    check::exactly(&events, &who, &sent, &[1, 2, 3]).context("scapy")?;
    ensure!(pair.b.counted("request")? == 3, "the peer did not get 3 requests");
    Ok(())
}
