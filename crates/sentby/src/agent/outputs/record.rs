//! The output `record`: a recording on this machine, as `sentby record` makes it.

use super::{Sink, Wanted};
use crate::agent::status::Status;
use crate::event::Event;
use crate::output::Output;
use crate::store::cli::{age, size};
use crate::store::prune::Bounds;
use crate::store::write::{FULL, Recorder, Settings};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) const NAME: &str = "record";

#[derive(Args, Debug)]
#[command(next_help_heading = "Output: a recording")]
struct RecordArgs {
    /// Keep events in a file, to be asked with `sentby query`
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    record: Option<PathBuf>,

    /// Keep what was understood of requests, and not the packets themselves
    #[arg(long, requires = "record")]
    record_no_bytes: bool,

    /// Remove events that are older, e.g. 12h or 7d
    #[arg(long, value_name = "AGE", value_parser = age, requires = "record")]
    record_keep: Option<Duration>,

    /// Remove the oldest events so that the file is not larger, e.g. 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size, requires = "record")]
    record_max_size: Option<u64>,
}

pub(super) fn options(command: Command) -> Command {
    RecordArgs::augment_args(command)
}

pub(super) fn wanted(matches: &ArgMatches, _: &Arc<Status>) -> Result<Option<Wanted>, clap::Error> {
    let args = RecordArgs::from_arg_matches(matches)?;
    let Some(path) = args.record else { return Ok(None) };
    let settings = Settings {
        make_folder: path == Path::new(crate::store::DEFAULT),
        path,
        packets: !args.record_no_bytes,
        bounds: Bounds { keep: args.record_keep, size: args.record_max_size },
    };
    Ok(Some(Wanted {
        name: NAME,
        settings: format!("{settings:?}"),
        linger: Duration::ZERO,
        open: Arc::new(move || Ok(Box::new(Recorder::open(&settings)?) as Box<dyn Sink>)),
    }))
}

impl Sink for Recorder {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        Output::event(self, event)
    }

    fn flush(&mut self) -> io::Result<()> {
        Output::flush(self)
    }

    fn waiting(&self) -> u64 {
        Recorder::waiting(self)
    }

    fn lost(&self) -> Vec<(&'static str, u64)> {
        vec![(FULL, Recorder::lost(self))]
    }

    fn settle(&mut self) -> io::Result<()> {
        Output::settle(self).map(drop)
    }
}
