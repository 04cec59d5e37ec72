//! From words to an expression. `and` and `or` bind alike and to the left, as in
//! pcap-filter(7); `not` binds closer.

use super::words::{Word, words};
use super::{Node, Side, Test};
use crate::filter::parse::{net, shown};
use anyhow::{Result, anyhow};
use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use wire::packet::protocol_name;

/// Most words of an expression.
const MAX_WORDS: usize = 1024;

/// Most parentheses and `not`s inside of each other.
const MAX_DEPTH: usize = 64;

/// What is known of pcap-filter(7), and not here.
const ABSENT: [&str; 22] = [
    "arp",
    "atalk",
    "broadcast",
    "decnet",
    "ether",
    "fddi",
    "gateway",
    "geneve",
    "ifname",
    "igmp",
    "inbound",
    "len",
    "link",
    "mpls",
    "multicast",
    "on",
    "outbound",
    "pppoes",
    "rarp",
    "vlan",
    "vxlan",
    "wlan",
];

/// Reads an expression.
pub fn parse(text: &str) -> Result<Node> {
    let words = words(text);
    let mut parser = Parser { text, words: &words, at: 0, last: None, depth: 0 };
    if words.len() > MAX_WORDS {
        return Err(parser.error(words.get(MAX_WORDS), "too long: use flags, or networks"));
    }
    let node = parser.all()?;
    match parser.peek() {
        None => Ok(node),
        Some(word) if word.text == ")" => Err(parser.error(Some(word), "closes nothing")),
        Some(word) => Err(parser.error(Some(word), "`and` or `or` has to stand before it")),
    }
}

/// What an identifier is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Qualifiers {
    of: Option<Of>,
    side: Side,
    kind: Kind,
}

/// A protocol before a primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// IPv4 (4) or IPv6 (6).
    Family(u8),
    /// The IP protocol, and where it is only with one of them.
    Protocol(u8, Option<u8>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Host,
    Net,
    Port,
    PortRange,
    Proto,
}

impl Of {
    fn named(word: &str) -> Option<Of> {
        /// IP protocols that have a word of their own, with the version of IP that some
        /// are only with.
        const WORDS: [(u8, Option<u8>); 5] =
            [(6, None), (17, None), (132, None), (1, Some(4)), (58, Some(6))];
        match word {
            "ip" => Some(Of::Family(4)),
            "ip6" => Some(Of::Family(6)),
            _ => {
                let (number, of) = WORDS.into_iter().find(|(n, _)| is_called(*n, word))?;
                Some(Of::Protocol(number, of))
            }
        }
    }

    fn test(self) -> Test {
        match self {
            Of::Family(version) => Test::Family(version),
            Of::Protocol(number, of) => Test::Protocol(number, of),
        }
    }
}

impl Kind {
    fn named(word: &str) -> Option<Kind> {
        Some(match word {
            "host" => Kind::Host,
            "net" => Kind::Net,
            "port" => Kind::Port,
            "portrange" => Kind::PortRange,
            "proto" => Kind::Proto,
            _ => return None,
        })
    }
}

