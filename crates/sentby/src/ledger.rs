//! The ledger: where every packet went. `seen = shown + filtered + lost + left + parts`.

use crate::capture::Counts;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io;

/// What one hook of a backend counted, in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookCount {
    /// The hook's name.
    pub hook: &'static str,
    /// Packets of the wanted protocols that this hook was responsible for.
    pub seen: u64,
    /// Dropped in the kernel by the user's filter.
    pub filtered: u64,
    /// Runs the kernel itself skipped (`nmissed`, `recursion_misses`); `None` where
    /// this kernel does not say.
    pub missed: Option<u64>,
    /// What running it has cost; `None` where that is not measured.
    pub cost: Option<Cost>,
}

/// What the kernel measured of a hook's programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Runs that were measured.
    pub runs: u64,
    /// How long they took, all in all: nanoseconds.
    pub ns: u64,
}

/// Counts of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Per hook.
    pub hooks: Vec<HookCount>,
    /// Events handed to the outputs.
    pub shown: u64,
    /// Events that the filter rejected in user space.
    pub filtered: u64,
    /// Captures lost, by place.
    pub lost: BTreeMap<&'static str, u64>,
    /// Captures of payload less the requests found in them: parts of requests and what
    /// only began like one; negative where packets carried several.
    pub parts: i64,
    /// Captures still queued when `-c` or the time limit was reached.
    pub left: u64,
    /// Losses that cost no event, only details of one (e.g. a process record), by place.
    pub details_lost: BTreeMap<&'static str, u64>,
}

impl Ledger {
    /// Adds what a source counted.
    pub fn add(&mut self, counts: &Counts) {
        for of_hook in &counts.hooks {
            match self.hooks.iter_mut().find(|known| known.hook == of_hook.hook) {
                Some(known) => known.add(of_hook),
                None => self.hooks.push(of_hook.clone()),
            }
        }
        add_all(&mut self.lost, &counts.lost);
        add_all(&mut self.details_lost, &counts.details_lost);
    }

    /// Adds another run's.
    pub fn add_run(&mut self, other: &Ledger) {
        self.add(&Counts {
            hooks: other.hooks.clone(),
            lost: other.lost.clone(),
            details_lost: other.details_lost.clone(),
            ..Counts::default()
        });
        self.shown += other.shown;
        self.filtered += other.filtered;
        self.parts += other.parts;
        self.left += other.left;
    }

    /// Packets seen, over all hooks.
    pub fn seen(&self) -> u64 {
        self.hooks.iter().map(|h| h.seen).sum()
    }

    /// Packets filtered, in the kernel and in user space.
    pub fn all_filtered(&self) -> u64 {
        self.filtered + self.hooks.iter().map(|h| h.filtered).sum::<u64>()
    }

    /// Captures lost, over all places.
    pub fn all_lost(&self) -> u64 {
        self.lost.values().sum()
    }

    /// Whether everything seen is accounted for.
    pub fn adds_up(&self) -> bool {
        let known = self.shown + self.all_filtered() + self.all_lost() + self.left;
        self.seen() as i64 == known as i64 + self.parts
    }

    /// Writes the ledger for people: one line, and a line for every place where
    /// something was lost; with `verbose`, for every hook.
    pub fn write_text(&self, verbose: bool, out: &mut dyn Write) -> fmt::Result {
        let (seen, filtered, lost) = (self.seen(), self.all_filtered(), self.all_lost());
        write!(out, "sentby: {seen} seen, {} shown, {filtered} filtered, {lost} lost", self.shown)?;
        match self.parts {
            0 => {}
            1.. => write!(out, ", {} parts or no requests", self.parts)?,
            _ => write!(out, ", {} out of packets with several", -self.parts)?,
        }
        if self.left > 0 {
            write!(out, ", {} left unread", self.left)?;
        }
        writeln!(out)?;
        for (place, count) in nonzero(&self.lost) {
            writeln!(out, "sentby: {count} lost at {place}")?;
        }
        for (place, count) in nonzero(&self.details_lost) {
            writeln!(out, "sentby: {count} shown with details missing: {place}")?;
        }
        for hook in self.hooks.iter().filter(|h| verbose || h.missed.is_some_and(|m| m > 0)) {
            write!(
                out,
                "sentby: hook {}: {} seen, {} filtered",
                hook.hook, hook.seen, hook.filtered
            )?;
            match hook.missed {
                Some(missed) => writeln!(out, ", {missed} runs missed")?,
                None => writeln!(out, ", runs missed: this kernel does not say")?,
            }
        }
        if !self.adds_up() {
            writeln!(out, "sentby: these counts do not add up; please report it")?;
        }
        Ok(())
    }

