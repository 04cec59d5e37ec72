//! Several starts at once, as a table: one look-up for each byte.

use super::{Bytes, Start, Step};
use std::collections::BTreeMap;
use std::fmt;

#[cfg(test)]
mod tests;

/// Most starts in a table.
pub const STARTS: usize = 8;

/// Most states of a table.
pub const STATES: usize = 128;

/// Most classes of bytes that a table tells apart.
pub const CLASSES: usize = 64;

/// The state of bytes that begin like none of the starts.
pub const REJECT: u8 = 0;

/// A deterministic automaton over several starts.
///
/// State [`REJECT`] is where no start can fit any more. State `n`, up to the number of
/// starts, is where start `n - 1` is the first that is complete, or the lowest of those
/// that are complete after the same byte. Both are final: nothing leads out of them.
/// The states after these are on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    class_of: [u8; 256],
    next: Vec<[u8; CLASSES]>,
    rules: Vec<Rule>,
    start: u8,
}

/// How to tell, once a start is complete, that the whole message is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// `at`, `size` and `add` of a [`Step::Total`].
    pub total: Option<(u8, u8, u16)>,
    /// The bytes of a [`Step::Until`].
    pub until: Option<[u8; 4]>,
}

impl Rule {
    /// The rule that stands in a start.
    fn of(start: Start) -> Rule {
        let mut rule = Rule::default();
        for step in start {
            match *step {
                Step::One(_) | Step::Some(_) => {}
                Step::Total { at, size, add } => rule.total = Some((at, size, add)),
                Step::Until(end) => rule.until = Some(end),
            }
        }
        rule
    }
}

/// Starts for which a table has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// More than [`STARTS`].
    Starts,
    /// They need more than [`STATES`].
    States,
    /// They need more than [`CLASSES`].
    Classes,
}

impl fmt::Display for TooMany {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, most) = match self {
            TooMany::Starts => ("starts", STARTS),
            TooMany::States => ("states", STATES),
            TooMany::Classes => ("classes of bytes", CLASSES),
        };
        write!(f, "a table has room for {most} {what}, not for more")
    }
}

impl std::error::Error for TooMany {}

impl Table {
    /// Makes the table of these starts; of none, one that rejects whatever comes.
    pub fn compile(starts: &[Start]) -> Result<Table, TooMany> {
        if starts.len() > STARTS {
            return Err(TooMany::Starts);
        }
        let mut builder = Builder::new(starts);
        let start = builder.state(builder.beginning())?;
        let rows = builder.rows(starts.len())?;
        let (class_of, next) = classes(&rows)?;
        let rules = starts.iter().map(|start| Rule::of(start)).collect();
        Ok(Table { class_of, next, rules, start })
    }

    /// The class of each byte, below [`CLASSES`].
    pub fn class_of(&self) -> &[u8; 256] {
        &self.class_of
    }

    /// For each state, the state that follows upon a byte of each class. At most
    /// [`STATES`] rows.
    pub fn next(&self) -> &[[u8; CLASSES]] {
        &self.next
    }

    /// For each start, how to tell that the whole message is there.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The state before the first byte: the one after the accepting states, unless a
    /// start takes no byte at all.
    pub fn start(&self) -> u8 {
        self.start
    }

    /// The state after these bytes, or the first final one.
    #[must_use]
    pub fn run(&self, state: u8, bytes: &[u8]) -> u8 {
        let mut state = state;
        for byte in bytes {
            if self.rejects(state) || self.accepts(state).is_some() {
                break;
            }
            let row = self.next.get(usize::from(state));
            state = row.map_or(REJECT, |row| row[usize::from(self.class_of[usize::from(*byte)])]);
        }
        state
    }

    /// The number of the start that is complete in this state.
    pub fn accepts(&self, state: u8) -> Option<usize> {
        let start = usize::from(state).checked_sub(1)?;
        (start < self.rules.len()).then_some(start)
    }

