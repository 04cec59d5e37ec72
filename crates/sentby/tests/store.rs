//! Recordings through the program: capture files go in, and what comes out is what replay
//! shows of the files themselves.

#[allow(dead_code, reason = "each test uses a part")]
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use support::{PATIENCE, Scratch, capture, captures, refused, said, sentby, sorted, text};

/// A capture file of echo requests, one every `step` nanoseconds from 2026-11-22 on.
fn pings(path: &str, count: u32, step: u64) {
    let mut file = Vec::new();
    file.extend(0xa1b2_3c4d_u32.to_le_bytes());
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(65_535_u32.to_le_bytes());
    file.extend(101_u32.to_le_bytes());
    for n in 0..count {
        let time = 1_795_343_885_000_000_000 + u64::from(n) * step;
        file.extend(((time / 1_000_000_000) as u32).to_le_bytes());
        file.extend(((time % 1_000_000_000) as u32).to_le_bytes());
        file.extend(28_u32.to_le_bytes());
        file.extend(28_u32.to_le_bytes());
        let [high, low] = ((n % 65_536) as u16).to_be_bytes();
        file.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 1, 0, 0, 198, 51, 100, 2, 192, 0, 2]);
        file.extend([(n / 65_536 % 200) as u8, 8, 0, 0, 0, 0, 9, high, low]);
    }
    fs::write(path, file).expect("a capture file");
}

fn count(db: &str) -> u64 {
    said(&["query", "--from", db, "--count", "-q"]).trim().parse().expect("a number")
}

fn is_sound(db: &str) -> bool {
    said(&["query", "--from", db, "--sql", "PRAGMA integrity_check"]).contains("\nok\n")
}

#[test]
fn what_is_recorded_is_shown_as_it_was() {
    let folder = Scratch::new("same");
    let mut all = 0;
    for entry in fs::read_dir(captures()).expect("the captures") {
        let file = entry.expect("an entry").path();
        if !file.extension().is_some_and(|e| e == "pcap" || e == "pcapng") {
            continue;
        }
        let file = file.to_str().expect("a path");
        let live = sentby(&["replay", file, "--json", "--responses"]);
        let wanted = sorted(&text(&live.stdout));
        for kept in [&[][..], &["--no-bytes"]] {
            let db = folder.path("db");
            let arguments = [&["record", "--from", file, "-o", &db, "--responses"], kept].concat();
            let recorded = sentby(&arguments);
            assert_eq!(recorded.status.code(), live.status.code(), "{file}");
            assert!(recorded.stdout.is_empty(), "{file}: record prints");
            assert_eq!(text(&recorded.stderr), text(&live.stderr), "{file}");
            let shown = said(&["query", "--from", &db, "--json", "--responses"]);
            assert_eq!(sorted(&shown), wanted, "{file} {kept:?}");
            let shown = said(&["replay", &db, "--json", "--responses"]);
            assert_eq!(sorted(&shown), wanted, "{file} {kept:?}, replayed");
            all += wanted.len();
            for rest in ["db", "db-wal", "db-shm", "db-lock"] {
                let _ = fs::remove_file(folder.path(rest));
            }
        }
    }
    assert!(all > 200, "{all} events");
}

#[test]
fn events_without_bytes_are_events() {
    let folder = Scratch::new("without");
    let db = folder.path("db");
    let file = capture("requests-split.pcap");
    said(&["record", "-q", "--from", &file, "-o", &db, "--no-bytes"]);
    let rows = said(&[
        "query",
        "--from",
        &db,
        "--sql",
        "SELECT count(*) FROM events WHERE packet IS NOT NULL",
    ]);
    assert_eq!(rows.lines().last(), Some("0"));
    let wanted = said(&["replay", "-q", &file, "--json"]);
    assert!(!wanted.is_empty());
    assert_eq!(sorted(&said(&["query", "-q", "--from", &db, "--json"])), sorted(&wanted));
}

#[test]
fn a_recording_is_nobody_elses() {
    let folder = Scratch::new("mode");
    let db = folder.path("db");
    said(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db]);
    let mode = |path: &str| fs::metadata(path).expect("a file").permissions().mode() & 0o777;
    assert_eq!(mode(&db), 0o600);
    assert_eq!(mode(&folder.path("db-lock")), 0o600);
}

