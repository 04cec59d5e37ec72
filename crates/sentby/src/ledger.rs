//! The ledger: where every packet went. `seen = shown + filtered + lost + left`.

use std::collections::BTreeMap;

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
    /// Captures still queued when `-c` or the time limit was reached.
    pub left: u64,
    /// Losses that cost no event, only details of one (e.g. a process record), by place.
    pub details_lost: BTreeMap<&'static str, u64>,
}

impl Ledger {
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
        self.seen() == self.shown + self.all_filtered() + self.all_lost() + self.left
    }
}
