//! Questions to the kernel over netlink (netlink(7)): one request, its answers.

use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send,
    socket_with, sockopt,
};
use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// Length of a netlink header, of a message.
const HEADER: usize = 16;

/// Most bytes of one answer that are read; the kernel fills up to 32 KiB.
const ANSWER_MAX: usize = 32 * 1024;

/// The kernel answers at once; this is only so that nothing waits for ever: for one part
/// of an answer, and for all of it (a dump of a million sockets takes less).
const PATIENCE: Duration = Duration::from_millis(500);
const PATIENCE_IN_ALL: Duration = Duration::from_secs(2);

/// Flags of a request (linux/netlink.h).
const REQUEST: u16 = 1;
/// Asks for all that fit.
pub const DUMP: u16 = 0x300;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const MULTI: u16 = 2;

/// A netlink socket.
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    /// Opens one of a protocol; `None` is NETLINK_ROUTE.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Netlink> {
        let (family, kind) = (AddressFamily::NETLINK, SocketType::RAW);
        let socket = socket_with(family, kind, SocketFlags::CLOEXEC, protocol)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Netlink { socket, sequence: 0, buffer: vec![0; ANSWER_MAX] })
    }

    /// Sends a request and hands the body of each answer to `each`. The error is the
    /// kernel's own: `NotFound` where there is nothing to tell, `WouldBlock` or `TimedOut`
    /// where it took too long; what came before that was handed out.
    pub fn ask(
        &mut self,
        kind: u16,
        flags: u16,
        body: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut request = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        request.extend(kind.to_ne_bytes());
        request.extend((REQUEST | flags).to_ne_bytes());
        request.extend(self.sequence.to_ne_bytes());
        request.extend([0; 4]);
        request.extend(body);
        send(&self.socket, &request, SendFlags::empty())?;
        let until = Instant::now() + PATIENCE_IN_ALL;
        while Instant::now() < until {
            let (len, _) = recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty())?;
            if answers(&self.buffer[..len], self.sequence, &mut each)? {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// Reads the messages of one datagram; true when the last one is among them.
fn answers(mut bytes: &[u8], sequence: u32, each: &mut impl FnMut(&[u8])) -> io::Result<bool> {
    let mut last = false;
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let word = |at: usize| u32::from_ne_bytes([0, 1, 2, 3].map(|i| header[at + i]));
        let half = |at: usize| u16::from_ne_bytes([header[at], header[at + 1]]);
        let len = (word(0) as usize).clamp(HEADER, bytes.len());
        let (message, rest) = bytes.split_at(len.next_multiple_of(4).min(bytes.len()));
        bytes = rest;
        // What is left of a question that nobody waited for any more.
        if word(8) != sequence {
            continue;
        }
        let body = &message[HEADER..len];
        match half(4) {
            // Both end with a code: a dump that cannot be made is done at once.
            DONE | ERROR => {
                let code = body.first_chunk().map_or(-libc::EIO, |b| i32::from_ne_bytes(*b));
                return match code {
                    0.. => Ok(true),
                    _ => Err(io::Error::from_raw_os_error(code.saturating_neg())),
                };
            }
            _ => each(body),
        }
        last = half(6) & MULTI == 0;
    }
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let len = (HEADER + body.len()) as u32;
        let head = [
            len.to_ne_bytes(),
            [kind.to_ne_bytes(), flags.to_ne_bytes()].concat().try_into().unwrap(),
        ];
        [&head.concat()[..], &sequence.to_ne_bytes(), &[0; 4], body].concat()
    }

    #[test]
    fn answers_are_told_from_ends_and_errors() {
        let mut got = Vec::new();
        let mut read = |bytes: &[u8]| {
            answers(bytes, 7, &mut |body: &[u8]| got.push(body.to_vec())).map_err(|e| e.kind())
        };
        let error = |code: i32| message(ERROR, 0, 7, &code.to_ne_bytes());
        assert_eq!(read(&message(20, 0, 7, b"once")), Ok(true));
        assert_eq!(read(&message(20, MULTI, 7, b"more")), Ok(false));
        assert_eq!(read(&message(DONE, MULTI, 7, &[0; 4])), Ok(true));
        assert_eq!(read(&error(-libc::ENOENT)), Err(io::ErrorKind::NotFound));
        assert_eq!(
            read(&message(DONE, MULTI, 7, &(-libc::ENOENT).to_ne_bytes())),
            Err(io::ErrorKind::NotFound)
        );
        assert_eq!(read(&message(20, 0, 6, b"late")), Ok(false));
        for cut in 0..20 {
            let _ = read(&message(20, 0, 7, b"once")[..cut]);
        }
        assert_eq!(got[..2], [b"once", b"more"]);
    }
}
