//! The agent on real senders: another capture follows the first while a sender goes on.

use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::proc::poll;
use crate::topology::{B4, Pair};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::Path;

pub const CASES: &[Case] = &[Case::new("agent_reload", reload).hooks(Hooks::Auto).tools(&["ping"])];

/// How many requests are sent around the reload, and how far apart.
const REQUESTS: u32 = 300;
const APART: &str = "0.01";

fn events(path: &Path) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(path)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(Event::parse).collect()
}

/// Each of a ping's requests is there once, though the capture was replaced in between; and
/// what is wrong with the settings changes nothing.
fn reload(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let (json, ready) = (ctx.dir().join("agent.json"), ctx.dir().join("agent.ready"));
    let config = ctx.dir().join("agent.toml");
    let settings = |trace: &str, more: &str| {
        let netns = pair.a.inode();
        let text = format!("trace = {trace:?}\nnetns = \"{netns}\"\njson = {json:?}\n{more}");
        std::fs::write(&config, text)
    };
    settings("icmp", "")?;
    let mut agent = ctx.program(&ctx.env.bin).args(["agent", "--config"]).arg(&config);
    agent = agent.arg("--ready-file").arg(&ready);
    if let Some(backend) = &ctx.env.doctor.only {
        agent = agent.args(["--backend", backend]);
    }
    let mut agent = agent.spawn()?;
    let live = poll(ctx.secs(20), || Ok(ready.exists().then_some(())))?;
    live.with_context(|| format!("never live: {}", agent.stderr()))?;
    let count = REQUESTS.to_string();
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-c", &count, "-i", APART, B4]);
    let mut ping = ping.in_ns(&pair.a)?.spawn()?;
    let some = poll(ctx.secs(20), || Ok((events(&json)?.len() > 20).then_some(())))?;
    some.with_context(|| format!("no events: {}", agent.stderr()))?;
    std::fs::remove_file(&ready)?;
    settings("icmp dns", "")?;
    agent.signal(libc::SIGHUP)?;
    // The file says when the capture that follows is live.
    let live = poll(ctx.secs(20), || Ok(ready.exists().then_some(())))?;
    live.with_context(|| format!("not live again: {}", agent.stderr()))?;
    ensure!(ping.try_wait()?.is_none(), "the ping has ended before the reload");
    settings("icmp dns", "oops = 1\n")?;
    agent.signal(libc::SIGHUP)?;
    let pid = ping.pid();
    ping.wait(ctx.secs(30))?;
    let done = agent.interrupt(ctx.secs(20))?;
    ensure!(done.status.success(), "{}: {}", done.status, done.errors());
    let said = done.errors();
    ensure!(said.contains("agent.toml:4: unknown key \"oops\""), "{said}");
    ensure!(said.contains("output json:") && said.contains(", 0 lost"), "{said}");
    let sequence = |event: &Event| event.icmp.seq;
    let own: Vec<u16> = events(&json)?
        .iter()
        .filter(|e| e.pid == Some(pid) && e.evidence == "task")
        .filter_map(sequence)
        .collect();
    let distinct: BTreeSet<u16> = own.iter().copied().collect();
    ensure!(own.len() == distinct.len(), "doubled: {} of {}", own.len(), distinct.len());
    ensure!(own.len() == REQUESTS as usize, "{} of {REQUESTS}", own.len());
    Ok(())
}
