//! `sentby watch`: the events of many machines, as their agents publish them, through the same
//! filters and outputs as live ones.

mod decode;
mod fetch;
mod source;

use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::cli::OutputArgs;
use crate::enrich::Enricher;
use crate::filter::{Filter, FilterArgs, UsageError};
use crate::nats::{SUBJECTS, ServerArgs, token};
use crate::pipeline::Pipeline;
use crate::store::query::when;
use crate::{privileges, trace};
use anyhow::Result;
use clap::{Args, Command};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use wire::PROTOCOLS;

/// Options of `watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    /// Protocols, all where none is given; then, as tcpdump has it, which packets: e.g. `tcp port
    /// 443 and not host 192.0.2.7` (docs/filters.md)
    #[arg(value_name = "PROTOCOL | EXPRESSION")]
    pub words: Vec<String>,

    #[command(flatten, next_help_heading = "Fleet")]
    pub server: ServerArgs,

    /// Sent at this time or later, and then what comes; without it only what comes. As `query`
    /// takes it: 2026-11-26T10:00:00Z, 10:00, today, 2h
    #[arg(long, value_name = "TIME", value_parser = when::parse, help_heading = "Fleet")]
    pub since: Option<i64>,

    /// End when all that is there was shown
    #[arg(long, requires = "since", help_heading = "Fleet")]
    pub no_follow: bool,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub output: OutputArgs,
}

impl WatchArgs {
    /// `watch` without what protocols declare.
    pub fn command() -> Command {
        Self::augment_args(Command::new("watch"))
            .about(
                "Shows the events of many machines, as their agents publish them (docs/fleet.md)",
            )
            .long_about(None)
    }
}

/// Where other machines' events are, for commands that mostly have their own.
#[derive(Args, Debug)]
pub struct FleetArgs {
    #[command(flatten)]
    pub server: ServerArgs,

    /// With --nats: from this time on, and then what comes, as `watch` takes it
    #[arg(long, value_name = "TIME", value_parser = when::parse, requires = "nats")]
    pub since: Option<i64>,

    /// With --since: end when all that is there was read
    #[arg(long, requires = "since")]
    pub no_follow: bool,
}

impl FleetArgs {
    /// Whether other machines' events are meant.
    pub fn is_asked_for(&self) -> bool {
        !self.server.nats.is_empty()
    }

    /// What agents publish, as a source.
    pub fn reader(&self, asked: &[Asked], filter: &Filter) -> Result<Reader> {
        let span = Span { times: (self.since, None), follow: !self.no_follow };
        reader(asked, filter, &self.server, span, Counted::default())
    }
}

/// Shows events until told to stop.
pub fn run(asked: Vec<Asked>, args: &WatchArgs) -> Result<()> {
    if args.server.nats.is_empty() {
        Err(UsageError("watch needs --nats URL: where agents publish (docs/fleet.md)".to_owned()))?;
    }
    let stop = trace::stopped_by_signals()?;
    let filter = Filter::detached(&args.filter)?;
    let output = trace::open_output(&args.output)?;
    let span = Span { times: (args.since, None), follow: !args.no_follow };
    let reader = reader(&asked, &filter, &args.server, span, Counted::default())?;
    privileges::drop_unneeded();
    trace::announce(&args.output.run, &reader)?;
    let mut pipeline = Pipeline::new(asked, filter, Enricher::detached(), output);
    trace::finish(&args.output.run, &mut pipeline, &reader, &stop)
}

/// From when until when: nanoseconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// From, and before; without a beginning only what comes.
    pub times: (Option<i64>, Option<i64>),
    /// Whether to go on when all that is there was read.
    pub follow: bool,
}

/// How much was read of what was there, and how much that is.
pub type Counted = (Arc<AtomicU64>, Arc<AtomicU64>);

/// What agents publish, as a source: of this command or of another one.
pub fn reader(
    asked: &[Asked],
    filter: &Filter,
    server: &ServerArgs,
    span: Span,
    progress: Counted,
) -> Result<Reader> {
    let wanted = fetch::Wanted {
        server: server.clone(),
        subjects: subjects(asked, &filter.hosts().unwrap_or_default()),
        since: span.times.0,
        follow: span.follow,
        progress,
    };
    Reader::spawn(move || source::open(wanted, span.times), privileges::drop_unneeded)
}

/// The subjects of these protocols and machines: nobody else's messages are sent at all.
fn subjects(asked: &[Asked], hosts: &[String]) -> Vec<String> {
    let any = vec!["*".to_owned()];
    let hosts =
        if hosts.is_empty() { any.clone() } else { hosts.iter().map(|h| token(h)).collect() };
    let all = asked.len() == PROTOCOLS.len();
    let protocols = asked.iter().map(|a| a.protocol.name().to_owned()).collect();
    let protocols: Vec<String> = if all { any } else { protocols };
    let of_host = |host: &String| {
        let of = |protocol: &String| format!("{SUBJECTS}.{host}.{protocol}");
        protocols.iter().map(of).collect::<Vec<_>>()
    };
    let mut subjects: Vec<String> = hosts.iter().flat_map(of_host).collect();
    subjects.sort();
    // The server refuses subjects that overlap.
    subjects.dedup();
    subjects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_protocols_are_subjects() {
        let all: Vec<Asked> = PROTOCOLS.iter().map(|p| Asked::plain(*p)).collect();
        let two = &all[..2];
        let names = [two[0].protocol.name(), two[1].protocol.name()];
        assert_eq!(subjects(&all, &[]), ["sentby.*.*"]);
        let hosts = ["a.b".to_owned(), "c".to_owned(), "c".to_owned()];
        assert_eq!(subjects(&all, &hosts), ["sentby.a_b.*", "sentby.c.*"]);
        let mut want = names.map(|name| format!("sentby.c.{name}"));
        want.sort();
        assert_eq!(subjects(two, &hosts[1..]), want);
    }
}
