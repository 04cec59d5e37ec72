//! The output `otlp`: events as logs to a collector of OpenTelemetry, over HTTP or gRPC.
//!
//! Few events are held here: what a slow collector does not take yet stays in the output's
//! queue, and a source that can wait is waited for.

mod buffer;
mod client;
mod names;
mod record;
mod send;
mod verdict;

use super::{Sink, Standing, Wanted};
use crate::agent::status::Status;
use crate::cli::duration;
use crate::event::Event;
use anyhow::{Context, Result};
use buffer::Buffer;
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, Command, FromArgMatches};
use client::{Target, Way};
use http::header::HeaderMap;
use http::uri::Uri;
use opentelemetry_proto::tonic::resource::v1::Resource;
use send::{Sender, say};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub(super) const NAME: &str = "otlp";

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Output: OTLP")]
struct OtlpArgs {
    /// A collector of OpenTelemetry logs, e.g. http://127.0.0.1:4318; /v1/logs is added
    #[arg(long, value_name = "URL", value_parser = url)]
    otlp: Option<String>,

    /// How it is spoken to
    #[arg(long, value_name = "PROTOCOL", value_enum, default_value = "http", requires = "otlp")]
    otlp_protocol: Way,

    /// Goes with each request, e.g. "authorization=Bearer ..."; secrets belong in the file
    #[arg(long, value_name = "NAME=VALUE", requires = "otlp")]
    otlp_header: Vec<String>,

    /// Certificates of those who sign the collector's, instead of the system's
    #[arg(long, value_name = "FILE", requires = "otlp", value_hint = clap::ValueHint::FilePath)]
    otlp_ca: Option<PathBuf>,

    /// How long an answer may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration, requires = "otlp")]
    otlp_timeout: Duration,

    /// How long events are sent again; then they are lost, and counted
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration, requires = "otlp")]
    otlp_retry_for: Duration,

    /// How long the end waits for the collector
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration, requires = "otlp")]
    otlp_linger: Duration,
}

/// What holds for either protocol; the rest is looked at when that is known.
fn url(text: &str) -> Result<String, String> {
    client::uri(text, Way::Http).map(|_| text.to_owned())
}

pub(super) fn options(command: Command) -> Command {
    OtlpArgs::augment_args(command)
}

pub(super) fn wanted(matches: &ArgMatches, _: &Arc<Status>) -> Result<Option<Wanted>, clap::Error> {
    let args = OtlpArgs::from_arg_matches(matches)?;
    let Some(url) = &args.otlp else { return Ok(None) };
    let wrong = |option: &str, why: String| {
        clap::Error::raw(ErrorKind::ValueValidation, format!("--{option}: {why}\n"))
    };
    let uri = client::uri(url, args.otlp_protocol).map_err(|why| wrong("otlp", why))?;
    let headers = client::headers(&args.otlp_header).map_err(|why| wrong("otlp-header", why))?;
    let (settings, linger) = (format!("{args:?}"), args.otlp_linger);
    let open = move || Ok(Box::new(Otlp::open(&args, &uri, &headers)?) as Box<dyn Sink>);
    Ok(Some(Wanted { name: NAME, settings, linger, open: Arc::new(open) }))
}

struct Otlp {
    linger: Duration,
    buffer: Arc<Buffer>,
    sender: Sender,
}

impl Otlp {
    fn open(args: &OtlpArgs, uri: &Uri, headers: &HeaderMap) -> Result<Otlp> {
        let (way, ca) = (args.otlp_protocol, args.otlp_ca.as_deref());
        let target = Target::new(uri.clone(), way, headers.clone(), args.otlp_timeout, ca)?;
        let buffer = Arc::new(Buffer::default());
        let sender = Sender::start(target, resource()?, buffer.clone(), args.otlp_retry_for)?;
        Ok(Otlp { linger: args.otlp_linger, buffer, sender })
    }
}

/// What all records come from: this program on this machine.
fn resource() -> Result<Resource> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.context("reading this machine's name")?;
    let attributes = [
        ("service.name", "sentby"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("host.name", host.trim()),
        ("os.type", "linux"),
    ];
    let attributes = attributes.map(|(name, value)| record::pair(name, record::text(value)));
    Ok(Resource { attributes: attributes.into(), ..Resource::default() })
}

impl Sink for Otlp {
    fn ready(&mut self, wait: Duration) -> bool {
        // Without its thread the next event fails.
        !self.sender.is_alive() || self.buffer.has_room(wait)
    }

    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        if !self.sender.is_alive() {
            return Err(io::Error::other("its thread has ended"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(now.as_nanos()).unwrap_or_default();
        self.buffer.push(record::record(event, now));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.left() > 0 {
            self.buffer.more.notify_one();
        }
        Ok(())
    }

    fn waiting(&self) -> u64 {
        self.buffer.left()
    }

    fn lost(&self) -> Vec<(&'static str, u64)> {
        self.buffer.lost()
    }

    fn standing(&self) -> Standing {
        Standing { connected: self.buffer.connected(), ..Standing::default() }
    }

    fn settle(&mut self) -> io::Result<()> {
        self.buffer.end();
        self.buffer.drained(Instant::now() + self.linger);
        self.sender.stop();
        let left = self.buffer.left();
        if left > 0 {
            say(format_args!("{left} events have not arrived"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;
    use std::thread::sleep;

    #[test]
    fn where_nobody_listens_it_is_not_connected_and_keeps_what_it_has() {
        let given = ["agent", "--otlp=http://127.0.0.1:1"];
        let matches = options(Command::new("agent")).get_matches_from(given);
        let wanted = wanted(&matches, &Arc::new(Status::new())).unwrap().expect("asked for");
        let mut sink = (wanted.open)().unwrap();
        assert_eq!(sink.standing().connected, None);
        sink.event(&Sample::ping().event()).unwrap();
        sink.flush().unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while sink.standing().connected.is_none() && Instant::now() < until {
            sleep(Duration::from_millis(5));
        }
        assert_eq!(sink.standing().connected, Some(false));
        assert!(sink.ready(Duration::ZERO));
        assert_eq!((sink.waiting(), sink.lost()), (1, Vec::new()));
    }
}
