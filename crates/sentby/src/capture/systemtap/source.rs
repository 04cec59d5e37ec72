//! Lines become captures, those that the plan wants.

use super::HOOK;
use super::line::{self, End, Line, Packet, Program, Seen, Send};
use super::run::Run;
use crate::capture::select::Selector;
use crate::capture::watch::Watch;
use crate::capture::{Counts, Source};
use crate::enrich::Lru;
use crate::event::{Batch, Capture, Item, Process, ProcessKey};
use crate::ledger::HookCount;
use crate::plan::Plan;
use anyhow::Result;
use std::time::Duration;
use wire::transport::TCP;
use wire::{Layer, rebuild};

/// Reads a loaded module's lines.
pub struct StapSource {
    run: Run,
    maker: Maker,
}

/// Makes captures.
pub struct Maker {
    selector: Selector,
    watch: Option<Watch>,
    /// The plan asks for descendants, and the watch was told.
    follows: bool,
    /// Lines of captures that came.
    came: u64,
    /// The highest number among them.
    highest: u64,
    /// Captures that the plan wants.
    wanted: u64,
    end: Option<End>,
    /// What a line says was sent.
    sent: Vec<u8>,
    /// What the module told of senders whose first capture is still to come.
    programs: Lru<ProcessKey, Process>,
}

/// Senders of which that is kept.
const MAX_PROGRAMS: usize = 1024;

impl StapSource {
    /// Of a module whose probes are live.
    pub fn new(run: Run, maker: Maker) -> StapSource {
        StapSource { run, maker }
    }
}

impl Source for StapSource {
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()> {
        self.run.read(wait)?;
        let maker = &mut self.maker;
        let mut empty = 0;
        self.run.lines(|line| empty += u64::from(maker.take(line, batch).is_none()));
        self.run.bad += empty;
        Ok(())
    }

    fn detach(&mut self) {
        self.run.stop();
    }

    fn counts(&mut self) -> Counts {
        let mut counts = self.maker.counts(self.run.bad);
        if let Some(hook) = counts.hooks.first_mut() {
            hook.missed = self.maker.end.map(|_| self.run.skipped());
        }
        counts
    }
}

impl Maker {
    /// For a plan; details come from the watch, if there is one.
    pub fn new(selector: Selector, watch: Option<Watch>, plan: &Plan) -> Maker {
        if let Some(watch) = watch.as_ref().filter(|_| plan.children) {
            watch.follow(&plan.pids.0);
        }
        Maker {
            selector,
            watch,
            follows: plan.children,
            came: 0,
            highest: 0,
            wanted: 0,
            end: None,
            sent: Vec::new(),
            programs: Lru::new(MAX_PROGRAMS),
        }
    }

    /// Appends a line's capture to the batch, if the plan wants it. `None`: the line is
    /// not what it should be.
    pub fn take(&mut self, line: Line<'_>, batch: &mut Batch) -> Option<()> {
        match line {
            Line::Ready(_) => Some(()),
            Line::End(end) => {
                self.end = Some(end);
                Some(())
            }
            Line::Program(program) => self.program(&program),
            Line::Packet(packet) => self.packet(packet, batch),
            Line::Send(send) => self.send(&send, batch),
        }
    }

    fn program(&mut self, program: &Program<'_>) -> Option<()> {
        let mut argv = Vec::new();
        line::unhex(program.hex, &mut argv)?;
        let (exe, exe_deleted) = executable(program.exe)?;
        let cut = (argv.len() as u64) < program.len;
        if !cut && argv.last() == Some(&0) {
            argv.pop();
        }
        let process = Process {
            ppid: Some(program.ppid),
            argv: (!argv.is_empty()).then_some(argv),
            argv_truncated: cut,
            exe,
            exe_deleted,
            ..Process::default()
        };
        self.programs.insert(program.key, process);
        Some(())
    }

    /// What is known of a sender and was not told yet goes ahead of its capture. What was
    /// read as it sent is so; of what was read as it started, the rest.
    fn tell(&mut self, key: ProcessKey, time: u64, batch: &mut Batch) -> Option<bool> {
        let before = batch.items.len();
        if let Some(watch) = &self.watch {
            watch.facts_of(key, time, batch);
        }
        if let Some(own) = self.programs.remove(&key) {
            match batch.items.get_mut(before) {
                Some(Item::Process(_, facts)) => merge(facts, own),
                _ => batch.items.push(Item::Process(key, Box::new(own))),
            }
        }
        self.watch.as_ref()?.descends(key.pid, time).filter(|_| self.follows)
    }

    fn packet(&mut self, packet: Packet<'_>, batch: &mut Batch) -> Option<()> {
        let from = batch.bytes.len();
        line::unhex(packet.hex, &mut batch.bytes)?;
        let about = About {
            seen: packet.seen,
            iface: packet.iface,
            len: Some(packet.len),
            segment: packet.segment,
        };
        self.capture(about, from, batch);
        Some(())
    }

