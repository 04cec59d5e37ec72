//! The slice of protocols: whatever joins it keeps to these rules.

mod common;

use common::vectors;
use std::collections::BTreeSet;
use wire::protocol::by_name;
use wire::{Compare, FieldFilter, Interest, PROTOCOLS, Switches};

#[test]
fn protocols_are_found_by_their_names() {
    let names: BTreeSet<_> = PROTOCOLS.iter().map(|protocol| protocol.name()).collect();
    assert_eq!(names.len(), PROTOCOLS.len(), "two protocols share a name");
    for name in names {
        assert!(is_key(name), "{name} is no key");
        assert_eq!(by_name(name).map(|protocol| protocol.name()), Some(name));
    }
    assert!(by_name("").is_none());
    assert!(by_name("no-such-protocol").is_none());
}

#[test]
fn protocols_say_what_they_are() {
    for protocol in PROTOCOLS {
        let about = protocol.about();
        assert!(!about.is_empty() && !about.contains('\n'), "{protocol:?}: {about:?}");
        assert_ne!(protocol.interest(Switches::OFF), Interest::NONE, "{protocol:?}");
    }
}

#[test]
fn fields_are_unique_and_documented() {
    for protocol in PROTOCOLS {
        let fields = protocol.fields();
        let names: BTreeSet<_> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), fields.len(), "{protocol:?}: two fields share a name");
        for field in fields {
            assert!(is_key(field.name), "{protocol:?}: {} is no key", field.name);
            assert!(field.doc.ends_with('.'), "{protocol:?}.{}: not a sentence", field.name);
            assert!(!field.doc.contains('\n'), "{protocol:?}.{}: more than one line", field.name);
        }
    }
}

/// Filters compare what there is, by options that can be typed.
#[test]
fn filters_are_over_declared_fields() {
    for protocol in PROTOCOLS {
        let filters = protocol.filters();
        let names: BTreeSet<_> = filters.iter().map(|filter| filter.name).collect();
        assert_eq!(names.len(), filters.len(), "{protocol:?}: two filters share a name");
        for FieldFilter { name, value, doc, fields, compare, needs, .. } in filters {
            assert!(is_key(&name.replace('-', "_")), "{protocol:?}: {name} is no option");
            assert!(!value.is_empty() && !doc.is_empty() && !doc.ends_with('.'), "{name}: {doc}");
            let declared = |field| protocol.fields().iter().any(|f| f.name == field);
            assert!(
                !fields.is_empty() && fields.iter().all(|f| declared(*f)),
                "{name}: {fields:?}"
            );
            let switch = |needs| protocol.switches().iter().any(|s| s.name == needs);
            assert!(needs.is_none_or(switch), "{name} needs {needs:?}");
            if let Compare::Name { known, .. } = compare {
                assert!(!known().is_empty(), "{name} knows no names");
            }
        }
    }
}

/// Every filter finds something in the vectors: none compares what never occurs.
#[test]
fn every_filter_finds_something() {
    let vectors = vectors();
    for protocol in PROTOCOLS {
        for filter in protocol.filters() {
            let found = vectors.iter().any(|vector| {
                let request = vector.request(*protocol);
                request.is_some_and(|(request, _)| filter.any(&request, |_| true))
            });
            assert!(found, "{protocol:?}: --{} finds nothing", filter.name);
        }
    }
}

#[test]
fn requests_keep_to_their_declarations() {
    for vector in vectors() {
        vector.check(&vector.bytes);
    }
}

/// A declared field that no vector has is either dead or untested.
#[test]
fn every_declared_field_occurs() {
    let vectors = vectors();
    for protocol in PROTOCOLS {
        let mut missing: BTreeSet<_> = protocol.fields().iter().map(|field| field.name).collect();
        for vector in &vectors {
            let request = vector.request(*protocol);
            for (field, _) in request.iter().flat_map(|(request, _)| request.fields()) {
                missing.remove(field.name);
            }
        }
        assert!(missing.is_empty(), "{protocol:?}: in no vector: {missing:?}");
    }
}

/// Keys are easy to type at a prompt and in `jq`.
fn is_key(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain)
}
