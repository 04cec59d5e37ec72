//! Test vectors as data: see the head of `tests/vectors/packet.txt`.
#![allow(dead_code)] // no test file uses all of it

pub mod captures;
pub mod inputs;
pub mod invariants;

use std::fs;
use std::path::{Path, PathBuf};
use wire::{Ending, Layer, Next, Outcome, Progress, Protocol, Request, Stream, Switches};

/// Bytes as a decoder gets them.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    Packet(Layer, &'a [u8]),
    Stream(&'a [u8]),
}

/// One stanza of a vector file.
#[derive(Debug, Default)]
pub struct Vector {
    pub name: String,
    pub layer: String,
    pub bytes: Vec<u8>,
    pub packet: String,
    pub on: String,
    pub outcome: Option<Outcome>,
    pub next: String,
    pub fields: Option<String>,
    pub faults: String,
    pub kernel: String,
    pub text: String,
}

impl Vector {
    /// Other bytes in this vector's place.
    pub fn input_of<'a>(&self, bytes: &'a [u8]) -> Input<'a> {
        match self.layer.as_str() {
            "ip" => Input::Packet(Layer::Ip, bytes),
            "ethernet" => Input::Packet(Layer::Ethernet, bytes),
            "stream" => Input::Stream(bytes),
            other => panic!("{}: no layer {other}", self.name),
        }
    }

    /// The switches of a protocol that are on in this vector.
    pub fn switches(&self, protocol: &dyn Protocol) -> Switches {
        let wanted = |name| self.on.split_whitespace().any(|on| on == name);
        let on = protocol.switches().iter().enumerate().filter(|(_, s)| wanted(s.name));
        on.fold(Switches::OFF, |on, (at, _)| on.with(at))
    }

    /// Checks every invariant for other bytes in this vector's place.
    pub fn check(&self, bytes: &[u8]) {
        match self.input_of(bytes) {
            Input::Packet(layer, bytes) => invariants::check_bytes(layer, bytes),
            Input::Stream(bytes) => invariants::check_stream(bytes),
        }
    }

    /// What a protocol makes of the whole input, once nothing more can come.
    pub fn request(&self, protocol: &'static dyn Protocol) -> Option<(Request<'_>, Option<Next>)> {
        self.request_of(protocol, &self.bytes)
    }

    /// What it makes of other bytes in this vector's place.
    pub fn request_of<'a>(
        &self,
        protocol: &'static dyn Protocol,
        bytes: &'a [u8],
    ) -> Option<(Request<'a>, Option<Next>)> {
        let on = self.switches(protocol);
        match self.input_of(bytes) {
            Input::Packet(layer, bytes) => {
                let packet = wire::packet::parse(layer, bytes)?;
                let mut request = protocol.decode(&packet, on)?;
                if let Some(outcome) = &self.outcome {
                    protocol.conclude(&mut request, outcome);
                }
                Some((request, None))
            }
            Input::Stream(bytes) => {
                match protocol.decode_stream(&Stream { bytes, ended: true, on }) {
                    Progress::Done(request, next) => Some((request, Some(next))),
                    Progress::No => None,
                    Progress::More => panic!("{}: waits for the end, which came", self.name),
                }
            }
        }
    }

    fn set(&mut self, key: &str, value: &str) {
        match key {
            "name" => self.name = value.to_owned(),
            "layer" => self.layer = value.to_owned(),
            "from" => {}
            "hex" => self.bytes.extend(unhex(value)),
            "on" => self.on = value.to_owned(),
            "outcome" => self.outcome = Some(outcome(value)),
            "next" => self.next = value.to_owned(),
            "text-bytes" => self.bytes.extend(unescape(value)),
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

/// `established 1234000 1`: ending, nanoseconds, attempts.
fn outcome(text: &str) -> Outcome {
    let words: Vec<_> = text.split(' ').collect();
    let ending = Ending::ALL.into_iter().find(|ending| ending.name() == words[0]);
    Outcome {
        ending: Some(ending.unwrap_or_else(|| panic!("no ending {}", words[0]))),
        after: Some(words[1].parse().expect("nanoseconds")),
        attempts: words[2].parse().expect("attempts"),
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).expect("a hex digit") as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Text with `\r`, `\n`, `\t`, `\\` and `\xNN`.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let (byte, len) = match (first, after.first()) {
            (b'\\', Some(b'r')) => (b'\r', 2),
            (b'\\', Some(b'n')) => (b'\n', 2),
            (b'\\', Some(b't')) => (b'\t', 2),
            (b'\\', Some(b'\\')) => (b'\\', 2),
            (b'\\', Some(b'x')) => (unhex(std::str::from_utf8(&after[1..3]).expect("hex"))[0], 4),
            (other, _) => (*other, 1),
        };
        bytes.push(byte);
        rest = &rest[len..];
    }
    bytes
}
