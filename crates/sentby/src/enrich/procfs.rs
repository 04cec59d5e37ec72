//! What /proc tells about a process (proc(5)), read so that it cannot be about another.

use super::container;
use crate::event::{Ancestor, MAX_ANCESTORS, NS_PER_TICK, Process, ProcessKey};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Most bytes of a command line that are read from /proc.
pub const MAX_CMDLINE: u64 = 64 << 10;

/// Most bytes of any other file below /proc that are read.
const MAX_SMALL_FILE: u64 = 64 << 10;

/// Most threads of a process that are looked at.
const MAX_TASKS: usize = 256;

/// The flag of kernel threads (include/linux/sched.h).
const PF_KTHREAD: u32 = 0x0020_0000;

/// Why /proc does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// The process has ended, or its directory is hidden from us (`hidepid`).
    Gone,
    /// The pid belongs to another process by now.
    Reused,
}

/// A process file system.
pub struct Procfs {
    root: PathBuf,
    /// When the machine started: nanoseconds since the Unix epoch.
    boot: Option<u64>,
}

/// The fields of /proc/PID/stat that count here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Field 2: the leader's name.
    pub comm: Vec<u8>,
    /// Field 4; 0 where the parent is outside the pid namespace or there is none.
    pub ppid: u32,
    /// Of field 9: a thread of the kernel itself.
    pub kernel_thread: bool,
    /// Field 11: page faults of children that have ended and were waited for; it grows
    /// with each.
    pub reaped: u64,
    /// Field 22: clock ticks since boot.
    pub start_ticks: u64,
}

impl Procfs {
    /// The process file system mounted at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let boot = boot_time(&root);
        Procfs { root, boot }
    }

    /// The directory of a process, or a file in it.
    pub fn path(&self, pid: u32, file: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(file)
    }

    /// Where it is mounted.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The processes that there are, in no order.
    pub fn pids(&self) -> impl Iterator<Item = u32> + use<> {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().to_str()?.parse().ok())
    }

    /// A thread by which the files of a process can be seen whose leader has ended: then
    /// /proc/PID/fd is empty, and /proc/TID/fd of the others is not.
    pub fn thread_with_files(&self, pid: u32) -> Option<u32> {
        let tasks = fs::read_dir(self.path(pid, "task")).ok()?.flatten().take(MAX_TASKS);
        let mut tids = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
        tids.find(|tid| {
            let mut files = fs::read_dir(self.path(*tid, "fd")).into_iter().flatten();
            *tid != pid && files.next().is_some()
        })
    }

    /// Reads /proc/PID/stat.
    pub fn stat(&self, pid: u32) -> Option<Stat> {
        parse_stat(&read_limited(&self.path(pid, "stat"), MAX_SMALL_FILE).ok()?.0)
    }

    /// Everything about one process. Its start is compared before and after: what was
    /// read in between is then about this process and no later one of the same pid.
    pub fn process(&self, key: ProcessKey) -> Result<Process, Silence> {
        let process = self.unverified(key)?;
        self.verified(key)?;
        Ok(process)
    }

    /// The same of a process that may end at any moment: as much as was there to read.
    pub fn glimpse(&self, key: ProcessKey) -> Result<Process, Silence> {
        let process = self.unverified(key)?;
        match self.verified(key) {
            Err(Silence::Reused) => Err(Silence::Reused),
            Ok(_) | Err(Silence::Gone) => Ok(process),
        }
    }

    /// What goes first when the process ends is read first.
    fn unverified(&self, key: ProcessKey) -> Result<Process, Silence> {
        let stat = self.verified(key)?;
        let mut process = Process {
            start: self.boot.map(|boot| boot + key.start_ticks * NS_PER_TICK),
            ppid: Some(stat.ppid),
            ..Process::default()
        };
        self.read_program(key.pid, &mut process);
        self.read_status(key.pid, &mut process);
        let cgroup = read_limited(&self.path(key.pid, "cgroup"), MAX_SMALL_FILE);
        process.cgroup = cgroup.ok().and_then(|(b, _)| Some(container::path_of(&b)?.to_vec()));
        process.ancestors = Some(self.ancestors(&stat));
        process.comm = Some(stat.comm);
        Ok(process)
    }

    /// Whether the process of this identity is still there.
    pub fn is(&self, key: ProcessKey) -> bool {
        self.verified(key).is_ok()
    }

    /// The last part of the path of a process's executable.
    pub fn exe_name(&self, pid: u32) -> Option<Vec<u8>> {
        let path = fs::read_link(self.path(pid, "exe")).ok()?.into_os_string().into_vec();
        let name = path.rsplit(|b| *b == b'/').next()?;
        Some(name.strip_suffix(b" (deleted)").unwrap_or(name).to_vec())
    }

    fn verified(&self, key: ProcessKey) -> Result<Stat, Silence> {
        let stat = self.stat(key.pid).ok_or(Silence::Gone)?;
        if stat.start_ticks == key.start_ticks { Ok(stat) } else { Err(Silence::Reused) }
    }

    /// Parent, grandparent, …
    fn ancestors(&self, child: &Stat) -> Vec<Ancestor> {
        let mut found = Vec::new();
        let (mut ppid, mut started) = (child.ppid, child.start_ticks);
        while ppid != 0 && found.len() < MAX_ANCESTORS {
            // A "parent" younger than its child got the parent's pid just now.
            let Some(stat) = self.stat(ppid).filter(|s| s.start_ticks <= started) else { break };
            found.push(Ancestor { pid: Some(ppid), comm: stat.comm });
            (ppid, started) = (stat.ppid, stat.start_ticks);
        }
        found
    }

    /// `Uid:` (real first) and `NSpid:` (ours first, innermost last; since Linux 4.1).
    fn read_status(&self, pid: u32, process: &mut Process) {
        let Ok((file, _)) = read_limited(&self.path(pid, "status"), MAX_SMALL_FILE) else { return };
        for line in file.split(|b| *b == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if let Some(uids) = line.strip_prefix("Uid:") {
                process.uid = uids.split_whitespace().next().and_then(|u| u.parse().ok());
            } else if let Some(pids) = line.strip_prefix("NSpid:") {
                let inner = pids.split_whitespace().next_back().and_then(|p| p.parse().ok());
                // A process that is about to go has given its pids back, and shows 0
                // (`task_pid_nr_ns` of a task that was detached from them).
                process.inner_pid = inner.filter(|inner| *inner != pid && *inner != 0);
            }
        }
    }

    /// Executable and command line. A kernel thread has neither.
    fn read_program(&self, pid: u32, process: &mut Process) {
        if let Ok((mut argv, truncated)) = read_limited(&self.path(pid, "cmdline"), MAX_CMDLINE) {
            if !truncated && argv.last() == Some(&0) {
                argv.pop();
            }
            process.argv_truncated = truncated;
            process.argv = (!argv.is_empty()).then_some(argv);
        }
        let exe = self.path(pid, "exe");
        if let Ok(target) = fs::read_link(&exe) {
            let mut target = target.into_os_string().into_vec();
            // A file may really be called `x (deleted)`: then it still has a link.
            // As far as the kernel knows: whoever serves the file may not answer (FUSE).
            let known = statx(CWD, &exe, AtFlags::STATX_DONT_SYNC, StatxFlags::NLINK);
            let linked = known.is_ok_and(|m| m.stx_nlink > 0);
            if !linked && target.ends_with(b" (deleted)") {
                target.truncate(target.len() - b" (deleted)".len());
                process.exe_deleted = true;
            }
            process.exe = Some(target);
        }
    }
}

