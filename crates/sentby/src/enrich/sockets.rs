//! Which processes hold a socket: /proc/*/fd, searched for `socket:[N]`.
//!
//! A search costs a readlink per open file of the whole machine, so one search
//! answers for every socket, its answers are kept for a moment, and the next has to
//! wait: a flood of unknown senders must not become a flood of searches.

use super::lru::Lru;
use super::procfs::Procfs;
use crate::event::{Candidate, ProcessKey};
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

/// How long a search's answers are taken without searching again.
const FRESH: Duration = Duration::from_secs(1);

/// How long they are taken when it is too early to search again. The number of a
/// socket is not used again so soon; its holder may have changed.
const USABLE: Duration = Duration::from_secs(5);

/// How long a socket that nobody holds is not searched for again.
const MISSING: Duration = Duration::from_secs(2);

/// Most sockets remembered as held by nobody.
const MAX_MISSING: usize = 4096;

/// Shortest time from one search to the next.
const PAUSE: Duration = Duration::from_millis(250);

/// The pause is at least this many times as long as the search took: searching never
/// takes more than a tenth of one CPU.
const PAUSE_PER_SEARCH: u32 = 10;

/// Most open files that one search looks at.
const MAX_FILES: usize = 1 << 20;

/// Most processes that are named for one socket.
const MAX_HOLDERS: usize = 16;

/// What searching could not do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortfall {
    /// Searches not made, because the last was a moment ago.
    pub limited: u64,
    /// Searches that stopped at [`MAX_FILES`].
    pub cut: u64,
}

/// The holders of sockets, as of the last search.
pub struct Sockets {
    holders: HashMap<u64, Vec<usize>>,
    processes: Vec<Candidate>,
    missing: Lru<u64, Instant>,
    searched: Option<Instant>,
    next: Option<Instant>,
    /// What could not be done.
    pub shortfall: Shortfall,
}

impl Sockets {
    /// Nothing searched yet.
    pub fn new() -> Self {
        Sockets {
            holders: HashMap::new(),
            processes: Vec::new(),
            missing: Lru::new(MAX_MISSING),
            searched: None,
            next: None,
            shortfall: Shortfall::default(),
        }
    }

    /// Appends every process that holds the socket to `found`.
    pub fn find(&mut self, procfs: &Procfs, inode: u64, now: Instant, found: &mut Vec<Candidate>) {
        let age = self.searched.map(|at| now.saturating_duration_since(at));
        let known = self.holders.contains_key(&inode);
        if known && age.is_some_and(|age| age < FRESH) {
            return self.append(inode, found);
        }
        let missed = self.missing.peek(&inode);
        if missed.is_some_and(|at| now.saturating_duration_since(*at) < MISSING) {
            return;
        }
        if self.next.is_some_and(|next| now < next) {
            self.shortfall.limited += 1;
            if age.is_some_and(|age| age < USABLE) {
                self.append(inode, found);
            }
            return;
        }
        self.search(procfs, now);
        if !self.holders.contains_key(&inode) {
            self.missing.insert(inode, now);
        }
        self.append(inode, found);
    }

    fn append(&self, inode: u64, found: &mut Vec<Candidate>) {
        let holders = self.holders.get(&inode).into_iter().flatten();
        found.extend(holders.take(MAX_HOLDERS).map(|i| self.processes[*i].clone()));
    }

    fn search(&mut self, procfs: &Procfs, now: Instant) {
        let began = Instant::now();
        self.holders.clear();
        self.processes.clear();
        let mut files = 0;
        for pid in procfs.pids() {
            self.search_process(procfs, pid, &mut files);
            if files >= MAX_FILES {
                self.shortfall.cut += 1;
                break;
            }
        }
        self.searched = Some(now);
        self.next = Some(now + PAUSE.max(began.elapsed() * PAUSE_PER_SEARCH));
    }

    fn search_process(&mut self, procfs: &Procfs, pid: u32, files: &mut usize) {
        let before = *files;
        self.search_thread(procfs, (pid, pid), files);
        if *files == before
            && let Some(tid) = procfs.thread_with_files(pid)
        {
            self.search_thread(procfs, (pid, tid), files);
        }
    }