struct Parser<'a> {
    text: &'a str,
    words: &'a [Word<'a>],
    at: usize,
    /// Of the identifier before, for those that have none of their own.
    last: Option<Qualifiers>,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Option<&'a Word<'a>> {
        self.words.get(self.at)
    }

    fn next_is(&self, texts: &[&str]) -> bool {
        self.peek().is_some_and(|word| texts.contains(&word.text))
    }

    fn take(&mut self, texts: &[&str]) -> bool {
        let is = self.next_is(texts);
        self.at += usize::from(is);
        is
    }

    /// One line that names the column; without a word that of the end.
    fn error(&self, word: Option<&Word<'_>>, what: &str) -> anyhow::Error {
        let end = self.text.chars().count() + 1;
        let column = word.map_or(end, |word| word.column);
        let said = word.map_or("its end".to_owned(), |word| shown(word.text));
        anyhow!("filter expression {}, column {column}: {said}: {what}", shown(self.text))
    }

    fn all(&mut self) -> Result<Node> {
        let mut left = self.negated()?;
        loop {
            let and = match self.peek() {
                Some(word) if ["and", "&&"].contains(&word.text) => true,
                Some(word) if ["or", "||"].contains(&word.text) => false,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.negated()?;
            let (a, b) = (Box::new(left), Box::new(right));
            left = if and { Node::And(a, b) } else { Node::Or(a, b) };
        }
    }

    fn negated(&mut self) -> Result<Node> {
        let word = self.peek();
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(word, "too many parentheses inside of each other"));
        }
        let node = if self.take(&["not", "!"]) {
            Node::Not(Box::new(self.negated()?))
        } else if self.take(&["("]) {
            let node = self.all()?;
            if !self.take(&[")"]) {
                return Err(self.error(self.peek(), "a parenthesis is not closed"));
            }
            node
        } else {
            self.primitive()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn primitive(&mut self) -> Result<Node> {
        let first = self.peek();
        for (name, test) in [("greater", Test::Greater as fn(u32) -> Test), ("less", Test::Less)] {
            if self.take(&[name]) {
                let n = self.number("a length in bytes", u32::MAX)?;
                return Ok(Node::Test(test(n)));
            }
        }
        let of = first.and_then(|word| Of::named(word.text));
        self.at += usize::from(of.is_some());
        let side = self.side();
        let kind = self.peek().and_then(|word| Kind::named(word.text));
        self.at += usize::from(kind.is_some());
        match (of, side, kind) {
            (Some(of), None, None) => self.alone(of).map(Node::Test),
            (None, None, None) => {
                let default = Qualifiers { of: None, side: Side::Either, kind: Kind::Host };
                let qualifiers = self.last.unwrap_or(default);
                self.identifier(qualifiers, first)
            }
            _ => {
                let side = side.unwrap_or(Side::Either);
                let kind = kind.unwrap_or(Kind::Host);
                self.identifier(Qualifiers { of, side, kind }, first)
            }
        }
    }

    /// A protocol by itself.
    fn alone(&mut self, of: Of) -> Result<Test> {
        match self.peek() {
            Some(word) if !["and", "or", "&&", "||", ")"].contains(&word.text) => Err(self.error(
                Some(word),
                "after a protocol stands `src`, `dst`, `host`, `net`, `port` or `portrange`",
            )),
            _ => Ok(of.test()),
        }
    }

    fn side(&mut self) -> Option<Side> {
        let side = match self.peek()?.text {
            "src" => Side::Src,
            "dst" => Side::Dst,
            _ => return None,
        };
        self.at += 1;
        let other = if side == Side::Src { "dst" } else { "src" };
        let second = self.words.get(self.at + 1).is_some_and(|word| word.text == other);
        let joined = match self.peek().filter(|_| second).map(|word| word.text) {
            Some("or" | "||") => Some(Side::Either),
            Some("and" | "&&") => Some(Side::Both),
            _ => None,
        };
        self.at += if joined.is_some() { 2 } else { 0 };
        joined.or(Some(side))
    }

    fn identifier(&mut self, q: Qualifiers, first: Option<&Word<'_>>) -> Result<Node> {
        let protocol = match q.of {
            Some(Of::Protocol(number, _)) => Some(number),
            _ => None,
        };
        let ports = matches!(q.kind, Kind::Port | Kind::PortRange);
        if protocol.is_some_and(|p| !ports || ![6, 17, 132].contains(&p)) {
            return Err(self.error(first, "has none of what follows; write `and` between them"));
        }
        let test = match q.kind {
            Kind::Host | Kind::Net => Test::Net(q.side, self.net(q.kind)?),
            Kind::Port => {
                let port = self.number("a port", u16::MAX.into())? as u16;
                Test::Port(q.side, protocol, port..=port)
            }
            Kind::PortRange => Test::Port(q.side, protocol, self.range()?),
            Kind::Proto => Test::Protocol(self.protocol()?, None),
        };
        self.last = Some(q);
        let test = Node::Test(test);
        Ok(match q.of {
            Some(Of::Family(version)) => {
                Node::And(Box::new(Node::Test(Test::Family(version))), Box::new(test))
            }
            _ => test,
        })
    }

    /// The next word, which has to be an identifier.
    fn word(&mut self, what: &str) -> Result<&'a Word<'a>> {
        const NO_IDENTIFIER: [&str; 7] = ["and", "or", "not", "&&", "||", "!", ")"];
        let Some(word) = self.peek().filter(|w| !NO_IDENTIFIER.contains(&w.text)) else {
            let what = format!("{what} is missing before it");
            return Err(self.error(self.peek(), &what));
        };
        self.at += 1;
        Ok(word)
    }

    fn net(&mut self, kind: Kind) -> Result<IpNet> {
        let word = self.word("an address")?;
        if kind == Kind::Net && self.take(&["mask"]) {
            return self.masked(word);
        }
        let text = word.text;
        let partial = if kind == Kind::Net { partial(text) } else { None };
        if kind == Kind::Host && text.contains('/') {
            return Err(self.error(Some(word), "a network; write `net` before it"));
        }
        match partial {
            Some(net) => Ok(net),
            None => net(text).map_err(|e| match ABSENT.contains(&text) {
                true => {
                    self.error(Some(word), "not among what is understood; docs/filters.md has that")
                }
                false => self.error(Some(word), &format!("{e:#}")),
            }),
        }
    }

    fn masked(&mut self, address: &Word<'_>) -> Result<IpNet> {
        let word = self.word("a mask")?;
        let mask: Option<Ipv4Addr> = word.text.parse().ok();
        let own: Option<Ipv4Addr> = address.text.parse().ok();
        let Some(own) = own else { return Err(self.error(Some(address), "is no IPv4 address")) };
        match mask.and_then(|mask| Ipv4Net::with_netmask(own, mask).ok()) {
            Some(net) => Ok(net.trunc().into()),
            None => Err(self.error(Some(word), "is no mask, as 255.255.255.0 is")),
        }
    }

    fn number(&mut self, what: &str, most: u32) -> Result<u32> {
        let word = self.word(what)?;
        number(word.text, most).ok_or_else(|| {
            let more =
                if most == u32::from(u16::MAX) { "; names of ports are not looked up" } else { "" };
            self.error(Some(word), &format!("is not {what}, a number up to {most}{more}"))
        })
    }

    fn range(&mut self) -> Result<RangeInclusive<u16>> {
        let word = self.word("a range of ports")?;
        let port = |text| number(text, u16::MAX.into()).map(|n| n as u16);
        let (first, last) = word.text.split_once('-').unwrap_or((word.text, word.text));
        match port(first).zip(port(last)) {
            Some((first, last)) if first <= last => Ok(first..=last),
            _ => Err(self.error(Some(word), "is no range of ports, as 8000-8080 is")),
        }
    }

    fn protocol(&mut self) -> Result<u8> {
        let word = self.word("an IP protocol")?;
        let name = word.text.strip_prefix('\\').unwrap_or(word.text);
        let known = (0..=u8::MAX).find(|n| is_called(*n, name));
        let number = number(name, u8::MAX.into()).map(|n| n as u8);
        known.or(number).ok_or_else(|| {
            self.error(Some(word), "is no IP protocol by name here, and no number up to 255")
        })
    }
}

/// Whether a name is that of an IP protocol, here or in pcap-filter(7).
fn is_called(number: u8, name: &str) -> bool {
    protocol_name(number) == Some(name) || (number == 58 && name == "icmp6")
}

/// Networks as pcap-filter(7) has them beside the usual way: `192.0.2` is 192.0.2.0/24.
fn partial(text: &str) -> Option<IpNet> {
    let octets: Option<Vec<u8>> =
        text.split('.').map(|part| number(part, 255).map(|n| n as u8)).collect();
    let octets = octets.filter(|octets| octets.len() < 4)?;
    let mut address = [0; 4];
    address[..octets.len()].copy_from_slice(&octets);
    IpNet::new(IpAddr::from(address), octets.len() as u8 * 8).ok()
}

fn number(text: &str, most: u32) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| digits && *n <= most)
}
