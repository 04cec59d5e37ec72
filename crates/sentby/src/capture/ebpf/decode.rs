//! Records of the kernel side, as items of a batch.

use super::skeleton::types::{
    sentby_evidence as ev, sentby_flag as flag, sentby_kind as record_kind, sentby_outcome,
    sentby_packet, sentby_process, sentby_process_flag as process_flag,
};
use crate::event::{
    Ancestor, Batch, Capture, Evidence, Iface, Item, NS_PER_TICK, Outcome, Process, ProcessKey,
    Task, Wanted, until_nul,
};
use wire::{Ending, Layer};

/// What reading a record needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Nanoseconds from CLOCK_MONOTONIC's zero to the Unix epoch's.
    pub monotonic: i64,
    /// Nanoseconds from boot to the Unix epoch; fixed for a run, so that the start of
    /// a process always reads the same.
    pub boot: i64,
    /// Whether the kernel side follows descendants.
    pub follows: bool,
}

fn since_epoch(ns: u64, offset: i64) -> u64 {
    ns.wrapping_add_signed(offset)
}

/// Appends a record to a batch; `false` when it is none this version knows.
pub fn record(
    bytes: &[u8],
    reading: &Reading,
    hook_names: &[&'static str],
    batch: &mut Batch,
) -> bool {
    let item = match bytes.first().map(|k| u32::from(*k)) {
        Some(k) if k == record_kind::SENTBY_KIND_PACKET.0 => {
            packet(bytes, reading, hook_names, batch).map(Item::Capture)
        }
        Some(k) if k == record_kind::SENTBY_KIND_ANSWER.0 => {
            packet(bytes, reading, hook_names, batch).map(Item::Answer)
        }
        Some(k) if k == record_kind::SENTBY_KIND_OUTCOME.0 => outcome(bytes, reading),
        Some(k) if k == record_kind::SENTBY_KIND_PROCESS.0 => process(bytes, reading),
        _ => None,
    };
    match item {
        Some(item) => batch.items.push(item),
        None => return false,
    }
    true
}

/// Types that any bytes are a valid value of.
///
/// # Safety
/// Only for types without padding-sensitive or restricted values.
unsafe trait Plain: Copy {}

// SAFETY: integers and arrays of integers only.
unsafe impl Plain for sentby_packet {}
// SAFETY: integers only.
unsafe impl Plain for sentby_outcome {}
// SAFETY: integers, arrays of integers, and structs of those only.
unsafe impl Plain for sentby_process {}

fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: the slice is long enough, the read may be unaligned, and T is Plain.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

fn comm(raw: &[i8; 16]) -> [u8; 16] {
    raw.map(|c| c as u8)
}

fn key(pid: u32, start: u64) -> ProcessKey {
    ProcessKey { pid, start_ticks: start / NS_PER_TICK }
}

fn packet(
    bytes: &[u8],
    reading: &Reading,
    hook_names: &[&'static str],
    batch: &mut Batch,
) -> Option<Capture> {
    let r: sentby_packet = read(bytes)?;
    let has = |f: flag| r.flags & f.0 != 0;
    let evidence = match u32::from(r.evidence) {
        e if e == ev::SENTBY_EVIDENCE_TASK.0 => Evidence::Task,
        e if e == ev::SENTBY_EVIDENCE_OWNER.0 => Evidence::Owner,
        e if e == ev::SENTBY_EVIDENCE_KERNEL.0 => Evidence::Kernel,
        e if e == ev::SENTBY_EVIDENCE_FORWARDED.0 => Evidence::Forwarded,
        _ => Evidence::Unknown,
    };
    let task = evidence.names_a_process().then(|| Task {
        key: has(flag::SENTBY_HAS_PID).then(|| key(r.pid, r.start)),
        tid: (has(flag::SENTBY_HAS_TID) && r.tid != 0).then_some(r.tid),
        comm: has(flag::SENTBY_HAS_COMM).then(|| comm(&r.comm)),
        uid: has(flag::SENTBY_HAS_UID).then_some(r.uid),
    });
    let room = &bytes[size_of::<sentby_packet>()..];
    let from = batch.bytes.len();
    batch.bytes.extend_from_slice(&room[..room.len().min(r.captured as usize)]);
    Some(Capture {
        time: since_epoch(r.time, reading.monotonic),
        hook: hook_names.get(usize::from(r.hook)).copied()?,
        evidence,
        task,
        socket_inode: has(flag::SENTBY_HAS_INODE).then_some(r.inode),
        outcome_follows: true,
        holders: None,
        shared: has(flag::SENTBY_SHARED),
        netns: has(flag::SENTBY_HAS_NETNS).then_some(r.netns),
        iface: has(flag::SENTBY_HAS_IFACE)
            .then(|| Iface { index: Some(r.ifindex), name: comm(&r.ifname) }),
        descends: reading.follows.then(|| has(flag::SENTBY_DESCENDS)),
        wanted: match has(flag::SENTBY_PAYLOAD) {
            true => {
                Wanted::Payload { begins: has(flag::SENTBY_BEGINS), opens: has(flag::SENTBY_OPENS) }
            }
            false => Wanted::Packet,
        },
        layer: Layer::Ip,
        bytes: from..batch.bytes.len(),
        len: Some(r.len),
        segment: (r.segment != 0).then_some(r.segment),
        recorded: None,
    })
}

fn outcome(bytes: &[u8], reading: &Reading) -> Option<Item> {
    let r: sentby_outcome = read(bytes)?;
    Some(Item::Outcome(Outcome {
        time: since_epoch(r.time, reading.monotonic),
        inode: r.inode,
        ending: ending(r.state, i32::from(r.error)),
    }))
}

/// How it ended, by the socket's state and error (include/net/tcp_states.h; errno.h).
fn ending(state: u8, error: i32) -> Ending {
    const ESTABLISHED: u8 = 1;
    match error {
        _ if state == ESTABLISHED => Ending::Established,
        0 => Ending::Abandoned,
        libc::ECONNREFUSED => Ending::Refused,
        libc::ETIMEDOUT => Ending::TimedOut,
        libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EHOSTDOWN | libc::ENETDOWN => {
            Ending::Unreachable
        }
        _ => Ending::Failed,
    }
}

fn process(bytes: &[u8], reading: &Reading) -> Option<Item> {
    let r: sentby_process = read(bytes)?;
    let argv = bytes.get(size_of::<sentby_process>()..)?;
    let has = |f: process_flag| u32::from(r.flags) & f.0 != 0;
    // Start of a process that is not in our pid namespace: it cannot be named.
    let pid = (r.pid != 0).then_some(r.pid)?;
    let ancestors = r.ancestor.iter().take(usize::from(r.ancestors)).map(|a| Ancestor {
        pid: (a.pid != 0).then_some(a.pid),
        comm: until_nul(&comm(&a.comm)).to_vec(),
    });
    let process = Process {
        start: Some(since_epoch(r.start, reading.boot)),
        ppid: (r.ppid != u32::MAX).then_some(r.ppid),
        ancestors: Some(ancestors.collect()),
        uid: Some(r.uid),
        comm: Some(until_nul(&comm(&r.comm)).to_vec()),
        exe: has(process_flag::SENTBY_HAS_EXE)
            .then(|| path(&r.exe, r.exe_len, has(process_flag::SENTBY_EXE_CUT))),
        exe_deleted: has(process_flag::SENTBY_EXE_DELETED),
        argv: has(process_flag::SENTBY_HAS_ARGV)
            .then(|| trim(argv.get(..r.argv_len as usize).unwrap_or(argv))),
        argv_truncated: has(process_flag::SENTBY_ARGV_CUT),
        // The root says nothing: where cgroup v1 is in use everyone is in it, and
        // /proc tells more.
        cgroup: (has(process_flag::SENTBY_HAS_CGROUP) && r.cgroup_len > 0)
            .then(|| path(&r.cgroup, r.cgroup_len, has(process_flag::SENTBY_CGROUP_CUT))),
        inner_pid: (r.inner_pid != pid && r.inner_pid != 0).then_some(r.inner_pid),
        container: None,
    };
    Some(Item::Process(key(pid, r.start), Box::new(process)))
}

/// The arguments without the NUL that ends the last one.
fn trim(argv: &[u8]) -> Vec<u8> {
    argv.strip_suffix(b"\0").unwrap_or(argv).to_vec()
}

/// A path from its names, last component first. A cut path lacks its beginning.
fn path(raw: &[i8; 768], len: u32, cut: bool) -> Vec<u8> {
    let len = (len as usize).min(raw.len());
    let raw: Vec<u8> = raw[..len].iter().map(|c| *c as u8).collect();
    let names = raw.strip_suffix(b"\0").unwrap_or(&raw);
    let mut path = if cut { b"...".to_vec() } else { Vec::new() };
    if names.is_empty() {
        path.push(b'/');
        return path;
    }
    for name in names.rsplit(|b| *b == 0) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &[u8]) -> ([i8; 768], u32) {
        let mut raw = [0i8; 768];
        for (to, from) in raw.iter_mut().zip(text) {
            *to = *from as i8;
        }
        (raw, text.len() as u32)
    }

    #[test]
    fn paths_are_put_together_from_their_end() {
        let (names, len) = raw(b"ping\0bin\0usr\0");
        assert_eq!(path(&names, len, false), b"/usr/bin/ping");
        assert_eq!(path(&names, len, true), b".../usr/bin/ping");
        assert_eq!(path(&raw(b"").0, 0, false), b"/");
        assert_eq!(path(&names, 9999, false).len(), path(&names, 768, false).len());
    }

    #[test]
    fn short_and_foreign_records_are_refused() {
        let reading = Reading { monotonic: 0, boot: 0, follows: false };
        let mut batch = Batch::default();
        for bytes in [&[][..], &[1u8, 0, 0][..], &[2u8; 40][..], &[99u8; 4096][..]] {
            assert!(!record(bytes, &reading, &["cgroup_skb"], &mut batch));
        }
        assert!(batch.items.is_empty());
    }

    #[test]
    fn lengths_in_records_are_not_believed() {
        let reading = Reading { monotonic: 0, boot: 0, follows: false };
        let mut batch = Batch::default();
        let mut bytes = vec![0xffu8; size_of::<sentby_process>() + 512];
        bytes[0] = record_kind::SENTBY_KIND_PROCESS.0 as u8;
        assert!(record(&bytes, &reading, &["cgroup_skb"], &mut batch));
        let mut bytes = vec![0xffu8; size_of::<sentby_packet>()];
        bytes[0] = record_kind::SENTBY_KIND_PACKET.0 as u8;
        assert!(!record(&bytes, &reading, &["cgroup_skb"], &mut batch), "hook 255");
        bytes[1] = 0;
        assert!(record(&bytes, &reading, &["cgroup_skb"], &mut batch));
    }
}
