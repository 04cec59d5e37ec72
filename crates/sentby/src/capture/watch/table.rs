//! What is known about processes, by pid and by time: a pid that is used again is a
//! process of its own.

use super::messages::What;
use crate::enrich::{Lru, Procfs, keep};
use crate::event::{
    Ancestor, COMM_LEN, MAX_ANCESTORS, NS_PER_TICK, Process, ProcessKey, until_nul,
};
use std::collections::HashSet;

/// Pids that something is kept of. The one asked for longest ago makes room, be it that
/// of a process that has ended.
const MAX_PIDS: usize = 8192;

/// Processes that are read before any of them sends. The others are when they do.
const MAX_AT_START: usize = MAX_PIDS / 2;

/// Processes that are kept of one pid, and programs that are kept of one process.
const MAX_EACH: usize = 4;

/// Bytes of a command line that are kept; as many as are read in the kernel elsewhere.
const MAX_ARGV: usize = 8192;

/// How far a capture's time and ours may be apart: they are read from other clocks. In
/// nanoseconds.
const SLACK: u64 = 5_000_000;

/// The same for packets, whose time is that of the clock which the epoch is read from.
const PRECISION: u64 = 50_000;

/// How far a start by our clock and the one in /proc may be apart, in ticks.
pub const SLACK_TICKS: u64 = 2;

/// Where our clocks are on the Unix epoch's, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clocks {
    /// The zero of CLOCK_MONOTONIC.
    pub monotonic: i64,
    /// The zero of CLOCK_BOOTTIME.
    pub boot: i64,
    /// When they were read.
    pub now: u64,
}

/// What was not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Programs told of whose process had ended before /proc was read.
    pub late: u64,
    /// Processes that were asked for, and nobody knows.
    pub unknown: u64,
}

/// A program that a process runs, from `since` on (nanoseconds since the epoch).
struct Program {
    since: u64,
    facts: Process,
    told: bool,
    /// The process had ended before /proc was read.
    late: bool,
}

/// A process.
struct Life {
    key: ProcessKey,
    began: u64,
    ended: Option<u64>,
    programs: Vec<Program>,
    /// When it made its last child.
    forked: Option<u64>,
    /// It descends from who is followed, or is that.
    followed: bool,
    /// After how many overruns this was known to be so.
    round: u64,
}

/// What is known about processes.
pub struct Table {
    procfs: Procfs,
    lives: Lru<u32, Vec<Life>>,
    followed: HashSet<ProcessKey>,
    round: u64,
    /// When the last process ended, or messages were lost.
    ended: u64,
    /// What was not told.
    pub shortfall: Shortfall,
}

impl Table {
    /// Nothing known yet but what this process file system tells.
    pub fn new(procfs: Procfs) -> Table {
        Table {
            procfs,
            lives: Lru::new(MAX_PIDS),
            followed: HashSet::new(),
            round: 0,
            ended: 0,
            shortfall: Shortfall::default(),
        }
    }

    /// Reads the processes that are there, the highest pids first, which mostly are the
    /// youngest; kernel threads do not end. As long as `more` allows.
    pub fn take_in(&mut self, clocks: &Clocks, more: impl Fn() -> bool) {
        let mut pids: Vec<u32> = self.procfs.pids().collect();
        pids.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = MAX_AT_START;
        for pid in pids.into_iter().take_while(|_| more()) {
            if self.procfs.stat(pid).is_some_and(|stat| !stat.kernel_thread) && left > 0 {
                self.current(pid, clocks.now, clocks);
                left -= 1;
            }
        }
    }

