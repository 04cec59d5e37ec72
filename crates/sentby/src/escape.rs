//! Hostile bytes made safe for a terminal.
//!
//! Two forms. [`Visible`] is a writer: text goes in, and every character that a
//! terminal would obey or hide comes out as `\x1b`, `\n` or `\u{202e}`. [`word`] and
//! [`command_line`] quote like a shell, so that what is on the screen can be pasted
//! back: `'a b'`, `$'a\n\x1b[31m'`. Both are bounded and allocate nothing of their own.

use std::fmt::{self, Write};

/// Bytes of a command line that are printed before `…`.
pub const MAX_COMMAND_LINE: usize = 4096;

/// Bytes of any other captured text that are printed before `…`.
pub const MAX_TEXT: usize = 1024;

/// What stands where something was cut off.
pub const ELLIPSIS: char = '…';

/// Format controls (Unicode 16, general category Cf), line and paragraph separators,
/// and the characters that print as nothing (Default_Ignorable_Code_Point). Sorted.
/// C0, DEL and C1 are not here: `char::is_control` knows them.
const HIDDEN: &[(char, char)] = &[
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Whether a character must not reach a terminal as it is.
pub fn is_hidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control() || HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&c))
}

/// A writer that makes hidden characters visible and stops at a limit.
///
/// A backslash is kept as it is: what arrives is text that someone formatted. Use it
/// for [`wire::Protocol::describe`].
pub struct Visible<'a> {
    out: &'a mut String,
    left: usize,
    cut: bool,
}

impl<'a> Visible<'a> {
    /// Writes at most `limit` bytes to `out`.
    pub fn new(out: &'a mut String, limit: usize) -> Self {
        Visible { out, left: limit, cut: false }
    }

    /// Ends the text, with `…` if the limit cut it. Returns whether it did.
    pub fn finish(self) -> bool {
        if self.cut {
            self.out.push(ELLIPSIS);
        }
        self.cut
    }

    /// Takes one character; everything after the first that does not fit is dropped.
    fn push(&mut self, c: char) {
        let before = self.out.len();
        match c {
            _ if self.cut => return,
            _ if !is_hidden(c) => self.out.push(c),
            '\n' => self.out.push_str("\\n"),
            '\t' => self.out.push_str("\\t"),
            '\r' => self.out.push_str("\\r"),
            _ if c.is_ascii() => write_hex(self.out, c as u8),
            _ => {
                let _ = write!(self.out, "\\u{{{:x}}}", c as u32);
            }
        }
        let used = self.out.len() - before;
        if used > self.left {
            self.out.truncate(before);
            self.cut = true;
        }
        self.left = self.left.saturating_sub(used);
    }
}

impl Write for Visible<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // Nearly all text is this.
        if !self.cut && text.len() <= self.left && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
            self.left -= text.len();
            self.out.push_str(text);
            return Ok(());
        }
        text.chars().for_each(|c| self.push(c));
        Ok(())
    }
}

fn write_hex(out: &mut String, byte: u8) {
    let _ = write!(out, "\\x{byte:02x}");
}

/// How a word has to be quoted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// As it is.
    Bare,
    /// `'…'`; an apostrophe inside becomes `'\''`.
    Single,
    /// `$'…'` with escapes (bash, zsh, ksh, POSIX.1-2024).
    Dollar,
}

/// What a shell takes as it is, beside letters and digits.
const BARE: &str = "_@%+=:,./-";

fn style(bytes: &[u8]) -> Style {
    let Ok(text) = std::str::from_utf8(bytes) else { return Style::Dollar };
    if text.chars().any(is_hidden) {
        return Style::Dollar;
    }
    let bare = |c: char| c.is_alphanumeric() || BARE.contains(c);
    if !text.is_empty() && text.chars().all(bare) { Style::Bare } else { Style::Single }
}

