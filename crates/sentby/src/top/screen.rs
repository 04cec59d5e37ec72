//! The thread that draws and reads keys. It looks at the aggregate a few times a second;
//! a slow terminal makes it slow, and nobody else.

use super::draw::{Scene, draw};
use super::keys::{self, Action};
use super::model::Model;
use super::state::State;
use super::terminal::{self, Screen};
use anyhow::{Context, Result};
use ratatui::crossterm::event;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the screen is drawn when no key is pressed.
const REFRESH: Duration = Duration::from_millis(250);

/// The longest time that a key or a signal waits.
const NOTICE: Duration = Duration::from_millis(50);

/// Keys that are taken before the screen is drawn again.
const MAX_KEYS: usize = 64;

/// What the threads share.
pub struct Shared {
    /// The aggregate.
    pub model: Mutex<Model>,
    /// The run is to end: set by the user and by signals.
    pub stop: Arc<AtomicBool>,
    /// The screen is to end.
    pub close: AtomicBool,
    /// To go to the background (SIGTSTP).
    pub suspend: Arc<AtomicBool>,
    /// Time is the machine's, not a file's.
    pub live: bool,
}

impl Shared {
    /// The aggregate, for a moment.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows until the run ends or the user wants it to.
pub fn run(mut screen: Screen, shared: &Shared, scene: &Scene) -> Result<()> {
    let done = show(&mut screen, shared, scene);
    drop(screen);
    shared.stop.store(true, Ordering::Relaxed);
    done
}

fn show(screen: &mut Screen, shared: &Shared, scene: &Scene) -> Result<()> {
    let mut state = State::new();
    let mut due = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) && !shared.close.load(Ordering::Relaxed) {
        if shared.suspend.swap(false, Ordering::Relaxed) {
            screen.suspend()?;
            due = Instant::now();
        }
        if Instant::now() >= due {
            refresh(&mut state, shared);
            due = Instant::now() + REFRESH;
            paint(screen, &mut state, scene)?;
        }
        let wait = due.saturating_duration_since(Instant::now()).min(NOTICE);
        if !terminal::wait(wait).context("waiting for a key")? {
            break;
        }
        if event::poll(Duration::ZERO).context("waiting for a key")? {
            let width = screen.terminal.size().context("the terminal's size")?.width;
            match press(&mut state, shared, width)? {
                Action::Quit => break,
                Action::Suspend => shared.suspend.store(true, Ordering::Relaxed),
                Action::Draw => paint(screen, &mut state, scene)?,
            }
        }
    }
    Ok(())
}

fn refresh(state: &mut State, shared: &Shared) {
    let mut model = shared.model();
    if shared.live {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        model.tick(now.as_nanos() as u64);
    }
    state.refresh(&model);
}

/// Takes the keys that wait.
fn press(state: &mut State, shared: &Shared, width: u16) -> Result<Action> {
    for _ in 0..MAX_KEYS {
        let event = event::read().context("reading a key")?;
        let action = keys::take(state, &shared.model(), &event, width);
        state.arrange();
        if action != Action::Draw || !event::poll(Duration::ZERO)? {
            return Ok(action);
        }
    }
    Ok(Action::Draw)
}

fn paint(screen: &mut Screen, state: &mut State, scene: &Scene) -> Result<()> {
    state.arrange();
    screen.draw(|buffer| draw(state, scene, buffer)).context("drawing")
}
