//! Bodies in chunks (RFC 9112 section 7.1).

use super::line::empty;

/// Not chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The length of a body in chunks, with its trailers; `None` where it goes on after the
/// bytes.
pub(super) fn len(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut at = 0;
    loop {
        let Some((size, after)) = size(bytes, at)? else { return Ok(None) };
        if size == 0 {
            return Ok(trailers(bytes, after));
        }
        let Some(end) = after.checked_add(size).filter(|end| *end < bytes.len()) else {
            return Ok(None);
        };
        match (empty(&bytes[end..]), &bytes[end..]) {
            (Some(len), _) => at = end + len,
            (None, [b'\r']) => return Ok(None),
            (None, _) => return Err(Malformed),
        }
    }
}

/// A chunk's size, and where its data begins. Extensions are skipped.
fn size(bytes: &[u8], at: usize) -> Result<Option<(usize, usize)>, Malformed> {
    let line = &bytes[at..];
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let Some(after) = line.get(digits) else {
        return if digits > 16 { Err(Malformed) } else { Ok(None) };
    };
    let number = std::str::from_utf8(&line[..digits]).ok();
    let number = number.and_then(|digits| usize::from_str_radix(digits, 16).ok());
    let (Some(number), b';' | b'\r' | b'\n' | b' ' | b'\t') = (number, after) else {
        return Err(Malformed);
    };
    let end = line.iter().position(|b| *b == b'\n');
    Ok(end.map(|end| (number, at + end + 1)))
}

/// Where the empty line ends that comes after the trailers.
fn trailers(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        let rest = &bytes[at..];
        if let Some(len) = empty(rest) {
            return Some(at + len);
        }
        at += rest.iter().position(|b| *b == b'\n')? + 1;
    }
}
