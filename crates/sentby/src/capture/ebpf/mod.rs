//! eBPF with CO-RE, through libbpf. No BTF and no bpf() outside of this folder.

mod cgroup;
mod decode;
mod direct;
mod hooks;
mod load;
mod log;
mod lower;
mod missed;
mod softirq;
mod source;
mod starts;

#[allow(
    missing_docs,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    unused_imports,
    non_camel_case_types,
    dead_code
)]
mod skeleton {
    include!(concat!(env!("OUT_DIR"), "/sentby.skel.rs"));
}

pub use log::catch as catch_libbpf_messages;

use super::{Backend, HookCheck, Opened, Options, Sender};
use crate::host::Host;
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use direct::Functions;
use hooks::Choice;
use libbpf_rs::MapType;
use libbpf_rs::btf::Btf;
use load::{Attached, Job, LoadError};
use softirq::Signal;
use source::{EbpfSource, Transport};
use std::fs::File;

/// The eBPF backend.
pub struct Ebpf;

impl Backend for Ebpf {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn hooks(&self) -> Vec<&'static str> {
        hooks::HOOKS.iter().map(|h| h.name).collect()
    }

    fn is_meant(&self, options: &Options) -> bool {
        options.btf.is_some()
    }

    fn check(&self, host: &Host, _plan: &Plan) -> Vec<HookCheck> {
        hooks::check(host)
    }

    fn open(&self, host: &Host, plan: &Plan, options: &Options) -> Result<Opened> {
        if let Some(path) = &options.btf {
            File::open(path).with_context(|| format!("reading --btf {}", path.display()))?;
        }
        let btf = kernel_types(host, options);
        let mut attempt = Attempt {
            signal: softirq::signal(btf.as_ref()),
            // Their ids in another file than the kernel's own would be others.
            direct: btf.as_ref().filter(|_| options.btf.is_none()).and_then(Functions::find),
            ring: !options.perf_buffer && MapType::RingBuf.is_supported().unwrap_or(false),
            iterate: host.btf,
            outcomes: plan.openings,
            names: plan.names,
            usable: usable(host, options)?,
            refused: refusals(host),
            notes: Vec::new(),
        };
        loop {
            let choice =
                hooks::choose(&attempt.usable, &Sender::wanted(plan), plan.wants_payload());
            attempt.need_processes(&choice)?;
            attempt.need_payload(&choice, plan)?;
            let job = Job {
                host,
                plan,
                options,
                choice: &choice,
                signal: attempt.signal,
                direct: attempt.direct,
                ring: attempt.ring,
                iterate: attempt.iterate,
                outcomes: attempt.outcomes,
                names: attempt.names && choice.has("cgroup_skb"),
            };
            match load::attach(&job) {
                Ok(attached) => {
                    let follows = lower::follows_children(plan, host);
                    return attempt.opened(attached, choice, options, follows);
                }
                Err(e) => attempt.without(e, !options.hooks.is_empty())?,
            }
        }
    }
}

/// The types of the kernel that is traced, if they are known.
fn kernel_types(host: &Host, options: &Options) -> Option<Btf<'static>> {
    match &options.btf {
        Some(path) => Btf::from_path(path).ok(),
        None if host.btf => Btf::from_vmlinux().ok(),
        None => None,
    }
}

/// What is still believed to work; every refusal by the kernel makes it less.
struct Attempt {
    signal: Signal,
    direct: Option<Functions>,
    ring: bool,
    iterate: bool,
    outcomes: bool,
    names: bool,
    usable: Vec<&'static str>,
    refused: Vec<String>,
    notes: Vec<String>,
}

impl Attempt {
    fn need_processes(&self, choice: &Choice) -> Result<()> {
        if !choice.unseen.contains(&Sender::Process) {
            return Ok(());
        }
        bail!("no hook sees what processes send: {}", self.refused.join("; "))
    }

