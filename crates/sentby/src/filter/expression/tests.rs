use super::*;
use crate::fixture::Sample;
use crate::plan::Plan;

/// An IP packet of this protocol, to tell it by.
fn packet(six: bool, protocol: u8) -> Vec<u8> {
    if six {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 8, protocol, 64];
        bytes.extend([0; 32 + 8]);
        return bytes;
    }
    let mut bytes = vec![0x45, 0, 0, 28, 0, 0, 0, 0, 64, protocol, 0, 0];
    bytes.extend([0; 8 + 8]);
    bytes
}

/// An event from 198.51.100.2 to 192.0.2.7 of 84 bytes.
fn event(protocol: u8, ports: Option<(u16, u16)>) -> Sample {
    Sample { ports, packet: packet(false, protocol), ..Sample::ping() }
}

fn matches(text: &str, sample: &Sample) -> bool {
    Expression::new(text).unwrap_or_else(|e| panic!("{text}: {e}")).matches(&sample.event())
}

#[test]
fn primitives_mean_what_tcpdump_means() {
    let (web, ping) = (event(6, Some((40_000, 443))), event(1, None));
    for (text, of_web, of_ping) in [
        ("host 192.0.2.7", true, true),
        ("host 198.51.100.2", true, true),
        ("src host 192.0.2.7", false, false),
        ("dst 192.0.2.7", true, true),
        ("192.0.2.7", true, true),
        ("src or dst host 192.0.2.7", true, true),
        ("src and dst net 192.0.2.0/24", false, false),
        ("net 192.0.2.0/24", true, true),
        ("dst net 192.0.2", true, true),
        ("net 192.0.2.0 mask 255.255.255.0", true, true),
        ("dst net 2001:db8::/32", false, false),
        ("port 443", true, false),
        ("src port 443", false, false),
        ("dst port 443", true, false),
        ("tcp port 443", true, false),
        ("udp port 443", false, false),
        ("tcp dst portrange 400-500", true, false),
        ("portrange 1-100", false, false),
        ("tcp", true, false),
        ("icmp", false, true),
        ("icmp6", false, false),
        ("proto 6", true, false),
        ("ip proto \\icmp", false, true),
        ("ip", true, true),
        ("ip6", false, false),
        ("ip host 192.0.2.7", true, true),
        ("ip6 host 192.0.2.7", false, false),
        ("greater 84", true, true),
        ("greater 85", false, false),
        ("less 84", true, true),
        ("less 83", false, false),
        ("not port 443", false, true),
        ("! tcp", false, true),
        ("tcp port 443 and not host 192.0.2.8", true, false),
        ("tcp port 80 or 443", true, false),
        ("host 192.0.2.8 or 192.0.2.7", true, true),
        ("not host 192.0.2.8 and 192.0.2.7", true, true),
        ("(tcp or icmp) and dst net 192.0.2.0/24", true, true),
        ("tcp&&(port 80||port 443)", true, false),
        ("not (tcp or icmp)", false, false),
    ] {
        assert_eq!(matches(text, &web), of_web, "{text}: of TCP");
        assert_eq!(matches(text, &ping), of_ping, "{text}: of ICMP");
    }
    let mut six = event(58, None);
    six.packet = packet(true, 58);
    (six.src, six.dst) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    for text in ["icmp6", "ip6", "ip6 proto icmp6", "net 2001:db8::/32", "host 2001:db8::2"] {
        assert!(matches(text, &six), "{text}");
    }
    assert!(!matches("icmp", &six) && !matches("ip", &six));
}

/// pcap-filter(7): "Alternation and concatenation have equal precedence and associate
/// left to right."
#[test]
fn and_and_or_bind_alike_to_the_left() {
    let web = event(6, Some((40_000, 443)));
    assert!(!matches("tcp or udp and port 53", &web));
    assert!(matches("tcp or (udp and port 53)", &web));
    assert!(matches("not udp and tcp", &web));
}

#[test]
fn what_is_unknown_is_not_matched() {
    let unknown = Sample { packet: packet(false, 1), ..Sample::unknown() };
    assert!(!matches("greater 1", &unknown) && !matches("less 9999", &unknown));
    let nothing = Sample { packet: Vec::new(), ..Sample::unknown() };
    assert!(!matches("tcp", &nothing) && !matches("port 80", &nothing));
}

#[test]
fn errors_name_the_column() {
    for (text, column, what) in [
        ("tcp prot 443", 5, "prot: after a protocol stands"),
        ("port http", 6, "http: is not a port, a number up to 65535; names of ports"),
        ("port 65536", 6, "65536: is not a port"),
        ("host example.com", 6, "not an IPv4 or IPv6 address; names are not resolved"),
        ("host 192.0.2.0/24", 6, "write `net` before it"),
        ("net 192.0.2.0/33", 5, "prefix length must be 0 to 32"),
        ("net 192.0.2.0 mask 255.0.255.0", 20, "is no mask"),
        ("portrange 9-1", 11, "is no range of ports"),
        ("tcp host 192.0.2.1", 1, "tcp: has none of what follows"),
        ("(tcp or udp", 12, "its end: a parenthesis is not closed"),
        ("tcp or udp)", 11, "closes nothing"),
        ("tcp and", 8, "its end: an address is missing"),
        ("or tcp", 1, "or: an address is missing before it"),
        ("tcp port 80 udp", 13, "udp: `and` or `or` has to stand before it"),
        ("vlan 5", 1, "vlan: not among what is understood"),
        ("greater much", 9, "is not a length in bytes"),
        ("proto magic", 7, "is no IP protocol"),
        ("pid 5", 1, "pid is not an IPv4 or IPv6 address"),
        ("tcp & udp", 5, "`src`, `dst`"),
        ("", 1, "its end: an address is missing"),
    ] {
        let said = Expression::new(text).expect_err(text).to_string();
        assert!(said.contains(&format!("column {column}: ")), "{text}: {said}");
        assert!(said.contains(what), "{text}: {said}");
        assert!(!said.contains('\n'));
    }
}

