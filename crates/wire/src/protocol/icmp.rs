//! ICMP (RFC 792) and ICMPv6 (RFC 4443): requests, replies, errors and what they
//! are about, neighbour discovery, multicast listener discovery.
//!
//! Deliberately absent: checksums (see [`crate::packet`]), echo data (it is not ours
//! to show), extensions of errors (RFC 4884), neighbour discovery options.
//! A capture that cuts only such parts is no fault: every field is still told.

use super::{Fault, Field, Interest, Kind, Protocol, Request, Switches, Value};
use crate::bytes::{array, be16, be32};
use crate::filter::{Compare, FieldFilter};
use crate::packet::{self, Layer, Packet};
use std::fmt;
use std::net::IpAddr;

mod messages;

use messages::{Body, Message};

/// ICMP and ICMPv6 messages.
pub struct Icmp;

const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;

static FIELDS: &[Field] = &[
    Field {
        name: "version",
        kind: Kind::Number,
        doc: "4 for ICMP (RFC 792), 6 for ICMPv6 (RFC 4443): the same type number means \
              different things in the two.",
    },
    Field {
        name: "type",
        kind: Kind::Name,
        doc: "The message's type by name, e.g. `echo-request`; absent for types without one \
              (IANA \"ICMP Parameters\" and \"ICMPv6 Parameters\").",
    },
    Field {
        name: "type_number",
        kind: Kind::Number,
        doc: "The message's type as sent (RFC 792; RFC 4443 section 2.1).",
    },
    Field {
        name: "code",
        kind: Kind::Number,
        doc: "The code below the type, as sent (RFC 792; RFC 4443 section 2.1).",
    },
    Field {
        name: "code_name",
        kind: Kind::Name,
        doc: "The code by name, e.g. `port-unreachable`, for types whose codes have names \
              (RFC 792, RFC 1812 section 5.2.7, RFC 4443, RFC 7112, RFC 8335, RFC 8883).",
    },
    Field {
        name: "id",
        kind: Kind::Number,
        doc: "Identifier of an echo, timestamp, information or address mask message: which \
              sender's it is (RFC 792, RFC 950, RFC 4443 section 4, RFC 8335). On Linux the \
              port of a ping socket.",
    },
    Field {
        name: "seq",
        kind: Kind::Number,
        doc: "Sequence number of the same messages; 8 bits in extended echoes (RFC 8335 \
              section 2), 16 elsewhere.",
    },
    Field {
        name: "gateway",
        kind: Kind::Text,
        doc: "Address of the better first hop that a redirect names (RFC 792; RFC 4861 section \
              4.5, where it is called the target).",
    },
    Field {
        name: "mtu",
        kind: Kind::Number,
        doc: "Largest packet that the next link takes, in bytes (frag-needed: RFC 1191 section 4, \
              absent where a router does not tell; packet-too-big: RFC 4443 section 3.2).",
    },
    Field {
        name: "pointer",
        kind: Kind::Number,
        doc: "Offset of the offending byte in the packet that a parameter-problem is about \
              (RFC 792; RFC 4443 section 3.4).",
    },
    Field {
        name: "target",
        kind: Kind::Text,
        doc: "Address that a neighbour solicitation asks for or an advertisement announces \
              (RFC 4861 sections 4.3 and 4.4).",
    },
    Field {
        name: "group",
        kind: Kind::Text,
        doc: "Multicast address of a listener query, report or done; `::` in general queries \
              (RFC 2710 section 3, RFC 3810 section 5.1).",
    },
    Field {
        name: "about_src",
        kind: Kind::Text,
        doc: "Source address of the packet that an error quotes (RFC 792; RFC 4443 section 3).",
    },
    Field {
        name: "about_sport",
        kind: Kind::Number,
        doc: "Source port of the quoted packet, where its protocol has ports and they are quoted.",
    },
    Field {
        name: "about_dst",
        kind: Kind::Text,
        doc: "Destination address of the packet that an error or a redirect is about (RFC 792; \
              RFC 4443 section 3; RFC 4861 section 4.5).",
    },
    Field {
        name: "about_dport",
        kind: Kind::Number,
        doc: "Destination port of the quoted packet, where its protocol has ports and they are \
              quoted.",
    },
    Field {
        name: "about_proto",
        kind: Kind::Name,
        doc: "Protocol of the quoted packet by name, e.g. `udp`; absent for protocols without a \
              name here.",
    },
    Field {
        name: "about_proto_number",
        kind: Kind::Number,
        doc: "Protocol of the quoted packet (IANA \"Assigned Internet Protocol Numbers\").",
    },
    Field {
        name: "about_id",
        kind: Kind::Number,
        doc: "Identifier of the quoted echo: which ping the error is about (RFC 792; RFC 4443 \
              section 4.1).",
    },
];

