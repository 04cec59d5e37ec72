//! Whatever ends it, nothing of sentby stays in the kernel.

use crate::ctx::{Case, Ctx, Hooks};
use crate::proc::{Proc, poll};
use crate::topology::{B4, Pair};
use anyhow::{Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    Case::new("nothing_left_after_exit", after_exit).hooks(Hooks::EachAndAll),
    Case::new("nothing_left_after_kill", after_kill).hooks(Hooks::EachAndAll),
];

/// How often it is killed.
const KILLS: u64 = 20;

/// bpf(2) commands that walk over what the kernel holds: programs, maps, links.
const NEXT_ID: [(&str, u32); 3] = [("prog", 11), ("map", 12), ("link", 31)];

/// Everything that could stay: BPF objects that no process holds, pins, probes, mounts,
/// modules.
fn remains() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for (what, command) in NEXT_ID {
        found.extend(ids(command).into_iter().map(|id| format!("{what}_id {id}")));
    }
    // Who is alive may hold objects: another sentby, a service manager, a test.
    for held in held_by_the_living() {
        found.remove(&held);
    }
    for dir in ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"] {
        for file in ["kprobe_events", "uprobe_events"] {
            let text = std::fs::read_to_string(Path::new(dir).join(file)).unwrap_or_default();
            found.extend(text.lines().map(|l| format!("{file} {l}")));
        }
    }
    found.extend(pins(Path::new("/sys/fs/bpf")).iter().map(|p| format!("pin {}", p.display())));
    found.extend(modules());
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let ours = mounts.lines().filter(|l| {
        let kind = l.split(' ').nth(2).unwrap_or_default();
        ["cgroup2", "bpf", "tracefs", "debugfs"].contains(&kind)
    });
    found.extend(ours.map(|l| format!("mount {l}")));
    Ok(found)
}

/// Kernel modules of sentby's. They are the one thing that may outlive a killed sentby,
/// up to the next start.
fn modules() -> BTreeSet<String> {
    let entries = std::fs::read_dir("/sys/module").into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    names.filter(|n| n.starts_with("sentby_")).map(|n| format!("module {n}")).collect()
}

fn ids(command: u32) -> Vec<u32> {
    let mut all = Vec::new();
    // union bpf_attr's { start_id, next_id, open_flags }, followed by zeros.
    let mut attr = [0u32; 32];
    loop {
        // SAFETY: the kernel reads and writes at most the size that it is given, within
        // an array that lives through the call.
        let failed =
            unsafe { libc::syscall(libc::SYS_bpf, command, attr.as_mut_ptr(), size_of_val(&attr)) }
                != 0;
        if failed {
            return all;
        }
        all.push(attr[1]);
        attr = [0; 32];
        attr[0] = all[all.len() - 1];
    }
}

/// `prog_id 17`, … for every descriptor of every process.
fn held_by_the_living() -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    let entries = |dir: PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten();
    for process in entries("/proc".into()) {
        if !process.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            continue;
        }
        for descriptor in entries(process.path().join("fdinfo")) {
            let text = std::fs::read_to_string(descriptor.path()).unwrap_or_default();
            for line in text.lines() {
                if let Some((key, id)) = line.split_once(":\t")
                    && ["prog_id", "map_id", "link_id"].contains(&key)
                {
                    held.insert(format!("{key} {}", id.trim()));
                }
            }
        }
    }
    held
}

fn pins(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            all.extend(pins(&entry.path()));
        }
        all.push(entry.path());
    }
    all
}

/// Nothing is there that was not before. The kernel frees programs after a while.
fn nothing_new(ctx: &Ctx, before: &BTreeSet<String>, when: &str) -> Result<()> {
    let mut new = BTreeSet::new();
    let gone = poll(ctx.secs(10), || {
        new = remains()?.difference(before).cloned().collect();
        Ok(new.is_empty().then_some(()))
    })?;
    ensure!(gone.is_some(), "{when}, there is still {new:?}");
    Ok(())
}

fn sender(ctx: &Ctx, pair: &Pair) -> Result<Proc> {
    ctx.tool("ping")?.args(["-n", "-q", "-i", "0.005", B4]).in_ns(&pair.a)?.spawn()
}

fn after_exit(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let before = remains()?;
    let _ping = sender(ctx, &pair)?;
    let tracer = ctx.tracer().start()?;
    let programs = before.iter().filter(|l| l.starts_with("prog")).count();
    ensure!(
        ids(NEXT_ID[0].1).len() > programs || !modules().is_subset(&before),
        "this test does not see sentby's programs or modules"
    );
    tracer.stop()?;
    nothing_new(ctx, &before, "after Ctrl-C")
}

/// Killed before it is ready, as it becomes ready, and while it works.
fn after_kill(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let _ping = sender(ctx, &pair)?;
    let before = remains()?;
    let begun = Instant::now();
    ctx.tracer().start()?.kill()?;
    let start_up = begun.elapsed();
    // A fixed seed: the same moments each time, spread over twice the start-up.
    let mut random = 0x5e47_b901_u64;
    for round in 0..ctx.scaled(KILLS) {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888);
        let part = (random >> 40) as f64 / (1u64 << 24) as f64;
        let moment = start_up.mul_f64(2.0 * part).min(Duration::from_secs(5));
        let tracer = ctx.tracer().spawn()?;
        std::thread::sleep(moment);
        tracer.kill()?;
        let allowed = before.union(&modules()).cloned().collect();
        nothing_new(ctx, &allowed, &format!("killed after {moment:?} (round {round})"))?;
    }
    // And it starts again as if nothing had happened.
    let trace = ctx.tracer().args(["-c", "1"]).spawn()?.wait(ctx.secs(20))?;
    ensure!(trace.events.len() == 1, "no event after all that");
    nothing_new(ctx, &before, "after the next start")
}
