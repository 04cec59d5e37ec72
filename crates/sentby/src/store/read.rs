//! A recording as a source: what is in it goes through the pipeline like what is captured,
//! with the senders that were known then.

use super::selection::{Question, Selection};
use super::sums::SLICE;
use crate::capture::replay::HOOK;
use crate::capture::replay::recorded::{self, Object};
use crate::capture::replay::senders::short;
use crate::capture::{Counts, Opened, Source};
use crate::enrich::{Lru, MAX_PROCESSES, container_of, unit_of};
use crate::event::{
    Batch, Capture, DstName, Ends, Event, Evidence, Iface, Item, NS_PER_TICK, Process, ProcessKey,
    Raw, Recorded, Stored, Task, Wanted,
};
use crate::ledger::HookCount;
use anyhow::{Context, Result};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, Statement};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use wire::{Layer, PROTOCOLS, Request};

/// Senders, and destinations, that are kept as they were read: some 1 kB each.
const MAX_KEPT: usize = 32_768;

/// A batch is handed on when it has so many items or bytes, or so many rows were looked at.
const BATCH_ITEMS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;
const BATCH_ROWS: usize = 65_536;

/// The columns of an event, in the order in which [`RecordSource::row`] takes them.
const COLUMNS: &str = "id, proto, process, destination, late, src, sport, tid, evidence, hook, \
                       netns, iface, socket, shared, len, fields, more, packet";

/// Opens a recording as `replay` does: everything in it of these protocols.
pub fn open(path: &Path, protocols: Vec<&'static str>, done: Arc<AtomicU64>) -> Result<Opened> {
    let question = Question { protocols, ..Question::default() };
    let connection = super::open(path)?;
    let selection = Selection::new(&connection, &question)
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(source(connection, path, selection, Order::OldestFirst, done))
}

/// Which events come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were sent.
    OldestFirst,
    /// The other way round.
    NewestFirst,
}

/// A source of what was selected.
pub fn source(
    connection: Connection,
    path: &Path,
    selection: Selection,
    order: Order,
    done: Arc<AtomicU64>,
) -> Opened {
    let source = RecordSource::new(connection, path, selection, order, done);
    Opened { source: Box::new(source), hooks: vec![(HOOK, Vec::new())], notes: Vec::new() }
}

/// A sender as it was recorded.
#[derive(Clone, Debug)]
pub struct Sender {
    /// Its identity.
    pub key: Option<ProcessKey>,
    comm: Option<Vec<u8>>,
    uid: Option<u32>,
    user: Option<String>,
    process: Option<Process>,
    unit: Option<String>,
    container: Option<String>,
    /// The machine, where events of several come together.
    pub host: Option<String>,
    evidence: Evidence,
}

impl Sender {
    /// Nobody.
    pub fn nobody(evidence: Evidence) -> Sender {
        Sender {
            key: None,
            comm: None,
            uid: None,
            user: None,
            process: None,
            unit: None,
            container: None,
            host: None,
            evidence,
        }
    }

    fn of(facts: &[u8]) -> Sender {
        let json = serde_json::from_slice(facts).unwrap_or_default();
        let object = Object(&json);
        let start = object.time("start");
        let start_ticks = start.unwrap_or_default() / NS_PER_TICK;
        let key = object.number32("pid").map(|pid| ProcessKey { pid, start_ticks });
        let process = key.map(|_| recorded::process(&object, start));
        let cgroup = process.as_ref().and_then(|p| p.cgroup.clone());
        Sender {
            key,
            comm: object.text("comm"),
            uid: object.number32("uid"),
            user: object.name("user").map(str::to_owned),
            unit: cgroup.as_deref().and_then(unit_of),
            container: cgroup.as_deref().and_then(container_of),
            process,
            host: object.name("host").map(str::to_owned),
            evidence: Evidence::Task,
        }
    }

    /// Whether nobody is named: candidates may stand beside its events.
    pub fn is_nobody(&self) -> bool {
        self.key.is_none() && self.comm.is_none() && self.uid.is_none()
    }

    /// An event of which only the sender is known.
    pub fn with<T>(&self, look: impl FnOnce(&Event<'_>) -> T) -> T {
        flow(self, &Destination::nowhere(), self.evidence, PROTOCOLS[0].name(), look)
    }
}

/// Where nothing goes.
const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A destination as it was recorded.
#[derive(Clone, Debug)]
pub struct Destination {
    address: IpAddr,
    port: Option<u16>,
    name: Option<(Vec<u8>, String)>,
}

impl Destination {
    /// None that matters.
    pub fn nowhere() -> Destination {
        Destination { address: NOWHERE, port: None, name: None }
    }

