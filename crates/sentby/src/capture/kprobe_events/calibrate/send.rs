//! Where `tcp_sendmsg` has the socket, and what is sent: by a connection within the
//! namespace, and random bytes sent in every way.

use super::packet::{ARGUMENTS, WORDS, is_pointer, native};
use super::room::Room;
use super::shot::{Gun, Hit, PLACES_MAX};
use crate::capture::kprobe_events::layout::{Layout, key};
use crate::capture::kprobe_events::path::Path;
use crate::capture::kprobe_events::{FUNCTION_SEND, interrupt};
use anyhow::{Context, Result, bail, ensure};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketFlags, SocketType, socket_with,
};
use std::io::{IoSlice, Read};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};

/// Bytes sent at once.
const SENT: usize = 251;

/// Bytes of the first of two vectors.
const FIRST: usize = 244;

/// Arguments that may be the number of bytes.
const SIZE_ARGUMENTS: u8 = 5;

/// Words of a message's header that are looked at.
const MESSAGE_WORDS: u16 = 24;

/// Words compared of what was sent.
const COMPARED: u16 = 8;

/// Words of `struct sock_common`, which has IPv6 addresses since Linux 3.13; behind it
/// there may be copies.
const COMMON_WORDS: usize = 17;

/// Words looked at behind a pointer for IPv6 addresses: Linux 3.10 has them there.
const BEHIND: u16 = 20;

/// Sizes of sends that are held back (MSG_MORE): of all that a socket counts only the
/// number of the next byte grows by just these.
const HELD: [usize; 4] = [11, 29, 5, 17];

/// Bytes of `struct tcp_sock` that are looked at; 2.4 KB of it exist in Linux 6.12.
const SOCK_BYTES: usize = 3 * PLACES_MAX * 8;

/// The ways to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Send,
    Write,
    Vectors,
}

const WAYS: [Way; 3] = [Way::Send, Way::Write, Way::Vectors];

/// A connection within the namespace.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    bytes: [u8; SENT],
}

impl Connection {
    fn new(room: &mut Room, [from, to]: [IpAddr; 2]) -> Result<Connection> {
        let listener = TcpListener::bind((to, 0)).context("listening")?;
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let client = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .context("opening a socket")?;
        rustix::net::bind(&client, &SocketAddr::new(from, 0)).context("binding it")?;
        rustix::net::connect(&client, &listener.local_addr()?).context("connecting it")?;
        let (server, _) = listener.accept().context("accepting")?;
        Ok(Connection { client: client.into(), server, bytes: room.draw()? })
    }

    fn send(&mut self, way: Way) -> Result<()> {
        let sent = match way {
            Way::Send => rustix::net::send(&self.client, &self.bytes, SendFlags::empty())?,
            // Not TcpStream's, which is send(2): Linux 6.0 to 6.3 take only write(2) directly.
            Way::Write => rustix::io::write(&self.client, &self.bytes)?,
            Way::Vectors => {
                let parts =
                    [IoSlice::new(&self.bytes[..FIRST]), IoSlice::new(&self.bytes[FIRST..])];
                let mut nothing = SendAncillaryBuffer::default();
                rustix::net::sendmsg(&self.client, &parts, &mut nothing, SendFlags::empty())?
            }
        };
        ensure!(sent == SENT, "sent {sent} bytes of {SENT}");
        self.server.read_exact(&mut [0; SENT]).context("receiving")
    }

    /// Sends that the peer does not see before the last one.
    fn hold(&mut self) -> Result<()> {
        for size in HELD {
            let sent = rustix::net::send(&self.client, &self.bytes[..size], SendFlags::MORE)?;
            ensure!(sent == size, "sent {sent} bytes of {size}");
        }
        rustix::net::send(&self.client, &self.bytes[..1], SendFlags::empty())?;
        let mut all = [0; SENT];
        self.server.read_exact(&mut all[..HELD.iter().sum::<usize>() + 1]).context("receiving")
    }

    /// What the first vector is, and how long.
    fn first(&self, way: Way) -> [u64; 2] {
        let len = if way == Way::Vectors { FIRST } else { SENT };
        [self.bytes.as_ptr() as u64, len as u64]
    }

    fn ends(&self) -> Result<[SocketAddr; 2]> {
        Ok([self.client.local_addr()?, self.client.peer_addr()?])
    }
}

