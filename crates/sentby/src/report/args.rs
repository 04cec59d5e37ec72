//! The command line of `sentby report`.

use crate::filter::FilterArgs;
use crate::nats::ServerArgs;
use crate::store::query::when;
use clap::Args;
use std::path::PathBuf;

/// Options of `report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Protocols to look for, all where none is given; then, as tcpdump has it, which packets:
    /// e.g. `tcp port 443 and not host 192.0.2.7` (docs/filters.md)
    #[arg(value_name = "PROTOCOL | EXPRESSION")]
    pub words: Vec<String>,

    /// Which events.
    #[command(flatten)]
    pub filter: FilterArgs,

    /// What to report on: a recording, or pcap or pcapng of whatever program; `-` reads stdin
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          default_value = crate::store::DEFAULT, conflicts_with = "nats", help_heading = "Report")]
    pub from: PathBuf,

    /// Or on what agents have published.
    #[command(
        flatten,
        next_help_heading = "Fleet: report on what agents published (docs/fleet.md)"
    )]
    pub server: ServerArgs,

    /// Sent at this time or later: 2026-11-26T10:00:00Z, '2026-11-26 10:00', 10:00, today,
    /// yesterday, or so long ago: 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Report")]
    pub since: Option<i64>,

    /// Sent before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Report")]
    pub until: Option<i64>,

    /// The page, e.g. report.html; only its owner may read it
    #[arg(short, long, value_name = "FILE", value_hint = clap::ValueHint::FilePath,
          help_heading = "Report")]
    pub output: PathBuf,

    /// Do not look at DNS answers for the names of destinations
    #[arg(long, help_heading = "Report")]
    pub no_names: bool,

    /// Say nothing on stderr but errors
    #[arg(short, long, help_heading = "Report")]
    pub quiet: bool,
}
