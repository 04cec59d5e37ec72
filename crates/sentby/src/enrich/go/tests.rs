//! Executables made by hand: both formats of the blob, both widths, both orders of bytes,
//! and whatever may be wrong with them. Real ones are built in the end-to-end tests.

use super::*;
use std::cell::Cell;

const DESCRIPTION: &str = "path\texample.com/tool/cmd/x\nmod\texample.com/tool\tv1.2.3\th1:abc=\n\
                           dep\texample.com/other\tv0.1.0\th1:def=\nbuild\t-compiler=gc\n";

/// Where the segment for data is mapped, and where in the file it stands.
const DATA: u64 = 0x50_0000;
const OFFSET: usize = 0x200;

/// How an executable is made.
#[derive(Clone, Copy, Debug)]
struct Shape {
    wide: bool,
    big: bool,
    section: bool,
}

impl Shape {
    fn all() -> impl Iterator<Item = Shape> {
        let is = |n: u8, bit: u8| n & bit != 0;
        (0..8).map(move |n| Shape { wide: is(n, 1), big: is(n, 2), section: is(n, 4) })
    }

    fn number(self, len: usize, number: u64) -> Vec<u8> {
        let mut bytes = number.to_le_bytes()[..len].to_vec();
        if self.big {
            bytes.reverse();
        }
        bytes
    }

    /// A number as wide as an address.
    fn word(self, number: u64) -> Vec<u8> {
        self.number(if self.wide { 8 } else { 4 }, number)
    }

    /// A file whose segment for data has these bytes, and whose section, if it has one,
    /// begins `at` bytes after that.
    fn file(self, data: &[u8], at: u64) -> Vec<u8> {
        let two = |n| self.number(2, n);
        let four = |n| self.number(4, n);
        let word = |n| self.word(n);
        let (header, program, section) = if self.wide { (64, 56, 64) } else { (52, 32, 40) };
        let names = b"\0.go.buildinfo\0.shstrtab\0";
        let names_at = (OFFSET + data.len()) as u64;
        let sections = names_at + names.len() as u64;
        let mut file = vec![0x7f, b'E', b'L', b'F'];
        file.extend([
            1 + u8::from(self.wide),
            1 + u8::from(self.big),
            1,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
            0,
        ]);
        file.extend([two(2), two(62), four(1), word(0), word(header)].concat());
        file.extend(word(if self.section { sections } else { 0 }));
        file.extend([four(0), two(header), two(program), two(2), two(section)].concat());
        file.extend(if self.section { [two(3), two(2)] } else { [two(0), two(0)] }.concat());
        for (flags, offset, address, len) in
            [(5, 0, 0x40_0000, 64), (6, OFFSET as u64, DATA, data.len() as u64)]
        {
            file.extend(four(1));
            file.extend(if self.wide { four(flags) } else { vec![] });
            file.extend(
                [word(offset), word(address), word(address), word(len), word(len)].concat(),
            );
            file.extend(if self.wide { vec![] } else { four(flags) });
            file.extend(word(16));
        }
        file.resize(OFFSET, 0);
        file.extend(data);
        file.extend(names);
        let row = |name, address, offset, len| {
            let head = [four(name), four(1), word(2), word(address), word(offset), word(len)];
            [head.concat(), four(0), four(0), word(1), word(0)].concat()
        };
        if self.section {
            file.extend(row(0, 0, 0, 0));
            file.extend(row(1, DATA + at, OFFSET as u64 + at, data.len() as u64 - at));
            file.extend(row(15, 0, names_at, names.len() as u64));
        }
        file
    }

    /// The blob as it is since go1.18.
    fn inline(self, version: &[u8], description: &[u8]) -> Vec<u8> {
        let mut blob = buildinfo::MAGIC.to_vec();
        blob.extend([8, 2]);
        blob.resize(32, 0);
        for text in [version, description] {
            let mut len = text.len();
            while len >= 0x80 {
                blob.push(len as u8 | 0x80);
                len >>= 7;
            }
            blob.push(len as u8);
            blob.extend(text);
        }
        blob
    }

