//! Events that outlive the moment: what a queue between threads holds.

use crate::enrich::{ContainerInfo, GoBuild, Lru};
use crate::event::{Candidate, Capture, DstName, Event, Evidence, Process, ProcessKey, Raw};
use std::net::IpAddr;
use std::sync::Arc;
use wire::Request;

/// Processes whose facts are kept to be shared by their events.
const MAX_KNOWN: usize = 4096;

/// Facts of different enrichers have numbers of their own: this many bits tell them apart.
const ENRICHER_SHIFT: u32 = 48;

/// What events with the same facts share.
#[derive(Debug)]
struct Known {
    process: Option<Process>,
    unit: Option<String>,
    container: Option<String>,
}

/// The bytes of a request.
#[derive(Debug)]
enum Bytes {
    Packet(Vec<u8>),
    Payload { protocol: u8, seq: u32, bytes: Vec<u8>, whole: u64 },
}

/// An event that owns what it says.
#[derive(Debug)]
pub struct Owned {
    capture: Capture,
    evidence: Evidence,
    key: Option<ProcessKey>,
    tid: Option<u32>,
    comm: Option<Vec<u8>>,
    uid: Option<u32>,
    user: Option<String>,
    known: Arc<Known>,
    facts: Option<u64>,
    candidates: Vec<Candidate>,
    go: Option<GoBuild>,
    ends: (IpAddr, IpAddr),
    ports: (Option<u16>, Option<u16>),
    dst_name: Option<(Vec<u8>, String)>,
    request: Request<'static>,
    len: Option<u32>,
    raw: Bytes,
    outcome: Option<wire::Outcome>,
    sampled: Option<u32>,
}

/// Makes events own what they say; what is known about a process is shared.
pub struct Owning {
    known: Lru<u64, Arc<Known>>,
    enricher: u64,
}

impl Owning {
    /// Nothing is known yet.
    pub fn new() -> Owning {
        Owning { known: Lru::new(MAX_KNOWN), enricher: 0 }
    }

    /// Another enricher follows: its numbers begin anew.
    pub fn next_enricher(&mut self) {
        self.enricher += 1;
    }

    /// The event with all that it refers to.
    pub fn own(&mut self, event: &Event<'_>) -> Owned {
        let facts = event.facts.map(|facts| facts | self.enricher << ENRICHER_SHIFT);
        Owned {
            capture: event.capture.clone(),
            evidence: event.evidence,
            key: event.key,
            tid: event.tid,
            comm: event.comm.map(<[u8]>::to_vec),
            uid: event.uid,
            user: event.user.map(str::to_owned),
            known: self.known(event, facts),
            facts,
            candidates: event.candidates.to_vec(),
            go: event.go.cloned(),
            ends: (event.src, event.dst),
            ports: (event.sport, event.dport),
            dst_name: event.dst_name.map(|n| (n.name.to_vec(), n.source.to_owned())),
            request: event.request.to_static(),
            len: event.len,
            raw: match event.raw {
                Raw::Packet(bytes) => Bytes::Packet(bytes.to_vec()),
                Raw::Payload { protocol, seq, bytes, whole } => {
                    Bytes::Payload { protocol, seq, bytes: bytes.to_vec(), whole }
                }
            },
            outcome: event.outcome,
            sampled: event.sampled,
        }
    }

    fn known(&mut self, event: &Event<'_>, facts: Option<u64>) -> Arc<Known> {
        if let Some(known) = facts.and_then(|facts| self.known.get_mut(&facts)) {
            return known.clone();
        }
        let known = Arc::new(Known {
            process: event.process.cloned(),
            unit: event.unit.map(str::to_owned),
            container: event.container.map(str::to_owned),
        });
        if let Some(facts) = facts {
            self.known.insert(facts, known.clone());
        }
        known
    }
}

impl Owned {
    /// Adds what its container is called, which was told since.
    pub fn name(&mut self, container: Arc<ContainerInfo>) {
        let process = self.known.process.clone().unwrap_or_default();
        self.known = Arc::new(Known {
            process: Some(Process { container: Some(container), ..process }),
            unit: self.known.unit.clone(),
            container: self.known.container.clone(),
        });
        // It is no more what the number stands for.
        self.facts = None;
    }

    /// The event as outputs take it.
    pub fn event(&self) -> Event<'_> {
        Event {
            host: self.capture.recorded.as_deref().and_then(|r| r.host.as_deref()),
            sampled: self.sampled,
            capture: &self.capture,
            evidence: self.evidence,
            key: self.key,
            tid: self.tid,
            comm: self.comm.as_deref(),
            uid: self.uid,
            user: self.user.as_deref(),
            process: self.known.process.as_ref(),
            facts: self.facts,
            unit: self.known.unit.as_deref(),
            container: self.known.container.as_deref(),
            candidates: &self.candidates,
            go: self.go.as_ref(),
            src: self.ends.0,
            dst: self.ends.1,
            sport: self.ports.0,
            dport: self.ports.1,
            dst_name: self.dst_name.as_ref().map(|(name, source)| DstName { name, source }),
            request: &self.request,
            len: self.len,
            raw: match &self.raw {
                Bytes::Packet(bytes) => Raw::Packet(bytes),
                Bytes::Payload { protocol, seq, bytes, whole } => {
                    Raw::Payload { protocol: *protocol, seq: *seq, bytes, whole: *whole }
                }
            },
            outcome: self.outcome,
        }
    }

    /// About how many bytes of memory it takes, without what it shares.
    pub fn size(&self) -> usize {
        let raw = match &self.raw {
            Bytes::Packet(bytes) | Bytes::Payload { bytes, .. } => bytes.len(),
        };
        // What is decoded is no longer than the bytes that it was decoded from, but for the
        // allocations around it.
        size_of::<Owned>() + 512 + 2 * raw
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;
    use crate::output::json::write_whole;

    fn json(event: &Event<'_>) -> String {
        let mut line = Vec::new();
        write_whole(event, &mut line).unwrap();
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn an_owned_event_says_what_the_event_said() {
        let mut owning = Owning::new();
        for sample in [Sample::ping(), Sample::unknown(), Sample::hostile()] {
            let event = sample.event();
            let owned = owning.own(&event);
            let event = Event { host: None, ..event };
            assert_eq!(json(&owned.event()), json(&event));
            assert_eq!(owned.event().raw, event.raw);
        }
    }

    #[test]
    fn facts_are_shared_within_one_enricher_and_not_taken_for_anothers() {
        let (mut owning, sample) = (Owning::new(), Sample::ping());
        let mut other = Sample::ping();
        other.process.as_mut().unwrap().exe = Some(b"/usr/bin/other".to_vec());
        let of = |owning: &mut Owning, sample: &Sample| {
            let mut event = sample.event();
            event.facts = Some(1);
            owning.own(&event)
        };
        let (first, again) = (of(&mut owning, &sample), of(&mut owning, &sample));
        assert!(Arc::ptr_eq(&first.known, &again.known));
        owning.next_enricher();
        let next = of(&mut owning, &other);
        assert_eq!(json(&next.event()), json(&other.event()));
        assert_ne!(next.facts, first.facts);
    }
}
