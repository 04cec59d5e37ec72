//! One event in full: every field that `--json` prints, under the same names.

use super::draw::{Scene, put, put_right};
use super::model::Kept;
use super::state::State;
use super::table::FIRST_ROW;
use super::text;
use crate::event::Evidence;
use ratatui::buffer::Buffer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// Columns for names of fields.
const NAMES: u16 = 20;

/// Characters of one value that are shown.
const MAX_VALUE: usize = 64 * 1024;

/// An object's fields as they stand in it: the order means something.
struct Fields(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Each)
    }
}

/// Names and what stands under them. Names of parts are indented.
fn told(json: &[u8]) -> Vec<(String, String)> {
    let mut lines = Vec::new();
    match serde_json::from_slice(json) {
        Ok(Fields(fields)) => fields.iter().for_each(|(name, value)| tell(name, value, &mut lines)),
        Err(_) => lines.push(("json".to_owned(), String::from_utf8_lossy(json).into_owned())),
    }
    lines
}

fn tell(name: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    match value {
        Value::Object(parts) => {
            lines.push((name.to_owned(), String::new()));
            for (part, value) in parts {
                tell(&format!("  {part}"), value, lines);
            }
        }
        Value::Array(each) => {
            for (i, value) in each.iter().enumerate() {
                let name = if i == 0 { name } else { "" };
                lines.push((name.to_owned(), plain(value)));
            }
        }
        _ => lines.push((name.to_owned(), plain(value))),
    }
    if name == "evidence"
        && let Some(evidence) = Evidence::ALL.iter().find(|e| value == e.name())
    {
        lines.push((String::new(), explained(*evidence).to_owned()));
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text::visible(text, MAX_VALUE),
        other => text::visible(&other.to_string(), MAX_VALUE),
    }
}

/// What an evidence means, in a sentence.
fn explained(evidence: Evidence) -> &'static str {
    match evidence {
        Evidence::Task => "The hook ran in the sending task itself: it is certain.",
        Evidence::Owner => {
            "It left in an interrupt or by a kernel thread; the process is the last one that was \
             seen using its socket."
        }
        Evidence::Procfs => {
            "Found by matching the socket with the open files of all processes in /proc: the only \
             one that held it then."
        }
        Evidence::Recorded => {
            "The capture file, of another program, names the process and does not say why."
        }
        Evidence::Kernel => "The kernel sent it by itself; no process did.",
        Evidence::Forwarded => "It came from another machine or namespace and was passed on here.",
        Evidence::Unknown => "Nobody can be named with evidence.",
    }
}

/// Draws the event, from the line on that the user has scrolled to.
pub fn draw(kept: &Kept, state: &mut State, scene: &Scene, buffer: &mut Buffer) {
    let width = buffer.area.width;
    let names = NAMES.min(width / 2);
    let room = usize::from(width.saturating_sub(names + 2)).max(2);
    let mut lines = Vec::new();
    for (name, value) in told(&kept.json) {
        for (i, part) in text::wrap(&value, room).into_iter().enumerate() {
            lines.push((if i == 0 { name.clone() } else { String::new() }, part));
        }
    }
    state.lines = lines.len();
    state.scroll = state.scroll.min(state.lines.saturating_sub(state.room));
    let head = format!("{}  {} > {}", kept.protocol, kept.sender, kept.destination);
    put(buffer, (0, 2), &head, width, scene.theme.bold());
    if state.lines > state.room {
        let last = (state.scroll + state.room).min(state.lines);
        let place = format!("  lines {}-{last} of {}", state.scroll + 1, state.lines);
        let room = (text::width(&place) as u16).min(width);
        put_right(buffer, (width - room, 2), &place, room, scene.theme.key());
    }
    let shown = lines.iter().skip(state.scroll).take(state.room);
    for (line, (name, value)) in shown.enumerate() {
        let y = FIRST_ROW + line as u16;
        put(buffer, (1, y), name, names, scene.theme.key());
        put(buffer, (names + 2, y), value, width, scene.theme.plain());
    }
}
