//! Whole packets: link and IP headers, then every protocol.
#![no_main]

#[path = "../../crates/wire/tests/common/captures.rs"]
mod captures;
#[path = "../../crates/wire/tests/common/inputs.rs"]
mod inputs;
#[path = "../../crates/wire/tests/common/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| inputs::packet(input));
