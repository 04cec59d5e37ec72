//! What a ClientHello says (RFC 8446 section 4.1.2; RFC 5246 section 7.4.1.2; with a
//! cookie in DTLS, RFC 6347 section 4.2.1).

use super::super::Fault;
use crate::bytes::be16;

/// Numbers of extensions (IANA "TLS ExtensionType Values").
pub(super) mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const GROUPS: u16 = 10;
    pub const POINT_FORMATS: u16 = 11;
    pub const SIGNATURES: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const SESSION_TICKET: u16 = 35;
    pub const PRE_SHARED_KEY: u16 = 41;
    pub const EARLY_DATA: u16 = 42;
    pub const VERSIONS: u16 = 43;
    pub const COOKIE: u16 = 44;
    pub const ECH: u16 = 0xfe0d;
}

/// Most application protocols that are told; clients offer one to three.
const MAX_ALPN: usize = 32;

/// A ClientHello as far as it could be read. Lists are without GREASE values
/// (RFC 8701), in the order in which they were sent; of what comes twice, the first.
#[derive(Debug, Default)]
pub(super) struct Hello<'b> {
    pub dtls: bool,
    pub legacy_version: Option<u16>,
    pub session_id_len: Option<u8>,
    pub suites: Option<Vec<u16>>,
    /// The kinds of the extensions that are there as a whole.
    pub extensions: Vec<u16>,
    pub sni: Option<&'b [u8]>,
    pub alpn: Option<Vec<&'b [u8]>>,
    pub versions: Option<Vec<u16>>,
    pub groups: Option<Vec<u16>>,
    pub points: Option<Vec<u16>>,
    pub signatures: Option<Vec<u16>>,
    /// It offers a ticket of an earlier session.
    pub ticket: bool,
    /// It brings back a cookie that a server sent.
    pub cookie: bool,
    /// There were GREASE values.
    pub grease: bool,
    pub faults: Vec<Fault>,
    /// Which of the kinds below 64 there were, one bit each: all that is told is there.
    pub seen: u64,
}

