//! pcapng: blocks, each with its kind and, before and behind it, its length.

use super::options::{Options, option};
use super::{Fault, Interface, MAX_BLOCK, MAX_NAME, Record, Scale, number, short};

/// Kinds of blocks: the beginning of a section, which reads the same in both byte orders.
pub const SECTION: u32 = 0x0a0d_0d0a;
/// An interface of the section.
pub const INTERFACE: u32 = 1;
/// A packet, as it was written before Enhanced Packet Blocks.
pub const OBSOLETE: u32 = 2;
/// A packet of the first interface, without a time.
pub const SIMPLE: u32 = 3;
/// A packet.
pub const ENHANCED: u32 = 6;

/// What tells the byte order of a section, as a little-endian reader sees it.
pub const LITTLE: u32 = 0x1a2b_3c4d;
const BIG: u32 = LITTLE.swap_bytes();

/// Bytes before a block's body, and behind it.
const BEFORE: usize = 8;
const BEHIND: usize = 4;

/// A whole block.
pub struct Block<'a> {
    /// What it is.
    pub kind: u32,
    /// In which byte order.
    pub big: bool,
    /// How long it is, all in all.
    pub len: usize,
    /// What stands between its lengths.
    body: &'a [u8],
}

/// What bytes begin with.
pub enum Framed<'a> {
    /// Less than a block: at least so many are needed.
    More(usize),
    /// A block.
    Block(Block<'a>),
}

/// Finds the block that the bytes begin with.
pub fn block(big: bool, bytes: &[u8]) -> Result<Framed<'_>, Fault> {
    let Some(kind) = number(big, bytes, 0) else { return Ok(Framed::More(BEFORE + BEHIND)) };
    let big = match kind {
        SECTION => match number(false, bytes, BEFORE) {
            None => return Ok(Framed::More(BEFORE + BEHIND)),
            Some(LITTLE) => false,
            Some(BIG) => true,
            Some(_) => return Err(Fault::Foreign),
        },
        _ => big,
    };
    let Some(len) = number(big, bytes, 4) else { return Ok(Framed::More(BEFORE + BEHIND)) };
    let len = len as usize;
    if !(BEFORE + BEHIND..=MAX_BLOCK).contains(&len) || !len.is_multiple_of(4) {
        return Err(Fault::Length);
    }
    let Some(whole) = bytes.get(..len) else { return Ok(Framed::More(len)) };
    if number(big, whole, len - BEHIND) != Some(len as u32) {
        return Err(Fault::Lengths);
    }
    Ok(Framed::Block(Block { kind, big, len, body: &whole[BEFORE..len - BEHIND] }))
}

/// Reads an Interface Description Block.
pub fn interface(block: &Block<'_>) -> Option<Interface> {
    let &Block { big, body, .. } = block;
    let mut interface = Interface {
        link: short(big, body, 0)?,
        name: None,
        snap_len: number(big, body, 4)?,
        scale: Scale::MICROSECONDS,
    };
    for (code, value) in Options::new(big, &body[8..]) {
        match code {
            option::IF_NAME => interface.name = Some(name(value)),
            option::IF_TSRESOL => {
                if let Some(resolution) = value.first() {
                    interface.scale = interface.scale.with_resolution(*resolution);
                }
            }
            option::IF_TSOFFSET => {
                if let Some(offset) = crate::bytes::array(value, 0) {
                    let offset =
                        if big { i64::from_be_bytes(offset) } else { i64::from_le_bytes(offset) };
                    interface.scale = interface.scale.with_offset(offset);
                }
            }
            _ => {}
        }
    }
    Some(interface)
}

fn name(text: &[u8]) -> [u8; 16] {
    let mut name = [0; 16];
    let text = text.split(|b| *b == 0).next().unwrap_or_default();
    let len = text.len().min(MAX_NAME);
    name[..len].copy_from_slice(&text[..len]);
    name
}

/// Reads the packet of a block.
pub fn record<'a>(block: &Block<'a>, interfaces: &[Interface]) -> Result<Record<'a>, Fault> {
    let &Block { big, body, .. } = block;
    let field = |at| number(big, body, at).ok_or(Fault::Inside);
    let (number, stamped, kept, len, at) = match block.kind {
        SIMPLE => {
            let len = field(0)?;
            let most = interfaces.first().map_or(0, |i| i.snap_len);
            let kept = if most == 0 { len } else { len.min(most) };
            // Room of the block's padding is no packet, and neither is what is not there.
            (0, false, kept.min(body.len().saturating_sub(4) as u32), len, 4)
        }
        ENHANCED => (field(0)?, true, field(12)?, field(16)?, 20),
        // Its interface has two bytes; the other two count drops.
        _ => (short(big, body, 0).ok_or(Fault::Inside)?.into(), true, field(12)?, field(16)?, 20),
    };
    let interface = interfaces.get(number as usize).ok_or(Fault::Interface)?;
    let end = at + kept as usize;
    let bytes = body.get(at..end).ok_or(Fault::Inside)?;
    let time = match stamped {
        true => Some(interface.scale.of(u64::from(field(4)?) << 32 | u64::from(field(8)?))),
        false => None,
    };
    let options = match stamped {
        true => Options::new(big, body.get(end.next_multiple_of(4)..).unwrap_or_default()),
        false => Options::NONE,
    };
    Ok(Record { time, interface: number, link: interface.link, bytes, len, options })
}