#[test]
fn questions_are_answered() {
    let folder = Scratch::new("questions");
    let db = folder.path("db");
    for file in ["names.pcap", "connections.pcap", "ptcpdump.pcapng", "tunnels.pcap"] {
        said(&["record", "-q", "--from", &capture(file), "-o", &db]);
    }
    let ask = |more: &[&str]| said(&[&["query", "-q", "--from", &db], more].concat());
    let all = ask(&["--json"]);
    let lines: Vec<&str> = all.lines().collect();
    assert!(lines.len() > 15, "{all}");
    // Later events come later.
    let times: Vec<&str> = lines.iter().map(|l| &l[9..39]).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(
        ask(&["--json", "--limit", "3"]).lines().collect::<Vec<_>>(),
        lines[lines.len() - 3..]
    );
    assert_eq!(ask(&["--json", "--limit", "1000"]), all);
    assert_eq!(ask(&["--json", "-c", "2"]).lines().collect::<Vec<_>>(), lines[..2]);
    assert_eq!(ask(&["--count"]).trim(), lines.len().to_string());
    let (early, late): (Vec<&str>, Vec<&str>) =
        lines.iter().partition(|l| &l[9..39] < "2026-11-22T10:38:05.126456000Z");
    assert!(!early.is_empty() && !late.is_empty());
    let moment = "2026-11-22T10:38:05.126456Z";
    assert_eq!(ask(&["--json", "--until", moment]).lines().collect::<Vec<_>>(), early);
    assert_eq!(ask(&["--json", "--since", moment]).lines().collect::<Vec<_>>(), late);
    assert_eq!(ask(&["--json", "--since", "2200-01-01"]), "");
    let of_curl: Vec<&str> = lines.iter().copied().filter(|l| l.contains("\"pid\":4711")).collect();
    assert!(!of_curl.is_empty());
    for filter in [&["--pid", "4711"][..], &["--exe", "curl"], &["--comm", "curl-*"]] {
        let shown = ask(&[&["--json"], filter].concat());
        assert_eq!(shown.lines().collect::<Vec<_>>(), of_curl, "{filter:?}");
        assert_eq!(ask(&[&["--count"], filter].concat()).trim(), of_curl.len().to_string());
    }
    for nothing in [&["--pid", "4194000"][..], &["--dst", "203.0.113.250"]] {
        assert_eq!(ask(&[&["--json"], nothing].concat()), "");
        assert_eq!(ask(&[&["--json", "--limit", "3"], nothing].concat()), "");
    }
    let tables = ask(&["--by", "exe", "--bin", "1h"]);
    assert!(tables.contains("/usr/bin/curl") && tables.contains('█'), "{tables}");
    let copy = folder.path("copy.pcapng");
    ask(&["-w", &copy]);
    assert_eq!(sorted(&said(&["replay", "-q", "--json", &copy])), sorted(&all));
}

/// Whole minutes and hours were counted when they were written; an expression that lets all pass has
/// every event looked at again.
#[test]
fn sums_are_sums_of_events() {
    let folder = Scratch::new("sums");
    let (db, file) = (folder.path("db"), folder.path("pings.pcap"));
    pings(&file, 70_000, 100_000_000);
    said(&["record", "-q", "--from", &file, "-o", &db]);
    said(&["record", "-q", "--from", &capture("ptcpdump.pcapng"), "-o", &db]);
    let ask = |more: &[&str]| said(&[&["query", "-q", "--from", &db, "--json"], more].concat());
    for question in [
        &["--count"][..],
        &["--by", "dst"],
        &["--by", "process,proto"],
        &["--by", "exe,evidence", "--bin", "2m"],
        &["--by", "name", "--since", "2026-11-22T10:40:10Z", "--until", "2026-11-22T10:43:30.5Z"],
        &["--bin", "1m", "--dst", "192.0.2.1"],
        &["--count", "--until", "2026-11-22T10:38:30Z"],
        &["--by", "proto", "--bin", "1m"],
        &["--by", "exe", "--bin", "1h"],
        &["--by", "dst", "--bin", "3h", "--since", "2026-11-22T11:00:00Z"],
        &["--by", "dst", "--since", "2026-11-22T11:20:00Z"],
        &["--by", "exe,dst", "--bin", "1h", "--dst", "192.0.2.1"],
        &["--by", "dst", "--bin", "1m", "--until", "2026-11-22T12:00:30Z"],
        &["--count", "--exe", "curl"],
        &["--count", "--exe", "curl", "--until", "2026-11-22T10:38:06Z"],
        &[
            "--by",
            "exe",
            "--exe",
            "curl",
            "--since",
            "2026-11-22T10:38:05Z",
            "--until",
            "2026-11-22T11:30:00Z",
        ],
        &["--by", "dst", "--dst", "192.0.2.1", "--since", "2026-11-22T11:20:10Z"],
        &["--count", "--pid", "4194000"],
        &["--by", "proto", "--dst", "203.0.113.250"],
    ] {
        let quick = ask(question);
        let slow = ask(&[&["ip", "or", "ip6"], question].concat());
        assert_eq!(quick, slow, "{question:?}");
        let none = question.iter().any(|word| ["4194000", "203.0.113.250"].contains(word));
        assert!(none || quick.contains("\"events\":"), "{question:?}: {quick}");
    }
    assert!(ask(&["--count"]).starts_with("{\"events\":70002,"), "{}", ask(&["--count"]));
}

