//! The version of the cluster: what its members run, what they agree on, and in
//! which words they are told. The leader asks every member and decides; nobody
//! raises it above the oldest member.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::Method;
use line::OwnEntries;
use membership::{Cluster, Member};
use prost::Message as _;
use proto::{
    etcdserverpb::{Request, internal_raft_request::Op},
    membershippb::{
        Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
    },
    pintlepb::LineOrder,
};
use semver::Version;
use tokio::time::sleep;

use crate::{ask, lines::survey, runtime::Runtime, status::Status, version::Versions};

/// Starts the leader's watch over versions; it sleeps while another one leads.
pub fn start(rt: &Rc<Runtime>) {
    tokio::task::spawn_local(watch(rt.clone()));
}

/// How often the members are asked, and how often it is looked whether this one
/// has come to lead.
const PERIOD: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(20);
/// While the line changes it is the versions that are waited for.
const IN_CHANGE: Duration = Duration::from_millis(200);

async fn watch(rt: Rc<Runtime>) {
    let core = &rt.core;
    let mut asked: Option<(u64, tokio::time::Instant)> = None;
    loop {
        sleep(POLL).await;
        let term = core.raft.status.term.load(Ordering::Acquire);
        let period = match core.state.cluster.load().downgrade() {
            _ if core.line_kept.change().is_some() => IN_CHANGE,
            Some(_) => core.config.downgrade_check_time,
            None => PERIOD,
        };
        let due = asked.is_none_or(|(t, at)| t != term || at.elapsed() >= period);
        if !due || !core.state.lessor.read().is_primary() {
            continue;
        }
        asked = Some((term, tokio::time::Instant::now()));
        if let Err(error) = decide(&rt).await {
            tracing::warn!(error = %error, "failed to update cluster version");
        }
    }
}

/// The version of every member; `None` for one that does not answer.
async fn ask_all(rt: &Rc<Runtime>, cluster: &Cluster) -> Vec<(Member, Option<Version>)> {
    let questions = cluster.members().cloned().map(|member| async move {
        if member.id.0 == rt.core.member_id {
            return (member, Some(rt.core.line().release_version()));
        }
        let reply = ask::member(rt, &member, Method::GET, "/version", Bytes::new()).await;
        let version = reply
            .ok()
            .and_then(|reply| Some(Versions::parse(&reply.body)?.server));
        if let (Some(peers), Some(version)) = (rt.core.raft.peers(), &version) {
            peers.learned(member.id.0, version.clone());
        }
        (member, version)
    });
    futures_util::future::join_all(questions).await
}

async fn decide(rt: &Rc<Runtime>) -> Result<(), Status> {
    let (cluster, versions) = loop {
        let cluster = rt.core.state.cluster.load_full();
        let versions = ask_all(rt, &cluster).await;
        if is_asked_about(&cluster, &rt.core.state.cluster.load()) {
            break (cluster, versions);
        }
    };
    if let Some(target) = cluster.downgrade() {
        return follow_downgrade(rt, &cluster, target, &versions).await;
    }
    let lowest = lowest(&versions);
    match (cluster.version(), lowest) {
        // An undecided cluster that cannot be asked starts from the beginning.
        (None, lowest) => set(rt, &lowest.unwrap_or(line::MIN_CLUSTER_VERSION)).await,
        (Some(current), Some(lowest)) if *current < lowest => {
            tracing::info!("cluster-version" = %lowest, from = %current, "updating cluster version");
            set(rt, &lowest).await
        }
        _ => Ok(()),
    }
}

/// Whether the cluster is still the one whose members were asked: they may have taken seconds to
/// answer.
fn is_asked_about(asked: &Cluster, now: &Cluster) -> bool {
    let members = |cluster: &Cluster| cluster.members().map(|m| m.id).collect::<Vec<_>>();
    asked.version() == now.version()
        && asked.downgrade() == now.downgrade()
        && members(asked) == members(now)
}

/// The line of the oldest member; `None` if one of them does not say.
fn lowest(versions: &[(Member, Option<Version>)]) -> Option<Version> {
    let versions = versions.iter().map(|(_, version)| version.as_ref());
    let all: Vec<_> = versions.collect::<Option<_>>()?;
    all.into_iter().min().map(line::trimmed)
}

