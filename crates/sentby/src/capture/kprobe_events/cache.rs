//! The layout of this kernel, found once for each build of it.
//!
//! It is kept where only root can write. That it is this kernel's is not believed but
//! tried, like one that the user gives.

use super::calibrate::{self, Found};
use super::layout::{Layout, key};
use super::tracefs::Tracefs;
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where layouts are kept: gone after a boot, as kernels change then.
const FOLDER: &str = "/run/sentby";

/// Most bytes of a layout that are read.
const LAYOUT_MAX: u64 = 64 << 10;

/// Most bytes of the kernel's notes.
const NOTES_MAX: u64 = 64 << 10;

/// The layout: the one given, or the one kept, or a new one.
pub fn layout(tracefs: &Tracefs, given: Option<&Path>) -> Result<Found> {
    if let Some(path) = given {
        let layout = read(path).with_context(|| format!("reading --offsets {}", path.display()))?;
        calibrate::verify(tracefs, &layout)
            .with_context(|| format!("--offsets {} is not for this kernel", path.display()))?;
        let told = layout.get(key::IOVEC).is_some();
        let no_sends = (!told).then(|| format!("{} does not tell where it is", path.display()));
        return Ok(Found { layout, no_sends });
    }
    let place = build_id().map(|id| Path::new(FOLDER).join(format!("{id}.offsets")));
    let kept = place.as_deref().filter(|p| is_private(p)).and_then(|p| read(p).ok());
    // One that does not tell all is looked for again, to say why.
    let kept = kept.filter(|layout| layout.get(key::IOVEC).is_some());
    if let Some(layout) = kept.filter(|layout| calibrate::verify(tracefs, layout).is_ok()) {
        return Ok(Found { layout, no_sends: None });
    }
    let found = calibrate::calibrate(tracefs)
        .context("finding this kernel's offsets (--offsets FILE tells them; nothing is guessed)")?;
    if let Some(place) = place {
        // Without it the next start takes a moment longer.
        let _ = keep(&place, &found.layout);
    }
    Ok(found)
}

fn read(path: &Path) -> Result<Layout> {
    let mut text = String::new();
    File::open(path)?.take(LAYOUT_MAX).read_to_string(&mut text)?;
    Layout::parse(&text)
}

/// Whether nobody but root could have written this file.
fn is_private(path: &Path) -> bool {
    let private = |path: &Path| {
        fs::symlink_metadata(path)
            .is_ok_and(|m| m.uid() == 0 && m.mode() & 0o022 == 0 && !m.file_type().is_symlink())
    };
    private(path) && path.parent().is_some_and(private)
}

fn keep(place: &Path, layout: &Layout) -> Result<()> {
    let folder = place.parent().unwrap_or(Path::new(FOLDER));
    DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let mut name = place.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
    let written = file.write_all(layout.text().as_bytes()).and_then(|()| fs::rename(&new, place));
    if written.is_err() {
        let _ = fs::remove_file(&new);
    }
    Ok(written?)
}

/// The build id of the running kernel, in hexadecimal.
fn build_id() -> Option<String> {
    let mut notes = Vec::new();
    File::open("/sys/kernel/notes").ok()?.take(NOTES_MAX).read_to_end(&mut notes).ok()?;
    let mut text = String::new();
    for byte in gnu_build_id(&notes)? {
        let _ = write!(text, "{byte:02x}");
    }
    Some(text)
}

/// The description of the note `GNU` of type 3 (elf(5), "Notes").
fn gnu_build_id(mut notes: &[u8]) -> Option<&[u8]> {
    const NT_GNU_BUILD_ID: u32 = 3;
    loop {
        let word = |at: usize| Some(u32::from_ne_bytes(*notes.get(at..)?.first_chunk()?));
        let (name_len, len, kind) = (word(0)? as usize, word(4)? as usize, word(8)?);
        let name = notes.get(12..)?.get(..name_len)?;
        let rest = notes.get(12 + name_len.next_multiple_of(4)..)?;
        let description = rest.get(..len)?;
        if kind == NT_GNU_BUILD_ID && name == b"GNU\0" && (4..=64).contains(&len) {
            return Some(description);
        }
        notes = rest.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(name: &[u8], kind: u32, description: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        for number in [name.len() as u32, description.len() as u32, kind] {
            note.extend_from_slice(&number.to_ne_bytes());
        }
        for part in [name, description] {
            note.extend_from_slice(part);
            note.resize(note.len().next_multiple_of(4), 0);
        }
        note
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let notes = [note(b"Xen\0", 6, b"linux"), note(b"GNU\0", 3, &[0xab; 20])].concat();
        assert_eq!(gnu_build_id(&notes), Some(&[0xab; 20][..]));
        for cut in 0..notes.len() {
            assert_eq!(gnu_build_id(&notes[..cut]), None, "{cut}");
        }
        assert_eq!(gnu_build_id(&note(b"Xen\0", 3, &[1; 20])), None);
        let endless = [u32::MAX.to_ne_bytes(), u32::MAX.to_ne_bytes(), [0; 4]].concat();
        assert_eq!(gnu_build_id(&endless), None);
    }
}
