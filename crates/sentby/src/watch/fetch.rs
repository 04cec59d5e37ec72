//! Messages of a stream, in a thread with a runtime of its own. When nobody takes them it
//! waits, and they stay with the server.

use crate::escape;
use crate::nats::ServerArgs;
use anyhow::{Context, Result, anyhow};
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, stream::Stream};
use async_nats::{ConnectOptions, ServerAddr};
use futures_util::StreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use tokio::time::{sleep, timeout};

/// Messages that may wait to be read.
const CHANNEL: usize = 1024;

/// How long the servers may take to answer at first.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer may take later: a server that has died gives none, and another is asked.
const ANSWER: Duration = Duration::from_secs(3);

/// How often a server that has no messages shows that it is there. Without such a sign for
/// twice as long, messages are asked for anew, from the last on, where they are to be had now.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long one request for messages stands.
const REQUEST: Duration = Duration::from_secs(30);

/// Messages that are asked for at once.
const REQUESTED: usize = 500;

/// How long a server keeps a place in the stream for a watcher that is gone.
const FORGET: Duration = Duration::from_secs(30);

/// The pause between attempts to ask anew.
const PAUSE: Duration = Duration::from_millis(300);

/// What is asked for.
pub struct Wanted {
    /// Where.
    pub server: ServerArgs,
    /// Which subjects.
    pub subjects: Vec<String>,
    /// From when on: nanoseconds since the Unix epoch; `None` is from now on.
    pub since: Option<i64>,
    /// Whether to go on when all that is there was delivered.
    pub follow: bool,
    /// How much was delivered of what was there, and how much that is.
    pub progress: (Arc<AtomicU64>, Arc<AtomicU64>),
}

/// A message.
pub struct Published {
    /// Which the servers let its sender publish at.
    pub subject: String,
    /// An event, if it is what it should be.
    pub object: Vec<u8>,
}

/// The messages, once the servers have promised them; the last may be why there are no more.
pub fn start(wanted: Wanted) -> Result<Receiver<Result<Published>>> {
    let options = wanted.server.options("sentby watch")?;
    let addresses = wanted.server.addresses()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (to, from) = mpsc::sync_channel(CHANNEL);
    let (opened, when_opened) = mpsc::channel();
    let thread = thread::Builder::new().name("sentby-fetch".to_owned());
    let fetch = async move {
        let names = wanted.server.names();
        let watching = || format!("watching {names}");
        let opening = Place::open(&wanted, addresses, options);
        let mut place = match timeout(PATIENCE, opening).await {
            Ok(Ok(place)) => place,
            Ok(Err(e)) => return drop(opened.send(Err(e.context(watching())))),
            Err(_) => return drop(opened.send(Err(anyhow!("{}: no answer", watching())))),
        };
        let _ = opened.send(Ok(()));
        while let Next::Anew = place.forward(&to).await {
            place.again().await;
        }
    };
    thread.spawn(move || {
        crate::privileges::drop_unneeded();
        runtime.block_on(fetch);
    })?;
    when_opened.recv().context("the fetching thread ended early")??;
    Ok(from)
}

/// What becomes of a watcher whose messages have ended.
enum Next {
    /// Nobody takes them, or all was delivered and no more is wanted.
    End,
    /// They are asked for anew.
    Anew,
}

/// A place in the stream. It is kept here: the server that keeps it too may die with it.
struct Place<'a> {
    wanted: &'a Wanted,
    context: jetstream::Context,
    messages: pull::Stream,
    /// How many messages are there already.
    there: u64,
    /// The number of the last one that was handed on, or of the one before the first.
    last: u64,
}