    /// What a socket is given to send becomes a segment: the kernel has made none yet.
    fn send(&mut self, send: &Send<'_>, batch: &mut Batch) -> Option<()> {
        self.sent.clear();
        line::unhex(send.hex, &mut self.sent)?;
        let from = batch.bytes.len();
        let ((src, dst), ports, seq) = (send.ends, send.ports, send.seq);
        let (bytes, whole) = (self.sent.as_slice(), self.sent.len() as u64);
        let sent = rebuild::Sent { src, dst, ports, protocol: TCP, seq, bytes, whole };
        rebuild::packet(&sent, &mut batch.bytes);
        let seen = Seen { task: send.seen.task, ..send.seen };
        self.capture(About { seen, iface: None, len: None, segment: None }, from, batch);
        Some(())
    }

    fn capture(&mut self, about: About, from: usize, batch: &mut Batch) {
        let seen = about.seen;
        self.came += 1;
        self.highest = self.highest.max(seen.number);
        // What cannot be parsed goes on: the pipeline counts it.
        let packet = wire::packet::parse(Layer::Ip, &batch.bytes[from..]);
        let selected = packet.map(|packet| self.selector.look(seen.netns, &packet));
        let (wanted, bytes) = match selected {
            Some(None) => return batch.bytes.truncate(from),
            Some(Some(selected)) => (selected.wanted, selected.bytes),
            None => (crate::event::Wanted::Packet, 0),
        };
        batch.bytes.truncate((from + bytes).min(batch.bytes.len()));
        self.wanted += 1;
        let key = seen.task.and_then(|task| task.key);
        let descends = key.and_then(|key| self.tell(key, seen.time, batch));
        batch.items.push(Item::Capture(Capture {
            time: seen.time,
            hook: HOOK,
            evidence: seen.evidence,
            task: seen.task,
            socket_inode: seen.inode,
            outcome_follows: false,
            holders: None,
            shared: false,
            netns: seen.netns,
            iface: about.iface,
            descends,
            wanted,
            layer: Layer::Ip,
            bytes: from..batch.bytes.len(),
            len: about.len,
            segment: about.segment,
            recorded: None,
        }));
    }

    /// The ledger's numbers; `bad` lines were no lines.
    fn counts(&self, bad: u64) -> Counts {
        let end = self.end.unwrap_or_default();
        let mut counts = Counts::default();
        // Each line has a number. One that was sent and did not come was lost on the way,
        // unless it came as something else.
        let sent = self.end.map_or(self.highest, |end| end.lines);
        let lost = sent.saturating_sub(self.came + bad);
        for (place, n) in
            [("stap-transport", lost), ("stap-lines", bad), ("unreadable", end.unreadable)]
        {
            if n > 0 {
                counts.lost.insert(place, n);
            }
        }
        let watch = self.watch.iter().flat_map(Watch::lost);
        let own = [
            ("stap-cut", end.cut),
            ("stap-sockets", end.evicted),
            ("streams-forgotten", self.selector.forgotten),
        ];
        for (place, n) in own.into_iter().chain(watch).filter(|(_, n)| *n > 0) {
            counts.details_lost.insert(place, n);
        }
        let seen = self.wanted + counts.lost.values().sum::<u64>();
        counts.hooks.push(HookCount { hook: HOOK, seen, filtered: 0, missed: None, cost: None });
        counts
    }
}

/// Adds what was read as a process sent to what was read as it started: of another
/// program, what belongs to that one goes.
fn merge(facts: &mut Process, own: Process) {
    let Some(argv) = &own.argv else { return };
    let same = match own.argv_truncated {
        true => facts.argv.as_ref().is_some_and(|known| known.starts_with(argv)),
        false => facts.argv.as_ref() == Some(argv),
    };
    if same {
        if facts.exe.is_none() {
            (facts.exe, facts.exe_deleted) = (own.exe, own.exe_deleted);
        }
        return;
    }
    facts.ppid = facts.ppid.or(own.ppid);
    facts.argv = own.argv;
    facts.argv_truncated = own.argv_truncated;
    (facts.exe, facts.exe_deleted, facts.comm) = (own.exe, own.exe_deleted, None);
}

/// A path, and whether its file has been deleted. A file that is
/// really called `x (deleted)` is taken for a deleted `x`.
fn executable(hex: &[u8]) -> Option<(Option<Vec<u8>>, bool)> {
    const DELETED: &[u8] = b" (deleted)";
    let mut path = Vec::new();
    line::unhex(hex, &mut path)?;
    let deleted = path.ends_with(DELETED);
    if deleted {
        path.truncate(path.len() - DELETED.len());
    }
    Some(((!path.is_empty()).then_some(path), deleted))
}

/// What a capture has beside its bytes.
struct About {
    seen: Seen,
    iface: Option<crate::event::Iface>,
    len: Option<u32>,
    segment: Option<u32>,
}

#[cfg(test)]
mod tests;
