//! Which probes a plan needs, by the layout of this kernel: a pure function.

use super::layout::{Layout, key};
use super::path::Path;
use super::{FUNCTION4, FUNCTION6, PACKETS};
use crate::plan::Plan;
use std::fmt::Write;
use wire::transport::{TCP, UDP};

/// Words fetched of a packet that is wanted for itself: the longest IPv4 header, or
/// IPv6's with extension headers, and what the decoders look at behind it.
const PACKET_WORDS: u16 = 12;

/// Words fetched where what UDP carries is wanted: most queries are shorter.
const DATAGRAM_WORDS: u16 = 40;

/// IPv6 extension headers (RFC 8200), behind which anything may be.
const EXTENSIONS: [u8; 5] = [0, 43, 44, 51, 60];

/// SYN, alone or with the bits that ask for ECN (RFC 3168).
const SYNS: [u8; 2] = [0x02, 0xc2];

/// One IP version's probe.
struct Version {
    event: &'static str,
    function: &'static str,
    keys: [&'static str; 5],
    /// Where the header says what is carried.
    protocol_at: u16,
    /// Where the control bits of TCP are behind a plain header.
    syn_at: u16,
    /// The first byte of a header that is plain.
    plain: (u8, u8),
    extensions: &'static [u8],
}

static VERSIONS: [Version; 2] = [
    Version {
        event: "ip4",
        function: FUNCTION4,
        keys: [key::DATA4, key::SOCK4, key::LEN4, key::DEV4, key::NETNS4],
        protocol_at: 9,
        syn_at: 33,
        plain: (0x45, 0x45),
        extensions: &[],
    },
    Version {
        event: "ip6",
        function: FUNCTION6,
        keys: [key::DATA6, key::SOCK6, key::LEN6, key::DEV6, key::NETNS6],
        protocol_at: 6,
        syn_at: 53,
        plain: (0x60, 0x6f),
        extensions: &EXTENSIONS,
    },
];

/// A probe to define.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spec {
    /// The hook that it is part of.
    pub hook: &'static str,
    /// Its event's name.
    pub event: &'static str,
    /// The function it stands at.
    pub function: &'static str,
    /// What is fetched, in ftrace's words. The bytes of the packet are `d0`, `d1`, …
    pub arguments: String,
    /// How many words of the packet.
    pub words: u16,
    /// What the kernel is to drop at once.
    pub filter: String,
    /// What its records are.
    pub shape: Shape,
}

/// What a probe's records are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A packet.
    Packet,
    /// What is sent over a TCP socket.
    Send,
}

/// The probes for whole packets, datagrams and openings; none where none is wanted.
pub fn packets(layout: &Layout, plan: &Plan) -> Vec<Spec> {
    let datagrams = !plan.datagrams.is_empty();
    if plan.ip_protocols.is_empty() && !datagrams && !plan.openings {
        return Vec::new();
    }
    let words = if datagrams { DATAGRAM_WORDS } else { PACKET_WORDS };
    VERSIONS.iter().filter_map(|version| version.spec(layout, plan, words)).collect()
}

impl Version {
    fn spec(&self, layout: &Layout, plan: &Plan, words: u16) -> Option<Spec> {
        let [data, sock, len, dev, netns] = self.keys.map(|key| layout.get(key));
        let data = data?;
        let mut arguments = String::new();
        for n in 0..words {
            let _ = write!(arguments, "d{n}={}:u64 ", data.then(8 * n));
        }
        let mut field = |name: &str, place: Option<Path>, kind: &str| {
            if let Some(place) = place {
                let _ = write!(arguments, "{name}={place}:{kind} ");
            }
        };
        field("proto", Some(data.then(self.protocol_at)), "u8");
        field("sock", sock.cloned(), "u64");
        field("len", len.cloned(), "u32");
        field("paged", len.map(|l| l.further(4)), "u32");
        field("if0", dev.cloned(), "u64");
        field("if1", dev.map(|d| d.further(8)), "u64");
        field("netns", netns.cloned(), "u32");
        if plan.openings {
            field("head", Some(data.then(0)), "u8");
            field("bits", Some(data.then(self.syn_at)), "u8");
        }
        let arguments = arguments.trim_end().to_owned();
        let (event, function) = (self.event, self.function);
        let (hook, filter, shape) = (PACKETS, self.filter(plan), Shape::Packet);
        Some(Spec { hook, event, function, arguments, words, filter, shape })
    }

    fn filter(&self, plan: &Plan) -> String {
        let mut numbers = plan.ip_protocols.clone();
        if !plan.datagrams.is_empty() {
            numbers.push(UDP);
        }
        numbers.extend(self.extensions);
        let mut terms: Vec<String> = numbers.iter().map(|n| format!("proto=={n}")).collect();
        if plan.openings {
            let (first, last) = self.plain;
            let bits = SYNS.map(|bits| format!("bits=={bits}")).join("||");
            terms.push(format!("(proto=={TCP}&&(head<{first}||head>{last}||{bits}))"));
        }
        terms.join("||")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::kprobe_events::sends;

    fn layout() -> Layout {
        Layout::parse(&super::super::layout::example()).unwrap()
    }

    #[test]
    fn nothing_wanted_is_nothing_probed() {
        assert_eq!(packets(&layout(), &Plan::default()), []);
        let plan = Plan { ip_protocols: vec![1], ..Plan::default() };
        assert_eq!(packets(&Layout::default(), &plan), []);
    }

    #[test]
    fn the_kernel_drops_other_protocols() {
        let plan = Plan { ip_protocols: vec![1, 58], ..Plan::default() };
        let specs = packets(&layout(), &plan);
        let filters: Vec<&str> = specs.iter().map(|s| s.filter.as_str()).collect();
        let six = "proto==1||proto==58||proto==0||proto==43||proto==44||proto==51||proto==60";
        assert_eq!(filters, ["proto==1||proto==58", six]);
    }

    #[test]
    fn openings_are_syns_of_whatever_header() {
        let plan = Plan { openings: true, ..Plan::default() };
        let specs = packets(&layout(), &plan);
        assert_eq!(specs[0].filter, "(proto==6&&(head<69||head>69||bits==2||bits==194))");
        assert!(specs[0].arguments.contains("bits=+33("), "{}", specs[0].arguments);
    }

    #[test]
    fn what_tcp_carries_has_a_probe_for_each_way_it_stands_there() {
        let filters: Vec<String> = sends::specs(&layout()).into_iter().map(|s| s.filter).collect();
        let half = "0xff00000000000000";
        assert_eq!(filters, [format!("place>={half}&&size>0"), format!("place<{half}&&size>0")]);
        assert_eq!(sends::specs(&Layout::default()), []);
    }

    /// ftrace's limits: 128 arguments (the rest is dropped silently), 63 characters each,
    /// and lines below 4096 bytes.
    #[test]
    fn definitions_keep_to_what_ftrace_reads() {
        let everything = Plan {
            ip_protocols: vec![1, 58],
            datagrams: vec![&[]],
            openings: true,
            ..Plan::default()
        };
        let all = packets(&layout(), &everything).into_iter().chain(sends::specs(&layout()));
        for spec in all {
            assert!(spec.arguments.split(' ').count() <= 128);
            assert!(spec.arguments.split(' ').all(|a| a.len() <= 63));
            assert!(spec.arguments.len() < 3900);
        }
    }
}