/// The bytes, if they stand for themselves in a shell and are ASCII: nearly all words.
fn plain(bytes: &[u8]) -> Option<&str> {
    let bare = |b: &u8| b.is_ascii_alphanumeric() || BARE.as_bytes().contains(b);
    (!bytes.is_empty() && bytes.iter().all(bare)).then(|| std::str::from_utf8(bytes).ok())?
}

/// What somebody else says, in one line that a terminal does not obey, bounded.
pub fn line(what: std::fmt::Arguments<'_>) -> String {
    let mut text = String::new();
    let mut visible = Visible::new(&mut text, MAX_TEXT);
    // A String takes all that is written to it.
    let _ = std::fmt::Write::write_fmt(&mut visible, what);
    visible.finish();
    text
}

/// Writes one word quoted like a shell would need it, in at most `limit` bytes.
/// Returns false if it was cut; its quotes are closed all the same.
pub fn word(bytes: &[u8], out: &mut String, limit: usize) -> bool {
    if let Some(plain) = plain(bytes).filter(|text| text.len() <= limit) {
        out.push_str(plain);
        return true;
    }
    let style = style(bytes);
    let (open, close) = match style {
        Style::Bare => ("", ""),
        Style::Single => ("'", "'"),
        Style::Dollar => ("$'", "'"),
    };
    if open.len() + close.len() > limit {
        return false;
    }
    let end = out.len() + limit - close.len();
    out.push_str(open);
    let whole = quoted(bytes, style, out, end);
    out.push_str(close);
    whole
}

/// Writes the inside of a word while `out` stays within `end` bytes.
fn quoted(bytes: &[u8], style: Style, out: &mut String, end: usize) -> bool {
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let before = out.len();
            write_quoted(c, style, out);
            if out.len() > end {
                out.truncate(before);
                return false;
            }
        }
        for byte in chunk.invalid() {
            if out.len() + "\\xff".len() > end {
                return false;
            }
            write_hex(out, *byte);
        }
    }
    true
}

fn write_quoted(c: char, style: Style, out: &mut String) {
    let _ = match (style, c) {
        (Style::Single, '\'') => out.write_str("'\\''"),
        (Style::Bare | Style::Single, _) => out.write_char(c),
        (Style::Dollar, '\n') => out.write_str("\\n"),
        (Style::Dollar, '\t') => out.write_str("\\t"),
        (Style::Dollar, '\r') => out.write_str("\\r"),
        (Style::Dollar, '\'' | '\\') => write!(out, "\\{c}"),
        (Style::Dollar, _) if !is_hidden(c) => out.write_char(c),
        (Style::Dollar, _) if c.is_ascii() => write!(out, "\\x{:02x}", c as u32),
        (Style::Dollar, '\u{80}'..='\u{ffff}') => write!(out, "\\u{:04x}", c as u32),
        (Style::Dollar, _) => write!(out, "\\U{:08x}", c as u32),
    };
}

