//! Who holds a socket, right now: /proc/PID/fd, youngest processes first, since those
//! that live briefly are gone soon.
//!
//! Processes that appeared a moment ago, and those that held what was looked for before,
//! are always searched. The rest as well, so that a socket that several processes hold is
//! known to be; but no more often than a fraction of the time allows.

use crate::enrich::{Lru, Procfs};
use crate::event::ProcessKey;
use rustix::fs::{CWD, Mode, OFlags, RawDir, openat, readlinkat_raw};
use std::collections::HashMap;
use std::fs;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

/// How long a process counts as young.
const YOUNG: Duration = Duration::from_secs(3);

/// Processes remembered to have held what was looked for.
const HOT_MAX: usize = 64;

/// The next whole search comes at least this many times later than the last one took.
const PAUSE_PER_SEARCH: u32 = 2;

/// Most open files that one search looks at.
const FILES_MAX: usize = 1 << 20;

/// Most holders that are named.
const HOLDERS_MAX: usize = 16;

/// A process with a descriptor of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process.
    pub key: ProcessKey,
    /// Its leader's name.
    pub comm: Vec<u8>,
    /// The socket.
    pub inode: u64,
    /// The thread whose table of files was read; mostly the leader.
    pub tid: u32,
    /// The descriptor.
    pub fd: u32,
    /// Grows with each of its children that has ended.
    pub reaped: u64,
}

/// What a search found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holders {
    /// One for each process, of at most [`HOLDERS_MAX`].
    pub found: Vec<Holder>,
    /// Not every process was looked at.
    pub partly: bool,
}

/// Searches.
pub struct Search {
    procfs: Procfs,
    /// When each process was seen first.
    seen: HashMap<u32, Instant>,
    hot: Lru<u32, ()>,
    next: Instant,
    /// Searches that left out old processes.
    pub limited: u64,
}

impl Search {
    /// Knows the processes that exist already.
    pub fn new(procfs: Procfs) -> Search {
        let now = Instant::now();
        let mut search =
            Search { procfs, seen: HashMap::new(), hot: Lru::new(HOT_MAX), next: now, limited: 0 };
        let long_ago = now.checked_sub(YOUNG).unwrap_or(now);
        search.seen = search.procfs.pids().map(|pid| (pid, long_ago)).collect();
        search
    }

    /// What /proc says.
    pub fn procfs(&self) -> &Procfs {
        &self.procfs
    }

    /// The processes that hold any of these sockets.
    pub fn find(&mut self, inodes: &[u64]) -> Holders {
        let mut holders = Holders::default();
        if inodes.is_empty() {
            return holders;
        }
        let began = Instant::now();
        let (first, rest) = self.order(began);
        let mut files = 0;
        for pid in first {
            self.search(pid, inodes, &mut files, &mut holders.found);
        }
        if began < self.next {
            self.limited += 1;
            holders.partly = true;
            return holders;
        }
        for pid in rest {
            if files >= FILES_MAX || holders.found.len() >= HOLDERS_MAX {
                holders.partly = true;
                break;
            }
            self.search(pid, inodes, &mut files, &mut holders.found);
        }
        self.next = began + began.elapsed() * (1 + PAUSE_PER_SEARCH);
        holders
    }

    /// Whether it still holds the socket, by the same descriptor.
    pub fn still(&self, holder: &Holder) -> bool {
        let path = self.procfs.path(holder.tid, "fd").join(holder.fd.to_string());
        let mut target = [0u8; 64];
        let read = readlinkat_raw(CWD, path, &mut target[..]);
        read.ok().and_then(|len| inode(&target[..len])) == Some(holder.inode)
    }

    /// The process or thread that started last (proc(5), loadavg): while it is the same one,
    /// nobody has inherited anything.
    pub fn newest(&self) -> Option<u32> {
        let text = fs::read_to_string(self.procfs.root().join("loadavg")).ok()?;
        text.split_ascii_whitespace().last()?.parse().ok()
    }

    /// Young and known ones, youngest first; and the others.
    fn order(&mut self, now: Instant) -> (Vec<u32>, Vec<u32>) {
        let mut seen = HashMap::with_capacity(self.seen.len());
        for pid in self.procfs.pids() {
            seen.insert(pid, self.seen.get(&pid).copied().unwrap_or(now));
        }
        self.seen = seen;
        let mut pids: Vec<(Instant, u32)> = self.seen.iter().map(|(pid, at)| (*at, *pid)).collect();
        pids.sort_unstable_by(|a, b| b.cmp(a));
        let first = |at: Instant, pid: u32| {
            now.saturating_duration_since(at) < YOUNG || self.hot.peek(&pid).is_some()
        };
        let (first, rest): (Vec<_>, Vec<_>) = pids.into_iter().partition(|(at, p)| first(*at, *p));
        let pids = |of: Vec<(Instant, u32)>| of.into_iter().map(|(_, pid)| pid).collect();
        (pids(first), pids(rest))
    }

    fn search(&mut self, pid: u32, inodes: &[u64], files: &mut usize, found: &mut Vec<Holder>) {
        let of = |tid, files: &mut usize| descriptor(&self.procfs, tid, inodes, files);
        let (tid, found_here) = match of(pid, files) {
            Ok(found) => (pid, found),
            Err(Empty) => match self.procfs.thread_with_files(pid) {
                Some(tid) => (tid, of(tid, files).unwrap_or(None)),
                None => return,
            },
        };
        let Some((inode, fd)) = found_here else { return };
        // Its start is read after the descriptor: should the pid be another's by now, that
        // one is younger than the packet.
        let Some(stat) = self.procfs.stat(pid) else { return };
        self.hot.insert(pid, ());
        let key = ProcessKey { pid, start_ticks: stat.start_ticks };
        found.push(Holder { key, comm: stat.comm, inode, tid, fd, reaped: stat.reaped });
    }
}

