//! `sentby top` in a real terminal: tmux runs it, keys are typed, the screen is read.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest time that a screen may take to show something.
const LIMIT: Duration = Duration::from_secs(20);

fn captures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

/// Whether tmux is there. Where tests must not be left out, it has to be.
fn has_tmux() -> bool {
    let found = Command::new("tmux").arg("-V").stdout(Stdio::null()).status().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "tmux is not installed");
    if !found {
        eprintln!("LEFT OUT: tmux is not installed (scripts/deps test)");
    }
    found
}

/// A terminal with a shell in it.
struct Tmux {
    socket: String,
}

impl Tmux {
    fn start(width: u16, height: u16) -> Tmux {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let tmux = Tmux { socket: format!("sentby-{}-{n}", std::process::id()) };
        let (width, height) = (width.to_string(), height.to_string());
        let size = ["-x", &width, "-y", &height];
        let shell = "env -u NO_COLOR LC_ALL=C.UTF-8 PS1='shell> ' sh";
        tmux.run(&[&["-f", "/dev/null", "new-session", "-d"], &size[..], &[shell]].concat());
        tmux.run(&["set", "-g", "status", "off"]);
        tmux.await_text("shell>");
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.args(["-L", &self.socket]).args(arguments).current_dir(captures());
        let output = tmux.output().expect("tmux runs");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Types a line into the shell.
    fn line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.keys(&["Enter"]);
    }

