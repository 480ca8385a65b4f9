//! A normal entry speaks one of two languages: InternalRaftRequest, or the bare
//! v2 request that etcd up to 3.5 writes for its own membership. Nothing on the
//! wire tells them apart: as in etcd, what cannot be read as the first is read as
//! the second. And which entries this release must not apply: those that end
//! every etcd, and those whose effect it could not reproduce.

use bytes::Bytes;
use line::{Feature, Line};
use proto::{
    etcdserverpb::{
        AlarmRequest, AlarmType, Request, TxnRequest, alarm_request::AlarmAction,
        internal_raft_request::Op, range_request::SortTarget, request_op,
    },
    raftpb::{ConfChange, Entry, EntryType},
    wire::{Logged, Malformed, Order, Read as _},
};
use semver::Version;

use crate::{
    conf_change, member,
    v2store::{self, Blocked},
};

/// What an entry asks for.
#[derive(Debug)]
pub enum Payload {
    /// The leader's first entry of a term.
    Empty,
    /// A v2 request, bare or wrapped.
    V2(Request),
    /// A v3 request.
    Internal(Logged),
}

/// True for the v2 requests that etcd up to 3.5 writes for itself: a member's
/// attributes, the cluster version. Any other in the log ends etcd 3.6.
pub fn is_membership(request: &Request) -> bool {
    let is_own = request.path == "/0/version" || attributes_of(request).is_some();
    request.method == "PUT" && is_own
}

/// The member whose attributes a v2 request is about.
pub fn attributes_of(request: &Request) -> Option<u64> {
    member::attributes_path(&request.path).map(|id| id.0)
}

/// True for a v2 request that changes something where the cluster keeps its members.
fn is_about_cluster(request: &Request) -> bool {
    request.method != "QGET" && v2store::names(&request.path).first() == Some(&"0")
}

/// False for entries that say nothing of members and are no request of the v2
/// API: keys, leases, alarms. What cannot be decoded may say anything.
pub fn is_of_interest(entry: &Entry) -> bool {
    if entry.r#type != EntryType::EntryNormal as i32 {
        return true;
    }
    match decode_entry(&entry.data.clone().unwrap_or_default(), Line::DEFAULT) {
        Ok(Payload::Empty) => false,
        Ok(Payload::Internal(request)) => is_about_members(request.op.as_ref()),
        Ok(Payload::V2(_)) | Err(_) => true,
    }
}

/// True for the requests that followers of the membership apply, whatever the
/// database holds.
pub fn is_about_members(op: Option<&Op>) -> bool {
    matches!(
        op,
        Some(Op::ClusterMemberAttrSet(_) | Op::ClusterVersionSet(_) | Op::DowngradeInfoSet(_))
    )
}

/// Decodes the payload of a normal entry as members of a line do.
///
/// # Errors
/// It is a request in neither language, which ends every etcd.
pub fn decode_entry(data: &Bytes, line: Line) -> Result<Payload, Malformed> {
    if data.is_empty() {
        return Ok(Payload::Empty);
    }
    let mut request = match Logged::read(data, order(line)) {
        Ok(request) => request,
        Err(error) => return Request::read(data).map(Payload::V2).map_err(|_| error),
    };
    match request.op.take() {
        Some(Op::V2(v2)) => Ok(Payload::V2(v2)),
        op => {
            request.op = op;
            Ok(Payload::Internal(request))
        }
    }
}

/// How members of a line read requests.
pub fn order(line: Line) -> Order {
    match line {
        Line::V3_5 => Order::V3_5,
        Line::V3_6 => Order::V3_6,
        Line::V3_7 => Order::V3_7,
    }
}

