//! The first start of a member: as one of those that found a cluster, or as one
//! that joins a running cluster. Decides who this member is and whom it knows;
//! writes nothing.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use line::{Choice, Known, Line, Unfit};
use member::Error;
use membership::{Cluster, ClusterId, Member, MemberId};
use proto::raftpb::{Entry, HardState};

use super::discovery;
use crate::{
    config::{Config, Discovery},
    core::Core,
    duties::corruption,
    transport::peer_connect,
    version,
};

/// What the log of a new member begins with.
pub(super) struct Founding {
    /// The line that this member speaks.
    pub(super) line: Line,
    /// This member.
    pub(super) own: MemberId,
    /// Its cluster.
    pub(super) cluster_id: ClusterId,
    /// The first entries, as if agreed on in term 1; none for one that joins.
    pub(super) entries: Vec<Entry>,
    /// What goes with them.
    pub(super) hard_state: HardState,
    /// The members, this one included.
    pub(super) peers: Vec<Member>,
}

/// How long another founder may take to say who it thinks the members are: most
/// likely it does not run yet.
const FOUNDER_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a member of a running cluster may take for the same.
const MEMBER_TIMEOUT: Duration = Duration::from_secs(10);

/// Decides how the member starts.
///
/// # Errors
/// The flags contradict themselves, or what the running members say, or what
/// discovery found.
pub(super) fn found(config: &Config) -> Result<Founding, Error> {
    let token = config
        .discovery
        .cluster_token(&config.initial_cluster_token);
    let initial = discovery::initial_cluster(config)?;
    let cluster = Cluster::from_initial(token, &initial).map_err(|error| {
        Error(match &config.discovery {
            Discovery::Static => format!("--initial-cluster {initial:?}: {error}"),
            _ => format!("error setting up initial cluster: {error}"),
        })
    })?;
    let Some(own) = cluster.members().find(|m| m.name == config.name) else {
        return Err(Error(format!(
            "couldn't find local name \"{}\" in the initial cluster configuration",
            config.name
        )));
    };
    let asked = Asked::new(config)?;
    if config.join_existing {
        return join(config, &cluster, own, &asked);
    }
    if !same_places(&own.peer_urls, &config.advertise_peer) {
        return Err(Error(format!(
            "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
            own.peer_urls
                .iter()
                .map(|u| format!("{}={u}", config.name))
                .collect::<Vec<_>>()
                .join(","),
            config.advertise_peer.join(",")
        )));
    }
    let own = own.id;
    check_not_begun(&cluster, own, &asked)?;
    match discovery::founders(config, own, &initial)? {
        None => Ok(begin(config, &cluster, own)),
        Some(found) => {
            let cluster = Cluster::from_initial(token, &found)
                .map_err(|error| Error(format!("discovery cluster {found}: {error}")))?;
            if cluster.member(own).is_none() {
                return Err(Error(format!(
                    "the discovered cluster {found} has another member of the name \"{}\"",
                    config.name
                )));
            }
            Ok(begin(config, &cluster, own))
        }
    }
}

/// How long a host name in a peer URL may stay unknown: the DNS of a cluster
/// often comes up with it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(30);
const RESOLVE_PAUSE: Duration = Duration::from_secs(1);

/// True if the URLs lead to the same places, be it under different host names.
fn same_places(known: &[String], advertised: &[String]) -> bool {
    let sorted = |urls: &[String]| {
        let mut urls = urls.to_vec();
        urls.sort();
        urls
    };
    if sorted(known) == sorted(advertised) {
        return true;
    }
    let deadline = Instant::now() + RESOLVE_TIMEOUT;
    let places = |urls: &[String]| -> Option<Vec<(String, SocketAddr)>> {
        let mut places: Vec<(String, SocketAddr)> = urls
            .iter()
            .map(|url| {
                let (scheme, authority) = url.split_once("://")?;
                loop {
                    match dns::endpoint(authority) {
                        Ok(address) => return Some((scheme.to_owned(), address)),
                        Err(error) if Instant::now() < deadline => {
                            tracing::warn!(url = url, error = %error, "failed to resolve URL Host; trying again");
                            std::thread::sleep(RESOLVE_PAUSE);
                        }
                        Err(_) => return None,
                    }
                }
            })
            .collect::<Option<_>>()?;
        places.sort();
        Some(places)
    };
    known.len() == advertised.len()
        && places(known).is_some_and(|known| places(advertised) == Some(known))
}

