//! The layout of a recording, by version (docs/recording.md).

use anyhow::{Context, Result, bail};
use rusqlite::Connection;
use std::path::Path;

/// `PRAGMA application_id`: "snty". `file` and SQLite's own tools show it.
pub const APPLICATION_ID: i32 = i32::from_be_bytes(*b"snty");

/// What makes each version out of the one before.
static MIGRATIONS: &[&str] =
    &[include_str!("v1.sql"), include_str!("v2.sql"), include_str!("v3.sql")];

/// The version that is written.
pub const VERSION: i64 = MIGRATIONS.len() as i64;

/// Bytes of a page, of a new database: two usual requests with their packets.
const PAGE_SIZE: u32 = 8192;

/// Refuses what is no recording, or one of a sentby that is not written yet. Returns the
/// version; 0 is a database without anything in it.
pub fn check(connection: &Connection, path: &Path) -> Result<i64> {
    let path = path.display();
    let number = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let application = number("application_id").with_context(|| format!("reading {path}"))?;
    let version = number("user_version").with_context(|| format!("reading {path}"))?;
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .with_context(|| format!("reading {path}"))?;
    if tables == 0 && application == 0 {
        return Ok(0);
    }
    if application != i64::from(APPLICATION_ID) {
        bail!("{path} is a database of another program, not a recording");
    }
    if version > VERSION {
        bail!(
            "{path} was written by a newer sentby (version {version} of the format, this one \
             knows {VERSION}); read it with that one"
        );
    }
    Ok(version)
}

/// Whether a recording has the sums of this version: one that nobody has written since has
/// those of an older.
pub fn has_sums(connection: &Connection) -> rusqlite::Result<bool> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    Ok(version >= 2)
}

/// Brings a database that is open for writing to [`VERSION`], each step whole or not at all.
pub fn migrate(connection: &Connection, path: &Path) -> Result<()> {
    let version = check(connection, path)?;
    if version == 0 {
        // Before anything else is in it, or it is too late.
        connection.pragma_update(None, "page_size", PAGE_SIZE)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        bail!("writing {}: no write-ahead log here ({mode}); use a local disk", path.display());
    }
    for (done, sql) in MIGRATIONS.iter().enumerate().skip(version as usize) {
        connection
            .execute_batch(&format!(
                "BEGIN IMMEDIATE; {sql} PRAGMA application_id = {APPLICATION_ID}; \
                 PRAGMA user_version = {}; COMMIT;",
                done + 1
            ))
            .with_context(|| format!("preparing {}", path.display()))?;
    }
    Ok(())
}
