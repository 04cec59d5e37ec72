//! What makes room: the oldest events go, a step at a time, and their pages go back to the
//! file system.

use super::sums;
use rusqlite::{Connection, OptionalExtension};
use std::time::{Duration, Instant, SystemTime};

/// Events that go at once.
const STEP: i64 = 10_000;

/// Pages that are given back at once.
const PAGES: i64 = 512;

/// Pages that may stay free: the next events need them.
const SLACK: i64 = 64;

/// How often processes and destinations are looked through for those that nothing refers
/// to any more.
const SWEEP: Duration = Duration::from_secs(600);

/// What may be kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bounds {
    /// How old events may get.
    pub keep: Option<Duration>,
    /// How large the database may get, in bytes.
    pub size: Option<u64>,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Everything is within its bounds.
    Done,
    /// More has to go.
    More,
    /// Rows that somebody may know by number are gone.
    Swept,
}

/// Makes room.
pub struct Pruner {
    bounds: Bounds,
    swept: Instant,
    pruned: bool,
}

impl Pruner {
    /// Within these bounds.
    pub fn new(bounds: Bounds) -> Pruner {
        Pruner { bounds, swept: Instant::now(), pruned: false }
    }

    /// One step, of a few milliseconds.
    pub fn step(&mut self, connection: &mut Connection) -> rusqlite::Result<Step> {
        let number =
            |c: &Connection, name| c.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let page = number(connection, "page_size")?;
        let free = number(connection, "freelist_count")?;
        let used = (number(connection, "page_count")? - free) * page;
        let large = self.bounds.size.is_some_and(|size| used as u64 > size);
        let last_of_step = oldest(connection, STEP)?;
        let floor = match (last_of_step, self.too_old()) {
            (Some(last), Some(old)) if !large => last.min(old),
            (Some(last), _) if large => last,
            _ => return self.give_back(connection, free),
        };
        if oldest(connection, 0)?.is_none_or(|first| first >= floor) {
            return self.give_back(connection, free);
        }
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM events WHERE id < ?1", [floor])?;
        sums::prune(&transaction, floor)?;
        transaction.commit()?;
        self.pruned = true;
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        Ok(Step::More)
    }

    fn too_old(&self) -> Option<i64> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(now.checked_sub(self.bounds.keep?)?.as_nanos()).ok()
    }

    fn give_back(&mut self, connection: &mut Connection, free: i64) -> rusqlite::Result<Step> {
        if self.pruned && self.swept.elapsed() >= SWEEP {
            (self.pruned, self.swept) = (false, Instant::now());
            let transaction = connection.transaction()?;
            sums::sweep(&transaction)?;
            transaction.commit()?;
            return Ok(Step::Swept);
        }
        if free < SLACK || (self.bounds.size.is_none() && self.bounds.keep.is_none()) {
            return Ok(Step::Done);
        }
        connection.execute_batch(&format!("PRAGMA incremental_vacuum({PAGES})"))?;
        Ok(Step::More)
    }
}

/// The place of the event before which `n` are older; behind the last, if there are fewer.
fn oldest(connection: &Connection, n: i64) -> rusqlite::Result<Option<i64>> {
    let at = connection
        .query_row("SELECT id FROM events ORDER BY id LIMIT 1 OFFSET ?1", [n], |row| row.get(0))
        .optional()?;
    match at {
        Some(id) => Ok(Some(id)),
        None => connection.query_row("SELECT max(id) + 1 FROM events", [], |row| row.get(0)),
    }
}
