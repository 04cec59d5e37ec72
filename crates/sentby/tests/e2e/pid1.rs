//! Hardened kernels exist that run no tracepoint while pid 1 is the current task: what
//! softirqs send on its CPU meanwhile is out of reach of net_dev_queue (seen on a 6.18:
//! every tracepoint was silent, cgroup hooks were not). So where such packets fall
//! short and pid 1 ran, they are counted again; where it did not run, nothing is excused.

use crate::ctx::Ctx;
use anyhow::{Result, ensure};
use std::fmt;

/// How often a count that pid 1 disturbed is taken.
const ATTEMPTS: u32 = 6;

/// Fewer were shown than there were.
#[derive(Debug)]
struct Short {
    what: &'static str,
    shown: u64,
    counted: u64,
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} {} shown", self.shown, self.counted, self.what)
    }
}

impl std::error::Error for Short {}

/// As many as there were, neither fewer nor more.
pub fn all_shown(what: &'static str, shown: u64, counted: u64) -> Result<()> {
    ensure!(shown <= counted, "{shown} {what} shown, but there were {counted}");
    ensure!(shown == counted, Short { what, shown, counted });
    Ok(())
}

/// Runs `count`, and again where [`all_shown`] fell short at a tracepoint while pid 1 ran.
pub fn undisturbed(ctx: &Ctx, count: impl Fn() -> Result<()>) -> Result<()> {
    let mut attempt = 1;
    loop {
        let before = switches();
        let outcome = count();
        let short = matches!(&outcome, Err(e) if e.is::<Short>());
        let excused = ctx.may_use("net_dev_queue") && before.is_some() && before != switches();
        if !short || !excused || attempt == ATTEMPTS {
            return outcome;
        }
        attempt += 1;
    }
}

/// How often a thread of pid 1 has left a CPU.
fn switches() -> Option<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/1/task").ok()? {
        let status = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
        let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        sum += lines.filter_map(|(_, n)| n.trim().parse::<u64>().ok()).sum::<u64>();
    }
    Some(sum)
}
