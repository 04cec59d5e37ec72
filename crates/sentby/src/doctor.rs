//! `sentby doctor`: what this machine allows, tried for real, and what to do about the rest.

use crate::asked::Asked;
use crate::capture::{BACKENDS, Backend, HookCheck, Options, Refusal, Sender, ebpf};
use crate::cli::DoctorArgs;
use crate::event::Batch;
use crate::filter::Filter;
use crate::host::{Cgroup2, Host};
use crate::plan::Plan;
use anyhow::Result;
use caps::Capability;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;
use wire::PROTOCOLS;

/// Size of the buffer in a trial, in bytes.
const TRIAL_BUFFER: usize = 64 * 1024;

/// Capabilities that backends need.
const CAPABILITIES: [Capability; 4] = [
    Capability::CAP_BPF,
    Capability::CAP_PERFMON,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_SYS_PTRACE,
];

/// A backend with the outcome of each hook's trial.
struct Finding {
    backend: &'static dyn Backend,
    hooks: Vec<HookCheck>,
    chosen: Result<Vec<(&'static str, Vec<Sender>)>, String>,
    /// Why it was judged by the facts alone.
    untried: Option<&'static str>,
}

/// Prints the report.
pub fn run(args: &DoctorArgs) -> Result<()> {
    ebpf::catch_libbpf_messages(false);
    let host = Host::read();
    let findings: Vec<Finding> = BACKENDS.iter().map(|b| examine(*b, &host, args)).collect();
    let text = match args.json {
        true => format!("{}\n", report_json(&host, &findings)),
        false => report_text(&host, &findings),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other?),
    }
}

/// The plan of a trial: every protocol that is told by whole packets; with `payload`,
/// those inside of TCP and UDP as well.
fn trial_plan(payload: bool) -> Plan {
    let asked = PROTOCOLS.iter().map(|p| Asked::plain(*p));
    let asked: Vec<Asked> =
        asked.filter(|a| payload || !a.interest().ip_protocols.is_empty()).collect();
    Plan { names: payload, ..Filter::default().plan(&asked) }
}

/// Attaches each hook that the facts allow, and then what a plain run would use.
fn examine(backend: &'static dyn Backend, host: &Host, args: &DoctorArgs) -> Finding {
    let options = |hooks: Vec<String>| Options {
        hooks,
        btf: args.btf.clone(),
        offsets: args.offsets.clone(),
        module: None,
        buffer_size: TRIAL_BUFFER,
        perf_buffer: false,
        verifier_stats: false,
    };
    let mut hooks = backend.check(host, &trial_plan(false));
    if let Some(why) = backend.slow(host) {
        let usable = hooks.iter().filter(|h| h.refusal.is_none());
        let chosen = Ok(usable.map(|h| (h.name, h.sees.clone())).collect());
        return Finding { backend, hooks, chosen, untried: Some(why) };
    }
    for hook in hooks.iter_mut().filter(|h| h.refusal.is_none()) {
        let only = options(vec![hook.name.to_owned()]);
        let tried = |payload| try_open(backend, host, &trial_plan(payload), &only);
        hook.payload = hook.payload && tried(true).is_ok();
        if !hook.payload {
            hook.refusal = tried(false).err().map(|why| Refusal { why, help: None });
        }
    }
    let payload = hooks.iter().any(|h| h.payload && h.refusal.is_none());
    let chosen = try_open(backend, host, &trial_plan(payload), &options(Vec::new()));
    Finding { backend, hooks, chosen, untried: None }
}

fn try_open(
    backend: &dyn Backend,
    host: &Host,
    plan: &Plan,
    options: &Options,
) -> Result<Vec<(&'static str, Vec<Sender>)>, String> {
    let mut opened = backend.open(host, plan, options).map_err(|e| format!("{e:#}"))?;
    let read = opened.source.next(&mut Batch::default(), Duration::ZERO);
    opened.source.detach();
    read.map_err(|e| format!("{e:#}"))?;
    Ok(opened.hooks)
}

fn names(senders: &[Sender]) -> Vec<&'static str> {
    senders.iter().map(|s| s.name()).collect()
}

