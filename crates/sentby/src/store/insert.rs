//! From rows to the database: one transaction, with their sums.

use super::row::{Destination, Row, Rows, Who};
use super::sums::{Seen, Sum, Sums};
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Statement, params};
use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most words that are known by heart.
const MAX_WORDS: usize = 65_536;

/// How often a free place is looked for behind the time of an event.
const TRIES: u32 = 40;

/// What is known of the database, so that it need not be asked again. What a transaction
/// that was rolled back has learnt is wrong, as is what was pruned: then `epoch` goes up,
/// and all is forgotten.
pub struct Known {
    epoch: u64,
    words: HashMap<Vec<u8>, i64>,
    addresses: HashMap<IpAddr, i64>,
    seen: Seen,
    /// The time of the last event, and its place.
    last: (i64, i64),
}

/// Bits of [`Who::place`] that are the row; those above are the epoch.
const ROW_BITS: u32 = 40;

impl Known {
    /// Nothing.
    pub fn new() -> Known {
        Known {
            epoch: 1,
            words: HashMap::new(),
            addresses: HashMap::new(),
            seen: Seen::default(),
            last: (0, 0),
        }
    }

    /// Forgets everything.
    pub fn forget(&mut self) {
        self.epoch += 1;
        self.words.clear();
        self.addresses.clear();
        self.seen.forget();
    }

    fn place(&self, of: &AtomicU64) -> Option<i64> {
        let place = of.load(Ordering::Relaxed);
        (place >> ROW_BITS == self.epoch).then_some((place & ((1 << ROW_BITS) - 1)) as i64)
    }

    fn put(&self, of: &AtomicU64, row: i64) -> i64 {
        of.store(self.epoch << ROW_BITS | row as u64, Ordering::Relaxed);
        row
    }
}

/// Puts rows into the database, those of these numbers over all batches: all of them, or
/// none.
pub fn transaction(
    connection: &mut Connection,
    known: &mut Known,
    all: &[Rows],
    which: Range<usize>,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut sums = Sums::default();
    let mut inserts = Inserts::new(&transaction)?;
    let rows = all.iter().flat_map(|rows| rows.rows.iter().map(move |row| (rows, row)));
    for (rows, row) in rows.skip(which.start).take(which.len()) {
        inserts.event(known, rows, row, &mut sums)?;
    }
    drop(inserts);
    sums.put(&transaction, &mut known.seen)?;
    transaction.commit()
}

/// The statements of a transaction.
struct Inserts<'c> {
    event: Statement<'c>,
    word: Statement<'c>,
    find_word: Statement<'c>,
    process: Statement<'c>,
    find_process: Statement<'c>,
    destination: Statement<'c>,
    find_destination: Statement<'c>,
}

