//! Sums that are kept beside events: what of them has in common, by steps of time. Each
//! table knows less than the next, and is smaller.

use super::MINUTE;
use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension};
use std::collections::HashMap;

/// Ten minutes, in nanoseconds.
pub const SLICE: i64 = 10 * MINUTE;

/// An hour.
const HOUR: i64 = 60 * MINUTE;

/// A table of sums.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// The column that says when: steps since 1970.
    pub when: &'static str,
    /// A step, in nanoseconds.
    pub step: i64,
    /// Whether senders are told apart.
    pub process: bool,
    /// Whether destinations are.
    pub destination: bool,
    /// What it keeps alive: the table of those that it alone tells apart.
    pub keeps: Option<&'static str>,
}

/// All of them, the smallest first.
pub static TABLES: [Table; 4] = [
    Table {
        name: "minutes",
        when: "minute",
        step: MINUTE,
        process: false,
        destination: false,
        keeps: None,
    },
    Table {
        name: "senders",
        when: "slice",
        step: SLICE,
        process: true,
        destination: false,
        keeps: Some("processes"),
    },
    Table {
        name: "targets",
        when: "slice",
        step: SLICE,
        process: false,
        destination: true,
        keeps: Some("destinations"),
    },
    Table {
        name: "pairs",
        when: "hour",
        step: HOUR,
        process: true,
        destination: true,
        keeps: None,
    },
];

/// The table of that name, which is known.
pub fn named(name: &str) -> &'static Table {
    TABLES.iter().find(|table| table.name == name).unwrap_or(&TABLES[0])
}

/// What is told apart: step of time, protocol, evidence, process (0: nobody, or all of
/// them), destination (0: all of them).
pub type Key = [i64; 5];

/// What is summed up.
#[derive(Clone, Debug)]
pub struct Sum {
    pub events: i64,
    pub bytes: i64,
    pub unmeasured: i64,
    pub first: i64,
    pub last: i64,
}

impl Sum {
    fn add(&mut self, other: &Sum) {
        self.events += other.events;
        self.bytes += other.bytes;
        self.unmeasured += other.unmeasured;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

impl Table {
    /// The key columns, in order.
    pub fn columns(&self) -> Vec<&'static str> {
        let process = self.process.then_some("process");
        let destination = self.destination.then_some("destination");
        [self.when, "proto", "evidence"].into_iter().chain(process).chain(destination).collect()
    }

    /// The key here of an event there.
    fn key(&self, [id, proto, evidence, process, destination]: Key) -> Key {
        let known = |told: bool, value| if told { value } else { 0 };
        [
            id.div_euclid(self.step),
            proto,
            evidence,
            known(self.process, process),
            known(self.destination, destination),
        ]
    }

    fn values<'a>(&self, key: &'a Key) -> impl Iterator<Item = &'a i64> {
        let (process, destination) = (self.process, self.destination);
        key.iter().enumerate().filter_map(move |(n, value)| match n {
            3 => process.then_some(value),
            4 => destination.then_some(value),
            _ => Some(value),
        })
    }

    /// Adds sums that are in the order of the table: neighbours share pages.
    fn put(&self, connection: &Connection, sums: &[(Key, Sum)]) -> rusqlite::Result<()> {
        let width = self.columns().len() + 5;
        let places: Vec<String> = (1..=width).map(|n| format!("?{n}")).collect();
        let mut add = connection.prepare(&format!(
            "INSERT INTO {} VALUES ({})
             ON CONFLICT DO UPDATE SET
                 events = events + excluded.events, bytes = bytes + excluded.bytes,
                 unmeasured = unmeasured + excluded.unmeasured,
                 first = min(first, excluded.first), last = max(last, excluded.last)",
            self.name,
            places.join(", ")
        ))?;
        for (key, sum) in sums {
            let Sum { events, bytes, unmeasured, first, last } = sum;
            let values = self.values(key).chain([events, bytes, unmeasured, first, last]);
            for (n, value) in values.enumerate() {
                add.raw_bind_parameter(n + 1, value as &dyn ToSql)?;
            }
            add.raw_execute()?;
        }
        Ok(())
    }
}

/// Most senders or destinations of which it is known when they were last seen.
const MAX_SEEN: usize = 262_144;

