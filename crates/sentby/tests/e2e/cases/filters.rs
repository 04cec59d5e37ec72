//! Filters: what matches is shown, what does not is not, and the ledger says how many.

use crate::cgroup::Cgroup;
use crate::ctx::{Case, Ctx};
use crate::netns::Netns;
use crate::proc::{Cmd, Proc};
use crate::topology::{A4, B4, B4_OTHER, B6, Pair};
use crate::tracer::{Builder, Trace};
use anyhow::{Context, Result, bail, ensure};

pub const CASES: &[Case] = &[
    Case::new("filter_pid", |ctx| by_process(ctx, |x| vec!["--pid".into(), x.pid().to_string()])),
    Case::new("filter_tid", |ctx| by_process(ctx, |x| vec!["--tid".into(), x.pid().to_string()])),
    Case::new("filter_comm", |ctx| by_process(ctx, |_| vec!["--comm".into(), MATCH.into()])),
    Case::new("filter_exe", |ctx| {
        by_process(ctx, |x| vec!["--exe".into(), x.exe().display().to_string()])
    }),
    Case::new("filter_uid", filter_uid),
    Case::new("filter_src", |ctx| by_source(ctx, &["--src", A4])),
    Case::new("filter_src_net", |ctx| by_source(ctx, &["--src", "192.0.2.0/31"])),
    Case::new("filter_src_negated", |ctx| by_source(ctx, &["--src", "!192.0.2.2"])),
    Case::new("filter_dst", |ctx| by_target(ctx, &["--dst", "192.0.2.0/24"], B4, B4_OTHER)),
    Case::new("filter_dst_negated", |ctx| {
        by_target(ctx, &["--dst", "!198.51.100.0/24"], B4, B4_OTHER)
    }),
    Case::new("filter_dst_several", |ctx| {
        by_target(ctx, &["--dst", B4, "--dst", "203.0.113.0/24"], B4, B4_OTHER)
    }),
    Case::new("filter_dst_with_hole", |ctx| {
        by_target(ctx, &["--dst", "0.0.0.0/0", "--dst", "!198.51.100.0/24"], B4, B4_OTHER)
    }),
    Case::new("filter_dst_v6", |ctx| by_target(ctx, &["--dst", "2001:db8::/32"], B6, B4)),
    Case::new("filter_dst_all_v6", |ctx| by_target(ctx, &["--dst", "::/0"], B6, B4)),
    Case::new("filter_dst_not_v6", |ctx| by_target(ctx, &["--dst", "!::/0"], B4, B6)),
    Case::new("expression_net", |ctx| by_target(ctx, &["dst net 192.0.2.0/24"], B4, B4_OTHER)),
    Case::new("expression_negated", |ctx| {
        by_target(ctx, &["not", "net", "198.51.100.0/24"], B4, B4_OTHER)
    }),
    Case::new("expression_of_two", |ctx| {
        by_target(ctx, &["(dst 203.0.113.1 or ip6) and greater 40"], B6, B4)
    }),
    Case::new("filter_iface", filter_iface),
    Case::new("filter_netns", filter_netns),
    Case::new("filter_cgroup", filter_cgroup),
    Case::new("filter_unit", filter_unit),
    Case::new("filter_container", filter_container),
    Case::new("filters_together", filters_together),
    Case::new("children_of_a_pid", children_of_a_pid),
    Case::new("command", command).tools(&["ping"]),
    Case::new("command_with_grandchildren", command_with_grandchildren),
    Case::new("command_that_orphans", command_that_orphans),
    Case::new("command_that_fails", command_that_fails),
];

/// Names of the two senders' executables.
const MATCH: &str = "e2e-match";
const OTHER: &str = "e2e-other";

/// Packets that match and packets that do not.
const SHOWN: u16 = 3;
const HIDDEN: u16 = 2;

