//! Loads and attaches what was chosen, in the order that leaves no gap: what knows
//! owners first, then the sockets that are open already, then the hooks that capture.

use super::direct::Functions;
use super::hooks::{self, Choice};
use super::lower::{follows_children, lower};
use super::skeleton::{OpenSentbySkel, SentbySkel, SentbySkelBuilder, types::sentby_signal};
use super::softirq::Signal;
use super::{cgroup, log, starts};
use crate::capture::Options;
use crate::host::Host;
use crate::plan::Plan;
use anyhow::{Context, Result, anyhow};
use libbpf_rs::skel::{OpenSkel, Skel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, ProgramMut};
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

/// BPF_LOG_STATS (include/linux/bpf_verifier.h).
const VERIFIER_STATS: u32 = 4;

/// Everything that stays alive while tracing.
pub struct Attached {
    /// The loaded object.
    pub skel: SentbySkel<'static>,
    /// In the order of attaching.
    pub links: Vec<Link>,
    /// What the user may want to know.
    pub notes: Vec<String>,
}

/// Why loading failed, and which part of it did, if that is known.
#[derive(Debug)]
pub struct LoadError {
    /// Program that the kernel refused.
    pub program: Option<String>,
    /// What happened.
    pub error: anyhow::Error,
}

impl LoadError {
    /// Whether the kernel forbids such a program as such, whatever is in it.
    pub fn forbidden(&self) -> bool {
        self.error.to_string().contains("-EPERM")
    }
}

/// What to load.
pub struct Job<'a> {
    /// Facts.
    pub host: &'a Host,
    /// What the user wants.
    pub plan: &'a Plan,
    /// The user's decisions about capturing.
    pub options: &'a Options,
    /// Hooks and what they answer for.
    pub choice: &'a Choice,
    /// How softirq is told from task context.
    pub signal: Signal,
    /// How programs read the kernel by plain loads, where they can.
    pub direct: Option<Functions>,
    /// Whether to use the BPF ring buffer.
    pub ring: bool,
    /// Whether to look for sockets that are open already.
    pub iterate: bool,
    /// Whether to look at the ends of openings.
    pub outcomes: bool,
    /// Whether to look at what comes in for the names of destinations.
    pub names: bool,
}

/// Loads and attaches.
pub fn attach(job: &Job<'_>) -> Result<Attached, LoadError> {
    log::clear();
    let unnamed = |error| LoadError { program: None, error };
    let open = open(job).map_err(unnamed)?;
    let skel = open.load().map_err(|e| LoadError {
        program: log::failed_program(),
        error: anyhow!("{}", log::reason().unwrap_or_else(|| e.to_string())),
    })?;
    let mut attached = Attached { skel, links: Vec::new(), notes: Vec::new() };
    if job.signal.kind == sentby_signal::SENTBY_SIGNAL_FLAG {
        attached.attach_all(&["softirq_entry", "softirq_exit"])?;
    }
    if follows_children(job.plan, job.host) {
        attached.attach_all(&["process_fork", "process_free"])?;
        follow(&attached.skel, &job.plan.pids.0).map_err(unnamed)?;
    }
    if job.iterate {
        attached.remember_open_sockets()?;
    }
    if job.outcomes {
        attached.attach_cgroup(job.host, &["sock_state"])?;
    }
    if job.names {
        attached.attach_cgroup(job.host, &["answers_cgroup"])?;
    }
    for (name, _) in &job.choice.hooks {
        let hook = hooks::by_name(name).ok_or_else(|| unnamed(anyhow!("no hook {name}")))?;
        if hook.name == "cgroup_skb" {
            attached.attach_cgroup(job.host, hook.programs)?;
        } else {
            attached.attach_all(hook.programs)?;
        }
    }
    Ok(attached)
}

