//! What all members say of their lines.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use line::{Change, Kept, Line};
use membership::Member;
use prost::Message as _;
use proto::pintlepb::{Finding, LineAnswer, LineOrder, MemberLine, line_order::Action};
use semver::Version;

use super::{PAGE, own};
use crate::{ask, runtime::Runtime, version::Versions};

/// How long a member may prepare itself: it takes a snapshot, and reads its database.
const PREPARE_TIMEOUT: Duration = Duration::from_secs(30);

/// What was found.
#[derive(Debug, Default)]
pub struct Survey {
    /// The cluster version, once decided.
    pub version: Option<Version>,
    /// The target of the downgrade under way.
    pub downgrade: Option<String>,
    /// What each member says of itself.
    pub members: Vec<MemberLine>,
    /// What they say of the order.
    pub findings: Vec<Finding>,
}

impl Survey {
    /// The members that run Pintle, and neither have the line of a change nor are on their way.
    pub fn left_behind(&self, change: Change) -> impl Iterator<Item = &MemberLine> {
        let is_left = move |member: &&MemberLine| {
            let is_on_its_way = change_of(member).is_some_and(|theirs| theirs.to == change.to);
            line_of(member).is_some_and(|line| line != change.to) && !is_on_its_way
        };
        self.members.iter().filter(is_left)
    }

    /// Whether a member with a change of its own, or none, and the others go to a lower line
    /// together: everybody says what they do, and it is the same. A member that cannot be asked
    /// may do otherwise.
    pub fn is_together(&self, own: Option<Change>, target: &Version) -> bool {
        let goes_there = |change: Change| Some(change.to) == Line::of(target);
        let all_answer = self.members.iter().all(|member| member.answers);
        all_answer
            && match own {
                Some(change) => self.left_behind(change).next().is_none(),
                None => !self.members.iter().filter_map(change_of).any(goes_there),
            }
    }
}

/// The release that a member announces.
pub fn release_of(member: &MemberLine) -> Option<Version> {
    Version::parse(&member.release).ok()
}

/// The change that a member is in.
pub fn change_of(member: &MemberLine) -> Option<Change> {
    match Kept::parse(&member.change) {
        Some(Kept::Change(change)) => Some(change),
        _ => None,
    }
}

/// The line of a member that runs Pintle.
pub fn line_of(member: &MemberLine) -> Option<Line> {
    let release = release_of(member).filter(|_| !member.pintle.is_empty())?;
    Line::of(&release)
}

/// Hands an order to every member, all at once.
pub async fn all(rt: &Rc<Runtime>, order: &LineOrder) -> Survey {
    let cluster = rt.core.state.cluster.load_full();
    let members = cluster.members().map(|member| one(rt, member, order));
    let answers = futures_util::future::join_all(members).await;
    let mut survey = Survey {
        version: cluster.version().cloned(),
        downgrade: cluster.downgrade().map(str::to_owned),
        ..Survey::default()
    };
    for answer in answers {
        survey.members.extend(answer.member);
        survey.findings.extend(answer.findings);
    }
    survey
}

/// Hands an order to a member. One that runs etcd is only asked what it runs.
pub async fn one(rt: &Rc<Runtime>, member: &Member, order: &LineOrder) -> LineAnswer {
    if member.id.0 == rt.core.member_id {
        return own::obey(rt, order).await;
    }
    let order = LineOrder {
        to_member: member.id.0,
        by_member: rt.core.member_id,
        ..order.clone()
    };
    let mut answer = match of_pintle(rt, member, &order).await {
        Heard::Pintle(answer) => answer,
        Heard::Etcd => of_etcd(rt, member).await,
        Heard::Nothing => LineAnswer::default(),
    };
    let line = answer.member.get_or_insert_default();
    line.id = member.id.0;
    line.name.clone_from(&member.name);
    line.is_learner = member.is_learner;
    if let (Some(peers), Some(release)) = (rt.core.raft.peers(), release_of(line)) {
        peers.learned(member.id.0, release);
    }
    for finding in &mut answer.findings {
        finding.member_id = member.id.0;
        finding.name.clone_from(&member.name);
    }
    answer
}

/// What comes back from a member that was handed an order.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Pintle's answer.
    Pintle(LineAnswer),
    /// The member does not have the page.
    Etcd,
    /// Nothing that says what runs there.
    Nothing,
}

impl Heard {
    /// Reads a reply. A member that has the page and fails is not taken for one that does not have
    /// it: what it would have said against a change is not known.
    pub fn of(status: StatusCode, body: Bytes) -> Heard {
        match status {
            StatusCode::NOT_FOUND => Heard::Etcd,
            StatusCode::OK => match LineAnswer::decode(body) {
                Ok(mut answer) => {
                    answer.member.get_or_insert_default().answers = true;
                    Heard::Pintle(answer)
                }
                Err(_) => Heard::Nothing,
            },
            _ => Heard::Nothing,
        }
    }
}

async fn of_pintle(rt: &Rc<Runtime>, member: &Member, order: &LineOrder) -> Heard {
    let body: Bytes = order.encode_to_vec().into();
    let timeout = match order.action == Action::Prepare as i32 {
        true => PREPARE_TIMEOUT,
        false => ask::TIMEOUT,
    };
    let reply = ask::member_within(rt, member, Method::POST, PAGE, body, timeout).await;
    match reply {
        Ok(reply) => {
            let is_of_cluster = reply.cluster_id.is_none_or(|id| id == rt.core.cluster_id);
            match Heard::of(reply.status, reply.body) {
                Heard::Pintle(answer) if !is_of_cluster || !is_from(&answer, member) => {
                    Heard::Nothing
                }
                heard => heard,
            }
        }
        Err(_) => Heard::Nothing,
    }
}

/// Whether a member speaks of itself: another one may be at its address.
fn is_from(answer: &LineAnswer, member: &Member) -> bool {
    let from = answer.member.as_ref().map(|answering| answering.id);
    from == Some(member.id.0)
}

async fn of_etcd(rt: &Rc<Runtime>, member: &Member) -> LineAnswer {
    let reply = ask::member(rt, member, Method::GET, "/version", Bytes::new()).await;
    let versions = reply.ok().and_then(|reply| Versions::parse(&reply.body));
    let member = match versions {
        None => MemberLine::default(),
        Some(versions) => MemberLine {
            answers: true,
            release: versions.server.to_string(),
            cluster_version: versions.cluster.map_or_else(String::new, |v| v.to_string()),
            ..MemberLine::default()
        },
    };
    LineAnswer {
        member: Some(member),
        findings: Vec::new(),
    }
}
