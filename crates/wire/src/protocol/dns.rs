//! DNS (RFC 1035): queries, updates (RFC 2136) and notices (RFC 1996) over UDP and
//! TCP, by multicast (RFC 6762) and by LLMNR (RFC 4795); on request the responses that
//! this machine's servers send.
//!
//! Read by hand: parsers of whole messages say that a message is wrong, not whether the
//! capture or the sender is to blame, nor how far it was right; and what is needed here
//! (names, questions, the outline of records) is the smaller part of DNS.
//!
//! Deliberately absent: the records of updates and responses (see [`crate::answers`]
//! for addresses), DNS inside TLS, QUIC or HTTPS (it is encrypted), stateful operations
//! (RFC 8490), packets that only continue a multicast query's known answers (RFC 6762
//! section 7.2), NetBIOS names (RFC 1002).

use super::{Fault, Value};
use super::{Field, Interest, Kind, Next, Progress, Protocol, Request, Stream, Switch, Switches};
use crate::bytes::be16;
use crate::filter::{Compare, FieldFilter};
use crate::packet::Packet;
use crate::transport;
use message::Question;
use reading::{Frame, Reading, Subject};
use std::borrow::Cow;
use std::fmt;

mod edns;
pub(crate) mod message;
pub(crate) mod name;
mod names;
mod reading;
mod starts;

/// DNS messages.
pub struct Dns;

/// Position of the switch in [`SWITCHES`].
const RESPONSES: usize = 0;

static SWITCHES: &[Switch] = &[Switch {
    name: "responses",
    doc: "also the responses that this machine's own name servers send",
}];

/// NetBIOS name service: its messages are made like these and mean something else
/// (RFC 1002 section 4.2).
const NETBIOS_NS: u16 = 137;

static FIELDS: &[Field] = &[
    Field {
        name: "name",
        kind: Kind::Text,
        doc: "Name asked for, in the case it was sent in, without a dot at its end; `.` is the \
              root. Dots and backslashes inside a label are escaped `\\.` and `\\\\`, bytes that \
              are not printable ASCII `\\DDD`, in decimal (RFC 1035 section 5.1). Of updates and \
              notices the zone; of responses without a question the first record's name.",
    },
    Field {
        name: "type",
        kind: Kind::Name,
        doc: "Type asked for by name, e.g. `AAAA`; absent for types without one here (IANA \
              \"Resource Record (RR) TYPEs\").",
    },
    Field { name: "type_number", kind: Kind::Number, doc: "Type asked for, as sent." },
    Field {
        name: "class",
        kind: Kind::Name,
        doc: "Class by name, e.g. `CH`; absent for IN, which nearly all are, and for classes \
              without a name.",
    },
    Field { name: "class_number", kind: Kind::Number, doc: "Class; absent for IN." },
    Field {
        name: "questions",
        kind: Kind::Number,
        doc: "How many questions the message carries, where several; mostly in multicast \
              queries (RFC 6762 section 5.3).",
    },
    Field {
        name: "names",
        kind: Kind::List,
        doc: "The names of all questions, in order, where there are several.",
    },
    Field {
        name: "types",
        kind: Kind::List,
        doc: "The types of all questions, in the same order; `TYPE` and the number for types \
              without a name (RFC 3597 section 5).",
    },
    Field {
        name: "id",
        kind: Kind::Number,
        doc: "Identifier that the response repeats; zero in multicast queries (RFC 6762 section \
              18.1).",
    },
    Field {
        name: "opcode",
        kind: Kind::Name,
        doc: "`UPDATE` (RFC 2136) or `NOTIFY` (RFC 1996); absent for queries.",
    },
    Field {
        name: "recursion_desired",
        kind: Kind::Flag,
        doc: "Whether a unicast query asks the server to ask others: stubs do, resolvers do not \
              (RFC 1035 section 4.1.1).",
    },
    Field {
        name: "unicast_response",
        kind: Kind::Flag,
        doc: "True where the sender of a multicast query wants the response for itself, the QU \
              bit (RFC 6762 section 5.4).",
    },
    Field {
        name: "edns_size",
        kind: Kind::Number,
        doc: "Largest UDP payload that the sender takes, in bytes; absent without EDNS (RFC 6891 \
              section 6.2.3).",
    },
    Field {
        name: "dnssec_ok",
        kind: Kind::Flag,
        doc: "Whether signatures are asked for; absent without EDNS (RFC 3225).",
    },
    Field {
        name: "client_subnet",
        kind: Kind::Text,
        doc: "Network that the query is made for, e.g. `192.0.2.0/24` (RFC 7871 section 6).",
    },
    Field {
        name: "via",
        kind: Kind::Name,
        doc: "`mdns` on UDP port 5353 (RFC 6762), `llmnr` on 5355 (RFC 4795), `dns` on all \
              others and over TCP.",
    },
    Field {
        name: "rcode",
        kind: Kind::Name,
        doc: "Outcome in a response's header by name, e.g. `NXDOMAIN`; absent in requests and \
              for outcomes without a name (IANA \"DNS RCODEs\").",
    },
    Field {
        name: "rcode_number",
        kind: Kind::Number,
        doc: "Outcome in a response's header; absent in requests (RFC 1035 section 4.1.1).",
    },
    Field {
        name: "extended_rcode",
        kind: Kind::Number,
        doc: "Outcome of a response with its upper bits, where EDNS gives any (RFC 6891 section \
              6.1.3).",
    },
    Field {
        name: "answers",
        kind: Kind::Number,
        doc: "How many records answer in a response, those that lead to other names included.",
    },
];

