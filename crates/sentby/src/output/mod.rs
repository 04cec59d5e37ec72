//! The outputs: one file each, one line each in [`OUTPUTS`].

pub mod fields;
pub mod json;
mod kept;
#[cfg(test)]
mod page;
mod pcapng;
mod rotation;
pub mod stored;
mod text;
pub mod time;

pub use rotation::Rotation;
pub use time::rfc3339;

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

    /// Takes where every capture went so far, of readers that tell; at least every second,
    /// whether events come or not.
    fn so_far(&mut self, ledger: &Ledger) {
        let _ = ledger;
    }

    /// Nothing more comes: makes the last of it durable. Returns how many of the events that
    /// it took it could not keep, by place.
    fn settle(&mut self) -> io::Result<Vec<(&'static str, u64)>> {
        Ok(Vec::new())
    }

    /// The run is over: takes where every capture went.
    fn finish(&mut self, ledger: &Ledger) -> io::Result<()> {
        let _ = ledger;
        Ok(())
    }
}

impl<O: Output + ?Sized> Output for &mut O {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        (**self).event(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        (**self).flush()
    }

    fn so_far(&mut self, ledger: &Ledger) {
        (**self).so_far(ledger);
    }
}

/// An output that gives what it takes to two.
struct Both(Box<dyn Output>, Box<dyn Output>);

impl Output for Both {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.0.event(event)?;
        self.1.event(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }

    fn settle(&mut self) -> io::Result<Vec<(&'static str, u64)>> {
        let mut lost = self.0.settle()?;
        lost.append(&mut self.1.settle()?);
        Ok(lost)
    }

    fn finish(&mut self, ledger: &Ledger) -> io::Result<()> {
        self.0.finish(ledger)?;
        self.1.finish(ledger)
    }
}

/// Both of two outputs.
pub fn both(first: Box<dyn Output>, second: Box<dyn Output>) -> Box<dyn Output> {
    Box::new(Both(first, second))
}

/// A capture file on a writer.
pub fn capture_on(out: Box<dyn io::Write>) -> Box<dyn Output> {
    Box::new(pcapng::Pcapng::to_stdout(out, text::Printer::plain()))
}

/// Capture files, one after the other. The first is created at once.
pub fn capture_files(rotation: Rotation) -> anyhow::Result<Box<dyn Output>> {
    let rotating = rotation::Rotating::new(rotation, jiff::tz::TimeZone::system());
    Ok(Box::new(pcapng::Pcapng::to_files(rotating, text::Printer::plain())?))
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
