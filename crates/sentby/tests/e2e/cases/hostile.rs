//! Command lines, names and paths made to harm whoever looks at them.

use crate::check::{self, Who};
use crate::ctx::{Case, Ctx, Hooks};
use crate::event::Event;
use crate::proc::{Cmd, Done};
use crate::topology::{B4, Pair};
use crate::tracer::Trace;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

pub const CASES: &[Case] = &[
    Case::new("hostile_argv", hostile_argv),
    Case::new("empty_arguments", empty_arguments),
    Case::new("argv_of_4_kib", |ctx| long_argv(ctx, 1, 4000, false)),
    Case::new("argv_of_1_mb", |ctx| long_argv(ctx, 10_000, 100, true)),
    Case::new("argument_of_120_kb", |ctx| long_argv(ctx, 1, 120_000, true)),
    Case::new("hostile_comm", hostile_comm),
    Case::new("hostile_exe", hostile_exe),
    Case::new("hostile_text", hostile_text).hooks(Hooks::Auto),
];

/// What a terminal, a log or a parser might stumble over.
const NASTY: &[&[u8]] = &[
    b"\x1b]0;owned\x07\x1b[2J\x1b[31m",
    b"two\nlines\r\nand\ttabs",
    b"\xff\xfe\x80 not UTF-8 \xc3",
    b"\xc2\x9b31m is CSI in eight bits",
    b"quote\" backslash\\ {json: [}]",
    "\u{202e}right to left\u{2028}line separator".as_bytes(),
    b"\x7f\x08\x08\x08rubbed out",
    "ünïcödé 🦀".as_bytes(),
];

/// Sends one packet, in JSON's view.
fn see(ctx: &Ctx, cmd: Cmd) -> Result<(Done, Trace)> {
    let pair = Pair::new(ctx)?;
    let tracer = ctx.tracer().start()?;
    let done = pair.a.run(cmd, ctx.secs(20))?;
    let trace = tracer.stop()?;
    ensure!(trace.within(&[&pair.a]).len() == 1, "one event expected");
    Ok((done, trace))
}

fn event_of<'a>(trace: &'a Trace, done: &Done) -> Result<&'a Event> {
    let [event] = trace.by(done.pid)[..] else { bail!("one event of {} expected", done.pid) };
    Ok(event)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The raw bytes stand beside the readable ones: one string, or one per argument.
fn has_hex(value: Option<&Value>, argv: &[Vec<u8>]) -> Result<()> {
    let value = value.context("no cmdline_hex, though it is not UTF-8")?;
    let whole = argv.iter().map(|a| hex(a)).collect::<Vec<_>>();
    let found = match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).eq(&whole),
        // Joined by NUL, with or without a last one, as /proc/PID/cmdline.
        Value::String(text) => text.strip_suffix("00").unwrap_or(text) == whole.join("00"),
        _ => false,
    };
    ensure!(found, "cmdline_hex is {value}");
    Ok(())
}

fn hostile_argv(ctx: &Ctx) -> Result<()> {
    let args = NASTY.iter().map(|a| OsStr::from_bytes(a));
    let (done, trace) = see(ctx, ctx.sender("oneshot").args([B4, "91", "1"]).args(args))?;
    let event = event_of(&trace, &done)?;
    check::names(event, &Who::of(&done))?;
    has_hex(event.cmdline_hex.as_ref(), &done.argv)?;
    // NDJSON is looked at on terminals, too: what harms there is escaped.
    let text = trace.text();
    let bad = |c: char| (c.is_control() && c != '\n') || matches!(c, '\u{2028}' | '\u{202e}');
    ensure!(!text.contains(bad), "a control character in JSON");
    Ok(())
}

fn empty_arguments(ctx: &Ctx) -> Result<()> {
    let (done, trace) =
        see(ctx, ctx.sender("oneshot").arg0("").args([B4, "92", "1", "", "x", "", ""]))?;
    let event = event_of(&trace, &done)?;
    check::names(event, &Who::of(&done))?;
    ensure!(event.cmdline_hex.is_none(), "cmdline_hex, though it is UTF-8");
    Ok(())
}

