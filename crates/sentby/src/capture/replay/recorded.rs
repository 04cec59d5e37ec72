//! Reads what `-w` writes beside a packet: a line of JSON with the event that it was.

use super::HOOK;
use super::senders::{Sender, short};
use crate::capture::BACKENDS;
use crate::enrich::{ContainerInfo, GoBuild};
use crate::event::{
    Ancestor, Candidate, Evidence, MAX_ANCESTORS, NS_PER_TICK, Process, ProcessKey, Recorded, Task,
};
use crate::output::PREFIX;
use serde_json::Value;
use std::sync::Arc;
use wire::{Ending, Fault, PROTOCOLS};

/// Most candidates that are taken.
const MAX_CANDIDATES: usize = 64;

/// Reads a comment; `None` where it is none of ours.
pub fn read(comment: &[u8]) -> Option<Sender> {
    let line = comment.strip_prefix(PREFIX)?.split(|b| *b == b'\n').next()?;
    let value: Value = serde_json::from_slice(line).ok()?;
    let event = Object(value.get("event")?);
    let evidence = event.name("evidence")?;
    let evidence = Evidence::ALL.into_iter().find(|e| e.name() == evidence)?;
    let start = event.time("start");
    let pid = event.number32("pid").filter(|_| evidence.names_a_process());
    let key =
        pid.map(|pid| ProcessKey { pid, start_ticks: start.unwrap_or_default() / NS_PER_TICK });
    let task = evidence.names_a_process().then(|| Task {
        key,
        tid: event.number32("tid"),
        comm: event.text("comm").map(|comm| short(&comm)),
        uid: event.number32("uid"),
    });
    let hook = event.name("hook").and_then(hook);
    Some(Sender {
        evidence,
        task,
        process: key.map(|_| process(&event, start)),
        hook: hook.unwrap_or(HOOK),
        socket_inode: event.number("socket"),
        shared: event.flag("shared"),
        netns: event.number32("netns"),
        len: event.number32("len"),
        recorded: Some(Box::new(Recorded {
            protocol: event.name("proto").and_then(protocol),
            outcome: value.get("outcome").map(|outcome| self::outcome(&Object(outcome))),
            opening: None,
            stored: None,
            host: event.name("host").map(str::to_owned),
            sampled: event.number32("sampled"),
            user: event.name("user").map(str::to_owned),
            candidates: candidates(&event),
            go: event.0.get("go").and_then(|go| build(&Object(go))),
            dst_name: event.text("dst_name").zip(event.name("dst_name_from").map(str::to_owned)),
        })),
    })
}

/// The hook of this name, if sentby has it.
pub fn hook(name: &str) -> Option<&'static str> {
    BACKENDS.iter().flat_map(|b| b.hooks()).find(|hook| *hook == name)
}

/// The name of a protocol.
pub fn protocol(name: &str) -> Option<&'static str> {
    PROTOCOLS.iter().map(|p| p.name()).find(|known| *known == name)
}

/// What an event says about its sender's process.
pub fn process(event: &Object<'_>, start: Option<u64>) -> Process {
    let names = event.texts("ancestors");
    let mut pids = event.numbers("ancestor_pids").into_iter();
    let ancestors = names.map(|names| {
        let ancestor = |comm| Ancestor { pid: pids.next(), comm };
        names.into_iter().take(MAX_ANCESTORS).map(ancestor).collect()
    });
    Process {
        start,
        ppid: event.number32("ppid"),
        ancestors,
        uid: event.number32("uid"),
        comm: event.text("process_comm").or_else(|| event.text("comm")),
        exe: event.text("exe"),
        exe_deleted: event.flag("exe_deleted"),
        argv: event.texts("cmdline").map(|words| words.join(&0)),
        argv_truncated: event.flag("cmdline_truncated"),
        cgroup: event.text("cgroup"),
        inner_pid: event.number32("pid_in_ns"),
        container: ContainerInfo::again(|key| event.name(key)).map(Arc::new),
    }
}

/// Those who may have sent it.
pub fn candidates(event: &Object<'_>) -> Vec<Candidate> {
    let list = event.0.get("candidates").and_then(Value::as_array);
    let one = |value| {
        let value = Object(value);
        let key = ProcessKey { pid: value.number32("pid")?, start_ticks: 0 };
        Some(Candidate { key, comm: value.text("comm")? })
    };
    list.into_iter().flatten().take(MAX_CANDIDATES).filter_map(one).collect()
}

/// What was wrong with its bytes.
pub fn faults(event: &Object<'_>) -> Vec<Fault> {
    let names = event.0.get("faults").and_then(Value::as_array).into_iter().flatten();
    let known = [Fault::Truncated, Fault::BadLength, Fault::BadValue];
    names.filter_map(|name| known.into_iter().find(|f| Some(f.name()) == name.as_str())).collect()
}

/// How Go built the executable.
pub fn build(go: &Object<'_>) -> Option<GoBuild> {
    Some(GoBuild {
        version: go.text("version")?,
        path: go.text("path"),
        module: go.text("module"),
        module_version: go.text("module_version"),
    })
}

/// How what it opened has ended.
pub fn outcome(outcome: &Object<'_>) -> wire::Outcome {
    let ending = outcome.name("ending");
    wire::Outcome {
        ending: Ending::ALL.into_iter().find(|e| Some(e.name()) == ending),
        after: outcome.number("after_ns"),
        attempts: outcome.number32("attempts").unwrap_or_default(),
    }
}

/// A JSON object, whose keys follow the rules of docs/events.md.
pub struct Object<'v>(pub &'v Value);

