//! The words of an expression, each with its column.

/// A word, a parenthesis, `!`, `&&` or `||`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    /// As it was typed.
    pub text: &'a str,
    /// Where it begins, in characters, the first being 1.
    pub column: usize,
}

/// Cuts an expression into words.
pub fn words(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            c if c.is_whitespace() => {
                rest = &rest[c.len_utf8()..];
                continue;
            }
            '(' | ')' | '!' => 1,
            '&' | '|' if rest[1..].starts_with(first) => 2,
            // One alone is none of ours, and the parser says so.
            '&' | '|' => 1,
            _ => rest.find(ends_a_word).unwrap_or(rest.len()),
        };
        let column = text[..text.len() - rest.len()].chars().count() + 1;
        words.push(Word { text: &rest[..len], column });
        rest = &rest[len..];
    }
    words
}

fn ends_a_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '(' | ')' | '!' | '&' | '|')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_knows_its_column() {
        let cut = |text| words(text).iter().map(|w| (w.text, w.column)).collect::<Vec<_>>();
        assert_eq!(cut("tcp  port 80"), [("tcp", 1), ("port", 6), ("80", 11)]);
        assert_eq!(
            cut("!(a&&b)||c"),
            [("!", 1), ("(", 2), ("a", 3), ("&&", 4), ("b", 6), (")", 7), ("||", 8), ("c", 10)]
        );
        assert_eq!(cut("é & b"), [("é", 1), ("&", 3), ("b", 5)]);
        assert_eq!(cut(" \t"), []);
    }
}
