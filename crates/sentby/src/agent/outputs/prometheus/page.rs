//! The page that Prometheus fetches, in its text format, version 0.0.4.

use super::series::Series;
use crate::agent::own::{build, cpu_seconds, resident_bytes};
use crate::agent::status::{Counted, Sampling, Status};
use crate::ledger::{HookCount, Ledger};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

/// Everything, as of now.
pub fn write(series: &mut Series, status: &Status, kernel: Option<&str>) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    requests(&mut page, series);
    captures(&mut page, &status.ledger(), status.sampling());
    hooks(&mut page, &status.ledger().hooks, &status.hooks());
    outputs(&mut page, &status.outputs());
    agent(&mut page, status, kernel);
    own(&mut page);
    page.0
}

/// The kinds of a family.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

struct Page(String);

impl Page {
    /// Begins a family of samples.
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (i, (label, text)) in labels.iter().enumerate() {
            self.0.push(if i == 0 { '{' } else { ',' });
            let _ = write!(self.0, "{label}=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family of one sample without labels.
    fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    /// A family with a label of its own for each place.
    fn places(&mut self, name: &str, help: &str, places: &BTreeMap<&'static str, u64>) {
        self.family(name, Kind::Counter, help);
        for (place, n) in places {
            self.sample(name, &[("place", place)], n);
        }
    }
}

fn requests(page: &mut Page, series: &mut Series) {
    let name = "sentby_requests_total";
    page.family(name, Kind::Counter, "Requests, by protocol, process and systemd unit.");
    for (labels, n) in series.all() {
        let of =
            [("protocol", labels.protocol), ("process", &labels.process), ("unit", &labels.unit)];
        page.sample(name, &of, n);
    }
}

fn captures(page: &mut Page, ledger: &Ledger, sampling: Sampling) {
    let counted = [
        ("sentby_events_total", "Events handed to the outputs.", ledger.shown),
        ("sentby_filtered_total", "Captures that the filter rejected.", ledger.all_filtered()),
    ];
    for (name, help, n) in counted {
        page.single(name, Kind::Counter, help, n);
    }
    let Sampling { quota, left_out } = sampling;
    let name = "sentby_sampled_out_total";
    page.single(name, Kind::Counter, "Events that were left out (--max-cpu).", left_out);
    let (name, help) = ("sentby_sample_quota", "Events of a process in a second; absent: all.");
    page.family(name, Kind::Gauge, help);
    if let Some(quota) = quota {
        page.sample(name, &[], quota);
    }
    page.places("sentby_lost_total", "Captures lost, by place (docs/events.md).", &ledger.lost);
    let help = "Events with details missing, by place (docs/events.md).";
    page.places("sentby_details_lost_total", help, &ledger.details_lost);
}

fn hooks(page: &mut Page, counted: &[HookCount], in_use: &[(&'static str, &'static str)]) {
    let name = "sentby_hook_info";
    page.family(name, Kind::Gauge, "The hooks in use, with their backends.");
    for (hook, backend) in in_use {
        page.sample(name, &[("hook", hook), ("backend", backend)], 1);
    }
    let all = counted.iter().map(|c| (c.hook, Some(c.seen)));
    of_hooks(page, "sentby_seen_total", "Packets that a hook answered for.", all);
    let help = "Runs of a hook that the kernel skipped; absent where it does not say.";
    of_hooks(page, "sentby_hook_missed_total", help, counted.iter().map(|c| (c.hook, c.missed)));
    let help = "Runs of a hook's programs that the kernel measured (docs/fleet.md).";
    let runs = counted.iter().map(|c| (c.hook, c.cost.map(|cost| cost.runs)));
    of_hooks(page, "sentby_bpf_runs_total", help, runs);
    let help = "How long those runs took.";
    let seconds = counted.iter().map(|c| (c.hook, c.cost.map(|cost| cost.ns as f64 / 1e9)));
    of_hooks(page, "sentby_bpf_run_seconds_total", help, seconds);
}

fn of_hooks<V: Display>(
    page: &mut Page,
    name: &str,
    help: &str,
    values: impl Iterator<Item = (&'static str, Option<V>)>,
) {
    page.family(name, Kind::Counter, help);
    for (hook, value) in values {
        if let Some(value) = value {
            page.sample(name, &[("hook", hook)], value);
        }
    }
}

fn outputs(page: &mut Page, outputs: &[Counted]) {
    let help = "Events that an output was to have.";
    each(page, outputs, ("sentby_output_events_total", Kind::Counter, help), |o| {
        o.tally.given.load(Ordering::Relaxed)
    });
    let help = "Whether an output works.";
    each(page, outputs, ("sentby_output_up", Kind::Gauge, help), |o| {
        o.tally.up.load(Ordering::Relaxed).into()
    });
    let help = "Events that wait for an output.";
    each(page, outputs, ("sentby_output_queue_events", Kind::Gauge, help), |o| o.queue.waiting().0);
    let help = "Memory of events that wait for an output.";
    each(page, outputs, ("sentby_output_queue_bytes", Kind::Gauge, help), |o| {
        o.queue.waiting().1 as u64
    });
    let spool = |o: &Counted| o.tally.standing().spool;
    let help = "Events that wait on the disk for an output's other end.";
    some(page, outputs, ("sentby_output_spool_events", help), |o| Some(spool(o)?.0));
    let help = "Room that they take.";
    some(page, outputs, ("sentby_output_spool_bytes", help), |o| Some(spool(o)?.1));
    let help = "Whether an output's other end takes events.";
    some(page, outputs, ("sentby_output_connected", help), |o| {
        o.tally.standing().connected.map(u64::from)
    });
    let name = "sentby_output_lost_total";
    page.family(name, Kind::Counter, "Events that an output did not get or keep, by place.");
    for output in outputs {
        for (place, n) in output.tally.lost() {
            page.sample(name, &[("output", output.tally.name), ("place", place)], n);
        }
    }
}

fn each(
    page: &mut Page,
    outputs: &[Counted],
    (name, kind, help): (&str, Kind, &str),
    value: impl Fn(&Counted) -> u64,
) {
    page.family(name, kind, help);
    for output in outputs {
        page.sample(name, &[("output", output.tally.name)], value(output));
    }
}

/// A gauge of those outputs that have it.
fn some(
    page: &mut Page,
    outputs: &[Counted],
    (name, help): (&str, &str),
    value: impl Fn(&Counted) -> Option<u64>,
) {
    page.family(name, Kind::Gauge, help);
    for output in outputs {
        if let Some(value) = value(output) {
            page.sample(name, &[("output", output.tally.name)], value);
        }
    }
}

fn agent(page: &mut Page, status: &Status, kernel: Option<&str>) {
    let name = "sentby_build_info";
    page.family(name, Kind::Gauge, "The program's version and commit, and the kernel it runs on.");
    let (version, commit) = build();
    let known = [("version", Some(version)), ("commit", commit), ("kernel", kernel)];
    let known: Vec<_> = known.into_iter().filter_map(|(l, text)| Some((l, text?))).collect();
    page.sample(name, &known, 1);
    let (done, failed) = status.reloads();
    let name = "sentby_reloads_total";
    page.family(name, Kind::Counter, "How often the settings were read anew (SIGHUP).");
    page.sample(name, &[("result", "done")], done);
    page.sample(name, &[("result", "failed")], failed);
}

/// The agent's own cost, under the names that all of Prometheus's clients use.
fn own(page: &mut Page) {
    if let Some(seconds) = cpu_seconds() {
        let help = "Total user and system CPU time spent in seconds.";
        page.single("process_cpu_seconds_total", Kind::Counter, help, seconds);
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Resident memory size in bytes.";
        page.single("process_resident_memory_bytes", Kind::Gauge, help, bytes);
    }
}
