//! Who exactly: threads, pid namespaces, users, cgroups, executables that are gone.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx};
use crate::event::{Event, epoch};
use crate::proc::{Proc, poll};
use crate::topology::{A4, B4, Pair};
use anyhow::{Context, Result, ensure};
use std::time::{SystemTime, UNIX_EPOCH};

pub const CASES: &[Case] = &[
    Case::new("thread_and_dead_leader", thread),
    Case::new("pid_namespace", pid_namespace).tools(&["unshare"]),
    Case::new("sentby_in_a_pid_namespace", sentby_in_a_pid_namespace).tools(&["unshare"]),
    Case::new("ancestors_and_start", ancestors_and_start),
    Case::new("deleted_executable", deleted_executable),
    Case::new("cgroup_unit_container", cgroup_unit_container),
];

fn thread(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.sender("thread").args([B4, "31"]), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let tid = done.number("tid")?;
    ensure!(tid != done.pid, "the sender has no second thread");
    let mut who = Who { tid: Some(tid), comm: Some("e2e-worker".into()), ..Who::of(&done) };
    let events = trace.within(&[&pair.a, &pair.b]);
    let sent = Sent { id: Some(31), ..Sent::echo(A4, B4) };
    let (living, dead): (Vec<&Event>, Vec<&Event>) =
        events.iter().partition(|e| e.icmp.seq == Some(1));
    check::exactly(&living, &who, &sent, &[1])?;
    ensure!(living[0].process_comm.as_deref() == Some("thread"), "no name of the process");
    // The leader has exited: it keeps the pid, but /proc shows no executable any more.
    if dead.first().is_some_and(|e| e.exe.is_none()) {
        who.exe = None;
    }
    check::exactly(&dead, &who, &sent, &[2]).context("after the leader's exit")
}

/// A sender that waits, as pid 1 of a pid namespace; and its pid out here.
fn in_pid_namespace(ctx: &Ctx, pair: &Pair) -> Result<(Proc, u32)> {
    let sender = ctx.env.senders.join("lockstep");
    let cmd = ctx.tool("unshare")?.args(["-p", "-f", "--kill-child"]).arg(sender);
    let mut unshare = cmd.args([B4, "32", "raw"]).in_ns(&pair.a)?.with_stdin().spawn()?;
    unshare.await_output("ready", ctx.secs(10))?;
    let pid = child_of(unshare.pid())?;
    Ok((unshare, pid))
}

/// The one child of a process.
pub fn child_of(pid: u32) -> Result<u32> {
    let found = poll(std::time::Duration::from_secs(5), || {
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(child) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else {
                continue;
            };
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let parent = stat.rsplit_once(')').and_then(|(_, r)| r.split_whitespace().nth(1));
            if parent.and_then(|p| p.parse().ok()) == Some(pid) {
                return Ok(Some(child));
            }
        }
        Ok(None)
    })?;
    found.with_context(|| format!("{pid} has no child"))
}

fn pid_namespace(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let (mut unshare, pid) = in_pid_namespace(ctx, &pair)?;
    let argv: Vec<Vec<u8>> = unshare.argv().split_off(4);
    let tracer = ctx.tracer().start()?;
    unshare.ask("go", "sent 1", ctx.secs(10))?;
    let trace = tracer.stop()?;
    let who = Who {
        pid,
        tid: Some(pid),
        ppid: Some(unshare.pid()),
        argv: Some(argv),
        comm: Some("lockstep".into()),
        uid: Some(0),
        pid_in_ns: Some(1),
        exe: Some(ctx.env.senders.join("lockstep")),
    };
    let sent = Sent { id: Some(32), ..Sent::echo(A4, B4) };
    check::exactly(&trace.within(&[&pair.a, &pair.b]), &who, &sent, &[1])
}

