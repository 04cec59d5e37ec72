//! Names to compare with: literal, or with `*`, `?`, `[…]` and `{…}`.

use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Longest pattern, in bytes (a path's limit).
pub const MAX_PATTERN: usize = 4096;

/// A name to compare with.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Exactly these bytes.
    Literal(Vec<u8>),
    /// Whatever the glob matches; `*` matches slashes too.
    Glob(Box<GlobMatcher>),
}

impl Pattern {
    /// Parses a pattern. The error says what is wrong with it.
    pub fn new(text: &str) -> Result<Self, String> {
        if text.len() > MAX_PATTERN {
            return Err(format!("longer than {MAX_PATTERN} bytes"));
        }
        if !is_glob(text) {
            return Ok(Pattern::Literal(text.into()));
        }
        let glob = GlobBuilder::new(text).backslash_escape(true).build();
        let glob = glob.map_err(|e| e.kind().to_string())?;
        Ok(Pattern::Glob(Box::new(glob.compile_matcher())))
    }

    /// The bytes of a pattern that has no wildcards.
    pub fn literal(&self) -> Option<&[u8]> {
        match self {
            Pattern::Literal(bytes) => Some(bytes),
            Pattern::Glob(_) => None,
        }
    }

    /// Whether it matches all of `bytes`.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        match self {
            Pattern::Literal(literal) => literal == bytes,
            Pattern::Glob(glob) => glob.is_match(OsStr::from_bytes(bytes)),
        }
    }

    /// Whether it matches a path, or if it has no slash, the path's last component.
    pub fn matches_path(&self, path: &[u8]) -> bool {
        let slash = match self {
            Pattern::Literal(literal) => literal.contains(&b'/'),
            Pattern::Glob(glob) => glob.glob().glob().contains('/'),
        };
        let last = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
        self.matches(if slash { path } else { last })
    }

    /// Whether it matches a path or any directory above it.
    pub fn matches_subtree(&self, path: &[u8]) -> bool {
        let ends = (1..path.len()).filter(|i| path[*i] == b'/');
        self.matches(path)
            || self.matches(b"/")
            || ends.into_iter().any(|i| self.matches(&path[..i]))
    }

    /// Whether it matches, or if it is a literal, begins, `bytes`.
    pub fn matches_prefix(&self, bytes: &[u8]) -> bool {
        match self {
            Pattern::Literal(literal) => bytes.starts_with(literal),
            Pattern::Glob(_) => self.matches(bytes),
        }
    }
}

/// Whether a text has wildcards (or a backslash, which quotes one).
pub fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '[', '{', '\\'])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    #[test]
    fn wildcards_match_bytes_of_any_kind() {
        assert!(pattern("a*").matches(b"a\xff/b"));
        assert!(pattern("a?c").matches(b"abc") && !pattern("a?c").matches(b"abbc"));
        assert!(pattern("{a,b}[12]").matches(b"b2") && !pattern("[!a]").matches(b"a"));
        assert!(pattern("\\!x").matches(b"!x") && pattern("\\*").matches(b"*"));
        assert!(!pattern("a").matches(b"A") && !pattern("a").matches(b"ab"));
    }

    #[test]
    fn a_name_is_the_last_part_of_a_path() {
        assert!(pattern("curl").matches_path(b"/usr/bin/curl"));
        assert!(pattern("cur*").matches_path(b"/usr/bin/curl"));
        assert!(!pattern("usr*").matches_path(b"/usr/bin/curl"));
        assert!(pattern("/usr/*").matches_path(b"/usr/bin/curl"));
        assert!(!pattern("/bin/curl").matches_path(b"/usr/bin/curl"));
    }

    #[test]
    fn a_cgroup_counts_with_everything_below() {
        let path = b"/kubepods/pod1/abc";
        for yes in ["/kubepods", "/kubepods/pod1", "/kubepods/pod1/abc", "/kube*", "/*/pod?", "/"] {
            assert!(pattern(yes).matches_subtree(path), "{yes}");
        }
        for no in ["/kube", "/kubepods/pod", "/pod1", "kubepods"] {
            assert!(!pattern(no).matches_subtree(path), "{no}");
        }
        assert!(pattern("/").matches_subtree(b"/"));
    }

    #[test]
    fn the_start_of_an_id_is_enough() {
        assert!(
            pattern("3f2a").matches_prefix(b"3f2a91") && !pattern("f2").matches_prefix(b"3f2a")
        );
        assert!(pattern("*f2*").matches_prefix(b"3f2a"));
    }

    #[test]
    fn bad_patterns_say_why() {
        assert_eq!(Pattern::new("a[").unwrap_err(), "unclosed character class; missing ']'");
        assert!(Pattern::new(&"a".repeat(MAX_PATTERN + 1)).is_err());
    }
}
