//! How to tell softirq from task context on this kernel: the choice, from facts.

use super::skeleton::types::sentby_signal;
use libbpf_rs::btf::Btf;
use libbpf_rs::btf::types::{DataSec, Struct, Var};
use std::fs::File;
use std::io::{BufRead, BufReader};

/// The signal to use, with what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Signal {
    /// Which.
    pub kind: sentby_signal,
    /// Address of `__per_cpu_offset[]`.
    pub per_cpu_offset: u64,
    /// Address of the per-CPU preempt count (or of `pcpu_hot`, which holds it).
    pub preempt_count: u64,
    /// Distance from `runqueues` to the preempt count in per-CPU memory.
    pub runqueue_distance: i64,
}

/// What the kernel's BTF tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BtfFacts {
    /// The count is kept in the task: PREEMPT_RT, arm64.
    in_task: bool,
    /// Runqueues can be reached from a task.
    runqueue: bool,
    /// From `runqueues` to the preempt count.
    distance: Option<i64>,
}

/// What /proc/kallsyms tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    per_cpu_offset: Option<u64>,
    preempt_count: Option<u64>,
}

/// Chooses a signal: what needs no further hook first, the flag set by the softirq
/// tracepoints (6 % of a packet) last. `symbols` is asked only when BTF is not
/// enough: reading /proc/kallsyms takes longer than everything else at start.
pub fn choose(btf: BtfFacts, symbols: impl FnOnce() -> Symbols) -> Signal {
    if btf.in_task {
        return Signal { kind: sentby_signal::SENTBY_SIGNAL_TASK, ..Signal::default() };
    }
    if let (true, Some(distance)) = (btf.runqueue, btf.distance) {
        return Signal {
            kind: sentby_signal::SENTBY_SIGNAL_RUNQUEUE,
            runqueue_distance: distance,
            ..Signal::default()
        };
    }
    let symbols = symbols();
    if let (Some(per_cpu_offset), Some(preempt_count)) =
        (symbols.per_cpu_offset, symbols.preempt_count)
    {
        return Signal {
            kind: sentby_signal::SENTBY_SIGNAL_PREEMPT_COUNT,
            per_cpu_offset,
            preempt_count,
            ..Signal::default()
        };
    }
    Signal { kind: sentby_signal::SENTBY_SIGNAL_FLAG, ..Signal::default() }
}

/// Reads the facts and chooses.
pub fn signal(btf: Option<&Btf<'_>>) -> Signal {
    choose(btf.map(btf_facts).unwrap_or_default(), read_symbols)
}

fn btf_facts(btf: &Btf<'_>) -> BtfFacts {
    let count = per_cpu(btf, "__preempt_count").or_else(|| per_cpu(btf, "pcpu_hot"));
    let distance = match (per_cpu(btf, "runqueues"), count) {
        (Some(runqueues), Some(count)) => Some(count - runqueues),
        _ => None,
    };
    BtfFacts {
        in_task: has_member(btf, "task_struct", "softirq_disable_cnt")
            || has_member(btf, "thread_info", "preempt_count"),
        runqueue: has_member(btf, "cfs_rq", "rq") && has_member(btf, "sched_entity", "cfs_rq"),
        distance,
    }
}

fn has_member(btf: &Btf<'_>, name: &str, member: &str) -> bool {
    btf.type_by_name::<Struct<'_>>(name)
        .is_some_and(|s| s.iter().any(|m| m.name.is_some_and(|n| n == member)))
}

/// Offset of a variable in the section of per-CPU variables. Looked up through the
/// section: `pcpu_hot` is also the name of a struct.
fn per_cpu(btf: &Btf<'_>, name: &str) -> Option<i64> {
    let section = btf.type_by_name::<DataSec<'_>>(".data..percpu")?;
    let named =
        |id| btf.type_by_id::<Var<'_>>(id).and_then(|v| v.name()).is_some_and(|n| n == name);
    section.iter().find(|v| named(v.ty)).map(|v| i64::from(v.offset))
}

fn read_symbols() -> Symbols {
    let mut symbols = Symbols::default();
    let Ok(file) = File::open("/proc/kallsyms") else { return symbols };
    let mut lines = BufReader::with_capacity(1 << 16, file);
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|n| n > 0) {
        symbols.take(&line);
        if symbols.per_cpu_offset.is_some() && symbols.preempt_count.is_some() {
            break;
        }
        line.clear();
    }
    symbols
}

impl Symbols {
    fn take(&mut self, line: &str) {
        let mut words = line.split_ascii_whitespace();
        let (Some(address), Some(_), Some(name), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return;
        };
        let slot = match name {
            "__per_cpu_offset" => &mut self.per_cpu_offset,
            "__preempt_count" | "pcpu_hot" => &mut self.preempt_count,
            _ => return,
        };
        let address = u64::from_str_radix(address, 16).unwrap_or(0);
        // A per-CPU symbol may truly be at a small address, but an address that is
        // hidden from us reads as zero.
        if address != 0 {
            *slot = Some(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Symbols {
        Symbols::default()
    }

    #[test]
    fn the_task_itself_is_the_best_signal() {
        let facts = BtfFacts { in_task: true, runqueue: true, distance: Some(8) };
        assert_eq!(choose(facts, none).kind, sentby_signal::SENTBY_SIGNAL_TASK);
    }

    #[test]
    fn kallsyms_is_not_read_when_btf_is_enough() {
        let facts = BtfFacts { in_task: false, runqueue: true, distance: Some(-8) };
        let signal = choose(facts, || panic!("read kallsyms"));
        assert_eq!(signal.runqueue_distance, -8);
    }

    #[test]
    fn the_flag_is_the_last_resort() {
        assert_eq!(choose(BtfFacts::default(), none).kind, sentby_signal::SENTBY_SIGNAL_FLAG);
    }

    #[test]
    fn symbols_are_taken_from_kallsyms() {
        let mut symbols = Symbols::default();
        symbols.take("ffffffff82a1b0c0 D __per_cpu_offset\n");
        symbols.take("000000000001f6c8 A __preempt_count\n");
        symbols.take("ffffffffc0000000 t pcpu_hot\t[some_module]\n");
        symbols.take("garbage");
        assert_eq!(symbols.per_cpu_offset, Some(0xffffffff82a1b0c0));
        assert_eq!(symbols.preempt_count, Some(0x1f6c8));
        let signal = choose(BtfFacts::default(), || symbols);
        assert_eq!(signal.kind, sentby_signal::SENTBY_SIGNAL_PREEMPT_COUNT);
    }

    #[test]
    fn hidden_addresses_are_not_used() {
        let mut symbols = Symbols::default();
        symbols.take("0000000000000000 D __per_cpu_offset");
        assert_eq!(symbols, Symbols::default());
    }
}
