//! The terminal: taken, given back as it was, whatever happens.
//!
//! What was taken is one flag behind a lock. Whoever ends the program, in whatever
//! thread, gives the terminal back once, and nobody draws afterwards.

use anyhow::{Context, Result};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::SIGSTOP;
use signal_hook::low_level;
use std::io::{self, Stdout};
use std::panic;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

/// Whether the terminal is ours.
static TAKEN: Mutex<bool> = Mutex::new(false);

/// How long a panic waits for a thread that is drawing.
const PATIENCE: Duration = Duration::from_millis(200);

/// A terminal that is ours until the value goes.
pub struct Screen {
    /// To draw on.
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal: raw, its other screen, the mouse.
    pub fn take() -> Result<Screen> {
        let taken = take().context("taking the terminal");
        let terminal = taken.and_then(|()| {
            Terminal::new(CrosstermBackend::new(io::stdout())).context("the terminal's size")
        });
        match terminal {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(e) => {
                give_back();
                Err(e)
            }
        }
    }

    /// Draws, unless the terminal has been given back.
    pub fn draw(&mut self, paint: impl FnOnce(&mut ratatui::buffer::Buffer)) -> io::Result<()> {
        let taken = lock();
        if !*taken {
            return Ok(());
        }
        self.terminal.draw(|frame| paint(frame.buffer_mut())).map(drop)
    }

    /// Lets the shell have the terminal, and takes it again when it lets us go on.
    pub fn suspend(&mut self) -> Result<()> {
        give_back();
        // To this thread: sent to the process, another may take it, and this one would run on
        // for a moment.
        low_level::raise(SIGSTOP).context("stopping")?;
        take().context("taking the terminal again")?;
        self.terminal.clear().context("clearing the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn lock() -> MutexGuard<'static, bool> {
    TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take() -> io::Result<()> {
    let mut taken = lock();
    *taken = true;
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture)
}

fn give_back() {
    release(&mut lock());
}

/// Everything is tried: a terminal that has hung up is no reason to leave out the rest.
fn release(taken: &mut bool) {
    if std::mem::take(taken) {
        let _ = execute!(io::stdout(), DisableMouseCapture, LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Waits until there may be a key, or the time is over. False: the terminal has hung up. Only
/// then may crossterm read: it reads an end of file again and again, for ever.
pub fn wait(limit: Duration) -> io::Result<bool> {
    let stdout = io::stdout();
    let mut fds = [PollFd::new(&stdout, PollFlags::IN)];
    let limit = Timespec::try_from(limit).unwrap_or_default();
    match poll(&mut fds, Some(&limit)) {
        Ok(_) => {}
        // A signal: whoever waits looks what it was.
        Err(Errno::INTR) => return Ok(true),
        Err(e) => return Err(e.into()),
    }
    Ok(!fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL))
}

/// From now on a panic gives the terminal back before it says what happened.
pub fn give_back_on_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        release_in_panic();
        before(info);
    }));
}

/// The thread that panics may be the one that draws, and has the lock.
fn release_in_panic() {
    for _ in 0..PATIENCE.as_millis() {
        match TAKEN.try_lock() {
            Ok(mut taken) => return release(&mut taken),
            Err(TryLockError::Poisoned(poisoned)) => return release(&mut poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(1)),
        }
    }
    release(&mut true);
}
