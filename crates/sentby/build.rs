//! Compiles the BPF programs and generates their skeleton: the loader's types and
//! the Rust side of `record.h`. Completes the distribution's static libelf.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "src/capture/ebpf/bpf";
const SEARCH_TREE: &str = "build/search_tree.c";

fn main() -> anyhow::Result<()> {
    let out = PathBuf::from(env::var("OUT_DIR")?).join("sentby.skel.rs");
    // libbpf-sys carries libbpf's headers, so that none need be installed.
    let headers = env::var("DEP_BPF_INCLUDE")?;
    // Debian's clang finds <asm/types.h> for the host only when it is told where.
    let multiarch = format!("/usr/include/{}-linux-gnu", env::var("CARGO_CFG_TARGET_ARCH")?);
    let args: Vec<OsString> =
        ["-I", &headers, "-idirafter", &multiarch, "-mcpu=v2", "-Wall", "-Werror"]
            .iter()
            .map(OsString::from)
            .collect();
    SkeletonBuilder::new()
        .source(Path::new(FOLDER).join("sentby.bpf.c"))
        .clang_args(args)
        .build_and_generate(&out)?;
    println!("cargo:rerun-if-changed={FOLDER}");
    println!("cargo:rustc-env=SENTBY_VERSION={}", version()?);
    complete_libelf()
}

/// The version, and the commit where one is known: from SENTBY_COMMIT, or git.
fn version() -> anyhow::Result<String> {
    println!("cargo:rerun-if-env-changed=SENTBY_COMMIT");
    let number = env::var("CARGO_PKG_VERSION")?;
    let commit = env::var("SENTBY_COMMIT").ok().or_else(git_commit);
    Ok(commit.map_or(number.clone(), |commit| format!("{number} ({commit})")))
}

fn git_commit() -> Option<String> {
    let git = |words: &[&str]| {
        let output =
            Command::new("git").args(words).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
    };
    // It grows with each commit; not where an archive lies inside of another repository.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo:rerun-if-changed={log}");
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["rev-parse", "--short=9", "HEAD"])
}

/// Links what libelf.a refers to and has not: which that is depends on its version,
/// and libbpf-sys does not look.
fn complete_libelf() -> anyhow::Result<()> {
    println!("cargo:rerun-if-changed={SEARCH_TREE}");
    let Some(path) = libelf() else { return Ok(()) };
    println!("cargo:rerun-if-changed={}", path.display());
    let archive = std::fs::read(path)?;
    // Debian 13, Ubuntu 24.04: sections compressed with zstd. By file name, since -lzstd
    // would find the shared one here.
    if contains(&archive, b"ZSTD_isError") {
        println!("cargo:rustc-link-arg=-l:libzstd.a");
    }
    let symbol = b"eu_search_tree_init\0";
    if contains(&archive, symbol) && !contains(index(&archive), symbol) {
        for object in cc::Build::new().file(SEARCH_TREE).try_compile_intermediates()? {
            println!("cargo:rustc-link-arg={}", object.display());
        }
    }
    Ok(())
}

/// The libelf.a that the linker is told of (.cargo/config.toml).
fn libelf() -> Option<PathBuf> {
    let target = env::var("TARGET").ok()?.replace('-', "_");
    let variable = format!("LIBBPF_SYS_LIBRARY_PATH_{target}");
    println!("cargo:rerun-if-env-changed={variable}");
    let folders = env::var(variable).ok()?;
    folders.split(':').map(|f| Path::new(f).join("libelf.a")).find(|p| p.is_file())
}

/// The index of the symbols that an archive defines: its first member.
fn index(archive: &[u8]) -> &[u8] {
    /// Length of "!<arch>\n", and of a member's header, which has the length at 48.
    const MAGIC: usize = 8;
    const HEADER: usize = 60;
    let size =
        || std::str::from_utf8(archive.get(MAGIC + 48..MAGIC + 58)?).ok()?.trim().parse().ok();
    let Some(size): Option<usize> = size() else { return &[] };
    archive.get(MAGIC + HEADER..MAGIC + HEADER + size).unwrap_or_default()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}