    /// The blob as it was before, at the beginning of the segment.
    fn pointers(self, version: &[u8], description: &[u8]) -> Vec<u8> {
        let word = |n| self.word(n);
        let len = if self.wide { 8 } else { 4 };
        let (headers, texts) = (DATA + 32, DATA + 32 + 4 * len);
        let mut blob = buildinfo::MAGIC.to_vec();
        blob.extend([len as u8, u8::from(self.big)]);
        blob.extend([word(headers), word(headers + 2 * len)].concat());
        blob.resize(32, 0);
        blob.extend([word(texts), word(version.len() as u64)].concat());
        let next = texts + version.len() as u64;
        blob.extend([word(next), word(description.len() as u64)].concat());
        blob.extend(version);
        blob.extend(description);
        blob
    }
}

const WIDE: Shape = Shape { wide: true, big: false, section: true };
const STRIPPED: Shape = Shape { section: false, ..WIDE };

/// An executable that says which Go built it, for other tests.
pub fn executable(version: &str) -> Vec<u8> {
    WIDE.file(&WIDE.inline(version.as_bytes(), &framed(DESCRIPTION)), 0)
}

fn framed(description: &str) -> Vec<u8> {
    [b"0123456789abcdef", description.as_bytes(), b"fedcba9876543210"].concat()
}

fn built() -> Found {
    Found::Go(GoBuild {
        version: b"go1.22.3".to_vec(),
        path: Some(b"example.com/tool/cmd/x".to_vec()),
        module: Some(b"example.com/tool".to_vec()),
        module_version: Some(b"v1.2.3".to_vec()),
    })
}

/// A file in memory that counts what is read of it.
struct Counted<'a>(&'a [u8], Cell<usize>);

impl ReadAt for Counted<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.0.len());
        let len = into.len().min(self.0.len() - from);
        into[..len].copy_from_slice(&self.0[from..from + len]);
        self.1.set(self.1.get() + into.len());
        Ok(len)
    }
}

/// Looks into a file, and sees that it is not read without end.
fn look_at(file: &[u8]) -> Found {
    const MOST: usize = 5 << 20;
    let file = Counted(file, Cell::new(0));
    let found = look(&file);
    assert!(file.1.get() < MOST, "{} bytes were read", file.1.get());
    found
}

#[test]
fn both_formats_in_every_shape() {
    let description = framed(DESCRIPTION);
    for shape in Shape::all() {
        for blob in
            [shape.inline(b"go1.22.3", &description), shape.pointers(b"go1.22.3", &description)]
        {
            assert_eq!(look_at(&shape.file(&blob, 0)), built(), "{shape:?}");
        }
    }
}

#[test]
fn it_is_found_wherever_it_may_stand() {
    let blob = WIDE.inline(b"go1.22.3", &framed(DESCRIPTION));
    let behind = |before: usize| [vec![b'x'; before], blob.clone()].concat();
    for before in [16, 100 << 10, (64 << 10) - 16, 64 << 10] {
        assert_eq!(look_at(&STRIPPED.file(&behind(before), 0)), built(), "{before}");
        assert_eq!(look_at(&WIDE.file(&behind(before), before as u64)), built(), "{before}");
    }
    assert_eq!(look_at(&STRIPPED.file(&behind(8), 0)), Found::Other, "not aligned");
    assert_eq!(look_at(&STRIPPED.file(&behind(5 << 20), 0)), Found::Limited);
    assert_eq!(look_at(&WIDE.file(&behind(5 << 20), 5 << 20)), built(), "the section says where");
}

fn build(version: &[u8], description: &[u8]) -> Option<GoBuild> {
    match look_at(&WIDE.file(&WIDE.inline(version, description), 0)) {
        Found::Go(build) => Some(build),
        _ => None,
    }
}