impl Place<'_> {
    async fn open(
        wanted: &Wanted,
        addresses: Vec<ServerAddr>,
        options: ConnectOptions,
    ) -> Result<Place<'_>> {
        let client = async_nats::connect_with_options(addresses, options).await?;
        let context = jetstream::new(client);
        let deliver = match wanted.since {
            None => DeliverPolicy::New,
            Some(since) => DeliverPolicy::ByStartTime {
                start_time: OffsetDateTime::from_unix_timestamp_nanos(since.into())?,
            },
        };
        let (messages, there, last) = messages(&context, wanted, deliver).await?;
        wanted.progress.1.store(there, Ordering::Relaxed);
        Ok(Place { wanted, context, messages, there, last })
    }

    /// Hands messages on, each once.
    async fn forward(&mut self, to: &SyncSender<Result<Published>>) -> Next {
        if !self.wanted.follow && self.there == 0 {
            return Next::End;
        }
        // Counted by the consumer: a gap is a message that was lost on the way.
        let mut expected = 1;
        while let Some(Ok(message)) = self.messages.next().await {
            let Ok(info) = message.info() else { continue };
            let (number, pending) = (info.stream_sequence, info.pending);
            if info.consumer_sequence != expected {
                break;
            }
            expected += 1;
            let (done, of) = &self.wanted.progress;
            done.store(of.load(Ordering::Relaxed).saturating_sub(pending), Ordering::Relaxed);
            let of = |subject: &String| is_of(&message.subject, subject);
            let wanted = number > self.last && self.wanted.subjects.iter().any(of);
            self.last = self.last.max(number);
            let published = Published {
                subject: message.subject.to_string(),
                object: message.payload.to_vec(),
            };
            let gone = wanted && to.send(Ok(published)).is_err();
            if gone || (!self.wanted.follow && pending == 0) {
                return Next::End;
            }
        }
        Next::Anew
    }

    /// Asks for what follows the last one, until there is an answer.
    async fn again(&mut self) {
        let (begun, mut said) = (Instant::now(), false);
        loop {
            let deliver = DeliverPolicy::ByStartSequence { start_sequence: self.last + 1 };
            let asking = messages(&self.context, self.wanted, deliver);
            let failed = match timeout(ANSWER, asking).await {
                Ok(Ok((messages, there, _))) => {
                    (self.messages, self.there) = (messages, there);
                    return;
                }
                Ok(Err(e)) => format!("{e:#}"),
                Err(_) => "no answer".to_owned(),
            };
            if !said && begun.elapsed() > PATIENCE {
                said = true;
                let names = self.wanted.server.names();
                let text = escape::line(format_args!("{failed}"));
                eprintln!("sentby: watching {names}: {text}; trying until it works again");
            }
            sleep(PAUSE).await;
        }
    }
}

/// The messages that are wanted, how many of them are there already, and the number of the one
/// before the first.
async fn messages(
    context: &jetstream::Context,
    wanted: &Wanted,
    deliver_policy: DeliverPolicy,
) -> Result<(pull::Stream, u64, u64)> {
    let name = &wanted.server.nats_stream;
    let stream: Stream =
        context.get_stream(name).await.with_context(|| format!("the stream {name}"))?;
    let mut config = pull::Config {
        deliver_policy,
        ack_policy: AckPolicy::None,
        inactive_threshold: FORGET,
        num_replicas: 1,
        memory_storage: true,
        ..pull::Config::default()
    };
    // Servers before 2.10 know one subject, and pass over several without a word.
    match wanted.subjects.as_slice() {
        [only] => config.filter_subject = only.clone(),
        several => config.filter_subjects = several.to_vec(),
    }
    let consumer = stream.create_consumer(config).await?;
    let info = consumer.cached_info();
    let (there, before) = (info.num_pending, info.delivered.stream_sequence);
    let request = consumer.stream().max_messages_per_batch(REQUESTED);
    let messages = request.expires(REQUEST).heartbeat(HEARTBEAT).messages().await?;
    Ok((messages, there, before))
}

/// Whether a subject is one of those that another stands for, by `*` and `>`.
fn is_of(subject: &str, wanted: &str) -> bool {
    let (mut words, mut wanted) = (subject.split('.'), wanted.split('.'));
    loop {
        match (words.next(), wanted.next()) {
            (None, None) => return true,
            (Some(_), Some(">")) => return true,
            (Some(word), Some(want)) if want == "*" || want == word => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_are_compared_word_by_word() {
        for (wanted, is) in [
            ("sentby.one.dns", true),
            ("sentby.*.dns", true),
            ("sentby.>", true),
            ("sentby.one", false),
            ("sentby.one.dns.>", false),
            ("sentby.two.*", false),
        ] {
            assert_eq!(is_of("sentby.one.dns", wanted), is, "{wanted}");
        }
    }
}