fn lockstep(ctx: &Ctx, name: &str, dst: &str, kind: &str) -> Result<Cmd> {
    let copy = ctx.dir().join(name);
    if !copy.exists() {
        std::fs::copy(ctx.env.senders.join("lockstep"), &copy)?;
    }
    Ok(ctx.program(&copy).args([dst, "81", kind]))
}

fn start(ctx: &Ctx, ns: &Netns, cmd: Cmd) -> Result<Proc> {
    let mut sender = cmd.in_ns(ns)?.with_stdin().spawn()?;
    sender.await_output("ready", ctx.secs(10))?;
    Ok(sender)
}

fn send(ctx: &Ctx, sender: &mut Proc, n: u16) -> Result<()> {
    let before = std::fs::read_to_string(sender.out())?.matches("sent ").count();
    for i in 1..=n {
        let said = format!("sent {}\n", before + usize::from(i));
        sender.ask("go", &said, ctx.secs(10))?;
    }
    Ok(())
}

/// Has both send, and wants exactly the first one's packets.
///
/// The ledger counts the whole machine: were someone else to ping in that very moment,
/// there would be more to filter. So there must never be less, and exactly as many in
/// one of three runs.
fn only<'c>(
    ctx: &'c Ctx,
    spaces: &[&Netns],
    (wanted, other): (&mut Proc, &mut Proc),
    tracer: impl Fn() -> Result<Builder<'c>>,
) -> Result<()> {
    for last in [false, false, true] {
        let tracer = tracer()?.start()?;
        // The unwanted first and last: a filter that only starts late or ends early shows.
        send(ctx, other, 1)?;
        send(ctx, wanted, SHOWN)?;
        send(ctx, other, HIDDEN - 1)?;
        let trace = tracer.stop()?;
        let events = trace.within(spaces);
        ensure!(
            events.iter().all(|e| e.pid == Some(wanted.pid())),
            "an event that the filter should have hidden"
        );
        ensure!(events.len() == usize::from(SHOWN), "{} events, not {SHOWN}", events.len());
        let (got, least) = (trace.ledger.filtered, u64::from(HIDDEN));
        ensure!(got >= least, "the ledger says {got} were filtered, not {least}");
        if got == least {
            return Ok(());
        }
        ensure!(!last, "the ledger says {got} were filtered, not {least}");
    }
    unreachable!("the last run returns")
}

fn by_process(ctx: &Ctx, options: fn(&Proc) -> Vec<String>) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, B4, "raw")?)?;
    let mut other = start(ctx, &pair.a, lockstep(ctx, OTHER, B4, "raw")?)?;
    let options = options(&wanted);
    only(ctx, &[&pair.a, &pair.b], (&mut wanted, &mut other), || Ok(ctx.tracer().args(&options)))
}

fn by_source(ctx: &Ctx, options: &[&str]) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, B4, "raw")?)?;
    let mut other = start(ctx, &pair.b, lockstep(ctx, OTHER, A4, "raw")?)?;
    only(ctx, &[&pair.a, &pair.b], (&mut wanted, &mut other), || Ok(ctx.tracer().args(options)))
}

fn by_target(ctx: &Ctx, options: &[&str], wanted: &str, other: &str) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, wanted, "raw")?)?;
    let mut other = start(ctx, &pair.a, lockstep(ctx, OTHER, other, "raw")?)?;
    only(ctx, &[&pair.a, &pair.b], (&mut wanted, &mut other), || Ok(ctx.tracer().args(options)))
}

fn filter_uid(ctx: &Ctx) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    pair.a.sh("echo '0 2147483647' > /proc/sys/net/ipv4/ping_group_range")?;
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, B4, "dgram")?.uid(65534))?;
    let mut other = start(ctx, &pair.a, lockstep(ctx, OTHER, B4, "dgram")?)?;
    only(ctx, &[&pair.a], (&mut wanted, &mut other), || Ok(ctx.tracer().args(["--uid", "65534"])))
}

