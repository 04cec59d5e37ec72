//! The output `json`: one object a line (docs/events.md) at the end of a file, or to stdout.
//!
//! A line is in the file whole or not at all: what a full disk took a part of is cut off again,
//! and the line that a crash has torn is ended before the first of ours.

use super::{Sink, Wanted};
use crate::agent::status::Status;
use crate::event::Event;
use crate::output::json::Writer;
use anyhow::{Context, Result};
use clap::{ArgMatches, Args, Command, FromArgMatches};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub(super) const NAME: &str = "json";

/// Bytes of lines that are passed on at once.
const LINES: usize = 64 * 1024;

#[derive(Args, Debug)]
#[command(next_help_heading = "Output: JSON")]
struct JsonArgs {
    /// Append one JSON object per line (docs/events.md); `-` is stdout. Opened anew on SIGHUP, as
    /// logrotate wants it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    json: Option<PathBuf>,
}

pub(super) fn options(command: Command) -> Command {
    JsonArgs::augment_args(command)
}

pub(super) fn wanted(matches: &ArgMatches, _: &Arc<Status>) -> Result<Option<Wanted>, clap::Error> {
    let Some(path) = JsonArgs::from_arg_matches(matches)?.json else { return Ok(None) };
    Ok(Some(Wanted {
        name: NAME,
        settings: format!("{path:?}"),
        linger: Duration::ZERO,
        open: Arc::new(move || Ok(Box::new(Json::open(&path)?) as Box<dyn Sink>)),
    }))
}

/// Where lines go.
enum To {
    Stdout,
    /// A file, and up to where it holds whole lines; `None` where it has no length (a pipe).
    File(File, Option<u64>),
}

struct Json {
    path: PathBuf,
    to: To,
    lines: Vec<u8>,
    waiting: u64,
    writer: Writer,
}

impl Json {
    fn open(path: &Path) -> Result<Json> {
        let to = if path == Path::new("-") { To::Stdout } else { open_file(path)? };
        let lines = Vec::with_capacity(2 * LINES);
        Ok(Json { path: path.to_owned(), to, lines, waiting: 0, writer: Writer::new() })
    }
}

fn open_file(path: &Path) -> Result<To> {
    let opening = || format!("opening {}", path.display());
    let mut options = OpenOptions::new();
    // What is in it is about everybody's requests: for its owner alone.
    options.read(true).append(true).create(true).mode(0o600);
    let mut file = options.open(path).with_context(opening)?;
    if !file.metadata().with_context(opening)?.is_file() {
        return Ok(To::File(file, None));
    }
    end_line(&mut file).with_context(opening)?;
    let length = file.metadata().with_context(opening)?.len();
    Ok(To::File(file, Some(length)))
}

/// Ends a line that somebody left open.
fn end_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" { Ok(()) } else { file.write_all(b"\n") }
}

impl Sink for Json {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        self.waiting += 1;
        self.writer.write(event, &mut self.lines)?;
        self.lines.push(b'\n');
        if self.lines.len() >= LINES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        match &mut self.to {
            To::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(&self.lines).and_then(|()| stdout.flush())?;
            }
            To::File(file, whole) => {
                if let Err(e) = file.write_all(&self.lines) {
                    if let Some(whole) = whole {
                        let _ = file.set_len(*whole);
                    }
                    let name = self.path.display();
                    return Err(io::Error::new(e.kind(), format!("writing {name}: {e}")));
                }
                if let Some(whole) = whole {
                    // Others may truncate it (logrotate's copytruncate).
                    *whole = file.metadata()?.len();
                }
            }
        }
        self.lines.clear();
        self.waiting = 0;
        Ok(())
    }

    fn waiting(&self) -> u64 {
        self.waiting
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.flush()?;
        if let To::File(..) = self.to {
            self.to = open_file(&self.path).map_err(|e| io::Error::other(format!("{e:#}")))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Sample, Scratch};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn write(json: &mut Json, n: usize) {
        for _ in 0..n {
            json.event(&Sample::ping().event()).unwrap();
        }
        json.flush().unwrap();
    }

    fn lines(path: &Path) -> usize {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'));
        text.lines().for_each(|l| drop(serde_json::from_str::<serde_json::Value>(l).unwrap()));
        text.lines().count()
    }

    #[test]
    fn lines_are_appended_and_a_moved_file_is_followed_by_another() {
        let scratch = Scratch::new();
        let (path, old) = (scratch.path("events.json"), scratch.path("events.json.1"));
        write(&mut Json::open(&path).unwrap(), 2);
        let mut json = Json::open(&path).unwrap();
        write(&mut json, 1);
        assert_eq!(lines(&path), 3);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::rename(&path, &old).unwrap();
        write(&mut json, 1);
        json.reopen().unwrap();
        write(&mut json, 5);
        assert_eq!((lines(&old), lines(&path)), (4, 5));
    }

    #[test]
    fn a_torn_line_does_not_take_the_next_with_it() {
        let scratch = Scratch::new();
        scratch.write("events.json", b"{}\n{\"time\":");
        let path = scratch.path("events.json");
        write(&mut Json::open(&path).unwrap(), 1);
        let text = fs::read_to_string(&path).unwrap();
        let ends: Vec<_> = text.lines().map(|l| l.len() > 20).collect();
        assert_eq!(ends, [false, false, true], "{text}");
    }

    #[test]
    fn a_full_disk_is_an_error_that_tells_how_many_are_lost() {
        let mut json = Json::open(Path::new("/dev/full")).unwrap();
        for _ in 0..3 {
            json.event(&Sample::ping().event()).unwrap();
        }
        let error = json.flush().unwrap_err().to_string();
        assert!(error.starts_with("writing /dev/full: No space left"), "{error}");
        assert_eq!(json.waiting(), 3);
    }

    #[test]
    fn what_cannot_be_opened_is_one_line() {
        let error = Json::open(Path::new("/nowhere/at/all")).err().unwrap();
        assert!(format!("{error:#}").starts_with("opening /nowhere/at/all: No such file"));
    }
}
