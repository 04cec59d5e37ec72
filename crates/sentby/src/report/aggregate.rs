//! What a report counts while events pass: bounded, whatever comes.

use super::bins::Bins;
use super::encode;
use super::kept::{self, Events};
use super::parties::{self, Level, Parties, Tally};
use crate::event::{Event, Evidence};
use crate::ledger::Ledger;
use crate::output::Output;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io;
use std::net::IpAddr;

/// Pairs of sender and destination, by protocol, that are counted apart.
pub const MAX_FLOWS: usize = 50_000;

/// Bytes of a name by which destinations are told apart.
const MAX_NAME: usize = 255;

/// What a row of senders stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Sender {
    /// A process, while it ran one program.
    Process {
        pid: u32,
        start: u64,
        exe: Option<Vec<u8>>,
    },
    /// Processes of one program and user.
    Program {
        comm: Option<Vec<u8>>,
        exe: Option<Vec<u8>>,
        uid: Option<u32>,
    },
    /// Processes that may all have sent it.
    Candidates(Vec<u32>),
    /// No process: which evidence, and which part of the kernel.
    Nobody(Evidence, Option<&'static str>),
    Rest,
}

/// What a row of destinations stands for.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Destination {
    Address(IpAddr, Option<Vec<u8>>),
    /// Its first three bytes, or six.
    Network([u8; 6]),
    Rest,
}

/// Everything that the page tells.
pub struct Aggregate {
    /// Names of the protocols, in the order of all counts by protocol.
    pub protocols: Vec<&'static str>,
    /// Events over time.
    pub bins: Bins,
    /// By machine, where events of several come together.
    senders: Parties<(Option<String>, Sender)>,
    destinations: Parties<Destination>,
    flows: HashMap<(u32, u32, usize), Tally>,
    /// Flows for which there was no room, taken together.
    folded: Tally,
    evidence: [u64; Evidence::ALL.len()],
    /// All events.
    pub total: Tally,
    /// Those that are here in full.
    pub events: Events,
    /// Where every capture went, once the run is over.
    pub ledger: Ledger,
}

impl Aggregate {
    /// Nothing yet.
    pub fn new(protocols: Vec<&'static str>) -> Aggregate {
        let room = (parties::MAX_EXACT, parties::MAX_COARSE);
        Aggregate {
            bins: Bins::new(protocols.len()),
            protocols,
            senders: Parties::new(room),
            destinations: Parties::new(room),
            flows: HashMap::new(),
            folded: Tally::default(),
            evidence: [0; Evidence::ALL.len()],
            total: Tally::default(),
            events: Events::new((kept::MAX_EVENTS, kept::MAX_BYTES)),
            ledger: Ledger::default(),
        }
    }

    fn add(&mut self, event: &Event<'_>) -> io::Result<()> {
        let (time, bytes) = (event.capture.time, event.len);
        let name = event.request.protocol.name();
        let Some(protocol) = self.protocols.iter().position(|p| *p == name) else { return Ok(()) };
        self.total.add(time, bytes);
        self.bins.add(time, protocol);
        if let Some(at) = Evidence::ALL.iter().position(|e| *e == event.evidence) {
            self.evidence[at] += 1;
        }
        let from = self.sender(event);
        let to = self.destination(event);
        self.senders.rows[from as usize].tally.add(time, bytes);
        let destination = &mut self.destinations.rows[to as usize];
        destination.tally.add(time, bytes);
        event.dport.into_iter().for_each(|port| destination.port(port));
        let flow = self.flow((from, to, protocol));
        let nth = flow.count;
        flow.add(time, bytes);
        if self.events.wants(nth) {
            self.events.keep(nth, encode::event(event)?);
        }
        Ok(())
    }

    fn flow(&mut self, key: (u32, u32, usize)) -> &mut Tally {
        if self.flows.len() >= MAX_FLOWS && !self.flows.contains_key(&key) {
            return &mut self.folded;
        }
        self.flows.entry(key).or_default()
    }

    fn sender(&mut self, event: &Event<'_>) -> u32 {
        let exe = event.process.and_then(|p| p.exe.clone());
        let exact = match event.key {
            Some(key) => Sender::Process { pid: key.pid, start: key.start_ticks, exe: exe.clone() },
            None if !event.candidates.is_empty() => {
                Sender::Candidates(event.candidates.iter().map(|c| c.key.pid).collect())
            }
            None => Sender::Nobody(event.evidence, event.kernel_part()),
        };
        let comm = event.process.and_then(|p| p.comm.as_deref()).or(event.comm);
        let program = || Sender::Program { comm: comm.map(<[u8]>::to_vec), exe, uid: event.uid };
        let on = |sender| (event.host.map(str::to_owned), sender);
        let (exact, program) = (on(exact), || on(program()));
        self.senders.place(exact, program, (None, Sender::Rest), |level| match level {
            Level::Exact => encode::only(event, OF_SENDER_ROW),
            Level::Coarse => encode::only(event, OF_PROGRAM_ROW),
            Level::Rest => Map::new(),
        })
    }

    fn destination(&mut self, event: &Event<'_>) -> u32 {
        let name = event.dst_name.map(|n| n.name[..n.name.len().min(MAX_NAME)].to_vec());
        let exact = Destination::Address(event.dst, name);
        let network = || Destination::Network(network(event.dst));
        self.destinations.place(exact, network, Destination::Rest, |level| match level {
            Level::Exact => encode::only(event, &["dst", "dst_name", "dst_name_from"]),
            Level::Coarse => network_about(event.dst),
            Level::Rest => Map::new(),
        })
    }

