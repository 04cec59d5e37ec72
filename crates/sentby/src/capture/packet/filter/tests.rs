//! Programs are run on packets, as the kernel would.

use super::*;
use crate::asked::Asked;
use crate::filter::Filter;
use wire::PROTOCOLS;

/// Runs a program on a packet: how many bytes of it are let through.
fn run(program: &[sock_filter], kind: u8, protocol: u16, bytes: &[u8]) -> u32 {
    let (mut a, mut x, mut memory, mut at) = (0u32, 0u32, 0u32, 0usize);
    let load = |from: u32, size: usize| {
        let part = bytes.get(from as usize..)?.get(..size)?;
        Some(part.iter().fold(0u32, |n, byte| n << 8 | u32::from(*byte)))
    };
    loop {
        let op = &program[at];
        at += 1;
        let loaded = match op.code {
            op::LD_W_ABS if op.k == ancillary(libc::SKF_AD_PKTTYPE) => Some(u32::from(kind)),
            op::LD_W_ABS if op.k == ancillary(libc::SKF_AD_PROTOCOL) => Some(u32::from(protocol)),
            op::LD_W_ABS => load(op.k, 4),
            op::LD_B_ABS => load(op.k, 1),
            op::LD_H_ABS => load(op.k, 2),
            op::LD_B_IND => load(x + op.k, 1),
            op::LD_H_IND => load(x + op.k, 2),
            op::LD_MEM => Some(memory),
            op::LDX_MSH => {
                let Some(byte) = load(op.k, 1) else { return 0 };
                x = (byte & 15) * 4;
                Some(a)
            }
            op::ST => {
                memory = a;
                Some(a)
            }
            op::TAX => {
                x = a;
                Some(a)
            }
            op::AND => Some(a & op.k),
            op::RSH => Some(a >> op.k),
            op::LSH => Some(a << op.k),
            op::SUB_X => Some(a.wrapping_sub(x)),
            op::RET => return op.k,
            op::JA => {
                at += op.k as usize;
                Some(a)
            }
            op::JEQ | op::JSET | op::JGT | op::JGE | op::JGT_X => {
                let yes = match op.code {
                    op::JEQ => a == op.k,
                    op::JSET => a & op.k != 0,
                    op::JGT => a > op.k,
                    op::JGE => a >= op.k,
                    _ => a > x,
                };
                at += usize::from(if yes { op.jt } else { op.jf });
                Some(a)
            }
            other => panic!("instruction {other:#x}"),
        };
        match loaded {
            Some(value) => a = value,
            // The kernel lets nothing through where a load fails.
            None => return 0,
        }
    }
}

fn four(protocol: u8, fragment: u16, carried: &[u8]) -> Vec<u8> {
    let len = (20 + carried.len() as u16).to_be_bytes();
    let offset = fragment.to_be_bytes();
    let head = [0x45, 0, len[0], len[1], 0, 0, offset[0], offset[1], 64, protocol, 0, 0];
    [&head[..], &[192, 0, 2, 1], &[192, 0, 2, 2], carried].concat()
}

fn six(next: u8, carried: &[u8]) -> Vec<u8> {
    let len = (carried.len() as u16).to_be_bytes();
    [&[0x60, 0, 0, 0, len[0], len[1], next, 64][..], &[0x20; 32], carried].concat()
}

fn tcp(sport: u16, flags: u8, words: u8, data: usize) -> Vec<u8> {
    let port = sport.to_be_bytes();
    let mut segment = vec![0; usize::from(words) * 4 + data];
    segment[..4].copy_from_slice(&[port[0], port[1], 0, 80]);
    segment[12] = words << 4;
    segment[13] = flags;
    segment
}

