//! What libbpf said last: it knows more about a refusal than its error codes tell.

use libbpf_rs::{PrintLevel, set_print};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Bytes of libbpf's messages that are kept.
const KEPT: usize = 64 * 1024;

static MESSAGES: Mutex<String> = Mutex::new(String::new());
static SHOW: AtomicBool = AtomicBool::new(false);

/// Catches libbpf's messages from now on; `show` prints them as well.
pub fn catch(show: bool) {
    SHOW.store(show, Ordering::Relaxed);
    set_print(Some((PrintLevel::Info, keep)));
}

fn keep(_: PrintLevel, message: String) {
    if SHOW.load(Ordering::Relaxed) {
        eprint!("{message}");
    }
    if let Ok(mut kept) = MESSAGES.lock()
        && kept.len() + message.len() <= KEPT
    {
        kept.push_str(&message);
    }
}

/// Forgets what was said.
pub fn clear() {
    if let Ok(mut kept) = MESSAGES.lock() {
        kept.clear();
    }
}

/// The last line that gives a reason, without libbpf's prefix.
pub fn reason() -> Option<String> {
    find_reason(&MESSAGES.lock().ok()?)
}

/// The program that the kernel refused to load.
pub fn failed_program() -> Option<String> {
    find_program(&MESSAGES.lock().ok()?)
}

fn find_reason(log: &str) -> Option<String> {
    let says = |l: &&str| l.contains("fail") || l.contains("can't") || l.contains("invalid");
    let told = |l: &&str| says(l) && !l.contains("failed to load object") && !l.contains("skel");
    let line = log.lines().find(told)?;
    Some(line.strip_prefix("libbpf: ").unwrap_or(line).trim_end().to_owned())
}

fn find_program(log: &str) -> Option<String> {
    let line = log.lines().find(|l| l.starts_with("libbpf: prog '") && l.contains("fail"))?;
    line.split('\'').nth(1).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "libbpf: prog 'fentry4': BPF program load failed: -EPERM\n\
        libbpf: prog 'fentry4': failed to load: -EPERM\n\
        libbpf: failed to load object 'sentby_bpf'\n";

    #[test]
    fn the_program_and_the_reason_are_found() {
        assert_eq!(find_program(LOG).as_deref(), Some("fentry4"));
        let reason = find_reason(LOG).unwrap();
        assert_eq!(reason, "prog 'fentry4': BPF program load failed: -EPERM");
        assert_eq!(find_reason("libbpf: loading kernel BTF\n"), None);
    }
}
