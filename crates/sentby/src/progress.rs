//! How far a long run has come: a line on stderr, on a terminal, after a second.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// A run that is over before this is not worth a line.
const PATIENCE: Duration = Duration::from_secs(1);

/// Steps between two looks at the clock.
const STEPS: u64 = 1024;

/// A count that grows, with its rate.
pub struct Progress {
    bar: ProgressBar,
    begun: Instant,
    steps: u64,
    shown: bool,
}

impl Progress {
    /// Counts silently at first; never shows up where stderr is no terminal, or `quiet`.
    pub fn new(what: &'static str, quiet: bool) -> Progress {
        let bar = match quiet || !io::stderr().is_terminal() {
            true => ProgressBar::hidden(),
            false => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        let style = ProgressStyle::with_template("{spinner} {msg}: {human_pos}, {per_sec}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(what);
        let shown = quiet || !io::stderr().is_terminal();
        Progress { bar, begun: Instant::now(), steps: 0, shown }
    }

    /// One more.
    pub fn step(&mut self) {
        self.steps += 1;
        if !self.steps.is_multiple_of(STEPS) {
            return;
        }
        if !self.shown && self.begun.elapsed() >= PATIENCE {
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        self.bar.set_position(self.steps);
    }

    /// Takes the line away.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
