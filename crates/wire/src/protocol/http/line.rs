//! The first line of a request or response.

use super::{RESPONSE, TARGET, TCHAR, redact};
use crate::start::{Step, least};

/// Longest method that is believed to be one; the longest registered has 17 bytes.
const MAX_METHOD: usize = 128;

/// What a request line ends with, but for the minor version.
const VERSION: &[u8] = b"HTTP/1.";

/// Methods that tell HTTP even where the capture ends before the version does: those of
/// RFC 9110 that take a path, of RFC 5789, RFC 4918, RFC 3253 and UPnP.
const KNOWN_METHODS: &[&[u8]] = &[
    b"GET",
    b"POST",
    b"HEAD",
    b"PUT",
    b"DELETE",
    b"OPTIONS",
    b"PATCH",
    b"TRACE",
    b"PROPFIND",
    b"PROPPATCH",
    b"MKCOL",
    b"COPY",
    b"MOVE",
    b"LOCK",
    b"UNLOCK",
    b"REPORT",
    b"SUBSCRIBE",
    b"NOTIFY",
];

/// How far a line could be read.
pub(super) enum Read<T> {
    /// It is something else.
    No,
    /// It is not over.
    More,
    /// It is over, or as much of it as there will be.
    Done(T),
}

/// `method SP target SP HTTP/1.x` (RFC 9112 section 3).
pub(super) struct RequestLine<'a> {
    pub method: &'a [u8],
    pub target: &'a [u8],
    /// The minor version; absent where the line is cut.
    pub version: Option<u8>,
    /// The line's length with its end; absent where it is cut.
    pub len: Option<usize>,
    /// Not quite as specified.
    pub odd: bool,
}

/// `HTTP/1.x SP status [SP reason]` (RFC 9112 section 4).
pub(super) struct StatusLine<'a> {
    pub version: Option<u8>,
    pub status: u16,
    pub reason: &'a [u8],
    /// The line's length with its end; absent where it is cut.
    pub len: Option<usize>,
}

impl<'a> RequestLine<'a> {
    /// Whom the target names, without user and password.
    pub fn authority(&self) -> Option<&'a [u8]> {
        let has_one = self.method == b"CONNECT" || redact::has_scheme(self.target);
        if has_one { redact::host(self.target, self.len.is_none()) } else { None }
    }
}

/// The length of the empty line that the bytes begin with.
pub(super) fn empty(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\n', ..] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// Reads a request line.
pub(super) fn request(bytes: &[u8], ended: bool) -> Read<RequestLine<'_>> {
    let wait = if ended { Read::No } else { Read::More };
    let Some(method_len) = bytes.iter().take(MAX_METHOD + 1).position(|b| !TCHAR.has(*b)) else {
        return if bytes.len() > MAX_METHOD { Read::No } else { wait };
    };
    let (method, rest) = bytes.split_at(method_len);
    let Some((b' ', rest)) = rest.split_first() else {
        // A lone CR may become the end of an empty line.
        return if bytes == b"\r" { wait } else { Read::No };
    };
    match rest.first() {
        None => return wait,
        Some(_) if method.is_empty() => return Read::No,
        Some(first) if !TARGET.has(*first) => return Read::No,
        Some(_) => {}
    }
    match text(rest) {
        Text::Binary => Read::No,
        Text::Open(line) if !words_fit(line) => Read::No,
        Text::Open(line) if ended => cut(method, line).map_or(Read::No, Read::Done),
        Text::Open(_) => Read::More,
        Text::Line(line, len) => {
            let line = whole(method, line, method_len + 1 + len);
            line.map_or(Read::No, Read::Done)
        }
    }
}

/// A line of text, as far as it is there.
enum Text<'a> {
    /// Not text.
    Binary,
    /// It goes on.
    Open(&'a [u8]),
    /// It ends; with its length including the end.
    Line(&'a [u8], usize),
}

fn text(bytes: &[u8]) -> Text<'_> {
    let Some(at) = bytes.iter().position(u8::is_ascii_control) else { return Text::Open(bytes) };
    let line = &bytes[..at];
    match &bytes[at..] {
        [b'\r'] => Text::Open(line),
        // A bare LF ends lines too (RFC 9112 section 2.2).
        rest => empty(rest).map_or(Text::Binary, |end| Text::Line(line, at + end)),
    }
}