    /// An event of which only the destination is known.
    pub fn with<T>(&self, look: impl FnOnce(&Event<'_>) -> T) -> T {
        flow(&Sender::nobody(Evidence::Unknown), self, Evidence::Unknown, PROTOCOLS[0].name(), look)
    }
}

/// Shows what all events between two have in common, as an event.
pub fn flow<T>(
    sender: &Sender,
    to: &Destination,
    evidence: Evidence,
    protocol: &str,
    look: impl FnOnce(&Event<'_>) -> T,
) -> T {
    let protocol = PROTOCOLS.iter().find(|p| p.name() == protocol).unwrap_or(&PROTOCOLS[0]);
    let request = Request::new(*protocol);
    let capture = blank(evidence);
    let named = to.name.as_ref().map(|(name, source)| DstName { name, source });
    look(&Event {
        host: sender.host.as_deref(),
        sampled: None,
        capture: &capture,
        evidence,
        key: sender.key,
        tid: None,
        comm: sender.comm.as_deref(),
        uid: sender.uid,
        user: sender.user.as_deref(),
        process: sender.process.as_ref(),
        facts: None,
        unit: sender.unit.as_deref(),
        container: sender.container.as_deref(),
        candidates: &[],
        go: None,
        src: NOWHERE,
        dst: to.address,
        sport: None,
        dport: to.port,
        dst_name: named,
        request: &request,
        len: None,
        raw: Raw::Packet(&[]),
        outcome: None,
    })
}

fn blank(evidence: Evidence) -> Capture {
    Capture {
        time: 0,
        hook: HOOK,
        evidence,
        task: None,
        socket_inode: None,
        outcome_follows: false,
        holders: None,
        shared: false,
        netns: None,
        iface: None,
        descends: None,
        wanted: Wanted::Packet,
        layer: Layer::Ip,
        bytes: 0..0,
        len: None,
        segment: None,
        recorded: None,
    }
}

/// Senders by number, read when they are asked for.
pub struct Senders<'c> {
    connection: &'c Connection,
    statement: Option<Statement<'c>>,
    kept: Lru<i64, Arc<Sender>>,
}

impl<'c> Senders<'c> {
    /// Those of a recording.
    pub fn new(connection: &'c Connection) -> Self {
        Senders { connection, statement: None, kept: Lru::new(MAX_KEPT) }
    }

    /// One of them.
    pub fn get(&mut self, id: i64) -> rusqlite::Result<Arc<Sender>> {
        let Senders { connection, statement, kept } = self;
        cached(kept, id, || sender(prepared(connection, statement, SENDER)?, id))
    }
}

/// Destinations by number, read when they are asked for.
pub struct Destinations<'c> {
    connection: &'c Connection,
    statement: Option<Statement<'c>>,
    kept: Lru<i64, Arc<Destination>>,
}

impl<'c> Destinations<'c> {
    /// Those of a recording.
    pub fn new(connection: &'c Connection) -> Self {
        Destinations { connection, statement: None, kept: Lru::new(MAX_KEPT) }
    }

    /// One of them.
    pub fn get(&mut self, id: i64) -> rusqlite::Result<Arc<Destination>> {
        let Destinations { connection, statement, kept } = self;
        cached(kept, id, || destination(prepared(connection, statement, DESTINATION)?, id))
    }
}

fn cached<T>(
    kept: &mut Lru<i64, Arc<T>>,
    id: i64,
    read: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<Arc<T>> {
    if let Some(known) = kept.get_mut(&id) {
        return Ok(known.clone());
    }
    let value = Arc::new(read()?);
    kept.insert(id, value.clone());
    Ok(value)
}

/// One of them, by number.
const SENDER: &str = "SELECT facts FROM processes WHERE id = ?1";
const DESTINATION: &str = "SELECT address, port, name, name_from FROM destinations WHERE id = ?1";

/// A statement that is asked for many of them.
fn prepared<'s, 'c>(
    connection: &'c Connection,
    statement: &'s mut Option<Statement<'c>>,
    sql: &str,
) -> rusqlite::Result<&'s mut Statement<'c>> {
    Ok(match statement {
        Some(statement) => statement,
        None => statement.insert(connection.prepare(sql)?),
    })
}

fn sender(statement: &mut Statement<'_>, id: i64) -> rusqlite::Result<Sender> {
    statement.query_row([id], |row| Ok(Sender::of(bytes(row.get_ref(0)?))))
}

fn destination(statement: &mut Statement<'_>, id: i64) -> rusqlite::Result<Destination> {
    statement.query_row([id], |row| {
        let name = row.get_ref(2)?;
        let from: Option<String> = row.get(3)?;
        Ok(Destination {
            address: address(bytes(row.get_ref(0)?)),
            port: row.get(1)?,
            name: from.map(|from| (bytes(name).to_vec(), from)),
        })
    })
}

fn bytes(value: ValueRef<'_>) -> &[u8] {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        _ => &[],
    }
}

fn address(text: &[u8]) -> IpAddr {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).unwrap_or(NOWHERE)
}

