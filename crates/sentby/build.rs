//! Compiles the BPF programs and generates their skeleton: the loader's types and
//! the Rust side of `record.h`.

use libbpf_cargo::SkeletonBuilder;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

const FOLDER: &str = "src/capture/ebpf/bpf";

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
    Ok(())
}
