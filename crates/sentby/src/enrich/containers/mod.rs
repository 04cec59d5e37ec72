//! Names of containers, by what container runtimes on this machine say at their local
//! sockets.
//!
//! The pipeline never waits for a runtime. A thread of its own asks (`asker.rs`): at the
//! start for all that run, and later for what is not known yet. Docker and Podman tell of a
//! container as it is made; where it sends before that was told, and where CRI's runtimes
//! started it, it is asked for at its first event. That event is kept back for some
//! milliseconds, others are not (`pipeline/show.rs`). Where no runtime answers, there is the id
//! alone.

mod asker;
mod cri;
mod docker;
mod info;
mod socket;

pub use info::{ContainerId, ContainerInfo};
pub use socket::RuntimeSocket;

use super::lru::Lru;
use crate::escape::{MAX_TEXT, Visible};
use anyhow::{Context, Result};
use asker::State;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc::Sender;

/// Most containers that are known, and most answers that wait.
const MAX_CONTAINERS: usize = 4096;

/// Most questions that wait.
const MAX_QUESTIONS: usize = 256;

/// Longest answer of a runtime that is read, in bytes. 500 containers with all their labels
/// are some 1 MB.
const MAX_ANSWER: usize = 16 << 20;

/// How long a runtime gets for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long the start waits for the lists of what runs.
const START: Duration = Duration::from_millis(300);

/// How long nothing is asked again, where nobody knew a container.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// The same where a runtime did not answer, or has not yet.
const SILENT_FOR: Duration = Duration::from_secs(5);

/// What a runtime says.
#[derive(Debug)]
enum Heard {
    /// This container is there.
    Container(ContainerId, ContainerInfo),
    /// All that ran were told.
    Listed,
}

/// What the asking thread says.
#[derive(Debug)]
enum Answer {
    /// A container is called so.
    Known(ContainerId, ContainerInfo),
    /// All runtimes were asked about it, and none knows it.
    Unknown(ContainerId),
    /// One did not answer, and the others do not know it.
    Silent(ContainerId),
    /// A socket's list was read, or cannot be.
    Listed,
}

/// How long the first events of a container may be kept back for its name. A runtime on the
/// same machine answers in some milliseconds.
const AWAIT: Duration = Duration::from_millis(50);

/// What is known about a container.
enum Known {
    Info(Arc<ContainerInfo>),
    /// It was asked for at this moment, for the first time.
    Asked(Instant),
    /// Nothing; not to be asked before this.
    Until(Instant),
}

/// What became of a name that was asked for.
#[derive(Clone, Debug)]
pub enum Awaited {
    /// It may come yet.
    Still,
    /// It has come.
    Named(Arc<ContainerInfo>),
    /// It is not to be waited for.
    Nothing,
}

/// When somebody looked a container up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Look {
    at: Option<Instant>,
    answers: u64,
}

/// What could not be done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Untold {
    /// Containers forgotten to make room.
    pub evicted: u64,
    /// Questions that had no room.
    pub unasked: u64,
    /// Questions that a runtime did not answer.
    pub unanswered: u64,
}

/// The containers of this machine.
pub struct Containers {
    questions: Sender<ContainerId>,
    answers: Receiver<Answer>,
    known: Lru<ContainerId, Known>,
    /// How many answers there were.
    heard: u64,
    /// How long events are kept back: [`AWAIT`], but in tests.
    keep_back: Duration,
    untold: Untold,
    state: Arc<State>,
}

impl Containers {
    /// Begins to ask at these sockets, and waits a moment for the lists of what runs. The
    /// error is one of the thread that could not be started.
    pub fn start(sockets: Vec<RuntimeSocket>) -> Result<Containers> {
        let present = sockets.iter().filter(|socket| socket.is_there()).count();
        let (questions, answers, state) =
            asker::start(sockets).context("starting the thread that asks container runtimes")?;
        let known = Lru::new(MAX_CONTAINERS);
        let (heard, untold) = (0, Untold::default());
        let keep_back = AWAIT;
        let mut containers =
            Containers { questions, answers, known, heard, keep_back, untold, state };
        containers.await_lists(present);
        Ok(containers)
    }

