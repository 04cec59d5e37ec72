//! The protocols that were asked for, with what was switched on, as one decoder.

use wire::{Interest, Next, Packet, Progress, Protocol, Request, Stream, Switches};

/// A protocol that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Which.
    pub protocol: &'static dyn Protocol,
    /// What was switched on.
    pub on: Switches,
}

/// What became of a stream's bytes.
#[derive(Debug)]
pub enum Found<'a> {
    /// No request begins here.
    Nothing,
    /// Perhaps one, when more has come.
    Wait,
    /// One, and where the next may begin.
    Request(Request<'a>, Next),
}

impl Asked {
    /// A protocol with nothing switched on.
    pub fn plain(protocol: &'static dyn Protocol) -> Asked {
        Asked { protocol, on: Switches::OFF }
    }

    /// What backends must deliver for it.
    pub fn interest(&self) -> Interest {
        self.protocol.interest(self.on)
    }
}

/// Decodes a packet by the first protocol that knows it.
pub fn decode<'a>(asked: &[Asked], packet: &Packet<'a>) -> Option<Request<'a>> {
    asked.iter().find_map(|a| a.protocol.decode(packet, a.on))
}

/// Decodes a stream from a place where a request may begin. While more may come, a
/// protocol that is sure goes before those that are not.
pub fn decode_stream<'a>(asked: &[Asked], bytes: &'a [u8], ended: bool) -> Found<'a> {
    let mut found = Found::Nothing;
    for a in asked {
        match a.protocol.decode_stream(&Stream { bytes, ended, on: a.on }) {
            Progress::No => {}
            Progress::More => found = Found::Wait,
            Progress::Done(request, next) => return Found::Request(request, next),
        }
    }
    found
}
