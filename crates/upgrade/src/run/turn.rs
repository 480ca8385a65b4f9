//! Whose turn it is, where the members of one cluster are driven from several
//! nodes: a key in the cluster itself, under a lease. Two runs must never have a
//! member stopped at the same time. A run that was killed takes its own turn up
//! again; one that never comes back loses it when the lease ends.

use std::time::{Duration, Instant};

use proto::etcdserverpb as api;

use super::{Driver, Engine};

const KEY: &[u8] = b"pintle-upgrade/turn";
const POLL: Duration = Duration::from_millis(300);

impl<D: Driver> Engine<'_, D> {
    /// Some other member, if there are members that are not driven from here.
    fn beside(&self, member: &str) -> Option<String> {
        let members = self.driver.members();
        let shared = members.iter().any(|m| !self.driver.manages(&m.name));
        let other = members.into_iter().find(|m| m.name != member);
        other.filter(|_| shared).map(|m| m.endpoint)
    }

    /// Takes the turn for `member`, when no other has it.
    ///
    /// # Errors
    /// Another has it for too long, or the cluster does not answer.
    pub(super) async fn take_turn(&self, member: &str) -> Result<(), String> {
        let Some(endpoint) = self.beside(member) else {
            return Ok(());
        };
        let said = |e: &dyn std::fmt::Display| format!("{endpoint}: {e}");
        let client = self.access.client(&endpoint).await;
        let client = client.map_err(|e| said(&e))?;
        // Longer than a stop, a start and the look afterwards may take.
        let seconds = self.patience.as_secs().saturating_mul(3) + 300;
        let lease = api::LeaseGrantRequest {
            ttl: i64::try_from(seconds).unwrap_or(i64::MAX),
            id: 0,
        };
        let lease = client.lease_grant(lease).await.map_err(|e| said(&e))?.id;
        let limit = if self.only_here {
            self.patience
        } else {
            self.others
        };
        let deadline = Instant::now() + limit;
        let mut told = false;
        loop {
            let put = api::PutRequest {
                key: KEY.into(),
                value: member.as_bytes().to_vec().into(),
                lease,
                ..Default::default()
            };
            let free = compare(
                api::compare::CompareTarget::Create,
                api::compare::TargetUnion::CreateRevision(0),
            );
            let mine = is_mine(member);
            let mut holder = String::new();
            for condition in [free, mine] {
                let txn = api::TxnRequest {
                    compare: vec![condition],
                    success: vec![op(api::request_op::Request::RequestPut(put.clone()))],
                    failure: vec![op(api::request_op::Request::RequestRange(
                        api::RangeRequest {
                            key: KEY.into(),
                            ..Default::default()
                        },
                    ))],
                };
                let answer = client.txn(txn).await.map_err(|e| said(&e))?;
                if answer.succeeded {
                    return Ok(());
                }
                holder = answer
                    .responses
                    .into_iter()
                    .find_map(|one| match one.response? {
                        api::response_op::Response::ResponseRange(range) => {
                            range.kvs.into_iter().next()
                        }
                        _ => None,
                    })
                    .map_or(String::new(), |kv| {
                        String::from_utf8_lossy(&kv.value).into_owned()
                    });
            }
            if Instant::now() >= deadline {
                let revoke = api::LeaseRevokeRequest { id: lease };
                let _ = client.lease_revoke(revoke).await;
                return Err(format!(
                    "it is the turn of {holder}: the run on its node has not finished with it; see to it there first"
                ));
            }
            if !told && !holder.is_empty() {
                told = true;
                (self.say)(&format!(
                    "        waiting: the run on the node of {holder} has it in hand"
                ));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Gives the turn of `member` back, if it has it. Where that fails the lease ends it.
    pub(super) async fn give_turn_back(&self, member: &str) {
        let Some(endpoint) = self.beside(member) else {
            return;
        };
        let Ok(client) = self.access.client(&endpoint).await else {
            return;
        };
        let delete = api::DeleteRangeRequest {
            key: KEY.into(),
            ..Default::default()
        };
        let txn = api::TxnRequest {
            compare: vec![is_mine(member)],
            success: vec![op(api::request_op::Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        let _ = client.txn(txn).await;
    }
}

fn is_mine(member: &str) -> api::Compare {
    compare(
        api::compare::CompareTarget::Value,
        api::compare::TargetUnion::Value(member.as_bytes().to_vec().into()),
    )
}

fn op(request: api::request_op::Request) -> api::RequestOp {
    api::RequestOp {
        request: Some(request),
    }
}

fn compare(target: api::compare::CompareTarget, is: api::compare::TargetUnion) -> api::Compare {
    api::Compare {
        key: KEY.into(),
        target: target.into(),
        result: api::compare::CompareResult::Equal.into(),
        target_union: Some(is),
        ..Default::default()
    }
}