static FILTERS: &[FieldFilter] = &[FieldFilter {
    value: "TYPE",
    compare: Compare::Name { known: messages::names, most: Some(255), prefix: "" },
    ..FieldFilter::glob(
        "type",
        "Type of message, name or number, e.g. echo-request",
        &["type", "type_number"],
    )
}];

impl Protocol for Icmp {
    fn name(&self) -> &'static str {
        "icmp"
    }

    fn about(&self) -> &'static str {
        "ICMP and ICMPv6: who is pinging, and whom"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn interest(&self, _: Switches) -> Interest {
        Interest { ip_protocols: &[ICMPV4, ICMPV6], ..Interest::NONE }
    }

    fn filters(&self) -> &'static [FieldFilter] {
        FILTERS
    }

    fn decode<'a>(&'static self, packet: &Packet<'a>, _: Switches) -> Option<Request<'a>> {
        let version = match packet.protocol {
            ICMPV4 => 4,
            ICMPV6 => 6,
            _ => return None,
        };
        let mut request = Request::new(self);
        request.set("version", Value::Number(version));
        if packet.src.is_ipv4() != (version == 4) {
            request.fault(Fault::BadValue);
        }
        if message(packet, version, &mut request).is_none() {
            request.fault(Fault::short(packet));
        }
        Some(request)
    }

    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        describe_type(request, out)?;
        for name in ["id", "seq", "mtu", "pointer"] {
            if let Some(number) = request.number(name) {
                write!(out, " {name} {number}")?;
            }
        }
        for name in ["gateway", "target", "group"] {
            if let Some(address) = request.text(name) {
                write!(out, " {name} {}", String::from_utf8_lossy(address))?;
            }
        }
        describe_about(request, out)
    }

    fn kernel_part(&self, request: &Request<'_>) -> Option<&'static str> {
        let number = u8::try_from(request.number("type_number")?).ok()?;
        messages::find(request.number("version")?, number)?.kernel_part
    }
}

fn describe_type(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    let Some(number) = request.number("type_number") else { return out.write_str("empty") };
    let name = request.name("type");
    match name {
        Some(name) => out.write_str(name)?,
        None => write!(out, "type {number}")?,
    }
    match (request.name("code_name"), request.number("code")) {
        (Some(code), _) => write!(out, " {code}"),
        // Where nothing else is known, a zero tells something too.
        (None, Some(code)) if code != 0 || name.is_none() => write!(out, " code {code}"),
        _ => Ok(()),
    }
}

fn describe_about(request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
    let Some(address) = request.text("about_dst") else { return Ok(()) };
    let address = String::from_utf8_lossy(address);
    match request.number("about_dport") {
        Some(port) if address.contains(':') => write!(out, " about [{address}]:{port}")?,
        Some(port) => write!(out, " about {address}:{port}")?,
        None => write!(out, " about {address}")?,
    }
    match (request.name("about_proto"), request.number("about_proto_number")) {
        (Some(name), _) => write!(out, " {name}")?,
        (None, Some(number)) => write!(out, " protocol {number}")?,
        (None, None) => {}
    }
    match request.number("about_id") {
        Some(id) => write!(out, " id {id}"),
        None => Ok(()),
    }
}

/// Reads a message, setting fields as far as the bytes go; `None` where they end
/// too early.
fn message(packet: &Packet<'_>, version: u64, request: &mut Request<'_>) -> Option<()> {
    let bytes = packet.payload;
    let number = *bytes.first()?;
    let known = messages::find(version, number);
    if let Some(known) = known {
        request.set("type", Value::Name(known.name));
    }
    request.set("type_number", number_of(number));

    let code = *bytes.get(1)?;
    request.set("code", number_of(code));
    if let Some(name) = known.and_then(|known| known.code_name(code)) {
        request.set("code_name", Value::Name(name));
    }

    be16(bytes, 2)?; // the checksum
    known.map_or(Some(()), |known| body(packet, known, code, request))
}

