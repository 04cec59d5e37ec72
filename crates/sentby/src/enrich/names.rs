//! Names of destinations: what DNS answers and requests called an address.
//!
//! Nothing is looked up. A process's own answers go before what its requests say, and
//! that before answers to others: many names share an address, and which of them a
//! process meant only it knows.

use super::lru::Lru;
use crate::event::{DstName, ProcessKey};
use std::net::IpAddr;
use wire::answers::{Answers, SOURCE, SOURCE_OTHER};

/// Most addresses that are named, for one process each.
const OWN_MAX: usize = 16 * 1024;

/// Most addresses that are named for others.
const OTHERS_MAX: usize = 16 * 1024;

/// How long an answer to another process names an address, in nanoseconds, if its own
/// time to live is shorter.
const OTHERS_TIME: u64 = 600_000_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// An address, in the network namespace that it has a meaning in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// The address.
    pub address: IpAddr,
}

struct Named {
    name: Box<[u8]>,
    source: &'static str,
}

/// What answers to any process said.
struct Others {
    name: Box<[u8]>,
    /// They do not agree.
    several: bool,
    /// Nanoseconds since the Unix epoch.
    until: u64,
}

/// The names.
pub struct Names {
    own: Lru<(ProcessKey, Place), Named>,
    others: Lru<Place, Others>,
}

impl Names {
    /// None yet.
    pub fn new() -> Names {
        Names { own: Lru::new(OWN_MAX), others: Lru::new(OTHERS_MAX) }
    }

    /// Takes an answer to a process's query; `key` where it is known whose.
    pub fn answer(
        &mut self,
        key: Option<ProcessKey>,
        netns: Option<u32>,
        answers: &Answers<'_>,
        now: u64,
    ) {
        for (address, ttl) in &answers.addresses {
            let place = Place { netns, address: *address };
            if let Some(key) = key {
                self.own(key, place, &answers.name, SOURCE);
            }
            let until = now + OTHERS_TIME.max(u64::from(*ttl) * NS_PER_S);
            self.other(place, &answers.name, now, until);
        }
    }

    /// Takes what a request called its destination. An answer is worth more.
    pub fn request(&mut self, key: ProcessKey, place: Place, source: &'static str, name: &[u8]) {
        let known = self.own.peek(&(key, place));
        if known.is_none_or(|known| known.source != SOURCE && *known.name != *name) {
            self.own(key, place, name, source);
        }
    }

    /// What a process calls an address; else what `request` calls it; else what others do.
    pub fn of<'a>(
        &'a self,
        key: Option<ProcessKey>,
        place: Place,
        request: Option<(&'static str, &'a [u8])>,
        now: u64,
    ) -> Option<DstName<'a>> {
        let own = key.and_then(|key| self.own.peek(&(key, place)));
        let request = request.map(|(source, name)| DstName { name, source });
        match own {
            Some(own) if own.source == SOURCE => return Some(own.shown()),
            Some(own) => return request.or(Some(own.shown())),
            None if request.is_some() => return request,
            None => {}
        }
        let others = self.others.peek(&place)?;
        let fits = !others.several && others.until >= now;
        fits.then_some(DstName { name: &others.name, source: SOURCE_OTHER })
    }

    fn own(&mut self, key: ProcessKey, place: Place, name: &[u8], source: &'static str) {
        self.own.insert((key, place), Named { name: name.into(), source });
    }

    fn other(&mut self, place: Place, name: &[u8], now: u64, until: u64) {
        match self.others.get_mut(&place) {
            Some(known) if known.until >= now => {
                known.several |= *known.name != *name;
                known.until = known.until.max(until);
            }
            _ => {
                self.others.insert(place, Others { name: name.into(), several: false, until });
            }
        }
    }
}

impl Named {
    fn shown(&self) -> DstName<'_> {
        DstName { name: &self.name, source: self.source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    const NOW: u64 = 1_000 * NS_PER_S;

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start_ticks: 1 }
    }

    fn place(last: u8) -> Place {
        Place { netns: Some(1), address: IpAddr::from([192, 0, 2, last]) }
    }

    fn learn(names: &mut Names, pid: u32, name: &str, now: u64) {
        let addresses = vec![(place(7).address, 60)];
        let name = Cow::Borrowed(name.as_bytes());
        let answers = Answers { name, canonical: None, addresses };
        names.answer(Some(key(pid)), Some(1), &answers, now);
    }

    fn of(names: &Names, pid: u32, request: Option<&'static str>, now: u64) -> String {
        let request = request.map(|name| ("sni", name.as_bytes()));
        match names.of(Some(key(pid)), place(7), request, now) {
            Some(n) => format!("{} {}", String::from_utf8_lossy(n.name), n.source),
            None => "-".to_owned(),
        }
    }

    #[test]
    fn a_process_knows_best_what_it_asked_for() {
        let mut names = Names::new();
        assert_eq!(of(&names, 1, None, NOW), "-");
        assert_eq!(of(&names, 1, Some("said"), NOW), "said sni");
        learn(&mut names, 1, "asked", NOW);
        assert_eq!(of(&names, 1, Some("said"), NOW), "asked dns");
        assert_eq!(of(&names, 2, Some("said"), NOW), "said sni");
        assert_eq!(of(&names, 2, None, NOW), "asked dns-other");
        let elsewhere = Place { netns: Some(2), ..place(7) };
        assert_eq!(names.of(Some(key(1)), elsewhere, None, NOW), None);
    }

    #[test]
    fn what_a_request_said_serves_the_next() {
        let mut names = Names::new();
        names.request(key(1), place(7), "host", b"said");
        assert_eq!(of(&names, 1, None, NOW), "said host");
        assert_eq!(of(&names, 1, Some("now"), NOW), "now sni");
        assert_eq!(of(&names, 2, None, NOW), "-");
        learn(&mut names, 1, "asked", NOW);
        names.request(key(1), place(7), "host", b"said");
        assert_eq!(of(&names, 1, None, NOW), "asked dns");
    }

    #[test]
    fn others_name_an_address_only_as_one_and_for_a_while() {
        let mut names = Names::new();
        learn(&mut names, 1, "one", NOW);
        assert_eq!(of(&names, 9, None, NOW), "one dns-other");
        assert_eq!(of(&names, 9, None, NOW + OTHERS_TIME + 1), "-");
        learn(&mut names, 2, "two", NOW);
        assert_eq!(of(&names, 9, None, NOW), "-");
        assert_eq!(of(&names, 1, None, NOW), "one dns");
        learn(&mut names, 2, "two", NOW + OTHERS_TIME + 1);
        assert_eq!(of(&names, 9, None, NOW + OTHERS_TIME + 1), "two dns-other");
    }
}
