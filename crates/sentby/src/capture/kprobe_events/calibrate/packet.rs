//! Where `ip_finish_output` and its IPv6 twin have the packet: by echo requests.

use super::room::Room;
use super::shot::{Gun, Hit, PLACES_MAX};
use crate::capture::kprobe_events::layout::{Layout, key};
use crate::capture::kprobe_events::path::Path;
use crate::capture::kprobe_events::{FUNCTION4, FUNCTION6, interrupt};
use anyhow::{Context, Result, bail, ensure};
use rustix::net::SendFlags;
use std::os::fd::OwnedFd;

/// Arguments that are looked at.
pub const ARGUMENTS: u8 = 3;

/// Words of each argument's object that are looked at.
pub const WORDS: u16 = (PLACES_MAX / ARGUMENTS as usize) as u16;

/// Words of a socket among which its namespace is.
const SOCK_WORDS: u16 = 24;

/// Shots at an interface for its namespace: `struct net_device` has up to 4 KiB.
const DEV_SHOTS: u16 = 4;

/// Tries to see an answer sent in an interrupt: the thread that answers may be another.
const ANSWER_TRIES: u32 = 20;

/// An echo request that is being sent.
struct Echo {
    socket: OwnedFd,
    /// ICMP header and payload. The kernel fills in the checksum of ICMPv6 only.
    bytes: Vec<u8>,
}

impl Echo {
    fn new(room: &mut Room, socket: OwnedFd, kind: u8) -> Result<Echo> {
        let random: [u8; 64] = room.draw()?;
        let [more, ..] = room.draw::<1>()?;
        let mut bytes = vec![kind, 0, 0, 0];
        bytes.extend_from_slice(&random);
        // A length that is hardly any other number nearby.
        bytes.resize(bytes.len() + 150 + usize::from(more), 0);
        let sum = checksum(&bytes);
        bytes[2..4].copy_from_slice(&sum.to_be_bytes());
        Ok(Echo { socket, bytes })
    }

    fn send(&self) -> Result<()> {
        rustix::net::send(&self.socket, &self.bytes, SendFlags::empty()).context("sending")?;
        Ok(())
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words =
        bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], *c.get(1).unwrap_or(&0)])));
    let sum = words.sum::<u32>();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

pub fn native(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |chunk| u64::from_ne_bytes(*chunk))
}

/// Addresses in the kernel's half; with 57-bit addresses they begin with 0xff.
pub fn is_pointer(word: u64) -> bool {
    (0xff00_0000_0000_0000..0xffff_ffff_ffff_f000).contains(&word)
}

/// The only place whose word is this in any hit; none, or several, are an answer too.
fn places_of(hits: &[Hit], word: u64) -> Vec<usize> {
    let count = hits.first().map_or(0, |hit| hit.words.len());
    (0..count).filter(|n| hits.iter().any(|hit| hit.words[*n] == word)).collect()
}

/// Finds the places of whole packets. Returns where a socket has its namespace, and
/// where that has its inode.
pub fn find(gun: &mut Gun<'_>, room: &mut Room, layout: &mut Layout) -> Result<Option<(u16, u16)>> {
    let socket = room.ping_socket()?;
    let echo = Echo::new(room, socket, 8)?;
    let mut search = Search { gun, echo: &echo, room };
    let data = search.data().with_context(|| format!("looking for packets at {FUNCTION4}"))?;
    let sock = search.sock(&data)?;
    let len = search.len(&data)?;
    let dev = search.dev(&data)?;
    let by_sock = search.sock_netns(&sock)?;
    let netns = search.netns(&sock, &dev, by_sock)?;
    let found = [
        (key::DATA4, Some(data.path())),
        (key::SOCK4, Some(sock.path())),
        (key::LEN4, len),
        (key::DEV4, dev.as_ref().map(|(_, name)| name.clone())),
        (key::NETNS4, netns),
    ];
    for (key, path) in found {
        if let Some(path) = path {
            layout.set(key, path);
        }
    }
    six(gun, room, layout)?;
    Ok(by_sock.map(|(net, inode, _)| (net, inode)))
}

/// A pointer in an argument's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pointer {
    argument: u8,
    offset: u16,
}

impl Pointer {
    fn path(self) -> Path {
        Path::argument(self.argument)
            .unwrap_or_else(|| unreachable!("few arguments"))
            .then(self.offset)
    }
}