/// A recording of the second version, made from one of today's.
fn of_version_two(db: &str) {
    let script = "ALTER TABLE processes DROP COLUMN seen;
         ALTER TABLE destinations DROP COLUMN seen;
         CREATE INDEX senders_by_process ON senders (process, slice);
         CREATE INDEX targets_by_destination ON targets (destination, slice);
         PRAGMA user_version = 2;";
    let connection = rusqlite::Connection::open(db).expect("it is a database");
    connection.execute_batch(script).expect("it has these tables");
}

/// A recording of the first version, made from one of the second.
fn of_version_one(db: &str) {
    let script = "DROP TABLE minutes; DROP TABLE senders; DROP TABLE targets; DROP TABLE pairs;
         DROP TABLE pruned;
         CREATE TABLE minutes (
             minute INTEGER NOT NULL, proto INTEGER NOT NULL, evidence INTEGER NOT NULL,
             process INTEGER NOT NULL, destination INTEGER NOT NULL,
             events INTEGER NOT NULL, bytes INTEGER NOT NULL, unmeasured INTEGER NOT NULL,
             first INTEGER NOT NULL, last INTEGER NOT NULL,
             PRIMARY KEY (minute, proto, evidence, process, destination)
         ) WITHOUT ROWID;
         CREATE INDEX minutes_by_process ON minutes (process, minute);
         CREATE INDEX minutes_by_destination ON minutes (destination, minute);
         INSERT INTO minutes
         SELECT id / 60000000000, proto, evidence, ifnull(process, 0), destination, count(*),
                sum(ifnull(len, 0)), sum(len IS NULL), min(id - ifnull(late, 0)),
                max(id - ifnull(late, 0))
         FROM events GROUP BY 1, 2, 3, 4, 5;
         PRAGMA user_version = 1;";
    let connection = rusqlite::Connection::open(db).expect("it is a database");
    connection.execute_batch(script).expect("it has these tables");
}

#[test]
fn recordings_of_older_versions_are_read_and_brought_up_to_date() {
    let folder = Scratch::new("version");
    let (db, file) = (folder.path("db"), folder.path("pings.pcap"));
    pings(&file, 20_000, 7_000_000);
    said(&["record", "-q", "--from", &file, "-o", &db]);
    said(&["record", "-q", "--from", &capture("ptcpdump.pcapng"), "-o", &db]);
    let ask = |more: &[&str]| said(&[&["query", "-q", "--from", &db, "--json"], more].concat());
    let questions: &[&[&str]] =
        &[&["--count"], &["--by", "dst"], &["--by", "exe,dst", "--bin", "1h"], &["--exe", "curl"]];
    let answers: Vec<String> = questions.iter().map(|question| ask(question)).collect();
    let version = || {
        let connection = rusqlite::Connection::open(&db).expect("it is a database");
        connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0)).ok()
    };
    let seen = |table: &str| {
        let sql = format!("SELECT group_concat(seen) FROM (SELECT seen FROM {table} ORDER BY id)");
        said(&["query", "--from", &db, "--sql", &sql])
    };
    let empty = folder.path("empty.pcap");
    pings(&empty, 0, 1);
    let tables = ["processes", "destinations"];
    let written = tables.map(seen);
    for former in [1, 2] {
        of_version_two(&db);
        if former == 1 {
            of_version_one(&db);
        }
        for (question, answer) in questions.iter().zip(&answers) {
            assert_eq!(ask(question), *answer, "{question:?} of version {former}");
        }
        assert_eq!(version(), Some(former), "asking changes nothing");
        said(&["record", "-q", "--from", &empty, "-o", &db]);
        assert_eq!(version(), Some(3));
        for (question, answer) in questions.iter().zip(&answers) {
            assert_eq!(ask(question), *answer, "{question:?} of version {former}, migrated");
        }
        assert_eq!(tables.map(seen), written, "from version {former}");
    }
    let sums = said(&["query", "--from", &db, "--sql", "SELECT sum(events) FROM pairs"]);
    assert_eq!(sums.lines().last(), Some("20002"));
    assert!(is_sound(&db));
}

