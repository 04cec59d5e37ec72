//! An event as the page has it: what `--json` prints, with what many events say alike set
//! apart, so that 100,000 of them are some 15 MB and not 60.

use crate::escape::Visible;
use crate::event::Event;
use crate::output::fields::{FIELDS, Of};
use crate::output::json;
use serde_json::{Map, Value};
use std::io;

/// Bytes of a request's one line.
const MAX_SUMMARY: usize = 200;

/// Beyond this a number of JavaScript is not exact.
const MAX_EXACT: u64 = 1 << 53;

/// Fields that events of one sender mostly have in common, besides the steady ones.
const OF_SENDER: &[&str] = &[
    "proto",
    "evidence",
    "kernel_part",
    "hook",
    "pid",
    "tid",
    "candidates",
    "comm",
    "process_comm",
    "go",
    "uid",
    "user",
    "netns",
    "shared",
    "src",
    "iface",
    "host",
];

/// Fields that events to one destination have in common.
const OF_PLACE: &[&str] = &["dst", "dport", "dst_name", "dst_name_from"];

/// Pieces of JSON.
pub struct Encoded {
    /// An array: names of `values`, those of the protocol's own fields as `proto.name`.
    pub shape: String,
    /// An object: the sender.
    pub context: String,
    /// An object: the destination.
    pub place: String,
    /// The inside of an array: the request in a line, then its own values.
    pub values: String,
}

/// Takes an event apart.
pub fn event(event: &Event<'_>) -> io::Result<Encoded> {
    let mut summary = String::new();
    let mut visible = Visible::new(&mut summary, MAX_SUMMARY);
    let _ = event.request.protocol.describe(event.request, &mut visible);
    visible.finish();
    let (mut names, mut values) = (Vec::new(), vec![Value::from(summary)]);
    let (mut context, mut place) = (Map::new(), Map::new());
    let own = event.request.protocol.name();
    for (name, value) in object(event)? {
        let base = name.strip_suffix("_hex").unwrap_or(&name);
        match value {
            Value::Object(fields) if name == own => {
                for (field, value) in fields {
                    names.push(Value::from(format!("{own}.{field}")));
                    values.push(exact(value));
                }
            }
            value if is_of_sender(base) => _ = context.insert(name, exact(value)),
            value if OF_PLACE.contains(&base) => _ = place.insert(name, exact(value)),
            value => {
                names.push(Value::from(name));
                values.push(exact(value));
            }
        }
    }
    let values = Value::Array(values).to_string();
    Ok(Encoded {
        shape: Value::Array(names).to_string(),
        context: Value::Object(context).to_string(),
        place: Value::Object(place).to_string(),
        values: values[1..values.len() - 1].to_owned(),
    })
}

/// What is known of an event's sender, or of its destination, as in `--json`.
pub fn only(event: &Event<'_>, names: &[&str]) -> Map<String, Value> {
    let mut all = object(event).unwrap_or_default();
    all.retain(|name, _| names.contains(&name.strip_suffix("_hex").unwrap_or(name)));
    all.into_iter().map(|(name, value)| (name, exact(value))).collect()
}

/// A time as in `--json`.
pub fn time(ns: u64) -> Value {
    let seconds = jiff::Timestamp::from_nanosecond(i128::from(ns));
    Value::from(format!("{:.9}", seconds.unwrap_or(jiff::Timestamp::MAX)))
}

fn object(event: &Event<'_>) -> io::Result<Map<String, Value>> {
    let mut line = Vec::with_capacity(1024);
    json::write_whole(event, &mut line)?;
    Ok(serde_json::from_slice(&line)?)
}

fn is_of_sender(name: &str) -> bool {
    OF_SENDER.contains(&name) || FIELDS.iter().any(|f| f.of == Of::Process && f.name == name)
}

/// A number that JavaScript would round, as text.
fn exact(value: Value) -> Value {
    match value.as_u64() {
        Some(n) if n > MAX_EXACT => Value::from(n.to_string()),
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;

    /// Puts an event together again, as the page does.
    fn together(e: &Encoded) -> Map<String, Value> {
        let mut all: Map<String, Value> = serde_json::from_str(&e.context).unwrap();
        all.extend(serde_json::from_str::<Map<_, _>>(&e.place).unwrap());
        let names: Vec<String> = serde_json::from_str(&e.shape).unwrap();
        let values: Vec<Value> = serde_json::from_str(&format!("[{}]", e.values)).unwrap();
        assert_eq!(names.len() + 1, values.len());
        let proto = all["proto"].as_str().unwrap().to_owned();
        let mut own = Map::new();
        for (name, value) in names.into_iter().zip(values.into_iter().skip(1)) {
            match name.split_once('.') {
                Some((_, field)) => own.insert(field.to_owned(), value),
                None => all.insert(name, value),
            };
        }
        all.insert(proto, Value::Object(own));
        all
    }

    #[test]
    fn nothing_of_an_event_is_lost() {
        for sample in [Sample::ping(), Sample::unknown(), Sample::hostile()] {
            let event = sample.event();
            let want = object(&event).unwrap();
            assert_eq!(together(&super::event(&event).unwrap()), want);
        }
    }

    #[test]
    fn fields_named_here_are_declared() {
        for name in OF_SENDER.iter().chain(OF_PLACE) {
            assert!(FIELDS.iter().any(|f| f.name == *name && f.of != Of::Process), "{name}");
        }
    }

    #[test]
    fn numbers_that_would_be_rounded_are_texts() {
        assert_eq!(exact(Value::from(u64::MAX)), u64::MAX.to_string());
        assert_eq!(exact(Value::from(MAX_EXACT)), MAX_EXACT);
    }

    #[test]
    fn times_have_nine_decimals() {
        assert_eq!(time(1_795_343_885_123_456_789), "2026-11-22T10:38:05.123456789Z");
        assert_eq!(time(0), "1970-01-01T00:00:00.000000000Z");
    }
}
