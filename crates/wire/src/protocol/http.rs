//! HTTP/1.x (RFC 9110, RFC 9112): requests as they are sent, responses on demand, and
//! the preface of HTTP/2 without TLS (RFC 9113 section 3.4).
//!
//! Heads are read by hand rather than by a parser for servers: those stop at the first
//! thing a server has to refuse (a folded line, a target that is not UTF-8, a line
//! without a colon, an end in the middle of the target), and exactly such requests are
//! what someone is looking for.
//!
//! Deliberately absent: HTTP/0.9, whose requests cannot be told from other lines of
//! text; what is inside HTTP/2; bodies; every header that is not a declared field,
//! above all Authorization and Cookie.

use super::{
    Fault, Field, Interest, Kind, Next, Progress, Protocol, Request, Stream, Switch, Switches,
    Value,
};
use crate::filter::FieldFilter;
use crate::start::{Bytes, Start, Step};
use std::borrow::Cow;
use std::fmt;

mod chunked;
mod describe;
mod filters;
mod head;
mod line;
mod redact;
#[cfg(test)]
mod tests;

use head::{Body, Head};
use line::{Read, RequestLine, StatusLine};

/// HTTP/1.x requests, and responses on demand.
pub struct Http;

/// Longest head (first line and headers) that is looked at.
const MAX_HEAD: usize = 64 << 10;

/// Empty lines that are skipped before a request (RFC 9112 section 2.2 asks for one).
const MAX_EMPTY_LINES: usize = 4;

/// What a client sends first over HTTP/2 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// As much of it as tells it from a request that headers follow.
const PREFACE_CLEAR: usize = b"PRI * HTTP/2.0\r\n\r\nSM".len();

static FIELDS: &[Field] = &[
    Field {
        name: "method",
        kind: Kind::Text,
        doc: "The request's method as sent, e.g. `GET` (RFC 9110 section 9); absent in responses.",
    },
    Field {
        name: "target",
        kind: Kind::Text,
        doc: "What is asked for (RFC 9112 section 3.2): a path, or the whole URL when a proxy is \
              asked. Names in the query are kept, its values and the fragment become `*` without \
              `--full-url`; user and password in a URL always become `***`.",
    },
    Field {
        name: "version",
        kind: Kind::Name,
        doc: "The version of HTTP that the sender speaks, e.g. `1.1` (RFC 9112 section 2.3); \
              absent where the capture ends before it.",
    },
    Field {
        name: "status",
        kind: Kind::Number,
        doc: "The response's status code (RFC 9110 section 15); only in responses, which are \
              told with `--responses`.",
    },
    Field {
        name: "reason",
        kind: Kind::Text,
        doc: "The words after the status code, if any (RFC 9112 section 4).",
    },
    Field {
        name: "host",
        kind: Kind::Text,
        doc: "Whom the request is for, with the port if one is given: the target's authority, \
              which overrides the header (RFC 9112 sections 3.2.2 and 3.2.3), else the Host \
              header (RFC 9110 section 7.2). Never with user or password.",
    },
    Field {
        name: "user_agent",
        kind: Kind::Text,
        doc: "The software that the sender says it is (RFC 9110 section 10.1.5).",
    },
    Field {
        name: "content_length",
        kind: Kind::Number,
        doc: "Length of the body in bytes as announced (RFC 9110 section 8.6).",
    },
    Field {
        name: "chunked",
        kind: Kind::Flag,
        doc: "The body is sent in chunks, its length is not announced (RFC 9112 section 7.1).",
    },
    Field {
        name: "upgrade",
        kind: Kind::Text,
        doc: "The protocols that the sender wants to go on with, e.g. `websocket` (RFC 9110 \
              section 7.8).",
    },
    Field {
        name: "h2c",
        kind: Kind::Flag,
        doc: "The preface of HTTP/2 without TLS (RFC 9113 section 3.4): requests follow, but are \
              not decoded.",
    },
];

static SWITCHES: &[Switch] = &[
    Switch { name: "full-url", doc: "Show query strings and fragments as they are sent" },
    Switch { name: "responses", doc: "Show responses too, not only requests" },
];

const FULL_URL: usize = 0;
const RESPONSES: usize = 1;

