//! What holds for every input, however hostile. The fuzz targets and the tests share
//! these checks.

use std::fmt::Write;
use wire::answers::{MAX_RECORDS, answers};
use wire::packet::parse;
use wire::{Layer, PROTOCOLS, Packet, Progress, Protocol, Request, Stream, Switches, Value};

/// Longest line that a request may be described in.
const MAX_DESCRIPTION: usize = 1024;

/// Parses bytes, offers them to every protocol, and checks all that comes back.
pub fn check_bytes(layer: Layer, bytes: &[u8]) {
    let Some(packet) = parse(layer, bytes) else { return };
    check_packet(&packet, bytes);
    check_requests(&packet);
}

/// A packet claims no more than there is.
pub fn check_packet(packet: &Packet<'_>, bytes: &[u8]) {
    let (all, payload) = (bytes.as_ptr_range(), packet.payload.as_ptr_range());
    assert!(all.start <= payload.start && payload.end <= all.end, "payload outside the input");

    let ip_header = if packet.src.is_ipv4() { 20 } else { 40 };
    assert!(packet.payload.len() + ip_header <= bytes.len());
    assert_eq!(packet.src.is_ipv4(), packet.dst.is_ipv4());
    if let Some(len) = packet.ip_len {
        assert!(packet.payload.len() + ip_header <= len as usize, "payload beyond the IP length");
        assert!(packet.truncated || len as usize <= bytes.len(), "truncation is not told");
    }
}

/// Every protocol's request keeps to its declaration.
pub fn check_requests(packet: &Packet<'_>) {
    for protocol in PROTOCOLS {
        for on in switchings(*protocol) {
            if let Some(request) = protocol.decode(packet, on) {
                assert_eq!(request.protocol.name(), protocol.name());
                check_request(&request);
            }
        }
    }
}

/// All switches off, and all on.
fn switchings(protocol: &dyn Protocol) -> [Switches; 2] {
    let all = (0..protocol.switches().len()).fold(Switches::OFF, Switches::with);
    [Switches::OFF, all]
}

/// Every protocol decodes a stream as far as it is there: what needs more bytes says so
/// only while more may come, and a request is never taken back when they do.
pub fn check_stream(bytes: &[u8]) {
    for protocol in PROTOCOLS {
        for on in switchings(*protocol) {
            check_progress(*protocol, on, bytes);
        }
    }
}

fn check_progress(protocol: &'static dyn Protocol, on: Switches, bytes: &[u8]) {
    let decode = |bytes, ended| protocol.decode_stream(&Stream { bytes, ended, on });
    let whole = decode(bytes, true);
    assert!(!matches!(whole, Progress::More), "{protocol:?} waits for what cannot come");
    let open = decode(bytes, false);
    for progress in [&whole, &open] {
        if let Progress::Done(request, _) = progress {
            assert_eq!(request.protocol.name(), protocol.name());
            check_request(request);
        }
    }
    if matches!(open, Progress::No) {
        return;
    }
    for len in [1, bytes.len() / 2, bytes.len().saturating_sub(1)] {
        let part = decode(&bytes[..len.min(bytes.len())], false);
        let given_up = len > 0 && matches!(part, Progress::No);
        assert!(!given_up, "{protocol:?} gave up after {len} bytes of what it waits for");
    }
}

/// What answers a question is bounded, safe on a terminal, and the same however much
/// of the message follows the answers.
pub fn check_answers(message: &[u8]) {
    let Some(whole) = answers(message) else { return };
    assert!(whole.addresses.len() <= MAX_RECORDS);
    let names = [Some(&whole.name), whole.canonical.as_ref()];
    for name in names.into_iter().flatten() {
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic), "{name:?}");
    }
    let longer = [message, b"x"].concat();
    assert_eq!(answers(&longer).as_ref(), Some(&whole));
    for len in [message.len() / 2, message.len().saturating_sub(1)] {
        if let Some(part) = answers(&message[..len]) {
            assert_eq!(part, whole, "cut at {len}");
        }
    }
}

/// Only declared fields, in the declared order and once each, of the declared kind;
/// no fault twice; a description that is short and safe on a terminal.
pub fn check_request(request: &Request<'_>) {
    let declared = request.protocol.fields();
    let mut next = 0;
    for (field, value) in request.fields() {
        let at = declared.iter().position(|d| std::ptr::eq(d, field));
        let at = at.unwrap_or_else(|| panic!("{} is not declared", field.name));
        assert!(at >= next, "{} comes twice or too late", field.name);
        assert_eq!(field.kind, value.kind(), "kind of {}", field.name);
        assert!(!matches!(value, Value::Name("")), "{} has an empty name", field.name);
        next = at + 1;
    }
    for (at, fault) in request.faults.iter().enumerate() {
        assert!(!request.faults[..at].contains(fault), "{} twice", fault.name());
    }

    let mut line = Escaped(String::new());
    request.protocol.describe(request, &mut line).expect("writing to a string");
    assert!(line.0.len() <= MAX_DESCRIPTION, "a description of {} bytes", line.0.len());
    if !has_captured_text(request) {
        let mut plain = String::new();
        request.protocol.describe(request, &mut plain).expect("writing to a string");
        assert!(is_printable(&plain), "unsafe on a terminal: {plain:?}");
    }
    let _ = request.protocol.kernel_part(request);
}

/// Whether a request carries strings from the wire that are not printable as they are.
fn has_captured_text(request: &Request<'_>) -> bool {
    let printable = |text: &[u8]| text.iter().all(|b| (0x20..0x7f).contains(b));
    request.fields().any(|(_, value)| match value {
        Value::Text(text) => !printable(text),
        Value::List(texts) => texts.iter().any(|text| !printable(text)),
        _ => false,
    })
}

fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (0x20..0x7f).contains(&b))
}

/// Stands for the escaping writer of an output.
struct Escaped(String);

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend(text.chars().flat_map(char::escape_default));
        Ok(())
    }
}
