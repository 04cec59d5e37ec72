//! Fills a recording with events of a made-up week, through the real decoders, enricher and
//! writer, so that bench/store can measure those.

use super::prune::Bounds;
use super::write::{Recorder, Settings};
use crate::asked::{self, Asked};
use crate::enrich::Enricher;
use crate::event::{
    Capture, Ends, Evidence, Iface, NS_PER_TICK, Process, ProcessKey, Raw, Task, Wanted,
};
use crate::output::Output;
use anyhow::Result;
use std::path::{Path, PathBuf};
use std::time::Instant;
use wire::rebuild::{self, Sent};
use wire::transport::UDP;
use wire::{Layer, PROTOCOLS};

/// The week, in nanoseconds: from 2026-11-18, UTC.
const BEGIN: u64 = 1_794_960_000_000_000_000;
const WEEK: u64 = 7 * 86_400_000_000_000;

/// Processes, and addresses that each of them sends to: neighbours share most of theirs.
/// The first of each are met most.
const PROCESSES: u64 = 2000;
const ADDRESSES_EACH: u64 = 20;
const ADDRESSES_NEXT: u64 = 7;

/// A DNS query for www.example.com (RFC 1035 section 4.1).
const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01";

/// The hidden subcommand.
pub fn command() -> clap::Command {
    clap::Command::new("__fill")
        .hide(true)
        .arg(clap::arg!(<FILE>).value_parser(clap::value_parser!(PathBuf)))
        .arg(clap::arg!(<EVENTS>).value_parser(clap::value_parser!(u64)))
}

/// Fills, and says how long it took.
pub fn run(path: &Path, events: u64) -> Result<()> {
    let mut recorder = Recorder::open(&Settings {
        path: path.to_owned(),
        make_folder: false,
        packets: true,
        bounds: Bounds::default(),
    })?;
    let begun = Instant::now();
    let asked: Vec<Asked> = PROTOCOLS.iter().map(|p| Asked::plain(*p)).collect();
    let mut enricher = Enricher::detached();
    for n in 0..PROCESSES {
        let (key, process) = process(n);
        enricher.learn(key, process);
    }
    let mut bytes = Vec::new();
    let step = (WEEK / events.max(1)).max(1);
    for n in 0..events {
        let random = mixed(n);
        let sender = skewed(random >> 20, PROCESSES);
        packet(random, sender, n as u16, &mut bytes);
        let Some(packet) = wire::packet::parse(Layer::Ip, &bytes) else { continue };
        let Some(request) = asked::decode(&asked, &packet) else { continue };
        let capture = capture(BEGIN + n * step, sender, bytes.len());
        let mut event = enricher.event(&capture, Ends::of(&packet), &request);
        event.raw = Raw::Packet(&bytes);
        recorder.event(&event)?;
    }
    recorder.settle()?;
    let took = begun.elapsed().as_secs_f64();
    println!("{events} events in {took:.1} s, {:.0} a second", events as f64 / took);
    Ok(())
}

/// SplitMix64 (Steele et al., 2014): the same week every time.
fn mixed(n: u64) -> u64 {
    let mut z = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Below `n`; small numbers are many times as likely.
fn skewed(random: u64, n: u64) -> u64 {
    let part = (random & 0xffff) as f64 / 65_536.0;
    ((part.powi(3) * n as f64) as u64).min(n - 1)
}

fn process(n: u64) -> (ProcessKey, Process) {
    let start = BEGIN - (n + 1) * 1_000 * NS_PER_TICK;
    let name = format!("service-{n}").into_bytes();
    let process = Process {
        start: Some(start),
        ppid: Some(1),
        uid: Some(1000 + (n % 5) as u32),
        comm: Some(name.clone()),
        exe: Some([b"/usr/bin/", &name[..]].concat()),
        argv: Some([&name[..], b"--serve\0--config\0/etc/service.conf"].join(&0)),
        cgroup: Some(format!("/system.slice/service-{}.service", n % 40).into_bytes()),
        ..Process::default()
    };
    (ProcessKey { pid: 1000 + n as u32, start_ticks: start / NS_PER_TICK }, process)
}

/// One in four a DNS query, the others echo requests as ping sends them.
fn packet(random: u64, sender: u64, seq: u16, out: &mut Vec<u8>) {
    let to = (sender * ADDRESSES_NEXT + skewed(random, ADDRESSES_EACH)) as u32;
    let dst = [198, 18, (to >> 8) as u8, to as u8];
    out.clear();
    if random.is_multiple_of(4) {
        let whole = QUERY.len() as u64;
        let ports = (32_768 + (random >> 48) as u16 / 4, 53);
        let src = [192, 0, 2, 1].into();
        let sent = Sent { src, dst: dst.into(), ports, protocol: UDP, seq: 0, bytes: QUERY, whole };
        rebuild::packet(&sent, out);
        return;
    }
    out.extend([0x45, 0, 0, 84, 0, 0, 0x40, 0, 64, 1, 0, 0, 192, 0, 2, 1]);
    out.extend(dst);
    let [high, low] = seq.to_be_bytes();
    out.extend([8, 0, 0, 0, 0x12, 0x34, high, low]);
    out.resize(84, 0x55);
}

fn capture(time: u64, sender: u64, len: usize) -> Capture {
    let start = BEGIN - (sender + 1) * 1_000 * NS_PER_TICK;
    let pid = 1000 + sender as u32;
    let key = Some(ProcessKey { pid, start_ticks: start / NS_PER_TICK });
    let mut name = [0; 16];
    name[..4].copy_from_slice(b"eth0");
    Capture {
        time,
        hook: crate::capture::replay::HOOK,
        evidence: Evidence::Task,
        task: Some(Task { key, tid: Some(pid), comm: None, uid: Some(1000 + (sender % 5) as u32) }),
        socket_inode: Some(100_000 + sender),
        outcome_follows: false,
        holders: None,
        shared: false,
        netns: Some(4_026_531_840),
        iface: Some(Iface { index: Some(2), name }),
        descends: None,
        wanted: Wanted::Packet,
        layer: Layer::Ip,
        bytes: 0..len,
        len: Some(len as u32),
        segment: None,
        recorded: None,
    }
}
