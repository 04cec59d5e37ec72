//! How it starts, how it ends, and what it says when.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx, Hook, Hooks};
use crate::event::Event;
use crate::proc::{Proc, poll};
use crate::topology::{A4, B4, Pair};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("nothing_to_show", nothing_to_show),
    Case::new("count_limit", count_limit),
    Case::new("time_limit", time_limit),
    Case::new("closed_pipe", closed_pipe).hooks(Hooks::Auto),
    Case::new("full_disk", full_disk).hooks(Hooks::Auto),
    Case::new("sigterm", sigterm).hooks(Hooks::Auto),
    Case::new("sigint_twice", sigint_twice).hooks(Hooks::Auto),
    Case::new("quiet_and_verbose", quiet_and_verbose).hooks(Hooks::Auto),
    Case::new("shown_at_once", shown_at_once),
    Case::new("two_at_once", two_at_once),
    Case::new("small_buffer", small_buffer),
    Case::new("loads_at_once", loads_at_once),
];

fn flow(ctx: &Ctx, pair: &Pair) -> Result<Proc> {
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-i", "0.005", "-e", "101", B4]);
    ping.in_ns(&pair.a)?.spawn()
}

fn nothing_to_show(ctx: &Ctx) -> Result<()> {
    let ns = ctx.netns("still")?;
    let trace = ctx.tracer().start()?.stop()?;
    ensure!(trace.within(&[&ns]).is_empty(), "events out of nowhere");
    ensure!(!trace.stderr.trim().is_empty(), "no ledger on stderr");
    ensure!(trace.status.code() == Some(0), "{}", trace.status);
    Ok(())
}

fn count_limit(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let ping = flow(ctx, &pair)?;
    let netns = pair.a.inode().to_string();
    let tracer = ctx.tracer().args(["-c", "3", "--netns", &netns]).spawn()?;
    let trace = tracer.wait(ctx.secs(20))?;
    ping.interrupt(ctx.secs(10))?;
    ensure!(trace.events.len() == 3, "{} events, not 3", trace.events.len());
    ensure!(trace.ledger.shown == 3, "the ledger says {}", trace.ledger.shown);
    let seqs: Vec<u16> = trace.events.iter().filter_map(|e| e.icmp.seq).collect();
    ensure!(seqs.windows(2).all(|w| w[0].wrapping_add(1) == w[1]), "{seqs:?}");
    Ok(())
}

fn time_limit(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut ping = flow(ctx, &pair)?;
    let begun = Instant::now();
    let mut tracer = ctx.tracer().args(["--for", "1s"]).spawn()?;
    tracer.await_ready(ctx.secs(20))?;
    let ready = Instant::now();
    let trace = tracer.wait(ctx.secs(20))?;
    ensure!(begun.elapsed() >= Duration::from_secs(1), "ended after {:?}", begun.elapsed());
    ensure!(ready.elapsed() < ctx.secs(4), "ended {:?} after it was ready", ready.elapsed());
    ensure!(ping.try_wait()?.is_none(), "the sender has ended");
    let events = trace.within(&[&pair.a]);
    ensure!(events.len() > 5, "only {} events in a second", events.len());
    check::count_distinct(&events, events.len() as u64)
}

fn closed_pipe(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let _ping = flow(ctx, &pair)?;
    let mut tracer = ctx.tracer().piped().start()?;
    let mut reader = BufReader::new(tracer.take_stdout().context("no pipe")?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Event::parse(line.trim_end())?;
    drop(reader);
    let done = tracer.wait_any(ctx.secs(20))?;
    ensure!(done.status.code() == Some(0), "{} after a closed pipe", done.status);
    let errors = done.errors();
    for word in ["panicked", "Broken pipe", "os error"] {
        ensure!(!errors.contains(word), "stderr says {word:?}");
    }
    Ok(())
}

fn full_disk(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let _ping = flow(ctx, &pair)?;
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full")?;
    let cmd = ctx.program(&ctx.env.bin).args(["icmp", "--json"]).stdout(full.into());
    let done = cmd.spawn()?.wait(ctx.secs(20))?;
    let errors = done.errors();
    ensure!(done.status.code() == Some(1), "{} on a full disk: {errors}", done.status);
    ensure!(errors.contains("No space left"), "stderr does not say why: {errors:?}");
    ensure!(!errors.contains("panicked"), "{errors}");
    Ok(())
}

fn sigterm(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.sender("oneshot").args([B4, "102", "1"]), ctx.secs(10))?;
    tracer.signal(libc::SIGTERM)?;
    let trace = tracer.wait(ctx.secs(20))?;
    check::exactly(&trace.by(done.pid), &Who::of(&done), &Sent::echo(A4, B4), &[1])
}

