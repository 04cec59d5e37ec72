//! Capture files through the program: each file in `captures` beside what it holds.
//!
//! `FILE.expected` has the arguments, what is printed as JSON and on stderr, and the exit
//! code; SENTBY_BLESS=1 writes it anew.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures")
}

fn files() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).expect("the captures");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "pcap" || e == "pcapng"));
    files.sort();
    files
}

/// What a run says, in JSON if it prints; the file's folder is left out.
fn run(arguments: &[&str], stdin: Stdio) -> String {
    let prints = !arguments.contains(&"-w") || arguments.contains(&"--print");
    let output = Command::new(env!("CARGO_BIN_EXE_sentby"))
        .arg("replay")
        .args(arguments)
        .args(prints.then_some("--json"))
        .current_dir(folder())
        .stdin(stdin)
        .output()
        .expect("sentby runs");
    let mut said = String::new();
    let lines = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    for line in lines(&output.stdout).lines() {
        writeln!(said, "{line}").expect("a string");
    }
    for line in lines(&output.stderr).lines() {
        writeln!(said, "stderr: {line}").expect("a string");
    }
    writeln!(said, "exit: {:?}", output.status.code()).expect("a string");
    said
}

#[test]
fn every_file_holds_what_is_expected() {
    let files = files();
    assert!(files.len() >= 40, "{} files", files.len());
    for file in files {
        let name = file.file_name().and_then(|n| n.to_str()).expect("a name");
        let said = run(&[name], Stdio::null());
        let expected = file.with_file_name(format!("{name}.expected"));
        if std::env::var_os("SENTBY_BLESS").is_some() {
            fs::write(&expected, &said).expect("writing what is expected");
        }
        let wanted = fs::read_to_string(&expected).unwrap_or_default();
        assert_eq!(said, wanted, "{name}");
    }
}

#[test]
fn stdin_reads_the_same() {
    for name in ["ethernet.pcap", "interfaces.pcapng", "cut.pcap", "bad-inside.pcapng"] {
        let file = fs::File::open(folder().join(name)).expect("a capture");
        // A pipe, not the file: as behind `tcpdump -w -`.
        let mut cat = Command::new("cat").stdin(file).stdout(Stdio::piped()).spawn().expect("cat");
        let pipe = cat.stdout.take().expect("its output");
        let said = run(&["-"], pipe.into()).replace("stdin", name);
        cat.wait().expect("cat ends");
        assert_eq!(said, run(&[name], Stdio::null()), "{name}");
    }
}

#[test]
fn filters_and_protocols_choose() {
    let count = |arguments: &[&str]| {
        run(arguments, Stdio::null()).lines().filter(|l| l.starts_with('{')).count()
    };
    assert_eq!(count(&["ethernet.pcap"]), 4);
    assert_eq!(count(&["ethernet.pcap", "icmp"]), 1);
    assert_eq!(count(&["ethernet.pcap", "http", "dns"]), 2);
    assert_eq!(count(&["ethernet.pcap", "http", "--responses"]), 2);
    assert_eq!(count(&["ethernet.pcap", "--dst", "192.0.2.0/24"]), 4);
    assert_eq!(count(&["ethernet.pcap", "--dst", "!192.0.2.0/24"]), 0);
    assert_eq!(count(&["ethernet.pcap", "http", "--path", "/b"]), 0);
    assert_eq!(count(&["ptcpdump.pcapng", "--pid", "4711"]), 2);
    assert_eq!(count(&["ethernet.pcap", "-c", "1"]), 1);
    assert_eq!(count(&["ethernet.pcap", "tcp", "port", "80"]), 2);
    assert_eq!(count(&["ethernet.pcap", "http", "dns", "udp"]), 1);
    assert_eq!(count(&["ethernet.pcap", "icmp or udp"]), 2);
    assert_eq!(count(&["tunnels.pcap", "net 198.51.100.0/24"]), 0, "the inner packet counts");
    assert_eq!(count(&["ethernet.pcap", "not", "net", "192.0.2"]), 0);
}