fn udp(sport: u8) -> Vec<u8> {
    vec![0, sport, 0, 53, 0, 20, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
}

fn everything() -> Plan {
    let asked: Vec<Asked> = PROTOCOLS.iter().map(|p| Asked::plain(*p)).collect();
    Filter::default().plan(&asked)
}

const SYN: u8 = flag::SYN;
const ACK: u8 = flag::ACK;

#[test]
fn what_is_wanted_goes_out_into_the_ring() {
    let plan = everything();
    let capture = program(&plan, Purpose::Capture, Incoming::default()).unwrap();
    let scout = program(&plan, Purpose::Scout, Incoming::default()).unwrap();
    let big = |mut bytes: Vec<u8>, at: usize| {
        bytes[at..at + 2].fill(0);
        bytes
    };
    // Packet, EtherType, whether it is captured, whether the scout sees it.
    let cases = [
        (four(1, 0, &[8; 8]), 0x0800, true, true),
        (four(1, 0x2000, &[8; 8]), 0x0800, true, true),
        (four(1, 0x2001, &[8; 8]), 0x0800, false, false),
        (four(6, 0, &tcp(9, SYN, 5, 0)), 0x0800, true, true),
        (four(6, 0, &tcp(9, SYN | ACK, 5, 0)), 0x0800, true, false),
        (four(6, 0, &tcp(9, ACK, 8, 0)), 0x0800, false, false),
        (four(6, 0, &tcp(9, ACK, 8, 1)), 0x0800, true, false),
        (big(four(6, 0, &tcp(9, ACK, 8, 1)), 2), 0x0800, true, false),
        (four(6, 0, &tcp(9, ACK, 8, 0)[..10]), 0x0800, false, false),
        (four(17, 0, &udp(9)), 0x0800, true, true),
        (four(50, 0, &[0; 20]), 0x0800, false, false),
        (six(58, &[128; 8]), 0x86dd, true, true),
        (six(6, &tcp(9, SYN, 5, 0)), 0x86dd, true, true),
        (six(6, &tcp(9, ACK, 5, 0)), 0x86dd, false, false),
        (six(6, &tcp(9, ACK, 5, 1)), 0x86dd, true, false),
        (big(six(6, &tcp(9, ACK, 5, 1)), 4), 0x86dd, true, false),
        (six(17, &udp(9)), 0x86dd, true, true),
        (six(0, &[0; 20]), 0x86dd, true, true),
        (six(50, &[0; 20]), 0x86dd, false, false),
        (vec![0; 40], 0x8100, true, true),
        (vec![0; 40], 0x0806, false, false),
    ];
    for (n, (bytes, protocol, captured, scouted)) in cases.iter().enumerate() {
        let out = |p: &[sock_filter]| run(p, pkttype::OUTGOING, *protocol, bytes);
        assert_eq!(out(&capture), u32::from(*captured) * SNAP, "case {n}");
        assert_eq!(out(&scout), u32::from(*scouted) * SNAP_FLOW, "case {n}");
        assert_eq!(run(&capture, pkttype::HOST, *protocol, bytes), 0, "case {n} comes in");
    }
}

#[test]
fn what_nobody_asked_for_stays_out() {
    let plan = Plan { ip_protocols: vec![1], ..Plan::default() };
    let capture = program(&plan, Purpose::Capture, Incoming::default()).unwrap();
    let out = |bytes: &[u8]| run(&capture, pkttype::OUTGOING, 0x0800, bytes);
    assert_eq!(out(&four(1, 0, &[8; 8])), SNAP);
    assert_eq!(out(&four(6, 0, &tcp(9, SYN, 5, 0))), 0);
    assert_eq!(out(&four(17, 0, &udp(9))), 0);
    assert_eq!(run(&nothing(), pkttype::OUTGOING, 0x0800, &four(1, 0, &[8; 8])), 0);
}

#[test]
fn of_what_comes_in_only_answers_are_looked_at() {
    let plan = everything();
    let some = Incoming { outcomes: true, names: true };
    let capture = program(&plan, Purpose::Capture, some).unwrap();
    let cases = [
        (four(6, 0, &tcp(80, SYN | ACK, 5, 0)), 0x0800, SNAP_FLOW),
        (four(6, 0, &tcp(80, flag::RST, 5, 0)), 0x0800, SNAP_FLOW),
        (four(6, 0, &tcp(80, ACK, 5, 9)), 0x0800, 0),
        (four(1, 0, &[3; 28]), 0x0800, SNAP_FLOW),
        (four(17, 0, &udp(53)), 0x0800, SNAP),
        (four(17, 0, &udp(54)), 0x0800, 0),
        (six(6, &tcp(80, SYN | ACK, 5, 0)), 0x86dd, SNAP_FLOW),
        (six(6, &tcp(80, ACK, 5, 9)), 0x86dd, 0),
        (six(17, &udp(53)), 0x86dd, SNAP),
        (six(17, &udp(54)), 0x86dd, 0),
    ];
    for (n, (bytes, protocol, wanted)) in cases.iter().enumerate() {
        assert_eq!(run(&capture, pkttype::HOST, *protocol, bytes), *wanted, "case {n}");
    }
}

#[test]
fn queries_are_scouted_for_names() {
    let plan = Plan { ip_protocols: vec![1], ..Plan::default() };
    let names = Incoming { outcomes: false, names: true };
    let scout = program(&plan, Purpose::Scout, names).unwrap();
    let capture = program(&plan, Purpose::Capture, names).unwrap();
    let mut other = udp(9);
    other[3] = 54;
    for (bytes, protocol, scouted) in [
        (four(17, 0, &udp(9)), 0x0800, SNAP_FLOW),
        (four(17, 0, &other), 0x0800, 0),
        (six(17, &udp(9)), 0x86dd, SNAP_FLOW),
        (six(17, &other), 0x86dd, 0),
    ] {
        assert_eq!(run(&scout, pkttype::OUTGOING, protocol, &bytes), scouted, "{bytes:?}");
        assert_eq!(run(&capture, pkttype::OUTGOING, protocol, &bytes), 0, "{bytes:?}");
    }
}

/// The plan of a filter expression, for everything.
fn asking(expression: &str) -> Plan {
    let mut plan = everything();
    crate::filter::Expression::new(expression).unwrap().lower(&mut plan);
    plan
}

/// Packets are from 192.0.2.1 or 2020:…:2020 and port 9, to 192.0.2.2 or the same and port
/// 80 (TCP) or 53 (UDP).
#[test]
fn addresses_and_ports_are_compared_in_the_kernel() {
    let icmp4 = (four(1, 0, &[8; 8]), 0x0800);
    let tcp4 = (four(6, 0, &tcp(9, ACK, 8, 1)), 0x0800);
    let udp4 = (four(17, 0, &udp(9)), 0x0800);
    let icmp6 = (six(58, &[128; 8]), 0x86dd);
    let tcp6 = (six(6, &tcp(9, ACK, 5, 1)), 0x86dd);
    let udp6 = (six(17, &udp(9)), 0x86dd);
    let extended = (six(0, &[0; 20]), 0x86dd);
    let tagged = (vec![0; 40], 0x8100);
    let packets = [&icmp4, &tcp4, &udp4, &icmp6, &tcp6, &udp6, &extended, &tagged];
    for (expression, wanted) in [
        ("host 192.0.2.1", "yyynnnny"),
        ("host 192.0.2.2", "yyynnnny"),
        ("host 192.0.2.3", "nnnnnnny"),
        ("src host 192.0.2.1", "yyynnnny"),
        ("dst host 192.0.2.1", "nnnnnnny"),
        ("dst net 192.0.2.0/30", "yyynnnny"),
        ("dst net 192.0.2.4/30", "nnnnnnny"),
        ("not dst host 192.0.2.2", "nnnyyyyy"),
        ("not src host 192.0.2.2", "yyyyyyyy"),
        ("net 2020:2020::/32", "nnnyyyyy"),
        ("dst host 2020:2020:2020:2020:2020:2020:2020:2020", "nnnyyyyy"),
        ("dst host 2020:2020:2020:2020:2020:2020:2020:2021", "nnnnnnny"),
        ("not net 2020:2020:2020:2020::/63", "yyynnnny"),
        ("dst host 192.0.2.2 or dst net 2020::/16", "yyyyyyyy"),
        ("port 80", "yynyynyy"),
        ("port 9", "yyyyyyyy"),
        ("src port 80", "ynnynnyy"),
        ("dst port 53", "ynyynyyy"),
        ("portrange 50-60", "ynyynyyy"),
        ("portrange 54-79", "ynnynnyy"),
        ("dst host 192.0.2.2 and dst port 80", "yynnnnny"),
    ] {
        let plan = asking(expression);
        let capture = program(&plan, Purpose::Capture, Incoming::default()).unwrap();
        let got: String = packets
            .iter()
            .map(|(bytes, protocol)| match run(&capture, pkttype::OUTGOING, *protocol, bytes) {
                0 => 'n',
                _ => 'y',
            })
            .collect();
        assert_eq!(got, wanted, "{expression}");
    }
}

#[test]
fn names_need_queries_that_nobody_asked_for() {
    let names = Incoming { outcomes: true, names: true };
    for expression in ["dst host 192.0.2.9", "port 443", "not net 0.0.0.0/0"] {
        let plan = asking(expression);
        let scout = program(&plan, Purpose::Scout, names).unwrap();
        let capture = program(&plan, Purpose::Capture, names).unwrap();
        let query = four(17, 0, &udp(9));
        assert_eq!(run(&scout, pkttype::OUTGOING, 0x0800, &query), SNAP_FLOW, "{expression}");
        assert_eq!(run(&capture, pkttype::OUTGOING, 0x0800, &query), 0, "{expression}");
        assert_eq!(run(&capture, pkttype::HOST, 0x0800, &four(17, 0, &udp(53))), SNAP);
    }
}

/// Longer than jumps reach, or than is lowered: too much is let through, never too little.
#[test]
fn long_lists_are_left_to_user_space() {
    let query = four(17, 0, &udp(9));
    let nets = |n: u8| (1..=n).map(|i| format!("dst net 2001:db8:{i}::/48")).collect::<Vec<_>>();
    let ports = |n: u16| (1..=n).map(|i| format!("portrange {}-{}", i * 99, i * 99 + 3));
    for (expression, passes) in [
        (nets(16).join(" or "), false),
        (nets(17).join(" or "), true),
        (ports(16).collect::<Vec<_>>().join(" or "), false),
        (ports(17).collect::<Vec<_>>().join(" or "), true),
    ] {
        let plan = asking(&expression);
        for purpose in [Purpose::Capture, Purpose::Scout] {
            let made = program(&plan, purpose, Incoming::default()).unwrap();
            assert!(made.len() <= 4096);
            let passed = run(&made, pkttype::OUTGOING, 0x0800, &query) != 0;
            assert_eq!(passed, passes, "{expression}");
        }
    }
    let many = format!(
        "({}) and ({}) and ({})",
        ports(16).map(|p| format!("src {p}")).collect::<Vec<_>>().join(" or "),
        ports(16).map(|p| format!("dst {p}")).collect::<Vec<_>>().join(" or "),
        ports(16).collect::<Vec<_>>().join(" or ")
    );
    let made = program(&asking(&many), Purpose::Capture, Incoming::default()).unwrap();
    assert_ne!(run(&made, pkttype::OUTGOING, 0x0800, &query), 0, "further than jumps reach");
}
