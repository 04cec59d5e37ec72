//! Capture files instead of a kernel: what tcpdump, Wireshark, others and sentby itself
//! have written, read at full speed and with bounded memory.
//!
//! Both directions of a connection are looked at: a file does not tell which side the
//! machine was. Who sent a packet is told where the file says so ([`senders`]); this
//! machine is never asked.

mod input;
mod layers;
mod openings;
mod queries;
mod recorded;
mod senders;
mod source;

use super::Opened;
use super::select::Selector;
use crate::plan::Plan;
use anyhow::Result;
use std::path::Path;

/// The name of the hook in events that do not come from sentby's own files.
pub const HOOK: &str = "file";

/// Opens a file, `-` being stdin. `protocols`: the names of those that were asked for.
pub fn open(path: &Path, plan: &Plan, protocols: Vec<&'static str>) -> Result<Opened> {
    let input = input::Input::open(path)?;
    let work = source::Work::new(Selector::new(plan)?, plan, protocols);
    Ok(Opened {
        source: Box::new(source::FileSource::new(input, work)),
        hooks: vec![(HOOK, Vec::new())],
        notes: Vec::new(),
    })
}
