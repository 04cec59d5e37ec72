//! `sentby top`: the live view in a terminal.
//!
//! An output like any other: events go in one direction into an aggregate ([`model`]),
//! and a thread of its own draws from that. The pipeline never waits for the terminal.

mod columns;
mod detail;
mod draw;
mod help;
mod keys;
mod label;
mod model;
mod rates;
mod requests;
mod screen;
mod state;
mod table;
mod terminal;
mod text;
mod theme;

use crate::asked::Asked;
use crate::capture::reader::Reader;
use crate::capture::{ebpf, replay};
use crate::cli::{OutputArgs, TopArgs};
use crate::enrich::Enricher;
use crate::event::Event;
use crate::filter::{Filter, UsageError};
use crate::output::json::write_whole;
use crate::output::{self, Output};
use crate::pipeline::Pipeline;
use crate::plan::Plan;
use crate::{privileges, trace};
use anyhow::{Context, Result, anyhow};
use draw::Scene;
use model::{MAX_ROWS, Model};
use screen::Shared;
use signal_hook::consts::SIGTSTP;
use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use terminal::Screen;
use theme::Theme;

/// How long the end waits for the screen.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it looks.
const NOTICE: Duration = Duration::from_millis(20);

/// Shows what is traced, or what a file holds, until the user has seen enough.
pub fn run(asked: Vec<Asked>, args: &TopArgs) -> Result<()> {
    check(args)?;
    let live = args.from.is_none();
    let suspend = Arc::new(AtomicBool::new(false));
    let shared = Arc::new(Shared {
        model: Mutex::new(Model::new(MAX_ROWS)),
        stop: trace::stopped_by_signals()?,
        close: AtomicBool::new(false),
        suspend: suspend.clone(),
        live,
    });
    signal_hook::flag::register(SIGTSTP, suspend).context("catching signals")?;
    let (mut pipeline, reader) = open(asked, args, &shared)?;
    privileges::drop_unneeded();
    trace::announce(&args.trace.output.run, &reader)?;
    let scene = scene(args, &reader);
    terminal::give_back_on_panic();
    let drawing = Screen::take()?;
    let of_screen = shared.clone();
    let thread = thread::Builder::new()
        .name("sentby-screen".to_owned())
        .spawn(move || {
            let _stop = StopOnDrop(&of_screen);
            screen::run(drawing, &of_screen, &scene)
        })
        .context("starting the screen's thread")?;
    let done = trace::drive(&args.trace.output.run, &mut pipeline, &reader, &shared.stop);
    shared.model().end();
    // A file's end is not the user's; an error is.
    if live || done.is_err() {
        shared.close.store(true, Ordering::Relaxed);
    }
    let shown = join(thread, &shared);
    trace::tell(&args.trace.output.run, &pipeline)?;
    done.and(shown)
}

/// Waits for the screen's thread; once the end is wanted not for ever: it may hang in a
/// terminal that has hung up.
fn join(thread: thread::JoinHandle<Result<()>>, shared: &Shared) -> Result<()> {
    let mut wanted = None;
    while !thread.is_finished() {
        let ends = [&shared.stop, &shared.close].iter().any(|end| end.load(Ordering::Relaxed));
        let since = *wanted.get_or_insert_with(Instant::now);
        if !ends {
            wanted = None;
        } else if since.elapsed() > PATIENCE {
            return Err(anyhow!("the terminal does not answer"));
        }
        thread::sleep(NOTICE);
    }
    thread.join().unwrap_or_else(|_| Err(anyhow!("the screen ended early")))
}

/// Stops the run when the screen's thread ends, in whatever way.
struct StopOnDrop<'a>(&'a Shared);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::Relaxed);
    }
}