    /// Takes what happened at `time` (nanoseconds since the epoch).
    pub fn happened(&mut self, time: u64, what: What, clocks: &Clocks) {
        match what {
            What::Answer(..) => {}
            What::Fork { parent, child } => self.fork(time, parent, child, clocks),
            What::Exec(pid) => self.exec(time, pid, clocks),
            What::Comm(pid, comm) => self.comm(pid, &comm),
            What::Uid(pid, uid) => self.uid(time, pid, uid),
            What::Exit(pid) => {
                self.ended = self.ended.max(time);
                if let Some(life) = self.last(pid) {
                    life.ended.get_or_insert(time);
                }
            }
        }
    }

    /// Follows these processes of now, and all that they will make.
    pub fn follow(&mut self, pids: impl IntoIterator<Item = u32>) {
        for pid in pids {
            if let Some(stat) = self.procfs.stat(pid) {
                let key = ProcessKey { pid, start_ticks: stat.start_ticks };
                self.followed.insert(key);
                if let Some(life) = self.last(pid).filter(|life| life.key == key) {
                    life.followed = true;
                }
            }
        }
    }

    /// Whether the process that had this pid at `time` is followed, if it is known.
    pub fn is_followed(&self, pid: u32, time: u64) -> Option<bool> {
        let lives = self.lives.peek(&pid)?;
        Some(lives[place(lives, time)?].followed)
    }

    /// Whether that process was there at `time` for sure, and has made no child from
    /// `since` on.
    pub fn was_alone(&self, key: ProcessKey, since: u64, time: u64) -> bool {
        let lives = self.lives.peek(&key.pid);
        lives.and_then(|lives| Some(&lives[place(lives, time)?])).is_some_and(|life| {
            life.key.start_ticks.abs_diff(key.start_ticks) <= SLACK_TICKS
                && life.round == self.round
                && life.forked.is_none_or(|at| at < since)
        })
    }

    /// Whether that process was there at `time`; `None` where it is not known for sure.
    pub fn was_there(&self, key: ProcessKey, time: u64) -> Option<bool> {
        let same = |life: &&Life| life.key.start_ticks.abs_diff(key.start_ticks) <= SLACK_TICKS;
        let life = self.lives.peek(&key.pid)?.iter().rfind(same)?;
        let since = life.began <= time.saturating_add(PRECISION);
        let until = life.ended.is_none_or(|end| end.saturating_add(PRECISION) >= time);
        (life.round == self.round).then_some(since && until)
    }

    /// When the last process ended that is known to have.
    pub fn last_end(&self) -> u64 {
        self.ended
    }

    /// Messages were lost until `now`: what is known may not be so any more.
    pub fn doubt(&mut self, now: u64) {
        self.ended = self.ended.max(now);
        self.round += 1;
    }

    /// The process that had this pid at `time`, and what it ran then if that was not
    /// told yet.
    pub fn at(
        &mut self,
        pid: u32,
        time: u64,
        clocks: &Clocks,
    ) -> Option<(ProcessKey, Option<&Process>)> {
        self.verify(pid, clocks);
        if self.lives.peek(&pid).is_none_or(|lives| place(lives, time).is_none()) {
            self.find(pid, time, clocks);
        }
        let found = self.lives.get_mut(&pid);
        let found = found.and_then(|lives| place(lives, time).map(|i| &mut lives[i]));
        let Some(life) = found else {
            self.shortfall.unknown += 1;
            return None;
        };
        let program = life.programs.iter().rposition(|p| p.since <= time).unwrap_or(0);
        let untold = life.programs.get_mut(program).filter(|p| !p.told);
        Some((
            life.key,
            untold.map(|program| {
                program.told = true;
                self.shortfall.late += u64::from(program.late);
                &program.facts
            }),
        ))
    }

    fn last(&mut self, pid: u32) -> Option<&mut Life> {
        self.lives.get_mut(&pid)?.last_mut()
    }