/// Pids are those of the namespace that sentby lives in; who is outside has none there.
fn sentby_in_a_pid_namespace(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let out = ctx.dir().join("inside.json");
    let ready = ctx.dir().join("inside.ready");
    let done = ctx.dir().join("inside.done");
    let hook = ctx.hook.option(&ctx.env.doctor).map(|h| format!("--hook {h}"));
    // Pid 1 is a shell, so that sentby's signals are as always. Inside, /proc is the
    // namespace's own.
    let script = format!(
        "{bin} icmp --json {hook} --ready-file {ready} >{out} & s=$!
         while ! [ -e {ready} ]; do kill -0 $s || exit 1; sleep 0.02; done
         {oneshot} {B4} 33 1 & p=$!; wait $p; echo inner $p; touch {done}
         read go; kill -INT $s; wait $s",
        bin = ctx.env.bin.display(),
        hook = hook.unwrap_or_default(),
        ready = ready.display(),
        out = out.display(),
        done = done.display(),
        oneshot = ctx.env.senders.join("oneshot").display(),
    );
    let cmd = ctx.tool("unshare")?.args(["-p", "-f", "--mount-proc", "--kill-child"]);
    let cmd = cmd.args(["/bin/sh", "-c", &script]).in_ns(&pair.a)?.with_stdin();
    let mut shell = cmd.spawn()?;
    shell.await_output("inner", ctx.secs(30))?;
    pair.a.run(ctx.sender("oneshot").args([B4, "34", "1"]), ctx.secs(10))?;
    shell.say("go")?;
    let shell = shell.wait_ok(ctx.secs(20))?;
    let inner = shell.number("inner")?;
    let text = std::fs::read_to_string(&out)?;
    ctx.notes().add("inside", text.as_bytes(), &shell.errors(), "not asked for");
    let events: Vec<Event> = text.lines().map(Event::parse).collect::<Result<_>>()?;
    let of = |id| events.iter().filter(move |e| e.icmp.id == Some(id)).collect::<Vec<_>>();
    let [inside] = of(33)[..] else { anyhow::bail!("one event from inside expected") };
    ensure!(inside.pid == Some(inner), "pid {:?}, not {inner}", inside.pid);
    let [outside] = of(34)[..] else { anyhow::bail!("one event from outside expected") };
    ensure!(outside.pid.is_none(), "pid {:?} of a process that has none here", outside.pid);
    Ok(())
}

fn ancestors_and_start(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let before = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
    let oneshot = ctx.env.senders.join("oneshot");
    // `; true` keeps the shells from becoming the sender by a last exec.
    let script = format!("sh -c '{} {B4} 35 1; true'; true", oneshot.display());
    let done = pair.a.run(ctx.shell(&script), ctx.secs(10))?;
    let trace = tracer.stop()?;
    let [event] = trace.within(&[&pair.a])[..] else { anyhow::bail!("one event expected") };
    let ancestors = event.ancestors.as_deref().context("no ancestors")?;
    ensure!(ancestors.len() >= 3, "{ancestors:?}");
    ensure!(ancestors[..2] == ["sh", "sh"], "{ancestors:?}");
    let own = std::fs::read_to_string("/proc/self/comm")?;
    ensure!(ancestors[2] == own.trim_end(), "{ancestors:?}, not {own:?}");
    ensure!(event.ppid.is_some_and(|p| p != done.pid), "ppid {:?}", event.ppid);
    let start = epoch(event.start.as_deref().context("no start")?)?;
    let at = epoch(&event.time)?;
    ensure!((before - 0.05..=at + 0.05).contains(&start), "start {start}, began {before}");
    Ok(())
}

fn deleted_executable(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let copy = ctx.dir().join("gone");
    std::fs::copy(ctx.env.senders.join("lockstep"), &copy)?;
    let cmd = ctx.program(&copy).args([B4, "36", "raw"]).in_ns(&pair.a)?.with_stdin();
    let mut sender = cmd.spawn()?;
    sender.await_output("ready", ctx.secs(10))?;
    std::fs::remove_file(&copy)?;
    let tracer = ctx.tracer().start()?;
    sender.ask("go", "sent 1", ctx.secs(10))?;
    let trace = tracer.stop()?;
    let [event] = trace.within(&[&pair.a])[..] else { anyhow::bail!("one event expected") };
    let who = Who { exe: None, ..Who::running(&sender) };
    check::names(event, &who)?;
    let exe = event.exe.as_deref().context("no exe")?;
    let path = copy.to_string_lossy();
    ensure!(exe == path && event.exe_deleted, "exe {exe:?}, deleted: {}", event.exe_deleted);
    Ok(())
}

fn cgroup_unit_container(ctx: &Ctx) -> Result<()> {
    let id = "5e4b".repeat(16);
    let pair = Pair::new(ctx)?;
    let tag = ctx.unique("cgroup");
    let service = crate::cgroup::Cgroup::new(&tag, "/system.slice/e2e.service")?;
    let scope = crate::cgroup::Cgroup::new(&tag, &format!("/docker-{id}.scope"))?;
    let tracer = ctx.tracer().start()?;
    let oneshot = ctx.env.senders.join("oneshot").display().to_string();
    for (cgroup, seq) in [(&service, 1), (&scope, 2)] {
        let procs = cgroup.procs()?;
        let script = format!("echo $$ > {} && exec {oneshot} {B4} 37 {seq}", procs.display());
        pair.a.run(ctx.shell(&script), ctx.secs(10))?;
    }
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a]);
    let [first, second] = events[..] else { anyhow::bail!("{} events, not 2", events.len()) };
    ensure!(first.cgroup.as_deref() == Some(service.name()), "cgroup {:?}", first.cgroup);
    ensure!(first.unit.as_deref() == Some("e2e.service"), "unit {:?}", first.unit);
    ensure!(first.container.is_none(), "container {:?}", first.container);
    ensure!(second.cgroup.as_deref() == Some(scope.name()), "cgroup {:?}", second.cgroup);
    ensure!(second.container.as_deref() == Some(&id), "container {:?}", second.container);
    Ok(())
}
