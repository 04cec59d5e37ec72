//! `sentby fleet`: who reports, and who does not any more.

mod fetch;
mod table;

use crate::filter::UsageError;
use crate::nats::{ServerArgs, token};
use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use fetch::Told;
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, SystemTime};

/// What `fleet` does.
#[derive(Subcommand, Debug)]
pub enum FleetTask {
    /// The agents: when each was heard of last, what it runs on, and what it lost
    Status(StatusArgs),
}

/// Options of `fleet status`.
#[derive(Args, Debug)]
pub struct StatusArgs {
    #[command(flatten, next_help_heading = "Fleet")]
    pub server: ServerArgs,

    /// These machines; each that is missing is said
    #[arg(long, value_name = "HOST", value_delimiter = ',', help_heading = "Fleet")]
    pub on: Vec<String>,

    /// One JSON object a line (docs/fleet.md)
    #[arg(long)]
    pub json: bool,

    /// Exit with 1 if an agent is silent or missing
    #[arg(long)]
    pub check: bool,
}

/// Reports that an agent may miss before it is called silent.
const MISSED: u64 = 3;

/// How an agent does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It reports.
    Running,
    /// It was told to stop.
    Stopped,
    /// It ought to have reported since.
    Silent,
    /// It never did.
    Missing,
}

impl State {
    /// The word for people and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Stopped => "stopped",
            State::Silent => "silent",
            State::Missing => "missing",
        }
    }
}

/// An agent.
#[derive(Debug)]
pub struct Agent {
    /// Its machine, as it says; or as it was asked for.
    pub host: String,
    /// How it does.
    pub state: State,
    /// How long ago the servers heard of it.
    pub heard: Option<Duration>,
    /// What it told.
    pub told: Value,
}

/// Runs it.
pub fn run(task: &FleetTask) -> Result<()> {
    let FleetTask::Status(args) = task;
    if args.server.nats.is_empty() {
        Err(UsageError("fleet status needs --nats URL: where agents publish".to_owned()))?;
    }
    crate::privileges::drop_unneeded();
    let told = fetch::all(&args.server)?;
    let agents = agents(told, &args.on, SystemTime::now());
    let mut out = BufWriter::new(io::stdout().lock());
    match args.json {
        true => table::json(&agents, &mut out)?,
        false => table::text(&agents, &mut out)?,
    }
    out.flush()?;
    let bad = agents.iter().filter(|a| matches!(a.state, State::Silent | State::Missing)).count();
    if args.check && bad > 0 {
        bail!("{bad} of {} agents are silent or missing", agents.len());
    }
    Ok(())
}

/// What is said of each machine that is wanted, in the order of their names.
fn agents(told: Vec<Told>, wanted: &[String], now: SystemTime) -> Vec<Agent> {
    let mut agents: Vec<Agent> = told.into_iter().filter_map(|told| agent(told, now)).collect();
    if !wanted.is_empty() {
        let is = |agent: &Agent, host: &str| token(&agent.host) == token(host);
        agents.retain(|agent| wanted.iter().any(|host| is(agent, host)));
        for host in wanted {
            if !agents.iter().any(|agent| is(agent, host)) {
                let (state, told) = (State::Missing, Value::Null);
                agents.push(Agent { host: host.clone(), state, heard: None, told });
            }
        }
    }
    agents.sort_by(|a, b| a.host.cmp(&b.host));
    agents
}

/// `None` where a machine speaks for another, or says nothing that can be read.
fn agent(told: Told, now: SystemTime) -> Option<Agent> {
    let value: Value = serde_json::from_slice(&told.object).ok()?;
    let host = value.get("host")?.as_str()?.to_owned();
    if told.token != token(&host) {
        return None;
    }
    // Clocks differ a little.
    let heard = now.duration_since(told.at).unwrap_or_default();
    let every = value.get("every").and_then(Value::as_u64).unwrap_or(30).clamp(1, 86_400);
    let state = match value.get("state").and_then(Value::as_str) {
        Some(crate::agent::STOPPED) => State::Stopped,
        _ if heard > Duration::from_secs(every * MISSED) => State::Silent,
        _ => State::Running,
    };
    Some(Agent { host, state, heard: Some(heard), told: value })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(token: &str, object: &str, ago: u64) -> Told {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000 - ago);
        Told { token: token.to_owned(), object: object.as_bytes().to_vec(), at }
    }

    #[test]
    fn who_is_late_is_silent_unless_it_was_told_to_stop() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let running =
            |host: &str| format!("{{\"host\":\"{host}\",\"every\":30,\"state\":\"running\"}}");
        let all = vec![
            told("b_example", &running("b.example"), 5),
            told("a", &running("a"), 91),
            told("c", "{\"host\":\"c\",\"state\":\"stopped\"}", 9000),
            told("d", &running("d"), 90),
            // One that speaks for another, and none at all.
            told("e", &running("a"), 1),
            told("f", "[]", 1),
        ];
        let found = agents(all, &[], now);
        let states: Vec<_> = found.iter().map(|a| (a.host.as_str(), a.state.name())).collect();
        let want = [("a", "silent"), ("b.example", "running"), ("c", "stopped"), ("d", "running")];
        assert_eq!(states, want);
    }

    #[test]
    fn who_is_asked_for_and_never_reported_is_missing() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let all = vec![told("a_b", "{\"host\":\"a.b\"}", 1), told("c", "{\"host\":\"c\"}", 1)];
        let found = agents(all, &["a_b".into(), "x".into()], now);
        let states: Vec<_> = found.iter().map(|a| (a.host.as_str(), a.state)).collect();
        assert_eq!(states, [("a.b", State::Running), ("x", State::Missing)]);
    }
}
