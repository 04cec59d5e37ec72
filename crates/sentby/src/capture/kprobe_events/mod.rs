//! Kprobes defined through ftrace and read through perf: for kernels that have no eBPF,
//! or do not allow it, from 3.10 on. No compiler, headers, debug information or module.
//!
//! Offsets of what is read are found by looking ([`calibrate`]), kept for the kernel's
//! build ([`cache`]), or given (`--offsets`); a layout that does not explain known
//! packets byte for byte is not used.

mod cache;
mod calibrate;
mod clock;
mod decode;
mod layout;
mod path;
mod probes;
mod ring;
mod sends;
mod source;
mod tasks;
mod tracefs;

use super::watch::Watch;
use super::{Backend, HookCheck, Opened, Options, Refusal, Sender, lack};
use crate::host::{self, Host};
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use calibrate::Found;
use caps::Capability;
use probes::Spec;
use source::KprobeSource;
use tracefs::{Owner, Tracefs};

/// The function that every IPv4 packet of this machine passes on its way out.
const FUNCTION4: &str = "ip_finish_output";

/// Its IPv6 twin.
const FUNCTION6: &str = "ip6_finish_output";

/// The function that all goes through what is sent over TCP, but for files.
const FUNCTION_SEND: &str = "tcp_sendmsg";

/// The hook for packets.
const PACKETS: &str = "kprobe_ip_finish_output";

/// The hook for what TCP carries.
const SENDS: &str = "kprobe_tcp_sendmsg";

/// `common_flags` of a record (`TRACE_FLAG_HARDIRQ`, `TRACE_FLAG_SOFTIRQ`,
/// `TRACE_FLAG_NMI` in include/linux/trace_events.h): not in thread context.
const INTERRUPT: u8 = 0x08 | 0x10 | 0x40;

/// Whether a record's flags say that it was made in an interrupt.
fn interrupt(flags: u8) -> bool {
    flags & INTERRUPT != 0
}

/// What neither hook tells.
const LACKS: [&str; 4] = [lack::OWNER, lack::SOCKET, lack::START_NS, lack::DST_NAME];

/// Beside these, of packets.
const PACKETS_LACK: [&str; 4] =
    [lack::OUTCOME, lack::SEGMENTS, lack::FORWARDED, lack::KERNEL_SOCKETS];

/// Beside these, of what TCP carries: which way it goes, and what is behind the first
/// bytes, or was sent by other functions.
const SENDS_LACK: [&str; 5] =
    [lack::IFACE, lack::LEN, lack::BEYOND_672_BYTES, lack::SENDFILE, lack::FAST_OPEN];

/// The first release whose functions and filters were tried.
const FIRST: (u32, u32) = (3, 10);

/// The backend.
pub struct KprobeEvents;

impl Backend for KprobeEvents {
    fn name(&self) -> &'static str {
        "kprobe-events"
    }

    fn hooks(&self) -> Vec<&'static str> {
        vec![PACKETS, SENDS]
    }

    fn is_meant(&self, options: &Options) -> bool {
        options.offsets.is_some()
    }

    fn check(&self, host: &Host, _plan: &Plan) -> Vec<HookCheck> {
        let lacks = |own: &[&'static str]| [&LACKS, own].concat();
        let packets = HookCheck {
            name: PACKETS,
            sees: vec![Sender::Process, Sender::Kernel],
            payload: false,
            lacks: lacks(&PACKETS_LACK),
            refusal: refuse(host),
        };
        let sends = HookCheck {
            name: SENDS,
            sees: vec![],
            payload: true,
            lacks: lacks(&SENDS_LACK),
            refusal: refuse(host),
        };
        vec![packets, sends]
    }

    fn open(&self, host: &Host, plan: &Plan, options: &Options) -> Result<Opened> {
        if let Some(refusal) = refuse(host) {
            bail!("{refusal}");
        }
        let root = host.tracefs.as_ref().context("tracefs is not mounted")?;
        let tracefs = Tracefs::open(root, &Owner::this()?)?;
        let mut notes = Vec::new();
        match tracefs.sweep()? {
            0 => {}
            n => notes.push(format!("removed {n} probes that a killed sentby had left")),
        }
        let found = cache::layout(&tracefs, options.offsets.as_deref())?;
        let specs = specs(&found, plan, &options.hooks)?;
        let packets = specs.iter().filter(|s| s.hook == PACKETS).count();
        if packets == 1 {
            notes.push("not seen here: IPv6 (this kernel has none, or none that was found)".into());
        }
        let watch = match Watch::start(host) {
            Ok(watch) => Some(watch),
            Err(why) => {
                notes.push(format!("command lines are read from /proc, late: no watch ({why})"));
                None
            }
        };
        let source = KprobeSource::open(&tracefs, &specs, plan, watch, options.buffer_size)?;
        let mut senders = Sender::wanted(plan);
        if senders.contains(&Sender::PacketSocket) {
            senders.retain(|s| *s != Sender::PacketSocket);
            notes.push("not seen here: senders of kind packet_socket".to_owned());
        }
        let mut hooks = Vec::new();
        for spec in &specs {
            if !hooks.iter().any(|(hook, _)| *hook == spec.hook) {
                hooks.push((spec.hook, senders.clone()));
            }
        }
        Ok(Opened { source: Box::new(source), hooks, notes })
    }
}