#[test]
fn one_writes_and_many_read() {
    let folder = Scratch::new("one");
    let db = folder.path("db");
    said(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db]);
    // A pipe that nothing comes out of keeps the first writer waiting.
    let mut writer = Command::new(env!("CARGO_BIN_EXE_sentby"))
        .args(["record", "-q", "--from", "-", "-o", &db])
        .stdin(Stdio::piped())
        .spawn()
        .expect("sentby runs");
    let begun = Instant::now();
    let holder = loop {
        let pid = fs::read_to_string(folder.path("db-lock")).unwrap_or_default();
        if pid.trim() == writer.id().to_string() {
            break pid;
        }
        assert!(begun.elapsed() < PATIENCE, "no lock");
        sleep(Duration::from_millis(10));
    };
    let why = refused(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db], 1);
    assert!(why.contains(&format!("(pid {})", holder.trim())), "{why}");
    assert!(count(&db) > 2);
    writer.kill().expect("it is there");
    writer.wait().expect("it ends");
    said(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db]);
}

#[test]
fn a_kill_costs_nothing_that_was_there() {
    let folder = Scratch::new("kill");
    let (db, file) = (folder.path("db"), folder.path("pings.pcap"));
    pings(&file, 2_000_000, 1_000_000);
    let mut writer = Command::new(env!("CARGO_BIN_EXE_sentby"))
        .args(["record", "-q", "--from", &file, "-o", &db])
        .spawn()
        .expect("sentby runs");
    let begun = Instant::now();
    let seen = loop {
        let seen = match sentby(&["query", "-q", "--from", &db, "--count"]) {
            output if output.status.success() => text(&output.stdout).trim().parse().unwrap_or(0),
            _ => 0_u64,
        };
        if seen > 0 {
            break seen;
        }
        assert!(begun.elapsed() < PATIENCE, "nothing was written");
    };
    let running = writer.try_wait().expect("it can be asked").is_none();
    writer.kill().expect("it is there");
    writer.wait().expect("it ends");
    assert!(running, "it had ended");
    assert!(is_sound(&db));
    let left = count(&db);
    assert!(left >= seen && left < 2_000_000, "{seen} were seen, {left} are left");
    // What is there is a beginning without gaps, and the sums agree.
    let last = said(&[
        "query",
        "--from",
        &db,
        "--sql",
        "SELECT (max(id) - min(id)) / 1000000 + 1 FROM events",
    ]);
    assert_eq!(last.lines().last(), Some(left.to_string().as_str()));
    for table in ["minutes", "senders", "targets", "pairs"] {
        let sum = format!("SELECT sum(events) FROM {table}");
        let sums = said(&["query", "--from", &db, "--sql", &sum]);
        assert_eq!(sums.lines().last(), Some(left.to_string().as_str()), "{table}");
    }
    said(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db]);
    assert!(count(&db) > left && is_sound(&db));
}

#[test]
fn the_oldest_make_room() {
    let folder = Scratch::new("room");
    let (db, file) = (folder.path("db"), folder.path("pings.pcap"));
    pings(&file, 120_000, 10_000_000);
    said(&["record", "-q", "--from", &file, "-o", &db]);
    let before = fs::metadata(&db).expect("it is there").size();
    assert!(before > 8 << 20, "{before} bytes");
    let newest = said(&["query", "-q", "--from", &db, "--json", "--limit", "1"]);
    let empty = folder.path("empty.pcap");
    pings(&empty, 0, 1);
    said(&["record", "-q", "--from", &empty, "-o", &db, "--max-size", "4M"]);
    let after = fs::metadata(&db).expect("it is there").size();
    assert!(after <= (4 << 20) + (1 << 20), "{after} bytes are left of {before}");
    let left = count(&db);
    assert!(left > 10_000 && left < 100_000, "{left} are left");
    assert_eq!(said(&["query", "-q", "--from", &db, "--json", "--limit", "1"]), newest);
    let looked_at = said(&["query", "-q", "--from", &db, "--count", "ip"]);
    assert_eq!(looked_at.trim(), left.to_string(), "sums of what is gone");
    assert!(is_sound(&db));
    // They are of another year.
    said(&["record", "-q", "--from", &empty, "-o", &db, "--keep", "1s"]);
    let old = said(&[
        "query",
        "--from",
        &db,
        "--sql",
        "SELECT count(*) FROM events WHERE id < unixepoch() * 1000000000",
    ]);
    assert_eq!(old.lines().last(), Some("0"));
}

