//! Capture files: framing, links, fragments, tunnels, then every protocol.
#![no_main]

#[path = "../../crates/wire/tests/common/captures.rs"]
mod captures;
#[path = "../../crates/wire/tests/common/inputs.rs"]
mod inputs;
#[path = "../../crates/wire/tests/common/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| inputs::capture_file(input));
