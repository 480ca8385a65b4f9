//! A database that etcd 3.5.30 wrote, read and continued.

mod support;

use line::Line;
use mvcc::{Error, Store};
use proto::{
    EntryId,
    etcdserverpb::{PutRequest, RangeRequest},
};
use support::{Dir, Held};

fn range(store: &Store, revision: i64) -> Result<Vec<String>, Error> {
    let request = RangeRequest {
        key: "a".into(),
        range_end: "c".into(),
        revision,
        ..RangeRequest::default()
    };
    let answer = store.range(&request, Line::V3_5)?;
    let kvs = answer.into_response().kvs;
    let show = |kv: &proto::mvccpb::KeyValue| {
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        format!(
            "{}={} {}/{}/{} lease {}",
            text(&kv.key),
            text(&kv.value),
            kv.create_revision,
            kv.mod_revision,
            kv.version,
            kv.lease
        )
    };
    Ok(kvs.iter().map(show).collect())
}

#[test]
fn says_what_etcd_said() {
    let dir = Dir::new();
    std::fs::write(dir.path(), include_bytes!("golden/etcd-3.5.30.db")).expect("a copy");
    let mut held = Held::with([77]);
    let store = dir.open(&mut held);
    assert_eq!(store.revision(), 11);
    assert_eq!(store.compact_revision(), 8);
    // The lease of a3 went with its key.
    assert_eq!(
        held.keys.into_iter().collect::<Vec<_>>(),
        [(77, b"a0".to_vec())]
    );
    assert!(matches!(range(&store, 7), Err(Error::Compacted)));
    assert!(matches!(range(&store, 12), Err(Error::FutureRev)));
    assert_eq!(
        range(&store, 8).expect("a range"),
        [
            "a0=v0 2/2/1 lease 77",
            "a1=second 3/8/2 lease 0",
            "a2=v2 4/4/1 lease 0",
            "a3=v3 5/5/1 lease 77",
            "a4=v4 6/6/1 lease 0",
            "a5=v5 7/7/1 lease 0",
        ]
    );
    assert_eq!(
        range(&store, 9).expect("a range"),
        [
            "a0=v0 2/2/1 lease 77",
            "a1=second 3/8/2 lease 0",
            "a4=v4 6/6/1 lease 0",
            "a5=v5 7/7/1 lease 0",
        ]
    );
    assert_eq!(
        range(&store, 0).expect("a range"),
        [
            "a0=v0 2/2/1 lease 77",
            "a1=third 3/11/3 lease 0",
            "a2=again 10/10/1 lease 0",
            "a4=v4 6/6/1 lease 0",
            "a5=v5 7/7/1 lease 0",
            "b= 10/10/1 lease 0",
        ]
    );
    let hash = store.hash_kv(0).expect("a hash");
    assert_eq!((hash.hash, hash.compact_revision), (3_926_133_561, 8));
    assert_eq!(store.hash().expect("a hash"), 1_777_913_464);
    let EntryId { index, term } = store.backend().consistent_index();
    assert!(index > 11 && term == 2, "{index} {term}");

    let mut held = Held::with([77]);
    let mut writer = store.write();
    let put = PutRequest {
        key: "a1".into(),
        value: "fourth".into(),
        ..PutRequest::default()
    };
    writer.put(&put, &mut held).expect("a put");
    writer.set_consistent_index(EntryId {
        index: index + 1,
        term: 3,
    });
    writer.publish();
    drop(store);
    let store = dir.open(&mut held);
    assert_eq!(
        range(&store, 0).expect("a range")[1],
        "a1=fourth 3/12/4 lease 0"
    );
    assert_eq!(store.backend().committed_index(), index + 1);
}

#[test]
fn a_damaged_record_is_named() {
    // The tail of a value: its length now reaches past the record.
    let mut image = include_bytes!("golden/etcd-3.5.30.db").to_vec();
    let at = image
        .windows(4)
        .position(|w| w == b"*\x02v4")
        .map(|at| at + 1);
    let at = at.unwrap_or_else(|| {
        let value = image
            .windows(2)
            .position(|w| w == b"v4")
            .expect("the value");
        value - 1
    });
    image[at] = 0x7f;
    let dir = Dir::new();
    std::fs::write(dir.path(), image).expect("a copy");
    let db = bolt::Db::open(&dir.path(), bolt::Options::default()).expect("a database");
    let backend = mvcc::backend::Backend::open(db, Default::default()).expect("a backend");
    let error = Store::open(backend, Default::default(), &mut |_, _| {}).expect_err("damage");
    let text = error.to_string();
    assert!(text.contains("bucket key"), "{text}");
    assert!(
        text.contains("00000000000000065f0000000000000000"),
        "{text}"
    );
}