static FILTERS: &[FieldFilter] = &[
    FieldFilter {
        compare: Compare::Host,
        ..FieldFilter::glob("name", "Name asked for, e.g. '*.example.com'", &["name", "names"])
    },
    FieldFilter {
        value: "TYPE",
        compare: Compare::Name { known: names::kinds, most: Some(65535), prefix: "TYPE" },
        ..FieldFilter::glob(
            "type",
            "Type asked for, name or number, e.g. A,AAAA",
            &["type", "type_number", "types"],
        )
    },
];

impl Protocol for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn about(&self) -> &'static str {
        "DNS, multicast DNS and LLMNR: every name that is asked for"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn interest(&self, on: Switches) -> Interest {
        let responses = on.has(RESPONSES);
        Interest {
            stream: starts::stream(responses),
            datagram: starts::datagram(responses),
            ..Interest::NONE
        }
    }

    fn switches(&self) -> &'static [Switch] {
        SWITCHES
    }

    fn filters(&self) -> &'static [FieldFilter] {
        FILTERS
    }

    fn decode<'a>(&'static self, packet: &Packet<'a>, on: Switches) -> Option<Request<'a>> {
        let datagram = transport::udp(packet)?;
        let (bytes, ports) = (datagram.payload, [datagram.sport, datagram.dport]);
        if !starts::fit(starts::datagram(on.has(RESPONSES)), bytes) || ports.contains(&NETBIOS_NS) {
            return None;
        }
        let is_response = bytes[2] & 0x80 != 0;
        let via = via(if is_response { datagram.sport } else { datagram.dport });
        let frame = Frame {
            bytes,
            whole: sent(packet, bytes),
            expected: via.is_some(),
            multicast: via == Some(MDNS),
        };
        let reading = Reading::new(&frame)?;
        let told = frame.expected || reading.is_certain();
        told.then(|| request(self, &frame, &reading, via.unwrap_or(DNS)))
    }

    fn decode_stream<'a>(&'static self, stream: &Stream<'a>) -> Progress<'a> {
        let wait = || if stream.ended { Progress::No } else { Progress::More };
        let starts = starts::stream(stream.on.has(RESPONSES));
        if !starts::may_fit(starts, stream.bytes) {
            return Progress::No;
        }
        let Some(whole) = be16(stream.bytes, 0).map(usize::from) else { return wait() };
        let bytes = &stream.bytes[2..];
        let bytes = &bytes[..bytes.len().min(whole)];
        if whole < SHORTEST {
            return Progress::No;
        }
        if !starts::fit(starts, stream.bytes) {
            return wait();
        }
        let frame = Frame { bytes, whole: Some(whole), expected: false, multicast: false };
        match Reading::new(&frame) {
            None => Progress::No,
            Some(_) if bytes.len() < whole && !stream.ended => Progress::More,
            Some(reading) if reading.is_certain() => {
                let next = Next::At(2 + whole as u64);
                Progress::Done(request(self, &frame, &reading, DNS), next)
            }
            Some(_) => Progress::No,
        }
    }

    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_question(request, out)?;
        if let Some(more) = request.number("questions").and_then(|n| n.checked_sub(1)) {
            write!(out, " +{more} more")?;
        }
        if let Some(subnet) = request.text("client_subnet") {
            write!(out, " for {}", String::from_utf8_lossy(subnet))?;
        }
        if let Some(via) = request.name("via").filter(|via| *via != DNS) {
            write!(out, " ({via})")?;
        }
        describe_outcome(request, out)
    }
}

