//! Text for people: one line per event.
//!
//!     10:38:05.123456 4711   ping  root  task  198.51.100.2 > 192.0.2.7  eth0  echo-request id 7 seq 1  len 84  ping -c 1 192.0.2.7
//!
//! Who first, then how sure, then what, and the command line last because it has no
//! end. A column never gets narrower: a stream has no last line to align to. What is
//! unknown is `-`. Whatever the traced world sent, a line holds no control characters.

use super::time::Clock;
use super::{Options, Output, TimeStyle};
use crate::enrich::GoBuild;
use crate::escape::{self, ELLIPSIS, MAX_COMMAND_LINE, MAX_TEXT, Visible};
use crate::event::{Event, Evidence};
use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::net::IpAddr;

/// Opens the text output.
pub fn open(options: Options, out: Box<dyn Write>) -> Box<dyn Output> {
    Box::new(Text { out, printer: Printer::new(options, Clock::new(options.time)) })
}

struct Text {
    out: Box<dyn Write>,
    printer: Printer,
}

impl Output for Text {
    fn event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let line = self.printer.line(event).map_err(io::Error::other)?;
        self.out.write_all(line.as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The aligned columns, in order.
#[derive(Clone, Copy)]
enum Column {
    Time,
    Pid,
    Comm,
    User,
    Evidence,
    Src,
    Dst,
    Iface,
    Request,
    Len,
}

/// Width at the start, and the width at which a column stops growing: one long name
/// must not push every later line off the screen. In characters.
const WIDTHS: [(usize, usize); 10] =
    [(0, 26), (6, 15), (8, 20), (4, 16), (5, 9), (12, 47), (12, 47), (4, 16), (16, 40), (6, 10)];

/// Bytes of a host that are printed.
const MAX_HOST: usize = 64;

/// More than the widest column.
const SPACES: &str = match std::str::from_utf8(&[b' '; 64]) {
    Ok(spaces) => spaces,
    Err(_) => "",
};

/// An ANSI colour (ECMA-48 SGR), where colours are on.
#[derive(Clone, Copy)]
enum Color {
    Plain,
    Bold,
    Dim,
    Red,
    Yellow,
    Cyan,
}

impl Color {
    fn code(self) -> &'static str {
        match self {
            Color::Plain => "",
            Color::Bold => "\x1b[1m",
            Color::Dim => "\x1b[2m",
            Color::Red => "\x1b[31m",
            Color::Yellow => "\x1b[33m",
            Color::Cyan => "\x1b[36m",
        }
    }

    fn of(evidence: Evidence) -> Color {
        match evidence {
            Evidence::Task => Color::Dim,
            Evidence::Owner => Color::Plain,
            Evidence::Procfs | Evidence::Recorded => Color::Yellow,
            Evidence::Kernel | Evidence::Forwarded => Color::Cyan,
            Evidence::Unknown => Color::Red,
        }
    }
}

/// Formats events; keeps the widths and the line's memory.
pub struct Printer {
    clock: Clock,
    style: TimeStyle,
    color: bool,
    widths: [usize; WIDTHS.len()],
    line: String,
}

impl Printer {
    /// Lines without times and colours, for a file that has the times already.
    pub fn plain() -> Self {
        let options = Options { time: TimeStyle::None, color: false };
        Self::new(options, Clock::new(options.time))
    }

    fn new(options: Options, clock: Clock) -> Self {
        Printer {
            clock,
            style: options.time,
            color: options.color,
            widths: WIDTHS.map(|(width, _)| width),
            line: String::new(),
        }
    }

    /// The line of an event, with its newline.
    pub fn line(&mut self, event: &Event<'_>) -> Result<&str, fmt::Error> {
        self.line.clear();
        self.when(event)?;
        self.who(event)?;
        self.what(event)?;
        self.place(event)?;
        self.command(event)?;
        self.line.push('\n');
        Ok(&self.line)
    }

