//! NDJSON: one object a line, as docs/events.md describes it.
//!
//! Absent keys are left out. Strings carry, by number (`\u001b`), whatever a terminal would
//! obey or hide ([`crate::escape`]): a JSON parser reads the same string, and a line
//! shown raw does no harm.

use super::fields::{FIELDS, Field, Of, Value};
use super::kept::{Kept, Pieces, RUNS};
use super::{Options, Output, time};
use crate::escape::is_hidden;
use crate::event::Event;
use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, Serializer};
use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;

/// Opens the JSON output.
pub fn open(_options: Options, out: Box<dyn Write>) -> Box<dyn Output> {
    Box::new(Json { out, lines: Vec::with_capacity(2 * LINES), writer: Writer::new() })
}

/// Writes lines, and uses again what it wrote about the same senders.
pub struct Writer {
    kept: Kept,
}

impl Writer {
    /// Nothing was written yet.
    pub fn new() -> Writer {
        Writer { kept: Kept::new() }
    }

    /// Appends an event as one object, without a newline.
    pub fn write(&mut self, event: &Event<'_>, line: &mut Vec<u8>) -> io::Result<()> {
        let pieces = self.kept.of(event, write_fields_after)?;
        write_event(event, line, pieces)
    }
}

/// Bytes of lines that are passed on at once.
const LINES: usize = 32 * 1024;

struct Json {
    out: Box<dyn Write>,
    lines: Vec<u8>,
    writer: Writer,
}

impl Json {
    fn pass_on(&mut self) -> io::Result<()> {
        let written = self.out.write_all(&self.lines);
        self.lines.clear();
        written
    }
}

impl Output for Json {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.writer.write(event, &mut self.lines)?;
        self.lines.push(b'\n');
        if self.lines.len() >= LINES { self.pass_on() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()?;
        self.out.flush()
    }
}

/// Appends an event as one object without the protocol's own.
pub fn write_envelope(event: &Event<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    let mut object = Object::open(line);
    write_fields(event, FIELDS, &mut object)?;
    object.close();
    Ok(())
}

/// Appends an event as one object, without a newline.
pub fn write_whole(event: &Event<'_>, line: &mut Vec<u8>) -> io::Result<()> {
    write_event(event, line, None)
}

pub(super) fn write_fields(
    event: &Event<'_>,
    fields: &[Field],
    object: &mut Object<'_>,
) -> io::Result<()> {
    for field in fields {
        if let Some(value) = (field.get)(event) {
            write_value(object, field.name, value)?;
        }
    }
    Ok(())
}

/// Appends fields that stand behind others of their object.
fn write_fields_after(event: &Event<'_>, fields: &[Field], out: &mut Vec<u8>) -> io::Result<()> {
    write_fields(event, fields, &mut Object { out, empty: false })
}

/// Appends an event as one object, without a newline.
fn write_event(event: &Event<'_>, line: &mut Vec<u8>, kept: Option<&Pieces>) -> io::Result<()> {
    let mut object = Object::open(line);
    let mut kept = kept.map(Pieces::iter);
    for run in RUNS.iter() {
        let known = kept.as_mut().filter(|_| run[0].of != Of::Event).and_then(Iterator::next);
        match known {
            Some(bytes) => object.out.extend_from_slice(bytes),
            None => write_fields(event, run, &mut object)?,
        }
    }
    object.key(event.request.protocol.name())?;
    write_request(event, object.out)?;
    object.close();
    Ok(())
}

/// Appends the protocol's own fields as one object.
pub(super) fn write_request(event: &Event<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    let mut inner = Object::open(out);
    for (field, value) in event.request.fields() {
        write_request_value(&mut inner, field.name, value)?;
    }
    inner.close();
    Ok(())
}

