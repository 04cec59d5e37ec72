//! From the ring to batches, on one thread: what a packet is, whether it is wanted, who
//! sent it.
//!
//! The ring hands packets over in blocks, a few milliseconds late, when a process that
//! lives briefly is gone. So a second socket, the scout, delivers the first bytes of what
//! begins a flow at once, and its sender is looked up before anything else.

use super::answers::Waiting;
use super::filter::{self, ethertype, pkttype};
use super::owner;
use super::owner::{Owners, Sender, Sight};
use super::ring::{Frame, Ring};
use super::socket::Socket;
use super::sockets::Flow;
use super::stack::Recent;
use crate::capture::select::Selector;
use crate::capture::{Counts, Source};
use crate::event::{Batch, Capture, Evidence, Iface, Item, Task, Wanted};
use crate::ledger::HookCount;
use crate::plan::AnyOf;
use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::netdevice::index_to_name;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};
use wire::transport::{self, flag};
use wire::{Layer, Packet};

/// The hook's name.
pub const HOOK: &str = "af_packet";

/// Packets of the scout that are looked at in a row.
const SCOUTED_MAX: usize = 256;

/// Blocks of the ring that go into one batch.
const BLOCKS_MAX: usize = 32;

/// Names of interfaces that are remembered, and for how long.
const IFACES_MAX: usize = 4096;
const IFACE_FRESH: Duration = Duration::from_secs(1);

/// VLAN tags that are looked through: a service tag and a customer tag.
const TAGS_MAX: usize = 2;

/// How long the last block may take to be handed over, after nothing goes in any more.
const LAST_BLOCK: Duration = Duration::from_millis(100);

/// The sockets.
pub struct Sockets {
    /// Declared first: the mapping goes before the socket it is of.
    pub ring: Ring,
    /// What is captured.
    pub capture: Socket,
    /// The first packets of flows.
    pub scout: Socket,
}

/// What a packet is judged by.
pub struct Judge {
    /// What is wanted.
    pub selector: Selector,
    /// Which interfaces.
    pub ifaces: AnyOf<Vec<u8>>,
    /// Inode of this network namespace.
    pub netns: Option<u32>,
}

/// The running backend.
pub struct PacketSource {
    sockets: Sockets,
    judge: Judge,
    owners: Owners,
    waiting: Waiting,
    recent: Recent,
    names: HashMap<u32, (Instant, Option<[u8; 16]>)>,
    seen: u64,
    drops: u64,
    scout_drops: u64,
    detached: bool,
}

impl PacketSource {
    /// Takes over what is open.
    pub fn new(sockets: Sockets, judge: Judge, owners: Owners) -> PacketSource {
        PacketSource {
            sockets,
            judge,
            owners,
            waiting: Waiting::new(),
            recent: Recent::new(),
            names: HashMap::new(),
            seen: 0,
            drops: 0,
            scout_drops: 0,
            detached: false,
        }
    }

    /// Looks up the senders of what the scout saw.
    fn look_ahead(&mut self, batch: &mut Batch) {
        let mut bytes = [0u8; filter::SNAP_FLOW as usize];
        for _ in 0..SCOUTED_MAX {
            let Some((len, from)) = self.sockets.scout.receive(&mut bytes) else { return };
            let Some(bytes) = network(&bytes[..len], u16::from_be(from.sll_protocol)) else {
                continue;
            };
            let Some(packet) = wire::packet::parse(Layer::Ip, bytes) else { continue };
            let ifindex = u32::try_from(from.sll_ifindex).unwrap_or_default();
            let opens = opens(&packet);
            let flow = Flow::of(&packet);
            self.waiting.asks(&packet);
            let time = self.sockets.scout.last_seen();
            self.owners.sender(&Sight { flow, ifindex, time, opens }, batch);
        }
    }

    fn read(&mut self, batch: &mut Batch) {
        for _ in 0..BLOCKS_MAX {
            let PacketSource { sockets, judge, owners, waiting, recent, names, seen, .. } = self;
            let socket = &sockets.scout;
            let mut desk = Desk { judge, owners, waiting, recent, names, seen, socket };
            if !sockets.ring.read(|frame| desk.take(&frame, batch)) {
                return;
            }
            self.look_ahead(batch);
        }
    }

    fn count_drops(&mut self) {
        self.drops += self.sockets.capture.take_drops().unwrap_or_default();
        self.scout_drops += self.sockets.scout.take_drops().unwrap_or_default();
    }
}

