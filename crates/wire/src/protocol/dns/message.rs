//! The parts of a message: header, questions, records (RFC 1035 section 4.1).

use super::name::{self, Name};
use crate::Fault;
use crate::bytes::{be16, be32};
use std::ops::Range;

/// Why reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The bytes end here.
    Short,
    /// No message says this.
    Bad(Fault),
}

/// Length of the header.
pub(crate) const HEADER_LEN: usize = 12;

/// Length of the shortest record: the root's, without data.
pub(crate) const SHORTEST_RECORD: usize = 11;

/// RFC 1035 section 4.1.1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub(crate) id: u16,
    flags: u16,
    pub(crate) questions: u16,
    pub(crate) answers: u16,
    pub(crate) authorities: u16,
    pub(crate) additional: u16,
}

impl Header {
    pub(crate) fn read(message: &[u8]) -> Option<Header> {
        Some(Header {
            id: be16(message, 0)?,
            flags: be16(message, 2)?,
            questions: be16(message, 4)?,
            answers: be16(message, 6)?,
            authorities: be16(message, 8)?,
            additional: be16(message, 10)?,
        })
    }

    pub(crate) fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(crate) fn opcode(&self) -> u8 {
        (self.flags >> 11 & 0xf) as u8
    }

    pub(crate) fn recursion_desired(&self) -> bool {
        self.flags & 0x0100 != 0
    }

    /// The bit that must be zero in queries (RFC 1035, RFC 4035 section 3.1.6).
    pub(crate) fn reserved(&self) -> bool {
        self.flags & 0x0040 != 0
    }

    pub(crate) fn rcode(&self) -> u16 {
        self.flags & 0xf
    }

    /// How many records follow the questions.
    pub(crate) fn records(&self) -> usize {
        usize::from(self.answers) + usize::from(self.authorities) + usize::from(self.additional)
    }
}

/// RFC 1035 section 4.1.2; the zone of an update is the same (RFC 2136 section 2.3).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) name: Name<'a>,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) end: usize,
}

impl<'a> Question<'a> {
    pub(crate) fn read(message: &'a [u8], at: usize) -> Result<Question<'a>, Stop> {
        let name = Name::read(message, at)?;
        let fixed = be32(message, name.end).ok_or(Stop::Short)?;
        let (kind, class) = ((fixed >> 16) as u16, fixed as u16);
        Ok(Question { name, kind, class, end: name.end + 4 })
    }
}

/// RFC 1035 section 4.1.3.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// Where the name begins of what the record is about.
    pub(crate) owner: usize,
    pub(crate) kind: u16,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where its data is, perhaps beyond the bytes.
    pub(crate) data: Range<usize>,
}

impl Record {
    /// Reads a record up to its data.
    pub(crate) fn read(message: &[u8], at: usize) -> Result<Record, Stop> {
        let fixed = name::skip(message, at)?;
        let number = |offset| be16(message, fixed + offset).ok_or(Stop::Short);
        let data = fixed + 10;
        let len = usize::from(number(8)?);
        Ok(Record {
            owner: at,
            kind: number(0)?,
            class: number(2)?,
            ttl: be32(message, fixed + 4).ok_or(Stop::Short)?,
            data: data..data + len,
        })
    }
}
