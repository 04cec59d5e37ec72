//! By which fields requests can be chosen.

use super::{TCHAR, redact};
use crate::filter::{Compare, FieldFilter, not_a_host};

pub(super) static FILTERS: &[FieldFilter] = &[
    FieldFilter {
        compare: Compare::AnyCase,
        refuse: not_a_method,
        ..FieldFilter::glob("method", "Method, e.g. POST", &["method"])
    },
    FieldFilter {
        compare: Compare::Host,
        part: without_port,
        refuse: not_a_host,
        ..FieldFilter::glob("host", "Host asked, without the port, e.g. '*.example.com'", &["host"])
    },
    FieldFilter {
        compare: Compare::Path,
        part: path,
        refuse: not_a_path,
        ..FieldFilter::glob(
            "path",
            "Path asked for, without the query; * also matches slashes, e.g. '/api/*'",
            &["target"],
        )
    },
    FieldFilter {
        value: "NUMBER",
        compare: Compare::Number(999),
        needs: Some("responses"),
        ..FieldFilter::glob("status", "Status of a response, e.g. 404 or 500-599", &["status"])
    },
];

/// What of a Host header names the host. Brackets belong to the URL, not to the address.
fn without_port(host: &[u8]) -> Option<&[u8]> {
    if let Some(rest) = host.strip_prefix(b"[") {
        let end = rest.iter().position(|b| *b == b']');
        return Some(end.map_or(host, |end| &rest[..end]));
    }
    let colon = host.iter().position(|b| *b == b':');
    Some(&host[..colon.unwrap_or(host.len())])
}

/// The path of a target as it is shown: what `--full-url` adds comes after it.
fn path(target: &[u8]) -> Option<&[u8]> {
    let end = target.iter().position(|b| b"?#".contains(b)).unwrap_or(target.len());
    let target = &target[..end];
    if target.starts_with(b"/") {
        return Some(target);
    }
    let authority = redact::after_scheme(target)?;
    let slash = target[authority..].iter().position(|b| *b == b'/');
    // A URL without a path asks for the same as one that ends in a slash (RFC 9110
    // section 4.2.3).
    Some(slash.map_or(b"/", |slash| &target[authority + slash..]))
}

fn not_a_method(value: &str) -> Option<&'static str> {
    let fits = value.bytes().all(|b| TCHAR.has(b) || b"*?[]{},\\".contains(&b));
    (!fits).then_some("methods have letters, digits and hyphens only, e.g. GET")
}

fn not_a_path(value: &str) -> Option<&'static str> {
    let begins = value.starts_with(['/', '*', '?', '[', '{', '\\']);
    (!begins).then_some("a path begins with a slash; '*' before it matches whatever comes first")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_stands_before_the_port() {
        for (host, name) in [
            ("example.com", "example.com"),
            ("example.com:8080", "example.com"),
            ("example.com:", "example.com"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[broken", "[broken"),
            ("", ""),
        ] {
            assert_eq!(without_port(host.as_bytes()), Some(name.as_bytes()), "{host}");
        }
    }

    #[test]
    fn the_path_ends_before_the_query() {
        for (target, want) in [
            ("/a/b", Some("/a/b")),
            ("/a?x=*#*", Some("/a")),
            ("/a#*", Some("/a")),
            ("/", Some("/")),
            ("http://example.com/a/b?c=*", Some("/a/b")),
            ("http://***@example.com:81/a", Some("/a")),
            ("http://example.com?x=/y", Some("/")),
            ("http://example.com", Some("/")),
            ("/http://***@example.com/a", Some("/http://***@example.com/a")),
            ("example.com:443", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(path(target.as_bytes()), want.map(str::as_bytes), "{target}");
        }
    }

    #[test]
    fn values_that_cannot_match_are_refused() {
        for bad in ["example.com:80", "[::1]:80", "http://example.com", "a/b"] {
            assert!(not_a_host(bad).is_some(), "{bad}");
        }
        for good in ["example.com", "*.example.com", "::1", "[::1]", "2001:db8::80", "{a,b}.c"] {
            assert_eq!(not_a_host(good), None, "{good}");
        }
        assert!(not_a_path("api").is_some() && not_a_path("*/api").is_none());
        assert!(not_a_method("G T").is_some() && not_a_method("{GET,P*}").is_none());
    }
}
