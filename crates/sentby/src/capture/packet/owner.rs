//! Who sent a packet: from its flow to sockets, to the processes that hold them.
//!
//! All of this is looked up after the packet was sent, so time decides what it proves. A
//! socket that was there after a packet sent it, if none of its holders is younger than
//! the packet; a packet that comes later was sent by it, if it is still there. Where it
//! was not found in time nobody is named, and never the next socket at the same place.

use super::holders::{Holder, Search};
use super::local::Local;
use super::sockets::{Flow, How, Sockets};
use crate::capture::watch::Watch;
use crate::enrich::{Lru, Procfs};
use crate::event::{Batch, Candidate, Evidence, Holders, Item, NS_PER_TICK, Process, ProcessKey};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wire::transport::TCP;

/// Flows whose senders are remembered.
const FLOWS_MAX: usize = 16 * 1024;

/// Raw sockets whose echo identifier is remembered.
const IDS_MAX: usize = 1024;

/// Processes remembered to have been told about.
const TOLD_MAX: usize = 4096;

/// How long what was told about a process counts; it may run another program then.
const TOLD: Duration = Duration::from_secs(1);

/// How long after it was last seen a socket that is gone may have sent a packet from a
/// port that the kernel chose: it does not give the same one again so soon.
const GRACE: u64 = 100_000_000;

/// How long nobody looks whether another socket fits as well.
const ALONE: u64 = 100_000_000;

/// How late a look may be, where the next process may have the same place: a process's
/// start is known to one tick only.
const LATE: u64 = 2_000_000;

/// A packet that was seen.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    /// What it is part of.
    pub flow: Flow,
    /// Where it was seen.
    pub ifindex: u32,
    /// When: nanoseconds since the Unix epoch; `None`: a moment ago.
    pub time: Option<u64>,
    /// It opens a TCP connection.
    pub opens: bool,
}

/// What can be said about a sender.
#[derive(Clone, Debug)]
pub struct Sender {
    /// `Kernel`, `Forwarded`, or `Unknown`: then it may be one of the holders.
    pub evidence: Evidence,
    /// The socket, where one alone fits.
    pub inode: Option<u64>,
    /// Its holders.
    pub holders: Option<Arc<Holders>>,
}

/// What was found out about a flow.
#[derive(Clone, Debug)]
struct Known {
    /// The socket was there, at this time or later.
    verified: u64,
    /// No other fitted, at this time or later.
    looked: u64,
    /// The process that had started last by then.
    newest: Option<u32>,
    evidence: Evidence,
    how: How,
    inode: Option<u64>,
    found: Vec<Holder>,
    holders: Option<Arc<Holders>>,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Shortfall {
    /// Flows that had to make room.
    evicted: u64,
    /// Lists of sockets that ended at a limit: nobody is named for sure by those.
    cut: u64,
}

/// Names senders.
pub struct Owners {
    sockets: Sockets,
    search: Search,
    local: Local,
    flows: Lru<Flow, Known>,
    ids: Lru<u64, u16>,
    told: Lru<ProcessKey, Instant>,
    watch: Option<Watch>,
    ports: (u16, u16),
    shortfall: Shortfall,
}

impl Owners {
    /// Knows nothing yet; `own` are the inodes of our own sockets. The watch knows processes
    /// that have ended.
    pub fn new(own: Vec<u64>, watch: Option<Watch>) -> Owners {
        Owners {
            sockets: Sockets::new(own),
            search: Search::new(Procfs::new("/proc")),
            local: Local::new(),
            flows: Lru::new(FLOWS_MAX),
            ids: Lru::new(IDS_MAX),
            told: Lru::new(TOLD_MAX),
            watch,
            ports: port_range(),
            shortfall: Shortfall::default(),
        }
    }

