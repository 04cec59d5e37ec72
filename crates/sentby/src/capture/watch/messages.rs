//! What the kernel's process connector says: messages of include/uapi/linux/cn_proc.h
//! inside of those of connector.h and netlink.h. The layouts read here are those of
//! Linux 3.10, and no kernel since has changed them.

use crate::event::COMM_LEN;

/// Group and id of the process connector (`CN_IDX_PROC`, `CN_VAL_PROC`, connector.h).
pub const CN_PROC: u32 = 1;

/// `struct nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// `struct cn_msg` without its data.
const CONNECTOR_HEADER: usize = 20;
/// `struct proc_event` up to its union: what, cpu, time.
const EVENT_HEADER: usize = 16;

/// `NLMSG_DONE`, which the connector sends each message with.
const NLMSG_DONE: u16 = 3;

// `enum what` of `struct proc_event`.
const NONE: u32 = 0;
const FORK: u32 = 0x0000_0001;
const EXEC: u32 = 0x0000_0002;
const UID: u32 = 0x0000_0004;
const COMM: u32 = 0x0000_0200;
const EXIT: u32 = 0x8000_0000;

/// `enum proc_cn_mcast_op`: tell us, and stop telling us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// `PROC_CN_MCAST_LISTEN`.
    Listen = 1,
    /// `PROC_CN_MCAST_IGNORE`.
    Ignore = 2,
}

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// When: nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// What.
    pub what: What,
}

/// What happened. Threads are no processes: theirs are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The answer to a [`Wish`] of this number: an errno, or 0.
    Answer(u32, u32),
    /// A process was made.
    Fork {
        /// By this one.
        parent: u32,
        /// This is the new one.
        child: u32,
    },
    /// It runs another program.
    Exec(u32),
    /// Its leader is another user's now: the real user id.
    Uid(u32, u32),
    /// Its leader has another name.
    Comm(u32, [u8; COMM_LEN]),
    /// Its leader has ended.
    Exit(u32),
}

/// A wish as the kernel expects it. `number` comes back in the answer.
pub fn wish(wish: Wish, number: u32) -> Vec<u8> {
    let len = (NETLINK_HEADER + CONNECTOR_HEADER + 4) as u32;
    let mut bytes = len.to_ne_bytes().to_vec();
    let half = |n: u16| n.to_ne_bytes();
    bytes.extend([half(NLMSG_DONE), half(0)].as_flattened());
    // Sequence number and sender, which the kernel fills in; id, sequence number, number.
    for word in [0, 0, CN_PROC, CN_PROC, 0, number] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend([half(4), half(0)].as_flattened());
    bytes.extend((wish as u32).to_ne_bytes());
    bytes
}

/// Reads a datagram: every message in it that is understood. Lengths that cannot be are
/// the end of it.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message> + '_ {
    std::iter::from_fn(move || {
        loop {
            let len = word(bytes, 0)? as usize;
            let whole = bytes.get(..len).filter(|m| m.len() >= NETLINK_HEADER)?;
            let next = len.next_multiple_of(4).min(bytes.len());
            let kind = half(whole, 4);
            bytes = &bytes[next..];
            if kind == Some(NLMSG_DONE)
                && let Some(message) = connector(&whole[NETLINK_HEADER..])
            {
                return Some(message);
            }
        }
    })
}

fn connector(bytes: &[u8]) -> Option<Message> {
    if (word(bytes, 0)?, word(bytes, 4)?) != (CN_PROC, CN_PROC) {
        return None;
    }
    let number = word(bytes, 12)?;
    let len = usize::from(half(bytes, 16)?);
    event(bytes.get(CONNECTOR_HEADER..)?.get(..len)?, number)
}

