//! What stands beside a packet in pcapng: options, each a code and a value.

use super::{number, short};

/// Codes of options (draft-ietf-opsawg-pcapng sections 3.5, 4.2 and 4.3).
pub mod option {
    /// The last one.
    pub const END: u16 = 0;
    /// Text for people. There may be several.
    pub const COMMENT: u16 = 1;
    /// Of an interface: its name.
    pub const IF_NAME: u16 = 2;
    /// Of an interface: what its time stamps count.
    pub const IF_TSRESOL: u16 = 9;
    /// Of an interface: seconds to add to its time stamps.
    pub const IF_TSOFFSET: u16 = 14;
    /// Of a packet: its direction, and more.
    pub const EPB_FLAGS: u16 = 2;
    /// Of a packet: process id and thread id of its sender.
    pub const EPB_PROCESSID_THREADID: u16 = 8;
}

/// The options of a block, from the first to the last that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a> {
    big: bool,
    rest: &'a [u8],
}

impl<'a> Options<'a> {
    /// None.
    pub const NONE: Options<'static> = Options { big: false, rest: &[] };

    /// Those that stand in these bytes.
    pub(super) fn new(big: bool, rest: &'a [u8]) -> Self {
        Options { big, rest }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A packet's process id and thread id; 0 stands for unknown.
    pub fn process_and_thread(&self) -> Option<(u32, u32)> {
        let (_, value) =
            self.into_iter().find(|(code, _)| *code == option::EPB_PROCESSID_THREADID)?;
        Some((number(self.big, value, 0)?, number(self.big, value, 4)?))
    }

    /// Whether a packet came in (`true`) or went out, where the file says so.
    pub fn inbound(&self) -> Option<bool> {
        let (_, value) = self.into_iter().find(|(code, _)| *code == option::EPB_FLAGS)?;
        match number(self.big, value, 0)? & 3 {
            1 => Some(true),
            2 => Some(false),
            _ => None,
        }
    }

    /// The comments.
    pub fn comments(&self) -> impl Iterator<Item = &'a [u8]> {
        self.into_iter().filter(|(code, _)| *code == option::COMMENT).map(|(_, text)| text)
    }
}

impl<'a> IntoIterator for Options<'a> {
    type Item = (u16, &'a [u8]);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        Iter(self)
    }
}

/// Options one after the other.
#[derive(Clone, Debug)]
pub struct Iter<'a>(Options<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let Options { big, rest } = self.0;
        let (code, len) = (short(big, rest, 0)?, usize::from(short(big, rest, 2)?));
        let value = rest.get(4..4 + len).filter(|_| code != option::END);
        let next = (4 + len).next_multiple_of(4);
        self.0.rest = match value {
            Some(_) => rest.get(next..).unwrap_or_default(),
            None => &[],
        };
        Some((code, value?))
    }
}
