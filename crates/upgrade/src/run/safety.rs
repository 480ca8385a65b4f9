//! Whether a member may be stopped now, and whether what replaces it will start.
//! One function decides that for every command. It must never take an answer that
//! did not come for a good one: what is not known is refused.

use membership::cluster::MemberId;
use semver::Version;

use super::driver::{Launch, Process};
use crate::{
    facts::Facts,
    predict,
    target::{Target, is_of_pintle},
};

/// A voter of the member list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Voter {
    /// Its id.
    pub(crate) id: MemberId,
    /// Its name; its id while it has not published one.
    pub(crate) name: String,
    /// What it is seen to be.
    pub(crate) seen: Seen,
    /// What is known of its process without asking it.
    pub(crate) process: Process,
}

/// What a voter is seen to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It knows the leader and reads linearizably.
    Serves,
    /// It answers, and does not serve.
    Answers,
    /// Nothing answers at its client URL.
    Silent,
    /// It answers, and not to this client; why. Whether it serves cannot be judged.
    Refuses(String),
}

impl Voter {
    /// One of whose process nothing is known.
    pub(crate) fn seen(id: MemberId, name: String, seen: Seen) -> Voter {
        Voter {
            id,
            name,
            seen,
            process: Process::Unknown,
        }
    }

    /// Whether it is seen to serve.
    pub(crate) fn serves(&self) -> bool {
        self.seen == Seen::Serves
    }
}

/// A cluster at one moment, as far as the decision needs it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// The voters of the real member list, also those that no file names.
    pub(crate) voters: Vec<Voter>,
    /// Voters that are known by their names in the file of members alone: no member
    /// that answers has a list.
    pub(crate) is_guess: bool,
    /// The highest cluster version of all answers, databases and directories.
    pub(crate) cluster_version: Option<Version>,
    /// The version that a downgrade leads to, if one is under way.
    pub(crate) downgrade: Option<Version>,
    /// Alarms: member and kind.
    pub(crate) alarms: Vec<(String, String)>,
    /// The id of the cluster, if a member that answers says it.
    pub(crate) clusters: Vec<String>,
    /// What the members run that answer, by the names of the file.
    pub(crate) releases: Vec<(String, Version)>,
    /// The only member, if this run has stopped or started it last and heard nothing since.
    pub(crate) alone_in_hand: Option<String>,
    /// Members that this command took down, and that were not seen to answer since.
    pub(crate) not_up: Vec<String>,
}

impl View {
    /// Voters that serve, apart from `member`.
    pub(crate) fn rest(&self, member: &str) -> usize {
        let rest = self.voters.iter().filter(|v| v.name != member);
        rest.filter(|voter| voter.serves()).count()
    }

    /// Whether `member` is a voter that answers.
    pub(crate) fn is_up(&self, member: &str) -> bool {
        let voter = self.voters.iter().find(|voter| voter.name == member);
        voter.is_some_and(|voter| voter.seen != Seen::Silent)
    }

    /// Whether it is known that `member` has no process.
    pub(super) fn has_ended(&self, member: &str) -> bool {
        self.process(member) == Process::Ended
    }

    /// Whether it is known that `member` has a process, though it does not answer.
    pub(super) fn is_known_to_run(&self, member: &str) -> bool {
        self.process(member) == Process::Runs
    }

    fn process(&self, member: &str) -> Process {
        let voter = self.voters.iter().find(|voter| voter.name == member);
        voter.map_or(Process::Unknown, |voter| voter.process)
    }

    /// Whether this node may be cut off from all members: none answers. They may serve one
    /// another then, so silence alone is no ground to stop one. Who takes connections need not
    /// be a member.
    pub(super) fn is_cut_off(&self) -> bool {
        self.voters.iter().all(|voter| voter.seen == Seen::Silent)
    }

    /// Whether it is known of a voter apart from `member` that it has no process.
    pub(super) fn has_one_ended(&self, member: &str) -> bool {
        let mut others = self.voters.iter().filter(|voter| voter.name != member);
        others.any(|voter| voter.process == Process::Ended)
    }

    /// A member, apart from `member`, that this command took down and that is not up again.
    fn not_up_beside(&self, member: &str) -> Option<&str> {
        let mut others = self.not_up.iter().map(String::as_str);
        others.find(|name| *name != member)
    }