#[test]
fn what_it_does_not_say_is_absent() {
    let says = |description: &str| build(b"go1.22.3", &framed(description)).unwrap();
    let bare = GoBuild { version: b"go1.22.3".to_vec(), ..GoBuild::default() };
    assert_eq!(build(b"go1.22.3", b""), Some(bare.clone()));
    assert_eq!(says("no line's end"), bare);
    assert_eq!(says("path\t\nmod\t\t\n"), bare);
    let only = says("path\tcommand-line-arguments\nbuild\t-compiler=gc\n");
    assert_eq!((only.path.as_deref(), only.module), (Some(&b"command-line-arguments"[..]), None));
    let devel = says("path\ta\nmod\tb\t(devel)\t\n");
    assert_eq!(devel.module_version.as_deref(), Some(&b"(devel)"[..]));
    let late = says("path\ta\ndep\tx\tv1\nmod\tb\tv1\n");
    assert_eq!(late.module, None, "what follows dependencies is not the program's own");
}

#[test]
fn long_texts_are_cut_where_nothing_is_lost() {
    let many = DESCRIPTION.to_owned() + &"dep\texample.com/x\tv1.0.0\th1:x=\n".repeat(10_000);
    assert_eq!(build(b"go1.22.3", &framed(&many)).map(Found::Go), Some(built()));
    let endless = format!("path\t{}\n", "a".repeat(5000));
    assert_eq!(build(b"go1.22.3", &framed(&endless)).unwrap().path, None);
    assert_eq!(build(&[b'v'; 256], b"").map(|b| b.version.len()), Some(256));
    assert_eq!((build(&[b'v'; 257], b""), build(b"", b"")), (None, None));
}

#[test]
fn lengths_beyond_everything_are_nothing() {
    let head = [buildinfo::MAGIC, &[8, 2], &[0; 16]].concat();
    for len in
        [&[0xff; 16][..], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[5], &[]]
    {
        let blob = [&head, len].concat();
        assert_eq!(look_at(&WIDE.file(&blob, 0)), Found::Other);
    }
    let cut = WIDE.pointers(b"go1.22.3", b"");
    assert_eq!(look_at(&WIDE.file(&cut[..cut.len() - 4], 0)), Found::Other, "beyond the segment");
    let mut far = WIDE.pointers(b"go1.22.3", &framed(DESCRIPTION));
    far[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(look_at(&WIDE.file(&far, 0)), Found::Other);
    let mut narrow = WIDE.pointers(b"go1.22.3", &framed(DESCRIPTION));
    narrow[14] = 3;
    assert_eq!(look_at(&WIDE.file(&narrow, 0)), Found::Other);
}

#[test]
fn other_files_are_other() {
    for file in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0x7f; 4096], buildinfo::MAGIC] {
        assert_eq!(look_at(file), Found::Other);
    }
    let this = File::open(std::env::current_exe().unwrap()).unwrap();
    assert_ne!(look(&this), built());
}

/// Neither a cut file nor a changed byte does harm, wherever.
#[test]
fn nothing_does_harm() {
    let mut seed = 0x9e37_79b9_u32;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 8) as usize % below
    };
    for shape in Shape::all() {
        for blob in [shape.inline(b"go1", &framed("a\n")), shape.pointers(b"go1", &framed("a\n"))] {
            let file = shape.file(&blob, 0);
            for len in 0..file.len() {
                look_at(&file[..len]);
            }
            for _ in 0..3000 {
                let mut file = file.clone();
                for _ in 0..=random(4) {
                    // What says something is in the tables and in the blob.
                    let at = [random(192), OFFSET + random(file.len() - OFFSET)][random(2)];
                    file[at] = [0, 1, 0x7f, 0x80, 0xff, random(256) as u8][random(6)];
                }
                look_at(&file);
            }
        }
    }
}
