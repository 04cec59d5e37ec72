//! Which events the user wants to see.
//!
//! Within one flag an event needs any of the wanted values and none of the unwanted
//! (`!`) ones; it needs to pass every flag. What is unknown is not a wanted value, and
//! not an unwanted one either: `--pid 5` hides an event without a pid, `--pid '!5'`
//! does not.
//!
//! [`Filter::matches`] decides. [`Filter::plan`] lowers what backends can tell exactly,
//! so that they may drop early; see [`crate::plan`].

mod args;
mod expression;
mod fields;
mod local;
mod parse;
mod parts;
mod pattern;

pub use args::FilterArgs;
pub use fields::FieldArg;

use crate::asked::Asked;
use crate::event::{Event, Evidence, ProcessKey};
use crate::nats::token;
use crate::plan::{AnyOf, Nets, Plan, Ports, Senders};
pub use expression::Expression;
use fields::Fields;
use ipnet::IpNet;
use local::{Here, Lookup, Nowhere};
use pattern::Pattern;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a name that the kernel keeps (`TASK_COMM_LEN` less the NUL).
const COMM_BYTES: usize = crate::event::COMM_LEN - 1;

/// The values of one flag.
#[derive(Clone, Debug)]
struct Choice<T> {
    /// Any of these, unless there are none.
    wanted: Vec<T>,
    /// None of these.
    unwanted: Vec<T>,
}

impl<T> Default for Choice<T> {
    fn default() -> Self {
        Choice { wanted: Vec::new(), unwanted: Vec::new() }
    }
}

impl<T> Choice<T> {
    /// Decides, given how to tell whether one value applies to the event.
    fn admits(&self, applies: impl Fn(&T) -> bool) -> bool {
        (self.wanted.is_empty() || self.wanted.iter().any(&applies))
            && !self.unwanted.iter().any(&applies)
    }
}

/// A user, by number where the name is known here.
#[derive(Clone, Debug, PartialEq, Eq)]
enum User {
    Uid(u32),
    Name(String),
}

/// A flag's value that cannot be meant: the command line is to blame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pids: Choice<u32>,
    tids: Choice<u32>,
    comms: Choice<Pattern>,
    exes: Choice<Pattern>,
    users: Choice<User>,
    src: Choice<IpNet>,
    dst: Choice<IpNet>,
    dst_names: Choice<Pattern>,
    ifaces: Choice<Pattern>,
    netns: Choice<u32>,
    cgroups: Choice<Pattern>,
    units: Choice<Pattern>,
    containers: Choice<Pattern>,
    pods: Choice<Pattern>,
    pod_namespaces: Choice<Pattern>,
    hosts: Choice<Pattern>,
    fields: Vec<Fields>,
    expression: Option<Expression>,
    children: bool,
    kernel: bool,
    forwarded: bool,
    window: Option<Window>,
}

/// The time that a capture answers for, where another follows it.
#[derive(Clone, Debug)]
pub struct Window {
    /// From this moment on: nanoseconds since the Unix epoch.
    pub from: u64,
    /// Before this one, which may be set later.
    pub until: Arc<AtomicU64>,
}

impl Window {
    fn holds(&self, time: u64) -> bool {
        time >= self.from && time < self.until.load(Ordering::Acquire)
    }
}

impl Filter {
    /// Reads the flags, for events of this machine. The error is one line: what was
    /// asked, why it cannot be, and what can.
    pub fn new(args: &FilterArgs) -> anyhow::Result<Self> {
        if !args.on.is_empty() {
            let wrong = "--on: here are events of this machine alone; `sentby watch --nats URL` has others'";
            Err(UsageError(wrong.to_owned()))?;
        }
        Self::at(args, &Here)
    }

    /// Reads the flags, for recordings and other machines' events: no name is looked
    /// up here, users are compared by the names in the events.
    pub fn detached(args: &FilterArgs) -> anyhow::Result<Self> {
        Self::at(args, &Nowhere)
    }

