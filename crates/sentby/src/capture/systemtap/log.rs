//! What SystemTap's programs said, in one line.

use crate::enrich::read_limited;
use crate::escape::Visible;
use std::fmt::Write;
use std::path::Path;

/// Bytes of a log that are looked at.
const LOOK: u64 = 256 << 10;

/// Longest summary, in bytes.
const SUMMARY: usize = 200;

/// The line of a log that tells most: its first error, else its last line.
pub fn summary(log: &Path) -> String {
    let Ok((text, _)) = read_limited(log, LOOK) else { return "it left no log".to_owned() };
    let lines = || text.split(|b| *b == b'\n').filter(|l| !l.trim_ascii().is_empty());
    let error = |l: &&[u8]| {
        let has = |word: &[u8]| l.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
        has(b"error") && !has(b"number of errors")
    };
    let line = lines().find(error).or_else(|| lines().next_back());
    let mut out = String::new();
    match line {
        Some(line) => {
            let mut visible = Visible::new(&mut out, SUMMARY);
            let _ = visible.write_str(&String::from_utf8_lossy(line.trim_ascii()));
            visible.finish();
        }
        None => out.push_str("it said nothing"),
    }
    out
}

/// How many runs of its probes SystemTap skipped. It says so at the end, if there were any.
pub fn skipped(log: &Path) -> u64 {
    let Ok((text, _)) = read_limited(log, LOOK) else { return 0 };
    let text = String::from_utf8_lossy(&text);
    let count = |line: &str| -> Option<u64> {
        let after = line.split_once("skipped probes: ")?.1;
        after.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    text.lines().filter_map(count).next_back().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;

    fn of(text: &[u8]) -> (String, u64) {
        let dir = Scratch::new();
        dir.write("log", text);
        (summary(&dir.path("log")), skipped(&dir.path("log")))
    }

    #[test]
    fn the_first_error_is_told() {
        let text = b"Pass 1: fine\nsemantic error: no match\n\nPass 2: analysis failed.\n";
        assert_eq!(of(text).0, "semantic error: no match");
        assert_eq!(of(b"one\ntwo\n\n").0, "two");
        assert_eq!(of(b"").0, "it said nothing");
        assert_eq!(summary(Path::new("/nonexistent")), "it left no log");
        let long = [b"ERROR ".as_slice(), &[b'x'; 4000]].concat();
        assert!(of(&long).0.len() <= SUMMARY + 4);
        assert!(!of(b"ERROR \x1b[2J\xff").0.contains('\x1b'));
    }

    #[test]
    fn skipped_probes_are_counted() {
        assert_eq!(of(b"WARNING: Number of errors: 0, skipped probes: 17\n").1, 17);
        assert_eq!(of(b"WARNING: Number of errors: 0, skipped probes: 17\n").0.len(), 48);
        assert_eq!(of(b"skipped probes: x\n").1, 0);
        assert_eq!(of(b"").1, 0);
    }
}
