//! `sentby report`: one page about what a recording or a capture file holds, to attach to an incident.
//!
//! An output like any other, of the same pipeline as `replay`: events go one way into a
//! bounded [`aggregate`], and at the end that becomes a file, whole or not at all.

mod aggregate;
mod args;
mod bins;
mod encode;
mod file;
mod html;
mod kept;
mod parties;

pub use args::ReportArgs;

use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::capture::replay;
use crate::enrich::Enricher;
use crate::escape;
use crate::filter::{Filter, UsageError};
use crate::nats::without_password;
use crate::pipeline::{Limits, Pipeline};
use crate::plan::Plan;
use crate::progress::{Progress, Watched};
use crate::store::query::when::{self, Times};
use crate::store::query::{self, Order, Question};
use crate::{privileges, store, trace, watch};
use aggregate::Aggregate;
use anyhow::Result;
use std::os::unix::ffi::OsStrExt;
use std::time::SystemTime;

/// Reads a file to its end and makes a page of it.
pub fn run(asked: Vec<Asked>, args: &ReportArgs) -> Result<()> {
    let stop = trace::stopped_by_signals()?;
    let filter = Filter::detached(&args.filter)?;
    let times = times(args)?;
    // Before anything is read: what is wrong with its name is said at once.
    let file = file::Whole::create(&args.output)?;
    let protocols: Vec<_> = asked.iter().map(|a| a.protocol.name()).collect();
    let (reader, watched) = open(args, &asked, &filter, times)?;
    privileges::drop_unneeded();
    let mut aggregate = Aggregate::new(protocols);
    let (done, ledger, notes) = {
        let mut pipeline = Pipeline::new(
            asked,
            filter,
            Enricher::detached(),
            Box::new(watched.over(Box::new(&mut aggregate))),
        );
        let done = pipeline.run(&reader, &Limits { count: None, deadline: None, stop: &stop });
        (done, std::mem::take(&mut pipeline.ledger), std::mem::take(&mut pipeline.notes))
    };
    aggregate.ledger = ledger;
    // What was seen until something failed is worth a page, which says that it failed.
    if aggregate.total.count == 0 && done.is_err() {
        return done;
    }
    let failed = done.as_ref().err().map(|e| format!("{e:#}"));
    let about = about(args, failed, notes);
    let size = file.finish(|out| html::write(&about, &aggregate, out))?;
    say(args, &aggregate, &about, size)?;
    done
}

/// From when until when. A capture file has no index by time, and what is not read of it is
/// in no ledger.
fn times(args: &ReportArgs) -> Result<Times> {
    let times = when::between(args.since, args.until)?;
    let given = times != (None, None);
    let file = args.server.nats.is_empty();
    if file && given && args.from.exists() && !store::is_database(&args.from) {
        let path = args.from.display();
        Err(UsageError(format!(
            "--since and --until: {path} is a capture file, not a recording; make one of it \
             with `sentby record --from {path} -o FILE`"
        )))?;
    }
    Ok(times)
}

/// Of a recording only what matters is read.
fn open(
    args: &ReportArgs,
    asked: &[Asked],
    filter: &Filter,
    times: Times,
) -> Result<(Reader, Watched)> {
    let protocols: Vec<_> = asked.iter().map(|a| a.protocol.name()).collect();
    let (progress, path) = (Progress::new(args.quiet, false), args.from.clone());
    if !args.server.nats.is_empty() {
        let (done, of) = watch::Counted::default();
        let watched = Watched::new(progress, done.clone(), of.clone());
        let span = watch::Span { times: (times.0.or(Some(0)), times.1), follow: false };
        return Ok((watch::reader(asked, filter, &args.server, span, (done, of))?, watched));
    }
    if store::is_database(&path) {
        let question = Question { times, protocols, filter: filter.clone() };
        return query::reader(&path, &question, Order::OldestFirst, progress);
    }
    let plan = Plan { names: !args.no_names, ..filter.plan(asked) };
    let (watched, done) = Watched::file(progress, &path);
    let open = move || replay::open_watched(&path, &plan, protocols, done);
    Ok((Reader::spawn(open, privileges::drop_unneeded)?, watched))
}

fn about(args: &ReportArgs, failed: Option<String>, notes: Vec<String>) -> html::About {
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    let mut command = String::from("sentby ");
    let words: Vec<_> = words.iter().map(|w| without_password(w.as_bytes())).collect();
    escape::command_line(words.iter().map(|w| &w[..]), &mut command, escape::MAX_COMMAND_LINE);
    let fact = |path| {
        let text = std::fs::read_to_string(path).ok()?;
        Some(text.trim_end().to_owned())
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    html::About {
        command,
        source: match args.server.nats.is_empty() {
            true => args.from.display().to_string(),
            false => format!("fleet: {}", args.server.names()),
        },
        host: fact("/proc/sys/kernel/hostname"),
        kernel: fact("/proc/sys/kernel/osrelease"),
        made: since.as_nanos() as u64,
        failed,
        notes,
    }
}

fn say(args: &ReportArgs, all: &Aggregate, about: &html::About, size: u64) -> Result<()> {
    if args.quiet {
        return Ok(());
    }
    for note in &about.notes {
        eprintln!("sentby: {note}");
    }
    let mut text = String::new();
    all.ledger.write_text(false, &mut text)?;
    eprint!("{text}");
    let (kept, total) = (all.events.all().len(), all.total.count);
    let here = match kept as u64 == total {
        true => "all of them in full".to_owned(),
        false => format!("{kept} of them in full"),
    };
    let name = args.output.display();
    eprintln!("sentby: {name}: {total} events, {here}, {:.1} MB", size as f64 / 1e6);
    Ok(())
}
