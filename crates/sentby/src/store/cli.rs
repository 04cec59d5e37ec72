//! The options of `record` and `query`.

use super::query::when;
use crate::cli::{OutputArgs, TraceArgs, duration};
use crate::filter::FilterArgs;
use crate::watch::FleetArgs;
use clap::{Args, Command};
use std::path::PathBuf;
use std::time::Duration;

/// Options of `record`.
#[derive(Args, Debug)]
pub struct RecordArgs {
    #[command(flatten)]
    pub trace: TraceArgs,

    /// The recording; events are added to it
    #[arg(short, long, value_name = "FILE", default_value = super::DEFAULT, help_heading = "Recording")]
    pub output: PathBuf,

    /// Keep what was understood of requests, and not the packets themselves
    #[arg(long, help_heading = "Recording")]
    pub no_bytes: bool,

    /// Remove events that are older, e.g. 12h or 7d
    #[arg(long, value_name = "AGE", value_parser = age, help_heading = "Recording")]
    pub keep: Option<Duration>,

    /// Remove the oldest events so that the file is not larger, e.g. 500M or 2G
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Recording")]
    pub max_size: Option<u64>,

    /// Record what a capture file or another recording holds, instead of what is sent now
    #[arg(long, value_name = "FILE", conflicts_with = "nats", help_heading = "Recording")]
    pub from: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Fleet: record what agents publish (docs/fleet.md)")]
    pub fleet: FleetArgs,
}

/// Options of `query`.
#[derive(Args, Debug)]
pub struct QueryArgs {
    /// Protocols, all where none is given; then, as tcpdump has it, which packets: e.g. `tcp port
    /// 443 and not host 192.0.2.7` (docs/filters.md)
    #[arg(value_name = "PROTOCOL | EXPRESSION")]
    pub words: Vec<String>,

    /// The recording
    #[arg(long, value_name = "FILE", default_value = super::DEFAULT, help_heading = "Question")]
    pub from: PathBuf,

    /// Sent at this time or later: 2026-11-26T10:00:00Z, '2026-11-26 10:00', 10:00, today,
    /// yesterday, or so long ago: 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Question")]
    pub since: Option<i64>,

    /// Sent before this time
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Question")]
    pub until: Option<i64>,

    /// The newest N, oldest of them first
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..),
          conflicts_with_all = ["sum", "by", "bin", "sql"], help_heading = "Question")]
    pub limit: Option<u64>,

    /// Only how many
    #[arg(id = "sum", long = "count", help_heading = "Question")]
    pub sum: bool,

    /// How many, how long, when first and last, for each: process, exe, unit, container, user,
    /// dst, name, proto, or any field of docs/events.md; several with commas
    #[arg(long, value_name = "FIELD", value_delimiter = ',', help_heading = "Question")]
    pub by: Vec<String>,

    /// Only the N with the most events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "by", help_heading = "Question")]
    pub top: Option<u64>,

    /// How many in each such time, e.g. 10s, 1m, 1h
    #[arg(long, value_name = "TIME", value_parser = age, help_heading = "Question")]
    pub bin: Option<Duration>,

    /// Ask in SQL (docs/recording.md); nothing can be changed
    #[arg(long, value_name = "SELECT", conflicts_with_all = ["words", "sum", "by", "bin", "since", "until"], help_heading = "Question")]
    pub sql: Option<String>,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

impl RecordArgs {
    /// `record` without what protocols declare. Positions cannot be changed here: clap puts
    /// what is changed behind the others.
    pub fn command() -> Command {
        let mut command = Self::augment_args(Command::new("record"))
            .about("Keeps events in a file, to be asked later with `query`")
            .long_about(None);
        for id in
            ["json", "write", "print", "file_size", "file_seconds", "file_count", "times", "color"]
        {
            command = command.mut_arg(id, |arg| arg.hide(true));
        }
        command
    }
}

impl QueryArgs {
    /// `query` without what protocols declare.
    pub fn command() -> Command {
        Self::augment_args(Command::new("query"))
            .about("Asks a recording: its events, or sums of them")
            .long_about(None)
            // --count is a question here.
            .mut_arg("count", |arg| arg.long("stop-after").hide_long_help(true))
            .mut_arg("duration", |arg| arg.hide(true))
    }
}

/// A time with days, e.g. 7d, 12h.
pub fn age(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|n| n.parse::<u32>().ok()).filter(|n| *n > 0);
    match days {
        Some(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 3600)),
        None => duration(text).map_err(|_| "give a time such as 10s, 12h or 7d".to_owned()),
    }
}

/// A size of a recording, with M or G.
pub fn size(text: &str) -> Result<u64, String> {
    const LEAST: u64 = 1 << 20;
    let text = text.trim_end_matches("iB").trim_end_matches('B');
    let size = crate::cli::file_size(text).ok().filter(|size| *size >= LEAST);
    size.filter(|_| text.ends_with(|c: char| c.is_ascii_alphabetic()))
        .ok_or_else(|| "give 1M or more, with M or G".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read_or_refused() {
        assert_eq!(age("7d"), Ok(Duration::from_secs(604_800)));
        assert_eq!(age("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(size("2G"), Ok(2 << 30));
        assert_eq!(size("16MiB"), Ok(16 << 20));
        for bad in ["", "d", "0d", "-1d", "7", "soon"] {
            assert!(age(bad).is_err(), "{bad}");
        }
        for bad in ["", "5", "100k", "G", "1T"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }
}
