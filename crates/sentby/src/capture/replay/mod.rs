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
pub mod recorded;
pub mod senders;
mod source;

use super::Opened;
use super::select::Selector;
use crate::plan::Plan;
use anyhow::Result;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// The name of the hook in events that do not come from sentby's own files.
pub const HOOK: &str = "file";

/// Opens a file, `-` being stdin: a capture file, or a recording (`crate::store`). `protocols`: the names of those that were asked for.
pub fn open(path: &Path, plan: &Plan, protocols: Vec<&'static str>) -> Result<Opened> {
    open_watched(path, plan, protocols, Arc::default())
}

/// The same; `done` tells how far it was read: bytes of a file, and of a recording the
/// nanoseconds that it spans.
pub fn open_watched(
    path: &Path,
    plan: &Plan,
    protocols: Vec<&'static str>,
    done: Arc<AtomicU64>,
) -> Result<Opened> {
    if crate::store::is_database(path) {
        return crate::store::read::open(path, protocols, done);
    }
    let input = input::Input::open(path, done)?;
    let work = source::Work::new(Selector::new(plan)?, plan, protocols);
    Ok(Opened {
        source: Box::new(source::FileSource::new(input, work)),
        hooks: vec![(HOOK, Vec::new())],
        notes: Vec::new(),
    })
}
