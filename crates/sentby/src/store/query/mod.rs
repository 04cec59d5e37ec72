//! `sentby query`: a recording's events as they were shown live, or sums of them.

mod chart;
mod flows;
mod groups;
mod sql;
pub mod table;
pub mod when;

use super::cli::QueryArgs;
pub use super::read::Order;
pub use super::selection::Question;

use super::read;
use super::selection::Selection;
use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::enrich::Enricher;
use crate::event::Event;
use crate::filter::Filter;
use crate::output::Output;
use crate::pipeline::{Limits, Pipeline};
use crate::progress::{Progress, Watched};
use crate::{privileges, trace};
use anyhow::Result;
use groups::{Groups, Shape};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

/// Asks.
pub fn run(asked: Vec<Asked>, args: &QueryArgs) -> Result<()> {
    if let Some(sql) = &args.sql {
        return quiet_pipe(sql::run(&args.from, sql, args.output.json));
    }
    let filter = Filter::detached(&args.filter)?;
    let question = Question {
        times: when::between(args.since, args.until)?,
        protocols: asked.iter().map(|a| a.protocol.name()).collect(),
        filter,
    };
    let sums = args.sum || args.bin.is_some() || !args.by.is_empty();
    if sums { quiet_pipe(sum(asked, args, question)) } else { show(asked, args, question) }
}

/// A reader that has seen enough is no error.
fn quiet_pipe(result: Result<()>) -> Result<()> {
    let piped = |e: &anyhow::Error| {
        e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    };
    match result {
        Err(e) if piped(&e) => Ok(()),
        result => result,
    }
}

/// Shows events.
fn show(asked: Vec<Asked>, args: &QueryArgs, mut question: Question) -> Result<()> {
    let stop = trace::stopped_by_signals()?;
    let output = trace::open_output(&args.output)?;
    if let Some(limit) = args.limit {
        let Some(first) = newest(&asked, args, &question, limit, &stop)? else {
            // Fewer than that: all of them.
            return shown(asked, args, &question, output, &stop);
        };
        question.times.0 = Some(first);
    }
    shown(asked, args, &question, output, &stop)
}

fn shown(
    asked: Vec<Asked>,
    args: &QueryArgs,
    question: &Question,
    output: Box<dyn Output>,
    stop: &AtomicBool,
) -> Result<()> {
    let (reader, watched) = open(args, question, Order::OldestFirst, args.output.write.is_none())?;
    trace::announce(&args.output.run, &reader)?;
    let output = Box::new(watched.over(output));
    let mut pipeline = Pipeline::new(asked, question.filter.clone(), Enricher::detached(), output);
    trace::finish(&args.output.run, &mut pipeline, &reader, stop)
}

/// Where the last `limit` events begin; `None` if there are no more than that.
fn newest(
    asked: &[Asked],
    args: &QueryArgs,
    question: &Question,
    limit: u64,
    stop: &AtomicBool,
) -> Result<Option<i64>> {
    let (reader, watched) = open(args, question, Order::NewestFirst, true)?;
    let first = AtomicI64::new(i64::MAX);
    let output = Box::new(watched.over(Box::new(Place(&first))));
    let mut pipeline =
        Pipeline::new(asked.to_vec(), question.filter.clone(), Enricher::detached(), output);
    pipeline.run(&reader, &Limits { count: Some(limit), deadline: None, stop })?;
    let all = pipeline.ledger.shown < limit;
    Ok((!all).then(|| first.load(Ordering::Relaxed)))
}

/// Takes nothing of an event but where it stands.
struct Place<'a>(&'a AtomicI64);

impl Output for Place<'_> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let stored = event.capture.recorded.as_ref().and_then(|r| r.stored.as_ref());
        self.0.fetch_min(stored.map_or(i64::MAX, |stored| stored.row), Ordering::Relaxed);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sums up.
fn sum(asked: Vec<Asked>, args: &QueryArgs, mut question: Question) -> Result<()> {
    let shape = Shape::new(args)?;
    let stop = trace::stopped_by_signals()?;
    let mut groups = Groups::new(shape);
    let connection = super::open(&args.from)?;
    // What lies between whole minutes is looked at event by event.
    let mut edges = vec![question.times];
    if question.filter.is_about_flows() && groups.shape.is_of_flows() {
        edges = flows::sum(&connection, &question, &mut groups)?;
    }
    drop(connection);
    for times in edges {
        question.times = times;
        let (reader, watched) = open(args, &question, Order::OldestFirst, false)?;
        let output = Box::new(watched.over(Box::new(&mut groups)));
        let mut pipeline =
            Pipeline::new(asked.clone(), question.filter.clone(), Enricher::detached(), output);
        pipeline.run(&reader, &Limits { count: None, deadline: None, stop: &stop })?;
    }
    groups.print(args.output.json, &stop)
}

fn open(
    args: &QueryArgs,
    question: &Question,
    order: Order,
    beside: bool,
) -> Result<(Reader, Watched)> {
    reader(&args.from, question, order, Progress::new(args.output.run.quiet, beside))
}

/// Starts to read what matters to a question; how far it is can be watched.
pub fn reader(
    path: &Path,
    question: &Question,
    order: Order,
    progress: Progress,
) -> Result<(Reader, Watched)> {
    let done = Arc::new(AtomicU64::new(0));
    let (path, asked, counted) = (path.to_owned(), question.clone(), done.clone());
    let of = Arc::new(AtomicU64::new(0));
    let length = of.clone();
    let start = move || {
        let connection = super::open(&path)?;
        let selection = Selection::new(&connection, &asked)?;
        length.store(selection.length(), Ordering::Relaxed);
        Ok(read::source(connection, &path, selection, order, counted))
    };
    let reader = Reader::spawn(start, privileges::drop_unneeded)?;
    Ok((reader, Watched::new(progress, done, of)))
}
