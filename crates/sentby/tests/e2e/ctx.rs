//! A trial: a case with a hook, what it needs, and the notes of what happened.

use crate::doctor::{Doctor, HookReport};
use crate::netns::Netns;
use crate::proc::Cmd;
use crate::tracer::Builder;
use anyhow::{Result, bail};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What all trials share.
pub struct Env {
    /// The program under test.
    pub bin: PathBuf,
    /// Where the built senders lie.
    pub senders: PathBuf,
    /// What this kernel allows.
    pub doctor: Doctor,
    /// Factor on packet counts (`SENTBY_E2E_SCALE`).
    pub scale: f64,
    /// Factor on time limits (`SENTBY_E2E_SLOW`).
    pub slow: f64,
    /// What fails is tried once more (`SENTBY_E2E_AGAIN`).
    pub again: bool,
    /// No heavy cases (`SENTBY_E2E_LIGHT`).
    pub light: bool,
    /// A missing tool fails a trial instead of skipping it (`SENTBY_E2E_STRICT`).
    pub strict: bool,
    /// The name of this run.
    pub tag: String,
}

/// The hook a trial runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What sentby chooses by itself.
    Auto,
    /// Every usable hook of the backend that sentby chooses, at once: nothing may be
    /// counted twice.
    All,
    /// This one alone.
    Named(String),
}

impl Hook {
    /// The value of `--hook`, if it is to be given.
    pub fn option(&self, doctor: &Doctor) -> Option<String> {
        match self {
            Hook::Auto => None,
            Hook::All => {
                Some(doctor.chosen().map(|h| h.name.as_str()).collect::<Vec<_>>().join(","))
            }
            Hook::Named(name) => Some(name.clone()),
        }
    }

    /// The hooks that may be in use.
    pub fn used<'d>(&self, doctor: &'d Doctor) -> impl Iterator<Item = &'d HookReport> {
        let name = match self {
            Hook::Named(name) => Some(name.clone()),
            Hook::Auto | Hook::All => None,
        };
        let every = name.is_some();
        let chosen = doctor.chosen().filter(move |_| !every);
        chosen.chain(doctor.usable().filter(move |h| name.as_ref() == Some(&h.name)))
    }

    /// Whether it can see `what`.
    pub fn sees(&self, doctor: &Doctor, what: &str) -> bool {
        self.used(doctor).any(|h| h.sees.iter().any(|s| s == what))
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hook::Auto => "auto",
            Hook::All => "all",
            Hook::Named(name) => name,
        })
    }
}

/// Which hooks a case runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    /// Each alone, and sentby's own choice.
    Each,
    /// As `Each`, and all of them at once.
    EachAndAll,
    /// Sentby's own choice only: what is tested does not depend on the hook.
    Auto,
    /// As `Auto`, and every other backend's hooks that read what TCP and UDP carry.
    Payload,
    /// This one: what is tested is its own.
    Only(&'static str),
}

/// A test case.
pub struct Case {
    /// Its name.
    pub name: &'static str,
    /// With which hooks it runs.
    pub hooks: Hooks,
    /// What the hook must see (process, kernel, forwarded, packet_socket).
    pub sees: &'static [&'static str],
    /// Programs that must be installed.
    pub tools: &'static [&'static str],
    /// Whether its programs are slow on an emulated CPU, and depend on no kernel.
    pub heavy: bool,
    /// Runs it.
    pub run: fn(&Ctx) -> Result<()>,
}

impl Case {
    /// A case that runs with each hook that sees processes.
    pub const fn new(name: &'static str, run: fn(&Ctx) -> Result<()>) -> Self {
        Case { name, hooks: Hooks::Each, sees: &["process"], tools: &[], heavy: false, run }
    }

    /// Chooses the hooks.
    pub const fn hooks(mut self, hooks: Hooks) -> Self {
        self.hooks = hooks;
        self
    }

    /// Names what the hook must see.
    pub const fn sees(mut self, sees: &'static [&'static str]) -> Self {
        self.sees = sees;
        self
    }

    /// Leaves it out where CPUs are slow (`SENTBY_E2E_LIGHT`).
    pub const fn heavy(mut self) -> Self {
        self.heavy = true;
        self
    }

    /// Names programs it needs.
    pub const fn tools(mut self, tools: &'static [&'static str]) -> Self {
        self.tools = tools;
        self
    }
}

/// The reason for which a trial cannot run: not a failure, but said aloud.
#[derive(Debug)]
pub struct Skip(pub String);

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skip {}

/// An error that skips the trial.
pub fn skip(why: impl Into<String>) -> anyhow::Error {
    Skip(why.into()).into()
}

/// What happened in a trial: printed if it fails.
#[derive(Clone, Default)]
pub struct Notes(Rc<RefCell<String>>);

