//! Fills a recording with events of a made-up week, through the real decoders, enricher and
//! writer, so that bench/store can measure those.

mod load;

use super::prune::Bounds;
use super::write::{Recorder, Settings};
use crate::asked::{self, Asked, Found};
use crate::enrich::Enricher;
use crate::event::{
    Capture, Ends, Evidence, Iface, NS_PER_TICK, Process, ProcessKey, Raw, Task, Wanted,
};
use crate::output::Output;
use anyhow::Result;
use load::{Load, One, PROCESSES};
use std::path::{Path, PathBuf};
use std::time::Instant;
use wire::transport::{self, TCP};
use wire::{Layer, PROTOCOLS, Packet, Request};

/// The week, in nanoseconds: from 2026-11-18 on, UTC.
const BEGIN: u64 = 1_794_960_000_000_000_000;
const WEEK: u64 = 7 * 86_400_000_000_000;

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
    let mut load = Load::new();
    let step = (WEEK / events.max(1)).max(1);
    let mut understood = 0;
    for n in 0..events {
        let One { process, packet: bytes } = load.next(n, events);
        let Some(packet) = wire::packet::parse(Layer::Ip, bytes) else { continue };
        let Some(request) = decode(&asked, &packet) else { continue };
        let capture = capture(BEGIN + n * step, process, bytes.len());
        let mut event = enricher.event(&capture, Ends::of(&packet), &request);
        event.raw = Raw::Packet(bytes);
        recorder.event(&event)?;
        understood += 1;
    }
    recorder.settle()?;
    let took = begun.elapsed().as_secs_f64();
    println!("{understood} events in {took:.1} s, {:.0} a second", understood as f64 / took);
    Ok(())
}

fn decode<'a>(asked: &[Asked], packet: &Packet<'a>) -> Option<Request<'a>> {
    let segment = transport::tcp(packet).filter(|_| packet.protocol == TCP);
    match segment.filter(|segment| !segment.payload.is_empty()) {
        Some(segment) => match asked::decode_stream(asked, segment.payload, true) {
            Found::Request(request, _) => Some(request),
            _ => None,
        },
        None => asked::decode(asked, packet),
    }
}

fn process(n: u64) -> (ProcessKey, Process) {
    let start = start(n);
    let rare = n + 1 == PROCESSES;
    let name = if rare { "rare".to_owned() } else { format!("service-{}", n % 400) }.into_bytes();
    let process = Process {
        start: Some(start),
        ppid: Some(1),
        uid: Some(1000 + (n % 50) as u32),
        comm: Some(name.clone()),
        exe: Some([b"/usr/bin/", &name[..]].concat()),
        argv: Some([&name[..], b"--serve\0--config\0/etc/service.conf"].join(&0)),
        cgroup: Some(format!("/system.slice/service-{}.service", n % 400).into_bytes()),
        ..Process::default()
    };
    (key(n), process)
}

fn start(n: u64) -> u64 {
    BEGIN - (n + 1) * 1_000 * NS_PER_TICK
}

fn key(n: u64) -> ProcessKey {
    ProcessKey { pid: 1000 + n as u32, start_ticks: start(n) / NS_PER_TICK }
}

fn capture(time: u64, sender: u64, len: usize) -> Capture {
    let key = key(sender);
    let mut name = [0; 16];
    name[..4].copy_from_slice(b"eth0");
    let uid = Some(1000 + (sender % 50) as u32);
    Capture {
        time,
        hook: crate::capture::replay::HOOK,
        evidence: Evidence::Task,
        task: Some(Task { key: Some(key), tid: Some(key.pid), comm: None, uid }),
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