/// A recording being read.
pub struct RecordSource {
    connection: Connection,
    name: String,
    selection: Selection,
    order: Order,
    known: Known,
    seen: u64,
    /// How far it is, of [`Selection::length`].
    done: Arc<AtomicU64>,
    ended: bool,
}

/// What numbers stand for.
struct Known {
    words: HashMap<i64, Arc<[u8]>>,
    senders: Lru<i64, Arc<Sender>>,
    destinations: Lru<i64, Arc<Destination>>,
    /// Which row of senders the enricher knows of a process.
    told: Lru<ProcessKey, i64>,
}

impl RecordSource {
    fn new(
        connection: Connection,
        path: &Path,
        selection: Selection,
        order: Order,
        done: Arc<AtomicU64>,
    ) -> Self {
        RecordSource {
            connection,
            name: path.display().to_string(),
            selection,
            order,
            known: Known {
                words: HashMap::new(),
                senders: Lru::new(MAX_KEPT),
                destinations: Lru::new(MAX_KEPT),
                // Fewer than the enricher keeps, so that it has not forgotten what it was told.
                told: Lru::new(MAX_PROCESSES / 2),
            },
            seen: 0,
            done,
            ended: false,
        }
    }

    /// Reads on in a range; `None` when it is at its end, else where to go on.
    fn range(&mut self, (from, to): (i64, i64), batch: &mut Batch) -> Result<Option<i64>> {
        let newest_first = self.order == Order::NewestFirst;
        let order = if newest_first { "DESC" } else { "ASC" };
        let condition = self.selection.condition();
        // Where SQL leaves out rows, it may look at many before it hands one over.
        let (low, high) = match (condition.is_empty(), newest_first) {
            (true, _) => (from, to),
            (false, false) => (from, to.min(from.saturating_add(SLICE))),
            (false, true) => (from.max(to.saturating_sub(SLICE)), to),
        };
        let mut statement = self.connection.prepare(&format!(
            "SELECT {COLUMNS} FROM events WHERE id >= ?1 AND id < ?2{condition} ORDER BY id {order}"
        ))?;
        let mut rows = statement.query([low, high])?;
        let mut looked = 0;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            looked += 1;
            if matters(&self.selection, row)? {
                self.seen += 1;
                self.known.event(&self.connection, id, row, batch)?;
            }
            let full = batch.items.len() >= BATCH_ITEMS || batch.bytes.len() >= BATCH_BYTES;
            if full || looked >= BATCH_ROWS {
                return Ok(Some(id));
            }
        }
        Ok(match newest_first {
            false => (high < to).then_some(high - 1),
            true => (low > from).then_some(low),
        })
    }
}

/// Whether a row can be wanted: by its first columns alone.
fn matters(selection: &Selection, row: &Row<'_>) -> rusqlite::Result<bool> {
    if !selection.protos.contains(&row.get(1)?) {
        return Ok(false);
    }
    if let Some(destinations) = &selection.destinations
        && !destinations.contains(&row.get(3)?)
    {
        return Ok(false);
    }
    let Some(processes) = &selection.processes else { return Ok(true) };
    match row.get::<_, Option<i64>>(2)? {
        Some(process) => Ok(processes.contains(&process)),
        // One of its candidates may be wanted.
        None => Ok(selection.nobody || row.get_ref(16)? != ValueRef::Null),
    }
}