    /// Details that were lost, by reason.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        let own = [
            ("socket-search-limited", self.search.limited),
            ("flows-forgotten", self.shortfall.evicted),
            ("sockets-listed-partly", self.shortfall.cut),
        ];
        let watch = self.watch.as_ref().map(Watch::lost);
        own.into_iter().chain(watch.into_iter().flatten()).collect()
    }

    /// The sender of a packet. What is found out about processes goes into the batch.
    pub fn sender(&mut self, sight: &Sight, batch: &mut Batch) -> Sender {
        let time = sight.time.unwrap_or_else(now);
        let at = now();
        let former = self.flows.remove(&sight.flow);
        let known = match former {
            Some(known) if self.holds(&known, sight, time) => {
                // It is there now, so that it sent all that was sent until now.
                let verified = if time > known.verified { at } else { known.verified };
                Known { verified, ..known }
            }
            former => self.look_again(former, sight, time),
        };
        for holder in &known.found {
            let watched = self.watch.as_ref().and_then(|w| w.facts(holder.key.pid, time, batch));
            if watched != Some(holder.key) {
                tell(&mut self.told, self.search.procfs(), holder, batch);
            }
        }
        let sender = Sender {
            evidence: known.evidence,
            inode: known.inode,
            holders: self.timely(&known, time, self.is_chosen(&sight.flow, known.how)),
        };
        if self.flows.insert(sight.flow, known) {
            self.shortfall.evicted += 1;
        }
        sender
    }

    /// A connection was opened: what is known about the one before is of no use.
    pub fn reopened(&mut self, flow: &Flow, time: u64) {
        if self.flows.peek(flow).is_some_and(|known| known.verified < time) {
            self.flows.remove(flow);
        }
    }

    /// The one process that has this flow, if it is known.
    pub fn owner(&self, flow: &Flow) -> Option<ProcessKey> {
        match self.flows.peek(flow)?.found.as_slice() {
            [only] => Some(only.key),
            _ => None,
        }
    }

    /// Whether a TCP connection still is this socket's.
    pub fn has(&mut self, flow: &Flow, inode: u64) -> bool {
        self.sockets.of(flow, 0, true).inodes == [inode]
    }

    /// Whether what is known counts for a packet of this time.
    fn holds(&self, known: &Known, sight: &Sight, time: u64) -> bool {
        if time <= known.verified {
            return true;
        }
        if sight.flow.protocol == TCP {
            // A child may have the socket by now.
            return false;
        }
        let alone = known.how == How::Bound || time - known.looked.min(time) < ALONE;
        // A child that started since has what its parent holds.
        let childless = known.newest.is_some() && known.newest == self.search.newest();
        let still = || known.found.iter().all(|h| self.search.still(h));
        !known.found.is_empty() && alone && childless && still()
    }

    fn look_again(&mut self, former: Option<Known>, sight: &Sight, time: u64) -> Known {
        let known = self.look(sight);
        let Some(former) = former.filter(|f| !f.found.is_empty() && !sight.opens) else {
            return known;
        };
        if known.inode.is_some() && known.inode == former.inode && !known.found.is_empty() {
            return doubted(known, &former);
        }
        // The ends of a connection are its own until another is opened.
        let recent = time.saturating_sub(former.verified) < GRACE || sight.flow.protocol == TCP;
        let gone = known.inode.is_none() && known.found.is_empty();
        let its_own = recent && (self.is_chosen(&sight.flow, former.how) || self.asked(&former));
        // Sockets of others that may ask are there, or came since: that proves nothing.
        let proven = known.holders.as_ref().is_some_and(|h| h.proven);
        let others =
            !proven || known.found.iter().all(|h| self.watched(h.key, time) == Some(false));
        match gone && its_own || others && self.asked_alone(&former, sight, time) {
            true => former,
            false => known,
        }
    }

    /// The holders that can have sent a packet of this time: none that started later. Where
    /// the next process may have the same place, none that may have.
    fn timely(&self, known: &Known, time: u64, chosen: bool) -> Option<Arc<Holders>> {
        let all = known.holders.as_ref()?;
        let boot = boot_time();
        let late = !chosen && known.verified.saturating_sub(time) > LATE;
        let slack = if late { NS_PER_TICK } else { 0 };
        let by_ticks =
            |key: ProcessKey| boot + key.start_ticks.saturating_mul(NS_PER_TICK) + slack <= time;
        let was_there = |c: &Candidate| self.watched(c.key, time).unwrap_or(by_ticks(c.key));
        if all.processes.iter().all(was_there) {
            return Some(all.clone());
        }
        let processes = all.processes.iter().filter(|c| was_there(c)).cloned().collect();
        Some(Arc::new(Holders { processes, ..**all }))
    }

    /// Whether a process was there at that time, as the watch has it.
    fn watched(&self, key: ProcessKey, time: u64) -> Option<bool> {
        self.watch.as_ref()?.was_there(key, time)
    }

    /// Whether an echo request is its sender's, whose socket is gone: it ends, but is there.
    fn asked(&self, former: &Known) -> bool {
        let proven = former.holders.as_ref().is_some_and(|h| h.proven);
        former.how == How::Raw
            && proven
            && former.found.iter().all(|h| self.search.procfs().is(h.key))
    }

    /// The same where its sender has ended: it was there as it asked, and no child of it
    /// that could have asked in its place.
    fn asked_alone(&self, former: &Known, sight: &Sight, time: u64) -> bool {
        let proven = former.holders.as_ref().is_some_and(|h| h.proven);
        let alone = |watch: &Watch| {
            former.found.iter().all(|h| watch.was_alone(h.key, former.verified, time))
        };
        sight.flow.asks() && proven && self.watch.as_ref().is_some_and(alone)
    }

    /// Whether the kernel chose the flow's port, so that it is hardly given again at once.
    fn is_chosen(&self, flow: &Flow, how: How) -> bool {
        let (least, most) = self.ports;
        how == How::Bound
            && (flow.protocol == TCP || flow.asks() || (least..=most).contains(&flow.sport))
    }

    fn look(&mut self, sight: &Sight) -> Known {
        let verified = now();
        let newest = self.search.newest();
        let flow = &sight.flow;
        let local = self.local.has(flow.src);
        let mut known = Known {
            verified,
            looked: verified,
            newest,
            evidence: Evidence::Unknown,
            how: How::Bound,
            inode: None,
            found: Vec::new(),
            holders: Some(Arc::default()),
        };
        if !local && self.local.forwards() {
            return Known { evidence: Evidence::Forwarded, holders: None, ..known };
        }
        if local && flow.may_be_the_kernels() {
            // A socket that is known to ask does not answer.
            let ask = |inode: &u64| self.ids.peek(inode).is_some();
            let asked = self.sockets.raw(flow).iter().all(ask) && !self.sockets.cut;
            self.shortfall.cut += u64::from(self.sockets.cut);
            if flow.reports_memberships() || asked {
                return Known { evidence: Evidence::Kernel, holders: None, ..known };
            }
            // The kernel answers, or a process does in its place: nothing tells.
            return known;
        }
        let fitting = self.sockets.of(flow, sight.ifindex, local);
        self.shortfall.cut += u64::from(fitting.cut);
        let held = self.search.find(&fitting.inodes);
        let mut found = held.found;
        // What is forwarded may leave under an address of ours, and a port of its own.
        let passing = self.local.forwards();
        let proven = match fitting.how {
            How::Bound => !passing || self.is_chosen(flow, fitting.how),
            How::Raw => flow.asks() && self.narrow(sight, passing, &mut found),
            How::Forged => false,
        } && !fitting.cut;
        known.how = fitting.how;
        known.inode = match (fitting.inodes.as_slice(), found.as_slice()) {
            ([only], _) if !fitting.cut => Some(*only),
            (_, [only]) if proven => Some(only.inode),
            _ => None,
        };
        // Where there was no time to look at every process, it may be found later.
        let later = held.partly && found.is_empty();
        known.holders = (!later).then(|| holders(&found, proven));
        known.found = found;
        known
    }

    /// Leaves the raw sockets that may send echo requests of this identifier: every sender
    /// has one. Whether it is known which that is: by its pid; else, where no packet may only
    /// pass through, since it is the only one and nobody has ended who may have had another.
    fn narrow(&mut self, sight: &Sight, passing: bool, found: &mut Vec<Holder>) -> bool {
        let id = sight.flow.sport;
        let (ids, procfs) = (&self.ids, self.search.procfs());
        let known = |holder: &Holder| ids.peek(&holder.inode).copied();
        // Most take their pid, in either byte order.
        let own = |h: &Holder| {
            let inner = procfs.process(h.key).ok().and_then(|p| p.inner_pid);
            let is = |pid: u32| pid as u16 == id || (pid as u16).swap_bytes() == id;
            is(h.key.pid) || inner.is_some_and(is)
        };
        if found.iter().any(|h| known(h) == Some(id)) {
            found.retain(|h| known(h) == Some(id));
        } else if found.iter().all(|h| known(h).is_some()) {
            // Theirs are others: it was one that is gone, unless it changed its own.
            return false;
        } else {
            found.retain(|h| known(h).is_none());
            if found.len() > 1 && found.iter().filter(|h| own(h)).count() == 1 {
                found.retain(own);
            }
        }
        let only_one = || {
            let none_ended = |watch: &Watch| watch.none_ended_since(sight.time.unwrap_or(0));
            !passing && self.watch.as_ref().is_some_and(none_ended)
        };
        match found.as_slice() {
            [only] if known(only) == Some(id) || own(only) || only_one() => {
                self.ids.insert(only.inode, id);
                true
            }
            _ => false,
        }
    }
}

