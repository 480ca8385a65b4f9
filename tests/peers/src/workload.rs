//! What fills a data directory before it changes hands. Everything here comes
//! from [`Dice`], so that a seed printed by a failed run makes the same bytes
//! again. It must never depend on time or on a library's random numbers.

use anyhow::Result;
use bytes::Bytes;
use proto::etcdserverpb::*;

use crate::api::{self, Api};

/// A small random generator (splitmix64) of our own: a seed must mean the same
/// run next year.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n.max(1)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low + 1).max(1) as u64) as i64
    }

    /// True once in `n` throws.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }

    /// `0..=len_max` random bytes.
    pub fn bytes(&mut self, len_max: u64) -> Bytes {
        let len = self.below(len_max + 1);
        (0..len)
            .map(|_| self.bits() as u8)
            .collect::<Vec<u8>>()
            .into()
    }
}

/// How much a [`fill`] does, and what it leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Number of writing requests.
    pub writes: u64,
    /// Whether to compact in the middle.
    pub compact: bool,
    /// Whether to leave a NOSPACE alarm active at the end.
    pub alarm: bool,
}

/// Writes keys, overwrites, deletes (single and ranges), transactions, leases
/// with keys, one revoked lease, optionally a compaction and an alarm. Alarms
/// that stand at the start are lifted first. Lease ids count up from `lease_base`.
pub async fn fill(api: &Api, dice: &mut Dice, lease_base: i64, amount: Amount) -> Result<()> {
    lift_alarms(api).await?;
    for i in 0..4 {
        let id = lease_base + i;
        api.lease_grant(LeaseGrantRequest {
            id,
            ttl: 5000 + 100 * i,
        })
        .await?;
        for _ in 0..=i {
            let key = key(dice);
            api.put(PutRequest {
                lease: id,
                ..api::put(key, "leased")
            })
            .await?;
        }
    }
    for i in 0..amount.writes {
        write(api, dice, lease_base).await?;
        if i == amount.writes / 3 {
            api.lease_revoke(LeaseRevokeRequest { id: lease_base + 1 })
                .await?;
        }
        if amount.compact && i == amount.writes / 2 {
            // A put closes the compacted part: releases before 3.5.16 dropped a
            // tombstone that stands exactly at the compaction, later ones keep it.
            let at = api.put(api::put("compacted", "here")).await?;
            let revision = at.header.map_or(0, |h| h.revision);
            api.compact(CompactionRequest {
                revision,
                physical: true,
            })
            .await?;
        }
    }
    api.put(api::put("filled", "yes")).await?;
    if amount.alarm {
        let member_id = api
            .status(StatusRequest {})
            .await?
            .header
            .map_or(0, |h| h.member_id);
        api.alarm(AlarmRequest {
            action: alarm_request::AlarmAction::Activate as i32,
            member_id,
            alarm: AlarmType::Nospace as i32,
        })
        .await?;
    }
    Ok(())
}

/// Deactivates every active alarm.
pub async fn lift_alarms(api: &Api) -> Result<()> {
    for alarm in api.alarm(AlarmRequest::default()).await?.alarms {
        api.alarm(AlarmRequest {
            action: alarm_request::AlarmAction::Deactivate as i32,
            member_id: alarm.member_id,
            alarm: alarm.alarm,
        })
        .await?;
    }
    Ok(())
}

async fn write(api: &Api, dice: &mut Dice, lease_base: i64) -> Result<()> {
    match dice.below(10) {
        0..=4 => {
            api.put(api::put(key(dice), dice.bytes(200))).await?;
        }
        5 => {
            let lease = lease_base + 2;
            api.put(PutRequest {
                lease,
                ..api::put(key(dice), dice.bytes(20))
            })
            .await?;
        }
        6 => {
            api.delete_range(api::delete(key(dice))).await?;
        }
        7 => {
            let range_end = Bytes::from(format!("k/{:02}", dice.below(40)));
            api.delete_range(DeleteRangeRequest {
                key: Bytes::from(format!("k/{:02}", dice.below(40))),
                range_end,
                prev_kv: false,
            })
            .await?;
        }
        _ => {
            let guard = key(dice);
            api.txn(TxnRequest {
                compare: vec![Compare {
                    result: compare::CompareResult::Greater as i32,
                    target: compare::CompareTarget::Version as i32,
                    key: guard.clone(),
                    target_union: Some(compare::TargetUnion::Version(0)),
                    ..Default::default()
                }],
                success: vec![
                    api::op_put(api::put(guard.clone(), dice.bytes(50))),
                    api::op_put(api::put("t/both", dice.bytes(10))),
                    api::op_delete(api::delete("t/other")),
                ],
                failure: vec![
                    api::op_put(api::put(guard, "made")),
                    api::op_put(api::put("t/other", dice.bytes(10))),
                    api::op_range(api::all()),
                ],
            })
            .await?;
        }
    }
    Ok(())
}

fn key(dice: &mut Dice) -> Bytes {
    format!("k/{:02}", dice.below(40)).into()
}
