//! Versions: numbers on the wire, names for people. DTLS counts down from 0xfeff.

use super::hello::Hello;

/// Known versions, by number: for people, and in JA4.
static VERSIONS: &[(u16, &str, &str)] = &[
    (0x0002, "ssl2", "s2"),
    (0x0300, "ssl3", "s3"),
    (0x0301, "1.0", "10"),
    (0x0302, "1.1", "11"),
    (0x0303, "1.2", "12"),
    (0x0304, "1.3", "13"),
    (0xfeff, "1.0", "d1"),
    (0xfefd, "1.2", "d2"),
    (0xfefc, "1.3", "d3"),
];

fn known(number: u16) -> Option<&'static (u16, &'static str, &'static str)> {
    VERSIONS.iter().find(|(known, _, _)| *known == number)
}

/// The name of a known version.
pub(super) fn name(number: u16) -> Option<&'static str> {
    known(number).map(|(_, name, _)| *name)
}

/// The highest version that a hello offers, of those that have a name; `None` where the
/// list of them may yet come.
pub(super) fn highest(hello: &Hello<'_>) -> Option<&'static str> {
    match &hello.versions {
        Some(versions) => {
            let named = versions.iter().copied().filter(|number| name(*number).is_some());
            name(named.max_by_key(|number| height(*number))?)
        }
        None if hello.is_whole() => name(hello.legacy_version?),
        None => None,
    }
}

/// A version as JA4 writes it: the highest there is, with or without a name.
pub(super) fn ja4(hello: &Hello<'_>) -> &'static str {
    let offered = hello.versions.iter().flatten().copied();
    let highest = offered.max_by_key(|number| height(*number)).or(hello.legacy_version);
    highest.and_then(known).map_or("00", |(_, _, ja4)| ja4)
}

/// Newer versions are higher: in DTLS the smaller numbers (RFC 9147 section 5.3).
fn height(number: u16) -> u16 {
    if number >> 8 == 0xfe { !number } else { number }
}