#[test]
fn what_an_expression_lacks_is_one_line_with_its_column() {
    let said = run(&["ethernet.pcap", "icmp", "port", "http"], Stdio::null());
    let wanted = "stderr: sentby: filter expression 'port http', column 6: http: is not a port, \
                  a number up to 65535; names of ports are not looked up\nexit: Some(2)\n";
    assert_eq!(said, wanted);
}

#[test]
fn a_file_that_is_not_there_is_one_line() {
    let said = run(&["missing.pcap"], Stdio::null());
    assert!(said.starts_with("stderr: sentby: opening missing.pcap: "), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.ends_with("exit: Some(1)\n"), "{said}");
    let said = run(&["."], Stdio::null());
    assert!(said.contains("stderr: sentby: reading .: Is a directory"), "{said}");
    assert!(!said.contains("add up") && said.ends_with("exit: Some(1)\n"), "{said}");
}

/// The lines that are events.
fn events(said: &str) -> Vec<&str> {
    said.lines().filter(|line| line.starts_with('{')).collect()
}

/// A folder for one test's files.
fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("sentby-replay-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn what_is_written_holds_the_same_events() {
    let folder = scratch("again");
    let mut all = 0;
    for file in files() {
        let name = file.file_name().and_then(|n| n.to_str()).expect("a name");
        let first = run(&[name, "--responses"], Stdio::null());
        let copy = folder.join(format!("{name}.copy"));
        let copy = copy.to_str().expect("a path");
        let written = run(&[name, "--responses", "-w", copy], Stdio::null());
        assert!(events(&written).is_empty(), "{name}: -w prints");
        let again = run(&[copy, "--responses"], Stdio::null());
        assert_eq!(events(&again), events(&first), "{name}");
        assert!(again.ends_with("exit: Some(0)\n"), "{name}: {again}");
        // And once more: a copy of a copy.
        let second = folder.join("second");
        run(&[copy, "--responses", "-w", second.to_str().expect("a path")], Stdio::null());
        let last = run(&[second.to_str().expect("a path"), "--responses"], Stdio::null());
        assert_eq!(events(&last), events(&first), "{name}, copied twice");
        all += events(&first).len();
    }
    assert!(all > 100, "{all} events");
    fs::remove_dir_all(folder).expect("the folder goes");
}

#[test]
fn files_are_as_large_and_as_many_as_asked() {
    let folder = scratch("many");
    let path = folder.join("f");
    let path = path.to_str().expect("a path");
    run(&["connections.pcap", "-w", path, "-C", "1k", "-W", "3"], Stdio::null());
    let mut names: Vec<_> = fs::read_dir(&folder)
        .expect("the folder")
        .map(|e| e.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert!(names.len() > 1 && names.iter().all(|n| ["f0", "f1", "f2"].contains(&n.as_str())));
    for name in names {
        let mode = fs::metadata(folder.join(&name)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "packets hold what events leave out");
        let said = run(&[folder.join(name).to_str().expect("a path")], Stdio::null());
        assert!(!events(&said).is_empty() && said.ends_with("exit: Some(0)\n"), "{said}");
    }
    fs::remove_dir_all(folder).expect("the folder goes");
}

#[test]
fn what_cannot_be_written_is_one_line() {
    let full = run(&["connections.pcap", "-q", "-w", "/dev/full"], Stdio::null());
    assert!(full.contains("/dev/full: No space left on device"), "{full}");
    assert_eq!(full.lines().count(), 2, "{full}");
    assert!(full.ends_with("exit: Some(1)\n"), "{full}");
    let missing = run(&["connections.pcap", "-w", "/nowhere/f"], Stdio::null());
    assert!(missing.starts_with("stderr: sentby: writing /nowhere/f: "), "{missing}");
    let wrong = [
        &["-w", "-", "--print"][..],
        &["-w", "f", "-W", "3"],
        &["-w", "-", "-C", "1"],
        &["-w", "f", "--json"],
    ];
    for wrong in wrong {
        let said = run(&[&["connections.pcap"], wrong].concat(), Stdio::null());
        assert!(said.ends_with("exit: Some(2)\n"), "{wrong:?}: {said}");
    }
}
