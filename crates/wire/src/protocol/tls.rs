//! TLS and DTLS: the ClientHello (RFC 8446 section 4.1.2), with which every connection
//! begins: whom it goes to, what it offers, and which library it looks like.
//!
//! Read by hand: the parsers that exist (tls-parser, rustls) give up a list whose end is
//! missing, and half a hello still names the server.
//!
//! Deliberately absent: what servers answer, hellos of SSL 2.0, and what an encrypted
//! hello hides. The hello after a HelloRetryRequest is the same request and is not told
//! again; in DTLS it is, as every datagram stands alone. DTLS hellos in several fragments
//! are told as far as the first goes.

use super::{
    Fault, Field, Interest, Kind, Next, Progress, Protocol, Request, Stream, Switches, Value,
};
use crate::filter::{Compare, FieldFilter, not_a_host};
use crate::packet::Packet;
use crate::start::{Bytes, Start, Step};
use crate::transport;
use std::borrow::Cow;
use std::fmt;

mod clients;
mod fingerprint;
mod hello;
mod records;
mod version;

use hello::{Hello, extension};
use records::{Message, Records};

/// TLS and DTLS ClientHellos.
pub struct Tls;

static FIELDS: &[Field] = &[
    Field {
        name: "sni",
        kind: Kind::Text,
        doc: "Name of the server that is wanted (server_name, RFC 6066 section 3). The \
              client says so; it is not checked. With `ech` it may be a stand-in.",
    },
    Field {
        name: "alpn",
        kind: Kind::List,
        doc: "Protocols offered for inside the connection, the favourite first, e.g. \
              `h2`, `http/1.1` (RFC 7301).",
    },
    Field {
        name: "version",
        kind: Kind::Name,
        doc: "Highest version offered, `1.3` to `ssl3`: from supported_versions (RFC 8446 \
              section 4.2.1), else `legacy_version`. Of DTLS where `dtls` says so.",
    },
    Field {
        name: "versions",
        kind: Kind::List,
        doc: "Versions in supported_versions, as sent but without GREASE; in hexadecimal \
              where they have no name (RFC 8446 section 4.2.1).",
    },
    Field {
        name: "legacy_version",
        kind: Kind::Name,
        doc: "The version in the hello's old place: `1.2` from all that offer 1.3 (RFC 8446 \
              section 4.1.2).",
    },
    Field {
        name: "dtls",
        kind: Kind::Flag,
        doc: "True for DTLS over UDP (RFC 6347, RFC 9147), false for TLS.",
    },
    Field {
        name: "session_id_len",
        kind: Kind::Number,
        doc: "Length of the session id in bytes: in TLS 1.3 without a meaning, but libraries \
              differ (RFC 8446 appendix D.4).",
    },
    Field {
        name: "ciphers",
        kind: Kind::Number,
        doc: "How many cipher suites are offered, with signalling ones, without GREASE \
              (RFC 8446 section 4.1.2, RFC 8701).",
    },
    Field {
        name: "extensions",
        kind: Kind::Number,
        doc: "How many extensions there are, without GREASE (RFC 8446 section 4.2, RFC 8701).",
    },
    Field {
        name: "groups",
        kind: Kind::Number,
        doc: "How many groups for the key exchange are offered, without GREASE (RFC 8446 \
              section 4.2.7, RFC 8701).",
    },
    Field {
        name: "resumption",
        kind: Kind::Flag,
        doc: "Whether a ticket of an earlier session, or a key known beforehand, is offered \
              (RFC 8446 section 4.2.11, RFC 5077 section 3.2).",
    },
    Field {
        name: "early_data",
        kind: Kind::Flag,
        doc: "Whether a request follows before the server's answer, as 0-RTT data (RFC 8446 \
              section 4.2.10).",
    },
    Field {
        name: "retry",
        kind: Kind::Flag,
        doc: "True where the hello brings back a server's cookie, so that it is the second one \
              of its connection (RFC 8446 section 4.2.2, RFC 6347 section 4.2.1); else absent.",
    },
    Field {
        name: "ech",
        kind: Kind::Flag,
        doc: "Whether an encrypted ClientHello is inside; a made-up one that only looks so, as \
              browsers send, is not told apart (RFC 9849).",
    },
    Field {
        name: "grease",
        kind: Kind::Flag,
        doc: "Whether there are values that servers have to ignore (RFC 8701): browsers send \
              them, few others do.",
    },
    Field {
        name: "ja3",
        kind: Kind::Text,
        doc: "JA3 fingerprint, 32 hex digits: MD5 over the hello's numbers in their order \
              (Salesforce, 2017). Changes with server names, protocols and the processor.",
    },
    Field {
        name: "ja4",
        kind: Kind::Text,
        doc: "JA4 TLS client fingerprint, e.g. `t13d1516h2_8daaf6152771_e5627efa2ab1` (FoxIO, \
              2023), over sorted numbers.",
    },
    Field {
        name: "client",
        kind: Kind::Name,
        doc: "TLS library that the hello looks like: go, openssl, gnutls, nss, boringssl, java \
              or rustls. Others can imitate it; absent where no rule fits.",
    },
    Field {
        name: "client_version",
        kind: Kind::Text,
        doc: "Versions of that library that send such hellos, e.g. `1.23-1.24` or `1.25+`; \
              absent where they cannot be told.",
    },
    Field {
        name: "client_rule",
        kind: Kind::Name,
        doc: "Name of the rule by which `client` was found.",
    },
    Field {
        name: "client_sure",
        kind: Kind::Name,
        doc: "`exact` where what the library decides by itself is as it ships, `likely` where the \
              structure fits but a program chose other lists. Suites count but for openssl, whose \
              programs choose them as a rule.",
    },
];

