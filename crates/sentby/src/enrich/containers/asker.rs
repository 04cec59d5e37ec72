//! The thread that asks container runtimes. It sees nothing of what is captured, and has no
//! more rights than the threads that do.

use super::info::{ContainerId, ContainerInfo};
use super::socket::{Api, RuntimeSocket};
use super::{Answer, Heard, MAX_CONTAINERS, MAX_QUESTIONS, PATIENCE, cri, docker};
use crate::privileges;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver as Questions, Sender};
use tokio::time::{sleep, timeout};

/// How long until a socket is tried again that was not there, or failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Most questions that are asked at the same time.
const AT_ONCE: usize = 8;

/// How it goes.
#[derive(Debug, Default)]
pub struct State {
    /// Answers that had no room.
    pub lost: AtomicU64,
    /// Sockets that could not be used when they were last tried, and why: the runtime's words,
    /// perhaps.
    pub failing: Mutex<BTreeMap<PathBuf, String>>,
}

/// Where answers go; it never waits.
#[derive(Clone)]
struct Answers {
    to: SyncSender<Answer>,
    state: Arc<State>,
}

impl Answers {
    fn give(&self, answer: Answer) {
        if self.to.try_send(answer).is_err() {
            self.state.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Keeps in mind how it went with a socket.
    fn note(&self, socket: &RuntimeSocket, why: Option<String>) {
        let mut failing = self.state.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => failing.insert(socket.path.clone(), why),
            None => failing.remove(&socket.path),
        };
    }
}

/// Starts the thread. It ends when the questions' other end is gone.
pub fn start(
    sockets: Vec<RuntimeSocket>,
) -> io::Result<(Sender<ContainerId>, Receiver<Answer>, Arc<State>)> {
    let (to, answers) = mpsc::sync_channel(MAX_CONTAINERS);
    let (questions, asked) = tokio::sync::mpsc::channel(MAX_QUESTIONS);
    let state = Arc::new(State::default());
    let give = Answers { to, state: state.clone() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("sentby-contain".to_owned()).spawn(move || {
        privileges::drop_unneeded();
        runtime.block_on(run(sockets.into(), asked, give));
    })?;
    Ok((questions, answers, state))
}

async fn run(sockets: Arc<[RuntimeSocket]>, mut asked: Questions<ContainerId>, give: Answers) {
    for socket in sockets.iter() {
        tokio::spawn(keep_up(socket.clone(), give.clone()));
    }
    let room = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(id) = asked.recv().await {
        let Ok(room) = room.clone().acquire_owned().await else { return };
        let (sockets, give) = (sockets.clone(), give.clone());
        tokio::spawn(async move {
            give.give(look_up(&sockets, id).await);
            drop(room);
        });
    }
}

/// Tells what a runtime tells by itself, whenever it is there.
async fn keep_up(socket: RuntimeSocket, give: Answers) {
    let mut first = true;
    loop {
        let mut listed = false;
        let heard = |heard| match heard {
            Heard::Container(id, info) => give.give(Answer::Known(id, info)),
            Heard::Listed => {
                listed = true;
                give.note(&socket, None);
                if std::mem::take(&mut first) {
                    give.give(Answer::Listed);
                }
            }
        };
        let ended = match socket.api {
            Api::Docker => docker::follow(&socket, heard).await,
            Api::Cri => timeout(PATIENCE, cri::follow(&socket, heard))
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        };
        match &ended {
            Err(e) => give.note(&socket, Some(e.to_string())),
            Ok(false) if socket.named => give.note(&socket, Some("nobody listens".to_owned())),
            Ok(_) => {}
        }
        if std::mem::take(&mut first) {
            give.give(Answer::Listed);
        }
        // CRI's list is asked for once: what comes later is asked for by its id.
        if listed && ended.is_ok() && socket.api == Api::Cri {
            return;
        }
        sleep(AGAIN).await;
    }
}

/// Asks all runtimes about a container; the first that knows it is believed.
async fn look_up(sockets: &[RuntimeSocket], id: ContainerId) -> Answer {
    let mut replies: FuturesUnordered<_> = sockets.iter().map(|s| inspect(s, id)).collect();
    let mut silent = false;
    while let Some(reply) = replies.next().await {
        match reply {
            Ok(Some(info)) => return Answer::Known(id, info),
            Ok(None) => {}
            Err(_) => silent = true,
        }
    }
    if silent { Answer::Silent(id) } else { Answer::Unknown(id) }
}

async fn inspect(socket: &RuntimeSocket, id: ContainerId) -> io::Result<Option<ContainerInfo>> {
    let asking = async {
        match socket.api {
            Api::Docker => docker::inspect(socket, id).await,
            Api::Cri => cri::inspect(socket, id).await,
        }
    };
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
