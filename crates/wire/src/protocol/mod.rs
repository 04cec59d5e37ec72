//! The protocols: one file each, one line each in [`PROTOCOLS`].
//!
//! A protocol declares its fields; text, JSON, filters and documentation walk
//! that table and never name a protocol themselves.

mod connect;
pub(crate) mod dns;
mod http;
mod icmp;
mod tls;

use crate::filter::FieldFilter;
use crate::packet::Packet;
use crate::start::Start;
use std::borrow::Cow;
use std::fmt;

/// Every protocol sentby decodes, in the order in which they are offered a packet.
pub static PROTOCOLS: &[&dyn Protocol] =
    &[&icmp::Icmp, &http::Http, &tls::Tls, &dns::Dns, &connect::Connect];

/// Looks a protocol up by the name users type.
pub fn by_name(name: &str) -> Option<&'static dyn Protocol> {
    PROTOCOLS.iter().copied().find(|p| p.name() == name)
}

/// One kind of request: what it needs captured, how it is decoded, what it tells.
pub trait Protocol: Sync {
    /// The name users type and events carry, e.g. `icmp`.
    fn name(&self) -> &'static str;

    /// One line for `--help`.
    fn about(&self) -> &'static str;

    /// The fields a request of this protocol may carry, in output order.
    fn fields(&self) -> &'static [Field];

    /// What a backend has to capture so that this protocol sees its requests.
    fn interest(&self, on: Switches) -> Interest;

    /// What the user may switch on, beyond the fields' filters.
    fn switches(&self) -> &'static [Switch] {
        &[]
    }

    /// By which fields requests can be chosen.
    fn filters(&self) -> &'static [FieldFilter] {
        &[]
    }

    /// Whether what the sender's executable says about how it was built is worth knowing
    /// beside such a request.
    fn looks_into_programs(&self) -> bool {
        false
    }

    /// Decodes one packet; `None` when the packet does not belong to this protocol.
    fn decode<'a>(&'static self, packet: &Packet<'a>, on: Switches) -> Option<Request<'a>> {
        let _ = (packet, on);
        None
    }

    /// Decodes what was sent over a stream, from a place where a request may begin.
    fn decode_stream<'a>(&'static self, stream: &Stream<'a>) -> Progress<'a> {
        let _ = stream;
        Progress::No
    }

    /// Writes the request's own part of a text line, e.g. `echo-request id 7 seq 1`.
    ///
    /// Only characters that are safe on a terminal may be written here; captured
    /// strings go through the escaping writer that the caller passes in.
    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result;

    /// Whether how a request ended is told later, by an [`Outcome`].
    fn awaits_outcome(&self) -> bool {
        false
    }

    /// Adds how it ended.
    fn conclude(&self, request: &mut Request<'_>, outcome: &Outcome) {
        let _ = (request, outcome);
    }

    /// The name by which the request itself calls its destination, and the name of
    /// the place where it stands there.
    fn destination_name<'r>(&self, request: &'r Request<'_>) -> Option<(&'static str, &'r [u8])> {
        let _ = request;
        None
    }

    /// Which part of the kernel sends such a request when no process did
    /// (`icmp-reply`, `neighbour`, …), where the request alone tells.
    fn kernel_part(&self, request: &Request<'_>) -> Option<&'static str> {
        let _ = request;
        None
    }
}

impl fmt::Debug for dyn Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a backend must deliver for a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest {
    /// Whole packets of these IP protocol numbers (IANA "Assigned Internet Protocol
    /// Numbers"), for IPv6 after its extension headers.
    pub ip_protocols: &'static [u8],
    /// What is sent over TCP, from each place on where a send begins like one of these.
    pub stream: &'static [Start],
    /// UDP packets whose payload begins like one of these.
    pub datagram: &'static [Start],
    /// The SYN that opens a TCP connection, and how that ends.
    pub opening: bool,
}

impl Interest {
    /// Nothing; to be filled in.
    pub const NONE: Interest =
        Interest { ip_protocols: &[], stream: &[], datagram: &[], opening: false };
}

/// Something about a protocol that is off until the user asks for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Switch {
    /// The option's name without its dashes, e.g. `full-url`.
    pub name: &'static str,
    /// One line for `--help`.
    pub doc: &'static str,
}

/// Which of a protocol's switches are on, by position in [`Protocol::switches`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switches(u32);

impl Switches {
    /// All off.
    pub const OFF: Switches = Switches(0);

    /// These, and the one at `position`.
    #[must_use]
    pub const fn with(self, position: usize) -> Switches {
        Switches(self.0 | 1 << (position % 32))
    }

    /// Whether the one at `position` is on.
    pub const fn has(self, position: usize) -> bool {
        self.0 & 1 << (position % 32) != 0
    }
}

/// What was captured of a stream, from a place where a request may begin.
#[derive(Clone, Copy, Debug)]
pub struct Stream<'a> {
    /// The bytes so far, in order and without gaps.
    pub bytes: &'a [u8],
    /// No more will come: the stream ended, or as much was captured as ever is.
    pub ended: bool,
    /// What the user switched on.
    pub on: Switches,
}

