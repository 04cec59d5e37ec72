//! Finds out where everything is by looking: known packets are sent in a namespace of
//! one's own, and looked for in what the functions on their way are given.
//!
//! Whatever is found must be the only place that explains what was seen, and must then
//! explain other packets, in another namespace, byte for byte. Else nothing is found.

mod packet;
mod room;
mod send;
mod shot;

use super::layout::Layout;
use super::tracefs::Tracefs;
use anyhow::{Context, Result, anyhow};
use room::Room;
use shot::Gun;
use std::thread;

/// A layout that was found.
pub struct Found {
    /// The layout.
    pub layout: Layout,
    /// Why it does not tell where TCP has what is sent, where it does not.
    pub no_sends: Option<String>,
}

/// Finds the layout of this kernel. Takes some tens of milliseconds.
pub fn calibrate(tracefs: &Tracefs) -> Result<Found> {
    aside(tracefs, |gun| {
        let mut layout = Layout::default();
        let mut room = Room::new()?;
        let netns = packet::find(gun, &mut room, &mut layout)?;
        // Without, what TCP carries is not read, and the rest is.
        let mut both = layout.clone();
        let sends = send::find(gun, &mut room, netns, &mut both);
        let no_sends = sends.err().map(|e| format!("{e:#}"));
        if no_sends.is_none() {
            layout = both;
        }
        explains(gun, &layout).context("what was found does not explain all that is sent")?;
        Ok(Found { layout, no_sends })
    })
}

/// Makes sure that a layout is that of this kernel.
pub fn verify(tracefs: &Tracefs, layout: &Layout) -> Result<()> {
    let layout = layout.clone();
    aside(tracefs, move |gun| explains(gun, &layout))
}

fn explains(gun: &mut Gun<'_>, layout: &Layout) -> Result<()> {
    let mut room = Room::new()?;
    packet::verify(gun, &mut room, layout)?;
    send::verify(gun, &mut room, layout)
}

/// Runs in a thread that ends with it: it moves to namespaces that nobody else is to be in.
fn aside<T: Send + 'static>(
    tracefs: &Tracefs,
    run: impl FnOnce(&mut Gun<'_>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let tracefs = tracefs.clone();
    let thread = thread::Builder::new()
        .name("sentby-calib".to_owned())
        .spawn(move || run(&mut Gun { tracefs: &tracefs, fired: 0 }))
        .context("starting a thread to calibrate")?;
    thread.join().map_err(|_| anyhow!("calibrating panicked"))?
}
