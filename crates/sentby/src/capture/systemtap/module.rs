//! A module under a name of our own: it holds our pid and start, so that one left
//! behind can be told from another sentby's, and is unloaded when its sentby is gone.

use crate::enrich::Procfs;
use anyhow::{Context, Result, bail};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The name that modules are built with, and that is replaced in the file by one of the
/// same length when they are loaded.
pub const BUILT_AS: &str = "sentby_0000000000_0000000000000000";

/// Largest module that is read, in bytes.
const MAX_MODULE: u64 = 64 << 20;

/// Whose a module or a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    pid: u32,
    start_ticks: u64,
}

impl Owner {
    /// This process.
    pub fn current() -> Result<Owner> {
        let pid = std::process::id();
        let stat = Procfs::new("/proc").stat(pid).context("reading /proc/self/stat")?;
        Ok(Owner { pid, start_ticks: stat.start_ticks })
    }

    /// The name of what is its.
    pub fn name(self) -> String {
        format!("sentby_{:010}_{:016}", self.pid, self.start_ticks)
    }

    /// Whose something of this name is, if anyone's.
    fn of(name: &str) -> Option<Owner> {
        let (pid, start) = name.strip_prefix("sentby_")?.split_once('_')?;
        let owner = Owner { pid: pid.parse().ok()?, start_ticks: start.parse().ok()? };
        (owner.name() == name).then_some(owner)
    }

    fn is_gone(self, procfs: &Procfs) -> bool {
        procfs.stat(self.pid).is_none_or(|stat| stat.start_ticks != self.start_ticks)
    }
}

/// A folder for us alone, for the module and the log. It goes away with the value.
pub struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// Makes it, where such things are kept for as long as they are needed.
    pub fn new(owner: Owner, purpose: &str) -> Result<Folder> {
        let path = place().join(format!("{}{purpose}", owner.name()));
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.with_context(|| format!("making the folder {}", path.display()))?;
        Ok(Folder { path, keep: false })
    }

    /// A path inside.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes a file inside that is ours alone.
    pub fn file(&self, name: &str) -> Result<File> {
        let path = self.path(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        file.with_context(|| format!("making {}", path.display()))
    }

    /// Leaves it, for the log that is in it.
    pub fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.keep {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

fn place() -> PathBuf {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|v| !v.is_empty());
    runtime.map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Writes the module at `from` into a folder, under its owner's name.
pub fn stage(from: &Path, owner: Owner, folder: &Folder) -> Result<PathBuf> {
    let mut bytes = Vec::new();
    let read = File::open(from).and_then(|f| f.take(MAX_MODULE).read_to_end(&mut bytes));
    read.with_context(|| format!("reading the module {}", from.display()))?;
    if !rename(&mut bytes, owner) {
        bail!(
            "{} is no module of sentby's: make one with `sentby systemtap build`",
            from.display()
        );
    }
    let name = format!("{}.ko", owner.name());
    std::io::Write::write_all(&mut folder.file(&name)?, &bytes).context("writing the module")?;
    Ok(folder.path(&name))
}

/// Names a module after its owner; tells whether it has a name that can be replaced.
fn rename(bytes: &mut [u8], owner: Owner) -> bool {
    let (old, new) = (BUILT_AS.as_bytes(), owner.name());
    let mut found = false;
    let mut at = 0;
    while at + old.len() <= bytes.len() {
        if bytes[at] == old[0] && bytes[at..].starts_with(old) {
            bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
            found = true;
            at += old.len();
        } else {
            at += 1;
        }
    }
    found && bytes.starts_with(b"\x7fELF")
}

/// Unloads modules and removes folders whose sentby is gone, and nothing else. Returns
/// what the user should know.
pub fn sweep(staprun: &Path) -> Vec<String> {
    let procfs = Procfs::new("/proc");
    let mut notes = Vec::new();
    for name in left(Path::new("/sys/module"), &procfs) {
        let unloaded = unload(staprun, &name);
        notes.push(match unloaded {
            true => format!("unloaded {name}, whose sentby is gone"),
            false => format!("cannot unload {name}, whose sentby is gone: staprun -d {name}"),
        });
    }
    let me = rustix::process::geteuid().as_raw();
    for name in left(&place(), &procfs) {
        let path = place().join(name);
        let ours = fs::symlink_metadata(&path).is_ok_and(|m| m.is_dir() && m.uid() == me);
        if ours {
            let _ = fs::remove_dir_all(&path);
        }
    }
    notes
}

/// Unloads a module; tells whether it is gone.
pub fn unload(staprun: &Path, name: &str) -> bool {
    let mut command = Command::new(staprun);
    command.args(["-d", name]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let _ = command.status();
    !Path::new("/sys/module").join(name).exists()
}

/// What in a folder belongs to a sentby that is gone. A purpose may follow the name.
fn left(folder: &Path, procfs: &Procfs) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|e| e.file_name().into_string().ok());
    let gone = |name: &String| {
        let owner = name.get(..BUILT_AS.len()).and_then(Owner::of);
        owner.is_some_and(|owner| owner.is_gone(procfs))
    };
    names.filter(gone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;

    const OWNER: Owner = Owner { pid: 4711, start_ticks: 99 };

    #[test]
    fn names_tell_their_owner_and_nothing_else_does() {
        let name = OWNER.name();
        assert_eq!(name.len(), BUILT_AS.len());
        assert_eq!(Owner::of(&name), Some(OWNER));
        assert_eq!(Owner { pid: u32::MAX, ..OWNER }.name().len(), BUILT_AS.len());
        for other in ["sentby", "sentby_1_2", "stap_0000004711_0000000000000099", ""] {
            assert_eq!(Owner::of(other), None, "{other}");
        }
    }

    #[test]
    fn only_what_is_gone_is_swept() {
        let dir = Scratch::new();
        let me = Owner::current().unwrap();
        let reused = Owner { start_ticks: me.start_ticks + 1, ..me };
        let gone = Owner { pid: u32::MAX, ..me };
        for name in [me.name(), reused.name(), gone.name() + "-run", "ext4".into()] {
            dir.write(&format!("{name}/x"), b"");
        }
        let mut found = left(&dir.path(""), &Procfs::new("/proc"));
        found.sort();
        assert_eq!(found, [reused.name(), gone.name() + "-run"]);
    }

    #[test]
    fn a_module_is_named_wherever_its_name_stands() {
        let mut bytes =
            [b"\x7fELF\0name=", BUILT_AS.as_bytes(), b"\0", BUILT_AS.as_bytes()].concat();
        assert!(rename(&mut bytes, OWNER));
        let name = OWNER.name();
        assert_eq!(bytes, [b"\x7fELF\0name=", name.as_bytes(), b"\0", name.as_bytes()].concat());
        assert!(!rename(&mut b"\x7fELF another".to_vec(), OWNER));
        assert!(!rename(&mut BUILT_AS.as_bytes().to_vec(), OWNER), "no module at all");
        assert!(!rename(&mut [], OWNER));
    }

    #[test]
    fn a_folder_is_for_us_alone_and_goes_away() {
        use std::os::unix::fs::PermissionsExt;
        let owner = Owner { pid: u32::MAX, start_ticks: 7 };
        let folder = Folder::new(owner, "-test").unwrap();
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = folder.path("log");
        drop(folder.file("log").unwrap());
        assert_eq!((mode(&folder.path), mode(&path)), (0o700, 0o600));
        assert!(Folder::new(owner, "-test").is_err(), "someone else's is not used");
        assert!(folder.file("log").is_err());
        drop(folder);
        assert!(!path.exists());
    }
}
