//! Where everything is in this kernel: the layout, its text form, and the probes that
//! follow from it.
//!
//! The text form is that of `--offsets FILE` and of the cache: a line for each key,
//! `key = place`, a place as in ftrace's definitions. `#` begins a comment.

use super::path::Path;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A place that a layout may tell.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What is there.
    pub doc: &'static str,
}

macro_rules! keys {
    ($($constant:ident $name:literal $doc:literal)*) => {
        /// Names of places.
        pub mod key {
            $(#[doc = $doc] pub const $constant: &str = $name;)*
        }
        /// Every place that a layout may tell.
        pub static KEYS: &[Key] = &[$(Key { name: $name, doc: $doc }),*];
    };
}

keys! {
    DATA4 "ip4.data" "at ip_finish_output: the address of the IPv4 header"
    SOCK4 "ip4.sock" "there: the socket's address"
    LEN4 "ip4.len" "there: the packet's length (4 bytes), and behind it what of that is in pages (4 bytes)"
    DEV4 "ip4.dev" "there: the first 8 bytes of the interface's name"
    NETNS4 "ip4.netns" "there: the inode of the interface's network namespace"
    DATA6 "ip6.data" "at ip6_finish_output: the address of the IPv6 header"
    SOCK6 "ip6.sock" "there: the socket's address"
    LEN6 "ip6.len" "there: the packet's length (4 bytes), and behind it what of that is in pages (4 bytes)"
    DEV6 "ip6.dev" "there: the first 8 bytes of the interface's name"
    NETNS6 "ip6.netns" "there: the inode of the interface's network namespace"
    SOCK "tcp.sock" "at tcp_sendmsg: the socket's address"
    FAMILY "tcp.family" "there: the socket's address family (2 bytes)"
    ENDS4 "tcp.ends4" "there: the peer's IPv4 address, and the socket's own behind it"
    DADDR6 "tcp.daddr6" "there: the peer's IPv6 address"
    SADDR6 "tcp.saddr6" "there: the socket's own IPv6 address"
    PORTS "tcp.ports" "there: the peer's port (network byte order), and the own one (the machine's) behind it"
    NETNS "tcp.netns" "there: the inode of the socket's network namespace"
    SEQ "tcp.seq" "there: the sequence number of the next byte that the socket takes"
    SIZE "tcp.size" "there: how many bytes are sent"
    IOVEC "tcp.iovec" "there: the address of the vectors of what is sent"
    UBUF "tcp.ubuf" "there, in the same place: the address of what is sent, where that is not a kernel's"
}

/// Where everything is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    places: BTreeMap<&'static str, Path>,
}

impl Layout {
    /// Where this is, if that is known.
    pub fn get(&self, key: &str) -> Option<&Path> {
        self.places.get(key)
    }

    /// Learns where something is.
    pub fn set(&mut self, key: &'static str, path: Path) {
        self.places.insert(key, path);
    }

    /// Reads the text form.
    pub fn parse(text: &str) -> Result<Layout> {
        let mut layout = Layout::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let read = || {
                let (name, place) = line.split_once('=')?;
                let key = KEYS.iter().find(|k| k.name == name.trim())?;
                Some((key.name, Path::parse(place.trim())?))
            };
            let (key, path) = read().with_context(|| format!("line {} is no place", number + 1))?;
            if layout.places.insert(key, path).is_some() {
                bail!("line {} tells {key} again", number + 1);
            }
        }
        Ok(layout)
    }

    /// Writes the text form, with a line about each place.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for key in KEYS {
            if let Some(path) = self.get(key.name) {
                let _ = writeln!(text, "{:<12} = {path:<32} # {}", key.name, key.doc);
            }
        }
        text
    }
}

/// A layout with every place, for tests.
#[cfg(test)]
pub fn example() -> String {
    let mut layout = Layout::default();
    for (n, key) in (0..).zip(KEYS) {
        let path = Path::argument(1).map(|p| p.then(16).then(1000 + 8 * n));
        layout.set(key.name, path.unwrap_or_else(|| unreachable!("few arguments")));
    }
    layout.text()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let mut layout = Layout::default();
        for (n, key) in (0..).zip(KEYS) {
            layout.set(key.name, Path::argument(1).unwrap().then(8 * n));
        }
        layout
    }

    #[test]
    fn the_text_form_is_read_back() {
        assert_eq!(Layout::parse(&layout().text()).unwrap(), layout());
        assert_eq!(Layout::parse("# nothing\n\n").unwrap(), Layout::default());
    }

    #[test]
    fn nonsense_says_where_it_is() {
        let good = layout().text();
        let first = good.lines().next().unwrap();
        for (bad, why) in [
            (format!("{first}\nwhat = %di"), "line 2 is no place"),
            ("ip4.data = here".to_owned(), "line 1 is no place"),
            ("ip4.data".to_owned(), "line 1 is no place"),
            (format!("{first}\n{first}"), "line 2 tells ip4.data again"),
        ] {
            assert_eq!(Layout::parse(&bad).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn keys_are_different() {
        for (n, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..n].iter().all(|other| other.name != key.name), "{}", key.name);
        }
    }
}
