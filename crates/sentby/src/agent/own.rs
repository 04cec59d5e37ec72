//! What the agent knows of its own process: version and cost.

use std::fs;

/// Clock ticks in a second, the unit of /proc/PID/stat (USER_HZ).
const TICKS: f64 = 100.0;

/// The version, and the commit where one is known (build.rs).
pub fn build() -> (&'static str, Option<&'static str>) {
    let all = env!("SENTBY_VERSION");
    match all.split_once(" (") {
        Some((version, commit)) => (version, commit.strip_suffix(')')),
        None => (all, None),
    }
}

/// CPU time of all threads, user and system, in seconds.
pub fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // utime and stime are fields 14 and 15 of proc_pid_stat(5); the second may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS)
}

/// Memory that is resident, in bytes.
pub fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}