    fn at(args: &FilterArgs, host: &dyn Lookup) -> anyhow::Result<Self> {
        parse::filter(args, host).map_err(|e| UsageError(format!("{e:#}")).into())
    }

    /// Adds a process and its descendants to those that are wanted.
    pub fn follow(&mut self, pid: u32) {
        self.pids.wanted.push(pid);
        self.children = true;
    }

    /// Shows only what is sent in this time.
    pub fn within(&mut self, window: Window) {
        self.window = Some(window);
    }

    /// Whether an event is shown.
    pub fn matches(&self, event: &Event<'_>) -> bool {
        self.evidence(event)
            && self.window.as_ref().is_none_or(|w| w.holds(event.capture.time))
            && self.src.admits(|net| net.contains(&event.src))
            && self.dst.admits(|net| net.contains(&event.dst))
            && self.dst_name(event)
            && self.ifaces.admits(|p| event.iface_name().is_some_and(|i| p.matches(i)))
            && self.netns.admits(|n| event.capture.netns == Some(*n))
            && self.tids.admits(|t| event.tid == Some(*t))
            && self.comms.admits(|p| event.comm.is_some_and(|c| comm_matches(p, c)))
            && self.users.admits(|u| user_matches(u, event))
            && self.hosts.admits(|p| event.host.is_some_and(|h| is_host(p, h)))
            && self.process(event)
            && self.descent(event)
            && self.fields.iter().all(|f| f.admit(event.request))
            && self.expression.as_ref().is_none_or(|e| e.matches(event))
    }

    /// The kernel's own packets and passing ones are shown only on request.
    fn evidence(&self, event: &Event<'_>) -> bool {
        match event.evidence {
            Evidence::Kernel => self.kernel,
            Evidence::Forwarded => self.forwarded,
            _ => true,
        }
    }

    fn dst_name(&self, event: &Event<'_>) -> bool {
        let Choice { wanted, unwanted } = &self.dst_names;
        if wanted.is_empty() && unwanted.is_empty() {
            return true;
        }
        let name = event.dst_name.map(|n| n.name.to_ascii_lowercase());
        self.dst_names.admits(|p| name.as_ref().is_some_and(|n| p.matches(n)))
    }

    fn process(&self, event: &Event<'_>) -> bool {
        let exe = event.process.and_then(|p| p.exe.as_deref());
        let cgroup = event.process.and_then(|p| p.cgroup.as_deref());
        let unit = event.unit.map(str::as_bytes);
        let container = event.container.map(str::as_bytes);
        let told = event.process.and_then(|p| p.container.as_deref());
        let is = |p: &Pattern, text: Option<&str>| text.is_some_and(|t| p.matches(t.as_bytes()));
        self.exes.admits(|p| exe.is_some_and(|e| p.matches_path(e)))
            && self.cgroups.admits(|p| cgroup.is_some_and(|c| p.matches_subtree(c)))
            && self.units.admits(|p| unit.is_some_and(|u| p.matches(u)))
            && self.containers.admits(|p| {
                container.is_some_and(|c| p.matches_prefix(c))
                    || told.is_some_and(|t| is(p, t.name.as_deref()))
            })
            && self.pods.admits(|p| told.is_some_and(|t| is(p, t.pod.as_deref())))
            && self
                .pod_namespaces
                .admits(|p| told.is_some_and(|t| is(p, t.pod_namespace.as_deref())))
    }

    /// pids, and with `--children` their descendants.
    fn descent(&self, event: &Event<'_>) -> bool {
        if !event.candidates.is_empty() {
            return event.candidates.iter().any(|c| self.pid_matches(event, Some(c.key)));
        }
        self.pid_matches(event, event.key)
    }

    fn pid_matches(&self, event: &Event<'_>, key: Option<ProcessKey>) -> bool {
        let Choice { wanted, unwanted } = &self.pids;
        let is = |pid: &u32| key.is_some_and(|k| k.pid == *pid);
        let below = |pid: &u32| self.children && descends(event, *pid);
        let descends = match event.capture.descends {
            // The backend followed every fork; ancestors that ended are lost to /proc.
            Some(known) => self.children && key.is_some() && known,
            None => wanted.iter().any(below),
        };
        (wanted.is_empty() || wanted.iter().any(is) || descends)
            && !unwanted.iter().any(|pid| is(pid) || below(pid))
    }