/// How far a decoder came with a stream.
#[derive(Clone, Debug)]
pub enum Progress<'a> {
    /// This is not, and will not become, a request of this protocol.
    No,
    /// It looks like one, but more bytes are needed. Never the answer where the
    /// stream has ended.
    More,
    /// A request, as far as it could be read.
    Done(Request<'a>, Next),
}

/// Where in the stream the next request may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// This many bytes after the beginning of the decoded one; perhaps beyond what
    /// was captured.
    At(u64),
    /// Nobody knows before the sender's next send that begins like one.
    Somewhere,
    /// Nowhere: the stream is something else from now on.
    Never,
}

/// How what a request began has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Which way; `None` where nobody saw the end.
    pub ending: Option<Ending>,
    /// Nanoseconds from the request to its end.
    pub after: Option<u64>,
    /// How often the request was sent until then.
    pub attempts: u32,
}

/// Ways in which opening a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The connection is there.
    Established,
    /// The other side answered that nobody listens.
    Refused,
    /// Nobody answered.
    TimedOut,
    /// There is no way to the other side.
    Unreachable,
    /// The sender did not wait for an answer.
    Abandoned,
    /// In another way.
    Failed,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Ending; 6] = [
        Ending::Established,
        Ending::Refused,
        Ending::TimedOut,
        Ending::Unreachable,
        Ending::Abandoned,
        Ending::Failed,
    ];

    /// The word in events.
    pub fn name(self) -> &'static str {
        match self {
            Ending::Established => "established",
            Ending::Refused => "refused",
            Ending::TimedOut => "timed-out",
            Ending::Unreachable => "unreachable",
            Ending::Abandoned => "abandoned",
            Ending::Failed => "failed",
        }
    }
}

/// The type of a field's value, for documentation and tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An unsigned number.
    Number,
    /// One name out of a fixed vocabulary.
    Name,
    /// Text from the wire: bytes that are usually UTF-8.
    Text,
    /// A list of texts from the wire.
    List,
    /// True or false.
    Flag,
}

/// A declared field of a protocol.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The key in JSON, below the protocol's name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it means, its unit, and where it comes from.
    pub doc: &'static str,
}

/// A field's value in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// See [`Kind::Number`].
    Number(u64),
    /// See [`Kind::Name`].
    Name(&'static str),
    /// See [`Kind::Text`].
    Text(Cow<'a, [u8]>),
    /// See [`Kind::List`].
    List(Vec<Cow<'a, [u8]>>),
    /// See [`Kind::Flag`].
    Flag(bool),
}

impl Value<'_> {
    /// The same without what it was decoded from.
    pub fn to_static(&self) -> Value<'static> {
        match self {
            Value::Number(n) => Value::Number(*n),
            Value::Name(name) => Value::Name(name),
            Value::Text(text) => Value::Text(Cow::Owned(text.to_vec())),
            Value::List(list) => {
                Value::List(list.iter().map(|text| Cow::Owned(text.to_vec())).collect())
            }
            Value::Flag(flag) => Value::Flag(*flag),
        }
    }

    /// The kind this value is of.
    pub fn kind(&self) -> Kind {
        match self {
            Value::Number(_) => Kind::Number,
            Value::Name(_) => Kind::Name,
            Value::Text(_) => Kind::Text,
            Value::List(_) => Kind::List,
            Value::Flag(_) => Kind::Flag,
        }
    }
}

/// What was wrong with the bytes; decoding went on as far as it could.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The capture ended before all that the protocol tells could be read.
    Truncated,
    /// A length or offset in the packet contradicts the packet.
    BadLength,
    /// A value that its specification does not allow.
    BadValue,
}

impl Fault {
    /// The fault of a packet whose payload ends before its request does: the capture
    /// is to blame where more was sent (or may have been), the sender where not.
    pub fn short(packet: &Packet<'_>) -> Fault {
        if packet.truncated || packet.more_fragments || packet.ip_len.is_none() {
            Fault::Truncated
        } else {
            Fault::BadLength
        }
    }

    /// The fault's name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Truncated => "truncated",
            Fault::BadLength => "bad-length",
            Fault::BadValue => "bad-value",
        }
    }
}

/// A decoded request: values in the order of the protocol's field table; a field
/// that is not there was not in the request (absent is not zero).
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The protocol that decoded it.
    pub protocol: &'static dyn Protocol,
    /// Values by index into the protocol's field table, ascending.
    values: Vec<(usize, Value<'a>)>,
    /// What was wrong with the bytes.
    pub faults: Vec<Fault>,
}

impl<'a> Request<'a> {
    /// An empty request of a protocol.
    pub fn new(protocol: &'static dyn Protocol) -> Self {
        // Room for a usual request, so that setting its fields allocates once.
        const USUAL_FIELDS: usize = 8;
        Request { protocol, values: Vec::with_capacity(USUAL_FIELDS), faults: Vec::new() }
    }

