//! The clock of the consensus core, and what a member does about its first leader and a lost one.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, sleep};

use super::steady::steady;
use crate::runtime::Runtime;

/// Starts it on this runtime.
pub(super) fn start(rt: &Rc<Runtime>) {
    tokio::task::spawn_local(tick(rt.clone()));
    tokio::task::spawn_local(elect(rt.clone()));
    tokio::task::spawn_local(advance_ticks(rt.clone()));
    tokio::task::spawn_local(miss_leader(rt.clone()));
}

async fn tick(rt: Rc<Runtime>) {
    let mut ticks = steady(rt.core.config.heartbeat);
    let period_ms = rt.core.heartbeat_ms();
    loop {
        ticks.tick().await;
        let core = &rt.core;
        core.raft.status.ticks.tick(core.now_ms(), period_ms);
        core.raft.drive(consensus::Node::tick);
        // A commit index that moved since the last append reaches the disk now.
        rt.core.raft.log.wake();
    }
}

/// The only voter need not wait for an election timeout: it stands as soon as
/// its own log lets it.
async fn elect(rt: Rc<Runtime>) {
    let sole = || rt.core.raft.inspect(consensus::Node::is_sole_voter);
    while rt.core.leader() == 0 {
        rt.core.raft.drive(|node| {
            let status = node.status();
            // Refused while committed entries wait to be applied; the next round asks again.
            if node.is_sole_voter() && status.applied == status.commit {
                let _ = node.campaign();
            }
        });
        sleep(if sole() { SOLE_POLL } else { POLL }).await;
    }
    tracing::info!(
        "local-member-id" = format!("{:x}", rt.core.member_id),
        leader = format!("{:x}", rt.core.leader()),
        term = rt.core.raft.status.term.load(Ordering::Acquire),
        "elected leader"
    );
}

/// Poll interval while waiting for a leader; the start of a lone member waits for it.
const SOLE_POLL: Duration = Duration::from_millis(2);
const POLL: Duration = Duration::from_millis(20);

/// How long to wait for peers before giving up on fast-forwarding election ticks.
const ADVANCE_WAIT: Duration = Duration::from_secs(5);

/// A member that reaches others at its start need not wait a whole election
/// timeout: two ticks are left for a leader to be heard from.
async fn advance_ticks(rt: Rc<Runtime>) {
    if !rt.core.config.initial_election_tick_advance {
        return;
    }
    let ticks = rt.core.config.election_ticks().saturating_sub(2);
    let begin = Instant::now();
    while begin.elapsed() < ADVANCE_WAIT && rt.core.leader() == 0 {
        let active = rt.core.raft.peers().map_or(0, |peers| {
            let peers = peers.peers();
            peers.iter().filter(|p| p.active_since.is_some()).count()
        });
        if active > 0 {
            tracing::info!(
                "local-member-id" = format!("{:x}", rt.core.member_id),
                "forward-ticks" = ticks,
                "active-remote-members" = active,
                "initialized peer connections; fast-forwarding election ticks"
            );
            rt.core.raft.drive(|node| {
                for _ in 0..ticks {
                    node.tick();
                }
            });
            return;
        }
        sleep(POLL).await;
    }
}

/// Election timeouts without a leader after which streams end that asked for one. New calls are
/// refused at once; a stream costs its client more to open again.
const LEADER_MISSED_MAX: u32 = 3;

/// Looks once per election timeout whether there is a leader.
async fn miss_leader(rt: Rc<Runtime>) {
    let mut rounds = steady(rt.core.config.election);
    let mut missed = 0;
    loop {
        rounds.tick().await;
        missed = if rt.core.leader() == 0 { missed + 1 } else { 0 };
        if missed >= LEADER_MISSED_MAX {
            rt.core.leader_lost.send_replace(());
        }
    }
}
