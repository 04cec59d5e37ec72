//! `staprun` as a child: the module is loaded as long as it runs, and it ends with us.

use super::line::{self, Line};
use super::log;
use super::module::{self, Folder, Owner};
use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a module may take to be live, or to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Most bytes that wait to be looked at. At the end all that is still on its way comes at
/// once: as much as the module's buffer holds, and a pipe.
const MAX_PENDING: usize = 64 << 20;

/// A loaded module and its lines.
pub struct Run {
    child: Child,
    out: ChildStdout,
    /// Read, and not looked at yet.
    pending: Vec<u8>,
    staprun: PathBuf,
    owner: Owner,
    folder: Folder,
    ended: bool,
    /// Lines that were none, or had no room.
    pub bad: u64,
}

impl Run {
    /// Loads a module and waits until its probes are live. `megabytes`: of its buffer
    /// for each CPU.
    pub fn start(
        staprun: &Path,
        built: &Path,
        owner: Owner,
        folder: Folder,
        megabytes: usize,
        parameters: &[String],
    ) -> Result<Run> {
        let staged = module::stage(built, owner, &folder)?;
        let log = folder.file("staprun.log")?;
        let mut command = Command::new(staprun);
        command
            .args(["-b", &megabytes.to_string()])
            .arg(&staged)
            .args(parameters)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C is for us: we end it when we have what it saw.
            .process_group(0);
        // SAFETY: the closure makes one system call and allocates nothing, so it may run
        // between fork and exec.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::INT))?));
        }
        let mut child = command.spawn().context("starting staprun")?;
        let out = child.stdout.take().context("staprun has no output")?;
        let flags = fcntl_getfl(&out).context("staprun's output")?;
        fcntl_setfl(&out, flags | OFlags::NONBLOCK).context("staprun's output")?;
        let mut run = Run {
            child,
            out,
            pending: Vec::new(),
            staprun: staprun.to_owned(),
            owner,
            folder,
            ended: false,
            bad: 0,
        };
        run.wait_until_ready()?;
        Ok(run)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let Some(left) = until.checked_duration_since(Instant::now()) else {
                self.folder.keep();
                bail!("its probes are not live after {} s", PATIENCE.as_secs());
            };
            self.read(left)?;
            match self.version() {
                Some(line::VERSION) => return Ok(()),
                Some(_) => bail!("the module is another version's: build it again"),
                None => {}
            }
        }
    }

    /// What the module says when it is live, if it has. Captures may stand before it.
    fn version(&self) -> Option<u64> {
        self.pending.split_inclusive(|b| *b == b'\n').find_map(|line| {
            match line::parse(line.strip_suffix(b"\n")?) {
                Some(Line::Ready(version)) => Some(version),
                _ => None,
            }
        })
    }

    /// Reads what has arrived, waiting at most this long for something. An error is that
    /// it ended by itself.
    pub fn read(&mut self, wait: Duration) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        let wait = Timespec::try_from(wait).context("waiting")?;
        let _ = poll(&mut [PollFd::new(&self.out, PollFlags::IN)], Some(&wait));
        if self.fill()? {
            return Ok(());
        }
        self.ended = true;
        let _ = self.child.wait();
        self.unload();
        self.folder.keep();
        let log = self.folder.path("staprun.log");
        bail!("staprun ended: {}; all of it is in {}", log::summary(&log), log.display())
    }

    /// Takes a chunk of what is there; false at the end.
    fn fill(&mut self) -> Result<bool> {
        let mut chunk = [0; CHUNK];
        match self.out.read(&mut chunk) {
            Ok(0) => Ok(false),
            Ok(n) => {
                if self.pending.len() + n <= MAX_PENDING {
                    self.pending.extend_from_slice(&chunk[..n]);
                }
                Ok(true)
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Ok(true)
            }
            Err(e) => Err(e).context("reading staprun's output"),
        }
    }

    /// Hands out every whole line, and keeps what is left of the last.
    pub fn lines(&mut self, mut take: impl FnMut(Line<'_>)) {
        let mut from = 0;
        while let Some(len) = self.pending[from..].iter().position(|b| *b == b'\n') {
            match line::parse(&self.pending[from..from + len]) {
                Some(line) => take(line),
                // Empty ones fill up.
                None => self.bad += u64::from(len > 0),
            }
            from += len + 1;
        }
        self.pending.drain(..from);
        if self.pending.len() > line::MAX_LINE {
            self.bad += 1;
            self.pending.clear();
        }
    }

    /// Has the module unloaded, and reads what it saw before.
    pub fn stop(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        let _ = kill_process(Pid::from_child(&self.child), Signal::INT);
        let until = Instant::now() + PATIENCE;
        let mut open = true;
        while open && Instant::now() < until {
            let wait = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let _ = poll(&mut [PollFd::new(&self.out, PollFlags::IN)], Some(&wait));
            open = self.fill().unwrap_or(false);
        }
        if open {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
        self.unload();
    }

    /// staprun does it, unless it was killed.
    fn unload(&self) {
        let name = self.owner.name();
        if Path::new("/sys/module").join(&name).exists() {
            module::unload(&self.staprun, &name);
        }
    }

    /// How many runs of its probes SystemTap skipped; known at the end.
    pub fn skipped(&self) -> u64 {
        log::skipped(&self.folder.path("staprun.log"))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop();
    }
}
