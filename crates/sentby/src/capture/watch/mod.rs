//! A watch over processes, for backends that cannot read a process's details in the
//! kernel while it sends.
//!
//! The kernel's process connector (netlink(7), `NETLINK_CONNECTOR`; cn_proc.h) tells of
//! each fork, exec and exit. At each exec the command line is read from /proc at once, so
//! that a process which lives two milliseconds still has its own. Those that were there
//! before are read at the start: they may send once and end. What has ended is kept for a
//! while, by pid and time: captures are read late.
//!
//! Deliberately absent: threads, and processes of other pid
//! namespaces than the initial one, where the connector does not answer.

mod messages;
mod table;

use crate::enrich::{Procfs, descendants};
use crate::event::{Batch, Item, ProcessKey};
use crate::host::Host;
use crate::privileges;
use caps::Capability;
use messages::{CN_PROC, What, Wish};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, write};
use rustix::net::netlink::{self, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, send,
    socket_with, sockopt,
};
use rustix::process::setpriority_process;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use table::{Clocks, SLACK_TICKS, Table};

/// Bytes of messages that may wait for us: some 20,000 forks (the kernel counts some
/// 800 bytes for each message).
const QUEUE: usize = 16 << 20;

/// Longest datagram; a message has 76 bytes.
const DATAGRAM: usize = 4096;

/// Datagrams that are read before anyone else gets at what is known.
const AT_ONCE: usize = 256;

/// The thread's nice value.
const HURRY: i32 = -20;

/// The initial network namespace, in the initial pid namespace: kthreadd (rest_init(),
/// init/main.c) can be nowhere else, where process 1 may be, and may not be asked.
const KTHREADD_NETNS: &str = "/proc/2/ns/net";

/// How long processes may be read that were there before the watch.
const AT_START: Duration = Duration::from_millis(200);

/// How long the kernel may take to answer a wish.
const PATIENCE: Duration = Duration::from_millis(500);

/// A running watch.
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    socket: OwnedFd,
    stop: OwnedFd,
}

struct State {
    table: Table,
    clocks: Clocks,
    /// Everything that happened before this is known: nanoseconds since the epoch.
    known_until: u64,
    overruns: u64,
}

impl Watch {
    /// Starts to listen. The error says what this kernel, or our place in it, lacks.
    pub fn start(host: &Host) -> Result<Watch, String> {
        if host.pidns.is_some() {
            return Err("only told in the initial pid namespace".to_owned());
        }
        if !host.can(Capability::CAP_NET_ADMIN) {
            return Err("CAP_NET_ADMIN is missing".to_owned());
        }
        let socket = subscribe_anywhere();
        let socket = socket.map_err(|e| format!("asking the process connector: {e}"))?;
        let stop = eventfd(0, EventfdFlags::CLOEXEC).map_err(|e| format!("eventfd: {e}"))?;
        let clocks = clocks();
        let mut table = Table::new(Procfs::new("/proc"));
        let until = Instant::now() + AT_START;
        table.take_in(&clocks, || Instant::now() < until);
        let state = State { table, clocks, known_until: 0, overruns: 0 };
        let shared = Arc::new(Shared { state: Mutex::new(state), socket, stop });
        let own = shared.clone();
        let thread = thread::Builder::new()
            .name("sentby-watch".to_owned())
            .spawn(move || own.run())
            .map_err(|e| format!("starting a thread: {e}"))?;
        Ok(Watch { shared, thread: Some(thread) })
    }

    /// The process that had `pid` at `time` (nanoseconds since the epoch), a moment ago.
    /// What was not told yet of it and of the program that it ran then goes into the
    /// batch, ahead of the capture that names it.
    pub fn facts(&self, pid: u32, time: u64, batch: &mut Batch) -> Option<ProcessKey> {
        let mut state = self.shared.lock();
        if time >= state.known_until {
            self.shared.read(&mut state, usize::MAX);
        }
        let State { table, clocks, .. } = &mut *state;
        let (key, facts) = table.at(pid, time, clocks)?;
        if let Some(facts) = facts {
            batch.items.push(Item::Process(key, Box::new(facts.clone())));
        }
        Some(key)
    }

    /// The same for a process that is known to be this one; another is not told.
    pub fn facts_of(&self, key: ProcessKey, time: u64, batch: &mut Batch) {
        let before = batch.items.len();
        let found = self.facts(key.pid, time, batch);
        // By a clock, a start may be a tick off.
        let same = found.is_some_and(|f| f.start_ticks.abs_diff(key.start_ticks) <= SLACK_TICKS);
        match batch.items.get_mut(before) {
            Some(Item::Process(of, _)) if same => *of = key,
            _ => batch.items.truncate(before),
        }
    }

    /// Whether that process was there at `time`, a moment ago, and nobody can have
    /// inherited from it since `since`. False where that is not known for sure.
    pub fn was_alone(&self, key: ProcessKey, since: u64, time: u64) -> bool {
        let mut state = self.shared.lock();
        if time >= state.known_until {
            self.shared.read(&mut state, usize::MAX);
        }
        state.table.was_alone(key, since, time)
    }

    /// Whether that process was there at `time`; `None` where it is not known for sure.
    pub fn was_there(&self, key: ProcessKey, time: u64) -> Option<bool> {
        self.shared.lock().table.was_there(key, time)
    }

    /// Whether no process has ended since `time`.
    pub fn none_ended_since(&self, time: u64) -> bool {
        let mut state = self.shared.lock();
        self.shared.read(&mut state, usize::MAX);
        state.table.last_end() < time
    }

