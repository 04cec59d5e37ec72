//! One line about a request.

use super::Request;
use super::redact::has_scheme;
use std::fmt::{Result, Write};

/// How much of each text is shown, in characters after escaping: together less than a
/// line may have, whatever they are.
const METHOD: usize = 32;
const HOST: usize = 200;
const TARGET: usize = 400;
const USER_AGENT: usize = 160;
const UPGRADE: usize = 64;
const REASON: usize = 80;

/// Shown for what was left out.
const MORE: &str = "...";

/// E.g. `GET example.com/a?x=* "curl/8.5.0"` or `200 OK 512 bytes`.
pub(super) fn describe(request: &Request<'_>, out: &mut dyn Write) -> Result {
    if request.get("h2c").is_some() {
        return out.write_str("HTTP/2 preface");
    }
    match request.number("status") {
        Some(status) => {
            write!(out, "{status:03}")?;
            word(" ", request.text("reason"), REASON, out)?;
        }
        None => asked(request, out)?,
    }
    match request.name("version") {
        Some("1.1") | None => {}
        Some(version) => write!(out, " HTTP/{version}")?,
    }
    if let Some(user_agent) = request.text("user_agent") {
        word(" \"", Some(user_agent), USER_AGENT, out)?;
        out.write_char('"')?;
    }
    if let Some(length) = request.number("content_length") {
        write!(out, " {length} bytes")?;
    }
    if request.get("chunked").is_some() {
        out.write_str(" chunked")?;
    }
    word(" upgrade ", request.text("upgrade"), UPGRADE, out)
}

/// Method, host and target: the host where the target does not name it.
fn asked(request: &Request<'_>, out: &mut dyn Write) -> Result {
    word("", request.text("method"), METHOD, out)?;
    out.write_char(' ')?;
    let (target, host) = (request.text("target").unwrap_or_default(), request.text("host"));
    if target.starts_with(b"/") {
        word("", host, HOST, out)?;
    } else if host.is_some() && !names_host(request, target) {
        word("", host, HOST, out)?;
        out.write_char(' ')?;
    }
    word("", Some(target), TARGET, out)?;
    if request.name("version").is_none() {
        out.write_str(MORE)?; // the line is cut in the target, or right after it
    }
    Ok(())
}

/// Whether the target says whom it is for: a URL, or whom to connect to.
fn names_host(request: &Request<'_>, target: &[u8]) -> bool {
    request.text("method") == Some(b"CONNECT") || has_scheme(target)
}

/// Writes a text behind something, at most this many characters of it.
fn word(before: &str, text: Option<&[u8]>, room: usize, out: &mut dyn Write) -> Result {
    let Some(text) = text else { return Ok(()) };
    out.write_str(before)?;
    let mut left = room;
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        let end = fitting(valid, &mut left);
        out.write_str(&valid[..end])?;
        let invalid = !chunk.invalid().is_empty();
        if end < valid.len() || invalid && !take(&mut left, char::REPLACEMENT_CHARACTER) {
            return out.write_str(MORE);
        }
        if invalid {
            out.write_char(char::REPLACEMENT_CHARACTER)?;
        }
    }
    Ok(())
}

/// How much of a text there is room for.
fn fitting(text: &str, left: &mut usize) -> usize {
    text.char_indices().find(|(_, c)| !take(left, *c)).map_or(text.len(), |(at, _)| at)
}

/// Takes room for a character as an output writes it.
fn take(left: &mut usize, c: char) -> bool {
    let rest = left.checked_sub(c.escape_default().len());
    *left = rest.unwrap_or(*left);
    rest.is_some()
}
