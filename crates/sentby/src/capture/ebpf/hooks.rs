//! The hooks of the eBPF backend: what each sees, what it needs, and the choice.

use super::skeleton::types;
use crate::capture::{HookCheck, Refusal, Sender};
use crate::host::{Cgroup2, Host};
use caps::Capability;

/// A hook.
pub struct Hook {
    /// The name users know it by.
    pub name: &'static str,
    /// Its number in the kernel's records.
    pub id: types::sentby_hook,
    /// The programs that make it up.
    pub programs: &'static [&'static str],
    /// Whether it can read all that a packet carries: TCP leaves it in pages.
    pub payload: bool,
    /// Which senders it can see.
    pub sees: &'static [Sender],
    /// What the facts alone say against it.
    refuse: fn(&Host) -> Option<Refusal>,
}

/// Every hook, in the order of `sentby_hook`.
pub static HOOKS: &[Hook] = &[
    Hook {
        name: "cgroup_skb",
        id: types::sentby_hook::SENTBY_HOOK_CGROUP_SKB,
        programs: &["egress_cgroup"],
        payload: true,
        sees: &[Sender::Process, Sender::Kernel],
        refuse: refuse_cgroup,
    },
    Hook {
        name: "fentry",
        id: types::sentby_hook::SENTBY_HOOK_FENTRY,
        programs: &["fentry4", "fentry6"],
        payload: false,
        sees: &[Sender::Process, Sender::Kernel, Sender::Forwarded],
        refuse: refuse_fentry,
    },
    Hook {
        name: "kprobe",
        id: types::sentby_hook::SENTBY_HOOK_KPROBE,
        programs: &["kprobe4", "kprobe6"],
        payload: false,
        sees: &[Sender::Process, Sender::Kernel, Sender::Forwarded],
        refuse: refuse_kprobe,
    },
    Hook {
        name: "net_dev_queue",
        id: types::sentby_hook::SENTBY_HOOK_NET_DEV_QUEUE,
        programs: &["net_dev_queue"],
        payload: false,
        sees: &[Sender::Process, Sender::Kernel, Sender::Forwarded, Sender::PacketSocket],
        refuse: refuse_tracing,
    },
];

/// Which hook is best for a kind of sender: names, best first.
///
/// cgroup_skb first for processes: the kernel itself calls it, so nothing is patched,
/// and it skips what is only forwarded. The function's own hooks see kernel packets
/// without a socket and forwarded ones. net_dev_queue stands behind neighbour
/// resolution, where a packet may be queued out of its sender's sight.
fn preference(sender: Sender) -> &'static [&'static str] {
    match sender {
        Sender::Process => &["cgroup_skb", "fentry", "kprobe", "net_dev_queue"],
        Sender::Kernel => &["fentry", "kprobe", "cgroup_skb", "net_dev_queue"],
        Sender::Forwarded => &["fentry", "kprobe", "net_dev_queue"],
        Sender::PacketSocket => &["net_dev_queue"],
    }
}

/// Judges every hook by the facts.
pub fn check(host: &Host) -> Vec<HookCheck> {
    HOOKS
        .iter()
        .map(|h| HookCheck {
            name: h.name,
            sees: h.sees.to_vec(),
            payload: h.payload,
            lacks: Vec::new(),
            refusal: refuse_bpf(host).or_else(|| (h.refuse)(host)),
        })
        .collect()
}

/// Who answers for whom: the choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Hooks in use with the senders each answers for. No sender has two hooks, so
    /// no packet is counted twice.
    pub hooks: Vec<(&'static str, Vec<Sender>)>,
    /// Senders that were asked for and that no usable hook sees.
    pub unseen: Vec<Sender>,
}

impl Choice {
    /// Whether a hook is in use.
    pub fn has(&self, hook: &str) -> bool {
        self.hooks.iter().any(|(name, _)| *name == hook)
    }
}

/// Gives each wanted kind of sender to the best usable hook.
/// Where payload is wanted, those that can read it go before the others.
pub fn choose(usable: &[&str], wanted: &[Sender], payload: bool) -> Choice {
    let mut choice = Choice::default();
    for &sender in wanted {
        let mut best = preference(sender).iter().filter(|name| usable.contains(name));
        let reads = |name: &&&'static str| by_name(name).is_some_and(|h| h.payload);
        let chosen = match payload {
            true => best.clone().find(reads).or_else(|| best.next()),
            false => best.next(),
        };
        let Some(&name) = chosen else {
            choice.unseen.push(sender);
            continue;
        };
        match choice.hooks.iter_mut().find(|(n, _)| *n == name) {
            Some((_, senders)) => senders.push(sender),
            None => choice.hooks.push((name, vec![sender])),
        }
    }
    choice
}

/// The bit of a kind of sender in `sentby_plan.roles`.
pub fn role(sender: Sender) -> u32 {
    match sender {
        Sender::Process => types::sentby_role::SENTBY_ROLE_PROCESS.0,
        Sender::Kernel => types::sentby_role::SENTBY_ROLE_KERNEL.0,
        Sender::Forwarded => types::sentby_role::SENTBY_ROLE_FORWARDED.0,
        Sender::PacketSocket => types::sentby_role::SENTBY_ROLE_PACKET_SOCKET.0,
    }
}

/// Finds a hook by name.
pub fn by_name(name: &str) -> Option<&'static Hook> {
    HOOKS.iter().find(|h| h.name == name)
}

fn refuse_bpf(host: &Host) -> Option<Refusal> {
    if host.can(Capability::CAP_BPF) {
        return None;
    }
    Some(Refusal::new(
        "loading BPF programs needs CAP_BPF (CAP_SYS_ADMIN before Linux 5.8)",
        "run it as root, e.g. with sudo",
    ))
}