    /// Sets a declared field; a value set before is replaced. An undeclared name is
    /// a programming error that the registry's test finds; it is dropped rather than
    /// emitted.
    ///
    /// Cheapest when fields are set in the order of the table.
    pub fn set(&mut self, name: &str, value: Value<'a>) {
        let fields = self.protocol.fields();
        let next = self.values.last().map_or(0, |(index, _)| index + 1);
        let Some(index) = position(fields, name, next) else {
            debug_assert!(false, "undeclared field {name}");
            return;
        };
        debug_assert_eq!(fields[index].kind, value.kind(), "kind of field {name}");
        if index >= next {
            self.values.push((index, value));
            return;
        }
        match self.values.binary_search_by_key(&index, |(index, _)| *index) {
            Ok(at) => self.values[at].1 = value,
            Err(at) => self.values.insert(at, (index, value)),
        }
    }

    /// The same without the bytes that it was decoded from.
    pub fn to_static(&self) -> Request<'static> {
        Request {
            protocol: self.protocol,
            values: self.values.iter().map(|(index, value)| (*index, value.to_static())).collect(),
            faults: self.faults.clone(),
        }
    }

    /// Notes that something was wrong with the bytes, once for each kind of fault.
    pub fn fault(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }

    /// The value of a field, if the request has it.
    pub fn get(&self, name: &str) -> Option<&Value<'a>> {
        self.fields().find(|(field, _)| field.name == name).map(|(_, value)| value)
    }

    /// A number field's value.
    pub fn number(&self, name: &str) -> Option<u64> {
        match self.get(name) {
            Some(Value::Number(n)) => Some(*n),
            _ => None,
        }
    }

    /// A name field's value.
    pub fn name(&self, name: &str) -> Option<&'static str> {
        match self.get(name) {
            Some(Value::Name(n)) => Some(n),
            _ => None,
        }
    }

    /// A text field's value.
    pub fn text(&self, name: &str) -> Option<&[u8]> {
        match self.get(name) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// All fields the request has.
    pub fn fields(&self) -> impl Iterator<Item = (&'static Field, &Value<'a>)> {
        let fields = self.protocol.fields();
        self.values.iter().map(|(index, value)| (&fields[*index], value))
    }
}

/// Finds a field by name, looking first at those from `next` on: decoders set fields
/// in the order of the table.
fn position(fields: &[Field], name: &str, next: usize) -> Option<usize> {
    let (before, after) = fields.split_at_checked(next)?;
    let at = |fields: &[Field]| fields.iter().position(|field| field.name == name);
    at(after).map(|index| index + next).or_else(|| at(before))
}

/// The name in `host` or `host:port`; `None` where it is an address or no name at all.
fn host_name(host: &[u8]) -> Option<&[u8]> {
    const LONGEST: usize = 255; // RFC 1035 section 2.3.4
    let name = host.split(|b| *b == b':').next()?;
    let name = name.strip_suffix(b".").unwrap_or(name);
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-_.".contains(b);
    let text = std::str::from_utf8(name).ok()?;
    let is_name = (1..=LONGEST).contains(&name.len())
        && name.iter().all(plain)
        && text.parse::<std::net::Ipv4Addr>().is_err();
    is_name.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(request: &Request<'_>) -> Vec<(&'static str, u64)> {
        let number = |name| request.number(name).expect("a number");
        request.fields().map(|(field, _)| (field.name, number(field.name))).collect()
    }

    #[test]
    fn values_come_in_the_order_of_the_table_and_once() {
        let mut request = Request::new(&icmp::Icmp);
        for (name, number) in [("seq", 1), ("version", 4), ("mtu", 2), ("id", 3), ("seq", 5)] {
            request.set(name, Value::Number(number));
        }
        assert_eq!(numbers(&request), [("version", 4), ("id", 3), ("seq", 5), ("mtu", 2)]);
        assert_eq!(request.number("code"), None);
    }

    #[test]
    fn the_last_field_may_be_set_again() {
        let mut request = Request::new(&icmp::Icmp);
        request.set("about_id", Value::Number(1));
        request.set("about_id", Value::Number(2));
        assert_eq!(numbers(&request), [("about_id", 2)]);
    }

    #[test]
    fn a_host_is_a_name_or_none() {
        for (host, name) in [
            ("example.com", Some("example.com")),
            ("example.com:8080", Some("example.com")),
            ("example.com.", Some("example.com")),
            ("192.0.2.7", None),
            ("192.0.2.7:80", None),
            ("[2001:db8::7]:80", None),
            ("", None),
            (":80", None),
            ("a b", None),
            ("a\u{e9}", None),
        ] {
            assert_eq!(host_name(host.as_bytes()), name.map(str::as_bytes), "{host}");
        }
        assert_eq!(host_name(&[b'a'; 256]), None);
    }

    #[test]
    fn a_fault_is_noted_once() {
        let mut request = Request::new(&icmp::Icmp);
        for fault in [Fault::BadValue, Fault::Truncated, Fault::BadValue] {
            request.fault(fault);
        }
        assert_eq!(request.faults, [Fault::BadValue, Fault::Truncated]);
    }
}
