//! TCP connections as they are opened (RFC 9293 section 3.5): the first SYN, and what
//! became of it.
//!
//! Who sent the SYN and where to is in the packet; how it ended is not. The backend
//! tells that later ([`Outcome`]), and the request waits for it.
//!
//! Deliberately absent: connections that others open to this machine; UDP, whose
//! connect(2) sends nothing.

use super::{Ending, Field, Interest, Kind, Outcome, Protocol, Request, Switches, Value};
use crate::filter::{Compare, FieldFilter};
use crate::packet::Packet;
use crate::transport::{self, flag};
use std::fmt;

/// Outgoing TCP connections.
pub struct Connect;

const NS_PER_US: u64 = 1000;

static FIELDS: &[Field] = &[
    Field {
        name: "outcome",
        kind: Kind::Name,
        doc: "How it ended: `established`; `refused` (the other side answered with a reset); \
              `timed-out` (no answer to any SYN); `unreachable` (a router or this machine says \
              so); `abandoned` (the process closed the socket before there was an answer); \
              `failed` (anything else). Absent where sentby stopped before the end.",
    },
    Field {
        name: "took_us",
        kind: Kind::Number,
        doc: "Microseconds from the first SYN to the outcome.",
    },
    Field {
        name: "syns",
        kind: Kind::Number,
        doc: "SYNs sent until then, where there were several: the others repeat the first, which \
              was not answered.",
    },
    Field {
        name: "fast_open",
        kind: Kind::Flag,
        doc: "The SYN carries data already (TCP Fast Open, RFC 7413).",
    },
];

static FILTERS: &[FieldFilter] = &[FieldFilter {
    value: "OUTCOME",
    compare: Compare::Name {
        known: || Ending::ALL.map(Ending::name).to_vec(),
        most: None,
        prefix: "",
    },
    ..FieldFilter::glob("outcome", "How it ended, e.g. refused or '!established'", &["outcome"])
}];

impl Protocol for Connect {
    fn name(&self) -> &'static str {
        "connect"
    }

    fn about(&self) -> &'static str {
        "TCP connections that are opened, how that ends and how long it takes"
    }

    fn fields(&self) -> &'static [Field] {
        FIELDS
    }

    fn filters(&self) -> &'static [FieldFilter] {
        FILTERS
    }

    fn interest(&self, _: Switches) -> Interest {
        Interest { opening: true, ..Interest::NONE }
    }

    fn decode<'a>(&'static self, packet: &Packet<'a>, _: Switches) -> Option<Request<'a>> {
        let segment = transport::tcp(packet)?;
        if segment.flags & (flag::SYN | flag::ACK | flag::RST | flag::FIN) != flag::SYN {
            return None;
        }
        let mut request = Request::new(self);
        if segment.len.is_some_and(|len| len > 0) {
            request.set("fast_open", Value::Flag(true));
        }
        Some(request)
    }

    fn awaits_outcome(&self) -> bool {
        true
    }

    fn conclude(&self, request: &mut Request<'_>, outcome: &Outcome) {
        if let Some(ending) = outcome.ending {
            request.set("outcome", Value::Name(ending.name()));
        }
        if let Some(ns) = outcome.after {
            request.set("took_us", Value::Number(ns / NS_PER_US));
        }
        if outcome.attempts > 1 {
            request.set("syns", Value::Number(outcome.attempts.into()));
        }
    }

    fn describe(&self, request: &Request<'_>, out: &mut dyn fmt::Write) -> fmt::Result {
        match request.name("outcome") {
            Some(outcome) => out.write_str(outcome)?,
            None => out.write_str("no answer yet")?,
        }
        if let Some(us) = request.number("took_us") {
            let by = if request.name("outcome") == Some(Ending::Established.name()) {
                "in"
            } else {
                "after"
            };
            write!(out, " {by} ")?;
            time(us, out)?;
        }
        if let Some(syns) = request.number("syns") {
            write!(out, " and {syns} SYNs")?;
        }
        if request.get("fast_open").is_some() {
            out.write_str(" fast-open")?;
        }
        Ok(())
    }
}

/// Three or more digits that count: `87 us`, `1.234 ms`, `127.4 s`.
fn time(us: u64, out: &mut dyn fmt::Write) -> fmt::Result {
    match us {
        0..1_000 => write!(out, "{us} us"),
        1_000..1_000_000 => write!(out, "{}.{:03} ms", us / 1_000, us % 1_000),
        _ => write!(out, "{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
    }
}
