//! One trial at a time on the whole machine: trials count what everyone on it sends, so
//! that two runs side by side (two checkouts, two people) would count each other.

use anyhow::{Context, Result};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Held while a trial runs; free again when dropped, or when its process dies.
pub struct Turn(#[allow(dead_code, reason = "held, never looked at")] File);

impl Turn {
    /// Waits until no other run is in the middle of a trial.
    pub fn wait() -> Result<Self> {
        let path = Path::new("/run/sentby-e2e.lock");
        let file = File::create(path).with_context(|| path.display().to_string())?;
        // SAFETY: flock takes no pointers; the descriptor is open.
        let failed = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } != 0;
        if failed {
            return Err(std::io::Error::last_os_error()).context("flock");
        }
        Ok(Turn(file))
    }
}
