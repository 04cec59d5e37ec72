//! Who a pid is: a record has pid and thread; the watch over processes has the rest, also
//! of what has ended since, and without one /proc, a moment later.

use crate::capture::watch::Watch;
use crate::enrich::{Lru, Procfs};
use crate::event::{Batch, COMM_LEN, ProcessKey, Task, until_nul};
use crate::plan::Plan;
use std::fs;
use std::time::{Duration, Instant};

/// Processes that are remembered.
const KNOWN_MAX: usize = 4096;

/// How long a pid is taken for the process that it was: nobody gets around all pids
/// in that time.
const FRESH: Duration = Duration::from_millis(100);

/// How far perf's clock, as it is known here, may be from that of the watch, in nanoseconds.
const SLACK: u64 = 5_000_000;

/// Who was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A process's thread.
    Task(Task),
    /// A kernel thread.
    Kernel,
    /// Nobody, or someone outside of our pid namespace, or gone.
    Unknown,
}

#[derive(Clone, Copy)]
struct Known {
    key: ProcessKey,
    kernel: bool,
    at: Instant,
}

/// Looks up senders.
pub struct Tasks {
    procfs: Procfs,
    processes: Lru<u32, Known>,
    watch: Option<Watch>,
    /// Descendants are asked for.
    follows: bool,
    /// Senders that had ended before they were looked up.
    pub gone: u64,
}

impl Tasks {
    /// By this machine's /proc, and the watch if there is one.
    pub fn new(watch: Option<Watch>, plan: &Plan) -> Tasks {
        if let Some(watch) = watch.as_ref().filter(|_| plan.children) {
            watch.follow(&plan.pids.0);
        }
        let processes = Lru::new(KNOWN_MAX);
        Tasks { procfs: Procfs::new("/proc"), processes, watch, follows: plan.children, gone: 0 }
    }

    /// Who this thread was at a time (nanoseconds since the epoch), by a name that it had
    /// then or else by that of now. What is not told yet of its process goes into the batch.
    pub fn sender(
        &mut self,
        (pid, tid): (u32, u32),
        comm: Option<[u8; COMM_LEN]>,
        time: u64,
        batch: &mut Batch,
    ) -> Sender {
        if pid == 0 {
            return Sender::Unknown;
        }
        let known = self.known(pid);
        if known.is_some_and(|known| known.kernel) {
            return Sender::Kernel;
        }
        // By another clock than the watch's, a process may seem to send when it has ended.
        let mut at = |time| self.watch.as_ref().and_then(|watch| watch.facts(pid, time, batch));
        let watched = [time, time.saturating_sub(SLACK)].into_iter().find_map(&mut at);
        let Some(key) = watched.or(known.map(|known| known.key)) else {
            self.gone += 1;
            return Sender::Task(Task { key: None, tid: None, comm, uid: None });
        };
        // io_uring's threads have names that say nothing; their process's does.
        let worker = |comm: &[u8; COMM_LEN]| tid != pid && is_io_worker(comm);
        let comm = match comm.or_else(|| self.comm(pid, tid)) {
            Some(comm) if worker(&comm) => self.comm(pid, pid),
            comm => comm,
        };
        Sender::Task(Task { key: Some(key), tid: Some(tid), comm, uid: None })
    }

    /// Whether a sender descends from who is followed, where that is asked for and known.
    pub fn descends(&self, pid: u32, time: u64) -> Option<bool> {
        self.watch.as_ref().filter(|_| self.follows)?.descends(pid, time)
    }

    /// Details that were lost: names and counts, zeros included.
    pub fn lost(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let watch = self.watch.iter().flat_map(Watch::lost);
        watch.chain([("process-ended", self.gone)])
    }

    fn known(&mut self, pid: u32) -> Option<Known> {
        let now = Instant::now();
        let before = self.processes.get_mut(&pid).copied();
        let before = before.filter(|known| now.saturating_duration_since(known.at) < FRESH);
        if before.is_some() {
            return before;
        }
        let stat = self.procfs.stat(pid)?;
        let key = ProcessKey { pid, start_ticks: stat.start_ticks };
        let known = Known { key, kernel: stat.kernel_thread, at: now };
        self.processes.insert(pid, known);
        Some(known)
    }

    fn comm(&self, pid: u32, tid: u32) -> Option<[u8; COMM_LEN]> {
        let text = fs::read(self.procfs.path(pid, &format!("task/{tid}/comm"))).ok()?;
        let text = text.strip_suffix(b"\n").unwrap_or(&text);
        let mut comm = [0; COMM_LEN];
        let len = text.len().min(COMM_LEN - 1);
        comm[..len].copy_from_slice(&text[..len]);
        Some(comm)
    }
}

/// Whether a thread's name is one that io_uring gives (io_uring/io-wq.c, sqpoll.c; Linux
/// 5.12): `iou-wrk-N`, `iou-sqp-N`.
fn is_io_worker(comm: &[u8; COMM_LEN]) -> bool {
    let number = [b"iou-wrk-", b"iou-sqp-"].into_iter().find_map(|name| comm.strip_prefix(name));
    number.is_some_and(|rest| until_nul(rest).iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_io_urings_threads_are_known() {
        let name = |text: &[u8]| {
            let mut comm = [0; COMM_LEN];
            comm[..text.len()].copy_from_slice(text);
            is_io_worker(&comm)
        };
        assert!(name(b"iou-wrk-1247") && name(b"iou-sqp-3"));
        assert!(!name(b"iou-wrk-x") && !name(b"uring") && !name(b""));
    }

    fn sender(tasks: &mut Tasks, pid: u32) -> Sender {
        tasks.sender((pid, pid), None, 0, &mut Batch::default())
    }

    #[test]
    fn this_thread_is_found_and_nobody_is_nobody() {
        let mut tasks = Tasks::new(None, &Plan::default());
        let pid = std::process::id();
        let Sender::Task(task) = sender(&mut tasks, pid) else { panic!("no task") };
        assert_eq!(task.key.map(|key| key.pid), Some(pid));
        assert!(task.comm.is_some());
        assert_eq!(sender(&mut tasks, 0), Sender::Unknown);
    }

    #[test]
    fn who_has_ended_has_no_identity_and_is_counted() {
        let mut tasks = Tasks::new(None, &Plan::default());
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        let Sender::Task(task) = sender(&mut tasks, child.id()) else { panic!("no task") };
        assert_eq!((task.key, tasks.gone), (None, 1));
    }
}
