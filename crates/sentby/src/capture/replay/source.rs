//! From the bytes of a file to captures.

use super::HOOK;
use super::input::{Filled, Input};
use super::layers::{Inner, Layers};
use super::openings::{Openings, Seen};
use super::queries::Queries;
use super::senders::Sender;
use crate::capture::select::{Selected, Selector};
use crate::capture::{Counts, Source};
use crate::event::{Batch, Capture, Ends, Iface, Item, Recorded, Wanted};
use crate::ledger::HookCount;
use crate::plan::{Nets, Plan};
use anyhow::{Error, Result, anyhow};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use wire::capture_file::{Fault, Interface, Options, Reader, Record, Step};
use wire::{Layer, Packet, link, transport};

/// A batch is handed on when it has so many items, or bytes.
const BATCH_ITEMS: usize = 4096;
const BATCH_BYTES: usize = 1 << 20;

/// Link types that cannot be read, of which each is told.
const UNKNOWN_LINKS_MAX: usize = 16;

/// A file being read.
pub struct FileSource {
    input: Input,
    reader: Reader,
    work: Work,
    ended: bool,
    /// The first packet that was passed over: why, and where it stands.
    bad: Option<(Fault, u64)>,
    bad_count: u64,
    notes: Vec<String>,
    failed: Option<Error>,
}

impl FileSource {
    /// At the beginning of a file.
    pub fn new(input: Input, work: Work) -> FileSource {
        FileSource {
            input,
            reader: Reader::new(),
            work,
            ended: false,
            bad: None,
            bad_count: 0,
            notes: Vec::new(),
            failed: None,
        }
    }

    /// Nothing more can be read: because of a fault, or there is no more.
    fn end(&mut self, fault: Option<Fault>, batch: &mut Batch) {
        self.ended = true;
        self.work.give_up(None, batch);
        let Input { name, offset, .. } = &self.input;
        let left = self.input.bytes().len();
        if let Some(fault) = fault {
            self.failed = Some(match self.reader.has_begun() {
                true => anyhow!("reading {name}: at byte {offset}: {fault}; the rest was not read"),
                false => anyhow!("reading {name}: {fault}"),
            });
        } else if !self.reader.has_begun() {
            let what = if left == 0 { "it is empty" } else { "it ends inside of its header" };
            self.failed = Some(anyhow!("reading {name}: {what}"));
        } else if left > 0 {
            self.notes.push(format!(
                "{name} ends inside of a packet, at byte {}: it was being written, or cut off",
                offset + left as u64
            ));
        }
        if let (Some((fault, at)), None) = (self.bad, &self.failed) {
            let more = match self.bad_count {
                1 => String::new(),
                n => format!(", and so on: {n} packets"),
            };
            self.failed = Some(anyhow!("reading {name}: passed over: at byte {at}: {fault}{more}"));
        }
    }
}

impl Source for FileSource {
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()> {
        self.work.give_up(Some(self.work.now.min(self.work.before)), batch);
        while !self.ended && batch.items.len() < BATCH_ITEMS && batch.bytes.len() < BATCH_BYTES {
            match self.reader.step(self.input.bytes()) {
                Ok(Step::Record(record, used)) => {
                    self.work.record(&record, self.reader.interface(record.interface), batch);
                    self.input.take(used);
                }
                Ok(Step::Other(used)) => self.input.take(used),
                Ok(Step::Bad(fault, used)) => {
                    self.bad.get_or_insert((fault, self.input.offset));
                    self.bad_count += 1;
                    self.input.take(used);
                }
                Ok(Step::More(least)) => match self.input.fill(least, wait) {
                    // One piece at a time, so that a request to stop is noticed.
                    Ok(Filled::More | Filled::Quiet) => return Ok(()),
                    Ok(Filled::End) => self.end(None, batch),
                    Err(e) => {
                        self.ended = true;
                        self.work.give_up(None, batch);
                        self.failed = Some(e);
                    }
                },
                Err(fault) => self.end(Some(fault), batch),
            }
        }
        Ok(())
    }