/// Impatience does no harm: the second Ctrl-C may end it sooner, but cleanly.
fn sigint_twice(ctx: &Ctx) -> Result<()> {
    let mut tracer = ctx.tracer().start()?;
    tracer.signal(libc::SIGINT)?;
    // It may have ended already; then there is no one to signal.
    let _ = tracer.signal(libc::SIGINT);
    let done = tracer.wait_any(ctx.secs(20))?;
    let code = done.status.code();
    let by_signal = crate::proc::killed_by(done.status) == Some(libc::SIGINT);
    ensure!(code == Some(0) || code == Some(130) || by_signal, "{}", done.status);
    Ok(())
}

fn quiet_and_verbose(ctx: &Ctx) -> Result<()> {
    let plain = ctx.tracer().start()?.stop()?.stderr;
    let quiet = ctx.tracer().args(["--quiet"]).start()?.stop()?.stderr;
    let verbose = ctx.tracer().args(["-v"]).start()?.stop()?.stderr;
    ensure!(quiet.is_empty(), "--quiet says {quiet:?}");
    ensure!(!plain.is_empty(), "no ledger");
    ensure!(verbose.lines().count() > plain.lines().count(), "-v says no more: {verbose:?}");
    ensure!(verbose.to_lowercase().contains("ready"), "-v does not say when: {verbose:?}");
    Ok(())
}

/// A single event does not wait for company.
fn shown_at_once(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut tracer = ctx.tracer().start()?;
    for seq in 1..=5 {
        let cmd = ctx.sender("oneshot").args([B4, "103", &seq.to_string()]);
        let done = pair.a.run(cmd, ctx.secs(10))?;
        let sent = Instant::now();
        let shown = poll(ctx.secs(10), || {
            Ok(tracer.so_far()?.iter().any(|e| e.pid == Some(done.pid)).then_some(()))
        })?;
        shown.context("it was never shown")?;
        let waited = sent.elapsed();
        ensure!(waited < Duration::from_millis(500).mul_f64(ctx.env.slow), "after {waited:?}");
    }
    tracer.stop().map(drop)
}

/// Two at a time do not disturb each other, nor does the end of one the other.
fn two_at_once(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let first = ctx.tracer().start()?;
    let second = ctx.tracer().start()?;
    let send = |seq: &str| pair.a.run(ctx.sender("oneshot").args([B4, "104", seq]), ctx.secs(10));
    let both = send("1")?;
    let one = first.stop()?;
    let alone = send("2")?;
    let two = second.stop()?;
    let sent = Sent::echo(A4, B4);
    check::exactly(&one.within(&[&pair.a]), &Who::of(&both), &sent, &[1])?;
    check::exactly(&two.by(both.pid), &Who::of(&both), &sent, &[1])?;
    check::exactly(&two.by(alone.pid), &Who::of(&alone), &sent, &[2])?;
    ensure!(two.within(&[&pair.a]).len() == 2, "2 events expected");
    Ok(())
}

/// The smallest buffer either works or is refused in one line.
fn small_buffer(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut tracer = ctx.tracer().args(["--buffer-size", "4096"]).spawn()?;
    if let Err(e) = tracer.await_ready(ctx.secs(20)) {
        let done = tracer.wait_any(ctx.secs(10))?;
        let code = done.status.code();
        if !matches!(code, Some(1 | 2)) {
            bail!("{e:#}");
        }
        return Ok(());
    }
    let done = pair.a.run(ctx.sender("oneshot").args([B4, "105", "1"]), ctx.secs(10))?;
    let trace = tracer.stop()?;
    check::exactly(&trace.by(done.pid), &Who::of(&done), &Sent::echo(A4, B4), &[1])
}

/// No program is refused and tried again in another shape: that works too, but costs
/// twice as much at every packet, and nobody would notice.
fn loads_at_once(ctx: &Ctx) -> Result<()> {
    let protocols: &[&str] = if ctx.hook == Hook::Auto { &["icmp", "all"] } else { &["icmp"] };
    for protocol in protocols {
        let trace = ctx.tracing(protocol).args(["-vv"]).start()?.stop()?;
        let refused = trace.stderr.lines().find(|l| l.contains("BPF program load failed"));
        ensure!(refused.is_none(), "{refused:?}");
        ensure!(trace.stderr.contains("libbpf:"), "libbpf says nothing");
    }
    Ok(())
}