fn event(bytes: &[u8], number: u32) -> Option<Message> {
    let time = u64::from_ne_bytes(bytes.get(8..16)?.try_into().ok()?);
    let data = bytes.get(EVENT_HEADER..)?;
    let (pid, tgid) = (word(data, 0), word(data, 4));
    let leader = || (pid? == tgid?).then_some(pid?);
    let what = match word(bytes, 0)? {
        // Its own number and one more (`cn_proc_ack`, drivers/connector/cn_proc.c).
        NONE => What::Answer(number.wrapping_sub(1), word(data, 0)?),
        FORK => {
            let (child, group) = (word(data, 8)?, word(data, 12)?);
            if child != group {
                return None;
            }
            What::Fork { parent: tgid?, child }
        }
        // The thread that does it becomes the leader.
        EXEC => What::Exec(tgid?),
        UID => What::Uid(leader()?, word(data, 8)?),
        COMM => What::Comm(leader()?, data.get(8..8 + COMM_LEN)?.try_into().ok()?),
        EXIT => What::Exit(leader()?),
        _ => return None,
    };
    Some(Message { time, what })
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(what: u32, data: &[u32]) -> Vec<u8> {
        let payload = EVENT_HEADER + data.len() * 4;
        let mut bytes = Vec::new();
        let len = (NETLINK_HEADER + CONNECTOR_HEADER + payload) as u32;
        for n in [len, u32::from(NLMSG_DONE), 0, 0, CN_PROC, CN_PROC, 9, 43, payload as u32] {
            bytes.extend_from_slice(&n.to_ne_bytes());
        }
        bytes.extend_from_slice(&what.to_ne_bytes());
        bytes.extend_from_slice(&1u32.to_ne_bytes());
        bytes.extend_from_slice(&77u64.to_ne_bytes());
        data.iter().for_each(|n| bytes.extend_from_slice(&n.to_ne_bytes()));
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<What> {
        messages(bytes)
            .map(|m| {
                assert_eq!(m.time, 77);
                m.what
            })
            .collect()
    }

    fn name() -> Vec<u32> {
        let words = [*b"ping", [0; 4], [0; 4], [0; 4]];
        words.into_iter().map(u32::from_ne_bytes).collect()
    }

    #[test]
    fn messages_are_understood() {
        let mut all = message(FORK, &[1, 2, 3, 3]);
        all.extend(message(EXEC, &[4, 3]));
        all.extend(message(COMM, &[[3, 3].to_vec(), name()].concat()));
        all.extend(message(UID, &[3, 3, 1000, 0]));
        all.extend(message(EXIT, &[3, 3, 0, 17, 1, 1]));
        all.extend(message(NONE, &[22]));
        let comm = *b"ping\0\0\0\0\0\0\0\0\0\0\0\0";
        let fork = What::Fork { parent: 2, child: 3 };
        let changed = [What::Exec(3), What::Comm(3, comm), What::Uid(3, 1000)];
        let rest = [&changed[..], &[What::Exit(3), What::Answer(42, 22)]].concat();
        assert_eq!(read(&all), [&[fork][..], &rest].concat());
    }

    #[test]
    fn threads_and_other_things_are_passed_over() {
        let mut all = message(FORK, &[1, 2, 4, 3]);
        all.extend(message(EXIT, &[4, 3, 0, 17]));
        all.extend(message(COMM, &[[4, 3].to_vec(), name()].concat()));
        all.extend(message(0x40, &[1, 1, 0, 0]));
        all.extend(message(EXEC, &[5, 5]));
        assert_eq!(read(&all), [What::Exec(5)]);
        let mut other = message(EXEC, &[5, 5]);
        other[NETLINK_HEADER] = 2; // another connector
        assert_eq!(read(&other), []);
    }

    #[test]
    fn no_length_leads_astray() {
        let whole = message(FORK, &[1, 2, 3, 3]);
        for cut in 0..whole.len() {
            assert_eq!(read(&whole[..cut]), [], "{cut}");
        }
        for at in 0..whole.len() {
            for value in [0, 1, 3, 0x7f, 0x80, 0xff] {
                let mut hostile = [whole.clone(), whole.clone()].concat();
                hostile[at] = value;
                assert!(messages(&hostile).count() <= 2);
            }
        }
        assert_eq!(read(&[0; 64]), []);
    }

    #[test]
    fn a_wish_is_what_the_kernel_takes() {
        let bytes = wish(Wish::Listen, 42);
        assert_eq!(word(&bytes, 0), Some(bytes.len() as u32));
        assert_eq!((half(&bytes, 4), half(&bytes, 6)), (Some(NLMSG_DONE), Some(0)));
        assert_eq!((word(&bytes, 28), half(&bytes, 32)), (Some(42), Some(4)));
        assert_eq!(word(&bytes, 36), Some(1));
    }
}
