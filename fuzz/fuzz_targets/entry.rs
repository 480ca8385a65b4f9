//! The payload of a raft entry.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    membership::fuzzing::entry(data);
});
