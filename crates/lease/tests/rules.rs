//! One rule of leases per test. Time is a number; a batch is looked at, not
//! committed.

use bolt::Batch;
use lease::{CHECKPOINT_BATCH, Checkpoint, Error, LeaseId, Lessor, Options, Renewal, TimeToLive};

const A: LeaseId = LeaseId(0xa);
const B: LeaseId = LeaseId(0xb);

fn leader() -> Lessor {
    leader_with(Options::default())
}

fn leader_with(options: Options) -> Lessor {
    let mut lessor = Lessor::new(options);
    lessor.promote(1, 0, 0);
    lessor
}

fn grant(lessor: &mut Lessor, id: LeaseId, ttl: i64, now: u64) -> Result<i64, Error> {
    lessor.grant(id, ttl, now, &mut Batch::default())
}

/// What a batch does, as (key, value) in hexadecimal; `None` deletes.
fn writes(batch: &Batch) -> Vec<(String, Option<String>)> {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    batch
        .iter()
        .map(|(bucket, key, value)| {
            assert_eq!(bucket, lease::BUCKET);
            (hex(key), value.map(|v| hex(v)))
        })
        .collect()
}

fn remaining(lessor: &Lessor, id: LeaseId, now: u64) -> i64 {
    let ttl = lessor.time_to_live(id, now).expect("a known lease");
    ttl.remaining_secs
}

#[test]
fn a_grant_checks_id_then_ttl_then_existence() {
    let mut lessor = leader();
    assert_eq!(
        grant(&mut lessor, LeaseId(0), i64::MAX, 0),
        Err(Error::NotFound)
    );
    assert_eq!(
        grant(&mut lessor, A, 9_000_000_001, 0),
        Err(Error::TtlTooLarge)
    );
    assert_eq!(grant(&mut lessor, A, 9_000_000_000, 0), Ok(9_000_000_000));
    assert_eq!(
        grant(&mut lessor, A, 9_000_000_001, 0),
        Err(Error::TtlTooLarge)
    );
    assert_eq!(grant(&mut lessor, A, 5, 0), Err(Error::Exists));
    assert_eq!(grant(&mut lessor, LeaseId(-7), 5, 0), Ok(5));
}

#[test]
fn a_short_ttl_becomes_the_minimum() {
    let mut lessor = leader();
    for (id, ttl) in [(1, 1), (2, 0), (3, -5), (4, i64::MIN)] {
        assert_eq!(grant(&mut lessor, LeaseId(id), ttl, 0), Ok(2));
    }
    assert_eq!(grant(&mut lessor, LeaseId(5), 3, 0), Ok(3));
}

#[test]
fn a_refused_grant_writes_nothing() {
    let mut lessor = leader();
    let mut batch = Batch::default();
    lessor.grant(A, 60, 0, &mut batch).expect("granted");
    let before = writes(&batch);
    assert!(lessor.grant(A, 60, 0, &mut batch).is_err());
    assert!(lessor.grant(LeaseId(0), 60, 0, &mut batch).is_err());
    assert_eq!(writes(&batch), before);
}

/// The bytes are what etcd 3.5.30 wrote for the same grants.
#[test]
fn records_are_etcds_bytes() {
    let mut lessor = leader();
    let mut batch = Batch::default();
    lessor
        .grant(LeaseId(0x1234), 60, 0, &mut batch)
        .expect("granted");
    lessor
        .grant(LeaseId(-2), 1, 0, &mut batch)
        .expect("granted");
    lessor.revoke(LeaseId(0x1234), &mut batch).expect("revoked");
    let key = "0000000000001234".to_string();
    assert_eq!(
        writes(&batch),
        [
            (key.clone(), Some("08b424103c".into())),
            (
                "fffffffffffffffe".into(),
                Some("08feffffffffffffffff011002".into())
            ),
            (key, None),
        ]
    );
}

#[test]
fn revoke_gives_sorted_keys_and_forgets_them() {
    let mut lessor = leader();
    grant(&mut lessor, A, 60, 0).expect("granted");
    for key in ["b", "a", "ab", "c"] {
        lessor.attach(A, key.as_bytes()).expect("attached");
    }
    let keys = lessor.revoke(A, &mut Batch::default()).expect("revoked");
    assert_eq!(keys, ["a", "ab", "b", "c"]);
    assert_eq!(lessor.lease_of(b"a"), None);
    assert_eq!(lessor.detach(b"a"), None);
    assert_eq!(
        lessor.revoke(A, &mut Batch::default()),
        Err(Error::NotFound)
    );
}