const DIGIT: Bytes = Bytes::range(b'0', b'9');
const ALNUM: Bytes = DIGIT.and_range(b'A', b'Z').and_range(b'a', b'z');
/// What methods and header names consist of (RFC 9110 section 5.6.2).
const TCHAR: Bytes = Bytes::of(b"!#$%&'*+-.^_`|~").and(ALNUM);
/// What a target begins with: a path, `*`, a scheme, or a host (RFC 9112 section 3.2).
const TARGET: Bytes = Bytes::of(b"/*[").and(ALNUM);
const SPACE: Step = Step::One(Bytes::of(b" "));
/// Most messages are sent without a body, or with the head in a send of its own.
const HEAD_END: Step = Step::Until(*b"\r\n\r\n");

const REQUEST: Start = &[Step::Some(TCHAR), SPACE, Step::One(TARGET), HEAD_END];
/// Empty lines before it.
const LATER_REQUEST: Start =
    &[Step::Some(Bytes::of(b"\r\n")), Step::Some(TCHAR), SPACE, Step::One(TARGET), HEAD_END];
const RESPONSE: Start = &[
    Step::One(Bytes::of(b"H")),
    Step::One(Bytes::of(b"T")),
    Step::One(Bytes::of(b"T")),
    Step::One(Bytes::of(b"P")),
    Step::One(Bytes::of(b"/")),
    Step::One(Bytes::of(b"1")),
    Step::One(Bytes::of(b".")),
    Step::One(DIGIT),
    SPACE,
    Step::One(DIGIT),
    HEAD_END,
];

impl Protocol for Http {
    fn name(&self) -> &'static str {
        "http"
    }

    fn about(&self) -> &'static str {
        "HTTP/1.x requests: who asks whom for what, and with which client"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn interest(&self, on: Switches) -> Interest {
        let stream: &[Start] = if on.has(RESPONSES) {
            &[REQUEST, LATER_REQUEST, RESPONSE]
        } else {
            &[REQUEST, LATER_REQUEST]
        };
        Interest { stream, ..Interest::NONE }
    }

    fn switches(&self) -> &'static [Switch] {
        SWITCHES
    }

    fn filters(&self) -> &'static [FieldFilter] {
        filters::FILTERS
    }

    fn decode_stream<'a>(&'static self, stream: &Stream<'a>) -> Progress<'a> {
        let bytes = &stream.bytes[..stream.bytes.len().min(MAX_HEAD)];
        let input =
            Input { bytes, ended: stream.ended || bytes.len() == MAX_HEAD, all: stream.bytes };
        let begin = empty_lines(bytes);
        let first = &bytes[begin..];

        if first.len() < PREFACE.len() && PREFACE.starts_with(first) && !input.ended {
            return Progress::More;
        }
        if first.starts_with(&PREFACE[..PREFACE_CLEAR]) {
            return self.preface(first);
        }
        if begin == 0 && stream.on.has(RESPONSES) && first.starts_with(b"HTTP/") {
            return match line::status(first, input.ended) {
                Read::No => Progress::No,
                Read::More => Progress::More,
                Read::Done(line) => self.response(&input, &line),
            };
        }
        match line::request(first, input.ended) {
            Read::No => Progress::No,
            Read::More => Progress::More,
            Read::Done(line) => {
                let full_url = stream.on.has(FULL_URL);
                self.request(&input, begin, &line, full_url)
            }
        }
    }

    /// Of a request that is not for a proxy, whose address is not that of the host.
    fn destination_name<'r>(&self, request: &'r Request<'_>) -> Option<(&'static str, &'r [u8])> {
        let direct = request.text("target").is_some_and(|target| target.starts_with(b"/"));
        let host = request.text("host").filter(|_| direct)?;
        Some(("host", super::host_name(host)?))
    }

    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe::describe(request, out)
    }
}

/// What there is of a stream.
struct Input<'a> {
    /// As much as a head may take.
    bytes: &'a [u8],
    /// The head gets no longer than that.
    ended: bool,
    /// The body too.
    all: &'a [u8],
}

impl Http {
    fn preface<'a>(&'static self, first: &'a [u8]) -> Progress<'a> {
        if !PREFACE.starts_with(&first[..first.len().min(PREFACE.len())]) {
            return Progress::No;
        }
        let mut request = Request::new(self);
        request.set("version", Value::Name("2.0"));
        request.set("h2c", Value::Flag(true));
        if first.len() < PREFACE.len() {
            request.fault(Fault::Truncated);
        }
        Progress::Done(request, Next::Never)
    }