/// Run inside the namespace: interface names mean something only there.
fn filter_iface(ctx: &Ctx) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, B4, "raw")?)?;
    let mut other = start(ctx, &pair.a, lockstep(ctx, OTHER, "127.0.0.1", "raw")?)?;
    only(ctx, &[&pair.a], (&mut wanted, &mut other), || {
        ctx.tracer().args(["--iface", "a0"]).in_ns(&pair.a)
    })
}

fn filter_netns(ctx: &Ctx) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, B4, "raw")?)?;
    let mut other = start(ctx, &pair.b, lockstep(ctx, OTHER, A4, "raw")?)?;
    let inode = pair.a.inode().to_string();
    only(ctx, &[&pair.a, &pair.b], (&mut wanted, &mut other), || {
        Ok(ctx.tracer().args(["--netns", &inode]))
    })
}

fn in_cgroup(ctx: &Ctx, pair: &Pair, cgroup: &Cgroup, options: &[&str]) -> Result<()> {
    let mut wanted = start(ctx, &pair.a, lockstep(ctx, MATCH, B4, "raw")?)?;
    std::fs::write(cgroup.procs()?, wanted.pid().to_string())?;
    let mut other = start(ctx, &pair.a, lockstep(ctx, OTHER, B4, "raw")?)?;
    only(ctx, &[&pair.a], (&mut wanted, &mut other), || Ok(ctx.tracer().args(options)))
}

fn filter_cgroup(ctx: &Ctx) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let cgroup = Cgroup::new(&ctx.unique("cgroup"), "/inner")?;
    in_cgroup(ctx, &pair, &cgroup, &["--cgroup", cgroup.name()])
}

fn filter_unit(ctx: &Ctx) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let cgroup = Cgroup::new(&ctx.unique("cgroup"), "/system.slice/e2e.service")?;
    in_cgroup(ctx, &pair, &cgroup, &["--unit", "e2e.service"])
}

fn filter_container(ctx: &Ctx) -> Result<()> {
    let id = "5e4b".repeat(16);
    let pair = Pair::silent(ctx)?;
    let cgroup = Cgroup::new(&ctx.unique("cgroup"), &format!("/docker-{id}.scope"))?;
    // As people name containers: by the first twelve digits.
    in_cgroup(ctx, &pair, &cgroup, &["--container", &id[..12]])
}

fn filters_together(ctx: &Ctx) -> Result<()> {
    let options = ["--comm", MATCH, "--comm", OTHER, "--dst", "192.0.2.0/24", "--uid", "0"];
    by_target(ctx, &options, B4, B4_OTHER)
}

/// A shell that waits with a child of its own, and later starts others.
fn children_of_a_pid(ctx: &Ctx) -> Result<()> {
    let pair = Pair::silent(ctx)?;
    let senders = ctx.env.senders.display();
    let script = format!(
        "{senders}/lockstep {B4} 82 raw <&0 & read go
         {senders}/oneshot {B4} 83 1
         sh -c '{senders}/oneshot {B4} 84 1; true'
         wait"
    );
    // The shell and its first child read the same pipe: the child gets "go 1", and the
    // shell what comes after. To keep who reads what certain, they have one each.
    let fifo = ctx.dir().join("fifo");
    crate::netns::must(std::process::Command::new("mkfifo").arg(&fifo))?;
    let script = script.replace("<&0", &format!("<{}", fifo.display()));
    let mut shell = ctx.shell(&script).in_ns(&pair.a)?.with_stdin().spawn()?;
    // Opening a fifo waits for its other end.
    let mut to_child = std::fs::OpenOptions::new().write(true).open(&fifo)?;
    shell.await_output("ready", ctx.secs(10))?;
    let child = super::identity::child_of(shell.pid())?;
    let pid = shell.pid().to_string();
    let tracer = ctx.tracer().args(["--pid", &pid, "--children"]).start()?;
    pair.a.run(ctx.sender("oneshot").args([B4, "85", "1"]), ctx.secs(10))?;
    std::io::Write::write_all(&mut to_child, b"go\n")?;
    shell.await_output("sent 1", ctx.secs(10))?;
    drop(to_child);
    shell.say("go")?;
    shell.wait_ok(ctx.secs(10))?;
    let trace = tracer.stop()?;
    ensure!(trace.by(child).len() == 1, "the child that was there before is missing");
    ids(&trace, &[&pair.a], &[82, 83, 84])
}

