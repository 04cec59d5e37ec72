//! Events on disk until the server has them: files that are only appended to, each record with
//! its checksum, and the position up to which all is acknowledged.
//!
//! A file is `MAGIC`, the length of the run's id (u16) and the id; then records: length of the
//! body (u32), CRC-32 of the body (u32), body: length of the subject (u16), subject, payload.
//! Numbers are little-endian. A file is named after the number of its first record; numbers
//! count up over all runs. Each run begins a file of its own, so that a record's id (the run's
//! and its number) is the same however often it is sent.
//!
//! What was written survives `kill -9`. Nothing is synced: a crash of the machine may cost the
//! last moments, and a torn record ends its file.

use anyhow::{Context, Result, bail};
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const MAGIC: &[u8] = b"sentby spool 1\n";

/// Longest record that is read back; nothing that is written is longer.
const MAX_RECORD: usize = 4 << 20;

/// A spool is in so many files at least, when it is full: one of them makes room at once.
const FILES: u64 = 8;

/// How often that number is written: what was acknowledged since is sent again after a kill,
/// under the ids that the server knows.
const SAVE_EVERY: Duration = Duration::from_millis(500);

/// The file that holds the number of the last record that was acknowledged.
const ACKNOWLEDGED: &str = "acknowledged";

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Counts up, without gaps but for what was dropped.
    pub number: u64,
    /// The same for this record forever.
    pub id: String,
    /// Where it goes.
    pub subject: String,
    /// The event.
    pub payload: Vec<u8>,
}

/// A file of the spool.
#[derive(Debug)]
struct Segment {
    first: u64,
    /// Records in it.
    count: u64,
    bytes: u64,
}

impl Segment {
    fn end(&self) -> u64 {
        self.first + self.count
    }
}

/// The spool.
pub struct Spool {
    folder: PathBuf,
    limit: u64,
    run: String,
    segments: VecDeque<Segment>,
    /// The last segment, open for appending.
    to: Option<File>,
    /// Records that are not in the file yet.
    pending: Vec<u8>,
    pending_count: u64,
    next: u64,
    acknowledged: u64,
    /// What was last written to [`ACKNOWLEDGED`].
    saved: u64,
    saved_at: Instant,
    /// Where reading goes on.
    reading: Option<(u64, BufReader<File>, String)>,
    /// Records dropped to make room.
    pub dropped: u64,
}

impl Spool {
    /// Opens a spool of at most so many bytes, or begins one. `run` is for this run alone.
    pub fn open(folder: &Path, limit: u64, run: String) -> Result<Spool> {
        let opening = || format!("opening the spool {}", folder.display());
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(opening)?;
        let saved = match fs::read_to_string(folder.join(ACKNOWLEDGED)) {
            Ok(text) => text.trim().parse().unwrap_or(0),
            Err(e) if e.kind() == io::ErrorKind::NotFound => 0,
            Err(e) => return Err(e).with_context(opening),
        };
        let mut spool = Spool {
            folder: folder.to_owned(),
            limit,
            run,
            segments: VecDeque::new(),
            to: None,
            pending: Vec::new(),
            pending_count: 0,
            next: saved + 1,
            acknowledged: saved,
            saved,
            saved_at: Instant::now(),
            reading: None,
            dropped: 0,
        };
        spool.find().with_context(opening)?;
        Ok(spool)
    }

