//! The memory that an ELF file becomes, and where in it something may stand.

use super::ReadAt;
use super::buildinfo::{ALIGN, Memory};
use object::Endianness;
use object::elf::{FileHeader32, FileHeader64, PF_W, PF_X, PT_LOAD};
use object::pod::slice_from_bytes;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

/// Bytes of the longest file header.
const HEADER_LEN: usize = 64;

/// Most program headers that are read; executables have about a dozen.
const MAX_SEGMENTS: usize = 128;

/// Most section headers that are read; executables have some thirty, and thousands only
/// where every function has a section.
const MAX_SECTIONS: usize = 4096;

/// As much of the sections' names as is read.
const MAX_NAMES: usize = 64 << 10;

/// How far a segment is searched. Go's linker puts the blob first; a C linker, which
/// programs with C in them are linked by, somewhere.
const MAX_SEARCH: u64 = 4 << 20;

/// How much is searched at once: a multiple of [`ALIGN`].
const STEP: usize = 64 << 10;

/// The section that Go's linker puts the blob in.
const SECTION: &[u8] = b".go.buildinfo";

/// A part of the file that is mapped.
struct Segment {
    address: u64,
    offset: u64,
    /// As much of it as the file has.
    len: u64,
    writable: bool,
}

/// An executable.
pub struct Image<'f> {
    file: &'f dyn ReadAt,
    segments: Vec<Segment>,
    /// Address and length of the section, where there is one.
    section: Option<(u64, u64)>,
}

/// How a search ended.
pub enum Search {
    /// It is at this address.
    At(u64),
    /// It is not there.
    Nowhere,
    /// It was not found within the limit.
    Limited,
}

impl<'f> Image<'f> {
    /// Reads the tables of a file; `None` if it is no executable.
    pub fn open(file: &'f dyn ReadAt) -> Option<Image<'f>> {
        let head = bytes(file, 0, HEADER_LEN);
        // A 32-bit header is shorter, and no executable is shorter than the longer one.
        match head.get(4)? {
            1 => tables::<FileHeader32<Endianness>>(file, &head),
            2 => tables::<FileHeader64<Endianness>>(file, &head),
            _ => None,
        }
    }

    /// Looks for bytes at an aligned address: in the section, or where there is none, in
    /// the first segment for data, which is where Go's own tools look.
    pub fn find(&self, what: &[u8]) -> Search {
        let data = self.segments.iter().find(|s| s.writable).map(|s| (s.address, s.len));
        let Some((from, len)) = self.section.or(data) else { return Search::Nowhere };
        let Some(from) = from.checked_next_multiple_of(ALIGN as u64) else {
            return Search::Nowhere;
        };
        let searched = len.min(MAX_SEARCH);
        for at in (0..searched).step_by(STEP) {
            let Some(address) = from.checked_add(at) else { return Search::Nowhere };
            let step = (searched - at).min(STEP as u64);
            let bytes = self.read(address, step as usize);
            let mut places = bytes.chunks(ALIGN);
            if let Some(n) = places.position(|place| place.starts_with(what)) {
                return Search::At(address + (n * ALIGN) as u64);
            }
            if bytes.len() < step as usize {
                return Search::Nowhere;
            }
        }
        if searched < len { Search::Limited } else { Search::Nowhere }
    }
}

impl Memory for Image<'_> {
    fn read(&self, address: u64, len: usize) -> Vec<u8> {
        let within = |s: &&Segment| address.checked_sub(s.address).is_some_and(|at| at < s.len);
        let Some(segment) = self.segments.iter().find(within) else { return Vec::new() };
        let at = address - segment.address;
        let len = usize::try_from(segment.len - at).map_or(len, |rest| rest.min(len));
        segment.offset.checked_add(at).map_or_else(Vec::new, |at| bytes(self.file, at, len))
    }
}

/// Bytes of a file, as many of these as there are.
fn bytes(file: &dyn ReadAt, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let len = file.read_at(offset, &mut bytes).unwrap_or(0);
    bytes.truncate(len);
    bytes
}

/// A table of the file, as much of it as there is.
fn table<T: object::pod::Pod + Copy>(file: &dyn ReadAt, offset: u64, count: usize) -> Vec<T> {
    let size = size_of::<T>();
    let bytes = bytes(file, offset, count * size);
    let count = bytes.len() / size;
    slice_from_bytes::<T>(&bytes, count).map_or_else(|()| Vec::new(), |(table, _)| table.to_vec())
}

fn tables<'f, E: FileHeader<Endian = Endianness>>(
    file: &'f dyn ReadAt,
    head: &[u8],
) -> Option<Image<'f>>
where
    E::ProgramHeader: Copy,
    E::SectionHeader: Copy,
{
    let header = E::parse(head).ok()?;
    let endian = header.endian().ok()?;
    let mut segments = Vec::new();
    if usize::from(header.e_phentsize(endian)) == size_of::<E::ProgramHeader>() {
        let count = usize::from(header.e_phnum(endian)).min(MAX_SEGMENTS);
        let headers = table::<E::ProgramHeader>(file, header.e_phoff(endian).into(), count);
        let loaded = headers.iter().filter(|h| h.p_type(endian) == PT_LOAD);
        segments.extend(loaded.map(|h| Segment {
            address: h.p_vaddr(endian).into(),
            offset: h.p_offset(endian).into(),
            len: h.p_filesz(endian).into(),
            writable: h.p_flags(endian) & (PF_X | PF_W) == PF_W,
        }));
    }
    let section = section::<E>(file, header, endian);
    (!segments.is_empty()).then_some(Image { file, segments, section })
}

/// Address and length of the section.
fn section<E: FileHeader<Endian = Endianness>>(
    file: &dyn ReadAt,
    header: &E,
    endian: Endianness,
) -> Option<(u64, u64)>
where
    E::SectionHeader: Copy,
{
    if usize::from(header.e_shentsize(endian)) != size_of::<E::SectionHeader>() {
        return None;
    }
    let count = usize::from(header.e_shnum(endian)).min(MAX_SECTIONS);
    let headers = table::<E::SectionHeader>(file, header.e_shoff(endian).into(), count);
    let names = headers.get(usize::from(header.e_shstrndx(endian).0))?;
    let len = usize::try_from(names.sh_size(endian).into()).map_or(MAX_NAMES, |l| l.min(MAX_NAMES));
    let names = bytes(file, names.sh_offset(endian).into(), len);
    let named = |h: &&E::SectionHeader| {
        let name = names.get(h.sh_name(endian) as usize..).unwrap_or_default();
        name.strip_prefix(SECTION).is_some_and(|rest| rest.first() == Some(&0))
    };
    let found = headers.iter().find(named)?;
    Some((found.sh_addr(endian).into(), found.sh_size(endian).into()))
}
