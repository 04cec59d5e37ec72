//! ICMP (RFC 792) and ICMPv6 (RFC 4443).

use super::{Field, Interest, Protocol, Request};
use crate::packet::Packet;
use std::fmt;

/// ICMP and ICMPv6 messages.
pub struct Icmp;

impl Protocol for Icmp {
    fn name(&self) -> &'static str {
        "icmp"
    }

    fn about(&self) -> &'static str {
        "ICMP and ICMPv6: who is pinging, and whom"
    }

    fn fields(&self) -> &'static [Field] {
        &[]
    }

    fn interest(&self) -> Interest {
        Interest::IpProtocols(&[1, 58])
    }

    fn decode<'a>(&'static self, packet: &Packet<'a>) -> Option<Request<'a>> {
        matches!(packet.protocol, 1 | 58).then(|| Request::new(self))
    }

    fn describe(&self, _: &Request<'_>, _: &mut dyn fmt::Write) -> fmt::Result {
        Ok(())
    }

    fn kernel_part(&self, _: &Request<'_>) -> Option<&'static str> {
        None
    }
}
