//! Questions in SQL, for what has no option: over a connection that cannot change anything.

use super::table::aligned;
use crate::escape;
use crate::filter::UsageError;
use crate::output::stored::write_text;
use anyhow::{Context, Result};
use rusqlite::Row;
use rusqlite::types::ValueRef;
use std::io::{self, Write};
use std::path::Path;

/// Rows by which the columns of a table are measured.
const MEASURED: usize = 1000;

/// Bytes of a value in a table.
const MAX_CELL: usize = 200;

/// Asks, and prints a table or one object a line.
pub fn run(path: &Path, sql: &str, json: bool) -> Result<()> {
    let connection = crate::store::open(path)?;
    let wrong = |e: rusqlite::Error| UsageError(format!("--sql: {e}"));
    let mut statement = connection.prepare(sql).map_err(wrong)?;
    if !statement.readonly() || statement.column_count() == 0 {
        Err(UsageError("--sql: only questions (SELECT) are answered".to_owned()))?;
    }
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).map_err(wrong)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut block = vec![names.clone()];
    while let Some(row) = rows.next().with_context(|| format!("asking {}", path.display()))? {
        if json {
            object(&names, row, &mut out)?;
            continue;
        }
        block.push((0..names.len()).map(|i| cell(row, i)).collect::<rusqlite::Result<_>>()?);
        if block.len() > MEASURED {
            aligned(&block, 0..0, &mut out)?;
            block.clear();
        }
    }
    if !json {
        aligned(&block, 0..0, &mut out)?;
    }
    out.flush()?;
    Ok(())
}

fn cell(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => "-".to_owned(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(n) => n.to_string(),
        ValueRef::Text(bytes) => {
            let mut out = String::new();
            if !escape::word(bytes, &mut out, MAX_CELL) {
                out.push(escape::ELLIPSIS);
            }
            out
        }
        ValueRef::Blob(bytes) => {
            let shown = &bytes[..bytes.len().min(MAX_CELL / 2)];
            hex(shown) + if shown.len() < bytes.len() { "…" } else { "" }
        }
    })
}

fn object(names: &[String], row: &Row<'_>, out: &mut impl Write) -> Result<()> {
    let mut line = vec![b'{'];
    for (i, name) in names.iter().enumerate() {
        let first = i == 0;
        let plain = |text: String, line: &mut Vec<u8>| -> io::Result<()> {
            write_text(name, b"", first, line)?;
            // The empty string makes room for what is no string.
            line.truncate(line.len() - 2);
            line.extend_from_slice(text.as_bytes());
            Ok(())
        };
        match row.get_ref(i)? {
            ValueRef::Null => plain("null".to_owned(), &mut line)?,
            ValueRef::Integer(n) => plain(n.to_string(), &mut line)?,
            ValueRef::Real(n) if n.is_finite() => plain(n.to_string(), &mut line)?,
            ValueRef::Real(_) => plain("null".to_owned(), &mut line)?,
            ValueRef::Text(bytes) => write_text(name, bytes, first, &mut line)?,
            ValueRef::Blob(bytes) => write_text(name, hex(bytes).as_bytes(), first, &mut line)?,
        }
    }
    line.extend_from_slice(b"}\n");
    out.write_all(&line)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
