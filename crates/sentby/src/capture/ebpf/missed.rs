//! How often the kernel itself did not run what is attached, and what running it costs, as
//! far as it says.

use crate::ledger::Cost;
use libbpf_rs::{Link, Program};
use libbpf_sys::{bpf_link_info, bpf_prog_info};
use std::os::fd::{AsFd, AsRawFd};

/// Runs skipped because the program was running already on that CPU; `None` before
/// Linux 5.12 (9ed9e9ba2337), which does not count.
pub fn recursion_misses(program: &Program<'_>) -> Option<u64> {
    let (info, len) = info(program)?;
    let end = std::mem::offset_of!(bpf_prog_info, recursion_misses) + 8;
    (len >= end).then_some(info.recursion_misses)
}

/// What running a program has cost, as far as kernel.bpf_stats_enabled was set; `None` before
/// Linux 5.1 (492ecee892c2), which does not measure.
pub fn cost(program: &Program<'_>) -> Option<Cost> {
    let (info, len) = info(program)?;
    let end = std::mem::offset_of!(bpf_prog_info, run_cnt) + 8;
    (len >= end).then_some(Cost { runs: info.run_cnt, ns: info.run_time_ns })
}

/// What the kernel tells about a program, and how many bytes of that it knows.
fn info(program: &Program<'_>) -> Option<(bpf_prog_info, usize)> {
    let mut info = bpf_prog_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open, and info is a valid value of len bytes that
    // holds no pointers for the kernel to write to.
    let failed = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_fd().as_raw_fd(), &mut info, &mut len)
    };
    (failed == 0).then_some((info, len as usize))
}

/// Hits a kprobe missed because another was being handled on that CPU (`nmissed`);
/// `None` for other links, and before Linux 6.7 (3acf8ace6823), which does not say.
pub fn probe_misses(link: &Link) -> Option<u64> {
    let mut info = bpf_link_info::default();
    let mut len = size_of_val(&info) as u32;
    // SAFETY: the descriptor is open, and info is a valid value of len bytes whose
    // pointers are null, so that the kernel writes nowhere else.
    let failed = unsafe {
        libbpf_sys::bpf_link_get_info_by_fd(link.as_fd().as_raw_fd(), &mut info, &mut len)
    };
    if failed != 0 || info.type_ != libbpf_sys::BPF_LINK_TYPE_PERF_EVENT {
        return None;
    }
    // SAFETY: the kernel filled this member in for a link of that type; what it did
    // not write is zero.
    let event = unsafe { info.__bindgen_anon_1.perf_event };
    if event.type_ != libbpf_sys::BPF_PERF_EVENT_KPROBE {
        return None;
    }
    // SAFETY: as above, for an event of that type.
    Some(unsafe { event.__bindgen_anon_1.kprobe.missed })
}
