//! pcap: a header of 24 bytes, then records of 16 bytes and a packet each.

use super::{Fault, Interface, MAX_BLOCK, Options, Record, Scale, Step, number};

/// Length of the file's header.
pub const HEADER_LEN: usize = 24;

/// Length of a record's header.
const RECORD_LEN: usize = 16;

/// What stands first, in the file's byte order: time stamps in microseconds, in
/// nanoseconds, and the variant of old Linux distributions with longer record headers.
const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;
const VARIANT: u32 = 0xa1b2_cd34;

/// Bits of the link type that are its number; the others tell about frame check sequences.
const LINK_BITS: u32 = 0xffff;

/// The file's header: its byte order, the one interface, and how long it is.
pub fn header(bytes: &[u8]) -> Result<Option<(bool, Interface, usize)>, Fault> {
    let Some(scale) = [false, true].map(|big| scale(big, bytes)).into_iter().flatten().next()
    else {
        return Err(Fault::Foreign);
    };
    let (big, scale) = scale?;
    let (Some(snap_len), Some(link)) = (number(big, bytes, 16), number(big, bytes, 20)) else {
        return Ok(None);
    };
    let link = (link & LINK_BITS) as u16;
    Ok(Some((big, Interface { link, name: None, snap_len, scale }, HEADER_LEN)))
}

/// What a time stamp counts, if this is the byte order.
fn scale(big: bool, bytes: &[u8]) -> Option<Result<(bool, Scale), Fault>> {
    match number(big, bytes, 0)? {
        MICROSECONDS => Some(Ok((big, Scale::MICROSECONDS))),
        NANOSECONDS => Some(Ok((big, Scale::NANOSECONDS))),
        VARIANT => Some(Err(Fault::Variant)),
        _ => None,
    }
}

/// The next record.
pub fn record<'a>(big: bool, interfaces: &[Interface], bytes: &'a [u8]) -> Result<Step<'a>, Fault> {
    let field = |at| number(big, bytes, at);
    let (Some(seconds), Some(fraction), Some(kept), Some(len)) =
        (field(0), field(4), field(8), field(12))
    else {
        return Ok(Step::More(RECORD_LEN));
    };
    let kept = kept as usize;
    if kept > MAX_BLOCK {
        return Err(Fault::Length);
    }
    let Some(packet) = bytes.get(RECORD_LEN..RECORD_LEN + kept) else {
        return Ok(Step::More(RECORD_LEN + kept));
    };
    let Some(interface) = interfaces.first() else { return Err(Fault::Interface) };
    let record = Record {
        time: Some(interface.scale.of_seconds(seconds, fraction)),
        interface: 0,
        link: interface.link,
        bytes: packet,
        len,
        options: Options::NONE,
    };
    Ok(Step::Record(record, RECORD_LEN + kept))
}
