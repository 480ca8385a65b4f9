//! From a disk to a running member: the product's own way, on a simulated disk.

use std::{path::Path, sync::Arc};

use auth::tokens::Provider;
use member::{
    Effects,
    apply::Options,
    open::{self, Dirs, Founding, Log, MembershipCheck, Setup},
    state::Identity,
};
use membership::{Cluster, conf_change};
use proto::raftpb::HardState;
use wal::{Wal, sim::SimulatedDisk, snap::Snapshotter};

use super::{Member, host::Core};
use crate::{
    file::SimulatedFiles,
    shared::{ELECTION_TICKS, MIN_TTL, Shared, TICK_US},
};

fn dirs() -> Dirs {
    let member = Path::new("/data/member");
    Dirs {
        wal: member.join("wal"),
        snap: member.join("snap"),
    }
}

/// How a member comes to be when its disk is empty.
#[derive(Clone, Debug)]
pub enum Birth {
    /// With the first members of the cluster.
    First(Cluster),
    /// Into a running cluster.
    Joining(Cluster),
}

impl Birth {
    fn found(&self, id: u64, options: wal::Options) -> Result<Log, member::Error> {
        let (Birth::First(cluster) | Birth::Joining(cluster)) = self;
        let identity = Identity {
            cluster_id: cluster.id().0,
            member_id: id,
        };
        let entries = match self {
            Birth::First(cluster) => conf_change::bootstrap_entries(cluster),
            Birth::Joining(_) => Vec::new(),
        };
        let hard_state = match self {
            Birth::First(_) => HardState {
                term: 1,
                vote: 0,
                commit: entries.len() as u64,
            },
            Birth::Joining(_) => HardState::default(),
        };
        let founding = Founding {
            identity,
            entries: &entries,
            hard_state,
        };
        Log::found(&dirs(), &founding, options)
    }
}

impl Member {
    /// Starts a member from its disk, or with an empty one as `birth` says.
    ///
    /// # Errors
    /// What the server would tell its operator.
    pub fn start(
        shared: &mut Shared,
        id: u64,
        disk: SimulatedDisk,
        birth: &Birth,
        seed: u64,
    ) -> Result<Member, member::Error> {
        let dirs = dirs();
        let options = wal::Options {
            background: false,
            segment_bytes: 16 << 10,
            disk: Arc::new(disk.clone()),
            ..wal::Options::default()
        };
        let exists =
            Wal::exists_on(&disk, &dirs.wal).map_err(|e| member::Error::new(e.to_string()))?;
        let log = if exists {
            shared.oracle.reached.restarts += 1;
            let hold = Log::hold(&dirs, &disk)?;
            Log::open(&dirs, hold, options)?
        } else {
            birth.found(id, options)?
        };
        let last = log.last_index();
        let snapshot = log.snapshot.as_ref().map(|s| s.metadata.index);
        shared.oracle.starts(id, &log.hard_state, last);
        let files = Arc::new(SimulatedFiles::new(&disk));
        let parts = open::start(&setup(shared, seed), files, log)?;
        let held = parts.consistent_index;
        // The database of a leader that has just restarted may be ahead of what it knows to be
        // committed, and so may the copy that it sends. All of that is committed.
        let was_received = snapshot == Some(last) && held <= shared.oracle.last();
        if held > last && !was_received {
            let text = format!("{id:x}: database at {held}, log at {last}");
            shared
                .oracle
                .fail("the database is never ahead of the log", text);
        }
        let mut member = Member {
            snapshotter: Snapshotter::on(Arc::new(disk.clone()), &dirs.snap),
            disk,
            dirs,
            cluster: parts.state.cluster.load_full(),
            cluster_id: parts.identity.cluster_id,
            applied: parts.machine.applied(),
            machine: parts.machine,
            state: parts.state,
            writer: parts.log,
            core: Core::new(id, parts.node),
            effects: Effects::default(),
            waiting: Default::default(),
            ticks: 0,
            answers: Vec::new(),
        };
        member.inspect(shared);
        member.core.hand_on(shared);
        Ok(member)
    }
}

fn setup(shared: &Shared, seed: u64) -> Setup {
    let dirs = dirs();
    Setup {
        line: line::Choice::Fixed(line::Line::DEFAULT),
        line_kept: line::Kept::Nothing,
        data_dir: "/data".into(),
        machine: Options {
            snapshot_count: Some(shared.snapshot_count),
            snapshot_catchup_entries: shared.catch_up,
            drop_v2_keys: false,
            max_learners: 100,
            // Healed copies would hide that they ever disagreed.
            membership_check: MembershipCheck::Report,
            quota_backend_bytes: None,
            lease_extension_ms: ELECTION_TICKS as u64 * TICK_US / 1000,
            lease: lease::Options {
                min_ttl_secs: MIN_TTL,
                ..lease::Options::default()
            },
            auth: auth::Options::default(),
            snap_dir: dirs.snap.clone(),
        },
        consensus: consensus::Config {
            election_ticks: ELECTION_TICKS,
            max_size_per_msg: 4096,
            max_inflight: 8,
            pre_vote: shared.pre_vote,
            seed,
            ..consensus::Config::default()
        },
        tokens: Arc::new(Provider::None),
        force_new_cluster: false,
        dirs,
    }
}