fn missing(host: &Host) -> Vec<String> {
    CAPABILITIES.iter().filter(|c| !host.can(**c)).map(|c| c.to_string()).collect()
}

fn cgroup2_text(host: &Host) -> String {
    match &host.cgroup2 {
        Cgroup2::Root(path) => format!("root at {}", path.display()),
        Cgroup2::Part(path) => format!("only a part of it, at {}", path.display()),
        Cgroup2::Absent => "not mounted (sentby mounts it for itself)".to_owned(),
    }
}

fn report_text(host: &Host, findings: &[Finding]) -> String {
    let mut lines = vec![
        format!("kernel      {}", host.release),
        format!("BTF         {}", if host.btf { "yes" } else { "no (--btf FILE helps)" }),
        format!("lockdown    {}", host.lockdown.as_deref().unwrap_or("no such thing here")),
        format!("cgroup2     {}", cgroup2_text(host)),
        format!(
            "tracefs     {}",
            host.tracefs.as_ref().map_or("not mounted".into(), |p| p.display().to_string())
        ),
        match missing(host) {
            missing if missing.is_empty() => "privileges  enough".to_owned(),
            missing => format!("privileges  missing: {}", missing.join(", ")),
        },
    ];
    for finding in findings {
        lines.push(String::new());
        lines.push(format!("backend {}", finding.backend.name()));
        let width = finding.hooks.iter().map(|h| h.name.len()).max().unwrap_or_default();
        for hook in &finding.hooks {
            let verdict = match &hook.refusal {
                None => format!("usable{}", able(hook)),
                Some(refusal) => format!("no: {refusal}"),
            };
            lines.push(format!("  {:<width$} {verdict}", hook.name));
        }
        lines.push(match &finding.chosen {
            Ok(hooks) => format!("  would be used: {}", hooks_text(hooks)),
            Err(why) => format!("  cannot be used: {why}"),
        });
        lines.extend(finding.untried.map(|why| format!("  not tried: {why}")));
    }
    lines.join("\n") + "\n"
}

/// What a usable hook sees, reads and lacks, as the rest of a line.
fn able(hook: &HookCheck) -> String {
    let mut text = String::new();
    if !hook.sees.is_empty() {
        text += &format!(", sees: {}", names(&hook.sees).join(", "));
    }
    if hook.payload {
        text += "; reads what TCP and UDP carry";
    }
    if !hook.lacks.is_empty() {
        text += &format!("; lacks: {}", hook.lacks.join(", "));
    }
    text
}

fn hooks_text(hooks: &[(&'static str, Vec<Sender>)]) -> String {
    let hooks = hooks.iter().map(|(h, s)| format!("{h} ({})", names(s).join(", ")));
    hooks.collect::<Vec<_>>().join(", ")
}

fn report_json(host: &Host, findings: &[Finding]) -> Value {
    let mut kernel = json!({ "release": host.release, "btf": host.btf });
    if let Some(mode) = &host.lockdown {
        kernel["lockdown"] = json!(mode);
    }
    let backends: Vec<Value> = findings.iter().map(finding_json).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "kernel": kernel,
        "cgroup2": cgroup2_text(host),
        "euid": host.euid,
        "capabilities_missing": missing(host),
        "backends": backends,
    })
}

fn finding_json(finding: &Finding) -> Value {
    let hooks: Vec<Value> = finding
        .hooks
        .iter()
        .map(|h| {
            let mut hook = json!({
                "name": h.name,
                "usable": h.refusal.is_none(),
                "sees": names(&h.sees),
                "payload": h.payload && h.refusal.is_none(),
                "lacks": h.lacks,
            });
            if let Some(refusal) = &h.refusal {
                hook["reason"] = json!(refusal.to_string());
            }
            hook
        })
        .collect();
    let mut backend = json!({
        "name": finding.backend.name(),
        "usable": finding.chosen.is_ok(),
        "hooks": hooks,
    });
    if let Some(why) = finding.untried {
        backend["untried"] = json!(why);
    }
    match &finding.chosen {
        Ok(hooks) => {
            backend["uses"] = hooks.iter().map(|(h, s)| (h.to_string(), json!(names(s)))).collect();
        }
        Err(why) => backend["reason"] = json!(why),
    }
    backend
}
