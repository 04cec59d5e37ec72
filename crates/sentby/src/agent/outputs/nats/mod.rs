//! The output `nats`: events to a stream of NATS JetStream.
//!
//! An event goes to the spool on disk first, and from there to the server, in a thread of its
//! own: so a server that is away costs room on the disk, and no event until that is used up.
//! A record stays in the spool until the server has acknowledged it. One that was sent and not
//! acknowledged is sent again under the same id, by which the server knows it
//! (`Nats-Msg-Id`, within the stream's window).

mod beat;
mod publish;
mod spool;

use super::{Sink, Standing, Wanted};
use crate::agent::status::Status;
use crate::cli::{buffer_size, duration};
use crate::event::Event;
use crate::nats::{self, ServerArgs};
use crate::output::json::Writer;
use crate::store::cli::age;
use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use publish::{Publisher, Server, Shared};
use rustix::time::{ClockId, clock_gettime};
use spool::Spool;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub(super) const NAME: &str = "nats";

/// Where in the ledger of the output events are that the spool had no room for.
const SPOOL_FULL: &str = "spool-full";

/// Bytes of records that are written to the spool at once.
const WRITE: u64 = 256;

#[derive(Args, Debug)]
#[command(next_help_heading = "Output: NATS JetStream")]
struct NatsArgs {
    #[command(flatten)]
    server: ServerArgs,

    /// Servers of a cluster that each keep it, where it is made here
    #[arg(long, value_name = "N", default_value = "1", requires = "nats",
          value_parser = clap::value_parser!(u8).range(1..=5))]
    nats_replicas: u8,

    /// How long it keeps events, where it is made here, e.g. 12h or 7d
    #[arg(long, value_name = "AGE", value_parser = age, requires = "nats")]
    nats_max_age: Option<Duration>,

    /// This machine's name in subjects and events, instead of its host name
    #[arg(long, value_name = "NAME", requires = "nats")]
    nats_host: Option<String>,

    /// Folder for events that the servers do not have yet
    #[arg(long, value_name = "DIR", default_value = "/var/lib/sentby/spool", requires = "nats")]
    spool: PathBuf,

    /// Room for them on the disk; then the oldest are dropped, and counted
    #[arg(long, value_name = "SIZE", default_value = "256M", value_parser = buffer_size, requires = "nats")]
    spool_size: usize,

    /// How long the end waits for the servers; what they do not have is sent at the next start
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration, requires = "nats")]
    nats_linger: Duration,
}

pub(super) fn options(command: Command) -> Command {
    NatsArgs::augment_args(command)
}

pub(super) fn wanted(
    matches: &ArgMatches,
    status: &Arc<Status>,
) -> Result<Option<Wanted>, clap::Error> {
    let args = NatsArgs::from_arg_matches(matches)?;
    if args.server.nats.is_empty() {
        return Ok(None);
    }
    let (settings, linger) = (format!("{args:?}"), args.nats_linger);
    let status = status.clone();
    let open = move || Ok(Box::new(Nats::open(&args, &status)?) as Box<dyn Sink>);
    Ok(Some(Wanted { name: NAME, settings, linger, open: Arc::new(open) }))
}

struct Nats {
    host: String,
    linger: Duration,
    line: Vec<u8>,
    writer: Writer,
    shared: Arc<Shared>,
    publisher: Publisher,
}

impl Nats {
    fn open(args: &NatsArgs, status: &Arc<Status>) -> Result<Nats> {
        let host = match &args.nats_host {
            Some(host) => host.clone(),
            None => host_name().context("reading this machine's name")?,
        };
        let spool = Spool::open(&args.spool, args.spool_size as u64, run_id()?)?;
        let shared = Arc::new(Shared::new(spool));
        let server = Server {
            args: args.server.clone(),
            replicas: args.nats_replicas.into(),
            max_age: args.nats_max_age,
            host: host.clone(),
            status: status.clone(),
        };
        Ok(Nats {
            host,
            linger: args.nats_linger,
            line: Vec::new(),
            writer: Writer::new(),
            publisher: Publisher::start(server, shared.clone())?,
            shared,
        })
    }
}

fn host_name() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/hostname")?.trim().to_owned())
}

/// What no other run has: the boot, and when in it this one began.
fn run_id() -> Result<String> {
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("reading the boot's id")?;
    let now = clock_gettime(ClockId::Boottime);
    Ok(format!("{}.{:x}{:08x}", boot.trim(), now.tv_sec, now.tv_nsec))
}

impl Sink for Nats {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let event = Event { host: Some(&self.host), ..event.clone() };
        self.line.clear();
        self.writer.write(&event, &mut self.line)?;
        let subject = nats::subject(&self.host, event.request.protocol.name());
        let mut spool = self.shared.spool();
        spool.push(&subject, &self.line);
        if spool.pending() >= WRITE { spool.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared.spool().flush()?;
        self.shared.wake();
        Ok(())
    }

    fn waiting(&self) -> u64 {
        self.shared.spool().pending()
    }

    fn lost(&self) -> Vec<(&'static str, u64)> {
        vec![(SPOOL_FULL, self.shared.spool().dropped)]
    }

    fn standing(&self) -> Standing {
        self.shared.standing()
    }

    fn settle(&mut self) -> io::Result<()> {
        self.flush()?;
        self.publisher.finish(self.linger);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_have_ids_of_their_own() {
        assert_ne!(run_id().unwrap(), run_id().unwrap());
    }
}