/// An error if the others know this member from before.
fn check_not_begun(cluster: &Cluster, own: MemberId, asked: &Asked) -> Result<(), Error> {
    for other in cluster.members().filter(|m| m.id != own) {
        // Somebody who does not answer has most likely not been started yet.
        let Some(view) = other
            .peer_urls
            .iter()
            .find_map(|url| asked.members(url, FOUNDER_TIMEOUT))
        else {
            continue;
        };
        let known = view.members.iter().find(|m| m.id == own);
        if known.is_some_and(|m| !m.client_urls.is_empty()) {
            return Err(Error(format!("member {own} has already been bootstrapped")));
        }
    }
    Ok(())
}

/// One of the founders. Every founder writes the same first entries.
fn begin(config: &Config, cluster: &Cluster, own: MemberId) -> Founding {
    let entries = membership::conf_change::bootstrap_entries(cluster);
    Founding {
        line: config.line.of_new_cluster(),
        own,
        cluster_id: cluster.id(),
        hard_state: HardState {
            term: 1,
            vote: 0,
            commit: entries.len() as u64,
        },
        entries,
        peers: cluster.members().cloned().collect(),
    }
}

/// One that was added to a running cluster: its id and the cluster's are what
/// the others say, matched by peer URLs.
fn join(
    config: &Config,
    cluster: &Cluster,
    own: &Member,
    asked: &Asked,
) -> Result<Founding, Error> {
    let others: Vec<&Member> = cluster.members().filter(|m| m.id != own.id).collect();
    let view = others
        .iter()
        .flat_map(|m| &m.peer_urls)
        .find_map(|url| asked.members(url, MEMBER_TIMEOUT))
        .ok_or_else(|| {
            Error::new("cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs")
        })?;
    let listed = cluster.members().count();
    if view.members.len() != listed {
        return Err(Error(format!(
            "error validating peerURLs: member count is unequal: --initial-cluster names {listed}, the cluster has {}",
            view.members.len()
        )));
    }
    let urls = |member: &Member| member.peer_urls.iter().cloned().collect::<BTreeSet<_>>();
    for member in &view.members {
        if !cluster.members().any(|known| urls(known) == urls(member)) {
            return Err(Error(format!(
                "error validating peerURLs: unmatched member while checking PeerURLs: {} of the cluster is not in --initial-cluster \
                 {:?}",
                member.peer_urls.join(","),
                config.initial_cluster
            )));
        }
    }
    let Some(me) = view.members.iter().find(|m| urls(m) == urls(own)) else {
        return Err(Error(format!(
            "the running cluster has no member with the peer URLs {}; add it with \"member add\" first",
            own.peer_urls.join(",")
        )));
    };
    let line = line_of_cluster(config.line, &others, asked)?;
    Ok(Founding {
        line,
        own: me.id,
        cluster_id: view.cluster_id,
        entries: Vec::new(),
        hard_state: HardState::default(),
        peers: view.members.clone(),
    })
}

/// The line to speak in a running cluster. At least one member must say which version the cluster
/// has, and it must be one that this server can be in.
fn line_of_cluster(choice: Choice, others: &[&Member], asked: &Asked) -> Result<Line, Error> {
    let found = others.iter().filter_map(|other| {
        let mut urls = other.peer_urls.iter();
        urls.find_map(|url| asked.cluster_version(url))
    });
    let known = Known {
        cluster: found.collect(),
        ..Known::default()
    };
    if known.cluster.is_empty() {
        return Err(Error::new("incompatible with current running cluster"));
    }
    choice.resolve(&known).map_err(|unfit| {
        let (found, own) = match &unfit {
            Unfit::TooNew { found } => (found, Line::NEWEST),
            Unfit::Newer { found, asked } => (found, *asked),
            Unfit::Older { .. } => {
                return Error(format!(
                    "incompatible with current running cluster: {unfit}"
                ));
            }
        };
        Error(format!(
            "incompatible with current running cluster: its version is {found}, this server's {}",
            own.release()
        ))
    })
}