/// The probes for a plan, each at the one hook that can; fails where that is not among
/// those asked for, or the layout does not tell.
fn specs(found: &Found, plan: &Plan, hooks: &[String]) -> Result<Vec<Spec>> {
    let layout = &found.layout;
    let may = |hook: &str| hooks.is_empty() || hooks.iter().any(|h| h == hook);
    let sends = if plan.streams.is_empty() { Vec::new() } else { sends::specs(layout) };
    let packets = probes::packets(layout, plan);
    let (no_packets, no_sends) = (packets.is_empty(), sends.is_empty());
    if !plan.streams.is_empty() && (no_sends || !may(SENDS)) {
        let why = match &found.no_sends {
            Some(why) => format!("it is not usable here: {why}"),
            None if no_sends => "it is not usable here".to_owned(),
            None => "it is not among those asked for".to_owned(),
        };
        bail!("what TCP carries is read by the hook {SENDS} alone, and {why}");
    }
    if !plan.ip_protocols.is_empty() && no_packets {
        bail!("packets are seen by the hook {PACKETS} alone, and it is not usable here");
    }
    let all = packets.into_iter().filter(|_| may(PACKETS)).chain(sends);
    let all: Vec<Spec> = all.collect();
    if all.is_empty() {
        bail!("nothing that is asked for is seen by {}", hooks.join(", "));
    }
    Ok(all)
}

/// Why a kernel is known to be bad for this backend, by its release.
///
/// Kernels of el7 before 3.10.0-1160.76 may oops when a *uprobe* is defined in tracefs. That
/// is no reason against them, as none is defined here. `string` arguments above 2 KB lose
/// records there without a count: only words are fetched. What is left are kernels that
/// nobody has tried, on which a mistake would be the host's.
fn bad(release: &str) -> Option<String> {
    let (major, minor) = FIRST;
    host::version(release)
        .filter(|version| *version < FIRST)
        .map(|_| format!("tried on Linux {major}.{minor} and later only, and {release} is older"))
}

/// What the facts alone say against it.
fn refuse(host: &Host) -> Option<Refusal> {
    if !cfg!(target_pointer_width = "64") {
        return Some(Refusal { why: "kernels of 64 bits only".to_owned(), help: None });
    }
    if let Some(why) = bad(&host.release) {
        return Some(Refusal { why, help: None });
    }
    if let Some(mode @ "confidentiality") = host.lockdown.as_deref() {
        return Some(Refusal::new(
            format!("the kernel is locked down ({mode}): no kprobes, no perf"),
            "boot with lockdown=integrity or less",
        ));
    }
    if !host.can(Capability::CAP_SYS_ADMIN) {
        return Some(Refusal::new(
            "defining kprobes and listening to every CPU needs CAP_SYS_ADMIN",
            "run it as root, e.g. with sudo",
        ));
    }
    let Some(root) = &host.tracefs else {
        return Some(Refusal::new(
            "tracefs is not mounted",
            "mount -t tracefs tracefs /sys/kernel/tracing (before Linux 4.1: \
             mount -t debugfs debugfs /sys/kernel/debug)",
        ));
    };
    if !host.kprobe_events {
        return Some(Refusal {
            why: format!(
                "{} has no kprobe_events: this kernel was built without CONFIG_KPROBE_EVENTS",
                root.display()
            ),
            help: None,
        });
    }
    None
}

#[cfg(test)]
mod tests {
    use super::layout::Layout;
    use super::*;

    #[test]
    fn kernels_known_to_be_bad_are_refused_and_others_are_not() {
        let fine = ["3.10.0-514.el7.x86_64", "3.10.0-1160.el7.x86_64", "4.14.1", "7.2.13", ""];
        assert!(fine.iter().all(|release| bad(release).is_none()));
        for old in ["2.6.32-754.el6.x86_64", "3.9.11"] {
            assert!(bad(old).unwrap().contains(old));
        }
    }

    /// What is said of el7's kernels rests on this.
    #[test]
    fn no_uprobe_is_ever_defined() {
        let all =
            [include_str!("tracefs.rs"), include_str!("source.rs"), include_str!("probes.rs")];
        assert!(all.iter().all(|source| !source.contains("uprobe_events")));
    }

    #[test]
    fn that_sends_are_not_found_has_a_reason() {
        let found = Found { layout: Layout::default(), no_sends: Some("two places".into()) };
        let plan = Plan { streams: vec![&[]], ..Plan::default() };
        let why = specs(&found, &plan, &[]).unwrap_err().to_string();
        assert!(why.ends_with("not usable here: two places"), "{why}");
    }

    #[test]
    fn softirq_hardirq_and_nmi_are_interrupts() {
        for (flags, yes) in [(0, false), (1, false), (4, false), (8, true), (0x10, true)] {
            assert_eq!(interrupt(flags), yes, "{flags}");
        }
        assert!(interrupt(0x41) && !interrupt(0x80), "0x80: interrupts are only held off");
    }
}
