//! Everything a client can learn of a store, so that two servers (or one
//! directory under two servers) can be compared. It must never contain what
//! two correct servers may differ in: times left, sizes, addresses.

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use proto::{
    etcdserverpb::*,
    mvccpb::{Event, KeyValue},
};

use crate::{api::Api, streams::Stream};

const SAMPLES_MAX: i64 = 12;

/// The state of a store as its API shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fingerprint {
    /// Cluster and member id of the answering member.
    pub ids: (u64, u64),
    /// Current revision.
    pub revision: i64,
    /// Compacted revision, -1 when never compacted.
    pub compact_revision: i64,
    /// Every key now.
    pub keys: Vec<KeyValue>,
    /// Every key at sampled revisions.
    pub history: Vec<(i64, Vec<KeyValue>)>,
    /// Every event since the compaction.
    pub events: Vec<Event>,
    /// Leases by id: granted seconds, attached keys sorted.
    pub leases: Vec<(i64, i64, Vec<Bytes>)>,
    /// Alarms as (member, type), sorted.
    pub alarms: Vec<(u64, i32)>,
    /// HashKV at sampled revisions above the compaction.
    pub hashes: Vec<(i64, u32)>,
    /// Members with ids, names, URLs.
    pub members: Vec<Member>,
}

/// Where raft stands. It only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Committed index.
    pub index: u64,
    /// Term.
    pub term: u64,
}

impl Position {
    /// Asks a server.
    pub async fn of(api: &Api) -> Result<Position> {
        let status = api.status(StatusRequest {}).await?;
        ensure!(
            status.raft_applied_index <= status.raft_index,
            "applied {} is ahead of committed {}",
            status.raft_applied_index,
            status.raft_index
        );
        Ok(Position {
            index: status.raft_index,
            term: status.raft_term,
        })
    }

    /// An error unless `later` is a place raft can come to from here by a restart:
    /// a restart elects anew, so the term grows too.
    pub fn precedes(self, later: Position) -> Result<()> {
        ensure!(
            self.index < later.index && self.term < later.term,
            "raft went from {self:?} to {later:?}: both must grow over a restart"
        );
        Ok(())
    }
}

impl Fingerprint {
    /// Asks a server for everything.
    pub async fn of(api: &Api) -> Result<Fingerprint> {
        let now = api.everything(0).await.context("range over everything")?;
        let header = now.header.context("no header")?;
        let revision = header.revision;
        ensure!(
            now.count as usize == now.kvs.len() && !now.more,
            "count or more is wrong"
        );
        let compact_revision = compact_revision(api, revision).await?;
        let first = compact_revision.max(0) + 1;

        let mut history = Vec::new();
        let mut hashes = Vec::new();
        for at in samples(first, revision) {
            history.push((at, api.everything(at).await?.kvs));
            let answer = api.hash_kv(HashKvRequest { revision: at }).await?;
            // On an empty store only: the remembered hash of a compaction, as below.
            if at == 1 {
                continue;
            }
            ensure!(
                answer.compact_revision == compact_revision,
                "HashKV({at}) names compact revision {}, the current revision {compact_revision}",
                answer.compact_revision
            );
            hashes.push((at, answer.hash));
        }
        if compact_revision > 0 {
            history.push((
                compact_revision,
                api.everything(compact_revision).await?.kvs,
            ));
        }
        Ok(Fingerprint {
            ids: (header.cluster_id, header.member_id),
            revision,
            compact_revision,
            keys: now.kvs,
            history,
            events: events(api, first, revision)
                .await
                .context("history by watch")?,
            leases: leases(api).await.context("leases")?,
            alarms: alarms(api).await.context("alarms")?,
            hashes,
            members: api
                .member_list(MemberListRequest { linearizable: true })
                .await?
                .members,
        })
    }

