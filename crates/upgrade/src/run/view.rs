//! The cluster at one moment, as the decision needs it: by the real member list,
//! wherever that leads, and by the directories of members that do not answer.

use std::{collections::BTreeSet, path::PathBuf};

use semver::Version;

use super::{
    cluster::Cluster,
    safety::{View, Voter},
};
use crate::facts::Facts;

/// A member that is known by name.
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// Where it is asked.
    pub(crate) endpoint: String,
    /// Its directory, if it can be read from here.
    pub(crate) directory: Option<PathBuf>,
}

/// Looks at the cluster of the members `named`. `planned` is the id of the cluster that
/// a journal is for; `height` is what it knows of the cluster version, where no member
/// answers.
pub(crate) async fn look_around(
    cluster: &impl Cluster,
    named: &[Named],
    planned: Option<String>,
    height: Option<Version>,
) -> View {
    let mut view = View::default();
    let mut answers = Vec::new();
    let mut clusters: BTreeSet<String> = planned.into_iter().collect();
    for member in named {
        let facts = cluster.answers(&member.endpoint).await.ok();
        if let Some(facts) = &facts {
            add_answer(cluster, &mut view, facts, &member.endpoint).await;
            clusters.extend(facts.cluster.map(|id| id.to_string()));
        } else if let Some(directory) = &member.directory
            && let Some(files) = cluster.files(directory)
        {
            add_files(&mut view, &files);
            clusters.extend(files.cluster.map(|id| id.to_string()));
        }
        answers.push((member, facts));
    }
    add_voters(cluster, &mut view, &answers).await;
    if answers.iter().all(|(_, facts)| facts.is_none()) {
        view.cluster_version = view.cluster_version.max(height);
    }
    view.clusters = clusters.into_iter().collect();
    view
}

async fn add_answer(cluster: &impl Cluster, view: &mut View, facts: &Facts, endpoint: &str) {
    let Some(live) = &facts.live else { return };
    let mut version = cluster.cluster_version(endpoint).await;
    if version.is_none()
        && let Ok(all) = cluster.everything(endpoint).await
    {
        version = all.cluster_version();
    }
    view.cluster_version = view.cluster_version.take().max(version);
    if view.downgrade.is_none() {
        view.downgrade.clone_from(&live.downgrade);
    }
    for (id, kind) in &live.alarms {
        let name = live.members.iter().find(|m| m.id == *id);
        let name = name.map_or_else(|| id.to_string(), |m| m.name.clone());
        let alarm = (name, kind.clone());
        if !view.alarms.contains(&alarm) {
            view.alarms.push(alarm);
        }
    }
}

fn add_files(view: &mut View, files: &Facts) {
    let log = files.log.as_ref();
    let of_log = log.and_then(|log| log.now.version().cloned());
    let database = files.database.as_ref();
    let of_database = database.and_then(|d| d.members.cluster_version.clone());
    view.cluster_version = view.cluster_version.take().max(of_log).max(of_database);
    let downgrade = log.and_then(|log| log.now.downgrade());
    if let Some(to) = downgrade.and_then(|to| Version::parse(to).ok()) {
        view.downgrade.get_or_insert(to);
    }
}

/// The voters, and who of them serves.
async fn add_voters(cluster: &impl Cluster, view: &mut View, answers: &[(&Named, Option<Facts>)]) {
    let lives = answers
        .iter()
        .filter_map(|(_, f)| f.as_ref()?.live.as_ref());
    let listing = lives
        .filter(|live| live.leader != 0 && !live.members.is_empty())
        .max_by_key(|live| live.applied);
    let Some(listing) = listing else {
        view.is_guess = true;
        view.voters = answers
            .iter()
            .map(|(member, facts)| Voter {
                id: facts.as_ref().and_then(|f| f.id).unwrap_or_default(),
                name: member.name.clone(),
                answers: facts.is_some(),
                serves: false,
            })
            .collect();
        return;
    };
    let silent: Vec<&str> = answers
        .iter()
        .filter(|(_, facts)| facts.is_none())
        .map(|(named, _)| named.endpoint.as_str())
        .collect();
    for member in listing.members.iter().filter(|m| !m.is_learner) {
        let own = answers.iter().find_map(|(named, facts)| {
            let facts = facts.as_ref().filter(|f| f.id == Some(member.id))?;
            Some((facts, named.endpoint.as_str()))
        });
        let (answers, serves) = match own {
            Some((facts, endpoint)) => (true, is_serving(cluster, facts, endpoint).await),
            // One that the file does not name, or names at another place.
            None => ask_around(cluster, &member.client_urls, &silent).await,
        };
        view.voters.push(Voter {
            id: member.id,
            name: match member.name.is_empty() {
                true => member.id.to_string(),
                false => member.name.clone(),
            },
            answers,
            serves,
        });
    }
}

/// Asks at the client URLs that were not `silent` a moment before.
async fn ask_around(cluster: &impl Cluster, urls: &[String], silent: &[&str]) -> (bool, bool) {
    for url in urls.iter().filter(|url| !silent.contains(&url.as_str())) {
        if let Ok(facts) = cluster.answers(url).await {
            return (true, is_serving(cluster, &facts, url).await);
        }
    }
    (false, false)
}

/// A linearizable read that succeeds proves that the member follows the leader and has
/// applied all that was committed when it was asked. Indexes prove less: those of several
/// members are never of one moment, and while a silent member is asked in between, a busy
/// cluster moves on by thousands of entries.
async fn is_serving(cluster: &impl Cluster, facts: &Facts, endpoint: &str) -> bool {
    let Some(live) = &facts.live else {
        return false;
    };
    live.leader != 0 && !live.is_learner && cluster.read(endpoint).await.is_ok()
}
