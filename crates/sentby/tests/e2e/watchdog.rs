//! The last resort: every wait has a deadline of its own; should a trial hang all the
//! same, the run ends, says where, and cleans up.

use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a trial may take on a fast machine.
const LIMIT: Duration = Duration::from_secs(300);

static CURRENT: Mutex<Option<(String, Instant)>> = Mutex::new(None);

/// Starts watching.
pub fn start(slow: f64) {
    let limit = LIMIT.mul_f64(slow.max(1.0));
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let current = CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if let Some((name, since)) = current.as_ref()
                && since.elapsed() > limit
            {
                eprintln!("\ne2e: {name} hangs: gave up after {limit:?}");
                crate::netns::remove_own();
                std::process::exit(1);
            }
        }
    });
}

/// The trial that runs now.
pub struct Guard;

impl Guard {
    /// Begins one.
    pub fn new(name: &str) -> Self {
        Self::set(Some((name.to_owned(), Instant::now())));
        Guard
    }

    fn set(value: Option<(String, Instant)>) {
        *CURRENT.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = value;
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        Self::set(None);
    }
}