    fn detach(&mut self) {}

    fn counts(&mut self) -> Counts {
        let mut counts = self.work.counts();
        counts.notes.append(&mut self.notes);
        counts.failed = self.failed.take();
        counts
    }

    fn ended(&self) -> bool {
        self.ended
    }
}

/// What is done with each packet.
pub struct Work {
    selector: Selector,
    layers: Layers,
    openings: Option<Openings>,
    queries: Option<Queries>,
    src: Nets,
    dst: Nets,
    protocols: Vec<&'static str>,
    /// When the last packet was seen, and the one before it: a single one from the future
    /// ends nothing.
    now: u64,
    before: u64,
    seen: u64,
    filtered: u64,
    unknown_links: BTreeMap<u16, u64>,
}

/// What the file says about a packet beside its bytes: looked at only where it is wanted.
#[derive(Clone, Copy)]
struct Beside<'a> {
    time: u64,
    interface: Option<(u32, &'a Interface)>,
    options: Options<'a>,
}

impl Beside<'_> {
    /// Nothing but the time.
    fn at(time: u64) -> Self {
        Beside { time, interface: None, options: Options::NONE }
    }

    fn iface(&self) -> Option<Iface> {
        let (index, interface) = self.interface?;
        Some(Iface { index: Some(index), name: interface.name? })
    }
}

impl Work {
    /// Looks for what a plan wants, and for recorded requests of these protocols.
    pub fn new(selector: Selector, plan: &Plan, protocols: Vec<&'static str>) -> Work {
        Work {
            selector,
            layers: Layers::default(),
            openings: plan.openings.then(Openings::new),
            queries: plan.names.then(Queries::new),
            src: plan.src.clone(),
            dst: plan.dst.clone(),
            protocols,
            now: 0,
            before: 0,
            seen: 0,
            filtered: 0,
            unknown_links: BTreeMap::new(),
        }
    }

    fn record(&mut self, record: &Record<'_>, interface: Option<&Interface>, batch: &mut Batch) {
        let Some(ip) = link::ip(record.link, record.bytes) else {
            return self.no_ip(record.link);
        };
        // Simple packets have no time: theirs is that of the one before.
        self.before = self.now;
        self.now = record.time.unwrap_or(self.now);
        let interface = interface.map(|interface| (record.interface, interface));
        let beside = Beside { time: self.now, interface, options: record.options };
        match self.layers.innermost(ip, self.now) {
            Inner::Here(ip, packet) => self.packet(ip, &packet, &beside, batch),
            Inner::Whole(from) => {
                let ip = self.layers.whole(from).to_vec();
                if let Some(packet) = wire::packet::parse(Layer::Ip, &ip) {
                    self.packet(&ip, &packet, &beside, batch);
                }
            }
            Inner::None => {}
        }
    }

    fn no_ip(&mut self, link: u16) {
        if link::is_known(link) {
            return;
        }
        if self.unknown_links.len() < UNKNOWN_LINKS_MAX || self.unknown_links.contains_key(&link) {
            *self.unknown_links.entry(link).or_default() += 1;
        }
    }

    /// Packets whose fragments did not all come.
    fn give_up(&mut self, now: Option<u64>, batch: &mut Batch) {
        while let Some(time) = self.layers.give_up(now) {
            let ip = self.layers.whole(0).to_vec();
            if let Some(packet) = wire::packet::parse(Layer::Ip, &ip) {
                self.packet(&ip, &packet, &Beside::at(time), batch);
            }
        }
    }

