//! Gives up what is no longer needed once the probes are attached.

use caps::{CapSet, Capability, CapsHashSet};

/// What reading goes on to need: /proc of other users' processes, and the counters
/// of our own BPF maps (`CAP_BPF` since Linux 5.8, `CAP_SYS_ADMIN` before).
///
/// Without `CAP_SYS_PTRACE` a process may look only into those that have no capability
/// which it lacks itself (`cap_ptrace_access_check`, security/commoncap.c): in a container
/// all have the same few, and then everything is needed.
fn still_needed(now: &CapsHashSet) -> CapsHashSet {
    if !now.contains(&Capability::CAP_SYS_PTRACE) {
        return now.clone();
    }
    let bpf = if now.contains(&Capability::CAP_BPF) {
        Capability::CAP_BPF
    } else {
        Capability::CAP_SYS_ADMIN
    };
    [Capability::CAP_SYS_PTRACE, Capability::CAP_DAC_READ_SEARCH, bpf]
        .into_iter()
        .filter(|c| now.contains(c))
        .collect()
}

/// Drops every other capability of the calling thread, for good. Failing to is no
/// reason to stop: what is kept is what the user gave.
pub fn drop_unneeded() {
    drop_all_but(&[]);
}

/// The same, for a thread that goes on to need these as well.
pub fn drop_all_but(these: &[Capability]) {
    let Ok(now) = caps::read(None, CapSet::Permitted) else { return };
    let mut needed = still_needed(&now);
    needed.extend(these.iter().filter(|c| now.contains(c)));
    let _ = caps::clear(None, CapSet::Ambient);
    let _ = caps::set(None, CapSet::Effective, &needed);
    let _ = caps::set(None, CapSet::Permitted, &needed);
    let _ = caps::set(None, CapSet::Inheritable, &CapsHashSet::new());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cap_bpf_replaces_sys_admin() {
        let kept = still_needed(&caps::all());
        assert!(kept.contains(&Capability::CAP_BPF));
        assert!(!kept.contains(&Capability::CAP_SYS_ADMIN));
        assert!(!kept.contains(&Capability::CAP_NET_ADMIN));
        let old: CapsHashSet = [Capability::CAP_SYS_ADMIN, Capability::CAP_SYS_PTRACE].into();
        assert_eq!(still_needed(&old), old);
    }

    #[test]
    fn what_makes_others_readable_is_kept() {
        let few: CapsHashSet = [Capability::CAP_NET_RAW, Capability::CAP_CHOWN].into();
        assert_eq!(still_needed(&few), few);
    }
}