    /// The machines that are wanted, if each of them is named; `None` where any may be.
    pub fn hosts(&self) -> Option<Vec<String>> {
        let named = self.hosts.wanted.iter().map(Pattern::literal).collect::<Option<Vec<_>>>()?;
        let names = named.into_iter().map(|name| String::from_utf8_lossy(name).into_owned());
        Some(names.collect()).filter(|names: &Vec<String>| !names.is_empty())
    }

    /// The filter as backends may use it: everything it lets through, and more.
    pub fn plan(&self, asked: &[Asked]) -> Plan {
        let mut plan = Plan {
            ip_protocols: ip_protocols(asked),
            streams: asked.iter().flat_map(|a| a.interest().stream).copied().collect(),
            datagrams: asked.iter().flat_map(|a| a.interest().datagram).copied().collect(),
            openings: asked.iter().any(|a| a.interest().opening),
            names: false,
            senders: Senders { kernel: self.kernel, forwarded: self.forwarded },
            pids: AnyOf(self.pids.wanted.clone()),
            children: self.children && !self.pids.wanted.is_empty(),
            tids: AnyOf(self.tids.wanted.clone()),
            uids: all_of(&self.users, |u| match u {
                User::Uid(uid) => Some(*uid),
                User::Name(_) => None,
            }),
            comms: all_of(&self.comms, |p| p.literal().map(|c| cut(c).to_vec())),
            ifaces: all_of(&self.ifaces, |p| p.literal().map(<[u8]>::to_vec)),
            netns: AnyOf(self.netns.wanted.clone()),
            src: nets(&self.src),
            dst: nets(&self.dst),
            either: Vec::new(),
            ports: Ports::default(),
        };
        if let Some(expression) = &self.expression {
            expression.lower(&mut plan);
        }
        plan
    }
}

/// Lowers wanted values if every one of them can be told exactly; a single one that
/// cannot be makes the whole flag too narrow.
fn all_of<T, U>(choice: &Choice<T>, exact: impl Fn(&T) -> Option<U>) -> AnyOf<U> {
    AnyOf(choice.wanted.iter().map(exact).collect::<Option<_>>().unwrap_or_default())
}

fn nets(choice: &Choice<IpNet>) -> Nets {
    Nets { include: choice.wanted.clone(), exclude: choice.unwanted.clone() }
}

fn ip_protocols(asked: &[Asked]) -> Vec<u8> {
    let mut numbers: Vec<u8> =
        asked.iter().flat_map(|a| a.interest().ip_protocols).copied().collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// A name as the kernel keeps it.
fn cut(comm: &[u8]) -> &[u8] {
    &comm[..comm.len().min(COMM_BYTES)]
}

/// A literal longer than the kernel keeps is compared as far as the kernel keeps it
/// (`systemd-timesyncd` runs as `systemd-timesyn`).
fn comm_matches(pattern: &Pattern, comm: &[u8]) -> bool {
    match pattern.literal() {
        Some(literal) => cut(literal) == cut(comm),
        None => pattern.matches(comm),
    }
}

fn user_matches(user: &User, event: &Event<'_>) -> bool {
    match user {
        User::Uid(uid) => event.uid == Some(*uid),
        User::Name(name) => event.user == Some(name),
    }
}

/// A machine by its name, or by what subjects make of it.
fn is_host(pattern: &Pattern, host: &str) -> bool {
    pattern.matches(host.as_bytes()) || pattern.matches(token(host).as_bytes())
}

fn descends(event: &Event<'_>, pid: u32) -> bool {
    let process = event.process;
    let ancestors = process.and_then(|p| p.ancestors.as_deref()).unwrap_or_default();
    process.is_some_and(|p| p.ppid == Some(pid)) || ancestors.iter().any(|a| a.pid == Some(pid))
}

#[cfg(test)]
mod tests;
