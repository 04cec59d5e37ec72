//! The types of ICMP and ICMPv6 messages: their names, codes and layouts.
//!
//! The names follow the RFCs' own words, shortened the way ping, ip and tcpdump
//! shorten them. Types which RFC 6918 took out of use are left without a name, except
//! those that some hosts still answer.

/// What is known about one type of message.
pub(super) struct Message {
    number: u8,
    /// The type's name in output.
    pub(super) name: &'static str,
    /// How the bytes after type, code and checksum are laid out.
    pub(super) body: Body,
    /// The part of the kernel that sends it when no process does.
    pub(super) kernel_part: Option<&'static str>,
    /// Names of its codes, from 0 on.
    codes: &'static [&'static str],
}

/// The layout of a message after type, code and checksum, as far as it is read.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// Nothing that is told.
    Opaque,
    /// An identifier.
    Id,
    /// An identifier and a sequence number.
    IdSeq,
    /// An identifier and a sequence number of 8 bits (RFC 8335).
    IdShortSeq,
    /// Four bytes of no interest, then the packet that the error is about.
    Error,
    /// An error whose last two unused bytes are an MTU in one of its codes (RFC 1191).
    UnreachableV4,
    /// An error with a gateway's address (RFC 792).
    RedirectV4,
    /// An error with a pointer of 8 bits (RFC 792).
    ProblemV4,
    /// An error with an MTU of 32 bits (RFC 4443).
    TooBigV6,
    /// An error with a pointer of 32 bits (RFC 4443).
    ProblemV6,
    /// A target and a destination address (RFC 4861).
    RedirectV6,
    /// A target address (RFC 4861).
    Target,
    /// A multicast address (RFC 2710).
    Group,
}

impl Message {
    const fn new(number: u8, name: &'static str, body: Body) -> Self {
        Message { number, name, body, kernel_part: None, codes: &[] }
    }

    const fn by(self, kernel_part: &'static str) -> Self {
        Message { kernel_part: Some(kernel_part), ..self }
    }

    const fn codes(self, codes: &'static [&'static str]) -> Self {
        Message { codes, ..self }
    }

    /// A code's name, if it has one.
    pub(super) fn code_name(&self, code: u8) -> Option<&'static str> {
        self.codes.get(usize::from(code)).copied()
    }
}

/// Looks a type up: ICMP's for version 4, ICMPv6's for version 6.
pub(super) fn find(version: u64, number: u8) -> Option<&'static Message> {
    let messages = if version == 4 { V4 } else { V6 };
    messages.iter().find(|message| message.number == number)
}

/// The names of all types.
pub(super) fn names() -> Vec<&'static str> {
    V4.iter().chain(V6).map(|message| message.name).collect()
}

const REPLY: &str = "icmp-reply";
const ERROR: &str = "icmp-error";
const NEIGHBOUR: &str = "neighbour";
const LISTENER: &str = "mld";

/// IANA "ICMP Type Numbers". The commonest come first.
static V4: &[Message] = &[
    Message::new(8, "echo-request", Body::IdSeq),
    Message::new(0, "echo-reply", Body::IdSeq).by(REPLY),
    Message::new(3, "dest-unreachable", Body::UnreachableV4).by(ERROR).codes(&[
        "net-unreachable",
        "host-unreachable",
        "protocol-unreachable",
        "port-unreachable",
        "frag-needed",
        "source-route-failed",
        "net-unknown",
        "host-unknown",
        "source-isolated",
        "net-prohibited",
        "host-prohibited",
        "net-tos-unreachable",
        "host-tos-unreachable",
        "admin-prohibited",
        "precedence-violation",
        "precedence-cutoff",
    ]),
    Message::new(4, "source-quench", Body::Error).by(ERROR),
    Message::new(5, "redirect", Body::RedirectV4).by(ERROR).codes(&[
        "for-net",
        "for-host",
        "for-tos-net",
        "for-tos-host",
    ]),
    Message::new(9, "router-advertisement", Body::Opaque),
    Message::new(10, "router-solicitation", Body::Opaque),
    Message::new(11, "time-exceeded", Body::Error)
        .by(ERROR)
        .codes(&["ttl-exceeded", "reassembly-exceeded"]),
    Message::new(12, "parameter-problem", Body::ProblemV4).by(ERROR).codes(&[
        "bad-header",
        "missing-option",
        "bad-length",
    ]),
    Message::new(13, "timestamp-request", Body::IdSeq),
    Message::new(14, "timestamp-reply", Body::IdSeq).by(REPLY),
    Message::new(15, "info-request", Body::IdSeq),
    Message::new(16, "info-reply", Body::IdSeq).by(REPLY),
    Message::new(17, "address-mask-request", Body::IdSeq),
    Message::new(18, "address-mask-reply", Body::IdSeq).by(REPLY),
    Message::new(42, "extended-echo-request", Body::IdShortSeq),
    Message::new(43, "extended-echo-reply", Body::IdShortSeq).by(REPLY).codes(PROBE_CODES),
];

