//! From the spool to the server: a thread with a runtime of its own, so that nothing else of
//! the program knows of it.

use super::spool::{Record, Spool};
use super::{NAME, Standing, beat};
use crate::agent::status::Status;
use crate::escape;
use crate::nats::{SUBJECTS, ServerArgs};
use anyhow::{Context, Result, anyhow, bail};
use async_nats::jetstream::{self, message::PublishMessage, stream};
use async_nats::{Client, ConnectOptions};
use futures_util::future::select;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// Records that are on their way at once.
const WINDOW: usize = 512;

/// How long records are gathered: several that are sent at once cost less than each by itself.
const GATHER: Duration = Duration::from_millis(100);

/// How long an acknowledgement may take before the record is sent again.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the servers may take to tell of the stream. A stream without a leader may get no
/// answer at all, and has another soon.
const LOOK: Duration = Duration::from_secs(2);

/// The first pause after a failure; each further one is twice as long,
const PAUSE: Duration = Duration::from_millis(200);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How long a stream that is made here knows ids: whoever sends a record again does so within
/// this time, unless the agent was away for longer.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// How often the end looks whether all has arrived.
const NOTICE: Duration = Duration::from_millis(5);

/// What both threads have.
pub struct Shared {
    spool: Mutex<Spool>,
    more: Notify,
    /// The servers take events.
    connected: AtomicBool,
    /// The end has begun: there is nothing to gather for.
    ending: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    /// Around a spool.
    pub fn new(spool: Spool) -> Shared {
        Shared {
            spool: Mutex::new(spool),
            more: Notify::new(),
            connected: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }

    /// The spool, for a moment.
    pub fn spool(&self) -> MutexGuard<'_, Spool> {
        self.spool.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Whether the servers take events.
    pub fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Relaxed)
    }

    /// What waits, and whether anybody takes it.
    pub fn standing(&self) -> Standing {
        let spool = self.spool();
        let connected = Some(self.is_connected());
        Standing { spool: Some((spool.waiting(), spool.size())), connected }
    }

    /// There may be more in it.
    pub fn wake(&self) {
        self.more.notify_one();
    }
}

/// Where events go.
pub struct Server {
    /// Where it is, and which stream.
    pub args: ServerArgs,
    /// Servers that each keep it.
    pub replicas: usize,
    /// How long it keeps messages.
    pub max_age: Option<Duration>,
    /// This machine's name.
    pub host: String,
    /// What is told of the agent.
    pub status: Arc<Status>,
}

/// The thread.
pub struct Publisher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Publisher {
    /// Starts it. What is wrong with files and addresses is said now; a server that is away is
    /// waited for.
    pub fn start(server: Server, shared: Arc<Shared>) -> Result<Publisher> {
        let options = server.options()?;
        let addresses = server.args.addresses()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own = shared.clone();
        let thread = thread::Builder::new().name("sentby-publish".to_owned());
        let thread = thread.spawn(move || {
            crate::privileges::drop_unneeded();
            runtime.block_on(async {
                match async_nats::connect_with_options(addresses, options).await {
                    Ok(client) => {
                        let events = pin!(publish(&client, &server, &own));
                        let beats = pin!(beat::again_and_again(&client, &server, &own));
                        // Beats have no end of their own.
                        select(events, beats).await;
                        beat::last(&client, &server, &own).await;
                    }
                    Err(e) => say(format_args!("{e}")),
                }
            });
        });
        let thread = Some(thread.context("starting the publisher's thread")?);
        Ok(Publisher { shared, thread })
    }

    /// Waits this long for all to arrive, and ends. What has not arrived stays in the spool.
    pub fn finish(&mut self, linger: Duration) {
        let until = Instant::now() + linger;
        self.shared.ending.store(true, Ordering::Release);
        self.shared.wake();
        while self.shared.spool().waiting() > 0 && Instant::now() < until {
            thread::sleep(NOTICE);
        }
        let left = self.shared.spool().waiting();
        if left > 0 {
            say(format_args!("{left} events have not arrived; the next start sends them"));
        }
        self.stop();
    }

