//! What keeps a cluster from a line, as far as it shows from outside of its members. Each text
//! says what to do.

use line::{Change, Line};
use proto::pintlepb::{Finding, MemberLine};
use semver::Version;

use super::{
    findings::{of_cluster, of_member},
    survey::{Survey, change_of, line_of, release_of},
};

/// What keeps the cluster from `target`.
pub fn judge(survey: &Survey, target: Line) -> Vec<Finding> {
    let Some(version) = &survey.version else {
        return vec![of_cluster(
            "undecided",
            "the cluster version is not decided yet: wait until all members are started",
        )];
    };
    let Some(line) = Line::of(version) else {
        return vec![of_cluster(
            "unknown_version",
            format!(
                "the cluster version is {version}, which is none of the lines 3.5, 3.6 and 3.7"
            ),
        )];
    };
    let mut found = Vec::new();
    found.extend(distance(line, target));
    found.extend(downgrade(survey, target));
    let way = Way {
        goes_down: target < line || survey.target_of_downgrade() == Some(target),
        takes_back: target == line && survey.is_in_change(),
    };
    for member in &survey.members {
        found.extend(of_one(member, target, way));
    }
    found
}

/// What becomes of the cluster.
#[derive(Clone, Copy)]
struct Way {
    goes_down: bool,
    /// The members keep, or go back to, the line that the cluster has. No one is left behind by
    /// that: who is down now gives the change up when it comes back and sees the others.
    takes_back: bool,
}

/// A cluster goes one minor version at a time.
fn distance(line: Line, target: Line) -> Option<Finding> {
    if (line as u8).abs_diff(target as u8) <= 1 {
        return None;
    }
    Some(of_cluster(
        "too_far",
        format!(
            "the cluster version is {}, and a cluster goes one minor version at a time: set 3.6 first",
            line.cluster_version()
        ),
    ))
}

/// A downgrade that was begun otherwise is not this command's to give up.
fn downgrade(survey: &Survey, target: Line) -> Option<Finding> {
    let under_way = survey.downgrade.as_ref()?;
    let to = survey.target_of_downgrade();
    let goes_back = to.is_some_and(|to| to.cluster_version() == below(target));
    if to == Some(target) || goes_back && survey.is_in_change_to(to) {
        return None;
    }
    let to = Version::parse(under_way)
        .map_or(under_way.clone(), |to| format!("{}.{}", to.major, to.minor));
    Some(of_cluster(
        "downgrade",
        format!(
            "a downgrade to {to} is under way: finish it with `line set {to}`, or give it up with `downgrade cancel` first"
        ),
    ))
}

fn below(line: Line) -> Version {
    let version = line.cluster_version();
    line::below(&version).unwrap_or(version)
}

fn of_one(member: &MemberLine, target: Line, way: Way) -> Vec<Finding> {
    let mut found = Vec::new();
    if member.is_learner && !way.takes_back {
        found.push(of_member(
            member,
            "learner",
            "is a learner: make it a voter with `member promote`, or remove it, first",
        ));
    }
    if !member.answers {
        let down = "does not answer: start it, or remove it from the cluster, first";
        found.extend((!way.takes_back).then(|| of_member(member, "down", down)));
        return found;
    }
    let leads_elsewhere = |change: &Change| change.to != target && change.from != target;
    if let Some(change) = change_of(member).filter(leads_elsewhere) {
        found.push(of_member(
            member,
            "in_change",
            format!(
                "is on its way to {}: finish that with `line set {}`, or take it back with `line set {}`, first",
                change.to, change.to, change.from
            ),
        ));
    }
    let is_etcd = line_of(member).is_none();
    let Some(release) = release_of(member).filter(|_| is_etcd) else {
        return found;
    };
    let own = line::minor(&release);
    let wanted = line::minor(&target.cluster_version());
    if own < wanted {
        found.push(of_member(
            member,
            "too_old",
            format!(
                "runs etcd {release}, which is too old for {target}: replace its binary by Pintle, or by etcd {target}, first"
            ),
        ));
    } else if way.goes_down && own > wanted {
        found.push(of_member(
            member,
            "swap",
            format!(
                "runs etcd {release}, which cannot change its line: replace its binary by Pintle first; or lower the \
                 cluster as etcd does, with `downgrade enable {target}` and then each member's binary"
            ),
        ));
    }
    found
}

impl Survey {
    /// The line that the downgrade under way leads to.
    pub fn target_of_downgrade(&self) -> Option<Line> {
        let target = self.downgrade.as_ref()?;
        Line::of(&Version::parse(target).ok()?)
    }

    fn is_in_change_to(&self, line: Option<Line>) -> bool {
        let mut changes = self.members.iter().filter_map(change_of);
        changes.any(|change| Some(change.to) == line)
    }

    /// Whether a member is on its way.
    pub fn is_in_change(&self) -> bool {
        self.members
            .iter()
            .any(|member| change_of(member).is_some())
    }
}