#[test]
fn what_is_no_recording_is_refused() {
    let folder = Scratch::new("refused");
    let db = folder.path("db");
    let query = |path: &str| refused(&["query", "--from", path], 1);
    assert!(query(&db).contains("No such file"), "{}", query(&db));
    fs::write(&db, b"").expect("a file");
    assert!(query(&db).contains("is empty"), "{}", query(&db));
    fs::write(&db, b"not a database, but long enough to be one").expect("a file");
    assert!(query(&db).contains("is not a recording"), "{}", query(&db));
    let why = refused(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db], 1);
    assert!(why.contains("not a database"), "{why}");
    assert_eq!(fs::read(&db).expect("a file"), b"not a database, but long enough to be one");
    fs::remove_file(&db).expect("a file");
    said(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db]);
    // Bytes 60 to 64 of the file are its user_version.
    let mut bytes = fs::read(&db).expect("a file");
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&db, &bytes).expect("a file");
    assert!(query(&db).contains("newer sentby (version 99"), "{}", query(&db));
    assert!(refused(&["replay", &db], 1).contains("newer sentby"));
    let why = refused(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db], 1);
    assert!(why.contains("newer sentby"), "{why}");
    // And bytes 68 to 72 whose it is.
    bytes[68..72].copy_from_slice(&1_u32.to_be_bytes());
    fs::write(&db, &bytes).expect("a file");
    assert!(query(&db).contains("another program"), "{}", query(&db));
}

#[test]
fn what_may_not_be_read_is_one_line() {
    if fs::metadata("/proc/self").expect("/proc").uid() != 0 {
        return;
    }
    let folder = Scratch::new("denied");
    let db = folder.path("db");
    said(&["record", "-q", "--from", &capture("names.pcap"), "-o", &db]);
    let copy = folder.path("sentby");
    fs::copy(env!("CARGO_BIN_EXE_sentby"), &copy).expect("a copy that others may run");
    let query = || {
        let mut command = Command::new(&copy);
        command
            .args(["query", "--from", &db, "--count", "-q"])
            .uid(65_534)
            .output()
            .expect("it runs")
    };
    let denied = query();
    assert_eq!(denied.status.code(), Some(1));
    let why = text(&denied.stderr);
    assert!(why.contains("Permission denied") && why.lines().count() == 1, "{why}");
    // In a folder of somebody else's, without a writer, it can be read all the same.
    let _ = fs::remove_file(folder.path("db-wal"));
    let _ = fs::remove_file(folder.path("db-shm"));
    fs::set_permissions(&db, fs::Permissions::from_mode(0o644)).expect("a mode");
    let allowed = query();
    assert!(allowed.status.success(), "{}", text(&allowed.stderr));
}

#[test]
fn questions_change_nothing() {
    let folder = Scratch::new("sql");
    let db = folder.path("db");
    said(&["record", "-q", "--from", &capture("hostile-comments.pcapng"), "-o", &db]);
    let before = count(&db);
    for sql in
        ["DELETE FROM events", "PRAGMA user_version = 9", "nonsense", "", "DROP TABLE events"]
    {
        let output = sentby(&["query", "--from", &db, "--sql", sql]);
        assert!(!output.status.success() || sql.starts_with("PRAGMA"), "{sql}");
        assert!(text(&output.stderr).lines().count() <= 1, "{sql}");
    }
    assert_eq!(count(&db), before);
    let version = said(&["query", "--from", &db, "--sql", "PRAGMA user_version"]);
    assert!(!version.contains('9'), "{version}");
    let rows = said(&[
        "query",
        "--from",
        &db,
        "--sql",
        "SELECT char(27) || 'x' AS a, NULL AS b",
        "--json",
    ]);
    assert_eq!(rows, "{\"a\":\"\\u001bx\",\"b\":null}\n");
    let table = said(&["query", "--from", &db, "--sql", "SELECT char(27) || 'x' AS a"]);
    assert!(!table.contains('\u{1b}'), "{table:?}");
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    for wrong in [
        &["query", "--by", "nothing"][..],
        &["query", "--since", "2h", "--until", "3h"],
        &["query", "--top", "3"],
        &["record", "--json"],
        &["record", "--max-size", "5"],
    ] {
        let output = sentby(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}
