//! sentby names the process behind every network request this machine sends.

mod agent;
mod asked;
mod capture;
mod cli;
mod doctor;
mod enrich;
mod escape;
mod event;
mod filter;
#[cfg(test)]
mod fixture;
mod fleet;
mod flows;
mod generate;
mod host;
mod launch;
mod ledger;
mod nats;
mod openings;
mod output;
mod owned;
mod pipeline;
mod plan;
mod privileges;
mod progress;
mod replay;
mod report;
mod store;
mod systemtap;
mod top;
mod trace;
mod watch;

use std::process::ExitCode;

fn main() -> ExitCode {
    let done = match cli::parse() {
        cli::Task::Trace(protocols, args) => trace::run(protocols, &args),
        cli::Task::Replay(protocols, args) => replay::run(protocols, &args),
        cli::Task::Report(protocols, args) => report::run(protocols, &args),
        cli::Task::Top(protocols, args) => top::run(protocols, &args),
        cli::Task::Record(protocols, args) => store::record::run(protocols, &args),
        cli::Task::Watch(protocols, args) => watch::run(protocols, &args),
        cli::Task::Fleet(task) => fleet::run(&task),
        cli::Task::Agent => agent::run(),
        cli::Task::Query(protocols, args) => store::query::run(protocols, &args),
        cli::Task::Fill(path, events) => store::fill::run(&path, events),
        cli::Task::Doctor(args) => doctor::run(&args),
        cli::Task::SystemTap(task) => systemtap::run(task),
        cli::Task::Generate(what) => generate::run(&what),
        cli::Task::Launch(words) => {
            return ExitCode::from(launch::become_command(&words) as u8);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: what was attempted, on what, why, what to do.
            eprintln!("sentby: {}", format!("{error:#}").replace('\n', " "));
            ExitCode::from(trace::exit_code(&error))
        }
    }
}
