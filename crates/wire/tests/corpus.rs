//! Replays the kept corpus of every fuzz target, so that what a fuzzer once found
//! stays found without a fuzzer.

mod common;

use common::{files, inputs};
use std::fs;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

#[test]
fn kept_inputs_hold_every_invariant() {
    for (target, check) in inputs::TARGETS {
        let files = files(&corpus(target));
        assert!(!files.is_empty(), "{target} has no corpus");
        for file in files {
            let input = fs::read(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
            eprintln!("{}", file.display()); // shown when a check fails
            check(&input);
        }
    }
}

/// Every folder of the corpus belongs to a target that is replayed here.
#[test]
fn every_corpus_is_replayed() {
    for dir in files(&corpus("")) {
        let known = inputs::TARGETS.iter().any(|(target, _)| dir.ends_with(target));
        assert!(known, "no target replays {}", dir.display());
    }
}
