//! The output `prometheus`: counts to be fetched, in Prometheus's text format (version 0.0.4).
//!
//! What events tell is summed here ([`series`]); the rest is the agent's own ([`Status`]) and
//! the kernel's. Nothing is kept of single events.

mod page;
mod series;
mod server;

use super::{Sink, Wanted};
use crate::agent::status::Status;
use crate::event::Event;
use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use series::Series;
use server::Server;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const NAME: &str = "prometheus";

#[derive(Args, Debug)]
#[command(next_help_heading = "Output: Prometheus")]
struct PrometheusArgs {
    /// Serve counts at /metrics, to this machine alone unless another ADDRESS is given
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = address)]
    prometheus: Option<SocketAddr>,

    /// Tell at most N combinations of protocol, process and unit apart; the rest is `other`
    #[arg(long, value_name = "N", default_value = "1000", requires = "prometheus",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    prometheus_series: u32,
}

fn address(text: &str) -> Result<SocketAddr, String> {
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| "give a port such as 9817, or 192.0.2.1:9817, [::]:9817".to_owned())
}

pub(super) fn options(command: Command) -> Command {
    PrometheusArgs::augment_args(command)
}

pub(super) fn wanted(
    matches: &ArgMatches,
    status: &Arc<Status>,
) -> Result<Option<Wanted>, clap::Error> {
    let args = PrometheusArgs::from_arg_matches(matches)?;
    let Some(address) = args.prometheus else { return Ok(None) };
    let limit = args.prometheus_series as usize;
    let status = status.clone();
    let open = move || {
        let sink = Prometheus::open(address, limit, &status)?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    };
    Ok(Some(Wanted {
        name: NAME,
        settings: format!("{args:?}"),
        linger: Duration::ZERO,
        open: Arc::new(open),
    }))
}

struct Prometheus {
    series: Arc<Mutex<Series>>,
    /// Serves as long as this lives.
    _server: Server,
}

impl Prometheus {
    fn open(address: SocketAddr, limit: usize, status: &Arc<Status>) -> Result<Prometheus> {
        let series = Arc::new(Mutex::new(Series::new(limit)));
        let (of_page, status) = (series.clone(), status.clone());
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        let page = move || {
            let mut series = of_page.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            page::write(&mut series, &status, kernel.as_deref().map(str::trim))
        };
        let server =
            Server::open(address, page).with_context(|| format!("serving at {address}"))?;
        Ok(Prometheus { series, _server: server })
    }
}

impl Sink for Prometheus {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.series.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).add(event);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn waiting(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests;
