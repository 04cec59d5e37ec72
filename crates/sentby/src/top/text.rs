//! Text for cells: escaped, measured, and numbers in few characters.

use crate::escape::{ELLIPSIS, Visible, command_line, word};
use std::fmt::Write;
use unicode_width::UnicodeWidthChar;

/// Bytes of one text that are kept for the screen.
pub const MAX_CELL: usize = 512;

/// Text of the traced world as one word, made safe.
pub fn safe(bytes: &[u8]) -> String {
    let mut out = String::new();
    if !word(bytes, &mut out, MAX_CELL) {
        out.push(ELLIPSIS);
    }
    narrow(&out)
}

/// A command line (joined by NUL), made safe.
pub fn command(argv: &[u8], truncated: bool) -> String {
    let mut out = String::new();
    if !command_line(argv.split(|b| *b == 0), &mut out, MAX_CELL) || truncated {
        out.push(ELLIPSIS);
    }
    narrow(&out)
}

/// Text that may hold anything, with every character visible.
pub fn visible(text: &str, limit: usize) -> String {
    let mut out = String::new();
    let mut writer = Visible::new(&mut out, limit);
    let _ = writer.write_str(text);
    writer.finish();
    narrow(&out)
}

/// Marks that pile up on the character before them take no room of their own: they are
/// written as numbers.
fn narrow(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c.width() {
            Some(0) | None => {
                let _ = write!(out, "\\u{{{:x}}}", c as u32);
            }
            Some(_) => out.push(c),
        }
    }
    out
}

/// Columns that a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// The beginning of a text that fits, with `…` where something is missing.
pub fn fit(text: &str, room: usize) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used + 1 > room {
            break;
        }
        out.push(c);
    }
    if room > 0 {
        out.push(ELLIPSIS);
    }
    out
}

/// A text in lines of at most this width; a line ends at a space where one is near.
pub fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(2);
    let mut lines = Vec::new();
    let mut rest = text;
    while width(rest) > room {
        let mut used = 0;
        let over = rest.char_indices().find(|(_, c)| {
            used += c.width().unwrap_or(0);
            used > room
        });
        let over = over.map_or(rest.len(), |(at, _)| at);
        let space = rest[..over].rfind(' ').map(|at| at + 1);
        let end = space.filter(|at| *at > over / 2).unwrap_or(over);
        lines.push(rest[..end].to_owned());
        rest = &rest[end..];
    }
    lines.push(rest.to_owned());
    lines
}

/// A number in at most five characters: `12345`, `1.2M`, `34G`.
pub fn short(n: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    if n < 100_000 {
        return n.to_string();
    }
    let (mut value, mut unit) = (n as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = UNITS[unit];
    if value < 9.95 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

/// A rate in at most six characters; nothing where nothing happens.
pub fn rate(rate: f64) -> String {
    match rate {
        r if r <= 0.0 => String::new(),
        r if r < 99.95 => format!("{r:.1}"),
        r => short(r.round() as u64),
    }
}

/// How long ago: `now`, `12s`, `5m`, `3h`, `9d`.
pub fn ago(then: u64, now: u64) -> String {
    let seconds = now.saturating_sub(then) / 1_000_000_000;
    match seconds {
        0 => "now".to_owned(),
        1..=99 => format!("{seconds}s"),
        100..=5999 => format!("{}m", seconds / 60),
        6000..=359_999 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Counts as a line of bars, the newest last; each bar is the most of its share of the
/// seconds. Without Unicode, of ASCII.
pub fn sparkline(counts: &[u32], room: usize, unicode: bool) -> String {
    const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const ASCII: [char; 9] = [' ', '.', ':', '-', '=', '+', '*', '%', '#'];
    let room = room.min(counts.len());
    if room == 0 {
        return String::new();
    }
    let bars = if unicode { BARS } else { ASCII };
    let top = u64::from(counts.iter().copied().max().unwrap_or(0)).max(1);
    (0..room)
        .map(|i| {
            let (from, to) = (i * counts.len() / room, (i + 1) * counts.len() / room);
            let most = u64::from(counts[from..to].iter().copied().max().unwrap_or(0));
            bars[(most * 8).div_ceil(top) as usize]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        for (n, want) in [(0, "0"), (99_999, "99999"), (100_000, "100k"), (1_240_000, "1.2M")] {
            assert_eq!(short(n), want);
        }
        assert!((0..64).all(|shift| short(u64::MAX >> shift).len() <= 5));
        assert_eq!((rate(0.0), rate(0.2), rate(1234.0)), ("".into(), "0.2".into(), "1234".into()));
        assert_eq!(ago(0, 0), "now");
        assert_eq!(ago(0, 7_200_000_000_000), "2h");
    }

    #[test]
    fn no_text_breaks_a_cell() {
        let evil = "\x1b[2J\n\u{202e}e\u{301}\u{301}漢字".as_bytes();
        let text = safe(evil);
        assert!(text.chars().all(|c| c.width().is_some_and(|w| w > 0)), "{text}");
        assert!((0..30).all(|room| width(&fit(&text, room)) <= room));
        assert!(fit("漢字漢字", 4).ends_with('…'));
        assert_eq!(wrap("漢字漢", 4), ["漢字", "漢"]);
        assert_eq!(wrap("one two three", 8), ["one two ", "three"]);
        assert_eq!(command(b"a\0b c\0\x1b", false), "a 'b c' $'\\x1b'");
    }

    #[test]
    fn the_highest_second_is_a_full_bar_and_one_event_is_seen() {
        let mut counts = [0; 60];
        counts[0] = 1;
        counts[59] = 1000;
        for unicode in [true, false] {
            let line: Vec<char> = sparkline(&counts, 10, unicode).chars().collect();
            assert_eq!(line.len(), 10);
            assert_eq!(line[1], ' ');
            assert!(line[0] != ' ' && line[9] != line[0]);
        }
        assert_eq!(sparkline(&[0; 60], 5, true), "     ");
    }
}
