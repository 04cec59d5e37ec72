//! A file that is there whole, or not at all.

use anyhow::{Context, Result};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A file in the making, under another name; it goes away unless it is finished.
pub struct Whole {
    to: PathBuf,
    temporary: PathBuf,
    out: BufWriter<File>,
    done: bool,
}

impl Whole {
    /// Creates it beside its later place, for its owner alone.
    pub fn create(to: &Path) -> Result<Whole> {
        let context = || format!("writing {}", to.display());
        let Some(name) = to.file_name().filter(|_| !to.is_dir()) else {
            return Err(anyhow::anyhow!("it is a folder; name a file in it")).with_context(context);
        };
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}", std::process::id()));
        let temporary = to.with_file_name(hidden);
        // Not one that someone else has put there.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
        let out = BufWriter::with_capacity(1 << 20, file.with_context(context)?);
        Ok(Whole { to: to.to_owned(), temporary, out, done: false })
    }

    /// Writes it with this, and puts it in its place. Returns how many bytes it has.
    pub fn finish(
        mut self,
        write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    ) -> Result<u64> {
        let context = || format!("writing {}", self.to.display());
        write(&mut self.out).and_then(|()| self.out.flush()).with_context(context)?;
        let file = self.out.get_ref();
        file.sync_all().with_context(context)?;
        let size = file.metadata().with_context(context)?.len();
        fs::rename(&self.temporary, &self.to).with_context(context)?;
        self.done = true;
        Ok(size)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::Scratch;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_there_whole_or_not_at_all() {
        let scratch = Scratch::new();
        let to = scratch.path("page.html");
        fs::write(&to, "before").unwrap();
        let failed = Whole::create(&to).unwrap().finish(|out| {
            out.write_all(b"half of")?;
            Err(std::io::Error::other("no room"))
        });
        assert!(format!("{:#}", failed.unwrap_err()).ends_with("page.html: no room"));
        drop(Whole::create(&to).unwrap());
        assert_eq!(fs::read(&to).unwrap(), b"before");
        assert_eq!(Whole::create(&to).unwrap().finish(|out| out.write_all(b"after")).unwrap(), 5);
        assert_eq!(fs::read(&to).unwrap(), b"after");
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(scratch.path("")).unwrap().count(), 1);
    }

    #[test]
    fn a_wrong_name_is_told_before_anything_is_done() {
        let scratch = Scratch::new();
        assert!(Whole::create(&scratch.path("")).is_err());
        assert!(Whole::create(&scratch.path("missing/page.html")).is_err());
    }
}
