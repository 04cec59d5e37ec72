//! perf's clock beside the wall clock.
//!
//! Records carry the scheduler's clock, which runs by itself, and to choose another one
//! (`use_clockid`) is not possible before Linux 4.1. But a thread that gives itself a
//! name gets a record of that with the time, and can look at the wall clock around it.

use super::ring::{Event, Kind, Record, Ring, Scope};
use anyhow::{Context, Result};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the two clocks are compared: they may drift apart by 100 µs meanwhile.
const EVERY: Duration = Duration::from_millis(200);

/// Comparisons at once, of which the closest counts.
const TRIES: u32 = 5;

/// Knows what the wall clock said at a time of perf's clock.
pub struct Clock {
    ring: Ring,
    /// Nanoseconds from perf's clock's zero to the Unix epoch's.
    offset: i64,
    compared: Instant,
}

impl Clock {
    /// Compares the clocks. Works in the thread that made it only.
    pub fn new() -> Result<Clock> {
        let ring = Ring::new(Event::open(Kind::Names, Scope::ThisThread, 1)?, 1)?;
        ring.event().enable()?;
        let mut clock = Clock { ring, offset: 0, compared: Instant::now() };
        clock.compare().context("the kernel does not tell perf's clock")?;
        Ok(clock)
    }

    /// Compares them again if it is time.
    pub fn refresh(&mut self) {
        if self.compared.elapsed() >= EVERY {
            // The wall clock is stepped and slewed; follow it.
            let _ = self.compare();
        }
    }

    /// Nanoseconds since the Unix epoch at this time of perf's clock.
    pub fn since_epoch(&self, time: u64) -> u64 {
        time.wrapping_add_signed(self.offset)
    }

    /// perf's clock now, by the last comparison.
    pub fn now(&self) -> u64 {
        wall().wrapping_add_signed(-self.offset)
    }

    fn compare(&mut self) -> Option<()> {
        let mut best: Option<(u64, i64)> = None;
        for _ in 0..TRIES {
            let before = wall();
            rename_this_thread().ok()?;
            let after = wall();
            let mut named = None;
            self.ring.drain(|record| {
                if let Record::Named(time) = record {
                    named = Some(time);
                }
            });
            let (width, middle) = (after.saturating_sub(before), before / 2 + after / 2);
            let offset = middle.wrapping_sub(named?) as i64;
            if best.is_none_or(|(closest, _)| width < closest) {
                best = Some((width, offset));
            }
        }
        self.offset = best?.1;
        self.compared = Instant::now();
        Some(())
    }
}

fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Gives this thread the name that it has.
fn rename_this_thread() -> Result<()> {
    let name = rustix::thread::name().context("reading this thread's name")?;
    rustix::thread::set_name(&name).context("naming this thread")
}