/// Length of the shortest message: a question for the root.
const SHORTEST: usize = message::HEADER_LEN + 1 + 4;

const DNS: &str = "dns";
const MDNS: &str = "mdns";
const LLMNR: &str = "llmnr";

/// What is spoken on a server's port; `None` on ports for anything.
fn via(port: u16) -> Option<&'static str> {
    match port {
        53 => Some(DNS),
        5353 => Some(MDNS),
        5355 => Some(LLMNR),
        _ => None,
    }
}

/// How long a UDP payload is that was captured so far; `None` where nothing tells.
fn sent(packet: &Packet<'_>, payload: &[u8]) -> Option<usize> {
    const HEADER_LEN: usize = 8;
    let told = match be16(packet.payload, 4) {
        None | Some(0) => packet.ip_len.and_then(|len| len.checked_sub(packet.header_len)),
        Some(len) => Some(u32::from(len)),
    };
    let told = told.map(|len| (len as usize).saturating_sub(HEADER_LEN));
    match Fault::short(packet) {
        // A UDP length beyond a whole packet is wrong, and what is there is all.
        Fault::Truncated => told.filter(|len| *len >= payload.len()),
        _ => Some(payload.len()),
    }
}

/// Tells what was read.
fn request<'a>(
    dns: &'static Dns,
    frame: &Frame<'a>,
    reading: &Reading<'a>,
    via: &'static str,
) -> Request<'a> {
    let mut request = Request::new(dns);
    let header = &reading.header;
    if let Some(subject) = &reading.subject {
        set_subject(subject, &mut request);
    }
    if header.questions > 1 {
        request.set("questions", Value::Number(header.questions.into()));
        set_questions(frame.bytes, header.questions, &mut request);
    }
    request.set("id", Value::Number(header.id.into()));
    if let Some(opcode) = names::opcode(header.opcode()).filter(|_| header.opcode() != 0) {
        request.set("opcode", Value::Name(opcode));
    } else if via == DNS {
        request.set("recursion_desired", Value::Flag(header.recursion_desired()));
    }
    if reading.subject.is_some_and(|subject| subject.unicast_response) {
        request.set("unicast_response", Value::Flag(true));
    }
    set_edns(reading, &mut request);
    request.set("via", Value::Name(via));
    if header.is_response() {
        set_outcome(reading, &mut request);
    }
    if let Some(fault) = reading.stopped {
        request.fault(fault);
    }
    request
}

