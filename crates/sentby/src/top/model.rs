//! What is shown, added up: by process, by destination, by protocol.
//!
//! Of each kind at most [`MAX_ROWS`] rows are kept; the row that was quiet longest makes
//! room and is counted under "other", so that the sum stays whole. Each row keeps its
//! newest requests, bounded in number and bytes. So memory is bounded, however long a
//! run lasts.

use super::label::{self, Label};
use super::rates::Rates;
use crate::enrich::Lru;
use crate::event::{Event, Evidence, ProcessKey};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

/// Rows of each kind.
pub const MAX_ROWS: usize = 1024;

/// Requests that a row keeps.
pub const MAX_REQUESTS: usize = 100;

/// Bytes of JSON that a row keeps.
pub const MAX_ROW_BYTES: usize = 48 * 1024;

/// Requests that are kept in one second, over all rows: in a flood nobody reads each.
pub const MAX_KEPT_PER_SECOND: u32 = 2_000;

/// A stamp further ahead than this (nanoseconds) moves the clock only if the next agrees:
/// files may have a packet from the future among the others.
const STEP: u64 = 3_600_000_000_000;

/// What a table is by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// By sender.
    Process,
    /// By address and port.
    Destination,
    /// By protocol.
    Protocol,
}

impl View {
    /// Every view, in the order of their keys.
    pub const ALL: [View; 3] = [View::Process, View::Destination, View::Protocol];

    /// The word on the screen.
    pub fn name(self) -> &'static str {
        match self {
            View::Process => "process",
            View::Destination => "destination",
            View::Protocol => "protocol",
        }
    }
}

/// The machine of those that no process tells apart, by a hash of its name; `None` is this.
pub type Host = Option<u64>;

/// What events of one row have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A process.
    Process(ProcessKey),
    /// A process without a pid in our pid namespace.
    Outside(Host),
    /// A part of the kernel.
    Kernel(Option<&'static str>, Host),
    /// Not from this machine.
    Forwarded(Host),
    /// Nobody can be named.
    Unknown(Host),
    /// One of several processes, by a hash of them.
    Candidates(u64),
    /// A destination.
    Destination(IpAddr, Option<u16>),
    /// A protocol.
    Protocol(&'static str),
    /// What made room.
    Other,
}

impl Key {
    /// The row of an event in a view.
    pub fn of(view: View, event: &Event<'_>) -> Key {
        match view {
            View::Process => Self::sender(event),
            View::Destination => Key::Destination(event.dst, event.dport),
            View::Protocol => Key::Protocol(event.request.protocol.name()),
        }
    }

    fn sender(event: &Event<'_>) -> Key {
        let host = event.host.map(|host| {
            let mut hash = DefaultHasher::new();
            host.hash(&mut hash);
            hash.finish()
        });
        match (event.evidence, event.key) {
            (_, Some(key)) => Key::Process(key),
            (Evidence::Kernel, _) => Key::Kernel(event.kernel_part(), host),
            (Evidence::Forwarded, _) => Key::Forwarded(host),
            _ if !event.candidates.is_empty() => {
                let mut hash = DefaultHasher::new();
                host.hash(&mut hash);
                event.candidates.iter().for_each(|c| c.key.hash(&mut hash));
                Key::Candidates(hash.finish())
            }
            (Evidence::Unknown, _) => Key::Unknown(host),
            _ => Key::Outside(host),
        }
    }
}

/// A request that was kept.
#[derive(Debug)]
pub struct Kept {
    /// Counts up: newer ones have higher numbers.
    pub number: u64,
    /// When it was sent: nanoseconds since the Unix epoch.
    pub time: u64,
    /// Protocol.
    pub protocol: &'static str,
    /// Who, in a few words.
    pub sender: String,
    /// To whom.
    pub destination: String,
    /// What it asks.
    pub what: String,
    /// All of it, as `--json` prints it.
    pub json: Vec<u8>,
}

/// A row of a table.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Events.
    pub total: u64,
    /// Bytes of the packets whose length is known.
    pub bytes: u64,
    /// When the last one was sent, in nanoseconds since the Unix epoch.
    pub last: u64,
    /// The last minute.
    pub rates: Rates,
    /// What it is called.
    pub label: Arc<Label>,
    /// [`Event::facts`] that the label was made of.
    facts: Option<u64>,
}

impl Row {
    fn count(&mut self, event: &Event<'_>, now: u64) {
        self.total += 1;
        self.bytes += u64::from(event.len.unwrap_or(0));
        self.last = self.last.max(event.capture.time);
        self.rates.add(event.capture.time.min(now));
    }
}

#[derive(Default)]
struct Held {
    row: Row,
    requests: VecDeque<Arc<Kept>>,
    bytes: usize,
}

