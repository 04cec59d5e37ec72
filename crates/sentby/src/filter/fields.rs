//! Filters over the fields of protocols, as the protocols declare them.

use super::Choice;
use super::parse::{self, MAX_LISTED, shown};
use super::pattern::Pattern;
use crate::asked::Asked;
use anyhow::{Result, bail, ensure};
use std::net::Ipv6Addr;
use std::ops::RangeInclusive;
use wire::{Compare, FieldFilter, Operand, PROTOCOLS, Protocol, Request};

/// What was given to an option over fields.
#[derive(Clone, Debug)]
pub struct FieldArg {
    /// The option's name without its dashes.
    pub name: &'static str,
    /// Its values, as they were typed.
    pub values: Vec<String>,
    /// Of the protocols asked for, those that have it.
    pub of: Vec<Asked>,
}

/// One option, for the protocols that were asked for and have it.
#[derive(Clone, Debug)]
pub struct Fields {
    of: Vec<(&'static dyn Protocol, &'static FieldFilter)>,
    /// What each value means to each of them, in the same order.
    choice: Choice<Vec<Test>>,
}

/// A value to compare with.
#[derive(Clone, Debug)]
enum Test {
    Glob(Pattern),
    /// In lower case, as is then what it is compared with.
    Folded(Pattern),
    /// As `Folded`; a dot at the end is ignored.
    Host(Pattern),
    /// A name, whatever its case.
    Name(String),
    /// One number, also where it stands in a text after this prefix.
    Code(u64, &'static str),
    Range(RangeInclusive<u64>),
    /// The value means something to another protocol only.
    Never,
}

impl Fields {
    /// Whether a request passes. One of a protocol without the option has nothing that
    /// is wanted, and nothing that is unwanted.
    pub fn admit(&self, request: &Request<'_>) -> bool {
        let own = |(p, _): &(&dyn Protocol, _)| p.name() == request.protocol.name();
        match self.of.iter().position(own) {
            Some(at) => {
                let filter = self.of[at].1;
                self.choice.admits(|tests| filter.any(request, |o| tests[at].matches(o)))
            }
            None => self.choice.wanted.is_empty(),
        }
    }
}

impl Test {
    fn matches(&self, operand: Operand<'_>) -> bool {
        match (self, operand) {
            (Test::Glob(pattern), Operand::Text(text)) => pattern.matches(text),
            (Test::Folded(pattern), Operand::Text(text)) => {
                pattern.matches(&text.to_ascii_lowercase())
            }
            (Test::Host(pattern), Operand::Text(text)) => {
                pattern.matches(&without_dot(text).to_ascii_lowercase())
            }
            (Test::Name(name), Operand::Text(text)) => text.eq_ignore_ascii_case(name.as_bytes()),
            (Test::Code(code, _), Operand::Number(number)) => *code == number,
            (Test::Code(code, prefix), Operand::Text(text)) => {
                let digits = (!prefix.is_empty()).then(|| text.strip_prefix(prefix.as_bytes()));
                digits.flatten().and_then(number) == Some(*code)
            }
            (Test::Range(range), Operand::Number(number)) => range.contains(&number),
            _ => false,
        }
    }
}

/// A name without the dot of the root; the root itself is only that.
fn without_dot(name: &[u8]) -> &[u8] {
    name.strip_suffix(b".").filter(|rest| !rest.is_empty()).unwrap_or(name)
}

fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()
}

/// Reads one option. The error is one line.
pub fn read(arg: &FieldArg) -> Result<Fields> {
    let flag = format!("--{}", arg.name);
    let mut of = Vec::new();
    for asked in &arg.of {
        of.extend(filter_of(asked.protocol, arg.name).map(|filter| (*asked, filter)));
    }
    ensure!(!of.is_empty(), "{flag}: only {} requests have that; ask for those", owners(arg.name));
    let tests = |value: &str| tests(&of, value);
    let choice = if of.iter().any(|(_, filter)| matches!(filter.compare, Compare::Path)) {
        parse::texts(&flag, &arg.values, tests)
    } else {
        parse::list(&flag, &arg.values, tests)
    }?;
    Ok(Fields {
        of: of.into_iter().map(|(asked, filter)| (asked.protocol, filter)).collect(),
        choice,
    })
}

fn filter_of(protocol: &dyn Protocol, name: &str) -> Option<&'static FieldFilter> {
    protocol.filters().iter().find(|filter| filter.name == name)
}

