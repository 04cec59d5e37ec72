//! Tests of the filter: what flags mean, what they refuse, and that a plan never
//! drops what the filter would show.

use super::*;
use crate::asked::Asked;
use crate::enrich::ContainerInfo;
use crate::event::{Ancestor, Candidate, Capture, Iface, Process, Task, until_nul};
use crate::fixture::{Probe, Sample};
use clap::Parser;

/// A machine with one user and two interfaces.
struct Machine;

impl Lookup for Machine {
    fn uid(&self, name: &str) -> Option<Option<u32>> {
        Some((name == "root").then_some(0))
    }

    fn interfaces(&self) -> Option<Vec<String>> {
        Some(vec!["eth0".into(), "lo".into()])
    }

    fn netns(&self, name: &str) -> Option<u32> {
        (name == "blue").then_some(4_026_531_840)
    }
}

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    filter: FilterArgs,
}

fn args(line: &str) -> FilterArgs {
    Cli::try_parse_from(std::iter::once("x").chain(line.split_whitespace())).unwrap().filter
}

fn filter(line: &str) -> Filter {
    Filter::at(&args(line), &Machine).unwrap_or_else(|e| panic!("{line}: {e}"))
}

fn shows(line: &str, sample: &Sample) -> bool {
    filter(line).matches(&sample.event())
}

fn placed() -> Sample {
    let mut sample = Sample::ping();
    sample.dst_name = Some(b"Www.example.com".to_vec());
    sample.unit = Some("x.service".into());
    sample.container = Some("3f2a91bc0d1e44aa".into());
    let process = sample.process.as_mut().unwrap();
    process.cgroup = Some(b"/system.slice/x.service".to_vec());
    let text = |text: &str| Some(text.to_owned());
    let (pod, pod_namespace) = (text("web-0"), text("shop"));
    let info = ContainerInfo { name: text("web"), image: None, pod, pod_namespace };
    process.container = Some(Arc::new(info));
    sample
}

#[test]
fn every_flag_chooses_and_excludes() {
    let sample = placed();
    let cases = [
        ("--pid 4711", "--pid 4712"),
        ("--pid 1,4711", "--pid 1,2"),
        ("--tid 4711", "--tid 1"),
        ("--comm ping", "--comm pin"),
        ("--comm p*", "--comm q*"),
        ("--exe ping", "--exe /bin/ping"),
        ("--exe /usr/*", "--exe /opt/*"),
        ("--uid root", "--uid 1000"),
        ("--uid 0", "--uid 1"),
        ("--src 198.51.100.0/24", "--src 192.0.2.7"),
        ("--dst 192.0.2.7", "--dst 192.0.2.8"),
        ("--dst ::ffff:192.0.2.7", "--dst ::/0"),
        ("--dst 192.0.2.99/24", "--dst 10.0.0.0/8,2001:db8::/32"),
        ("--dst-name www.Example.com", "--dst-name example.com"),
        ("--dst-name a,*.example.com", "--dst-name *.com.example"),
        ("--iface eth0", "--iface lo"),
        ("--iface eth*", "--iface veth*"),
        ("--netns 4026531840", "--netns 1"),
        ("--netns net:[4026531840]", "--netns net:[1]"),
        ("--netns blue", "--netns 0"),
        ("--cgroup /system.slice", "--cgroup /system"),
        ("--cgroup /sys/fs/cgroup/system.slice/", "--cgroup /user.slice"),
        ("--unit x", "--unit y"),
        ("--unit x.service", "--unit x.scope"),
        ("--container 3f2a", "--container f2a9"),
        ("--container web", "--container we"),
        ("--container w*", "--container x*"),
        ("--pod web-*", "--pod web"),
        ("--pod-namespace shop", "--pod-namespace sho"),
    ];
    for (yes, no) in cases {
        assert!(shows(yes, &sample), "{yes}");
        assert!(!shows(no, &sample), "{no}");
        let negate = |line: &str| line.replacen(' ', " !", 1);
        assert!(!shows(&negate(yes), &sample), "{}", negate(yes));
        assert!(shows(&negate(no), &sample), "{}", negate(no));
    }
}

#[test]
fn any_within_a_flag_all_across_flags() {
    let sample = Sample::ping();
    assert!(shows("", &sample));
    assert!(shows("--pid 1 --pid 4711", &sample));
    assert!(!shows("--pid 4711 --uid 1", &sample));
    assert!(!shows("--dst 192.0.2.0/24 --dst !192.0.2.7", &sample));
    assert!(!shows("--pid !1,4711", &sample), "neither");
}