impl<'v> Object<'v> {
    /// A string.
    pub fn name(&self, key: &str) -> Option<&'v str> {
        self.0.get(key)?.as_str()
    }

    /// A number.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.as_u64()
    }

    /// A number that fits.
    pub fn number32(&self, key: &str) -> Option<u32> {
        u32::try_from(self.number(key)?).ok()
    }

    /// Whether it is there, and true.
    pub fn flag(&self, key: &str) -> bool {
        self.0.get(key) == Some(&Value::Bool(true))
    }

    /// Nanoseconds since the Unix epoch.
    pub fn time(&self, key: &str) -> Option<u64> {
        let time: jiff::Timestamp = self.name(key)?.parse().ok()?;
        u64::try_from(time.as_nanosecond()).ok()
    }

    fn numbers(&self, key: &str) -> Vec<u32> {
        let list = self.0.get(key).and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|n| u32::try_from(n.as_u64()?).ok()).collect()
    }

    /// The raw bytes where they stand beside, else the readable text.
    pub fn text(&self, key: &str) -> Option<Vec<u8>> {
        match self.name(&format!("{key}_hex")) {
            Some(hex) => unhex(hex),
            None => Some(self.name(key)?.as_bytes().to_vec()),
        }
    }

    /// The same of a list.
    pub fn texts(&self, key: &str) -> Option<Vec<Vec<u8>>> {
        let strings = |key: &str| self.0.get(key)?.as_array().map(|list| list.iter());
        match strings(&format!("{key}_hex")) {
            Some(list) => list.map(|text| unhex(text.as_str()?)).collect(),
            None => strings(key)?.map(|text| Some(text.as_str()?.as_bytes().to_vec())).collect(),
        }
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::replay::senders::Sender;
    use crate::fixture::Sample;
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};
    use wire::capture_file::{Reader, Step};

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a file says about the sender of an event that was written into it.
    fn written_and_read(sample: &Sample) -> Sender {
        let file = Shared::default();
        let mut output = crate::output::capture_on(Box::new(file.clone()));
        output.event(&sample.event()).unwrap();
        output.flush().unwrap();
        let bytes = file.0.lock().unwrap().clone();
        let (mut reader, mut at) = (Reader::new(), 0);
        loop {
            match reader.step(&bytes[at..]).unwrap() {
                Step::Record(record, _) => return Sender::of(&record.options),
                Step::Other(used) => at += used,
                step => panic!("{step:?}"),
            }
        }
    }

    #[test]
    fn whatever_is_written_is_read_again() {
        for mut sample in [Sample::ping(), Sample::hostile()] {
            // An event has candidates or a sender, and names end at a NUL.
            sample.candidates.clear();
            sample.comm = Some(b"\x1b[2J\xff\n".to_vec());
            let event_start = sample.process.as_ref().and_then(|p| p.start);
            let sender = written_and_read(&sample);
            assert_eq!(sender.evidence, sample.evidence);
            let task = sender.task.unwrap();
            assert_eq!(task.key.map(|k| k.pid), sample.key.map(|k| k.pid));
            assert_eq!((task.tid, task.uid), (sample.tid, sample.uid));
            assert_eq!(task.comm, Some(short(b"\x1b[2J\xff\n")));
            assert_eq!(sender.socket_inode, sample.capture.socket_inode);
            assert_eq!((sender.netns, sender.len), (sample.capture.netns, sample.len));
            assert_eq!(sender.shared, sample.capture.shared);
            let (read, wrote) = (sender.process.unwrap(), sample.process.clone().unwrap());
            assert_eq!((read.start, read.ppid), (event_start, wrote.ppid));
            assert_eq!((&read.argv, &read.exe), (&wrote.argv, &wrote.exe));
            assert_eq!((&read.cgroup, read.inner_pid), (&wrote.cgroup, wrote.inner_pid));
            assert_eq!(read.exe_deleted, wrote.exe_deleted);
            assert_eq!(read.container, wrote.container);
            let names = |p: &Process| {
                let list = p.ancestors.iter().flatten();
                list.map(|a| (a.pid, a.comm.clone())).collect::<Vec<_>>()
            };
            assert_eq!(names(&read), names(&wrote));
            let recorded = sender.recorded.unwrap();
            assert_eq!((&recorded.user, &recorded.go), (&sample.user, &sample.go));
            let name = recorded.dst_name.map(|(name, _)| name);
            assert_eq!(name, sample.dst_name);
        }
    }

    #[test]
    fn several_candidates_name_nobody() {
        let mut sample = Sample::hostile();
        (sample.evidence, sample.key, sample.process) = (Evidence::Procfs, None, None);
        let sender = written_and_read(&sample);
        assert_eq!(sender.task.and_then(|t| t.key), None);
        let pids = |list: &[Candidate]| list.iter().map(|c| c.key.pid).collect::<Vec<_>>();
        assert_eq!(pids(&sender.recorded.unwrap().candidates), pids(&sample.candidates));
    }

    #[test]
    fn a_command_line_that_does_not_fit_is_cut_and_says_so() {
        let mut sample = Sample::hostile();
        let process = sample.process.as_mut().unwrap();
        // Each byte six characters, and two more in hexadecimal.
        process.argv = Some([&[0xff][..], &[0x1b; 8191]].concat());
        process.argv_truncated = false;
        let read = written_and_read(&sample).process.unwrap();
        assert!(read.argv_truncated);
        assert_eq!(read.argv.unwrap(), [&[0xff][..], &[0x1b; 1023]].concat());
    }
}
