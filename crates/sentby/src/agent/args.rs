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

    /// Cost no more than this part of one CPU, e.g. 2%: where it would be more, of each process
    /// that sends much not every event is handed on, and those that are say how many they stand for
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = "Agent")]
    pub max_cpu: Option<f64>,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub run: RunArgs,

    #[command(flatten)]
    pub capture: CaptureArgs,
}

/// A part of one CPU.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
    let part = number.filter(|n| (0.1..=100_000.0).contains(n)).map(|n| n / 100.0);
    part.ok_or_else(|| "give a part of one CPU such as 2% or 0.5%".to_owned())
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
