//! perf_event_open(2): events of tracepoints into a ring, and what a ring holds.
//!
//! The attributes are those of the first version (64 bytes), with bits that every kernel
//! from 3.10 on reads the same way: vendors gave later ones other meanings.

use anyhow::{Context, Result, bail};
use perf::bindings as b;
use perf_event_open_sys as perf;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Size of the first version of `perf_event_attr` (`PERF_ATTR_SIZE_VER0`).
const ATTR_SIZE: u32 = 64;

/// What a perf event counts or samples on.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// Every hit of a trace event, with its record.
    Trace(u16),
    /// Nothing but changes of a thread's name.
    Names,
}

/// Whose events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The calling thread's, wherever it runs.
    ThisThread,
    /// Everyone's on this CPU.
    Cpu(u32),
}

/// An open perf event; it does not run before [`Event::enable`].
#[derive(Debug)]
pub struct Event(OwnedFd);

impl Event {
    /// Opens one; `wake` is how many bytes a ring holds before its reader is woken.
    pub fn open(kind: Kind, scope: Scope, wake: u32) -> Result<Event> {
        let mut attr = b::perf_event_attr { size: ATTR_SIZE, ..Default::default() };
        attr.set_disabled(1);
        match kind {
            Kind::Trace(id) => {
                attr.type_ = b::PERF_TYPE_TRACEPOINT;
                attr.config = u64::from(id);
                attr.__bindgen_anon_1.sample_period = 1;
                attr.sample_type = (b::PERF_SAMPLE_TID
                    | b::PERF_SAMPLE_TIME
                    | b::PERF_SAMPLE_CPU
                    | b::PERF_SAMPLE_RAW) as u64;
            }
            Kind::Names => {
                attr.type_ = b::PERF_TYPE_SOFTWARE;
                attr.config = b::PERF_COUNT_SW_CPU_CLOCK as u64;
                attr.sample_type = b::PERF_SAMPLE_TIME as u64;
                attr.set_comm(1);
                attr.set_sample_id_all(1);
            }
        }
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = wake;
        let (pid, cpu) = match scope {
            Scope::ThisThread => (0, -1),
            Scope::Cpu(cpu) => (-1, cpu as i32),
        };
        let fd = open(&mut attr, pid, cpu).context("perf_event_open")?;
        Ok(Event(fd))
    }

    /// Lets the kernel drop what does not fit this filter, before it is written.
    pub fn filter(&self, filter: &str) -> Result<()> {
        let text = CString::new(filter).context("a filter with a NUL")?;
        // SAFETY: the string outlives the call, which only reads it.
        let set = unsafe { perf::ioctls::SET_FILTER(self.0.as_raw_fd(), text.as_ptr().cast_mut()) };
        done(set).with_context(|| format!("the filter {filter}"))
    }

    /// Writes into another event's ring from now on; both are of the same CPU.
    pub fn join(&self, ring: &Ring) -> Result<()> {
        let into = ring.event.0.as_raw_fd();
        // SAFETY: both are open perf events.
        done(unsafe { perf::ioctls::SET_OUTPUT(self.0.as_raw_fd(), into) })
            .context("sharing a perf ring")
    }

    /// Starts it.
    pub fn enable(&self) -> Result<()> {
        // SAFETY: an open perf event; no memory is involved.
        done(unsafe { perf::ioctls::ENABLE(self.0.as_raw_fd(), 0) })
            .context("starting a perf event")
    }

    /// Stops it.
    pub fn disable(&self) -> Result<()> {
        // SAFETY: an open perf event; no memory is involved.
        done(unsafe { perf::ioctls::DISABLE(self.0.as_raw_fd(), 0) })
            .context("stopping a perf event")
    }

    /// How often it was hit so far, filter passed: written or lost.
    pub fn hits(&self) -> Result<u64> {
        let mut count = [0; 8];
        let read = rustix::io::read(&self.0, &mut count).context("reading a perf counter")?;
        if read != count.len() {
            bail!("a perf counter of {read} bytes");
        }
        Ok(u64::from_ne_bytes(count))
    }
}

fn done(result: i32) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(attr: &mut b::perf_event_attr, pid: i32, cpu: i32) -> io::Result<OwnedFd> {
    let mut call = |flags: u32| {
        // SAFETY: the attributes are whole and outlive the call.
        let fd = unsafe { perf::perf_event_open(attr, pid, cpu, -1, flags.into()) };
        done(fd).map(|()| fd)
    };
    // PERF_FLAG_FD_CLOEXEC came with Linux 3.14.
    let fd = match call(b::PERF_FLAG_FD_CLOEXEC) {
        Err(e) if e.raw_os_error() == Some(libc::EINVAL) => call(0)?,
        other => other?,
    };
    // SAFETY: the call returned a new descriptor, which nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    Ok(fd)
}

/// What stands in a ring.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// A hit of a trace event.
    Sample {
        /// Process, as seen in the opener's pid namespace; 0 where it has no pid there,
        /// and for idle CPUs.
        pid: u32,
        /// Thread.
        tid: u32,
        /// perf's own clock, in nanoseconds.
        time: u64,
        /// The event's record, in its own format.
        raw: &'a [u8],
    },
    /// This many were lost before.
    Lost(u64),
    /// A thread has got a name, at this time.
    Named(u64),
}

