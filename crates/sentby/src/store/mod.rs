//! Recordings: events kept in a database, to be asked later (docs/recording.md).
//!
//! [`write`] is an output: it makes rows of events, and a thread of its own puts them into
//! the database, a transaction at a time. [`read`] is a source like a capture file: what
//! was recorded goes through decoders, filters and outputs as it did live. [`query`] asks
//! for parts and sums.

pub mod cli;
pub mod fill;
mod insert;
mod lock;
pub mod prune;
pub mod query;
pub mod read;
pub mod record;
mod request;
mod row;
mod schema;
mod selection;
mod sums;
pub mod write;

use anyhow::{Context, Result, anyhow};
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// Where recordings are by default.
pub const DEFAULT: &str = "/var/lib/sentby/events.db";

/// What every SQLite database begins with (the file format's section 1.3).
const MAGIC: &[u8] = b"SQLite format 3\0";

/// How long to wait for somebody else's lock on the database, which lasts for moments.
const BUSY: Duration = Duration::from_secs(5);

/// Nanoseconds of a minute: the steps in which sums are kept.
pub const MINUTE: i64 = 60_000_000_000;

/// Whether a file is a database. What cannot be read is none; opening it will say why.
pub fn is_database(path: &Path) -> bool {
    let mut begin = [0; MAGIC.len()];
    // A pipe would lose what is read here.
    path.is_file()
        && File::open(path).and_then(|mut file| file.read_exact(&mut begin)).is_ok()
        && begin == MAGIC
}

/// Opens a recording for reading, which never changes it; also while it is written.
pub fn open(path: &Path) -> Result<Connection> {
    let name = path.display();
    // SQLite's own errors do not tell why.
    let empty =
        File::open(path).and_then(|f| f.metadata()).with_context(|| format!("opening {name}"))?;
    if empty.len() == 0 {
        return Err(anyhow!("{name} is empty, not a recording"));
    }
    if !is_database(path) {
        return Err(anyhow!("{name} is not a recording; `sentby replay` reads capture files"));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = Connection::open_with_flags(path, flags).and_then(|c| settle(c, path, flags));
    let connection = opened.with_context(|| format!("opening {name}"))?;
    match schema::check(&connection, path)? {
        0 => Err(anyhow!("{name} is an empty database, not a recording")),
        _ => Ok(connection),
    }
}

/// Readers of a write-ahead log keep a file beside it. Where they may not, and there is no
/// log, nobody is writing: the file is as good by itself.
fn settle(connection: Connection, path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY)?;
    let tried = connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0));
    let Err(error) = tried else {
        connection.pragma_update(None, "query_only", true)?;
        return Ok(connection);
    };
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let cannot = [ErrorCode::CannotOpen, ErrorCode::ReadOnly];
    if !error.sqlite_error_code().is_some_and(|c| cannot.contains(&c)) || Path::new(&log).exists() {
        return Err(error);
    }
    let escaped: String = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(*b).to_string()
            }
            _ => format!("%{b:02x}"),
        })
        .collect();
    let uri = format!("file:{escaped}?immutable=1");
    Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
}