    /// Voters that a quorum takes.
    pub(crate) fn quorum(&self) -> usize {
        self.voters.len() / 2 + 1
    }

    /// Whether enough voters serve.
    pub(crate) fn serves(&self) -> bool {
        let serving = self.voters.iter().filter(|v| v.serves()).count();
        !self.voters.is_empty() && serving >= self.quorum()
    }

    /// The first voter that refuses this client, and why.
    pub(crate) fn refusing(&self) -> Option<(&str, &str)> {
        self.voters.iter().find_map(|voter| match &voter.seen {
            Seen::Refuses(why) => Some((voter.name.as_str(), why.as_str())),
            _ => None,
        })
    }

    /// Voters of which it is not known whether they run: nothing answers from here, and no one
    /// says that their processes have ended.
    fn out_of_reach(&self) -> Vec<&Voter> {
        let is_there = |v: &&Voter| v.seen == Seen::Silent && v.process != Process::Ended;
        self.voters.iter().filter(is_there).collect()
    }

    /// What makes a cluster serve that does not.
    fn way_to_quorum(&self) -> String {
        let down = self.voters.iter().filter(|v| v.seen == Seen::Silent);
        let down: Vec<&str> = down.map(|v| v.name.as_str()).collect();
        match down.is_empty() {
            true => "all of them answer: see in their logs why none leads".into(),
            false => format!("start {}", down.join(", ")),
        }
    }

    /// What to do where voters out of reach may be a quorum of their own.
    fn way_to_reach(&self) -> String {
        let ended = self.voters.iter().filter(|v| v.process == Process::Ended);
        let ended: Vec<&str> = ended.map(|v| v.name.as_str()).collect();
        let start = match ended.is_empty() {
            true => String::new(),
            false => format!(". Known not to run, so start them: {}", ended.join(", ")),
        };
        let out = out_of_reach(
            self.out_of_reach()
                .into_iter()
                .map(|v| (&*v.name, v.process)),
        );
        format!("{out}{start}")
    }

    /// Whether the cluster serves, for a person.
    pub(crate) fn state(&self) -> String {
        let serving = self.voters.iter().filter(|v| v.serves()).count();
        let silent: Vec<&str> = self
            .voters
            .iter()
            .filter(|v| !v.serves())
            .map(|v| v.name.as_str())
            .collect();
        let all = self.voters.len();
        if let Some((member, why)) = self.refusing() {
            return format!(
                "whether the cluster serves is not known: {serving} of {all} voters do, and {member} refuses this client: {why}"
            );
        }
        if !self.serves() && self.out_of_reach().len() >= self.quorum() {
            return format!(
                "WHETHER THE CLUSTER SERVES IS NOT SEEN FROM HERE: {serving} of {all} voters are seen to, and {} are needed; {}",
                self.quorum(),
                self.way_to_reach()
            );
        }
        match (self.serves(), silent.is_empty()) {
            (true, true) => format!("the cluster serves: all {all} voters do"),
            (true, false) => format!(
                "the cluster serves: {serving} of {all} voters do; not {}",
                silent.join(", ")
            ),
            (false, _) => format!(
                "THE CLUSTER DOES NOT SERVE: {serving} of {all} voters do, and {} are needed; {}",
                self.quorum(),
                self.way_to_quorum()
            ),
        }
    }
}

/// What is known of members that are not reached, and what to do. They are not taken for ended:
/// whoever restores a backup, or forces a new cluster, where they run has two clusters.
pub(super) fn out_of_reach<'a>(members: impl Iterator<Item = (&'a str, Process)>) -> String {
    let (mut runs, mut unknown) = (Vec::new(), Vec::new());
    for (name, process) in members {
        match process {
            Process::Runs => runs.push(name),
            Process::Unknown | Process::Ended => unknown.push(name),
        }
    }
    let known = match runs.is_empty() {
        true => String::new(),
        false => format!(
            " ({}: known to run, by `status` or the lock on the database)",
            runs.join(", ")
        ),
    };
    let see = match unknown.is_empty() {
        true => String::new(),
        false => format!(
            ", see on their own nodes whether {} run, and start what does not",
            unknown.join(", ")
        ),
    };
    let all: Vec<&str> = runs.into_iter().chain(unknown).collect();
    format!(
        "not reached from here: {}{known}; where they run they may serve one another. Make this node reach their client URLs{see}",
        all.join(", ")
    )
}

