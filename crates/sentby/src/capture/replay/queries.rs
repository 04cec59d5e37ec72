//! DNS queries in a file, so that only answers to them name destinations.

use crate::enrich::Lru;
use crate::event::Ends;
use wire::transport::Datagram;

/// Queries that wait for their answers at the same time.
const QUERIES_MAX: usize = 4096;

/// The port of DNS.
const PORT: u16 = 53;

/// Queries by their ends and id.
pub struct Queries {
    waiting: Lru<(Ends, [u8; 2]), ()>,
}

impl Queries {
    /// None yet.
    pub fn new() -> Queries {
        Queries { waiting: Lru::new(QUERIES_MAX) }
    }

    /// Whether a datagram answers a query that was seen before.
    pub fn answered(&mut self, ends: Ends, datagram: &Datagram<'_>) -> bool {
        if datagram.dport != PORT && datagram.sport != PORT {
            return false;
        }
        let Some(id) = datagram.payload.first_chunk::<2>() else { return false };
        if datagram.dport == PORT {
            self.waiting.insert((ends, *id), ());
        }
        let (src, dst) = (ends.dst, ends.src);
        let ports = ends.ports.map(|(sport, dport)| (dport, sport));
        datagram.sport == PORT && self.waiting.remove(&(Ends { src, dst, ports }, *id)).is_some()
    }
}
