//! How requests begin, in the kernel's terms: `struct sentby_starts`.

use super::skeleton::types;
use anyhow::{Context, Result};
use wire::start::{Start, Table};

/// Lowers starts to the table that the programs follow.
pub fn lower(starts: &[Start]) -> Result<types::sentby_starts> {
    let table = Table::compile(starts).context("putting together how requests begin")?;
    let mut to = types::sentby_starts {
        count: starts.len() as u32,
        start: u32::from(table.start()),
        class_of: *table.class_of(),
        ..types::sentby_starts::default()
    };
    for (row, from) in to.next.iter_mut().zip(table.next()) {
        row.copy_from_slice(from);
    }
    for (rule, from) in to.rule.iter_mut().skip(1).zip(table.rules()) {
        if let Some(total) = from.total {
            (rule.at, rule.size, rule.add) = total;
        }
        rule.until = from.until.map_or(0, u32::from_ne_bytes);
    }
    Ok(to)
}