    /// Writes the ledger as one JSON object and a newline; docs/events.md describes it.
    pub fn write_json(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let hooks: Vec<_> = self.hooks.iter().map(hook_json).collect();
        let object = json!({
            "seen": self.seen(),
            "shown": self.shown,
            "filtered": self.all_filtered(),
            "lost": self.all_lost(),
            "left": self.left,
            "parts": self.parts,
            "lost_by": nonzero(&self.lost).collect::<BTreeMap<_, _>>(),
            "details_lost": nonzero(&self.details_lost).collect::<BTreeMap<_, _>>(),
            "hooks": hooks,
        });
        writeln!(out, "{object}")
    }
}

impl HookCount {
    /// What either does not say, the sum does not.
    fn add(&mut self, other: &HookCount) {
        self.seen += other.seen;
        self.filtered += other.filtered;
        self.missed = self.missed.zip(other.missed).map(|(a, b)| a + b);
        let sum = |(a, b): (Cost, Cost)| Cost { runs: a.runs + b.runs, ns: a.ns + b.ns };
        self.cost = self.cost.zip(other.cost).map(sum);
    }
}

fn add_all(sums: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (place, n) in more.iter().filter(|(_, n)| **n > 0) {
        *sums.entry(place).or_default() += n;
    }
}

fn nonzero<'a>(
    counts: &'a BTreeMap<&'static str, u64>,
) -> impl Iterator<Item = (&'static str, u64)> + 'a {
    counts.iter().filter(|(_, count)| **count > 0).map(|(place, count)| (*place, *count))
}

fn hook_json(hook: &HookCount) -> serde_json::Value {
    let mut object = json!({"hook": hook.hook, "seen": hook.seen, "filtered": hook.filtered});
    if let Some(missed) = hook.missed {
        object["missed"] = missed.into();
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let hook =
            HookCount { hook: "cgroup_skb", seen: 12, filtered: 1, missed: Some(0), cost: None };
        Ledger { hooks: vec![hook], shown: 10, filtered: 1, ..Ledger::default() }
    }

    fn text(ledger: &Ledger, verbose: bool) -> String {
        let mut out = String::new();
        ledger.write_text(verbose, &mut out).unwrap();
        out
    }

    fn json(ledger: &Ledger) -> serde_json::Value {
        let mut out = Vec::new();
        ledger.write_json(&mut out).unwrap();
        assert_eq!(out.iter().filter(|b| **b == b'\n').count(), 1);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn a_clean_run_is_one_line() {
        let one = "sentby: 12 seen, 10 shown, 2 filtered, 0 lost\n";
        assert_eq!(text(&ledger(), false), one);
        let hook = "sentby: hook cgroup_skb: 12 seen, 1 filtered, 0 runs missed\n";
        assert_eq!(text(&ledger(), true), format!("{one}{hook}"));
    }

    #[test]
    fn losses_are_told_by_place() {
        let mut ledger = ledger();
        ledger.shown = 5;
        ledger.left = 2;
        ledger.lost = BTreeMap::from([("ring-full", 3), ("channel-full", 0)]);
        ledger.details_lost = BTreeMap::from([("process-gone", 1)]);
        ledger.hooks[0].missed = Some(4);
        assert_eq!(
            text(&ledger, false),
            "sentby: 12 seen, 5 shown, 2 filtered, 3 lost, 2 left unread\n\
             sentby: 3 lost at ring-full\n\
             sentby: 1 shown with details missing: process-gone\n\
             sentby: hook cgroup_skb: 12 seen, 1 filtered, 4 runs missed\n"
        );
        assert_eq!(
            json(&ledger),
            json!({
                "seen": 12, "shown": 5, "filtered": 2, "lost": 3, "left": 2, "parts": 0,
                "lost_by": {"ring-full": 3}, "details_lost": {"process-gone": 1},
                "hooks": [{"hook": "cgroup_skb", "seen": 12, "filtered": 1, "missed": 4}],
            })
        );
    }

    #[test]
    fn counts_that_do_not_add_up_are_admitted() {
        let mut ledger = ledger();
        ledger.shown = 9;
        assert!(text(&ledger, false).ends_with("do not add up; please report it\n"));
    }

    #[test]
    fn a_kernel_that_does_not_count_misses_is_not_said_to_have_none() {
        let mut ledger = ledger();
        ledger.hooks[0].missed = None;
        assert!(text(&ledger, true).contains("runs missed: this kernel does not say"));
        assert_eq!(json(&ledger)["hooks"][0].get("missed"), None);
    }
}
