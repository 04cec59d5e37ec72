//! Agents as a table, or as JSON.

use super::Agent;
use crate::escape;
use crate::store::query::table::aligned;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// Bytes of a cell.
const MAX_CELL: usize = 48;

/// The heads of the columns. Those from [`NUMBERS`] on stand on the right.
const HEADS: [&str; 9] =
    ["HOST", "STATE", "VERSION", "BACKEND", "KERNEL", "HEARD", "EVENTS", "LOST", "SPOOL"];
const NUMBERS: usize = 5;

/// One line each.
pub fn text(agents: &[Agent], out: &mut impl Write) -> io::Result<()> {
    if agents.is_empty() {
        return writeln!(out, "no agent has reported");
    }
    let mut rows = vec![HEADS.map(str::to_owned).to_vec()];
    rows.extend(agents.iter().map(cells));
    aligned(&rows, NUMBERS..HEADS.len(), out)
}

fn cells(agent: &Agent) -> Vec<String> {
    let told = &agent.told;
    let word = |text: &str| {
        let mut cell = String::new();
        if !escape::word(text.as_bytes(), &mut cell, MAX_CELL) {
            cell.push(escape::ELLIPSIS);
        }
        cell
    };
    let text = |name: &str| told.get(name).and_then(Value::as_str).map_or("-".to_owned(), word);
    let number = |n: Option<u64>| n.map_or("-".to_owned(), |n| n.to_string());
    vec![
        word(&agent.host),
        agent.state.name().to_owned(),
        text("version"),
        text("backend"),
        text("kernel"),
        agent.heard.map_or("-".to_owned(), ago),
        number(told.get("shown").and_then(Value::as_u64)),
        number(lost(told)),
        number(spooled(told)),
    ]
}

/// All that was lost: captures, and events of outputs.
fn lost(told: &Value) -> Option<u64> {
    let sum = |places: &Value| -> u64 {
        let counts = places.as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64());
        counts.fold(0, u64::saturating_add)
    };
    let outputs = told.get("outputs").and_then(Value::as_object);
    let of_outputs = outputs.into_iter().flatten().filter_map(|(_, o)| Some(sum(o.get("lost")?)));
    Some(of_outputs.fold(sum(told.get("lost")?), u64::saturating_add))
}

/// Events that wait on the machine's disk.
fn spooled(told: &Value) -> Option<u64> {
    let outputs = told.get("outputs")?.as_object()?;
    let counts = outputs.values().filter_map(|o| o.get("spool_events")?.as_u64());
    counts.reduce(u64::saturating_add)
}

/// A time, short.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        s @ 0..120 => format!("{s}s"),
        s @ 120..7200 => format!("{}m", s / 60),
        s @ 7200..172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

/// What each told, with how it does.
pub fn json(agents: &[Agent], out: &mut impl Write) -> io::Result<()> {
    for agent in agents {
        let mut object = agent.told.as_object().cloned().unwrap_or_default();
        object.insert("host".to_owned(), json!(agent.host));
        object.insert("state".to_owned(), json!(agent.state.name()));
        if let Some(heard) = agent.heard {
            object.insert("heard_seconds_ago".to_owned(), json!(heard.as_secs()));
        }
        // A reader on a terminal would obey what is hidden in texts.
        let line = escape_controls(&Value::Object(object).to_string());
        writeln!(out, "{line}")?;
    }
    Ok(())
}

/// JSON in which whatever hides or moves other text is written as an escape.
fn escape_controls(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        if c == ' ' || !escape::is_hidden(c) {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            out.push_str(&format!("\\u{unit:04x}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::State;
    use super::*;

    #[test]
    fn what_agents_tell_is_shown_and_nothing_of_it_is_obeyed() {
        let told = json!({
            "version": "0.1.0", "backend": "ebpf", "kernel": "\u{1b}[2J\u{202e}", "shown": 7,
            "lost": {"ring-full": 2, "x": "y"},
            "outputs": {"nats": {"lost": {"spool-full": 3}, "spool_events": 4}, "json": {"lost": {}}},
        });
        let agent = |host: &str, told: &Value| Agent {
            host: host.to_owned(),
            state: State::Running,
            heard: Some(Duration::from_secs(125)),
            told: told.clone(),
        };
        let agents = [agent("a\nb", &told), agent("c", &Value::Null)];
        let mut out = Vec::new();
        text(&agents, &mut out).unwrap();
        let table = String::from_utf8(out).unwrap();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(lines.len(), 3, "{table}");
        let words = |line: &str| {
            line.split_whitespace().rev().take(4).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(words(lines[1]), ["4", "5", "7", "2m"], "{table}");
        assert_eq!(words(lines[2])[..3], ["-", "-", "-"], "{table}");
        assert!(!table.contains(['\u{1b}', '\u{202e}']), "{table}");
        let mut out = Vec::new();
        json(&agents, &mut out).unwrap();
        let lines = String::from_utf8(out).unwrap();
        assert!(!lines.contains(['\u{1b}', '\u{202e}']) && lines.lines().count() == 2, "{lines}");
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!((&first["host"], &first["heard_seconds_ago"]), (&json!("a\nb"), &json!(125)));
        assert_eq!(first["kernel"], "\u{1b}[2J\u{202e}");
    }
}
