//! The command line. Protocols come from the registry: each is a subcommand.

mod declared;
mod run;
mod values;

use crate::asked::Asked;
use crate::capture::BACKENDS;
use crate::enrich::{Containers, Enricher, RuntimeSocket};
use crate::filter::FilterArgs;
use crate::fleet::FleetTask;
use crate::generate::Generate;
use crate::output::TimeStyle;
use crate::report::ReportArgs;
use crate::store::cli::{QueryArgs, RecordArgs};
use crate::watch::{FleetArgs, WatchArgs};
use anyhow::Result;
use clap::{ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};
use declared::{field_args, switched_on, with_protocols};
pub use run::RunArgs;
use std::ffi::OsString;
use std::path::PathBuf;
pub use values::{buffer_size, duration, file_size};
use wire::{PROTOCOLS, Protocol};

/// Default size of the buffer between kernel and user space, in bytes: some 13,000
/// packets, 60 ms of a ping flood on a fast machine.
const BUFFER_SIZE: &str = "4M";

/// What was asked for.
pub enum Task {
    /// Trace these protocols.
    Trace(Vec<Asked>, Box<TraceArgs>),
    /// Read a capture file.
    Replay(Vec<Asked>, Box<ReplayArgs>),
    /// Make a page of a capture file.
    Report(Vec<Asked>, Box<ReportArgs>),
    /// Show it live, in the terminal.
    Top(Vec<Asked>, Box<TopArgs>),
    /// Keep events.
    Record(Vec<Asked>, Box<RecordArgs>),
    /// Hand events to outputs, in the background.
    Agent,
    /// Show events of many machines.
    Watch(Vec<Asked>, Box<WatchArgs>),
    /// Tell which agents report.
    Fleet(FleetTask),
    /// Ask a recording.
    Query(Vec<Asked>, Box<QueryArgs>),
    /// Tell what this machine allows.
    Doctor(DoctorArgs),
    /// Print SystemTap's script, or make a module of it.
    SystemTap(SystemTapTask),
    /// Make man pages or completions.
    Generate(Generate),
    /// Fill a recording with so many events, for measurements.
    Fill(PathBuf, u64),
    /// Wait to become the traced command (launch.rs).
    Launch(Vec<OsString>),
}

/// Options of every tracing subcommand.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// More protocols to trace at the same time; then, as tcpdump has it, which packets: e.g.
    /// `tcp port 443 and not host 192.0.2.7` (docs/filters.md)
    #[arg(value_name = "PROTOCOL | EXPRESSION")]
    pub words: Vec<String>,

    /// Command to run; just it and its descendants are traced
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub output: OutputArgs,

    #[command(flatten)]
    pub capture: CaptureArgs,
}

/// Options of `top`.
#[derive(Args, Debug)]
pub struct TopArgs {
    /// Show a capture file (pcap, pcapng) instead, by its own time
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, conflicts_with_all =
          ["backend", "hooks", "btf", "module", "offsets", "buffer_size", "perf_buffer", "nats"])]
    pub from: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Fleet: show what agents publish (docs/fleet.md)")]
    pub fleet: FleetArgs,

    #[command(flatten)]
    pub trace: TraceArgs,
}

/// Options of `replay`.
#[derive(Args, Debug)]
pub struct ReplayArgs {
    /// pcap or pcapng, of whatever program; `-` reads stdin
    #[arg(value_name = "FILE")]
    pub file: PathBuf,

    /// Protocols to look for, all where none is given; then, as tcpdump has it, which packets:
    /// e.g. `tcp port 443 and not host 192.0.2.7` (docs/filters.md)
    #[arg(value_name = "PROTOCOL | EXPRESSION")]
    pub words: Vec<String>,

    #[command(flatten)]
    pub filter: FilterArgs,

    #[command(flatten)]
    pub output: OutputArgs,

    /// Do not look at DNS answers for the names of destinations
    #[arg(long, help_heading = "Capture")]
    pub no_names: bool,
}

/// How events are shown, and how many.
#[derive(Args, Debug)]
#[command(next_help_heading = "Output")]
pub struct OutputArgs {
    /// One JSON object per line (docs/events.md)
    #[arg(long)]
    pub json: bool,

    /// Write a capture file (pcapng) with the sender beside each packet; `-` is stdout. Prints
    /// nothing without --print
    #[arg(short = 'w', long = "write", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub write: Option<String>,

    /// Print as well, with -w
    #[arg(long, requires = "write")]
    pub print: bool,

    /// With -w: another file after SIZE bytes, in millions or with k, m, g (tcpdump's -C)
    #[arg(short = 'C', value_name = "SIZE", requires = "write", value_parser = file_size)]
    pub file_size: Option<u64>,