struct Search<'a, 'b> {
    gun: &'a mut Gun<'b>,
    echo: &'a Echo,
    room: &'a Room,
}

impl Search<'_, '_> {
    fn shoot(&mut self, places: &[Path]) -> Result<Vec<Hit>> {
        let hits = self.gun.shoot(FUNCTION4, places, || self.echo.send())?;
        ensure!(!hits.is_empty(), "an echo request does not come by");
        Ok(hits)
    }

    /// Pointers among the words of the first arguments' objects.
    fn pointers(&mut self) -> Result<Vec<Pointer>> {
        let mut all = Vec::new();
        for argument in 0..ARGUMENTS {
            all.extend((0..WORDS).map(|n| Pointer { argument, offset: n * 8 }));
        }
        let places: Vec<Path> = all.iter().map(|p| p.path()).collect();
        let hits = self.shoot(&places)?;
        let held = |n: &usize| is_pointer(hits[0].words[*n]);
        Ok((0..all.len()).filter(held).map(|n| all[n]).collect())
    }

    /// The pointer behind which, 12 bytes on, both addresses are.
    fn data(&mut self) -> Result<Pointer> {
        let pointers = self.pointers()?;
        let [src, dst] = self.room.v4;
        let wanted = native(&[src.octets(), dst.octets()].concat());
        let places: Vec<Path> = pointers.iter().map(|p| p.path().then(12)).collect();
        let hits = self.shoot(&places)?;
        match places_of(&hits, wanted).as_slice() {
            [only] => Ok(pointers[*only]),
            [] => bail!("none of {} pointers leads to one", pointers.len()),
            several => bail!("{} of its pointers lead to one", several.len()),
        }
    }

    /// Pointers in the object that the packet was found in. They stand before it: `head`
    /// and `data` have been the last of `struct sk_buff` since Linux 2.6.22. What is
    /// behind it may be another packet.
    fn siblings(&mut self, data: &Pointer) -> Result<Vec<Pointer>> {
        let mut all = self.pointers()?;
        all.retain(|p| p.argument == data.argument && p.offset < data.offset);
        Ok(all)
    }

    /// The pointer to the connected socket: `struct sock_common` begins with its peer's
    /// address and its own (include/net/sock.h, since 2.6.37).
    fn sock(&mut self, data: &Pointer) -> Result<Pointer> {
        let pointers = self.siblings(data)?;
        let [src, dst] = self.room.v4;
        let wanted = native(&[dst.octets(), src.octets()].concat());
        let places: Vec<Path> = pointers.iter().map(|p| p.path().then(0)).collect();
        let hits = self.shoot(&places)?;
        match places_of(&hits, wanted).as_slice() {
            [only] => Ok(pointers[*only]),
            found => bail!("{} pointers to the socket of a packet", found.len()),
        }
    }

    /// Where the packet's length is, with nothing of it in pages behind it
    /// (`len`, `data_len` in include/linux/skbuff.h).
    fn len(&mut self, data: &Pointer) -> Result<Option<Path>> {
        let wanted = (20 + self.echo.bytes.len()) as u64;
        let object = Path::argument(data.argument).context("few arguments")?;
        let places: Vec<Path> =
            (0..data.offset / 4).take(PLACES_MAX).map(|n| object.then(n * 4)).collect();
        let hits = self.shoot(&places)?;
        // `data_len` is 0.
        let found = (0..places.len()).filter(|n| hits[0].words[*n] == wanted);
        let found: Vec<usize> = found.collect();
        Ok(match found.as_slice() {
            [only] => Some(places[*only].clone()),
            _ => None,
        })
    }

    /// The pointer to the interface, and where that has its name: at its beginning up to
    /// Linux 6.7.
    fn dev(&mut self, data: &Pointer) -> Result<Option<(Pointer, Path)>> {
        let pointers = self.siblings(data)?;
        let wanted = native(&self.room.name);
        let places: Vec<Path> = pointers.iter().map(|p| p.path().then(0)).collect();
        let hits = self.shoot(&places)?;
        if let [only] = places_of(&hits, wanted).as_slice() {
            return Ok(Some((pointers[*only], places[*only].clone())));
        }
        let mut found = Vec::new();
        for pointer in pointers {
            let places: Vec<Path> =
                (0..PLACES_MAX as u16).map(|n| pointer.path().then(n * 8)).collect();
            let hits = self.shoot(&places)?;
            let here = places_of(&hits, wanted);
            found.extend(here.into_iter().map(|n| (pointer, places[n].clone())));
        }
        Ok((found.len() == 1).then(|| found.remove(0)))
    }

