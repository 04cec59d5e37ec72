//! One socket, several senders: whoever sends is named, not whoever opened it.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx};
use crate::event::Event;
use crate::topology::{A4, B4, Pair};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("shared_by_fork", |ctx| shared(ctx, "fork")),
    Case::new("shared_by_scm_rights", |ctx| shared(ctx, "scm")),
    Case::new("io_uring_worker", |ctx| uring(ctx, "async")),
    Case::new("io_uring_sqpoll", |ctx| uring(ctx, "sqpoll")),
];

fn shared(ctx: &Ctx, how: &str) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.sender("share").args([how, B4, "41"]), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let child = done.number("child")?;
    let opener = Who::of(&done);
    let mut receiver = Who { pid: child, tid: Some(child), ppid: Some(done.pid), ..opener.clone() };
    if how == "scm" {
        // It ran itself again, through /proc/self/exe: that is where `exe` comes from.
        receiver.comm = Some("exe".into());
        receiver.argv = None;
    }
    let sent = Sent { id: Some(41), ..Sent::echo(A4, B4) };
    ensure!(trace.within(&[&pair.a, &pair.b]).len() == 3, "3 events expected");
    check::exactly(&trace.by(done.pid), &opener, &sent, &[1, 3])?;
    check::exactly(&trace.by(child), &receiver, &sent, &[2])?;
    if how == "scm" {
        let cmdline = trace.by(child)[0].cmdline.clone().unwrap_or_default();
        ensure!(cmdline.starts_with(&["share".into(), "receive".into()]), "{cmdline:?}");
    }
    Ok(())
}

fn uring(ctx: &Ctx, how: &str) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(ctx.sender("uring").args([how, B4, "42", "5"]), ctx.secs(20))?;
    let trace = tracer.stop()?;
    let events: Vec<&Event> = trace.within(&[&pair.a, &pair.b]);
    check::count_distinct(&events, 5)?;
    let sent = Sent { id: Some(42), ..Sent::echo(A4, B4) };
    // Some other thread of the process, called iou-…: the process's own name is shown.
    let who = Who { tid: None, ..Who::of(&done) };
    for event in events {
        check::carries(event, &sent)?;
        // Until 5.12 these were kernel threads that only borrowed the process's memory.
        let honest = ctx.env.doctor.kernel_version() < (5, 12) && event.evidence == "unknown";
        let owner = ["owner", "procfs"].contains(&event.evidence.as_str());
        if honest || (owner && event.pid == Some(done.pid)) {
            continue;
        }
        check::names(event, &who)?;
    }
    Ok(())
}
