//! AF_PACKET and /proc: for hosts where nothing may be traced. It needs CAP_NET_RAW, and
//! what it needs to read of other processes, and sees the network namespace that it runs
//! in.
//!
//! Packets are read on their way out (packet(7)); who sent them is looked up afterwards,
//! by the kernel's tables of sockets and by /proc/PID/fd. So evidence is `procfs` at the
//! best, with all candidates where a socket is not one process's, and a sender that is
//! gone before it is found is unknown.
//!
//! Deliberately absent: packets that pass the taps by (PACKET_QDISC_BYPASS, AF_XDP), where
//! a device is to cut one send into several datagrams (the tap does not say so), sockets
//! of threads that do not share their process's files.

mod answers;
mod diag;
mod filter;
mod holders;
mod local;
mod netlink;
mod owner;
mod ring;
mod socket;
mod sockets;
mod source;
mod stack;
mod tables;

use super::select::Selector;
use super::watch::Watch;
use super::{Backend, HookCheck, Opened, Options, Refusal, Sender, lack};
use crate::host::Host;
use crate::plan::Plan;
use anyhow::{Context, Result, bail};
use caps::Capability;
use filter::{Incoming, Purpose};
use owner::Owners;
use ring::Ring;
use socket::Socket;
use source::{HOOK, Judge, PacketSource, Sockets};
use std::fs;
use std::os::unix::fs::MetadataExt;

/// Room for packets that the scout has not looked at yet, in bytes.
const SCOUT_BUFFER: i32 = 1 << 20;

/// Which senders the hook sees.
const SEES: [Sender; 3] = [Sender::Process, Sender::Kernel, Sender::Forwarded];

/// What it cannot tell.
const LACKS: [&str; 5] = [lack::TASK, lack::NETNS, lack::BRIEF, lack::SEGMENTS, lack::FRAGMENTED];

/// Nice value of the reader: a sender that lives briefly is found before it is gone, or
/// never.
const NICE: i32 = -20;

/// The AF_PACKET backend.
pub struct AfPacket;

impl Backend for AfPacket {
    fn name(&self) -> &'static str {
        "packet"
    }

    fn hooks(&self) -> Vec<&'static str> {
        vec![HOOK]
    }

    fn check(&self, host: &Host, _plan: &Plan) -> Vec<HookCheck> {
        vec![HookCheck {
            name: HOOK,
            sees: SEES.to_vec(),
            payload: true,
            lacks: LACKS.to_vec(),
            refusal: refuse(host),
        }]
    }

    fn open(&self, host: &Host, plan: &Plan, options: &Options) -> Result<Opened> {
        if let Some(other) = options.hooks.iter().find(|hook| *hook != HOOK) {
            bail!("it has no hook {other}");
        }
        if let Some(refusal) = refuse(host) {
            bail!("the hook {HOOK} cannot be used: {refusal}");
        }
        let netns = fs::metadata("/proc/thread-self/ns/net").ok().map(|m| m.ino() as u32);
        let (watch, unwatched) = match Watch::start(host) {
            Ok(watch) => (Some(watch), None),
            Err(why) => (None, Some(why)),
        };
        let source = source(plan, options, netns, watch)?;
        // Without the privilege it is only later.
        let _ = rustix::process::setpriority_process(None, NICE);
        let answers = Sender::wanted(plan).into_iter().filter(|s| SEES.contains(s)).collect();
        let hooks = vec![(HOOK, answers)];
        Ok(Opened { source: Box::new(source), hooks, notes: notes(host, netns, unwatched) })
    }
}

fn refuse(host: &Host) -> Option<Refusal> {
    (!host.can(Capability::CAP_NET_RAW)).then(|| {
        Refusal::new("an AF_PACKET socket needs CAP_NET_RAW", "run it as root, e.g. with sudo")
    })
}

fn notes(host: &Host, netns: Option<u32>, unwatched: Option<String>) -> Vec<String> {
    let place = netns.map_or(String::new(), |inode| format!(" ({inode})"));
    let mut notes = vec![format!(
        "nothing is traced: senders are looked up in /proc, in this network namespace{place} alone"
    )];
    notes.extend(unwatched.map(|why| {
        format!(
            "of processes that end soon less is known: the kernel does not tell of them ({why})"
        )
    }));
    if !host.can(Capability::CAP_SYS_PTRACE) {
        notes.push(
            "processes that have more privileges, or another user, are not named \
             (CAP_SYS_PTRACE)"
                .to_owned(),
        );
    }
    notes
}

fn source(
    plan: &Plan,
    options: &Options,
    netns: Option<u32>,
    watch: Option<Watch>,
) -> Result<PacketSource> {
    let incoming = Incoming { outcomes: plan.openings, names: plan.names };
    let program = |purpose| {
        filter::program(plan, purpose, incoming)
            .context("the packet filter for so many protocols is too long")
    };
    let open = |purpose| -> Result<Socket> {
        let socket = Socket::open().context("opening an AF_PACKET socket")?;
        socket.filter(&mut program(purpose)?).context("attaching the packet filter")?;
        Ok(socket)
    };
    let (capture, scout) = (open(Purpose::Capture)?, open(Purpose::Scout)?);
    let ring = Ring::new(&capture, options.buffer_size)?;
    // Best effort: without CAP_NET_ADMIN it is net.core.rmem_max at the most.
    let _ = scout.receive_buffer(SCOUT_BUFFER);
    let _ = scout.last_seen();
    let own = [&capture, &scout].map(|socket| rustix::fs::fstat(socket.fd()).map(|s| s.st_ino));
    let owners = Owners::new(own.into_iter().flatten().collect(), watch);
    let judge = Judge { selector: Selector::new(plan)?, ifaces: plan.ifaces.clone(), netns };
    for socket in [&scout, &capture] {
        socket.bind().context("binding an AF_PACKET socket")?;
    }
    Ok(PacketSource::new(Sockets { ring, capture, scout }, judge, owners))
}
