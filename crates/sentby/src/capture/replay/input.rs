//! The bytes of a file or pipe, a piece at a time.

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Bytes read at once: small enough to stay in a CPU's cache.
const PIECE: usize = 512 * 1024;

/// What came of asking for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// More bytes are there.
    More,
    /// Nothing came in time.
    Quiet,
    /// There is no more.
    End,
}

/// An open file or pipe.
pub struct Input {
    /// Its name, for people.
    pub name: String,
    /// Where in it the first of [`Input::bytes`] stands.
    pub offset: u64,
    file: File,
    /// Reading it may have to wait.
    waits: bool,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Bytes that were read, for whoever wants to know.
    done: Arc<AtomicU64>,
}

impl Input {
    /// Opens a file, or stdin where the path is `-`; `done` goes up with the bytes read.
    pub fn open(path: &Path, done: Arc<AtomicU64>) -> Result<Input> {
        let stdin = path.as_os_str() == "-";
        let name = if stdin { "stdin".to_owned() } else { path.display().to_string() };
        let opened = if stdin {
            io::stdin().as_fd().try_clone_to_owned().map(File::from)
        } else {
            File::open(path)
        };
        let file = opened.with_context(|| format!("opening {name}"))?;
        let kind = file.metadata().with_context(|| format!("opening {name}"))?.file_type();
        Ok(Input {
            name,
            offset: 0,
            file,
            waits: !kind.is_file(),
            buffer: vec![0; PIECE],
            begin: 0,
            end: 0,
            done,
        })
    }

    /// What was read and not taken.
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// The first `n` of the bytes are done with.
    pub fn take(&mut self, n: usize) {
        self.begin += n;
        self.offset += n as u64;
    }

    /// Reads on, so that in the end there may be `least` bytes.
    pub fn fill(&mut self, least: usize, wait: Duration) -> Result<Filled> {
        if self.waits && !self.is_ready(wait)? {
            return Ok(Filled::Quiet);
        }
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, self.end - self.begin);
        if self.buffer.len() < least {
            self.buffer.resize(least, 0);
        }
        let read = loop {
            match self.file.read(&mut self.buffer[self.end..]) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let n = read.with_context(|| format!("reading {}", self.name))?;
        self.end += n;
        self.done.fetch_add(n as u64, Ordering::Relaxed);
        Ok(if n == 0 { Filled::End } else { Filled::More })
    }

    fn is_ready(&self, wait: Duration) -> Result<bool> {
        let wait = Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: wait.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&wait)) {
            Ok(n) => Ok(n > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(e) => Err(e).with_context(|| format!("waiting for {}", self.name)),
        }
    }
}