/// Reads at most `limit` bytes of a file, and tells whether there were more.
pub fn read_limited(path: &Path, limit: u64) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    let more = bytes.len() as u64 > limit;
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok((bytes, more))
}

/// Parses /proc/PID/stat. The name stands in parentheses and may itself contain
/// spaces, parentheses and newlines: it ends at the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let open = bytes.iter().position(|b| *b == b'(')?;
    let close = bytes.iter().rposition(|b| *b == b')')?;
    let comm = bytes.get(open + 1..close)?.to_vec();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let field = |n: usize| rest.split_ascii_whitespace().nth(n - 3);
    let number = |n: usize| field(n)?.parse::<u64>().ok();
    Some(Stat {
        comm,
        ppid: field(4)?.parse().ok()?,
        kernel_thread: number(9)? & u64::from(PF_KTHREAD) != 0,
        reaped: number(11)?,
        start_ticks: number(22)?,
    })
}

/// When the machine started, in nanoseconds since the Unix epoch: now less
/// /proc/uptime, which counts like [`ProcessKey::start_ticks`] (suspended time
/// included) and as finely (1/100 s). `btime` in /proc/stat is whole seconds only.
fn boot_time(root: &Path) -> Option<u64> {
    let (file, _) = read_limited(&root.join("uptime"), MAX_SMALL_FILE).ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let uptime: f64 = std::str::from_utf8(&file).ok()?.split_whitespace().next()?.parse().ok()?;
    let uptime = std::time::Duration::try_from_secs_f64(uptime).ok()?;
    u64::try_from(now.checked_sub(uptime)?.as_nanos()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;
    use std::os::unix::fs::symlink;

    fn stat_line(pid: u32, comm: &str, ppid: u32, start: u64) -> Vec<u8> {
        let zeros = "0 ".repeat(17);
        format!("{pid} ({comm}) S {ppid} {zeros}{start} 0 0\n").into_bytes()
    }

    fn a_machine() -> Scratch {
        let dir = Scratch::new();
        dir.write("uptime", b"100.00 50.00\n");
        dir.write("1/stat", &stat_line(1, "init", 0, 5));
        dir.write("20/stat", &stat_line(20, "sh (x) \n)", 1, 50));
        dir.write("30/stat", &stat_line(30, "ping", 20, 60));
        dir.write("30/status", b"Name:\tping\nUid:\t1000\t0\t0\t0\nNSpid:\t30\t7\n");
        dir.write("30/cmdline", b"ping\0-c\x001\0");
        dir.write("30/cgroup", b"0::/system.slice/x.service\n");
        symlink("/usr/bin/ping (deleted)", dir.path("30/exe")).unwrap();
        dir
    }

    #[test]
    fn a_process_is_read_whole() {
        let dir = a_machine();
        let process =
            Procfs::new(dir.path("")).process(ProcessKey { pid: 30, start_ticks: 60 }).unwrap();
        let names: Vec<_> = process.ancestors.iter().flatten().map(|a| a.comm.clone()).collect();
        assert_eq!(names, [b"sh (x) \n)".to_vec(), b"init".to_vec()]);
        assert_eq!((process.ppid, process.uid, process.inner_pid), (Some(20), Some(1000), Some(7)));
        assert_eq!(process.comm.as_deref(), Some(&b"ping"[..]));
        assert_eq!(process.exe.as_deref(), Some(&b"/usr/bin/ping"[..]));
        assert!(process.exe_deleted && !process.argv_truncated);
        assert_eq!(process.argv.as_deref(), Some(&b"ping\0-c\x001"[..]));
        assert_eq!(process.cgroup.as_deref(), Some(&b"/system.slice/x.service"[..]));
        let age = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
            - process.start.unwrap();
        assert!((99_300_000_000..99_500_000_000 + 60_000_000_000).contains(&age), "{age}");
    }

    #[test]
    fn pids_that_were_given_back_are_none() {
        let dir = a_machine();
        dir.write("30/status", b"NSpid:\t0\n");
        let read = Procfs::new(dir.path("")).process(ProcessKey { pid: 30, start_ticks: 60 });
        assert_eq!(read.unwrap().inner_pid, None);
    }

    #[test]
    fn another_process_of_the_same_pid_is_refused() {
        let dir = a_machine();
        let procfs = Procfs::new(dir.path(""));
        let ask = |pid, start_ticks| procfs.process(ProcessKey { pid, start_ticks }).unwrap_err();
        assert_eq!(ask(30, 61), Silence::Reused);
        assert_eq!(ask(31, 61), Silence::Gone);
    }

    #[test]
    fn a_younger_parent_is_none() {
        let dir = a_machine();
        dir.write("20/stat", &stat_line(20, "late", 1, 61));
        let process =
            Procfs::new(dir.path("")).process(ProcessKey { pid: 30, start_ticks: 60 }).unwrap();
        assert_eq!(process.ancestors, Some(vec![]));
    }

    #[test]
    fn long_command_lines_are_cut_and_say_so() {
        let dir = a_machine();
        let limit = usize::try_from(MAX_CMDLINE).unwrap();
        for (len, truncated) in [(limit, false), (limit + 1, true)] {
            dir.write("30/cmdline", &vec![b'a'; len]);
            let process =
                Procfs::new(dir.path("")).process(ProcessKey { pid: 30, start_ticks: 60 }).unwrap();
            assert_eq!((process.argv.unwrap().len(), process.argv_truncated), (limit, truncated));
        }
    }

    #[test]
    fn a_stat_line_that_makes_no_sense_is_nothing() {
        for bytes in [&b""[..], b")(", b"1 (x", b"1 (x) S 1", b"1 (x) S \xff 1"] {
            assert_eq!(parse_stat(bytes), None);
        }
    }

    #[test]
    fn this_process_is_found_on_the_real_machine() {
        let procfs = Procfs::new("/proc");
        let pid = std::process::id();
        let stat = procfs.stat(pid).unwrap();
        let process = procfs.process(ProcessKey { pid, start_ticks: stat.start_ticks }).unwrap();
        assert_eq!(process.ppid, Some(std::os::unix::process::parent_id()));
        let exe = std::env::current_exe().unwrap().into_os_string().into_vec();
        assert_eq!(process.exe, Some(exe));
    }
}