    /// The files of a process, as one of its threads shows them.
    fn search_thread(&mut self, procfs: &Procfs, (pid, tid): (u32, u32), files: &mut usize) {
        let mut index = None;
        for entry in fs::read_dir(procfs.path(tid, "fd")).into_iter().flatten().flatten() {
            *files += 1;
            if *files >= MAX_FILES {
                return;
            }
            let target = fs::read_link(entry.path());
            let Some(inode) = target.ok().and_then(|t| inode(t.as_os_str().as_bytes())) else {
                continue;
            };
            if index.is_none() {
                index = self.add_process(procfs, pid);
            }
            let Some(index) = index else { return };
            let holders = self.holders.entry(inode).or_default();
            // Several descriptors of one process are one holder.
            if holders.last() != Some(&index) {
                holders.push(index);
            }
        }
    }

    fn add_process(&mut self, procfs: &Procfs, pid: u32) -> Option<usize> {
        let stat = procfs.stat(pid)?;
        let key = ProcessKey { pid, start_ticks: stat.start_ticks };
        self.processes.push(Candidate { key, comm: stat.comm });
        Some(self.processes.len() - 1)
    }
}

/// The number in `socket:[N]`.
fn inode(target: &[u8]) -> Option<u64> {
    let number = target.strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;
    use std::os::unix::fs::symlink;

    const NOBODY: [u32; 0] = [];

    fn machine() -> Scratch {
        let dir = Scratch::new();
        for pid in [30, 31] {
            let zeros = "0 ".repeat(17);
            dir.write(&format!("{pid}/stat"), format!("{pid} (p{pid}) S 1 {zeros}60 0").as_bytes());
            dir.write(&format!("{pid}/fd/x"), b"");
        }
        for (link, target) in [
            ("30/fd/3", "socket:[100]"),
            ("30/fd/4", "socket:[100]"),
            ("30/fd/5", "socket:[101]"),
            ("31/fd/3", "socket:[101]"),
            ("31/fd/4", "pipe:[100]"),
        ] {
            symlink(target, dir.path(link)).unwrap();
        }
        dir
    }

    fn pids(sockets: &mut Sockets, dir: &Scratch, inode: u64, now: Instant) -> Vec<u32> {
        let mut found = Vec::new();
        sockets.find(&Procfs::new(dir.path("")), inode, now, &mut found);
        let mut pids: Vec<_> = found.iter().map(|c| c.key.pid).collect();
        pids.sort_unstable();
        pids
    }

    #[test]
    fn one_holder_several_holders_and_none() {
        let (dir, mut sockets, now) = (machine(), Sockets::new(), Instant::now());
        assert_eq!(pids(&mut sockets, &dir, 100, now), [30]);
        assert_eq!(pids(&mut sockets, &dir, 101, now), [30, 31]);
        assert_eq!(pids(&mut sockets, &dir, 102, now), NOBODY);
        assert_eq!(sockets.shortfall.limited, 1, "no second search for 102 so soon");
    }

    #[test]
    fn a_flood_of_unknowns_is_searched_for_once() {
        let (dir, mut sockets, now) = (machine(), Sockets::new(), Instant::now());
        assert_eq!(pids(&mut sockets, &dir, 999, now), NOBODY);
        symlink("socket:[999]", dir.path("31/fd/9")).unwrap();
        assert_eq!(pids(&mut sockets, &dir, 999, now + PAUSE), NOBODY, "known to be missing");
        assert_eq!(sockets.shortfall.limited, 0);
        for inode in 1000..1100 {
            pids(&mut sockets, &dir, inode, now);
        }
        assert_eq!(sockets.shortfall.limited, 100);
        assert_eq!(pids(&mut sockets, &dir, 999, now + MISSING), [31]);
    }

    #[test]
    fn answers_age() {
        let (dir, mut sockets, now) = (machine(), Sockets::new(), Instant::now());
        assert_eq!(pids(&mut sockets, &dir, 100, now), [30]);
        std::fs::remove_file(dir.path("30/fd/3")).unwrap();
        std::fs::remove_file(dir.path("30/fd/4")).unwrap();
        assert_eq!(pids(&mut sockets, &dir, 100, now + FRESH / 2), [30]);
        assert_eq!(pids(&mut sockets, &dir, 100, now + FRESH), NOBODY);
    }

    #[test]
    fn only_sockets_have_socket_numbers() {
        assert_eq!(inode(b"socket:[7]"), Some(7));
        for target in [&b"pipe:[7]"[..], b"socket:[x]", b"socket:[7", b"/socket:[7]"] {
            assert_eq!(inode(target), None);
        }
    }
}
