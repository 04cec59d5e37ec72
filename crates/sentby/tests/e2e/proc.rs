//! Programs the harness starts: in a network namespace, with their output in files,
//! always waited for with a deadline, always killed at the end.

use anyhow::{Context, Result, bail, ensure};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How often a condition is looked at while waiting for it.
pub const POLL: Duration = Duration::from_millis(2);

/// Exit status of a sender whose kernel lacks what it needs (tests/senders/common.h).
pub const EXIT_UNSUPPORTED: i32 = 77;

/// Looks until `look` finds something, or until `limit` is over.
pub fn poll<T>(limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let end = Instant::now() + limit;
    loop {
        // The last look comes after the deadline, so that a late wake-up is no failure.
        let over = Instant::now() >= end;
        if let Some(found) = look()? {
            return Ok(Some(found));
        }
        if over {
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// A program to be started.
pub struct Cmd {
    program: PathBuf,
    argv: Vec<OsString>,
    netns: Option<OwnedFd>,
    env: Vec<(&'static str, OsString)>,
    stdin: bool,
    stdout: Option<Stdio>,
    uid: Option<u32>,
    dir: PathBuf,
    label: String,
}

impl Cmd {
    /// `program` as a path; its output goes to files `label.out` and `label.err` in `dir`.
    pub fn new(program: &Path, dir: &Path, label: String) -> Self {
        Cmd {
            program: program.to_owned(),
            argv: vec![program.as_os_str().to_owned()],
            netns: None,
            env: Vec::new(),
            stdin: false,
            stdout: None,
            uid: None,
            dir: dir.to_owned(),
            label,
        }
    }

    /// Adds arguments, of any bytes.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.argv.extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Its arguments so far, with its own name.
    pub fn argv(&self) -> &[OsString] {
        &self.argv
    }

    /// The executable that its path leads to.
    pub fn exe(&self) -> PathBuf {
        self.program.canonicalize().unwrap_or_else(|_| self.program.clone())
    }

    /// Adds one argument.
    pub fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    /// Calls itself something else than its path.
    pub fn arg0(mut self, arg0: impl AsRef<OsStr>) -> Self {
        arg0.as_ref().clone_into(&mut self.argv[0]);
        self
    }

    /// Runs in this network namespace.
    pub fn in_ns(mut self, ns: &crate::netns::Netns) -> Result<Self> {
        self.netns = Some(ns.fd()?);
        Ok(self)
    }

    /// Runs in the network namespace of this file, unless another was chosen.
    pub fn in_ns_unless_chosen(mut self, ns: &Path) -> Result<Self> {
        if self.netns.is_none() {
            self.netns = Some(File::open(ns)?.into());
        }
        Ok(self)
    }

    /// Gets a pipe for [`Proc::say`].
    pub fn with_stdin(mut self) -> Self {
        self.stdin = true;
        self
    }

    /// Sends its stdout elsewhere than into a file.
    pub fn stdout(mut self, to: Stdio) -> Self {
        self.stdout = Some(to);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &'static str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name, value.as_ref().to_owned()));
        self
    }

    /// Runs as another user (without capabilities).
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Result<Proc> {
        let out = self.dir.join(format!("{}.out", self.label));
        let err = self.dir.join(format!("{}.err", self.label));
        let mut command = Command::new(&self.program);
        command
            .arg0(&self.argv[0])
            .args(&self.argv[1..])
            .stdin(if self.stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(match self.stdout.take() {
                Some(stdout) => stdout,
                None => File::create(&out)?.into(),
            })
            .stderr(File::create(&err)?);
        for (name, value) in &self.env {
            command.env(name, value);
        }
        // `Command::uid` would come too early: setns needs root.
        let (netns, uid) = (self.netns.take(), self.uid);
        let enter = move || {
            if let Some(ns) = &netns {
                crate::netns::enter(ns)?;
            }
            if let Some(uid) = uid {
                become_user(uid)?;
            }
            // SAFETY: integers only.
            unsafe { libc::setpgid(0, 0) };
            // Nothing outlives the harness, even when that is killed. (Programs with
            // file capabilities lose this at exec; their namespaces go all the same.)
            // SAFETY: PR_SET_PDEATHSIG takes an integer, no pointers.
            unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
            Ok(())
        };
        // SAFETY: between fork and exec the closure makes a few system calls and
        // allocates nothing.
        unsafe { command.pre_exec(enter) };
        let child = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
        Ok(Proc { exe: self.exe(), argv: self.argv, child, out, err, status: None })
    }

    /// Starts it, waits for its end, and wants it to have succeeded.
    pub fn run(self, limit: Duration) -> Result<Done> {
        self.spawn()?.wait_ok(limit)
    }
}

/// A running program; killed when dropped.
pub struct Proc {
    argv: Vec<OsString>,
    exe: PathBuf,
    child: Child,
    out: PathBuf,
    err: PathBuf,
    status: Option<ExitStatus>,
}

/// A program that has ended.
pub struct Done {
    /// Its process id.
    pub pid: u32,
    /// How it ended.
    pub status: ExitStatus,
    /// Its arguments, with its own name.
    pub argv: Vec<Vec<u8>>,
    /// Its executable.
    pub exe: PathBuf,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it complained about.
    pub stderr: Vec<u8>,
}

impl Done {
    /// Its stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its stderr as text.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The number after `word` in what it wrote (senders say `tid 17`).
    pub fn number(&self, word: &str) -> Result<u32> {
        let text = self.text();
        let mut words = text.split_whitespace();
        words
            .find(|w| *w == word)
            .and_then(|_| words.next())
            .and_then(|n| n.parse().ok())
            .with_context(|| format!("no `{word} N` in {text:?}"))
    }
}

impl Proc {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its arguments, with its own name.
    pub fn argv(&self) -> Vec<Vec<u8>> {
        self.argv.iter().map(|a| a.clone().into_vec()).collect()
    }

    /// Its executable.
    pub fn exe(&self) -> &Path {
        &self.exe
    }

    /// The file its stdout goes to.
    pub fn out(&self) -> &Path {
        &self.out
    }

    /// What it has complained about so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.err).unwrap_or_default()).into_owned()
    }

    /// Its end of a piped stdout.
    pub fn take_stdout(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    /// Writes a line to its stdin.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("started without a stdin")?;
        writeln!(stdin, "{line}").context("write to the program's stdin")
    }

    /// Ends its stdin.
    pub fn hang_up(&mut self) {
        self.child.stdin = None;
    }

    /// Waits until its stdout holds `word`.
    pub fn await_output(&mut self, word: &str, limit: Duration) -> Result<()> {
        self.await_outputs(word, 1, limit)
    }

    /// Waits until its stdout holds `word` a number of times.
    pub fn await_outputs(&mut self, word: &str, times: usize, limit: Duration) -> Result<()> {
        let found = poll(limit, || {
            let out = std::fs::read(&self.out)?;
            if out.windows(word.len()).filter(|w| *w == word.as_bytes()).count() >= times {
                return Ok(Some(true));
            }
            Ok(self.try_wait()?.map(|_| false))
        })?;
        match found {
            Some(true) => Ok(()),
            Some(false) if self.status.and_then(|s| s.code()) == Some(EXIT_UNSUPPORTED) => {
                Err(crate::ctx::skip("this kernel lacks what the sender needs"))
            }
            Some(false) => bail!(
                "{} ended ({:?}) without saying {word:?}: {}",
                self.name(),
                self.status,
                self.stderr()
            ),
            None => bail!("{} did not say {word:?} {times} times in {limit:?}", self.name()),
        }
    }

    /// Waits until its network namespace has a TCP socket that listens on `port`.
    pub fn await_listening(&mut self, port: u16, limit: Duration) -> Result<()> {
        // sport 0.0.0.0 or ::, no peer, state LISTEN (proc_pid_net(5)).
        let socket = format!("0:{port:04X} ");
        let found = poll(limit, || {
            if let Some(status) = self.try_wait()? {
                bail!("{} ended ({status}): {}", self.name(), self.stderr());
            }
            let listens = ["tcp", "tcp6"].iter().any(|table| {
                let table = format!("/proc/{}/net/{table}", self.child.id());
                let sockets = std::fs::read_to_string(table).unwrap_or_default();
                sockets.lines().any(|l| l.contains(&socket) && l.contains(" 0A "))
            });
            Ok(listens.then_some(()))
        })?;
        found.with_context(|| format!("{} does not listen on {port}", self.name()))
    }

    /// Says a line and waits for the answer that holds `word`.
    pub fn ask(&mut self, line: &str, word: &str, limit: Duration) -> Result<()> {
        self.say(line)?;
        self.await_output(word, limit)
    }

    /// Its status, if it has ended.
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Sends it a signal (only ever to a child that has not been reaped).
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        ensure!(self.try_wait()?.is_none(), "{} has already ended", self.name());
        // SAFETY: kill takes no pointers; the pid is that of our own unreaped child.
        let failed = unsafe { libc::kill(self.child.id() as i32, signal) } != 0;
        ensure!(!failed, "kill: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Waits for its end, however it ends.
    pub fn wait(mut self, limit: Duration) -> Result<Done> {
        self.wait_mut(limit)
    }

    /// As [`Proc::wait`], for those who keep the guard.
    pub fn wait_mut(&mut self, limit: Duration) -> Result<Done> {
        self.hang_up();
        let Some(status) = poll(limit, || self.try_wait())? else {
            bail!("{} did not end in {limit:?}: {}", self.name(), self.stderr());
        };
        Ok(Done {
            pid: self.child.id(),
            status,
            argv: self.argv(),
            exe: self.exe.clone(),
            stdout: std::fs::read(&self.out).unwrap_or_default(),
            stderr: std::fs::read(&self.err).unwrap_or_default(),
        })
    }

    /// Waits for its end and wants success.
    pub fn wait_ok(mut self, limit: Duration) -> Result<Done> {
        let done = self.wait_mut(limit)?;
        if done.status.code() == Some(EXIT_UNSUPPORTED) {
            return Err(crate::ctx::skip("this kernel lacks what the sender needs"));
        }
        ensure!(
            done.status.success(),
            "{} failed ({}): {}{}",
            self.name(),
            done.status,
            done.errors(),
            done.text()
        );
        Ok(done)
    }

    /// Interrupts it (as Ctrl-C would) and waits for its end.
    pub fn interrupt(mut self, limit: Duration) -> Result<Done> {
        if self.try_wait()?.is_none() {
            self.signal(libc::SIGINT)?;
        }
        self.wait_mut(limit)
    }

    fn name(&self) -> String {
        let line: Vec<_> = self
            .argv
            .iter()
            .take(12)
            .map(|a| String::from_utf8_lossy(&a.as_bytes()[..a.len().min(60)]).into_owned())
            .collect();
        format!("`{}` (pid {})", line.join(" "), self.child.id())
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        if let Ok(None) = self.try_wait() {
            // With what it has started: a server's workers, say.
            // SAFETY: integers only; the leader was not waited for, so the group is ours.
            let _ = unsafe { libc::kill(-(self.child.id() as i32), libc::SIGKILL) };
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Gives up root for good. Safe between fork and exec.
fn become_user(uid: u32) -> std::io::Result<()> {
    // SAFETY: no groups, so that the pointer is not looked at.
    let groups = unsafe { libc::setgroups(0, std::ptr::null()) };
    // SAFETY: integers only.
    let gid = unsafe { libc::setgid(uid) };
    // SAFETY: integers only.
    let uid = unsafe { libc::setuid(uid) };
    match groups | gid | uid {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// Whether it was a signal that ended it.
pub fn killed_by(status: ExitStatus) -> Option<i32> {
    status.signal()
}