fn refuse_tracing(host: &Host) -> Option<Refusal> {
    if let Some(mode @ "confidentiality") = host.lockdown.as_deref() {
        return Some(Refusal::new(
            format!("the kernel is locked down ({mode}): BPF may not read kernel memory"),
            "boot with lockdown=integrity or less",
        ));
    }
    if host.can(Capability::CAP_PERFMON) {
        return None;
    }
    Some(Refusal::new(
        "tracing programs need CAP_PERFMON (CAP_SYS_ADMIN before Linux 5.8)",
        "run it as root, e.g. with sudo",
    ))
}

fn refuse_cgroup(host: &Host) -> Option<Refusal> {
    if !host.can(Capability::CAP_NET_ADMIN) {
        return Some(Refusal::new(
            "attaching to a cgroup needs CAP_NET_ADMIN",
            "run it as root, e.g. with sudo",
        ));
    }
    if let Cgroup2::Part(place) = &host.cgroup2 {
        return Some(Refusal::new(
            format!("{} is not the root of the cgroup2 hierarchy", place.display()),
            "in a container, share the host's cgroup namespace",
        ));
    }
    refuse_tracing(host)
}

fn refuse_fentry(host: &Host) -> Option<Refusal> {
    if !host.btf {
        return Some(Refusal::new(
            "this kernel has no BTF (/sys/kernel/btf/vmlinux), which fentry needs",
            "the other hooks work with --btf FILE",
        ));
    }
    refuse_tracing(host)
}

fn refuse_kprobe(host: &Host) -> Option<Refusal> {
    if !host.kprobe_pmu {
        return Some(Refusal {
            why: "this kernel has no kprobes that a file descriptor owns \
                  (CONFIG_KPROBE_EVENTS, Linux 4.17)"
                .to_owned(),
            help: None,
        });
    }
    refuse_tracing(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [&str; 4] = ["cgroup_skb", "fentry", "kprobe", "net_dev_queue"];

    fn hook_of(choice: &Choice, sender: Sender) -> Vec<&'static str> {
        choice.hooks.iter().filter(|(_, s)| s.contains(&sender)).map(|(n, _)| *n).collect()
    }

    #[test]
    fn ids_are_positions() {
        for (i, hook) in HOOKS.iter().enumerate() {
            assert_eq!(hook.id.0 as usize, i, "{}", hook.name);
        }
        assert_eq!(HOOKS.len(), types::sentby_hook::SENTBY_HOOKS.0 as usize);
    }

    #[test]
    fn every_sender_has_exactly_one_hook_whatever_is_usable() {
        for mask in 0..16u32 {
            let usable: Vec<&str> = ALL
                .iter()
                .enumerate()
                .filter(|(i, _)| mask & (1 << i) != 0)
                .map(|(_, n)| *n)
                .collect();
            let choice = choose(&usable, &Sender::ALL, false);
            for sender in Sender::ALL {
                let hooks = hook_of(&choice, sender);
                let seen = usable.iter().any(|n| by_name(n).unwrap().sees.contains(&sender));
                assert_eq!(hooks.len(), usize::from(seen), "{usable:?} {sender:?}");
                assert_eq!(choice.unseen.contains(&sender), !seen, "{usable:?} {sender:?}");
                for name in hooks {
                    assert!(by_name(name).unwrap().sees.contains(&sender));
                }
            }
        }
    }

    #[test]
    fn the_cgroup_hook_comes_first_for_processes() {
        let choice = choose(&ALL, &[Sender::Process, Sender::PacketSocket], false);
        assert_eq!(
            choice.hooks,
            [("cgroup_skb", vec![Sender::Process]), ("net_dev_queue", vec![Sender::PacketSocket])]
        );
    }

    #[test]
    fn forwarded_needs_the_function_itself() {
        let choice = choose(&ALL, &Sender::ALL, false);
        assert_eq!(hook_of(&choice, Sender::Forwarded), ["fentry"]);
        let choice = choose(&["cgroup_skb"], &Sender::ALL, false);
        assert_eq!(choice.unseen, [Sender::Forwarded, Sender::PacketSocket]);
    }

    fn host() -> Host {
        Host {
            release: "6.1.0".into(),
            capabilities: caps::all(),
            euid: 0,
            btf: true,
            lockdown: None,
            cgroup2: Cgroup2::Root("/sys/fs/cgroup".into()),
            kprobe_pmu: true,
            tracefs: None,
            kprobe_events: false,
            pidns: None,
            systemtap: Default::default(),
        }
    }

    fn refused(host: &Host) -> Vec<&'static str> {
        check(host).into_iter().filter(|c| c.refusal.is_some()).map(|c| c.name).collect()
    }

    #[test]
    fn refusals_follow_from_facts() {
        assert!(refused(&host()).is_empty());
        assert_eq!(refused(&Host { btf: false, ..host() }), ["fentry"]);
        assert_eq!(refused(&Host { kprobe_pmu: false, ..host() }), ["kprobe"]);
        let part = Cgroup2::Part("/sys/fs/cgroup".into());
        assert_eq!(refused(&Host { cgroup2: part, ..host() }), ["cgroup_skb"]);
        let locked = Host { lockdown: Some("confidentiality".into()), ..host() };
        assert_eq!(refused(&locked), ALL);
        let user = Host { capabilities: Default::default(), ..host() };
        assert_eq!(refused(&user), ALL);
        let integrity = Host { lockdown: Some("integrity".into()), ..host() };
        assert!(refused(&integrity).is_empty());
    }
}
