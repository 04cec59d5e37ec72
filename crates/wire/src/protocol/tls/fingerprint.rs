//! JA3 (Althouse, Atkinson, Atkins; Salesforce 2017) and JA4 (FoxIO, "JA4: TLS Client
//! Fingerprinting", under BSD-3-Clause; the rest of the JA4+ family is not, and is
//! deliberately absent), written from their descriptions.

use super::hello::{Hello, extension};
use super::version;
use md5::{Digest, Md5};
use sha2::Sha256;
use std::fmt::Write;

/// JA3: numbers as they were sent, MD5, 32 hex digits.
pub(super) fn ja3(hello: &Hello<'_>) -> String {
    let mut text = hello.legacy_version.unwrap_or_default().to_string();
    let lists = [
        hello.suites.as_deref(),
        Some(&hello.extensions),
        hello.groups.as_deref(),
        hello.points.as_deref(),
    ];
    for list in lists {
        text.push(',');
        join(&mut text, list.unwrap_or_default(), "-", |text, number| {
            let _ = write!(text, "{number}"); // a String takes anything
        });
    }
    hex(&Md5::digest(text), 32)
}

/// JA4: `t13d1516h2_8daaf6152771_e5627efa2ab1`.
pub(super) fn ja4(hello: &Hello<'_>) -> String {
    let suites = hello.suites.as_deref().unwrap_or_default();
    let mut text = String::with_capacity(36);
    text.push(if hello.dtls { 'd' } else { 't' });
    text += version::ja4(hello);
    text.push(if hello.has(extension::SERVER_NAME) { 'd' } else { 'i' });
    let _ = write!(text, "{:02}{:02}", suites.len().min(99), hello.extensions.len().min(99));
    push_alpn(&mut text, hello.alpn.iter().flatten().next().copied().unwrap_or_default());

    let told_elsewhere = [extension::SERVER_NAME, extension::ALPN];
    let extensions = hello.extensions.iter().copied().filter(|e| !told_elsewhere.contains(e));
    text.push('_');
    text += &sorted_hash(suites.to_vec(), &[]);
    text.push('_');
    text += &sorted_hash(extensions.collect(), hello.signatures.as_deref().unwrap_or_default());
    text
}

/// The first and last character of the first protocol, or of its hex digits where
/// these are neither letters nor digits.
fn push_alpn(text: &mut String, name: &[u8]) {
    let (Some(first), Some(last)) = (name.first(), name.last()) else { return *text += "00" };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        text.extend([char::from(*first), char::from(*last)]);
    } else {
        let _ = write!(text, "{:x}{:x}", first >> 4, last & 0x0f);
    }
}

/// Twelve digits of the hash of a list, sorted, and one that is not.
fn sorted_hash(mut list: Vec<u16>, unsorted: &[u16]) -> String {
    if list.is_empty() {
        return "0".repeat(12);
    }
    list.sort_unstable();
    let mut text = String::with_capacity(5 * (list.len() + unsorted.len()));
    let digits = |text: &mut String, number| push_hex(text, number, 4);
    join(&mut text, &list, ",", digits);
    if !unsorted.is_empty() {
        text.push('_');
        join(&mut text, unsorted, ",", digits);
    }
    hex(&Sha256::digest(text), 12)
}

fn join(text: &mut String, list: &[u16], between: &str, write: impl Fn(&mut String, u16)) {
    for (at, number) in list.iter().enumerate() {
        *text += if at == 0 { "" } else { between };
        write(text, *number);
    }
}

/// The first hex digits of a hash.
fn hex(hash: &[u8], digits: usize) -> String {
    let mut text = String::with_capacity(2 * hash.len());
    for byte in hash {
        push_hex(&mut text, (*byte).into(), 2);
    }
    text.truncate(digits);
    text
}

/// Writes a number's last hex digits; several times as fast as `write!`, which was most
/// of the time that a hello took.
fn push_hex(text: &mut String, number: u16, digits: u32) {
    for digit in (0..digits).rev() {
        let digit = u32::from(number >> (4 * digit) & 0x0f);
        text.extend(char::from_digit(digit, 16));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alpn(name: &[u8]) -> String {
        let mut text = String::new();
        push_alpn(&mut text, name);
        text
    }

    /// The examples of JA4's description.
    #[test]
    fn ja4_shortens_protocols_as_described() {
        let examples: [(&[u8], &str); 9] = [
            (b"h2", "h2"),
            (b"http/1.1", "h1"),
            (b"", "00"),
            (b"x", "xx"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
            (b"\x30\x31\xab\xcd", "3d"),
            (b"\x30\xab\xcd\x31", "01"),
        ];
        for (name, expected) in examples {
            assert_eq!(alpn(name), expected, "{}", name.escape_ascii());
        }
    }

    /// The example of JA4's description.
    #[test]
    fn ja4_hashes_as_described() {
        let hello = Hello {
            suites: Some(vec![
                0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ]),
            extensions: vec![
                0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
                0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015,
            ],
            signatures: Some(vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]),
            versions: Some(vec![0x0304, 0x0303]),
            alpn: Some(vec![b"h2", b"http/1.1"]),
            ..Hello::default()
        };
        assert_eq!(ja4(&hello), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        let unsigned = Hello { signatures: None, ..hello };
        assert_eq!(ja4(&unsigned), "t13d1516h2_8daaf6152771_6d807ffa2a79");
    }

    #[test]
    fn ja4_marks_what_is_empty() {
        assert_eq!(ja4(&Hello::default()), "t00i000000_000000000000_000000000000");
        let crowded = Hello {
            dtls: true,
            legacy_version: Some(0xfeff),
            suites: Some(vec![1; 100]),
            extensions: vec![extension::SERVER_NAME, extension::ALPN],
            signatures: Some(vec![0x0403]),
            ..Hello::default()
        };
        assert!(ja4(&crowded).starts_with("dd1d990200_"), "{}", ja4(&crowded));
        assert!(ja4(&crowded).ends_with("_000000000000"), "{}", ja4(&crowded));
    }

    /// The examples of JA3's description.
    #[test]
    fn ja3_hashes_as_described() {
        let hello = Hello {
            legacy_version: Some(769),
            suites: Some(vec![47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4]),
            extensions: vec![0, 10, 11],
            groups: Some(vec![23, 24, 25]),
            points: Some(vec![0]),
            ..Hello::default()
        };
        assert_eq!(ja3(&hello), "ada70206e40642a3e4461f35503241d5");
        let bare = Hello {
            legacy_version: Some(769),
            suites: Some(vec![4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99]),
            ..Hello::default()
        };
        assert_eq!(ja3(&bare), "de350869b8c85de67a350c8d186f11e6");
    }
}
