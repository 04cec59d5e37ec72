//! Runs the command behind `--`: it exists, with its pid, before the probes are
//! attached, and starts when they are live. So nothing it sends is missed.

use anyhow::{Context, Result, bail};
use rustix::fs::{Access, access};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid,
};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Exit code of the waiting process when the command cannot be run, as in shells.
const CANNOT_RUN: i32 = 127;

/// A command that waits to be started.
pub struct Waiting {
    child: Child,
    name: OsString,
}

impl Waiting {
    /// Starts a copy of this program that stops itself and later becomes the command.
    pub fn new(words: &[OsString]) -> Result<Waiting> {
        let name = words.first().cloned().unwrap_or_default();
        find(&name, std::env::var_os("PATH").as_deref())?;
        let child = Command::new("/proc/self/exe")
            .arg0("sentby")
            .arg("__launch")
            .arg("--")
            .args(words)
            // Our stdout carries events and nothing else.
            .stdout(io::stderr().as_fd().try_clone_to_owned()?)
            .spawn()
            .with_context(|| format!("starting {}", name.display()))?;
        let waiting = Waiting { child, name };
        match waitpid(Some(waiting.pid()), WaitOptions::UNTRACED)? {
            Some((_, status)) if status.stopped() => Ok(waiting),
            _ => bail!("starting {}: it ended before it began", waiting.name.display()),
        }
    }

    /// The command's pid.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Lets it run; `over` is set when it has ended.
    pub fn start(mut self, over: Arc<AtomicBool>) -> Result<()> {
        kill_process(self.pid(), Signal::CONT).context("starting the command")?;
        let name = self.name.clone();
        thread::Builder::new().name("sentby-command".to_owned()).spawn(move || {
            if let Ok(status) = self.child.wait() {
                report(&name, status);
            }
            over.store(true, Ordering::Relaxed);
        })?;
        Ok(())
    }

    /// Ends it unstarted.
    pub fn abandon(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Finds a program as the shell does, so that a typing error is told before anything
/// is attached.
fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf> {
    let places: Vec<PathBuf> = match name.as_encoded_bytes().contains(&b'/') {
        true => vec![PathBuf::from(name)],
        false => std::env::split_paths(path.unwrap_or_default()).map(|p| p.join(name)).collect(),
    };
    let runs = |p: &PathBuf| p.is_file() && access(p, Access::EXEC_OK).is_ok();
    let found = places.into_iter().find(runs);
    found.with_context(|| format!("running {}: no such program", name.display()))
}

fn report(name: &OsStr, status: ExitStatus) {
    let name = name.display();
    match (status.code(), status.signal()) {
        (Some(0), _) => {}
        // become() has said why.
        (Some(CANNOT_RUN), _) => {}
        (Some(code), _) => eprintln!("sentby: {name} exited with {code}"),
        (None, Some(signal)) => eprintln!("sentby: {name} was ended by signal {signal}"),
        (None, None) => {}
    }
}

/// The waiting side: stops until told to go on, then becomes the command.
pub fn become_command(words: &[OsString]) -> i32 {
    let Some((name, args)) = words.split_first() else { return 2 };
    // Should sentby die first, no stopped process is left behind.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let _ = kill_process(rustix::process::getpid(), Signal::STOP);
    let _ = set_parent_process_death_signal(None);
    let error = Command::new(name).args(args).exec();
    eprintln!("sentby: running {}: {error}", name.display());
    CANNOT_RUN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_as_the_shell_finds_them() {
        let path = OsStr::new("/nonexistent:/usr/bin:/bin");
        assert!(find(OsStr::new("sh"), Some(path)).is_ok());
        assert!(find(OsStr::new("/bin/sh"), None).is_ok());
        for missing in ["no-such-program", "/etc/passwd", "/bin", ""] {
            assert!(find(OsStr::new(missing), Some(path)).is_err(), "{missing}");
        }
    }
}