fn shoot(gun: &mut Gun<'_>, places: &[Path], by: &mut Connection, way: Way) -> Result<Hit> {
    let hits = gun.shoot(FUNCTION_SEND, places, || by.send(way))?;
    ensure!(hits.len() == 1, "{} hits of {FUNCTION_SEND} for one send", hits.len());
    hits.into_iter().next().context("no hit")
}

fn argument(n: u8) -> Path {
    Path::argument(n).unwrap_or_else(|| unreachable!("few arguments"))
}

/// Finds the places of what TCP sends.
pub fn find(
    gun: &mut Gun<'_>,
    room: &mut Room,
    netns: Option<(u16, u16)>,
    layout: &mut Layout,
) -> Result<()> {
    let mut by = Connection::new(room, room.v4.map(IpAddr::V4))?;
    let sock = sock(gun, &mut by)?;
    let (place, direct) = message(gun, &mut by, sock)?;
    layout.set(key::SOCK, argument(sock));
    layout.set(key::ENDS4, argument(sock).then(0));
    layout.set(key::PORTS, argument(sock).then(12));
    layout.set(key::FAMILY, argument(sock).then(16));
    layout.set(key::SEQ, seq(gun, &mut by, sock)?);
    layout.set(key::SIZE, size(gun, &mut by)?);
    if let Some((net, inode)) = netns {
        layout.set(key::NETNS, argument(sock).then(net).then(inode));
    }
    if direct {
        layout.set(key::UBUF, place.clone());
    }
    layout.set(key::IOVEC, place);
    let Some(ends) = room.v6 else { return Ok(()) };
    let mut by = Connection::new(room, ends.map(IpAddr::V6))?;
    if let Some([dst, src]) = addresses6(gun, &mut by, sock)? {
        layout.set(key::DADDR6, dst);
        layout.set(key::SADDR6, src);
    }
    Ok(())
}

/// The argument that is a socket: it begins with both addresses, then a hash, and both
/// ports (`struct sock_common` in include/net/sock.h, since 2.6.37).
fn sock(gun: &mut Gun<'_>, by: &mut Connection) -> Result<u8> {
    let places: Vec<Path> =
        (0..ARGUMENTS).flat_map(|n| [argument(n).then(0), argument(n).then(12)]).collect();
    let wanted = sock_words(by)?;
    let hit = shoot(gun, &places, by, Way::Send)?;
    let fits = |n: &u8| {
        let at = usize::from(*n) * 2;
        [hit.words[at], hit.words[at + 1] & 0xffff_ffff_ffff] == wanted
    };
    let found: Vec<u8> = (0..ARGUMENTS).filter(fits).collect();
    match found[..] {
        [only] => Ok(only),
        _ => bail!("{} arguments of {FUNCTION_SEND} are the socket", found.len()),
    }
}

/// The words of an IPv4 socket at 0, and at 12: ports and family.
fn sock_words(by: &Connection) -> Result<[u64; 2]> {
    let [src, dst] = by.ends()?;
    let (IpAddr::V4(from), IpAddr::V4(to)) = (src.ip(), dst.ip()) else { bail!("not IPv4") };
    let ends = [to.octets(), from.octets()].concat();
    let ports = [dst.port().to_be_bytes(), src.port().to_ne_bytes()].concat();
    let family = (libc::AF_INET as u16).to_ne_bytes();
    Ok([native(&ends), native(&[&ports[..], &family, &[0; 2]].concat())])
}

/// Where the socket has the number of the next byte that it takes (`write_seq` of `struct
/// tcp_sock`). Bytes that were offered say less: a socket may take a part of them.
fn seq(gun: &mut Gun<'_>, by: &mut Connection, sock: u8) -> Result<Path> {
    let mut found = Vec::new();
    for from in (0..SOCK_BYTES).step_by(PLACES_MAX * 8) {
        let at = |n: usize| argument(sock).then((from + n * 8) as u16);
        let places: Vec<Path> = (0..PLACES_MAX).map(at).collect();
        let hits = gun.shoot(FUNCTION_SEND, &places, || by.hold())?;
        let count = hits.len();
        ensure!(
            count == HELD.len() + 1,
            "{count} hits of {FUNCTION_SEND} for {} sends",
            HELD.len() + 1
        );
        for (n, place) in places.iter().enumerate() {
            for half in [0, 1] {
                let number = |hit: &Hit| half_of(hit.words[n], half);
                let grows = |(pair, size): (&[Hit], &usize)| {
                    number(&pair[1]).wrapping_sub(number(&pair[0])) == *size as u32
                };
                if hits.windows(2).zip(&HELD).all(grows) {
                    found.push(place.further(half * 4));
                }
            }
        }
    }
    match found.as_slice() {
        [only] => Ok(only.clone()),
        _ => bail!("{} places of a socket count what it takes", found.len()),
    }
}

