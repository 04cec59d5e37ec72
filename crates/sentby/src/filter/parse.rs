//! From flags to a filter. Every error is one line that names the flag and its value.

use super::expression::Expression;
use super::fields;
use super::local::Lookup;
use super::pattern::{Pattern, is_glob};
use super::{Choice, Filter, FilterArgs, User};
use anyhow::{Context, Result, anyhow, bail, ensure};
use ipnet::IpNet;
use std::net::IpAddr;
use std::path::Path;

/// Most values of one flag.
const MAX_VALUES: usize = 1024;

/// Most interface names listed in an error.
pub(super) const MAX_LISTED: usize = 12;

/// Units that run processes, and slices: what a unit's name may end in.
const UNIT_SUFFIXES: [&str; 6] = ["service", "scope", "slice", "mount", "socket", "swap"];

/// Reads all flags.
pub fn filter(args: &FilterArgs, host: &dyn Lookup) -> Result<Filter> {
    let anywhere = !args.netns.is_empty();
    Ok(Filter {
        window: None,
        pids: list("--pid", &args.pid, |v| number(v, "a process id"))?,
        tids: list("--tid", &args.tid, |v| number(v, "a thread id"))?,
        comms: texts("--comm", &args.comm, pattern)?,
        exes: texts("--exe", &args.exe, pattern)?,
        users: list("--uid", &args.uid, |v| user(v, host))?,
        src: list("--src", &args.src, net)?,
        dst: list("--dst", &args.dst, net)?,
        dst_names: list("--dst-name", &args.dst_name, name)?,
        ifaces: interfaces(&args.iface, if anywhere { None } else { host.interfaces() })?,
        netns: list("--netns", &args.netns, |v| netns(v, host))?,
        cgroups: texts("--cgroup", &args.cgroup, cgroup)?,
        units: texts("--unit", &args.unit, unit)?,
        containers: list("--container", &args.container, pattern)?,
        pods: list("--pod", &args.pod, pattern)?,
        pod_namespaces: list("--pod-namespace", &args.pod_namespace, pattern)?,
        hosts: list("--on", &args.on, pattern)?,
        fields: args.fields.iter().map(fields::read).collect::<Result<_>>()?,
        expression: expression(&args.expression)?,
        children: args.children,
        kernel: args.kernel,
        forwarded: args.forwarded,
    })
}

/// The words of the command line as one expression.
fn expression(words: &[String]) -> Result<Option<Expression>> {
    (!words.is_empty()).then(|| Expression::new(&words.join(" "))).transpose()
}

/// A host name, in which case does not matter (RFC 4343).
fn name(value: &str) -> Result<Pattern> {
    pattern(&value.to_ascii_lowercase())
}

