//! Records on their way: few, for what waits is to wait in the output's queue.

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// Records that are sent at once.
pub const MAX_RECORDS: usize = 512;

/// Their bytes, encoded; one that is larger is sent alone. gRPC's servers take 4 MiB.
pub const MAX_BYTES: usize = 1 << 20;

/// Batches that wait while another is sent.
const BATCHES: usize = 2;

#[derive(Default)]
struct State {
    waiting: VecDeque<(LogRecord, usize)>,
    bytes: usize,
    on_their_way: u64,
    lost: BTreeMap<&'static str, u64>,
    connected: Option<bool>,
}

impl State {
    fn has(&self, batches: usize) -> bool {
        self.waiting.len() >= batches * MAX_RECORDS || self.bytes >= batches * MAX_BYTES
    }

    fn left(&self) -> u64 {
        self.waiting.len() as u64 + self.on_their_way
    }
}

/// What the output's thread and the sender's have.
#[derive(Default)]
pub struct Buffer {
    state: Mutex<State>,
    less: Condvar,
    /// There may be something to send.
    pub more: Notify,
    /// The sender is to end, whatever it is doing.
    pub stop: Notify,
    ending: AtomicBool,
}

impl Buffer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether there is room for a record, waiting at most this long.
    pub fn has_room(&self, wait: Duration) -> bool {
        let full = |s: &mut State| s.has(BATCHES);
        let waited = self.less.wait_timeout_while(self.state(), wait, full);
        !waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0.has(BATCHES)
    }

    /// Adds a record.
    pub fn push(&self, record: LogRecord) {
        let size = record.encoded_len();
        let mut state = self.state();
        state.bytes += size;
        state.waiting.push_back((record, size));
        if state.has(1) {
            self.more.notify_one();
        }
    }

    /// Whether there is no use in waiting for more.
    pub fn is_due(&self) -> bool {
        self.is_ending() || self.state().has(1)
    }

    /// Takes what is to be sent next. It counts as here until it is [`Buffer::done`].
    pub fn take(&self) -> Vec<LogRecord> {
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some((_, size)) = state.waiting.front() {
            let fits = batch.len() < MAX_RECORDS && bytes + size <= MAX_BYTES;
            if !fits && !batch.is_empty() {
                break;
            }
            let Some((record, size)) = state.waiting.pop_front() else { break };
            bytes += size;
            batch.push(record);
        }
        state.bytes -= bytes;
        state.on_their_way = batch.len() as u64;
        self.less.notify_all();
        batch
    }

    /// Nothing more becomes of what was taken; some of it may be lost.
    pub fn done(&self, lost: Option<(&'static str, u64)>) {
        let mut state = self.state();
        if let Some((place, n)) = lost {
            *state.lost.entry(place).or_default() += n.min(state.on_their_way);
        }
        state.on_their_way = 0;
        self.less.notify_all();
    }

    /// Whether the collector answered.
    pub fn heard(&self, answered: bool) {
        self.state().connected = Some(answered);
    }

    /// Whether it did the last time; `None` if it was not asked yet.
    pub fn connected(&self) -> Option<bool> {
        self.state().connected
    }

    /// Records that were not passed on yet.
    pub fn left(&self) -> u64 {
        self.state().left()
    }

    /// Waits until all are passed on, but not beyond a moment.
    pub fn drained(&self, until: Instant) {
        let wait = until.saturating_duration_since(Instant::now());
        let waited = self.less.wait_timeout_while(self.state(), wait, |s| s.left() > 0);
        drop(waited.unwrap_or_else(|poisoned| poisoned.into_inner()));
    }

    /// Records lost, by place.
    pub fn lost(&self) -> Vec<(&'static str, u64)> {
        self.state().lost.iter().map(|(place, n)| (*place, *n)).collect()
    }

    /// No more records come.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
        self.more.notify_one();
    }

    /// Whether none come.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(bytes: usize) -> LogRecord {
        LogRecord { severity_text: "x".repeat(bytes), ..LogRecord::default() }
    }

    const NO_WAIT: Duration = Duration::ZERO;

    #[test]
    fn a_batch_is_bounded_in_records_and_bytes_and_one_that_is_too_large_goes_alone() {
        let buffer = Buffer::default();
        (0..MAX_RECORDS + 3).for_each(|_| buffer.push(record(9)));
        assert_eq!(buffer.take().len(), MAX_RECORDS);
        assert_eq!(buffer.take().len(), 3);
        assert!(buffer.take().is_empty());
        for size in [10, 2 * MAX_BYTES, 10, MAX_BYTES / 2, MAX_BYTES / 2] {
            buffer.push(record(size));
        }
        let batches = [(); 5].map(|()| buffer.take().len());
        assert_eq!(batches, [1, 1, 2, 1, 0]);
        assert_eq!(buffer.state().bytes, 0);
    }

    #[test]
    fn there_is_room_for_two_batches_beside_what_is_on_its_way() {
        for size in [1, MAX_BYTES / 8] {
            let buffer = Buffer::default();
            let mut pushed = 0_u64;
            while buffer.has_room(NO_WAIT) {
                buffer.push(record(size));
                pushed += 1;
            }
            assert!(
                buffer.is_due() && (BATCHES..=BATCHES * MAX_RECORDS).contains(&(pushed as usize))
            );
            let taken = buffer.take().len() as u64;
            assert!(buffer.has_room(NO_WAIT));
            assert_eq!(buffer.left(), pushed);
            buffer.done(Some(("here", 2)));
            assert_eq!((buffer.left(), buffer.lost()), (pushed - taken, vec![("here", 2)]));
        }
    }

    #[test]
    fn no_more_is_lost_than_there_was() {
        let buffer = Buffer::default();
        buffer.push(record(1));
        buffer.take();
        buffer.done(Some(("here", u64::MAX)));
        assert_eq!(buffer.lost(), [("here", 1)]);
    }
}