/// The events in these namespaces carry these ids, one each.
fn ids(trace: &Trace, spaces: &[&Netns], wanted: &[u16]) -> Result<()> {
    let mut got: Vec<u16> = trace.within(spaces).iter().filter_map(|e| e.icmp.id).collect();
    got.sort_unstable();
    ensure!(got == wanted, "events of {got:?}, not {wanted:?}");
    ensure!(trace.within(spaces).iter().all(|e| e.has_process()), "an event without a process");
    Ok(())
}

/// Traces a command while a bystander pings the same peer all the time.
fn with_bystander(ctx: &Ctx, pair: &Pair, argv: &[&str]) -> Result<Trace> {
    let args = ["-q", "-n", "-i", "0.005", "-e", "80", B4];
    let bystander = ctx.tool("ping")?.args(args).in_ns(&pair.a)?.spawn()?;
    let trace = ctx.tracer().in_ns(&pair.a)?.command(argv).spawn()?.wait(ctx.secs(30));
    bystander.interrupt(ctx.secs(10))?;
    trace
}

fn command(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let ping = crate::ctx::find_tool("ping").context("ping")?.display().to_string();
    let argv = [&ping, "-n", "-c", "3", "-i", "0.05", "-e", "86", B4];
    let trace = with_bystander(ctx, &pair, &argv)?;
    ids(&trace, &[&pair.a, &pair.b], &[86, 86, 86])?;
    for event in trace.within(&[&pair.a]) {
        ensure!(event.cmdline.as_deref() == Some(&argv.map(String::from)[..]), "{event:?}");
    }
    Ok(())
}

fn command_with_grandchildren(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let one = ctx.env.senders.join("oneshot").display().to_string();
    let script = format!(
        "{one} {B4} 87 1 & wait; sh -c '{one} {B4} 88 1; ({one} {B4} 89 1; true); true'; true"
    );
    let trace = with_bystander(ctx, &pair, &["sh", "-c", &script])?;
    ids(&trace, &[&pair.a, &pair.b], &[87, 88, 89])
}

/// A grandchild whose parent has ended belongs to init now, and to the command still.
fn command_that_orphans(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let one = ctx.env.senders.join("oneshot").display().to_string();
    let (go, done) = (ctx.dir().join("go"), ctx.dir().join("done"));
    crate::netns::must(std::process::Command::new("mkfifo").args([&go, &done]))?;
    let script = format!(
        "( (read x <{go}; {one} {B4} 90 1; echo done >{done}) & )
         echo go >{go}; read x <{done}",
        go = go.display(),
        done = done.display(),
    );
    let trace = with_bystander(ctx, &pair, &["sh", "-c", &script])?;
    ids(&trace, &[&pair.a, &pair.b], &[90])
}

fn command_that_fails(ctx: &Ctx) -> Result<()> {
    let tracer = ctx.tracer().command(["/nonexistent/program"]).spawn()?;
    let done = tracer.wait_any(ctx.secs(20))?;
    if done.status.code() != Some(1) {
        bail!("a command that cannot be started: {}, not 1", done.status);
    }
    ensure!(done.stdout.is_empty(), "something on stdout");
    let errors = done.errors();
    ensure!(errors.contains("/nonexistent/program"), "stderr names no program: {errors:?}");
    ensure!(!errors.contains("panicked"), "{errors}");
    Ok(())
}