impl Notes {
    /// Adds a run of sentby: the beginning and end of its output.
    pub fn add(&self, label: &str, stdout: &[u8], stderr: &str, ledger: &str) {
        const HEAD: usize = 40;
        const TAIL: usize = 10;
        let mut notes = self.0.borrow_mut();
        let lines: Vec<&[u8]> = stdout.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
        notes.push_str(&format!("--- {label}: {} lines\n", lines.len()));
        for (i, line) in lines.iter().enumerate() {
            if i < HEAD || i + TAIL >= lines.len() {
                let shown = &line[..line.len().min(1200)];
                notes.push_str(&format!("{}\n", shown.escape_ascii()));
            } else if i == HEAD {
                notes.push_str("…\n");
            }
        }
        let stderr = &stderr[..stderr.floor_char_boundary(4000)];
        notes.push_str(&format!("--- {label}: stderr\n{}\n", stderr.trim_end()));
        notes.push_str(&format!("--- {label}: ledger {}\n", ledger.trim_end()));
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.0.borrow().clone()
    }
}

/// A running trial.
pub struct Ctx {
    /// What all trials share.
    pub env: &'static Env,
    /// The hook it runs with.
    pub hook: Hook,
    dir: PathBuf,
    notes: Notes,
    next: Cell<u32>,
    home: RefCell<Option<PathBuf>>,
}

impl Ctx {
    /// Begins a trial, with a folder of its own.
    pub fn new(env: &'static Env, hook: Hook, name: &str) -> Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        let top = std::env::temp_dir().join(&env.tag);
        let dir = top.join(name.replace("::", "-"));
        std::fs::create_dir_all(&dir)?;
        // Other users' senders run from here.
        for made in [&top, &dir] {
            std::fs::set_permissions(made, std::fs::Permissions::from_mode(0o755))?;
        }
        Ok(Ctx {
            env,
            hook,
            dir,
            notes: Notes::default(),
            next: Cell::new(0),
            home: RefCell::default(),
        })
    }

    /// The trial's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether the trial's hooks may include this one.
    pub fn may_use(&self, hook: &str) -> bool {
        self.hook.used(&self.env.doctor).any(|h| h.name == hook)
    }

    /// What has been noted.
    pub fn notes(&self) -> Notes {
        self.notes.clone()
    }

    /// A name not used before in this trial.
    pub fn label(&self, what: &str) -> String {
        self.next.set(self.next.get() + 1);
        let base = Path::new(what).file_name().unwrap_or_default().to_string_lossy();
        format!("{}-{base}", self.next.get())
    }

    /// A name not used by anyone on this machine.
    pub fn unique(&self, what: &str) -> String {
        // Case and hook need not be in it: trials run one after the other.
        format!("{}-{}", self.env.tag, self.label(what))
    }

    /// A time limit, generous where the machine is slow.
    pub fn secs(&self, secs: u64) -> Duration {
        Duration::from_secs(secs).mul_f64(self.env.slow)
    }

    /// A number of packets, fewer where the machine is slow.
    pub fn scaled(&self, n: u64) -> u64 {
        ((n as f64 * self.env.scale) as u64).max(20.min(n))
    }

    /// A tool, by name.
    pub fn tool(&self, name: &str) -> Result<Cmd> {
        let Some(path) = find_tool(name) else {
            if self.env.strict {
                bail!("{name} is not installed");
            }
            return Err(skip(format!("{name} is not installed")));
        };
        Ok(Cmd::new(&path, &self.dir, self.label(name)))
    }

    /// One of our own senders.
    pub fn sender(&self, name: &str) -> Cmd {
        Cmd::new(&self.env.senders.join(name), &self.dir, self.label(name))
    }

    /// A program anywhere.
    pub fn program(&self, path: &Path) -> Cmd {
        Cmd::new(path, &self.dir, self.label("program"))
    }

    /// A shell script (not `-e`).
    pub fn shell(&self, script: &str) -> Cmd {
        Cmd::new(Path::new("/bin/sh"), &self.dir, self.label("sh")).args(["-c", script])
    }

    /// A new network namespace; the sender's is called `a`, or is the first.
    pub fn netns(&self, what: &str) -> Result<Netns> {
        let ns = Netns::new(self.unique(what))?;
        if what == "a" || self.home.borrow().is_none() {
            self.home.replace(Some(ns.path()));
        }
        Ok(ns)
    }

    /// Where sentby has to run to see the sender: in its namespace, for hooks that see no
    /// other.
    pub fn home(&self) -> Option<PathBuf> {
        self.lacks("netns").then(|| self.home.borrow().clone()).flatten()
    }

    /// Whether one of the trial's hooks cannot tell something.
    pub fn lacks(&self, what: &str) -> bool {
        self.hook.used(&self.env.doctor).any(|h| h.lacks.iter().any(|l| l == what))
    }

    /// Ends a trial whose hook cannot tell something, aloud.
    pub fn need(&self, what: &str) -> Result<()> {
        match self.lacks(what) {
            true => Err(skip(format!("{} lacks: {what}", self.hook))),
            false => Ok(()),
        }
    }

    /// `sentby icmp --json` with this trial's hook.
    pub fn tracer(&self) -> Builder<'_> {
        self.tracing("icmp")
    }

    /// `sentby PROTOCOL --json` with this trial's hook.
    pub fn tracing(&self, protocol: &str) -> Builder<'_> {
        Builder::new(self, protocol)
    }
}

/// Where a tool lies. Debian's own Python always: others' shims cost seconds a start.
pub fn find_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    own.into_iter()
        .chain(std::env::split_paths(&path))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
