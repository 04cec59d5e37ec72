//! Filter expressions as tcpdump has them (pcap-filter(7)), over events: a subset, which
//! docs/filters.md tells.
//!
//! Decided in user space, on what outputs show. What is plainly about source or
//! destination networks is lowered into the plan as well.
//!
//! Deliberately absent: names of hosts, networks and ports, which would have to be looked
//! up; links and what their headers hold (`ether`, `vlan`); bytes of packets
//! (`tcp[13] & 2`). libpcap's own compiler would bring a C parser into a program that
//! runs as root, and makes programs for packets, where these are events.

mod lower;
mod parse;
mod words;

use crate::event::Event;
use ipnet::IpNet;
use std::ops::RangeInclusive;

/// An expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    root: Node,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Test(Test),
    Not(Box<Node>),
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
}

/// What one primitive asks.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Net(Side, IpNet),
    /// The port, and of which IP protocol if that matters.
    Port(Side, Option<u8>, RangeInclusive<u16>),
    /// The IP protocol; of IPv4 (4) or IPv6 (6) if that matters.
    Protocol(u8, Option<u8>),
    /// IPv4 (4) or IPv6 (6).
    Family(u8),
    /// Length in bytes, from the IP header on: at least, or at most.
    Greater(u32),
    Less(u32),
}

/// Which side of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Src,
    Dst,
    Either,
    Both,
}

impl Expression {
    /// Reads an expression. The error is one line, and names the column.
    pub fn new(text: &str) -> anyhow::Result<Expression> {
        parse::parse(text).map(|root| Expression { root })
    }

    /// Whether an event is one of those.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.root.matches(event)
    }
}

impl Node {
    fn matches(&self, event: &Event<'_>) -> bool {
        match self {
            Node::Test(test) => test.matches(event),
            Node::Not(node) => !node.matches(event),
            Node::And(a, b) => a.matches(event) && b.matches(event),
            Node::Or(a, b) => a.matches(event) || b.matches(event),
        }
    }
}

impl Test {
    fn matches(&self, event: &Event<'_>) -> bool {
        let family = |event: &Event<'_>| if event.dst.is_ipv4() { 4 } else { 6 };
        match self {
            Test::Net(side, net) => side.is(net.contains(&event.src), net.contains(&event.dst)),
            Test::Port(side, protocol, range) => {
                let is = |port: Option<u16>| port.is_some_and(|port| range.contains(&port));
                side.is(is(event.sport), is(event.dport))
                    && protocol.is_none_or(|p| event.ip_protocol() == Some(p))
            }
            Test::Protocol(number, of) => {
                of.is_none_or(|of| of == family(event)) && event.ip_protocol() == Some(*number)
            }
            Test::Family(version) => *version == family(event),
            Test::Greater(n) => event.len.is_some_and(|len| len >= *n),
            Test::Less(n) => event.len.is_some_and(|len| len <= *n),
        }
    }
}

impl Side {
    fn is(self, src: bool, dst: bool) -> bool {
        match self {
            Side::Src => src,
            Side::Dst => dst,
            Side::Either => src || dst,
            Side::Both => src && dst,
        }
    }
}

#[cfg(test)]
mod tests;
