//! `sentby icmp` and its kin: from the arguments to the ledger.

use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::capture::{BACKENDS, Backend, Options, by_name, ebpf};
use crate::cli::{CaptureArgs, Color, OutputArgs, RunArgs, TraceArgs};
use crate::filter::{Filter, UsageError};
use crate::host::Host;
use crate::launch::Waiting;
use crate::ledger::Ledger;
use crate::output::{self, OUTPUTS};
use crate::pipeline::{Limits, Pipeline};
use crate::plan::Plan;
use crate::privileges;
use anyhow::{Context, Result, anyhow};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Bytes written to stdout at once at the most; flushed whenever nothing is waiting.
const STDOUT_BUFFER: usize = 64 * 1024;

/// Traces protocols until told to stop.
pub fn run(asked: Vec<Asked>, args: &TraceArgs) -> Result<()> {
    run_into(asked, args, || open_output(&args.output), None)
}

/// The same into an output of the caller's; `live` is said once the probes are.
pub fn run_into(
    asked: Vec<Asked>,
    args: &TraceArgs,
    output: impl FnOnce() -> Result<Box<dyn output::Output>>,
    live: Option<&str>,
) -> Result<()> {
    ebpf::catch_libbpf_messages(args.output.run.verbose > 1);
    let stop = stopped_by_signals()?;
    let mut filter = Filter::new(&args.filter)?;
    let output = output()?;
    // Before anything is captured: what runs now has its name from the first event on.
    let enricher = args.capture.enricher()?;
    let command = match args.command.is_empty() {
        true => None,
        false => Some(Waiting::new(&args.command)?),
    };
    if let Some(command) = &command {
        filter.follow(command.pid().as_raw_nonzero().get() as u32);
    }
    let plan = Plan { names: !args.capture.no_names, ..filter.plan(&asked) };
    let reader = match open(&args.capture, &plan, &args.output.run) {
        Ok(reader) => reader,
        Err(e) => {
            if let Some(command) = command {
                command.abandon();
            }
            return Err(e);
        }
    };
    privileges::drop_unneeded();
    if let Some(live) = live {
        say(&args.output.run, format_args!("{live}"));
    }
    announce(&args.output.run, &reader)?;
    if let Some(command) = command {
        command.start(stop.clone())?;
    }
    let mut pipeline = Pipeline::new(asked, filter, enricher, output);
    finish(&args.output.run, &mut pipeline, &reader, &stop)
}

/// What is set when the user wants an end.
pub fn stopped_by_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, stop.clone()).context("catching signals")?;
    }
    Ok(stop)
}

/// Runs a pipeline to its end, and says what became of every capture.
pub fn finish(
    args: &RunArgs,
    pipeline: &mut Pipeline<'_>,
    reader: &Reader,
    stop: &AtomicBool,
) -> Result<()> {
    let done = drive(args, pipeline, reader, stop);
    tell(args, pipeline)?;
    done
}

/// Runs a pipeline to its end.
pub fn drive(
    args: &RunArgs,
    pipeline: &mut Pipeline<'_>,
    reader: &Reader,
    stop: &AtomicBool,
) -> Result<()> {
    let limits =
        Limits { count: args.count, deadline: args.duration.map(|d| Instant::now() + d), stop };
    pipeline.run(reader, &limits)
}

/// Says what became of every capture.
pub fn tell(args: &RunArgs, pipeline: &Pipeline<'_>) -> Result<()> {
    for note in &pipeline.notes {
        say(args, format_args!("{note}"));
    }
    close(args, &pipeline.ledger)
}

/// The exit code of an error: 2 where the command line is to blame.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() { 2 } else { 1 }
}

/// Opens the backend asked for, or the first that works.
pub fn open(args: &CaptureArgs, plan: &Plan, run: &RunArgs) -> Result<Reader> {
    let mut host = Host::read();
    if let Some(module) = &args.module {
        host.systemtap.module = Some(module.clone());
    }
    let options = Options {
        hooks: args.hooks.clone(),
        btf: args.btf.clone(),
        offsets: args.offsets.clone(),
        module: args.module.clone(),
        buffer_size: args.buffer_size,
        perf_buffer: args.perf_buffer,
        verifier_stats: run.verbose > 1,
    };
    let start = |backend: &'static dyn Backend| {
        if let Some(what) = backend.slow(&host) {
            say(run, format_args!("the {} backend: {what}", backend.name()));
        }
        Reader::start(backend, &host, plan, &options, privileges::drop_unneeded)
    };
    if let Some(backend) = by_name(&args.backend) {
        return start(backend).with_context(|| format!("the {} backend", backend.name()));
    }
    let mut refusals = Vec::new();
    for backend in candidates(&options)? {
        match start(backend) {
            Ok(reader) => {
                for refusal in &refusals {
                    say(run, format_args!("{refusal}; using {} instead", backend.name()));
                }
                return Ok(reader);
            }
            Err(e) => {
                refusals.push(format!("the {} backend cannot be used: {e:#}", backend.name()))
            }
        }
    }
    let refusals = refusals.join("; ");
    match args.hooks.as_slice() {
        [] => Err(anyhow!("{refusals}; `sentby doctor` tells more")),
        hooks => Err(anyhow!("--hook {}: {refusals}", hooks.join(","))),
    }
}