/// A mapped ring, and the event that made it.
pub struct Ring {
    event: Event,
    map: NonNull<u8>,
    page: usize,
    data: usize,
    scratch: Vec<u8>,
}

impl Ring {
    /// Maps the ring of an event: a power of two of pages.
    pub fn new(event: Event, pages: usize) -> Result<Ring> {
        let (page, pages) = (rustix::param::page_size(), pages.next_power_of_two());
        let len = (pages + 1) * page;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let fd = event.0.as_raw_fd();
        // SAFETY: a new mapping of a descriptor that we own; nothing is replaced.
        let map =
            unsafe { libc::mmap(std::ptr::null_mut(), len, protection, libc::MAP_SHARED, fd, 0) };
        if map == libc::MAP_FAILED {
            let e = io::Error::last_os_error();
            return Err(e).with_context(|| format!("mapping a perf ring of {} KiB", len / 1024));
        }
        let map = NonNull::new(map.cast()).context("a perf ring at address 0")?;
        Ok(Ring { event, map, page, data: pages * page, scratch: Vec::new() })
    }

    /// The event that made it.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// For poll(2).
    pub fn fd(&self) -> &OwnedFd {
        &self.event.0
    }

    /// Reads all that is there, oldest first.
    pub fn drain(&mut self, mut each: impl FnMut(Record<'_>)) {
        let head = self.place(std::mem::offset_of!(b::perf_event_mmap_page, data_head));
        let head = head.load(Ordering::Acquire);
        let tail = std::mem::offset_of!(b::perf_event_mmap_page, data_tail);
        let mut at = self.place(tail).load(Ordering::Relaxed);
        let mut scratch = std::mem::take(&mut self.scratch);
        while at < head {
            let header = self.copy::<8>(at);
            let kind = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]);
            let size = u64::from(u16::from_ne_bytes([header[6], header[7]]));
            if size < 8 || size > head - at {
                break;
            }
            scratch.clear();
            self.append(at + 8, size as usize - 8, &mut scratch);
            if let Some(record) = record(kind, &scratch) {
                each(record);
            }
            at += size;
        }
        self.scratch = scratch;
        self.place(tail).store(head, Ordering::Release);
    }

    fn place(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: within the first page of the mapping.
        let place = unsafe { self.map.add(offset) };
        // SAFETY: aligned (the fields are u64), mapped for as long as self lives, and
        // shared with the kernel, which reads and writes it atomically.
        unsafe { place.cast::<AtomicU64>().as_ref() }
    }

    fn copy<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = Vec::with_capacity(N);
        self.append(at, N, &mut bytes);
        bytes.try_into().unwrap_or([0; N])
    }

    /// Copies out of the ring, around its end.
    fn append(&self, at: u64, len: usize, out: &mut Vec<u8>) {
        let from = (at % self.data as u64) as usize;
        let first = len.min(self.data - from);
        for (from, len) in [(from, first), (0, len - first)] {
            // SAFETY: within the data pages of the mapping.
            let start = unsafe { self.map.add(self.page + from) };
            // SAFETY: `len` bytes from there are mapped; what lies between tail and head
            // is ours until tail moves.
            out.extend_from_slice(unsafe { std::slice::from_raw_parts(start.as_ptr(), len) });
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nothing refers to any more.
        unsafe { libc::munmap(self.map.as_ptr().cast(), self.page + self.data) };
    }
}

/// Reads one record; `None` for kinds that do not matter here.
fn record(kind: u32, bytes: &[u8]) -> Option<Record<'_>> {
    let u32_at = |at| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let u64_at = |at| Some(u64::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    match kind {
        b::PERF_RECORD_SAMPLE => {
            let size = u32_at(24)? as usize;
            let raw = bytes.get(28..)?;
            Some(Record::Sample {
                pid: u32_at(0)?,
                tid: u32_at(4)?,
                time: u64_at(8)?,
                raw: &raw[..size.min(raw.len())],
            })
        }
        b::PERF_RECORD_LOST => Some(Record::Lost(u64_at(8)?)),
        // Ends with the time, as `sample_id_all` asks.
        b::PERF_RECORD_COMM => Some(Record::Named(u64_at(bytes.len().checked_sub(8)?)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_within_their_bounds() {
        let mut sample = [7u32.to_ne_bytes(), 8u32.to_ne_bytes()].concat();
        sample.extend_from_slice(&99u64.to_ne_bytes());
        sample.extend_from_slice(&[0; 8]);
        sample.extend_from_slice(&400u32.to_ne_bytes());
        sample.extend_from_slice(b"raw!");
        let read = record(b::PERF_RECORD_SAMPLE, &sample);
        assert_eq!(read, Some(Record::Sample { pid: 7, tid: 8, time: 99, raw: b"raw!" }));
        for cut in 0..28 {
            assert_eq!(record(b::PERF_RECORD_SAMPLE, &sample[..cut]), None, "{cut}");
        }
        let lost = [1u64.to_ne_bytes(), 5u64.to_ne_bytes()].concat();
        assert_eq!(record(b::PERF_RECORD_LOST, &lost), Some(Record::Lost(5)));
        assert_eq!(record(b::PERF_RECORD_LOST, &lost[..9]), None);
        assert_eq!(record(b::PERF_RECORD_COMM, &[0; 4]), None);
        assert_eq!(record(77, &lost), None);
    }
}
