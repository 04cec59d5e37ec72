//! Records of our probes, as captures.

use super::interrupt;
use super::probes::{Shape, Spec};
use super::sends::{self, Sockets};
use super::tasks::{Sender, Tasks};
use super::tracefs::{Field, Format};
use crate::capture::select::Selector;
use crate::event::{Batch, COMM_LEN, Capture, Evidence, Iface, Item, Task, until_nul};
use anyhow::{Context, Result};
use wire::{Layer, Packet};

/// Where the fields of a probe's records are.
pub struct Reading {
    hook: &'static str,
    flags: usize,
    data: usize,
    bytes: usize,
    sock: Option<Field>,
    len: Option<Field>,
    paged: Option<Field>,
    name: Option<Field>,
    netns: Option<Field>,
    comm: Option<Field>,
    send: Option<sends::Reading>,
}

/// A record, and who the kernel says was running.
pub struct Hit<'a> {
    /// Process, in our pid namespace.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// The record.
    pub raw: &'a [u8],
}

impl Reading {
    /// That of a probe, by the format that the kernel gave it.
    pub fn new(spec: &Spec, format: &Format) -> Result<Reading> {
        let at = |name| format.field(name).map(|f| f.offset);
        Ok(Reading {
            hook: spec.hook,
            flags: at("common_flags").context("records without common_flags")?,
            data: at("d0").context("records without bytes")?,
            bytes: usize::from(spec.words) * 8,
            sock: format.field("sock").cloned(),
            // A send's is that of its first vector.
            len: format.field("len").filter(|_| spec.shape == Shape::Packet).cloned(),
            paged: format.field("paged").cloned(),
            name: format.field("if0").cloned(),
            netns: format.field("netns").cloned(),
            comm: format.field("comm").cloned(),
            send: match spec.shape {
                Shape::Packet => None,
                Shape::Send => Some(sends::Reading::new(format)?),
            },
        })
    }

    /// The thread's name, where the kernel fetched it: a place and a length in the record.
    fn comm(&self, raw: &[u8]) -> Option<[u8; COMM_LEN]> {
        let place = number(raw, &self.comm)? as usize;
        let bytes = raw.get(place & 0xffff..)?;
        let bytes = until_nul(&bytes[..bytes.len().min(place >> 16)]);
        let mut comm = [0; COMM_LEN];
        let len = bytes.len().min(COMM_LEN - 1);
        comm[..len].copy_from_slice(&bytes[..len]);
        (len > 0).then_some(comm)
    }

    /// The packet's bytes, as far as they were fetched and are its own: behind what is
    /// not in pages stands other people's memory.
    fn packet<'a>(&self, raw: &'a [u8]) -> Option<&'a [u8]> {
        let bytes = raw.get(self.data..self.data + self.bytes)?;
        let whole = number(raw, &self.len);
        let linear = whole.map(|n| n.saturating_sub(number(raw, &self.paged).unwrap_or(0)));
        Some(&bytes[..linear.map_or(bytes.len(), |n| bytes.len().min(n as usize))])
    }
}

/// The number in a field, which is at most 8 bytes wide.
pub fn number(raw: &[u8], field: &Option<Field>) -> Option<u64> {
    let field = field.as_ref()?;
    let bytes = raw.get(field.offset..field.offset + field.size)?;
    let mut wide = [0; 8];
    let room = match cfg!(target_endian = "little") {
        true => &mut wide[..field.size.min(8)],
        false => &mut wide[8 - field.size.min(8)..],
    };
    room.copy_from_slice(bytes.get(..room.len())?);
    Some(u64::from_ne_bytes(wide))
}

/// What deciding about records needs, and keeps.
pub struct Deciding {
    /// What is wanted.
    pub selector: Selector,
    /// Who is who.
    pub tasks: Tasks,
    /// How far sockets are.
    pub sockets: Sockets,
    /// Who is wanted.
    pub wanted: Wanted,
}

/// Which senders are wanted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// What the kernel sends.
    pub kernel: bool,
    /// What passes through.
    pub forwarded: bool,
}

