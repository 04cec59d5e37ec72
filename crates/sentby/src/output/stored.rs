//! The parts of an event as a recording keeps them (`store`): JSON, by the rules of
//! docs/events.md.

use super::fields::{FIELDS, Field, Of};
use super::json::{Object, string, write_fields, write_request, write_request_value};
use super::pcapng;
use crate::event::Event;
use std::io;

/// What belongs to the sender beside what is steady about its process.
static OF_SENDERS: [&str; 6] = ["pid", "comm", "process_comm", "uid", "user", "host"];

/// What stands in no column of its own.
static OTHERS: [&str; 4] = ["candidates", "go", "faults", "sampled"];

/// Whether a field says something about the sender, and nothing about the request.
pub fn is_of_sender(field: &Field) -> bool {
    field.of == Of::Process || OF_SENDERS.contains(&field.name)
}

/// Appends what is known about the sender.
pub fn process(event: &Event<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    write(event, is_of_sender, out)
}

/// Appends the protocol's own fields.
pub fn request(event: &Event<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    write_request(event, out)
}

/// Appends what stands in no column, if there is any.
pub fn more(event: &Event<'_>, out: &mut Vec<u8>) -> io::Result<bool> {
    let plain = event.candidates.is_empty() && event.go.is_none() && event.outcome.is_none();
    if plain && event.request.faults.is_empty() && event.sampled.is_none() {
        return Ok(false);
    }
    write(event, |field| OTHERS.contains(&field.name), out)?;
    if let Some(outcome) = pcapng::outcome(event) {
        let empty = out.ends_with(b"{}");
        out.pop();
        out.extend_from_slice(if empty { b"\"outcome\":" } else { b",\"outcome\":" });
        out.extend_from_slice(outcome.to_string().as_bytes());
        out.push(b'}');
    }
    Ok(true)
}

/// Appends the packet that it was, or one that is made up around what it carried.
pub fn packet(event: &Event<'_>, out: &mut Vec<u8>) {
    pcapng::packet(event, out);
}

fn write(event: &Event<'_>, wanted: impl Fn(&Field) -> bool, out: &mut Vec<u8>) -> io::Result<()> {
    let mut object = Object::open(out);
    for field in FIELDS.iter().filter(|field| wanted(field)) {
        write_fields(event, std::slice::from_ref(field), &mut object)?;
    }
    object.close();
    Ok(())
}

/// One thing that events can be told apart by.
#[derive(Clone, Debug)]
pub enum Named {
    /// Of the envelope.
    Envelope(usize),
    /// Of protocols' own.
    Protocols(String),
}

impl Named {
    /// The field of a name, if any event can have it.
    pub fn find(name: &str) -> Option<Named> {
        if let Some(at) = FIELDS.iter().position(|field| field.name == name) {
            return Some(Named::Envelope(at));
        }
        let own = |p: &&dyn wire::Protocol| p.fields().iter().any(|f| f.name == name);
        wire::PROTOCOLS.iter().any(own).then(|| Named::Protocols(name.to_owned()))
    }

    /// Its name in JSON.
    pub fn name(&self) -> &str {
        match self {
            Named::Envelope(at) => FIELDS[*at].name,
            Named::Protocols(name) => name,
        }
    }

    /// Whether it is one of the sender.
    pub fn is_of_senders(&self) -> bool {
        matches!(self, Named::Envelope(at) if is_of_sender(&FIELDS[*at]))
    }

    /// Whether it is one of the destination.
    pub fn is_of_destinations(&self) -> bool {
        matches!(self, Named::Envelope(at) if FIELDS[*at].name.starts_with("d"))
            && self.is_of_flows()
            && !self.is_of_senders()
    }

    /// Whether it is the same for all that goes from a sender to a destination.
    pub fn is_of_flows(&self) -> bool {
        let Named::Envelope(at) = self else { return false };
        let field = &FIELDS[*at];
        is_of_sender(field) || OF_FLOWS.contains(&field.name)
    }

    /// What an object of [`write_named`] has of it, for people.
    pub fn shown(&self, object: &serde_json::Value) -> Option<String> {
        let mut out = String::new();
        let text = match object.get(self.name())? {
            serde_json::Value::String(text) => text.clone(),
            serde_json::Value::Array(list) => {
                let words = list.iter().map(|w| w.as_str().map_or(w.to_string(), str::to_owned));
                words.collect::<Vec<_>>().join(" ")
            }
            other => other.to_string(),
        };
        if !crate::escape::word(text.as_bytes(), &mut out, MAX_SHOWN) {
            out.push(crate::escape::ELLIPSIS);
        }
        Some(out)
    }
}

/// Bytes of a value that are shown to people.
const MAX_SHOWN: usize = 120;

/// What beside senders does not differ between the events of a flow.
static OF_FLOWS: [&str; 6] = ["proto", "evidence", "dst", "dport", "dst_name", "dst_name_from"];

/// Appends an object of these.
pub fn write_named(event: &Event<'_>, fields: &[Named], out: &mut Vec<u8>) -> io::Result<()> {
    let mut object = Object::open(out);
    for field in fields {
        match field {
            Named::Envelope(at) => {
                write_fields(event, std::slice::from_ref(&FIELDS[*at]), &mut object)?;
            }
            Named::Protocols(name) => {
                if let Some(value) = event.request.get(name) {
                    write_request_value(&mut object, name, value)?;
                }
            }
        }
    }
    object.close();
    Ok(())
}

/// Appends a string; whatever a terminal would obey is escaped.
pub fn write_text(name: &str, text: &[u8], first: bool, out: &mut Vec<u8>) -> io::Result<()> {
    if !first {
        out.push(b',');
    }
    string(out, name)?;
    out.push(b':');
    string(out, &String::from_utf8_lossy(text))
}
