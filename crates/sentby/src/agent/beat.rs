//! What an agent tells of itself, as JSON (docs/fleet.md).

use super::outputs::Standing;
use super::own::{build, cpu_seconds, resident_bytes};
use super::status::{Counted, Status};
use crate::output::time::rfc3339;
use serde_json::{Map, Value, json};
use std::fs;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// How often.
pub const EVERY: Duration = Duration::from_secs(30);

/// It is at work.
pub const RUNNING: &str = "running";

/// It was told to stop.
pub const STOPPED: &str = "stopped";

/// All that there is to tell; how the teller's own output stands, it knows best.
pub fn message(status: &Status, host: &str, state: &str, own: (&str, Standing)) -> Vec<u8> {
    let ledger = status.ledger();
    let hooks = status.hooks();
    let (version, commit) = build();
    let outputs: Map<String, Value> =
        status.outputs().iter().map(|o| (o.tally.name.to_owned(), output(o, own))).collect();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    let mut object = json!({
        "time": time(SystemTime::now()),
        "host": host,
        "state": state,
        "every": EVERY.as_secs(),
        "started": time(status.started),
        "version": version,
        "backend": hooks.first().map(|(_, backend)| backend),
        "hooks": hooks.iter().map(|(hook, _)| hook).collect::<Vec<_>>(),
        "seen": ledger.seen(),
        "shown": ledger.shown,
        "filtered": ledger.all_filtered(),
        "lost": ledger.lost,
        "details_lost": ledger.details_lost,
        "sampled_out": status.sampling().left_out,
        "outputs": outputs,
    });
    let known = [
        ("commit", commit.map(Value::from)),
        ("kernel", kernel.map(|k| Value::from(k.trim()))),
        ("cpu_seconds", cpu_seconds().map(Value::from)),
        ("resident_bytes", resident_bytes().map(Value::from)),
    ];
    if let Some(object) = object.as_object_mut() {
        object
            .extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    object.to_string().into_bytes()
}

fn output(output: &Counted, own: (&str, Standing)) -> Value {
    let tally = &output.tally;
    let standing = if tally.name == own.0 { own.1 } else { tally.standing() };
    let mut object = json!({
        "events": tally.given.load(Ordering::Relaxed),
        "up": tally.up.load(Ordering::Relaxed),
        "lost": tally.lost(),
        "waiting": output.queue.waiting().0,
    });
    if let Some((events, bytes)) = standing.spool {
        object["spool_events"] = events.into();
        object["spool_bytes"] = bytes.into();
    }
    object
}

fn time(time: SystemTime) -> Value {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Value::from(String::from_utf8_lossy(&rfc3339(since.as_nanos() as u64)).into_owned())
}
