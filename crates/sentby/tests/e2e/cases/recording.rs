//! Recordings of real senders: what a kill and a full disk leave of them.

use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::proc::{Proc, poll};
use crate::stage::{SERVER, serve};
use crate::topology::{B4, Pair};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

pub const CASES: &[Case] = &[
    Case::new("recording_killed", killed).hooks(Hooks::Auto).tools(&["ping", "curl", "python3"]),
    Case::new("recording_on_a_full_disk", full_disk).hooks(Hooks::Auto).tools(&["ping", "mount"]),
];

/// Starts `sentby record` on a pair's events, and waits until its probes are live.
fn record(ctx: &Ctx, pair: &Pair, db: &Path, more: &[&str]) -> Result<Proc> {
    let ready = ctx.dir().join(ctx.label("ready"));
    let spaces = [&pair.a, &pair.b].map(|ns| format!("--netns={}", ns.inode()));
    let recorder = ctx.program(&ctx.env.bin).args(["record"]).args(more).args(spaces);
    let recorder = recorder.arg("-o").arg(db).arg("--ready-file").arg(&ready).spawn()?;
    let live = poll(ctx.secs(20), || Ok(ready.exists().then_some(())))?;
    live.with_context(|| format!("never live: {}", recorder.stderr()))?;
    Ok(recorder)
}

fn query(ctx: &Ctx, db: &Path, more: &[&str]) -> Result<String> {
    let asked = ctx.program(&ctx.env.bin).args(["query", "-q", "--from"]).arg(db).args(more);
    let done = asked.run(ctx.secs(20))?;
    ensure!(done.status.code() == Some(0), "query {more:?}: {}", done.errors());
    Ok(done.text())
}

fn count(ctx: &Ctx, db: &Path) -> Result<u64> {
    query(ctx, db, &["--count"])?.trim().parse().context("no number")
}

fn is_sound(ctx: &Ctx, db: &Path) -> Result<()> {
    let said = query(ctx, db, &["--sql", "PRAGMA integrity_check"])?;
    ensure!(said.lines().last() == Some("ok"), "{said}");
    let sums = query(
        ctx,
        db,
        &["--sql", "SELECT (SELECT count(*) FROM events) - sum(events) FROM minutes"],
    )?;
    ensure!(sums.lines().last() == Some("0"), "events and sums differ: {sums}");
    Ok(())
}

/// What was there for a reader before the kill is there after it, and names its senders.
fn killed(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let mut server = serve(ctx, &pair.b, SERVER)?;
    let db = ctx.dir().join("killed.db");
    let mut recorder = record(ctx, &pair, &db, &["icmp", "http", "-q"])?;
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-i", "0.002", "-e", "111", B4]);
    let ping = ping.in_ns(&pair.a)?.spawn()?;
    let url = format!("http://{B4}/recorded?[1-50]");
    let curl = ctx.tool("curl")?.args(["-s", &url]).in_ns(&pair.a)?.run(ctx.secs(20))?;
    let mut last = String::new();
    let seen = poll(ctx.secs(20), || {
        last = query(ctx, &db, &["--json"])?;
        let requests = last.lines().filter(|l| l.contains("/recorded")).count();
        Ok((requests == 50 && last.lines().count() > 100).then(|| last.clone()))
    })?;
    let seen = seen.with_context(|| {
        let tail: Vec<&str> = last.lines().rev().take(3).collect();
        format!("not everything was recorded: {} events, at the end {tail:?}", last.lines().count())
    })?;
    recorder.signal(libc::SIGKILL)?;
    recorder.wait(ctx.secs(10))?;
    let ping_pid = ping.pid();
    ping.interrupt(ctx.secs(10))?;
    server.signal(libc::SIGTERM)?;
    let left = query(ctx, &db, &["--json"])?;
    ensure!(left.starts_with(&seen), "events that were seen before the kill are gone");
    is_sound(ctx, &db)?;
    for line in left.lines() {
        let event = Event::parse(line)?;
        let pid = event.pid.context("nobody sent it")?;
        ensure!([ping_pid, curl.pid].contains(&pid), "pid {pid}: {line}");
        ensure!(event.evidence == "task" || event.evidence == "owner", "{line}");
    }
    let by = query(ctx, &db, &["--json", "--pid", &curl.pid.to_string(), "--by", "pid"])?;
    ensure!(by.starts_with(&format!("{{\"pid\":{},\"events\":50,", curl.pid)), "{by}");
    // The next one goes on where this one was ended.
    let recorder = record(ctx, &pair, &db, &["icmp", "-q"])?;
    let next = pair.a.run(ctx.sender("oneshot").args([B4, "112", "1"]), ctx.secs(10))?;
    recorder.interrupt(ctx.secs(20))?;
    let of_next = query(ctx, &db, &["--count", "--pid", &next.pid.to_string()])?;
    ensure!(of_next.trim() == "1", "{of_next}");
    is_sound(ctx, &db)
}

