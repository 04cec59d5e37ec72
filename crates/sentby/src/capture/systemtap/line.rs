//! The lines that `sentby.stp` prints: one place for what each field is.
//!
//! Fields are separated by one space; numbers are decimal, bytes and names are hex, `-`
//! is not known.
//!
//! | line | fields |
//! |---|---|
//! | `P` | number time WHO netns ifindex ifname segment len bytes: an IP packet |
//! | `S` | number time WHO netns seq sport dport saddr daddr bytes: what is sent over TCP |
//! | `A` | pid start ppid exe len bytes: arguments of a process, each with its NUL, of `len` bytes in all |
//! | `R` | version: every probe is there |
//! | `E` | number unreadable cut evicted: the end |
//!
//! WHO is: evidence (`t`, `k`, `f`, `u`), pid, tid, start (nanoseconds since boot), uid,
//! comm, inode of the socket. Times are nanoseconds since the epoch; `segment` is the
//! bytes of each datagram that the device cuts out of the packet, or 0; `len` counts from
//! the IP header on; addresses are 4 or 16 bytes.
//!
//! The lines come from our own module, but names and bytes in them from anyone: a line
//! that is not exactly this is none.

use crate::event::{COMM_LEN, Evidence, Iface, NS_PER_TICK, ProcessKey, Task};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The version of these lines (`SENTBY_VERSION`).
pub const VERSION: u64 = 1;

/// Longest line, in bytes (`MAXSTRINGLEN` of the module).
pub const MAX_LINE: usize = 8192;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// The probes are live.
    Ready(u64),
    /// A packet.
    Packet(Packet<'a>),
    /// A send.
    Send(Send<'a>),
    /// A process's program.
    Program(Program<'a>),
    /// The last line.
    End(End),
}

/// What both kinds of captures have.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Counts from 1 on.
    pub number: u64,
    /// Nanoseconds since the epoch.
    pub time: u64,
    /// Of the sender.
    pub evidence: Evidence,
    /// The sender, where the evidence is `task`.
    pub task: Option<Task>,
    /// Inode of the socket.
    pub inode: Option<u64>,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
}

/// An IP packet.
#[derive(Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// When, and by whom.
    pub seen: Seen,
    /// The interface it leaves by.
    pub iface: Option<Iface>,
    /// Bytes of each datagram in it, if there are several.
    pub segment: Option<u32>,
    /// Length in bytes.
    pub len: u32,
    /// The packet, in hex.
    pub hex: &'a [u8],
}

/// What is sent over TCP.
#[derive(Debug, PartialEq, Eq)]
pub struct Send<'a> {
    /// When, and by whom.
    pub seen: Seen,
    /// Sequence number of its first byte.
    pub seq: u32,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// Source and destination address, of one family.
    pub ends: (IpAddr, IpAddr),
    /// Its bytes, in hex.
    pub hex: &'a [u8],
}

/// Executable and arguments of a process.
#[derive(Debug, PartialEq, Eq)]
pub struct Program<'a> {
    /// Whose.
    pub key: ProcessKey,
    /// Its parent's pid.
    pub ppid: u32,
    /// Path of its executable as d_path() has it, in hex; empty if there is none.
    pub exe: &'a [u8],
    /// Bytes of all of them.
    pub len: u64,
    /// Those that are here, in hex.
    pub hex: &'a [u8],
}

/// What the module counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Lines, this one left out.
    pub lines: u64,
    /// Sends of which nothing could be read.
    pub unreadable: u64,
    /// Packets and sends that could not be read whole.
    pub cut: u64,
    /// Sockets that had to make room in the middle of a request.
    pub evicted: u64,
}

/// Reads a line (without its newline).
pub fn parse(line: &[u8]) -> Option<Line<'_>> {
    let mut fields = Fields(line.split(|b| *b == b' '));
    let line = match fields.next()? {
        b"R" => Line::Ready(fields.number()?),
        b"P" => Line::Packet(packet(&mut fields)?),
        b"S" => Line::Send(send(&mut fields)?),
        b"A" => Line::Program(Program {
            key: ProcessKey {
                pid: fields.number()?,
                start_ticks: fields.number::<u64>()? / NS_PER_TICK,
            },
            ppid: fields.number()?,
            exe: fields.next().map(|hex| if hex == b"-" { b"" } else { hex })?,
            len: fields.number()?,
            hex: fields.next()?,
        }),
        b"E" => Line::End(End {
            lines: fields.number()?,
            unreadable: fields.number()?,
            cut: fields.number()?,
            evicted: fields.number()?,
        }),
        _ => return None,
    };
    fields.next().is_none().then_some(line)
}

