//! Random histories against a lessor so naive that it is obviously right: a map,
//! walked from end to end for every question.

use std::collections::{BTreeMap, BTreeSet};

use bolt::Batch;
use lease::{Error, LeaseId, Lessor, Options, REVOKE_RETRY_MS};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Grant(i64, i64),
    Revoke(i64),
    Attach(i64, u8),
    Detach(u8),
    Renew(i64),
    Wait(u64),
    Expired(usize),
    Promote(u64),
    Demote,
    Checkpoint(i64, i64),
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..12i64;
    prop_oneof![
        4 => (id.clone(), -1..12i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        1 => id.clone().prop_map(Step::Revoke),
        4 => (id.clone(), 0..16u8).prop_map(|(id, key)| Step::Attach(id, key)),
        1 => (0..16u8).prop_map(Step::Detach),
        4 => id.clone().prop_map(Step::Renew),
        6 => (0..4_000u64).prop_map(Step::Wait),
        6 => (0..6usize).prop_map(Step::Expired),
        1 => prop_oneof![Just(0), 0..20_000u64].prop_map(Step::Promote),
        1 => Just(Step::Demote),
        1 => (id, 0..20i64).prop_map(|(id, left)| Step::Checkpoint(id, left)),
    ]
}

#[derive(Debug, Default)]
struct Model {
    primary: bool,
    leases: BTreeMap<i64, Granted>,
}

#[derive(Debug, Default)]
struct Granted {
    ttl: i64,
    left: i64,
    expiry: u64,
    named: Option<u64>,
    keys: BTreeSet<u8>,
}

impl Model {
    fn start(&mut self, now: u64, extend: u64) {
        self.primary = true;
        for lease in self.leases.values_mut() {
            let secs = if lease.left > 0 {
                lease.left
            } else {
                lease.ttl
            };
            lease.expiry = now + extend + secs as u64 * 1000;
            lease.named = None;
        }
    }

    fn eligible(&self, now: u64) -> BTreeSet<i64> {
        let waits = |lease: &Granted| lease.named.is_some_and(|at| now < at + REVOKE_RETRY_MS);
        self.leases
            .iter()
            .filter(|(_, lease)| self.primary && lease.expiry <= now && !waits(lease))
            .map(|(id, _)| *id)
            .collect()
    }

    fn holder(&self, key: u8) -> Option<i64> {
        self.leases
            .iter()
            .find(|(_, lease)| lease.keys.contains(&key))
            .map(|(id, _)| *id)
    }
}

fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let (mut now, mut model) = (0, Model::default());
    let mut lessor = Lessor::new(Options::default());
    let mut batch = Batch::default();
    for step in steps {
        match step {
            Step::Grant(id, ttl) => {
                let result = lessor.grant(LeaseId(id), ttl, now, &mut batch);
                let known = model.leases.contains_key(&id);
                if id == 0 {
                    prop_assert_eq!(result, Err(Error::NotFound));
                } else if known {
                    prop_assert_eq!(result, Err(Error::Exists));
                } else {
                    let ttl = ttl.max(2);
                    prop_assert_eq!(result, Ok(ttl));
                    let expiry = now + ttl as u64 * 1000;
                    model.leases.insert(
                        id,
                        Granted {
                            ttl,
                            expiry,
                            ..Granted::default()
                        },
                    );
                }
            }
            Step::Revoke(id) => {
                let want = model.leases.remove(&id).map(|lease| lease.keys);
                let keys = lessor.revoke(LeaseId(id), &mut batch).ok();
                let keys = keys.map(|keys| keys.iter().map(|k| k[0]).collect::<Vec<_>>());
                prop_assert_eq!(keys, want.map(|keys| keys.into_iter().collect()));
            }
            Step::Attach(id, key) => {
                let known = model.leases.contains_key(&id);
                prop_assert_eq!(lessor.attach(LeaseId(id), &[key]).is_ok(), known);
                if known {
                    model
                        .leases
                        .values_mut()
                        .for_each(|l| _ = l.keys.remove(&key));
                    model.leases.entry(id).or_default().keys.insert(key);
                }
            }
            Step::Detach(key) => {
                prop_assert_eq!(lessor.detach(&[key]), model.holder(key).map(LeaseId));
                model
                    .leases
                    .values_mut()
                    .for_each(|l| _ = l.keys.remove(&key));
            }
            Step::Renew(id) => {
                let result = lessor
                    .renew(LeaseId(id), now)
                    .map(|renewal| renewal.ttl_secs);
                let primary = model.primary;
                match model.leases.get_mut(&id) {
                    _ if !primary => prop_assert_eq!(result, Err(Error::NotPrimary)),
                    None => prop_assert_eq!(result, Err(Error::NotFound)),
                    Some(lease) if lease.expiry <= now => {
                        prop_assert_eq!(result, Err(Error::Expired));
                    }
                    Some(lease) => {
                        prop_assert_eq!(result, Ok(lease.ttl));
                        lease.expiry = now + lease.ttl as u64 * 1000;
                    }
                }
            }
            Step::Wait(ms) => now += ms,
            Step::Expired(limit) => {
                let eligible = model.eligible(now);
                let named = lessor.expired(now, limit);
                prop_assert_eq!(named.len(), limit.min(eligible.len()));
                for id in named {
                    prop_assert!(eligible.contains(&id.0), "{} is not over", id);
                    let lease = model.leases.get_mut(&id.0).expect("known");
                    prop_assert!(lease.named.is_none_or(|at| at < now), "{} named twice", id);
                    lease.named = Some(now);
                }
            }
            Step::Promote(extend) => {
                lessor.promote(1, now, extend);
                model.start(now, extend);
            }
            Step::Demote => {
                lessor.demote();
                model.primary = false;
            }
            Step::Checkpoint(id, left) => {
                let known = model.leases.contains_key(&id);
                let result = lessor.checkpoint_apply(LeaseId(id), left, now, false, &mut batch);
                prop_assert_eq!(result.is_ok(), known);
                if let Some(lease) = model.leases.get_mut(&id) {
                    lease.left = left;
                }
            }
        }
        prop_assert_eq!(lessor.len(), model.leases.len());
        prop_assert_eq!(lessor.is_primary(), model.primary);
        for key in 0..16 {
            prop_assert_eq!(lessor.lease_of(&[key]), model.holder(key).map(LeaseId));
        }
        for (id, lease) in &model.leases {
            let shown = lessor.time_to_live(LeaseId(*id), now).expect("known");
            prop_assert_eq!(shown.granted_secs, lease.ttl);
            if model.primary {
                let left = (lease.expiry as i64 - now as i64) / 1000;
                prop_assert_eq!(shown.remaining_secs, left);
            }
        }
        if model.primary {
            let mut order: Vec<_> = model.leases.iter().map(|(id, l)| (l.expiry, *id)).collect();
            order.sort_unstable();
            let order: Vec<_> = order.into_iter().map(|(_, id)| LeaseId(id)).collect();
            prop_assert_eq!(lessor.leases(), order);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_lessor_is_its_naive_self(steps in prop::collection::vec(step(), 1..120)) {
        run(steps)?;
    }
}