fn set_subject<'a>(subject: &Subject<'a>, request: &mut Request<'a>) {
    const IN: u16 = 1;
    request.set("name", Value::Text(subject.name.text()));
    if let Some(name) = names::kind(subject.kind) {
        request.set("type", Value::Name(name));
    }
    request.set("type_number", Value::Number(subject.kind.into()));
    if subject.class != IN {
        if let Some(name) = names::class(subject.class) {
            request.set("class", Value::Name(name));
        }
        request.set("class_number", Value::Number(subject.class.into()));
    }
}

/// Tells all questions of a message, if all can be read.
fn set_questions<'a>(message: &'a [u8], count: u16, request: &mut Request<'a>) {
    let (mut names, mut types) = (Vec::new(), Vec::new());
    let mut at = message::HEADER_LEN;
    for _ in 0..count {
        let Ok(question) = Question::read(message, at) else { return };
        names.push(question.name.text());
        types.push(match names::kind(question.kind) {
            Some(name) => Cow::Borrowed(name.as_bytes()),
            None => Cow::Owned(format!("TYPE{}", question.kind).into_bytes()),
        });
        at = question.end;
    }
    request.set("names", Value::List(names));
    request.set("types", Value::List(types));
}

fn set_edns(reading: &Reading<'_>, request: &mut Request<'_>) {
    let Some(edns) = &reading.edns else { return };
    request.set("edns_size", Value::Number(edns.size.into()));
    request.set("dnssec_ok", Value::Flag(edns.dnssec_ok));
    if let Some(subnet) = &edns.subnet {
        request.set("client_subnet", Value::Text(subnet.clone().into_bytes().into()));
    }
    if let Some(fault) = edns.fault {
        request.fault(fault);
    }
}

fn set_outcome(reading: &Reading<'_>, request: &mut Request<'_>) {
    let rcode = reading.header.rcode();
    if let Some(name) = names::rcode(rcode) {
        request.set("rcode", Value::Name(name));
    }
    request.set("rcode_number", Value::Number(rcode.into()));
    if let Some(edns) = reading.edns.as_ref().filter(|edns| edns.rcode != 0) {
        request.set("extended_rcode", Value::Number((u16::from(edns.rcode) << 4 | rcode).into()));
    }
    request.set("answers", Value::Number(reading.header.answers.into()));
}

/// Writes what is asked, e.g. `UPDATE SOA example.com`.
fn describe_question(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    if let Some(opcode) = request.name("opcode") {
        write!(out, "{opcode} ")?;
    }
    let Some(name) = request.text("name") else {
        let response = request.number("rcode_number").is_some();
        return out.write_str(if response { "response" } else { "unreadable question" });
    };
    match (request.name("class"), request.number("class_number")) {
        (Some(class), _) => write!(out, "{class} ")?,
        (None, Some(number)) => write!(out, "CLASS{number} ")?,
        (None, None) => {}
    }
    match (request.name("type"), request.number("type_number")) {
        (Some(kind), _) => write!(out, "{kind} ")?,
        (None, Some(number)) => write!(out, "TYPE{number} ")?,
        (None, None) => {}
    }
    // Longer only where most of it is escapes; they are ASCII.
    const LONGEST: usize = 256;
    let shown = &name[..name.len().min(LONGEST)];
    out.write_str(&String::from_utf8_lossy(shown))?;
    out.write_str(if shown.len() < name.len() { "..." } else { "" })
}

/// Writes a response's outcome, e.g. `NXDOMAIN` or `2 answers`.
fn describe_outcome(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    let header = request.number("rcode_number");
    let Some(rcode) = request.number("extended_rcode").or(header) else { return Ok(()) };
    match (u16::try_from(rcode).ok().and_then(names::rcode), request.number("answers")) {
        (Some("NOERROR"), Some(1)) => out.write_str(" 1 answer"),
        (Some("NOERROR"), Some(answers)) => write!(out, " {answers} answers"),
        (Some(name), _) => write!(out, " {name}"),
        (None, _) => write!(out, " RCODE{rcode}"),
    }
}

#[cfg(test)]
mod tests;
