//! From the buffer to the collector: a thread with a runtime of its own, one batch at a time,
//! each until it is taken, refused, or too old.

use super::NAME;
use super::buffer::Buffer;
use super::client::{Client, Target};
use super::verdict::{Failure, Sent};
use anyhow::{Context, Result};
use futures_util::future::select;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::fmt::Display;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long records are gathered: several that are sent at once cost less than each by itself.
const GATHER: Duration = Duration::from_millis(200);

/// The pause after the first failure, at most; after each further one it is twice as long,
const PAUSE: Duration = Duration::from_secs(1);

/// up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Where events are lost: the collector took a batch, but these of it not.
const REJECTED: &str = "otlp-rejected";

/// Where events are lost: the collector refused a batch for good.
const REFUSED: &str = "otlp-refused";

/// Where events are lost: their batch was tried again for as long as is allowed.
const GIVEN_UP: &str = "otlp-given-up";

/// The thread.
pub struct Sender {
    buffer: Arc<Buffer>,
    thread: Option<JoinHandle<()>>,
}

impl Sender {
    /// Starts it. A collector that is away is waited for, with each batch at most that long.
    pub fn start(
        target: Target,
        resource: Resource,
        buffer: Arc<Buffer>,
        retry_for: Duration,
    ) -> Result<Sender> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let own = buffer.clone();
        let thread = thread::Builder::new().name("sentby-otlp-send".to_owned());
        let thread = thread.spawn(move || {
            crate::privileges::drop_unneeded();
            runtime.block_on(async {
                let saying = Saying { name: target.name(), said: None };
                let client = Client::new(target);
                let mut worker = Worker { client, resource, retry_for, saying, buffer: &own };
                let (work, stop) = (pin!(worker.run()), pin!(own.stop.notified()));
                select(work, stop).await;
            });
            // Looking up a name may take as long as it likes.
            runtime.shutdown_background();
        });
        let thread = Some(thread.context("starting the sender's thread")?);
        Ok(Sender { buffer, thread })
    }

    /// Whether it works.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Ends it at once.
    pub fn stop(&mut self) {
        self.buffer.stop.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Says what changed, once.
struct Saying {
    name: String,
    said: Option<String>,
}

impl Saying {
    fn failed(&mut self, why: impl Display, then: &str) {
        let text = format!("{}: {why}; {then}", self.name);
        if self.said.as_ref() != Some(&text) {
            say(format_args!("{text}"));
            self.said = Some(text);
        }
    }

    fn well(&mut self) {
        if self.said.take().is_some() {
            say(format_args!("{}: events arrive again", self.name));
        }
    }
}

/// What a server says is not for a terminal to obey.
pub fn say(what: std::fmt::Arguments<'_>) {
    eprintln!("sentby: {NAME}: {}", crate::escape::line(what));
}

/// The thread's side.
struct Worker<'b> {
    client: Client,
    resource: Resource,
    retry_for: Duration,
    saying: Saying,
    buffer: &'b Buffer,
}

impl Worker<'_> {
    async fn run(&mut self) {
        loop {
            if self.buffer.left() == 0 {
                self.buffer.more.notified().await;
                continue;
            }
            self.gather().await;
            let batch = self.buffer.take();
            let lost = self.deliver(batch).await;
            self.buffer.done(lost);
        }
    }

    /// Lets more come, as long as there is room in a batch and time.
    async fn gather(&self) {
        let until = Instant::now() + GATHER;
        while !self.buffer.is_due() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || timeout(left, self.buffer.more.notified()).await.is_err() {
                break;
            }
        }
    }

    /// Sends a batch as often as that helps. Returns what of it is lost, and where.
    async fn deliver(&mut self, batch: Vec<LogRecord>) -> Option<(&'static str, u64)> {
        let n = batch.len() as u64;
        let request = request(&self.resource, batch);
        let begun = Instant::now();
        for attempt in 0.. {
            let sent = self.client.send(&request).await;
            // One that refuses what it gets is there; one that is busy takes nothing.
            self.buffer.heard(!matches!(sent, Err(Failure { again: true, .. })));
            match sent {
                Ok(Sent { rejected: 0, .. }) => {
                    self.saying.well();
                    return None;
                }
                Ok(Sent { rejected, message }) => {
                    self.saying.failed(message, "it rejects some events, which are lost");
                    return Some((REJECTED, rejected));
                }
                Err(Failure { again: false, why, .. }) => {
                    self.saying.failed(why, "it refuses events, which are lost");
                    return Some((REFUSED, n));
                }
                Err(Failure { why, after, .. }) => {
                    let left = self.retry_for.saturating_sub(begun.elapsed());
                    if left.is_zero() {
                        self.saying.failed(why, "it has been tried long enough; events are lost");
                        return Some((GIVEN_UP, n));
                    }
                    self.saying.failed(why, "trying again");
                    sleep(pause(attempt, after, random()).min(left)).await;
                }
            }
        }
        None
    }
}

/// How long to wait after a failure: longer each time, not at the moment at which all others
/// try again, and no shorter than is asked for.
fn pause(attempt: u32, asked: Option<Duration>, random: f64) -> Duration {
    let most = PAUSE.saturating_mul(2_u32.saturating_pow(attempt)).min(LONGEST_PAUSE);
    most.mul_f64(0.5 + random / 2.0).max(asked.unwrap_or_default())
}

/// From 0 to 1: the standard library's hashers begin with keys that nobody can guess.
fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 32;
    bits as f64 / f64::from(u32::MAX)
}

fn request(resource: &Resource, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope = InstrumentationScope {
        name: "sentby".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let logs = ScopeLogs { scope: Some(scope), log_records, ..ScopeLogs::default() };
    let logs = ResourceLogs {
        resource: Some(resource.clone()),
        scope_logs: vec![logs],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: vec![logs] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_differ() {
        let most = |attempt| pause(attempt, None, 1.0).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, 99].map(most), [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pause(3, None, 0.0), Duration::from_secs(4));
        let drawn: Vec<f64> = (0..100).map(|_| random()).collect();
        assert!(drawn.iter().all(|r| (0.0..=1.0).contains(r)), "{drawn:?}");
        assert!(drawn.iter().any(|r| *r < 0.5) && drawn.iter().any(|r| *r > 0.5), "{drawn:?}");
    }

    #[test]
    fn who_asks_for_a_pause_gets_it() {
        let asked = Some(Duration::from_secs(70));
        assert_eq!(pause(0, asked, 0.3), Duration::from_secs(70));
        assert_eq!(pause(9, Some(Duration::from_secs(1)), 1.0), LONGEST_PAUSE);
    }
}
