//! Who a pid is: a record has pid and thread, and /proc the rest, a moment later.

use crate::enrich::{Lru, Procfs};
use crate::event::{COMM_LEN, ProcessKey, Task};
use std::fs;
use std::time::{Duration, Instant};

/// Processes that are remembered.
const KNOWN_MAX: usize = 4096;

/// How long a pid is taken for the process that it was: nobody gets around all pids
/// in that time.
const FRESH: Duration = Duration::from_millis(100);

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
    /// Senders that had ended before they were looked up.
    pub gone: u64,
}

impl Tasks {
    /// By this machine's /proc.
    pub fn new() -> Tasks {
        Tasks { procfs: Procfs::new("/proc"), processes: Lru::new(KNOWN_MAX), gone: 0 }
    }

    /// Who this thread is.
    pub fn sender(&mut self, pid: u32, tid: u32) -> Sender {
        if pid == 0 {
            return Sender::Unknown;
        }
        let Some(known) = self.known(pid) else {
            self.gone += 1;
            return Sender::Task(Task { key: None, tid: None, comm: None, uid: None });
        };
        if known.kernel {
            return Sender::Kernel;
        }
        let comm = self.comm(pid, tid);
        Sender::Task(Task { key: Some(known.key), tid: Some(tid), comm, uid: None })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_thread_is_found_and_nobody_is_nobody() {
        let mut tasks = Tasks::new();
        let pid = std::process::id();
        let Sender::Task(task) = tasks.sender(pid, pid) else { panic!("no task") };
        assert_eq!(task.key.map(|key| key.pid), Some(pid));
        assert!(task.comm.is_some());
        assert_eq!(tasks.sender(0, 0), Sender::Unknown);
    }

    #[test]
    fn who_has_ended_has_no_identity_and_is_counted() {
        let mut tasks = Tasks::new();
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        child.wait().unwrap();
        let Sender::Task(task) = tasks.sender(child.id(), child.id()) else { panic!("no task") };
        assert_eq!((task.key, tasks.gone), (None, 1));
    }
}
