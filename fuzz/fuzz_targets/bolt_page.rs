//! A database file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    bolt::fuzzing::fuzz_image(data);
});
