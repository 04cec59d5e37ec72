//! Domain names: labels, compression, and how they are written for people.

use super::message::Stop;
use crate::Fault;
use std::borrow::Cow;

/// Longest name as sent, its length bytes and the root's included (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 255;

/// Most pointers followed in one name: it has 127 labels at most, and nobody needs to
/// point twice for one.
const MAX_POINTERS: usize = 127;

/// Where the first name of a message can be: pointers into the header point at no name.
const HEADER_LEN: usize = 12;

/// A name in a message, known to be well-formed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    message: &'a [u8],
    at: usize,
    /// Where what follows the name begins.
    pub(crate) end: usize,
}

/// One step through a name.
enum Part<'a> {
    Label(&'a [u8]),
    Pointer(usize),
    Root,
}

/// Reads the part at an offset, and where the next one begins.
fn part(message: &[u8], at: usize) -> Result<(Part<'_>, usize), Stop> {
    let first = *message.get(at).ok_or(Stop::Short)?;
    match first >> 6 {
        0 if first == 0 => Ok((Part::Root, at + 1)),
        0 => {
            let end = at + 1 + usize::from(first);
            Ok((Part::Label(message.get(at + 1..end).ok_or(Stop::Short)?), end))
        }
        3 => {
            let second = *message.get(at + 1).ok_or(Stop::Short)?;
            Ok((Part::Pointer(usize::from(first & 0x3f) << 8 | usize::from(second)), at + 2))
        }
        // Reserved, and given up again (RFC 6891 section 5).
        _ => Err(Stop::Bad(Fault::BadValue)),
    }
}

impl<'a> Name<'a> {
    /// Reads and checks the name at an offset, through its pointers (RFC 1035 section
    /// 4.1.4). They must lead backwards, each before the place the last one led to, so
    /// that there is no loop.
    pub(crate) fn read(message: &'a [u8], at: usize) -> Result<Name<'a>, Stop> {
        let (mut from, mut place, mut end) = (at, at, None);
        let (mut len, mut pointers) = (1, 0); // the root's byte
        loop {
            let (part, next) = part(message, place)?;
            match part {
                Part::Root => return Ok(Name { message, at, end: end.unwrap_or(next) }),
                Part::Label(label) => {
                    len += 1 + label.len();
                    place = next;
                }
                Part::Pointer(to) => {
                    pointers += 1;
                    end = end.or(Some(next));
                    if to < HEADER_LEN || to >= from || pointers > MAX_POINTERS {
                        return Err(Stop::Bad(Fault::BadLength));
                    }
                    (from, place) = (to, to);
                }
            }
            if len > MAX_NAME {
                return Err(Stop::Bad(Fault::BadLength));
            }
        }
    }

    /// The labels, from the leaf towards the root, which is left out.
    pub(crate) fn labels(self) -> impl Iterator<Item = &'a [u8]> {
        let mut place = Some(self.at);
        std::iter::from_fn(move || {
            loop {
                match part(self.message, place?) {
                    Ok((Part::Label(label), next)) => {
                        place = Some(next);
                        return Some(label);
                    }
                    Ok((Part::Pointer(to), _)) => place = Some(to),
                    Ok((Part::Root, _)) | Err(_) => place = None,
                }
            }
        })
    }

    /// Whether two names are the same: case does not count (RFC 4343).
    pub(crate) fn is(self, other: Name<'_>) -> bool {
        self.labels().map(Ignore).eq(other.labels().map(Ignore))
    }

    /// The name for people and filters: labels apart by dots and none at the end, `.`
    /// for the root. What is no printable ASCII is `\DDD`, and dots and backslashes
    /// inside a label are escaped (RFC 1035 section 5.1), so that no two names look
    /// alike and none does harm. Case is kept.
    pub(crate) fn text(self) -> Cow<'a, [u8]> {
        let mut labels = self.labels();
        let Some(first) = labels.next() else { return Cow::Borrowed(b".") };
        let second = labels.next();
        if second.is_none() && first.iter().all(|byte| is_plain(*byte)) {
            return Cow::Borrowed(first);
        }
        const USUAL_LEN: usize = 64;
        let mut text = Vec::with_capacity(USUAL_LEN);
        escape(first, &mut text);
        for label in second.into_iter().chain(labels) {
            text.push(b'.');
            escape(label, &mut text);
        }
        Cow::Owned(text)
    }
}

/// A label that compares without regard to case.
struct Ignore<'a>(&'a [u8]);

impl PartialEq for Ignore<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(other.0)
    }
}

/// Where the name at an offset ends; what its pointer leads to is not looked at.
pub(crate) fn skip(message: &[u8], at: usize) -> Result<usize, Stop> {
    let mut place = at;
    while place - at < MAX_NAME {
        match part(message, place)? {
            (Part::Label(_), next) => place = next,
            (Part::Pointer(_) | Part::Root, next) => return Ok(next),
        }
    }
    Err(Stop::Bad(Fault::BadLength))
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'.' && byte != b'\\'
}

