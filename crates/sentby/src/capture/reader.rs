//! One reader thread per backend, one bounded channel: batches forward, empty
//! batches back. When the pipeline is slower than the kernel the channel fills, the
//! reader waits, and the loss is counted where it happens: in the kernel's buffer.

use super::{Backend, Counts, Opened, Options, Sender};
use crate::event::Batch;
use crate::host::Host;
use crate::plan::Plan;
use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Batches that may wait for the pipeline.
const CHANNEL_BATCHES: usize = 16;

/// How long the reader sleeps at most when nothing wakes it: the longest an event
/// waits in the kernel.
const POLL: Duration = Duration::from_millis(20);

/// How often a reader tells what was counted, where it was asked to.
pub const REPORT: Duration = Duration::from_secs(1);

/// What the reader sends.
#[derive(Debug)]
pub enum Message {
    /// Captures.
    Batch(Batch),
    /// What was counted so far, where the reader was asked to [`Reader::report`].
    Counts(Box<Counts>),
    /// The last message: everything is detached and read.
    End(Box<Result<Counts>>),
}

/// A running reader.
pub struct Reader {
    /// Its messages.
    pub messages: Receiver<Message>,
    /// The hooks in use.
    pub hooks: Vec<(&'static str, Vec<Sender>)>,
    /// What the user should know.
    pub notes: Vec<String>,
    used: mpsc::Sender<Batch>,
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Opens a backend in a thread of its own; `settle` runs there once it is open.
    pub fn start(
        backend: &'static dyn Backend,
        host: &Host,
        plan: &Plan,
        options: &Options,
        settle: fn(),
    ) -> Result<Reader> {
        let (host, plan, options) = (host.clone(), plan.clone(), options.clone());
        Self::spawn(move || backend.open(&host, &plan, &options), settle)
    }

    /// The same for a source that is opened otherwise.
    pub fn spawn(
        open: impl FnOnce() -> Result<Opened> + Send + 'static,
        settle: fn(),
    ) -> Result<Reader> {
        let (open_tx, open_rx) = mpsc::channel();
        let (tx, messages) = mpsc::sync_channel(CHANNEL_BATCHES);
        let (used, used_rx) = mpsc::channel();
        let stop = Arc::new(AtomicBool::new(false));
        let report = Arc::new(AtomicBool::new(false));
        let asked = Asked { stop: stop.clone(), report: report.clone() };
        let thread = thread::Builder::new()
            .name("sentby-reader".to_owned())
            .spawn(move || match open() {
                Err(e) => drop(open_tx.send(Err(e))),
                Ok(opened) => {
                    settle();
                    let Opened { source, hooks, notes } = opened;
                    let _ = open_tx.send(Ok((hooks, notes)));
                    run(source, &tx, &used_rx, &asked);
                }
            })
            .context("starting the reader thread")?;
        let (hooks, notes) = open_rx.recv().context("the reader thread ended early")??;
        Ok(Reader { messages, hooks, notes, used, stop, report, thread: Some(thread) })
    }

    /// Asks the reader to detach, deliver what is left, and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Asks the reader to tell what was counted, every [`REPORT`].
    pub fn report(&self) {
        self.report.store(true, Ordering::Release);
    }

    /// Gives a batch's memory back.
    pub fn recycle(&self, mut batch: Batch) {
        batch.clear();
        let _ = self.used.send(batch);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
        // Unblock a reader that waits for room in the channel.
        while self.messages.recv().is_ok() {}
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the reader's thread is asked for.
struct Asked {
    stop: Arc<AtomicBool>,
    report: Arc<AtomicBool>,
}

fn run(
    mut source: Box<dyn super::Source>,
    tx: &SyncSender<Message>,
    used: &Receiver<Batch>,
    asked: &Asked,
) {
    let outcome = read_until_stopped(source.as_mut(), tx, used, asked);
    let end = outcome.map(|()| source.counts());
    drop(source);
    let _ = tx.send(Message::End(Box::new(end)));
}

fn read_until_stopped(
    source: &mut dyn super::Source,
    tx: &SyncSender<Message>,
    used: &Receiver<Batch>,
    asked: &Asked,
) -> Result<()> {
    let mut told = Instant::now();
    loop {
        let last = asked.stop.load(Ordering::Acquire);
        if last {
            source.detach();
        }
        let mut batch = used.try_recv().unwrap_or_default();
        source.next(&mut batch, if last { Duration::ZERO } else { POLL })?;
        if !batch.items.is_empty() && tx.send(Message::Batch(batch)).is_err() {
            return Ok(());
        }
        if asked.report.load(Ordering::Acquire) && told.elapsed() >= REPORT && !last {
            told = Instant::now();
            if tx.send(Message::Counts(Box::new(source.counts()))).is_err() {
                return Ok(());
            }
        }
        if last || source.ended() {
            return Ok(());
        }
    }
}
