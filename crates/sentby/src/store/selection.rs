//! Which rows of a recording can matter to a question: decided about senders and
//! destinations once, so that of the events little more than the wanted are looked at.

use super::MINUTE;
use super::read::{Destinations, Senders};
use crate::event::Evidence;
use crate::filter::Filter;
use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashSet;

/// Most senders or destinations by which minutes are looked up; more are in most of them.
const MAX_LOOKED_UP: usize = 500;

/// Rows to look at.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Where events stand: from, and before. In order.
    pub ranges: Vec<(i64, i64)>,
    /// Protocols, by number.
    pub protos: HashSet<i64>,
    /// Senders; `None`: all.
    pub processes: Option<HashSet<i64>>,
    /// Whether events without a sender matter.
    pub nobody: bool,
    /// Destinations; `None`: all.
    pub destinations: Option<HashSet<i64>>,
}

/// What is asked of a recording.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// Nanoseconds since the Unix epoch: from, and before.
    pub times: (Option<i64>, Option<i64>),
    /// Protocols, by name.
    pub protocols: Vec<&'static str>,
    /// What decides, in the end.
    pub filter: Filter,
}

impl Selection {
    /// Everything that can matter.
    pub fn new(connection: &Connection, question: &Question) -> Result<Selection> {
        let mut selection = Selection { nobody: true, ..Selection::default() };
        for name in &question.protocols {
            let id = connection
                .query_row("SELECT id FROM words WHERE word = ?1", [name], |row| row.get(0))
                .optional()?;
            selection.protos.extend(id.iter().copied().collect::<Vec<i64>>());
        }
        if let Some(filter) = question.filter.of_senders() {
            selection.select_senders(connection, &filter)?;
        }
        if let Some(filter) = question.filter.of_destinations() {
            selection.select_destinations(connection, &filter)?;
        }
        selection.ranges = bounds(connection, question.times)?.into_iter().collect();
        selection.narrow(connection)?;
        Ok(selection)
    }

    fn select_senders(&mut self, connection: &Connection, filter: &Filter) -> Result<()> {
        let mut senders = Senders::new(connection);
        let mut ids = HashSet::new();
        let mut statement = connection.prepare("SELECT id FROM processes")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let sender = senders.get(id)?;
            if sender.with(|event| filter.matches(event)) {
                ids.insert(id);
            }
        }
        self.nobody = super::read::Sender::nobody(Evidence::Unknown).with(|e| filter.matches(e));
        self.processes = Some(ids);
        Ok(())
    }

    fn select_destinations(&mut self, connection: &Connection, filter: &Filter) -> Result<()> {
        let mut destinations = Destinations::new(connection);
        let mut ids = HashSet::new();
        let mut statement = connection.prepare("SELECT id FROM destinations")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if destinations.get(id)?.with(|event| filter.matches(event)) {
                ids.insert(id);
            }
        }
        self.destinations = Some(ids);
        Ok(())
    }

    /// Leaves out minutes in which nothing of it was sent.
    fn narrow(&mut self, connection: &Connection) -> Result<()> {
        // Candidates stand beside events without a sender, which are number 0.
        let senders = self.processes.as_ref().filter(|_| !self.nobody).map(|ids| (ids, Some(0)));
        let destinations = self.destinations.as_ref().map(|ids| (ids, None));
        for (column, ids) in [("process", senders), ("destination", destinations)] {
            let Some((ids, also)) = ids.filter(|(ids, _)| ids.len() <= MAX_LOOKED_UP) else {
                continue;
            };
            let Some((from, to)) = self.ranges.first().zip(self.ranges.last()) else { break };
            let list: Vec<String> = ids.iter().chain(&also).map(i64::to_string).collect();
            let sql = format!(
                "SELECT DISTINCT minute FROM minutes WHERE {column} IN ({}) \
                 AND minute BETWEEN {} AND {} ORDER BY minute",
                list.join(","),
                from.0.div_euclid(MINUTE),
                to.1.div_euclid(MINUTE)
            );
            let mut statement = connection.prepare(&sql)?;
            let minutes: Vec<i64> =
                statement.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
            self.ranges = within(&self.ranges, &minutes);
        }
        Ok(())
    }

    /// How much there is to look at, for people: nanoseconds.
    pub fn length(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| to.abs_diff(*from)).sum()
    }
}

/// From the first event of a time to behind its last.
pub fn bounds(
    connection: &Connection,
    times: (Option<i64>, Option<i64>),
) -> Result<Option<(i64, i64)>> {
    let one = |sql| connection.query_row(sql, [], |row| row.get::<_, Option<i64>>(0));
    let (first, last) = (one("SELECT min(id) FROM events")?, one("SELECT max(id) FROM events")?);
    let Some((first, last)) = first.zip(last) else { return Ok(None) };
    let from = times.0.map_or(first, |since| since.max(first));
    let to = times.1.map_or(last + 1, |until| until.min(last + 1));
    Ok((from < to).then_some((from, to)))
}

/// The parts of ranges that are in one of these minutes, which are in order.
fn within(ranges: &[(i64, i64)], minutes: &[i64]) -> Vec<(i64, i64)> {
    let mut parts: Vec<(i64, i64)> = Vec::new();
    for (from, to) in ranges {
        let first = minutes.partition_point(|m| (m + 1) * MINUTE <= *from);
        for minute in minutes[first..].iter().take_while(|m| **m * MINUTE < *to) {
            let part = ((minute * MINUTE).max(*from), ((minute + 1) * MINUTE).min(*to));
            match parts.last_mut() {
                Some(last) if last.1 == part.0 => last.1 = part.1,
                _ => parts.push(part),
            }
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_minutes_in_which_something_happened_are_left() {
        let m = MINUTE;
        assert_eq!(within(&[(0, 10 * m)], &[2, 3, 7]), [(2 * m, 4 * m), (7 * m, 8 * m)]);
        assert_eq!(
            within(&[(2 * m + 5, 7 * m + 9)], &[1, 2, 7, 8]),
            [(2 * m + 5, 3 * m), (7 * m, 7 * m + 9)]
        );
        assert!(within(&[(0, m)], &[]).is_empty());
    }
}