    /// From the interface to the number of its namespace; by the socket, if the
    /// interface does not tell.
    fn netns(
        &mut self,
        sock: &Pointer,
        dev: &Option<(Pointer, Path)>,
        by_sock: Option<(u16, u16, u64)>,
    ) -> Result<Option<Path>> {
        let Some((net, inode, address)) = by_sock else { return Ok(None) };
        let by_sock = sock.path().then(net).then(inode);
        let Some((dev, _)) = dev else { return Ok(Some(by_sock)) };
        let mut found = Vec::new();
        for shot in 0..DEV_SHOTS {
            let words = PLACES_MAX as u16;
            let places: Vec<Path> =
                (0..words).map(|n| dev.path().then((shot * words + n) * 8)).collect();
            let hits = self.shoot(&places)?;
            let here = (0..places.len()).filter(|n| hits[0].words[*n] == address);
            found.extend(here.map(|n| places[n].then(inode)));
        }
        Ok(Some(if found.len() == 1 { found.remove(0) } else { by_sock }))
    }

    /// Where the socket has its namespace, where that has its inode, and its address.
    fn sock_netns(&mut self, sock: &Pointer) -> Result<Option<(u16, u16, u64)>> {
        let places: Vec<Path> = (0..SOCK_WORDS).map(|n| sock.path().then(n * 8)).collect();
        let words = self.shoot(&places)?[0].words.clone();
        let mut found = Vec::new();
        for n in (0..SOCK_WORDS).filter(|n| is_pointer(words[usize::from(*n)])) {
            let places: Vec<Path> =
                (0..PLACES_MAX as u16).map(|k| sock.path().then(n * 8).then(k * 4)).collect();
            let hits = self.shoot(&places)?;
            let inode = u64::from(self.room.inode);
            let here = (0..places.len()).filter(|k| hits[0].words[*k] & 0xffff_ffff == inode);
            found.extend(here.map(|k| (n * 8, k as u16 * 4, words[usize::from(n)])));
        }
        Ok(if let [only] = found.as_slice() { Some(*only) } else { None })
    }
}

/// The same places at the IPv6 twin, which may have the packet in another argument.
fn six(gun: &mut Gun<'_>, room: &mut Room, layout: &mut Layout) -> Result<()> {
    let Some(ends) = room.v6 else { return Ok(()) };
    let data = layout.get(key::DATA4).context("no layout of IPv4 packets")?.clone();
    let socket = room.ping6_socket(ends)?;
    let echo = Echo::new(room, socket, 128)?;
    let wanted: Vec<u64> =
        ends.iter().flat_map(|e| [native(&e.octets()), native(&e.octets()[8..])]).collect();
    let mut places = Vec::new();
    for argument in 0..ARGUMENTS {
        places.extend((1..5).map(|n| data.of_argument(argument).then(8 * n)));
    }
    let hits = gun
        .shoot(FUNCTION6, &places, || echo.send())
        .with_context(|| format!("looking for packets at {FUNCTION6}"))?;
    let fits = |argument: &u8| {
        let from = usize::from(*argument) * 4;
        hits.iter().any(|hit| hit.words[from..from + 4] == wanted)
    };
    let found: Vec<u8> = (0..ARGUMENTS).filter(fits).collect();
    let [argument] = found[..] else {
        bail!("{} arguments of {FUNCTION6} lead to a packet", found.len())
    };
    let twins = [
        (key::DATA4, key::DATA6),
        (key::SOCK4, key::SOCK6),
        (key::LEN4, key::LEN6),
        (key::DEV4, key::DEV6),
        (key::NETNS4, key::NETNS6),
    ];
    for (four, six) in twins {
        if let Some(path) = layout.get(four) {
            let path = path.of_argument(argument);
            layout.set(six, path);
        }
    }
    Ok(())
}