impl<'c> Inserts<'c> {
    fn new(connection: &'c Connection) -> rusqlite::Result<Inserts<'c>> {
        Ok(Inserts {
            event: connection.prepare(
                "INSERT INTO events VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, \
                 ?13, ?14, ?15, ?16, ?17, ?18)",
            )?,
            word: connection.prepare("INSERT INTO words (word) VALUES (?1)")?,
            find_word: connection.prepare("SELECT id FROM words WHERE word = ?1")?,
            process: connection.prepare(
                "INSERT INTO processes (digest, pid, start, uid, user, comm, exe, unit, \
                 container, facts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?,
            find_process: connection
                .prepare("SELECT id FROM processes WHERE digest = ?1 AND facts = ?2")?,
            destination: connection.prepare(
                "INSERT INTO destinations (address, port, name, name_from) \
                 VALUES (?1, ?2, ?3, ?4)",
            )?,
            find_destination: connection.prepare(
                "SELECT id FROM destinations \
                 WHERE address = ?1 AND port IS ?2 AND name IS ?3 AND name_from IS ?4",
            )?,
        })
    }

    fn event(
        &mut self,
        known: &mut Known,
        rows: &Rows,
        row: &Row,
        sums: &mut Sums,
    ) -> rusqlite::Result<()> {
        let time = i64::try_from(row.time).unwrap_or(i64::MAX / 2);
        let proto = self.word(known, row.proto.as_bytes())?;
        let evidence = self.word(known, row.evidence.as_bytes())?;
        let hook = self.word(known, row.hook.as_bytes())?;
        let src = self.address(known, row.src)?;
        let iface = row.iface.as_ref().map(|name| crate::event::until_nul(name));
        let iface = iface.map(|name| self.word(known, name)).transpose()?;
        let process = row.who.as_deref().map(|who| self.process(known, who)).transpose()?;
        let destination = self.destination(known, &row.destination)?;
        let bytes = |range: &Range<usize>| &rows.bytes[range.clone()];
        let mut id = if known.last.0 == time { known.last.1 + 1 } else { time };
        let statement = &mut self.event;
        let columns: [&dyn ToSql; 16] = [
            &proto,
            &process,
            &destination,
            &src,
            &row.sport,
            &row.tid,
            &evidence,
            &hook,
            &row.netns,
            &iface,
            &row.socket.map(|inode| inode as i64),
            &row.shared.then_some(1),
            &row.len,
            &Text(bytes(&row.fields)),
            &row.more.as_ref().map(|range| Text(bytes(range))),
            &row.packet.as_ref().map(bytes),
        ];
        for (i, column) in columns.into_iter().enumerate() {
            statement.raw_bind_parameter(i + 3, column)?;
        }
        for attempt in 0..=TRIES {
            let late = (id != time).then_some(id - time);
            statement.raw_bind_parameter(1, id)?;
            statement.raw_bind_parameter(2, late)?;
            match statement.raw_execute() {
                Ok(_) => break,
                // Another event has that place: look further behind, in longer and longer steps.
                Err(e)
                    if e.sqlite_error_code() == Some(ErrorCode::ConstraintViolation)
                        && attempt < TRIES =>
                {
                    id += 1 << (attempt / 2).min(20);
                }
                Err(e) => return Err(e),
            }
        }
        known.last = (time, id);
        let sum = Sum {
            events: 1,
            bytes: row.len.unwrap_or_default().into(),
            unmeasured: row.len.is_none().into(),
            first: time,
            last: time,
        };
        sums.add(id, (proto, evidence), (process.unwrap_or_default(), destination), sum);
        Ok(())
    }

    fn word(&mut self, known: &mut Known, word: &[u8]) -> rusqlite::Result<i64> {
        if let Some(id) = known.words.get(word) {
            return Ok(*id);
        }
        if known.words.len() >= MAX_WORDS {
            known.words.clear();
        }
        let found = self.find_word.query_row([Text(word)], |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => self.word.insert([Text(word)])?,
        };
        known.words.insert(word.to_vec(), id);
        Ok(id)
    }

    fn address(&mut self, known: &mut Known, address: IpAddr) -> rusqlite::Result<i64> {
        if let Some(id) = known.addresses.get(&address) {
            return Ok(*id);
        }
        if known.addresses.len() >= MAX_WORDS {
            known.addresses.clear();
        }
        let id = self.word(known, address.to_string().as_bytes())?;
        known.addresses.insert(address, id);
        Ok(id)
    }

    fn process(&mut self, known: &Known, who: &Who) -> rusqlite::Result<i64> {
        if let Some(id) = known.place(&who.place) {
            return Ok(id);
        }
        let digest = digest(&who.facts);
        let facts = Text(&who.facts);
        let found =
            self.find_process.query_row(params![digest, facts], |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => self.process.insert(params![
                digest,
                who.pid,
                who.start.map(|start| start as i64),
                who.uid,
                who.user,
                who.comm.as_deref().map(Text),
                who.exe.as_deref().map(Text),
                who.unit,
                who.container,
                facts
            ])?,
        };
        Ok(known.put(&who.place, id))
    }

    fn destination(&mut self, known: &Known, to: &Destination) -> rusqlite::Result<i64> {
        if let Some(id) = known.place(&to.place) {
            return Ok(id);
        }
        let (name, from) = match &to.name {
            Some((name, from)) => (Some(Text(name)), Some(from)),
            None => (None, None),
        };
        let columns = params![to.address.to_string(), to.port, name, from];
        let found = self.find_destination.query_row(columns, |row| row.get(0)).optional()?;
        let id = match found {
            Some(id) => id,
            None => self.destination.insert(columns)?,
        };
        Ok(known.put(&to.place, id))
    }
}

/// Bytes as text where they are that, for people with other tools; else as they are.
struct Text<'b>(&'b [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = std::str::from_utf8(self.0).is_ok() && !self.0.contains(&0);
        let value = if text { ValueRef::Text(self.0) } else { ValueRef::Blob(self.0) };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

/// FNV-1a (draft-eastlake-fnv), by which equal facts are found again: the same in every
/// version of sentby. Facts are compared as well.
fn digest(bytes: &[u8]) -> i64 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, b| {
        (hash ^ u64::from(*b)).wrapping_mul(0x100_0000_01b3)
    });
    hash as i64
}
