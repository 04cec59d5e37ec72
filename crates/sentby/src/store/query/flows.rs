//! Sums out of sums: whole minutes or hours that the writer has counted already.

use super::groups::{Groups, Number, Sum};
use crate::event::Evidence;
use crate::output::stored::Named;
use crate::store;
use crate::store::read::{Destination, Destinations, Sender, Senders, flow};
use crate::store::schema;
use crate::store::selection::{Question, Selection, bounds};
use crate::store::sums::{self, TABLES, Table};
use anyhow::{Result, anyhow};
use rusqlite::Connection;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

/// Most flows that are summed up before they are looked at.
const MAX_FLOWS: usize = 500_000;

/// Most flows of which it is known what group they belong to. Beyond it all are forgotten, and
/// found again.
const MAX_KNOWN: usize = 2_000_000;

/// Steps of time from which on two threads share the work.
const MIN_SHARED: i64 = 24;

/// From, and before: nanoseconds since the Unix epoch.
type Times = (Option<i64>, Option<i64>);

/// Counts whole steps of the smallest table that tells enough apart. Returns what is left:
/// the edges, or all of it where no table does.
pub fn sum(
    connection: &Connection,
    question: &Question,
    groups: &mut Groups,
) -> Result<Vec<Times>> {
    // All of it of one moment: a recorder may write, and remove the oldest.
    let _moment = connection.unchecked_transaction()?;
    let Some((from, to)) = bounds(connection, question.times)? else { return Ok(Vec::new()) };
    let all = vec![question.times];
    let Some(table) = table(question, groups) else { return Ok(all) };
    if !schema::has_sums(connection)? {
        return Ok(all);
    }
    // Of the step in which the first event is that is there, a part may be gone.
    let begin = from - from.rem_euclid(table.step);
    let gone = sums::pruned(connection)?.is_some_and(|before| begin < before);
    let whole = from == begin || (question.times.0.is_none_or(|since| since < from) && !gone);
    let first = from.div_euclid(table.step) + i64::from(!whole);
    let open_end = question.times.1 != Some(to);
    let last = to.div_euclid(table.step) + i64::from(open_end);
    if first >= last {
        return Ok(all);
    }
    steps(connection, question, table, (first, last), groups)?;
    let mut edges = vec![(Some(from), Some(first * table.step))];
    if !open_end {
        edges.push((Some(last * table.step), Some(to)));
    }
    edges.retain(|(from, to)| from < to);
    Ok(edges)
}

fn table(question: &Question, groups: &Groups) -> Option<&'static Table> {
    let Groups { shape, .. } = groups;
    let filter = &question.filter;
    let senders = filter.of_senders().is_some() || shape.by.iter().any(Named::is_of_senders);
    let destinations =
        filter.of_destinations().is_some() || shape.by.iter().any(Named::is_of_destinations);
    TABLES.iter().find(|table| {
        let divides = shape.bin.is_none_or(|bin| (bin as i64) % table.step == 0);
        divides && (table.process || !senders) && (table.destination || !destinations)
    })
}

fn steps(
    connection: &Connection,
    question: &Question,
    table: &'static Table,
    (first, last): (i64, i64),
    groups: &mut Groups,
) -> Result<()> {
    let bin = groups.shape.bin.map(|bin| bin as i64 / table.step);
    let mut looker = Looker {
        words: HashMap::new(),
        senders: Senders::new(connection),
        destinations: Destinations::new(connection),
        known: HashMap::default(),
        connection,
        question,
    };
    let selection = Selection::new(connection, question)?;
    let scan = Scan { rows: selection.of_table(table), table, bin };
    let middle = first + (last - first) / 2;
    let path = connection.path().filter(|_| last - first >= MIN_SHARED).map(PathBuf::from);
    let Some(path) = path else {
        return scan.read(connection, (first, last), |flows| looker.pass_on(flows, groups));
    };
    // Two read at once. The other one sees a later moment, and so gets the newer half, of which
    // nothing is removed meanwhile.
    thread::scope(|scope| {
        let (to, from) = mpsc::sync_channel(1);
        let scan = &scan;
        let newer = scope.spawn(move || {
            let own = store::open(&path)?;
            let pass_on = |flows: &mut Flows| {
                to.send(std::mem::take(flows)).map_err(|_| anyhow!("the other half failed"))
            };
            scan.read(&own, (middle, last), pass_on)
        });
        scan.read(connection, (first, middle), |flows| looker.pass_on(flows, groups))?;
        for mut flows in from {
            looker.pass_on(&mut flows, groups)?;
        }
        newer.join().unwrap_or_else(|_| Err(anyhow!("reading ended early")))
    })
}

/// Sums, by step of time, protocol, evidence, process and destination.
type Flows = HashMap<[i64; 5], Sum, BuildHasherDefault<Numbers>>;

