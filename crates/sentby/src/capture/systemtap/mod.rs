//! The SystemTap backend: a script of our own (`sentby.stp`) is made into a kernel
//! module by `stap`, here or elsewhere, and `staprun` loads it for as long as we run.
//!
//! It needs no BTF, debuginfo or bpf(2); it does need the kernel's headers and a compiler
//! where the module is made, and the right to load modules.
//!
//! Deliberately absent: AF_PACKET senders; answers to DNS queries; how the opening of a
//! connection ends; what is sent by sendfile(2), splice(2) and TCP Fast Open; owners of
//! sockets whose packets leave in interrupts (they are looked up in /proc).

pub mod build;
mod line;
mod log;
mod lower;
mod module;
mod run;
mod source;

use super::select::Selector;
use super::watch::Watch;
use super::{Backend, HookCheck, Opened, Options, Refusal, Sender, lack};
use crate::host::{self, Host};
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use build::Target;
use caps::Capability;
use module::{Folder, Owner};
use run::Run;
use source::{Maker, StapSource};
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

/// The script.
pub const SCRIPT: &str = include_str!("sentby.stp");

/// The name of its one hook.
pub const HOOK: &str = "stap";

/// The first release whose functions the script knows (`ip_finish_output(net, sk, skb)`).
const FIRST: (u32, u32) = (4, 4);

/// What it sees.
const SEES: [Sender; 3] = [Sender::Process, Sender::Kernel, Sender::Forwarded];

/// What it cannot tell.
const LACKS: [&str; 5] =
    [lack::OWNER, lack::DST_NAME, lack::OUTCOME, lack::SENDFILE, lack::FAST_OPEN];

/// The SystemTap backend.
pub struct SystemTap;

impl Backend for SystemTap {
    fn name(&self) -> &'static str {
        "systemtap"
    }

    fn hooks(&self) -> Vec<&'static str> {
        vec![HOOK]
    }

    fn is_meant(&self, options: &Options) -> bool {
        options.module.is_some()
    }

    fn slow(&self, host: &Host) -> Option<&'static str> {
        let builds = host.systemtap.module.is_none() && refusal(host).is_none();
        builds.then_some(
            "stap has to make a kernel module first, which takes 20 to 30 seconds of CPU time \
             where it has none in its cache (`sentby systemtap build` makes one ahead)",
        )
    }

    fn check(&self, host: &Host, _: &Plan) -> Vec<HookCheck> {
        let refusal = refusal(host);
        vec![HookCheck {
            name: HOOK,
            sees: SEES.to_vec(),
            payload: true,
            lacks: LACKS.to_vec(),
            refusal,
        }]
    }

    fn open(&self, host: &Host, plan: &Plan, options: &Options) -> Result<Opened> {
        if let Some(other) = options.hooks.iter().find(|h| *h != HOOK) {
            bail!("it has no hook {other}");
        }
        if let Some(refusal) = refusal(host) {
            bail!("{refusal}");
        }
        let staprun = host.systemtap.staprun.clone().context("staprun is not installed")?;
        let mut notes = vec![
            "C code of sentby's own SystemTap script runs in the kernel (guru mode; \
             `sentby systemtap script` shows it)"
                .to_owned(),
        ];
        notes.extend(module::sweep(&staprun));
        let selector = Selector::new(plan)?;
        let owner = Owner::current()?;
        let mut folder = Folder::new(owner, "-run")?;
        let built = built(host, &folder).inspect_err(|_| folder.keep())?;
        let watch = match Watch::start(host) {
            Ok(watch) => Some(watch),
            Err(why) => {
                notes.push(format!("command lines are read from /proc, late: no watch ({why})"));
                None
            }
        };
        // Before anything is captured, so that whom to follow is known.
        let maker = Maker::new(selector, watch, plan);
        let megabytes = megabytes(options.buffer_size, thread::available_parallelism());
        let run = Run::start(&staprun, &built, owner, folder, megabytes, &lower::parameters(plan))?;
        notes.extend(blind_spots(plan).map(|what| format!("not seen here: {what}")));
        let sees = Sender::wanted(plan).into_iter().filter(|s| SEES.contains(s)).collect();
        let source = Box::new(StapSource::new(run, maker));
        Ok(Opened { source, hooks: vec![(HOOK, sees)], notes })
    }
}

/// SystemTap's buffer for each CPU, which it takes in whole megabytes. Lines are text,
/// four times as long as what they say.
fn megabytes(size: usize, cpus: io::Result<NonZero<usize>>) -> usize {
    ((size.saturating_mul(4) >> 20) / cpus.map_or(1, NonZero::get)).clamp(1, 4095)
}

/// What a plan asks for and this backend cannot give.
fn blind_spots(plan: &Plan) -> impl Iterator<Item = &'static str> {
    let spots = [
        (!plan.ip_protocols.is_empty(), "senders of kind packet_socket"),
        (plan.openings, "how connecting ends"),
        (plan.names && plan.wants_payload(), "DNS answers"),
    ];
    spots.into_iter().filter(|(asked, _)| *asked).map(|(_, what)| what)
}

