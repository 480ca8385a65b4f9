//! The cluster at one moment, as the decision needs it: by the real member list,
//! wherever that leads, and by the directories of members that do not answer.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use futures_util::future::join_all;
use semver::Version;

use super::{
    cluster::{Answer, Cluster},
    safety::{Seen, View, Voter},
};
use crate::facts::{Facts, Live};

/// A member that is known by name.
pub(crate) struct Named {
    /// Its name.
    pub(crate) name: String,
    /// Where it is asked.
    pub(crate) endpoint: String,
    /// Its directory, if it can be read from here.
    pub(crate) directory: Option<PathBuf>,
}

/// How long a single look waits for a member.
pub(crate) fn one_look(_member: &str) -> Duration {
    Duration::from_secs(60)
}

/// What a member answers within `limit`.
pub(super) async fn answers_within(
    cluster: &impl Cluster,
    endpoint: &str,
    limit: Duration,
) -> Answer<Facts> {
    let answer = cluster.within(limit, cluster.answers(endpoint)).await;
    answer.unwrap_or_else(|| {
        Answer::Silent(match limit.is_zero() {
            // It had its time before.
            true => format!("{endpoint}: no answer"),
            false => format!("{endpoint}: no answer within {limit:?}"),
        })
    })
}

/// Looks at the cluster of the members `named`, at each for as long as `limit` says of its
/// name. `planned` is the id of the cluster that a journal is for; `height` is what it knows
/// of the cluster version, where no member answers.
pub(crate) async fn look_around(
    cluster: &impl Cluster,
    named: &[Named],
    limit: impl Fn(&str) -> Duration,
    planned: Option<String>,
    height: Option<Version>,
) -> View {
    let mut view = View::default();
    let mut answers = Vec::new();
    let mut clusters: BTreeSet<String> = planned.into_iter().collect();
    let mut unread = named.len();
    // All at once: those that do not answer take their time.
    let asked = named
        .iter()
        .map(|member| answers_within(cluster, &member.endpoint, limit(&member.name)));
    for (member, answer) in named.iter().zip(join_all(asked).await) {
        if let Answer::Told(facts) = &answer {
            add_answer(cluster, &mut view, facts, &member.endpoint).await;
            clusters.extend(facts.cluster.map(|id| id.to_string()));
            let release = facts.live.as_ref().and_then(|live| live.version.clone());
            let release = release.map(|release| (member.name.clone(), release));
            view.releases.extend(release);
        } else if let Some(directory) = &member.directory
            && let Some(files) = cluster.files(directory)
        {
            add_files(&mut view, &files);
            unread -= usize::from(!files.in_use);
            clusters.extend(files.cluster.map(|id| id.to_string()));
        }
        answers.push((member, answer));
    }
    add_voters(cluster, &mut view, &answers, limit).await;
    let is_silent = |(_, answer): &(_, Answer<Facts>)| matches!(answer, Answer::Silent(_));
    // Where no member runs, what all of them have on disk is all that there is to know.
    if unread > 0 && answers.iter().all(is_silent) {
        view.cluster_version = view.cluster_version.max(height);
    }
    view.clusters = clusters.into_iter().collect();
    view
}

async fn add_answer(cluster: &impl Cluster, view: &mut View, facts: &Facts, endpoint: &str) {
    let Some(live) = &facts.live else { return };
    let mut version = cluster.cluster_version(endpoint).await;
    if version.is_none()
        && let Answer::Told(all) = cluster.everything(endpoint).await
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
async fn add_voters(
    cluster: &impl Cluster,
    view: &mut View,
    answers: &[(&Named, Answer<Facts>)],
    limit: impl Fn(&str) -> Duration,
) {
    let lives = answers.iter().filter_map(|(_, answer)| match answer {
        Answer::Told(facts) => facts.live.as_ref(),
        Answer::Silent(_) | Answer::Refused(_) => None,
    });
    let listing = lives
        .filter(|live| live.leader != 0 && !live.members.is_empty())
        .max_by_key(|live| live.applied);
    let Some(listing) = listing else {
        view.is_guess = true;
        view.voters = answers.iter().map(|(m, answer)| guess(m, answer)).collect();
        return;
    };
    for member in listing.members.iter().filter(|m| !m.is_learner) {
        let own = answers.iter().find_map(|(named, answer)| match answer {
            Answer::Told(facts) if facts.id == Some(member.id) => {
                Some((facts, named.endpoint.as_str()))
            }
            _ => None,
        });
        let seen = match own {
            Some((facts, endpoint)) => seen(cluster, facts, endpoint).await,
            // One that the file does not name, or names at another place.
            None => {
                let limit = limit(&member.name);
                ask_around(cluster, &member.client_urls, answers, limit).await
            }
        };
        let name = match member.name.is_empty() {
            true => member.id.to_string(),
            false => member.name.clone(),
        };
        view.voters.push(Voter::seen(member.id, name, seen));
    }
}

/// A voter by the file of members alone, in a cluster of which no one knows the leader.
fn guess(named: &Named, answer: &Answer<Facts>) -> Voter {
    let (id, seen) = match answer {
        Answer::Told(facts) => (facts.id, Seen::Answers),
        Answer::Silent(_) => (None, Seen::Silent),
        Answer::Refused(why) => (None, Seen::Refuses(why.clone())),
    };
    Voter::seen(id.unwrap_or_default(), named.name.clone(), seen)
}

/// Asks at the client URLs of a member; those of `answers` that told nothing a moment before
/// are not asked again.
async fn ask_around(
    cluster: &impl Cluster,
    urls: &[String],
    answers: &[(&Named, Answer<Facts>)],
    limit: Duration,
) -> Seen {
    let mut refuses = None;
    for url in urls {
        let known = answers.iter().find(|(named, _)| named.endpoint == *url);
        let why = match known {
            Some((_, Answer::Refused(why))) => why.clone(),
            Some((_, Answer::Silent(_))) => continue,
            // Another member answers there now.
            Some((_, Answer::Told(_))) => continue,
            None => match answers_within(cluster, url, limit).await {
                Answer::Told(facts) => return seen(cluster, &facts, url).await,
                Answer::Silent(_) => continue,
                Answer::Refused(why) => why,
            },
        };
        refuses.get_or_insert(why);
    }
    refuses.map_or(Seen::Silent, Seen::Refuses)
}

/// A linearizable read that succeeds proves that the member follows the leader and has
/// applied all that was committed when it was asked. Indexes prove less: those of several
/// members are never of one moment, and while a silent member is asked in between, a busy
/// cluster moves on by thousands of entries.
async fn seen(cluster: &impl Cluster, facts: &Facts, endpoint: &str) -> Seen {
    let is_follower = |live: &&Live| live.leader != 0 && !live.is_learner;
    if facts.live.as_ref().filter(is_follower).is_none() {
        return Seen::Answers;
    }
    match cluster.read(endpoint).await {
        Answer::Told(_) => Seen::Serves,
        Answer::Silent(_) => Seen::Answers,
        Answer::Refused(why) => Seen::Refuses(why),
    }
}