/// A flag whose values may be lists: `a,b` is either, `!a,b` is neither. A comma inside
/// of a glob's `{a,b}` is the glob's.
pub(super) fn list<T>(
    flag: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Choice<T>> {
    choice(flag, values, |value| {
        let mut depth = 0_usize;
        let comma = |c: char| {
            match c {
                '{' => depth += 1,
                '}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            c == ',' && depth == 0
        };
        value.split(comma).map(&parse).collect()
    })
}

/// A flag whose values may contain commas.
pub(super) fn texts<T>(
    flag: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<T>,
) -> Result<Choice<T>> {
    choice(flag, values, |value| Ok(vec![parse(value)?]))
}

fn choice<T>(
    flag: &str,
    values: &[String],
    parse: impl Fn(&str) -> Result<Vec<T>>,
) -> Result<Choice<T>> {
    let mut choice = Choice::default();
    for value in values {
        let (negated, body) = match value.strip_prefix('!') {
            Some(body) => (true, body),
            None => (false, value.as_str()),
        };
        let parsed = if body.is_empty() { Err(anyhow!("no value")) } else { parse(body) };
        let parsed = parsed.map_err(|e| anyhow!("{flag} {}: {e:#}", shown(value)))?;
        if negated { &mut choice.unwanted } else { &mut choice.wanted }.extend(parsed);
        ensure!(
            choice.wanted.len() + choice.unwanted.len() <= MAX_VALUES,
            "{flag}: more than {MAX_VALUES} values; use a network, a glob or a cgroup instead"
        );
    }
    Ok(choice)
}

/// A value as a shell would need it, on one line.
pub(super) fn shown(value: &str) -> String {
    let mut out = String::new();
    crate::escape::word(value.as_bytes(), &mut out, crate::escape::MAX_TEXT);
    out
}

fn number(value: &str, what: &str) -> Result<u32> {
    // `+5` is a number to Rust, not to people.
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    let number = value.parse().ok().filter(|_| digits);
    number.with_context(|| format!("{} is not {what}, a number up to {}", shown(value), u32::MAX))
}

pub(super) fn pattern(value: &str) -> Result<Pattern> {
    Pattern::new(value).map_err(|why| {
        anyhow!("not a valid pattern: {why}; a backslash makes the next character plain")
    })
}

fn user(value: &str, host: &dyn Lookup) -> Result<User> {
    if value.starts_with(|c: char| c.is_ascii_digit()) {
        return number(value, "a user id").map(User::Uid);
    }
    match host.uid(value) {
        Some(Some(uid)) => Ok(User::Uid(uid)),
        Some(None) => bail!(
            "no user {} in /etc/passwd; users of LDAP and of containers go by number (`id -u`)",
            shown(value)
        ),
        None => Ok(User::Name(value.to_owned())),
    }
}

pub(super) fn net(value: &str) -> Result<IpNet> {
    let (address, len) = match value.split_once('/') {
        Some((address, len)) => (address, Some(len)),
        None => (value, None),
    };
    let address: IpAddr = address.parse().map_err(|_| {
        anyhow!(
            "{} is not an IPv4 or IPv6 address; names are not resolved (`getent ahosts NAME` does)",
            shown(address)
        )
    })?;
    let Some(len) = len else {
        // A socket of the IPv6 family sends IPv4 packets to ::ffff:192.0.2.1.
        return Ok(IpNet::from(address.to_canonical()));
    };
    let (most, family) = if address.is_ipv4() { (32, "IPv4") } else { (128, "IPv6") };
    let len = len.parse().ok().filter(|len| *len <= most).with_context(|| {
        format!("prefix length must be 0 to {most} for {family}; for one address leave it out: {address}")
    })?;
    Ok(IpNet::new(address, len)?.trunc())
}

/// A misspelt interface would show nothing, for ever: a plain name has to exist. One
/// that comes later, or lives in another namespace, is written as a glob, or beside
/// `--netns`.
fn interfaces(values: &[String], existing: Option<Vec<String>>) -> Result<Choice<Pattern>> {
    let choice = list("--iface", values, pattern)?;
    let Some(existing) = existing else { return Ok(choice) };
    let wanted = choice.wanted.iter().filter_map(Pattern::literal);
    for name in wanted.map(String::from_utf8_lossy) {
        if existing.iter().any(|e| *e == name) {
            continue;
        }
        let mut listed = existing.iter().take(MAX_LISTED).cloned().collect::<Vec<_>>().join(", ");
        listed += if existing.len() > MAX_LISTED { ", …" } else { "" };
        bail!(
            "--iface {}: no such interface here (there are: {listed}); for one that comes later \
             or is in another network namespace use a glob: --iface {}",
            shown(&name),
            shown(&format!("{name}*"))
        );
    }
    Ok(choice)
}

fn netns(value: &str, host: &dyn Lookup) -> Result<u32> {
    let inode = value.strip_prefix("net:[").and_then(|v| v.strip_suffix(']')).unwrap_or(value);
    if inode.bytes().all(|b| b.is_ascii_digit()) {
        return number(inode, "an inode");
    }
    host.netns(value).with_context(|| {
        let path = if value.contains('/') || value == "self" {
            value.to_owned()
        } else {
            Path::new("/run/netns").join(value).display().to_string()
        };
        format!(
            "no network namespace at {}; give an inode (`readlink /proc/PID/ns/net`), `self`, a \
             name of `ip netns`, or a path",
            shown(&path)
        )
    })
}

fn cgroup(value: &str) -> Result<Pattern> {
    let path = value.strip_prefix("/sys/fs/cgroup").filter(|p| p.starts_with('/')).unwrap_or(value);
    let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
    ensure!(
        path.starts_with(['/', '*']),
        "a cgroup path begins with a slash; `cat /proc/PID/cgroup` shows one"
    );
    pattern(path)
}

fn unit(value: &str) -> Result<Pattern> {
    let typed = UNIT_SUFFIXES.iter().any(|s| value.rsplit_once('.').is_some_and(|(_, t)| t == *s));
    // A backslash is part of a unit's name (`\x2d`), not a quote.
    let value = value.replace('\\', "\\\\");
    if typed || is_glob(&value.replace('\\', "")) {
        return pattern(&value);
    }
    pattern(&format!("{value}.service"))
}
