//! An event as a record of OTLP's logs.
//!
//! What others chose is text as it was sent, as `--json` has it: U+FFFD where it is not UTF-8,
//! and then all of it in hexadecimal beside it. A body is for people, and has nothing that a
//! terminal would obey.

use super::names::{self, METHODS, Rule};
use crate::enrich::GoBuild;
use crate::escape::{MAX_TEXT, Visible};
use crate::event::{Candidate, Event};
use crate::output::fields::{FIELDS, Value};
use crate::output::time::rfc3339;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use std::borrow::Cow;
use std::net::IpAddr;

/// Bytes of a text that are sent, or of all texts of a list; what is longer is cut.
const MAX_VALUE: usize = 8 << 10;

/// Elements of a list that are sent.
const MAX_LIST: usize = 1024;

/// Names the attributes that are not all that was there.
const CUT: &str = "sentby.cut";

/// TCP and UDP (IANA "Assigned Internet Protocol Numbers").
const TRANSPORTS: [(u8, &str); 2] = [(6, "tcp"), (17, "udp")];

/// The record of an event that was taken at that moment, in nanoseconds since the Unix epoch.
pub fn record(event: &Event<'_>, now: u64) -> LogRecord {
    let protocol = event.request.protocol.name();
    let mut attributes = Attributes::default();
    attributes.network(event, protocol);
    for field in FIELDS {
        if let Some(value) = (field.get)(event) {
            attributes.envelope(field.name, value);
        }
    }
    for (field, value) in event.request.fields() {
        let rule = names::rule(protocol, field.name);
        let rule = rule.map(|rule| match rule {
            Rule::Size { request, response, if_any } => match event.request.get(if_any) {
                None => Rule::As(request),
                Some(_) => Rule::As(response),
            },
            rule => rule,
        });
        let own = || names::own(protocol, field.name);
        match value {
            wire::Value::Number(n) => attributes.number(rule, own, *n),
            wire::Value::Name(name) => attributes.put(rule, own, text(name)),
            wire::Value::Flag(flag) => attributes.put(rule, own, Any::BoolValue(*flag)),
            wire::Value::Text(bytes) => attributes.text(rule, own, bytes),
            wire::Value::List(list) => {
                attributes.texts(rule, own, list.iter().map(Cow::as_ref));
            }
        }
    }
    let (list, dropped) = attributes.finished();
    LogRecord {
        time_unix_nano: event.capture.time,
        observed_time_unix_nano: now,
        severity_number: SeverityNumber::Info.into(),
        severity_text: "INFO".to_owned(),
        event_name: format!("sentby.{protocol}"),
        body: Some(AnyValue { value: Some(Any::StringValue(body(event))) }),
        attributes: list,
        dropped_attributes_count: dropped,
        ..LogRecord::default()
    }
}

/// The request in words, as text has it.
fn body(event: &Event<'_>) -> String {
    let mut body = event.request.protocol.name().to_owned();
    body.push(' ');
    let mut visible = Visible::new(&mut body, MAX_TEXT);
    // A String takes all that is written to it.
    let _ = event.request.protocol.describe(event.request, &mut visible);
    visible.finish();
    body
}

/// A text that nobody else chose.
pub fn text(text: &str) -> Any {
    Any::StringValue(text.to_owned())
}

fn int(n: impl Into<i64>) -> Any {
    Any::IntValue(n.into())
}

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn array(values: impl IntoIterator<Item = Any>) -> Any {
    Any::ArrayValue(ArrayValue { values: values.into_iter().map(any).collect() })
}

/// An attribute.
pub fn pair(key: impl Into<String>, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(any(value)), ..KeyValue::default() }
}

fn map(pairs: Vec<KeyValue>) -> Any {
    Any::KvlistValue(KeyValueList { values: pairs })
}

fn hex(bytes: &[u8]) -> Any {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|b| [b >> 4, b & 15]);
    Any::StringValue(digits.map(|d| DIGITS[usize::from(d)] as char).collect())
}