    fn fork(&mut self, time: u64, parent: u32, child: u32, clocks: &Clocks) {
        self.current(parent, time, clocks);
        let followed = self.last(parent).is_some_and(|life| {
            life.forked = Some(time);
            life.followed
        });
        let mut facts = match self.last(parent).and_then(|life| life.programs.last()) {
            Some(program) => program.facts.clone(),
            None => Process::default(),
        };
        let mut ancestors =
            vec![Ancestor { pid: Some(parent), comm: facts.comm.clone().unwrap_or_default() }];
        ancestors.extend(facts.ancestors.take().unwrap_or_default());
        ancestors.truncate(MAX_ANCESTORS);
        let start_ticks = self.start(child, time, clocks);
        facts.start = Some(clocks.start(start_ticks));
        facts.ppid = Some(parent);
        facts.ancestors = facts.comm.is_some().then_some(ancestors);
        let key = ProcessKey { pid: child, start_ticks };
        // In a pid namespace, only /proc tells which pid it has there.
        if facts.inner_pid.take().is_some()
            && let Ok(read) = self.procfs.process(key)
        {
            facts = cut(read);
        }
        self.add(key, time, facts);
        if let Some(life) = self.last(child) {
            life.followed |= followed;
        }
    }

    fn exec(&mut self, time: u64, pid: u32, clocks: &Clocks) {
        let round = self.round;
        if self.last(pid).is_none_or(|life| life.ended.is_some()) {
            // It was there before us; if it is there no more, nobody knows since when.
            let latest = clocks.ticks(time) + SLACK_TICKS;
            let stat = self.procfs.stat(pid).filter(|stat| stat.start_ticks <= latest);
            let Some(start_ticks) = stat.map(|stat| stat.start_ticks) else { return };
            let key = ProcessKey { pid, start_ticks };
            self.add(key, clocks.start(start_ticks).min(time), Process::default());
        }
        let Some(key) = self.last(pid).map(|life| life.key) else { return };
        let read = self.procfs.glimpse(key);
        // What has ended and is not forgotten yet has no program any more.
        let late = read.as_ref().map_or(true, |read| read.exe.is_none() && read.argv.is_none());
        let Some(life) = self.last(pid) else { return };
        // Which program it ran nobody may know; the rest outlives an exec.
        let mut facts = read.map(cut).unwrap_or_default();
        // A process that is about to go has no parent any more (`do_task_stat`).
        if facts.ppid == Some(0) {
            (facts.ppid, facts.ancestors) = (None, None);
        }
        if let Some(before) = life.programs.last() {
            keep(&mut facts, before.facts.clone());
        }
        life.round = round;
        push(&mut life.programs, Program { since: time, facts, told: false, late });
    }

    fn comm(&mut self, pid: u32, comm: &[u8; COMM_LEN]) {
        if let Some(program) = self.last(pid).and_then(|life| life.programs.last_mut()) {
            program.facts.comm = Some(until_nul(comm).to_vec());
        }
    }

    /// From here on it is as if it ran another program, of which all else is the same.
    fn uid(&mut self, time: u64, pid: u32, uid: u32) {
        let Some(programs) = self.last(pid).map(|life| &mut life.programs) else { return };
        let Some(program) = programs.last().filter(|p| p.facts.uid != Some(uid)) else { return };
        let facts = Process { uid: Some(uid), ..program.facts.clone() };
        let late = program.late;
        push(programs, Program { since: time, facts, told: false, late });
    }

    /// The start in /proc if that is this process, else what our clock says.
    fn start(&self, pid: u32, time: u64, clocks: &Clocks) -> u64 {
        let by_clock = clocks.ticks(time);
        let by_proc = self.procfs.stat(pid).map(|stat| stat.start_ticks);
        by_proc.filter(|t| t.abs_diff(by_clock) <= SLACK_TICKS).unwrap_or(by_clock)
    }