    /// With -w: another file after SECONDS; FILE is a strftime format (tcpdump's -G)
    #[arg(short = 'G', value_name = "SECONDS", requires = "write",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub file_seconds: Option<u64>,

    /// With -C: no more than N files, the oldest is written again; with -G alone: stop after N
    #[arg(short = 'W', value_name = "N", requires = "write",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub file_count: Option<u32>,

    /// Times: -t none, -tt since the epoch, -ttt since the event before, -tttt date and time, -ttttt since the first event
    #[arg(short = 't', action = ArgAction::Count)]
    times: u8,

    /// Colours
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    pub color: Color,

    #[command(flatten)]
    pub run: RunArgs,
}

/// How to capture.
#[derive(Args, Debug)]
#[command(next_help_heading = "Capture")]
pub struct CaptureArgs {
    /// Backend; auto takes the first that works (`sentby doctor` lists them)
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = backend_names())]
    pub backend: String,

    /// Use these hooks and no others (`sentby doctor` lists them)
    #[arg(long = "hook", value_name = "NAME", value_delimiter = ',', value_parser = hook_names())]
    pub hooks: Vec<String>,

    /// BTF of the running kernel, for kernels that carry none
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Kernel module made by `sentby systemtap build`, for the systemtap backend
    #[arg(long, value_name = "FILE")]
    pub module: Option<PathBuf>,

    /// Where everything is in the running kernel, for kprobe-events (docs/offsets.md)
    #[arg(long, value_name = "FILE")]
    pub offsets: Option<PathBuf>,

    /// Buffer between kernel and user space, in bytes (K, M, G)
    #[arg(long, value_name = "SIZE", default_value = BUFFER_SIZE, value_parser = buffer_size)]
    pub buffer_size: usize,

    /// Do not look at DNS answers for the names of destinations
    #[arg(long)]
    pub no_names: bool,

    /// Ask this container runtime as well: a socket, with `docker:` or `cri:` before it where
    /// its name does not tell what is spoken there
    #[arg(long, value_name = "[API:]PATH")]
    pub runtime_socket: Vec<RuntimeSocket>,

    /// Do not ask container runtimes for names: containers go by their ids alone
    #[arg(long)]
    pub no_container_names: bool,

    /// Use per-CPU perf buffers, as before Linux 5.8
    #[arg(long, hide = true)]
    pub perf_buffer: bool,
}

/// Options of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// One JSON object
    #[arg(long)]
    pub json: bool,

    /// BTF of the running kernel, for kernels that carry none
    #[arg(long, value_name = "FILE")]
    pub btf: Option<PathBuf>,

    /// Where everything is in the running kernel, for kprobe-events (docs/offsets.md)
    #[arg(long, value_name = "FILE")]
    pub offsets: Option<PathBuf>,
}

/// What `systemtap` does.
#[derive(Subcommand, Debug)]
pub enum SystemTapTask {
    /// Print the script that runs in the kernel
    Script,
    /// Make a module of it, for this kernel or for another machine's
    Build(BuildArgs),
}

/// Options of `systemtap build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// Release of the kernel that the module is for, or a folder with its headers; else the running one
    #[arg(long, value_name = "RELEASE")]
    pub release: Option<OsString>,

    /// SystemTap's runtime, patched for that kernel, in place of the installed one
    #[arg(long, value_name = "DIR")]
    pub runtime: Option<PathBuf>,

    /// The module
    #[arg(short, long, value_name = "FILE", default_value = "sentby.ko")]
    pub output: PathBuf,
}

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl CaptureArgs {
    /// What fills in events of this machine. It begins to ask container runtimes.
    pub fn enricher(&self) -> Result<Enricher> {
        let all = (!self.no_container_names).then(|| RuntimeSocket::all(&self.runtime_socket));
        Ok(Enricher::new(all.map(Containers::start).transpose()?))
    }
}

impl OutputArgs {
    /// The time style that `-t` and its repetitions choose.
    pub fn time_style(&self) -> TimeStyle {
        match self.times {
            0 => TimeStyle::Clock,
            1 => TimeStyle::None,
            2 => TimeStyle::Epoch,
            3 => TimeStyle::Delta,
            4 => TimeStyle::Date,
            _ => TimeStyle::SinceFirst,
        }
    }
}

