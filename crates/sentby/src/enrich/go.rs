//! What an executable that Go built says about itself: which Go, which program, of which
//! module. Read like Go's own debug/buildinfo does, but from hostile files: bytes in,
//! values out, every read within limits.
//!
//! Deliberately absent: dependencies and settings of the build, which can be long and
//! are there for `go version -m`.

mod buildinfo;
mod elf;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub use tests::executable;

use elf::Image;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// What Go's linker wrote into an executable. Bytes are as whoever built it chose them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoBuild {
    /// The version of Go, e.g. `go1.22.3`.
    pub version: Vec<u8>,
    /// Path of the main package.
    pub path: Option<Vec<u8>>,
    /// Path of the module it is in.
    pub module: Option<Vec<u8>>,
    /// That module's version; `(devel)` where it was built from a working tree.
    pub module_version: Option<Vec<u8>>,
}

/// What was found in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Go built it.
    Go(GoBuild),
    /// Something else did.
    Other,
    /// Nobody knows: a limit came before the answer.
    Limited,
}

/// A file that can be read anywhere.
pub trait ReadAt {
    /// Reads at an offset; how many bytes there were.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
}

impl ReadAt for File {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while len < into.len() {
            match FileExt::read_at(self, &mut into[len..], offset.saturating_add(len as u64)) {
                Ok(0) => break,
                Ok(n) => len += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(len)
    }
}

/// Looks into an executable.
pub fn look(file: &dyn ReadAt) -> Found {
    let Some(image) = Image::open(file) else { return Found::Other };
    match image.find(buildinfo::MAGIC) {
        elf::Search::At(address) => {
            buildinfo::read(&image, address).map_or(Found::Other, Found::Go)
        }
        elf::Search::Nowhere => Found::Other,
        elf::Search::Limited => Found::Limited,
    }
}