impl Held {
    fn keep(&mut self, kept: &Arc<Kept>) {
        self.bytes += kept.json.len();
        self.requests.push_front(kept.clone());
        while self.requests.len() > MAX_REQUESTS
            || (self.bytes > MAX_ROW_BYTES && self.requests.len() > 1)
        {
            let gone = self.requests.pop_back();
            self.bytes -= gone.map_or(0, |gone| gone.json.len());
        }
    }
}

struct Table {
    rows: Lru<Key, Held>,
    /// What made room, and how many rows did.
    other: Row,
    gone: u64,
}

impl Table {
    fn new(limit: usize) -> Self {
        Table { rows: Lru::new(limit), other: Row::default(), gone: 0 }
    }

    fn row(&mut self, key: Key, limit: usize) -> Option<&mut Held> {
        if self.rows.peek(&key).is_none() {
            if self.rows.len() >= limit
                && let Some((_, held)) = self.rows.pop_oldest()
            {
                self.other.total += held.row.total;
                self.other.bytes += held.row.bytes;
                self.other.last = self.other.last.max(held.row.last);
                self.gone += 1;
            }
            self.rows.insert(key, Held::default());
        }
        self.rows.get_mut(&key)
    }
}

/// What the screen is drawn from.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Rows, in no order.
    pub rows: Vec<(Key, Row)>,
    /// The time it is.
    pub now: u64,
    /// When it began.
    pub began: u64,
    /// All events.
    pub all: Row,
    /// There will be no more events.
    pub ended: bool,
}

/// The aggregate.
pub struct Model {
    tables: [Table; 3],
    limit: usize,
    all: Row,
    now: u64,
    ahead: Option<u64>,
    began: Option<u64>,
    kept: u64,
    kept_second: (u64, u32),
    ended: bool,
}

impl Model {
    /// An empty one, with so many rows of each kind at the most.
    pub fn new(limit: usize) -> Self {
        Model {
            tables: std::array::from_fn(|_| Table::new(limit)),
            limit,
            all: Row::default(),
            now: 0,
            ahead: None,
            began: None,
            kept: 0,
            kept_second: (0, 0),
            ended: false,
        }
    }

    /// It is this late now (nanoseconds since the Unix epoch), whether or not events come.
    pub fn tick(&mut self, now: u64) {
        self.now = now;
        self.began.get_or_insert(now);
    }

    /// There will be no more events.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Time as events tell it.
    fn saw(&mut self, time: u64) {
        if self.began.is_some() && time > self.now.saturating_add(STEP) {
            let before = self.ahead.replace(time);
            if before.is_none_or(|before| before.abs_diff(time) > STEP) {
                return;
            }
        }
        self.ahead = None;
        self.now = self.now.max(time);
        self.began.get_or_insert(time);
    }

    /// Adds an event. `json` writes it as it is to be kept.
    pub fn add(&mut self, event: &Event<'_>, json: impl FnOnce(&mut Vec<u8>)) {
        self.saw(event.capture.time);
        self.all.count(event, self.now);
        let kept = self.keeps().then(|| self.kept(event, json));
        for (view, table) in View::ALL.into_iter().zip(&mut self.tables) {
            let Some(held) = table.row(Key::of(view, event), self.limit) else { continue };
            held.row.count(event, self.now);
            if held.row.total == 1 || label::changed(view, event, held.row.facts, &held.row.label) {
                held.row.label = Arc::new(label::of(view, event, &held.row.label));
                held.row.facts = event.facts;
            }
            if let Some(kept) = &kept {
                held.keep(kept);
            }
        }
    }

    /// Whether one more is kept in this second.
    fn keeps(&mut self) -> bool {
        let second = self.now / 1_000_000_000;
        if self.kept_second.0 != second {
            self.kept_second = (second, 0);
        }
        self.kept_second.1 += 1;
        self.kept_second.1 <= MAX_KEPT_PER_SECOND
    }

    fn kept(&mut self, event: &Event<'_>, json: impl FnOnce(&mut Vec<u8>)) -> Arc<Kept> {
        self.kept += 1;
        let mut line = Vec::new();
        json(&mut line);
        line.shrink_to_fit();
        Arc::new(Kept {
            number: self.kept,
            time: event.capture.time,
            protocol: event.request.protocol.name(),
            sender: label::sender(event),
            destination: label::destination(event),
            what: label::what(event),
            json: line,
        })
    }