fn write_value(object: &mut Object<'_>, name: &str, value: Value<'_>) -> io::Result<()> {
    match value {
        Value::Text(bytes) => return object.text(name, bytes),
        Value::Joined(joined) => return object.texts(name, || joined.split(|b| *b == 0)),
        Value::AncestorNames(list) => {
            return object.texts(name, || list.iter().map(|a| a.comm.as_slice()));
        }
        _ => object.key(name)?,
    }
    let out = &mut *object.out;
    match value {
        Value::Number(n) => number(out, n),
        Value::Flag => out.write_all(b"true"),
        Value::Name(text) => string(out, text),
        Value::Time(ns) => quoted(out, &time::rfc3339(ns)),
        Value::Address(address) => write_address(out, address),
        Value::AncestorPids(list) => {
            array(out, list.iter().map_while(|a| a.pid), |out, pid| number(out, pid.into()))
        }
        Value::Faults(faults) => array(out, faults, |out, fault| string(out, fault.name())),
        Value::Processes(list) => array(out, list, |out, candidate| {
            let mut inner = Object::open(out);
            write_value(&mut inner, "pid", Value::Number(candidate.key.pid.into()))?;
            write_value(&mut inner, "comm", Value::Text(&candidate.comm))?;
            inner.close();
            Ok(())
        }),
        Value::Build(build) => {
            let mut inner = Object::open(out);
            inner.text("version", &build.version)?;
            let texts = [
                ("path", &build.path),
                ("module", &build.module),
                ("module_version", &build.module_version),
            ];
            for (name, text) in texts {
                text.as_ref().map_or(Ok(()), |text| inner.text(name, text))?;
            }
            inner.close();
            Ok(())
        }
        Value::Text(_) | Value::Joined(_) | Value::AncestorNames(_) => Ok(()),
    }
}

pub(super) fn write_request_value(
    object: &mut Object<'_>,
    name: &str,
    value: &wire::Value<'_>,
) -> io::Result<()> {
    match value {
        wire::Value::Text(bytes) => return object.text(name, bytes),
        wire::Value::List(list) => return object.texts(name, || list.iter().map(Cow::as_ref)),
        _ => object.key(name)?,
    }
    match value {
        wire::Value::Number(n) => number(object.out, *n),
        wire::Value::Name(text) => string(object.out, text),
        wire::Value::Flag(flag) => object.out.write_all(if *flag { b"true" } else { b"false" }),
        wire::Value::Text(_) | wire::Value::List(_) => Ok(()),
    }
}

/// An object being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Object { out, empty: true }
    }

    pub(super) fn close(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, name: &str) -> io::Result<()> {
        if !std::mem::take(&mut self.empty) {
            self.out.push(b',');
        }
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        Ok(())
    }

    fn hex_key(&mut self, name: &str) -> io::Result<()> {
        write!(self.out, ",\"{name}_hex\":")
    }

    /// Bytes as a string; where they are not UTF-8 also as `<name>_hex`.
    fn text(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.key(name)?;
        if !lossy(self.out, bytes)? {
            self.hex_key(name)?;
            hex(self.out, bytes)?;
        }
        Ok(())
    }

    /// Texts as an array; where any is not UTF-8 also all of them as `<name>_hex`.
    fn texts<'t, I>(&mut self, name: &str, texts: impl Fn() -> I) -> io::Result<()>
    where
        I: Iterator<Item = &'t [u8]>,
    {
        self.key(name)?;
        let mut utf8 = true;
        array(self.out, texts(), |out, text| {
            utf8 &= lossy(out, text)?;
            Ok(())
        })?;
        if !utf8 {
            self.hex_key(name)?;
            array(self.out, texts(), hex)?;
        }
        Ok(())
    }
}

