//! The output that records. Rows are made where events are; a thread of its own writes
//! them, so that nobody waits for the disk until [`CHANNEL`] batches wait.

use super::insert::{self, Known};
use super::lock::Lock;
use super::prune::{Bounds, Pruner, Step};
use super::row::{Rowing, Rows};
use super::schema;
use crate::event::Event;
use crate::output::Output;
use anyhow::{Context, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::{DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Events that are handed on at once, at the most.
const BATCH: usize = 4096;

/// Batches that may wait for the disk. Then the pipeline waits as well, and what the
/// kernel's ring has no room for is counted there.
const CHANNEL: usize = 32;

/// A transaction takes no more than so many events,
const COMMIT_EVENTS: usize = 65_536;

/// and none waits longer than this to be safe from a kill;
const COMMIT_EVERY: Duration = Duration::from_millis(100);

/// but where so many came in that time, the fewer transactions, the more of them can be
/// written: then it is this long.
const BUSY_EVENTS: usize = 4096;
const COMMIT_BUSY: Duration = Duration::from_millis(400);

/// How often the bounds are looked at.
const PRUNE_EVERY: Duration = Duration::from_secs(1);

/// Pages of the write-ahead log after which it is copied into the database.
const CHECKPOINT: u32 = 8192;

/// Bytes of the log that are kept between.
const LOG_LIMIT: u32 = 64 << 20;

/// Where in the ledger events are that found no room.
pub const FULL: &str = "store-full";

/// What may be decided about a recording.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The database.
    pub path: PathBuf,
    /// Whether its folder is made, for nobody else to read.
    pub make_folder: bool,
    /// Whether packets are kept.
    pub packets: bool,
    /// What may be kept.
    pub bounds: Bounds,
}

/// The output.
pub struct Recorder {
    rowing: Rowing,
    rows: Rows,
    to: Option<SyncSender<Rows>>,
    taken: u64,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    failed: Arc<Mutex<Option<String>>>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Opens a recording, or begins one.
    pub fn open(settings: &Settings) -> Result<Recorder> {
        let path = &settings.path;
        if settings.make_folder
            && let Some(folder) = path.parent()
        {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| format!("making {}", folder.display()))?;
        }
        // SQLite would make it readable for all.
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        drop(options.open(path).with_context(|| format!("opening {}", path.display()))?);
        let lock = Lock::take(path)?;
        let connection = open_for_writing(path)?;
        let (to, from) = mpsc::sync_channel(CHANNEL);
        let (lost, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(None)));
        let written = Arc::new(AtomicU64::new(0));
        let mut writer = Writer {
            connection,
            known: Known::new(),
            pruner: Pruner::new(settings.bounds),
            pruned: None,
            written: written.clone(),
            lost: lost.clone(),
            share: Share::default(),
        };
        let (name, told) = (path.display().to_string(), failed.clone());
        let thread = thread::Builder::new().name("sentby-store".to_owned());
        let thread = thread.spawn(move || {
            crate::privileges::drop_unneeded();
            if let Err(e) = writer.run(&from) {
                let text = format!("writing {name}: {e}");
                *told.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(text);
            }
            drop(lock);
        });
        Ok(Recorder {
            rowing: Rowing::new(settings.packets),
            rows: Rows::default(),
            to: Some(to),
            taken: 0,
            written,
            lost,
            failed,
            thread: Some(thread.context("starting the store's thread")?),
        })
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.rows.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let sent = match &self.to {
            Some(to) => to.send(rows).is_ok(),
            None => false,
        };
        if sent { Ok(()) } else { Err(self.failure()) }
    }

    /// Events that it took and that are not in the database yet; if it fails, they are lost.
    pub fn waiting(&self) -> u64 {
        let kept = self.written.load(Ordering::Relaxed);
        self.taken.saturating_sub(kept + self.lost())
    }

    /// Events that found no room on the disk.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn failure(&self) -> io::Error {
        let failed = self.failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        io::Error::other(
            failed.clone().unwrap_or_else(|| "the store's thread has ended".to_owned()),
        )
    }
}

impl Output for Recorder {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.rowing.push(event, &mut self.rows)?;
        self.taken += 1;
        if self.rows.rows.len() >= BATCH { self.pass_on() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        // While it is busy, the next batch may as well be larger.
        let rows = std::mem::take(&mut self.rows);
        match &self.to {
            _ if rows.rows.is_empty() => Ok(()),
            Some(to) => match to.try_send(rows) {
                Ok(()) => Ok(()),
                Err(TrySendError::Full(rows)) => {
                    self.rows = rows;
                    Ok(())
                }
                Err(TrySendError::Disconnected(_)) => Err(self.failure()),
            },
            None => Err(self.failure()),
        }
    }

    fn settle(&mut self) -> io::Result<Vec<(&'static str, u64)>> {
        let passed = self.pass_on();
        self.to = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        passed?;
        let failed = self.failed.lock().map(|failed| failed.is_some()).unwrap_or(true);
        if failed {
            Err(self.failure())
        } else {
            Ok(vec![(FULL, self.lost.load(Ordering::Relaxed))])
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.settle();
    }
}

/// Opens the database for writing. A kill loses nothing that was committed: it is in the
/// page cache. A crash of the machine loses the last moments, and harms nothing
/// (`synchronous=NORMAL`, with a write-ahead log).
fn open_for_writing(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = || format!("opening {}", path.display());
    let connection = Connection::open_with_flags(path, flags).with_context(opening)?;
    connection.busy_timeout(super::BUSY).with_context(opening)?;
    schema::migrate(&connection, path)?;
    connection.pragma_update(None, "synchronous", "NORMAL").with_context(opening)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT).with_context(opening)?;
    connection.pragma_update(None, "journal_size_limit", LOG_LIMIT).with_context(opening)?;
    connection.pragma_update(None, "cache_size", -65_536).with_context(opening)?;
    Ok(connection)
}

