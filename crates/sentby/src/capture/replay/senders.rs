//! Who sent a packet, where a file says so: sentby's own comments, ptcpdump's, and the
//! option that pcapng has for it.
//!
//! A file is anyone's. What it says is shown as evidence `recorded`, or as the evidence
//! that sentby's own comment tells, and is never completed from this machine.

use super::HOOK;
use super::recorded;
use crate::event::{COMM_LEN, Evidence, Process, ProcessKey, Recorded, Task};
use wire::capture_file::Options;

/// Most arguments that are taken from a comment.
const MAX_ARGS: usize = 4096;

/// Who sent a packet, and what else the file says about it.
pub struct Sender {
    /// Why the sender is named.
    pub evidence: Evidence,
    /// The sender.
    pub task: Option<Task>,
    /// What is known about its process.
    pub process: Option<Process>,
    /// The hook that saw it.
    pub hook: &'static str,
    /// The socket's inode.
    pub socket_inode: Option<u64>,
    /// Several processes have used the socket.
    pub shared: bool,
    /// Network namespace inode.
    pub netns: Option<u32>,
    /// Length of the packet that was seen.
    pub len: Option<u32>,
    /// The rest.
    pub recorded: Option<Box<Recorded>>,
}

impl Sender {
    /// Nobody can be named.
    pub const UNKNOWN: Sender = Sender {
        evidence: Evidence::Unknown,
        task: None,
        process: None,
        hook: HOOK,
        socket_inode: None,
        shared: false,
        netns: None,
        len: None,
        recorded: None,
    };

    /// What stands beside a packet.
    pub fn of(options: &Options<'_>) -> Sender {
        if options.is_empty() {
            return Sender::UNKNOWN;
        }
        if let Some(sender) = options.comments().find_map(recorded::read) {
            return sender;
        }
        // Others name the process at this end of a connection, which of a packet that
        // came in is not the sender.
        if options.inbound() == Some(true) {
            return Sender::UNKNOWN;
        }
        ptcpdump(options).or_else(|| by_option(options)).unwrap_or(Sender::UNKNOWN)
    }
}

fn named(pid: u32, tid: Option<u32>, comm: Option<&[u8]>, process: Option<Process>) -> Sender {
    let key = Some(ProcessKey { pid, start_ticks: 0 });
    let uid = process.as_ref().and_then(|p| p.uid);
    let task = Task { key, tid, comm: comm.map(short), uid };
    Sender { evidence: Evidence::Recorded, task: Some(task), process, ..Sender::UNKNOWN }
}

/// A name as the kernel keeps it.
pub fn short(name: &[u8]) -> [u8; COMM_LEN] {
    let mut comm = [0; COMM_LEN];
    let len = name.len().min(COMM_LEN - 1);
    comm[..len].copy_from_slice(&name[..len]);
    comm
}

fn by_option(options: &Options<'_>) -> Option<Sender> {
    let (pid, tid) = options.process_and_thread().filter(|(pid, _)| *pid != 0)?;
    Some(named(pid, (tid != 0).then_some(tid), None, None))
}