/// Where a command leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heading {
    /// To the end of its steps.
    Forward,
    /// To their beginning.
    Back,
}

/// Why a member is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// It is taken forward.
    Forward,
    /// It is taken back.
    Back,
    /// It runs the same release again.
    Again,
    /// It does not answer, and should run that release.
    BringBack,
}

impl Purpose {
    /// Where the steps lead that it is started for; a member that is brought back may be on
    /// either way.
    pub(super) fn heading(self) -> Option<Heading> {
        match self {
            Purpose::Forward | Purpose::Again => Some(Heading::Forward),
            Purpose::Back => Some(Heading::Back),
            Purpose::BringBack => None,
        }
    }

    /// Whether the release stays.
    pub(crate) fn is_same_release(self) -> bool {
        matches!(self, Purpose::Again | Purpose::BringBack)
    }
}

/// Why a member must not be stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The rest would be no quorum.
    #[error(
        "{member} is not stopped: without it {rest} of {voters} voters would serve, and a quorum is {quorum}; bring {silent} back first"
    )]
    Quorum {
        /// The member.
        member: String,
        /// Voters that serve, apart from it.
        rest: usize,
        /// All voters.
        voters: usize,
        /// What a quorum takes.
        quorum: usize,
        /// Who does not serve.
        silent: String,
    },
    /// It does not answer, and yet the rest would be no quorum.
    #[error(
        "{member} is not stopped: it does not answer from here, but it serves: the cluster does, only {serving} of {voters} voters answer as serving, and a quorum is {quorum}; bring {silent} back first, or make {member} reachable"
    )]
    Unseen {
        /// The member.
        member: String,
        /// Voters that are seen to serve.
        serving: usize,
        /// All voters.
        voters: usize,
        /// What a quorum takes.
        quorum: usize,
        /// Who else does not serve.
        silent: String,
    },
    /// Nothing is known of any member.
    #[error(
        "{member} is not stopped: no member answers from here, and where they run they may serve one another; make this node reach their client URLs. Where {member} is down, show it: by `status` or `data_dir` of {member} in the file of members"
    )]
    CutOff {
        /// The member.
        member: String,
    },
    /// One that was taken down before is not seen to be up.
    #[error(
        "{member} is not stopped: {down} was stopped before, and is not seen to answer since; see that it runs, and that this node reaches its client URLs. Where {member} is down, show it: by `status` or `data_dir` of {member} in the file of members"
    )]
    NotUp {
        /// The member.
        member: String,
        /// Who was taken down.
        down: String,
    },
    /// A voter cannot be judged.
    #[error(
        "{member} is not stopped: {refusing} answers, and refuses this client: {why}; give the TLS files and the user with which it answers"
    )]
    Unjudged {
        /// The member.
        member: String,
        /// Who refuses.
        refusing: String,
        /// How.
        why: String,
    },
    /// The cluster version is above the release.
    #[error(
        "{member} is not started with {release}: the cluster version is {cluster}, and {release} refuses that; `pintle upgrade rollback` takes the cluster version down first, where that is possible"
    )]
    Above {
        /// The member.
        member: String,
        /// What would be started.
        release: Version,
        /// The cluster version.
        cluster: Version,
    },
    /// The release is too far above the cluster version.
    #[error(
        "{member} is not started with {release}: the cluster version is {cluster}, and no minor version may be skipped"
    )]
    TooFar {
        /// The member.
        member: String,
        /// What would be started.
        release: Version,
        /// The cluster version.
        cluster: Version,
    },
    /// No source says the cluster version.
    #[error(
        "{member} is not started with {release}: the cluster version is not known, since no member answers and no directory can be read; name `data_dir` of {member} in the file of members, on the node where it is"
    )]
    Unknown {
        /// The member.
        member: String,
        /// What would be started.
        release: Version,
    },
    /// A downgrade is under way.
    #[error(
        "a downgrade to {to} is under way: `pintle upgrade rollback` finishes it, `etcdctl downgrade cancel` ends it"
    )]
    Downgrade {
        /// Where it leads.
        to: Version,
    },
    /// An alarm is raised.
    #[error(
        "{member} has the alarm {kind}: {}; disarm it with `etcdctl alarm disarm`, and try again",
        way_out(kind)
    )]
    Alarm {
        /// At which member.
        member: String,
        /// Its kind.
        kind: String,
    },
    /// The release does not start on the directory as it is.
    #[error(
        "{member} is not started with {release}, which would end with `{text}`; see `pintle upgrade check`"
    )]
    Boot {
        /// The member.
        member: String,
        /// What would be started.
        release: Version,
        /// Its last words.
        text: String,
    },
    /// The members do not change their line.
    #[error("the members do not go to line {line}: {findings}")]
    Line {
        /// Where they should go.
        line: String,
        /// What they say themselves.
        findings: String,
    },
    /// The answers are of several clusters.
    #[error("the members that answer are of different clusters: {0}")]
    Clusters(String),
}

