//! Groups as a table, or as JSON.

use super::chart;
use super::groups::{Group, Shape, Sum};
use crate::output::TimeStyle;
use crate::output::stored::Named;
use crate::output::time::{Clock, rfc3339};
use anyhow::Result;
use std::io::{self, Write};

/// Widest column that others are aligned behind, in characters.
const MAX_WIDTH: usize = 48;

/// One object a line: a group, or with steps of time each step of a group.
pub fn json(groups: &[(Vec<u8>, Group)], bin: Option<u64>, out: &mut impl Write) -> Result<()> {
    for (key, group) in groups {
        // What tells groups apart is an object already: the rest goes behind.
        let open = key.strip_suffix(b"}").unwrap_or(key);
        let comma = if open.len() > 1 { "," } else { "" };
        if bin.is_some() {
            for (time, (events, bytes)) in &group.bins {
                out.write_all(open)?;
                let time = rfc3339(*time);
                let time = String::from_utf8_lossy(&time);
                writeln!(
                    out,
                    "{comma}\"time\":\"{time}\",\"events\":{events},\"bytes\":{bytes}}}"
                )?;
            }
            continue;
        }
        out.write_all(open)?;
        let Sum { events, bytes, unmeasured, first, last } = &group.sum;
        write!(out, "{comma}\"events\":{events},\"bytes\":{bytes}")?;
        if *unmeasured > 0 {
            write!(out, ",\"unmeasured\":{unmeasured}")?;
        }
        if *events > 0 {
            let (first, last) = (rfc3339(*first), rfc3339(*last));
            let (first, last) = (String::from_utf8_lossy(&first), String::from_utf8_lossy(&last));
            write!(out, ",\"first\":\"{first}\",\"last\":\"{last}\"")?;
        }
        writeln!(out, "}}")?;
    }
    Ok(())
}

/// Only how many.
pub fn count(groups: &[(Vec<u8>, Group)], out: &mut impl Write) -> Result<()> {
    let events: u64 = groups.iter().map(|(_, group)| group.sum.events).sum();
    writeln!(out, "{events}")?;
    Ok(())
}

/// A table for people; with steps of time a line of blocks for each group.
pub fn text(
    shape: &Shape,
    groups: &[(Vec<u8>, Group)],
    bin: Option<u64>,
    out: &mut impl Write,
) -> Result<()> {
    let mut clock = Clock::new(TimeStyle::Date);
    let names = shape.by.iter().map(|field| field.name().to_owned());
    let mut head: Vec<String> = names.collect();
    head.extend(["events", "bytes", "first", "last"].map(str::to_owned));
    if bin.is_some() {
        head.push("over time".to_owned());
    }
    let span = chart::Span::of(groups, bin);
    let mut rows = vec![head];
    for (key, group) in groups {
        let key: serde_json::Value = serde_json::from_slice(key)?;
        let shown = |field: &Named| field.shown(&key).unwrap_or_else(|| "-".to_owned());
        let mut row: Vec<String> = shape.by.iter().map(shown).collect();
        let Sum { events, bytes, unmeasured, first, last } = &group.sum;
        row.push(events.to_string());
        // Of packets that nobody measured there may be any number more.
        let least = if *unmeasured > 0 { ">=" } else { "" };
        row.push(format!("{least}{bytes}"));
        for time in [first, last] {
            let mut text = String::new();
            clock.write(*time, &mut text)?;
            row.push(text);
        }
        if let Some(span) = &span {
            row.push(span.sparkline(&group.bins));
        }
        rows.push(row);
    }
    aligned(&rows, shape.by.len()..shape.by.len() + 2, out)?;
    Ok(())
}

/// Writes rows under each other; these columns hold numbers.
pub fn aligned(
    rows: &[Vec<String>],
    numbers: std::ops::Range<usize>,
    out: &mut impl Write,
) -> io::Result<()> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row| Some(row.get(column)?.chars().count()));
        widths.max().unwrap_or_default().min(MAX_WIDTH)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let room = widths[column].saturating_sub(cell.chars().count());
            let room = " ".repeat(room);
            if numbers.contains(&column) {
                line.extend([room.as_str(), cell]);
            } else {
                line.extend([cell, room.as_str()]);
            }
            line.push_str("  ");
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