/// The whole grammar; also the source of man pages and completions.
pub fn command() -> Command {
    let mut command = Command::new("sentby")
        .version(env!("SENTBY_VERSION"))
        .about("Names the process behind every network request this machine sends")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true);
    for protocol in PROTOCOLS {
        command = command.subcommand(trace(protocol.name(), protocol.about()));
    }
    let doctor = DoctorArgs::augment_args(Command::new("doctor"))
        .about("What this machine allows: backends, hooks, and what to do about the rest");
    let systemtap = SystemTapTask::augment_subcommands(Command::new("systemtap"))
        .about("The systemtap backend's script, and modules of it")
        .subcommand_required(true);
    let fleet = FleetTask::augment_subcommands(Command::new("fleet"))
        .about("The agents of many machines: who reports, and who does not (docs/fleet.md)")
        .subcommand_required(true);
    let generate = Generate::augment_subcommands(Command::new("generate"))
        .about("Man pages and completions, for packages")
        .subcommand_required(true)
        .hide(true);
    let launch = Command::new("__launch")
        .hide(true)
        .arg(clap::arg!(<COMMAND> ...).last(true).value_parser(clap::value_parser!(OsString)));
    let replay = ReplayArgs::augment_args(Command::new("replay"))
        .about("What a capture file holds (pcap, pcapng), as if it were sent now")
        .long_about(None);
    let report = ReportArgs::augment_args(Command::new("report"))
        .about("A page (HTML, one file) about what a recording or a capture file holds: who sent what, when, where to")
        .long_about(None);
    let top = TopArgs::augment_args(Command::new("top"))
        .about("Who sends what, live in the terminal (docs/top.md)")
        .long_about(None);
    command
        .subcommand(crate::store::fill::command())
        .subcommand(trace("all", "Everything above at once"))
        .subcommand(with_protocols(top, "all"))
        .subcommand(with_protocols(replay, "all"))
        .subcommand(with_protocols(report, "all"))
        .subcommand(with_protocols(RecordArgs::command(), "all"))
        .subcommand(with_protocols(QueryArgs::command(), "all"))
        .subcommand(with_protocols(crate::agent::command(), "all"))
        .subcommand(with_protocols(WatchArgs::command(), "all"))
        .subcommand(fleet)
        .subcommand(doctor)
        .subcommand(systemtap)
        .subcommand(generate)
        .subcommand(launch)
}

fn trace(name: &'static str, about: &'static str) -> Command {
    // The derived arguments bring the about of their struct; ours comes after.
    let command = TraceArgs::augment_args(Command::new(name)).about(about).long_about(None);
    with_protocols(command, name)
}

/// Reads the command line; prints help or a usage error and exits if there is no more to do.
pub fn parse() -> Task {
    let command_of_agent = std::env::args_os().nth(1).is_some_and(|w| w == crate::agent::NAME);
    // The agent's options are variables as well.
    let all = if command_of_agent { crate::agent::with_env(command()) } else { command() };
    let matches = all.get_matches();
    task(&matches).unwrap_or_else(|e| e.format(&mut command()).exit())
}

fn task(matches: &ArgMatches) -> Result<Task, clap::Error> {
    let Some((name, matches)) = matches.subcommand() else {
        return Err(clap::Error::new(clap::error::ErrorKind::MissingSubcommand));
    };
    match name {
        "doctor" => Ok(Task::Doctor(DoctorArgs::from_arg_matches(matches)?)),
        "systemtap" => Ok(Task::SystemTap(SystemTapTask::from_arg_matches(matches)?)),
        "generate" => Ok(Task::Generate(Generate::from_arg_matches(matches)?)),
        "__fill" => {
            let path = matches.get_one::<PathBuf>("FILE").cloned().unwrap_or_default();
            Ok(Task::Fill(path, matches.get_one::<u64>("EVENTS").copied().unwrap_or_default()))
        }
        "__launch" => {
            let words = matches.get_many::<OsString>("COMMAND").unwrap_or_default();
            Ok(Task::Launch(words.cloned().collect()))
        }
        "top" => {
            let mut args = TopArgs::from_arg_matches(matches)?;
            let asked = words(&args.trace.words, &mut args.trace.filter, matches);
            Ok(Task::Top(asked, Box::new(args)))
        }
        "replay" => {
            let mut args = ReplayArgs::from_arg_matches(matches)?;
            let asked = words(&args.words, &mut args.filter, matches);
            Ok(Task::Replay(asked, Box::new(args)))
        }
        "report" => {
            let mut args = ReportArgs::from_arg_matches(matches)?;
            let asked = words(&args.words, &mut args.filter, matches);
            Ok(Task::Report(asked, Box::new(args)))
        }
        "record" => {
            let mut args = RecordArgs::from_arg_matches(matches)?;
            let asked = words(&args.trace.words, &mut args.trace.filter, matches);
            Ok(Task::Record(asked, Box::new(args)))
        }
        "watch" => {
            let mut args = WatchArgs::from_arg_matches(matches)?;
            let asked = words(&args.words, &mut args.filter, matches);
            Ok(Task::Watch(asked, Box::new(args)))
        }
        "fleet" => Ok(Task::Fleet(FleetTask::from_arg_matches(matches)?)),
        crate::agent::NAME => Ok(Task::Agent),
        "query" => {
            let mut args = QueryArgs::from_arg_matches(matches)?;
            let asked = words(&args.words, &mut args.filter, matches);
            Ok(Task::Query(asked, Box::new(args)))
        }
        first => {
            let mut args = TraceArgs::from_arg_matches(matches)?;
            let (more, expression) = split(&args.words);
            let asked = asked(first, more, matches);
            args.filter.expression = expression.to_vec();
            args.filter.fields = field_args(&asked, matches);
            Ok(Task::Trace(asked, Box::new(args)))
        }
    }
}

