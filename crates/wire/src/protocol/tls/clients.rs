//! Which TLS library a hello looks like, by its structure: which extensions in which
//! order, which lists of suites, groups and signature schemes. Hashes of these (JA3, JA4)
//! change with what the program connects to, with the processor and with every setting;
//! the structure stays, and says more than "known" or "unknown".
//!
//! A rule is made from hellos of the real library (`tests/clients` keeps them); there is
//! none for a library that was not seen. Libraries that imitate others (uTLS) succeed:
//! hence "looks like".

use super::hello::Hello;

mod go;
mod others;

/// Every rule; the first that fits counts.
static RULES: &[&[Rule]] = &[go::RULES, others::RULES];

/// How a hello of one library looks.
pub(super) struct Rule {
    /// The rule's name in events.
    pub name: &'static str,
    /// The library.
    pub client: &'static str,
    /// Its versions, e.g. `1.23-1.24` or `1.25+`; empty where they look the same.
    pub version: &'static str,
    /// What holds in all its hellos.
    must: &'static [&'static [Claim]],
    /// What holds besides where the program left the library's own lists alone.
    stock: &'static [&'static [Claim]],
    /// Why this tells it from others.
    #[cfg_attr(not(test), expect(dead_code, reason = "said to readers, and required by a test"))]
    why: &'static str,
}

/// A list in a hello, without GREASE; one that was not sent is empty.
#[derive(Clone, Copy, Debug)]
enum Part {
    Suites,
    Extensions,
    Groups,
    Points,
    Signatures,
    Versions,
}

/// Something that holds for a hello or does not.
#[derive(Clone, Copy, Debug)]
enum Claim {
    /// There are GREASE values, or none.
    Grease(bool),
    /// The list has this one.
    Has(Part, u16),
    /// The list lacks this one.
    Lacks(Part, u16),
    /// The list has all of these, in whatever order.
    Holds(Part, &'static [u16]),
    /// The list is one of these.
    Is(Part, &'static [&'static [u16]]),
    /// The list begins with these.
    Begins(Part, &'static [u16]),
    /// The list has none but some of one of these, in its order.
    Within(Part, &'static [&'static [u16]]),
    /// One of these holds.
    Any(&'static [Claim]),
}

impl Claim {
    fn holds(self, hello: &Hello<'_>) -> bool {
        match self {
            Claim::Grease(grease) => hello.grease == grease,
            Claim::Has(part, one) => part.of(hello).contains(&one),
            Claim::Lacks(part, one) => !part.of(hello).contains(&one),
            Claim::Holds(part, all) => {
                let list = part.of(hello);
                all.iter().all(|one| list.contains(one))
            }
            Claim::Is(part, lists) => lists.contains(&part.of(hello)),
            Claim::Begins(part, start) => part.of(hello).starts_with(start),
            Claim::Within(part, orders) => {
                orders.iter().any(|order| is_within(part.of(hello), order))
            }
            Claim::Any(claims) => claims.iter().any(|claim| claim.holds(hello)),
        }
    }
}

impl Part {
    fn of<'h>(self, hello: &'h Hello<'_>) -> &'h [u16] {
        let list = match self {
            Part::Extensions => return &hello.extensions,
            Part::Suites => &hello.suites,
            Part::Groups => &hello.groups,
            Part::Points => &hello.points,
            Part::Signatures => &hello.signatures,
            Part::Versions => &hello.versions,
        };
        list.as_deref().unwrap_or_default()
    }
}

/// Whether a list is an order with some left out.
fn is_within(list: &[u16], order: &[u16]) -> bool {
    let mut order = order.iter();
    list.iter().all(|one| order.any(|next| next == one))
}

/// Every library there is a rule for.
pub(super) fn names() -> Vec<&'static str> {
    let mut names: Vec<_> = RULES.iter().copied().flatten().map(|rule| rule.client).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// What a hello looks like.
pub(super) struct Found {
    pub rule: &'static Rule,
    /// `exact` where the library's own lists are as it ships them, `likely` where a
    /// program configured some of them.
    pub sure: &'static str,
}

/// Finds what a whole hello looks like; `None` where no rule fits.
pub(super) fn find(hello: &Hello<'_>) -> Option<Found> {
    let all = |claims: &[&[Claim]]| claims.iter().copied().flatten().all(|c| c.holds(hello));
    let rule = RULES.iter().copied().flatten().find(|rule| all(rule.must))?;
    Some(Found { rule, sure: if all(rule.stock) { "exact" } else { "likely" } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn rules_are_told_apart_by_their_names_and_say_why() {
        let rules: Vec<_> = RULES.iter().copied().flatten().collect();
        let names: BTreeSet<_> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.len(), "two rules share a name");
        for rule in rules {
            assert!(rule.name.starts_with(rule.client), "{} is no {}", rule.name, rule.client);
            assert!(rule.why.ends_with('.'), "{}: not a sentence", rule.name);
        }
    }

    /// A rule that no kept hello fits is dead, hidden by another, or made up.
    #[test]
    fn every_rule_is_shown_by_a_real_client() {
        let kept = include_str!("../../../tests/clients/hellos.tsv");
        for rule in RULES.iter().copied().flatten() {
            let shown = kept.lines().any(|line| line.split('\t').any(|cell| cell == rule.name));
            assert!(shown, "no kept hello for {}", rule.name);
        }
    }

    #[test]
    fn lists_are_compared_with_orders() {
        let order = [1, 2, 3, 4];
        assert!(is_within(&[], &order));
        assert!(is_within(&[1, 4], &order));
        assert!(is_within(&order, &order));
        assert!(!is_within(&[4, 1], &order), "in another order");
        assert!(!is_within(&[2, 2], &order), "twice");
        assert!(!is_within(&[1, 5], &order), "with a strange one");
    }
}