/// What ptcpdump writes: lines of `Key: value`, over several comments.
fn ptcpdump(options: &Options<'_>) -> Option<Sender> {
    let lines = || options.comments().flat_map(|text| text.split(|b| *b == b'\n'));
    let value = |key: &[u8]| {
        lines().find_map(|line| {
            let rest = line.trim_ascii().strip_prefix(key)?.strip_prefix(b":")?;
            Some(rest.trim_ascii()).filter(|rest| !rest.is_empty())
        })
    };
    let number = |key: &[u8]| std::str::from_utf8(value(key)?).ok()?.parse::<u32>().ok();
    let pid = number(b"PID").filter(|pid| *pid != 0)?;
    let mut process = Process { ppid: number(b"ParentPID"), ..Process::default() };
    process.uid = number(b"UserId");
    if let Some(command) = value(b"Cmd").or_else(|| value(b"Command")) {
        let command = command.strip_suffix(b"...").unwrap_or(command);
        process.comm = command.rsplit(|b| *b == b'/').next().map(<[u8]>::to_vec);
        process.exe = command.starts_with(b"/").then(|| command.to_vec());
    }
    if let Some(args) = value(b"Args") {
        let whole = args.strip_suffix(b"...");
        process.argv_truncated = whole.is_some();
        let words = whole.unwrap_or(args).split(|b| *b == b' ').take(MAX_ARGS);
        process.argv = Some(words.collect::<Vec<_>>().join(&0));
    }
    let tid = number(b"ThreadId").or_else(|| number(b"TID")).filter(|tid| *tid != 0);
    let own = process.comm.clone();
    let comm = value(b"ThreadName").or(own.as_deref());
    Some(named(pid, tid, comm, Some(process)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::until_nul;
    use wire::capture_file::{Reader, Step};

    /// The sender of a packet beside which these options stand.
    fn sender(options: &[(u16, &[u8])]) -> Sender {
        let mut body = [0_u32, 0, 0, 0, 0].map(u32::to_le_bytes).concat();
        for (code, value) in options {
            body.extend(code.to_le_bytes());
            body.extend((value.len() as u16).to_le_bytes());
            body.extend_from_slice(value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let block = |kind: u32, body: &[u8]| {
            let len = (body.len() as u32 + 12).to_le_bytes();
            [&kind.to_le_bytes(), &len, body, &len].concat()
        };
        let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
        section.extend([1, 0, 0, 0]);
        section.extend([0xff; 8]);
        let file =
            [block(0x0a0d_0d0a, &section), block(1, &[101, 0, 0, 0, 0, 0, 0, 0]), block(6, &body)]
                .concat();
        let (mut reader, mut at) = (Reader::new(), 0);
        loop {
            match reader.step(&file[at..]).unwrap() {
                Step::Record(record, _) => return Sender::of(&record.options),
                Step::Other(n) => at += n,
                step => panic!("{step:?}"),
            }
        }
    }

    #[test]
    fn the_option_names_process_and_thread() {
        let named = sender(&[(8, &[0xd2, 4, 0, 0, 0, 0, 0, 0])]);
        assert_eq!(named.evidence, Evidence::Recorded);
        let task = named.task.unwrap();
        assert_eq!((task.key.unwrap().pid, task.tid), (1234, None));
        let none = sender(&[(8, &[0; 8])]);
        assert_eq!((none.evidence, none.task), (Evidence::Unknown, None));
    }

    #[test]
    fn ptcpdump_names_more() {
        let named = sender(&[
            (1, b"PID: 7\nCmd: /usr/bin/curl\nArgs: curl -s http://a/..."),
            (1, b"ThreadId: 8\nThreadName: tokio-worker"),
            (1, b"UserId: 1000\nGroupId: 1000"),
            (1, b"ParentPID: 5\nParentCmd: /bin/sh\nParentArgs: sh"),
        ]);
        let (task, process) = (named.task.unwrap(), named.process.unwrap());
        assert_eq!((task.key.unwrap().pid, task.tid, task.uid), (7, Some(8), Some(1000)));
        assert_eq!(until_nul(&task.comm.unwrap()), b"tokio-worker");
        assert_eq!(process.exe.as_deref(), Some(&b"/usr/bin/curl"[..]));
        assert_eq!(process.argv.as_deref(), Some(&b"curl\0-s\0http://a/"[..]));
        assert!(process.argv_truncated);
        assert_eq!((process.ppid, process.comm), (Some(5), Some(b"curl".to_vec())));
    }

    #[test]
    fn who_gets_a_packet_did_not_send_it() {
        let inbound = (2, &[1, 0, 0, 0][..]);
        let none = sender(&[(1, b"PID: 7\nCmd: /usr/bin/curl"), inbound]);
        assert_eq!((none.evidence, none.task), (Evidence::Unknown, None));
        assert!(sender(&[(1, b"just a note")]).task.is_none());
    }
}
