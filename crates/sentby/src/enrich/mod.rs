//! Fills in what a backend could not know, and nothing else: the process's details
//! from /proc, its user, unit and container, and the holders of a socket whose sender
//! is unknown.
//!
//! Facts from a backend always win: they were read at the time of sending, /proc is
//! read a moment later. What is kept is bounded, and what that costs is counted.

mod container;
mod containers;
mod descendants;
mod go;
mod lru;
mod names;
mod procfs;
mod programs;
mod sockets;
mod user;

pub use container::{SHORT_ID, container as container_of, unit as unit_of};
pub use containers::{Awaited, ContainerId, ContainerInfo, Containers, RuntimeSocket};
pub use descendants::descendants;
pub use go::GoBuild;
pub use procfs::{Procfs, read_limited};
pub use user::Users;

use crate::event::{
    Candidate, Capture, DstName, Ends, Event, Evidence, Process, ProcessKey, Raw, until_nul,
};
use containers::Look;
pub use lru::Lru;
use names::{Names, Place};
use procfs::Silence;
use programs::{FileId, Programs};
use sockets::Sockets;
use std::time::{Duration, Instant};
use wire::{Packet, Request, transport};

/// Most processes whose facts are kept.
pub const MAX_PROCESSES: usize = 16_384;

/// How long facts from /proc are taken without looking again, for a process no
/// backend reports on: it may run another program meanwhile, with the same identity.
const PROC_FRESH: Duration = Duration::from_secs(1);

/// The users of this machine.
pub const PASSWD: &str = "/etc/passwd";

/// What is known about one process.
#[derive(Default)]
struct Entry {
    process: Process,
    /// Changes with anything that events say of the process; no two entries share one.
    facts: u64,
    /// Out of `process.cgroup`.
    unit: Option<String>,
    /// Out of `process.cgroup`.
    container: Option<String>,
    /// The same, where it is one that runtimes give.
    container_id: Option<ContainerId>,
    /// When it was last looked up what runtimes say about that.
    look: Look,
    /// A backend told which program it runs, and will tell when that changes.
    told: bool,
    /// When /proc was last asked.
    asked: Option<Instant>,
    /// The file it runs, and when that was looked up.
    program: Option<(Instant, Option<FileId>)>,
}

/// What enrichment could not do, by reason.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    evicted: u64,
    gone: u64,
    reused: u64,
}

/// This machine, as far as it may be asked.
struct Local {
    procfs: Procfs,
    users: Users,
    sockets: Sockets,
    containers: Option<Containers>,
}

/// Turns captures into events.
pub struct Enricher {
    /// `None` when other machines' data, or old data, is read.
    local: Option<Local>,
    processes: Lru<ProcessKey, Entry>,
    candidates: Vec<Candidate>,
    names: Names,
    programs: Programs,
    /// The last number that was given to facts.
    facts: u64,
    /// A moment ago: see [`Enricher::tick`].
    now: Instant,
    counters: Counters,
}

impl Enricher {
    /// For captures from this machine, now; with names of containers, or their ids alone.
    pub fn new(containers: Option<Containers>) -> Self {
        Self::of(Some(Local {
            procfs: Procfs::new("/proc"),
            users: Users::new(PASSWD),
            sockets: Sockets::new(),
            containers,
        }))
    }

    /// For recordings and other machines' captures: this machine is never asked, an
    /// event has what its backend delivered.
    pub fn detached() -> Self {
        Self::of(None)
    }

    fn of(local: Option<Local>) -> Self {
        Enricher {
            local,
            processes: Lru::new(MAX_PROCESSES),
            candidates: Vec::new(),
            names: Names::new(),
            programs: Programs::new(),
            facts: 0,
            now: Instant::now(),
            counters: Counters::default(),
        }
    }

    /// Looks at the clock, for what goes by seconds: once a batch, not for each event.
    pub fn tick(&mut self) {
        self.now = Instant::now();
        let now = self.now;
        if let Some(containers) = self.containers() {
            containers.tick(now);
        }
    }