    fn request<'a>(
        &'static self,
        input: &Input<'a>,
        begin: usize,
        line: &RequestLine<'a>,
        full_url: bool,
    ) -> Progress<'a> {
        let head = line.len.map(|len| head::read(input.bytes, begin + len));
        if !input.ended && head.as_ref().is_none_or(|head| head.end.is_none()) {
            return Progress::More;
        }
        let mut head = head.unwrap_or_default();
        let body = head.body_of_request(line.version);
        let next = match body {
            // What follows is the other protocol's, or the next request: whichever begins.
            Body::Length(0) if head.upgrade.is_some() => Next::Somewhere,
            _ if line.method == b"CONNECT" => Next::Somewhere,
            _ => next(&mut head, body, input),
        };

        let mut request = Request::new(self);
        request.set("method", text(line.method));
        let target = redact::target(line.target, full_url, line.len.is_none());
        request.set("target", Value::Text(target));
        set_version(&mut request, line.version);
        if let Some(host) = line.authority() {
            head.host = Some(Cow::Borrowed(host));
        }
        if line.odd {
            request.fault(Fault::BadValue);
        }
        set_head(&mut request, head);
        Progress::Done(request, next)
    }

    fn response<'a>(&'static self, input: &Input<'a>, line: &StatusLine<'a>) -> Progress<'a> {
        let head = line.len.map(|len| head::read(input.bytes, len));
        if !input.ended && head.as_ref().is_none_or(|head| head.end.is_none()) {
            return Progress::More;
        }
        let mut head = head.unwrap_or_default();
        head.host = None;
        head.user_agent = None;
        let body = head.body_of_response(line.version, line.status);
        let next = next(&mut head, body, input);

        let mut request = Request::new(self);
        set_version(&mut request, line.version);
        request.set("status", Value::Number(line.status.into()));
        if !line.reason.is_empty() {
            request.set("reason", text(line.reason));
        }
        set_head(&mut request, head);
        Progress::Done(request, next)
    }
}

/// How many bytes of empty lines come before the request.
fn empty_lines(bytes: &[u8]) -> usize {
    let mut at = 0;
    for _ in 0..MAX_EMPTY_LINES {
        at += line::empty(&bytes[at..]).unwrap_or(0);
    }
    at
}

/// Where the message ends.
fn next(head: &mut Head<'_>, body: Body, input: &Input<'_>) -> Next {
    let Some(end) = head.end else { return Next::Somewhere };
    let begin = end as u64;
    let length = match body {
        Body::Length(length) => Some(length),
        Body::Unknown => return Next::Somewhere,
        Body::Chunked => match chunked::len(&input.all[end..]) {
            Ok(Some(len)) => Some(len as u64),
            Ok(None) => return Next::Somewhere,
            Err(chunked::Malformed) => None,
        },
    };
    let Some(next) = length.and_then(|length| begin.checked_add(length)) else {
        head.bad = true;
        return Next::Somewhere;
    };
    Next::At(next)
}

fn set_version(request: &mut Request<'_>, minor: Option<u8>) {
    const VERSIONS: [&str; 10] =
        ["1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6", "1.7", "1.8", "1.9"];
    if let Some(name) = minor.and_then(|minor| VERSIONS.get(usize::from(minor))) {
        request.set("version", Value::Name(name));
    }
}

fn set_head<'a>(request: &mut Request<'a>, head: Head<'a>) {
    if let Some(host) = head.host {
        request.set("host", Value::Text(host));
    }
    if let Some(user_agent) = head.user_agent {
        request.set("user_agent", Value::Text(user_agent));
    }
    if let Some(length) = head.content_length {
        request.set("content_length", Value::Number(length));
    }
    if head.chunked {
        request.set("chunked", Value::Flag(true));
    }
    if let Some(upgrade) = head.upgrade {
        request.set("upgrade", Value::Text(upgrade));
    }
    if head.bad {
        request.fault(Fault::BadValue);
    }
    if head.end.is_none() {
        request.fault(Fault::Truncated);
    }
}

fn text(bytes: &[u8]) -> Value<'_> {
    Value::Text(Cow::Borrowed(bytes))
}
