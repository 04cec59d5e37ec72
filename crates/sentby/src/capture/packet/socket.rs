//! AF_PACKET sockets (packet(7)): opened, filtered, then bound, so that no packet passes
//! before the filter stands.

use libc::{c_int, sock_filter, sock_fprog, socklen_t};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};

/// asm-generic/sockios.h: with the machine's own timespec.
const SIOCGSTAMPNS: libc::c_ulong = 0x8907;

/// linux/if_packet.h.
const SOL_PACKET: c_int = 263;
const PACKET_RX_RING: c_int = 5;
const PACKET_STATISTICS: c_int = 6;
const PACKET_VERSION: c_int = 10;
const TPACKET_V3: c_int = 2;

/// Every protocol: only such sockets see what goes out (`dev_queue_xmit_nit`,
/// net/core/dev.c).
const ETH_P_ALL: u16 = 3;

/// `struct tpacket_req3`.
#[repr(C)]
pub struct RingRequest {
    /// Bytes of a block, whole pages.
    pub block_size: u32,
    /// How many blocks.
    pub block_nr: u32,
    /// Bytes of a frame; of no meaning in version 3, but checked.
    pub frame_size: u32,
    /// How many frames.
    pub frame_nr: u32,
    /// Milliseconds after which a block that is not full is handed over.
    pub retire_blk_tov: u32,
    /// Unused.
    pub sizeof_priv: u32,
    /// Unused.
    pub feature_req_word: u32,
}

/// `struct tpacket_stats_v3`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
struct Statistics {
    packets: u32,
    drops: u32,
    freezes: u32,
}

/// An AF_PACKET socket.
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one that delivers packets from their network header on, and nothing yet.
    pub fn open() -> io::Result<Socket> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(Socket(socket_with(AddressFamily::PACKET, SocketType::DGRAM, flags, None)?))
    }

    /// Its descriptor.
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Lets through what the program accepts, in place of the program before.
    pub fn filter(&self, program: &mut [sock_filter]) -> io::Result<()> {
        let len = u16::try_from(program.len()).map_err(io::Error::other)?;
        let program = sock_fprog { len, filter: program.as_mut_ptr() };
        self.set(libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Begins to receive, from every interface: also from those that appear later.
    pub fn bind(&self) -> io::Result<()> {
        let address = libc::sockaddr_ll {
            sll_family: libc::AF_PACKET as u16,
            sll_protocol: ETH_P_ALL.to_be(),
            sll_ifindex: 0,
            sll_hatype: 0,
            sll_pkttype: 0,
            sll_halen: 0,
            sll_addr: [0; 8],
        };
        let len = size_of_val(&address) as socklen_t;
        // SAFETY: the pointer is to a whole sockaddr_ll, and the length is its size.
        check(unsafe { libc::bind(self.0.as_raw_fd(), (&raw const address).cast(), len) })
    }

    /// Makes a ring of blocks; it is then mapped.
    pub fn ring(&self, request: &RingRequest) -> io::Result<()> {
        self.set(SOL_PACKET, PACKET_VERSION, &TPACKET_V3)?;
        self.set(SOL_PACKET, PACKET_RX_RING, request)
    }

    /// Room for packets of a socket without a ring.
    pub fn receive_buffer(&self, bytes: c_int) -> io::Result<()> {
        self.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes)
    }

    /// Packets that found no room since the last call.
    pub fn take_drops(&self) -> io::Result<u64> {
        let mut stats = Statistics::default();
        let mut len = size_of_val(&stats) as socklen_t;
        let (fd, to) = (self.0.as_raw_fd(), (&raw mut stats).cast());
        // SAFETY: the pointer is to a whole structure of integers, and `len` is its size.
        check(unsafe { libc::getsockopt(fd, SOL_PACKET, PACKET_STATISTICS, to, &raw mut len) })?;
        Ok(u64::from(stats.drops))
    }

    /// Takes the next packet, as much as fits into `bytes`: how much that was, and where
    /// it was seen. `None` when nothing waits.
    pub fn receive(&self, bytes: &mut [u8]) -> Option<(usize, libc::sockaddr_ll)> {
        let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
        let mut len = size_of_val(&from) as socklen_t;
        let (fd, to) = (self.0.as_raw_fd(), bytes.as_mut_ptr().cast());
        // SAFETY: `to` has room for bytes.len(), `from` for the `len` bytes of an address.
        let got = unsafe {
            libc::recvfrom(fd, to, bytes.len(), 0, from.as_mut_ptr().cast(), &raw mut len)
        };
        let got = usize::try_from(got).ok()?;
        // SAFETY: zeroed above, and any bytes are valid for its integers.
        Some((got.min(bytes.len()), unsafe { from.assume_init() }))
    }

    /// When the packet that was received last was seen: nanoseconds since the Unix epoch.
    /// The first call has the kernel note it from then on, and tells nothing.
    pub fn last_seen(&self) -> Option<u64> {
        let mut at = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: the pointer is to a whole timespec, which the kernel fills.
        check(unsafe { libc::ioctl(self.0.as_raw_fd(), SIOCGSTAMPNS, &raw mut at) }).ok()?;
        let (seconds, rest) = (u64::try_from(at.tv_sec).ok()?, u64::try_from(at.tv_nsec).ok()?);
        (seconds > 0).then_some(seconds * 1_000_000_000 + rest)
    }

    fn set<T>(&self, level: c_int, option: c_int, value: &T) -> io::Result<()> {
        let (fd, len) = (self.0.as_raw_fd(), size_of::<T>() as socklen_t);
        // SAFETY: the pointer is to a whole T, and the length is its size.
        check(unsafe { libc::setsockopt(fd, level, option, (&raw const *value).cast(), len) })
    }
}

fn check(result: c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