#[test]
fn what_is_unknown_is_neither_wanted_nor_unwanted() {
    let sample = Sample::unknown();
    for flag in ["--pid", "--tid", "--uid", "--netns"] {
        assert!(!shows(&format!("{flag} 5"), &sample), "{flag}");
        assert!(shows(&format!("{flag} !5"), &sample), "{flag}");
    }
    for flag in
        ["--comm", "--exe", "--unit", "--container", "--pod", "--pod-namespace", "--dst-name"]
    {
        assert!(!shows(&format!("{flag} *"), &sample), "{flag}");
        assert!(shows(&format!("{flag} !*"), &sample), "{flag}");
    }
}

#[test]
fn the_kernel_and_passing_packets_on_request() {
    let mut sample = Sample::unknown();
    assert!(shows("", &sample), "an unknown sender may be a process");
    sample.evidence = Evidence::Kernel;
    assert!(!shows("", &sample) && !shows("--forwarded", &sample) && shows("--kernel", &sample));
    sample.evidence = Evidence::Forwarded;
    assert!(!shows("", &sample) && !shows("--kernel", &sample) && shows("--forwarded", &sample));
}

#[test]
fn children_by_the_backends_word_else_by_ancestors() {
    let mut sample = Sample::ping();
    let ancestors = [(812, "bash"), (80, "sshd")]
        .map(|(pid, comm)| Ancestor { pid: Some(pid), comm: comm.into() });
    sample.process.as_mut().unwrap().ancestors = Some(ancestors.into());
    for (line, want) in [
        ("--pid 80 --children", true),
        ("--pid 4711 --children", true),
        ("--pid 80", false),
        ("--pid 81 --children", false),
        ("--pid !80 --children", false),
        ("--pid !80", true),
    ] {
        assert_eq!(shows(line, &sample), want, "{line}");
    }
    sample.capture.descends = Some(false);
    assert!(!shows("--pid 80 --children", &sample));
    assert!(shows("--pid 4711 --children", &sample));
    sample.capture.descends = Some(true);
    assert!(shows("--pid 81 --children", &sample), "the parents in between have ended");
    assert!(!shows("--pid 81", &sample));
    assert!(Cli::try_parse_from(["x", "--children"]).is_err());
}

#[test]
fn one_matching_candidate_is_enough() {
    let mut sample = Sample::unknown();
    sample.evidence = Evidence::Procfs;
    sample.candidates = [12, 34]
        .map(|pid| Candidate { key: ProcessKey { pid, start_ticks: 0 }, comm: b"x".to_vec() })
        .into();
    assert!(shows("--pid 34", &sample) && !shows("--pid 35", &sample));
    assert!(shows("--pid !34", &sample) && !shows("--pid !12,34", &sample));
}

#[test]
fn long_names_are_compared_as_the_kernel_keeps_them() {
    let mut sample = Sample::ping();
    sample.comm = Some(b"systemd-timesyn".to_vec());
    assert!(shows("--comm systemd-timesyncd", &sample));
    assert_eq!(filter("--comm systemd-timesyncd").plan(&[]).comms.0, [b"systemd-timesyn"]);
}

#[test]
fn errors_say_what_why_and_what_to_do() {
    let cases = [
        (
            "--dst 10.0.0.0/33",
            "--dst 10.0.0.0/33: prefix length must be 0 to 32 for IPv4; for one address leave it \
             out: 10.0.0.0",
        ),
        (
            "--src 2001:db8::/x",
            "--src 2001:db8::/x: prefix length must be 0 to 128 for IPv6; for one address leave \
             it out: 2001:db8::",
        ),
        (
            "--dst example.com",
            "--dst example.com: example.com is not an IPv4 or IPv6 address; names are not \
             resolved (`getent ahosts NAME` does)",
        ),
        ("--pid 1,x", "--pid 1,x: x is not a process id, a number up to 4294967295"),
        ("--pid +5", "--pid +5: +5 is not a process id, a number up to 4294967295"),
        ("--tid !", "--tid '!': no value"),
        ("--pid 1,,2", "--pid 1,,2: '' is not a process id, a number up to 4294967295"),
        (
            "--uid nobody-here",
            "--uid nobody-here: no user nobody-here in /etc/passwd; users of LDAP and of \
             containers go by number (`id -u`)",
        ),
        (
            "--iface eth9",
            "--iface eth9: no such interface here (there are: eth0, lo); for one that comes later \
             or is in another network namespace use a glob: --iface 'eth9*'",
        ),
        (
            "--netns red",
            "--netns red: no network namespace at /run/netns/red; give an inode (`readlink \
             /proc/PID/ns/net`), `self`, a name of `ip netns`, or a path",
        ),
        (
            "--cgroup system.slice",
            "--cgroup system.slice: a cgroup path begins with a slash; `cat /proc/PID/cgroup` \
             shows one",
        ),
        (
            "--comm a[",
            "--comm 'a[': not a valid pattern: unclosed character class; missing ']'; a backslash \
             makes the next character plain",
        ),
        (
            "--pid \x1b[31m",
            "--pid $'\\x1b[31m': $'\\x1b[31m' is not a process id, a number up to 4294967295",
        ),
    ];
    for (line, want) in cases {
        let error = Filter::at(&args(line), &Machine).unwrap_err();
        assert_eq!(format!("{error:#}"), want);
    }
    let many = vec!["1".to_owned(); 1025];
    let error = Filter::at(&FilterArgs { pid: many, ..FilterArgs::default() }, &Machine);
    assert!(error.unwrap_err().to_string().starts_with("--pid: more than 1024 values"));
}