#[test]
fn nothing_is_too_deep_or_too_long() {
    let deep = format!("{}tcp{}", "(".repeat(5000), ")".repeat(5000));
    for text in [deep.as_str(), &"not ".repeat(1000), &"tcp or ".repeat(1000)] {
        assert!(Expression::new(text).is_err());
    }
    let long = vec!["tcp"; 500].join(" or ");
    assert!(matches(&long, &event(6, None)));
}

fn lowered(text: &str) -> String {
    let mut plan = Plan::default();
    Expression::new(text).unwrap().lower(&mut plan);
    let nets =
        |name, list: &[IpNet]| list.iter().map(|n| format!(" {name}={n}")).collect::<String>();
    let ports = |name, list: &[RangeInclusive<u16>]| {
        list.iter().map(|r| format!(" {name}={r:?}")).collect::<String>()
    };
    [
        nets("src", &plan.src.include),
        nets("not-src", &plan.src.exclude),
        nets("dst", &plan.dst.include),
        nets("not-dst", &plan.dst.exclude),
        nets("either", &plan.either),
        ports("sport", &plan.ports.src),
        ports("dport", &plan.ports.dst),
        ports("port", &plan.ports.either),
    ]
    .concat()
}

#[test]
fn plain_networks_and_ports_are_lowered() {
    let (a, b) = ("192.0.2.0/24", "198.51.100.0/24");
    for (text, wanted) in [
        (format!("dst net {a}"), format!(" dst={a}")),
        (format!("icmp and src net {a} and port 5"), format!(" src={a} port=5..=5")),
        (format!("dst net {a} or dst net {b}"), format!(" dst={a} dst={b}")),
        (format!("src and dst net {a}"), format!(" src={a} dst={a}")),
        (format!("not dst net {a}"), format!(" not-dst={a}")),
        (format!("tcp and not net {a}"), format!(" not-src={a} not-dst={a}")),
        (format!("not (src net {a} or dst net {b})"), format!(" not-src={a} not-dst={b}")),
        (format!("dst net {a} and dst net {b}"), format!(" dst={a}")),
        (format!("net {a}"), format!(" either={a}")),
        (format!("dst net {a} or src net {b}"), format!(" either={a} either={b}")),
        (format!("net {a} and dst net {b}"), format!(" dst={b} either={a}")),
        ("dst port 80 or dst port 443".to_owned(), " dport=80..=80 dport=443..=443".to_owned()),
        ("src and dst port 53".to_owned(), " sport=53..=53 dport=53..=53".to_owned()),
        ("tcp portrange 80-90 or udp src port 5".to_owned(), " port=80..=90 port=5..=5".to_owned()),
    ] {
        assert_eq!(lowered(&text), wanted, "{text}");
    }
}

#[test]
fn what_is_not_plain_is_not_lowered() {
    let a = "192.0.2.0/24";
    for text in [
        format!("dst net {a} or tcp"),
        format!("not (dst net {a} and tcp)"),
        format!("not (src and dst net {a})"),
        format!("port 80 or net {a}"),
        "not port 80".to_owned(),
    ] {
        assert_eq!(lowered(&text), "", "{text}");
    }
}

/// Whatever an expression lets through, its plan lets through.
#[test]
fn a_plan_never_lets_too_little_through() {
    let parts = [
        "dst net 192.0.2.0/24",
        "src net 192.0.2.0/24",
        "net 198.51.100.0/24",
        "tcp",
        "src and dst net 0.0.0.0/0",
        "not dst 192.0.2.7",
        "port 1",
        "dst port 2 or src port 7",
        "portrange 3-9",
    ];
    let web = event(6, Some((1, 2)));
    for a in parts {
        for b in parts {
            for joined in [
                format!("{a} and {b}"),
                format!("{a} or {b}"),
                format!("not ({a} and {b})"),
                format!("not ({a} or {b})"),
                format!("{a} and not ({b} or {a})"),
            ] {
                let mut plan = Plan::default();
                Expression::new(&joined).unwrap().lower(&mut plan);
                let admits = |nets: &crate::plan::Nets, address| {
                    let any = |list: &[IpNet]| list.iter().any(|n| n.contains(&address));
                    (nets.include.is_empty() || any(&nets.include)) && !any(&nets.exclude)
                };
                let either = |address| plan.either.iter().any(|n| n.contains(&address));
                let either = plan.either.is_empty() || either(web.src) || either(web.dst);
                let port = |list: &[RangeInclusive<u16>], ports: &[u16]| {
                    list.is_empty() || list.iter().any(|r| ports.iter().any(|p| r.contains(p)))
                };
                let passes = admits(&plan.src, web.src)
                    && admits(&plan.dst, web.dst)
                    && either
                    && port(&plan.ports.src, &[1])
                    && port(&plan.ports.dst, &[2])
                    && port(&plan.ports.either, &[1, 2]);
                assert!(passes || !matches(&joined, &web), "{joined}: {plan:?}");
            }
        }
    }
}
