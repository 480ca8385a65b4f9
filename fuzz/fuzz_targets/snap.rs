//! A `.snap` file; and a raft snapshot in a `.snap` file with a right checksum.
#![no_main]

use prost::Message as _;
use proto::snappb;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = wal::fuzzing::snap(data);
    let file = snappb::Snapshot {
        crc: crc32c::crc32c(data),
        data: Some(bytes::Bytes::copy_from_slice(data)),
    };
    let _ = wal::fuzzing::snap(&file.encode_to_vec());
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = wal::fuzzing::name(text);
    }
});