    /// Whether no start can fit any more in this state.
    pub fn rejects(&self, state: u8) -> bool {
        state == REJECT
    }
}

/// How far each start may have come: its number, and how many of its steps are done.
type Subset = Vec<(usize, usize)>;

/// Makes states of subsets.
struct Builder {
    /// Of each start, the steps that take bytes, and whether they take more than one.
    starts: Vec<Vec<(Bytes, bool)>>,
    numbers: BTreeMap<Subset, u8>,
    /// The subsets by number, without those of final states.
    subsets: Vec<Subset>,
}

impl Builder {
    fn new(starts: &[Start]) -> Builder {
        let taking = |step: &Step| Some((step.set()?, matches!(step, Step::Some(_))));
        Builder {
            starts: starts.iter().map(|start| start.iter().filter_map(taking).collect()).collect(),
            numbers: BTreeMap::new(),
            subsets: Vec::new(),
        }
    }

    /// Before the first byte.
    fn beginning(&self) -> Subset {
        (0..self.starts.len()).map(|start| (start, 0)).collect()
    }

    /// The number of a subset's state; a new one if it has none yet.
    fn state(&mut self, subset: Subset) -> Result<u8, TooMany> {
        let complete = |(start, done): &&(usize, usize)| *done == self.starts[*start].len();
        if let Some((start, _)) = subset.iter().find(complete) {
            return number(start + 1);
        }
        // The first is the start, even where it is empty because no start is.
        if subset.is_empty() && !self.subsets.is_empty() {
            return Ok(REJECT);
        }
        if let Some(state) = self.numbers.get(&subset) {
            return Ok(*state);
        }
        let state = number(1 + self.starts.len() + self.subsets.len())?;
        self.numbers.insert(subset.clone(), state);
        self.subsets.push(subset);
        Ok(state)
    }

    /// What may be after one more byte.
    fn after(&self, subset: &Subset, byte: u8) -> Subset {
        let mut after = Subset::new();
        for &(start, done) in subset {
            let (set, more) = self.starts[start][done];
            if set.has(byte) {
                after.extend(more.then_some((start, done)));
                after.push((start, done + 1));
            }
        }
        after.sort_unstable();
        after.dedup();
        after
    }

    /// For each state, what follows upon each byte. Finds the states on the way.
    fn rows(&mut self, starts: usize) -> Result<Vec<[u8; 256]>, TooMany> {
        let mut rows = Vec::with_capacity(STATES);
        for state in 0..=starts {
            rows.push([number(state)?; 256]);
        }
        let mut at = 0;
        while let Some(subset) = self.subsets.get(at).cloned() {
            let mut row = [REJECT; 256];
            for byte in 0..=u8::MAX {
                row[usize::from(byte)] = self.state(self.after(&subset, byte))?;
            }
            rows.push(row);
            at += 1;
        }
        Ok(rows)
    }
}

/// A state's number, while there is room for it.
fn number(state: usize) -> Result<u8, TooMany> {
    const { assert!(STATES <= 256) };
    if state < STATES { Ok(state as u8) } else { Err(TooMany::States) }
}

/// Gives bytes that every state goes on from alike the same class.
fn classes(rows: &[[u8; 256]]) -> Result<([u8; 256], Vec<[u8; CLASSES]>), TooMany> {
    let mut numbers: BTreeMap<Vec<u8>, u8> = BTreeMap::new();
    let mut class_of = [0; 256];
    let mut next = vec![[REJECT; CLASSES]; rows.len()];
    for byte in 0..256 {
        let column: Vec<u8> = rows.iter().map(|row| row[byte]).collect();
        let new = numbers.len();
        let class = *numbers.entry(column).or_insert(new as u8);
        if usize::from(class) >= CLASSES {
            return Err(TooMany::Classes);
        }
        class_of[byte] = class;
        for (to, from) in next.iter_mut().zip(rows) {
            to[usize::from(class)] = from[byte];
        }
    }
    Ok((class_of, next))
}
