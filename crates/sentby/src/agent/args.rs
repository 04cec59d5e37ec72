//! The options of `agent`: its own, and those of its outputs.

use super::outputs::OUTPUTS;
use crate::cli::{CaptureArgs, RunArgs, buffer_size};
use crate::filter::FilterArgs;
use clap::{Args, Command};
use std::path::PathBuf;

/// The subcommand.
pub const NAME: &str = "agent";

/// Options of `agent`.
#[derive(Args, Debug)]
pub struct AgentArgs {
    /// Protocols, all where none is given; then, as tcpdump has it, which packets: e.g. `tcp port
    /// 443 and not host 192.0.2.7` (docs/filters.md)
    #[arg(value_name = "PROTOCOL | EXPRESSION")]
    pub words: Vec<String>,

    /// The same as one text, where no such words are given: for the file and the environment
    #[arg(long, value_name = "WORDS", help_heading = "Agent")]
    trace: Vec<String>,

    /// Settings that are given neither here nor as variables (docs/fleet.md); read anew on SIGHUP
    /// [default: /etc/sentby/agent.toml, if it is there]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Agent")]
    pub config: Option<PathBuf>,

    /// Hand on what a capture file or a recording holds, instead of what is sent now
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, help_heading = "Agent")]
    pub from: Option<PathBuf>,

    /// Memory for events that wait, for each output; beyond it they are lost, and counted
    #[arg(long, value_name = "SIZE", default_value = "8M", value_parser = buffer_size, help_heading = "Agent")]
    pub queue_size: usize,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub run: RunArgs,

    #[command(flatten)]
    pub capture: CaptureArgs,
}

impl AgentArgs {
    /// `agent` without what protocols declare.
    pub fn command() -> Command {
        let command = Self::augment_args(Command::new(NAME))
            .about("Runs in the background, and hands events to any number of outputs (docs/fleet.md)")
            .long_about(None)
            .after_help(
                "Each option is also a key of the configuration file (`queue-size = \"16M\"`) and an \
                 environment variable (SENTBY_QUEUE_SIZE).",
            );
        OUTPUTS.iter().fold(command, |command, entry| (entry.options)(command))
    }

    /// The words, wherever they were given.
    pub fn all_words(&self) -> Vec<String> {
        if !self.words.is_empty() {
            return self.words.clone();
        }
        let texts = self.trace.iter().flat_map(|text| text.split_whitespace());
        texts.map(str::to_owned).collect()
    }
}