/// Writes arguments as a line to paste back, in at most `limit` bytes. Returns false
/// if it was cut.
pub fn command_line<'a>(
    args: impl Iterator<Item = &'a [u8]>,
    out: &mut String,
    limit: usize,
) -> bool {
    let end = out.len() + limit;
    for (i, arg) in args.enumerate() {
        if i > 0 {
            if out.len() >= end {
                return false;
            }
            out.push(' ');
        }
        let left = end - out.len();
        if !word(arg, out, left) {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visible(text: &str, limit: usize) -> String {
        let mut out = String::new();
        let mut writer = Visible::new(&mut out, limit);
        writer.write_str(text).unwrap();
        writer.finish();
        out
    }

    fn quote(bytes: &[u8]) -> String {
        let mut out = String::new();
        word(bytes, &mut out, MAX_TEXT);
        out
    }

    #[test]
    fn what_others_say_is_one_line_that_nothing_obeys() {
        let said = line(format_args!("no {}", "answer\n\u{1b}[2J\u{202e}x"));
        assert!(said.starts_with("no answer") && said.ends_with('x'), "{said}");
        assert!(!said.contains(is_hidden), "{said:?}");
        assert!(line(format_args!("{}", "a".repeat(9000))).len() <= MAX_TEXT + ELLIPSIS.len_utf8());
    }

    #[test]
    fn visible_shows_what_a_terminal_would_obey_or_hide() {
        let cases = [
            ("plain é 漢", "plain é 漢"),
            ("a\nb\r\t", "a\\nb\\r\\t"),
            ("\x1b[31m\x7f\0", "\\x1b[31m\\x7f\\x00"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\u{202e}b\u{2066}c", "a\\u{202e}b\\u{2066}c"),
            ("\u{200b}\u{feff}\u{ad}", "\\u{200b}\\u{feff}\\u{ad}"),
            ("\u{2028}\u{2029}", "\\u{2028}\\u{2029}"),
            ("\u{e0041}", "\\u{e0041}"),
            ("c:\\x", "c:\\x"),
        ];
        for (text, want) in cases {
            assert_eq!(visible(text, MAX_TEXT), want);
        }
    }

    #[test]
    fn visible_stops_at_its_limit_between_characters() {
        assert_eq!(visible("abcdef", 6), "abcdef");
        assert_eq!(visible("abcdef", 5), "abcde…");
        assert_eq!(visible("abc\x1b!", 5), "abc…", "an escape is never cut in two");
    }

    #[test]
    fn words_can_be_pasted_back() {
        let cases: &[(&[u8], &str)] = &[
            (b"", "''"),
            (b"-c", "-c"),
            (b"/usr/bin/ping", "/usr/bin/ping"),
            (b"a b", "'a b'"),
            (b"it's", "'it'\\''s'"),
            (b"$HOME", "'$HOME'"),
            (b"~", "'~'"),
            (b"back\\slash", "'back\\slash'"),
            (b"a\n\x1b[31m", "$'a\\n\\x1b[31m'"),
            (b"it's\t\\", "$'it\\'s\\t\\\\'"),
            (b"caf\xe9", "$'caf\\xe9'"),
            ("café".as_bytes(), "café"),
            ("a\u{202e}b".as_bytes(), "$'a\\u202eb'"),
            ("\u{e0041}".as_bytes(), "$'\\U000e0041'"),
        ];
        for (bytes, want) in cases {
            assert_eq!(quote(bytes), *want);
        }
    }

    #[test]
    fn bash_reads_quoted_words_as_they_were() {
        // Every byte but NUL, alone and between letters.
        let mut words: Vec<Vec<u8>> = (1..=255u8).map(|b| vec![b'a', b, b'f']).collect();
        words.extend(["\u{202e}1".into(), "\u{e0041}f".into(), "'\"$`!\\\n".into()]);
        let mut line = String::from("LC_ALL=C.UTF-8; printf '%s\\0' ");
        assert!(command_line(words.iter().map(Vec::as_slice), &mut line, 1 << 16));
        let Ok(out) = std::process::Command::new("bash").arg("-c").arg(&line).output() else {
            return; // no bash here
        };
        let want: Vec<u8> = words.iter().flat_map(|w| [w.as_slice(), b"\0"].concat()).collect();
        assert_eq!(out.stdout, want);
    }

    #[test]
    fn limits_hold_whatever_comes() {
        for limit in 0..40 {
            for bytes in [&b"it's a b"[..], b"\xff\xff\xff\xff", b"aaaaaaaaaaaaaaaaaaaaaaa", b""] {
                let mut out = String::new();
                let whole = word(bytes, &mut out, limit);
                assert!(out.len() <= limit, "{out} is longer than {limit}");
                assert_eq!(whole, out == quote(bytes));
                let mut out = String::new();
                command_line([bytes, bytes].into_iter(), &mut out, limit);
                assert!(out.len() <= limit);
            }
        }
    }

    #[test]
    fn hidden_ranges_are_sorted() {
        assert!(HIDDEN.windows(2).all(|w| w[0].1 < w[1].0));
    }
}
