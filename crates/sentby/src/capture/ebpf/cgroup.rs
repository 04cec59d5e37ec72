//! The root of the cgroup2 hierarchy, mounted or not.

use crate::host::{Cgroup2, Host};
use anyhow::{Context, Result, bail};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Opens the root. Where nobody has mounted it, it is mounted detached: visible to no
/// one, gone with the descriptor (Linux 5.2).
pub fn root(host: &Host) -> Result<OwnedFd> {
    match &host.cgroup2 {
        Cgroup2::Root(path) => {
            let folder = File::open(path);
            Ok(folder.with_context(|| format!("opening {}", path.display()))?.into())
        }
        Cgroup2::Absent => detached_mount().context("mounting cgroup2 privately"),
        Cgroup2::Part(path) => bail!("{} is not the root of the hierarchy", path.display()),
    }
}

fn detached_mount() -> rustix::io::Result<OwnedFd> {
    let filesystem = fsopen("cgroup2", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&filesystem)?;
    fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}
