//! What a lessor wrote, a lessor finds again; what no one can have written is
//! named.

use bolt::{Batch, Db};
use lease::{BUCKET, Error, LeaseId, Lessor, Options, RecoverError};

const A: LeaseId = LeaseId(0xa);
const B: LeaseId = LeaseId(-2);

fn database() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().expect("a directory");
    let options = bolt::Options {
        no_sync: true,
        ..bolt::Options::default()
    };
    let db = Db::open(&dir.path().join("db"), options).expect("a database");
    (dir, db)
}

fn commit(db: &Db, batch: &Batch) {
    let mut tx = db.begin_write().expect("a transaction");
    tx.create_bucket_if_not_exists(BUCKET.as_bytes())
        .expect("a bucket");
    tx.apply(batch).expect("applied");
    tx.commit().expect("committed");
}

#[test]
fn leases_come_back_with_their_checkpoints_and_without_the_revoked() {
    let (_dir, db) = database();
    let options = Options {
        checkpoint: true,
        checkpoint_persist: true,
        ..Options::default()
    };
    let mut batch = Batch::default();
    let mut before = Lessor::new(options);
    for (id, ttl) in [(A, 600), (B, 10), (LeaseId(3), 10)] {
        before.grant(id, ttl, 0, &mut batch).expect("granted");
    }
    before
        .checkpoint_apply(A, 100, 0, false, &mut batch)
        .expect("applied");
    before.revoke(LeaseId(3), &mut batch).expect("revoked");
    commit(&db, &batch);

    let mut after = Lessor::recover(options, &db.begin_read()).expect("recovered");
    assert!(!after.is_primary());
    assert_eq!(after.len(), 2);
    after.attach(A, b"k").expect("attached");
    assert_eq!(after.attach(LeaseId(3), b"k"), Err(Error::NotFound));
    after.promote(1, 0, 0);
    let left = |id| after.time_to_live(id, 0).expect("known");
    assert_eq!((left(A).remaining_secs, left(A).granted_secs), (100, 600));
    assert_eq!((left(B).remaining_secs, left(B).granted_secs), (10, 10));
}

#[test]
fn a_stored_ttl_below_the_minimum_is_raised() {
    let (_dir, db) = database();
    let mut batch = Batch::default();
    let short = Options::default();
    Lessor::new(short)
        .grant(A, 2, 0, &mut batch)
        .expect("granted");
    commit(&db, &batch);
    let long = Options {
        min_ttl_secs: 75,
        ..short
    };
    let lessor = Lessor::recover(long, &db.begin_read()).expect("recovered");
    assert_eq!(lessor.time_to_live(A, 0).expect("known").granted_secs, 75);
}

#[test]
fn a_file_without_the_bucket_has_no_leases() {
    let (_dir, db) = database();
    let lessor = Lessor::recover(Options::default(), &db.begin_read()).expect("recovered");
    assert!(lessor.is_empty());
}

#[test]
fn a_damaged_record_is_named() {
    for (value, id_missing) in [(&b"\x08"[..], false), (b"\x10\x05", true), (b"", true)] {
        let (_dir, db) = database();
        let mut batch = Batch::default();
        batch.put(BUCKET, 0x1234u64.to_be_bytes().to_vec(), value.to_vec());
        commit(&db, &batch);
        let error = Lessor::recover(Options::default(), &db.begin_read()).expect_err("refused");
        assert_eq!(
            matches!(error, RecoverError::NoId { .. }),
            id_missing,
            "{error}"
        );
        assert!(error.to_string().contains("0x0000000000001234"), "{error}");
    }
}

#[test]
fn lives_without_end_in_a_damaged_file_do_not_overflow() {
    let (_dir, db) = database();
    let mut batch = Batch::default();
    let endless = [
        &b"\x08\x01\x10"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    ]
    .concat();
    batch.put(BUCKET, 1u64.to_be_bytes().to_vec(), endless);
    commit(&db, &batch);
    let mut lessor = Lessor::recover(Options::default(), &db.begin_read()).expect("recovered");
    lessor.promote(1, 1 << 62, 1 << 62);
    assert!(lessor.expired(u64::MAX - 2, 10).is_empty());
    assert!(lessor.time_to_live(LeaseId(1), 0).is_some());
    lessor.renew(LeaseId(1), u64::MAX - 3).expect("renewed");
}
