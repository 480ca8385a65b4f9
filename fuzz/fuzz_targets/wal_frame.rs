//! A log of one or two segments: as it lies on a disk, and put together from records so that lengths and checksums are
//! right. A record is its type, a u16le length and its data; type 0 puts bytes into the log as they are.
#![no_main]

/// The bytes of the log that `script` tells of, its segments parted as [`wal::fuzzing::log`] parts them.
fn framed(script: &[u8]) -> Option<Vec<u8>> {
    let (&part, mut rest) = script.split_first()?;
    let mut log = vec![part];
    let mut crc = 0;
    while let Some((head, tail)) = rest.split_first_chunk::<3>() {
        let len = usize::from(u16::from_le_bytes([head[1], head[2]])).min(tail.len());
        let (data, next) = tail.split_at(len);
        rest = next;
        if head[0] == 0 {
            log.extend_from_slice(data);
            continue;
        }
        crc = crc32c::crc32c_append(crc, data);
        let mut record = vec![0x08, head[0] & 0x7f, 0x10];
        prost::encoding::encode_varint(u64::from(crc), &mut record);
        if !data.is_empty() {
            record.push(0x1a);
            prost::encoding::encode_varint(data.len() as u64, &mut record);
            record.extend_from_slice(data);
        }
        let pad = record.len().wrapping_neg() % 8;
        let mark = if pad == 0 { 0 } else { 0x80 | pad as u64 };
        log.extend_from_slice(&(record.len() as u64 | mark << 56).to_le_bytes());
        log.extend_from_slice(&record);
        log.extend_from_slice(&[0; 8][..pad]);
    }
    Some(log)
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = wal::fuzzing::log(data);
    if let Some(log) = framed(data) {
        let _ = wal::fuzzing::log(&log);
    }
});
