//! Keeps docs/events.md true: its tables are generated from the tables in the code.

use super::fields::FIELDS;
use crate::event::Evidence;
use std::fmt::Write;
use std::path::Path;
use wire::{Kind, PROTOCOLS};

fn envelope() -> String {
    let mut table = String::from("| Key | Kind | Meaning |\n|---|---|---|\n");
    for field in FIELDS {
        let _ = writeln!(table, "| `{}` | {} | {} |", field.name, field.kind.name(), field.doc);
    }
    table
}

fn protocols() -> String {
    let mut page = String::new();
    for protocol in PROTOCOLS {
        let _ = writeln!(page, "### `{}`\n\n{}.\n", protocol.name(), protocol.about());
        if protocol.fields().is_empty() {
            continue;
        }
        page += "| Key | Kind | Meaning |\n|---|---|---|\n";
        for field in protocol.fields() {
            let kind = match field.kind {
                Kind::Number => "number",
                Kind::Name => "name",
                Kind::Text => "text",
                Kind::List => "list of texts",
                Kind::Flag => "flag",
            };
            let _ = writeln!(page, "| `{}` | {kind} | {} |", field.name, field.doc);
        }
        page.push('\n');
    }
    page.trim_end().to_owned() + "\n"
}

/// Replaces what stands between `<!-- generated: NAME -->` and `<!-- end -->`.
fn replace(page: &str, name: &str, with: &str) -> String {
    let begin = format!("<!-- generated: {name} -->\n");
    let (before, rest) = page.split_once(&begin).expect("the page has the mark");
    let (_, after) = rest.split_once("<!-- end -->").expect("the mark has an end");
    format!("{before}{begin}{with}<!-- end -->{after}")
}

#[test]
fn the_page_says_what_the_code_does() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let page = std::fs::read_to_string(&path).unwrap();
    let want = replace(&replace(&page, "envelope", &envelope()), "protocols", &protocols());
    if std::env::var_os("SENTBY_BLESS").is_some() {
        return std::fs::write(&path, want).unwrap();
    }
    assert!(page == want, "docs/events.md is out of date: SENTBY_BLESS=1 cargo test writes it");
}

#[test]
fn the_page_explains_every_evidence_and_every_lost_detail() {
    let page = include_str!("../../../../docs/events.md");
    let evidence = Evidence::ALL.map(Evidence::name);
    let details = crate::enrich::Enricher::detached().counters().map(|(name, _)| name);
    for name in evidence.iter().chain(&details) {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