/// The backends to try: those that have all the hooks asked for (hooks of two do not go
/// together), and only those that the options are meant for.
fn candidates(options: &Options) -> Result<Vec<&'static dyn Backend>> {
    let hooks = &options.hooks;
    let has = |b: &dyn Backend| hooks.iter().all(|hook| b.hooks().iter().any(|h| h == hook));
    let mut found: Vec<_> = BACKENDS.iter().copied().filter(|b| has(*b)).collect();
    if found.is_empty() {
        Err(UsageError(format!("no backend has all of the hooks {}", hooks.join(", "))))?;
    }
    if BACKENDS.iter().any(|b| b.is_meant(options)) {
        found.retain(|b| b.is_meant(options));
    }
    match found.is_empty() {
        true => Err(UsageError(format!(
            "--hook {} belongs to another backend than --btf, --offsets or --module",
            hooks.join(",")
        )))?,
        false => Ok(found),
    }
}

/// Says something to people, unless they want none of it.
pub fn say(args: &RunArgs, what: std::fmt::Arguments<'_>) {
    if !args.quiet {
        eprintln!("sentby: {what}");
    }
}

/// Says that the probes are live, to people and to scripts.
pub fn announce(args: &RunArgs, reader: &Reader) -> Result<()> {
    for note in &reader.notes {
        say(args, format_args!("{note}"));
    }
    if args.verbose > 0 {
        let hooks: Vec<String> = reader
            .hooks
            .iter()
            .map(|(hook, senders)| {
                let senders: Vec<_> = senders.iter().map(|s| s.name()).collect();
                format!("{hook} ({})", senders.join(", "))
            })
            .collect();
        eprintln!("sentby: ready, hooks: {}", hooks.join(", "));
    }
    match &args.ready_file {
        Some(path) => write_whole(path, b"ready\n"),
        None => Ok(()),
    }
}

/// Writes a file so that it is seen whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let written = fs::write(&name, bytes).and_then(|()| fs::rename(&name, path));
    if written.is_err() {
        let _ = fs::remove_file(&name);
    }
    written.with_context(|| format!("writing {}", path.display()))
}

/// Opens what events go to. Files are created at once, so that what is wrong with their
/// names is said before anything is captured.
pub fn open_output(args: &OutputArgs) -> Result<Box<dyn output::Output>> {
    let Some(name) = &args.write else { return Ok(open_printing(args)) };
    let rotates = [args.file_size.is_some(), args.file_seconds.is_some()];
    if args.json && !args.print {
        Err(UsageError(format!("-w {name} prints nothing; --json goes with --print")))?;
    }
    if name == "-" {
        let wrong = match () {
            _ if args.print => Some("-w -: stdout cannot take what --print prints as well"),
            _ if rotates.contains(&true) => Some("-w -: -C and -G need a file"),
            _ if io::stdout().is_terminal() => {
                Some("-w -: stdout is a terminal; give a file, or a pipe such as `| tshark -r -`")
            }
            _ => None,
        };
        return match wrong {
            Some(wrong) => Err(UsageError(wrong.to_owned()).into()),
            None => Ok(output::capture_on(stdout())),
        };
    }
    if args.file_count.is_some() && !rotates.contains(&true) {
        Err(UsageError("-W counts files of -C or -G; give one of them".to_owned()))?;
    }
    let capture = output::capture_files(output::Rotation {
        name: name.clone(),
        size: args.file_size,
        every: args.file_seconds.map(Duration::from_secs),
        count: args.file_count,
    })?;
    Ok(if args.print { output::both(open_printing(args), capture) } else { capture })
}

fn stdout() -> Box<dyn Write> {
    Box::new(BufWriter::with_capacity(STDOUT_BUFFER, io::stdout().lock()))
}

fn open_printing(args: &OutputArgs) -> Box<dyn output::Output> {
    let options = output::Options { time: args.time_style(), color: wants_color(args.color) };
    let name = if args.json { "json" } else { "text" };
    let entry = OUTPUTS.iter().find(|o| o.name == name).unwrap_or(&OUTPUTS[0]);
    (entry.open)(options, stdout())
}

/// Whether stdout is to have colours.
pub fn wants_color(color: Color) -> bool {
    match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        }
    }
}

/// Says where every capture went.
pub fn close(args: &RunArgs, ledger: &Ledger) -> Result<()> {
    if !args.quiet {
        let mut text = String::new();
        ledger.write_text(args.verbose > 0, &mut text)?;
        eprint!("{text}");
    }
    let Some(path) = &args.ledger else { return Ok(()) };
    let mut json = Vec::new();
    ledger.write_json(&mut json)?;
    write_whole(path, &json)
}
