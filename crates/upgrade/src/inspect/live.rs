//! Asks a running member: what it answers, and its own database, streamed into a
//! temporary file that is deleted when the check is over.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use cli::private;
use client::Client;
use membership::cluster::{ClusterId, Member, MemberId};
use proto::etcdserverpb as api;
use semver::Version;
use sha2::{Digest as _, Sha256};

use super::{
    access::{Access, unreachable},
    database,
    database::alarm_name,
    error::Error,
    pages::{self, tls_trouble},
};
use crate::{
    facts::{Facts, Hash, Live},
    progress,
};

/// The checksum at the end of a streamed snapshot.
const TRAILER: usize = 32;
/// A database may grow while it is streamed.
const GROWTH: f64 = 1.25;
/// A small one may grow by far more than that under load.
const SMALL_BYTES: i64 = 16 << 20;

/// The same error, or what is wrong with TLS where that is why nothing answers.
async fn diagnosed(access: &Access, endpoint: &str, error: Error) -> Error {
    if !matches!(error, Error::Unreachable { .. }) {
        return error;
    }
    match tls_trouble(access, endpoint).await {
        Some(why) => Error::Refused {
            endpoint: endpoint.into(),
            why,
        },
        None => error,
    }
}

/// Asks the member at `endpoint` for everything but hashes.
///
/// # Errors
/// It does not answer.
pub async fn live(access: &Access, endpoint: &str) -> Result<Facts, Error> {
    let (client, status) = match access.greet(endpoint).await {
        Ok(greeted) => greeted,
        Err(error) => return Err(diagnosed(access, endpoint, error).await),
    };
    let header = status.header.unwrap_or_default();
    let mut facts = Facts {
        label: endpoint.to_owned(),
        id: Some(MemberId(header.member_id)),
        cluster: Some(ClusterId(header.cluster_id)),
        ..Facts::default()
    };
    let mut live = Live {
        endpoint: endpoint.to_owned(),
        version: Version::parse(&status.version).ok(),
        leader: status.leader,
        term: status.raft_term,
        raft_index: status.raft_index,
        applied: status.raft_applied_index,
        revision: header.revision,
        downgrade: status
            .downgrade_info
            .as_ref()
            .filter(|info| info.enabled)
            .and_then(|info| Version::parse(&info.target_version).ok()),
        db_size: status.db_size,
        db_in_use: status.db_size_in_use,
        quota: status.db_size_quota,
        is_learner: status.is_learner,
        errors: status.errors.clone(),
        storage_version: status.storage_version.clone(),
        metrics: BTreeMap::new(),
        ..Live::default()
    };
    if status.leader == 0 {
        // What the cluster must agree on would only be waited for.
        facts
            .unread
            .push(format!("the member list of {endpoint}: it knows no leader"));
    } else if !status.is_learner {
        ask_voter(&client, endpoint, &mut live, &mut facts.unread).await;
    }
    if let Some(own) = live.members.iter().find(|m| m.id.0 == header.member_id)
        && !own.name.is_empty()
    {
        facts.label = own.name.clone();
    }
    if access.scratch.is_some() {
        let own = live.members.iter().find(|m| m.id.0 == header.member_id);
        let peer_urls = own.map(|m| m.peer_urls.clone()).unwrap_or_default();
        pages::fill(access, endpoint, &peer_urls, &mut live).await;
    }
    facts.live = Some(live);
    if let Some(scratch) = &access.scratch {
        let path = scratch.join(format!("{:x}.db", header.member_id));
        let wanted = (status.db_size.max(SMALL_BYTES) as f64 * GROWTH) as u64;
        let outcome = match stream(&client, endpoint, &path, wanted, access.stream_rate).await {
            Ok(_) => database(&path, access.pages),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(mut found) => {
                if access.hash_at > 0
                    && let Some(live) = &mut facts.live
                {
                    // One that was compacted meanwhile is asked for its hash instead.
                    let hash = utl::hash_kv(&path, access.hash_at).ok();
                    live.hash = hash.map(|hash| Hash {
                        revision: access.hash_at,
                        hash,
                        compacted: found.compacted,
                    });
                }
                found.path = PathBuf::from(format!("database of {}", facts.label));
                let live = facts.live.as_mut().filter(|l| l.cluster_version.is_none());
                if let Some(live) = live {
                    live.cluster_version = found.members.cluster_version.clone();
                }
                facts.database = Some(found);
            }
            Err(error) => facts.unread.push(format!("the database: {error}")),
        }
        let _ = std::fs::remove_file(&path);
    }
    Ok(facts)
}

/// What a learner answers no one: members and alarms. Never whether auth is on: 3.5 answers
/// that by an entry in the log, on which every member of 3.4 next to it panics. The
/// databases say it.
async fn ask_voter(client: &Client, endpoint: &str, live: &mut Live, unread: &mut Vec<String>) {
    let list = api::MemberListRequest { linearizable: true };
    match client.member_list(list).await {
        Ok(answer) => {
            live.members = answer.members.into_iter().map(member).collect();
            live.members.sort_by_key(|m| m.id);
        }
        Err(error) => unread.push(format!("the member list of {endpoint}: {error}")),
    }
    let get = api::AlarmRequest {
        action: api::alarm_request::AlarmAction::Get.into(),
        ..Default::default()
    };
    match client.alarm(get).await {
        Ok(answer) => {
            live.alarms = answer
                .alarms
                .iter()
                .map(|a| (MemberId(a.member_id), alarm_name(a.alarm)))
                .collect();
        }
        Err(error) => unread.push(format!("the alarms of {endpoint}: {error}")),
    }
}

