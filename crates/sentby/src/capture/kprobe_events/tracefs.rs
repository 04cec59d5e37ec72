//! Definitions of kprobe events in tracefs (Documentation/trace/kprobetrace.rst).
//!
//! A definition belongs to no file descriptor: it stays when its owner is killed. So
//! each stands in a group named after its owner, and the next start removes what a dead
//! one left. Nothing else is ever touched: the file is opened for appending only
//! (truncating it removes everyone's), and a probe in use cannot be removed at all.

use crate::enrich::Procfs;
use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// What the groups of every sentby begin with.
const PREFIX: &str = "sentby";

/// Most bytes of a file of tracefs that are read.
const FILE_MAX: u64 = 4 << 20;

/// Tries to remove a probe whose last user has just gone.
const REMOVE_TRIES: u32 = 50;

/// Between those tries.
const REMOVE_WAIT: Duration = Duration::from_millis(2);

/// The owner of definitions: a process, named so that no other is ever taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Inode of the pid namespace in which the pid counts.
    pidns: u64,
    pid: u32,
    start_ticks: u64,
}

impl Owner {
    /// This process.
    pub fn this() -> Result<Owner> {
        let pid = std::process::id();
        let stat = Procfs::new("/proc").stat(pid).context("reading /proc/self/stat")?;
        Ok(Owner { pidns: pidns()?, pid, start_ticks: stat.start_ticks })
    }

    /// The name of its group.
    pub fn group(&self) -> String {
        format!("{PREFIX}_{}_{}_{}", self.pidns, self.pid, self.start_ticks)
    }

    /// Reads a group's name; `None` for other people's.
    fn of_group(group: &str) -> Option<Owner> {
        let mut parts = group.split('_');
        let owner = (parts.next()? == PREFIX).then(|| {
            let (pidns, pid) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some(Owner { pidns, pid, start_ticks: parts.next()?.parse().ok()? })
        })??;
        (parts.next().is_none() && owner.group() == group).then_some(owner)
    }

    /// Whether it has certainly ended: seen from its own pid namespace only.
    fn is_dead(&self, here: u64, procfs: &Procfs) -> bool {
        let now = procfs.stat(self.pid).map(|stat| stat.start_ticks);
        self.pidns == here && now != Some(self.start_ticks)
    }
}

fn pidns() -> Result<u64> {
    Ok(fs::metadata("/proc/self/ns/pid").context("reading /proc/self/ns/pid")?.ino())
}

/// The place where kprobe events are defined.
#[derive(Clone, Debug)]
pub struct Tracefs {
    root: PathBuf,
    group: String,
    // Kept open: it still removes our probes when every capability is given up.
    events: Arc<File>,
}

/// A field of an event's records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Where it begins, in bytes.
    pub offset: usize,
    /// Its size in bytes.
    pub size: usize,
}

/// How an event's records look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    /// Its number, which each record begins with.
    pub id: u16,
    /// Its fields.
    pub fields: Vec<Field>,
}

impl Format {
    /// A field by name.
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|f| f.name == name)
    }
}

/// A defined probe. Dropping it removes it; its users must have gone before.
#[derive(Debug)]
pub struct Probe {
    tracefs: Tracefs,
    /// `group/event`.
    name: String,
}

impl Tracefs {
    /// Opens the one mounted here, for a process's own definitions.
    pub fn open(root: &Path, owner: &Owner) -> Result<Tracefs> {
        let path = root.join("kprobe_events");
        let events = OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        Ok(Tracefs { root: root.to_owned(), group: owner.group(), events: Arc::new(events) })
    }

    /// Defines a probe at the entry of a function. `arguments` are `name=place:type`.
    pub fn define(&self, event: &str, function: &str, arguments: &str) -> Result<Probe> {
        let name = format!("{}/{event}", self.group);
        self.say(&format!("p:{name} {function} {arguments}\n"))
            .with_context(|| format!("defining a kprobe on {function}"))?;
        Ok(Probe { tracefs: self.clone(), name })
    }

    /// Removes what sentbys that were killed have left. Returns how many probes.
    pub fn sweep(&self) -> Result<usize> {
        let (here, procfs) = (pidns()?, Procfs::new("/proc"));
        let text = read_limited(&self.root.join("kprobe_events"))?;
        let stale = leftovers(&text, |owner| owner.is_dead(here, &procfs));
        // What another sentby has removed meanwhile is gone as well.
        Ok(stale.iter().filter(|name| self.say(&format!("-:{name}\n")).is_ok()).count())
    }