/// The module the user gave, or one made now.
fn built(host: &Host, folder: &Folder) -> Result<PathBuf> {
    if let Some(module) = &host.systemtap.module {
        return Ok(module.clone());
    }
    let stap = host.systemtap.stap.as_deref().context("stap is not installed")?;
    build::module(stap, &Target::default(), folder)
}

/// What the facts say against it.
fn refusal(host: &Host) -> Option<Refusal> {
    let tools = &host.systemtap;
    let built = tools.module.is_some();
    if host.pidns.is_some() {
        let why = "its pids are those of the initial pid namespace, and this is another";
        return Some(Refusal::new(why, "run it on the host"));
    }
    if !host.can(Capability::CAP_SYS_MODULE) {
        return Some(Refusal::new("CAP_SYS_MODULE is missing", "run it as root"));
    }
    if let Some(mode) = host.lockdown.as_deref().filter(|mode| *mode != "none") {
        let why = format!("lockdown ({mode}) lets no unsigned module in");
        return Some(Refusal { why, help: None });
    }
    if host::version(&host.release).is_some_and(|version| version < FIRST) {
        let why = format!("its script is for Linux {}.{} and later", FIRST.0, FIRST.1);
        return Some(Refusal { why, help: None });
    }
    if tools.staprun.is_none() {
        return Some(Refusal::new("staprun is not installed", "install systemtap-runtime"));
    }
    if !built && tools.stap.is_none() {
        let help = "install systemtap, or give a module with --module";
        return Some(Refusal::new("stap is not installed", help));
    }
    if !built && !tools.headers {
        let why = format!("no headers of {} to make a module with", host.release);
        let help = "install them, or give a module with --module (sentby systemtap build)";
        return Some(Refusal::new(why, help));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Tools;

    fn host() -> Host {
        let mut host = Host::read();
        host.pidns = None;
        host.capabilities = [Capability::CAP_SYS_MODULE].into();
        host.lockdown = None;
        host.release = "6.1.0-56-amd64".to_owned();
        let path = |p: &str| Some(PathBuf::from(p));
        host.systemtap = Tools {
            stap: path("/usr/bin/stap"),
            staprun: path("/usr/bin/staprun"),
            headers: true,
            module: None,
        };
        host
    }

    #[test]
    fn facts_decide() {
        type Change = fn(&mut Host);
        let cases: [(Change, Option<&str>); 11] = [
            (|_| (), None),
            (|h| h.lockdown = Some("none".into()), None),
            (|h| h.lockdown = Some("integrity".into()), Some("unsigned")),
            (|h| h.pidns = Some(7), Some("pid namespace")),
            (|h| h.capabilities.clear(), Some("CAP_SYS_MODULE")),
            (|h| h.release = "3.10.0-1160.el7.x86_64".into(), Some("4.4")),
            (|h| h.systemtap.staprun = None, Some("staprun")),
            (|h| h.systemtap.stap = None, Some("stap is not")),
            (|h| h.systemtap.headers = false, Some("headers")),
            (
                |h| {
                    h.systemtap.module = Some("x.ko".into());
                    (h.systemtap.stap, h.systemtap.headers) = (None, false);
                },
                None,
            ),
            (|h| h.release = "5.10".into(), None),
        ];
        for (change, expected) in cases {
            let mut host = host();
            change(&mut host);
            let why = refusal(&host).map(|r| r.to_string());
            match (expected, &why) {
                (None, None) => {}
                (Some(word), Some(why)) if why.contains(word) => {}
                _ => panic!("{expected:?} {why:?}"),
            }
        }
    }

    #[test]
    fn only_making_a_module_takes_long() {
        let mut host = host();
        assert!(SystemTap.slow(&host).is_some());
        host.systemtap.module = Some("x.ko".into());
        assert!(SystemTap.slow(&host).is_none());
        host.systemtap.module = None;
        host.systemtap.headers = false;
        assert!(SystemTap.slow(&host).is_none(), "nothing would be made");
    }

    #[test]
    fn the_buffer_is_shared_among_cpus() {
        let of = |size, cpus| megabytes(size, Ok(NonZero::new(cpus).unwrap()));
        assert_eq!((of(4 << 20, 2), of(4 << 20, 64), of(64 << 10, 1)), (8, 1, 1));
        assert_eq!((of(1 << 40, 1), megabytes(1 << 20, Err(io::Error::other("")))), (4095, 4));
    }

    #[test]
    fn what_it_cannot_see_is_said() {
        let spots = |plan: Plan| blind_spots(&plan).collect::<Vec<_>>();
        assert_eq!(spots(Plan::default()), [] as [&str; 0]);
        let plan = Plan { openings: true, names: true, ..Plan::default() };
        assert_eq!(spots(plan), ["how connecting ends", "DNS answers"]);
    }
}