/// A process without files: kernel threads, and those whose leader has ended.
struct Empty;

/// A descriptor of one of the sockets among a thread's.
fn descriptor(
    procfs: &Procfs,
    tid: u32,
    inodes: &[u64],
    files: &mut usize,
) -> Result<Option<(u64, u32)>, Empty> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(dir) = openat(CWD, procfs.path(tid, "fd"), flags, Mode::empty()) else {
        return Ok(None);
    };
    let mut empty = true;
    let mut room = [MaybeUninit::<u8>::uninit(); 4096];
    let mut entries = RawDir::new(&dir, &mut room);
    while let Some(Ok(entry)) = entries.next() {
        *files += 1;
        let mut target = [0u8; 64];
        let Ok(len) = readlinkat_raw(&dir, entry.file_name(), &mut target[..]) else {
            continue;
        };
        empty = false;
        if let Some(inode) = inode(&target[..len]).filter(|inode| inodes.contains(inode)) {
            let fd = entry.file_name().to_str().ok().and_then(|name| name.parse().ok());
            return Ok(fd.map(|fd| (inode, fd)));
        }
        if *files >= FILES_MAX {
            break;
        }
    }
    if empty { Err(Empty) } else { Ok(None) }
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

    fn machine() -> Scratch {
        let dir = Scratch::new();
        for pid in [30, 31, 32] {
            process(&dir, pid);
        }
        symlink("socket:[100]", dir.path("30/fd/3")).unwrap();
        symlink("socket:[101]", dir.path("30/fd/4")).unwrap();
        symlink("socket:[101]", dir.path("31/fd/7")).unwrap();
        dir
    }

    fn process(dir: &Scratch, pid: u32) {
        let zeros = "0 ".repeat(17);
        dir.write(&format!("{pid}/stat"), format!("{pid} (p{pid}) S 1 {zeros}60 0").as_bytes());
        dir.write(&format!("{pid}/fd/0"), b"");
    }

    fn pids(search: &mut Search, inodes: &[u64]) -> (Vec<u32>, bool) {
        let holders = search.find(inodes);
        let mut pids: Vec<_> = holders.found.iter().map(|h| h.key.pid).collect();
        pids.sort_unstable();
        (pids, holders.partly)
    }

    #[test]
    fn all_holders_are_found_while_there_is_time() {
        let dir = machine();
        let mut search = Search::new(Procfs::new(dir.path("")));
        let mut ask = |inodes: &[u64]| {
            search.next = Instant::now();
            pids(&mut search, inodes)
        };
        assert_eq!(ask(&[100]), (vec![30], false));
        assert_eq!(ask(&[101]), (vec![30, 31], false));
        assert_eq!(ask(&[102]), (vec![], false));
        assert_eq!(ask(&[]), (vec![], false));
    }

    #[test]
    fn where_the_leader_has_ended_its_threads_are_asked() {
        let dir = machine();
        process(&dir, 33);
        fs::remove_file(dir.path("33/fd/0")).unwrap();
        for tid in [33, 34, 35] {
            fs::create_dir_all(dir.path(&format!("33/task/{tid}"))).unwrap();
        }
        let mut search = Search::new(Procfs::new(dir.path("")));
        assert_eq!(pids(&mut search, &[105]).0, [0; 0]);
        dir.write("35/fd/0", b"");
        symlink("socket:[105]", dir.path("35/fd/6")).unwrap();
        search.next = Instant::now();
        let found = search.find(&[105]).found;
        assert_eq!((found[0].key.pid, found[0].tid, found[0].fd), (33, 35, 6));
        assert!(search.still(&found[0]));
    }

    #[test]
    fn young_processes_are_searched_always_old_ones_in_turn() {
        let dir = machine();
        let mut search = Search::new(Procfs::new(dir.path("")));
        search.next = Instant::now() + YOUNG;
        assert_eq!(pids(&mut search, &[100]), (vec![], true));
        assert_eq!(search.limited, 1);
        process(&dir, 40);
        symlink("socket:[100]", dir.path("40/fd/9")).unwrap();
        assert_eq!(pids(&mut search, &[100]), (vec![40], true));
        search.next = Instant::now();
        assert_eq!(pids(&mut search, &[100]).0, [30, 40]);
        search.next = Instant::now() + YOUNG;
        assert_eq!(pids(&mut search, &[101]), (vec![30], true), "held something before");
    }

    #[test]
    fn the_newest_process_is_told() {
        let dir = machine();
        let search = Search::new(Procfs::new(dir.path("")));
        assert_eq!(search.newest(), None, "not known is not none");
        dir.write("loadavg", b"0.20 0.18 0.12 1/80 11206\n");
        assert_eq!(search.newest(), Some(11206));
        let own = Search::new(Procfs::new("/proc"));
        let before = own.newest();
        std::thread::spawn(|| {}).join().unwrap();
        assert!(before.is_some() && own.newest() != before);
    }

    #[test]
    fn a_holder_that_lets_go_is_noticed() {
        let dir = machine();
        let mut search = Search::new(Procfs::new(dir.path("")));
        let holder = search.find(&[100]).found.remove(0);
        assert!(search.still(&holder));
        fs::remove_file(dir.path("30/fd/3")).unwrap();
        assert!(!search.still(&holder));
        symlink("socket:[7]", dir.path("30/fd/3")).unwrap();
        assert!(!search.still(&holder), "another socket by the same number");
    }
}
