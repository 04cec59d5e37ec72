//! Processes that live for less than two milliseconds, a thousand in a row.

use crate::check::{self, Sent, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::topology::{A4, B4, Pair};
use anyhow::{Context, Result, ensure};
use std::collections::HashMap;

pub const CASES: &[Case] =
    &[Case::new("oneshot_processes", oneshot_processes).hooks(Hooks::EachAndAll)];

fn oneshot_processes(ctx: &Ctx) -> Result<()> {
    let n = ctx.scaled(1000);
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let mut sent = Vec::new();
    for i in 0..n {
        let seq = (i + 1).to_string();
        // Something unique, and long enough that it takes more than one look to read.
        let token = format!("token-{i}-{}", "x".repeat((i % 300) as usize));
        let cmd = ctx.sender("oneshot").args([B4, "61", &seq, &token, "--last=ü"]);
        sent.push((i + 1, pair.a.run(cmd, ctx.secs(10))?));
    }
    let trace = tracer.stop()?;
    let events = trace.within(&[&pair.a, &pair.b]);
    check::count_distinct(&events, n)?;
    let mut by_seq: HashMap<u16, &Event> = HashMap::new();
    for event in events {
        by_seq.insert(event.icmp.seq.context("no seq")?, event);
    }
    for (seq, done) in &sent {
        let seq = u16::try_from(*seq)?;
        let event = by_seq.get(&seq).with_context(|| format!("seq {seq} is missing"))?;
        check::names(event, &Who::of(done))?;
        check::carries(event, &Sent { id: Some(61), ..Sent::echo(A4, B4) })?;
    }
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    Ok(())
}