    fn when(&mut self, event: &Event<'_>) -> fmt::Result {
        let mark = self.begin(Color::Dim);
        self.clock.write(event.capture.time, &mut self.line)?;
        if self.style == TimeStyle::None {
            self.line.clear();
            if let Some(host) = event.host {
                escape::word(host.as_bytes(), &mut self.line, MAX_HOST);
                self.line.push(' ');
            }
            return Ok(());
        }
        if let Some(host) = event.host {
            self.line.push(' ');
            escape::word(host.as_bytes(), &mut self.line, MAX_HOST);
        }
        self.end(Column::Time, mark, Color::Dim);
        Ok(())
    }

    /// pid (and tid, where another thread than the first sent), name, user, evidence.
    fn who(&mut self, event: &Event<'_>) -> fmt::Result {
        self.cell(Column::Pid, Color::Plain, |line| {
            let Some(key) = event.key else { return line.write_char('-') };
            write!(line, "{}", key.pid)?;
            match event.tid {
                Some(tid) if tid != key.pid => write!(line, "/{tid}"),
                _ => Ok(()),
            }
        })?;
        self.cell(Column::Comm, Color::Bold, |line| word(event.comm, line))?;
        self.cell(Column::User, Color::Plain, |line| match (event.user, event.uid) {
            (None, Some(uid)) => write!(line, "{uid}"),
            (user, _) => word(user.map(str::as_bytes), line),
        })?;
        let color = Color::of(event.evidence);
        self.cell(Column::Evidence, color, |line| line.write_str(event.evidence.name()))
    }

    fn what(&mut self, event: &Event<'_>) -> fmt::Result {
        self.cell(Column::Src, Color::Plain, |line| address(event.src, event.sport, line))?;
        self.line.push_str("> ");
        self.cell(Column::Dst, Color::Bold, |line| address(event.dst, event.dport, line))?;
        self.cell(Column::Iface, Color::Plain, |line| word(event.iface_name(), line))?;
        self.cell(Column::Request, Color::Plain, |line| {
            let mut visible = Visible::new(line, MAX_TEXT);
            event.request.protocol.describe(event.request, &mut visible)?;
            visible.finish();
            let mut faults = event.request.faults.iter();
            faults.try_for_each(|fault| write!(line, " ({})", fault.name()))?;
            event.sampled.map_or(Ok(()), |n| write!(line, " (one of {n})"))?;
            event.go.map_or(Ok(()), |build| program(build, line))
        })?;
        self.cell(Column::Len, Color::Plain, |line| match event.len {
            Some(len) => write!(line, "len {len}"),
            None => line.write_str("len -"),
        })
    }

    /// Unit, pod, container and inner pid, under their names in JSON; only where known.
    fn place(&mut self, event: &Event<'_>) -> fmt::Result {
        let container = event.container;
        // A container's own scope, `docker-<id>.scope`, says nothing more.
        let unit = event.unit.filter(|unit| container.is_none_or(|id| !unit.contains(id)));
        let line = &mut self.line;
        if let Some(unit) = unit {
            line.push_str("unit=");
            word(Some(unit.as_bytes()), line)?;
            line.push(' ');
        }
        let told = event.process.and_then(|p| p.container.as_deref());
        if let Some(pod) = told.and_then(|told| told.pod.as_deref()) {
            line.push_str("pod=");
            if let Some(namespace) = told.and_then(|told| told.pod_namespace.as_deref()) {
                word(Some(namespace.as_bytes()), line)?;
                line.push('/');
            }
            word(Some(pod.as_bytes()), line)?;
            line.push(' ');
        }
        if let Some(shown) = event.container_shown() {
            line.push_str("container=");
            word(Some(shown.as_bytes()), line)?;
            line.push(' ');
        }
        // A name that the request itself shows is not repeated.
        let said = event.request.protocol.destination_name(event.request);
        let known = event.dst_name.filter(|n| said.is_none_or(|(_, said)| said != n.name));
        if let Some(known) = known {
            line.push_str("dst_name=");
            word(Some(known.name), line)?;
            line.push(' ');
        }
        if let Some(inner) = event.process.and_then(|p| p.inner_pid) {
            write!(line, "pid_in_ns={inner} ")?;
        }
        if !line.ends_with("  ") {
            line.push(' ');
        }
        Ok(())
    }

