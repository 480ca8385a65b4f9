//! From a log and the files next to it to the parts of a member. What is there is read, checked
//! and finished (an interrupted install of a snapshot); what this release must not be started on
//! is refused before the first write to it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use auth::tokens::Provider;
use consensus::{Initial, Node};
use line::{Choice, Kept, Line};
use membership::{Cluster, Disagreement, Member, Payload, Refusal, Replay, v2store::Tree};
use proto::{
    etcdserverpb::internal_raft_request::Op,
    raftpb::{ConfState, Entry, HardState, SnapshotMetadata},
};

use super::{
    database::Database,
    force_new_cluster::{Found, Impossible},
    log::{Dirs, Log, WAY_OUT, set_aside},
    membership::{Adopted, MembershipCheck, Stored, Verdict, adopt, choose_line, compare},
    promotions, v2_keys,
};
use crate::{
    alarms::Alarms,
    apply::{Machine, Options, Seed},
    error::{At as _, Error},
    host::Files,
    log::LogWriter,
    plant::{Plant, broken},
    snapshot::placeholder,
    state::{Identity, State},
};

/// How a member starts.
pub struct Setup {
    /// Which line it is to speak.
    pub line: Choice,
    /// What it keeps of its line.
    pub line_kept: Kept,
    /// Where its files are.
    pub dirs: Dirs,
    /// What its directory is called where it is refused as a whole.
    pub data_dir: PathBuf,
    /// How its machine behaves.
    pub machine: Options,
    /// How its consensus core behaves; the id is the log's.
    pub consensus: consensus::Config,
    /// What users show in place of their passwords.
    pub tokens: Arc<Provider>,
    /// It becomes the only member of its cluster.
    pub force_new_cluster: bool,
}

