//! What the core of a sole voter costs per entry, writes taking no time:
//! `cargo run --release -p pintle-raft --example throughput`. It shows neither
//! the disk nor the network.

use std::time::Instant;

use bytes::Bytes;
use consensus::{Config, Initial, Node};
use proto::raftpb::ConfState;

const ENTRIES: usize = 400_000;
const BYTES: usize = 256;

fn main() {
    for run in [1, 16, 64] {
        let conf_state = ConfState {
            voters: vec![1],
            ..ConfState::default()
        };
        let initial = Initial {
            conf_state,
            ..Initial::default()
        };
        let config = Config {
            id: 1,
            ..Config::default()
        };
        let mut node = Node::new(config, initial).expect("a sole voter");
        node.campaign().expect("a sole voter leads");
        let mut applied = 0;
        let payload = Bytes::from(vec![b'x'; BYTES]);
        let start = Instant::now();
        while applied < ENTRIES as u64 {
            if node.status().leader == 1 {
                node.propose(vec![payload.clone(); run]).expect("taken");
            }
            while node.has_work() {
                let work = node.work();
                node.persisted(work.number);
                if let Some(last) = work.committed.last() {
                    applied = last.index;
                    node.applied_to(applied);
                }
            }
            if applied % 10_000 < run as u64 {
                node.compact_log(applied.saturating_sub(5_000));
            }
        }
        let per_entry = start.elapsed().as_nanos() / u128::from(applied);
        println!("runs of {run:2}: {per_entry} ns per entry of {BYTES} bytes");
    }
}