    /// One write, one definition: the kernel reads them line by line.
    fn say(&self, line: &str) -> io::Result<()> {
        let written = self.events.as_ref().write(line.as_bytes())?;
        if written == line.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

impl Probe {
    /// How its records look.
    pub fn format(&self) -> Result<Format> {
        let path = self.tracefs.root.join("events").join(&self.name).join("format");
        let text = read_limited(&path)?;
        parse_format(&text).with_context(|| format!("{} makes no sense", path.display()))
    }

    /// Its event's name, without the group.
    pub fn event(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        for _ in 0..REMOVE_TRIES {
            match self.tracefs.say(&format!("-:{}\n", self.name)) {
                Err(e) if e.raw_os_error() == Some(libc::EBUSY) => thread::sleep(REMOVE_WAIT),
                // Else the next start sweeps it.
                _ => return,
            }
        }
    }
}

/// Runs of probes that the kernel skipped, by event (`kprobe_profile`).
pub struct Profile {
    file: File,
}

impl Profile {
    /// Opens it; reading goes on to work without privileges.
    pub fn open(tracefs: &Tracefs) -> Option<Profile> {
        let file = File::open(tracefs.root.join("kprobe_profile")).ok()?;
        Some(Profile { file })
    }

    /// How many runs of this event were skipped.
    pub fn missed(&self, event: &str) -> Option<u64> {
        let mut text = vec![0; 64 << 10];
        let len = self.file.read_at(&mut text, 0).ok()?;
        parse_profile(&String::from_utf8_lossy(&text[..len]), event)
    }
}

/// Lines of event, hits, misses. Names of groups are not in it.
fn parse_profile(text: &str, event: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(event))?;
    line.split_whitespace().nth(2)?.parse().ok()
}

fn read_limited(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
        .with_context(|| format!("reading {}", path.display()))?;
    Ok(text)
}

/// Names (`group/event`) of probes whose owner is dead, in a list of definitions:
/// `p:group/event place …`, with a number of instances behind `r` or `p` at times.
fn leftovers(text: &str, is_dead: impl Fn(&Owner) -> bool) -> Vec<&str> {
    let names = text.lines().filter_map(|line| {
        let name = line.split_whitespace().next()?.split_once(':')?.1;
        let owner = Owner::of_group(name.split_once('/')?.0)?;
        is_dead(&owner).then_some(name)
    });
    names.collect()
}

/// Reads an event's `format`: `ID: N`, and lines of
/// `field:TYPE NAME; offset:N; size:N; signed:N;`.
fn parse_format(text: &str) -> Option<Format> {
    let mut format = Format::default();
    for line in text.lines().map(str::trim) {
        if let Some(id) = line.strip_prefix("ID: ") {
            format.id = id.parse().ok()?;
        } else if let Some(field) = line.strip_prefix("field:") {
            let mut parts = field.split(';').map(str::trim);
            let name = parts.next()?.rsplit(' ').next()?;
            let name = name.split('[').next()?.to_owned();
            let offset = parts.next()?.strip_prefix("offset:")?.parse().ok()?;
            let size = parts.next()?.strip_prefix("size:")?.parse().ok()?;
            format.fields.push(Field { name, offset, size });
        }
    }
    (format.id != 0 && !format.fields.is_empty()).then_some(format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_provably_ours_is_a_leftover() {
        let dead = "sentby_4026531836_70_1234/ip4";
        let text = format!(
            "p:{dead} ip_finish_output d0=+0(+232(%si)):u64\n\
             r4:kprobes/mine do_sys_open\n\
             p:sentby_4026531836_71_9/ip4 ip_finish_output\n\
             p:sentby_4026531836_70_1234x/ip4 f\n\
             p:sentby_4026531836_070_1234/ip4 f\n\
             p:sentby_4026531836_70_1234_5/ip4 f\n\
             p:sentby/ip4 f\nnonsense\n\n"
        );
        assert_eq!(leftovers(&text, |owner| owner.pid == 70), [dead]);
        assert_eq!(leftovers(&text, |_| false), [""; 0]);
    }

    #[test]
    fn the_living_and_those_of_other_namespaces_are_left_alone() {
        let this = Owner::this().unwrap();
        let procfs = Procfs::new("/proc");
        assert!(!this.is_dead(this.pidns, &procfs));
        let earlier = Owner { start_ticks: this.start_ticks - 1, ..this.clone() };
        assert!(earlier.is_dead(this.pidns, &procfs), "another process had this pid");
        assert!(!earlier.is_dead(this.pidns + 1, &procfs));
        assert_eq!(Owner::of_group(&this.group()), Some(this));
    }

    #[test]
    fn formats_are_read() {
        let text = "name: ip4\nID: 1234\nformat:\n\
            \tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\
            \tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;\n\n\
            \tfield:u64 d0;\toffset:16;\tsize:8;\tsigned:0;\n\nprint fmt: \"\"\n";
        let format = parse_format(text).unwrap();
        assert_eq!(format.id, 1234);
        let flags = Field { name: "common_flags".into(), offset: 2, size: 1 };
        assert_eq!(format.field("common_flags"), Some(&flags));
        assert_eq!(format.field("d0").map(|f| f.offset), Some(16));
        assert_eq!(parse_format("ID: x"), None);
        assert_eq!(parse_format(""), None);
    }

    #[test]
    fn misses_are_found_by_event() {
        let text = "  other      5     1\n  ip4x  12   3\n  ip4      12             7\n";
        assert_eq!(parse_profile(text, "ip4"), Some(7));
        assert_eq!(parse_profile(text, "none"), None);
    }
}
