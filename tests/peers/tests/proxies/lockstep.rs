//! Random operations, each through another one of three proxies that lease keys below a namespace,
//! and the same to a server without any: every answer but its revisions is equal.

use anyhow::{Result, ensure};
use peers::{
    api::{Api, delete, get, op_delete, op_put, op_range, op_txn, put},
    peer, ports,
    server::{Launch, Server},
};
use proto::{etcdserverpb::*, mvccpb::KeyValue};
use tempfile::TempDir;

use crate::programs::{GRPC_READY, proxy, started};

const OPERATIONS: usize = 400;
const PROXIES: usize = 3;

/// Small random numbers that a seed repeats (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn key(&mut self) -> String {
        format!("k{}", self.below(5))
    }

    fn put(&mut self) -> PutRequest {
        let value = format!("v{}", self.below(1000));
        match self.below(8) {
            0 => PutRequest {
                ignore_value: true,
                ..put(self.key(), "")
            },
            1 => PutRequest {
                lease: 9,
                ..put(self.key(), value)
            },
            2 => PutRequest {
                ignore_lease: true,
                ..put(self.key(), value)
            },
            n => PutRequest {
                prev_kv: n % 2 == 0,
                ..put(self.key(), value)
            },
        }
    }

    fn range(&mut self) -> RangeRequest {
        let end = if self.below(4) == 0 { "k9" } else { "" };
        RangeRequest {
            range_end: end.into(),
            keys_only: self.below(6) == 0,
            count_only: self.below(6) == 0,
            ..get(self.key())
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest {
        let end = match self.below(6) {
            0 => "k9",
            1 => "\0",
            _ => "",
        };
        DeleteRangeRequest {
            range_end: end.into(),
            prev_kv: self.below(2) == 0,
            ..delete(self.key())
        }
    }

    fn branch(&mut self, depth: u64) -> Vec<RequestOp> {
        let op = |random: &mut Random| match random.below(5 + u64::from(depth > 0)) {
            0 | 1 => op_put(PutRequest {
                // Twice the same key is refused.
                key: format!("k{}", depth * 2 + random.below(2)).into(),
                ..put("", "t")
            }),
            2 => op_delete(delete(format!("d{depth}"))),
            3 | 4 => op_range(random.range()),
            _ => op_txn(random.txn(depth - 1)),
        };
        let len = 1 + self.below(2);
        (0..len).map(|_| op(self)).collect()
    }

    fn txn(&mut self, depth: u64) -> TxnRequest {
        TxnRequest {
            compare: vec![Compare {
                key: self.key().into(),
                target: compare::CompareTarget::Version.into(),
                result: compare::CompareResult::Greater.into(),
                target_union: Some(compare::TargetUnion::Version(self.below(3) as i64)),
                ..Compare::default()
            }],
            success: self.branch(depth),
            failure: self.branch(depth),
        }
    }
}

/// A pair without the revisions that leasing keys move.
fn shown(kv: &KeyValue) -> String {
    format!(
        "{:?}={:?} version {} lease {}",
        kv.key, kv.value, kv.version, kv.lease
    )
}

fn shown_all(kvs: &[KeyValue]) -> Vec<String> {
    kvs.iter().map(shown).collect()
}

fn of_range(answer: &RangeResponse) -> String {
    format!(
        "{:?} {} {}",
        shown_all(&answer.kvs),
        answer.count,
        answer.more
    )
}

fn of_txn(answer: &TxnResponse) -> String {
    use response_op::Response;
    let ops = answer
        .responses
        .iter()
        .filter_map(|op| op.response.as_ref());
    let ops: Vec<String> = ops
        .map(|op| match op {
            Response::ResponseRange(range) => of_range(range),
            Response::ResponsePut(put) => format!("{:?}", put.prev_kv.as_ref().map(shown)),
            Response::ResponseDeleteRange(delete) => format!("{}", delete.deleted),
            Response::ResponseTxn(txn) => of_txn(txn),
        })
        .collect();
    format!("{} {ops:?}", answer.succeeded)
}

async fn answer(to: &Api, operation: &request_op::Request) -> String {
    use request_op::Request;
    let answer = match operation.clone() {
        Request::RequestRange(range) => to.range(range).await.map(|range| of_range(&range)),
        Request::RequestPut(put) => {
            let answer = to.put(put).await;
            answer.map(|put| format!("{:?}", put.prev_kv.as_ref().map(shown)))
        }
        Request::RequestDeleteRange(delete) => {
            let answer = to.delete_range(delete).await;
            answer.map(|delete| format!("{} {:?}", delete.deleted, shown_all(&delete.prev_kvs)))
        }
        Request::RequestTxn(txn) => to.txn(txn).await.map(|txn| of_txn(&txn)),
    };
    answer.unwrap_or_else(|status| status.message().to_owned())
}

async fn proxies(server: &Server) -> Result<Vec<Server>> {
    let Some(subject) = peer::subject() else {
        return Ok(Vec::new());
    };
    let mut all = Vec::new();
    for _ in 0..PROXIES {
        let port = ports::claim()?;
        let launch = proxy(&subject, "grpc-proxy", port)
            .flag(&format!("--endpoints=127.0.0.1:{}", server.port()))
            .flag("--namespace=n/")
            .flag("--experimental-serializable-ordering")
            .flag("--experimental-leasing-prefix=a/");
        all.push(started(&launch, GRPC_READY).await?);
    }
    Ok(all)
}

#[test]
fn leased_keys_are_what_a_server_would_answer() {
    let Some((_, reference)) = peer::pair() else {
        return;
    };
    peers::run(240, async {
        let seed = peers::seed(1);
        let dirs = (TempDir::new()?, TempDir::new()?);
        let behind = Launch::new(&reference, dirs.0.path()).start().await?;
        let alone = Launch::new(&reference, dirs.1.path()).start().await?;
        let proxies = proxies(&behind).await?;
        let clients: Vec<Api> = proxies.iter().map(Server::connect).collect();
        let grant = LeaseGrantRequest { ttl: 6_000, id: 9 };
        clients[0].lease_grant(grant).await?;
        alone.api().lease_grant(grant).await?;
        let mut random = Random(seed);
        for step in 0..OPERATIONS {
            let operation = match random.below(10) {
                0..5 => request_op::Request::RequestRange(random.range()),
                5..7 => request_op::Request::RequestPut(random.put()),
                7 | 8 => request_op::Request::RequestDeleteRange(random.delete()),
                _ => request_op::Request::RequestTxn(random.txn(2)),
            };
            let client = &clients[random.below(PROXIES as u64) as usize];
            let own = answer(client, &operation).await;
            let direct = answer(alone.api(), &operation).await;
            ensure!(
                own == direct,
                "seed {seed}, step {step}: {operation:?}\n{own}\n{direct}"
            );
        }
        Ok(())
    });
}