    fn packet(&mut self, ip: &[u8], packet: &Packet<'_>, beside: &Beside<'_>, batch: &mut Batch) {
        let sender = (!beside.options.is_empty()).then(|| Sender::of(&beside.options));
        let own = sender.as_ref().and_then(|s| s.recorded.as_ref()?.protocol);
        let mut opening = None;
        let selected = match own {
            Some(protocol) if !self.protocols.contains(&protocol) => return,
            Some(_) => {
                let bytes = packet.header_len as usize + packet.payload.len();
                Some(Selected { wanted: Wanted::Packet, bytes })
            }
            None => {
                self.look_for_names(ip, packet, beside, batch);
                opening = self.look_for_openings(packet, beside.time, batch);
                self.selector.look(sender.as_ref().and_then(|s| s.netns), packet)
            }
        };
        let Some(selected) = selected else { return };
        self.seen += 1;
        if !admits(&self.src, packet.src) || !admits(&self.dst, packet.dst) {
            self.filtered += 1;
            return;
        }
        let mut sender = sender.unwrap_or(Sender::UNKNOWN);
        if opening.is_some() {
            sender.recorded = Some(Box::new(Recorded { opening, ..Recorded::default() }));
        }
        let len = packet.ip_len.unwrap_or(ip.len() as u32);
        let bytes = &ip[..selected.bytes.min(ip.len())];
        if let Some(process) = sender.process.take()
            && let Some(key) = sender.task.and_then(|task| task.key)
        {
            batch.items.push(Item::Process(key, Box::new(process)));
        }
        let capture = capture(beside, sender, selected.wanted, (len, bytes), batch);
        batch.items.push(Item::Capture(capture));
    }

    fn look_for_names(
        &mut self,
        ip: &[u8],
        packet: &Packet<'_>,
        beside: &Beside<'_>,
        batch: &mut Batch,
    ) {
        let Some(queries) = &mut self.queries else { return };
        let Some(datagram) = transport::udp(packet) else { return };
        if queries.answered(Ends::of(packet), &datagram) {
            let len = ip.len() as u32;
            let answer = capture(beside, Sender::UNKNOWN, Wanted::Packet, (len, ip), batch);
            batch.items.push(Item::Answer(answer));
        }
    }

    /// The number of the opening that a packet is.
    fn look_for_openings(
        &mut self,
        packet: &Packet<'_>,
        time: u64,
        batch: &mut Batch,
    ) -> Option<u64> {
        let openings = self.openings.as_mut()?;
        match openings.look(Ends::of(packet), &transport::tcp(packet)?, time) {
            Seen::Opens(number) => return Some(number),
            Seen::Ends(outcome) => batch.items.push(Item::Outcome(outcome)),
            Seen::Other => {}
        }
        None
    }

    fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        counts.hooks.push(HookCount {
            hook: HOOK,
            seen: self.seen,
            filtered: self.filtered,
            missed: Some(0),
            cost: None,
        });
        for (place, n) in [
            ("fragments-contradict", self.layers.contradicting),
            ("tunnels-too-deep", self.layers.too_deep),
            ("stream-evicted", self.selector.forgotten),
        ] {
            if n > 0 {
                counts.details_lost.insert(place, n);
            }
        }
        for (link, n) in &self.unknown_links {
            counts.notes.push(format!("{n} packets of link type {link}, which is not read"));
        }
        counts
    }
}

/// A capture of these bytes, which are appended to the batch.
fn capture(
    beside: &Beside<'_>,
    sender: Sender,
    wanted: Wanted,
    (len, bytes): (u32, &[u8]),
    batch: &mut Batch,
) -> Capture {
    let from = batch.bytes.len();
    batch.bytes.extend_from_slice(bytes);
    Capture {
        time: beside.time,
        hook: sender.hook,
        evidence: sender.evidence,
        task: sender.task,
        socket_inode: sender.socket_inode,
        outcome_follows: false,
        holders: None,
        shared: sender.shared,
        netns: sender.netns,
        iface: beside.iface(),
        descends: None,
        wanted,
        layer: Layer::Ip,
        bytes: from..batch.bytes.len(),
        len: Some(sender.len.unwrap_or(len)),
        segment: None,
        recorded: sender.recorded,
    }
}

fn admits(nets: &Nets, address: IpAddr) -> bool {
    let any = |nets: &[ipnet::IpNet]| nets.iter().any(|net| net.contains(&address));
    (nets.include.is_empty() || any(&nets.include)) && !any(&nets.exclude)
}
