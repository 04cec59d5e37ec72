//! `sentby report` through the program: what is in the page, and what a browser makes of it.
//!
//! The browser is Chromium, driven by its own protocol over a pipe; where there is none
//! (SENTBY_CHROMIUM names another), that half is passed over, aloud.

#[path = "report/browser.rs"]
mod browser;

use browser::Browser;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A folder that goes away with the value.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path =
            std::env::temp_dir().join(format!("sentby-report-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sentby(arguments: &[&str], page: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sentby"))
        .arg("report")
        .args(arguments)
        .arg("-o")
        .arg(page)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures"))
        .output()
        .expect("sentby runs")
}

/// The page of a capture, and what stderr says.
fn report(folder: &Folder, arguments: &[&str]) -> (PathBuf, String) {
    let page = folder.0.join("report.html");
    let output = sentby(arguments, &page);
    let said = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.success(), "{said}");
    assert!(output.stdout.is_empty(), "stdout is for events");
    (page, said)
}

fn data(page: &Path, id: &str) -> Value {
    let page = fs::read_to_string(page).expect("a page");
    let open = format!("<script type=\"application/json\" id=\"{id}\">");
    let data =
        page.split_once(&open).expect("a block").1.split_once("</script>").expect("an end").0;
    serde_json::from_str(data).expect("JSON")
}

#[test]
fn a_page_holds_what_the_file_does() {
    let folder = Folder::new("whole");
    let (page, said) = report(&folder, &["--from", "hostile-words.pcapng"]);
    assert!(said.contains("121 events, all of them in full"), "{said}");
    assert_eq!(fs::metadata(&page).expect("a page").permissions().mode() & 0o777, 0o600);
    let head = data(&page, "head");
    assert_eq!(head["total"], 121);
    assert_eq!(head["senders"].as_array().map(Vec::len), Some(21));
    assert_eq!(head["destinations"].as_array().map(Vec::len), Some(2));
    assert_eq!(head["ledger"]["shown"], 121);
    let events = data(&page, "events");
    assert_eq!(events["events"].as_array().map(Vec::len), Some(121));
    let text = fs::read_to_string(&page).expect("a page");
    for bad in ["alert(1)</script>", "<img", "<b>evil", "\u{2028}", "\u{2029}", "\u{202e}"] {
        assert!(!text.contains(bad), "{bad:?}");
    }
}

#[test]
fn filters_are_those_of_replay() {
    let folder = Folder::new("filters");
    let total = |arguments: &[&str]| {
        let all = [&["--from", "hostile-words.pcapng"], arguments].concat();
        data(&report(&folder, &all).0, "head")["total"].as_u64()
    };
    assert_eq!(total(&["icmp"]), Some(120));
    assert_eq!(total(&["--comm", "ping-3"]), Some(6));
    assert_eq!(total(&["tcp", "port", "80"]), Some(1));
    assert_eq!(total(&["--pid", "1"]), Some(0));
}

#[test]
fn a_recording_is_reported_on_by_time() {
    let folder = Folder::new("recording");
    let db = folder.0.join("events.db");
    let recorded = Command::new(env!("CARGO_BIN_EXE_sentby"))
        .args(["record", "-q", "--from", "hostile-words.pcapng", "-o"])
        .arg(&db)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures"))
        .status();
    assert!(recorded.is_ok_and(|status| status.success()));
    let db = db.to_str().expect("a path");
    let head = |arguments: &[&str]| {
        data(&report(&folder, &[&["--from", db], arguments].concat()).0, "head")
    };
    let all = head(&[]);
    assert_eq!(all["total"], 121);
    // The page of the recording is that of the file.
    let (page, _) = report(&folder, &["--from", "hostile-words.pcapng"]);
    let of_file = data(&page, "head");
    for part in ["senders", "destinations", "flows", "bins"] {
        assert_eq!(all[part], of_file[part], "{part}");
    }
    let middle = "2026-11-22T10:38:05.183456Z";
    let (early, late) = (head(&["--until", middle]), head(&["--since", middle]));
    let total = |head: &Value| head["total"].as_u64().expect("a number");
    assert!(total(&early) > 0 && total(&late) > 0, "{}", all["span"]);
    assert_eq!(total(&early) + total(&late), 121);
    // What was not asked for was not looked at.
    assert_eq!(late["ledger"]["seen"], late["total"]);
    let one = head(&["--since", middle, "--comm", "ping-3"]);
    assert!(total(&one) > 0 && total(&one) < 6, "{one}");
}

