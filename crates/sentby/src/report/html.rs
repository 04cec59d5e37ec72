//! The page: a template, its style and script, and the data between them.
//!
//! Nothing of the data can become markup or script: it stands in a data block that is no
//! script, with every character escaped that could end it, and the page's policy allows
//! just the one script and the one style whose hashes it names, and no network.

use super::aggregate::Aggregate;
use crate::escape::is_hidden;
use crate::output::fields::FIELDS;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::rc::Rc;
use wire::protocol::by_name;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");

/// One script, in this order.
const SCRIPT: &str = concat!(
    "\"use strict\";\n",
    include_str!("page/data.js"),
    include_str!("page/dom.js"),
    include_str!("page/table.js"),
    include_str!("page/details.js"),
    include_str!("page/timeline.js"),
    include_str!("page/flows.js"),
    include_str!("page/main.js"),
);

/// What the page says about itself.
pub struct About {
    /// The command line, quoted for a shell.
    pub command: String,
    /// What was read.
    pub source: String,
    /// Name of this machine, where known.
    pub host: Option<String>,
    /// Release of its kernel, where known.
    pub kernel: Option<String>,
    /// When it is made: nanoseconds since the Unix epoch.
    pub made: u64,
    /// Why it is not the whole, where it is not.
    pub failed: Option<String>,
    /// What the source had to say at the end.
    pub notes: Vec<String>,
}

/// Writes the page.
pub fn write(about: &About, all: &Aggregate, out: &mut dyn Write) -> io::Result<()> {
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    let mut rest = PAGE;
    while let Some((before, (mark, after))) =
        rest.split_once("{{").and_then(|(b, r)| Some((b, r.split_once("}}")?)))
    {
        out.write_all(before.as_bytes())?;
        match mark {
            "policy" => out.write_all(policy.as_bytes())?,
            "style" => out.write_all(STYLE.as_bytes())?,
            "script" => out.write_all(SCRIPT.as_bytes())?,
            "data" => write_data(about, all, out)?,
            _ => return Err(io::Error::other(format!("the page has no {mark}"))),
        }
        rest = after;
    }
    out.write_all(rest.as_bytes())
}

fn write_data(about: &About, all: &Aggregate, out: &mut dyn Write) -> io::Result<()> {
    let mut parts = Numbered::default();
    let mut events = String::new();
    for (i, kept) in all.events.all().iter().enumerate() {
        let numbers = [&kept.shape, &kept.context, &kept.place].map(|part| parts.number(part));
        let [shape, context, place] = numbers;
        let comma = if i > 0 { ",\n" } else { "" };
        let _ = write!(events, "{comma}[{shape},{context},{place},{}]", kept.values);
    }
    embed(&head(about, all).to_string(), out)?;
    // Two documents, so that neither the head nor the events are built as one value.
    out.write_all(b"</script>\n<script type=\"application/json\" id=\"events\">{\"parts\":[")?;
    for (i, part) in parts.parts.iter().enumerate() {
        out.write_all(if i > 0 { b",\n" } else { b"" })?;
        embed(part, out)?;
    }
    out.write_all(b"],\n\"events\":[")?;
    embed(&events, out)?;
    out.write_all(b"]}")
}

fn head(about: &About, all: &Aggregate) -> Value {
    let mut ledger = Vec::new();
    // To memory: it cannot fail.
    let _ = all.ledger.write_json(&mut ledger);
    let bins: Vec<_> = all.bins.rows().map(|(at, counts)| json!([at, counts])).collect();
    json!({
        "about": {
            "version": env!("CARGO_PKG_VERSION"),
            "command": about.command,
            "source": about.source,
            "host": about.host,
            "kernel": about.kernel,
            "made": super::encode::time(about.made),
            "failed": about.failed,
            "notes": about.notes,
        },
        "span": all.total.span.map(|(a, b)| [super::encode::time(a), super::encode::time(b)]),
        "total": all.total.count,
        "bytes": all.total.bytes,
        "ledger": serde_json::from_slice::<Value>(&ledger).unwrap_or_default(),
        "limits": all.limits(),
        "protocols": all.protocols,
        "evidence": all.evidence(),
        "docs": docs(all),
        "bins": {"ms": all.bins.width() / 1_000_000, "rows": bins},
        "senders": all.senders(),
        "destinations": all.destinations(),
        "flows": all.flows(),
    })
}

/// Every field that an event may have, in order, with its meaning.
fn docs(all: &Aggregate) -> Value {
    let envelope = FIELDS.iter().map(|f| json!([f.name, f.doc]));
    let protocols = all.protocols.iter().filter_map(|name| by_name(name));
    let own = protocols.flat_map(|p| {
        p.fields().iter().map(move |f| json!([format!("{}.{}", p.name(), f.name), f.doc]))
    });
    envelope.chain(own).collect()
}