    /// Senders, as the page takes them.
    pub fn senders(&self) -> Vec<Value> {
        self.senders.rows.iter().map(parties::Row::json).collect()
    }

    /// Destinations, as the page takes them.
    pub fn destinations(&self) -> Vec<Value> {
        self.destinations.rows.iter().map(parties::Row::json).collect()
    }

    /// Flows, in the order of senders: `[sender, destination, protocol, events, bytes]`.
    pub fn flows(&self) -> Vec<Value> {
        let mut all: Vec<_> = self.flows.iter().collect();
        all.sort_unstable_by_key(|(key, _)| **key);
        let row = |((from, to, protocol), tally): (&(u32, u32, usize), &Tally)| {
            json!([from, to, protocol, tally.count, tally.bytes])
        };
        all.into_iter().map(row).collect()
    }

    /// Events by evidence, those that there are, with what it means.
    pub fn evidence(&self) -> Vec<Value> {
        let all = Evidence::ALL.iter().zip(self.evidence).filter(|(_, n)| *n > 0);
        all.map(|(e, n)| json!({"name": e.name(), "meaning": e.meaning(), "n": n})).collect()
    }

    /// What of the tables had no room.
    pub fn limits(&self) -> Value {
        let of = |rows: &[parties::Row]| {
            let of = |level| {
                let rows = rows.iter().filter(move |r| r.level == level);
                rows.map(|r| r.tally.count).sum::<u64>()
            };
            json!({"several": of(Level::Coarse), "rest": of(Level::Rest)})
        };
        let (first, every) = self.events.rule();
        json!({
            "rows": parties::MAX_EXACT,
            "flows": MAX_FLOWS,
            "events": kept::MAX_EVENTS,
            "senders": of(&self.senders.rows),
            "destinations": of(&self.destinations.rows),
            "folded": self.folded.count,
            "kept": self.events.all().len(),
            "first": first,
            "every": every,
            "closed": self.events.closed(),
        })
    }
}

/// What a row says of a process.
const OF_SENDER_ROW: &[&str] = &[
    "host",
    "evidence",
    "kernel_part",
    "pid",
    "start",
    "ppid",
    "ancestors",
    "ancestor_pids",
    "candidates",
    "comm",
    "process_comm",
    "exe",
    "cmdline",
    "cmdline_truncated",
    "uid",
    "user",
    "unit",
    "container",
    "container_name",
    "container_image",
    "pod",
    "pod_namespace",
    "cgroup",
];

/// What a row says of a program.
const OF_PROGRAM_ROW: &[&str] = &["host", "evidence", "comm", "process_comm", "exe", "uid", "user"];

/// The network that stands for an address: /24 or /48.
fn network(address: IpAddr) -> [u8; 6] {
    match address {
        IpAddr::V4(a) => [a.octets()[0], a.octets()[1], a.octets()[2], 0, 0, 4],
        IpAddr::V6(a) => std::array::from_fn(|i| a.octets()[i]),
    }
}

fn network_about(address: IpAddr) -> Map<String, Value> {
    let bits = if address.is_ipv4() { 24 } else { 48 };
    let net = ipnet::IpNet::new(address, bits).map(|n| n.trunc().to_string()).unwrap_or_default();
    Map::from_iter([("dst".to_owned(), Value::from(net))])
}

impl Output for &mut Aggregate {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.add(event)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;

    fn aggregate() -> Aggregate {
        Aggregate::new(vec!["other", "probe"])
    }

    #[test]
    fn every_event_is_in_every_count() {
        let mut all = aggregate();
        for sample in [Sample::ping(), Sample::unknown(), Sample::hostile(), Sample::ping()] {
            (&mut all).event(&sample.event()).unwrap();
        }
        let sum = |rows: Vec<Value>| rows.iter().map(|r| r["n"].as_u64().unwrap()).sum::<u64>();
        assert_eq!(all.total.count, 4);
        assert_eq!((sum(all.senders()), sum(all.destinations()), sum(all.evidence())), (4, 4, 4));
        let flows = all.flows();
        assert_eq!(flows.iter().map(|f| f[3].as_u64().unwrap()).sum::<u64>(), 4);
        assert!(flows.iter().all(|f| f[2] == 1), "the second of the protocols");
        assert_eq!(all.bins.rows().map(|(_, n)| n[1]).sum::<u64>(), 4);
        assert_eq!(all.events.all().len(), 4);
    }

    #[test]
    fn a_process_is_pid_and_start_and_program() {
        let mut all = aggregate();
        let mut other = Sample::ping();
        other.process.as_mut().unwrap().exe = Some(b"/usr/bin/other".to_vec());
        for sample in [Sample::ping(), Sample::ping(), other] {
            (&mut all).event(&sample.event()).unwrap();
        }
        let rows = all.senders();
        assert_eq!(rows.len(), 2);
        assert_eq!(
            (&rows[0]["pid"], &rows[0]["n"], &rows[0]["bytes"]),
            (&json!(4711), &json!(2), &json!(168))
        );
        assert_eq!(rows[1]["exe"], "/usr/bin/other");
    }

    #[test]
    fn flows_beyond_the_room_are_counted_together() {
        let mut all = aggregate();
        for n in 0..MAX_FLOWS as u32 {
            all.flow((n, 0, 1)).count += 1;
        }
        (&mut all).event(&Sample::ping().event()).unwrap();
        all.flow((1, 0, 1)).count += 1;
        // The ping's own place, (0, 0, 1), is taken by the first of them.
        assert_eq!(all.limits()["folded"], 0);
        all.flow((0, 77, 0)).count += 1;
        assert_eq!(all.limits()["folded"], 1);
    }
}