fn way_out(kind: &str) -> &'static str {
    match kind {
        "NOSPACE" => "compact, defragment, or raise the quota",
        _ => "find the corrupt member and replace it",
    }
}

impl Refusal {
    /// Whether waiting may help.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Refusal::Quorum { .. }
                | Refusal::Unseen { .. }
                | Refusal::CutOff { .. }
                | Refusal::NotUp { .. }
                | Refusal::Unjudged { .. }
                | Refusal::Unknown { .. }
        )
    }
}

/// Whether `member` may be stopped, and what `launch` says started in its place.
/// `facts` are what its database or directory says, as far as that could be read.
///
/// # Errors
/// It must not.
pub(crate) fn may_stop(
    view: &View,
    member: &str,
    launch: &Launch,
    purpose: Purpose,
    facts: Option<&Facts>,
) -> Result<(), Refusal> {
    is_judged(view, member)?;
    takes_no_quorum(view, member)?;
    fits(view, member, launch, purpose)?;
    boots(view, member, launch, facts)
}

/// Whether what `launch` says may be started for `member`, if it is down.
///
/// # Errors
/// It must not.
pub(crate) fn may_start(
    view: &View,
    member: &str,
    launch: &Launch,
    purpose: Purpose,
    facts: Option<&Facts>,
) -> Result<(), Refusal> {
    is_judged(view, member)?;
    fits(view, member, launch, purpose)?;
    boots(view, member, launch, facts)
}

/// Whether the answers are those of one cluster, and anything is known of every voter.
fn is_judged(view: &View, member: &str) -> Result<(), Refusal> {
    if view.clusters.len() > 1 {
        return Err(Refusal::Clusters(view.clusters.join(", ")));
    }
    match view.refusing() {
        Some((refusing, why)) => Err(Refusal::Unjudged {
            member: member.to_owned(),
            refusing: refusing.to_owned(),
            why: why.to_owned(),
        }),
        None => Ok(()),
    }
}

/// Whether the cluster serves without `member`, or `member` adds nothing to it now.
fn takes_no_quorum(view: &View, member: &str) -> Result<(), Refusal> {
    let is_in_hand = view.alone_in_hand.as_deref() == Some(member);
    if !view.is_up(member) && (view.has_ended(member) || is_in_hand) {
        return Ok(());
    }
    // Whatever is seen of the others: one at a time.
    if let Some(down) = view.not_up_beside(member) {
        return Err(Refusal::NotUp {
            member: member.to_owned(),
            down: down.to_owned(),
        });
    }
    if view.is_up(member) {
        return match view.alarms.first() {
            Some((member, kind)) => Err(Refusal::Alarm {
                member: member.clone(),
                kind: kind.clone(),
            }),
            None => has_quorum(view, member),
        };
    }
    match view.is_cut_off() {
        true => Err(Refusal::CutOff {
            member: member.to_owned(),
        }),
        false => is_spare(view, member),
    }
}

/// One and two voters have no quorum without one of them: there all others must serve.
fn has_quorum(view: &View, member: &str) -> Result<(), Refusal> {
    let (rest, voters) = (view.rest(member), view.voters.len());
    let is_voter = view.voters.iter().any(|v| v.name == member);
    let needed = match (voters, is_voter) {
        (1 | 2, true) => voters - 1,
        _ => view.quorum(),
    };
    if rest >= needed {
        return Ok(());
    }
    let others = view
        .voters
        .iter()
        .filter(|v| v.name != member && !v.serves());
    let silent: Vec<&str> = others.map(|v| v.name.as_str()).collect();
    Err(Refusal::Quorum {
        member: member.to_owned(),
        rest,
        voters,
        quorum: view.quorum(),
        silent: silent.join(", "),
    })
}