/// Appends what a record captured to a batch; `false` where nothing of it is wanted.
pub fn packet(
    hit: &Hit<'_>,
    reading: &Reading,
    by: &mut Deciding,
    batch: &mut Batch,
) -> Option<()> {
    let made = match &reading.send {
        Some(send) => Some(send.packet(hit.raw, &mut by.sockets)?),
        None => None,
    };
    let bytes = match &made {
        Some((made, _)) => made,
        None => reading.packet(hit.raw)?,
    };
    let wanted = by.wanted;
    let packet = wire::packet::parse(Layer::Ip, bytes)?;
    let netns = number(hit.raw, &reading.netns).map(|n| n as u32).filter(|n| *n != 0);
    if let Some((_, true)) = made {
        by.selector.forget(netns, &packet);
    }
    let selected = by.selector.look(netns, &packet)?;
    let in_interrupt = interrupt(*hit.raw.get(reading.flags)?);
    let socket = number(hit.raw, &reading.sock).unwrap_or(0) != 0;
    let sender = if in_interrupt || !socket {
        None
    } else {
        Some(by.tasks.sender((hit.pid, hit.tid), reading.comm(hit.raw), hit.time, batch))
    };
    let (evidence, task) = attribute(&packet, socket, sender);
    match evidence {
        Evidence::Kernel if !wanted.kernel => return None,
        Evidence::Unknown if !socket && !wanted.kernel && !wanted.forwarded => return None,
        Evidence::Unknown if socket && kernels_own(&packet) && !wanted.kernel => return None,
        // A connection opens in its opener's own time; later SYNs repeat it.
        Evidence::Unknown
            if matches!(selected.wanted, crate::event::Wanted::Payload { opens: true, .. }) =>
        {
            return None;
        }
        _ => {}
    }
    let descends = task.and_then(|_| by.tasks.descends(hit.pid, hit.time));
    let from = batch.bytes.len();
    batch.bytes.extend_from_slice(&bytes[..bytes.len().min(selected.bytes)]);
    batch.items.push(Item::Capture(Capture {
        time: hit.time,
        hook: reading.hook,
        evidence,
        task,
        socket_inode: None,
        outcome_follows: false,
        holders: None,
        shared: false,
        netns,
        iface: iface(hit.raw, reading),
        descends,
        wanted: selected.wanted,
        layer: Layer::Ip,
        bytes: from..batch.bytes.len(),
        len: match made {
            // How it is cut into packets is decided later.
            Some(_) => None,
            None => number(hit.raw, &reading.len).map(|n| n as u32).or(packet.ip_len),
        },
        segment: None,
        recorded: None,
    }));
    Some(())
}

fn iface(raw: &[u8], reading: &Reading) -> Option<Iface> {
    let at = reading.name.as_ref()?.offset;
    let name: [u8; 16] = raw.get(at..at + 16)?.try_into().ok()?;
    (name[0] != 0).then_some(Iface { index: None, name })
}

/// Who sent a packet. `sender` is who was running, where that means something: in
/// thread context, with a socket.
///
/// Without a socket a packet came in by an interface or is the kernel's; which of both is
/// not known here. In an interrupt whoever runs is a bystander: messages that answer others
/// are the kernel's, as processes send theirs in their own time; of the rest nothing can be
/// proven. Nor of what the kernel sends in a thread's time: for want of a neighbour, or
/// because a rule rejects what the thread sends.
fn attribute(
    packet: &Packet<'_>,
    socket: bool,
    sender: Option<Sender>,
) -> (Evidence, Option<Task>) {
    match sender {
        _ if !socket => (Evidence::Unknown, None),
        Some(Sender::Task(_)) if kernels_own(packet) => (Evidence::Unknown, None),
        Some(Sender::Task(task)) => (Evidence::Task, Some(task)),
        Some(Sender::Kernel) => (Evidence::Kernel, None),
        Some(Sender::Unknown) => (Evidence::Unknown, None),
        None if answers(packet) => (Evidence::Kernel, None),
        None => (Evidence::Unknown, None),
    }
}

/// Protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Whether it is an ICMP message other than a request: an answer, an error, or what
/// keeps neighbours and groups.
fn answers(packet: &Packet<'_>) -> bool {
    let kind = packet.payload.first().copied();
    match packet.protocol {
        ICMP => kind.is_some_and(|kind| ![8, 13, 15, 17].contains(&kind)),
        ICMPV6 => kind.is_some_and(|kind| kind != 128),
        _ => false,
    }
}