/// Reads what follows the type, code and checksum.
fn body(packet: &Packet<'_>, known: &Message, code: u8, request: &mut Request<'_>) -> Option<()> {
    let bytes = packet.payload;
    match known.body {
        Body::Opaque => {}
        Body::Id => request.set("id", number_of(be16(bytes, 4)?)),
        Body::IdSeq => {
            request.set("id", number_of(be16(bytes, 4)?));
            request.set("seq", number_of(be16(bytes, 6)?));
        }
        Body::IdShortSeq => {
            request.set("id", number_of(be16(bytes, 4)?));
            request.set("seq", number_of(*bytes.get(6)?));
        }
        Body::Target => {
            let target = array::<16>(bytes, 8)?;
            if target[0] == 0xff {
                request.fault(Fault::BadValue); // multicast: RFC 4861 sections 7.1.1, 7.1.2
            }
            request.set("target", address(target));
        }
        Body::Group => request.set("group", address(array::<16>(bytes, 8)?)),
        Body::RedirectV6 => {
            request.set("gateway", address(array::<16>(bytes, 8)?));
            request.set("about_dst", address(array::<16>(bytes, 24)?));
        }
        Body::Error => return quoted(packet, request),
        Body::UnreachableV4 => {
            const FRAG_NEEDED: u8 = 4;
            let mtu = be16(bytes, 6)?;
            if code == FRAG_NEEDED && mtu != 0 {
                request.set("mtu", number_of(mtu));
            }
            return quoted(packet, request);
        }
        Body::RedirectV4 => {
            request.set("gateway", address(array::<4>(bytes, 4)?));
            return quoted(packet, request);
        }
        Body::ProblemV4 => {
            request.set("pointer", number_of(*bytes.get(4)?));
            return quoted(packet, request);
        }
        Body::TooBigV6 => {
            request.set("mtu", number_of(be32(bytes, 4)?));
            return quoted(packet, request);
        }
        Body::ProblemV6 => {
            request.set("pointer", number_of(be32(bytes, 4)?));
            return quoted(packet, request);
        }
    }
    Some(())
}

/// Reads the start of the packet that an error quotes after its first 8 bytes.
fn quoted(packet: &Packet<'_>, request: &mut Request<'_>) -> Option<()> {
    let bytes = packet.payload.get(8..)?;
    let (version, header_len) = if packet.protocol == ICMPV4 { (4, 20) } else { (6, 40) };
    if bytes.first()? >> 4 != version {
        request.fault(Fault::BadValue);
        return Some(());
    }
    bytes.get(..header_len)?;
    let Some(about) = packet::parse(Layer::Ip, bytes) else {
        // A contradictory header, or a later fragment: errors are not sent about
        // those (RFC 1122 section 3.2.2, RFC 1812 section 4.3.2.7).
        request.fault(Fault::BadValue);
        return Some(());
    };
    quoted_flow(&about, request);
    // The first 8 bytes after the quoted IP header belong into every error (RFC 792),
    // unless the quoted packet itself was shorter.
    (about.payload.len() >= 8 || !about.truncated).then_some(())?;
    (!about.inside_extensions()).then_some(())
}

/// Tells between whom the quoted packet went.
fn quoted_flow(about: &Packet<'_>, request: &mut Request<'_>) {
    let ports = if has_ports(about.protocol) { be32(about.payload, 0) } else { None };
    request.set("about_src", address(about.src));
    if let Some(ports) = ports {
        request.set("about_sport", number_of(ports >> 16));
    }
    request.set("about_dst", address(about.dst));
    if let Some(ports) = ports {
        request.set("about_dport", number_of(ports & 0xffff));
    }
    if about.inside_extensions() {
        return;
    }
    if let Some(name) = packet::protocol_name(about.protocol) {
        request.set("about_proto", Value::Name(name));
    }
    request.set("about_proto_number", number_of(about.protocol));
    if let Some(id) = echo_id(about) {
        request.set("about_id", number_of(id));
    }
}

/// Protocols whose header begins with a source and a destination port.
fn has_ports(protocol: u8) -> bool {
    const TCP: u8 = 6;
    const UDP: u8 = 17;
    const DCCP: u8 = 33;
    const SCTP: u8 = 132;
    const UDP_LITE: u8 = 136;
    matches!(protocol, TCP | UDP | DCCP | SCTP | UDP_LITE)
}

/// The identifier of an echo request or reply that an error quotes.
fn echo_id(about: &Packet<'_>) -> Option<u16> {
    match (about.protocol, about.payload.first()?) {
        (ICMPV4, 0 | 8) | (ICMPV6, 128 | 129) => be16(about.payload, 4),
        _ => None,
    }
}

fn number_of<'a>(number: impl Into<u64>) -> Value<'a> {
    Value::Number(number.into())
}

fn address<'a>(address: impl Into<IpAddr>) -> Value<'a> {
    Value::Text(address.into().to_string().into_bytes().into())
}
