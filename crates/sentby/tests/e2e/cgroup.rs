//! cgroup v2 folders of our own.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// A cgroup v2 folder, removed (with those below) when dropped.
pub struct Cgroup {
    path: PathBuf,
    name: String,
}

/// Where cgroup v2 is mounted.
pub fn roots() -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let at = fields.next()?;
            (fields.next()? == "cgroup2").then(|| PathBuf::from(at))
        })
        .take(1)
        .collect()
}

/// Removes a folder and those below it, deepest first.
pub fn remove_tree(path: &Path) {
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(path);
}

impl Cgroup {
    /// Makes `name` (a path) below the root of cgroup v2; skips where there is none.
    pub fn new(tag: &str, below: &str) -> Result<Self> {
        let root = roots().pop().ok_or_else(|| crate::ctx::skip("cgroup v2 is not mounted"))?;
        let top = root.join(tag);
        let cgroup = Cgroup { path: top.clone(), name: format!("/{tag}{below}") };
        let path = root.join(&cgroup.name[1..]);
        std::fs::create_dir_all(&path)
            .map_err(|e| crate::ctx::skip(format!("cannot make {}: {e}", path.display())))?;
        Ok(cgroup)
    }

    /// Its path in the hierarchy, as events show it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to write a pid to.
    pub fn procs(&self) -> Result<PathBuf> {
        let root = self.path.parent().context("has a root")?;
        Ok(root.join(&self.name[1..]).join("cgroup.procs"))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A process that has just ended may be counted for a moment longer.
        let _ = crate::proc::poll(std::time::Duration::from_secs(2), || {
            remove_tree(&self.path);
            Ok((!self.path.exists()).then_some(()))
        });
    }
}
