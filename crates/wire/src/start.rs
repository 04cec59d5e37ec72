//! How a request begins, so plainly that a kernel can tell by looking at a few bytes.
//!
//! A [`Start`] is a row of steps, each a set of bytes. It may fit what is no request
//! (the decoder decides), but fits every beginning of a request. A [`Table`] looks for
//! several at once.

mod table;

pub use table::{CLASSES, REJECT, Rule, STARTS, STATES, Table, TooMany};

/// A set of byte values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Bytes([u64; 4]);

impl Bytes {
    /// Every byte.
    pub const ANY: Bytes = Bytes([u64::MAX; 4]);

    /// The bytes of a string.
    pub const fn of(bytes: &[u8]) -> Bytes {
        let mut set = Bytes([0; 4]);
        let mut i = 0;
        while i < bytes.len() {
            set = set.and_range(bytes[i], bytes[i]);
            i += 1;
        }
        set
    }

    /// The bytes from one to another, both included.
    pub const fn range(first: u8, last: u8) -> Bytes {
        Bytes([0; 4]).and_range(first, last)
    }

    /// These bytes, and those of a range.
    #[must_use]
    pub const fn and_range(mut self, first: u8, last: u8) -> Bytes {
        let mut byte = first;
        while byte <= last {
            self.0[(byte >> 6) as usize] |= 1 << (byte & 63);
            if byte == u8::MAX {
                break;
            }
            byte += 1;
        }
        self
    }

    /// These bytes, and others.
    #[must_use]
    pub const fn and(mut self, other: Bytes) -> Bytes {
        let mut i = 0;
        while i < 4 {
            self.0[i] |= other.0[i];
            i += 1;
        }
        self
    }

    /// Whether the byte is in the set.
    pub const fn has(&self, byte: u8) -> bool {
        self.0[(byte >> 6) as usize] & (1 << (byte & 63)) != 0
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let members: Vec<u8> = (0..=u8::MAX).filter(|byte| self.has(*byte)).collect();
        write!(f, "[{}]", members.escape_ascii())
    }
}

/// One step of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// One byte of the set.
    One(Bytes),
    /// One byte of the set, or more.
    Some(Bytes),
    /// Takes no byte, comes last: the whole message is as long as a number in it says.
    Total {
        /// Where the number is, counted from the beginning of the message. Where it is
        /// not among the bytes that are there, the length is not known.
        at: u8,
        /// How many bytes it has, 1 to 3, the highest first.
        size: u8,
        /// How much longer than the number says the message is.
        add: u16,
    },
    /// Takes no byte, comes last: the whole message is there when what is sent at once
    /// ends with these bytes.
    Until([u8; 4]),
}

impl Step {
    /// The bytes that it takes; none of the steps that take no byte.
    pub const fn set(&self) -> Option<Bytes> {
        match self {
            Step::One(set) | Step::Some(set) => Some(*set),
            Step::Total { .. } | Step::Until(_) => None,
        }
    }
}

/// The beginning of a request: its steps in order. What follows them is not looked at.
pub type Start = &'static [Step];

/// How many bytes at least a start takes.
pub const fn least(start: Start) -> usize {
    let mut least = 0;
    let mut i = 0;
    while i < start.len() {
        if start[i].set().is_some() {
            least += 1;
        }
        i += 1;
    }
    least
}
