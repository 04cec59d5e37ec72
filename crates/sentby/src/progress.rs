//! How far along something is, on stderr: only for people, and only where it takes long.

use crate::event::Event;
use crate::ledger::Ledger;
use crate::output::Output;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What takes less is done before anyone wonders.
const LONG: Duration = Duration::from_secs(1);

/// A bar that shows itself when it is needed.
pub struct Progress {
    bar: Option<ProgressBar>,
    begun: Instant,
    wanted: bool,
}

impl Progress {
    /// Of something whose output may go to the terminal as well (`beside`): then there is none.
    pub fn new(quiet: bool, beside: bool) -> Progress {
        let shown_there = beside && io::stdout().is_terminal();
        let wanted = !quiet && !shown_there && io::stderr().is_terminal();
        Progress { bar: None, begun: Instant::now(), wanted }
    }

    /// It is this far, of this much.
    pub fn set(&mut self, done: u64, of: u64) {
        if !self.wanted || of == 0 || self.begun.elapsed() < LONG {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let bar =
                ProgressBar::with_draw_target(Some(of), ProgressDrawTarget::stderr_with_hz(10));
            let style = ProgressStyle::with_template("{wide_bar} {percent:>3} %  {eta} left");
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_length(of);
        bar.set_position(done.min(of));
    }
}

impl Progress {
    /// It is over: the line is somebody else's again.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// What tells how far a source is, and of how much.
pub struct Watched {
    progress: Progress,
    done: Arc<AtomicU64>,
    of: Arc<AtomicU64>,
}

impl Watched {
    /// Looks at these whenever events have passed.
    pub fn new(progress: Progress, done: Arc<AtomicU64>, of: Arc<AtomicU64>) -> Watched {
        Watched { progress, done, of }
    }

    /// Of a file that is read, by its length; and what its reader counts bytes in. How much
    /// a recording is cannot be told by its size.
    pub fn file(progress: Progress, path: &Path) -> (Watched, Arc<AtomicU64>) {
        let length = std::fs::metadata(path).map(|m| m.len()).unwrap_or_default();
        let length = if crate::store::is_database(path) { 0 } else { length };
        let done = Arc::new(AtomicU64::new(0));
        (Watched::new(progress, done.clone(), Arc::new(AtomicU64::new(length))), done)
    }

    /// An output that shows it beside.
    pub fn over<'a>(self, output: Box<dyn Output + 'a>) -> impl Output + 'a {
        Over { watched: self, output }
    }
}

struct Over<'a> {
    watched: Watched,
    output: Box<dyn Output + 'a>,
}

impl Output for Over<'_> {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.output.event(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        let Watched { progress, done, of } = &mut self.watched;
        progress.set(done.load(Ordering::Relaxed), of.load(Ordering::Relaxed));
        self.output.flush()
    }

    fn settle(&mut self) -> io::Result<Vec<(&'static str, u64)>> {
        self.watched.progress.clear();
        self.output.settle()
    }

    fn finish(&mut self, ledger: &Ledger) -> io::Result<()> {
        self.output.finish(ledger)
    }
}
