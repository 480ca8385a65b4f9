//! The Maintenance service: alarms through the log, everything
//! else from this member's own state.

use std::{
    io::Read as _,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Instant,
};

use bytes::{Bytes, BytesMut};
use line::Feature;
use member::Outcome;
use proto::etcdserverpb::{
    AlarmRequest, AlarmResponse, DefragmentResponse, DowngradeInfo, HashKvRequest, HashKvResponse,
    HashResponse, SnapshotResponse, StatusResponse, alarm_request::AlarmAction,
    internal_raft_request::Op,
};
use sha2::{Digest as _, Sha256};

use super::{caller::Caller, health};
use crate::{
    core::Core,
    logging::human_bytes,
    metrics::Metrics,
    rpc::{Source, append_message, frame_message},
    runtime::{Runtime, blocking},
    status::{Code, Status},
    submit::mixed_up,
};

/// `Maintenance.Alarm`
pub async fn alarm(
    rt: &Rc<Runtime>,
    caller: &Caller,
    request: AlarmRequest,
) -> Result<Bytes, Status> {
    let action = AlarmAction::try_from(request.action);
    let passed = match action {
        Ok(AlarmAction::Get) => caller.require_user(rt).await,
        _ => caller.require_root(rt).await,
    };
    passed?;
    // etcd raises whatever it is asked to, and 3.5 ends where it does not know the kind.
    if membership::entry::raises_unknown_alarm(&request) && !rt.core.state.takes_any_alarm() {
        return Err(Status::fixed(
            Code::InvalidArgument,
            "etcdserver: unknown alarm",
        ));
    }
    let who = caller.identity(rt).await?;
    let mut response = match action {
        // Reading the list goes through the log as well, so it is ordered with changes.
        Ok(_) => match rt.submit(who, Op::Alarm(request)).await? {
            Outcome::Alarm(response) => response,
            _ => return Err(mixed_up()),
        },
        Err(_) => AlarmResponse {
            header: Some(rt.core.header(rt.core.store().revision())),
            ..AlarmResponse::default()
        },
    };
    rt.core.complete_header(&mut response.header);
    Ok(frame_message(&response))
}

/// `Maintenance.Status`
pub fn status(rt: &Rc<Runtime>) -> Bytes {
    let core = &rt.core;
    let raft = &core.raft.status;
    let leader = core.leader();
    let mut errors = Vec::new();
    if leader == 0 {
        errors.push("etcdserver: no leader".to_owned());
    }
    for alarm in core.state.alarms.read().all() {
        errors.push(member::alarms::text(&alarm));
    }
    let mut response = StatusResponse {
        header: Some(core.header(core.store().revision())),
        version: core.line().release().to_owned(),
        db_size: core.backend().size() as i64,
        leader,
        raft_index: raft.commit.load(Ordering::Acquire),
        raft_term: raft.term.load(Ordering::Acquire),
        raft_applied_index: core.state.applied.load(Ordering::Acquire),
        errors,
        db_size_in_use: core.backend().size_in_use() as i64,
        is_learner: core
            .state
            .cluster
            .load()
            .member(core.member_id)
            .is_some_and(|m| m.is_learner),
        ..StatusResponse::default()
    };
    if core.line().has(Feature::StatusOfStorage) {
        response.storage_version = core.state.storage_version.load().to_string();
        response.db_size_quota = quota_shown(core);
        response.downgrade_info = Some(downgrade_info(core));
    }
    frame_message(&response)
}

/// The quota as etcd says it, also where there is none.
fn quota_shown(core: &Core) -> i64 {
    let quota = core.config.quota_backend_bytes;
    quota.map_or(0, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX))
}

fn downgrade_info(core: &Core) -> DowngradeInfo {
    let cluster = core.state.cluster.load();
    let target = cluster.downgrade();
    DowngradeInfo {
        enabled: target.is_some(),
        target_version: target.unwrap_or_default().to_owned(),
    }
}

/// `Maintenance.Defragment`
pub async fn defragment(rt: &Rc<Runtime>) -> Result<Bytes, Status> {
    tracing::info!("starting defragment");
    let _pause = health::Pause::begin(&rt.core);
    let (backend, metrics) = (rt.core.backend(), rt.core.metrics.clone());
    let work = move || {
        metrics.defrag_inflight.set(1);
        let begin = Instant::now();
        let result = backend.defrag();
        metrics
            .defrag_duration_seconds
            .observe(begin.elapsed().as_secs_f64());
        metrics.defrag_inflight.set(0);
        result
    };
    blocking(work).await?.map_err(|error| {
        tracing::warn!(error = %error, "failed to defragment");
        Status::new(Code::Unknown, error.to_string())
    })?;
    tracing::info!("finished defragment");
    Ok(frame_message(&DefragmentResponse { header: None }))
}