fn escape(label: &[u8], text: &mut Vec<u8>) {
    for &byte in label {
        match byte {
            _ if is_plain(byte) => text.push(byte),
            b'.' | b'\\' => text.extend([b'\\', byte]),
            _ => {
                let digit = |n: u8| b'0' + n % 10;
                text.extend([b'\\', digit(byte / 100), digit(byte / 10), digit(byte)]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message whose header is zeroes, then these bytes.
    fn message(bytes: &[u8]) -> Vec<u8> {
        [&[0; HEADER_LEN], bytes].concat()
    }

    fn text(bytes: &[u8], at: usize) -> Result<(String, usize), Stop> {
        let message = message(bytes);
        let name = Name::read(&message, HEADER_LEN + at)?;
        Ok((String::from_utf8(name.text().into_owned()).expect("ASCII"), name.end - HEADER_LEN))
    }

    #[test]
    fn names_are_written_so_that_none_looks_like_another() {
        for (bytes, want) in [
            (&b"\0"[..], "."),
            (b"\x09localhost\0", "localhost"),
            (b"\x03wWw\x07example\0", "wWw.example"),
            (b"\x03a.b\x01c\0", "a\\.b.c"),
            (b"\x02\\.\0", "\\\\\\."),
            (b"\x04\0\x1b\x7f\xff\0", "\\000\\027\\127\\255"),
            (b"\x03a b\x03\"_*\0", "a\\032b.\"_*"),
        ] {
            assert_eq!(text(bytes, 0), Ok((want.to_owned(), bytes.len())));
        }
    }

    #[test]
    fn pointers_lead_backwards() {
        let bytes = b"\x01a\0\x01b\xc0\x0c\x01c\xc0\x0f";
        assert_eq!(text(bytes, 3), Ok(("b.a".to_owned(), 7)));
        assert_eq!(text(bytes, 7), Ok(("c.b.a".to_owned(), 11)));
    }

    #[test]
    fn other_pointers_are_refused() {
        let bad = Err(Stop::Bad(Fault::BadLength));
        assert_eq!(text(b"\xc0\x0c", 0), bad, "to itself");
        assert_eq!(text(b"\x01a\xc0\x0c", 0), bad, "to the name's own beginning");
        assert_eq!(text(b"\xc0\x0e\x01a\0", 0), bad, "forwards");
        assert_eq!(text(b"\x01a\0\xc0\x0b", 3), bad, "into the header");
        // Two names that each point into the other.
        assert_eq!(text(b"\x01a\xc0\x10\x01b\xc0\x0c", 4), bad, "round");
    }

    #[test]
    fn chains_of_pointers_end() {
        let mut bytes = vec![1, b'a', 0];
        for link in 0..200_u16 {
            let to = HEADER_LEN as u16 + if link == 0 { 0 } else { 1 + 2 * link };
            bytes.extend((0xc000 | to).to_be_bytes());
        }
        assert_eq!(text(&bytes, 3).map(|(text, _)| text), Ok("a".to_owned()));
        let nth = |n: usize| 3 + 2 * (n - 1);
        assert!(text(&bytes, nth(MAX_POINTERS)).is_ok());
        assert_eq!(text(&bytes, nth(MAX_POINTERS + 1)), Err(Stop::Bad(Fault::BadLength)));
    }

    #[test]
    fn names_are_255_bytes_at_most() {
        let labels = |last: usize| {
            let mut bytes = [&[63][..], &[b'x'; 63]].concat().repeat(3);
            bytes.push(last as u8);
            bytes.extend(vec![b'y'; last]);
            bytes.push(0);
            bytes
        };
        assert_eq!(labels(61).len(), 255);
        assert!(text(&labels(61), 0).is_ok());
        assert_eq!(text(&labels(62), 0), Err(Stop::Bad(Fault::BadLength)));
        // The same by way of a pointer: 253 bytes, with two or one before them.
        let mut bytes = labels(59);
        let end = bytes.len();
        bytes.extend(b"\x01a\xc0\x0c\x02bb\xc0\x0c");
        assert!(text(&bytes, end).is_ok());
        assert_eq!(text(&bytes, end + 4), Err(Stop::Bad(Fault::BadLength)));
    }

    #[test]
    fn what_is_no_label_is_refused() {
        assert_eq!(text(b"\x40a", 0), Err(Stop::Bad(Fault::BadValue)));
        assert_eq!(text(b"\x01a\x80", 0), Err(Stop::Bad(Fault::BadValue)));
        for cut in [&b""[..], b"\x01", b"\x01a", b"\x02a\0", b"\x01a\xc0"] {
            assert_eq!(text(cut, 0), Err(Stop::Short), "{cut:?}");
        }
    }

    #[test]
    fn skipping_ends_where_reading_does() {
        let message = message(b"\x01a\0\x01b\xc0\x0c");
        assert_eq!(skip(&message, 12), Ok(15));
        assert_eq!(skip(&message, 15), Ok(19));
        assert_eq!(skip(&message[..18], 15), Err(Stop::Short));
        let endless = [0x01; 600];
        assert_eq!(skip(&endless, 0), Err(Stop::Bad(Fault::BadLength)));
    }

    #[test]
    fn case_does_not_count_where_labels_do() {
        let message = message(b"\x03wWw\x01a\0\x03Www\x01A\0\x05www.a\0\x03www\0");
        let name = |at: usize| Name::read(&message, 12 + at).expect("a name");
        assert!(name(0).is(name(7)));
        assert!(!name(0).is(name(14)));
        assert!(!name(0).is(name(21)));
    }
}