#[test]
fn a_key_put_again_moves_to_its_new_lease() {
    let mut lessor = leader();
    grant(&mut lessor, A, 60, 0).expect("granted");
    grant(&mut lessor, B, 60, 0).expect("granted");
    lessor.attach(A, b"k").expect("attached");
    lessor.attach(B, b"k").expect("attached");
    assert_eq!(lessor.lease_of(b"k"), Some(B));
    assert_eq!(
        lessor
            .revoke(A, &mut Batch::default())
            .expect("revoked")
            .len(),
        0
    );
    assert_eq!(lessor.attach(A, b"k"), Err(Error::NotFound));
    assert_eq!(
        lessor.lease_of(b"k"),
        Some(B),
        "a refused attach changes nothing"
    );
    assert_eq!(lessor.detach(b"k"), Some(B));
    assert_eq!(lessor.keys(B).expect("known").len(), 0);
}

#[test]
fn only_the_leader_renews_and_a_lease_that_is_over_stays_over() {
    let mut lessor = leader();
    grant(&mut lessor, A, 10, 0).expect("granted");
    let renewed = Ok(Renewal {
        ttl_secs: 10,
        clear_checkpoint: false,
    });
    assert_eq!(lessor.renew(A, 9_999), renewed);
    assert_eq!(lessor.renew(B, 9_999), Err(Error::NotFound));
    assert!(lessor.expired(19_998, 100).is_empty());
    assert_eq!(lessor.renew(A, 19_999), Err(Error::Expired));
    assert_eq!(lessor.expired(19_999, 100), [A]);
    assert_eq!(lessor.renew(A, 20_000), Err(Error::Expired));
    lessor.demote();
    assert_eq!(lessor.renew(A, 20_000), Err(Error::NotPrimary));
    assert!(lessor.expired(1 << 40, 100).is_empty());
    lessor.promote(1, 30_000, 1_000);
    assert_eq!(lessor.renew(A, 40_999), renewed);
}

#[test]
fn an_expired_lease_is_named_again_only_after_three_seconds() {
    let mut lessor = leader();
    grant(&mut lessor, A, 2, 0).expect("granted");
    assert_eq!(lessor.expired(2_000, 100), [A]);
    assert!(lessor.expired(4_999, 100).is_empty());
    assert_eq!(lessor.expired(5_000, 100), [A]);
    lessor.revoke(A, &mut Batch::default()).expect("revoked");
    assert!(lessor.expired(60_000, 100).is_empty());
}

#[test]
fn a_revoked_id_may_be_granted_again_with_a_life_of_its_own() {
    let mut lessor = leader();
    grant(&mut lessor, A, 5, 0).expect("granted");
    lessor.revoke(A, &mut Batch::default()).expect("revoked");
    grant(&mut lessor, A, 60, 1_000).expect("granted again");
    assert!(lessor.expired(60_999, 100).is_empty());
    assert_eq!(lessor.expired(61_000, 100), [A]);
}

#[test]
fn time_left_is_cut_toward_zero() {
    let mut lessor = leader();
    grant(&mut lessor, A, 10, 0).expect("granted");
    let at = |now| remaining(&lessor, A, now);
    assert_eq!([at(0), at(1), at(9_000), at(9_001)], [10, 9, 1, 0]);
    assert_eq!([at(10_000), at(10_999), at(11_000)], [0, 0, -1]);
    assert_eq!(lessor.time_to_live(B, 0), None);
    lessor.demote();
    let follower = TimeToLive {
        remaining_secs: 9_223_372_036,
        granted_secs: 10,
    };
    assert_eq!(lessor.time_to_live(A, 0), Some(follower));
}

#[test]
fn leases_are_listed_by_their_end() {
    let mut lessor = leader();
    for (id, ttl) in [(1, 30), (2, 10), (3, 20), (4, 10)] {
        grant(&mut lessor, LeaseId(id), ttl, 0).expect("granted");
    }
    lessor.renew(LeaseId(2), 5_000).expect("renewed");
    assert_eq!(lessor.leases(), [4, 2, 3, 1].map(LeaseId));
}

#[test]
fn at_most_a_thousand_leases_are_named_per_second() {
    let mut lessor = leader();
    for id in 1..=2_000 {
        grant(&mut lessor, LeaseId(id), 2, 0).expect("granted");
    }
    let mut named = |now| lessor.expired(now, usize::MAX).len();
    assert_eq!([named(10_000), named(10_001), named(10_499)], [500, 0, 0]);
    assert_eq!(
        [named(10_500), named(11_000), named(11_500)],
        [500, 500, 500]
    );
    assert_eq!(named(12_000), 0);
}

#[test]
fn a_limit_leaves_the_rest_for_the_next_call() {
    let mut lessor = leader();
    for id in 1..=20 {
        grant(&mut lessor, LeaseId(id), 2, 0).expect("granted");
    }
    assert_eq!(lessor.expired(2_000, 16).len(), 16);
    assert_eq!(lessor.expired(2_000, 16).len(), 4);
    assert_eq!(lessor.expired(2_000, 16).len(), 0);
}

#[test]
fn promotion_gives_full_ttl_and_the_extension() {
    let mut lessor = Lessor::new(Options::default());
    grant(&mut lessor, A, 10, 0).expect("granted");
    assert!(
        lessor.expired(1 << 40, 100).is_empty(),
        "a follower ends nothing"
    );
    lessor.promote(1, 100_000, 1_000);
    assert!(lessor.expired(110_999, 100).is_empty());
    assert_eq!(lessor.expired(111_000, 100), [A]);
}

