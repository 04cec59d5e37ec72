//! A request out of what was kept of it: the fields that its protocol has declared, as
//! docs/events.md writes them.

use crate::capture::replay::recorded::Object;
use crate::event::Stored;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, OnceLock};
use wire::{Kind, Protocol, Request, Value};

/// Most different names, and how long one may be, of those that are not in this program:
/// a recording may be older or newer, or someone's joke.
const MAX_NAMES: usize = 4096;
const MAX_NAME: usize = 64;

impl Stored {
    /// The request as it was understood then. What is none of the protocol's is left out.
    pub fn request(&self, protocol: &'static dyn Protocol) -> Request<'static> {
        let mut request = Request::new(protocol);
        request.faults.clone_from(&self.faults);
        let Ok(json) = serde_json::from_str::<Json>(&self.fields) else { return request };
        let object = Object(&json);
        for field in protocol.fields() {
            if let Some(value) = value(&object, field.name, field.kind) {
                request.set(field.name, value);
            }
        }
        request
    }
}

fn value(object: &Object<'_>, name: &str, kind: Kind) -> Option<Value<'static>> {
    Some(match kind {
        Kind::Number => Value::Number(object.number(name)?),
        Kind::Name => Value::Name(vocabulary(object.name(name)?)?),
        Kind::Text => Value::Text(Cow::Owned(object.text(name)?)),
        Kind::List => Value::List(object.texts(name)?.into_iter().map(Cow::Owned).collect()),
        Kind::Flag => Value::Flag(object.0.get(name)?.as_bool()?),
    })
}

/// The same word, for good.
fn vocabulary(word: &str) -> Option<&'static str> {
    static KNOWN: OnceLock<Mutex<HashSet<&'static str>>> = OnceLock::new();
    let mut known = KNOWN.get_or_init(Mutex::default).lock().ok()?;
    if let Some(known) = known.get(word) {
        return Some(known);
    }
    if known.len() >= MAX_NAMES || word.len() > MAX_NAME {
        return None;
    }
    let word: &'static str = Box::leak(word.to_owned().into_boxed_str());
    known.insert(word);
    Some(word)
}
