//! Writes pcapng: each function appends one whole block, so that a file is readable as
//! far as its writer came. The byte order is little-endian.

use super::{option, pcapng};

/// Longest value of an option, in bytes.
pub const MAX_OPTION: usize = 65_535;

/// The program that wrote the section (`shb_userappl`).
const SHB_USERAPPL: u16 = 4;
/// For people (`if_description`).
const IF_DESCRIPTION: u16 = 3;
/// The block of an interface's counters, and its options.
const STATISTICS: u32 = 5;
const ISB_STARTTIME: u16 = 2;
const ISB_ENDTIME: u16 = 3;
const ISB_IFRECV: u16 = 4;
const ISB_OSDROP: u16 = 7;
const ISB_USRDELIV: u16 = 8;

/// Time stamps count nanoseconds.
const NANOSECONDS: u8 = 9;

/// A packet to be written.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The number of its interface, in the order in which they were written.
    pub interface: u32,
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// As much of it as there is.
    pub bytes: &'a [u8],
    /// How long it was.
    pub len: u32,
    /// Text for people and programs, at most [`MAX_OPTION`] bytes of it.
    pub comment: &'a [u8],
    /// Process id and thread id of the sender; 0 for an unknown one.
    pub process: Option<(u32, u32)>,
    /// It was sent, not received, by the machine that captured it.
    pub outbound: bool,
}

/// What an interface counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Statistics {
    /// From the first to the last packet, nanoseconds since the Unix epoch.
    pub time: (u64, u64),
    /// Packets seen, where that is known for it.
    pub received: Option<u64>,
    /// Of them, lost on the way to the writer.
    pub dropped: Option<u64>,
    /// Packets written.
    pub delivered: u64,
}

/// Begins a section: interfaces are counted anew.
pub fn section(out: &mut Vec<u8>, program: &str) {
    let mut block = Block::begin(out, pcapng::SECTION);
    block.number(pcapng::LITTLE);
    block.short(1);
    block.short(0);
    block.long(u64::MAX);
    block.option(SHB_USERAPPL, program.as_bytes());
    block.end();
}

/// Describes the next interface.
pub fn interface(out: &mut Vec<u8>, link: u16, name: Option<&[u8]>, description: Option<&[u8]>) {
    let mut block = Block::begin(out, pcapng::INTERFACE);
    block.short(link);
    block.short(0);
    block.number(0);
    for (code, text) in [(option::IF_NAME, name), (IF_DESCRIPTION, description)] {
        if let Some(text) = text {
            block.option(code, text);
        }
    }
    block.option(option::IF_TSRESOL, &[NANOSECONDS]);
    block.end();
}

/// Writes a packet.
pub fn packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    let mut block = Block::begin(out, pcapng::ENHANCED);
    block.number(packet.interface);
    block.stamp(packet.time);
    block.number(packet.bytes.len() as u32);
    block.number(packet.len.max(packet.bytes.len() as u32));
    block.padded(packet.bytes);
    if !packet.comment.is_empty() {
        block.option(option::COMMENT, packet.comment);
    }
    if packet.outbound {
        block.option(option::EPB_FLAGS, &2_u32.to_le_bytes());
    }
    if let Some((pid, tid)) = packet.process {
        let value = u64::from(tid) << 32 | u64::from(pid);
        block.option(option::EPB_PROCESSID_THREADID, &value.to_le_bytes());
    }
    block.end();
}

/// Writes what an interface counted.
pub fn statistics(out: &mut Vec<u8>, interface: u32, counts: &Statistics, comment: &[u8]) {
    let stamp = |time: u64| [(time >> 32) as u32, time as u32].map(u32::to_le_bytes).concat();
    let mut block = Block::begin(out, STATISTICS);
    block.number(interface);
    block.stamp(counts.time.1);
    if !comment.is_empty() {
        block.option(option::COMMENT, comment);
    }
    block.option(ISB_STARTTIME, &stamp(counts.time.0));
    block.option(ISB_ENDTIME, &stamp(counts.time.1));
    for (code, count) in [
        (ISB_IFRECV, counts.received),
        (ISB_OSDROP, counts.dropped),
        (ISB_USRDELIV, Some(counts.delivered)),
    ] {
        if let Some(count) = count {
            block.option(code, &count.to_le_bytes());
        }
    }
    block.end();
}

/// A block that is being written.
struct Block<'o> {
    out: &'o mut Vec<u8>,
    from: usize,
    options: bool,
}

impl<'o> Block<'o> {
    fn begin(out: &'o mut Vec<u8>, kind: u32) -> Self {
        let from = out.len();
        out.extend(kind.to_le_bytes());
        out.extend([0; 4]);
        Block { out, from, options: false }
    }

    fn short(&mut self, n: u16) {
        self.out.extend(n.to_le_bytes());
    }

    fn number(&mut self, n: u32) {
        self.out.extend(n.to_le_bytes());
    }

    fn long(&mut self, n: u64) {
        self.out.extend(n.to_le_bytes());
    }

    fn stamp(&mut self, time: u64) {
        self.number((time >> 32) as u32);
        self.number(time as u32);
    }

    fn padded(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
        let padding = bytes.len().next_multiple_of(4) - bytes.len();
        self.out.extend_from_slice(&[0; 3][..padding]);
    }

    fn option(&mut self, code: u16, value: &[u8]) {
        let value = &value[..value.len().min(MAX_OPTION)];
        self.short(code);
        self.short(value.len() as u16);
        self.padded(value);
        self.options = true;
    }

    fn end(self) {
        let Block { out, from, options } = self;
        if options {
            out.extend([0; 4]);
        }
        let len = ((out.len() - from + 4) as u32).to_le_bytes();
        out[from + 4..from + 8].copy_from_slice(&len);
        out.extend(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture_file::{Reader, Step};

    #[test]
    fn what_is_written_is_read_again() {
        let mut file = Vec::new();
        section(&mut file, "test 1");
        interface(&mut file, 101, Some(b"eth0"), None);
        interface(&mut file, 101, None, Some(b"another"));
        let written = Packet {
            interface: 1,
            time: 1_795_343_885_123_456_789,
            bytes: b"\x45abcd",
            len: 900,
            comment: b"says so",
            process: Some((7, 8)),
            outbound: true,
        };
        packet(&mut file, &written);
        statistics(&mut file, 0, &Statistics::default(), b"");
        let (mut reader, mut at, mut records) = (Reader::new(), 0, 0);
        while at < file.len() {
            match reader.step(&file[at..]).expect("it is in order") {
                Step::Record(record, used) => {
                    assert_eq!((record.interface, record.time), (1, Some(written.time)));
                    assert_eq!((record.bytes, record.len), (written.bytes, 900));
                    assert_eq!(record.options.process_and_thread(), Some((7, 8)));
                    assert_eq!(record.options.inbound(), Some(false));
                    assert_eq!(record.options.comments().next(), Some(&b"says so"[..]));
                    records += 1;
                    at += used;
                }
                Step::Other(used) => at += used,
                step => panic!("{step:?}"),
            }
        }
        assert_eq!((records, at), (1, file.len()));
        assert_eq!(
            reader.interface(0).and_then(|i| i.name).map(|n| n[..4] == *b"eth0"),
            Some(true)
        );
        assert_eq!(reader.interface(1).and_then(|i| i.name), None);
    }
}
