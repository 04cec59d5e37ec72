//! The source behind `watch`: messages in, items out.

use super::decode::Decoder;
use super::fetch::{self, Published, Wanted};
use crate::capture::{Counts, Opened, Source};
use crate::event::{Batch, Item};
use crate::ledger::HookCount;
use anyhow::Result;
use std::ops::Range;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// What stands for a hook.
const HOOK: &str = "nats";

/// Most items of a batch.
const BATCH: usize = 1024;

/// Where messages are lost that no event can be made of.
const NO_EVENT: &str = "no-event";

struct Watching {
    from: Receiver<Result<Published>>,
    decoder: Decoder,
    /// What was sent in this time is wanted: nanoseconds since the Unix epoch.
    times: Range<u64>,
    seen: u64,
    outside: u64,
    wrong: u64,
    ended: bool,
    failed: Option<anyhow::Error>,
}

/// Asks the servers, and begins to listen.
pub fn open(wanted: Wanted, times: (Option<i64>, Option<i64>)) -> Result<Opened> {
    let bound = |time: Option<i64>| time.and_then(|time| u64::try_from(time).ok());
    let source = Watching {
        from: fetch::start(wanted)?,
        decoder: Decoder::new(),
        times: bound(times.0).unwrap_or_default()..bound(times.1).unwrap_or(u64::MAX),
        seen: 0,
        outside: 0,
        wrong: 0,
        ended: false,
        failed: None,
    };
    Ok(Opened { source: Box::new(source), hooks: vec![(HOOK, Vec::new())], notes: Vec::new() })
}

impl Watching {
    fn take(&mut self, message: &Published, batch: &mut Batch) {
        self.seen += 1;
        let before = batch.items.len();
        if self.decoder.push(&message.subject, &message.object, batch).is_none() {
            self.wrong += 1;
            batch.items.truncate(before);
        } else if let Some(Item::Capture(capture)) = batch.items.last()
            && !self.times.contains(&capture.time)
        {
            // It waited in a spool; what is known about its sender stays.
            self.outside += 1;
            batch.items.pop();
        }
    }
}

impl Source for Watching {
    fn next(&mut self, batch: &mut Batch, wait: Duration) -> Result<()> {
        let mut wait = wait;
        while !self.ended && batch.items.len() < BATCH {
            match self.from.recv_timeout(wait) {
                Ok(Ok(message)) => self.take(&message, batch),
                Ok(Err(e)) => self.failed = Some(e),
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => self.ended = true,
            }
            wait = Duration::ZERO;
        }
        Ok(())
    }

    fn detach(&mut self) {}

    fn counts(&mut self) -> Counts {
        let mut counts = Counts::default();
        counts.hooks.push(HookCount {
            hook: HOOK,
            seen: self.seen,
            filtered: self.outside,
            missed: None,
            cost: None,
        });
        if self.wrong > 0 {
            counts.lost.insert(NO_EVENT, self.wrong);
        }
        counts.failed = self.failed.take();
        counts
    }

    fn ended(&self) -> bool {
        self.ended
    }
}