    fn stop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Server {
    fn options(&self) -> Result<ConnectOptions> {
        let options = self.args.options(&format!("sentby {}", self.host))?;
        Ok(options.retry_on_initial_connect().max_reconnects(None).client_capacity(2 * WINDOW))
    }

    fn subjects(&self) -> String {
        format!("{SUBJECTS}.>")
    }

    /// Makes the stream, or looks whether what is there will do. Returns what is not as it was
    /// asked for.
    async fn stream(&self, context: &jetstream::Context) -> Result<Option<String>> {
        let wanted = stream::Config {
            name: self.args.nats_stream.clone(),
            subjects: vec![self.subjects()],
            num_replicas: self.replicas,
            max_age: self.max_age.unwrap_or_default(),
            duplicate_window: self.max_age.map_or(KNOWN_FOR, |age| age.min(KNOWN_FOR)),
            ..stream::Config::default()
        };
        let name = &self.args.nats_stream;
        // Others may make it at the same time: whoever comes second finds it.
        let stream = context.get_or_create_stream(wanted).await;
        let stream = stream.with_context(|| format!("the stream {name}"))?;
        let config = &stream.cached_info().config;
        if !config.subjects.contains(&self.subjects()) {
            bail!(
                "the stream {name} does not take {}; it takes {}",
                self.subjects(),
                config.subjects.join(", ")
            );
        }
        let other = config.num_replicas != self.replicas;
        let note = || {
            format!("the stream {name} has {} replicas, not {}", config.num_replicas, self.replicas)
        };
        Ok(other.then(note))
    }
}

/// Says what changed, once.
struct Saying(Option<String>);

impl Saying {
    fn failed(&mut self, error: &anyhow::Error) {
        let text = format!("{error:#}");
        if self.0.as_ref() != Some(&text) {
            say(format_args!("{text}; events wait in the spool"));
            self.0 = Some(text);
        }
    }

    fn well(&mut self) {
        if self.0.take().is_some() {
            say(format_args!("events arrive again"));
        }
    }
}

pub(super) fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("sentby: {NAME}: {}", escape::line(what));
}

async fn publish(client: &Client, server: &Server, shared: &Shared) {
    let context = jetstream::new(client.clone());
    let (mut pause, mut saying, mut known) = (PAUSE, Saying(None), false);
    while !shared.stop.load(Ordering::Acquire) {
        if !known {
            match timeout(LOOK, server.stream(&context)).await {
                Ok(Ok(note)) => {
                    note.iter().for_each(|note| say(format_args!("{note}")));
                    known = true;
                    shared.connected.store(true, Ordering::Relaxed);
                }
                failed => {
                    let away = || anyhow!("{}: no answer", server.args.names());
                    saying.failed(
                        &failed.map_or_else(|_| away(), |done| done.err().unwrap_or_else(away)),
                    );
                    rest(&mut pause, shared).await;
                    continue;
                }
            }
        }
        let records = {
            let mut spool = shared.spool();
            let from = spool.acknowledged();
            spool.after(from, WINDOW)
        };
        let Some(last) = records.last().map(|r| r.number) else {
            shared.more.notified().await;
            if !shared.stop.load(Ordering::Acquire) && !shared.ending.load(Ordering::Acquire) {
                sleep(GATHER).await;
            }
            continue;
        };
        match send(&context, records).await {
            Ok(()) => {
                pause = PAUSE;
                saying.well();
                if let Err(e) = shared.spool().acknowledge(last) {
                    saying.failed(&anyhow::Error::new(e).context("noting what has arrived"));
                }
            }
            Err(e) => {
                saying.failed(&e);
                // It may be gone.
                known = false;
                shared.connected.store(false, Ordering::Relaxed);
                rest(&mut pause, shared).await;
            }
        }
    }
}

/// Waits before another attempt, but not beyond the end.
async fn rest(pause: &mut Duration, shared: &Shared) {
    let until = Instant::now() + *pause;
    while Instant::now() < until && !shared.stop.load(Ordering::Acquire) {
        sleep(NOTICE * 4).await;
    }
    *pause = (*pause * 2).min(LONGEST_PAUSE);
}

/// Sends records, and waits until each is acknowledged.
async fn send(context: &jetstream::Context, records: Vec<Record>) -> Result<()> {
    let mut acknowledgements = Vec::with_capacity(records.len());
    for Record { id, subject, payload, .. } in records {
        let message = PublishMessage::build().payload(payload.into()).message_id(id);
        let sent = timeout(PATIENCE, context.send_publish(subject, message)).await;
        acknowledgements.push(sent.context("sending takes too long")?.context("publishing")?);
    }
    for acknowledgement in acknowledgements {
        let arrived = timeout(PATIENCE, acknowledgement.into_future()).await;
        arrived.context("no acknowledgement")?.context("publishing")?;
    }
    Ok(())
}