    /// Takes what an earlier run has left.
    fn find(&mut self) -> Result<()> {
        let mut firsts: Vec<u64> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".spool"));
            firsts.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
        firsts.sort_unstable();
        for first in firsts {
            let bytes = fs::metadata(self.path(first))?.len();
            // A file that is none, or holds nothing whole, has nothing to give.
            let count = self.reader(first).map_or(0, |(mut file, run)| {
                let mut count = 0;
                while let Ok(Some(_)) = read(&mut file, &run, first + count) {
                    count += 1;
                }
                count
            });
            if count == 0 || first + count <= self.acknowledged + 1 {
                fs::remove_file(self.path(first))?;
                continue;
            }
            self.segments.push_back(Segment { first, count, bytes });
        }
        let end = self.segments.back().map_or(0, Segment::end);
        self.next = self.next.max(end);
        Ok(())
    }

    fn path(&self, first: u64) -> PathBuf {
        self.folder.join(format!("{first:020}.spool"))
    }

    /// A segment, from its first record on.
    fn reader(&self, first: u64) -> Result<(BufReader<File>, String)> {
        let mut file = BufReader::new(File::open(self.path(first))?);
        let mut magic = [0; MAGIC.len()];
        file.read_exact(&mut magic)?;
        if magic != MAGIC {
            bail!("not a spool's file");
        }
        let mut length = [0; 2];
        file.read_exact(&mut length)?;
        let mut run = vec![0; u16::from_le_bytes(length).into()];
        file.read_exact(&mut run)?;
        Ok((file, String::from_utf8(run)?))
    }

    /// Adds a record; it is in the file after [`Spool::flush`].
    pub fn push(&mut self, subject: &str, payload: &[u8]) {
        let length = (2 + subject.len() + payload.len()) as u32;
        let from = self.pending.len() + 8;
        self.pending.extend_from_slice(&length.to_le_bytes());
        self.pending.extend_from_slice(&[0; 4]);
        self.pending.extend_from_slice(&(subject.len() as u16).to_le_bytes());
        self.pending.extend_from_slice(subject.as_bytes());
        self.pending.extend_from_slice(payload);
        let crc = crc32fast::hash(&self.pending[from..]);
        self.pending[from - 4..from].copy_from_slice(&crc.to_le_bytes());
        self.pending_count += 1;
    }

    /// Writes what was added, and makes room for it if need be. If that fails, the file is as
    /// it was, and what was added is still pending.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let full = |s: &Segment| s.bytes >= self.limit / FILES;
        if self.to.is_none() || self.segments.back().is_none_or(full) {
            self.begin()?;
        }
        let (Some(to), Some(segment)) = (&mut self.to, self.segments.back_mut()) else {
            return Err(io::Error::other("the spool has no file"));
        };
        if let Err(e) = to.write_all(&self.pending) {
            to.set_len(segment.bytes)?;
            return Err(e);
        }
        segment.bytes += self.pending.len() as u64;
        segment.count += self.pending_count;
        self.next += self.pending_count;
        self.pending.clear();
        self.pending_count = 0;
        self.make_room()
    }

    /// Begins another file.
    fn begin(&mut self) -> io::Result<()> {
        let mut options = OpenOptions::new();
        let path = self.path(self.next);
        let mut file = options.append(true).create_new(true).mode(0o600).open(&path)?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&(self.run.len() as u16).to_le_bytes());
        head.extend_from_slice(self.run.as_bytes());
        if let Err(e) = file.write_all(&head) {
            fs::remove_file(&path)?;
            return Err(e);
        }
        let bytes = head.len() as u64;
        self.segments.push_back(Segment { first: self.next, count: 0, bytes });
        self.to = Some(file);
        Ok(())
    }

    /// Drops the oldest while there is too much; never the file that is written.
    fn make_room(&mut self) -> io::Result<()> {
        while self.size() > self.limit && self.segments.len() > 1 {
            let Some(oldest) = self.segments.front() else { break };
            let (first, end) = (oldest.first, oldest.end());
            fs::remove_file(self.path(first))?;
            self.segments.pop_front();
            self.dropped += end.saturating_sub(first.max(self.acknowledged + 1));
            self.acknowledged = self.acknowledged.max(end - 1);
        }
        Ok(())
    }

    /// Bytes in its files.
    pub fn size(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Records that are not acknowledged yet, as far as they are in files.
    pub fn waiting(&self) -> u64 {
        let held =
            self.segments.iter().map(|s| s.end() - s.first.max(self.acknowledged + 1).min(s.end()));
        held.sum()
    }

    /// Records that were added and are in no file.
    pub fn pending(&self) -> u64 {
        self.pending_count
    }

    /// The records that follow a number, at most so many.
    pub fn after(&mut self, number: u64, most: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let mut at = number + 1;
        while records.len() < most {
            let Some(segment) = self.segments.iter().find(|s| s.end() > at) else { break };
            at = at.max(segment.first);
            let Some(record) = self.read_at(at, segment.first) else {
                // What cannot be read any more is not worth stopping for.
                self.reading = None;
                self.dropped += 1;
                at += 1;
                continue;
            };
            records.push(record);
            at += 1;
        }
        records
    }

    /// The record of a number, in the segment that begins with `first`.
    fn read_at(&mut self, at: u64, first: u64) -> Option<Record> {
        let goes_on = matches!(&self.reading, Some((next, ..)) if *next == at && at != first);
        if !goes_on {
            let (mut file, run) = self.reader(first).ok()?;
            for number in first..at {
                read(&mut file, &run, number).ok()??;
            }
            self.reading = Some((at, file, run));
        }
        let (next, file, run) = self.reading.as_mut()?;
        let record = read(file, run, at).ok()??;
        *next = at + 1;
        Some(record)
    }

    /// All up to this number has arrived.
    pub fn acknowledge(&mut self, number: u64) -> io::Result<()> {
        self.acknowledged = self.acknowledged.max(number);
        while let Some(oldest) = self.segments.front() {
            let last = self.segments.len() == 1;
            let small = oldest.bytes < self.limit / FILES;
            if oldest.end() > self.acknowledged + 1 || (last && small) {
                break;
            }
            if last {
                self.to = None;
            }
            if let Some(done) = self.segments.pop_front() {
                fs::remove_file(self.path(done.first))?;
            }
        }
        if self.saved_at.elapsed() < SAVE_EVERY { Ok(()) } else { self.save() }
    }

    /// The last number that is known to have arrived, or was dropped.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn save(&mut self) -> io::Result<()> {
        if self.saved == self.acknowledged {
            return Ok(());
        }
        let (path, new) = (self.folder.join(ACKNOWLEDGED), self.folder.join("acknowledged.new"));
        fs::write(&new, format!("{}\n", self.acknowledged))?;
        fs::rename(&new, &path)?;
        self.saved = self.acknowledged;
        self.saved_at = Instant::now();
        Ok(())
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let _ = self.save();
    }
}

/// The next record of a file; `None` at its end, or where it is torn.
fn read(file: &mut impl Read, run: &str, number: u64) -> io::Result<Option<Record>> {
    let mut head = [0; 8];
    if file.read_exact(&mut head).is_err() {
        return Ok(None);
    }
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    let crc = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    if !(2..=MAX_RECORD).contains(&length) {
        return Ok(None);
    }
    let mut body = vec![0; length];
    if file.read_exact(&mut body).is_err() || crc32fast::hash(&body) != crc {
        return Ok(None);
    }
    let subject_length = usize::from(u16::from_le_bytes([body[0], body[1]]));
    let Some((subject, payload)) = body[2..].split_at_checked(subject_length) else {
        return Ok(None);
    };
    let Ok(subject) = String::from_utf8(subject.to_vec()) else { return Ok(None) };
    let id = format!("{run}.{number}");
    Ok(Some(Record { number, id, subject, payload: payload.to_vec() }))
}

#[cfg(test)]
mod tests;