/// What cannot be meant.
fn check(args: &TopArgs) -> Result<()> {
    let output = &args.trace.output;
    let wrong = match () {
        _ if !io::stdout().is_terminal() => {
            "top: stdout is not a terminal; to print use `sentby all`, `sentby replay FILE`, or \
             either with --json"
        }
        _ if std::env::var_os("TERM").is_none_or(|t| t.is_empty() || t == "dumb") => {
            "top: TERM names no terminal that can be drawn on; set it, or print with `sentby all`"
        }
        _ if output.json || output.print => {
            "top: the screen takes all of stdout; to print use `sentby all`, or -w FILE here"
        }
        _ if output.write.as_deref() == Some("-") => {
            "top: -w -: the screen takes all of stdout; give a file"
        }
        _ if !args.trace.command.is_empty() => {
            "top: a command would print over the screen; start it elsewhere, and choose it by \
             --pid or --comm"
        }
        _ => return Ok(()),
    };
    Err(UsageError(wrong.to_owned()).into())
}

fn open(
    asked: Vec<Asked>,
    args: &TopArgs,
    shared: &Arc<Shared>,
) -> Result<(Pipeline<'static>, Reader)> {
    let trace = &args.trace;
    let output = open_output(&trace.output, shared)?;
    let (filter, enricher, reader) = match &args.from {
        None if args.fleet.is_asked_for() => {
            let filter = Filter::detached(&trace.filter)?;
            let reader = args.fleet.reader(&asked, &filter)?;
            (filter, Enricher::detached(), reader)
        }
        None => {
            ebpf::catch_libbpf_messages(trace.output.run.verbose > 1);
            let filter = Filter::new(&trace.filter)?;
            let plan = Plan { names: !trace.capture.no_names, ..filter.plan(&asked) };
            let enricher = trace.capture.enricher()?;
            let reader = trace::open(&trace.capture, &plan, &trace.output.run)?;
            (filter, enricher, reader)
        }
        Some(path) => {
            let filter = Filter::detached(&trace.filter)?;
            let plan = Plan { names: !trace.capture.no_names, ..filter.plan(&asked) };
            let protocols = asked.iter().map(|a| a.protocol.name()).collect();
            let path = path.clone();
            let open = move || replay::open(&path, &plan, protocols);
            let reader = Reader::spawn(open, privileges::drop_unneeded)?;
            (filter, Enricher::detached(), reader)
        }
    };
    let pipeline = Pipeline::new(asked, filter, enricher, output);
    Ok((pipeline, reader))
}

/// The aggregate, and the capture file where one is asked for.
fn open_output(args: &OutputArgs, shared: &Arc<Shared>) -> Result<Box<dyn Output>> {
    let top = Box::new(Top { shared: shared.clone() });
    Ok(match args.write {
        None => top,
        Some(_) => output::both(top, trace::open_output(args)?),
    })
}

/// The output.
struct Top {
    shared: Arc<Shared>,
}

impl Output for Top {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.shared.model().add(event, |json| drop(write_whole(event, json)));
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn scene(args: &TopArgs, reader: &Reader) -> Scene {
    let source = match &args.from {
        Some(path) => text::safe(path.as_os_str().as_encoded_bytes()),
        None if args.fleet.is_asked_for() => {
            text::safe(format!("fleet: {}", args.fleet.server.names()).as_bytes())
        }
        None => {
            let hooks: Vec<&str> = reader.hooks.iter().map(|(hook, _)| *hook).collect();
            format!("live: {}", hooks.join(","))
        }
    };
    let color = trace::wants_color(args.trace.output.color);
    ratatui::crossterm::style::force_color_output(color);
    Scene { source, theme: Theme { color, unicode: is_utf8() } }
}

/// Whether the locale is one of UTF-8, as setlocale(3) has it.
fn is_utf8() -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(std::env::var_os);
    let first = set.into_iter().find(|value| !value.is_empty());
    let name = first.map(|value| value.to_string_lossy().to_lowercase()).unwrap_or_default();
    name.contains("utf-8") || name.contains("utf8")
}