    /// Waits for so many lists. What is not there, or does not answer in time, is not missed.
    fn await_lists(&mut self, mut lists: usize) {
        let until = Instant::now() + START;
        while lists > 0 {
            let left = until.saturating_duration_since(Instant::now());
            match self.answers.recv_timeout(left) {
                Ok(Answer::Listed) => lists -= 1,
                Ok(answer) => self.take(answer, Instant::now()),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Takes the answers that have come.
    pub fn tick(&mut self, now: Instant) {
        while let Ok(answer) = self.answers.try_recv() {
            self.take(answer, now);
        }
    }

    fn take(&mut self, answer: Answer, now: Instant) {
        let (id, known) = match answer {
            Answer::Known(id, info) => (id, Known::Info(Arc::new(info))),
            Answer::Unknown(id) => (id, Known::Until(now + UNKNOWN_FOR)),
            Answer::Silent(id) => {
                self.untold.unanswered += 1;
                (id, Known::Until(now + SILENT_FOR))
            }
            Answer::Listed => return,
        };
        // Told as it was made, before the answer that nobody knew it: that is not forgotten.
        let newer = matches!(known, Known::Until(_));
        if newer && matches!(self.known.peek(&id), Some(Known::Info(_))) {
            return;
        }
        self.heard += 1;
        self.insert(id, known);
    }

    fn insert(&mut self, id: ContainerId, known: Known) {
        if self.known.insert(id, known) {
            self.untold.evicted += 1;
        }
    }

    /// Whether looking a container up could tell more than it did then.
    pub fn is_due(&self, look: &Look, now: Instant) -> bool {
        let late = |at| now.saturating_duration_since(at) >= Duration::from_secs(1);
        look.answers != self.heard || look.at.is_none_or(late)
    }

    /// What is known about a container. Asks where that is nothing; the answer comes later.
    pub fn find(
        &mut self,
        id: ContainerId,
        look: &mut Look,
        now: Instant,
    ) -> Option<Arc<ContainerInfo>> {
        *look = Look { at: Some(now), answers: self.heard };
        let asked = match self.known.get_mut(&id) {
            Some(Known::Info(info)) => return Some(info.clone()),
            Some(Known::Asked(at)) if now < *at + SILENT_FOR => return None,
            Some(Known::Until(until)) if now < *until => return None,
            None => Known::Asked(now),
            Some(_) => Known::Until(now + SILENT_FOR),
        };
        match self.questions.try_send(id) {
            Ok(()) => self.insert(id, asked),
            Err(_) => self.untold.unasked += 1,
        }
        None
    }

    /// What became of a container's name.
    pub fn awaited(&self, id: ContainerId, now: Instant) -> Awaited {
        match self.known.peek(&id) {
            Some(Known::Info(info)) => Awaited::Named(info.clone()),
            Some(Known::Asked(at)) if now < *at + self.keep_back => Awaited::Still,
            _ => Awaited::Nothing,
        }
    }

    /// What could not be done.
    pub fn untold(&self) -> Untold {
        let lost = self.state.lost.load(Ordering::Relaxed);
        Untold { unanswered: self.untold.unanswered + lost, ..self.untold }
    }

    /// Which sockets could not be used when they were last tried, and why: a line for each.
    pub fn notes(&self) -> Vec<String> {
        let failing = self.state.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |(path, why): (&PathBuf, &String)| {
            let mut line = String::new();
            let mut visible = Visible::new(&mut line, MAX_TEXT);
            let _ = write!(visible, "container runtime at {}: {why}", path.display());
            visible.finish();
            line + "; its containers go by their ids"
        };
        failing.iter().map(line).collect()
    }
}

#[cfg(test)]
pub mod tests;
