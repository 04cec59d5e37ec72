//! What an agent tells of itself to the servers, now and then: so that `sentby fleet status`
//! sees who reports, and who does not any more.
//!
//! A stream of its own keeps the last of each machine. Events do not wait for it, and where
//! the agent may not write there, events go on.

use super::NAME;
use super::publish::{Server, Shared, say};
use crate::agent::beat;
use crate::nats::{STATUS, status_stream, status_subject};
use anyhow::{Context, Result};
use async_nats::Client;
use async_nats::jetstream::{self, stream};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long the servers may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the last may take: nobody should wait for it.
const SHORT: Duration = Duration::from_secs(1);

/// How often it is looked whether the servers take events.
const NOTICE: Duration = Duration::from_millis(200);

/// How long the pause is after a failure. Mostly the agent is not allowed to, which lasts.
const PAUSE: Duration = Duration::from_secs(300);

/// How long a machine is remembered that tells nothing.
const REMEMBERED: Duration = Duration::from_secs(30 * 24 * 3600);

/// Tells it every [`beat::EVERY`] seconds, for ever.
pub async fn again_and_again(client: &Client, server: &Server, shared: &Shared) {
    let context = jetstream::new(client.clone());
    let (mut made, mut said) = (false, None);
    loop {
        if !shared.is_connected() {
            sleep(NOTICE).await;
            continue;
        }
        let done =
            timeout(PATIENCE, tell(&context, (server, shared), &mut made, beat::RUNNING)).await;
        let failed = done.context("no answer").flatten().err();
        let text = failed.map(|e| format!("{e:#}"));
        if said != text {
            if let Some(text) = &text {
                say(format_args!("telling of this agent: {text}; events are not affected"));
            }
            said = text;
        }
        match said {
            None => sleep(beat::EVERY).await,
            // While the servers are away, nothing is known yet.
            Some(_) if !shared.is_connected() => {}
            Some(_) => sleep(PAUSE).await,
        }
    }
}

/// Tells that it ends.
pub async fn last(client: &Client, server: &Server, shared: &Shared) {
    if shared.is_connected() {
        let context = jetstream::new(client.clone());
        let _ = timeout(SHORT, tell(&context, (server, shared), &mut true, beat::STOPPED)).await;
    }
}

async fn tell(
    context: &jetstream::Context,
    (server, shared): (&Server, &Shared),
    made: &mut bool,
    state: &str,
) -> Result<()> {
    if !*made {
        let name = status_stream(&server.args.nats_stream);
        let wanted = stream::Config {
            name: name.clone(),
            subjects: vec![format!("{STATUS}.*")],
            num_replicas: server.replicas,
            max_messages_per_subject: 1,
            max_age: REMEMBERED,
            ..stream::Config::default()
        };
        let made_now = context.get_or_create_stream(wanted).await;
        made_now.with_context(|| format!("the stream {name}"))?;
        *made = true;
    }
    let own = (NAME, shared.standing());
    let message = beat::message(&server.status, &server.host, state, own);
    let sent = context.publish(status_subject(&server.host), message.into()).await;
    sent.context("publishing")?.await.context("publishing")?;
    Ok(())
}