#[test]
fn what_is_wrong_is_one_line_and_leaves_no_file() {
    let folder = Folder::new("wrong");
    for (arguments, page, code, words) in [
        (&["--from", "missing.pcap"][..], "a.html", 1, "opening missing.pcap: "),
        (&["--from", "garbage.pcap"], "a.html", 1, "neither pcap nor pcapng"),
        (&["--from", "ethernet.pcap"], "no/such/a.html", 1, "writing "),
        (&["--from", "ethernet.pcap"], "", 1, "it is a folder"),
        (&["--from", "ethernet.pcap", "port", "http"], "a.html", 2, "filter expression"),
        (&["--from", "ethernet.pcap", "--since", "2h"], "a.html", 2, "not a recording"),
        (&["--from", "missing.db", "--since", "2h"], "a.html", 1, "opening missing.db: "),
        (&["--since", "2h", "--until", "3h"], "a.html", 2, "--until is not later"),
    ] {
        let output = sentby(arguments, &folder.0.join(page));
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(words), "{said}");
        assert!(code == 2 || said.lines().count() == 1, "{said}");
        assert_eq!(fs::read_dir(&folder.0).expect("the folder").count(), 0, "{arguments:?}");
    }
}

#[test]
fn a_file_that_breaks_off_makes_a_page_that_says_so() {
    let folder = Folder::new("broken");
    let page = folder.0.join("report.html");
    let output = sentby(&["--from", "bad-inside.pcapng"], &page);
    assert_eq!(output.status.code(), Some(1));
    let head = data(&page, "head");
    assert_eq!(head["total"], 2);
    assert!(head["about"]["failed"].as_str().is_some_and(|f| f.contains("at byte 116")));
}

#[test]
fn a_browser_shows_it_and_runs_nothing_of_it() {
    let folder = Folder::new("browser");
    let (page, _) = report(&folder, &["--from", "hostile-words.pcapng"]);
    let Some(mut browser) = Browser::start(&folder.0.join("profile")) else {
        assert!(std::env::var_os("CI").is_none(), "chromium is not installed (scripts/deps test)");
        eprintln!("SKIPPED: no chromium here (SENTBY_CHROMIUM), the page was not looked at");
        return;
    };
    browser.open(&page);
    looks_right(&mut browser);
    sorts(&mut browser);
    searches(&mut browser);
    opens_details(&mut browser);
    pictures_choose(&mut browser);
    assert_eq!(browser.ask("alerted"), Value::Null, "nothing of the data ran");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    assert_eq!(browser.requests(), 1, "the page alone was asked for");
}

fn looks_right(browser: &mut Browser) {
    assert_eq!(browser.ask("document.documentElement.dataset.ready"), "yes");
    assert_eq!(
        browser.ask("document.querySelectorAll('script, img, b, i:not([class]), u').length"),
        1
    );
    assert_eq!(browser.ask("document.querySelectorAll('#requests tr.row').length"), 50);
    let forth = "[...document.querySelectorAll('#requests .controls button')].at(-1)";
    browser.ask(&format!("{forth}.click(), {forth}.click()"));
    assert_eq!(browser.ask("document.querySelectorAll('#requests tr.row').length"), 21);
    assert_eq!(browser.ask(&format!("{forth}.disabled")), true);
    // Every control has a name, and the page does not scroll sideways.
    let nameless = "[...document.querySelectorAll('button, input, [role=button]')].filter((e) => \
        !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).length";
    assert_eq!(browser.ask(nameless), 0);
    assert_eq!(
        browser.ask("document.documentElement.scrollWidth <= document.documentElement.clientWidth"),
        true
    );
}

/// The cells of a column of the requests, as far as they are shown.
fn column(browser: &mut Browser, n: usize) -> Vec<String> {
    let cells = format!(
        "[...document.querySelectorAll('#requests tr.row')].map((r) => r.cells[{n}].textContent)"
    );
    serde_json::from_value(browser.ask(&cells)).expect("texts")
}

