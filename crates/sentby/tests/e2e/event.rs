//! What sentby says, read as its users would: events (NDJSON) and the ledger.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Evidence that names a process.
pub const NAMES_A_PROCESS: [&str; 3] = ["task", "owner", "procfs"];

/// One line of `--json`. Unknown keys are fine: additions are allowed, renames not.
#[derive(Clone, Debug, Deserialize)]
pub struct Event {
    pub time: String,
    pub proto: String,
    pub evidence: String,
    pub hook: String,
    pub pid: Option<u32>,
    pub tid: Option<u32>,
    pub pid_in_ns: Option<u32>,
    pub start: Option<String>,
    pub ppid: Option<u32>,
    pub ancestors: Option<Vec<String>>,
    pub comm: Option<String>,
    pub comm_hex: Option<String>,
    pub process_comm: Option<String>,
    pub exe: Option<String>,
    pub exe_hex: Option<String>,
    pub go: Option<Value>,
    #[serde(default)]
    pub exe_deleted: bool,
    pub cmdline: Option<Vec<String>>,
    pub cmdline_hex: Option<Value>,
    #[serde(default)]
    pub cmdline_truncated: bool,
    pub uid: Option<u32>,
    pub user: Option<String>,
    pub cgroup: Option<String>,
    pub unit: Option<String>,
    pub container: Option<String>,
    pub container_name: Option<String>,
    pub pod: Option<String>,
    pub pod_namespace: Option<String>,
    pub netns: Option<u32>,
    pub src: IpAddr,
    pub sport: Option<u16>,
    pub dst: IpAddr,
    pub dport: Option<u16>,
    pub dst_name: Option<String>,
    pub dst_name_from: Option<String>,
    pub iface: Option<String>,
    pub len: Option<u32>,
    pub kernel_part: Option<String>,
    pub candidates: Option<Vec<Value>>,
    pub faults: Option<Vec<String>>,
    /// Empty in other protocols' events.
    #[serde(default)]
    pub icmp: Icmp,
    /// The fields of the event's own protocol.
    #[serde(skip)]
    pub own: Value,
}

/// The protocol's own fields.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Icmp {
    /// Absent for types without a name.
    #[serde(rename = "type", default)]
    pub kind: String,
    pub type_number: u8,
    pub code: u8,
    pub id: Option<u16>,
    pub seq: Option<u16>,
}

/// What is left of an event when a hundred thousand of them are looked at.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Brief {
    pub pid: Option<u32>,
    pub netns: Option<u32>,
    pub icmp: BriefIcmp,
}

/// See [`Brief`].
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct BriefIcmp {
    pub type_number: u8,
    pub seq: Option<u16>,
}

impl Event {
    /// Reads one line and holds it to the schema.
    pub fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).context("not JSON")?;
        no_nulls(&value, "")?;
        let mut event: Event = serde_json::from_str(line).context("not an event")?;
        event.own = value.get(&event.proto).context("nothing of the protocol itself")?.clone();
        event.check()?;
        Ok(event)
    }

    /// Whether a process sent it.
    pub fn has_process(&self) -> bool {
        NAMES_A_PROCESS.contains(&self.evidence.as_str())
    }

    fn check(&self) -> Result<()> {
        epoch(&self.time)?;
        match self.evidence.as_str() {
            // Who lives outside sentby's pid namespace has no pid there.
            "task" | "owner" => {
                ensure!(self.pid.is_some() || self.tid.is_none(), "a tid without a pid");
                ensure!(self.candidates.is_none(), "evidence {} with candidates", self.evidence);
            }
            "procfs" => ensure!(
                self.pid.is_some() != self.candidates.is_some(),
                "procfs names one pid or several candidates"
            ),
            "kernel" | "forwarded" | "unknown" => {
                for (key, present) in [
                    ("pid", self.pid.is_some()),
                    ("tid", self.tid.is_some()),
                    ("comm", self.comm.is_some()),
                    ("cmdline", self.cmdline.is_some()),
                    ("exe", self.exe.is_some()),
                    ("uid", self.uid.is_some()),
                    ("ppid", self.ppid.is_some()),
                    ("candidates", self.candidates.is_some()),
                ] {
                    ensure!(!present, "evidence {} and yet {key}", self.evidence);
                }
            }
            other => bail!("evidence {other:?}"),
        }
        ensure!(self.pid != Some(0) && self.tid != Some(0), "pid or tid 0");
        ensure!(
            self.kernel_part.is_none() || self.evidence == "kernel",
            "kernel_part with evidence {}",
            self.evidence
        );
        ensure!(self.netns != Some(0) && self.len != Some(0), "0 for unknown");
        ensure!(self.ancestors.as_ref().is_none_or(|a| a.len() <= 8), "too many ancestors");
        Ok(())
    }
}

/// Absent is absent, never null.
fn no_nulls(value: &Value, path: &str) -> Result<()> {
    match value {
        Value::Null => bail!("null at {path:?}"),
        Value::Array(items) => items.iter().try_for_each(|v| no_nulls(v, path)),
        Value::Object(map) => map.iter().try_for_each(|(k, v)| no_nulls(v, &format!("{path}.{k}"))),
        _ => Ok(()),
    }
}

/// Seconds since the Unix epoch of an RFC 3339 time in UTC (`…Z`).
pub fn epoch(time: &str) -> Result<f64> {
    let parse = || -> Option<f64> {
        let (date, clock) = time.strip_suffix('Z')?.split_once('T')?;
        let mut date = date.split('-').map(|p| p.parse::<i64>().ok());
        let (year, month, day) = (date.next()??, date.next()??, date.next()??);
        let mut clock = clock.split(':');
        let hour: f64 = clock.next()?.parse().ok()?;
        let minute: f64 = clock.next()?.parse().ok()?;
        let second: f64 = clock.next()?.parse().ok()?;
        Some(days(year, month, day) as f64 * 86400.0 + hour * 3600.0 + minute * 60.0 + second)
    };
    parse().with_context(|| format!("not an RFC 3339 time in UTC: {time:?}"))
}

/// Days from 1970-01-01 in the Gregorian calendar (after Howard Hinnant's days_from_civil).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// What `--ledger` writes.
#[derive(Clone, Debug, Deserialize)]
pub struct Ledger {
    pub seen: u64,
    pub shown: u64,
    pub filtered: u64,
    pub lost: u64,
    pub left: u64,
    pub parts: i64,
    #[serde(default)]
    pub lost_by: BTreeMap<String, u64>,
    #[serde(default)]
    pub hooks: Vec<Value>,
}

impl Ledger {
    /// Reads it and holds it to its promise.
    pub fn parse(text: &str) -> Result<Self> {
        let ledger: Ledger =
            serde_json::from_str(text).with_context(|| format!("ledger {text:?}"))?;
        let Ledger { seen, shown, filtered, lost, left, parts, .. } = ledger;
        ensure!(
            seen as i64 == (shown + filtered + lost + left) as i64 + parts,
            "the ledger does not add up: seen {seen} != shown {shown} + filtered {filtered} \
             + lost {lost} + left {left} + parts {parts}"
        );
        let by_place: u64 = ledger.lost_by.values().sum();
        ensure!(by_place == lost, "lost {lost}, but {by_place} by place");
        ensure!(!ledger.hooks.is_empty(), "the ledger names no hook");
        Ok(ledger)
    }
}
