//! `sentby systemtap`: the script of that backend, and modules of it for other machines.

use crate::capture::systemtap::SCRIPT;
use crate::capture::systemtap::build::{self, Target};
use crate::cli::SystemTapTask;
use crate::host::Host;
use anyhow::{Context, Result};
use std::io::{self, Write};

/// Prints or builds.
pub fn run(task: SystemTapTask) -> Result<()> {
    let args = match task {
        SystemTapTask::Script => return print(),
        SystemTapTask::Build(args) => args,
    };
    let stap = Host::read().systemtap.stap;
    let stap = stap.context("stap is not installed: install systemtap")?;
    let target = Target { release: args.release, runtime: args.runtime };
    build::to_file(&stap, &target, &args.output)
}

fn print() -> Result<()> {
    match io::stdout().write_all(SCRIPT.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.context("printing the script"),
    }
}