/// Of a socket that was looked up before: a child that had it as well may have sent, and
/// have ended since.
fn doubted(mut known: Known, former: &Known) -> Known {
    let ended = |holder: &Holder| {
        former.found.iter().any(|f| f.key == holder.key && f.reaped != holder.reaped)
    };
    if known.found.iter().any(ended) {
        known.holders = Some(holders(&known.found, false));
    }
    known
}

fn holders(found: &[Holder], proven: bool) -> Arc<Holders> {
    let candidate = |h: &Holder| Candidate { key: h.key, comm: h.comm.clone() };
    let mut processes: Vec<Candidate> = found.iter().map(candidate).collect();
    processes.sort_by_key(|c| c.key);
    processes.dedup();
    Arc::new(Holders { processes, proven })
}

/// Tells what /proc says about a process, unless that was told a moment ago.
fn tell(told: &mut Lru<ProcessKey, Instant>, procfs: &Procfs, holder: &Holder, batch: &mut Batch) {
    let key = holder.key;
    let now = Instant::now();
    if told.peek(&key).is_some_and(|at| now.saturating_duration_since(*at) < TOLD) {
        return;
    }
    let process = match procfs.process(key) {
        Ok(process) => process,
        // It was told before, and has ended since.
        Err(_) if told.peek(&key).is_some() => return,
        Err(_) => Process { comm: Some(holder.comm.clone()), ..Process::default() },
    };
    told.insert(key, now);
    batch.items.push(Item::Process(key, Box::new(process)));
}

fn clock(id: ClockId) -> u64 {
    let time = clock_gettime(id);
    u64::try_from(time.tv_sec * 1_000_000_000 + time.tv_nsec).unwrap_or_default()
}

/// Nanoseconds since the Unix epoch.
pub fn now() -> u64 {
    clock(ClockId::Realtime)
}

/// When the machine started, in nanoseconds since the Unix epoch.
fn boot_time() -> u64 {
    clock(ClockId::Realtime).saturating_sub(clock(ClockId::Boottime))
}

/// The ports that the kernel chooses from.
fn port_range() -> (u16, u16) {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|n| n.parse().ok());
    // Documentation/networking/ip-sysctl.rst: the default.
    (numbers.next().unwrap_or(32768), numbers.next().unwrap_or(60999))
}
