//! What rows are called: text of events, escaped and bounded.

use super::model::View;
use super::text::{self, MAX_CELL};
use crate::escape::Visible;
use crate::event::{Event, Evidence};

/// Names of a row. What does not apply is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The machine, where events of several come together.
    pub host: String,
    /// The pid.
    pub pid: Option<u32>,
    /// User name, or uid.
    pub user: String,
    /// Name of the process, destination or protocol.
    pub name: String,
    /// Command line; the destination's address; what a protocol is.
    pub more: String,
    /// Unit or container.
    pub place: String,
    /// Evidence of the newest event; protocols of a destination.
    pub tags: Vec<&'static str>,
}

impl Label {
    /// That of rows which made room.
    pub fn other(gone: u64) -> Self {
        let more = format!("{gone} rows that were quiet longest");
        Label { name: "(other)".to_owned(), more, ..Label::default() }
    }

    /// Whether any of it holds a text, in whatever case.
    pub fn holds(&self, lower: &str) -> bool {
        let has = |text: &str| text.to_lowercase().contains(lower);
        [&self.host, &self.user, &self.name, &self.more, &self.place].into_iter().any(|t| has(t))
            || self.tags.iter().any(|tag| has(tag))
            || self.pid.is_some_and(|pid| pid.to_string().contains(lower))
    }
}

/// Whether an event says more than a label has.
pub fn changed(view: View, event: &Event<'_>, facts: Option<u64>, label: &Label) -> bool {
    match view {
        View::Process => {
            facts != event.facts
                || label.tags.first() != Some(&event.evidence.name())
                || (label.more.is_empty() && event.process.is_some_and(|p| p.argv.is_some()))
        }
        View::Destination => {
            !label.tags.contains(&event.request.protocol.name())
                || (label.name.is_empty() && event.dst_name.is_some())
        }
        View::Protocol => false,
    }
}

/// The label of a row after an event.
pub fn of(view: View, event: &Event<'_>, before: &Label) -> Label {
    match view {
        View::Process => process(event),
        View::Destination => place(event, before),
        View::Protocol => Label {
            name: event.request.protocol.name().to_owned(),
            more: event.request.protocol.about().to_owned(),
            ..Label::default()
        },
    }
}

fn process(event: &Event<'_>) -> Label {
    let argv = event.process.and_then(|p| Some((p.argv.as_deref()?, p.argv_truncated)));
    let comm = event.process.and_then(|p| p.comm.as_deref()).or(event.comm);
    let name = match (event.key, event.evidence) {
        (None, Evidence::Kernel) => match event.kernel_part() {
            Some(part) => format!("(kernel:{part})"),
            None => "(kernel)".to_owned(),
        },
        (None, Evidence::Forwarded) => "(forwarded)".to_owned(),
        (None, _) if !event.candidates.is_empty() => "(one of)".to_owned(),
        (None, Evidence::Unknown) => "(unknown)".to_owned(),
        (None, _) => "(outside)".to_owned(),
        (Some(_), _) => comm.map(text::safe).unwrap_or_else(|| "-".to_owned()),
    };
    let more = match (event.key, argv) {
        (Some(_), Some((argv, cut))) => text::command(argv, cut),
        _ => candidates(event),
    };
    let user = match (event.user, event.uid) {
        (Some(user), _) => text::safe(user.as_bytes()),
        (None, Some(uid)) => uid.to_string(),
        (None, None) => String::new(),
    };
    let named = event.key.is_some();
    Label {
        host: event.host.map(|host| text::safe(host.as_bytes())).unwrap_or_default(),
        pid: event.key.map(|k| k.pid),
        user: if named { user } else { String::new() },
        name,
        more,
        place: if named { unit(event) } else { String::new() },
        tags: vec![event.evidence.name()],
    }
}

fn candidates(event: &Event<'_>) -> String {
    let each = event.candidates.iter();
    let each = each.map(|c| format!("{}[{}]", text::safe(&c.comm), c.key.pid));
    each.collect::<Vec<_>>().join(", ")
}

/// Container, else unit.
fn unit(event: &Event<'_>) -> String {
    match (event.container_shown(), event.unit) {
        (Some(shown), _) => text::safe(shown.as_bytes()),
        (None, unit) => unit.map(|u| text::safe(u.as_bytes())).unwrap_or_default(),
    }
}

fn place(event: &Event<'_>, before: &Label) -> Label {
    let mut tags = before.tags.clone();
    let protocol = event.request.protocol.name();
    if !tags.contains(&protocol) {
        tags.push(protocol);
    }
    let name = event.dst_name.map(|n| text::safe(n.name)).unwrap_or_else(|| before.name.clone());
    Label { name, more: address(event), tags, ..Label::default() }
}

fn address(event: &Event<'_>) -> String {
    match event.dport {
        Some(port) => std::net::SocketAddr::new(event.dst, port).to_string(),
        None => event.dst.to_string(),
    }
}

/// The sender in a few words.
pub fn sender(event: &Event<'_>) -> String {
    let label = process(event);
    match label.pid {
        Some(pid) => format!("{}[{pid}]", label.name),
        None => label.name,
    }
}

/// The destination in a few words.
pub fn destination(event: &Event<'_>) -> String {
    match event.dst_name {
        Some(name) => format!("{} {}", text::safe(name.name), address(event)),
        None => address(event),
    }
}

/// What a request asks.
pub fn what(event: &Event<'_>) -> String {
    let mut out = String::new();
    let mut visible = Visible::new(&mut out, MAX_CELL);
    let described = event.request.protocol.describe(event.request, &mut visible);
    visible.finish();
    if described.is_err() {
        out.clear();
    }
    text::visible(&out, MAX_CELL)
}