/// Whether a target may contain spaces: sent by mistake, but only where it is plain
/// that the rest is a path. Elsewhere it would be any line of text.
fn may_have_spaces(target: &[u8]) -> bool {
    target.starts_with(b"/") || redact::has_scheme(target)
}

/// Whether target and version, as far as they are there, may become those of HTTP/1.x.
fn words_fit(line: &[u8]) -> bool {
    if may_have_spaces(line) {
        return true;
    }
    let Some(space) = line.iter().position(|b| *b == b' ') else { return true };
    let version = &line[space + 1..];
    let len = version.len().min(VERSION.len());
    version[..len] == VERSION[..len]
}

/// A whole line after its method.
fn whole<'a>(method: &'a [u8], line: &'a [u8], len: usize) -> Option<RequestLine<'a>> {
    let trimmed = line.trim_ascii_end();
    let (before, version) = trimmed.split_at_checked(trimmed.len().checked_sub(9)?)?;
    let minor = minor_version(version.strip_prefix(b" ")?)?;
    let target = before.trim_ascii_end();
    if !words_fit(line) {
        return None;
    }
    let plain = trimmed.len() == line.len() && target.len() == before.len();
    let odd = !plain || !is_regular(method, target);
    Some(RequestLine { method, target, version: Some(minor), len: Some(len), odd })
}

/// The digit that an `HTTP/1.x` ends with.
fn minor_version(version: &[u8]) -> Option<u8> {
    match version.strip_prefix(VERSION)? {
        [minor @ b'0'..=b'9'] => Some(minor - b'0'),
        _ => None,
    }
}

/// Whether the target is one of the four forms (RFC 9112 section 3.2), fits the method,
/// and has only characters that a URL may have.
fn is_regular(method: &[u8], target: &[u8]) -> bool {
    let form = match method {
        b"CONNECT" => !target.contains(&b'/') && target.contains(&b':'),
        b"OPTIONS" if target == b"*" => true,
        _ => target.starts_with(b"/") || redact::has_scheme(target),
    };
    form && target.is_ascii() && !target.contains(&b' ')
}

/// A line that ends before its version does. Claimed only where it cannot well be
/// anything else: at the version, or where a known method asks for a path or a web
/// address (RTSP and SIP share methods with HTTP, but have addresses of their own).
fn cut<'a>(method: &'a [u8], line: &'a [u8]) -> Option<RequestLine<'a>> {
    let line = line.trim_ascii_end();
    let mut words = line.rsplitn(2, |b| *b == b' ');
    let (last, before) = (words.next()?, words.next());
    let (target, version) = match before {
        Some(before) if minor_version(last).is_some() => (before, true),
        Some(before) if VERSION.starts_with(last) => (before, false),
        _ => (line, false),
    };
    let web = [&b"/"[..], b"http://", b"https://"].iter().any(|s| target.starts_with(s));
    let target = target.trim_ascii_end();
    let claimed = version || KNOWN_METHODS.contains(&method) && web;
    claimed.then_some(RequestLine { method, target, version: None, len: None, odd: false })
}

/// Reads a status line.
pub(super) fn status(bytes: &[u8], ended: bool) -> Read<StatusLine<'_>> {
    let wait = if ended { Read::No } else { Read::More };
    let fits = |(byte, step): (&u8, &Step)| step.set().is_none_or(|set| set.has(*byte));
    if !bytes.iter().zip(RESPONSE).all(fits) {
        return Read::No;
    }
    // The start ends with the first of three digits.
    let begin = least(RESPONSE) - 1;
    let Some(code) = bytes.get(begin..begin + 3) else {
        let rest = bytes.get(begin..).unwrap_or_default();
        return if rest.iter().all(u8::is_ascii_digit) { wait } else { Read::No };
    };
    if !code.iter().all(u8::is_ascii_digit) {
        return Read::No;
    }
    let rest = &bytes[begin + 3..];
    match rest.first() {
        None => return wait,
        Some(b' ' | b'\r' | b'\n') => {}
        Some(_) => return Read::No,
    }
    let (reason, len) = match text(rest) {
        Text::Binary => return Read::No,
        Text::Open(_) if !ended => return Read::More,
        Text::Open(_) => (&rest[..0], None),
        Text::Line(line, len) => (line.trim_ascii(), Some(begin + 3 + len)),
    };
    let status = code.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
    let version = bytes.get(VERSION.len()).map(|minor| minor - b'0');
    Read::Done(StatusLine { version, status, reason, len })
}
