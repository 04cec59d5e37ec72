//! Sums out of sums: whole minutes or hours that the writer has counted already.

use super::groups::{Groups, Sum};
use crate::event::Evidence;
use crate::output::stored::Named;
use crate::store::read::{Destination, Destinations, Sender, Senders, flow};
use crate::store::schema;
use crate::store::selection::{Question, Selection, bounds};
use crate::store::sums::{self, TABLES, Table};
use anyhow::Result;
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;

/// Most flows that are summed up before they are looked at.
const MAX_FLOWS: usize = 1_000_000;

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
    table: &Table,
    (first, last): (i64, i64),
    groups: &mut Groups,
) -> Result<()> {
    let step = groups.shape.bin.map(|bin| bin as i64 / table.step);
    let mut looker = Looker {
        words: HashMap::new(),
        senders: Senders::new(connection),
        destinations: Destinations::new(connection),
        connection,
        question,
    };
    let column = |there: bool, name| if there { name } else { "0" };
    let selection = Selection::new(connection, question)?;
    let mut flows: HashMap<[i64; 5], Sum> = HashMap::new();
    let mut statement = connection.prepare(&format!(
        "SELECT {}, proto, evidence, {}, {}, events, bytes, unmeasured, first, last {}",
        table.when,
        column(table.process, "process"),
        column(table.destination, "destination"),
        selection.of_table(table),
    ))?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        let at: i64 = row.get(0)?;
        let bin = step.map_or(0, |step| (at - at.rem_euclid(step)) * table.step);
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
            looker.pass_on(&mut flows, groups)?;
        }
    }
    looker.pass_on(&mut flows, groups)
}

struct Looker<'c> {
    connection: &'c Connection,
    question: &'c Question,
    words: HashMap<i64, String>,
    senders: Senders<'c>,
    destinations: Destinations<'c>,
}

impl Looker<'_> {
    /// Gives flows to their groups, if they are wanted.
    fn pass_on(&mut self, flows: &mut HashMap<[i64; 5], Sum>, groups: &mut Groups) -> Result<()> {
        // Each destination is read once, and senders fit into what is kept of them.
        let mut flows: Vec<([i64; 5], Sum)> = flows.drain().collect();
        flows.sort_unstable_by_key(|([.., process, destination], _)| (*destination, *process));
        for ([bin, proto, evidence, process, destination], sum) in flows {
            let proto = self.word(proto)?;
            if !self.question.protocols.iter().any(|p| *p == proto) {
                continue;
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
            flow(&sender, &destination, evidence, &proto, |event| {
                if filter.matches(event) { groups.add(event, &sum, bin as u64) } else { Ok(()) }
            })?;
        }
        Ok(())
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
