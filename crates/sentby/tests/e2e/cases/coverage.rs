//! The kprobe-events backend beside the one that sentby chooses, over the same traffic:
//! what its events lack is what its hooks say that they lack, no more and no less.

use crate::ctx::{Case, Ctx, Hooks, skip};
use crate::stage::{SERVER, Stage, python, run};
use crate::topology::{B4, B6};
use crate::tracer::Trace;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub const CASES: &[Case] = &[Case::new("kprobe_events_coverage", kprobe_events_coverage)
    .hooks(Hooks::Auto)
    .tools(&["curl", "dig", "ping", "python3"])];

/// What is compared, and its hooks.
const BACKEND: &str = "kprobe-events";
const HOOKS: [&str; 2] = ["kprobe_ip_finish_output", "kprobe_tcp_sendmsg"];

/// What a lack says of keys, as they stand in JSON.
const KEYS: [(&str, &[&str]); 5] = [
    ("dns_names", &["dst_name", "dst_name_from"]),
    ("socket", &["socket"]),
    ("iface", &["iface"]),
    ("len", &["len"]),
    ("outcome", &["connect.outcome", "connect.took_us"]),
];

/// These differ by nature: when each of them saw it, and where; and when the process
/// started, of which only one knows more than steps of 10 ms.
const OWN: [&str; 3] = ["time", "hook", "start"];

type Keys = BTreeMap<String, Value>;

fn kprobe_events_coverage(ctx: &Ctx) -> Result<()> {
    let doctor = &ctx.env.doctor;
    if !HOOKS.iter().all(|hook| doctor.usable().any(|h| h.name == *hook)) {
        return Err(skip(format!("{BACKEND} cannot be used here")));
    }
    if doctor.chosen().any(|hook| HOOKS.contains(&hook.name.as_str())) {
        return Err(skip(format!("nothing is usable here that {BACKEND} could be compared with")));
    }
    let stage = Stage::with(ctx, &server(), "all", &[])?;
    let other = ctx.tracing("all").args(["--backend", BACKEND]).start()?;
    traffic(ctx, &stage)?;
    let netns = stage.pair.a.inode();
    let (ours, theirs) = (stage.tracer.stop()?, other.stop()?);
    stage.server.interrupt(ctx.secs(10))?;
    let (ours, theirs) = (by_request(&ours, netns)?, by_request(&theirs, netns)?);
    let mut missing: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (request, keys) in &theirs {
        let best = ours.get(request).with_context(|| format!("only {BACKEND} has {request}"))?;
        let hook = keys.get("hook").and_then(Value::as_str).context("no hook")?;
        let lacks = missing.entry(hook.to_owned()).or_default();
        lacks.extend(differences(request, best, keys)?);
    }
    for hook in HOOKS {
        let declared: BTreeSet<String> = KEYS
            .iter()
            .filter(|(lack, _)| doctor.lacks(hook, lack))
            .flat_map(|(_, keys)| keys.iter().map(|key| (*key).to_owned()))
            .collect();
        let found = missing.remove(hook).unwrap_or_default();
        // Each hook sees some protocols: what none of its events could have is not missed.
        let could = |key: &&String| could_have(hook, key, &ours, &theirs);
        let declared: BTreeSet<String> = declared.iter().filter(could).cloned().collect();
        ensure!(found == declared, "{hook} lacks {found:?}, declared are {declared:?}");
    }
    ensure!(missing.is_empty(), "hooks that are not known: {missing:?}");
    absent(ctx, &ours, &theirs)
}

/// The web server, and one that tells the address of whatever name it is asked for.
fn server() -> String {
    format!(
        "import socket, threading\n\
         u = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); u.bind(('::', 53))\n\
         def answer():\n\
         \x20   while True:\n\
         \x20       q, peer = u.recvfrom(512); end = q.index(b'\\0', 12) + 5\n\
         \x20       u.sendto(q[:2] + b'\\x81\\x80\\0\\1\\0\\1\\0\\0\\0\\0' + q[12:end]\n\
         \x20           + b'\\xc0\\x0c\\0\\1\\0\\1\\0\\0\\0\\x3c\\0\\4' + bytes([192, 0, 2, 2]), peer)\n\
         threading.Thread(target=answer, daemon=True).start()\n{SERVER}"
    )
}