const HANDSHAKE: Step = Step::One(Bytes::of(&[22]));
const CLIENT_HELLO: Step = Step::One(Bytes::of(&[1]));
const ZERO: Step = Step::One(Bytes::of(&[0]));
const ANY: Step = Step::One(Bytes::ANY);

/// A record's header, then a hello's first byte. Its length stands behind that, unless
/// the record ends there; and there is a header for every record it is in, usually one.
const TLS_START: Start = &[
    HANDSHAKE,
    Step::One(Bytes::of(&[3])),
    Step::One(Bytes::range(0, 4)),
    ANY,
    ANY,
    CLIENT_HELLO,
    Step::Total { at: 6, size: 3, add: 9 + 16 * 5 },
];

/// The same with DTLS versions, epoch zero (nothing is encrypted yet) and a number.
const DTLS_START: Start = &[
    HANDSHAKE,
    Step::One(Bytes::of(&[0xfe])),
    Step::One(Bytes::of(&[0xff, 0xfd, 0xfc])),
    ZERO,
    ZERO,
    ANY,
    ANY,
    ANY,
    ANY,
    ANY,
    ANY,
    ANY,
    ANY,
    CLIENT_HELLO,
];

static FILTERS: &[FieldFilter] = &[
    FieldFilter {
        compare: Compare::Host,
        refuse: not_a_host,
        ..FieldFilter::glob("host", "Server name (SNI), e.g. '*.example.com'", &["sni"])
    },
    FieldFilter::glob("alpn", "A protocol offered, e.g. h2", &["alpn"]),
    FieldFilter {
        compare: Compare::AnyCase,
        refuse: not_ja3,
        ..FieldFilter::glob("ja3", "JA3 fingerprint, 32 hex digits", &["ja3"])
    },
    FieldFilter {
        compare: Compare::AnyCase,
        refuse: not_ja4,
        ..FieldFilter::glob("ja4", "JA4 fingerprint, e.g. 't13d1516h2_*'", &["ja4"])
    },
    FieldFilter {
        value: "NAME",
        compare: Compare::Name { known: clients::names, most: None, prefix: "" },
        ..FieldFilter::glob("client", "TLS library it looks like, e.g. go", &["client"])
    },
];

/// Fingerprints are compared as they are shown.
fn not_ja3(value: &str) -> Option<&'static str> {
    let wild = value.contains(['*', '?', '[', '{']);
    let hash = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    (!wild && !hash).then_some("a JA3 fingerprint is 32 hex digits; a part of it needs a *")
}

