//! A log segment.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = wal::fuzzing::log(data);
});