    /// The command line, or whatever is known instead.
    fn command(&mut self, event: &Event<'_>) -> fmt::Result {
        let line = &mut self.line;
        if let Some(process) = event.process.filter(|p| p.argv.is_some()) {
            let whole = arguments(process.argv.as_deref().unwrap_or_default(), line);
            if !whole || process.argv_truncated {
                line.push(ELLIPSIS);
            }
            if process.exe_deleted {
                line.push_str(" (exe deleted)");
            }
            return Ok(());
        }
        if !event.candidates.is_empty() {
            line.push_str("one of ");
            for (i, candidate) in event.candidates.iter().enumerate() {
                line.push_str(if i > 0 { ", " } else { "" });
                word(Some(&candidate.comm), line)?;
                write!(line, "[{}]", candidate.key.pid)?;
            }
            return Ok(());
        }
        match (event.comm, event.evidence, event.kernel_part()) {
            (_, Evidence::Kernel, Some(part)) => write!(line, "kernel:{part}"),
            (_, Evidence::Kernel, None) => line.write_str("kernel"),
            (Some(comm), ..) => {
                line.push('[');
                word(Some(comm), line)?;
                line.write_char(']')
            }
            _ => line.write_char('-'),
        }
    }

    /// Starts a coloured stretch; returns where its text begins.
    fn begin(&mut self, color: Color) -> usize {
        if self.color {
            self.line.push_str(color.code());
        }
        self.line.len()
    }

    /// Ends a cell: colour off, and spaces up to the column's width and one more.
    fn end(&mut self, column: Column, mark: usize, color: Color) {
        let len = self.line[mark..].chars().count();
        if self.color && !color.code().is_empty() {
            self.line.push_str("\x1b[0m");
        }
        let (_, most) = WIDTHS[column as usize];
        let width = &mut self.widths[column as usize];
        *width = (*width).max(len.min(most));
        // One behind what is too long for its column.
        let spaces = (*width + 1).saturating_sub(len).max(1);
        self.line.push_str(&SPACES[..spaces.min(SPACES.len())]);
    }