#[test]
fn an_interface_elsewhere_is_not_asked_for_here() {
    for line in ["--iface eth9*", "--iface !eth9", "--iface eth9 --netns blue"] {
        filter(line);
    }
    assert!(Filter::detached(&args("--iface eth9 --uid ws")).is_ok());
    assert!(Filter::new(&args("--uid root --iface lo")).is_ok(), "every machine has these");
    let mut sample = Sample::ping();
    sample.user = Some("ws".into());
    assert!(Filter::detached(&args("--uid ws")).unwrap().matches(&sample.event()));
}

#[test]
fn a_plan_has_what_can_be_told_exactly() {
    let line = "--pid 1 --pid !3 --comm curl --iface lo --uid root --dst 10.0.0.0/8 \
                --dst !10.1.0.0/16 --kernel";
    let plan = filter(line).plan(&[Asked::plain(&Probe), Asked::plain(&Probe)]);
    assert_eq!(plan.ip_protocols, [6, 17]);
    assert_eq!(plan.senders, Senders { kernel: true, forwarded: false });
    assert_eq!((plan.pids.0, plan.uids.0), (vec![1], vec![0]));
    assert_eq!((plan.comms.0, plan.ifaces.0), (vec![b"curl".to_vec()], vec![b"lo".to_vec()]));
    assert_eq!(plan.dst.include, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(plan.dst.exclude, ["10.1.0.0/16".parse().unwrap()]);
    let plan = filter("--comm curl --comm p* --iface lo,eth*").plan(&[]);
    assert!(plan.comms.0.is_empty() && plan.ifaces.0.is_empty(), "one glob opens the whole flag");
}

/// A small random number generator (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[usize::try_from(self.below(items.len() as u64)).unwrap()].clone()
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(4) > 0).then_some(value)
    }
}

fn random_line(random: &mut Random) -> String {
    let flags: &[(&str, &[&str])] = &[
        ("--pid", &["1", "2", "1,3", "!1", "!2,3"]),
        ("--tid", &["1", "2", "!1"]),
        ("--comm", &["a", "b", "a*", "!a", "systemd-timesyncd"]),
        ("--uid", &["0", "1", "!0", "root"]),
        ("--src", &["10.0.0.0/8", "10.0.0.1", "!10.0.0.1", "::/0"]),
        ("--dst", &["10.0.0.0/8", "10.0.0.1", "!10.0.0.0/8", "0.0.0.0/0"]),
        ("--iface", &["lo", "eth0", "e*", "!lo"]),
        ("--netns", &["1", "2", "!1"]),
    ];
    let mut line = String::new();
    for _ in 0..random.below(4) {
        let (flag, values) = random.pick(flags);
        line += &format!("{flag} {} ", random.pick(values));
    }
    for flag in ["--kernel", "--forwarded"] {
        line += random.maybe(flag).unwrap_or_default();
        line += " ";
    }
    if line.contains("--pid") && random.below(2) == 0 {
        line += "--children";
    }
    line
}

