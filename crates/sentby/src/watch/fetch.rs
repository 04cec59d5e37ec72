//! Messages of a stream, in a thread with a runtime of its own. When nobody takes them it
//! waits, and they stay with the server.

use crate::nats::ServerArgs;
use anyhow::{Context, Result, anyhow};
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use async_nats::jetstream::{self, stream::Stream};
use futures_util::StreamExt;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread;
use std::time::Duration;
use time::OffsetDateTime;
use tokio::time::timeout;

/// Messages that may wait to be read.
const CHANNEL: usize = 1024;

/// How long the servers may take to answer at first.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long one request for messages stands; the server shows twice in it that it is there.
/// Without such a sign for that long, two times, the consumer is made anew where its leader is
/// now. Without a limit that would take a minute.
const REQUEST: Duration = Duration::from_secs(2);

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
        let opening = async {
            let client = async_nats::connect_with_options(addresses, options).await?;
            messages(jetstream::new(client), &wanted).await
        };
        let names = wanted.server.names();
        let done = match timeout(PATIENCE, opening).await {
            Ok(done) => done.with_context(|| format!("watching {names}")),
            Err(_) => Err(anyhow!("watching {names}: no answer")),
        };
        match done {
            Err(e) => drop(opened.send(Err(e))),
            Ok(open) => {
                let _ = opened.send(Ok(()));
                if let Err(e) = forward(open, (wanted.follow, &wanted.subjects), &to).await {
                    let _ = to.send(Err(e.context(format!("watching {names}"))));
                }
            }
        }
    };
    thread.spawn(move || {
        crate::privileges::drop_unneeded();
        runtime.block_on(fetch);
    })?;
    when_opened.recv().context("the fetching thread ended early")??;
    Ok(from)
}

type Messages = jetstream::consumer::pull::Ordered;

/// What the servers have promised.
struct Open {
    messages: Messages,
    /// How many of them are there already.
    there: u64,
    /// The number in the stream behind which they begin. A consumer that is lost before its
    /// first message is made anew from the beginning of the stream.
    behind: u64,
}

/// The messages that are wanted.
async fn messages(context: jetstream::Context, wanted: &Wanted) -> Result<Open> {
    let name = &wanted.server.nats_stream;
    let stream: Stream =
        context.get_stream(name).await.with_context(|| format!("the stream {name}"))?;
    let deliver_policy = match wanted.since {
        None => DeliverPolicy::New,
        Some(since) => DeliverPolicy::ByStartTime {
            start_time: OffsetDateTime::from_unix_timestamp_nanos(since.into())?,
        },
    };
    // Servers before 2.10 know one subject, and pass over several without a word.
    let mut config =
        OrderedConfig { deliver_policy, max_expires: REQUEST, ..OrderedConfig::default() };
    match wanted.subjects.as_slice() {
        [only] => config.filter_subject = only.clone(),
        several => config.filter_subjects = several.to_vec(),
    }
    let consumer = stream.create_consumer(config).await?;
    let info = consumer.cached_info();
    let (there, behind) = (info.num_pending, info.delivered.stream_sequence);
    Ok(Open { messages: consumer.messages().await?, there, behind })
}

/// Hands messages on; ends when nobody takes them, or when all was delivered and no more is
/// wanted.
async fn forward(
    Open { mut messages, there, behind }: Open,
    (follow, subjects): (bool, &[String]),
    to: &SyncSender<Result<Published>>,
) -> Result<()> {
    if !follow && there == 0 {
        return Ok(());
    }
    while let Some(message) = messages.next().await {
        let message = message?;
        let info = message.info().map_err(|e| anyhow!(e))?;
        let (number, pending) = (info.stream_sequence, info.pending);
        let wanted = number > behind && subjects.iter().any(|subject| is_of(&message.subject, subject));
        let published =
            Published { subject: message.subject.to_string(), object: message.payload.to_vec() };
        let gone = wanted && to.send(Ok(published)).is_err();
        if gone || (!follow && pending == 0) {
            return Ok(());
        }
    }
    Ok(())
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