fn open(job: &Job<'_>) -> Result<OpenSentbySkel<'static>> {
    let mut builder = SentbySkelBuilder::default();
    if let Some(path) = &job.options.btf {
        builder
            .obj_builder
            .btf_custom_path(path)
            .with_context(|| format!("using {} as the kernel's BTF", path.display()))?;
    }
    // A few bytes that live as long as the process; the object inside is dropped
    // with the skeleton.
    let storage = Box::leak(Box::new(MaybeUninit::uninit()));
    let mut skel = builder.open(storage).context("reading the built-in BPF object")?;
    if let Some(rodata) = skel.maps.rodata_data.as_deref_mut() {
        rodata.plan = lower(job.plan, job.host, job.choice, job.signal, job.ring);
        rodata.plan.names = u32::from(job.names);
        rodata.plan.direct = u32::from(job.direct.is_some());
        rodata.stream_starts = starts::lower(&job.plan.streams)?;
        rodata.datagram_starts = starts::lower(&job.plan.datagrams)?;
    }
    skel.maps.ring.set_autocreate(job.ring)?;
    skel.maps.perf.set_autocreate(!job.ring)?;
    skel.maps.scratches.set_autocreate(!job.ring)?;
    skel.maps.streams.set_autocreate(!job.plan.streams.is_empty())?;
    let size = job.options.buffer_size.next_power_of_two().max(4096);
    skel.maps.ring.set_max_entries(u32::try_from(size).context("--buffer-size is too large")?)?;
    let wanted = wanted_programs(job);
    for mut program in skel.open_object_mut().progs_mut() {
        let load = wanted.iter().any(|w| program.name() == *w);
        program.set_autoload(load);
        if let (true, Some(functions)) = (load, job.direct) {
            functions.put_into(&mut program)?;
        }
        if job.options.verifier_stats {
            program.set_log_level(VERIFIER_STATS);
        }
    }
    Ok(skel)
}

fn wanted_programs(job: &Job<'_>) -> Vec<&'static str> {
    let mut wanted = Vec::new();
    if job.signal.kind == sentby_signal::SENTBY_SIGNAL_FLAG {
        wanted.extend(["softirq_entry", "softirq_exit"]);
    }
    if follows_children(job.plan, job.host) {
        wanted.extend(["process_fork", "process_free"]);
    }
    if job.iterate {
        wanted.push("open_sockets");
    }
    if job.outcomes {
        wanted.push("sock_state");
    }
    if job.names {
        wanted.push("answers_cgroup");
    }
    for (name, _) in &job.choice.hooks {
        wanted.extend(hooks::by_name(name).map(|h| h.programs).unwrap_or_default());
    }
    wanted
}

impl Attached {
    fn with<T>(
        &mut self,
        name: &str,
        attach: impl FnOnce(&ProgramMut<'_>) -> Result<T>,
    ) -> Result<T, LoadError> {
        log::clear();
        let failed = |error| LoadError { program: Some(name.to_owned()), error };
        let mut programs = self.skel.object_mut().progs_mut();
        let program = programs
            .find(|p| p.name() == name)
            .ok_or_else(|| failed(anyhow!("the built-in BPF object has no program {name}")))?;
        attach(&program).map_err(failed)
    }

    fn attach_all(&mut self, programs: &[&str]) -> Result<(), LoadError> {
        for name in programs {
            let link = self.with(name, |p| {
                p.attach().map_err(|e| anyhow!("{}", log::reason().unwrap_or(e.to_string())))
            })?;
            self.links.push(link);
        }
        Ok(())
    }

    fn attach_cgroup(&mut self, host: &Host, programs: &[&str]) -> Result<(), LoadError> {
        for name in programs {
            let link = self.with(name, |p| {
                let root = cgroup::root(host)?;
                // A link, so that the kernel detaches it when we die (Linux 5.7).
                p.attach_cgroup(root.as_raw_fd())
                    .map_err(|e| anyhow!("{}", log::reason().unwrap_or(e.to_string())))
            })?;
            self.links.push(link);
        }
        Ok(())
    }

    /// Runs the iterator over all open files once and forgets it.
    fn remember_open_sockets(&mut self) -> Result<(), LoadError> {
        self.with("open_sockets", |p| {
            let link = p.attach().context("attaching the iterator over open files")?;
            let mut nothing = Vec::new();
            libbpf_rs::Iter::new(&link)
                .context("starting the iterator over open files")?
                .read_to_end(&mut nothing)
                .context("reading the iterator over open files")?;
            Ok(())
        })
    }
}

/// Enters processes and the descendants they have already. Twice: a child that was
/// forked while /proc was read is either followed by the hook or found now.
fn follow(skel: &SentbySkel<'static>, pids: &[u32]) -> Result<()> {
    let one = 1u32.to_ne_bytes();
    for _ in 0..2 {
        for pid in crate::enrich::descendants(pids) {
            skel.maps
                .tracked
                .update(&pid.to_ne_bytes(), &one, MapFlags::ANY)
                .context("entering a process to follow")?;
        }
    }
    Ok(())
}
