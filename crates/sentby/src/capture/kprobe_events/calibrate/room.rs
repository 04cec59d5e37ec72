//! A network namespace of one's own, in which everything that can be chosen is random:
//! addresses, the interface's name, what is sent. Nothing leaves it, and no rule or
//! traffic of the host meets it.

use anyhow::{Context, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, socket_with};
use std::fs::{self, File};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;

/// Longest name of an interface, without the NUL (IFNAMSIZ - 1).
const NAME_LEN: usize = 15;

/// The namespace that the calling thread has moved into, for good.
pub struct Room {
    /// Name of its only interface.
    pub name: [u8; 16],
    /// Inode of the namespace.
    pub inode: u32,
    /// Two addresses of its interface.
    pub v4: [Ipv4Addr; 2],
    /// Two addresses of its interface; `None` without IPv6.
    pub v6: Option<[Ipv6Addr; 2]>,
    random: File,
}

/// `struct in6_ifreq` (include/uapi/linux/ipv6.h).
#[repr(C)]
struct AddressRequest {
    address: [u8; 16],
    prefix: u32,
    index: i32,
}

impl Room {
    /// Moves the calling thread into a new one. It must be a thread to be thrown away.
    pub fn new() -> Result<Room> {
        let mut random = File::open("/dev/urandom").context("opening /dev/urandom")?;
        // SAFETY: affects the calling thread only, and no memory.
        let moved = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        check(moved).context("making a network namespace")?;
        let tid = rustix::thread::gettid().as_raw_nonzero();
        let inode = fs::metadata(format!("/proc/self/task/{tid}/ns/net"))
            .context("reading the network namespace's inode")?
            .ino() as u32;
        let name = name(&mut random)?;
        rename_and_raise(&name).context("raising the loopback interface of a new namespace")?;
        let loopback = |bytes: [u8; 4]| Ipv4Addr::new(127, bytes[0] | 1, bytes[1], bytes[2] | 1);
        let v4 = [loopback(draw(&mut random)?), loopback(draw(&mut random)?)];
        let local = |mut bytes: [u8; 16]| {
            bytes[0] = 0xfd;
            Ipv6Addr::from(bytes)
        };
        let v6 = [local(draw(&mut random)?), local(draw(&mut random)?)];
        // The kernel may have been started without IPv6.
        let v6 = v6.iter().try_for_each(add_address).is_ok().then_some(v6);
        Ok(Room { name, inode, v4, v6, random })
    }

    /// Random bytes.
    pub fn draw<const N: usize>(&mut self) -> Result<[u8; N]> {
        draw(&mut self.random)
    }

    /// A raw socket from the first address to the second.
    pub fn ping_socket(&self) -> Result<OwnedFd> {
        let kind = (SocketType::RAW, SocketFlags::CLOEXEC);
        let fd = socket_with(AddressFamily::INET, kind.0, kind.1, Some(ipproto::ICMP))
            .context("opening a raw socket")?;
        rustix::net::bind(&fd, &SocketAddrV4::new(self.v4[0], 0)).context("binding it")?;
        rustix::net::connect(&fd, &SocketAddrV4::new(self.v4[1], 0)).context("connecting it")?;
        Ok(fd)
    }

    /// The same for IPv6.
    pub fn ping6_socket(&self, ends: [Ipv6Addr; 2]) -> Result<OwnedFd> {
        let kind = (SocketType::RAW, SocketFlags::CLOEXEC);
        let fd = socket_with(AddressFamily::INET6, kind.0, kind.1, Some(ipproto::ICMPV6))
            .context("opening a raw socket")?;
        let end = |address| SocketAddrV6::new(address, 0, 0, 0);
        rustix::net::bind(&fd, &end(ends[0])).context("binding it")?;
        rustix::net::connect(&fd, &end(ends[1])).context("connecting it")?;
        Ok(fd)
    }
}

fn check(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn draw<const N: usize>(random: &mut File) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random.read_exact(&mut bytes).context("reading /dev/urandom")?;
    Ok(bytes)
}

/// A name that stands nowhere in memory yet.
fn name(random: &mut File) -> Result<[u8; 16]> {
    let bytes: [u8; NAME_LEN] = draw(random)?;
    let mut name = [0; 16];
    for (to, from) in name.iter_mut().zip(bytes) {
        *to = b'a' + from % 26;
    }
    Ok(name)
}

fn rename_and_raise(name: &[u8; 16]) -> io::Result<()> {
    let kind = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let fd = socket_with(AddressFamily::INET, kind.0, kind.1, None)?;
    let new_name = name.map(|byte| byte as libc::c_char);
    let mut old = [0; 16];
    old[..2].copy_from_slice(&[b'l' as libc::c_char, b'o' as libc::c_char]);
    let mut request = libc::ifreq {
        ifr_name: old,
        ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_newname: new_name },
    };
    // SAFETY: the request is whole, and outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFNAME as _, &mut request) })?;
    request.ifr_name = new_name;
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: as before.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &mut request) })
}

fn add_address(address: &Ipv6Addr) -> io::Result<()> {
    // The loopback interface of a new namespace is its first.
    const LOOPBACK: i32 = 1;
    let kind = (SocketType::DGRAM, SocketFlags::CLOEXEC);
    let fd = socket_with(AddressFamily::INET6, kind.0, kind.1, None)?;
    let mut request = AddressRequest { address: address.octets(), prefix: 128, index: LOOPBACK };
    // SAFETY: the request is whole, and outlives the call.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFADDR as _, &mut request) })
}
