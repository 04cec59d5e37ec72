//! `sentby record`: what is captured, or what a file holds, into a recording.

use super::cli::RecordArgs;
use super::prune::Bounds;
use super::write::{Recorder, Settings};
use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::capture::replay;
use crate::enrich::Enricher;
use crate::filter::{Filter, UsageError};
use crate::output::Output;
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::{privileges, trace};
use anyhow::Result;
use std::fs;
use std::path::Path;

/// Records until told to stop, or until the file is at its end.
pub fn run(asked: Vec<Asked>, args: &RecordArgs) -> Result<()> {
    let output = &args.trace.output;
    if output.json || output.write.is_some() {
        Err(UsageError("record prints nothing: leave out --json and -w; `query` has them".into()))?;
    }
    let settings = Settings {
        path: args.output.clone(),
        make_folder: args.output == Path::new(super::DEFAULT),
        packets: !args.no_bytes,
        bounds: Bounds { keep: args.keep, size: args.max_size },
    };
    let open = || Ok(Box::new(Recorder::open(&settings)?) as Box<dyn Output>);
    match &args.from {
        Some(file) => import(asked, args, file, open),
        None if args.fleet.is_asked_for() => fleet(asked, args, open),
        None => {
            let live = format!("recording to {}", args.output.display());
            trace::run_into(asked, &args.trace, open, Some(&live))
        }
    }
}

/// What agents publish.
fn fleet(
    asked: Vec<Asked>,
    args: &RecordArgs,
    open: impl FnOnce() -> Result<Box<dyn Output>>,
) -> Result<()> {
    if !args.trace.command.is_empty() {
        Err(UsageError("--nats records other machines: no command can be run with it".into()))?;
    }
    let run = &args.trace.output.run;
    let stop = trace::stopped_by_signals()?;
    let filter = Filter::detached(&args.trace.filter)?;
    let reader = args.fleet.reader(&asked, &filter)?;
    let output = open()?;
    privileges::drop_unneeded();
    trace::say(run, format_args!("recording to {}", args.output.display()));
    trace::announce(run, &reader)?;
    let mut pipeline = Pipeline::new(asked, filter, Enricher::detached(), output);
    trace::finish(run, &mut pipeline, &reader, &stop)
}

fn import(
    asked: Vec<Asked>,
    args: &RecordArgs,
    file: &Path,
    open: impl FnOnce() -> Result<Box<dyn Output>>,
) -> Result<()> {
    let same = |a: &Path, b: &Path| Some(fs::canonicalize(a).ok()? == fs::canonicalize(b).ok()?);
    if !args.trace.command.is_empty() {
        Err(UsageError("--from reads a file: no command can be run with it".to_owned()))?;
    }
    if same(file, &args.output) == Some(true) {
        let path = file.display();
        Err(UsageError(format!(
            "--from {path}: it is the recording itself; give another with -o"
        )))?;
    }
    let stop = trace::stopped_by_signals()?;
    let filter = Filter::detached(&args.trace.filter)?;
    let plan = Plan { names: !args.trace.capture.no_names, ..filter.plan(&asked) };
    let protocols = asked.iter().map(|a| a.protocol.name()).collect();
    let path = file.to_owned();
    // First what is read: what cannot be leaves no recording behind.
    let reader =
        Reader::spawn(move || replay::open(&path, &plan, protocols), privileges::drop_unneeded)?;
    let output = open()?;
    privileges::drop_unneeded();
    trace::announce(&args.trace.output.run, &reader)?;
    let mut pipeline = Pipeline::new(asked, filter, Enricher::detached(), output);
    trace::finish(&args.trace.output.run, &mut pipeline, &reader, &stop)
}