/// IANA "ICMPv6 'type' Numbers". The commonest come first.
static V6: &[Message] = &[
    Message::new(128, "echo-request", Body::IdSeq),
    Message::new(129, "echo-reply", Body::IdSeq).by(REPLY),
    Message::new(135, "neighbour-solicitation", Body::Target).by(NEIGHBOUR),
    Message::new(136, "neighbour-advertisement", Body::Target).by(NEIGHBOUR),
    Message::new(133, "router-solicitation", Body::Opaque).by(NEIGHBOUR),
    Message::new(134, "router-advertisement", Body::Opaque).by(NEIGHBOUR),
    Message::new(137, "redirect", Body::RedirectV6).by(NEIGHBOUR),
    Message::new(143, "mldv2-report", Body::Opaque).by(LISTENER),
    Message::new(130, "mld-query", Body::Group).by(LISTENER),
    Message::new(131, "mld-report", Body::Group).by(LISTENER),
    Message::new(132, "mld-done", Body::Group).by(LISTENER),
    Message::new(1, "dest-unreachable", Body::Error).by(ERROR).codes(&[
        "no-route",
        "admin-prohibited",
        "beyond-scope",
        "address-unreachable",
        "port-unreachable",
        "source-policy-failed",
        "route-rejected",
        "source-route-error",
        "headers-too-long",
    ]),
    Message::new(2, "packet-too-big", Body::TooBigV6).by(ERROR),
    Message::new(3, "time-exceeded", Body::Error)
        .by(ERROR)
        .codes(&["hop-limit-exceeded", "reassembly-exceeded"]),
    Message::new(4, "parameter-problem", Body::ProblemV6).by(ERROR).codes(&[
        "bad-header",
        "unknown-next-header",
        "unknown-option",
        "incomplete-header-chain",
        "segment-routing-upper-layer",
        "unknown-next-header-on-path",
        "extension-header-too-big",
        "header-chain-too-long",
        "too-many-headers",
        "too-many-options",
        "option-too-big",
    ]),
    Message::new(138, "router-renumbering", Body::Opaque),
    Message::new(139, "node-info-query", Body::Opaque).codes(&["for-ipv6", "for-name", "for-ipv4"]),
    Message::new(140, "node-info-reply", Body::Opaque).codes(&["known", "refused", "unknown"]),
    Message::new(141, "inverse-neighbour-solicitation", Body::Opaque),
    Message::new(142, "inverse-neighbour-advertisement", Body::Opaque),
    Message::new(144, "home-agent-request", Body::Id),
    Message::new(145, "home-agent-reply", Body::Id),
    Message::new(146, "mobile-prefix-solicitation", Body::Id),
    Message::new(147, "mobile-prefix-advertisement", Body::Id),
    Message::new(148, "certification-path-solicitation", Body::Opaque),
    Message::new(149, "certification-path-advertisement", Body::Opaque),
    Message::new(151, "multicast-router-advertisement", Body::Opaque),
    Message::new(152, "multicast-router-solicitation", Body::Opaque),
    Message::new(153, "multicast-router-termination", Body::Opaque),
    Message::new(155, "rpl-control", Body::Opaque),
    Message::new(157, "duplicate-address-request", Body::Opaque),
    Message::new(158, "duplicate-address-confirmation", Body::Opaque),
    Message::new(160, "extended-echo-request", Body::IdShortSeq),
    Message::new(161, "extended-echo-reply", Body::IdShortSeq).by(REPLY).codes(PROBE_CODES),
];

/// RFC 8335 section 3: the codes of an extended echo reply.
const PROBE_CODES: &[&str] = &[
    "no-error",
    "malformed-query",
    "no-such-interface",
    "no-such-table-entry",
    "multiple-interfaces",
];