/// `n` arguments of `size` bytes: all of them up to 4 KiB, else flagged, and never wrong.
fn long_argv(ctx: &Ctx, n: usize, size: usize, truncated: bool) -> Result<()> {
    let args: Vec<String> = (0..n).map(|i| format!("{i:05}{}", "y".repeat(size - 5))).collect();
    let (done, trace) = see(ctx, ctx.sender("oneshot").args([B4, "93", "1"]).args(&args))?;
    let event = event_of(&trace, &done)?;
    if !truncated {
        return check::names(event, &Who::of(&done));
    }
    ensure!(event.cmdline_truncated, "cmdline_truncated is not set");
    let got = event.cmdline.as_ref().context("no cmdline")?;
    let bytes: usize = got.iter().map(|a| a.len() + 1).sum();
    ensure!(bytes >= 4096, "only {bytes} bytes of a long command line");
    ensure!(got.len() <= done.argv.len(), "more arguments than there are");
    let (last, whole) = got.split_last().context("no arguments")?;
    for (got, sent) in whole.iter().zip(&done.argv) {
        ensure!(got.as_bytes() == sent, "an argument is {got:?}");
    }
    let cut = &done.argv[whole.len()];
    ensure!(cut.starts_with(last.as_bytes()), "the last argument is {last:?}");
    Ok(())
}

fn hostile_comm(ctx: &Ctx) -> Result<()> {
    for name in [&b"\x1b[31m\n\"x\\"[..], b"\xff\xfe\x80", b"fifteen bytes!!", b" ", b")(% $"] {
        let (done, trace) = see(ctx, ctx.sender("rename").args([B4, "94", "1", &hex(name)]))?;
        let event = event_of(&trace, &done)?;
        let readable = String::from_utf8_lossy(name).into_owned();
        check::names(event, &Who { comm: Some(readable), ..Who::of(&done) })?;
        let raw = std::str::from_utf8(name).is_err().then(|| hex(name));
        ensure!(event.comm_hex == raw, "comm_hex is {:?}, not {raw:?}", event.comm_hex);
    }
    Ok(())
}

fn hostile_exe(ctx: &Ctx) -> Result<()> {
    let name = OsStr::from_bytes(b"we\x1b[1mird \n\"\xff");
    let copy = ctx.dir().join(name);
    std::fs::copy(ctx.env.senders.join("oneshot"), &copy)?;
    let (done, trace) = see(ctx, ctx.program(&copy).args([B4, "95", "1"]))?;
    let event = event_of(&trace, &done)?;
    // comm is cut after 15 bytes, which are fewer characters.
    check::names(event, &Who { comm: None, ..Who::of(&done) })?;
    let raw = hex(copy.as_os_str().as_bytes());
    ensure!(event.exe_hex == Some(raw), "exe_hex is {:?}", event.exe_hex);
    has_hex(event.cmdline_hex.as_ref(), &done.argv)
}

/// On a terminal: one line per event, and no control character but its end.
fn hostile_text(ctx: &Ctx) -> Result<()> {
    let pair = Pair::new(ctx)?;
    let copy = ctx.dir().join(OsStr::from_bytes(b"evil\x1b[31m\n\xff"));
    std::fs::copy(ctx.env.senders.join("oneshot"), &copy)?;
    let tracer = ctx.tracer().text().args(["--color", "never"]).start()?;
    let args = NASTY.iter().map(|a| OsStr::from_bytes(a));
    let long: Vec<String> = (0..10_000).map(|i| format!("{i:0100}")).collect();
    let runs = [
        ctx.sender("oneshot").args([B4, "96", "1"]).args(args),
        ctx.program(&copy).args([B4, "96", "2"]),
        ctx.sender("rename").args([B4, "96", "3", "1b5b33316d0a9b07"]),
        ctx.sender("oneshot").args([B4, "96", "4"]).args(&long),
    ];
    let mut pids = Vec::new();
    for cmd in runs {
        pids.push(pair.a.run(cmd, ctx.secs(20))?.pid.to_string());
    }
    let trace = tracer.stop()?;
    let text = std::str::from_utf8(&trace.stdout).context("text that is not UTF-8")?;
    let bad = |c: &char| (c.is_control() && *c != '\n') || matches!(c, '\u{2028}' | '\u{202e}');
    if let Some(c) = text.chars().find(bad) {
        bail!("{c:?} reached the terminal");
    }
    for pid in &pids {
        let lines =
            text.lines().filter(|l| l.split(|c: char| !c.is_ascii_digit()).any(|w| w == pid));
        ensure!(lines.count() == 1, "not one line for pid {pid}");
    }
    ensure!(text.lines().all(|l| l.len() < 20_000), "a line of more than 20,000 bytes");
    Ok(())
}