impl<'b> Hello<'b> {
    /// Reads a hello's body; `short` is why it is not all there, if so.
    pub fn read(body: &'b [u8], short: Option<Fault>, dtls: bool) -> Hello<'b> {
        let mut hello = Hello { dtls, ..Hello::default() };
        let mut reader = Reader(body);
        let read = hello.head(&mut reader).and_then(|()| hello.tail(&mut reader));
        let trailing = !reader.0.is_empty();
        match (read, short) {
            (_, Some(short)) => hello.fault(short),
            (Some(()), None) if !trailing => {}
            (_, None) => hello.fault(Fault::BadLength),
        }
        hello
    }

    /// All of it could be read, and nothing in it was wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether it has an extension.
    pub fn has(&self, extension: u16) -> bool {
        self.extensions.contains(&extension)
    }

    /// Reads what comes before the extensions.
    fn head(&mut self, reader: &mut Reader<'b>) -> Option<()> {
        self.legacy_version = Some(be16(reader.take(2)?, 0)?);
        reader.take(32)?; // random
        self.session_id_len = u8::try_from(reader.short_vector()?.len()).ok();
        if self.dtls {
            self.cookie = !reader.short_vector()?.is_empty();
        }
        let suites = reader.vector()?;
        self.suites = Some(self.numbers(suites)?);
        reader.short_vector()?; // compression methods
        Some(())
    }

    /// Reads the extensions. Old clients send none, not even an empty list.
    fn tail(&mut self, reader: &mut Reader<'b>) -> Option<()> {
        if reader.0.is_empty() {
            return Some(());
        }
        let len = usize::from(be16(reader.take(2)?, 0)?);
        let there = len.min(reader.0.len());
        let mut block = Reader(reader.take(there)?);
        while !block.0.is_empty() {
            let kind = be16(block.take(2)?, 0)?;
            let body = block.vector()?;
            self.extension(kind, body);
        }
        (there == len).then_some(())
    }

    fn extension(&mut self, kind: u16, body: &'b [u8]) {
        if is_grease(kind) {
            self.grease = true;
            return;
        }
        let bit = 1_u64.checked_shl(kind.into()).unwrap_or_default();
        if self.seen & bit != 0 {
            // RFC 8446 section 4.2: no kind twice.
            self.fault(Fault::BadValue);
        } else if self.content(kind, body).is_none() {
            self.fault(Fault::BadLength);
        }
        self.seen |= bit;
        self.extensions.push(kind);
    }

    /// Reads an extension's content where it is told; `None` where its lengths contradict
    /// each other.
    fn content(&mut self, kind: u16, body: &'b [u8]) -> Option<()> {
        match kind {
            extension::SERVER_NAME => self.sni = server_name(body)?,
            extension::ALPN => self.alpn = Some(self.protocols(body)?),
            extension::VERSIONS => self.versions = Some(self.numbers(Reader(body).short_only()?)?),
            extension::GROUPS => self.groups = Some(self.numbers(Reader(body).only()?)?),
            extension::SIGNATURES => self.signatures = Some(self.numbers(Reader(body).only()?)?),
            extension::POINT_FORMATS => {
                let formats = Reader(body).short_only()?;
                self.points = Some(formats.iter().map(|format| u16::from(*format)).collect());
            }
            extension::SESSION_TICKET => self.ticket |= !body.is_empty(),
            extension::PRE_SHARED_KEY => self.ticket = true,
            extension::COOKIE => self.cookie = true,
            _ => {}
        }
        Some(())
    }

    /// RFC 7301 section 3.1.
    fn protocols(&mut self, body: &'b [u8]) -> Option<Vec<&'b [u8]>> {
        let mut list = Reader(Reader(body).only()?);
        let mut names = Vec::new();
        while !list.0.is_empty() {
            let name = list.short_vector()?;
            if names.len() == MAX_ALPN {
                self.fault(Fault::BadValue);
                break;
            }
            names.push(name);
        }
        Some(names)
    }

    /// A list of 16-bit numbers without GREASE.
    fn numbers(&mut self, bytes: &[u8]) -> Option<Vec<u16>> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let all = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        let plain: Vec<u16> = all.filter(|number| !is_grease(*number)).collect();
        self.grease |= plain.len() < pairs.len();
        rest.is_empty().then_some(plain)
    }

    fn fault(&mut self, fault: Fault) {
        if !self.faults.contains(&fault) {
            self.faults.push(fault);
        }
    }
}

/// Whether a value is one of those that are sent only so that servers learn to ignore
/// what they do not know (RFC 8701 section 2).
fn is_grease(value: u16) -> bool {
    value & 0x0f0f == 0x0a0a && value >> 8 == value & 0xff
}

/// The host name in a server_name extension (RFC 6066 section 3), or `Some(None)` where
/// there are names of other types alone.
fn server_name(body: &[u8]) -> Option<Option<&[u8]>> {
    const HOST_NAME: u8 = 0;
    let mut list = Reader(Reader(body).only()?);
    while let Some(kind) = list.take(1) {
        let name = list.vector()?;
        if kind[0] == HOST_NAME {
            return Some(Some(name).filter(|name| !name.is_empty()));
        }
    }
    Some(None)
}

/// The bytes that are still to be read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// A vector with one byte of length (RFC 8446 section 3.4).
    fn short_vector(&mut self) -> Option<&'b [u8]> {
        let len = usize::from(*self.0.first()?);
        Some(&self.take(1 + len)?[1..])
    }

    /// A vector with two bytes of length.
    fn vector(&mut self) -> Option<&'b [u8]> {
        let len = usize::from(be16(self.0, 0)?);
        Some(&self.take(2 + len)?[2..])
    }

    /// A short vector after which nothing is left.
    fn short_only(mut self) -> Option<&'b [u8]> {
        self.short_vector().filter(|_| self.0.is_empty())
    }

    /// A vector after which nothing is left.
    fn only(mut self) -> Option<&'b [u8]> {
        self.vector().filter(|_| self.0.is_empty())
    }
}
