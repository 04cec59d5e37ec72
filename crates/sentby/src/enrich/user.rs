//! User names out of /etc/passwd.
//!
//! The file is read directly and NSS is deliberately absent: sentby is one static
//! binary, and a lookup over LDAP would itself send packets. Users known only to such
//! a service stay numbers.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

/// How often the file's modification time is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// Most users that are kept.
const MAX_USERS: usize = 65_536;

/// Most bytes of the file that are read.
const MAX_FILE: u64 = 16 << 20;

/// The users of this machine.
pub struct Users {
    path: PathBuf,
    names: BTreeMap<u32, String>,
    checked: Option<Instant>,
    modified: Option<SystemTime>,
}

impl Users {
    /// The users in a file of the format of passwd(5), read when first asked for.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Users { path: path.into(), names: BTreeMap::new(), checked: None, modified: None }
    }

    /// Reads the file again if it changed; looks at most once a second.
    pub fn refresh(&mut self, now: Instant) {
        if self.checked.is_some_and(|at| now.saturating_duration_since(at) < CHECK_EVERY) {
            return;
        }
        self.checked = Some(now);
        // A file that cannot be read now leaves the names of a moment ago.
        let Ok(modified) = fs::metadata(&self.path).and_then(|m| m.modified()) else { return };
        if self.modified == Some(modified) {
            return;
        }
        if let Ok(bytes) = super::procfs::read_limited(&self.path, MAX_FILE) {
            self.names = parse(&bytes.0);
            self.modified = Some(modified);
        }
    }

    /// The name of a user.
    pub fn name(&self, uid: u32) -> Option<&str> {
        self.names.get(&uid).map(String::as_str)
    }

    /// The number of a user.
    pub fn uid(&self, name: &str) -> Option<u32> {
        self.names.iter().filter(|(_, n)| *n == name).map(|(uid, _)| *uid).min()
    }
}

/// Parses passwd(5): `name:password:uid:…`. The first name of a uid counts, as in
/// getpwuid(3); lines that make no sense (and NIS's `+`) are skipped.
fn parse(bytes: &[u8]) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    for line in bytes.split(|b| *b == b'\n') {
        let mut parts = line.split(|b| *b == b':');
        let (Some(name), Some(_), Some(uid)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let uid = std::str::from_utf8(uid).ok().and_then(|u| u.parse().ok());
        if let (Some(uid), false) = (uid, name.is_empty() || b"+-#".contains(&name[0])) {
            names.entry(uid).or_insert_with(|| String::from_utf8_lossy(name).into_owned());
        }
        if names.len() >= MAX_USERS {
            break;
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;

    #[test]
    fn the_first_name_counts_and_nonsense_is_skipped() {
        let names =
            parse(b"root:x:0:0::/root:/bin/sh\ntoor:x:0:0\n\n+::::\n#x:x:7:\nbad:x:y:\nws:x:1000");
        assert_eq!(names.len(), 2);
        assert_eq!((names[&0].as_str(), names[&1000].as_str()), ("root", "ws"));
    }

    #[test]
    fn a_changed_file_is_read_again_after_a_second() {
        let dir = Scratch::new();
        dir.write("passwd", b"a:x:1:");
        let mut users = Users::new(dir.path("passwd"));
        let start = Instant::now();
        users.refresh(start);
        assert_eq!((users.name(1), users.uid("a")), (Some("a"), Some(1)));
        dir.write("passwd", b"b:x:1:");
        let later = SystemTime::now() + Duration::from_secs(9);
        fs::File::open(dir.path("passwd")).unwrap().set_modified(later).unwrap();
        users.refresh(start + CHECK_EVERY / 2);
        assert_eq!(users.name(1), Some("a"), "not looked at yet");
        users.refresh(start + CHECK_EVERY);
        assert_eq!(users.name(1), Some("b"));
        fs::remove_file(dir.path("passwd")).unwrap();
        users.refresh(start + CHECK_EVERY * 3);
        assert_eq!(users.name(1), Some("b"), "what was known stays");
    }
}