/// Appends the bytes that hex digits stand for; nothing if they are no such digits.
pub fn unhex(hex: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (pairs, rest) = hex.as_chunks::<2>();
    let before = out.len();
    for pair in pairs {
        let Some(byte) = byte(*pair) else {
            out.truncate(before);
            return None;
        };
        out.push(byte);
    }
    if !rest.is_empty() {
        out.truncate(before);
        return None;
    }
    Some(())
}

fn byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |c: u8| (c as char).to_digit(16).filter(|_| !c.is_ascii_uppercase());
    Some((digit(high)? << 4 | digit(low)?) as u8)
}

struct Fields<I>(I);

impl<'a, I: Iterator<Item = &'a [u8]>> Fields<I> {
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next()
    }

    /// Digits and nothing else, not too many for the type.
    fn number<T: TryFrom<u64>>(&mut self) -> Option<T> {
        number(self.next()?)
    }

    /// The same, or `-`.
    fn known<T: TryFrom<u64>>(&mut self) -> Option<Option<T>> {
        match self.next()? {
            b"-" => Some(None),
            digits => number(digits).map(Some),
        }
    }

    fn name(&mut self) -> Option<Option<[u8; COMM_LEN]>> {
        let hex = self.next()?;
        if hex == b"-" {
            return Some(None);
        }
        let mut bytes = Vec::with_capacity(COMM_LEN);
        unhex(hex, &mut bytes)?;
        let mut name = [0; COMM_LEN];
        if bytes.is_empty() {
            return None;
        }
        name.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some(Some(name))
    }

    fn address(&mut self) -> Option<IpAddr> {
        let hex = self.next()?;
        let mut bytes = Vec::with_capacity(16);
        unhex(hex, &mut bytes)?;
        match bytes.len() {
            4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into()),
            16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into()),
            _ => None,
        }
    }
}

fn number<T: TryFrom<u64>>(digits: &[u8]) -> Option<T> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number: u64 = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
    T::try_from(number).ok()
}

fn seen<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>) -> Option<Seen> {
    let (number, time) = (fields.number()?, fields.number()?);
    let evidence = match fields.next()? {
        b"t" => Evidence::Task,
        b"k" => Evidence::Kernel,
        b"f" => Evidence::Forwarded,
        b"u" => Evidence::Unknown,
        _ => return None,
    };
    let (pid, tid) = (fields.known()?, fields.known()?);
    let (start, uid) = (fields.known::<u64>()?, fields.known()?);
    let comm = fields.name()?;
    let key = pid.zip(start).map(|(pid, ns)| ProcessKey { pid, start_ticks: ns / NS_PER_TICK });
    let task = (evidence == Evidence::Task).then_some(Task { key, tid, comm, uid });
    let inode = fields.known()?;
    let netns = fields.number().map(|n: u32| (n != 0).then_some(n))?;
    Some(Seen { number, time, evidence, task, inode, netns })
}

fn packet<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>) -> Option<Packet<'a>> {
    let seen = seen(fields)?;
    let index: u32 = fields.number()?;
    let name = fields.name()?;
    let iface = name.filter(|_| index != 0).map(|name| Iface { index: Some(index), name });
    let segment = fields.number().map(|n: u32| (n != 0).then_some(n))?;
    Some(Packet { seen, iface, segment, len: fields.number()?, hex: fields.next()? })
}

