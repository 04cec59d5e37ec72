//! What processes send over streams, from a place where a request may begin.
#![no_main]

#[path = "../../crates/wire/tests/common/captures.rs"]
mod captures;
#[path = "../../crates/wire/tests/common/inputs.rs"]
mod inputs;
#[path = "../../crates/wire/tests/common/invariants.rs"]
mod invariants;

libfuzzer_sys::fuzz_target!(|input: &[u8]| inputs::stream(input));
