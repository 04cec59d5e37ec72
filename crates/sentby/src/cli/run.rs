//! How long a run lasts, and what it says about itself: the same for whatever becomes of
//! its events.

use super::duration;
use clap::{ArgAction, Args};
use std::path::PathBuf;
use std::time::Duration;

/// The run, whatever becomes of its events.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Stop after N events
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// Stop after this time, e.g. 10s, 1m30s, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub duration: Option<Duration>,

    /// Create this file once the probes are live
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,

    /// Write the ledger to this file at the end, as JSON
    #[arg(long, value_name = "FILE")]
    pub ledger: Option<PathBuf>,

    /// Say nothing on stderr but errors
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more on stderr; twice: what libbpf says as well
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}
