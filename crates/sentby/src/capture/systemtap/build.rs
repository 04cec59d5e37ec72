//! Has `stap` make a module out of the script.

use super::module::{BUILT_AS, Folder, Owner};
use super::{SCRIPT, line, log};
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The longest string of the script's, in bytes: a line.
const MAX_STRING: usize = line::MAX_LINE - 256;

/// What a build is for.
#[derive(Clone, Debug, Default)]
pub struct Target {
    /// The kernel's release, or a folder with its headers; else the running kernel.
    pub release: Option<OsString>,
    /// A copy of SystemTap's runtime to use in place of its own.
    pub runtime: Option<PathBuf>,
}

/// How `stap` is called, its output file's folder being where it runs.
fn arguments(target: &Target, script: &Path) -> Vec<OsString> {
    let mut words: Vec<OsString> = Vec::new();
    let mut add = |these: &[&str]| words.extend(these.iter().map(OsString::from));
    // Up to pass 4, which compiles; -g: the script is C for the most part.
    add(&["-g", "-p", "4", "-m", BUILT_AS]);
    // Room for CAPTURE bytes in hex. Without interrupts in between, no packet that is
    // sent in one is missed; where some are, they are counted and no reason to end.
    add(&["-DINTERRUPTIBLE=0", "-DMAXSKIPPED=2000000000"]);
    add(&[&format!("-DMAXSTRINGLEN={MAX_STRING}")]);
    if let Some(release) = &target.release {
        words.extend(["-r".into(), release.clone()]);
    }
    if let Some(runtime) = &target.runtime {
        words.extend(["-R".into(), runtime.clone().into()]);
    }
    words.push(script.into());
    words
}

/// Makes a module in a folder and returns its path.
pub fn module(stap: &Path, target: &Target, folder: &Folder) -> Result<PathBuf> {
    let script = folder.path("sentby.stp");
    folder.file("sentby.stp")?.write_all(SCRIPT.as_bytes()).context("writing the script")?;
    let out = folder.file("build.log")?;
    let status = Command::new(stap)
        .args(arguments(target, &script))
        .current_dir(folder.path(""))
        .stdin(Stdio::null())
        .stdout(out.try_clone()?)
        .stderr(out)
        .status()
        .context("starting stap")?;
    let module = folder.path(&format!("{BUILT_AS}.ko"));
    if !status.success() || !module.exists() {
        let log = folder.path("build.log");
        bail!(
            "stap cannot build the module: {}; all of it is in {}",
            log::summary(&log),
            log.display()
        );
    }
    Ok(module)
}

/// `sentby systemtap build`.
pub fn to_file(stap: &Path, target: &Target, output: &Path) -> Result<()> {
    let mut folder = Folder::new(Owner::current()?, "-build")?;
    let built = module(stap, target, &folder).inspect_err(|_| folder.keep())?;
    fs::copy(&built, output).with_context(|| format!("writing {}", output.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_asked_for_reaches_stap() {
        let target = Target { release: Some("6.1".into()), runtime: Some("/rt".into()) };
        let words = arguments(&target, Path::new("x.stp"));
        let tail: Vec<_> = words[words.len() - 5..].iter().map(|w| w.to_str().unwrap()).collect();
        assert_eq!(tail, ["-r", "6.1", "-R", "/rt", "x.stp"]);
        assert_eq!(arguments(&Target::default(), Path::new("x.stp")).len(), words.len() - 4);
    }

    /// The script and those who read it say the same.
    #[test]
    fn the_script_fits_its_reader() {
        let define = |name: &str| -> u64 {
            let line = SCRIPT.lines().find(|l| l.starts_with(&format!("#define {name}\t")));
            line.and_then(|l| l.split_whitespace().last()?.parse().ok()).unwrap()
        };
        assert_eq!(define("SENTBY_VERSION"), super::super::line::VERSION);
        assert_eq!(define("REQUEST"), crate::flows::REQUEST_MAX as u64);
        // The rest of a line is shorter than 512 bytes.
        assert!(2 * define("CAPTURE") + 512 <= MAX_STRING as u64);
        assert!(SCRIPT.contains(&format!("offset += {})", define("CAPTURE"))));
    }
}
