//! Test vectors as data: see the head of `tests/vectors/packet.txt`.
#![allow(dead_code)] // no test file uses all of it

pub mod inputs;
pub mod invariants;

use std::fs;
use std::path::{Path, PathBuf};
use wire::Layer;

/// One stanza of a vector file.
#[derive(Debug, Default)]
pub struct Vector {
    pub name: String,
    pub layer: String,
    pub bytes: Vec<u8>,
    pub packet: String,
    pub fields: Option<String>,
    pub faults: String,
    pub kernel: String,
    pub text: String,
}

impl Vector {
    pub fn layer(&self) -> Layer {
        match self.layer.as_str() {
            "ip" => Layer::Ip,
            "ethernet" => Layer::Ethernet,
            other => panic!("{}: no layer {other}", self.name),
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            "name" => self.name = value.to_owned(),
            "layer" => self.layer = value.to_owned(),
            "from" => {}
            "hex" => self.bytes.extend(unhex(value)),
            "packet" => self.packet = value.to_owned(),
            "fields" => self.fields = Some(value.to_owned()),
            "faults" => self.faults = value.to_owned(),
            "kernel" => self.kernel = value.to_owned(),
            "text" => self.text = value.to_owned(),
            _ => panic!("{}: unknown key {key}", self.name),
        }
    }
}

/// Every vector of every file in `tests/vectors`.
pub fn vectors() -> Vec<Vector> {
    let files = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"));
    let vectors: Vec<_> = files.iter().flat_map(|file| read(file)).collect();
    assert!(!vectors.is_empty());
    vectors
}

/// The files of a directory, sorted by name.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a directory entry").path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Vec<Vector> {
    let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let stanzas = text.split("\n\n").map(stanza);
    stanzas.filter(|vector| !vector.name.is_empty()).collect()
}

fn stanza(text: &str) -> Vector {
    let mut vector = Vector::default();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (key, value) = line.split_once(':').unwrap_or_else(|| panic!("no key in: {line}"));
        vector.set(key, value.trim());
    }
    vector
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