fn send<'a>(fields: &mut Fields<impl Iterator<Item = &'a [u8]>>) -> Option<Send<'a>> {
    let seen = seen(fields)?;
    let seq = fields.number()?;
    let ports = (fields.number()?, fields.number()?);
    let ends = (fields.address()?, fields.address()?);
    let one_family = ends.0.is_ipv4() == ends.1.is_ipv4();
    one_family.then_some(())?;
    Some(Send { seen, seq, ports, ends, hex: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: &str = "P 1 17 t 149 150 10790320472 0 70696e67 1247 4026531840 1 6c6f 0 84 4500";
    const SEND: &str = "S 4 99 t 153 153 15670458563 0 6375726c 1260 4026531840 3654785019 51534 \
                        8000 7f000001 7f000002 474554";

    #[test]
    fn a_packet_is_read() {
        let Some(Line::Packet(p)) = parse(PACKET.as_bytes()) else { panic!() };
        let key = Some(ProcessKey { pid: 149, start_ticks: 1079 });
        let comm = Some(*b"ping\0\0\0\0\0\0\0\0\0\0\0\0");
        assert_eq!(p.seen.task, Some(Task { key, tid: Some(150), comm, uid: Some(0) }));
        assert_eq!((p.seen.number, p.seen.time, p.seen.inode), (1, 17, Some(1247)));
        assert_eq!(
            p.iface.map(|i| (i.index, i.name[..3].to_vec())),
            Some((Some(1), b"lo\0".to_vec()))
        );
        assert_eq!((p.segment, p.len, p.hex), (None, 84, &b"4500"[..]));
    }

    #[test]
    fn a_send_is_read() {
        let Some(Line::Send(s)) = parse(SEND.as_bytes()) else { panic!() };
        assert_eq!((s.seq, s.ports), (3654785019, (51534, 8000)));
        assert_eq!(s.ends.1, "127.0.0.2".parse::<IpAddr>().unwrap());
        let six = SEND.replace("7f000001", &"0".repeat(32)).replace("7f000002", &"f".repeat(32));
        let Some(Line::Send(s)) = parse(six.as_bytes()) else { panic!() };
        assert_eq!(s.ends.0, "::".parse::<IpAddr>().unwrap());
        let mixed = SEND.replace("7f000002", &"f".repeat(32));
        assert_eq!(parse(mixed.as_bytes()), None);
    }

    #[test]
    fn what_is_not_known_stays_so() {
        let Some(Line::Packet(p)) = parse(b"P 2 5 u - - - - - - 0 0 - 0 9 ") else { panic!() };
        assert_eq!((p.seen.evidence, p.seen.task, p.seen.inode), (Evidence::Unknown, None, None));
        assert_eq!((p.seen.netns, p.iface, p.hex), (None, None, &b""[..]));
        assert_eq!(parse(b"R 1"), Some(Line::Ready(1)));
        let Some(Line::Program(p)) = parse(b"A 7 10790320472 1 2f78 9 706900") else { panic!() };
        assert_eq!(p.key, ProcessKey { pid: 7, start_ticks: 1079 });
        assert_eq!((p.ppid, p.exe, p.len, p.hex), (1, &b"2f78"[..], 9, &b"706900"[..]));
        let end = End { lines: 7, unreadable: 1, cut: 2, evicted: 3 };
        assert_eq!(parse(b"E 7 1 2 3"), Some(Line::End(end)));
    }

    #[test]
    fn what_is_not_exactly_a_line_is_none() {
        for line in ["", "X", "R", "R 1 ", "R -1", "R +1", "R 18446744073709551616", "E 1 2 3"] {
            assert_eq!(parse(line.as_bytes()), None, "{line:?}");
        }
        for whole in [PACKET, SEND] {
            let fields: Vec<_> = whole.split(' ').collect();
            for n in 0..fields.len() {
                assert_eq!(parse(fields[..n].join(" ").as_bytes()), None, "{n} fields");
                // The last is looked at when it is needed.
                for bad in ["", "x", "-7", "429496729600000000000000000000000000000", "\u{1b}[2J"] {
                    let mut changed = fields.clone();
                    changed[n] = bad;
                    let line = changed.join(" ");
                    let read = parse(line.as_bytes());
                    assert!(read.is_none() || n == fields.len() - 1, "{n} {bad:?}");
                }
            }
            assert_eq!(parse((whole.to_owned() + " 0").as_bytes()), None);
            // A name that is longer than names are.
            assert_eq!(
                parse(
                    whole
                        .replacen("70696e67", &"61".repeat(17), 1)
                        .replacen("6375726c", &"61".repeat(17), 1)
                        .as_bytes()
                ),
                None
            );
        }
    }

    #[test]
    fn no_byte_in_a_line_leads_astray() {
        for whole in [PACKET, SEND] {
            for at in 0..whole.len() {
                for value in 0..=255 {
                    let mut line = whole.as_bytes().to_vec();
                    line[at] = value;
                    let _ = parse(&line);
                    line.truncate(at);
                    let _ = parse(&line);
                }
            }
        }
    }

    #[test]
    fn hex_is_whole_and_lower_case() {
        let mut out = vec![9];
        for bad in [&b"0"[..], b"0g", b"0A", b"00 0", b"\xff\xff"] {
            assert_eq!(unhex(bad, &mut out), None);
            assert_eq!(out, [9]);
        }
        unhex(b"00ff7f", &mut out).unwrap();
        assert_eq!(out, [9, 0, 255, 127]);
    }
}
