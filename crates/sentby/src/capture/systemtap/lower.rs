//! A plan as the parameters of the module.

use crate::plan::Plan;
use std::fmt::Write;
use wire::start::{Bytes, Start, Step};

/// Bytes that the script looks at (`LOOK` there).
const LOOK: usize = 16;

/// What the module is told when it is loaded.
pub fn parameters(plan: &Plan) -> Vec<String> {
    let protocols = set(|n| plan.ip_protocols.contains(&n));
    let wants = u32::from(plan.senders.kernel)
        | u32::from(plan.senders.forwarded) << 1
        | u32::from(plan.openings) << 2;
    vec![
        format!("protocols={protocols}"),
        format!("streams={}", starts(&plan.streams)),
        format!("datagrams={}", starts(&plan.datagrams)),
        format!("wants={wants}"),
    ]
}

/// For each of the first bytes, those that one of the starts may have there: more than
/// begins a request, never less.
fn starts(starts: &[Start]) -> String {
    let mut text = String::new();
    let most =
        starts.iter().map(|s| fixed(s)).min().unwrap_or(0).max(usize::from(!starts.is_empty()));
    for at in 0..most {
        let may = |start: &Start, byte| match start.get(at).and_then(Step::set) {
            Some(bytes) if at < fixed(start) => Bytes::has(&bytes, byte),
            _ => true,
        };
        text += &set(|byte| starts.iter().any(|start| may(start, byte)));
    }
    text
}

/// How many of a start's first bytes its steps tell, one each.
fn fixed(start: Start) -> usize {
    let ones = start.iter().take_while(|step| matches!(step, Step::One(_))).count();
    // Of a step that takes one byte or more, the first is told.
    let more = matches!(start.get(ones), Some(Step::Some(_)));
    (ones + usize::from(more)).min(LOOK)
}

/// 256 bits, the lowest first.
fn set(has: impl Fn(u8) -> bool) -> String {
    let mut text = String::with_capacity(64);
    for eight in 0..32u8 {
        let byte = (0..8).filter(|bit| has(eight * 8 + bit)).fold(0u8, |all, bit| all | 1 << bit);
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(text: &str) -> Vec<Vec<u8>> {
        let mut bytes = Vec::new();
        super::super::line::unhex(text.as_bytes(), &mut bytes).unwrap();
        let has = |set: &[u8], n: u8| set[usize::from(n) / 8] & 1 << (n % 8) != 0;
        bytes.chunks(32).map(|set| (0..=255).filter(|n| has(set, *n)).collect()).collect()
    }

    #[test]
    fn a_plan_becomes_parameters() {
        let mut plan = Plan { ip_protocols: vec![1, 58], openings: true, ..Plan::default() };
        plan.senders.kernel = true;
        let words = parameters(&plan);
        assert_eq!(bits(words[0].strip_prefix("protocols=").unwrap()), [[1, 58]]);
        assert_eq!(words[1..], ["streams=", "datagrams=", "wants=5"]);
    }

    const A: Start = &[Step::One(Bytes::of(b"ab")), Step::One(Bytes::of(b"c"))];
    const B: Start =
        &[Step::One(Bytes::of(b"x")), Step::Some(Bytes::of(b"yz")), Step::One(Bytes::of(b"!"))];
    const D: Start = &[Step::Until(*b"\r\n\r\n")];
    const C: Start = &[Step::Some(Bytes::of(b"q"))];

    #[test]
    fn more_may_begin_never_less() {
        assert_eq!(bits(&starts(&[A])), [b"ab".to_vec(), b"c".to_vec()]);
        assert_eq!(bits(&starts(&[B])), [b"x".to_vec(), b"yz".to_vec()]);
        assert_eq!(bits(&starts(&[A, B])), [b"abx".to_vec(), b"cyz".to_vec()]);
        assert_eq!(bits(&starts(&[A, C])), [b"abq".to_vec()]);
        assert_eq!(bits(&starts(&[A, D])), [(0..=255).collect::<Vec<u8>>()]);
        assert_eq!(starts(&[]), "");
    }
}
