//! The outputs: one file each, one line each in [`OUTPUTS`].

pub mod fields;
mod json;
#[cfg(test)]
mod page;
mod text;
mod time;

use crate::event::Event;
use crate::ledger::Ledger;
use std::io;

/// What a packet's comment begins with, in files that sentby writes: an object of JSON
/// follows on the same line.
pub const PREFIX: &[u8] = b"sentby ";

/// Where events go. Outputs know fields, never protocols.
pub trait Output {
    /// Takes one event. A `BrokenPipe` ends the run quietly.
    fn event(&mut self, event: &Event<'_>) -> io::Result<()>;

    /// Makes what was taken visible; called whenever no more events are waiting.
    fn flush(&mut self) -> io::Result<()>;

    /// The run is over: takes where every capture went.
    fn finish(&mut self, ledger: &Ledger) -> io::Result<()> {
        let _ = ledger;
        Ok(())
    }
}

/// How a text line says when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TimeStyle {
    /// Local time of day with microseconds.
    #[default]
    Clock,
    /// Not at all (`-t`).
    None,
    /// Seconds since the Unix epoch (`-tt`).
    Epoch,
    /// Since the event before (`-ttt`).
    Delta,
    /// Local date and time (`-tttt`).
    Date,
    /// Since the first event (`-ttttt`).
    SinceFirst,
}

/// What the user chose about outputs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How to print times, in outputs for people.
    pub time: TimeStyle,
    /// Whether colours may be used.
    pub color: bool,
}

/// An entry of the registry.
pub struct Entry {
    /// The name users choose it by.
    pub name: &'static str,
    /// One line for `--help`.
    #[expect(dead_code, reason = "until the command line lists outputs")]
    pub about: &'static str,
    /// Opens it over a writer, which should buffer: a line is one write.
    pub open: fn(Options, Box<dyn io::Write>) -> Box<dyn Output>,
}

/// Every output there is.
pub static OUTPUTS: &[Entry] = &[
    Entry { name: "text", about: "one aligned line per request", open: text::open },
    Entry { name: "json", about: "one JSON object per line (docs/events.md)", open: json::open },
];
