//! `sentby replay`: a capture file through the same decoders, filters and outputs.

use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::capture::replay;
use crate::cli::ReplayArgs;
use crate::enrich::Enricher;
use crate::filter::Filter;
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::progress::{Progress, Watched};
use crate::{privileges, trace};
use anyhow::Result;

/// Reads a file to its end.
pub fn run(asked: Vec<Asked>, args: &ReplayArgs) -> Result<()> {
    let stop = trace::stopped_by_signals()?;
    let filter = Filter::detached(&args.filter)?;
    let output = trace::open_output(&args.output)?;
    let plan = Plan { names: !args.no_names, ..filter.plan(&asked) };
    let protocols = asked.iter().map(|a| a.protocol.name()).collect();
    let path = args.file.clone();
    let progress = Progress::new(args.output.run.quiet, args.output.write.is_none());
    let (watched, done) = Watched::file(progress, &path);
    let open = move || replay::open_watched(&path, &plan, protocols, done);
    let reader = Reader::spawn(open, privileges::drop_unneeded)?;
    privileges::drop_unneeded();
    trace::announce(&args.output.run, &reader)?;
    let mut pipeline =
        Pipeline::new(asked, filter, Enricher::detached(), Box::new(watched.over(output)));
    trace::finish(&args.output.run, &mut pipeline, &reader, &stop)
}
