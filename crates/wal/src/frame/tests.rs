use super::*;
use proptest::prelude::*;

/// The first bytes of a log written by etcd 3.5.1, one member.
const ETCD_3_5_1: &str = "
    0400000000000084 0804100000000000
    1f00000000000081 080110b1e7c9ef07
    1a1508ce8cdca9f4 9ec9daf5011083b2
    b78d969fdecc1700 0e00000000000082
    080510ebbf838c02 1a04080010000000";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .chars()
        .filter_map(|c| c.to_digit(16))
        .map(|d| d as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

#[test]
fn the_head_of_a_log_is_what_etcd_writes() {
    let mut encoder = Encoder::new(0);
    encoder.checksum();
    encoder.record(
        RecordType::Metadata,
        &hex("08ce8cdca9f49ec9daf5011083b2b78d969fdecc17"),
    );
    encoder.message(RecordType::Snapshot, &walpb::Snapshot::default());
    assert_eq!(encoder.frames(), hex(ETCD_3_5_1));
    assert_eq!(encoder.crc(), 0x2180_dfeb);
}

#[test]
fn states_and_empty_entries_are_what_etcd_writes() {
    let mut encoder = Encoder::new(0);
    encoder.message(
        RecordType::State,
        &raftpb::HardState {
            term: 1,
            vote: 0,
            commit: 1,
        },
    );
    encoder.entry(&raftpb::Entry {
        r#type: 0,
        term: 2,
        index: 2,
        data: None,
    });
    let frames = encoder.frames();
    // The checksum depends on what came before; all else is fixed.
    assert_eq!(frames[..10], hex("10000000000000000803")[..]);
    assert_eq!(frames[frames.len() - 8..], hex("1a06080010021802")[..]);
}

#[test]
fn length_fields_no_writer_writes_are_refused() {
    assert_eq!(
        Length::parse(0x8400_0000_0000_0004),
        Some(Length { record: 4, pad: 4 })
    );
    assert_eq!(Length::parse(0x10), Some(Length { record: 16, pad: 0 }));
    for field in [
        0x04,
        0x8300_0000_0000_0004,
        0x8000_0000_0000_0010,
        0x0400_0000_0000_0004,
    ] {
        assert_eq!(Length::parse(field), None, "{field:#x}");
    }
}

#[test]
fn the_front_of_a_record_tells_whether_its_length_is_right() {
    let mut encoder = Encoder::new(0);
    encoder.record(RecordType::Entry, &[7; 100]);
    let record = &encoder.frames()[8..];
    let len = Length::parse(u64::from_le_bytes(
        encoder.frames()[..8].try_into().unwrap(),
    ))
    .unwrap()
    .record;
    let crc = encoder.crc();
    assert_eq!(front(record, len), Front::Fits { kind: 2, crc });
    assert_eq!(front(record, len + 8), Front::Contradicts);
    assert_eq!(front(record, len ^ 64), Front::Contradicts);
    assert_eq!(front(&record[..5], len), Front::Unknown);
    assert_eq!(front(&[], len), Front::Unknown);
    assert_eq!(front(&[0; 64], len), Front::Contradicts);
}

#[test]
fn zero_pieces_are_cut_at_sectors_of_the_file() {
    let mut bytes = vec![1u8; 1024];
    assert_eq!(first_zero_piece(&bytes, 8), None);
    // Zeros that cover no whole piece are data.
    bytes[100..600].fill(0);
    assert_eq!(first_zero_piece(&bytes, 8), None);
    // From offset 8 the second piece is 504..1016.
    bytes[504..1016].fill(0);
    assert_eq!(first_zero_piece(&bytes, 8), Some(504));
    assert_eq!(first_zero_piece(&bytes, 0), None);
}

proptest! {
    #[test]
    fn an_entry_reads_back_and_is_what_prost_writes(
        kind in 0..3i32, term: u64, index: u64,
        data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..700)),
        crc: u32,
    ) {
        let entry = raftpb::Entry { r#type: kind, term, index, data: data.map(Bytes::from) };
        let mut fast = Encoder::new(crc);
        fast.entry(&entry);
        let mut plain = Encoder::new(crc);
        plain.message(RecordType::Entry, &entry);
        prop_assert_eq!(fast.frames(), plain.frames());
        prop_assert_eq!(fast.crc(), plain.crc());
        prop_assert_eq!(fast.frames().len() % 8, 0);

        let field = u64::from_le_bytes(fast.frames()[..8].try_into().unwrap());
        let length = Length::parse(field).unwrap();
        prop_assert_eq!(length.frame() as usize, fast.frames().len());
        let record = decode(Bytes::copy_from_slice(&fast.frames()[8..][..length.record as usize])).unwrap();
        prop_assert_eq!(record.crc, fast.crc());
        prop_assert_eq!(raftpb::Entry::decode(record.data.unwrap()).unwrap(), entry);
    }
}