fn array<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(&mut Vec<u8>, T) -> io::Result<()>,
) -> io::Result<()> {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write(out, item)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes bytes as a string, U+FFFD where they are not UTF-8. Returns whether they are.
fn lossy(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<bool> {
    if is_plain(bytes) {
        return quoted(out, bytes).map(|()| true);
    }
    string(out, &String::from_utf8_lossy(bytes))?;
    Ok(std::str::from_utf8(bytes).is_ok())
}

/// Whether bytes stand in a JSON string as they are: printable ASCII without `"` and
/// `\\`. Nearly every string is, and a copy is a tenth of what looking at characters
/// costs.
fn is_plain(bytes: &[u8]) -> bool {
    let special = |b: &u8| !(b' '..=b'~').contains(b) | (*b == b'"') | (*b == b'\\');
    // Without a branch per byte the compiler takes a vector at once.
    let (chunks, rest) = bytes.as_chunks::<16>();
    !chunks.iter().any(|chunk| chunk.iter().fold(false, |any, b| any | special(b)))
        && !rest.iter().any(special)
}

/// Writes plain bytes as a string.
fn quoted(out: &mut Vec<u8>, plain: &[u8]) -> io::Result<()> {
    out.push(b'"');
    out.extend_from_slice(plain);
    out.push(b'"');
    Ok(())
}

fn number(out: &mut Vec<u8>, n: u64) -> io::Result<()> {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    Ok(())
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) -> io::Result<()> {
    let IpAddr::V4(four) = address else { return write!(out, "\"{address}\"") };
    for (i, octet) in four.octets().into_iter().enumerate() {
        out.push(if i == 0 { b'"' } else { b'.' });
        number(out, octet.into())?;
    }
    out.push(b'"');
    Ok(())
}

fn hex(out: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    out.push(b'"');
    bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    out.push(b'"');
    Ok(())
}

pub(super) fn string(out: &mut Vec<u8>, text: &str) -> io::Result<()> {
    if is_plain(text.as_bytes()) {
        return quoted(out, text.as_bytes());
    }
    text.serialize(&mut Serializer::with_formatter(out, Harmless(CompactFormatter)))
        .map_err(Into::into)
}

/// serde_json's compact format, with hidden characters escaped too.
struct Harmless(CompactFormatter);

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        out: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            self.0.write_string_fragment(out, &rest[..at])?;
            let Some(hidden) = rest[at..].chars().next() else { break };
            let mut units = [0; 2];
            for unit in hidden.encode_utf16(&mut units) {
                write!(out, "\\u{unit:04x}")?;
            }
            rest = &rest[at + hidden.len_utf8()..];
        }
        self.0.write_string_fragment(out, rest)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Kind;
    use super::*;
    use crate::event::Evidence;
    use crate::fixture::Sample;
    use serde_json::Value as Parsed;

    fn json(sample: &Sample) -> String {
        let mut line = Vec::new();
        write_event(&sample.event(), &mut line, None).unwrap();
        String::from_utf8(line).expect("JSON is UTF-8")
    }

    fn parsed(sample: &Sample) -> Parsed {
        serde_json::from_str(&json(sample)).unwrap()
    }

    #[test]
    fn a_ping() {
        let want = concat!(
            r#"{"time":"2026-11-22T10:38:05.123456789Z","proto":"probe","evidence":"task","#,
            r#""hook":"test","pid":4711,"tid":4711,"comm":"ping","exe":"/usr/bin/ping","#,
            r#""cmdline":["ping","-c","1","192.0.2.7"],"uid":0,"user":"root","#,
            r#""netns":4026531840,"src":"198.51.100.2","dst":"192.0.2.7","iface":"eth0","#,
            r#""len":84,"probe":{"number":7}}"#,
        );
        assert_eq!(json(&Sample::ping()), want);
    }

    fn with_kept(event: &Event<'_>, kept: &mut Kept) -> String {
        let mut line = Vec::new();
        let pieces = kept.of(event, write_fields_after).unwrap();
        write_event(event, &mut line, pieces).unwrap();
        String::from_utf8(line).unwrap()
    }

    /// Samples that differ in one thing each, of which no field may be taken for another's.
    fn alike() -> Vec<Sample> {
        let changes: [fn(&mut Sample); 12] = [
            |_| {},
            |s| s.evidence = Evidence::Owner,
            |s| s.tid = Some(7),
            |s| s.comm = Some(b"other".to_vec()),
            |s| s.uid = Some(7),
            |s| s.user = Some("other".into()),
            |s| s.capture.netns = Some(7),
            |s| s.capture.socket_inode = Some(7),
            |s| s.capture.shared = true,
            |s| s.dst = "192.0.2.99".parse().unwrap(),
            |s| s.ports = Some((7, 80)),
            |s| s.dst_name = Some(b"other".to_vec()),
        ];
        let changed = |change: &fn(&mut Sample)| {
            let mut sample = Sample::ping();
            change(&mut sample);
            sample
        };
        changes.iter().map(changed).collect()
    }

    #[test]
    fn what_is_kept_of_a_sender_is_what_would_be_written() {
        let mut kept = Kept::new();
        let all = alike();
        // Each behind the first, from which it differs in one thing.
        for sample in all.iter().flat_map(|other| [&all[0], other]) {
            let mut event = sample.event();
            event.facts = Some(1);
            let again = [with_kept(&event, &mut kept), with_kept(&event, &mut kept)];
            assert_eq!(again, [json(sample), json(sample)]);
        }
        let mut other = Sample::hostile();
        other.process.as_mut().unwrap().ppid = Some(99);
        for (facts, sample) in [(2, &Sample::hostile()), (3, &other), (2, &Sample::hostile())] {
            let mut event = sample.event();
            event.facts = Some(facts);
            assert_eq!(with_kept(&event, &mut kept), json(sample));
        }
    }

    #[test]
    fn what_is_kept_is_used() {
        let (sample, mut kept) = (Sample::ping(), Kept::new());
        let mut event = sample.event();
        event.facts = Some(1);
        with_kept(&event, &mut kept);
        kept.of(&event, |_, _, _| panic!("written again")).unwrap().expect("it is kept");
    }

    #[test]
    fn what_is_unknown_is_left_out() {
        let want = concat!(
            r#"{"time":"2026-11-22T10:38:05.123456789Z","proto":"probe","evidence":"unknown","#,
            r#""hook":"test","src":"198.51.100.2","dst":"192.0.2.7","probe":{"number":7}}"#,
        );
        assert_eq!(json(&Sample::unknown()), want);
    }

    #[test]
    fn the_kernel_says_which_part() {
        let mut sample = Sample::unknown();
        sample.evidence = Evidence::Kernel;
        assert_eq!(parsed(&sample)["kernel_part"], "probe-reply");
    }

    #[test]
    fn other_bytes_are_readable_and_exact() {
        let mut sample = Sample::ping();
        sample.comm = Some(b"caf\xe9".to_vec());
        sample.process.as_mut().unwrap().argv = Some(b"a\0b\xff\0".to_vec());
        let event = parsed(&sample);
        assert_eq!(event["comm"], "caf\u{fffd}");
        assert_eq!(event["comm_hex"], "636166e9");
        assert_eq!(event["cmdline"], serde_json::json!(["a", "b\u{fffd}", ""]));
        assert_eq!(event["cmdline_hex"], serde_json::json!(["61", "62ff", ""]));
        assert_eq!(event.get("exe_hex"), None);
    }

    #[test]
    fn no_line_holds_what_a_terminal_would_obey_and_every_string_survives() {
        let mut sample = Sample::hostile();
        let every: String = (0..=0x2ffff_u32).filter_map(char::from_u32).collect();
        sample.process.as_mut().unwrap().cgroup = Some(every.clone().into_bytes());
        let line = json(&sample);
        assert!(!line.chars().any(is_hidden));
        let event: Parsed = serde_json::from_str(&line).unwrap();
        assert_eq!(event["cgroup"], every.as_str());
        assert_eq!(event["probe"]["flag"], true);
        assert_eq!(event["faults"], serde_json::json!(["truncated", "bad-length"]));
        assert_eq!(event["candidates"][1], serde_json::json!({"pid": 34, "comm": "b"}));
        assert_eq!(event["go"]["module_version_hex"], event["comm_hex"]);
        assert_eq!(event["ancestor_pids"], serde_json::json!([812, 1]));
    }

    #[test]
    fn only_declared_keys_of_declared_kinds_are_emitted() {
        let mut seen = std::collections::BTreeSet::new();
        let mut kernel = Sample::unknown();
        kernel.evidence = Evidence::Kernel;
        for sample in [Sample::ping(), Sample::unknown(), Sample::hostile(), kernel] {
            let Parsed::Object(event) = parsed(&sample) else { panic!("not an object") };
            for (key, value) in event.iter().filter(|(key, _)| *key != "probe") {
                let known = FIELDS.iter().find(|f| f.name == key);
                let of_hex = key.strip_suffix("_hex");
                let raw = FIELDS.iter().find(|f| Some(f.name) == of_hex);
                let kind = known.or(raw).unwrap_or_else(|| panic!("undeclared {key}")).kind;
                assert!(is_of(kind, value), "{key}: {value} is no {}", kind.name());
                assert!(raw.is_none() || matches!(kind, Kind::Text | Kind::Texts));
                seen.insert(key.clone());
            }
        }
        let unseen: Vec<_> = FIELDS.iter().filter(|f| !seen.contains(f.name)).collect();
        assert!(
            unseen.is_empty(),
            "not tested: {:?}",
            unseen.iter().map(|f| f.name).collect::<Vec<_>>()
        );
    }

    fn is_of(kind: Kind, value: &Parsed) -> bool {
        let all = |test: fn(&Parsed) -> bool| value.as_array().is_some_and(|a| a.iter().all(test));
        match kind {
            Kind::Number => value.is_u64(),
            Kind::Flag => *value == true,
            Kind::Name | Kind::Text => value.is_string(),
            Kind::Time => value.as_str().is_some_and(|t| t.parse::<jiff::Timestamp>().is_ok()),
            Kind::Address => value.as_str().is_some_and(|a| a.parse::<std::net::IpAddr>().is_ok()),
            Kind::Texts | Kind::Names => all(Parsed::is_string),
            Kind::Numbers => all(Parsed::is_u64),
            Kind::Build => value["version"].is_string(),
            Kind::Processes => all(|p| p["pid"].is_u64() && p["comm"].is_string()),
        }
    }

    #[test]
    fn keys_are_declared_once_and_are_no_protocols() {
        for (i, field) in FIELDS.iter().enumerate() {
            assert!(FIELDS[..i].iter().all(|f| f.name != field.name), "{} twice", field.name);
            assert!(wire::protocol::by_name(field.name).is_none());
            assert!(!field.name.ends_with("_hex") && !field.doc.is_empty());
        }
    }
}