impl Source for PacketSource {
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()> {
        if self.detached {
            let end = Instant::now() + LAST_BLOCK;
            loop {
                self.read(batch);
                if !self.sockets.ring.is_filling() || Instant::now() >= end {
                    return Ok(());
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let wait = Timespec::try_from(wait).context("waiting for packets")?;
        let Sockets { capture, scout, .. } = &self.sockets;
        let mut fds = [capture, scout].map(|socket| PollFd::new(socket.fd(), PollFlags::IN));
        match poll(&mut fds, Some(&wait)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e).context("waiting for packets"),
        }
        self.look_ahead(batch);
        self.read(batch);
        let PacketSource { waiting, owners, .. } = self;
        let ended = waiting.unanswered(owner::now(), |flow, inode| owners.has(flow, inode));
        batch.items.extend(ended.into_iter().map(Item::Outcome));
        Ok(())
    }

    fn detach(&mut self) {
        if !self.detached {
            let mut nothing = filter::nothing();
            for socket in [&self.sockets.scout, &self.sockets.capture] {
                // What comes in nevertheless is only read once more.
                let _ = socket.filter(&mut nothing);
            }
        }
        self.detached = true;
    }

    fn counts(&mut self) -> Counts {
        self.count_drops();
        let seen = self.seen + self.drops;
        let mut counts = Counts::default();
        counts.hooks.push(HookCount { hook: HOOK, seen, filtered: 0, missed: None, cost: None });
        counts.lost = nonzero([("ring", self.drops)]);
        let own = [
            ("scout", self.scout_drops),
            ("streams", self.judge.selector.forgotten),
            ("outcomes", self.waiting.forgotten),
        ];
        counts.details_lost = nonzero(own.into_iter().chain(self.owners.lost()));
        counts
    }
}

fn nonzero(counts: impl IntoIterator<Item = (&'static str, u64)>) -> BTreeMap<&'static str, u64> {
    counts.into_iter().filter(|(_, n)| *n > 0).collect()
}

/// Where one packet is judged.
struct Desk<'a> {
    judge: &'a mut Judge,
    owners: &'a mut Owners,
    waiting: &'a mut Waiting,
    recent: &'a mut Recent,
    names: &'a mut HashMap<u32, (Instant, Option<[u8; 16]>)>,
    seen: &'a mut u64,
    socket: &'a Socket,
}

impl Desk<'_> {
    fn take(&mut self, frame: &Frame<'_>, batch: &mut Batch) {
        let Some(bytes) = network(frame.bytes, frame.ethertype) else { return };
        let Some(packet) = wire::packet::parse(Layer::Ip, bytes) else { return };
        match frame.pkttype {
            pkttype::OUTGOING => self.outgoing(frame, bytes, &packet, batch),
            _ => self.incoming(frame, bytes, &packet, batch),
        }
    }

    fn incoming(
        &mut self,
        frame: &Frame<'_>,
        bytes: &[u8],
        packet: &Packet<'_>,
        batch: &mut Batch,
    ) {
        if let Some(outcome) = self.waiting.outcome(packet, frame.time) {
            batch.items.push(Item::Outcome(outcome));
        }
        let Some(asked) = self.waiting.answers(packet) else { return };
        let key = self.owners.owner(&asked);
        let task = Some(Task { key, tid: None, comm: None, uid: None });
        let sender = Sender { evidence: Evidence::Unknown, inode: None, holders: None };
        let capture = self.capture(frame, sender, Wanted::Packet, bytes, packet, batch);
        batch.items.push(Item::Answer(Capture { task, ..capture }));
    }

    fn outgoing(
        &mut self,
        frame: &Frame<'_>,
        bytes: &[u8],
        packet: &Packet<'_>,
        batch: &mut Batch,
    ) {
        if self.recent.again(bytes, packet, frame.ifindex, frame.time) {
            return;
        }
        let flow = Flow::of(packet);
        let opens = opens(packet);
        if opens {
            self.owners.reopened(&flow, frame.time);
        }
        let Some(selected) = self.judge.selector.look(self.judge.netns, packet) else { return };
        let iface = self.iface(frame.ifindex);
        if !self.is_wanted(iface.as_ref()) {
            return;
        }
        let sight = Sight { flow, ifindex: frame.ifindex, time: Some(frame.time), opens };
        let mut sender = self.owners.sender(&sight, batch);
        if let Wanted::Payload { opens: true, .. } = selected.wanted {
            let seq = transport::tcp(packet).map_or(0, |s| s.seq);
            if !self.waiting.opens(flow, seq, sender.inode, frame.time) {
                return;
            }
            sender.inode = self.waiting.inode(&flow, seq);
        }
        *self.seen += 1;
        let bytes = &bytes[..selected.bytes.min(bytes.len())];
        let capture = self.capture(frame, sender, selected.wanted, bytes, packet, batch);
        batch.items.push(Item::Capture(capture));
    }

    fn capture(
        &mut self,
        frame: &Frame<'_>,
        sender: Sender,
        wanted: Wanted,
        bytes: &[u8],
        packet: &Packet<'_>,
        batch: &mut Batch,
    ) -> Capture {
        let from = batch.bytes.len();
        batch.bytes.extend_from_slice(bytes);
        Capture {
            time: frame.time,
            hook: HOOK,
            evidence: sender.evidence,
            task: None,
            socket_inode: sender.inode,
            outcome_follows: true,
            holders: sender.holders,
            shared: false,
            netns: self.judge.netns,
            iface: self.iface(frame.ifindex),
            descends: None,
            wanted,
            layer: Layer::Ip,
            bytes: from..batch.bytes.len(),
            // Above 64 KiB the header does not say.
            len: packet.ip_len.or(Some(frame.len)),
            segment: None,
            recorded: None,
        }
    }

    /// Whether the plan asks for an interface; one without a name may be any.
    fn is_wanted(&self, iface: Option<&Iface>) -> bool {
        let AnyOf(wanted) = &self.judge.ifaces;
        let name = iface.map(|iface| crate::event::until_nul(&iface.name));
        wanted.is_empty() || name.is_none_or(|name| wanted.iter().any(|w| w == name))
    }

    fn iface(&mut self, index: u32) -> Option<Iface> {
        let now = Instant::now();
        let name = match self.names.get(&index) {
            Some((at, name)) if now.saturating_duration_since(*at) < IFACE_FRESH => *name,
            _ => {
                if self.names.len() >= IFACES_MAX {
                    self.names.clear();
                }
                let name = index_to_name(self.socket.fd(), index).ok().and_then(padded);
                self.names.insert(index, (now, name));
                name
            }
        };
        name.map(|name| Iface { index: Some(index), name })
    }
}

fn padded(name: String) -> Option<[u8; 16]> {
    let mut padded = [0; 16];
    padded.get_mut(..name.len())?.copy_from_slice(name.as_bytes());
    Some(padded)
}

/// Whether a packet opens a TCP connection.
fn opens(packet: &Packet<'_>) -> bool {
    transport::tcp(packet).is_some_and(|s| s.flags & (flag::SYN | flag::ACK) == flag::SYN)
}

/// From the IP header on. Who writes a VLAN tag into the frame leaves the network header at
/// the tag (a tag and an EtherType come first), the kernel leaves it behind.
fn network(bytes: &[u8], protocol: u16) -> Option<&[u8]> {
    if !ethertype::TAGS.contains(&protocol) {
        return Some(bytes);
    }
    let mut rest = bytes;
    for _ in 0..TAGS_MAX {
        let inner = u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]);
        let version = rest.get(4).map(|byte| byte >> 4);
        match inner {
            ethertype::IPV4 if version == Some(4) => return rest.get(4..),
            ethertype::IPV6 if version == Some(6) => return rest.get(4..),
            tag if ethertype::TAGS.contains(&tag) => rest = rest.get(4..)?,
            _ => break,
        }
    }
    matches!(bytes.first()? >> 4, 4 | 6).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ip_header_is_found_behind_tags() {
        let mut ip = [0; 28];
        (ip[0], ip[3]) = (0x45, 28);
        let tag = |kind: u16| [0, 42, (kind >> 8) as u8, kind as u8];
        let tagged = [&tag(0x0800)[..], &ip].concat();
        let twice = [&tag(0x8100)[..], &tagged].concat();
        assert_eq!(network(&ip, 0x0800), Some(&ip[..]));
        assert_eq!(network(&ip, 0x8100), Some(&ip[..]), "the kernel's own tag");
        assert_eq!(network(&tagged, 0x8100), Some(&ip[..]));
        assert_eq!(network(&twice, 0x88a8), Some(&ip[..]));
        for cut in 0..4 {
            assert_eq!(network(&tagged[..cut], 0x8100), None);
        }
    }
}
