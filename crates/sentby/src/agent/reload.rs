//! Settings as a whole, and how a running agent takes others (SIGHUP).

use super::args::AgentArgs;
use super::lane::Lane;
use super::outputs::{OUTPUTS, Wanted};
use super::running::Segment;
use super::status::Status;
use super::{Agent, config};
use crate::asked::Asked;
use crate::cli;
use anyhow::Result;
use clap::FromArgMatches;
use std::ffi::OsString;
use std::sync::Arc;

/// What was decided about the agent.
pub struct Settings {
    /// Protocols.
    pub asked: Vec<Asked>,
    /// Its own options.
    pub args: AgentArgs,
    /// The outputs that were asked for.
    pub outputs: Vec<Wanted>,
}

impl Settings {
    /// Reads the command line, the environment and the file.
    pub fn load(arguments: &[OsString], status: &Arc<Status>) -> Result<Settings> {
        let matches = config::load(arguments)?;
        let mut args = AgentArgs::from_arg_matches(&matches)?;
        let words = args.all_words();
        let asked = cli::words(&words, &mut args.filter, &matches);
        let mut outputs = Vec::new();
        for entry in OUTPUTS {
            outputs.extend((entry.wanted)(&matches, status).map_err(config::one_line)?);
        }
        Ok(Settings { asked, args, outputs })
    }

    /// All that a capture depends on.
    fn of_capture(&self) -> String {
        let asked: Vec<_> = self.asked.iter().map(|a| (a.protocol.name(), a.on)).collect();
        format!("{asked:?} {:?} {:?}", self.args.filter, self.args.capture)
    }
}

impl Agent {
    /// Takes the settings as they are now. What is wrong with them is one line, and everything
    /// stays as it was.
    pub(super) fn reload(&mut self) {
        self.notify.reloading();
        // Whatever is wrong with the settings, logrotate has moved the file.
        self.lanes().iter().for_each(|lane| lane.queue.ask_reopen());
        let done = self.try_reload();
        self.status.reloaded(done.is_ok());
        match done {
            Ok(()) => self.notify.ready("capturing"),
            Err(e) => {
                let text = format!("{e:#}").replace('\n', " ");
                eprintln!("sentby: reloading: {text}; what could not be changed stays as it was");
                self.notify.ready("capturing; the last reload failed");
            }
        }
    }

    fn try_reload(&mut self) -> Result<()> {
        let mut new = Settings::load(&self.arguments, &self.status)?;
        if new.outputs.is_empty() {
            anyhow::bail!("no output is left");
        }
        // A file is read once; only outputs change beside it.
        let same = new.of_capture() == self.settings.of_capture() || new.args.from.is_some();
        let segment = if same { None } else { Some(Segment::open(&new)?) };
        let outputs = std::mem::take(&mut new.outputs);
        let changed = self.change_outputs(outputs, new.args.queue_size);
        if let Some(segment) = segment {
            segment.announce(&new)?;
            self.tell_hooks(&segment);
            self.running.follow(segment)?;
        }
        self.status.set_max_cpu(new.args.max_cpu);
        self.settings = new;
        changed
    }

    /// Outputs that stay the same stay; others go, or come. One that cannot be opened leaves the
    /// old one in its place.
    fn change_outputs(&mut self, wanted: Vec<Wanted>, limit: usize) -> Result<()> {
        let mut gone = Vec::new();
        {
            let mut lanes = self.lanes();
            for lane in std::mem::take(&mut *lanes) {
                if wanted.iter().any(|w| lane.is(w, limit)) {
                    lanes.push(lane);
                } else {
                    gone.push(lane);
                }
            }
            self.status.set_outputs(&lanes);
        }
        // First what goes: it may hold what comes in its place (a port, a file).
        gone.iter_mut().for_each(Lane::close);
        let mut failed = Ok(());
        for wanted in wanted {
            if self.lanes().iter().any(|lane| lane.wanted.name == wanted.name) {
                continue;
            }
            let name = wanted.name;
            let Err(error) = self.open_output(wanted, limit) else { continue };
            failed = failed.and(Err(error));
            if let Some(old) = gone.iter().find(|lane| lane.wanted.name == name) {
                self.open_output(old.wanted.clone(), limit)?;
            }
        }
        failed
    }
}