    /// An error that names the first part in which `other` differs.
    pub fn same_as(&self, other: &Fingerprint) -> Result<()> {
        macro_rules! part {
            ($field:ident) => {
                if self.$field != other.$field {
                    bail!(
                        "fingerprints differ in {}:\n  {}\nversus\n  {}",
                        stringify!($field),
                        shorten(
                            &format!("{:?}", self.$field),
                            &format!("{:?}", other.$field)
                        ),
                        shorten(
                            &format!("{:?}", other.$field),
                            &format!("{:?}", self.$field)
                        ),
                    );
                }
            };
        }
        part!(revision);
        part!(compact_revision);
        part!(ids);
        part!(members);
        part!(keys);
        part!(leases);
        part!(alarms);
        part!(events);
        part!(history);
        part!(hashes);
        Ok(())
    }
}

/// HashKV names the compacted revision, except for the compacted revision
/// itself: its hash was remembered by the compaction, with the one before. When
/// nothing was written since, only a read tells. (Revision 0 is not asked for:
/// after a compaction at 0, real etcd remembers that one under the number 0.)
async fn compact_revision(api: &Api, revision: i64) -> Result<i64> {
    let named = api
        .hash_kv(HashKvRequest { revision: 0 })
        .await?
        .compact_revision;
    if named < revision && revision > 1 {
        let read = RangeRequest {
            revision: revision - 1,
            limit: 1,
            ..crate::api::all()
        };
        match api.range(read).await {
            Err(status) if status.code() == tonic::Code::OutOfRange => return Ok(revision),
            other => other?,
        };
    }
    Ok(named)
}

/// The part of `text` around the first place where it leaves `other`.
pub(crate) fn shorten(text: &str, other: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = chars
        .iter()
        .zip(other.chars())
        .position(|(a, b)| *a != b)
        .unwrap_or(chars.len());
    if chars.len() <= 1500 {
        return text.to_owned();
    }
    let from = at.saturating_sub(600);
    let to = (at + 600).min(chars.len());
    format!("..{}..", chars[from..to].iter().collect::<String>())
}

fn samples(first: i64, last: i64) -> Vec<i64> {
    let span = last - first;
    if span < 0 {
        return Vec::new();
    }
    let steps = span.clamp(1, SAMPLES_MAX - 1);
    let mut at: Vec<i64> = (0..=steps).map(|i| first + span * i / steps).collect();
    at.dedup();
    at
}

/// Every event of the revisions `first..=last`, in order.
pub async fn events(api: &Api, first: i64, last: i64) -> Result<Vec<Event>> {
    // Revision 1 is the empty store: it has no event.
    let first = first.max(2);
    if first > last {
        return Ok(Vec::new());
    }
    let mut stream = Stream::open(api);
    stream
        .create(WatchCreateRequest {
            key: Bytes::from_static(b"\0"),
            range_end: Bytes::from_static(b"\0"),
            start_revision: first,
            ..Default::default()
        })
        .await?;
    let mut found: Vec<Event> = Vec::new();
    loop {
        let answer = stream.next().await?;
        ensure!(
            !answer.canceled,
            "watch from {first} was canceled: {answer:?}"
        );
        found.extend(answer.events);
        let seen = found
            .last()
            .and_then(|e| e.kv.as_ref())
            .map_or(0, |kv| kv.mod_revision);
        if seen >= last {
            return Ok(found);
        }
    }
}

async fn leases(api: &Api) -> Result<Vec<(i64, i64, Vec<Bytes>)>> {
    let mut found = Vec::new();
    for lease in api.lease_leases(LeaseLeasesRequest {}).await?.leases {
        let answer = api
            .lease_time_to_live(LeaseTimeToLiveRequest {
                id: lease.id,
                keys: true,
            })
            .await?;
        let mut keys = answer.keys;
        keys.sort();
        found.push((lease.id, answer.granted_ttl, keys));
    }
    found.sort();
    Ok(found)
}

async fn alarms(api: &Api) -> Result<Vec<(u64, i32)>> {
    let answer = api.alarm(AlarmRequest::default()).await?;
    let mut found: Vec<_> = answer
        .alarms
        .iter()
        .map(|a| (a.member_id, a.alarm))
        .collect();
    found.sort();
    Ok(found)
}
