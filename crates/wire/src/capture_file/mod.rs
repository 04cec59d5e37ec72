//! Capture files, from bytes to packets: pcap (draft-ietf-opsawg-pcap) and pcapng
//! (draft-ietf-opsawg-pcapng), both byte orders.
//!
//! There is no IO: the caller reads, hands over what it has, and is told what stands
//! there or how much more is needed. So files, pipes and fuzzers run the same code.
//!
//! Deliberately absent: the Packet Block's drop counts, names and secrets in pcapng, the
//! variants of pcap with longer record headers, and compression.

mod options;
mod pcap;
mod pcapng;
mod time;
pub mod write;

pub use options::{Options, option};
pub use time::Scale;

use std::fmt;

/// Longest record or block, in bytes. A larger one has never been a packet; that is what
/// a file looks like whose lengths are garbage.
pub const MAX_BLOCK: usize = 16 << 20;

/// Most interfaces of one section.
pub const MAX_INTERFACES: usize = 16 * 1024;

/// Longest name of an interface, in bytes (Linux: IFNAMSIZ less the NUL).
pub const MAX_NAME: usize = 15;

/// Reads a capture file, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    format: Option<Format>,
    interfaces: Vec<Interface>,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    Pcap { big: bool },
    Pcapng { big: bool },
}

/// An interface that packets were captured at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// What packets begin with: a LINKTYPE number, see [`crate::link`].
    pub link: u16,
    /// Its name, NUL-padded, cut at [`MAX_NAME`].
    pub name: Option<[u8; 16]>,
    /// The most bytes that are kept of a packet; 0: all.
    pub snap_len: u32,
    /// What time stamps count.
    pub scale: Scale,
}

/// One packet in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When: nanoseconds since the Unix epoch. `None` where the file does not say.
    pub time: Option<u64>,
    /// The number of its interface, for [`Reader::interface`].
    pub interface: u32,
    /// What it begins with: a LINKTYPE number.
    pub link: u16,
    /// What was kept of it.
    pub bytes: &'a [u8],
    /// How long it was, from the link's header on.
    pub len: u32,
    /// What the file says beside it.
    pub options: Options<'a>,
}

/// What the given bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// Not even that can be told; at least so many bytes are needed, from the same place.
    More(usize),
    /// A packet; and how many of the bytes it takes.
    Record(Record<'a>, usize),
    /// Nothing to see: a header, a block of another kind.
    Other(usize),
    /// Something whose inside contradicts itself; what follows can still be read.
    Bad(Fault, usize),
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin like a capture file.
    Foreign,
    /// It begins like a compressed file: the name of the program that reads it.
    Compressed(&'static str),
    /// A variant of the format that is not read.
    Variant,
    /// A record or block is longer than [`MAX_BLOCK`], or shorter than its own header.
    Length,
    /// The two lengths of a block differ.
    Lengths,
    /// A packet is longer than the block it is in.
    Inside,
    /// A packet of an interface that the file does not describe.
    Interface,
    /// More than [`MAX_INTERFACES`].
    Interfaces,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Foreign => "it is neither pcap nor pcapng",
            Fault::Compressed(program) => {
                return write!(f, "it is compressed; `{program} FILE | sentby replay -` reads it");
            }
            Fault::Variant => "it is a variant of pcap that is not read",
            Fault::Length => "a length there cannot be true",
            Fault::Lengths => "the two lengths of a block differ",
            Fault::Inside => "a packet there is longer than its block",
            Fault::Interface => "a packet there names an interface that the file does not describe",
            Fault::Interfaces => "it describes more interfaces than any machine has",
        })
    }
}

impl std::error::Error for Fault {}

impl Reader {
    /// At the beginning of a file.
    pub fn new() -> Reader {
        Reader::default()
    }

    /// What the bytes begin with, which follow upon what was taken before. The error is
    /// final: nothing after it can be read.
    pub fn step<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Fault> {
        match self.format {
            Some(Format::Pcap { big }) => pcap::record(big, &self.interfaces, bytes),
            Some(Format::Pcapng { big }) => self.block(big, bytes),
            None => self.begin(bytes),
        }
    }

    /// An interface of the present section.
    pub fn interface(&self, number: u32) -> Option<&Interface> {
        self.interfaces.get(number as usize)
    }

    /// Whether the file's header was there.
    pub fn has_begun(&self) -> bool {
        self.format.is_some()
    }

    fn begin<'a>(&mut self, bytes: &'a [u8]) -> Result<Step<'a>, Fault> {
        let Some(magic) = bytes.first_chunk::<4>() else { return Ok(Step::More(4)) };
        match magic {
            [0x1f, 0x8b, ..] => return Err(Fault::Compressed("zcat")),
            [0x28, 0xb5, 0x2f, 0xfd] => return Err(Fault::Compressed("zstdcat")),
            [0xfd, b'7', b'z', b'X'] => return Err(Fault::Compressed("xzcat")),
            [0x04, 0x22, 0x4d, 0x18] => return Err(Fault::Compressed("lz4cat")),
            [0x0a, 0x0d, 0x0d, 0x0a] => return self.block(false, bytes),
            _ => {}
        }
        let Some((big, interface, used)) = pcap::header(bytes)? else {
            return Ok(Step::More(pcap::HEADER_LEN));
        };
        self.format = Some(Format::Pcap { big });
        self.interfaces = vec![interface];
        Ok(Step::Other(used))
    }

    fn block<'a>(&mut self, big: bool, bytes: &'a [u8]) -> Result<Step<'a>, Fault> {
        let block = match pcapng::block(big, bytes)? {
            pcapng::Framed::More(n) => return Ok(Step::More(n)),
            pcapng::Framed::Block(block) => block,
        };
        let used = block.len;
        Ok(match block.kind {
            pcapng::SECTION => {
                self.format = Some(Format::Pcapng { big: block.big });
                self.interfaces.clear();
                Step::Other(used)
            }
            pcapng::INTERFACE => match pcapng::interface(&block) {
                Some(_) if self.interfaces.len() >= MAX_INTERFACES => {
                    return Err(Fault::Interfaces);
                }
                Some(interface) => {
                    self.interfaces.push(interface);
                    Step::Other(used)
                }
                None => return Err(Fault::Length),
            },
            pcapng::ENHANCED | pcapng::OBSOLETE | pcapng::SIMPLE => {
                match pcapng::record(&block, &self.interfaces) {
                    Ok(record) => Step::Record(record, used),
                    Err(fault) => Step::Bad(fault, used),
                }
            }
            _ => Step::Other(used),
        })
    }
}

/// A number in the file's byte order.
fn number(big: bool, bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = crate::bytes::array(bytes, at)?;
    Some(if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
}

/// A short number in the file's byte order.
fn short(big: bool, bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = crate::bytes::array(bytes, at)?;
    Some(if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
}

#[cfg(test)]
mod tests;