fn sorts(browser: &mut Browser) {
    let head = |n: usize| format!("document.querySelectorAll('#requests th')[{n}]");
    browser.ask(&format!("{}.firstChild.click()", head(3)));
    assert_eq!(browser.ask(&format!("{}.ariaSort", head(3))), "descending");
    assert_eq!(browser.ask(&format!("{}.getAttribute('aria-sort')", head(0))), Value::Null);
    let numbers = |cells: Vec<String>| -> Vec<u32> {
        cells.iter().map(|c| c.parse().expect("a pid")).collect()
    };
    let pids = numbers(column(browser, 3));
    assert_eq!(pids[..2], [6666, 119]);
    assert!(pids.is_sorted_by(|a, b| a >= b), "{pids:?}");
    browser.ask(&format!("{}.firstChild.click()", head(3)));
    let pids = numbers(column(browser, 3));
    assert!(pids[0] == 100 && pids.is_sorted(), "{pids:?}");
    browser.ask(&format!("{}.firstChild.click()", head(7)));
    let bytes = numbers(column(browser, 7));
    assert!(bytes[0] > 100 && bytes[1] == 36, "by number, not as text: {bytes:?}");
}

fn search(browser: &mut Browser, words: &str) {
    let input = "document.querySelector('#requests input')";
    let typed =
        format!("{input}.value = {}, {input}.dispatchEvent(new Event('input'))", json!(words));
    browser.ask(&typed);
    browser.wait(400);
}

fn searches(browser: &mut Browser) {
    search(browser, "PING-7 echo");
    assert_eq!(column(browser, 2), ["ping-7"; 6]);
    search(browser, "ping-7 no-such-word");
    assert!(column(browser, 2).is_empty());
    search(browser, "<script>alert(3)");
    assert_eq!(column(browser, 2), ["<b>evil</b>"]);
}

fn opens_details(browser: &mut Browser) {
    let row = "document.querySelector('#requests tr.row')";
    browser.ask(&format!("{row}.querySelector('button').click()"));
    assert_eq!(browser.ask(&format!("{row}.querySelector('button').ariaExpanded")), "true");
    let detail = "document.querySelector('#requests tr.detail')";
    let argv = browser
        .ask(&format!("[...{detail}.querySelectorAll('.argv code')].map((c) => c.textContent)"));
    let long = "x".repeat(2000);
    assert_eq!(
        argv,
        json!([
            "</script><img src=x onerror=alert(2)>",
            "a\\u{2028}b\\u{2029}c",
            "\\u{202e}gnp.exe\\u{202c}",
            long,
            "(empty)",
            "&lt;!--"
        ])
    );
    let text = browser.ask(&format!("{detail}.textContent"));
    let text = text.as_str().expect("a text");
    for words in [
        "/tmp/<script>alert(1)</script>",
        "init (1) → <i>sh</i> (9) → <b>evil</b> (6666)",
        "</script><script>alert(4)</script>",
        "task: The packet was seen",
        "<u>if",
    ] {
        assert!(text.contains(words), "{words} is not in {text}");
    }
    let json = browser.ask(&format!("JSON.parse({detail}.querySelector('pre').textContent)"));
    assert_eq!(json, replayed(), "the details say all that --json does");
    browser.ask(&format!("{row}.querySelector('button').click()"));
    assert_eq!(browser.ask(detail), Value::Null);
    search(browser, "");
}

/// The hostile event as `replay --json` has it.
fn replayed() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_sentby"))
        .args(["replay", "hostile-words.pcapng", "http", "--json", "-q"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures"))
        .output()
        .expect("sentby runs");
    serde_json::from_slice(&output.stdout).expect("one event")
}

fn pictures_choose(browser: &mut Browser) {
    let press = |what: &str, label: &str| {
        format!(
            "document.querySelector('{what} [role=button][aria-label{label}]')\
                 .dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
        )
    };
    browser.ask(&press("#flows", "*=\"gnp.exe\""));
    assert_eq!(column(browser, 2), ["<b>evil</b>"]);
    browser.ask("document.querySelector('#requests .chip').click()");
    assert_eq!(column(browser, 2).len(), 50);
    browser.ask(&press("#timeline", "*=\"http\""));
    let found = column(browser, 2);
    assert!(found.contains(&"<b>evil</b>".to_owned()) && found.len() < 50, "{found:?}");
    browser.ask("document.querySelector('#requests .chip').click()");
    // By keyboard alone: one stop, then the arrows.
    browser.ask("document.querySelector('#flows [tabindex=\"0\"]').focus()");
    browser.key("ArrowDown");
    browser.key("Enter");
    assert_eq!(browser.ask("document.querySelectorAll('#requests .chip').length"), 1);
}
