//! The v2 tree of a `.snap` file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    membership::fuzzing::v2store(data);
});