fn not_ja4(value: &str) -> Option<&'static str> {
    let wild = value.contains(['*', '?', '[', '{']);
    let parts: Vec<usize> = value.split('_').map(str::len).collect();
    let why = "a JA4 fingerprint has 10, 12 and 12 characters, e.g. \
               t13d1516h2_8daaf6152771_e5627efa2ab1; a part of it needs a *";
    (!wild && parts != [10, 12, 12]).then_some(why)
}

impl Protocol for Tls {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn about(&self) -> &'static str {
        "TLS and DTLS ClientHellos: server name, ALPN, JA3, JA4, which library it looks like"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn interest(&self, _: Switches) -> Interest {
        Interest { stream: &[TLS_START], datagram: &[DTLS_START], ..Interest::NONE }
    }

    fn filters(&self) -> &'static [FieldFilter] {
        FILTERS
    }

    /// Beside which library a hello looks like, which one the program is made with.
    fn looks_into_programs(&self) -> bool {
        true
    }

    fn decode<'a>(&'static self, packet: &Packet<'a>, _: Switches) -> Option<Request<'a>> {
        let datagram = transport::udp(packet)?;
        let message = records::of_datagram(datagram.payload, Fault::short(packet))?;
        Some(request(self, message, true))
    }

    fn decode_stream<'a>(&'static self, stream: &Stream<'a>) -> Progress<'a> {
        match records::of_stream(stream.bytes, stream.ended) {
            Records::No => Progress::No,
            Records::More => Progress::More,
            Records::Hello(message) => Progress::Done(request(self, message, false), Next::Never),
        }
    }

    fn destination_name<'r>(&self, request: &'r Request<'_>) -> Option<(&'static str, &'r [u8])> {
        Some(("sni", super::host_name(request.text("sni")?)?))
    }

    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_target(request, out)?;
        out.write_str(if is_true(request, "dtls") { " DTLS" } else { " TLS" })?;
        if let Some(version) = request.name("version") {
            write!(out, " {version}")?;
        }
        for (flag, text) in [("early_data", " 0-RTT"), ("retry", " retry"), ("ech", " ECH")] {
            out.write_str(if is_true(request, flag) { text } else { "" })?;
        }
        describe_client(request, out)?;
        match request.text("ja4") {
            Some(ja4) => write!(out, " ja4 {}", String::from_utf8_lossy(ja4)),
            None => Ok(()),
        }
    }
}

/// The request that a hello is. What it says is borrowed from the capture, unless the
/// hello had to be put together.
fn request<'a>(protocol: &'static dyn Protocol, message: Message<'a>, dtls: bool) -> Request<'a> {
    let mut request = Request::new(protocol);
    match message.body {
        Cow::Borrowed(body) => {
            tell(&Hello::read(body, message.short, dtls), &mut request, Cow::Borrowed);
        }
        Cow::Owned(body) => {
            let keep = |text: &[u8]| Cow::Owned(text.to_vec());
            tell(&Hello::read(&body, message.short, dtls), &mut request, keep);
        }
    }
    request
}