/// Parts by number, in the order in which they were first asked for.
#[derive(Default)]
struct Numbered {
    numbers: HashMap<*const u8, usize>,
    parts: Vec<Rc<str>>,
}

impl Numbered {
    fn number(&mut self, part: &Rc<str>) -> usize {
        let next = self.parts.len();
        let number = *self.numbers.entry(part.as_ptr()).or_insert(next);
        if number == next {
            self.parts.push(part.clone());
        }
        number
    }
}

/// Writes JSON so that nothing in it ends the block that it stands in, or hides in an
/// editor. Outside of strings JSON has none of these characters, so that an escape is
/// right wherever one stands.
fn embed(json: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut from = 0;
    for (at, c) in json.char_indices() {
        let plain = c.is_ascii() && !matches!(c, '<' | '>' | '&' | '\x7f');
        if plain || !(c.is_ascii() || is_hidden(c)) {
            continue;
        }
        out.write_all(&json.as_bytes()[from..at])?;
        for unit in c.encode_utf16(&mut [0; 2]) {
            write!(out, "\\u{unit:04x}")?;
        }
        from = at + c.len_utf8();
    }
    out.write_all(&json.as_bytes()[from..])
}

/// SHA-256 of a text in base64, as a policy names it.
fn hash(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digest = Sha256::digest(text.as_bytes());
    let mut out = String::new();
    for chunk in digest.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b));
        let bits = bits << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize] as char;
            out.push(if i <= chunk.len() { digit } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Sample;
    use crate::output::Output;

    fn page(samples: &[Sample]) -> String {
        let mut all = Aggregate::new(vec!["probe"]);
        for sample in samples {
            (&mut all).event(&sample.event()).unwrap();
        }
        let about = About {
            command: "sentby report '</script><script>alert(1)</script>'".into(),
            source: "a<!--b.pcap".into(),
            host: None,
            kernel: None,
            made: 0,
            failed: None,
            notes: Vec::new(),
        };
        let mut out = Vec::new();
        write(&about, &all, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn block<'p>(page: &'p str, open: &str, close: &str) -> &'p str {
        page.split_once(open).unwrap().1.split_once(close).unwrap().0
    }

    #[test]
    fn nothing_in_the_data_is_markup() {
        let mut sample = Sample::hostile();
        let every: String = (0..=0x2ffff_u32).filter_map(char::from_u32).collect();
        let hostile = format!("</script><script>alert(1)</script><!--&amp;]]>{every}");
        sample.process.as_mut().unwrap().cgroup = Some(hostile.clone().into_bytes());
        let page = page(&[sample, Sample::ping()]);
        for id in ["head", "events"] {
            let open = format!("<script type=\"application/json\" id=\"{id}\">");
            let data = block(&page, &open, "</script>");
            assert!(!data.contains(['<', '>', '&', '\u{2028}', '\u{2029}', '\u{202e}']));
            let parsed: Value = serde_json::from_str(data).unwrap();
            if id == "events" {
                assert!(
                    parsed["parts"].as_array().unwrap().iter().any(|p| p["cgroup"] == *hostile)
                );
            }
        }
        // The two data blocks and the script: nothing else is one.
        assert_eq!(page.matches("<script").count(), 3);
        assert_eq!(page.matches("</script").count(), 3);
    }

    #[test]
    fn the_policy_allows_the_script_and_nothing_else() {
        let page = page(&[]);
        let policy = block(&page, "content=\"default-src", "\"");
        assert!(policy.starts_with(" 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"));
        let script = block(&page, "<script>", "</script>");
        let style = block(&page, "<style>", "</style>");
        assert!(policy.contains(&hash(script)) && policy.contains(&hash(style)));
    }

    #[test]
    fn the_page_asks_for_nothing_and_makes_no_markup_of_text() {
        for source in [PAGE, STYLE, SCRIPT] {
            for bad in [
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                "url(",
                "src=",
                "@import",
                "fetch(",
                "XMLHttp",
                "href=\"http",
                " onclick",
                "style=\"",
            ] {
                assert!(!source.contains(bad), "{bad}");
            }
        }
        assert!(!SCRIPT.contains("</script") && !SCRIPT.contains("<!--"));
    }

    #[test]
    fn hashes_are_those_of_others() {
        // printf abc | openssl dgst -sha256 -binary | base64
        assert_eq!(hash("abc"), "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=");
    }
}
