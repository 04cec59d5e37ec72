//! What another parser takes for a request is one here, with the same parts: every
//! vector, whole, cut and corrupted.

mod common;

use common::vectors;
use wire::protocol::by_name;
use wire::{Next, Progress, Protocol, Stream, Switches};

/// Compares, if the other parser finds a whole request; whether it did.
fn compare(http: &'static dyn Protocol, on: Switches, bytes: &[u8]) -> bool {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut theirs = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(len)) = theirs.parse(bytes) else { return false };
    let (method, target) = (theirs.method.unwrap_or(""), theirs.path.unwrap_or(""));
    let empty_lines = bytes.iter().take_while(|b| b"\r\n".contains(b)).filter(|b| **b == b'\n');
    if empty_lines.count() > 4 || !is_target(target) || method.len() > 128 || !is_method(method) {
        return false;
    }
    let place = bytes.escape_ascii().to_string();
    let ours = http.decode_stream(&Stream { bytes, ended: false, on });
    let Progress::Done(request, next) = ours else { panic!("{place}: {ours:?}") };
    assert_eq!(request.text("method"), Some(method.as_bytes()), "{place}");
    // A password may hide behind an `@`, or behind what is no port.
    if !target.contains('@') && (target.starts_with('/') || !target.contains(':')) {
        assert_eq!(request.text("target"), Some(target.as_bytes()), "{place}");
    }
    let minor = request.name("version").and_then(|version| version.strip_prefix("1."));
    assert_eq!(minor, theirs.version.map(|v| if v == 0 { "0" } else { "1" }), "{place}");
    let header = |name: &str| {
        let found = theirs.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| header.value).filter(|value| !value.is_empty())
    };
    assert_eq!(request.text("user_agent"), header("user-agent"), "{place}");
    assert_eq!(request.text("upgrade"), header("upgrade"), "{place}");
    if header("content-length").is_none() && next != Next::Somewhere {
        assert!(request.get("chunked").is_some() || next == Next::At(len as u64), "{place}");
    }
    true
}

/// What RFC 9112 section 3.2 allows; the other parser allows more.
fn is_target(target: &str) -> bool {
    target.starts_with(|c: char| c.is_ascii_alphanumeric() || "/*[".contains(c))
}

fn is_method(method: &str) -> bool {
    method.chars().all(|c| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c))
}

#[test]
fn another_parser_agrees() {
    let http = by_name("http").expect("a protocol");
    let full_url = http.switches().iter().position(|s| s.name == "full-url").expect("a switch");
    let on = Switches::OFF.with(full_url);
    let mut agreed = 0;
    for vector in vectors().iter().filter(|vector| vector.layer == "stream") {
        let mut bytes = vector.bytes.clone();
        agreed += usize::from(compare(http, on, &bytes));
        for at in 0..bytes.len() {
            let good = bytes[at];
            for bad in [b'\n', b'\r', b' ', b':', b'0', b'x', good ^ 1, good ^ 0x20, 0x80] {
                bytes[at] = bad;
                agreed += usize::from(compare(http, on, &bytes));
            }
            bytes[at] = good;
        }
    }
    assert!(agreed > 10_000, "only {agreed} comparisons");
}