#[test]
fn a_renewal_right_after_promotion_ends_on_time() {
    let mut lessor = Lessor::new(Options::default());
    grant(&mut lessor, A, 10, 0).expect("granted");
    lessor.promote(1, 0, 60_000);
    lessor.renew(A, 1_000).expect("renewed");
    assert!(lessor.expired(10_999, 100).is_empty());
    assert_eq!(
        lessor.expired(11_000, 100),
        [A],
        "not after the extended end of 70 s"
    );
}

#[test]
fn a_new_leader_spreads_leases_that_would_end_together() {
    let mut lessor = Lessor::new(Options::default());
    for id in 1..=5_000 {
        grant(&mut lessor, LeaseId(id), 30, 0).expect("granted");
    }
    lessor.promote(1, 0, 0);
    let mut ended = Vec::new();
    for now in (0..60_000).step_by(250) {
        for id in lessor.expired(now, usize::MAX) {
            ended.push(now);
            lessor.revoke(id, &mut Batch::default()).expect("revoked");
        }
    }
    assert_eq!(ended.len(), 5_000);
    assert!(ended[0] >= 30_000, "never earlier than the TTL");
    for window in ended.windows(751) {
        assert!(
            window[750] - window[0] >= 750,
            "more than 750 within a second"
        );
    }
    assert!(
        *ended.last().expect("some") <= 37_000,
        "and not later than needed"
    );
}

#[test]
fn few_leases_are_not_spread() {
    let mut lessor = Lessor::new(Options::default());
    for id in 1..=999 {
        grant(&mut lessor, LeaseId(id), 30, 0).expect("granted");
    }
    lessor.promote(1, 0, 0);
    assert!((1..=999).all(|id| remaining(&lessor, LeaseId(id), 0) == 30));
}

fn checkpointing() -> Options {
    Options {
        checkpoint: true,
        checkpoint_persist: true,
        ..Options::default()
    }
}

#[test]
fn long_leases_are_checkpointed_every_five_minutes() {
    let mut lessor = leader_with(checkpointing());
    grant(&mut lessor, A, 600, 0).expect("granted");
    grant(&mut lessor, B, 300, 0).expect("granted");
    assert!(lessor.checkpoints(299_999).is_empty());
    let due = lessor.checkpoints(300_500);
    assert_eq!(
        due,
        [Checkpoint {
            id: A,
            remaining_secs: 300
        }]
    );
    assert!(lessor.checkpoints(300_500).is_empty());

    let mut batch = Batch::default();
    lessor
        .checkpoint_apply(A, 300, 300_500, false, &mut batch)
        .expect("applied");
    assert_eq!(
        writes(&batch),
        [("000000000000000a".into(), Some("080a10d80418ac02".into()))]
    );
    assert!(
        lessor.checkpoints(600_500).is_empty(),
        "300 s left need no more"
    );
    assert_eq!(
        lessor.checkpoint_apply(LeaseId(9), 1, 0, false, &mut batch),
        Err(Error::NotFound)
    );
}

#[test]
fn checkpoints_come_in_batches() {
    let mut lessor = leader_with(checkpointing());
    for id in 1..=2_500 {
        grant(&mut lessor, LeaseId(id), 1_000, 0).expect("granted");
    }
    let mut batch = || lessor.checkpoints(300_000).len();
    assert_eq!(
        [batch(), batch(), batch(), batch()],
        [CHECKPOINT_BATCH, 1_000, 500, 0]
    );
}

#[test]
fn a_new_leader_goes_on_from_the_checkpoint() {
    let mut lessor = Lessor::new(checkpointing());
    grant(&mut lessor, A, 600, 0).expect("granted");
    lessor
        .checkpoint_apply(A, 120, 0, false, &mut Batch::default())
        .expect("applied");
    lessor.promote(1, 1_000_000, 1_000);
    assert_eq!(remaining(&lessor, A, 1_000_000), 121);

    let renewal = lessor.renew(A, 1_000_000).expect("renewed");
    assert_eq!(
        renewal,
        Renewal {
            ttl_secs: 600,
            clear_checkpoint: true
        }
    );
    let again = lessor.renew(A, 1_000_001).expect("renewed");
    assert!(!again.clear_checkpoint, "asked for once");
    lessor.promote(1, 2_000_000, 0);
    assert_eq!(remaining(&lessor, A, 2_000_000), 600);
}

#[test]
fn checkpoints_can_be_off_or_kept_in_memory_only() {
    let mut lessor = leader();
    grant(&mut lessor, A, 600, 0).expect("granted");
    assert!(lessor.checkpoints(1 << 40).is_empty());
    let mut batch = Batch::default();
    lessor
        .checkpoint_apply(A, 60, 0, false, &mut batch)
        .expect("applied");
    assert_eq!(batch.len(), 0);
}