/// The protocols that words begin with, all where there is none; the rest is the expression.
pub fn words(words: &[String], filter: &mut FilterArgs, matches: &ArgMatches) -> Vec<Asked> {
    let (more, expression) = split(words);
    let asked = asked(if more.is_empty() { "all" } else { "" }, more, matches);
    filter.expression = expression.to_vec();
    filter.fields = field_args(&asked, matches);
    asked
}

/// Leading protocols, and the expression behind them.
fn split(words: &[String]) -> (&[String], &[String]) {
    let known = protocol_names();
    let of_protocols = words.iter().take_while(|word| known.contains(&word.as_str())).count();
    words.split_at(of_protocols)
}

/// The protocols named, with what is switched on.
fn asked(first: &str, more: &[String], matches: &ArgMatches) -> Vec<Asked> {
    let named = protocols(first, more).into_iter();
    named.map(|p| Asked { protocol: p, on: switched_on(p, matches) }).collect()
}

/// The protocols named, once each, in the registry's order.
fn protocols(first: &str, more: &[String]) -> Vec<&'static dyn Protocol> {
    let named = |name: &str| first == name || more.iter().any(|m| m == name);
    PROTOCOLS.iter().copied().filter(|p| named("all") || named(p.name())).collect()
}

fn protocol_names() -> Vec<&'static str> {
    PROTOCOLS.iter().map(|p| p.name()).collect()
}

fn backend_names() -> Vec<&'static str> {
    std::iter::once("auto").chain(BACKENDS.iter().map(|b| b.name())).collect()
}

fn hook_names() -> Vec<&'static str> {
    BACKENDS.iter().flat_map(|b| b.hooks()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Task, clap::Error> {
        command().try_get_matches_from(words).and_then(|m| task(&m))
    }

    #[test]
    fn the_grammar_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_says_what_each_command_does() {
        let help = command().render_help().to_string();
        for protocol in PROTOCOLS {
            assert!(help.contains(protocol.about()), "{help}");
        }
        assert!(!help.contains("Options of"), "{help}");
    }

    #[test]
    fn a_command_may_have_options_of_its_own() {
        let Ok(Task::Trace(protocols, args)) =
            parsed(&["sentby", "icmp", "-c", "3", "--", "ping", "-c1", "192.0.2.1"])
        else {
            panic!("not a trace");
        };
        assert_eq!(protocols.len(), 1);
        assert_eq!(args.output.run.count, Some(3));
        assert_eq!(args.command, ["ping", "-c1", "192.0.2.1"]);
    }

    #[test]
    fn options_over_fields_come_from_the_protocols() {
        let Ok(Task::Trace(_, args)) =
            parsed(&["sentby", "http", "dns", "--host", "a", "--host", "!b", "--name=c"])
        else {
            panic!("not a trace");
        };
        let said: Vec<_> = args.filter.fields.iter().map(|f| (f.name, f.of.len())).collect();
        assert_eq!(said, [("host", 1), ("name", 1)]);
        assert_eq!(args.filter.fields[0].values, ["a", "!b"]);
    }

    #[test]
    fn help_is_about_the_protocols_own_options() {
        let help = |name: &'static str| trace(name, "").render_long_help().to_string();
        let (icmp, dns, all) = (help("icmp"), help("dns"), help("all"));
        assert!(icmp.contains("Type of message") && !icmp.contains("Type asked for"), "{icmp}");
        assert!(!icmp.contains("--host") && !icmp.contains("--alpn"), "{icmp}");
        assert!(dns.contains("Type asked for") && dns.contains("--name <GLOB>"), "{dns}");
        assert!(all.contains("(icmp); Type asked for") && all.contains("--path <GLOB>"), "{all}");
    }

    #[test]
    fn protocols_are_not_doubled() {
        assert_eq!(protocols("icmp", &["icmp".to_owned()]).len(), 1);
        assert_eq!(protocols("all", &[]).len(), PROTOCOLS.len());
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        for words in [
            &["sentby"][..],
            &["sentby", "icmp", "-c", "0"],
            &["sentby", "icmp", "--for", "soon"],
            &["sentby", "icmp", "--backend", "magic"],
            &["sentby", "pigeon"],
            &["sentby", "icmp", "-q", "-v"],
        ] {
            assert!(parsed(words).is_err(), "{words:?}");
        }
    }
}