/// How rows of sums are read.
struct Scan {
    table: &'static Table,
    /// Where they are: the end of a SELECT.
    rows: String,
    /// Steps of the table that are one for the question; `None`: all are.
    bin: Option<i64>,
}

impl Scan {
    /// Adds up rows of these steps; whenever there are [`MAX_FLOWS`], and at the end, they
    /// are passed on.
    fn read(
        &self,
        connection: &Connection,
        (first, last): (i64, i64),
        mut pass_on: impl FnMut(&mut Flows) -> Result<()>,
    ) -> Result<()> {
        let Scan { table, rows, bin } = self;
        let column = |there: bool, name| if there { name } else { "0" };
        let mut flows = Flows::default();
        let mut statement = connection.prepare(&format!(
            "SELECT {}, proto, evidence, {}, {}, events, bytes, unmeasured, first, last {rows}",
            table.when,
            column(table.process, "process"),
            column(table.destination, "destination"),
        ))?;
        let mut rows = statement.query([first, last])?;
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(0)?;
            let bin = bin.map_or(0, |bin| (at - at.rem_euclid(bin)) * table.step);
            let key = [bin, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?];
            let number = |column| row.get::<_, i64>(column).map(|n| n as u64);
            flows.entry(key).or_default().add(&Sum {
                events: number(5)?,
                bytes: number(6)?,
                unmeasured: number(7)?,
                first: number(8)?,
                last: number(9)?,
            });
            if flows.len() >= MAX_FLOWS {
                pass_on(&mut flows)?;
                flows.clear();
            }
        }
        pass_on(&mut flows)
    }
}

/// A hash of numbers that nobody chooses: those of rows. Multiplies by the golden ratio, as
/// Knuth has it (The Art of Computer Programming, 6.4).
#[derive(Default)]
struct Numbers(u64);

impl Hasher for Numbers {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut number = [0; 8];
            number[..chunk.len()].copy_from_slice(chunk);
            let mixed = self.0.rotate_left(23) ^ u64::from_ne_bytes(number);
            self.0 = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 32
    }
}

struct Looker<'c> {
    connection: &'c Connection,
    question: &'c Question,
    words: HashMap<i64, String>,
    senders: Senders<'c>,
    destinations: Destinations<'c>,
    /// The group of a flow (protocol, evidence, process, destination), if it is wanted.
    known: HashMap<[i64; 4], Option<Number>, BuildHasherDefault<Numbers>>,
}

impl Looker<'_> {
    /// Gives flows to their groups, if they are wanted.
    fn pass_on(&mut self, flows: &mut Flows, groups: &mut Groups) -> Result<()> {
        let mut unknown: Vec<([i64; 5], Sum)> = Vec::new();
        for (key, sum) in flows.drain() {
            let [bin, flow @ ..] = key;
            match self.known.get(&flow) {
                Some(Some(number)) => groups.add(*number, &sum, bin as u64)?,
                Some(None) => {}
                None => unknown.push((key, sum)),
            }
        }
        // Each destination is read once, and senders fit into what is kept of them.
        unknown.sort_unstable_by_key(|([.., process, destination], _)| (*destination, *process));
        for ([bin, flow @ ..], sum) in unknown {
            let group = match self.known.get(&flow) {
                Some(known) => *known,
                None => {
                    let group = self.group(flow, groups)?;
                    if self.known.len() >= MAX_KNOWN {
                        self.known.clear();
                    }
                    self.known.insert(flow, group);
                    group
                }
            };
            if let Some(number) = group {
                groups.add(number, &sum, bin as u64)?;
            }
        }
        Ok(())
    }

    /// The group that a flow belongs to; `None` if it is not wanted.
    fn group(
        &mut self,
        [proto, evidence, process, destination]: [i64; 4],
        groups: &mut Groups,
    ) -> Result<Option<Number>> {
        let proto = self.word(proto)?;
        if !self.question.protocols.iter().any(|p| *p == proto) {
            return Ok(None);
        }
        let evidence = self.word(evidence)?;
        let evidence = Evidence::ALL.into_iter().find(|e| e.name() == evidence);
        let evidence = evidence.unwrap_or(Evidence::Unknown);
        let sender = match process {
            0 => Arc::new(Sender::nobody(evidence)),
            id => self.senders.get(id)?,
        };
        let destination = match destination {
            0 => Arc::new(Destination::nowhere()),
            id => self.destinations.get(id)?,
        };
        let filter = &self.question.filter;
        let group = flow(&sender, &destination, evidence, &proto, |event| {
            filter.matches(event).then(|| groups.of(event)).transpose()
        })?;
        Ok(group)
    }

    fn word(&mut self, id: i64) -> rusqlite::Result<String> {
        if let Some(word) = self.words.get(&id) {
            return Ok(word.clone());
        }
        let sql = "SELECT word FROM words WHERE id = ?1";
        let word: String = self.connection.query_row(sql, [id], |row| row.get(0))?;
        self.words.insert(id, word.clone());
        Ok(word)
    }
}