    /// What a view shows.
    pub fn snapshot(&self, view: View) -> Snapshot {
        let table = &self.tables[view as usize];
        let mut rows: Vec<(Key, Row)> =
            table.rows.iter().map(|(key, held)| (*key, held.row.clone())).collect();
        if table.gone > 0 {
            let label = Arc::new(Label::other(table.gone));
            rows.push((Key::Other, Row { label, ..table.other.clone() }));
        }
        Snapshot {
            rows,
            now: self.now,
            began: self.began.unwrap_or(self.now),
            all: self.all.clone(),
            ended: self.ended,
        }
    }

    /// The requests that a row keeps, newest first; `None` if the row has made room.
    pub fn requests(&self, view: View, key: Key) -> Option<(Vec<Arc<Kept>>, u64)> {
        let held = self.tables[view as usize].rows.peek(&key)?;
        Some((held.requests.iter().cloned().collect(), held.row.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;

    fn add(model: &mut Model, sample: &Sample) {
        model.add(&sample.event(), |json| json.extend_from_slice(b"{}"));
    }

    fn pid(pid: u32) -> Sample {
        let mut sample = Sample::ping();
        sample.key = Some(ProcessKey { pid, start_ticks: 1 });
        sample
    }

    #[test]
    fn whoever_makes_room_is_counted_under_other() {
        let mut model = Model::new(3);
        for n in [1, 2, 3, 1, 4, 5, 1] {
            add(&mut model, &pid(n));
        }
        let shown = model.snapshot(View::Process);
        let mut totals: Vec<(Key, u64)> = shown.rows.iter().map(|(k, r)| (*k, r.total)).collect();
        totals.sort_by_key(|(_, n)| *n);
        assert_eq!(totals.len(), 4);
        assert_eq!(totals[3].1, 3, "the busy one stays");
        assert!(totals.contains(&(Key::Other, 2)));
        assert_eq!(totals.iter().map(|(_, n)| n).sum::<u64>(), shown.all.total);
        assert_eq!(shown.rows.iter().map(|(_, r)| r.bytes).sum::<u64>(), 7 * 84);
        let gone = Key::Process(ProcessKey { pid: 2, start_ticks: 1 });
        assert!(model.requests(View::Process, gone).is_none());
    }

    #[test]
    fn a_row_keeps_its_newest_requests() {
        let mut model = Model::new(4);
        let mut sample = Sample::ping();
        let key = Key::of(View::Process, &sample.event());
        for _ in 0..MAX_REQUESTS + 20 {
            sample.capture.time += 1_000_000;
            add(&mut model, &sample);
        }
        let (kept, total) = model.requests(View::Process, key).unwrap();
        assert_eq!((kept.len(), total), (MAX_REQUESTS, MAX_REQUESTS as u64 + 20));
        assert_eq!(kept[0].time, sample.capture.time);
        assert!(kept.is_sorted_by(|a, b| a.number > b.number));
        let big = |json: &mut Vec<u8>| json.resize(MAX_ROW_BYTES / 2, b' ');
        (0..9).for_each(|_| model.add(&sample.event(), big));
        assert_eq!(model.requests(View::Process, key).unwrap().0.len(), 2);
    }

    #[test]
    fn a_flood_is_counted_and_not_all_kept() {
        let mut model = Model::new(4);
        let mut made = 0;
        for _ in 0..2 * MAX_KEPT_PER_SECOND {
            model.add(&Sample::ping().event(), |_| made += 1);
        }
        assert_eq!(made, MAX_KEPT_PER_SECOND);
        assert_eq!(model.snapshot(View::Protocol).all.total, 2 * u64::from(MAX_KEPT_PER_SECOND));
    }

    #[test]
    fn nobody_is_named_without_evidence() {
        let mut unknown = Sample::unknown();
        let key = |s: &Sample| Key::of(View::Process, &s.event());
        assert_eq!(key(&unknown), Key::Unknown(None));
        unknown.evidence = Evidence::Kernel;
        assert_eq!(key(&unknown), Key::Kernel(Some("probe-reply"), None));
        unknown.evidence = Evidence::Forwarded;
        assert_eq!(key(&unknown), Key::Forwarded(None));
        unknown.evidence = Evidence::Task;
        assert_eq!(key(&unknown), Key::Outside(None));
        unknown.evidence = Evidence::Unknown;
        unknown.candidates = Sample::hostile().candidates;
        assert!(matches!(key(&unknown), Key::Candidates(_)));
    }

    #[test]
    fn one_packet_from_the_future_does_not_move_the_clock() {
        let mut model = Model::new(4);
        let mut sample = Sample::ping();
        add(&mut model, &sample);
        let time = sample.capture.time;
        sample.capture.time = time + 10 * STEP;
        add(&mut model, &sample);
        assert_eq!(model.snapshot(View::Process).now, time);
        sample.capture.time += 1;
        add(&mut model, &sample);
        assert_eq!(model.snapshot(View::Process).now, time + 10 * STEP + 1);
    }
}