/// A downgrade is over when the cluster version is down and every member runs
/// the old release.
///
/// Members of 3.6 and later wait for the lower version: it brings the schema down, after which
/// the old release can start. Before, the cluster version moves once every other member runs the
/// old release: one that still runs its own ends for good when it reads the lower version.
async fn follow_downgrade(
    rt: &Rc<Runtime>,
    cluster: &Cluster,
    target: &str,
    versions: &[(Member, Option<Version>)],
) -> Result<(), Status> {
    let Ok(target) = Version::parse(target) else {
        return Ok(());
    };
    let runs_target = |version: &Option<Version>| {
        let version = version.as_ref();
        version.is_some_and(|v| line::is_same_minor(v, &target))
    };
    if cluster.version().is_some_and(|current| *current > target) {
        let may_lower = if rt.core.line().facts().lowers_at_once {
            let above = |version: Option<&Version>| version.and_then(line::below);
            let target = Some(&target);
            above(cluster.version()).as_ref() == target
                && above(lowest(versions).as_ref()).as_ref() == target
        } else {
            let mut others = versions
                .iter()
                .filter(|(member, _)| member.id.0 != rt.core.member_id);
            others.all(|(_, version)| runs_target(version))
        };
        if may_lower && is_together(rt, &target).await {
            // It may have been cancelled while the members were asked.
            if is_asked_about(cluster, &rt.core.state.cluster.load()) {
                set(rt, &target).await?;
            }
        }
        return Ok(());
    }
    if versions.iter().all(|(_, version)| runs_target(version)) {
        let request = DowngradeInfoSetRequest {
            enabled: false,
            ver: String::new(),
        };
        rt.submit_again(Op::DowngradeInfoSet(request)).await?;
        tracing::info!("cluster-version" = %target, "the cluster has been downgraded");
    }
    Ok(())
}

/// Whether the members that change their line do so together: what entries do depends on it from
/// the one that lowers the version on.
async fn is_together(rt: &Rc<Runtime>, target: &Version) -> bool {
    let survey = survey::all(rt, &LineOrder::default()).await;
    survey.is_together(rt.core.line_kept.change(), target)
}

/// Sets the cluster version.
async fn set(rt: &Rc<Runtime>, version: &Version) -> Result<(), Status> {
    let text = version.to_string();
    match rt.core.line().facts().own_entries {
        OwnEntries::V2Requests => {
            tracing::info!(
                "cluster-version" = text,
                "setting up cluster version using v2 API"
            );
            put(rt, "/0/version".to_owned(), text).await
        }
        OwnEntries::V3Requests => {
            tracing::info!(
                "cluster-version" = text,
                "setting up cluster version using v3 API"
            );
            let op = Op::ClusterVersionSet(ClusterVersionSetRequest { ver: text });
            rt.submit_again(op).await.map(drop)
        }
    }
}

/// Makes a member's name and client URLs known.
///
/// # Errors
/// No leader, or no time left.
pub async fn publish(rt: &Rc<Runtime>, attributes: &Attributes) -> Result<(), Status> {
    match rt.core.line().facts().own_entries {
        OwnEntries::V2Requests => {
            let (name, urls) = (&attributes.name, &attributes.client_urls);
            let path = format!("/0/members/{:x}/attributes", rt.core.member_id);
            put(rt, path, membership::v2store::attributes_json(name, urls)).await
        }
        OwnEntries::V3Requests => {
            let op = Op::ClusterMemberAttrSet(ClusterMemberAttrSetRequest {
                member_id: rt.core.member_id,
                member_attributes: Some(attributes.clone()),
            });
            rt.submit_again(op).await.map(drop)
        }
    }
}

/// A request of the v2 API, which is in the log by itself. Every release up to 3.5 speaks
/// of its membership in these words; the later ones for it end 3.4, which may read this log as
/// a member today, or as what is started on this directory tomorrow, whatever the cluster
/// version is now. For 3.7, which cannot read these, a snapshot soon follows.
async fn put(rt: &Rc<Runtime>, path: String, val: String) -> Result<(), Status> {
    let encode = |id| {
        let request = Request {
            id,
            method: "PUT".into(),
            path: path.clone(),
            val: val.clone(),
            ..Request::default()
        };
        request.encode_to_vec().into()
    };
    rt.insist(encode).await.map(drop)
}
