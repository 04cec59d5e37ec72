//! Runs sentby: starts it, waits until its probes are live, stops it, and reads what
//! it said. Whatever happened ends up in the trial's notes, which a failure prints.

use crate::ctx::Ctx;
use crate::event::{Brief, Event, Ledger, epoch};
use crate::netns::Netns;
use crate::proc::{Cmd, Done, Proc, poll};
use anyhow::{Context, Result, bail, ensure};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Sentby's command line in the making.
pub struct Builder<'a> {
    ctx: &'a Ctx,
    cmd: Cmd,
    json: bool,
    ready: PathBuf,
    ledger: PathBuf,
    command: Vec<std::ffi::OsString>,
    label: String,
}

impl<'a> Builder<'a> {
    /// `sentby PROTOCOL --json` with this trial's hook.
    pub fn new(ctx: &'a Ctx, protocol: &str) -> Self {
        let label = ctx.label("sentby");
        let ready = ctx.dir().join(format!("{label}.ready"));
        let ledger = ctx.dir().join(format!("{label}.ledger"));
        let mut cmd = Cmd::new(&ctx.env.bin, ctx.dir(), label.clone())
            .arg0("sentby")
            .arg(protocol)
            .args([OsStr::new("--ready-file"), ready.as_os_str()])
            .args([OsStr::new("--ledger"), ledger.as_os_str()]);
        if let Some(backend) = &ctx.env.doctor.only {
            cmd = cmd.args(["--backend", backend]);
        }
        if let Some(hooks) = ctx.hook.option(&ctx.env.doctor) {
            cmd = cmd.args(["--hook", &hooks]);
        }
        Builder { ctx, cmd, json: true, ready, ledger, command: Vec::new(), label }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.cmd = self.cmd.args(args);
        self
    }

    /// Text for people instead of JSON.
    pub fn text(mut self) -> Self {
        self.json = false;
        self
    }

    /// Runs in a network namespace.
    pub fn in_ns(mut self, ns: &Netns) -> Result<Self> {
        self.cmd = self.cmd.in_ns(ns)?;
        Ok(self)
    }

    /// Traces a command of its own (`-- CMD`).
    pub fn command<S: AsRef<OsStr>>(mut self, argv: impl IntoIterator<Item = S>) -> Self {
        self.command.extend(argv.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Writes to a pipe, which the caller takes with [`Tracer::take_stdout`].
    pub fn piped(mut self) -> Self {
        self.cmd = self.cmd.stdout(Stdio::piped());
        self
    }

    /// Starts it and returns at once.
    pub fn spawn(mut self) -> Result<Tracer> {
        if self.json {
            self.cmd = self.cmd.arg("--json");
        }
        if !self.command.is_empty() {
            self.cmd = self.cmd.arg("--").args(&self.command);
        }
        if let Some(home) = self.ctx.home() {
            self.cmd = self.cmd.in_ns_unless_chosen(&home)?;
        }
        let started = SystemTime::now();
        Ok(Tracer {
            proc: Some(self.cmd.spawn()?),
            json: self.json,
            ready: self.ready,
            ledger: self.ledger,
            started,
            notes: self.ctx.notes(),
            stop_limit: self.ctx.secs(20),
            label: self.label,
        })
    }

    /// Starts it and waits until its probes are live.
    pub fn start(self) -> Result<Tracer> {
        let limit = self.ctx.secs(20);
        let mut tracer = self.spawn()?;
        tracer.await_ready(limit)?;
        Ok(tracer)
    }
}

/// A running sentby.
pub struct Tracer {
    proc: Option<Proc>,
    json: bool,
    ready: PathBuf,
    ledger: PathBuf,
    started: SystemTime,
    notes: crate::ctx::Notes,
    stop_limit: Duration,
    label: String,
}

/// What sentby said, from start to exit.
pub struct Trace {
    /// How it ended.
    pub status: ExitStatus,
    /// Its events, if it was to speak JSON.
    pub events: Vec<Event>,
    /// Its stdout as it stands.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: String,
    /// Its ledger.
    pub ledger: Ledger,
}

impl Tracer {
    fn proc(&mut self) -> &mut Proc {
        // Taken only by the methods that consume the tracer.
        self.proc.as_mut().expect("sentby is running")
    }

    /// Its end of a pipe (after [`Builder::piped`]).
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.proc().take_stdout()
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.proc().signal(signal)
    }

    /// Waits until its probes are live.
    pub fn await_ready(&mut self, limit: Duration) -> Result<()> {
        let ready = self.ready.clone();
        let found = poll(limit, || {
            if ready.exists() {
                return Ok(Some(true));
            }
            Ok(self.proc().try_wait()?.map(|_| ready.exists()))
        })?;
        match found {
            Some(true) => Ok(()),
            Some(false) => {
                let stderr = self.proc().stderr();
                bail!("sentby ended before it was ready: {stderr}")
            }
            None => bail!("sentby was not ready in {limit:?}"),
        }
    }

    /// The events it has shown so far (whole lines only).
    pub fn so_far(&mut self) -> Result<Vec<Event>> {
        let text = std::fs::read_to_string(self.proc().out())?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(Event::parse).collect()
    }

    /// Waits until it has shown `n` events that `wanted` picks.
    pub fn await_events(
        &mut self,
        n: usize,
        limit: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<()> {
        let found = poll(limit, || {
            let count = self.so_far()?.iter().filter(|e| wanted(e)).count();
            Ok((count >= n).then_some(()))
        })?;
        found.with_context(|| format!("{n} events did not come in {limit:?}"))
    }

    /// Interrupts it, as Ctrl-C would, and reads everything.
    pub fn stop(mut self) -> Result<Trace> {
        let limit = self.stop_limit;
        let proc = self.proc.take().expect("sentby is running");
        let done = proc.interrupt(limit)?;
        self.read(done)
    }

    /// Waits until it ends by itself, and reads everything.
    pub fn wait(mut self, limit: Duration) -> Result<Trace> {
        let done = self.proc().wait_mut(limit)?;
        self.proc = None;
        self.read(done)
    }

    /// Waits until it ends, however badly.
    pub fn wait_any(mut self, limit: Duration) -> Result<Done> {
        let done = self.proc().wait_mut(limit)?;
        self.proc = None;
        self.note(&done.stdout, &done.errors());
        Ok(done)
    }

    /// Kills it where it stands (SIGKILL), having looked at it first.
    pub fn kill(mut self) -> Result<()> {
        let limit = self.stop_limit;
        if self.proc().try_wait()?.is_none() {
            self.proc().signal(libc::SIGKILL)?;
        }
        self.wait_any(limit).map(drop)
    }

    /// As [`Tracer::stop`], for runs with more events than one wants to keep: each is
    /// read briefly and handed over.
    pub fn stop_briefly(mut self, mut each: impl FnMut(Brief)) -> Result<Ledger> {
        let limit = self.stop_limit;
        let mut proc = self.proc.take().expect("sentby is running");
        if proc.try_wait()?.is_none() {
            proc.signal(libc::SIGINT)?;
        }
        let out = proc.out().to_owned();
        let ended = poll(limit, || proc.try_wait())?;
        let stderr = proc.stderr();
        self.note(&head(&out)?, &stderr);
        let status = ended.context("sentby did not stop")?;
        ensure!(status.success(), "sentby {status}: {stderr}");
        let mut lines = 0u64;
        let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(&out)?);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            let brief = serde_json::from_slice(&line)
                .with_context(|| format!("line {lines}: {}", String::from_utf8_lossy(&line)))?;
            each(brief);
            lines += 1;
            line.clear();
        }
        let ledger = self.ledger()?;
        ensure!(ledger.shown == lines, "shown {} but {lines} lines", ledger.shown);
        Ok(ledger)
    }

