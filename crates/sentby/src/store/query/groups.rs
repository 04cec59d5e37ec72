//! Events counted by what they have in common, and by time.

use super::{chart, table};
use crate::event::Event;
use crate::filter::UsageError;
use crate::output::Output;
use crate::output::stored::{Named, write_named};
use crate::store::cli::QueryArgs;
use anyhow::Result;
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most groups that are told apart. Events of others are counted together.
const MAX_GROUPS: usize = 1_000_000;

/// Most steps of time, over all groups.
const MAX_BINS: usize = 4_000_000;

/// Short names for what people ask for most; the others are those of docs/events.md.
static ALIASES: &[(&str, &[&str])] =
    &[("process", &["pid", "start", "exe"]), ("name", &["dst_name"]), ("port", &["dport"])];

/// What is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    pub events: u64,
    /// Bytes of the packets whose length is known.
    pub bytes: u64,
    /// Packets whose length is not known.
    pub unmeasured: u64,
    /// Nanoseconds since the Unix epoch.
    pub first: u64,
    pub last: u64,
}

impl Sum {
    /// A single event.
    pub fn of(event: &Event<'_>) -> Sum {
        let time = event.capture.time;
        Sum {
            events: 1,
            bytes: event.len.unwrap_or_default().into(),
            unmeasured: event.len.is_none().into(),
            first: time,
            last: time,
        }
    }

    /// Adds more.
    pub fn add(&mut self, other: &Sum) {
        if self.events == 0 {
            *self = other.clone();
            return;
        }
        self.events += other.events;
        self.bytes += other.bytes;
        self.unmeasured += other.unmeasured;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
    }
}

/// What they are told apart by.
#[derive(Clone, Debug)]
pub struct Shape {
    pub by: Vec<Named>,
    /// Nanoseconds of a step of time.
    pub bin: Option<u64>,
    pub top: Option<usize>,
}

impl Shape {
    /// What was asked for.
    pub fn new(args: &QueryArgs) -> Result<Shape> {
        let mut by: Vec<Named> = Vec::new();
        for name in &args.by {
            let names = ALIASES.iter().find(|(alias, _)| alias == name).map(|(_, names)| *names);
            for name in names.unwrap_or(&[name.as_str()]) {
                let Some(found) = Named::find(name) else {
                    let mut shown = String::new();
                    crate::escape::word(name.as_bytes(), &mut shown, crate::escape::MAX_TEXT);
                    Err(UsageError(format!(
                        "--by {shown}: events have no such field; there are process, exe, unit, \
                         container, user, dst, name, port, proto, evidence and those of \
                         docs/events.md"
                    )))?
                };
                by.push(found);
            }
        }
        let bin = args.bin.map(|bin| u64::try_from(bin.as_nanos()).unwrap_or(u64::MAX).max(1));
        Ok(Shape { by, bin, top: args.top.map(|n| usize::try_from(n).unwrap_or(usize::MAX)) })
    }

    /// Whether nothing is told apart but what is known of a sender and a destination.
    pub fn is_of_flows(&self) -> bool {
        self.by.iter().all(Named::is_of_flows)
    }
}

/// One of them.
#[derive(Default)]
pub struct Group {
    pub sum: Sum,
    /// Events and bytes by step of time.
    pub bins: BTreeMap<u64, (u64, u64)>,
}

/// A group's number; `None` stands for those beyond [`MAX_GROUPS`].
pub type Number = Option<u32>;

/// All of them.
pub struct Groups {
    pub shape: Shape,
    /// Their numbers, by the object of JSON that tells them apart.
    numbers: HashMap<Vec<u8>, u32>,
    groups: Vec<Group>,
    /// Events of groups beyond [`MAX_GROUPS`].
    others: Sum,
    bins: usize,
    key: Vec<u8>,
}

impl Groups {
    /// None yet.
    pub fn new(shape: Shape) -> Groups {
        Groups {
            shape,
            numbers: HashMap::new(),
            groups: Vec::new(),
            others: Sum::default(),
            bins: 0,
            key: Vec::new(),
        }
    }

    /// The group of an event.
    pub fn of(&mut self, event: &Event<'_>) -> io::Result<Number> {
        self.key.clear();
        write_named(event, &self.shape.by, &mut self.key)?;
        if let Some(number) = self.numbers.get(&self.key) {
            return Ok(Some(*number));
        }
        if self.groups.len() >= MAX_GROUPS {
            return Ok(None);
        }
        let number = self.groups.len() as u32;
        self.numbers.insert(self.key.clone(), number);
        self.groups.push(Group::default());
        Ok(Some(number))
    }

    /// Counts what belongs to a group, in the step of time that begins with it.
    pub fn add(&mut self, number: Number, sum: &Sum, time: u64) -> io::Result<()> {
        let Some(group) = number.and_then(|n| self.groups.get_mut(n as usize)) else {
            self.others.add(sum);
            return Ok(());
        };
        group.sum.add(sum);
        let Some(bin) = self.shape.bin else { return Ok(()) };
        let at = time - time % bin;
        if self.bins >= MAX_BINS && !group.bins.contains_key(&at) {
            return Err(io::Error::other(format!(
                "more than {MAX_BINS} steps of time; give a longer --bin, or --since and --until"
            )));
        }
        let (events, bytes) = group.bins.entry(at).or_insert_with(|| {
            self.bins += 1;
            (0, 0)
        });
        *events += sum.events;
        *bytes += sum.bytes;
        Ok(())
    }

    /// Prints them: those with the most events first.
    pub fn print(mut self, json: bool, stop: &AtomicBool) -> Result<()> {
        if stop.load(Ordering::Relaxed) {
            eprintln!("sentby: stopped: these counts are of a part");
        }
        if self.shape.by.is_empty() && self.groups.is_empty() {
            self.numbers.insert(b"{}".to_vec(), 0);
            self.groups.push(Group::default());
        }
        let mut sorted: Vec<(Vec<u8>, Group)> = Vec::with_capacity(self.groups.len());
        for (key, number) in self.numbers {
            sorted.push((key, std::mem::take(&mut self.groups[number as usize])));
        }
        sorted.sort_by(|(a_key, a), (b_key, b)| {
            b.sum.events.cmp(&a.sum.events).then_with(|| a_key.cmp(b_key))
        });
        if let Some(top) = self.shape.top {
            sorted.truncate(top);
        }
        let mut out = io::BufWriter::new(io::stdout().lock());
        match (json, self.shape.bin, self.shape.by.is_empty()) {
            (true, bin, _) => table::json(&sorted, bin, &mut out)?,
            (false, Some(bin), true) => chart::times(&sorted, bin, &mut out)?,
            (false, None, true) => table::count(&sorted, &mut out)?,
            (false, bin, false) => table::text(&self.shape, &sorted, bin, &mut out)?,
        }
        io::Write::flush(&mut out)?;
        if self.others.events > 0 {
            eprintln!(
                "sentby: {} events of more than {MAX_GROUPS} groups are not in this table",
                self.others.events
            );
        }
        Ok(())
    }
}

impl Output for Groups {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let number = self.of(event)?;
        self.add(number, &Sum::of(event), event.capture.time)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
