//! An event as it is kept: what repeats is shared, the rest owned by a batch.

use crate::event::Event;
use crate::output::stored;
use std::collections::HashMap;
use std::collections::hash_map::{DefaultHasher, Entry};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// Most senders, and most destinations, that are known by heart. Beyond it all are
/// forgotten, and found again in the database.
const MAX_KNOWN: usize = 65_536;

/// What is known about a sender.
#[derive(Debug, Default)]
pub struct Who {
    pub pid: Option<u32>,
    /// Nanoseconds since the Unix epoch.
    pub start: Option<u64>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub comm: Option<Vec<u8>>,
    pub exe: Option<Vec<u8>>,
    pub unit: Option<String>,
    pub container: Option<String>,
    /// All of it, as JSON.
    pub facts: Vec<u8>,
    /// Where it is in the database, and since when that holds: see [`super::insert`].
    pub place: AtomicU64,
}

/// Where something goes.
#[derive(Debug)]
pub struct Destination {
    pub address: IpAddr,
    pub port: Option<u16>,
    pub name: Option<(Vec<u8>, String)>,
    /// As [`Who::place`].
    pub place: AtomicU64,
}

/// An event.
#[derive(Debug)]
pub struct Row {
    pub time: u64,
    pub proto: &'static str,
    pub who: Option<Arc<Who>>,
    pub destination: Arc<Destination>,
    pub src: IpAddr,
    pub sport: Option<u16>,
    pub tid: Option<u32>,
    pub evidence: &'static str,
    pub hook: &'static str,
    pub netns: Option<u32>,
    pub iface: Option<[u8; 16]>,
    pub socket: Option<u64>,
    pub shared: bool,
    pub len: Option<u32>,
    pub fields: Range<usize>,
    pub more: Option<Range<usize>>,
    pub packet: Option<Range<usize>>,
}

/// Some events, with the bytes that they refer to.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    pub bytes: Vec<u8>,
}

/// Makes rows of events.
pub struct Rowing {
    packets: bool,
    senders: HashMap<u64, (Sender, Arc<Who>)>,
    destinations: HashMap<u64, Arc<Destination>>,
}

/// What tells senders apart without a look at what is known about them.
#[derive(PartialEq, Eq, Hash)]
struct Sender {
    facts: Option<u64>,
    pid: Option<u32>,
    start: u64,
    uid: Option<u32>,
    comm: Option<Vec<u8>>,
    user: Option<String>,
    host: Option<String>,
}

impl Rowing {
    /// With or without the packets themselves.
    pub fn new(packets: bool) -> Rowing {
        Rowing { packets, senders: HashMap::new(), destinations: HashMap::new() }
    }

    /// Adds an event.
    pub fn push(&mut self, event: &Event<'_>, to: &mut Rows) -> io::Result<()> {
        let who = self.who(event)?;
        let destination = self.destination(event);
        let bytes = &mut to.bytes;
        let from = bytes.len();
        stored::request(event, bytes)?;
        let fields = from..bytes.len();
        let more = stored::more(event, bytes)?.then_some(fields.end..bytes.len());
        let from = bytes.len();
        let packet = self.packets.then(|| {
            stored::packet(event, bytes);
            from..bytes.len()
        });
        let capture = event.capture;
        to.rows.push(Row {
            time: capture.time,
            proto: event.request.protocol.name(),
            who,
            destination,
            src: event.src,
            sport: event.sport,
            tid: event.tid,
            evidence: event.evidence.name(),
            hook: capture.hook,
            netns: capture.netns,
            iface: capture.iface.map(|iface| iface.name),
            socket: capture.socket_inode,
            shared: capture.shared,
            len: event.len,
            fields,
            more,
            packet,
        });
        Ok(())
    }

    fn who(&mut self, event: &Event<'_>) -> io::Result<Option<Arc<Who>>> {
        let nobody = event.key.is_none() && event.comm.is_none() && event.uid.is_none();
        if nobody && event.host.is_none() {
            return Ok(None);
        }
        let mut hasher = DefaultHasher::new();
        (event.key, event.uid, event.comm, event.user, event.host).hash(&mut hasher);
        if self.senders.len() >= MAX_KNOWN {
            self.senders.clear();
        }
        let slot = self.senders.entry(hasher.finish());
        if let Entry::Occupied(known) = &slot
            && known.get().0.is_of(event)
        {
            return Ok(Some(known.get().1.clone()));
        }
        let mut who = Arc::new(who(event)?);
        // Facts were told again, and are the same.
        if let Entry::Occupied(known) = &slot
            && known.get().1.facts == who.facts
        {
            who = known.get().1.clone();
        }
        slot.insert_entry((Sender::of(event), who.clone()));
        Ok(Some(who))
    }

    fn destination(&mut self, event: &Event<'_>) -> Arc<Destination> {
        let name = event.dst_name.map(|n| (n.name, n.source));
        let mut hasher = DefaultHasher::new();
        (event.dst, event.dport, name).hash(&mut hasher);
        if self.destinations.len() >= MAX_KNOWN {
            self.destinations.clear();
        }
        let slot = self.destinations.entry(hasher.finish());
        if let Entry::Occupied(known) = &slot {
            let known = known.get();
            let called = known.name.as_ref().map(|(name, from)| (&name[..], &from[..]));
            if (known.address, known.port, called) == (event.dst, event.dport, name) {
                return known.clone();
            }
        }
        let destination = Arc::new(Destination {
            address: event.dst,
            port: event.dport,
            name: name.map(|(name, from)| (name.to_vec(), from.to_owned())),
            place: AtomicU64::new(0),
        });
        slot.insert_entry(destination.clone());
        destination
    }
}

impl Sender {
    fn of(event: &Event<'_>) -> Sender {
        Sender {
            facts: event.facts,
            pid: event.key.map(|k| k.pid),
            start: event.key.map(|k| k.start_ticks).unwrap_or_default(),
            uid: event.uid,
            comm: event.comm.map(<[u8]>::to_vec),
            user: event.user.map(str::to_owned),
            host: event.host.map(str::to_owned),
        }
    }

    fn is_of(&self, event: &Event<'_>) -> bool {
        // Where the facts have no number, nothing tells whether they are the same.
        (self.facts.is_some() || event.process.is_none())
            && self.facts == event.facts
            && self.pid == event.key.map(|k| k.pid)
            && self.start == event.key.map(|k| k.start_ticks).unwrap_or_default()
            && self.uid == event.uid
            && self.comm.as_deref() == event.comm
            && self.user.as_deref() == event.user
            && self.host.as_deref() == event.host
    }
}

fn who(event: &Event<'_>) -> io::Result<Who> {
    let mut facts = Vec::new();
    stored::process(event, &mut facts)?;
    Ok(Who {
        pid: event.key.map(|k| k.pid),
        start: event.process.and_then(|p| p.start),
        uid: event.uid,
        user: event.user.map(str::to_owned),
        comm: event.comm.map(<[u8]>::to_vec),
        exe: event.process.and_then(|p| p.exe.clone()),
        unit: event.unit.map(str::to_owned),
        container: event.container.map(str::to_owned),
        facts,
        place: AtomicU64::new(0),
    })
}