/// The four bytes at 0 or at 4 of eight.
fn half_of(word: u64, half: u16) -> u32 {
    let bytes = word.to_ne_bytes();
    let at = usize::from(half) * 4;
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The argument that is the number of bytes.
fn size(gun: &mut Gun<'_>, by: &mut Connection) -> Result<Path> {
    let places: Vec<Path> = (0..SIZE_ARGUMENTS).map(argument).collect();
    let hit = shoot(gun, &places, by, Way::Send)?;
    let found: Vec<usize> = (0..places.len()).filter(|n| hit.words[*n] == SENT as u64).collect();
    match found[..] {
        [only] => Ok(places[only].clone()),
        _ => bail!("{} arguments of {FUNCTION_SEND} are the size", found.len()),
    }
}

/// Where the message has its vectors' address, and whether it may have the address of
/// what is sent there instead (ITER_UBUF, Linux 6.0).
fn message(gun: &mut Gun<'_>, by: &mut Connection, sock: u8) -> Result<(Path, bool)> {
    let mut places = Vec::new();
    for n in (0..ARGUMENTS).filter(|n| *n != sock) {
        places.extend((0..MESSAGE_WORDS.min(WORDS)).map(|w| argument(n).then(w * 8)));
    }
    // A copy may stand on the stack by chance: what is in the right place in every way is it.
    let mut by_vectors = places.clone();
    let mut direct = Vec::new();
    for way in WAYS {
        let (vectors, own) = ways(gun, by, &places, way)?;
        match vectors.is_empty() && way != Way::Vectors {
            true => direct.push(own),
            false => by_vectors.retain(|p| vectors.contains(p)),
        }
    }
    by_vectors.retain(|p| direct.iter().all(|own| own.contains(p)));
    match by_vectors.as_slice() {
        [only] => Ok((only.clone(), !direct.is_empty())),
        found => bail!("{} places of what is sent at {FUNCTION_SEND}", found.len()),
    }
}

/// Places that lead to the vectors, and that lead to what is sent itself.
fn ways(
    gun: &mut Gun<'_>,
    by: &mut Connection,
    places: &[Path],
    way: Way,
) -> Result<(Vec<Path>, Vec<Path>)> {
    let mut wide = places.to_vec();
    wide.extend(places.iter().map(|p| p.then(0)));
    let hit = shoot(gun, &wide, by, way)?;
    let [base, len] = by.first(way);
    let n = places.len();
    let own = (0..n).filter(|i| hit.words[*i] == base).map(|i| places[i].clone()).collect();
    let likely: Vec<&Path> =
        (0..n).filter(|i| hit.words[n + i] == base).map(|i| &places[i]).collect();
    let lengths: Vec<Path> = likely.iter().map(|p| p.then(8)).collect();
    let mut vectors = Vec::new();
    if !lengths.is_empty() {
        let hit = shoot(gun, &lengths, by, way)?;
        let fits = likely.iter().zip(&hit.words).filter(|(_, word)| **word == len);
        vectors.extend(fits.map(|(place, _)| (*place).clone()));
    }
    Ok((vectors, own))
}

/// Where an IPv6 socket has its peer's address and its own: within, or behind one of
/// its pointers (before Linux 3.13).
fn addresses6(gun: &mut Gun<'_>, by: &mut Connection, sock: u8) -> Result<Option<[Path; 2]>> {
    let [src, dst] = by.ends()?.map(|end| end.ip());
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (src, dst) else { bail!("not IPv6") };
    let places: Vec<Path> = (0..PLACES_MAX as u16).map(|n| argument(sock).then(n * 8)).collect();
    let words = shoot(gun, &places, by, Way::Send)?.words;
    let ends = [dst.octets(), src.octets()];
    let common = &words[..COMMON_WORDS];
    if let Some(found) = both(common, &ends, |at| argument(sock).then(at)) {
        return Ok(Some(found));
    }
    let pointers: Vec<u16> =
        (0..words.len()).filter(|n| is_pointer(words[*n])).map(|n| n as u16 * 8).collect();
    for some in pointers.chunks(PLACES_MAX / usize::from(BEHIND)) {
        let behind = |p: &u16| {
            let pointer = argument(sock).then(*p);
            (0..BEHIND).map(move |n| pointer.then(n * 8))
        };
        let places: Vec<Path> = some.iter().flat_map(behind).collect();
        let words = shoot(gun, &places, by, Way::Send)?.words;
        for (pointer, words) in some.iter().zip(words.chunks(usize::from(BEHIND))) {
            let place = |at| argument(sock).then(*pointer).then(at);
            if let Some(found) = both(words, &ends, place) {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// The places of both addresses, if each stands among these words exactly once.
fn both(words: &[u64], ends: &[[u8; 16]; 2], place: impl Fn(u16) -> Path) -> Option<[Path; 2]> {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_ne_bytes()).collect();
    let only = |address: &[u8; 16]| {
        let mut found = (0..bytes.len()).step_by(4).filter(|n| bytes[*n..].starts_with(address));
        found.next().filter(|_| found.next().is_none()).map(|at| place(at as u16))
    };
    Some([only(&ends[0])?, only(&ends[1])?])
}

/// Holds a layout to another connection, and to other bytes, in every way to send.
pub fn verify(gun: &mut Gun<'_>, room: &mut Room, layout: &Layout) -> Result<()> {
    let Some(vectors) = layout.get(key::IOVEC) else { return Ok(()) };
    let get = |key| layout.get(key).with_context(|| format!("no {key}")).cloned();
    let mut by = Connection::new(room, room.v4.map(IpAddr::V4))?;
    let mut places = vec![
        vectors.clone(),
        get(key::SIZE)?,
        get(key::ENDS4)?,
        get(key::PORTS)?,
        get(key::FAMILY)?,
        get(key::SEQ)?,
    ];
    places.extend(layout.get(key::NETNS).cloned());
    let data = places.len();
    places.extend((0..COMPARED).map(|n| vectors.then(0).then(n * 8)));
    places.extend((0..COMPARED).map(|n| vectors.then(n * 8)));
    let [ends, ports] = sock_words(&by)?;
    let mut next = None;
    for way in WAYS {
        let hit = shoot(gun, &places, &mut by, way)?;
        let words = &hit.words;
        ensure!(!interrupt(hit.flags), "a thread's own send seems to come from an interrupt");
        ensure!(words[1] & 0xffff_ffff == SENT as u64, "another size");
        ensure!(words[2] == ends, "other addresses");
        ensure!(words[3] & 0xffff_ffff == ports & 0xffff_ffff, "other ports");
        ensure!(words[4] & 0xffff == libc::AF_INET as u64, "another family");
        let seq = words[5] as u32;
        ensure!(next.is_none_or(|next| next == seq), "another sequence number");
        next = Some(seq.wrapping_add(SENT as u32));
        ensure!(data == 6 || words[6] as u32 == room.inode, "another namespace");
        let from = match is_pointer(words[0]) {
            true => data,
            false => data + usize::from(COMPARED),
        };
        let seen = words[from..from + usize::from(COMPARED)].iter().flat_map(|w| w.to_ne_bytes());
        ensure!(seen.eq(by.bytes[..usize::from(COMPARED) * 8].iter().copied()), "other bytes");
    }
    six(gun, room, layout)
}

/// The IPv6 addresses, by a connection between two different ones.
fn six(gun: &mut Gun<'_>, room: &mut Room, layout: &Layout) -> Result<()> {
    let (Some(dst), Some(src)) = (layout.get(key::DADDR6), layout.get(key::SADDR6)) else {
        return Ok(());
    };
    let Some(ends) = room.v6 else { return Ok(()) };
    let mut by = Connection::new(room, ends.map(IpAddr::V6))?;
    let places = [dst.clone(), dst.further(8), src.clone(), src.further(8)];
    let words = shoot(gun, &places, &mut by, Way::Send)?.words;
    let [from, to] = ends.map(|end| end.octets());
    let wanted = [native(&to), native(&to[8..]), native(&from), native(&from[8..])];
    ensure!(words == wanted, "other IPv6 addresses");
    Ok(())
}