    /// Requests inside of TCP and UDP need a hook that can read them.
    fn need_payload(&self, choice: &Choice, plan: &Plan) -> Result<()> {
        let of_processes = choice.hooks.iter().find(|(_, s)| s.contains(&Sender::Process));
        let reads = of_processes.is_some_and(|(n, _)| hooks::by_name(n).is_some_and(|h| h.payload));
        if reads || !plan.wants_payload() {
            return Ok(());
        }
        let why = match self.refused.is_empty() {
            true => "it is not among those asked for".to_owned(),
            false => self.refused.join("; "),
        };
        bail!("what TCP and UDP carry is read by the hook cgroup_skb alone, and {why}")
    }

    /// Takes out what the kernel refused, or gives up.
    fn without(&mut self, e: LoadError, by_name: bool) -> Result<()> {
        let program = e.program.as_deref().unwrap_or_default();
        if self.iterate && program == "open_sockets" {
            self.iterate = false;
            self.notes.push(format!(
                "sockets opened before now are looked up in /proc instead ({:#})",
                e.error
            ));
            return Ok(());
        }
        if self.outcomes && program == "sock_state" {
            self.outcomes = false;
            self.notes.push(format!("how connecting ends is not told ({:#})", e.error));
            return Ok(());
        }
        if self.names && program == "answers_cgroup" && self.direct.is_none() {
            self.names = false;
            self.notes.push(format!("DNS answers are not seen ({:#})", e.error));
            return Ok(());
        }
        // A verifier that does not take the loads takes the helper.
        if !program.is_empty() && !e.forbidden() && self.direct.take().is_some() {
            return Ok(());
        }
        let hook = hooks::HOOKS.iter().find(|h| h.programs.contains(&program));
        let Some(hook) = hook.filter(|h| self.usable.contains(&h.name)) else {
            return Err(e.error.context("loading the BPF programs"));
        };
        let refusal = format!("{}: {:#}", hook.name, e.error);
        if by_name {
            bail!("the hook {refusal}");
        }
        self.usable.retain(|n| *n != hook.name);
        self.refused.push(refusal.clone());
        self.notes.push(format!("the kernel refused the hook {refusal}"));
        Ok(())
    }

    fn opened(
        mut self,
        attached: Attached,
        choice: Choice,
        options: &Options,
        follows: bool,
    ) -> Result<Opened> {
        let Attached { skel, links, notes } = attached;
        self.notes.extend(notes);
        for sender in &choice.unseen {
            self.notes.push(format!("not seen here: senders of kind {}", sender.name()));
        }
        let names = choice.hooks.iter().map(|(n, _)| *n).collect();
        let transport = match self.ring {
            true => Transport::Ring,
            false => Transport::Perf { size: options.buffer_size },
        };
        let source = EbpfSource::new(skel, links, names, transport, follows)?;
        Ok(Opened { source: Box::new(source), hooks: choice.hooks, notes: self.notes })
    }
}

/// The hooks the facts do not speak against, among those asked for by name.
fn usable(host: &Host, options: &Options) -> Result<Vec<&'static str>> {
    let checks = hooks::check(host);
    for name in &options.hooks {
        let Some(check) = checks.iter().find(|c| c.name == name) else {
            bail!("it has no hook {name}");
        };
        if let Some(refusal) = &check.refusal {
            bail!("the hook {name} cannot be used: {refusal}");
        }
    }
    let asked = |name: &str| options.hooks.is_empty() || options.hooks.iter().any(|h| h == name);
    let fine = checks.iter().filter(|c| c.refusal.is_none() && asked(c.name));
    Ok(fine.map(|c| c.name).collect())
}

/// What the facts say against each hook. One reason that holds for all is said once.
fn refusals(host: &Host) -> Vec<String> {
    let mut said: Vec<String> = Vec::new();
    for check in hooks::check(host) {
        if let Some(refusal) = check.refusal {
            let text = refusal.to_string();
            if !said.contains(&text) {
                said.push(text);
            }
        }
    }
    said
}
