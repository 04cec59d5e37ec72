//! Which rows of a recording can matter to a question: decided about senders and
//! destinations once, so that of the events little more than the wanted are looked at.

use super::MINUTE;
use super::read::{Destinations, Senders};
use super::schema;
use super::sums::{self, SLICE, Table};
use crate::event::Evidence;
use crate::filter::Filter;
use anyhow::Result;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashSet;

/// Most senders or destinations by which slices are looked up; more are in most of them.
const MAX_LOOKED_UP: usize = 500;

/// Most of them that are sought one by one in each step of a table of sums, which has them
/// in the order of time; for more of them, all that was sent in that time is looked at.
const MAX_SOUGHT: usize = 100;

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
    /// Whether a part of the time is asked for.
    part: bool,
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
        let mut selection = Selection {
            ranges: bounds(connection, question.times)?.into_iter().collect(),
            nobody: true,
            part: question.times != (None, None),
            ..Selection::default()
        };
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
        selection.narrow(connection)?;
        Ok(selection)
    }

    fn select_senders(&mut self, connection: &Connection, filter: &Filter) -> Result<()> {
        let mut senders = Senders::new(connection);
        let mut ids = HashSet::new();
        let named = self.named(connection, ("processes", "process", "senders"))?;
        let mut statement = connection.prepare(&named)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            let sender = senders.get(id)?;
            if sender.is_nobody() || sender.with(|event| filter.matches(event)) {
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
        let named = self.named(connection, ("destinations", "destination", "targets"))?;
        let mut statement = connection.prepare(&named)?;
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

    /// Which senders or destinations have to be looked at: those that sums of this time name.
    /// Days of short processes leave many others behind.
    fn named(
        &self,
        connection: &Connection,
        (table, column, sums): (&str, &str, &str),
    ) -> rusqlite::Result<String> {
        let (Some((from, _)), Some((_, to))) = (self.ranges.first(), self.ranges.last()) else {
            return Ok(format!("SELECT id FROM {table} WHERE 0"));
        };
        if !self.part || !schema::has_sums(connection)? {
            return Ok(format!("SELECT id FROM {table}"));
        }
        let (first, last) = (from.div_euclid(SLICE), to.div_euclid(SLICE));
        Ok(format!(
            "SELECT DISTINCT {column} FROM {sums} \
             WHERE slice BETWEEN {first} AND {last} AND {column} <> 0"
        ))
    }

    /// Leaves out slices of time in which nothing of it was sent.
    fn narrow(&mut self, connection: &Connection) -> Result<()> {
        if !schema::has_sums(connection)? {
            return Ok(());
        }
        let few = [
            ("senders", self.few_processes().is_some()),
            ("targets", self.few_destinations().is_some()),
        ];
        for (name, few) in few {
            if !few {
                continue;
            }
            let Some((from, to)) = self.ranges.first().zip(self.ranges.last()) else { break };
            let (first, last) = (from.0.div_euclid(SLICE), to.1.div_euclid(SLICE));
            let rows = self.of_table(sums::named(name));
            let mut statement =
                connection.prepare(&format!("SELECT DISTINCT slice {rows} ORDER BY slice"))?;
            let slices: Vec<i64> = statement
                .query_map([first, last + 1], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            self.ranges = within(&self.ranges, &slices);
        }
        Ok(())
    }

    /// What of it SQL can tell before a row of events is handed over.
    pub fn condition(&self) -> String {
        // Candidates stand beside events without a sender.
        let processes = self
            .few_processes()
            .map(|list| format!(" AND (process IN ({list}) OR process IS NULL)"));
        let destinations = self.few_destinations();
        [processes, destinations].into_iter().flatten().collect()
    }

    /// Where the rows of a table of sums are that can matter, of the steps from `?1` on and
    /// before `?2`: the end of a SELECT.
    pub fn of_table(&self, table: &Table) -> String {
        let Table { name, when, .. } = table;
        let processes = self.few_processes().filter(|_| table.process);
        let destinations = self.few_destinations().filter(|_| table.destination);
        let few = |ids: &Option<HashSet<i64>>| ids.as_ref().is_some_and(|i| i.len() <= MAX_SOUGHT);
        let sought = match table.process {
            true => processes.is_some() && few(&self.processes),
            false => destinations.is_some() && few(&self.destinations),
        };
        let processes = processes.map(|list| of_senders(&list));
        let condition: String = [processes, destinations].into_iter().flatten().collect();
        if !sought {
            return format!("FROM {name} WHERE {when} >= ?1 AND {when} < ?2{condition}");
        }
        let minutes = table.step / MINUTE;
        format!(
            "FROM (SELECT DISTINCT minute / {minutes} AS step, proto AS p, evidence AS e \
                   FROM minutes WHERE minute >= ?1 * {minutes} AND minute < ?2 * {minutes}) \
             CROSS JOIN {name} ON {when} = step AND proto = p AND evidence = e{condition}"
        )
    }

    fn few_processes(&self) -> Option<String> {
        self.processes.as_ref().filter(|_| !self.nobody).and_then(few)
    }

    fn few_destinations(&self) -> Option<String> {
        let list = self.destinations.as_ref().and_then(few)?;
        Some(format!(" AND destination IN ({list})"))
    }

    /// How much there is to look at, for people: nanoseconds.
    pub fn length(&self) -> u64 {
        self.ranges.iter().map(|(from, to)| to.abs_diff(*from)).sum()
    }
}

/// A list of numbers, if it is not too long.
fn few(ids: &HashSet<i64>) -> Option<String> {
    let mut sorted: Vec<i64> = ids.iter().copied().collect();
    sorted.sort_unstable();
    let words = || sorted.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
    (ids.len() <= MAX_LOOKED_UP).then(words)
}

/// Sums of these senders, and of nobody, beside whom candidates stand.
fn of_senders(list: &str) -> String {
    let comma = if list.is_empty() { "" } else { "," };
    format!(" AND process IN (0{comma}{list})")
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

/// The parts of ranges that are in one of these slices, which are in order.
fn within(ranges: &[(i64, i64)], slices: &[i64]) -> Vec<(i64, i64)> {
    let mut parts: Vec<(i64, i64)> = Vec::new();
    for (from, to) in ranges {
        let first = slices.partition_point(|s| (s + 1) * SLICE <= *from);
        for slice in slices[first..].iter().take_while(|s| **s * SLICE < *to) {
            let part = ((slice * SLICE).max(*from), ((slice + 1) * SLICE).min(*to));
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
    use crate::fixture::Scratch;

    #[test]
    fn only_slices_in_which_something_happened_are_left() {
        let s = SLICE;
        assert_eq!(within(&[(0, 10 * s)], &[2, 3, 7]), [(2 * s, 4 * s), (7 * s, 8 * s)]);
        assert_eq!(
            within(&[(2 * s + 5, 7 * s + 9)], &[1, 2, 7, 8]),
            [(2 * s + 5, 3 * s), (7 * s, 7 * s + 9)]
        );
        assert!(within(&[(0, s)], &[]).is_empty());
    }

    #[test]
    fn few_are_told_apart_before_they_are_read() {
        let ids = |n: i64| Some((1..=n).collect::<HashSet<i64>>());
        let few = Selection { processes: ids(1), destinations: ids(1), ..Selection::default() };
        assert_eq!(
            few.condition(),
            " AND (process IN (1) OR process IS NULL) AND destination IN (1)"
        );
        let anybody = Selection { nobody: true, ..few.clone() };
        assert_eq!(anybody.condition(), " AND destination IN (1)");
        let of = |selection: &Selection, name| selection.of_table(sums::named(name));
        assert!(of(&few, "senders").ends_with("evidence = e AND process IN (0,1)"));
        assert!(of(&few, "targets").ends_with("evidence = e AND destination IN (1)"));
        let both = " AND process IN (0,1) AND destination IN (1)";
        assert!(of(&few, "pairs").ends_with(&format!("evidence = e{both}")));
        assert_eq!(of(&few, "minutes"), "FROM minutes WHERE minute >= ?1 AND minute < ?2");
        let none = Selection { processes: ids(0), ..Selection::default() };
        assert!(of(&none, "senders").ends_with(" AND process IN (0)"));
        let more = Selection { destinations: ids(101), ..Selection::default() };
        let scanned = of(&more, "targets");
        assert!(scanned.starts_with("FROM targets WHERE slice >= ?1 AND slice < ?2 AND dest"));
        assert_eq!(Selection { destinations: ids(501), ..Selection::default() }.condition(), "");
    }

    /// Else a question about one sender reads all sums of everybody.
    #[test]
    fn few_are_sought_by_the_key_of_the_sums() {
        let dir = Scratch::new();
        let connection = Connection::open(dir.path("db")).unwrap();
        schema::migrate(&connection, &dir.path("db")).unwrap();
        let few = Selection {
            processes: Some([7].into()),
            destinations: Some([9].into()),
            ..Selection::default()
        };
        let keys = [
            ("senders", "(slice=? AND proto=? AND evidence=? AND process=?)"),
            ("targets", "(slice=? AND proto=? AND evidence=? AND destination=?)"),
            ("pairs", "(hour=? AND proto=? AND evidence=? AND process=? AND destination=?)"),
        ];
        for (name, key) in keys {
            let rows = few.of_table(sums::named(name));
            let sql = format!("EXPLAIN QUERY PLAN SELECT events {rows}");
            let mut statement = connection.prepare(&sql).unwrap();
            let plan = statement.query_map([1, 2], |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = plan.map(Result::unwrap).collect();
            assert!(plan.iter().any(|step| step.contains(key)), "{plan:?}");
        }
    }
}
