//! Reading a message: what it asks, and whether it is one at all.
//!
//! On the ports of DNS whatever looks like a header is told, with faults. Elsewhere
//! (and on streams, whose ports are not known here) a message has to fit from its
//! first byte to its last: millions of other datagrams begin like one by chance.

use super::edns::{self, Edns};
use super::message::{Header, Question, Record, SHORTEST_RECORD, Stop};
use super::name::Name;
use crate::Fault;

/// Highest bit of a class in multicast DNS: in questions, that a unicast response will
/// do (RFC 6762 section 5.4), in records, to forget older ones (section 10.2).
const MULTICAST_BIT: u16 = 0x8000;

/// What is known of a message before it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    /// The message, as far as it was captured.
    pub(super) bytes: &'a [u8],
    /// Its length as sent; `None` where that is not known.
    pub(super) whole: Option<usize>,
    /// On a port of DNS, where nothing else is expected.
    pub(super) expected: bool,
    /// On multicast DNS's port.
    pub(super) multicast: bool,
}

/// What a message is about: its first question, or the first record of a response
/// without questions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) name: Name<'a>,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) unicast_response: bool,
}

/// A message, as far as it could be read.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) header: Header,
    pub(super) subject: Option<Subject<'a>>,
    /// How many questions were read.
    pub(super) questions: u16,
    pub(super) edns: Option<Edns>,
    /// Why reading stopped before the end.
    pub(super) stopped: Option<Fault>,
}

impl Frame<'_> {
    fn is_cut(&self) -> bool {
        self.whole != Some(self.bytes.len())
    }

    /// Whether the message has room for so many bytes from an offset on.
    fn has_room(&self, at: usize, len: usize) -> bool {
        self.whole.is_none_or(|whole| at + len <= whole)
    }
}

impl<'a> Reading<'a> {
    /// Reads a message; `None` where it is none.
    pub(super) fn new(frame: &Frame<'a>) -> Option<Reading<'a>> {
        let header = Header::read(frame.bytes)?;
        let mut reading =
            Reading { header, subject: None, questions: 0, edns: None, stopped: None };
        reading.stopped = match reading.sections(frame) {
            Ok(()) => None,
            Err(Stop::Short) if frame.is_cut() => Some(Fault::Truncated),
            Err(Stop::Short) => Some(Fault::BadLength),
            Err(Stop::Bad(fault)) => Some(fault),
        };
        let fits = matches!(reading.stopped, None | Some(Fault::Truncated)) && plain(&header);
        (frame.expected || fits).then_some(reading)
    }

    /// Whether so much was read that it can be nothing else.
    pub(super) fn is_certain(&self) -> bool {
        let asked = self.has_all_questions() && self.subject.is_some();
        asked && (self.questions > 0 || self.stopped.is_none())
    }

    pub(super) fn has_all_questions(&self) -> bool {
        self.questions == self.header.questions
    }

    /// Reads to the end, which has to be the message's.
    fn sections(&mut self, frame: &Frame<'a>) -> Result<(), Stop> {
        let mut at = super::message::HEADER_LEN;
        for _ in 0..self.header.questions {
            at = self.question(frame, at)?;
        }
        let records = self.header.records();
        for index in 0..records {
            at = match self.record(frame, at, index) {
                // What was cut off cannot hold the rest.
                Err(Stop::Short) if !frame.has_room(at, (records - index) * SHORTEST_RECORD) => {
                    return Err(Stop::Bad(Fault::BadLength));
                }
                end => end?,
            };
        }
        let end = frame.whole.unwrap_or(frame.bytes.len());
        if at == end { Ok(()) } else { Err(Stop::Bad(Fault::BadLength)) }
    }

    fn question(&mut self, frame: &Frame<'a>, at: usize) -> Result<usize, Stop> {
        let Question { name, kind, class, end } = Question::read(frame.bytes, at)?;
        let bit = if frame.multicast { class & MULTICAST_BIT } else { 0 };
        let class = class & !bit;
        self.subject.get_or_insert(Subject { name, kind, class, unicast_response: bit != 0 });
        if kind == 0 || super::names::class(class).is_none() {
            return Err(Stop::Bad(Fault::BadValue));
        }
        self.questions += 1;
        Ok(end)
    }

    fn record(&mut self, frame: &Frame<'a>, at: usize, index: usize) -> Result<usize, Stop> {
        let record = Record::read(frame.bytes, at)?;
        if index == 0 && self.header.questions == 0 {
            let name = Name::read(frame.bytes, at)?;
            let bit = if frame.multicast { MULTICAST_BIT } else { 0 };
            let (kind, class) = (record.kind, record.class & !bit);
            self.subject = Some(Subject { name, kind, class, unicast_response: false });
        }
        if index >= usize::from(self.header.answers) + usize::from(self.header.authorities) {
            let edns = || edns::read(frame.bytes, &record);
            self.edns = self.edns.take().or_else(edns);
        }
        if !frame.has_room(record.data.end, 0) {
            return Err(Stop::Bad(Fault::BadLength));
        }
        if record.data.end > frame.bytes.len() { Err(Stop::Short) } else { Ok(record.data.end) }
    }
}

/// Whether a header is one that clients and servers send over unicast: a query has no
/// answers, and in its authority section at most what it has of a zone (RFC 1995
/// section 3).
fn plain(header: &Header) -> bool {
    let query = !header.is_response() && header.opcode() == 0;
    !header.reserved() && (!query || (header.answers == 0 && header.authorities <= 1))
}
