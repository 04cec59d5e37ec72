//! The live view, in a real terminal (tmux), of real senders.

use crate::ctx::{Case, Ctx, Hooks};
use crate::proc::poll;
use crate::topology::{B4, Pair};
use anyhow::{Context, Result, ensure};

pub const CASES: &[Case] =
    &[Case::new("top_live", live).hooks(Hooks::Auto).tools(&["tmux", "ping", "curl"])];

/// A terminal of its own, which ends with the value.
struct Tmux<'a>(&'a Ctx, String);

impl Tmux<'_> {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let tmux = self.0.tool("tmux")?.args(["-L", &self.1, "-f", "/dev/null"]).args(arguments);
        let done = tmux.run(self.0.secs(20))?;
        ensure!(done.status.success(), "tmux {arguments:?}: {}", done.errors());
        Ok(done.text())
    }

    /// Waits for a line of the screen that holds all of these.
    fn await_line(&self, parts: &[&str]) -> Result<()> {
        let mut last = String::new();
        let found = poll(self.0.secs(20), || {
            last = self.run(&["capture-pane", "-p"])?;
            let holds = |line: &str| parts.iter().all(|part| line.contains(part));
            Ok(last.lines().any(holds).then_some(()))
        })?;
        found.with_context(|| format!("no line with {parts:?} on\n{last}"))
    }
}

impl Drop for Tmux<'_> {
    fn drop(&mut self) {
        let _ = self.run(&["kill-server"]);
    }
}

fn live(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tmux = Tmux(ctx, ctx.unique("tmux"));
    let netns = pair.a.inode().to_string();
    let bin = ctx.env.bin.display();
    let ready = ctx.dir().join("top.ready");
    let backend = match &ctx.env.doctor.only {
        Some(backend) => format!("--backend {backend}"),
        None => String::new(),
    };
    let top = format!(
        "LC_ALL=C.UTF-8 {bin} top --netns {netns} {backend} --ready-file {}; sleep 60",
        ready.display()
    );
    tmux.run(&["new-session", "-d", "-x", "120", "-y", "24", &top])?;
    poll(ctx.secs(20), || Ok(ready.exists().then_some(())))?.context("top was not ready")?;
    let ping = ctx.tool("ping")?.args(["-n", "-q", "-c", "3", "-i", "0.05", B4]);
    let ping = pair.a.run(ping, ctx.secs(20))?;
    // Nobody listens: the connection is refused, and was asked for all the same.
    let url = format!("http://{B4}:81/");
    let curl = ctx.tool("curl")?.args(["-s", "-m", "5", &url]).in_ns(&pair.a)?;
    let curl = curl.spawn()?.wait(ctx.secs(20))?;
    tmux.await_line(&[&format!(" {} ", ping.pid), " 3 ", "ping", "root"])?;
    tmux.await_line(&[&format!(" {} ", curl.pid), "curl"])?;
    tmux.run(&["send-keys", "2"])?;
    tmux.await_line(&[&format!("{B4}:81"), "connect"])?;
    tmux.run(&["send-keys", "q"])?;
    tmux.await_line(&["seen", "shown", "0 lost"])
}