    fn keys(&self, keys: &[&str]) {
        self.run(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// The screen with its colours.
    fn colored(&self) -> String {
        self.run(&["capture-pane", "-p", "-e"])
    }

    /// Waits for a screen.
    fn until(&self, what: &str, is: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let screen = self.screen();
            if is(&screen) {
                return screen;
            }
            assert!(Instant::now() < end, "not seen: {what}\n{screen}");
            thread::sleep(Duration::from_millis(30));
        }
    }

    fn await_text(&self, text: &str) -> String {
        self.until(text, |screen| screen.contains(text))
    }

    fn flag(&self, name: &str) -> String {
        self.run(&["display-message", "-p", &format!("#{{{name}}}")]).trim().to_owned()
    }

    /// Starts top and waits until it stands.
    fn top(&self, arguments: &str) -> String {
        self.line(&format!(
            "clear; {} top {arguments}; echo exit=$?",
            env!("CARGO_BIN_EXE_sentby")
        ));
        self.await_text("ended")
    }

    /// The rows of the table.
    fn rows(&self) -> Vec<String> {
        let screen = self.screen();
        let rows = screen.lines().skip(3).take_while(|l| !l.trim().is_empty());
        rows.map(str::to_owned).collect()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let mut tmux = Command::new("tmux");
        let _ = tmux.args(["-L", &self.socket, "kill-server"]).output();
    }
}

#[test]
fn keys_sort_filter_go_down_and_quit() {
    if !has_tmux() {
        return;
    }
    let tmux = Tmux::start(100, 24);
    let first = tmux.top("--from connections.pcap");
    assert!(first.contains("[1 process]") && first.contains("(unknown)"), "{first}");
    tmux.keys(&["2"]);
    tmux.await_text("[2 destination]");
    tmux.until("the busiest first", |_| tmux.rows()[0].contains("192.0.2.9:80"));
    // By address, which is the last column but one, and then the other way round.
    tmux.keys(&["<", "<"]);
    tmux.await_text("ADDRESSv");
    tmux.keys(&["r"]);
    tmux.await_text("ADDRESS^");
    let order: Vec<bool> =
        tmux.rows().iter().zip([":82", ":81", ":80"]).map(|(r, p)| r.contains(p)).collect();
    assert_eq!(order, [true; 3], "{:#?}", tmux.rows());
    tmux.keys(&["/"]);
    tmux.run(&["send-keys", "-l", "EXAMPLE"]);
    tmux.await_text("1 of 3 rows hold 'EXAMPLE'");
    assert_eq!(tmux.rows().len(), 1);
    tmux.keys(&["Enter", "Enter"]);
    let list = tmux.await_text("newest 2 of 2");
    assert!(list.contains("GET example.com/a") && list.contains("established"), "{list}");
    assert!(list.find("GET") < list.find("established"), "not the newest first: {list}");
    tmux.keys(&["Enter"]);
    let event = tmux.await_text("evidence");
    assert!(event.contains("unknown") && event.contains("Nobody can be named"), "{event}");
    tmux.keys(&["End"]);
    tmux.await_text("method");
    tmux.keys(&["Escape"]);
    tmux.await_text("newest 2 of 2");
    tmux.keys(&["Escape"]);
    tmux.await_text("1 of 3 rows hold");
    tmux.keys(&["?"]);
    tmux.await_text("sort the other way round");
    tmux.keys(&["q"]);
    let end = tmux.await_text("exit=0");
    assert!(end.contains("5 seen, 4 shown"), "no ledger: {end}");
}

/// What stty says before, and after top has ended by these means.
fn restored(end: impl Fn(&Tmux)) {
    let tmux = Tmux::start(80, 24);
    let scratch = std::env::temp_dir().join(&tmux.socket);
    std::fs::create_dir_all(&scratch).expect("a folder");
    let [before, after] = ["before", "after"].map(|name| scratch.join(name));
    tmux.line(&format!("stty -a >{}", before.display()));
    tmux.top("--from ptcpdump.pcapng");
    assert_eq!((tmux.flag("alternate_on"), tmux.flag("mouse_any_flag")), ("1".into(), "1".into()));
    end(&tmux);
    tmux.await_text("exit=");
    tmux.line(&format!("stty -a >{}; echo said", after.display()));
    tmux.await_text("\nsaid");
    let read = |path: &Path| std::fs::read_to_string(path).expect("stty");
    let (before, after) = (read(&before), read(&after));
    let flags = ["alternate_on", "mouse_any_flag", "cursor_flag"].map(|name| tmux.flag(name));
    let _ = std::fs::remove_dir_all(&scratch);
    assert!(before.contains("icanon"), "{before}");
    assert_eq!(before, after);
    assert_eq!(flags, ["0", "0", "1"]);
    assert!(tmux.screen().contains("2 seen, 2 shown"), "{}", tmux.screen());
}

#[test]
fn the_terminal_is_as_it_was() {
    if !has_tmux() {
        return;
    }
    restored(|tmux| tmux.keys(&["q"]));
    restored(|tmux| tmux.keys(&["C-c"]));
}

/// The program's pid: the shell's only child.
fn child(tmux: &Tmux) -> String {
    let shell = tmux.flag("pane_pid");
    let children = format!("/proc/{shell}/task/{shell}/children");
    std::fs::read_to_string(children).expect("children").trim().to_owned()
}

#[test]
fn signals_leave_the_terminal_as_it_was() {
    if !has_tmux() {
        return;
    }
    for signal in ["-TERM", "-HUP"] {
        restored(|tmux| {
            let status = Command::new("kill").args([signal, &child(tmux)]).status();
            assert!(status.expect("kill").success());
        });
    }
}

#[test]
fn it_goes_to_the_background_and_comes_back() {
    if !has_tmux() {
        return;
    }
    let tmux = Tmux::start(80, 24);
    tmux.line("set -m");
    tmux.top("--from ptcpdump.pcapng");
    tmux.keys(&["C-z"]);
    tmux.until("the shell", |screen| !screen.contains("[1 process]"));
    assert_eq!(tmux.flag("alternate_on"), "0");
    tmux.line("clear; fg");
    tmux.await_text("[1 process]");
    tmux.keys(&["q"]);
    tmux.await_text("2 seen, 2 shown");
}

#[test]
fn it_follows_the_size() {
    if !has_tmux() {
        return;
    }
    let tmux = Tmux::start(80, 24);
    tmux.top("--from ptcpdump.pcapng");
    tmux.run(&["resize-window", "-x", "40", "-y", "10"]);
    let narrow = tmux.until("40 by 10", |s| s.contains("[1 proc]") && !s.contains("COMMAND"));
    assert!(narrow.contains("4711") && narrow.contains("curl"), "{narrow}");
    tmux.run(&["resize-window", "-x", "140", "-y", "30"]);
    tmux.until("140 by 30", |s| s.contains("EVIDENCE") && s.contains("http://example.com/a"));
}

#[test]
fn without_colours_what_is_selected_is_seen() {
    if !has_tmux() {
        return;
    }
    let tmux = Tmux::start(80, 24);
    let is_colored = |screen: &str| {
        let codes = screen.split("\x1b[").skip(1).filter_map(|s| s.split_once('m'));
        codes.flat_map(|(code, _)| code.split(';')).any(|code| {
            code.parse::<u32>().is_ok_and(|n| (30..39).contains(&n) || (90..98).contains(&n))
        })
    };
    tmux.top("--from ptcpdump.pcapng");
    assert!(is_colored(&tmux.colored()), "{:?}", tmux.colored());
    tmux.keys(&["q"]);
    tmux.await_text("exit=0");
    for plain in ["--color never", "--color auto"] {
        if plain.contains("auto") {
            tmux.line("export NO_COLOR=1");
        }
        tmux.top(&format!("--from ptcpdump.pcapng {plain}"));
        let screen = tmux.colored();
        assert!(!is_colored(&screen), "{plain}: {screen:?}");
        let reversed = |line: &str| line.contains("7m") && line.contains(">   4711");
        assert!(screen.lines().any(reversed), "{plain}: {screen:?}");
        tmux.keys(&["q"]);
        tmux.await_text("exit=0");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_use() {
    let output = Command::new(env!("CARGO_BIN_EXE_sentby"))
        .args(["top", "--from", "ptcpdump.pcapng"])
        .current_dir(captures())
        .output()
        .expect("sentby runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(output.stdout.is_empty());
    assert!(said.lines().count() == 1 && said.contains("sentby replay"), "{said}");
}

#[test]
fn what_cannot_be_meant_is_said_before_the_screen_is_taken() {
    if !has_tmux() {
        return;
    }
    let tmux = Tmux::start(120, 24);
    for (arguments, why, code) in [
        ("--from ptcpdump.pcapng --json", "takes all of stdout", 2),
        ("--from ptcpdump.pcapng -w -", "takes all of stdout", 2),
        ("--from absent.pcap", "absent.pcap", 1),
        ("--from ptcpdump.pcapng -- true", "would print over the screen", 2),
    ] {
        tmux.line(&format!(
            "clear; {} top {arguments}; echo exit=$?",
            env!("CARGO_BIN_EXE_sentby")
        ));
        let screen = tmux.await_text(&format!("exit={code}"));
        assert!(screen.contains(why), "{arguments}: {screen}");
    }
}

/// Processes of this test's sentby that have this argument.
fn running(argument: &str) -> usize {
    let command = |pid: &Path| std::fs::read(pid.join("cmdline")).unwrap_or_default();
    let own = |line: &[u8]| {
        let mut words = line.split(|b| *b == 0);
        words.next() == Some(env!("CARGO_BIN_EXE_sentby").as_bytes())
            && words.any(|word| word == argument.as_bytes())
    };
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.filter(|entry| own(&command(&entry.path()))).count()
}

#[test]
fn a_terminal_that_goes_takes_top_with_it() {
    if !has_tmux() {
        return;
    }
    // An argument that no other test gives.
    let tmux = Tmux::start(100, 24);
    tmux.top("--from connections.pcap --src 0.0.0.0/1 --src 128.0.0.0/1");
    assert_eq!(running("128.0.0.0/1"), 1);
    drop(tmux);
    let end = Instant::now() + LIMIT;
    while running("128.0.0.0/1") > 0 {
        assert!(Instant::now() < end, "it runs on without a terminal");
        thread::sleep(Duration::from_millis(30));
    }
}