/// `--experimental-initial-corrupt-check`: compares the keys with those of every other member
/// in `peers`, all asked at once. One that does not answer, or has not come as far, says nothing.
///
/// # Errors
/// A member has other keys.
pub(super) fn compare_hashes(core: &Core, peers: &[Member]) -> Result<(), Error> {
    let own = format!("{:x}", core.member_id);
    let timeout = core.config.request_timeout();
    tracing::info!("local-member-id" = own, timeout = ?timeout, "starting initial corruption check");
    let mine = core
        .store()
        .hash_kv(0)
        .map_err(|error| Error(format!("cannot hash the keys: {error}")))?;
    let asked = Asked::new(&core.config)?;
    let body = corruption::question(mine.revision);
    let questions = peers.iter().map(|member| {
        let (asked, body) = (&asked, body.clone());
        async move {
            for url in &member.peer_urls {
                let reply = asked.question(url, "/members/hashkv", body.clone(), timeout);
                if let Some(reply) = reply.await {
                    return Some((member, corruption::PeerHash::parse(&reply.body)?));
                }
            }
            None
        }
    });
    let answers = futures_util::future::join_all(questions);
    let mut differ = 0;
    for (member, theirs) in asked.runtime.block_on(answers).into_iter().flatten() {
        if theirs.hash == mine.hash {
            continue;
        }
        let said = if theirs.compact_revision == mine.compact_revision {
            differ += 1;
            "found different hash values from remote peer"
        } else {
            "found different compact revision values from remote peer"
        };
        tracing::warn!(
            "local-member-id" = own,
            "local-member-revision" = mine.revision,
            "local-member-compact-revision" = mine.compact_revision,
            "local-member-hash" = mine.hash,
            "remote-peer-id" = %member.id,
            "remote-peer-revision" = theirs.revision,
            "remote-peer-compact-revision" = theirs.compact_revision,
            "remote-peer-hash" = theirs.hash,
            "{said}"
        );
    }
    if differ > 0 {
        return Err(Error(format!("{own} found data inconsistency with peers")));
    }
    tracing::info!(
        "local-member-id" = own,
        "initial corruption checking passed; no corruption"
    );
    Ok(())
}

/// What another member says of the cluster.
struct View {
    cluster_id: ClusterId,
    members: Vec<Member>,
}

/// Questions to members before there are runtimes.
struct Asked {
    runtime: tokio::runtime::Runtime,
    connect: Arc<dyn peer::Connect>,
}

impl Asked {
    fn new(config: &Config) -> Result<Asked, Error> {
        Ok(Asked {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            connect: peer_connect(config),
        })
    }

    fn ask(
        &self,
        url: &str,
        path: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> Option<peer::ask::Reply> {
        self.runtime
            .block_on(self.question(url, path, body, timeout))
    }

    async fn question(
        &self,
        url: &str,
        path: &'static str,
        body: Bytes,
        timeout: Duration,
    ) -> Option<peer::ask::Reply> {
        let request = http::Request::get(path).body(body).ok()?;
        match peer::ask::call(&self.connect, url, request, timeout).await {
            Ok(reply) if reply.status == http::StatusCode::OK => Some(reply),
            Ok(reply) => {
                tracing::warn!(address = url, path, status = %reply.status, "a member refused to answer");
                None
            }
            Err(error) => {
                tracing::warn!(address = url, path, error = %error, "failed to ask a member");
                None
            }
        }
    }

    fn members(&self, url: &str, timeout: Duration) -> Option<View> {
        let reply = self.ask(url, "/members", Bytes::new(), timeout)?;
        let members: Vec<Member> = serde_json::from_slice(&reply.body).ok()?;
        let cluster_id = ClusterId(reply.cluster_id?);
        // One that is only starting itself knows nobody yet.
        (!members.is_empty()).then_some(View {
            cluster_id,
            members,
        })
    }

    fn cluster_version(&self, url: &str) -> Option<semver::Version> {
        let reply = self.ask(url, "/version", Bytes::new(), MEMBER_TIMEOUT)?;
        version::Versions::parse(&reply.body)?.cluster
    }
}