    fn add(&mut self, key: ProcessKey, began: u64, facts: Process) {
        if let Some(before) = self.last(key.pid) {
            before.ended.get_or_insert(began);
        }
        let programs = vec![Program { since: began, facts, told: false, late: false }];
        let followed = self.followed.contains(&key);
        let round = self.round;
        let life = Life { key, began, ended: None, programs, forked: None, followed, round };
        match self.lives.get_mut(&key.pid) {
            Some(lives) => push(lives, life),
            None => {
                self.lives.insert(key.pid, vec![life]);
            }
        }
    }

    /// Makes sure that the process which has this pid now is known, if it still is there.
    fn current(&mut self, pid: u32, time: u64, clocks: &Clocks) {
        self.verify(pid, clocks);
        if self.last(pid).is_none_or(|life| life.ended.is_some()) {
            self.find(pid, time, clocks);
        }
    }

    /// Looks into /proc for a process that was there before we were, or whose leader has
    /// ended while its threads go on.
    fn find(&mut self, pid: u32, time: u64, clocks: &Clocks) {
        let Some(stat) = self.procfs.stat(pid) else { return };
        let key = ProcessKey { pid, start_ticks: stat.start_ticks };
        let began = clocks.start(key.start_ticks);
        if began > time.saturating_add(SLACK_TICKS * NS_PER_TICK) {
            return;
        }
        match self.last(pid) {
            Some(life) if life.key.start_ticks.abs_diff(key.start_ticks) <= SLACK_TICKS => {
                life.ended = None;
            }
            _ => {
                if let Ok(read) = self.procfs.process(key) {
                    self.add(key, began.min(time), cut(read));
                }
            }
        }
    }

    /// After an overrun: whether the pid is still that process's, and what it runs.
    fn verify(&mut self, pid: u32, clocks: &Clocks) {
        let round = self.round;
        let Some(life) = self.last(pid).filter(|l| l.round != round && l.ended.is_none()) else {
            return;
        };
        life.round = round;
        let (key, began) = (life.key, life.began);
        let read = self.procfs.process(key);
        let Some(life) = self.last(pid) else { return };
        match read {
            Ok(read) => {
                let facts = cut(read);
                let same = life
                    .programs
                    .last()
                    .is_some_and(|p| (&p.facts.argv, &p.facts.exe) == (&facts.argv, &facts.exe));
                if !same {
                    let since = clocks.now.max(began);
                    push(&mut life.programs, Program { since, facts, told: false, late: false });
                }
            }
            // When it ended was lost: since it was heard of last, nobody is sure.
            Err(_) => life.ended = Some(life.programs.last().map_or(began, |p| p.since)),
        }
    }
}

impl Clocks {
    /// Clock ticks since boot.
    fn ticks(&self, epoch: u64) -> u64 {
        epoch.saturating_add_signed(self.boot.saturating_neg()) / NS_PER_TICK
    }

    /// The same, since the epoch.
    fn start(&self, ticks: u64) -> u64 {
        ticks.saturating_mul(NS_PER_TICK).saturating_add_signed(self.boot)
    }
}

/// Which of a pid's processes it was at `time`. Where the clocks' difference leaves two,
/// it is none.
fn place(lives: &[Life], time: u64) -> Option<usize> {
    let within = |slack: u64| {
        move |l: &Life| {
            l.began <= time.saturating_add(slack)
                && l.ended.is_none_or(|end| end.saturating_add(slack) >= time)
        }
    };
    let sure = lives.iter().rposition(within(0));
    sure.or_else(|| {
        let mut near = (0..lives.len()).filter(|i| within(SLACK)(&lives[*i]));
        near.next().filter(|_| near.next().is_none())
    })
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= MAX_EACH {
        list.remove(0);
    }
    list.push(item);
}

/// A process with no more of its command line than is kept.
fn cut(mut process: Process) -> Process {
    if let Some(argv) = process.argv.as_mut().filter(|a| a.len() > MAX_ARGV) {
        argv.truncate(MAX_ARGV);
        argv.shrink_to_fit();
        process.argv_truncated = true;
    }
    process
}

#[cfg(test)]
mod tests;