    fn containers(&mut self) -> Option<&mut Containers> {
        self.local.as_mut()?.containers.as_mut()
    }

    /// Takes facts from a backend. They replace what is known about the program the
    /// process runs; what survives an exec stays known where they are silent.
    pub fn learn(&mut self, key: ProcessKey, facts: Process) {
        let entry = entry(&mut self.processes, &mut self.counters, key);
        entry.told = facts.exe.is_some() || facts.argv.is_some();
        entry.asked = None;
        entry.program = None;
        let old = std::mem::replace(&mut entry.process, facts);
        keep(&mut entry.process, old);
        entry.derive(next(&mut self.facts));
    }

    /// Takes an answer to a DNS query, which came in for the capture's task.
    pub fn learn_answer(&mut self, capture: &Capture, packet: &Packet<'_>) {
        let answers = transport::udp(packet).and_then(|d| wire::answers::answers(d.payload));
        let key = capture.task.and_then(|task| task.key);
        if let Some(answers) = answers {
            self.names.answer(key, capture.netns, &answers, capture.time);
        }
    }

    /// The event of a capture and the request decoded from it.
    pub fn event<'a>(
        &'a mut self,
        capture: &'a Capture,
        ends: Ends,
        request: &'a Request<'a>,
    ) -> Event<'a> {
        self.event_and_awaited(capture, ends, request).0
    }

    /// The event of a capture and the request decoded from it; and its container, where its
    /// name was asked for just now: see [`Enricher::awaited`].
    pub fn event_and_awaited<'a>(
        &'a mut self,
        capture: &'a Capture,
        ends: Ends,
        request: &'a Request<'a>,
    ) -> (Event<'a>, Option<ContainerId>) {
        let now = self.now;
        let (evidence, key) = self.attribute(capture, now);
        let mut awaited = None;
        if let Some(key) = key {
            self.complete(key, now);
            awaited = self.name_container(key, now);
        }
        let program = key.filter(|_| request.protocol.looks_into_programs());
        let program = program.and_then(|key| self.program(key, now));
        if let Some(local) = &mut self.local {
            local.users.refresh(now);
        }
        let place = Place { netns: capture.netns, address: ends.dst };
        let said = request.protocol.destination_name(request);
        if let (Some(key), Some((source, name))) = (key, said) {
            self.names.request(key, place, source, name);
        }
        let named = evidence.names_a_process();
        let task = capture.task.as_ref().filter(|_| named);
        let entry = key.and_then(|key| self.processes.peek(&key));
        let process = entry.map(|e| &e.process);
        let uid = task.and_then(|t| t.uid).or_else(|| process?.uid);
        let users = self.local.as_ref().map(|l| &l.users);
        let recorded = capture.recorded.as_deref();
        let user = recorded.and_then(|r| r.user.as_deref());
        let called = recorded.and_then(|r| r.dst_name.as_ref());
        let called = called.map(|(name, source)| DstName { name, source });
        let (sport, dport) = ends.ports.unzip();
        let event = Event {
            host: recorded.and_then(|r| r.host.as_deref()),
            sampled: recorded.and_then(|r| r.sampled),
            capture,
            evidence,
            key,
            tid: task.and_then(|t| t.tid),
            comm: task
                .and_then(|t| t.comm.as_ref().map(|c| until_nul(c)))
                .or_else(|| process?.comm.as_deref()),
            uid,
            user: user.or_else(|| uid.and_then(|uid| users?.name(uid))),
            process,
            facts: entry.map(|e| e.facts).filter(|facts| *facts != 0),
            unit: entry.and_then(|e| e.unit.as_deref()),
            container: entry.and_then(|e| e.container.as_deref()),
            candidates: &self.candidates,
            go: recorded
                .and_then(|r| r.go.as_ref())
                .or_else(|| program.and_then(|id| self.programs.get(&id))),
            src: ends.src,
            dst: ends.dst,
            sport,
            dport,
            dst_name: called.or_else(|| self.names.of(key, place, said, capture.time)),
            request,
            len: capture.len,
            raw: Raw::Packet(&[]),
            outcome: None,
        };
        (event, awaited)
    }

    /// What became of a container's name, as of the last tick.
    pub fn awaited(&self, container: ContainerId) -> Awaited {
        let containers = self.local.as_ref().and_then(|l| l.containers.as_ref());
        containers.map_or(Awaited::Nothing, |c| c.awaited(container, self.now))
    }

    /// Details that were lost, for [`crate::ledger::Ledger::details_lost`]: names and
    /// counts, zeros included.
    pub fn counters(&self) -> [(&'static str, u64); 11] {
        let untold = self.programs.untold;
        let containers = self.local.as_ref().and_then(|l| l.containers.as_ref());
        let unnamed = containers.map(Containers::untold).unwrap_or_default();
        let shortfall = self.local.as_ref().map(|l| l.sockets.shortfall).unwrap_or_default();
        [
            ("process-evicted", self.counters.evicted),
            ("process-gone", self.counters.gone),
            ("pid-reused", self.counters.reused),
            ("socket-search-limited", shortfall.limited),
            ("socket-search-cut", shortfall.cut),
            ("program-gone", untold.gone),
            ("program-limited", untold.limited),
            ("program-evicted", untold.evicted),
            ("container-evicted", unnamed.evicted),
            ("container-unasked", unnamed.unasked),
            ("container-unanswered", unnamed.unanswered),
        ]
    }

    /// What people should know at the end.
    pub fn notes(&self) -> Vec<String> {
        let containers = self.local.as_ref().and_then(|l| l.containers.as_ref());
        containers.map(Containers::notes).unwrap_or_default()
    }

    /// Who sent it: the backend's word, or the holders of the socket.
    fn attribute(&mut self, capture: &Capture, now: Instant) -> (Evidence, Option<ProcessKey>) {
        self.candidates.clear();
        if let Some(recorded) = &capture.recorded {
            self.candidates.extend_from_slice(&recorded.candidates);
        }
        let evidence = capture.evidence;
        if evidence.names_a_process() {
            return (evidence, capture.task.and_then(|t| t.key));
        }
        if evidence != Evidence::Unknown {
            return (evidence, None);
        }
        let mut proven = true;
        if let Some(holders) = &capture.holders {
            self.candidates.clone_from(&holders.processes);
            proven = holders.proven;
        } else if let (Some(inode), Some(local)) = (capture.socket_inode, &mut self.local) {
            local.sockets.find(&local.procfs, inode, now, &mut self.candidates);
        }
        match self.candidates.as_slice() {
            [] => (Evidence::Unknown, None),
            [only] if proven => {
                let key = only.key;
                self.candidates.clear();
                (Evidence::Procfs, Some(key))
            }
            _ => (Evidence::Procfs, None),
        }
    }

    /// The file that a process runs, as of a moment ago.
    fn program(&mut self, key: ProcessKey, now: Instant) -> Option<FileId> {
        let local = self.local.as_ref()?;
        let entry = entry(&mut self.processes, &mut self.counters, key);
        match entry.program {
            Some((at, known)) if now.saturating_duration_since(at) < PROC_FRESH => known,
            _ => {
                let exe = entry.process.exe.as_deref();
                let found = self.programs.find(&local.procfs, key, exe);
                entry.program = Some((now, found));
                found
            }
        }
    }

    /// Fills in what is absent about a process.
    fn complete(&mut self, key: ProcessKey, now: Instant) {
        let Some(local) = &self.local else { return };
        let entry = entry(&mut self.processes, &mut self.counters, key);
        if !entry.wants(now) {
            return;
        }
        let first = entry.asked.replace(now).is_none();
        match local.procfs.process(key) {
            Ok(found) => entry.fill(found, next(&mut self.facts)),
            Err(_) if !first => {}
            Err(Silence::Gone) => self.counters.gone += 1,
            Err(Silence::Reused) => self.counters.reused += 1,
        }
    }

    /// Adds what runtimes say about a process's container, as far as they have said it.
    /// Returns the container if they were asked for the first time just now.
    fn name_container(&mut self, key: ProcessKey, now: Instant) -> Option<ContainerId> {
        let containers = self.local.as_mut()?.containers.as_mut()?;
        let entry = self.processes.get_mut(&key)?;
        let id = entry.container_id?;
        if containers.is_due(&entry.look, now) {
            let found = containers.find(id, &mut entry.look, now);
            if found.is_some() && found != entry.process.container {
                entry.process.container = found;
                entry.facts = next(&mut self.facts);
            }
        }
        let unnamed = entry.process.container.is_none();
        (unnamed && matches!(containers.awaited(id, now), Awaited::Still)).then_some(id)
    }
}