/// When senders and destinations were last seen, as their rows say: so that a row is written
/// once a slice, and not with each transaction. By table, and number.
#[derive(Default)]
pub struct Seen(HashMap<(&'static str, i64), i64>);

impl Seen {
    /// Forgets everything.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Notes which of these are still needed, for [`sweep`].
    fn put(
        &mut self,
        connection: &Connection,
        table: &'static str,
        sums: &[(Key, Sum)],
    ) -> rusqlite::Result<()> {
        let sql = format!("UPDATE {table} SET seen = ?2 WHERE id = ?1 AND seen < ?2");
        let mut statement = connection.prepare(&sql)?;
        for ([slice, _, _, process, destination], _) in sums {
            let id = process + destination;
            if id == 0 || self.0.get(&(table, id)).is_some_and(|seen| seen >= slice) {
                continue;
            }
            statement.execute([id, *slice])?;
            if self.0.len() >= MAX_SEEN {
                self.0.clear();
            }
            self.0.insert((table, id), *slice);
        }
        Ok(())
    }
}

/// The sums of a transaction, by the minutes that all steps are made of.
#[derive(Default)]
pub struct Sums(Vec<(Key, Sum)>);

impl Sums {
    /// Adds an event that stands at `id`.
    pub fn add(&mut self, id: i64, (proto, evidence): (i64, i64), between: (i64, i64), sum: Sum) {
        let key = [id - id.rem_euclid(MINUTE), proto, evidence, between.0, between.1];
        self.0.push((key, sum));
    }

    /// Adds them to every table.
    pub fn put(mut self, connection: &Connection, seen: &mut Seen) -> rusqlite::Result<()> {
        merge(&mut self.0);
        for table in &TABLES {
            let keyed = |(key, sum): &(Key, Sum)| (table.key(*key), sum.clone());
            let mut sums: Vec<(Key, Sum)> = self.0.iter().map(keyed).collect();
            merge(&mut sums);
            table.put(connection, &sums)?;
            if let Some(kept) = table.keeps {
                seen.put(connection, kept, &sums)?;
            }
        }
        Ok(())
    }
}

/// Adds up those of the same key, and leaves them in order.
fn merge(sums: &mut Vec<(Key, Sum)>) {
    sums.sort_unstable_by_key(|(key, _)| *key);
    sums.dedup_by(|next, before| {
        let same = next.0 == before.0;
        if same {
            before.1.add(&next.1);
        }
        same
    });
}

/// Forgets sums of steps that are before this place as a whole, and notes that the others
/// may tell of events that are gone.
pub fn prune(connection: &Connection, before: i64) -> rusqlite::Result<()> {
    for table in &TABLES {
        let sql = format!("DELETE FROM {} WHERE {} < ?1", table.name, table.when);
        connection.execute(&sql, [before.div_euclid(table.step)])?;
    }
    connection.execute("DELETE FROM pruned", [])?;
    connection.execute("INSERT INTO pruned VALUES (?1)", [before]).map(drop)
}

/// Removes senders and destinations that no sum tells of any more, and so no event: sums of
/// ten minutes stay at least as long as their events. (Pairs of an hour in which some are
/// gone are not asked any more.)
pub fn sweep(connection: &Connection) -> rusqlite::Result<()> {
    let Some(before) = pruned(connection)? else { return Ok(()) };
    for table in &TABLES {
        if let Some(kept) = table.keeps {
            let sql = format!("DELETE FROM {kept} WHERE seen < ?1");
            connection.execute(&sql, [before.div_euclid(table.step)])?;
        }
    }
    Ok(())
}

/// Before which place events are gone; `None` where none are.
pub fn pruned(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT before FROM pruned", [], |row| row.get(0)).optional()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;
    use crate::store::schema;

    #[test]
    fn each_table_has_the_columns_of_its_keys() {
        let key = [7, 1, 2, 3, 4];
        for table in &TABLES {
            let values: Vec<i64> = table.values(&key).copied().collect();
            assert_eq!(values.len(), table.columns().len(), "{}", table.name);
        }
        assert_eq!(TABLES[0].key([MINUTE * 61, 1, 2, 3, 4]), [61, 1, 2, 0, 0]);
        assert_eq!(TABLES[1].key([MINUTE * 61, 1, 2, 3, 4]), [6, 1, 2, 3, 0]);
        assert_eq!(TABLES[2].key([MINUTE * 61, 1, 2, 3, 4]), [6, 1, 2, 0, 4]);
        assert_eq!(TABLES[3].key([MINUTE * 61, 1, 2, 3, 4]), [1, 1, 2, 3, 4]);
    }

    #[test]
    fn equal_keys_are_added_up() {
        let sum = |at| Sum { events: 1, bytes: 10, unmeasured: 0, first: at, last: at };
        let mut sums = vec![([2; 5], sum(5)), ([1; 5], sum(9)), ([2; 5], sum(3))];
        merge(&mut sums);
        let told: Vec<_> = sums.iter().map(|(k, s)| (k[0], s.events, s.first, s.last)).collect();
        assert_eq!(told, [(1, 1, 9, 9), (2, 2, 3, 5)]);
    }

    #[test]
    fn what_no_sum_tells_of_is_swept() {
        let dir = Scratch::new();
        let mut connection = Connection::open(dir.path("db")).unwrap();
        schema::migrate(&connection, &dir.path("db")).unwrap();
        let mut seen = Seen::default();
        // 1 is seen in the first hour, 2 in both, 3 in the second.
        let hours: [(i64, &[i64]); 2] = [(HOUR, &[1, 2]), (2 * HOUR, &[2, 3])];
        for n in 1..=3 {
            let insert = format!(
                "INSERT INTO processes (id, digest, facts) VALUES ({n}, 0, '');
                 INSERT INTO destinations (id, address) VALUES ({n}, 'a');"
            );
            connection.execute_batch(&insert).unwrap();
        }
        for (at, who) in hours {
            let transaction = connection.transaction().unwrap();
            let mut sums = Sums::default();
            for n in who {
                let sum = Sum { events: 1, bytes: 1, unmeasured: 0, first: at, last: at };
                sums.add(at, (1, 1), (*n, *n), sum);
            }
            sums.put(&transaction, &mut seen).unwrap();
            transaction.commit().unwrap();
        }
        let left = |connection: &Connection, table: &str| {
            let sql = format!("SELECT group_concat(id) FROM {table}");
            connection.query_row(&sql, [], |row| row.get::<_, String>(0)).unwrap()
        };
        sweep(&connection).unwrap();
        assert_eq!(left(&connection, "processes"), "1,2,3", "nothing is pruned");
        prune(&connection, HOUR + SLICE).unwrap();
        sweep(&connection).unwrap();
        for table in ["processes", "destinations"] {
            assert_eq!(left(&connection, table), "2,3");
        }
    }
}
