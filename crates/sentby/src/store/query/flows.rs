//! Sums out of sums: whole minutes that the writer has counted already.

use super::groups::{Groups, Sum};
use crate::event::Evidence;
use crate::store::MINUTE;
use crate::store::read::{Destinations, Sender, Senders, flow};
use crate::store::selection::{Question, bounds};
use anyhow::Result;
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;

/// Most flows that are summed up before they are looked at.
const MAX_FLOWS: usize = 1_000_000;

/// From, and before: nanoseconds since the Unix epoch.
type Times = (Option<i64>, Option<i64>);

/// Counts whole minutes. Returns what is left at the edges.
pub fn sum(
    connection: &Connection,
    question: &Question,
    groups: &mut Groups,
) -> Result<Vec<Times>> {
    let Some((from, to)) = bounds(connection, question.times)? else { return Ok(Vec::new()) };
    // Of the first minute that is there, a part may be gone.
    let first = from.div_euclid(MINUTE) + i64::from(from.rem_euclid(MINUTE) != 0);
    let open_end = question.times.1 != Some(to);
    let last = to.div_euclid(MINUTE) + i64::from(open_end);
    if first >= last {
        return Ok(vec![question.times]);
    }
    minutes(connection, question, (first, last), groups)?;
    let mut edges = vec![(Some(from), Some(first * MINUTE))];
    if !open_end {
        edges.push((Some(last * MINUTE), Some(to)));
    }
    edges.retain(|(from, to)| from < to);
    Ok(edges)
}

fn minutes(
    connection: &Connection,
    question: &Question,
    (first, last): (i64, i64),
    groups: &mut Groups,
) -> Result<()> {
    let step = groups.shape.bin.map(|bin| bin as i64 / MINUTE);
    let mut looker = Looker {
        words: HashMap::new(),
        senders: Senders::new(connection),
        destinations: Destinations::new(connection),
        connection,
        question,
    };
    let mut flows: HashMap<[i64; 5], Sum> = HashMap::new();
    let mut statement = connection.prepare(
        "SELECT minute, proto, evidence, process, destination, events, bytes, unmeasured, first, \
         last FROM minutes WHERE minute >= ?1 AND minute < ?2",
    )?;
    let mut rows = statement.query([first, last])?;
    while let Some(row) = rows.next()? {
        let minute: i64 = row.get(0)?;
        let bin = step.map_or(0, |step| minute - minute.rem_euclid(step));
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
        for ([bin, proto, evidence, process, destination], sum) in flows.drain() {
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
            let destination = self.destinations.get(destination)?;
            let filter = &self.question.filter;
            flow(&sender, &destination, evidence, &proto, |event| {
                if filter.matches(event) {
                    groups.add(event, &sum, (bin * MINUTE) as u64)
                } else {
                    Ok(())
                }
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