/// Whether it is an ICMP message that the kernel sends by a socket of its own, also while a
/// process runs, and processes hardly ever: an error about what that process sends (RFC
/// 792; RFC 4443 section 2.1), or ICMPv6 that keeps neighbours or groups (RFC 4861, 2710,
/// 3810).
fn kernels_own(packet: &Packet<'_>) -> bool {
    let kind = packet.payload.first().copied();
    match packet.protocol {
        ICMP => matches!(kind, Some(3..=5 | 11 | 12)),
        ICMPV6 => matches!(kind, Some(1..=4 | 130..=137 | 143)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProcessKey;

    fn echo(kind: u8) -> Vec<u8> {
        let ip = [0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        [&ip[..], &[kind, 0, 0, 0, 0, 1, 0, 1]].concat()
    }

    #[test]
    fn who_runs_is_blamed_only_in_its_own_time_and_with_a_socket() {
        let task = Task {
            key: Some(ProcessKey { pid: 7, start_ticks: 1 }),
            tid: Some(7),
            comm: None,
            uid: None,
        };
        let (request, reply) = (echo(8), echo(0));
        let parse = |bytes| wire::packet::parse(Layer::Ip, bytes).unwrap();
        let (request, reply) = (parse(&request), parse(&reply));
        let by = |packet, socket, sender| attribute(packet, socket, sender).0;
        assert_eq!(by(&request, true, Some(Sender::Task(task))), Evidence::Task);
        assert_eq!(by(&request, true, Some(Sender::Kernel)), Evidence::Kernel);
        assert_eq!(by(&request, true, Some(Sender::Unknown)), Evidence::Unknown);
        assert_eq!(by(&request, false, None), Evidence::Unknown);
        assert_eq!(by(&reply, true, None), Evidence::Kernel);
        assert_eq!(by(&request, true, None), Evidence::Unknown);
    }

    #[test]
    fn what_is_rejected_on_its_way_out_is_not_answered_by_its_sender() {
        let task = Task { key: None, tid: None, comm: None, uid: None };
        for (kind, evidence) in [
            (8, Evidence::Task),
            (0, Evidence::Task),
            (3, Evidence::Unknown),
            (11, Evidence::Unknown),
        ] {
            let bytes = echo(kind);
            let packet = wire::packet::parse(Layer::Ip, &bytes).unwrap();
            assert_eq!(attribute(&packet, true, Some(Sender::Task(task))).0, evidence, "{kind}");
        }
    }

    #[test]
    fn a_neighbour_that_is_asked_for_is_not_the_running_process_doing() {
        let mut ip = vec![0x60, 0, 0, 0, 0, 8, ICMPV6, 255];
        ip.extend([0xfd; 32]);
        let kinds = |kind: u8| [&ip[..], &[kind, 0, 0, 0, 0, 0, 0, 0]].concat();
        let task = Task { key: None, tid: None, comm: None, uid: None };
        for (kind, evidence) in [(128, Evidence::Task), (135, Evidence::Unknown)] {
            let bytes = kinds(kind);
            let packet = wire::packet::parse(Layer::Ip, &bytes).unwrap();
            assert_eq!(attribute(&packet, true, Some(Sender::Task(task))).0, evidence);
        }
    }

    #[test]
    fn bytes_in_pages_and_behind_the_packet_are_not_the_packets() {
        let field = |name: &str, offset, size| Some(Field { name: name.into(), offset, size });
        let mut reading = Reading {
            hook: "h",
            flags: 0,
            data: 8,
            bytes: 32,
            sock: None,
            len: field("len", 40, 4),
            paged: field("paged", 44, 4),
            name: None,
            netns: None,
            comm: None,
            send: None,
        };
        let mut raw = vec![7; 48];
        raw[40..44].copy_from_slice(&30u32.to_ne_bytes());
        raw[44..48].copy_from_slice(&10u32.to_ne_bytes());
        assert_eq!(reading.packet(&raw).unwrap().len(), 20);
        raw[44..48].copy_from_slice(&99u32.to_ne_bytes());
        assert_eq!(reading.packet(&raw).unwrap().len(), 0);
        reading.len = None;
        assert_eq!(reading.packet(&raw).unwrap().len(), 32);
        assert_eq!(reading.packet(&raw[..39]), None);
        assert_eq!(number(&raw, &field("far", 46, 4)), None);
    }
}