impl Known {
    fn word(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<Arc<[u8]>> {
        if let Some(word) = self.words.get(&id) {
            return Ok(word.clone());
        }
        if self.words.len() >= MAX_KEPT {
            self.words.clear();
        }
        let word: Arc<[u8]> =
            connection.query_row("SELECT word FROM words WHERE id = ?1", [id], |row| {
                Ok(bytes(row.get_ref(0)?).into())
            })?;
        self.words.insert(id, word.clone());
        Ok(word)
    }

    fn name(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<String> {
        Ok(String::from_utf8_lossy(&self.word(connection, id)?).into_owned())
    }

    /// Appends an event, and its sender where that is news.
    fn event(
        &mut self,
        connection: &Connection,
        id: i64,
        row: &Row<'_>,
        batch: &mut Batch,
    ) -> rusqlite::Result<()> {
        let proto = self.name(connection, row.get(1)?)?;
        let evidence = self.name(connection, row.get(8)?)?;
        let hook = self.name(connection, row.get(9)?)?;
        let evidence = Evidence::ALL.into_iter().find(|e| e.name() == evidence);
        let evidence = evidence.unwrap_or(Evidence::Unknown);
        let sender = match row.get::<_, Option<i64>>(2)? {
            Some(process) if evidence.names_a_process() => Some((
                process,
                cached(&mut self.senders, process, || {
                    self::sender(&mut connection.prepare(SENDER)?, process)
                })?,
            )),
            _ => None,
        };
        let to: i64 = row.get(3)?;
        let to = cached(&mut self.destinations, to, || {
            destination(&mut connection.prepare(DESTINATION)?, to)
        })?;
        let src = address(&self.word(connection, row.get(5)?)?);
        let iface = row.get::<_, Option<i64>>(11)?;
        let iface = iface.map(|id| self.word(connection, id)).transpose()?;
        if let Some((number, sender)) = &sender
            && let Some(key) = sender.key
            && self.told.get_mut(&key).is_none_or(|told| told != number)
        {
            self.told.insert(key, *number);
            if let Some(process) = &sender.process {
                batch.items.push(Item::Process(key, Box::new(process.clone())));
            }
        }
        let more: serde_json::Value = match row.get_ref(16)? {
            ValueRef::Null => serde_json::Value::Null,
            text => serde_json::from_slice(bytes(text)).unwrap_or_default(),
        };
        let more = Object(&more);
        let sender = sender.map(|(_, sender)| sender);
        let ports = row.get::<_, Option<u16>>(6)?.zip(to.port);
        let from = batch.bytes.len();
        batch.bytes.extend_from_slice(bytes(row.get_ref(17)?));
        let recorded = Recorded {
            protocol: recorded::protocol(&proto),
            outcome: more.0.get("outcome").map(|outcome| recorded::outcome(&Object(outcome))),
            opening: None,
            user: sender.as_ref().and_then(|s| s.user.clone()),
            candidates: recorded::candidates(&more),
            go: more.0.get("go").and_then(|go| recorded::build(&Object(go))),
            dst_name: to.name.clone(),
            host: sender.as_ref().and_then(|s| s.host.clone()),
            sampled: more.number32("sampled"),
            stored: Some(Stored {
                row: id,
                ends: Ends { src, dst: to.address, ports },
                fields: String::from_utf8_lossy(bytes(row.get_ref(15)?)).into_owned(),
                faults: recorded::faults(&more),
            }),
        };
        let time = id - row.get::<_, Option<i64>>(4)?.unwrap_or_default();
        let task = evidence.names_a_process().then_some(sender.as_ref()).flatten();
        batch.items.push(Item::Capture(Capture {
            time: u64::try_from(time).unwrap_or_default(),
            hook: recorded::hook(&hook).unwrap_or(HOOK),
            task: task.map(|sender| Task {
                key: sender.key,
                tid: row.get(7).unwrap_or_default(),
                comm: sender.comm.as_deref().map(short),
                uid: sender.uid,
            }),
            socket_inode: row.get::<_, Option<i64>>(12)?.map(|inode| inode as u64),
            outcome_follows: false,
            shared: row.get::<_, Option<bool>>(13)?.unwrap_or_default(),
            netns: row.get(10)?,
            iface: iface.map(|name| Iface { index: None, name: padded(&name) }),
            bytes: from..batch.bytes.len(),
            len: row.get(14)?,
            recorded: Some(Box::new(recorded)),
            ..blank(evidence)
        }));
        Ok(())
    }
}

fn padded(name: &[u8]) -> [u8; 16] {
    let mut padded = [0; 16];
    let len = name.len().min(padded.len());
    padded[..len].copy_from_slice(&name[..len]);
    padded
}

impl Source for RecordSource {
    fn next(&mut self, batch: &mut Batch, _: Duration) -> Result<()> {
        let newest_first = self.order == Order::NewestFirst;
        let next = match newest_first {
            false => self.selection.ranges.first().copied(),
            true => self.selection.ranges.last().copied(),
        };
        let Some((from, to)) = next else {
            self.ended = true;
            return Ok(());
        };
        let stopped =
            self.range((from, to), batch).with_context(|| format!("reading {}", self.name))?;
        let left = stopped.map(|id| if newest_first { (from, id) } else { (id + 1, to) });
        let ranges = &mut self.selection.ranges;
        let at = if newest_first { ranges.len() - 1 } else { 0 };
        match left {
            Some(left) => ranges[at] = left,
            None => drop(ranges.remove(at)),
        }
        let done = match left {
            Some((low, high)) => to.abs_diff(from) - high.abs_diff(low),
            None => to.abs_diff(from),
        };
        self.done.fetch_add(done, Ordering::Relaxed);
        Ok(())
    }

    fn detach(&mut self) {}

    fn counts(&mut self) -> Counts {
        let mut counts = Counts::default();
        counts.hooks.push(HookCount {
            hook: HOOK,
            seen: self.seen,
            filtered: 0,
            missed: Some(0),
            cost: None,
        });
        counts
    }

    fn ended(&self) -> bool {
        self.ended
    }
}
