//! Leases against time: none ends before its last renewal plus its TTL, none is
//! used after its end. A key may outlive its lease's TTL for as long as there
//! is no leader, so lateness is no fault. It must never count a renewal by a
//! member that may have led without knowing better.

use std::collections::BTreeMap;

use super::{
    Findings, Kind, Timeline,
    writes::{Writer, Writers},
};
use crate::history::{Body, Call, History, Op, Outcome, Us};

/// How much earlier than its last renewal plus its TTL a lease may end: clocks of
/// one machine differ in rate by less, and etcd counts whole ticks of 500 ms.
pub const LEASE_TOLERANCE: Us = 600_000;

/// What is known of one lease.
#[derive(Debug, Default)]
struct Life<'a> {
    /// `(begin, end, TTL)` of the grant and of each renewal that was acknowledged.
    renewals: Vec<(Us, Us, i64, &'a Op)>,
    /// When anybody first asked for its end.
    revoke: Option<Us>,
    /// When its end was acknowledged.
    revoked: Option<Us>,
}

pub(super) fn check(
    history: &History,
    timeline: &Timeline,
    writers: &Writers,
    found: &mut Findings,
) {
    let lives = lives(history);
    let mut ends: BTreeMap<i64, i64> = BTreeMap::new();
    for (revision, writer) in writers {
        let Writer::Lease(lease) = writer else {
            continue;
        };
        ends.entry(*lease).or_insert(*revision);
        let seen = timeline.changes[revision].seen;
        let Some(life) = lives.get(lease) else {
            found.add(
                Kind::FromNowhere,
                format!("revision {revision} ends lease {lease:x}"),
            );
            continue;
        };
        if life.revoke.is_some_and(|at| at <= seen) {
            continue;
        }
        let trusted = life.renewals.iter().filter(|(begin, end, ..)| {
            let doubted = history
                .doubtful
                .iter()
                .any(|(from, to)| begin <= to && from <= end);
            *begin < seen && !doubted
        });
        for (begin, _, ttl, op) in trusted {
            let lives_until = begin + (*ttl as u64) * 1_000_000;
            if seen + LEASE_TOLERANCE < lives_until {
                found.add(
                    Kind::EarlyExpiry,
                    format!(
                        "lease {lease:x} is gone at {seen} us (revision {revision}) after {op:?}"
                    ),
                );
                break;
            }
        }
    }
    for (lease, end) in &ends {
        if let Some((revision, key)) = timeline.puts_on_lease(*lease).iter().find(|(r, _)| r > end)
        {
            found.add(
                Kind::RisenLease,
                format!("{key} at revision {revision} on lease {lease:x}, ended at {end}"),
            );
        }
    }
    for (lease, life) in &lives {
        let Some(revoked) = life.revoked else {
            continue;
        };
        let late = |(begin, end, _, op): &&(Us, Us, i64, &Op)| {
            let doubted = history
                .doubtful
                .iter()
                .any(|(from, to)| begin <= to && from <= end);
            *begin > revoked && !doubted && matches!(op.call, Call::KeepAlive { .. })
        };
        if let Some((.., op)) = life.renewals.iter().find(late) {
            found.add(
                Kind::RisenLease,
                format!("lease {lease:x} was revoked before {op:?}"),
            );
        }
    }
}

fn lives(history: &History) -> BTreeMap<i64, Life<'_>> {
    let mut lives: BTreeMap<i64, Life<'_>> = BTreeMap::new();
    for op in &history.ops {
        match (&op.call, &op.outcome) {
            (
                Call::Grant { lease, .. } | Call::KeepAlive { lease },
                Outcome::Ok {
                    body: Body::Ttl(ttl),
                    ..
                },
            ) => {
                let life = lives.entry(*lease).or_default();
                if *ttl > 0 {
                    life.renewals.push((op.invoke, op.returned, *ttl, op));
                }
            }
            // A grant without an answer may have been made.
            (Call::Grant { lease, .. }, Outcome::Unknown(_)) => {
                lives.entry(*lease).or_default();
            }
            (Call::Revoke { lease }, outcome) => {
                let life = lives.entry(*lease).or_default();
                if !matches!(outcome, Outcome::Failed(_)) {
                    life.revoke = Some(life.revoke.map_or(op.invoke, |r| r.min(op.invoke)));
                }
                if matches!(outcome, Outcome::Ok { .. }) {
                    life.revoked = Some(life.revoked.map_or(op.returned, |r| r.min(op.returned)));
                }
            }
            _ => {}
        }
    }
    lives
}
