//! Who sent, and whom to: rows in bounded number, with their counts.
//!
//! Where there are more than fit, a row stands for several (a program instead of its
//! processes, a network instead of its addresses), and one at last for all the rest: no
//! event is left out of the counts.

use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

/// Rows for one party each.
pub const MAX_EXACT: usize = 10_000;

/// Rows for several parties each, beyond those.
pub const MAX_COARSE: usize = 2_000;

/// Ports that a row lists.
const MAX_PORTS: usize = 16;

/// What a row stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// One party.
    Exact,
    /// Several that have something in common.
    Coarse,
    /// All for which there was no room.
    Rest,
}

/// What was counted of a party or between two.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Events.
    pub count: u64,
    /// Bytes of their packets, where any is known.
    pub bytes: Option<u64>,
    /// Earliest and latest time, in nanoseconds since the Unix epoch.
    pub span: Option<(u64, u64)>,
}

impl Tally {
    /// One more event.
    pub fn add(&mut self, time: u64, bytes: Option<u32>) {
        self.count += 1;
        if let Some(n) = bytes {
            self.bytes = Some(self.bytes.unwrap_or(0) + u64::from(n));
        }
        let (first, last) = self.span.unwrap_or((time, time));
        self.span = Some((first.min(time), last.max(time)));
    }
}

/// A row.
pub struct Row {
    /// What it stands for.
    pub level: Level,
    /// What is known about it, for the page.
    pub about: Map<String, Value>,
    /// What was counted.
    pub tally: Tally,
    /// Destination ports, the first [`MAX_PORTS`] that there were.
    pub ports: BTreeSet<u16>,
    /// There were more.
    pub more_ports: bool,
}

impl Row {
    /// Counts a port.
    pub fn port(&mut self, port: u16) {
        match self.ports.len() < MAX_PORTS {
            true => _ = self.ports.insert(port),
            false => self.more_ports |= !self.ports.contains(&port),
        }
    }

    /// As the page takes it.
    pub fn json(&self) -> Value {
        let mut object = self.about.clone();
        object.insert("n".into(), self.tally.count.into());
        if let Some(bytes) = self.tally.bytes {
            object.insert("bytes".into(), bytes.into());
        }
        if let Some((first, last)) = self.tally.span {
            object.insert("first".into(), super::encode::time(first));
            object.insert("last".into(), super::encode::time(last));
        }
        match self.level {
            Level::Exact => {}
            Level::Coarse => _ = object.insert("level".into(), json!("several")),
            Level::Rest => _ = object.insert("level".into(), json!("rest")),
        }
        if !self.ports.is_empty() {
            object.insert("ports".into(), json!(self.ports));
        }
        if self.more_ports {
            object.insert("more_ports".into(), true.into());
        }
        Value::Object(object)
    }
}

/// The rows of one kind.
pub struct Parties<K> {
    index: HashMap<K, u32>,
    /// In the order in which they came.
    pub rows: Vec<Row>,
    exact: usize,
    coarse: usize,
    /// Room for [`Level::Exact`] and [`Level::Coarse`].
    room: (usize, usize),
}

impl<K: Hash + Eq> Parties<K> {
    /// None yet.
    pub fn new(room: (usize, usize)) -> Self {
        Parties { index: HashMap::new(), rows: Vec::new(), exact: 0, coarse: 0, room }
    }

    /// The row of the first of these keys that has one or for which there is room.
    /// `about` is asked when the row is new.
    pub fn place(
        &mut self,
        exact: K,
        coarse: impl FnOnce() -> K,
        rest: K,
        about: impl FnOnce(Level) -> Map<String, Value>,
    ) -> u32 {
        if let Some(at) = self.index.get(&exact) {
            return *at;
        }
        if self.exact < self.room.0 {
            self.exact += 1;
            return self.row(exact, Level::Exact, about);
        }
        let coarse = coarse();
        if let Some(at) = self.index.get(&coarse) {
            return *at;
        }
        if self.coarse < self.room.1 {
            self.coarse += 1;
            return self.row(coarse, Level::Coarse, about);
        }
        match self.index.get(&rest) {
            Some(at) => *at,
            None => self.row(rest, Level::Rest, about),
        }
    }

    fn row(
        &mut self,
        key: K,
        level: Level,
        about: impl FnOnce(Level) -> Map<String, Value>,
    ) -> u32 {
        let at = self.rows.len() as u32;
        self.index.insert(key, at);
        self.rows.push(Row {
            level,
            about: about(level),
            tally: Tally::default(),
            ports: BTreeSet::new(),
            more_ports: false,
        });
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_the_room_rows_stand_for_several_and_nothing_is_left_out() {
        let mut parties = Parties::new((2, 1));
        for n in 0..100u32 {
            let at = parties.place(n, || 1000 + n % 2, 9999, |_| Map::new());
            parties.rows[at as usize].tally.add(n.into(), None);
        }
        let counts: Vec<_> = parties.rows.iter().map(|r| (r.level, r.tally.count)).collect();
        assert_eq!(
            counts,
            [(Level::Exact, 1), (Level::Exact, 1), (Level::Coarse, 49), (Level::Rest, 49)]
        );
        assert_eq!(parties.rows[2].json()["level"], "several");
        assert_eq!(parties.rows[2].json().get("bytes"), None, "unknown is not 0");
    }

    #[test]
    fn ports_are_bounded_and_say_so() {
        let mut parties = Parties::new((1, 1));
        let at = parties.place(1, || 2, 3, |_| Map::new()) as usize;
        (0..16).for_each(|p| parties.rows[at].port(p));
        parties.rows[at].port(3);
        assert!(!parties.rows[at].more_ports);
        parties.rows[at].port(99);
        assert!(parties.rows[at].more_ports && parties.rows[at].ports.len() == 16);
    }
}