    fn cell(
        &mut self,
        column: Column,
        color: Color,
        write: impl FnOnce(&mut String) -> fmt::Result,
    ) -> fmt::Result {
        let mark = self.begin(color);
        write(&mut self.line)?;
        self.end(column, mark, color);
        Ok(())
    }
}

/// Which Go built the sender's program, and which program that is: `path@version`, as Go
/// itself writes it.
fn program(build: &GoBuild, line: &mut String) -> fmt::Result {
    line.push(' ');
    word(Some(&build.version), line)?;
    let Some(path) = build.path.as_ref().or(build.module.as_ref()) else { return Ok(()) };
    let version = build.module_version.as_deref().filter(|v| *v != b"(devel)");
    line.push(' ');
    word(Some(&version.map_or_else(|| path.clone(), |v| [path, v].join(&b'@'))), line)
}

/// A quoted word, or `-`.
fn word(bytes: Option<&[u8]>, line: &mut String) -> fmt::Result {
    let Some(bytes) = bytes else { return line.write_char('-') };
    if !escape::word(bytes, line, MAX_TEXT) {
        line.push(ELLIPSIS);
    }
    Ok(())
}

fn address(address: IpAddr, port: Option<u16>, line: &mut String) -> fmt::Result {
    match (address, port) {
        (_, None) => write!(line, "{address}"),
        (IpAddr::V4(_), Some(port)) => write!(line, "{address}:{port}"),
        (IpAddr::V6(_), Some(port)) => write!(line, "[{address}]:{port}"),
    }
}

/// Writes NUL-joined arguments. A program that overwrites its arguments with a title
/// (setproctitle) pads with NULs: two or more empty arguments at the end are padding.
fn arguments(joined: &[u8], line: &mut String) -> bool {
    let end = joined.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
    let joined = if joined.len() - end > 1 { &joined[..end] } else { joined };
    escape::command_line(joined.split(|b| *b == 0), line, MAX_COMMAND_LINE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::enrich::ContainerInfo;
    use crate::event::{Candidate, ProcessKey};
    use crate::fixture::Sample;
    use jiff::tz::TimeZone;
    use std::sync::Arc;

    fn printer(color: bool) -> Printer {
        let options = Options { color, ..Options::default() };
        Printer::new(options, Clock::in_zone(options.time, TimeZone::UTC))
    }

    fn line(sample: &Sample) -> String {
        printer(false).line(&sample.event()).unwrap().to_owned()
    }

    /// The line with its alignment taken out.
    fn words(sample: &Sample) -> String {
        line(sample).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_ping() {
        assert_eq!(
            line(&Sample::ping()),
            "10:38:05.123456 4711   ping     root task  198.51.100.2 > 192.0.2.7    eth0 \
             asks 7           len 84  ping -c 1 192.0.2.7\n"
        );
    }

    #[test]
    fn what_is_unknown_is_a_dash() {
        assert_eq!(
            words(&Sample::unknown()),
            "10:38:05.123456 - - - unknown 198.51.100.2 > 192.0.2.7 - asks 7 len - -"
        );
    }

    #[test]
    fn everything_known_is_said() {
        let mut sample = Sample::ping();
        sample.tid = Some(4713);
        sample.user = None;
        sample.unit = Some("docker-3f2a91bc0d1e44aa.scope".into());
        sample.container = Some("3f2a91bc0d1e44aa".into());
        sample.src = "2001:db8::1".parse().unwrap();
        sample.ports = Some((40_112, 80));
        let process = sample.process.as_mut().unwrap();
        process.inner_pid = Some(7);
        process.argv_truncated = true;
        process.exe_deleted = true;
        sample.request.faults.push(wire::Fault::BadLength);
        sample.sampled = Some(12);
        assert_eq!(
            words(&sample),
            "10:38:05.123456 4711/4713 ping 0 task [2001:db8::1]:40112 > 192.0.2.7:80 eth0 \
             asks 7 (bad-length) (one of 12) len 84 container=3f2a91bc0d1e pid_in_ns=7 \
             ping -c 1 192.0.2.7… (exe deleted)"
        );
        let info = |pod: Option<&str>| {
            let text = |text: &str| Some(text.to_owned());
            let pod_namespace = pod.and(text("shop"));
            let pod = pod.map(str::to_owned);
            Some(Arc::new(ContainerInfo {
                name: text("app"),
                image: text("i"),
                pod,
                pod_namespace,
            }))
        };
        sample.process.as_mut().unwrap().container = info(None);
        assert!(words(&sample).contains(" len 84 container=app pid_in_ns=7 "));
        sample.process.as_mut().unwrap().container = info(Some("web 0"));
        assert!(words(&sample).contains(" len 84 pod=shop/'web 0' container=app pid_in_ns=7 "));
        sample.process.as_mut().unwrap().container = None;
        sample.container = Some("web-1".into());
        sample.unit = Some("ssh.service".into());
        assert!(words(&sample).contains(" unit=ssh.service container=web-1 pid_in_ns=7 "));
    }

    #[test]
    fn which_go_built_the_program() {
        let mut sample = Sample::ping();
        let text = |text: &str| Some(text.as_bytes().to_vec());
        let mut request = |build: GoBuild| {
            sample.go = Some(build);
            let line = words(&sample);
            line[line.find("asks").unwrap()..line.find(" len").unwrap()].to_owned()
        };
        let go = || GoBuild { version: b"go1.22.3".to_vec(), ..GoBuild::default() };
        assert_eq!(request(go()), "asks 7 go1.22.3");
        let path = text("example.com/tool/cmd/x");
        let devel = GoBuild { path: path.clone(), module_version: text("(devel)"), ..go() };
        assert_eq!(request(devel), "asks 7 go1.22.3 example.com/tool/cmd/x");
        let tagged = GoBuild { path, module_version: text("v1.2.3"), ..go() };
        assert_eq!(request(tagged), "asks 7 go1.22.3 example.com/tool/cmd/x@v1.2.3");
        let devel = GoBuild { version: b"devel go1.23-4d6 X:x".to_vec(), ..GoBuild::default() };
        assert_eq!(request(devel), "asks 7 'devel go1.23-4d6 X:x'");
    }

    #[test]
    fn who_it_was_when_there_is_no_command_line() {
        let mut sample = Sample::ping();
        sample.process = None;
        assert!(line(&sample).ends_with(" [ping]\n"));
        let mut sample = Sample::unknown();
        sample.evidence = Evidence::Kernel;
        assert!(line(&sample).ends_with(" kernel:probe-reply\n"));
        sample.evidence = Evidence::Procfs;
        sample.candidates = [(12, "nginx"), (34, "a b")]
            .map(|(pid, comm)| Candidate {
                key: ProcessKey { pid, start_ticks: 0 },
                comm: comm.into(),
            })
            .into();
        assert!(line(&sample).ends_with(" one of nginx[12], 'a b'[34]\n"));
    }

    #[test]
    fn command_lines_can_be_pasted_and_end() {
        let mut sample = Sample::ping();
        let mut end = |argv: Vec<u8>| {
            sample.process.as_mut().unwrap().argv = Some(argv);
            line(&sample).split_once("len 84  ").unwrap().1.trim_end().to_owned()
        };
        assert_eq!(end(b"sh\0-c\0echo $HOME".to_vec()), "sh -c 'echo $HOME'");
        assert_eq!(end(b"nginx: worker\0\0\0\0".to_vec()), "'nginx: worker'");
        assert_eq!(end(b"printf\0".to_vec()), "printf ''");
        let long = end(vec![b'a'; 1 << 20]);
        assert_eq!((long.len(), long.ends_with("a…")), (MAX_COMMAND_LINE + "…".len(), true));
    }

    #[test]
    fn no_control_character_reaches_the_terminal() {
        let mut sample = Sample::hostile();
        for evidence in Evidence::ALL {
            sample.evidence = evidence;
            for argv in [sample.process.as_ref().unwrap().argv.clone(), None] {
                sample.process.as_mut().unwrap().argv = argv;
                let line = line(&sample);
                let body = line.strip_suffix('\n').expect("a line ends with a newline");
                assert!(!body.chars().any(escape::is_hidden), "{body:?}");
            }
        }
    }

    #[test]
    fn columns_grow_to_a_limit_and_never_shrink() {
        let mut printer = printer(false);
        let at = |printer: &mut Printer, sample: &Sample| {
            printer.line(&sample.event()).unwrap().find(" > ").unwrap()
        };
        let (short, mut long) = (Sample::ping(), Sample::ping());
        let before = at(&mut printer, &short);
        long.comm = Some(b"fifteen-letters".to_vec());
        let grown = at(&mut printer, &long);
        assert_eq!(grown, before + 7);
        assert_eq!(at(&mut printer, &short), grown);
        long.comm = Some(vec![b'\x01'; 15]);
        assert!(at(&mut printer, &long) > grown + 5);
        assert_eq!(at(&mut printer, &short), grown + 5, "20 is the most");
    }

    #[test]
    fn colours_change_nothing_but_the_colour() {
        let sample = Sample::ping();
        let colored = printer(true).line(&sample.event()).unwrap().to_owned();
        assert!(colored.contains("\x1b[2mtask\x1b[0m"));
        let mut plain = colored;
        for code in ["\x1b[0m", "\x1b[1m", "\x1b[2m"] {
            plain = plain.replace(code, "");
        }
        assert_eq!(plain, line(&sample));
    }

    #[test]
    fn without_times_a_line_begins_with_the_pid() {
        let options = Options { time: TimeStyle::None, color: true };
        let mut printer = Printer::new(options, Clock::new(options.time));
        assert!(printer.line(&Sample::ping().event()).unwrap().starts_with("4711 "));
    }

    #[test]
    fn a_host_stands_behind_the_time() {
        let mut sample = Sample::ping();
        sample.host = Some("web-1".into());
        assert!(words(&sample).contains(" web-1 4711 "), "{}", words(&sample));
        let options = Options { time: TimeStyle::None, color: false };
        let mut printer = Printer::new(options, Clock::new(options.time));
        assert!(printer.line(&sample.event()).unwrap().starts_with("web-1 4711 "));
    }
}
