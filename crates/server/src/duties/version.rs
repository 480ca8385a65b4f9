//! The version of the cluster: what its members run, what they agree on, and in
//! which words they are told. The leader asks every member and decides; nobody
//! raises it above the oldest member.

use std::{rc::Rc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use http::Method;
use membership::{Cluster, Member};
use prost::Message as _;
use proto::{
    etcdserverpb::{Request, internal_raft_request::Op},
    membershippb::{Attributes, DowngradeInfoSetRequest},
};
use semver::Version;
use tokio::time::sleep;

use crate::{ask, runtime::Runtime, status::Status, version::Versions};

/// Starts the leader's watch over versions; it sleeps while another one leads.
pub fn start(rt: &Rc<Runtime>) {
    tokio::task::spawn_local(watch(rt.clone()));
}

/// How often the members are asked, and how often it is looked whether this one
/// has come to lead.
const PERIOD: Duration = Duration::from_secs(4);
const POLL: Duration = Duration::from_millis(20);

async fn watch(rt: Rc<Runtime>) {
    let core = &rt.core;
    let mut asked: Option<(u64, tokio::time::Instant)> = None;
    loop {
        sleep(POLL).await;
        let term = core.raft.status.term.load(Ordering::Acquire);
        let period = match core.state.cluster.load().downgrade() {
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
        (member, version)
    });
    futures_util::future::join_all(questions).await
}

async fn decide(rt: &Rc<Runtime>) -> Result<(), Status> {
    let cluster = rt.core.state.cluster.load_full();
    let versions = ask_all(rt, &cluster).await;
    if let Some(target) = cluster.downgrade() {
        return finish_downgrade(rt, &cluster, target, &versions).await;
    }
    let lowest = versions
        .iter()
        .map(|(_, version)| version.as_ref())
        .collect::<Option<Vec<_>>>()
        .and_then(|all| all.into_iter().min().cloned())
        .map(|v| line::trimmed(&v));
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

/// A downgrade is over when the cluster version is down and every member runs
/// the old release.
///
/// The cluster version moves once every other member runs that release: one of etcd 3.5 that
/// still runs its own ends for good when it reads the lower version.
async fn finish_downgrade(
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
        let mut others = versions
            .iter()
            .filter(|(member, _)| member.id.0 != rt.core.member_id);
        if others.all(|(_, version)| runs_target(version)) {
            set(rt, &target).await?;
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

/// Sets the cluster version.
async fn set(rt: &Rc<Runtime>, version: &Version) -> Result<(), Status> {
    let text = version.to_string();
    tracing::info!(
        "cluster-version" = text,
        "setting up cluster version using v2 API"
    );
    put(rt, "/0/version".to_owned(), text).await
}

/// Makes a member's name and client URLs known.
///
/// # Errors
/// No leader, or no time left.
pub async fn publish(rt: &Rc<Runtime>, attributes: &Attributes) -> Result<(), Status> {
    let value = membership::v2store::attributes_json(&attributes.name, &attributes.client_urls);
    let path = format!("/0/members/{:x}/attributes", rt.core.member_id);
    put(rt, path, value).await
}

/// A request of the v2 API, which stands in the log by itself. Every release up to 3.5 speaks
/// of its membership in these words; the later ones for it end 3.4, which may read this log as
/// a member today, or as what is started on this directory tomorrow, whatever the cluster
/// version is now. For 3.7, which cannot read these, a snapshot soon follows.
async fn put(rt: &Rc<Runtime>, path: String, val: String) -> Result<(), Status> {
    let encode = |id| {
        let request = Request {
            id,
            method: "PUT".to_owned(),
            path: path.clone(),
            val: val.clone(),
            ..Request::default()
        };
        request.encode_to_vec().into()
    };
    rt.insist(encode).await.map(drop)
}