/// The next number for facts.
fn next(facts: &mut u64) -> u64 {
    *facts += 1;
    *facts
}

/// The entry of a process, made if there is none.
fn entry<'a>(
    processes: &'a mut Lru<ProcessKey, Entry>,
    counters: &mut Counters,
    key: ProcessKey,
) -> &'a mut Entry {
    if processes.get_mut(&key).is_none() && processes.insert(key, Entry::default()) {
        counters.evicted += 1;
    }
    processes.get_mut(&key).expect("it was inserted just now")
}

impl Entry {
    /// Whether /proc could add something.
    fn wants(&self, now: Instant) -> bool {
        match self.asked {
            Some(_) if self.told => false,
            Some(at) => now.saturating_duration_since(at) >= PROC_FRESH,
            None => !(self.told && self.is_complete()),
        }
    }

    fn is_complete(&self) -> bool {
        let p = &self.process;
        p.start.is_some()
            && p.ppid.is_some()
            && p.ancestors.is_some()
            && p.uid.is_some()
            && p.comm.is_some()
            && p.exe.is_some()
            && p.argv.is_some()
            && p.cgroup.is_some()
    }

    /// Takes what /proc told: everything if no backend spoke, else what it left open.
    fn fill(&mut self, found: Process, facts: u64) {
        if !self.told {
            let old = std::mem::replace(&mut self.process, found);
            keep(&mut self.process, old);
            return self.derive(facts);
        }
        // The program in /proc may be the next one already. Its path belongs to the
        // reported command line only if the command lines are the same.
        let known = self.process.argv.as_deref();
        let same = known.is_none_or(|argv| {
            found.argv.as_ref().is_some_and(|now| {
                if self.process.argv_truncated { now.starts_with(argv) } else { now == argv }
            })
        });
        let known = &mut self.process;
        if same {
            known.comm.get_or_insert_with(|| found.comm.clone().unwrap_or_default());
            if known.exe.is_none() {
                known.exe.clone_from(&found.exe);
                known.exe_deleted = found.exe_deleted;
            }
            if known.argv.is_none() {
                known.argv.clone_from(&found.argv);
                known.argv_truncated = found.argv_truncated;
            }
        }
        keep(known, found);
        self.derive(facts);
    }

    /// Reads unit and container out of the cgroup path; the facts have changed.
    fn derive(&mut self, facts: u64) {
        self.facts = facts;
        let path = self.process.cgroup.as_deref();
        self.unit = path.and_then(container::unit);
        self.container = path.and_then(container::container);
        let id = self.container.as_deref().and_then(ContainerId::parse);
        if self.container_id != id {
            (self.container_id, self.look) = (id, Look::default());
        }
    }
}

/// Keeps from `old` what an exec does not change, where `new` is silent.
pub fn keep(new: &mut Process, old: Process) {
    new.start = new.start.or(old.start);
    new.ppid = new.ppid.or(old.ppid);
    new.uid = new.uid.or(old.uid);
    new.inner_pid = new.inner_pid.or(old.inner_pid);
    new.ancestors = new.ancestors.take().or(old.ancestors);
    // What is said about a container belongs to the cgroup that told which one it is.
    if new.cgroup.is_none() || new.cgroup == old.cgroup {
        new.container = new.container.take().or(old.container);
    }
    new.cgroup = new.cgroup.take().or(old.cgroup);
}

#[cfg(test)]
pub use containers::tests as runtimes;
#[cfg(test)]
pub mod tests;
