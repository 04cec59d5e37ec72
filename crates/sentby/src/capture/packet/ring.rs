//! A ring of blocks that the kernel fills with packets and hands over one by one:
//! TPACKET_V3 (Documentation/networking/packet_mmap.rst).

use super::socket::{RingRequest, Socket};
use anyhow::{Context, Result};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of a block: several of the largest packets that are captured.
const BLOCK: usize = 128 * 1024;

/// Fewest blocks: one that is read, one that is filled, and room for a burst.
const BLOCKS_MIN: usize = 8;

/// Milliseconds after which a block is handed over, however little is in it.
const RETIRE: u32 = 1;

/// Offsets in `struct tpacket_block_desc`.
mod block {
    pub const STATUS: usize = 8;
    pub const PACKETS: usize = 12;
    pub const FIRST: usize = 16;
}

/// Offsets in `struct tpacket3_hdr`, and the length after which the address stands.
mod header {
    pub const NEXT: usize = 0;
    pub const SEC: usize = 4;
    pub const NSEC: usize = 8;
    pub const CAPTURED: usize = 12;
    pub const LEN: usize = 16;
    pub const MAC: usize = 24;
    pub const ADDRESS: usize = 48;
}

/// Offsets in `struct sockaddr_ll`.
mod address {
    pub const PROTOCOL: usize = 2;
    pub const IFINDEX: usize = 4;
    pub const PKTTYPE: usize = 10;
}

/// The block is user space's.
const TP_STATUS_USER: u32 = 1;
const TP_STATUS_KERNEL: u32 = 0;

/// A packet in the ring.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// When: nanoseconds since the Unix epoch.
    pub time: u64,
    /// Where it was seen.
    pub ifindex: u32,
    /// Its direction, of [`super::filter::pkttype`].
    pub pkttype: u8,
    /// Its EtherType.
    pub ethertype: u16,
    /// From the network header on.
    pub bytes: &'a [u8],
    /// Its whole length.
    pub len: u32,
}

/// The mapped ring.
pub struct Ring {
    map: NonNull<u8>,
    blocks: usize,
    next: usize,
}

impl Ring {
    /// Makes and maps a ring of about this many bytes.
    pub fn new(socket: &Socket, bytes: usize) -> Result<Ring> {
        let blocks = (bytes / BLOCK).max(BLOCKS_MIN);
        let request = RingRequest {
            block_size: BLOCK as u32,
            block_nr: u32::try_from(blocks).context("--buffer-size is too large")?,
            frame_size: 2048,
            frame_nr: u32::try_from(blocks * (BLOCK / 2048))
                .context("--buffer-size is too large")?,
            retire_blk_tov: RETIRE,
            sizeof_priv: 0,
            feature_req_word: 0,
        };
        socket.ring(&request).context("making the packet ring")?;
        let (protection, fd) = (libc::PROT_READ | libc::PROT_WRITE, socket.fd().as_raw_fd());
        // SAFETY: a new mapping, of the size that the ring has, at an address of the
        // kernel's choice.
        let map = unsafe {
            let none = std::ptr::null_mut();
            libc::mmap(none, blocks * BLOCK, protection, libc::MAP_SHARED, fd, 0)
        };
        if map == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("mapping the packet ring");
        }
        let map = NonNull::new(map.cast()).context("mapping the packet ring at address 0")?;
        Ok(Ring { map, blocks, next: 0 })
    }

    /// Hands the packets of the next block that the kernel is done with to `each`;
    /// false when there is none.
    pub fn read(&mut self, mut each: impl FnMut(Frame<'_>)) -> bool {
        if self.status().load(Ordering::Acquire) & TP_STATUS_USER == 0 {
            return false;
        }
        let mut at = self.word(block::FIRST).load(Ordering::Relaxed) as usize;
        let packets = self.word(block::PACKETS).load(Ordering::Relaxed);
        let bytes = self.block();
        for _ in 0..packets {
            let Some(frame) = bytes.get(at..).and_then(frame) else { break };
            each(frame);
            match word(&bytes[at..], header::NEXT) {
                None | Some(0) => break,
                Some(next) => at += next as usize,
            }
        }
        self.status().store(TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.blocks;
        true
    }

    /// Whether the kernel has something in the block that it fills.
    pub fn is_filling(&self) -> bool {
        self.status().load(Ordering::Acquire) & TP_STATUS_USER != 0
            || self.word(block::PACKETS).load(Ordering::Relaxed) > 0
    }

    /// The next block; it is user space's.
    fn block(&self) -> &[u8] {
        // SAFETY: `next` is below `blocks`, so this is within the mapping.
        let from = unsafe { self.map.add(self.next * BLOCK) };
        // SAFETY: BLOCK bytes of the mapping, which the kernel leaves alone until they are
        // given back.
        unsafe { std::slice::from_raw_parts(from.as_ptr(), BLOCK) }
    }

    fn status(&self) -> &AtomicU32 {
        self.word(block::STATUS)
    }

    /// A word of the next block's header, which the kernel may be writing.
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: `next` is below `blocks`, and the header within the block.
        let word = unsafe { self.map.add(self.next * BLOCK + offset) };
        // SAFETY: aligned, since blocks are whole pages and offsets are multiples of 4, and
        // mapped as long as `self` lives.
        unsafe { AtomicU32::from_ptr(word.cast().as_ptr()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, whole, and nothing refers to it any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.blocks * BLOCK) };
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_ne_bytes(*b))
}

fn half(bytes: &[u8], at: usize) -> Option<[u8; 2]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let from = bytes.get(header::ADDRESS..)?;
    let data = usize::from(u16::from_ne_bytes(half(bytes, header::MAC)?));
    let captured = word(bytes, header::CAPTURED)? as usize;
    let seconds = u64::from(word(bytes, header::SEC)?);
    Some(Frame {
        time: seconds * 1_000_000_000 + u64::from(word(bytes, header::NSEC)?),
        ifindex: word(from, address::IFINDEX)?,
        pkttype: *from.get(address::PKTTYPE)?,
        ethertype: u16::from_be_bytes(half(from, address::PROTOCOL)?),
        bytes: bytes.get(data..data + captured)?,
        len: word(bytes, header::LEN)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_where_its_header_says() {
        let mut bytes = vec![0u8; 100];
        bytes[header::SEC..][..4].copy_from_slice(&2u32.to_ne_bytes());
        bytes[header::NSEC..][..4].copy_from_slice(&3u32.to_ne_bytes());
        bytes[header::CAPTURED..][..4].copy_from_slice(&4u32.to_ne_bytes());
        bytes[header::LEN..][..4].copy_from_slice(&9u32.to_ne_bytes());
        bytes[header::MAC..][..2].copy_from_slice(&80u16.to_ne_bytes());
        let at = header::ADDRESS;
        bytes[at + address::PROTOCOL..][..2].copy_from_slice(&[0x86, 0xdd]);
        bytes[at + address::IFINDEX..][..4].copy_from_slice(&7u32.to_ne_bytes());
        bytes[at + address::PKTTYPE] = 4;
        bytes[80..84].copy_from_slice(b"data");
        let got = frame(&bytes).unwrap();
        assert_eq!((got.time, got.ifindex, got.pkttype), (2_000_000_003, 7, 4));
        assert_eq!((got.ethertype, got.bytes, got.len), (0x86dd, &b"data"[..], 9));
        for cut in 0..84 {
            assert!(frame(&bytes[..cut]).is_none(), "{cut}");
        }
    }
}
