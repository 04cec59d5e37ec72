//! The executables of senders: which file a process runs, and what that says about
//! itself. Read once a file, and never where reading could wait for someone.

use super::go::{self, Found, GoBuild};
use super::lru::Lru;
use super::procfs::{Procfs, read_limited};
use crate::event::ProcessKey;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxFlags, open, statx};
use std::fs::File;
use std::path::Path;

/// Most files of which is kept what they say.
pub const MAX_PROGRAMS: usize = 1024;

/// Most bytes of a list of mounts that are read.
const MAX_MOUNTS: u64 = 1 << 20;

/// A file at one time: what it says does not change while this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    device: (u32, u32),
    inode: u64,
    size: u64,
    modified: (i64, u32),
}

/// What could not be told, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untold {
    /// The process had ended, or runs another program by now.
    pub gone: u64,
    /// A limit came before the answer, or the file's system could have waited.
    pub limited: u64,
    /// Forgotten to make room.
    pub evicted: u64,
}

/// What executables say.
pub struct Programs {
    known: Lru<FileId, Option<GoBuild>>,
    /// What was not told.
    pub untold: Untold,
}

impl Programs {
    /// Nothing known.
    pub fn new() -> Self {
        Programs { known: Lru::new(MAX_PROGRAMS), untold: Untold::default() }
    }

    /// What a file says that was found before.
    pub fn get(&self, id: &FileId) -> Option<&GoBuild> {
        self.known.peek(id)?.as_ref()
    }

    /// Finds the file that a process runs, and reads what it says unless that is known.
    /// `exe` is the path that it ran when it sent: the next program's file is not its.
    pub fn find(&mut self, procfs: &Procfs, key: ProcessKey, exe: Option<&[u8]>) -> Option<FileId> {
        let found = self.read(procfs, key, exe);
        if found.is_none() {
            self.untold.gone += 1;
        }
        found
    }

    fn read(&mut self, procfs: &Procfs, key: ProcessKey, exe: Option<&[u8]>) -> Option<FileId> {
        let path = procfs.path(key.pid, "exe");
        let before = identity(&path)?;
        let id = before.id;
        if self.known.get_mut(&id).is_none() {
            let build = if may_wait(procfs, key.pid, before.mount) {
                self.untold.limited += 1;
                None
            } else {
                self.look(&path, id)?
            };
            self.untold.evicted += u64::from(self.known.insert(id, build));
        }
        // The process may have become another, or run another program, meanwhile.
        let same =
            exe.is_none_or(|exe| procfs.exe_name(key.pid).is_some_and(|n| ends_with(exe, &n)));
        let still = procfs.is(key) && identity(&path).is_some_and(|after| after.id == id);
        (same && still).then_some(id)
    }

    fn look(&mut self, path: &Path, id: FileId) -> Option<Option<GoBuild>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(open(path, flags, Mode::empty()).ok()?);
        // Only now is it certain which file that is.
        if identity_of(
            &statx(&file, "", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted()).ok()?,
        )?
        .id != id
        {
            return None;
        }
        Some(match go::look(&file) {
            Found::Go(build) => Some(build),
            Found::Other => None,
            Found::Limited => {
                self.untold.limited += 1;
                None
            }
        })
    }
}

/// A file, and the mount it was reached by, where the kernel tells (Linux 5.8).
struct Identity {
    id: FileId,
    mount: Option<u64>,
}

fn wanted() -> StatxFlags {
    StatxFlags::BASIC_STATS | StatxFlags::MNT_ID
}

/// Which file a path is, as far as the kernel knows without asking the file's system
/// (`AT_STATX_DONT_SYNC`): whoever serves it may not answer.
fn identity(path: &Path) -> Option<Identity> {
    identity_of(&statx(CWD, path, AtFlags::STATX_DONT_SYNC, wanted()).ok()?)
}

fn identity_of(told: &Statx) -> Option<Identity> {
    if FileType::from_raw_mode(told.stx_mode.into()) != FileType::RegularFile {
        return None;
    }
    let mask = StatxFlags::from_bits_retain(told.stx_mask);
    Some(Identity {
        id: FileId {
            device: (told.stx_dev_major, told.stx_dev_minor),
            inode: told.stx_ino,
            size: told.stx_size,
            modified: (told.stx_mtime.tv_sec, told.stx_mtime.tv_nsec),
        },
        mount: mask.contains(StatxFlags::MNT_ID).then_some(told.stx_mnt_id),
    })
}

/// Whether reading might wait for a process that serves the file (FUSE), which anyone
/// may run: such files are not read, nor those of mounts that nobody lists.
fn may_wait(procfs: &Procfs, pid: u32, mount: Option<u64>) -> bool {
    let Some(mount) = mount else { return false };
    let lists = [procfs.path(pid, "mountinfo"), "/proc/self/mountinfo".into()];
    let kind =
        lists.into_iter().find_map(|list| kind_of(&read_limited(&list, MAX_MOUNTS).ok()?.0, mount));
    may_wait_on(kind.as_deref())
}

fn may_wait_on(kind: Option<&[u8]>) -> bool {
    kind.is_none_or(|kind| kind == b"fuse" || kind.starts_with(b"fuse."))
}

/// The type of a mount's file system (proc(5), mountinfo).
fn kind_of(list: &[u8], mount: u64) -> Option<Vec<u8>> {
    let id = mount.to_string();
    let line = list.split(|b| *b == b'\n').find(|line| {
        line.strip_prefix(id.as_bytes()).is_some_and(|rest| rest.first() == Some(&b' '))
    })?;
    let mut words = line.split(|b| *b == b' ').skip_while(|word| *word != b"-");
    Some(words.nth(1)?.to_vec())
}

/// Whether a path's last part is this name: whoever lives among other mounts has
/// another path to it.
fn ends_with(path: &[u8], name: &[u8]) -> bool {
    path.rsplit(|b| *b == b'/').next() == Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_known_by_their_type() {
        let list = b"36 35 98:0 / /m rw,noatime master:1 - ext4 /dev/root rw\n\
                     367 35 0:50 / /x\\040y rw - fuse.sshfs h:/ rw\n\
                     368 35 0:51 / /z rw shared:1 - tmpfs - rw\n";
        let kind = |mount| kind_of(list, mount).map(|k| String::from_utf8(k).unwrap());
        assert_eq!(kind(36).as_deref(), Some("ext4"));
        assert_eq!(kind(367).as_deref(), Some("fuse.sshfs"));
        assert_eq!(kind(368).as_deref(), Some("tmpfs"));
        assert_eq!((kind(3), kind(35)), (None, None));
        assert_eq!(kind_of(b"36 35 98:0 / /m rw", 36), None);
        for (kind, wait) in [("ext4", false), ("fuse", true), ("fuse.sshfs", true)] {
            assert_eq!(may_wait_on(Some(kind.as_bytes())), wait, "{kind}");
        }
        assert!(may_wait_on(None), "nobody lists it");
    }
}
