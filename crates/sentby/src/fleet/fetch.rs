//! The last that each agent has told of itself.

use crate::nats::{STATUS, ServerArgs, status_stream};
use anyhow::{Context, Result, anyhow};
use async_nats::jetstream;
use async_nats::jetstream::consumer::{DeliverPolicy, pull::OrderedConfig};
use futures_util::StreamExt;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

/// How long the servers may take for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most agents that are read.
const MAX_AGENTS: usize = 100_000;

/// Longest object that is read.
const MAX_OBJECT: usize = 64 << 10;

/// What one told.
pub struct Told {
    /// The machine, as subjects name it.
    pub token: String,
    /// An object, if it is what it should be.
    pub object: Vec<u8>,
    /// When the servers got it.
    pub at: SystemTime,
}

/// All that is there.
pub fn all(server: &ServerArgs) -> Result<Vec<Told>> {
    let names = server.names();
    let (options, addresses) = (server.options("sentby fleet")?, server.addresses()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asking = || format!("asking {names}");
    runtime.block_on(async {
        let connecting = async_nats::connect_with_options(addresses, options);
        let client = timeout(PATIENCE, connecting).await.map_err(|_| anyhow!("no answer"));
        let client = client.and_then(|done| Ok(done?)).with_context(asking)?;
        read(&jetstream::new(client), &status_stream(&server.nats_stream))
            .await
            .with_context(asking)
    })
}

async fn read(context: &jetstream::Context, name: &str) -> Result<Vec<Told>> {
    let stream = timeout(PATIENCE, context.get_stream(name)).await.context("no answer")?;
    let stream = stream.with_context(|| format!("the stream {name} (agents make it)"))?;
    let config = OrderedConfig {
        filter_subject: format!("{STATUS}.*"),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ..OrderedConfig::default()
    };
    let consumer =
        timeout(PATIENCE, stream.create_consumer(config)).await.context("no answer")??;
    let mut left = consumer.cached_info().num_pending;
    let mut messages = consumer.messages().await?;
    let mut told = Vec::new();
    while left > 0 && told.len() < MAX_AGENTS {
        let next = timeout(PATIENCE, messages.next()).await.context("no answer")?;
        let Some(message) = next else { break };
        let message = message?;
        let info = message.info().map_err(|e| anyhow!(e))?;
        let (at, pending) = (info.published, info.pending);
        let token = message.subject.strip_prefix(STATUS).and_then(|t| t.strip_prefix('.'));
        if let Some(token) = token.filter(|_| message.payload.len() <= MAX_OBJECT) {
            let (token, object) = (token.to_owned(), message.payload.to_vec());
            told.push(Told { token, object, at: at.into() });
        }
        left = pending;
    }
    Ok(told)
}
