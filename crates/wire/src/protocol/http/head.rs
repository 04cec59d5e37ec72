//! The header lines, and what they say about the body.

use super::line::empty;
use super::{TCHAR, redact};
use std::borrow::Cow;

/// What is told of a head, and what is needed to find its message's end.
#[derive(Default)]
pub(super) struct Head<'a> {
    /// Without user and password.
    pub host: Option<Cow<'a, [u8]>>,
    pub user_agent: Option<Cow<'a, [u8]>>,
    pub upgrade: Option<Cow<'a, [u8]>>,
    /// The first one that is a number.
    pub content_length: Option<u64>,
    /// Among the codings.
    pub chunked: bool,
    /// Where the body begins; absent where the head is cut.
    pub end: Option<usize>,
    /// Something is not as specified.
    pub bad: bool,
    /// The message's end cannot be trusted: receivers differ in where they see it.
    unframed: bool,
    coded: bool,
    /// The last coding is `chunked`.
    ends_chunked: bool,
}

/// How long a body is (RFC 9112 section 6.3).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    Length(u64),
    Chunked,
    Unknown,
}

/// Reads header lines from an offset on. A line that is cut, or that the next one might
/// continue, tells nothing.
pub(super) fn read(bytes: &[u8], mut at: usize) -> Head<'_> {
    let mut head = Head::default();
    loop {
        if let Some(len) = empty(&bytes[at..]) {
            head.end = Some(at + len);
            return head;
        }
        let Some(end) = line_end(bytes, at) else { return head };
        let line = &bytes[at..end - 1];
        head.line(line.strip_suffix(b"\r").unwrap_or(line));
        at = end;
    }
}

/// Where the line ends that begins at an offset, with the lines that continue it
/// (RFC 9112 section 5.2).
fn line_end(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += bytes.get(at..)?.iter().position(|b| *b == b'\n')? + 1;
        if !matches!(bytes.get(at)?, b' ' | b'\t') {
            return Some(at);
        }
    }
}

impl<'a> Head<'a> {
    fn line(&mut self, line: &'a [u8]) {
        let name_len = line.iter().position(|b| !TCHAR.has(*b)).unwrap_or(line.len());
        let (name, value) = line.split_at(name_len);
        let (Some(value), false) = (value.strip_prefix(b":"), name.is_empty()) else {
            // Space before the colon or the name, no colon: others may read a header here.
            return self.mistrust();
        };
        if value.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
            self.folded_or_worse(name, value);
        }
        let value = value.trim_ascii();
        // Few headers are told: most are passed by their length.
        match name.len() {
            4 if is(name, b"host") => self.host(value),
            7 if is(name, b"upgrade") => keep(&mut self.upgrade, value),
            10 if is(name, b"user-agent") => keep(&mut self.user_agent, value),
            14 if is(name, b"content-length") => self.content_length(value),
            17 if is(name, b"transfer-encoding") => self.transfer_encoding(value),
            _ => {}
        }
    }

    /// Line folding must not be sent; CR and NUL are not even allowed to be ignored
    /// (RFC 9112 sections 2.2 and 5.2, RFC 9110 section 5.5).
    fn folded_or_worse(&mut self, name: &[u8], value: &[u8]) {
        self.bad = true;
        let bare = value.split(|b| *b == b'\r').skip(1).any(|after| !after.starts_with(b"\n"));
        if bare || is(name, b"content-length") || is(name, b"transfer-encoding") {
            self.unframed = true;
        }
    }

    fn mistrust(&mut self) {
        self.bad = true;
        self.unframed = true;
    }

    fn host(&mut self, value: &'a [u8]) {
        let host = redact::host_only(value);
        // One Host, without userinfo or path (RFC 9112 section 3.2).
        self.bad |= self.host.is_some() || host.len() < value.len();
        keep(&mut self.host, host);
    }

    /// A list of the same number is that number (RFC 9110 section 8.6).
    fn content_length(&mut self, value: &[u8]) {
        for number in value.split(|b| *b == b',') {
            match (decimal(number.trim_ascii()), self.content_length) {
                (None, _) => self.mistrust(),
                (length, None) => self.content_length = length,
                (length, before) if length == before => {}
                _ => self.mistrust(),
            }
        }
    }

    fn transfer_encoding(&mut self, value: &[u8]) {
        for coding in value.split(|b| *b == b',') {
            let name = coding.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            let chunked = is(name, b"chunked");
            if name.is_empty() || self.chunked && chunked {
                self.mistrust();
            }
            self.coded = true;
            self.chunked |= chunked;
            self.ends_chunked = chunked;
        }
    }

    /// The body of a request; notes what must not be sent in one.
    pub fn body_of_request(&mut self, version: Option<u8>) -> Body {
        if self.coded && !self.ends_chunked {
            self.mistrust();
        }
        self.body(version).unwrap_or(Body::Length(0))
    }

    /// The body of a response. Whether it answers a HEAD is not known here; a body that
    /// lasts until the end of the connection may as well be a tunnel.
    pub fn body_of_response(&mut self, version: Option<u8>, status: u16) -> Body {
        match status {
            101 => Body::Unknown,
            100..200 | 204 | 304 => Body::Length(0),
            _ => self.body(version).unwrap_or(Body::Unknown),
        }
    }

    fn body(&mut self, version: Option<u8>) -> Option<Body> {
        // Neither both, nor codings in HTTP/1.0 (RFC 9112 sections 6.1 and 6.3).
        if self.coded && (self.content_length.is_some() || version == Some(0)) {
            self.mistrust();
        }
        if self.unframed {
            return Some(Body::Unknown);
        }
        match (self.coded, self.ends_chunked) {
            (true, true) => Some(Body::Chunked),
            (true, false) => Some(Body::Unknown),
            (false, _) => self.content_length.map(Body::Length),
        }
    }
}

fn is(name: &[u8], lower: &[u8]) -> bool {
    name.eq_ignore_ascii_case(lower)
}

/// Digits only: no sign, no space (RFC 9110 section 8.6).
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Keeps the first value that is not empty.
fn keep<'a>(field: &mut Option<Cow<'a, [u8]>>, value: &'a [u8]) {
    if field.is_none() && !value.is_empty() {
        *field = Some(unfold(value));
    }
}

/// A value that goes on over several lines, on one (RFC 9112 section 5.2).
fn unfold(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\n') {
        return Cow::Borrowed(value);
    }
    let mut lines = value.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let mut whole = lines.next().unwrap_or_default().to_vec();
    for line in lines {
        whole.push(b' ');
        whole.extend_from_slice(line);
    }
    Cow::Owned(whole)
}