/// Asks for a name, and goes where it leads.
const NAMED: &str = r#"
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.connect((B[0], 53))
u.send(b"\x12\x34\1\0\0\1\0\0\0\0\0\0\5named\7example\0\0\1\0\1"); u.recv(512)
s = socket.create_connection(B); s.sendall(b"GET /named HTTP/1.1\r\n\r\n"); s.recv(999)
"#;

/// Something that each hook sees, and something that it says it does not.
fn traffic(ctx: &Ctx, stage: &Stage) -> Result<()> {
    run(ctx, stage, "ping", &["-n", "-c", "2", "-i", "0.2", B4])?;
    run(ctx, stage, "ping", &["-n", "-c", "1", B6])?;
    run(ctx, stage, "curl", &["-s", &format!("http://{B4}/four")])?;
    run(ctx, stage, "curl", &["-s", &format!("http://[{B6}]/six")])?;
    run(
        ctx,
        stage,
        "curl",
        &["-sk", "--resolve", &format!("www.example:80:{B4}"), "https://www.example:80/"],
    )?;
    run(ctx, stage, "dig", &[&format!("@{B4}"), "+tries=1", "+time=1", "d.example"])?;
    python(ctx, stage, NAMED)?;
    let sendfile = ctx.sender("request").args(["sendfile", B4]);
    stage.pair.a.run(sendfile, ctx.secs(20)).map(drop)
}

/// The events of a network namespace by what they are about, flat.
fn by_request(trace: &Trace, netns: u32) -> Result<BTreeMap<String, Keys>> {
    ensure!(trace.ledger.lost == 0, "{} lost", trace.ledger.lost);
    let mut found = BTreeMap::new();
    let mut nth: BTreeMap<String, usize> = BTreeMap::new();
    for line in trace.text().lines() {
        let event: Value = serde_json::from_str(line)?;
        if event["netns"] != netns {
            continue;
        }
        let keys = flat(&event);
        let text = |key| keys.get(key).map(ToString::to_string).unwrap_or_default();
        let what = ["proto", "src", "sport", "dst", "dport"].map(text).join(" ");
        let n = nth.entry(what.clone()).or_default();
        *n += 1;
        found.insert(format!("{what} #{n}"), keys);
    }
    Ok(found)
}

/// Keys of an object, those of objects in it behind theirs. The root of the cgroups says
/// nothing, and is not always told.
fn flat(event: &Value) -> Keys {
    let mut keys = Keys::new();
    for (key, value) in event.as_object().into_iter().flatten() {
        match value.as_object() {
            _ if key == "cgroup" && value == "/" => {}
            Some(inner) => {
                keys.extend(inner.iter().map(|(k, v)| (format!("{key}.{k}"), v.clone())));
            }
            None => {
                keys.insert(key.clone(), value.clone());
            }
        }
    }
    keys
}

/// Keys that the other event lacks; what it has is the same.
fn differences(request: &str, best: &Keys, other: &Keys) -> Result<Vec<String>> {
    for (key, value) in other.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        let wanted = best.get(key);
        ensure!(wanted == Some(value), "{request}: {key} {value}, not {wanted:?}");
    }
    Ok(best.keys().filter(|key| !other.contains_key(*key)).cloned().collect())
}

/// Whether an event that the hook shows as well has this key.
fn could_have(
    hook: &str,
    key: &str,
    ours: &BTreeMap<String, Keys>,
    theirs: &BTreeMap<String, Keys>,
) -> bool {
    theirs.iter().any(|(request, keys)| {
        keys.get("hook").and_then(Value::as_str) == Some(hook)
            && ours.get(request).is_some_and(|best| best.contains_key(key))
    })
}

/// The events that only the best has are those that it says it does not see.
fn absent(ctx: &Ctx, ours: &BTreeMap<String, Keys>, theirs: &BTreeMap<String, Keys>) -> Result<()> {
    let only: Vec<&Keys> =
        ours.iter().filter(|(r, _)| !theirs.contains_key(*r)).map(|(_, keys)| keys).collect();
    let target = |keys: &&Keys| keys.get("http.target").and_then(Value::as_str).map(str::to_owned);
    let targets: Vec<_> = only.iter().map(target).collect();
    let wanted = vec![Some("/sendfile".to_owned())];
    let wanted = if ctx.env.doctor.lacks(HOOKS[1], "sendfile") { wanted } else { Vec::new() };
    ensure!(targets == wanted, "not shown by {BACKEND}: {only:?}");
    Ok(())
}