/// Why an entry must not be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A request in no language.
    #[error("it cannot be decoded: {0}")]
    Malformed(#[from] Malformed),
    /// No operation, or one of a release to come.
    #[error("it names no operation that this line of etcd knows")]
    Unknown,
    /// A request of the v2 API, of which this line knows those about members only.
    #[error(
        "it is a request of the v2 API, which etcd {0} has no more (detected disallowed v2 WAL for stage --v2-deprecation=write-only)"
    )]
    V2(Line),
    /// More than one operation, of which each line picks its own.
    #[error("it names more than one operation")]
    Several,
    /// No one could get the result.
    #[error("it has no request id")]
    NoId,
    /// An operation of which a part is missing or wrong.
    #[error("its {0} is not valid")]
    Invalid(&'static str),
    /// It would leave no member with a vote.
    #[error("it takes the last vote")]
    LastVote,
    /// A request about members that does not fit the v2 tree.
    #[error("{0}")]
    Blocked(#[from] Blocked),
    /// An entry that is neither a request nor a single configuration change.
    #[error("it is of type {0}, which etcd does not apply")]
    Type(i32),
}

impl Refusal {
    /// What whoever runs this member can do.
    pub const ADVICE: &str = "an etcd member ends on it too. Nothing of it was applied here: restore the cluster from a \
                              snapshot, or start a release that knows the entry on this data directory";
}

/// Why a decoded request must not be applied; `None` for all that can be. A
/// request that the database holds already (`fresh` is false) is judged by what
/// still follows it, the membership.
pub fn refusal(payload: &Payload, fresh: bool, line: Line) -> Option<Refusal> {
    match payload {
        Payload::Empty => None,
        Payload::V2(request) => refusal_of_v2(request).or_else(|| refusal_by(line, request)),
        Payload::Internal(request) => {
            if request.id == 0 && request.header.is_none() {
                return Some(Refusal::NoId);
            }
            match &request.op {
                op if !fresh && !is_about_members(op.as_ref()) => None,
                None => Some(Refusal::Unknown),
                Some(Op::DowngradeVersionTest(_)) if !line.has(Feature::DowngradeVersionTest) => {
                    Some(Refusal::Unknown)
                }
                Some(op) => refusal_of(op),
            }
        }
    }
}

/// Judges an entry of any type, as far as it alone tells. Returns the request, if it is one.
///
/// # Errors
/// It must not be applied.
pub fn judge(entry: &Entry, fresh: bool, line: Line) -> Result<Option<Payload>, Refusal> {
    let data = entry.data.clone().unwrap_or_default();
    match EntryType::try_from(entry.r#type) {
        Ok(EntryType::EntryNormal) => {
            let payload = decode_entry(&data, line)?;
            refusal(&payload, fresh, line).map_or(Ok(Some(payload)), Err)
        }
        Ok(EntryType::EntryConfChange) => conf_change::check_form(&ConfChange::read(&data)?)
            .map(|()| None)
            .map_err(|_| Refusal::Invalid("configuration change")),
        _ => Err(Refusal::Type(entry.r#type)),
    }
}

/// Judges an entry that a member proposes, as far as it alone tells: one that is applied without
/// effect may be in the log, but none is let in. Returns the request, if it is one.
///
/// # Errors
/// It must not get into the log.
pub fn judge_proposal(entry: &Entry, line: Line) -> Result<Option<Payload>, Refusal> {
    let data = entry.data.clone().unwrap_or_default();
    if entry.r#type != EntryType::EntryNormal as i32 {
        judge(entry, true, line)?;
        return conf_change::check_proposal(&ConfChange::read(&data)?)
            .map(|()| None)
            .map_err(|_| Refusal::Invalid("configuration change"));
    }
    let payload = decode_entry(&data, line)?;
    let refused = refusal(&payload, true, line).or_else(|| refusal_of_proposal(&payload, line));
    refused.map_or(Ok(Some(payload)), Err)
}

/// Why a request is not let in that could be applied.
fn refusal_of_proposal(payload: &Payload, line: Line) -> Option<Refusal> {
    match payload {
        Payload::Empty => Some(Refusal::Unknown),
        Payload::V2(_) if !line.has(Feature::V2OwnEntries) => Some(Refusal::V2(line)),
        Payload::V2(request) if !METHODS.iter().any(|known| request.method == *known) => {
            Some(Refusal::Unknown)
        }
        // Only these are etcd's own. Any other could take away, or block, what the next change
        // of a member needs.
        Payload::V2(request) => {
            let is_own = is_membership(request) && member::is_plain_put(request);
            (is_about_cluster(request) && !is_own).then_some(Refusal::Invalid("path"))
        }
        Payload::Internal(request) if request.has_several() => Some(Refusal::Several),
        Payload::Internal(request)
            if line.has(Feature::NamesAreText) && !request.has_text_only() =>
        {
            Some(Refusal::Invalid("text"))
        }
        Payload::Internal(request) => match &request.op {
            Some(Op::Txn(txn)) if has_deadly_operation(txn) => Some(Refusal::Invalid("operation")),
            Some(Op::Alarm(alarm))
                if raises_unknown_alarm(alarm) && !line.has(Feature::AlarmsOfAnyKind) =>
            {
                Some(Refusal::Invalid("kind of alarm"))
            }
            Some(op) if has_long_name(op) => Some(Refusal::Invalid("name")),
            Some(Op::DowngradeVersionTest(test)) if Version::parse(&test.ver).is_err() => {
                Some(Refusal::Invalid("version"))
            }
            // etcd parses it long after it was applied.
            Some(Op::DowngradeInfoSet(set)) if set.enabled && Version::parse(&set.ver).is_err() => {
                Some(Refusal::Invalid("target version"))
            }
            _ => None,
        },
    }
}

/// Whether an operation anywhere in a transaction is empty, or a range sorted by what no one
/// knows. Either ends etcd if its branch runs.
fn has_deadly_operation(txn: &TxnRequest) -> bool {
    let mut open = vec![txn];
    while let Some(txn) = open.pop() {
        for op in txn.success.iter().chain(&txn.failure) {
            match &op.request {
                None => return true,
                Some(request_op::Request::RequestTxn(nested)) => open.push(nested),
                Some(request_op::Request::RequestRange(range))
                    if SortTarget::try_from(range.sort_target).is_err() =>
                {
                    return true;
                }
                Some(_) => {}
            }
        }
    }
    false
}

/// What a line that has no v2 API makes of its requests: those that earlier lines write for their
/// membership are read as what they say, any other ends its members.
fn refusal_by(line: Line, request: &Request) -> Option<Refusal> {
    let is_read = line.has(Feature::V2Requests) || is_membership(request);
    (!is_read).then_some(Refusal::V2(line))
}

/// The methods a v2 request can have; any other has no effect.
const METHODS: [&str; 5] = ["PUT", "POST", "DELETE", "QGET", "SYNC"];

fn refusal_of_v2(request: &Request) -> Option<Refusal> {
    // etcd names the method in its metrics, which end it if that is not text.
    if std::str::from_utf8(&request.method).is_err() {
        return Some(Refusal::Invalid("method"));
    }
    if !member::is_plain_put(request) {
        return None;
    }
    if request.path == "/0/version" {
        return (Version::parse(&request.val).is_err())
            .then_some(Refusal::Invalid("cluster version"));
    }
    if member::attributes_path(&request.path).is_some() {
        let read = member::Published::parse(&request.val);
        return read
            .is_err()
            .then_some(Refusal::Invalid("member attributes"));
    }
    // etcd takes the path for one of a member wherever these names are in it.
    member::has_attributes_path(&request.path).then_some(Refusal::Invalid("path"))
}

fn refusal_of(op: &Op) -> Option<Refusal> {
    match op {
        Op::ClusterVersionSet(set) => Version::parse(&set.ver)
            .is_err()
            .then_some(Refusal::Invalid("cluster version")),
        Op::ClusterMemberAttrSet(set) => set
            .member_attributes
            .is_none()
            .then_some(Refusal::Invalid("member attributes")),
        // A bare v2 request inside is judged as one.
        Op::V2(request) => refusal_of_v2(request),
        _ => None,
    }
}

/// Whether an alarm is raised of a kind that no release knows. That ends members of 3.5; later ones
/// keep it like any other.
pub fn raises_unknown_alarm(request: &AlarmRequest) -> bool {
    request.action == AlarmAction::Activate as i32 && AlarmType::try_from(request.alarm).is_err()
}

/// The longest name of a user or a role that the database takes as a key.
pub const NAME_MAX: usize = 32 << 10;

/// Whether an operation adds a user or a role with a longer name. It ends etcd where that is
/// applied.
pub fn has_long_name(op: &Op) -> bool {
    match op {
        Op::AuthUserAdd(one) => one.name.len() > NAME_MAX,
        Op::AuthRoleAdd(one) => one.name.len() > NAME_MAX,
        _ => false,
    }
}

/// Whether what an operation on users and roles names is text. Members of etcd before 3.7 take any
/// bytes; see [`Logged::has_text_only`].
pub fn is_text(op: &Op) -> bool {
    let names: &[&[u8]] = match op {
        Op::AuthUserAdd(one) => &[&one.name],
        Op::AuthUserDelete(one) => &[&one.name],
        Op::AuthUserGet(one) => &[&one.name],
        Op::AuthUserChangePassword(one) => &[&one.name],
        Op::AuthUserGrantRole(one) => &[&one.user, &one.role],
        Op::AuthUserRevokeRole(one) => &[&one.name, &one.role],
        Op::AuthRoleAdd(one) => &[&one.name],
        Op::AuthRoleDelete(one) => &[&one.role],
        Op::AuthRoleGet(one) => &[&one.role],
        Op::AuthRoleGrantPermission(one) => &[&one.name],
        Op::AuthRoleRevokePermission(one) => &[&one.role],
        Op::Authenticate(one) => &[&one.name],
        _ => &[],
    };
    names.iter().all(|name| std::str::from_utf8(name).is_ok())
}
