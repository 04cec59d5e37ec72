//! Addresses in DNS responses: what names a process's destinations go by.
//!
//! A response is only as true as its sender. Who uses this has to know that the
//! message answers a query of this machine (from the address and port the query went
//! to, with its id); what is checked here is that an address answers the question that
//! the message itself repeats, so that a record slipped in beside it names nothing.
//!
//! Deliberately absent: responses of multicast DNS, which have no question; the address
//! hints of SVCB and HTTPS records (RFC 9460 section 7.3); DNAME, whose responses carry
//! the CNAME that follows from it (RFC 6672 section 3.1).

use crate::bytes::array;
use crate::protocol::dns::message::{HEADER_LEN, Header, Question, Record};
use crate::protocol::dns::name::Name;
use std::borrow::Cow;
use std::net::IpAddr;

/// What events call the source of a name that a process's own query was answered with.
pub const SOURCE: &str = "dns";

/// What they call it where another process's was.
pub const SOURCE_OTHER: &str = "dns-other";

/// How many records of the answer section are looked at, and so how many addresses a
/// response can name; more than fit a datagram without EDNS (RFC 1035 section 4.2.1).
pub const MAX_RECORDS: usize = 64;

/// How many CNAMEs are followed; resolvers follow about as many.
pub const MAX_ALIASES: usize = 16;

const IN: u16 = 1;
const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const ANY: u16 = 255;

/// The addresses that a response gives for the name that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers<'a> {
    /// The name in the question, escaped as in the field `name` of requests.
    pub name: Cow<'a, [u8]>,
    /// The name that the addresses belong to, where CNAMEs lead elsewhere (RFC 1034
    /// section 3.6.2).
    pub canonical: Option<Cow<'a, [u8]>>,
    /// Each address, and for how many seconds it may be kept under the name: no longer
    /// than any alias on the way to it.
    pub addresses: Vec<(IpAddr, u32)>,
}

/// Reads a response: the payload of a UDP datagram, or of a message on a stream what
/// follows its length.
///
/// `None` where it is no response to one question, where it reports a failure, and
/// where it is malformed or cut before the end of the answers.
pub fn answers(message: &[u8]) -> Option<Answers<'_>> {
    let header = Header::read(message)?;
    if !header.is_response() || header.opcode() != 0 || header.rcode() != 0 || header.questions != 1
    {
        return None;
    }
    let question = Question::read(message, HEADER_LEN).ok()?;
    if question.class != IN {
        return None;
    }
    let records = records(message, question.end, header.answers)?;
    Some(follow(&question, &records))
}

/// A record that matters here.
struct Answer<'a> {
    owner: Name<'a>,
    ttl: u32,
    data: Data<'a>,
}

enum Data<'a> {
    Address(IpAddr),
    Alias(Name<'a>),
}

/// Reads the answer section.
fn records(message: &[u8], mut at: usize, count: u16) -> Option<Vec<Answer<'_>>> {
    let mut records = Vec::new();
    for _ in 0..usize::from(count).min(MAX_RECORDS) {
        let record = Record::read(message, at).ok()?;
        let data = message.get(record.data.clone())?;
        at = record.data.end;
        if record.class != IN {
            continue;
        }
        let data = match (record.kind, data.len()) {
            (A, 4) => Data::Address(array::<4>(data, 0)?.into()),
            (AAAA, 16) => Data::Address(array::<16>(data, 0)?.into()),
            (A | AAAA, _) => return None,
            (CNAME, _) => Data::Alias(alias(message, &record)?),
            _ => continue,
        };
        let owner = Name::read(message, record.owner).ok()?;
        records.push(Answer { owner, ttl: ttl(record.ttl), data });
    }
    Some(records)
}

/// The name that a CNAME record leads to, which its data has to consist of.
fn alias<'a>(message: &'a [u8], record: &Record) -> Option<Name<'a>> {
    let name = Name::read(message, record.data.start).ok()?;
    (name.end == record.data.end).then_some(name)
}

/// Times whose highest bit is set are to be taken as zero (RFC 2181 section 8).
fn ttl(sent: u32) -> u32 {
    if sent > i32::MAX as u32 { 0 } else { sent }
}

/// Follows the aliases from the question to where there are no more.
fn follow<'a>(question: &Question<'a>, records: &[Answer<'a>]) -> Answers<'a> {
    let (mut name, mut limit, mut aliases) = (question.name, u32::MAX, 0);
    let mut addresses = Vec::new();
    loop {
        let mut next = None;
        for record in records.iter().filter(|record| record.owner.is(name)) {
            let ttl = record.ttl.min(limit);
            match record.data {
                Data::Address(address) if asked(question.kind, address) => {
                    addresses.push((address, ttl));
                }
                Data::Address(_) => {}
                Data::Alias(to) => next = next.or(Some((to, ttl))),
            }
        }
        // An alias has no other records (RFC 1034 section 3.6.2), so that addresses end
        // the chain; of a loop nothing comes.
        match next {
            Some((to, ttl)) if addresses.is_empty() && aliases < MAX_ALIASES => {
                (name, limit, aliases) = (to, ttl, aliases + 1);
            }
            _ => break,
        }
    }
    Answers {
        name: question.name.text(),
        canonical: (aliases > 0 && !addresses.is_empty()).then(|| name.text()),
        addresses,
    }
}

/// Whether a question of this type asks for such an address.
fn asked(kind: u16, address: IpAddr) -> bool {
    kind == ANY || kind == if address.is_ipv4() { A } else { AAAA }
}

#[cfg(test)]
mod tests;