/// Holds a layout to other packets, byte for byte, and the kernel to what it says about
/// interrupts: a request is sent by this thread, its answer in an interrupt.
pub fn verify(gun: &mut Gun<'_>, room: &mut Room, layout: &Layout) -> Result<()> {
    let echo = Echo::new(room, room.ping_socket()?, 8)?;
    let ends = [room.v4[0].octets(), room.v4[1].octets()].concat();
    let keys = [key::DATA4, key::SOCK4, key::LEN4, key::DEV4, key::NETNS4];
    one(gun, room, layout, &Sent { echo: &echo, function: FUNCTION4, header: 20, ends, keys })?;
    let Some(ends) = room.v6.filter(|_| layout.get(key::DATA6).is_some()) else { return Ok(()) };
    let echo = Echo::new(room, room.ping6_socket(ends)?, 128)?;
    let ends = [ends[0].octets(), ends[1].octets()].concat();
    let keys = [key::DATA6, key::SOCK6, key::LEN6, key::DEV6, key::NETNS6];
    one(gun, room, layout, &Sent { echo: &echo, function: FUNCTION6, header: 40, ends, keys })
}

/// What is sent to be found again.
struct Sent<'a> {
    echo: &'a Echo,
    function: &'static str,
    /// Bytes of the IP header, which ends with the addresses.
    header: usize,
    ends: Vec<u8>,
    keys: [&'static str; 5],
}

/// Words of a packet that are compared.
const COMPARED: u16 = 12;

fn one(gun: &mut Gun<'_>, room: &Room, layout: &Layout, sent: &Sent<'_>) -> Result<()> {
    let [data, sock, len, dev, netns] = sent.keys.map(|key| layout.get(key));
    let data = data.context("no layout of packets")?;
    let mut places: Vec<Path> = (0..COMPARED).map(|n| data.then(n * 8)).collect();
    let mut wanted: Vec<(&str, usize, u64, u64)> = Vec::new();
    let low = u64::from(u32::MAX);
    let mut add = |what, path: Option<Path>, value, mask| {
        if let Some(path) = path {
            wanted.push((what, places.len(), value, mask));
            places.push(path);
        }
    };
    let whole = (sent.header + sent.echo.bytes.len()) as u64;
    add("length", len.cloned(), whole, u64::MAX);
    add("interface", dev.cloned(), native(&room.name), u64::MAX);
    add("interface", dev.map(|d| d.further(8)), native(&room.name[8..]), u64::MAX);
    add("namespace", netns.cloned(), u64::from(room.inode), low);
    let sock_at = places.len();
    places.push(sock.context("no layout of sockets")?.clone());
    for _ in 0..ANSWER_TRIES {
        let hits = gun.shoot(sent.function, &places, || sent.echo.send())?;
        let bytes = |hit: &Hit| -> Vec<u8> {
            hit.words[..usize::from(COMPARED)].iter().flat_map(|w| w.to_ne_bytes()).collect()
        };
        let from = sent.header - sent.ends.len();
        let goes = |hit: &&Hit, ends: &[u8]| bytes(hit)[from..sent.header] == *ends;
        let request = hits.iter().find(|hit| goes(hit, &sent.ends));
        let request = request.with_context(|| format!("no packet at {}", sent.function))?;
        let (carried, body) = (bytes(request), &sent.echo.bytes);
        let compared = carried.len() - sent.header;
        ensure!(carried[sent.header + 4..] == body[4..compared], "another packet");
        for (what, n, value, mask) in &wanted {
            ensure!(request.words[*n] & mask == *value, "another {what}");
        }
        ensure!(is_pointer(request.words[sock_at]), "no socket");
        ensure!(!interrupt(request.flags), "a thread's own packet seems to come from an interrupt");
        let half = sent.ends.len() / 2;
        let back = [&sent.ends[half..], &sent.ends[..half]].concat();
        if let Some(answer) = hits.iter().find(|hit| goes(hit, &back)) {
            ensure!(interrupt(answer.flags), "an answer sent in an interrupt does not seem so");
            return Ok(());
        }
    }
    bail!("no answer was seen, so that it is not known how an interrupt looks")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_rfc() {
        assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(checksum(&[1]), !0x0100);
    }

    #[test]
    fn pointers_are_told_from_numbers() {
        assert!(is_pointer(0xffff_8880_0000_1000) && is_pointer(0xff11_0000_0000_1000));
        assert!(!is_pointer(0) && !is_pointer(u64::MAX) && !is_pointer(0x7fff_0000_0000));
    }
}
