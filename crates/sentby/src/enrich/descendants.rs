//! The processes below others, as /proc has them now.

use super::procfs::Procfs;
use std::collections::{BTreeSet, HashMap};

/// The given processes and everything that descends from them.
pub fn descendants(pids: &[u32]) -> BTreeSet<u32> {
    let procfs = Procfs::new("/proc");
    let parents = procfs.pids().filter_map(|pid| Some((pid, procfs.stat(pid)?.ppid))).collect();
    below(pids, &parents)
}

fn below(pids: &[u32], parents: &HashMap<u32, u32>) -> BTreeSet<u32> {
    let mut found: BTreeSet<u32> = pids.iter().copied().collect();
    loop {
        let known = found.len();
        found.extend(
            parents.iter().filter(|(_, p)| found.contains(p)).map(|(c, _)| *c).collect::<Vec<_>>(),
        );
        if found.len() == known {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grandchildren_are_found_and_strangers_are_not() {
        let parents = HashMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 5)]);
        assert_eq!(below(&[2], &parents), BTreeSet::from([2, 3, 4]));
        assert_eq!(below(&[9], &parents), BTreeSet::from([9]));
    }

    #[test]
    fn this_process_is_below_its_parent() {
        let me = std::process::id();
        let parent = std::os::unix::process::parent_id();
        assert!(descendants(&[parent]).contains(&me));
    }
}