/// Sets what a hello says; `keep` makes its texts last as long as the request.
fn tell<'b, 'a>(
    hello: &Hello<'b>,
    request: &mut Request<'a>,
    keep: impl Fn(&'b [u8]) -> Cow<'a, [u8]>,
) {
    if let Some(sni) = hello.sni {
        request.set("sni", Value::Text(keep(sni)));
    }
    if let Some(names) = &hello.alpn {
        request.set("alpn", Value::List(names.iter().copied().map(keep).collect()));
    }
    tell_versions(hello, request);
    request.set("dtls", Value::Flag(hello.dtls));
    if let Some(len) = hello.session_id_len {
        request.set("session_id_len", Value::Number(len.into()));
    }
    tell_counts(hello, request);
    tell_flags(hello, request);
    if hello.is_whole() {
        tell_client(hello, request);
    }
    for fault in &hello.faults {
        request.fault(*fault);
    }
}

fn tell_versions(hello: &Hello<'_>, request: &mut Request<'_>) {
    if let Some(name) = version::highest(hello) {
        request.set("version", Value::Name(name));
    }
    if let Some(versions) = &hello.versions {
        let name = |number: &u16| match version::name(*number) {
            Some(name) => Cow::Borrowed(name.as_bytes()),
            None => Cow::Owned(format!("{number:#06x}").into_bytes()),
        };
        request.set("versions", Value::List(versions.iter().map(name).collect()));
    }
    if let Some(name) = hello.legacy_version.and_then(version::name) {
        request.set("legacy_version", Value::Name(name));
    }
}

fn tell_counts(hello: &Hello<'_>, request: &mut Request<'_>) {
    let extensions = hello.is_whole().then_some(hello.extensions.len());
    let counts = [
        ("ciphers", hello.suites.as_ref().map(Vec::len)),
        ("extensions", extensions),
        ("groups", hello.groups.as_ref().map(Vec::len)),
    ];
    for (name, count) in counts {
        if let Some(count) = count {
            request.set(name, Value::Number(count as u64));
        }
    }
}

/// Sets flags: true once seen, false once all was seen.
fn tell_flags(hello: &Hello<'_>, request: &mut Request<'_>) {
    let whole = hello.is_whole();
    let flags = [
        ("resumption", hello.ticket, whole),
        ("early_data", hello.has(extension::EARLY_DATA), whole),
        // A second hello need not bring a cookie.
        ("retry", hello.cookie, false),
        ("ech", hello.has(extension::ECH), whole),
        ("grease", hello.grease, whole),
    ];
    for (name, flag, all_seen) in flags {
        if flag || all_seen {
            request.set(name, Value::Flag(flag));
        }
    }
}

fn tell_client(hello: &Hello<'_>, request: &mut Request<'_>) {
    let text = |text: String| Value::Text(text.into_bytes().into());
    request.set("ja3", text(fingerprint::ja3(hello)));
    request.set("ja4", text(fingerprint::ja4(hello)));
    let Some(clients::Found { rule, sure }) = clients::find(hello) else { return };
    request.set("client", Value::Name(rule.client));
    if !rule.version.is_empty() {
        request.set("client_version", Value::Text(rule.version.as_bytes().into()));
    }
    request.set("client_rule", Value::Name(rule.name));
    request.set("client_sure", Value::Name(sure));
}

fn is_true(request: &Request<'_>, flag: &str) -> bool {
    request.get(flag) == Some(&Value::Flag(true))
}

fn describe_target(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    // Room for any name there is (RFC 1035 section 2.3.4), and for what clients offer.
    const SNI_WIDTH: usize = 500;
    const ALPN_WIDTH: usize = 200;
    match request.text("sni") {
        Some(sni) => write_within(sni, SNI_WIDTH, out)?,
        None if request.faults.is_empty() => out.write_str("(no sni)")?,
        None => out.write_str("(sni not seen)")?,
    }
    match request.get("alpn") {
        Some(Value::List(names)) if !names.is_empty() => {
            out.write_char(' ')?;
            write_within(&names.join(&b','), ALPN_WIDTH, out)
        }
        _ => Ok(()),
    }
}

/// Writes a captured text, cut so that it stays within a width even if most of its
/// characters have to be escaped.
fn write_within(text: &[u8], width: usize, out: &mut dyn fmt::Write) -> fmt::Result {
    let text = String::from_utf8_lossy(text);
    let mut left = width;
    for (at, c) in text.char_indices() {
        let escaped = c.escape_default().count();
        if escaped > left {
            out.write_str(&text[..at])?;
            return out.write_str("...");
        }
        left -= escaped;
    }
    out.write_str(&text)
}

fn describe_client(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    let Some(client) = request.name("client") else { return Ok(()) };
    let sure = request.name("client_sure") == Some("exact");
    write!(out, " {} {client}", if sure { "looks like" } else { "may be" })?;
    match request.text("client_version") {
        Some(version) => write!(out, " {}", String::from_utf8_lossy(version)),
        None => Ok(()),
    }
}
