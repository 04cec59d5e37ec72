//! Bytes in, expected text out; then the same bytes cut and corrupted everywhere.

mod common;

use common::{Input, Vector, vectors};
use std::fmt::Write;
use wire::packet::parse;
use wire::{Fault, Layer, Next, PROTOCOLS, Packet, Request, Value};

#[test]
fn vectors_decode_as_expected() {
    let mut wrong = String::new();
    for vector in vectors() {
        let told = tell(&vector);
        for (what, expected, got) in told.iter().filter(|(_, expected, got)| expected != got) {
            let _ = writeln!(wrong, "{}: {what}\n  want {expected}\n  got  {got}", vector.name);
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
}

#[test]
fn vectors_have_different_names() {
    let mut names: Vec<_> = vectors().into_iter().map(|vector| vector.name).collect();
    names.sort();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None);
}

/// However much was captured, no more is claimed, and what is told is what the whole
/// tells, or less of it.
#[test]
fn every_truncation_is_told_and_invents_nothing() {
    for vector in vectors() {
        for len in 0..vector.bytes.len() {
            let bytes = &vector.bytes[..len];
            vector.check(bytes);
            if let Input::Packet(layer, _) = vector.input_of(bytes) {
                check_cut_packet(&vector, layer, bytes);
            }
            check_cut(&vector, bytes);
        }
    }
}

fn check_cut_packet(vector: &Vector, layer: Layer, bytes: &[u8]) {
    let (cut, whole) = (parse(layer, bytes), parse(layer, &vector.bytes));
    let (Some(cut), Some(whole)) = (cut, whole) else { return };
    let place = format!("{} with {} bytes of payload", vector.name, cut.payload.len());
    assert!(cut.payload.len() <= whole.payload.len() || cut.protocol != whole.protocol, "{place}");
    if cut.payload.len() < whole.payload.len() && cut.ip_len.is_some() {
        assert!(cut.truncated, "{place}");
    }
}

fn check_cut(vector: &Vector, bytes: &[u8]) {
    let place = format!("{} cut at {}", vector.name, bytes.len());
    let Some((part, _)) = decode(vector, bytes) else { return };
    // The header that says "a later fragment" may be cut off, no other.
    let Some((full, _)) = decode(vector, &vector.bytes) else { panic!("{place}: out of nothing") };
    for (field, value) in part.fields() {
        let whole = full.get(field.name);
        let less = part.faults.contains(&Fault::Truncated) && is_beginning(value, whole);
        assert!(less || Some(value) == whole, "{place}: {}: {value:?}", field.name);
    }
    if part.fields().count() < full.fields().count() {
        assert!(!part.faults.is_empty(), "{place}: fields are missing without a fault");
    }
}

/// A text that is cut may be told as far as it goes.
fn is_beginning(part: &Value<'_>, whole: Option<&Value<'_>>) -> bool {
    match (part, whole) {
        (Value::Text(part), Some(Value::Text(whole))) => whole.starts_with(part),
        _ => false,
    }
}

/// Any one byte may be anything; the fuzz targets go on from here.
#[test]
fn every_corrupted_byte_is_survived() {
    for vector in vectors() {
        let mut bytes = vector.bytes.clone();
        for at in 0..bytes.len() {
            let good = bytes[at];
            let flips = (0..8).map(|bit| good ^ (1 << bit));
            for bad in flips.chain([0, 0xff]) {
                bytes[at] = bad;
                vector.check(&bytes);
            }
            bytes[at] = good;
        }
    }
}

fn decode<'a>(vector: &Vector, bytes: &'a [u8]) -> Option<(Request<'a>, Option<Next>)> {
    PROTOCOLS.iter().find_map(|protocol| vector.request_of(*protocol, bytes))
}

/// What was expected and what came out, by key of the vector file.
fn tell(vector: &Vector) -> Vec<(&'static str, String, String)> {
    let packet = match vector.input_of(&vector.bytes) {
        Input::Packet(layer, bytes) => {
            parse(layer, bytes).as_ref().map_or("none".into(), show_packet)
        }
        Input::Stream(_) => String::new(),
    };
    let decoded = decode(vector, &vector.bytes);
    let next = decoded.as_ref().and_then(|(_, next)| next.as_ref()).map(show_next);
    let request = decoded.as_ref().map(|(request, _)| request);
    let faults = request.map(|r| r.faults.iter().map(|f| f.name()).collect::<Vec<_>>().join(" "));
    let kernel = request.and_then(|r| r.protocol.kernel_part(r)).unwrap_or_default();
    let fields = request.map(show_fields).unwrap_or_default();
    vec![
        ("packet", vector.packet.clone(), packet),
        ("next", vector.next.clone(), next.unwrap_or_default()),
        ("fields", vector.fields.clone().unwrap_or(fields.clone()), fields),
        ("faults", vector.faults.clone(), faults.unwrap_or_default()),
        ("kernel", vector.kernel.clone(), kernel.to_owned()),
        ("text", vector.text.clone(), request.map_or("none".into(), show_text)),
    ]
}

fn show_next(next: &Next) -> String {
    match next {
        Next::At(offset) => format!("at {offset}"),
        Next::Somewhere => "somewhere".to_owned(),
        Next::Never => "never".to_owned(),
    }
}

fn show_packet(packet: &Packet<'_>) -> String {
    let Packet {
        src,
        dst,
        protocol,
        ttl,
        payload,
        header_len: _,
        ip_len,
        more_fragments,
        truncated,
    } = packet;
    let mut line = format!("{src} > {dst} protocol {protocol} ttl {ttl}");
    if let Some(len) = ip_len {
        let _ = write!(line, " len {len}");
    }
    let _ = write!(line, " payload {}", payload.len());
    line += if *more_fragments { " more" } else { "" };
    line += if *truncated { " truncated" } else { "" };
    line
}

fn show_fields(request: &Request<'_>) -> String {
    let show = |value: &Value<'_>| match value {
        Value::Number(number) => number.to_string(),
        Value::Name(name) => (*name).to_owned(),
        Value::Text(text) => String::from_utf8_lossy(text).into_owned(),
        Value::List(texts) => {
            texts.iter().map(|t| String::from_utf8_lossy(t)).collect::<Vec<_>>().join(",")
        }
        Value::Flag(flag) => flag.to_string(),
    };
    let fields = request.fields().map(|(field, value)| format!("{}={}", field.name, show(value)));
    fields.collect::<Vec<_>>().join(" ")
}

fn show_text(request: &Request<'_>) -> String {
    let mut line = String::new();
    request.protocol.describe(request, &mut line).expect("writing to a string");
    line
}
