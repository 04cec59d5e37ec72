//! Builds our own senders (tests/senders/*.c) where they are out of date.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Where the sources lie.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/senders");

/// Finds or builds them. `SENTBY_E2E_SENDERS` names a folder of ready ones.
pub fn build() -> Result<PathBuf> {
    if let Some(ready) = std::env::var_os("SENTBY_E2E_SENDERS") {
        let ready = PathBuf::from(ready);
        ensure!(ready.is_dir(), "SENTBY_E2E_SENDERS: {} is no folder", ready.display());
        return Ok(ready);
    }
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("senders");
    let Ok(entries) = std::fs::read_dir(SOURCES) else {
        // Run without the source tree: what was built must do.
        ensure!(target.is_dir(), "neither {SOURCES} nor {} is here", target.display());
        return Ok(target);
    };
    std::fs::create_dir_all(&target)?;
    let files: Vec<PathBuf> = entries.map(|e| Ok(e?.path())).collect::<Result<_>>()?;
    let of_kind = |kind| files.iter().filter(move |f| f.extension().is_some_and(|e| e == kind));
    let headers: Vec<SystemTime> = of_kind("h").map(|h| modified(h)).collect::<Result<_>>()?;
    let header = headers.into_iter().max().context("no header")?;
    for source in of_kind("c") {
        let binary = target.join(source.file_stem().context("a name")?);
        let fresh = modified(source)?.max(header);
        if !modified(&binary).is_ok_and(|built| built >= fresh) {
            compile(source, &binary)?;
        }
    }
    Ok(target)
}

fn modified(path: &Path) -> Result<SystemTime> {
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.modified()?)
}

fn compile(source: &Path, binary: &Path) -> Result<()> {
    // Renamed when complete: an interrupted build leaves nothing that looks finished.
    let unfinished = binary.with_extension("new");
    let output = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args(["-O2", "-static", "-pthread", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([&unfinished, source])
        .output()
        .context("start cc (install gcc and libc6-dev)")?;
    if !output.status.success() {
        bail!("{}: {}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(std::fs::rename(unfinished, binary)?)
}
