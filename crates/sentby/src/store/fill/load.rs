//! What is sent in the made-up week: who asks whom for what, the same every time.
//!
//! 5,000 processes, few of them busy. Each has eight destinations of its own, to which most
//! of its requests go; the others go to any of 30,000 addresses. A last process sends one
//! request in [`RARE`], always of the last kind, to an address that nobody else knows.

use wire::rebuild::{self, Sent};
use wire::transport::{TCP, UDP, flag};

/// Processes, the rare one not among them.
const COMMON: u64 = 5000;

/// All of them. The rare one is the last.
pub const PROCESSES: u64 = COMMON + 1;

/// Addresses, and how many a process mostly talks to.
const ADDRESSES: u64 = 30_000;
const OWN: u64 = 8;

/// Resolvers, which all processes ask.
const RESOLVERS: u64 = 3;

/// How many requests there are of the rare process: so many, whatever the number of others.
const RARE: u64 = 20;

/// What a request carries; `host-00000` and `item-00000` are numbered.
static QUERY: &[u8] = include_bytes!("query.bin");
static GET: &[u8] = include_bytes!("get.bin");
static HELLO: &[u8] = include_bytes!("hello.bin");

/// The protocol number of echo requests (RFC 792), and one as ping sends it.
const ECHOES: u8 = 1;
static ECHO: [u8; 64] = {
    let mut echo = [0x55; 64];
    [echo[0], echo[1], echo[2], echo[3], echo[4], echo[5]] = [8, 0, 0, 0, 0x12, 0x34];
    echo
};

/// A kind of request: of a hundred, how many; to which port; over what; with which bytes.
struct Kind {
    share: u64,
    port: u16,
    transport: u8,
    bytes: &'static [u8],
    to_resolver: bool,
}

/// A connection is opened where TCP carries nothing.
static KINDS: [Kind; 5] = [
    Kind { share: 30, port: 53, transport: UDP, bytes: QUERY, to_resolver: true },
    Kind { share: 25, port: 443, transport: TCP, bytes: &[], to_resolver: false },
    Kind { share: 25, port: 0, transport: ECHOES, bytes: &ECHO, to_resolver: false },
    Kind { share: 8, port: 443, transport: TCP, bytes: HELLO, to_resolver: false },
    Kind { share: 12, port: 80, transport: TCP, bytes: GET, to_resolver: false },
];

/// One request.
pub struct One<'a> {
    /// Its sender's number.
    pub process: u64,
    /// From the IP header on.
    pub packet: &'a [u8],
}

/// What is sent.
pub struct Load {
    packets: Vec<Patched>,
}

impl Load {
    /// From the beginning.
    pub fn new() -> Load {
        Load { packets: KINDS.iter().map(Patched::new).collect() }
    }

    /// The request of a number, of so many.
    pub fn next(&mut self, n: u64, of: u64) -> One<'_> {
        let random = mixed(n);
        let rare = n % (of / RARE).max(1) == of / RARE / 2;
        let kind = if rare { KINDS.len() - 1 } else { kind(random % 100) };
        let process = if rare { COMMON } else { skewed(random >> 8, COMMON) };
        let about = if rare { ADDRESSES } else { address(process, random >> 24) };
        let to = if KINDS[kind].to_resolver { ADDRESSES + 1 + process % RESOLVERS } else { about };
        let packet = self.packets[kind].of(to, about, (random >> 40) as u16);
        One { process, packet }
    }
}

/// SplitMix64 (Steele et al., 2014).
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Below `n`; small numbers are many times as likely.
fn skewed(random: u64, n: u64) -> u64 {
    let part = (random & 0xffff) as f64 / 65_536.0;
    ((part.powi(3) * n as f64) as u64).min(n - 1)
}

fn kind(mut of_hundred: u64) -> usize {
    for (at, kind) in KINDS.iter().enumerate() {
        if of_hundred < kind.share {
            return at;
        }
        of_hundred -= kind.share;
    }
    0
}

/// Of ten requests nine go to a destination of the process's own, the tenth to any.
fn address(process: u64, random: u64) -> u64 {
    let which = mixed(random & 0xff_ffff);
    match which % 10 {
        0 => (which >> 8) % ADDRESSES,
        _ => mixed(process * OWN + (which >> 8) % OWN) % ADDRESSES,
    }
}

/// A packet in which little is exchanged from one request to the next. Its checksums are
/// those of the first.
struct Patched {
    packet: Vec<u8>,
    numbers: Vec<usize>,
    sport: Option<usize>,
}

impl Patched {
    fn new(kind: &Kind) -> Patched {
        let mut packet = Vec::new();
        let (src, dst) = ([192, 0, 2, 1].into(), [198, 18, 0, 0].into());
        let (ports, whole) = ((0, kind.port), kind.bytes.len() as u64);
        let protocol = if kind.transport == ECHOES { UDP } else { kind.transport };
        let sent = Sent { src, dst, ports, protocol, seq: 1, bytes: kind.bytes, whole };
        rebuild::packet(&sent, &mut packet);
        if kind.transport == ECHOES {
            // A header of eight bytes stands where UDP's does.
            packet.truncate(20);
            packet.extend_from_slice(kind.bytes);
            packet[2..4].copy_from_slice(&(20 + kind.bytes.len() as u16).to_be_bytes());
            packet[9] = ECHOES;
        }
        if kind.transport == TCP && kind.bytes.is_empty() {
            packet[33] = flag::SYN;
        }
        let numbered = |w: &[u8]| w == b"host-00000" || w == b"item-00000";
        let windows = packet.windows(10).enumerate().filter(|(_, w)| numbered(w));
        let numbers = windows.map(|(at, _)| at + 5).collect();
        Patched { packet, numbers, sport: (kind.transport != ECHOES).then_some(20) }
    }

    fn of(&mut self, to: u64, about: u64, random: u16) -> &[u8] {
        self.packet[17..20].copy_from_slice(&(0x0012_0000 + to as u32).to_be_bytes()[1..]);
        match self.sport {
            Some(at) => self.packet[at..at + 2].copy_from_slice(&(32_768 | random).to_be_bytes()),
            None => self.packet[26..28].copy_from_slice(&random.to_be_bytes()),
        }
        for at in &self.numbers {
            let mut rest = about;
            for digit in self.packet[*at..at + 5].iter_mut().rev() {
                *digit = b'0' + (rest % 10) as u8;
                rest /= 10;
            }
        }
        &self.packet
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rare_are_rare_and_the_others_repeat() {
        let mut load = Load::new();
        let mut senders = vec![0; PROCESSES as usize];
        let mut kinds = std::collections::HashSet::new();
        for n in 0..200_000 {
            let one = load.next(n, 200_000);
            senders[one.process as usize] += 1;
            kinds.insert(one.packet[9]);
        }
        assert_eq!(senders[COMMON as usize], RARE);
        assert!(senders[0] > 100 * senders[COMMON as usize - 1], "{}", senders[0]);
        assert_eq!(kinds.len(), 3);
    }
}
