//! The blob that Go's linker leaves (src/cmd/link/internal/ld/data.go, `buildinfo`; read
//! by src/debug/buildinfo): a header of 32 bytes, and two strings.

use super::GoBuild;

/// What it begins with, at an address that is a multiple of [`ALIGN`].
pub const MAGIC: &[u8] = b"\xff Go buildinf:";

/// Alignment of the blob.
pub const ALIGN: usize = 16;

const HEADER_LEN: usize = 32;

/// Flags in the header's last byte but sixteen.
const BIG_ENDIAN: u8 = 1;
/// The strings follow the header (since go1.18); else it has pointers to their headers.
const INLINE: u8 = 2;

/// Longest version that is taken for one: a development version names a commit, a date
/// and experiments.
const MAX_VERSION: usize = 256;

/// As much of the module's description as is read. What is wanted comes first; paths have
/// no limit in Go, but must fit here.
const MAX_DESCRIPTION: usize = 4096;

/// What frames the module's description on either side (src/cmd/go/internal/modload).
const FRAME_LEN: usize = 16;

/// Longest number of Go's encoding/binary.
const MAX_VARINT: usize = 10;

/// The memory that a file becomes.
pub trait Memory {
    /// At most `len` bytes at an address: fewer where its segment ends, none outside.
    fn read(&self, address: u64, len: usize) -> Vec<u8>;
}

/// A string in memory.
struct Text {
    address: u64,
    len: u64,
}

impl Text {
    /// Its beginning.
    fn read(&self, memory: &dyn Memory, most: usize) -> Vec<u8> {
        memory.read(self.address, usize::try_from(self.len).map_or(most, |len| len.min(most)))
    }

    fn end(&self) -> Option<u64> {
        self.address.checked_add(self.len)
    }
}

/// Reads the blob at an address; `None` if it is none.
pub fn read(memory: &dyn Memory, address: u64) -> Option<GoBuild> {
    let header = memory.read(address, HEADER_LEN);
    if header.len() < HEADER_LEN || !header.starts_with(MAGIC) {
        return None;
    }
    let (pointer_len, flags) = (header[MAGIC.len()], header[MAGIC.len() + 1]);
    let (version, description) = if flags & INLINE != 0 {
        let version = inline(memory, address.checked_add(HEADER_LEN as u64)?)?;
        let description = version.end().and_then(|end| inline(memory, end));
        (version, description)
    } else {
        let pointers = Pointers { len: usize::from(pointer_len), big: flags & BIG_ENDIAN != 0 };
        let slots = &header[MAGIC.len() + 2..];
        let text = |nth| pointers.text(memory, pointers.get(slots, nth)?);
        (text(0)?, text(1))
    };
    if version.len == 0 || version.len > MAX_VERSION as u64 {
        return None;
    }
    let text = version.read(memory, MAX_VERSION);
    if text.len() as u64 != version.len {
        return None;
    }
    let mut build = GoBuild { version: text, ..GoBuild::default() };
    if let Some(lines) = description.and_then(|text| unframed(memory, &text)) {
        describe(&lines, &mut build);
    }
    Some(build)
}

/// A string that follows its length.
fn inline(memory: &dyn Memory, address: u64) -> Option<Text> {
    let bytes = memory.read(address, MAX_VARINT);
    let mut len = 0_u64;
    for (at, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shifted = bits.checked_shl(7 * at as u32).filter(|s| s >> (7 * at) == bits)?;
        len |= shifted;
        if byte & 0x80 == 0 {
            return Some(Text { address: address.checked_add(at as u64 + 1)?, len });
        }
    }
    None
}

/// How addresses are stored.
struct Pointers {
    len: usize,
    big: bool,
}

impl Pointers {
    /// The nth address of several.
    fn get(&self, bytes: &[u8], nth: usize) -> Option<u64> {
        if self.len != 4 && self.len != 8 {
            return None;
        }
        let bytes = bytes.get(nth * self.len..(nth + 1) * self.len)?;
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        Some(if self.big { bytes.iter().fold(0, add) } else { bytes.iter().rev().fold(0, add) })
    }

    /// The string whose header, address and length, is at an address.
    fn text(&self, memory: &dyn Memory, header: u64) -> Option<Text> {
        let header = memory.read(header, 2 * self.len);
        Some(Text { address: self.get(&header, 0)?, len: self.get(&header, 1)? })
    }
}

/// The beginning of the module's description, without what frames it; only whole lines.
fn unframed(memory: &dyn Memory, text: &Text) -> Option<Vec<u8>> {
    let inner = text.len.checked_sub(2 * FRAME_LEN as u64).filter(|len| *len > 0)?;
    let inner = Text { address: text.address.checked_add(FRAME_LEN as u64)?, len: inner };
    // It ends with a line's end, and the string is all there.
    let last = memory.read(inner.end()?.checked_sub(1)?, 1 + FRAME_LEN);
    if last.len() != 1 + FRAME_LEN || last[0] != b'\n' {
        return None;
    }
    let mut lines = inner.read(memory, MAX_DESCRIPTION);
    lines.truncate(lines.iter().rposition(|b| *b == b'\n')?);
    Some(lines)
}

/// `path`, a tab and the main package; `mod`, its module, that one's version and sum
/// (src/runtime/debug/mod.go). Where a module is replaced, the line after says by what;
/// the name is the one that was asked for.
fn describe(lines: &[u8], build: &mut GoBuild) {
    for line in lines.split(|b| *b == b'\n') {
        let mut cells = line.split(|b| *b == b'\t');
        let kind = cells.next();
        let mut cell = || cells.next().filter(|c| !c.is_empty()).map(<[u8]>::to_vec);
        match kind {
            Some(b"path") if build.path.is_none() => build.path = cell(),
            Some(b"mod") if build.module.is_none() => {
                build.module = cell();
                build.module_version = cell();
            }
            Some(b"dep" | b"build") => break,
            _ => {}
        }
    }
}
