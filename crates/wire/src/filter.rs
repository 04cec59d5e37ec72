//! Filters over the fields of a protocol: declared beside the fields, made into options
//! of the command line, and decided without naming the protocol.
//!
//! They see what outputs see: what a decoder left out of a field (a password, the
//! values of a query) cannot be found out by asking for it.

use crate::protocol::{Request, Value};

/// An option that chooses requests by their fields. Protocols may share a name: an
/// option then asks each about its own.
#[derive(Debug)]
pub struct FieldFilter {
    /// The option's name without its dashes, e.g. `host`.
    pub name: &'static str,
    /// What its value is called in `--help`, e.g. `GLOB`.
    pub value: &'static str,
    /// One line for `--help`.
    pub doc: &'static str,
    /// The fields that are compared; any of them may match.
    pub fields: &'static [&'static str],
    /// How.
    pub compare: Compare,
    /// The part of a text that is compared; `None` where it has no such part.
    pub part: fn(&[u8]) -> Option<&[u8]>,
    /// What is wrong with a value that can match nothing, and what to do about it.
    pub refuse: fn(&str) -> Option<&'static str>,
    /// The switch without which no request has the field.
    pub needs: Option<&'static str>,
}

/// How a value of the command line is compared with a field's.
#[derive(Clone, Copy, Debug)]
pub enum Compare {
    /// As a glob over texts, names and lists; `a,b` is either.
    Glob,
    /// The same, whatever the case.
    AnyCase,
    /// The same for names and addresses of hosts: neither the case nor a dot at the end
    /// matters.
    Host,
    /// As a glob; a comma is a part of it.
    Path,
    /// One name of a vocabulary, whatever the case, or the number; `a,b` is either.
    Name {
        /// The vocabulary.
        known: fn() -> Vec<&'static str>,
        /// The largest number there may be, if numbers may be given.
        most: Option<u64>,
        /// What may stand before a number, e.g. `TYPE`; it stands so in lists.
        prefix: &'static str,
    },
    /// A number up to this, or a range of such; `1,3-5` is either.
    Number(u64),
}

/// What of a request is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand<'a> {
    /// A text, a name, or one of a list.
    Text(&'a [u8]),
    /// A number.
    Number(u64),
}

impl FieldFilter {
    /// A glob over one field. The rest is set by those that need it.
    pub const fn glob(
        name: &'static str,
        doc: &'static str,
        fields: &'static [&'static str],
    ) -> Self {
        FieldFilter {
            name,
            value: "GLOB",
            doc,
            fields,
            compare: Compare::Glob,
            part: |text| Some(text),
            refuse: |_| None,
            needs: None,
        }
    }

    /// Whether anything that it compares passes a test.
    pub fn any(&self, request: &Request<'_>, test: impl Fn(Operand<'_>) -> bool) -> bool {
        let text = |text: &[u8]| (self.part)(text).is_some_and(|part| test(Operand::Text(part)));
        self.fields.iter().any(|field| match request.get(field) {
            Some(Value::Number(number)) => test(Operand::Number(*number)),
            Some(Value::Name(name)) => text(name.as_bytes()),
            Some(Value::Text(bytes)) => text(bytes),
            Some(Value::List(list)) => list.iter().any(|bytes| text(bytes)),
            Some(Value::Flag(_)) | None => false,
        })
    }
}

/// What is wrong with a value that is compared with hosts, where it can match none.
pub(crate) fn not_a_host(value: &str) -> Option<&'static str> {
    if value.contains('/') {
        return Some("a host has no slash; give the name alone, e.g. example.com");
    }
    let (name, port) = value.rsplit_once(':')?;
    let port = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let name = name.strip_suffix(']').map_or(!name.contains(':'), |name| name.starts_with('['));
    (port && name).then_some("hosts are compared without their port; leave it out")
}