/// Whoever is down takes nothing with it when it is replaced. But one that is merely out
/// of reach may serve: a linearizable read that succeeds at fewer voters than a quorum
/// proves that silent ones do, and this may be one of them.
fn is_spare(view: &View, member: &str) -> Result<(), Refusal> {
    let serving = view.voters.iter().filter(|v| v.serves()).count();
    let is_voter = view.voters.iter().any(|v| v.name == member);
    if !is_voter || serving == 0 || serving >= view.quorum() {
        return Ok(());
    }
    let others = view
        .voters
        .iter()
        .filter(|v| v.name != member && !v.serves());
    let silent: Vec<&str> = others.map(|v| v.name.as_str()).collect();
    Err(Refusal::Unseen {
        member: member.to_owned(),
        serving,
        voters: view.voters.len(),
        quorum: view.quorum(),
        silent: silent.join(", "),
    })
}

/// Whether the release fits the cluster version.
fn fits(view: &View, member: &str, launch: &Launch, purpose: Purpose) -> Result<(), Refusal> {
    let release = launch.version.clone();
    let member = member.to_owned();
    let Some(cluster) = view.cluster_version.clone() else {
        return match purpose {
            // It is down, and ran that.
            Purpose::BringBack => Ok(()),
            _ => Err(Refusal::Unknown { member, release }),
        };
    };
    if cluster.minor > release.minor {
        return Err(Refusal::Above {
            member,
            release,
            cluster,
        });
    }
    if let Some(to) = &view.downgrade {
        // Up to 3.5 only the release that a downgrade leads to starts while it is
        // under way; forwards nothing leads until it has ended.
        let stays = purpose.is_same_release() && release.minor == to.minor + 1;
        if purpose == Purpose::Forward || (to.minor != release.minor && !stays) {
            return Err(Refusal::Downgrade { to: to.clone() });
        }
    }
    match release.minor > cluster.minor + 1 {
        true => Err(Refusal::TooFar {
            member,
            release,
            cluster,
        }),
        false => Ok(()),
    }
}

/// Whether the release starts on what the member has.
fn boots(view: &View, member: &str, launch: &Launch, facts: Option<&Facts>) -> Result<(), Refusal> {
    let Some(facts) = facts else { return Ok(()) };
    let target = Target {
        version: launch.version.clone(),
        is_pintle: launch.pintle,
        given: String::new(),
    };
    let text = match predict::boot(facts, &target) {
        Some(prediction) if prediction.outcome == predict::Outcome::Starts => return Ok(()),
        // The view has judged the version, with what the other members know.
        Some(prediction) if prediction.text == predict::DOWNGRADE && view.downgrade.is_some() => {
            return Ok(());
        }
        Some(prediction) => prediction.text,
        // Its log is in use. What the database alone shows is looked at here.
        None => match of_database(facts, &target) {
            Some(text) => text,
            None => return Ok(()),
        },
    };
    Err(Refusal::Boot {
        member: member.to_owned(),
        release: launch.version.clone(),
        text,
    })
}

/// How a release that believes the database ends on it, whatever is in the log.
fn of_database(facts: &Facts, target: &Target) -> Option<String> {
    let (database, live) = (facts.database.as_ref()?, facts.live.as_ref()?);
    if target.is_pintle || target.minor() < 6 {
        return None;
    }
    let mut removed = database.members.removed.iter();
    if removed.any(|id| live.members.iter().any(|m| m.id == *id)) {
        return Some("the member has been permanently removed from the cluster".into());
    }
    // 3.6 corrects what its snapshot shows as promoted; nothing corrects them in 3.7.
    let stale = database.members.members.iter().filter(|m| m.is_learner);
    (target.minor() >= 7 && stale.count() > 1).then(|| predict::TOO_MANY_LEARNERS.into())
}

/// Whether a member that answers `version` runs what `launch` starts; `pintle` is
/// whether it shows that it is Pintle.
pub(crate) fn is_there(version: &Version, pintle: Option<bool>, launch: &Launch) -> bool {
    *version == launch.version
        && match pintle {
            Some(is) => is == launch.pintle,
            // Without a look at its measures that one version may be either.
            None => !is_of_pintle(version),
        }
}