/// The protocols that have an option, for an error.
fn owners(name: &str) -> String {
    let owners = PROTOCOLS.iter().filter(|p| filter_of(**p, name).is_some());
    owners.map(|p| p.name()).collect::<Vec<_>>().join(" and ")
}

/// What a value means to each protocol; it has to mean something to one of them.
fn tests(of: &[(Asked, &'static FieldFilter)], value: &str) -> Result<Vec<Test>> {
    let tests: Vec<_> = of.iter().map(|(asked, filter)| test(asked, filter, value)).collect();
    if tests.iter().all(Result::is_err) {
        let mut reasons: Vec<String> = tests.into_iter().filter_map(Result::err).collect();
        reasons.dedup();
        bail!("{}", reasons.join("; "));
    }
    Ok(tests.into_iter().map(|test| test.unwrap_or(Test::Never)).collect())
}

fn test(asked: &Asked, filter: &FieldFilter, value: &str) -> Result<Test, String> {
    if let Some(switch) = filter.needs.filter(|switch| !is_on(asked, switch)) {
        return Err(format!("nothing that is shown has it without --{switch}; add that"));
    }
    if value.is_empty() {
        return Err("no value".to_owned());
    }
    if let Some(why) = (filter.refuse)(value) {
        return Err(why.to_owned());
    }
    match filter.compare {
        Compare::Glob | Compare::Path => pattern(value).map(Test::Glob),
        Compare::AnyCase => pattern(&value.to_ascii_lowercase()).map(Test::Folded),
        Compare::Host => pattern(&host(value)).map(Test::Host),
        Compare::Name { known, most, prefix } => {
            let known = known();
            if known.iter().any(|name| name.eq_ignore_ascii_case(value)) {
                return Ok(Test::Name(value.to_owned()));
            }
            let at = value.get(..prefix.len()).filter(|p| p.eq_ignore_ascii_case(prefix));
            let code = number(&value.as_bytes()[at.map_or(0, str::len)..]);
            let code = code.filter(|code| most.is_some_and(|most| *code <= most));
            code.map(|code| Test::Code(code, prefix)).ok_or_else(|| {
                let numbers = most.map(|most| format!(", or a number up to {most}"));
                format!(
                    "{} is no {} of {} ({}{})",
                    shown(value),
                    filter.name,
                    asked.protocol.name(),
                    likely(known, value),
                    numbers.unwrap_or_default()
                )
            })
        }
        Compare::Number(most) => range(value, most).map(Test::Range),
    }
}

fn is_on(asked: &Asked, switch: &str) -> bool {
    let mut switches = asked.protocol.switches().iter();
    switches.position(|s| s.name == switch).is_some_and(|at| asked.on.has(at))
}

fn pattern(value: &str) -> Result<Pattern, String> {
    parse::pattern(value).map_err(|e| e.to_string())
}

/// A host as it is compared: lower case, without the dot of the root, and an address
/// without its brackets, which would be a glob.
fn host(value: &str) -> String {
    let bare = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let address = bare.filter(|v| v.parse::<Ipv6Addr>().is_ok());
    let value = address.unwrap_or(value).to_ascii_lowercase();
    match value.strip_suffix('.') {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => value,
    }
}

fn range(value: &str, most: u64) -> Result<RangeInclusive<u64>, String> {
    let (first, last) = value.split_once('-').unwrap_or((value, value));
    let bounds = number(first.as_bytes()).zip(number(last.as_bytes()));
    match bounds.filter(|(_, last)| *last <= most) {
        Some((first, last)) if first <= last => Ok(first..=last),
        Some((first, last)) => {
            Err(format!("the range ends before it begins; write {last}-{first}"))
        }
        None => {
            Err(format!("{} is neither a number up to {most} nor a range 1-{most}", shown(value)))
        }
    }
}

/// Some of a vocabulary for an error; first those that begin as the value does.
fn likely(mut known: Vec<&'static str>, value: &str) -> String {
    let begin = value.chars().next().map(|c| c.to_ascii_lowercase());
    known.sort_by_key(|name| name.chars().next().map(|c| c.to_ascii_lowercase()) != begin);
    let mut seen = Vec::new();
    known.retain(|name| {
        !seen.contains(name) && {
            seen.push(*name);
            true
        }
    });
    let more = if known.len() > MAX_LISTED { ", …" } else { "" };
    known.truncate(MAX_LISTED);
    known.join(", ") + more
}

#[cfg(test)]
mod tests;