/// A file system of three megabytes, as long as it lives.
struct Small(PathBuf);

impl Small {
    fn new(ctx: &Ctx) -> Result<Small> {
        let at = ctx.dir().join("small");
        std::fs::create_dir_all(&at)?;
        let mount = ctx.tool("mount")?.args(["-t", "tmpfs", "-o", "size=3m", "small"]).arg(&at);
        let done = mount.run(ctx.secs(10))?;
        ensure!(done.status.success(), "{}", done.errors());
        Ok(Small(at))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Of what is too much, the beginning finds room; the rest is counted, what is there stays
/// sound, and it goes on when there is room again.
fn full_disk(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let small = Small::new(ctx)?;
    let (db, ballast) = (small.0.join("full.db"), small.0.join("ballast"));
    std::fs::write(&ballast, vec![1; 1 << 20])?;
    let ledger = ctx.dir().join("full.ledger");
    let ledger_text = ledger.to_str().context("a path")?;
    let recorder = record(ctx, &pair, &db, &["icmp", "--ledger", ledger_text])?;
    let first = ctx.tool("ping")?.args(["-n", "-q", "-c", "5", "-i", "0.05", "-e", "112", B4]);
    first.in_ns(&pair.a)?.run(ctx.secs(20))?;
    poll(ctx.secs(20), || Ok((count(ctx, &db)? == 5).then_some(())))?.context("not recorded")?;
    let flood = ctx.tool("ping")?.args(["-n", "-q", "-f", "-c", "10000", "-e", "113", B4]);
    flood.in_ns(&pair.a)?.run(ctx.secs(30))?;
    // Many at once wait a moment before they are written; what still waits when there is
    // room again is not lost.
    let mut since = (0, std::time::Instant::now());
    let full = poll(ctx.secs(20), || {
        let left = rustix::fs::statvfs(&small.0)?;
        let full = left.f_bavail * left.f_frsize < 64 << 10;
        let kept = count(ctx, &db)?;
        if kept != since.0 {
            since = (kept, std::time::Instant::now());
        }
        Ok((full && kept > 5 && since.1.elapsed() > ctx.secs(2)).then_some(()))
    })?;
    let before = count(ctx, &db)?;
    full.with_context(|| format!("there is room, and {before} of 10005 found some"))?;
    ensure!((5..10_005).contains(&before), "{before} of 10005 found room");
    // Numbers go up by one from the first on.
    let numbers = "SELECT max(n) - min(n) + 1 - count(*) FROM (SELECT json_extract(fields, '$.seq') \
                   AS n FROM requests WHERE json_extract(fields, '$.id') = 113 ORDER BY id LIMIT 1000)";
    let missing = query(ctx, &db, &["--sql", numbers])?;
    ensure!(missing.lines().last() == Some("0"), "a gap among the first: {missing}");
    is_sound(ctx, &db)?;
    std::fs::remove_file(&ballast)?;
    let found = poll(ctx.secs(20), || {
        let late = pair.a.run(ctx.sender("oneshot").args([B4, "114", "1"]), ctx.secs(10))?;
        std::thread::sleep(std::time::Duration::from_millis(300));
        let of_late = query(ctx, &db, &["--count", "--pid", &late.pid.to_string()])?;
        Ok((of_late.trim() == "1").then_some(()))
    })?;
    found.context("nothing is recorded since there is room again")?;
    let done = recorder.interrupt(ctx.secs(20))?;
    let said: serde_json::Value = serde_json::from_slice(&std::fs::read(&ledger)?)?;
    let lost = said["lost_by"]["store-full"]
        .as_u64()
        .with_context(|| format!("no loss is told: {said}, {before} before"))?;
    ensure!(lost > 0, "{said}");
    ensure!(done.errors().contains("lost at store-full"), "{}", done.errors());
    let kept = count(ctx, &db)?;
    ensure!(said["shown"].as_u64() == Some(kept), "{kept} are kept: {said}");
    is_sound(ctx, &db)
}