/// At most `limit` bytes, and no half of a character that was whole.
fn shortened(bytes: &[u8], limit: usize) -> &[u8] {
    let Some(cut) = bytes.get(..limit) else { return bytes };
    if cut.len() == bytes.len() {
        return bytes;
    }
    // A character has at most three bytes after its first.
    let tail = cut.iter().rev().take(4).position(|b| b & 0xc0 != 0x80);
    let first = tail.map_or(limit, |back| limit - 1 - back);
    match std::str::from_utf8(&cut[first..]) {
        Err(e) if e.error_len().is_none() => &cut[..first],
        _ => cut,
    }
}

fn lossy(bytes: &[u8]) -> Any {
    Any::StringValue(String::from_utf8_lossy(bytes).into_owned())
}

/// A record's attributes.
#[derive(Default)]
struct Attributes {
    list: Vec<KeyValue>,
    cut: Vec<String>,
    dropped: u32,
}

impl Attributes {
    /// What the conventions say about any request, and no field does.
    fn network(&mut self, event: &Event<'_>, protocol: &str) {
        if let Some(name) = names::network_protocol(protocol) {
            self.list.push(pair("network.protocol.name", text(name)));
        }
        let transport = event.ip_protocol();
        let transport = TRANSPORTS.iter().find(|(number, _)| Some(*number) == transport);
        if let Some((_, name)) = transport {
            self.list.push(pair("network.transport", text(name)));
        }
        let kind = match event.dst {
            IpAddr::V4(_) => "ipv4",
            IpAddr::V6(_) => "ipv6",
        };
        self.list.push(pair("network.type", text(kind)));
    }

    fn envelope(&mut self, field: &'static str, value: Value<'_>) {
        let rule = names::rule("", field);
        let own = || names::own("", field);
        match value {
            Value::Number(n) => self.number(rule, own, n),
            Value::Flag => self.put(rule, own, Any::BoolValue(true)),
            Value::Name(name) => self.put(rule, own, text(name)),
            Value::Time(time) => self.put(rule, own, lossy(&rfc3339(time))),
            Value::Address(address) => self.put(rule, own, text(&address.to_string())),
            Value::Text(bytes) => self.text(rule, own, bytes),
            Value::Joined(joined) => self.texts(rule, own, joined.split(|b| *b == 0)),
            Value::AncestorNames(list) => {
                self.texts(rule, own, list.iter().map(|a| a.comm.as_slice()));
            }
            Value::AncestorPids(list) => {
                self.put(rule, own, array(list.iter().map_while(|a| a.pid).map(int)));
            }
            Value::Faults(faults) => {
                self.put(rule, own, array(faults.iter().map(|f| text(f.name()))));
            }
            Value::Processes(list) => self.put(rule, own, array(list.iter().map(candidate))),
            Value::Build(go) => self.put(rule, own, build(go)),
        }
    }

    /// A value that is no text of others'.
    fn put(&mut self, rule: Option<Rule>, own: impl Fn() -> String, value: Any) {
        match rule {
            Some(Rule::As(names)) => {
                self.list.extend(names.iter().map(|name| pair(*name, value.clone())));
            }
            Some(Rule::Elsewhere) => {}
            _ => self.list.push(pair(own(), value)),
        }
    }

    /// OTLP's numbers have a sign: what is too large for one is left out, and counted.
    fn number(&mut self, rule: Option<Rule>, own: impl Fn() -> String, n: u64) {
        match i64::try_from(n) {
            Ok(n) => self.put(rule, own, int(n)),
            Err(_) => self.dropped += 1,
        }
    }

    fn text(&mut self, rule: Option<Rule>, own: impl Fn() -> String, bytes: &[u8]) {
        let begun = self.list.len();
        let short = shortened(bytes, MAX_VALUE);
        match rule {
            Some(Rule::Executable { path, name }) => {
                let last = short.rsplit(|b| *b == b'/').next().unwrap_or(short);
                self.list.push(pair(path, lossy(short)));
                if short.len() == bytes.len() && !last.is_empty() {
                    self.list.push(pair(name, lossy(last)));
                }
            }
            Some(Rule::Method { known, original }) => match known_method(bytes) {
                Some(method) => self.list.push(pair(known, text(method))),
                None => {
                    self.list.push(pair(known, text("_OTHER")));
                    self.list.push(pair(original, lossy(short)));
                }
            },
            Some(Rule::Target { path, query, full }) => {
                self.target([path, query, full], &own, short);
            }
            Some(Rule::Authority { address, port }) => {
                let (host, number) = authority(short);
                self.list.push(pair(address, lossy(host)));
                self.list.extend(number.map(|number| pair(port, int(number))));
            }
            rule => self.put(rule, &own, lossy(short)),
        }
        if short.len() < bytes.len() {
            self.cut.extend(self.list[begun..].iter().map(|pair| pair.key.clone()));
        }
        if std::str::from_utf8(bytes).is_err() {
            self.list.push(pair(format!("{}_hex", own()), hex(short)));
        }
    }