/// The parts of a member, none of which has been driven yet.
pub struct Parts {
    /// Who it is.
    pub identity: Identity,
    /// The consensus core.
    pub node: Node,
    /// The log writer.
    pub log: LogWriter,
    /// The apply machine.
    pub machine: Machine,
    /// What readers see.
    pub state: Arc<State>,
    /// As of the end of the log.
    pub hard_state: HardState,
    /// The database has the effects of entries up to here.
    pub consistent_index: u64,
    /// Members as of the newest snapshot, this one among them.
    pub members: Vec<Member>,
    /// What the copies of the membership disagree about, and what became of it.
    pub disagreements: Option<(Vec<Disagreement>, &'static str)>,
}

/// Opens a member whose log is read.
///
/// # Errors
/// The directory must not be used; the text says why, and what to do. Nothing in it was changed
/// unless it is one that this release can start on.
pub fn start(setup: &Setup, files: Arc<dyn Files>, mut log: Log) -> Result<Parts, Error> {
    let db_path = &setup.dirs.database();
    let snapshot_index = log.snapshot_position().index;
    if snapshot_index > 0 {
        finish_install(files.as_ref(), snapshot_index, &log, db_path)?;
    }
    if !log.is_new && !setup.force_new_cluster {
        tracing::info!(
            "cluster-id" = format!("{:x}", log.identity.cluster_id),
            "local-member-id" = format!("{:x}", log.identity.member_id),
            "commit-index" = log.hard_state.commit,
            "restarting local member"
        );
    }
    let mut from = membership_at_snapshot(setup, &log)?;
    let stored = match log.is_new {
        true => None,
        false => Stored::read(files.as_ref(), db_path)?,
    };
    if broken(Plant::MembersFromDatabase)
        && snapshot_index > 0
        && let Some(stored) = &stored
    {
        from.cluster = Cluster::of_buckets(from.cluster.id(), stored.view());
    }
    let line = line_of(setup, &log, &from, stored.as_ref())?;
    from.line = line;
    refuse_foreign(&from.cluster, snapshot_index, stored.as_ref(), db_path)?;
    let mut changes = Vec::new();
    let forces = setup.force_new_cluster && !log.is_new;
    if forces {
        changes = force_new_cluster(&mut log, &from, stored.as_ref())
            .map_err(|error| Error(format!("{}: {error}", setup.data_dir.display())))?;
    }
    let mut adopted = suit(setup, line, &log, &from, stored.as_ref())?;
    refuse_entries(setup, line, &log, stored.as_ref())?;
    if let Some(stored) = &stored {
        promotions::log(line, &from, snapshot_index, &log.entries, stored);
    }
    let commit = log.hard_state.commit;
    let check = setup.machine.membership_check;
    let check = stored
        .as_ref()
        .map_or(check, |stored| check.by_line(line, stored.view()));
    let verdict = stored
        .and_then(|stored| compare(from.clone(), snapshot_index, &log.entries, commit, stored));
    let mut disagreements = None;
    if let Some(verdict) = &verdict {
        disagreements = Some((verdict.found().to_vec(), verdict.report(check)));
        if check == MembershipCheck::Refuse && verdict.is_serious() {
            return Err(verdict.refusal(&setup.data_dir));
        }
    }
    if forces {
        log.wal
            .append(&changes, Some(&log.hard_state))
            .and_then(|()| log.wal.sync().map(drop))
            .at("cannot write the write-ahead log", &setup.dirs.wal)?;
    }
    tidy(&log).at("cannot tidy", &setup.dirs.snap)?;
    let v2_keys_dropped = v2_keys::give_up(
        files.disk().as_ref(),
        &setup.machine,
        &mut from,
        &log.entries,
        commit,
        snapshot_index,
    )?;
    let database = Database::open(
        files.as_ref(),
        setup.machine.lease,
        setup.machine.auth,
        db_path,
    )?;
    let healing = verdict.as_ref().filter(|_| check == MembershipCheck::Heal);
    heal(&database, healing, adopted.as_mut()).at("cannot write the membership to", db_path)?;
    let broken_files = (log.snapshotter.clone(), std::mem::take(&mut log.unusable));
    let opened = Opened {
        line,
        log,
        from,
        adopted,
        database,
        v2_keys_dropped,
    };
    let parts = assemble(setup, files, opened)?;
    // Nothing can refuse the directory any more.
    let (snapshotter, unusable) = broken_files;
    for file in &unusable {
        set_aside(&snapshotter, file);
    }
    Ok(Parts {
        disagreements,
        ..parts
    })
}

/// Writes what the members of the database lack. What was said to be healed is, before the member
/// serves.
fn heal(
    database: &Database,
    verdict: Option<&Verdict>,
    adopted: Option<&mut Adopted>,
) -> Result<(), bolt::Error> {
    let adopted = adopted.map(|adopted| std::mem::take(&mut adopted.healing));
    let batches = verdict.map(Verdict::healing).into_iter().chain(adopted);
    let backend = database.store.backend();
    let mut is_healed = false;
    for batch in batches.filter(|batch| !batch.is_empty()) {
        backend.write(batch);
        is_healed = true;
    }
    match is_healed {
        true => backend.commit_now(),
        false => Ok(()),
    }
}

/// Whether there is a database: a file whose creation was cut off is none, and is made anew.
///
/// # Errors
/// The file cannot be read.
pub fn holds_database(files: &dyn Files, path: &Path) -> Result<bool, Error> {
    let unwritten = files
        .is_unwritten(path)
        .at("cannot read the database", path)?;
    Ok(!unwritten)
}

/// A snapshot that was received but not yet put in place is put in place now.
fn finish_install(files: &dyn Files, index: u64, log: &Log, db_path: &Path) -> Result<(), Error> {
    let held = if holds_database(files, db_path)? {
        let db = files
            .read_database(db_path)
            .at("cannot open the database", db_path)?;
        mvcc::backend::consistent_index(&db.begin_read())
            .at("cannot read the database", db_path)?
            .index
    } else {
        0
    };
    let disk = files.disk();
    let parent = db_path.parent().unwrap_or(db_path);
    // Renames of a process that died before it had made them durable: from here
    // on they are relied upon.
    let durable = || disk.sync_dir(parent).at("cannot sync", parent);
    if held >= index {
        return durable();
    }
    let received = log.snapshotter.db_path(index);
    let names = disk.names(parent).at("cannot list", parent)?;
    let name = received.file_name().map(|name| name.to_string_lossy());
    if !names.iter().any(|n| Some(n.as_str()) == name.as_deref()) {
        return Err(Error(format!(
            "{}: holds entries up to {held}, but the log starts at snapshot {index} and {} is missing: failed to find \
             database snapshot file (snap: snapshot file doesn't exist); {WAY_OUT}",
            db_path.display(),
            received.display()
        )));
    }
    disk.rename(&received, db_path)
        .at("cannot put the received database in place of", db_path)?;
    tracing::info!(path = %received.display(), "put the received database in place");
    durable()
}

/// Who was a member when the newest snapshot was taken.
fn membership_at_snapshot(setup: &Setup, log: &Log) -> Result<Replay, Error> {
    let index = log.snapshot_position().index;
    let (tree, conf_state) = match &log.snapshot {
        Some(snapshot) => {
            let json = snapshot.data.clone().unwrap_or_default();
            let tree = Tree::parse(&json).map_err(|error| {
                Error(format!(
                    "the snapshot at index {index} holds an unreadable v2 tree: {error}"
                ))
            })?;
            (tree, snapshot.metadata.conf_state.clone())
        }
        None => (Tree::new(), ConfState::default()),
    };
    let cluster_id = log.identity.cluster_id.into();
    let mut replay = Replay::from_snapshot(cluster_id, tree, conf_state)
        .map_err(|error| Error(format!("the snapshot at index {index}: {error}")))?;
    replay.cluster.limit_learners(setup.machine.max_learners);
    Ok(replay)
}

/// Refuses a directory that this release must not be started on: before anything in it
/// is written, so that the release it belongs to goes on with it as it was.
fn refuse_foreign(
    cluster: &Cluster,
    snapshot_index: u64,
    stored: Option<&Stored>,
    db_path: &Path,
) -> Result<(), Error> {
    let held = stored.map_or(0, Stored::consistent_index);
    if held != 0 && held < snapshot_index {
        return Err(Error(format!(
            "{}: holds entries up to {held}, but the log starts at snapshot {snapshot_index}; {WAY_OUT}",
            db_path.display()
        )));
    }
    if cluster.has_too_many_learners() {
        return Err(Error(format!(
            "{}; raise --max-learners",
            membership::conf_change::Rejection::TooManyLearners
        )));
    }
    if cluster.version().is_some() && stored.is_none() {
        return Err(Error(format!(
            "database file ({}) of the backend is missing; {WAY_OUT}",
            db_path.display()
        )));
    }
    Ok(())
}

/// The line to speak on a directory.
fn line_of(
    setup: &Setup,
    log: &Log,
    from: &Replay,
    stored: Option<&Stored>,
) -> Result<Line, Error> {
    let (choice, kept) = (setup.line, setup.line_kept);
    choose_line(choice, kept, &from.cluster, &log.entries, stored)
        .map_err(|error| Error(format!("{}: {error}", setup.data_dir.display())))
}

/// Refuses what does not suit a line, and returns the members that its database has, where they
/// are the authority.
fn suit(
    setup: &Setup,
    line: Line,
    log: &Log,
    from: &Replay,
    stored: Option<&Stored>,
) -> Result<Option<Adopted>, Error> {
    let index = log.snapshot_position().index;
    let adopt = |stored| adopt(line, from, index, &log.entries, stored);
    v2_keys::refuse(line, &setup.machine, from)
        .and_then(|()| stored.map_or(Ok(None), adopt))
        .map_err(|error| Error(format!("{}: {error}", setup.data_dir.display())))
}

/// For `--force-new-cluster`: this member becomes the only one. What has to be written
/// is returned: the directory may yet be refused.
fn force_new_cluster(
    log: &mut Log,
    from: &Replay,
    stored: Option<&Stored>,
) -> Result<Vec<Entry>, Impossible> {
    let commit_before = log.hard_state.commit;
    let forced = Found {
        own: log.identity.member_id,
        snapshot: (log.snapshot_position().index, from.clone()),
        entries: &log.entries,
        hard_state: log.hard_state,
        consistent_index: stored.map_or(0, Stored::consistent_index),
    }
    .force()?;
    let known = log.entries.len();
    log.entries.retain(|entry| entry.index <= forced.kept);
    log.entries.extend_from_slice(&forced.changes);
    log.hard_state.commit = forced.kept + forced.changes.len() as u64;
    tracing::info!(
        "cluster-id" = format!("{:x}", log.identity.cluster_id),
        "local-member-id" = format!("{:x}", log.identity.member_id),
        "wal-commit-index" = commit_before,
        "commit-index" = log.hard_state.commit,
        "number-of-discarded-entries" = known + forced.changes.len() - log.entries.len(),
        "forcing restart member"
    );
    tracing::warn!(
        "local-member-id" = format!("{:x}", log.identity.member_id),
        "--force-new-cluster makes this member the only one of its cluster; take the flag away before the next start, and add the other members anew"
    );
    Ok(forced.changes)
}

/// Refuses a log with an entry that must not be applied, before the others in it are, as far as
/// entries, and the alarms before them, tell. What is not committed may yet be taken back.
fn refuse_entries(
    setup: &Setup,
    line: Line,
    log: &Log,
    stored: Option<&Stored>,
) -> Result<(), Error> {
    let held = stored.map_or(0, Stored::consistent_index);
    let mut alarms = stored.map_or_else(Alarms::default, |stored| stored.alarms().clone());
    let is_committed = |entry: &&Entry| entry.index <= log.hard_state.commit;
    for entry in log.entries.iter().filter(is_committed) {
        let fresh = entry.index > held;
        let judged = membership::entry::judge(entry, fresh, line).and_then(|payload| match payload
            .filter(|_| fresh)
        {
            Some(payload) => follow_alarm(&mut alarms, &payload, line),
            None => Ok(()),
        });
        judged.map_err(|refusal| {
            Error(format!(
                "{}: entry {} of the log cannot be applied: {refusal}; {}",
                setup.dirs.wal.display(),
                entry.index,
                Refusal::ADVICE
            ))
        })?;
    }
    Ok(())
}

/// Whether an alarm ends members depends on those that are raised already.
fn follow_alarm(alarms: &mut Alarms, payload: &Payload, line: Line) -> Result<(), Refusal> {
    let Payload::Internal(request) = payload else {
        return Ok(());
    };
    if let Some(Op::Alarm(alarm)) = &request.op {
        if alarms.ends_members(alarm, line) {
            return Err(Refusal::Invalid("kind of alarm"));
        }
        alarms.change(alarm);
    }
    Ok(())
}

/// Removes what a process that died has left: files that were being written, and
/// received databases. Whatever of these was needed is in place by now.
fn tidy(log: &Log) -> Result<(), wal::Error> {
    for file in log.snapshotter.remove_leftovers()? {
        tracing::info!(path = %file.display(), "removed an unfinished file");
    }
    for file in log.snapshotter.release_snap_dbs(u64::MAX)? {
        tracing::info!(path = %file.display(), "found orphaned .snap.db file; deleting");
    }
    Ok(())
}

/// What a directory holds.
struct Opened {
    /// The line that the member speaks.
    line: Line,
    log: Log,
    /// The membership as of the snapshot.
    from: Replay,
    /// The membership as of the database, where its buckets are the authority.
    adopted: Option<Adopted>,
    database: Database,
    v2_keys_dropped: bool,
}

/// Puts the parts together.
fn assemble(setup: &Setup, files: Arc<dyn Files>, opened: Opened) -> Result<Parts, Error> {
    let Opened {
        line,
        log,
        from,
        adopted,
        database,
        v2_keys_dropped,
    } = opened;
    let at = log.snapshot_position();
    let Replay {
        mut cluster,
        tree,
        conf_state,
        ..
    } = from;
    // Only the database knows of a downgrade.
    cluster.recover_downgrade(&database.membership);
    let mut node = Node::new(
        consensus::Config {
            id: log.identity.member_id,
            ..setup.consensus.clone()
        },
        Initial {
            hard_state: log.hard_state,
            conf_state: conf_state.clone(),
            snapshot: at,
            entries: log.entries,
            applied: at.index,
        },
    )
    .map_err(|error| Error(format!("cannot start consensus: {error}")))?;
    if at.index > 0 {
        // Whoever is behind the log gets the state of the moment it is sent.
        node.create_snapshot(placeholder(SnapshotMetadata {
            conf_state: conf_state.clone(),
            index: at.index,
            term: at.term,
        }));
    }
    let adopted = adopted.map(|adopted| adopted.cluster);
    let known = adopted.as_ref().unwrap_or(&cluster);
    let members = known.members().cloned().collect();
    let state = Arc::new(State::new(
        line,
        database.store,
        database.lessor,
        database.alarms,
        (database.auth, setup.tokens.clone()),
        known.clone(),
        at.index,
    ));
    let is_in_change = matches!(setup.line_kept, Kept::Change(_));
    state.spoken.set_in_change(is_in_change);
    let seed = Seed {
        applied: at,
        consistent_index: database.consistent_index,
        cluster,
        adopted,
        storage_version: database.membership.storage_version,
        tree,
        conf_state,
        judged: database.membership.conf_state,
        snapshot_index: at.index,
        blocks_newer_release: v2_keys_dropped,
        highest: setup.line.highest(line),
    };
    let options = setup.machine.clone();
    Ok(Parts {
        identity: log.identity,
        node,
        log: LogWriter::new(log.wal, log.snapshotter),
        machine: Machine::new(log.identity, options, files, state.clone(), seed),
        state,
        hard_state: log.hard_state,
        consistent_index: database.consistent_index,
        members,
        disagreements: None,
    })
}