/// The thread's side.
struct Writer {
    connection: Connection,
    known: Known,
    pruner: Pruner,
    pruned: Option<Instant>,
    written: Arc<AtomicU64>,
    lost: Arc<AtomicU64>,
    share: Share,
}

impl Writer {
    fn run(&mut self, from: &Receiver<Rows>) -> rusqlite::Result<()> {
        let mut waiting: Vec<Rows> = Vec::new();
        let mut since = Instant::now();
        loop {
            let waited = if waiting.is_empty() { Duration::ZERO } else { since.elapsed() };
            let wait = patience(events(&waiting)).saturating_sub(waited);
            let received = from.recv_timeout(wait);
            let ended = matches!(received, Err(RecvTimeoutError::Disconnected));
            if let Ok(rows) = received {
                if waiting.is_empty() {
                    since = Instant::now();
                }
                waiting.push(rows);
            }
            let events = events(&waiting);
            let due = ended || since.elapsed() >= patience(events) || events >= COMMIT_EVENTS;
            if events > 0 && due {
                self.commit(&waiting, events)?;
                waiting.clear();
            }
            self.prune(ended)?;
            if ended {
                return Ok(());
            }
        }
    }

    /// Writes what waits: all at once, and where that finds no room, as much as does.
    fn commit(&mut self, waiting: &[Rows], events: usize) -> rusqlite::Result<()> {
        let mut at = 0;
        while at < events {
            let end = events.min(at + self.share.size());
            let written =
                insert::transaction(&mut self.connection, &mut self.known, waiting, at..end);
            match written {
                Ok(()) => {
                    self.written.fetch_add((end - at) as u64, Ordering::Relaxed);
                    at = end;
                    self.share.fitted();
                    continue;
                }
                Err(e) if !is_full(&e) => return Err(e),
                // Whoever keeps the database from us for so long is not waited for again.
                Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) => {
                    self.known.forget();
                    break;
                }
                Err(_) => self.known.forget(),
            }
            // The log may have room to give back.
            let truncate = "PRAGMA wal_checkpoint(TRUNCATE)";
            let _ = self.connection.query_row(truncate, [], |row| row.get::<_, i64>(0));
            if !self.share.smaller(end - at) {
                break;
            }
        }
        self.lost.fetch_add((events - at) as u64, Ordering::Relaxed);
        Ok(())
    }

    /// One step now and then; at the end all of them.
    fn prune(&mut self, ended: bool) -> rusqlite::Result<()> {
        if !ended && self.pruned.is_some_and(|at| at.elapsed() < PRUNE_EVERY) {
            return Ok(());
        }
        loop {
            match self.pruner.step(&mut self.connection) {
                Ok(Step::More) if ended => {}
                // Go on as soon as what waits is written.
                Ok(Step::More) => return Ok(()),
                Ok(step) => {
                    if step == Step::Swept {
                        self.known.forget();
                    }
                    self.pruned = Some(Instant::now());
                    return Ok(());
                }
                Err(e) if is_full(&e) => {
                    self.pruned = Some(Instant::now());
                    return Ok(());
                }
                Err(e) => return Err(e),
            }
        }
    }
}

fn events(waiting: &[Rows]) -> usize {
    waiting.iter().map(|rows| rows.rows.len()).sum()
}

/// How long so many events may wait.
fn patience(events: usize) -> Duration {
    if events < BUSY_EVENTS { COMMIT_EVERY } else { COMMIT_BUSY }
}

/// How many events a transaction takes. A full disk takes no large one where smaller ones
/// still find room; while it is full, a single event tells that, and costs little.
struct Share {
    events: usize,
    /// Whether one failed that a log which has given back its room may let through.
    again: bool,
}

impl Default for Share {
    fn default() -> Share {
        Share { events: COMMIT_EVENTS, again: true }
    }
}

impl Share {
    fn size(&self) -> usize {
        self.events
    }

    /// There was room: twice as much may find it as well.
    fn fitted(&mut self) {
        self.events = (self.events * 2).min(COMMIT_EVENTS);
        self.again = true;
    }

    /// There was none for so many. Returns whether fewer are to be tried, or the same again.
    fn smaller(&mut self, tried: usize) -> bool {
        if std::mem::take(&mut self.again) {
            return true;
        }
        self.events = (tried / 2).max(1);
        self.again = tried == 1;
        tried > 1
    }
}

/// No room, or a disk that does not take it: this may end, and hurts nothing that is there.
fn is_full(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure | ErrorCode::DatabaseBusy)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a disk with room for so many events takes of a batch, and in how many attempts.
    fn written(share: &mut Share, batch: usize, room: usize) -> (usize, usize) {
        let (mut at, mut attempts) = (0, 0);
        while at < batch {
            attempts += 1;
            let end = batch.min(at + share.size());
            if end <= room {
                at = end;
                share.fitted();
            } else if !share.smaller(end - at) {
                break;
            }
        }
        (at, attempts)
    }

    #[test]
    fn a_full_disk_takes_what_fits() {
        for room in [0, 1, 2, 63, 64, 1000, 4095, 65_536] {
            let mut share = Share::default();
            let (taken, attempts) = written(&mut share, 65_536, room);
            assert_eq!(taken, room);
            assert!(attempts < 200, "{attempts} attempts for {room}");
            // While it stays full, that is told by one event.
            if room < 65_536 {
                assert_eq!(share.size(), 1);
                assert!(written(&mut share, 4096, 0).1 <= 2);
                // With room again, it is soon as it was.
                assert_eq!(written(&mut share, 131_071, usize::MAX), (131_071, 17));
            }
        }
    }
}