    /// What is asked for: of a server a path, of a proxy a URL; all else keeps its name.
    fn target(&mut self, names: [&'static str; 3], own: &impl Fn() -> String, target: &[u8]) {
        let [path, query, full] = names;
        if target.first() == Some(&b'/') {
            let mut parts = target.splitn(2, |b| *b == b'?');
            self.list.push(pair(path, lossy(parts.next().unwrap_or_default())));
            self.list.extend(parts.next().map(|rest| pair(query, lossy(rest))));
        } else if target.windows(3).any(|three| three == b"://") {
            self.list.push(pair(full, lossy(target)));
        } else {
            self.list.push(pair(own(), lossy(target)));
        }
    }

    fn texts<'t>(
        &mut self,
        rule: Option<Rule>,
        own: impl Fn() -> String,
        texts: impl Iterator<Item = &'t [u8]>,
    ) {
        let (mut left, mut cut, mut utf8, mut taken) = (MAX_VALUE, false, true, Vec::new());
        for bytes in texts {
            let short = shortened(bytes, left);
            if taken.len() == MAX_LIST || (short.is_empty() && !bytes.is_empty()) {
                cut = true;
                break;
            }
            left -= short.len();
            cut |= short.len() < bytes.len();
            utf8 &= std::str::from_utf8(bytes).is_ok();
            taken.push(short);
        }
        let begun = self.list.len();
        self.put(rule, &own, array(taken.iter().map(|bytes| lossy(bytes))));
        if cut {
            self.cut.extend(self.list[begun..].iter().map(|pair| pair.key.clone()));
        }
        if !utf8 {
            let all = array(taken.iter().map(|bytes| hex(bytes)));
            self.list.push(pair(format!("{}_hex", own()), all));
        }
    }

    /// With the names of what was cut.
    fn finished(mut self) -> (Vec<KeyValue>, u32) {
        if !self.cut.is_empty() {
            let names = self.cut.into_iter().map(Any::StringValue);
            self.list.push(pair(CUT, array(names)));
        }
        (self.list, self.dropped)
    }
}

fn known_method(bytes: &[u8]) -> Option<&'static str> {
    METHODS.into_iter().find(|method| method.as_bytes() == bytes)
}

/// A host and its port; brackets around an IPv6 address are none of it.
fn authority(bytes: &[u8]) -> (&[u8], Option<u16>) {
    let colon = bytes.iter().rposition(|b| *b == b':');
    let of_brackets = bytes.iter().rposition(|b| *b == b']');
    let (host, port) = match colon.filter(|colon| of_brackets.is_none_or(|b| b < *colon)) {
        Some(colon) => (&bytes[..colon], Some(&bytes[colon + 1..])),
        None => (bytes, None),
    };
    let number = port.map(|port| {
        let digits =
            std::str::from_utf8(port).ok().filter(|p| p.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok())
    });
    // What stands behind the colon is no port: nothing is taken apart.
    if number == Some(None) {
        return (bytes, None);
    }
    let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    match bare {
        Some(bare) => (bare, number.flatten()),
        None if host.contains(&b':') => (bytes, None),
        None => (host, number.flatten()),
    }
}

fn candidate(candidate: &Candidate) -> Any {
    let comm = shortened(&candidate.comm, MAX_TEXT);
    map(vec![pair("pid", int(candidate.key.pid)), pair("comm", lossy(comm))])
}

fn build(go: &GoBuild) -> Any {
    let texts = [
        ("version", Some(&go.version)),
        ("path", go.path.as_ref()),
        ("module", go.module.as_ref()),
        ("module_version", go.module_version.as_ref()),
    ];
    let some = texts.into_iter().filter_map(|(name, text)| Some((name, text?)));
    map(some.map(|(name, text)| pair(name, lossy(shortened(text, MAX_TEXT)))).collect())
}

#[cfg(test)]
mod tests;
