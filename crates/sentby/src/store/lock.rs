//! One writer at a time: a lock beside the recording, which the kernel gives back however
//! its holder ends.

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes of a pid that are read.
const PID_MAX: u64 = 16;

/// The right to write a recording, as long as it lives.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a recording, or says who has it.
    pub fn take(recording: &Path) -> Result<Lock> {
        let mut path = recording.as_os_str().to_owned();
        path.push("-lock");
        let mut options = OpenOptions::new();
        // Not truncated: another's pid may stand there.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file =
            options.open(&path).with_context(|| format!("opening {}", path.display()))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = (&file).take(PID_MAX).read_to_string(&mut pid);
            let pid: u32 = pid.trim().parse().unwrap_or_default();
            bail!(
                "{} is being written by another sentby (pid {pid}); give another file with -o, \
                 or stop that one",
                recording.display()
            );
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(format!("{}\n", std::process::id()).as_bytes()));
        written.with_context(|| format!("writing {}", path.display()))?;
        Ok(Lock { _file: file })
    }
}