/// `Maintenance.Hash`
pub async fn hash(rt: &Rc<Runtime>) -> Result<Bytes, Status> {
    let store = rt.core.state.store.load_full();
    let begin = Instant::now();
    let hash = blocking(move || store.hash()).await??;
    rt.core
        .metrics
        .hash_duration_seconds
        .observe(begin.elapsed().as_secs_f64());
    Ok(frame_message(&HashResponse {
        header: Some(rt.core.header(rt.core.store().revision())),
        hash,
    }))
}

/// `Maintenance.HashKV`
pub async fn hash_kv(rt: &Rc<Runtime>, request: HashKvRequest) -> Result<Bytes, Status> {
    let hash = hash_of(rt, request.revision).await?;
    Ok(frame_message(&HashKvResponse {
        header: Some(rt.core.header(hash.current_revision)),
        hash: hash.hash,
        compact_revision: hash.compact_revision,
        hash_revision: hash_revision(&rt.core, &hash).unwrap_or(0),
    }))
}

/// The revision that a hash is of, for a line whose answers say so.
pub fn hash_revision(core: &Core, hash: &mvcc::HashKv) -> Option<i64> {
    core.line()
        .has(Feature::HashRevision)
        .then_some(hash.revision)
}

/// The hash of everything up to `revision`, 0 for now, made on a thread of its own.
///
/// # Errors
/// Compacted, or in the future.
pub async fn hash_of(rt: &Rc<Runtime>, revision: i64) -> Result<mvcc::HashKv, Status> {
    let store = rt.core.state.store.load_full();
    let begin = Instant::now();
    let hash = blocking(move || store.hash_kv(revision)).await??;
    rt.core
        .metrics
        .hash_rev_duration_seconds
        .observe(begin.elapsed().as_secs_f64());
    Ok(hash)
}

/// Bytes of the database in one message of a snapshot stream.
const SNAPSHOT_CHUNK: usize = 32 * 1024;

/// `Maintenance.Snapshot`: the database as of now, then its SHA-256.
pub async fn snapshot(rt: &Rc<Runtime>) -> Result<Box<dyn Source>, Status> {
    let backend = rt.core.backend();
    let view = blocking(move || backend.snapshot())
        .await?
        .map_err(|error| Status::new(Code::Unknown, error.to_string()))?;
    let total = view.size();
    tracing::info!("total-bytes" = total, size = %human_bytes(total), "sending database snapshot to client");
    Ok(Box::new(SnapshotSource {
        image: view.image(),
        remaining: total,
        total,
        digest: Some(Sha256::new()),
        version: snapshot_version(&rt.core),
        metrics: rt.core.metrics.clone(),
        begin: Instant::now(),
    }))
}

/// What each message says of the database's schema.
fn snapshot_version(core: &Core) -> String {
    if core.line().has(Feature::SnapshotVersion) {
        core.state.storage_version.load().to_string()
    } else {
        String::new()
    }
}

struct SnapshotSource {
    version: String,
    image: bolt::ImageReader,
    remaining: u64,
    total: u64,
    /// Taken when the digest itself has been sent.
    digest: Option<Sha256>,
    metrics: Arc<Metrics>,
    begin: Instant,
}

impl Source for SnapshotSource {
    fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        let Some(digest) = &mut self.digest else {
            return Poll::Ready(None);
        };
        let mut response = SnapshotResponse {
            version: self.version.clone(),
            ..SnapshotResponse::default()
        };
        if self.remaining == 0 {
            response.blob = Bytes::copy_from_slice(&std::mem::take(digest).finalize());
            self.digest = None;
            self.metrics
                .snapshot_duration_seconds
                .observe(self.begin.elapsed().as_secs_f64());
            tracing::info!(
                "total-bytes" = self.total,
                "successfully sent database snapshot to client"
            );
        } else {
            let mut chunk = BytesMut::zeroed(SNAPSHOT_CHUNK.min(self.remaining as usize));
            if let Err(error) = self.image.read_exact(&mut chunk) {
                self.digest = None;
                return Poll::Ready(Some(Err(Status::new(Code::Unknown, error.to_string()))));
            }
            self.remaining -= chunk.len() as u64;
            digest.update(&chunk);
            response.blob = chunk.freeze();
            response.remaining_bytes = self.remaining;
        }
        let mut out = BytesMut::new();
        append_message(&response, &mut out);
        Poll::Ready(Some(Ok(out.freeze())))
    }
}