    /// Follows these processes and the descendants that they have, and all that those
    /// will make: see [`Watch::descends`]. Twice: a child that was made between looking
    /// and following is found by the second look.
    pub fn follow(&self, pids: &[u32]) {
        for _ in 0..2 {
            let all = descendants(pids);
            self.shared.lock().table.follow(all);
        }
    }

    /// Whether the process that [`Watch::facts`] told of descends from who is followed,
    /// or is that, also where its parents have ended; `None` where it is not known.
    pub fn descends(&self, pid: u32, time: u64) -> Option<bool> {
        self.shared.lock().table.is_followed(pid, time)
    }

    /// Details that were lost, for [`crate::capture::Counts::details_lost`]: names and
    /// counts, zeros included.
    pub fn lost(&self) -> [(&'static str, u64); 3] {
        let state = self.shared.lock();
        let shortfall = state.table.shortfall;
        [
            ("watch-overrun", state.overruns),
            ("watch-late", shortfall.late),
            ("watch-unknown", shortfall.unknown),
        ]
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = write(&self.shared.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // What is known stays true if someone panicked with it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        // Telling the kernel to stop takes what telling it to begin took: before 6.6 it
        // counts those who listen, and a closed socket is not counted off.
        // It has little to do, and that before the process ends.
        let _ = setpriority_process(None, HURRY);
        privileges::drop_all_but(&[Capability::CAP_NET_ADMIN]);
        loop {
            let mut both =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.stop, PollFlags::IN)];
            match poll(&mut both, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
            if !both[1].revents().is_empty() {
                break;
            }
            self.read(&mut self.lock(), AT_ONCE);
        }
        let _ = send(&self.socket, &messages::wish(Wish::Ignore, 0), SendFlags::empty());
    }

    /// Reads what has been told, datagram by datagram.
    fn read(&self, state: &mut State, most: usize) {
        state.clocks = clocks();
        let now = state.clocks.now;
        let mut buffer = [0; DATAGRAM];
        for _ in 0..most {
            match receive(&self.socket, &mut buffer) {
                Ok(bytes) => state.take(bytes),
                Err(Errno::INTR) => {}
                Err(Errno::NOBUFS) => {
                    state.overruns += 1;
                    state.table.doubt(now);
                }
                // Nothing more: what happens reaches the socket at once.
                Err(_) => {
                    state.known_until = now;
                    return;
                }
            }
        }
    }
}

impl State {
    fn take(&mut self, datagram: &[u8]) {
        for message in messages::messages(datagram) {
            let time = message.time.saturating_add_signed(self.clocks.monotonic);
            self.table.happened(time, message.what, &self.clocks);
        }
    }
}

/// The connector answers in the initial network namespace alone: in another, a thread goes
/// there for the socket, which stays there while the thread ends.
fn subscribe_anywhere() -> Result<OwnedFd, String> {
    let own = subscribe();
    let Err(why) = own else { return own };
    let there = thread::spawn(|| {
        let init = File::open(KTHREADD_NETNS).map_err(|e| e.to_string())?;
        move_into_link_name_space(init.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| e.to_string())?;
        subscribe()
    });
    there.join().ok().and_then(Result::ok).ok_or(why)
}

/// A socket that the kernel has promised to tell us on.
fn subscribe() -> Result<OwnedFd, String> {
    let say = |what: &'static str| move |e: Errno| format!("{what}: {e}");
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let kind = (AddressFamily::NETLINK, SocketType::DGRAM, Some(netlink::CONNECTOR));
    let socket = socket_with(kind.0, kind.1, flags, kind.2).map_err(say("socket"))?;
    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE);
    bind(&socket, &SocketAddrNetlink::new(0, CN_PROC)).map_err(say("bind"))?;
    let number = std::process::id();
    // ECONNREFUSED: no connector in this kernel, or not in this network namespace.
    send(&socket, &messages::wish(Wish::Listen, number), SendFlags::empty())
        .map_err(say("send"))?;
    match answer(&socket, number) {
        Some(0) => Ok(socket),
        Some(errno) => Err(Errno::from_raw_os_error(errno as i32).to_string()),
        None => Err("no answer".to_owned()),
    }
}

/// Waits for the answer to a wish. What is told beside it is left out: /proc knows it.
fn answer(socket: &OwnedFd, number: u32) -> Option<u32> {
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; DATAGRAM];
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        let left = Timespec::try_from(left).ok()?;
        let _ = poll(&mut [PollFd::new(socket, PollFlags::IN)], Some(&left));
        let Ok(bytes) = receive(socket, &mut buffer) else { continue };
        let ours = messages::messages(bytes).find_map(|m| match m.what {
            What::Answer(to, errno) if to == number => Some(errno),
            _ => None,
        });
        if ours.is_some() {
            return ours;
        }
    }
    None
}

/// Reads one datagram; one that is not from the kernel is as good as empty.
fn receive<'a>(socket: &impl AsFd, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let (len, _, from) = recvfrom(socket, &mut *buffer, RecvFlags::DONTWAIT)?;
    let from = from.and_then(|a| SocketAddrNetlink::try_from(a).ok());
    let kernel = from.is_some_and(|a| a.pid() == 0);
    Ok(if kernel { &buffer[..len] } else { &[] })
}

fn clocks() -> Clocks {
    let ns = |clock| {
        let now = clock_gettime(clock);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    };
    let now = ns(ClockId::Realtime);
    Clocks {
        monotonic: now - ns(ClockId::Monotonic),
        boot: now - ns(ClockId::Boottime),
        now: u64::try_from(now).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests;
