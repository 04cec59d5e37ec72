//! What a filter has to ask the machine: names that stand for numbers.

use crate::enrich::{PASSWD, Users};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

/// Answers about the machine whose events are filtered.
pub trait Lookup {
    /// The number of a user: `Some(None)` if there is no such user, `None` if nobody
    /// here can know.
    fn uid(&self, name: &str) -> Option<Option<u32>>;

    /// The names of the interfaces; `None` if nobody here can know.
    fn interfaces(&self) -> Option<Vec<String>>;

    /// The inode of the network namespace that a name or path stands for.
    fn netns(&self, name: &str) -> Option<u32>;
}

/// This machine.
pub struct Here;

impl Lookup for Here {
    fn uid(&self, name: &str) -> Option<Option<u32>> {
        let mut users = Users::new(PASSWD);
        users.refresh(Instant::now());
        Some(users.uid(name))
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        // Not /sys/class/net: that shows the namespace of whoever mounted it.
        let table = fs::read_to_string("/proc/self/net/dev").ok()?;
        let names = table.lines().filter_map(|l| l.split_once(':'));
        let mut names: Vec<_> = names.map(|(name, _)| name.trim().to_owned()).collect();
        names.sort();
        Some(names)
    }

    fn netns(&self, name: &str) -> Option<u32> {
        let path = match name {
            "self" => Path::new("/proc/self/ns/net").to_owned(),
            _ if name.contains('/') => Path::new(name).to_owned(),
            // Where ip-netns(8) keeps them.
            _ => Path::new("/run/netns").join(name),
        };
        u32::try_from(fs::metadata(path).ok()?.ino()).ok()
    }
}

/// No machine: recordings, and events from elsewhere.
pub struct Nowhere;

impl Lookup for Nowhere {
    fn uid(&self, _: &str) -> Option<Option<u32>> {
        None
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        None
    }

    fn netns(&self, _: &str) -> Option<u32> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_answers() {
        assert_eq!(Here.uid("root"), Some(Some(0)));
        assert_eq!(Here.uid("no such user"), Some(None));
        let inode = fs::metadata("/proc/self/ns/net").unwrap().ino();
        assert_eq!(Here.netns("self").map(u64::from), Some(inode));
        assert_eq!(Here.netns("/proc/self/ns/net"), Here.netns("self"));
        assert_eq!(Here.netns("no-such-namespace"), None);
    }
}
