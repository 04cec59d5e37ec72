//! How fields are called in OTLP: the one table from sentby's names to those of the
//! OpenTelemetry semantic conventions. What they have no name for keeps its own behind
//! `sentby.`.

use std::collections::HashMap;
use std::sync::LazyLock;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The same value under these names.
    As(&'static [&'static str]),
    /// It stands elsewhere in the record.
    Elsewhere,
    /// The path of an executable: also its last part, as another attribute.
    Executable { path: &'static str, name: &'static str },
    /// A method: one that the conventions know, else `_OTHER` and the original.
    Method { known: &'static str, original: &'static str },
    /// What is asked for: a path and a query, or a whole URL, or neither.
    Target { path: &'static str, query: &'static str, full: &'static str },
    /// A host with or without a port.
    Authority { address: &'static str, port: &'static str },
    /// A size of the request's body, or of the response's where it is one: where this other
    /// field is there.
    Size {
        request: &'static [&'static str],
        response: &'static [&'static str],
        if_any: &'static str,
    },
}

/// A field by its protocol (nothing: the envelope) and its name, and what becomes of it.
type Row = ((&'static str, &'static str), Rule);

/// The table.
pub static NAMES: &[Row] = &[
    (("", "time"), Rule::Elsewhere),
    (("", "proto"), Rule::Elsewhere),
    (("", "pid"), Rule::As(&["process.pid"])),
    (("", "tid"), Rule::As(&["thread.id"])),
    (("", "pid_in_ns"), Rule::As(&["process.vpid"])),
    (("", "start"), Rule::As(&["process.creation.time"])),
    (("", "ppid"), Rule::As(&["process.parent_pid"])),
    (("", "comm"), Rule::As(&["thread.name"])),
    (
        ("", "exe"),
        Rule::Executable { path: "process.executable.path", name: "process.executable.name" },
    ),
    (("", "cmdline"), Rule::As(&["process.command_args"])),
    (("", "uid"), Rule::As(&["process.real_user.id"])),
    (("", "user"), Rule::As(&["process.real_user.name"])),
    (("", "cgroup"), Rule::As(&["process.linux.cgroup"])),
    (("", "container"), Rule::As(&["container.id"])),
    (("", "container_name"), Rule::As(&["container.name"])),
    (("", "container_image"), Rule::As(&["container.image.name"])),
    (("", "pod"), Rule::As(&["k8s.pod.name"])),
    (("", "pod_namespace"), Rule::As(&["k8s.namespace.name"])),
    (("", "src"), Rule::As(&["source.address"])),
    (("", "sport"), Rule::As(&["source.port"])),
    (("", "dst"), Rule::As(&["destination.address"])),
    (("", "dport"), Rule::As(&["destination.port"])),
    (("", "iface"), Rule::As(&["network.interface.name"])),
    (("", "host"), Rule::As(&["host.name"])),
    (
        ("http", "method"),
        Rule::Method { known: "http.request.method", original: "http.request.method_original" },
    ),
    (("http", "target"), Rule::Target { path: "url.path", query: "url.query", full: "url.full" }),
    (("http", "version"), Rule::As(&["network.protocol.version"])),
    (("http", "status"), Rule::As(&["http.response.status_code"])),
    (("http", "host"), Rule::Authority { address: "server.address", port: "server.port" }),
    (("http", "user_agent"), Rule::As(&["user_agent.original"])),
    (
        ("http", "content_length"),
        Rule::Size {
            request: &["http.request.body.size"],
            response: &["http.response.body.size"],
            if_any: "status",
        },
    ),
    // The conventions' own successor of the second is the first; many still look for that.
    (("tls", "sni"), Rule::As(&["server.address", "tls.client.server_name"])),
    (("tls", "ja3"), Rule::As(&["tls.client.ja3"])),
    (("dns", "name"), Rule::As(&["dns.question.name"])),
];

/// Methods that the conventions know (RFC 9110 section 9, RFC 5789).
pub static METHODS: [&str; 9] =
    ["CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// Protocols of sentby that are none of the network's: an opening is TCP's.
static NOT_OF_THE_NETWORK: [&str; 1] = ["connect"];

/// What becomes of a field; `None` where it keeps its name.
pub fn rule(protocol: &str, field: &str) -> Option<Rule> {
    static RULES: LazyLock<HashMap<(&str, &str), Rule>> =
        LazyLock::new(|| NAMES.iter().copied().collect());
    RULES.get(&(protocol, field)).copied()
}

/// The name that a field keeps.
pub fn own(protocol: &str, field: &str) -> String {
    match protocol {
        "" => format!("sentby.{field}"),
        protocol => format!("sentby.{protocol}.{field}"),
    }
}

/// `network.protocol.name`.
pub fn network_protocol(protocol: &str) -> Option<&str> {
    (!NOT_OF_THE_NETWORK.contains(&protocol)).then_some(protocol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fields::FIELDS;
    use std::fmt::Write;
    use std::path::Path;

    fn is_declared(protocol: &str, field: &str) -> bool {
        match protocol {
            "" => FIELDS.iter().any(|f| f.name == field),
            name => {
                let protocol = wire::protocol::by_name(name);
                protocol.is_some_and(|p| p.fields().iter().any(|f| f.name == field))
            }
        }
    }

    #[test]
    fn every_row_is_of_a_field_that_there_is_and_there_is_one_for_each() {
        for (i, ((protocol, field), rule)) in NAMES.iter().enumerate() {
            assert!(is_declared(protocol, field), "{protocol} {field}");
            assert!(NAMES[..i].iter().all(|(other, _)| *other != (*protocol, *field)));
            if let Rule::Size { if_any, .. } = rule {
                assert!(is_declared(protocol, if_any));
            }
        }
        assert!(NOT_OF_THE_NETWORK.iter().all(|name| wire::protocol::by_name(name).is_some()));
    }

    fn names(rule: Rule) -> Vec<&'static str> {
        match rule {
            Rule::As(names) => names.to_vec(),
            Rule::Elsewhere => Vec::new(),
            Rule::Executable { path, name } => vec![path, name],
            Rule::Method { known, original } => vec![known, original],
            Rule::Target { path, query, full } => vec![path, query, full],
            Rule::Authority { address, port } => vec![address, port],
            Rule::Size { request, response, .. } => [request, response].concat(),
        }
    }

    fn table() -> String {
        let mut table = String::from("| Field | Attribute |\n|---|---|\n");
        for ((protocol, field), rule) in NAMES.iter().filter(|(_, r)| *r != Rule::Elsewhere) {
            let names = names(*rule).iter().map(|n| format!("`{n}`")).collect::<Vec<_>>();
            let dot = if protocol.is_empty() { "" } else { "." };
            let _ = writeln!(table, "| `{protocol}{dot}{field}` | {} |", names.join(", "));
        }
        table
    }

    #[test]
    fn the_page_has_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/fleet.md");
        let page = std::fs::read_to_string(&path).unwrap();
        let begin = "<!-- generated: otlp -->\n";
        let (before, rest) = page.split_once(begin).expect("the page has the mark");
        let (_, after) = rest.split_once("<!-- end -->").expect("the mark has an end");
        let want = format!("{before}{begin}{}<!-- end -->{after}", table());
        if std::env::var_os("SENTBY_BLESS").is_some() {
            return std::fs::write(&path, want).unwrap();
        }
        assert!(page == want, "docs/fleet.md is out of date: SENTBY_BLESS=1 cargo test writes it");
    }
}
