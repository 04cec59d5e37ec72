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
mod source;
mod tasks;
mod tracefs;

use super::{Backend, HookCheck, Opened, Options, Refusal, Sender};
use crate::host::Host;
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use caps::Capability;
use source::KprobeSource;
use tracefs::{Owner, Tracefs};

/// The function that every IPv4 packet of this machine passes on its way out.
const FUNCTION4: &str = "ip_finish_output";

/// Its IPv6 twin.
const FUNCTION6: &str = "ip6_finish_output";

/// The hook for packets.
const PACKETS: &str = "kprobe_ip_finish_output";

/// `common_flags` of a record (`TRACE_FLAG_HARDIRQ`, `TRACE_FLAG_SOFTIRQ`,
/// `TRACE_FLAG_NMI` in include/linux/trace_events.h): not in thread context.
const INTERRUPT: u8 = 0x08 | 0x10 | 0x40;

/// Whether a record's flags say that it was made in an interrupt.
fn interrupt(flags: u8) -> bool {
    flags & INTERRUPT != 0
}

/// What this backend cannot know, of its packets.
const PACKETS_LACK: &[&str] =
    &["owner", "procfs", "shared", "dst_name", "outcome", "tcp_payload", "short_lived_processes"];

/// The backend.
pub struct KprobeEvents;

impl Backend for KprobeEvents {
    fn name(&self) -> &'static str {
        "kprobe-events"
    }

    fn hooks(&self) -> Vec<&'static str> {
        vec![PACKETS]
    }

    fn check(&self, host: &Host, _plan: &Plan) -> Vec<HookCheck> {
        vec![HookCheck {
            name: PACKETS,
            sees: vec![Sender::Process, Sender::Kernel, Sender::Forwarded],
            payload: false,
            lacks: PACKETS_LACK.to_vec(),
            refusal: refuse(host),
        }]
    }

    fn open(&self, host: &Host, plan: &Plan, options: &Options) -> Result<Opened> {
        if let Some(refusal) = refuse(host) {
            bail!("{refusal}");
        }
        if !plan.streams.is_empty() {
            bail!("what TCP carries is not read by {PACKETS}");
        }
        let root = host.tracefs.as_ref().context("tracefs is not mounted")?;
        let tracefs = Tracefs::open(root, &Owner::this()?)?;
        let mut notes = Vec::new();
        match tracefs.sweep()? {
            0 => {}
            n => notes.push(format!("removed {n} probes that a killed sentby had left")),
        }
        let layout = cache::layout(&tracefs, options.offsets.as_deref())?;
        let specs = probes::packets(&layout, plan);
        if !specs.iter().any(|s| s.function == FUNCTION6) {
            notes.push("not seen here: IPv6 (this kernel has none, or none that was found)".into());
        }
        let source = KprobeSource::open(&tracefs, &specs, plan, options.buffer_size)?;
        let mut senders = Sender::wanted(plan);
        if senders.contains(&Sender::PacketSocket) {
            senders.retain(|s| *s != Sender::PacketSocket);
            notes.push("not seen here: senders of kind packet_socket".to_owned());
        }
        Ok(Opened { source: Box::new(source), hooks: vec![(PACKETS, senders)], notes })
    }
}

/// What the facts alone say against it.
fn refuse(host: &Host) -> Option<Refusal> {
    if !cfg!(target_pointer_width = "64") {
        return Some(Refusal { why: "kernels of 64 bits only".to_owned(), help: None });
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
    use super::*;

    #[test]
    fn softirq_hardirq_and_nmi_are_interrupts() {
        for (flags, yes) in [(0, false), (1, false), (4, false), (8, true), (0x10, true)] {
            assert_eq!(interrupt(flags), yes, "{flags}");
        }
        assert!(interrupt(0x41) && !interrupt(0x80), "0x80: interrupts are only held off");
    }
}