/// Asks for the status of all members once more, one right after the other: the
/// databases between the first answers took their time, in which a loaded cluster
/// has moved on. Who does not answer now is told by its old answer.
pub async fn moments(access: &Access, members: &mut [Facts]) {
    let mut clients = Vec::new();
    for facts in members.iter() {
        clients.push(match &facts.live {
            Some(live) => access.client(&live.endpoint).await.ok(),
            None => None,
        });
    }
    for (facts, client) in members.iter_mut().zip(clients) {
        let (Some(live), Some(client)) = (&mut facts.live, client) else {
            continue;
        };
        if let Ok(status) = client.status(api::StatusRequest {}).await {
            live.leader = status.leader;
            live.term = status.raft_term;
            live.raft_index = status.raft_index;
            live.applied = status.raft_applied_index;
        }
    }
}

/// Streams the database of a member into `path`, at most `size_max` bytes, checks
/// its SHA-256 and returns that. The file ends without the checksum, and nothing makes
/// it durable: most are deleted soon, and a sync would hold up those of a member beside.
///
/// # Errors
/// The stream broke off, is too long, or does not fit its checksum.
pub(crate) async fn stream(
    client: &Client,
    endpoint: &str,
    path: &Path,
    size_max: u64,
    rate: u64,
) -> Result<[u8; TRAILER], Error> {
    let failed = |why: String| Error::Unreachable {
        endpoint: endpoint.into(),
        why,
    };
    let io = |source| Error::Io {
        path: path.into(),
        source,
    };
    let mut stream = client
        .snapshot()
        .await
        .map_err(|e| unreachable(endpoint, &e))?;
    let mut file = private::create(path).map_err(io)?;
    let mut hash = Sha256::new();
    // The last bytes seen may be the checksum.
    let mut tail: Vec<u8> = Vec::new();
    let mut written = 0u64;
    let expected = (size_max as f64 / GROWTH) as u64;
    let bar = progress::bytes(&format!("database of {endpoint}"), expected);
    let began = std::time::Instant::now();
    while let Some(answer) = stream.message().await.map_err(|e| failed(e.to_string()))? {
        tail.extend_from_slice(&answer.blob);
        let ready = tail.len().saturating_sub(TRAILER);
        written += ready as u64;
        if written > size_max {
            return Err(failed(format!(
                "the snapshot is larger than the {size_max} bytes that the status announced"
            )));
        }
        hash.update(&tail[..ready]);
        file.write_all(&tail[..ready]).map_err(io)?;
        tail.drain(..ready);
        bar.set_position(written);
        // A cluster under load should not feel that it is looked at.
        if rate > 0 {
            let due = Duration::from_secs_f64(written as f64 / rate as f64);
            let early = due.saturating_sub(began.elapsed());
            if !early.is_zero() {
                tokio::time::sleep(early).await;
            }
        }
    }
    bar.finish_and_clear();
    let digest = hash.finalize();
    if tail.len() != TRAILER || tail[..] != digest[..] {
        return Err(failed(
            "the snapshot stream does not fit its SHA-256: it broke off or was damaged".into(),
        ));
    }
    Ok(digest.into())
}

/// What each of some linearizable reads of `key` takes.
///
/// # Errors
/// One failed.
pub(crate) async fn read(
    access: &Access,
    endpoint: &str,
    key: &'static [u8],
    times: u32,
) -> Result<Duration, Error> {
    let client = access.client(endpoint).await?;
    let began = std::time::Instant::now();
    for _ in 0..times {
        let request = api::RangeRequest {
            key: key.into(),
            ..Default::default()
        };
        let answer = client.range(request).await;
        answer.map_err(|e| unreachable(endpoint, &e))?;
    }
    Ok(began.elapsed() / times.max(1))
}

/// The hash of all keys up to `revision`.
///
/// # Errors
/// The member does not answer, or has compacted that revision.
pub async fn hash(access: &Access, endpoint: &str, revision: i64) -> Result<Hash, Error> {
    let client = access.client(endpoint).await?;
    let answer = client
        .hash_kv(api::HashKvRequest { revision })
        .await
        .map_err(|e| unreachable(endpoint, &e))?;
    Ok(Hash {
        revision,
        hash: answer.hash,
        compacted: answer.compact_revision,
    })
}

fn member(member: api::Member) -> Member {
    let mut member = Member {
        id: MemberId(member.id),
        peer_urls: member.peer_ur_ls,
        is_learner: member.is_learner,
        name: member.name,
        client_urls: member.client_ur_ls,
    };
    member.peer_urls.sort();
    member
}
