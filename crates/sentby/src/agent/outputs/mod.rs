//! The agent's outputs: one file each, one line each in [`OUTPUTS`].
//!
//! Each works in a thread of its own behind a queue of its own (`lane.rs`), so it may wait
//! for a disk or a network: that costs its own events, and nobody else's.

mod json;
mod nats;
mod otlp;
mod prometheus;
mod record;

use super::status::Status;
use crate::event::Event;
use anyhow::Result;
use clap::{ArgMatches, Command};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An open output.
pub trait Sink: Send {
    /// Whether it has room for an event, waiting at most this long; as long as it has none,
    /// events stay in the queue.
    fn ready(&mut self, wait: Duration) -> bool {
        let _ = wait;
        true
    }

    /// Takes one event.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()>;

    /// Passes on what was taken; called whenever no more events are at hand.
    fn flush(&mut self) -> io::Result<()>;

    /// Events that were taken and are not where they belong yet: if it fails, they are lost.
    fn waiting(&self) -> u64;

    /// Events that it has lost by itself since it was opened, by place.
    fn lost(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// How it stands with whom it passes events on to.
    fn standing(&self) -> Standing {
        Standing::default()
    }

    /// SIGHUP: opens anew what was opened by name.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Nothing more comes: makes the last of it durable.
    fn settle(&mut self) -> io::Result<()> {
        self.flush()
    }
}

/// How an output stands, where that can be told.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// What waits on the disk: events, and bytes.
    pub spool: Option<(u64, u64)>,
    /// Whether somebody takes events at the other end.
    pub connected: Option<bool>,
}

/// Opens a sink, as often as it fails.
pub type Open = Arc<dyn Fn() -> Result<Box<dyn Sink>> + Send + Sync>;

/// An output that was asked for.
#[derive(Clone)]
pub struct Wanted {
    /// Its entry's name.
    pub name: &'static str,
    /// What was decided about it: where this is the same, so is the output.
    pub settings: String,
    /// How long its end may take, beyond what each output gets.
    pub linger: Duration,
    /// Opens it.
    pub open: Open,
}

/// An entry of the registry.
pub struct Entry {
    /// The name of the option that asks for it.
    pub name: &'static str,
    /// Adds its options.
    pub options: fn(Command) -> Command,
    /// What they ask for, if they ask for it.
    pub wanted: fn(&ArgMatches, &Arc<Status>) -> Result<Option<Wanted>, clap::Error>,
}

/// Every output there is.
pub static OUTPUTS: &[Entry] = &[
    Entry { name: record::NAME, options: record::options, wanted: record::wanted },
    Entry { name: json::NAME, options: json::options, wanted: json::wanted },
    Entry { name: nats::NAME, options: nats::options, wanted: nats::wanted },
    Entry { name: otlp::NAME, options: otlp::options, wanted: otlp::wanted },
    Entry { name: prometheus::NAME, options: prometheus::options, wanted: prometheus::wanted },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_asked_for_by_its_name_and_not_without() {
        let status = Arc::new(Status::new());
        let with_all = || OUTPUTS.iter().fold(Command::new("agent"), |c, entry| (entry.options)(c));
        with_all().debug_assert();
        for (i, entry) in OUTPUTS.iter().enumerate() {
            assert!(OUTPUTS[..i].iter().all(|other| other.name != entry.name));
            let given = |value| format!("--{}={value}", entry.name);
            let parse = |value| with_all().try_get_matches_from(["agent".into(), given(value)]);
            let asked = ["9817", "nats://192.0.2.1", "http://192.0.2.1", "-"]
                .into_iter()
                .find_map(|value| parse(value).ok())
                .unwrap();
            let wanted = (entry.wanted)(&asked, &status).unwrap().expect("asked for");
            assert_eq!(wanted.name, entry.name);
            let plain = with_all().get_matches_from(["agent"]);
            assert!((entry.wanted)(&plain, &status).unwrap().is_none());
        }
    }
}