    fn ledger(&self) -> Result<Ledger> {
        let text = std::fs::read_to_string(&self.ledger)
            .with_context(|| format!("no ledger at {}", self.ledger.display()))?;
        Ledger::parse(&text)
    }

    fn read(self, done: Done) -> Result<Trace> {
        self.note(&done.stdout, &done.errors());
        ensure!(done.status.success(), "sentby {}: {}", done.status, done.errors());
        let ledger = self.ledger()?;
        let stdout = done.stdout;
        ensure!(stdout.is_empty() || stdout.ends_with(b"\n"), "the last line has no end");
        let lines = stdout.iter().filter(|b| **b == b'\n').count();
        ensure!(
            ledger.shown == lines as u64,
            "the ledger says {} were shown, but there are {lines} lines",
            ledger.shown
        );
        let mut events = Vec::new();
        if self.json {
            let text = std::str::from_utf8(&stdout).context("JSON that is not UTF-8")?;
            for line in text.lines() {
                let event = Event::parse(line).with_context(|| format!("in {line}"))?;
                self.check_times(&event)?;
                events.push(event);
            }
        }
        let stderr = String::from_utf8_lossy(&done.stderr).into_owned();
        Ok(Trace { status: done.status, events, stdout, stderr, ledger })
    }

    /// Times are those of this run; nothing sends before it has started.
    fn check_times(&self, event: &Event) -> Result<()> {
        let at = epoch(&event.time)?;
        let from = self.started.duration_since(UNIX_EPOCH)?.as_secs_f64();
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        ensure!(
            (from - 0.1..now + 0.1).contains(&at),
            "time {} is not within the run ({from}..{now})",
            event.time
        );
        if let Some(start) = &event.start {
            // A start time is counted in clock ticks of 10 ms.
            ensure!(epoch(start)? <= at + 0.05, "start {start} after time {}", event.time);
        }
        Ok(())
    }

    fn note(&self, stdout: &[u8], stderr: &str) {
        let ledger = std::fs::read_to_string(&self.ledger).unwrap_or_else(|_| "none".into());
        self.notes.add(&self.label, stdout, stderr, &ledger);
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        if let Some(proc) = self.proc.take() {
            let stdout = std::fs::read(proc.out()).unwrap_or_default();
            let stderr = proc.stderr();
            drop(proc);
            self.note(&stdout, &stderr);
        }
    }
}

/// The beginning of a long file.
fn head(path: &std::path::Path) -> Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::new();
    file.take(1 << 16).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Trace {
    /// Events in any of these namespaces.
    pub fn within(&self, spaces: &[&Netns]) -> Vec<&Event> {
        let inodes: Vec<u32> = spaces.iter().map(|n| n.inode()).collect();
        self.events.iter().filter(|e| e.netns.is_some_and(|n| inodes.contains(&n))).collect()
    }

    /// Events of this process, wherever.
    pub fn by(&self, pid: u32) -> Vec<&Event> {
        self.events.iter().filter(|e| e.pid == Some(pid)).collect()
    }

    /// Its stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}