/// An event as enrichment makes it of a random capture.
fn random_sample(random: &mut Random) -> Sample {
    let key = ProcessKey { pid: random.below(4) as u32, start_ticks: 1 };
    let mut comm = [0; 16];
    let name = random.pick(&[&b"a"[..], b"b", b"ab", b"systemd-timesyn"]);
    comm[..name.len()].copy_from_slice(name);
    let task = Task {
        key: random.maybe(key),
        tid: random.maybe(random.0 as u32 % 3),
        comm: random.maybe(comm),
        uid: random.maybe(random.0 as u32 % 2),
    };
    let mut iface = [0; 16];
    let name = random.pick(&[&b"lo"[..], b"eth0"]);
    iface[..name.len()].copy_from_slice(name);
    let evidence = random.pick(&Evidence::ALL);
    let named = matches!(evidence, Evidence::Task | Evidence::Owner);
    let mut sample = Sample::unknown();
    sample.evidence = evidence;
    sample.capture = Capture {
        evidence: if evidence == Evidence::Procfs { Evidence::Unknown } else { evidence },
        task: named.then_some(task),
        netns: random.maybe(1 + random.0 as u32 % 2),
        iface: random.maybe(Iface { index: Some(1), name: iface }),
        descends: random.pick(&[None, Some(true), Some(false)]),
        ..sample.capture
    };
    enrich(&mut sample, random, key);
    sample.src = random.pick(&["10.0.0.1", "10.0.0.2", "::1"]).parse().unwrap();
    sample.dst = random.pick(&["10.0.0.1", "192.0.2.1", "::1"]).parse().unwrap();
    sample
}

/// Adds what a backend does not know.
fn enrich(sample: &mut Sample, random: &mut Random, key: ProcessKey) {
    if !sample.evidence.names_a_process() {
        return;
    }
    let ancestor = Ancestor { pid: Some(random.below(4) as u32), comm: b"p".to_vec() };
    let process = Process { ancestors: Some(vec![ancestor]), ..Process::default() };
    let task = sample.capture.task;
    sample.key = task.map_or(Some(key), |t| t.key);
    sample.tid = task.and_then(|t| t.tid);
    sample.comm = task
        .and_then(|t| t.comm)
        .map_or_else(|| Some(b"a".to_vec()), |c| Some(until_nul(&c).to_vec()));
    sample.uid = task.and_then(|t| t.uid).or(Some(random.below(2) as u32));
    sample.process = Some(process);
    if sample.evidence == Evidence::Procfs && random.below(2) == 0 {
        let candidate = |pid| Candidate { key: ProcessKey { pid, ..key }, comm: b"a".to_vec() };
        sample.candidates = vec![candidate(1), candidate(3)];
        sample.key = None;
    }
}

/// A plan read word for word, by a backend that knows what the capture says.
fn plan_admits(plan: &Plan, sample: &Sample) -> bool {
    fn any<T: PartialEq>(wanted: &AnyOf<T>, known: Option<T>) -> bool {
        wanted.0.is_empty() || known.is_none_or(|k| wanted.0.contains(&k))
    }
    let nets = |nets: &Nets, address| {
        (nets.include.is_empty() || nets.include.iter().any(|n| n.contains(&address)))
            && !nets.exclude.iter().any(|n| n.contains(&address))
    };
    let capture = &sample.capture;
    let task = capture.task;
    let sender = match capture.evidence {
        Evidence::Kernel => plan.senders.kernel,
        Evidence::Forwarded => plan.senders.forwarded,
        _ => true,
    };
    let child = plan.children && capture.descends != Some(false);
    sender
        && (any(&plan.pids, task.and_then(|t| t.key).map(|k| k.pid)) || child)
        && any(&plan.tids, task.and_then(|t| t.tid))
        && any(&plan.uids, task.and_then(|t| t.uid))
        && any(&plan.comms, task.and_then(|t| t.comm).map(|c| until_nul(&c).to_vec()))
        && any(&plan.ifaces, capture.iface.map(|i| until_nul(&i.name).to_vec()))
        && any(&plan.netns, capture.netns)
        && nets(&plan.src, sample.src)
        && nets(&plan.dst, sample.dst)
}

#[test]
fn a_plan_never_drops_what_the_filter_shows() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut shown, mut dropped) = (0, 0);
    for _ in 0..400 {
        let line = random_line(&mut random);
        let filter = filter(&line);
        let plan = filter.plan(&[Asked::plain(&Probe)]);
        for _ in 0..100 {
            let sample = random_sample(&mut random);
            let admitted = plan_admits(&plan, &sample);
            if filter.matches(&sample.event()) {
                shown += 1;
                assert!(admitted, "{line}\n{plan:?}\n{:?}", sample.event());
            }
            dropped += u32::from(!admitted);
        }
    }
    assert!(shown > 1000 && dropped > 1000, "the test tests: {shown} shown, {dropped} dropped");
}
