//! What a run asks of a cluster and does to it, besides stopping and starting
//! members. Narrow, so that a model can stand in for the cluster: everything that
//! decides is on this side of it.

use std::{path::Path, time::Duration};

use membership::cluster::Member;
use proto::{
    etcdserverpb as api,
    pintlepb::{Finding, ShowResponse},
};
use semver::Version;

use super::driver::Process;
use crate::{
    facts::{Facts, Hash},
    inspect::{self, Access},
};

/// What is asked of the downgrade machinery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Whether it could be enabled.
    Validate,
    /// To enable it.
    Enable,
}

/// The lock of one run in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Lock {
    /// This run has it now.
    Ours {
        /// Whether a killed attempt of this very run had it before.
        was_held: bool,
    },
    /// Another one has it: the value of the key.
    Of(String),
}

/// What asking a member came to. No `Result`: who is silent may be down, and who refuses
/// this client is not, so no call site may take "no facts" for "does not run".
#[derive(Debug)]
#[must_use]
pub(crate) enum Answer<T> {
    /// What it told.
    Told(T),
    /// Nothing answers: it is down, or out of reach.
    Silent(String),
    /// Something answers there, and not to this client: TLS or the login is wrong. Of the
    /// member nothing is known.
    Refused(String),
}

/// Why a call to a member failed, human-readable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    /// Nothing answers: it is down, or out of reach.
    #[error("{0}")]
    Silent(String),
    /// Something answers there, and not to this client.
    #[error("{0}")]
    Refused(String),
    /// It was asked, and the call failed.
    #[error("{0}")]
    Failed(String),
}

impl From<inspect::Error> for CallError {
    fn from(error: inspect::Error) -> CallError {
        match error {
            inspect::Error::Refused { .. } => CallError::Refused(error.to_string()),
            _ => CallError::Silent(error.to_string()),
        }
    }
}

impl From<client::Error> for CallError {
    fn from(error: client::Error) -> CallError {
        CallError::Failed(error.to_string())
    }
}

impl<T> Answer<T> {
    /// What it told, or why it did not: for who goes no further in both cases.
    pub(crate) fn told(self) -> Result<T, CallError> {
        match self {
            Answer::Told(told) => Ok(told),
            Answer::Silent(why) => Err(CallError::Silent(why)),
            Answer::Refused(why) => Err(CallError::Refused(why)),
        }
    }
}

impl<T> From<Result<T, inspect::Error>> for Answer<T> {
    fn from(outcome: Result<T, inspect::Error>) -> Answer<T> {
        match outcome {
            Ok(told) => Answer::Told(told),
            Err(error @ inspect::Error::Refused { .. }) => Answer::Refused(error.to_string()),
            Err(error) => Answer::Silent(error.to_string()),
        }
    }
}

/// A cluster, by the endpoints of its members.
pub(crate) trait Cluster {
    /// What a member answers, without its database.
    async fn answers(&self, endpoint: &str) -> Answer<Facts>;
    /// The same with its database and its pages.
    async fn everything(&self, endpoint: &str) -> Answer<Facts>;
    /// Whether something takes connections there: a process that may answer later.
    async fn listens(&self, endpoint: &str) -> bool;
    /// What the directory of a member that does not run says, if it can be read.
    fn files(&self, directory: &Path) -> Option<Facts>;
    /// What the lock on the database in `directory` says of the process there.
    fn process_in(&self, directory: &Path) -> Process;
    /// Brings the indexes of `members` to one moment.
    async fn moments(&self, members: &mut [Facts]);
    /// The cluster version that a member shows on its page.
    async fn cluster_version(&self, endpoint: &str) -> Option<Version>;
    /// Whether a member is Pintle, if it shows that.
    async fn is_pintle(&self, endpoint: &str) -> Option<bool>;
    /// When the process of a member was started, if it shows that.
    async fn started_at(&self, endpoint: &str) -> Option<String>;
    /// What a linearizable read takes.
    async fn read(&self, endpoint: &str) -> Answer<Duration>;
    /// Proposes so many entries that change nothing, not even the revision: deletions of a
    /// key that is not there.
    async fn make_entries(&self, endpoint: &str, count: usize) -> Result<(), CallError>;
    /// The hash of all keys up to a revision.
    async fn hash(&self, endpoint: &str, revision: i64) -> Result<Hash, CallError>;
    /// Moves the leadership from the member at `endpoint` to another one.
    async fn move_leader(&self, endpoint: &str, to: u64) -> Result<(), CallError>;
    /// Announces a member with the peer URLs that it has already.
    async fn announce(&self, endpoint: &str, member: &Member) -> Result<(), CallError>;
    /// Asks for a downgrade.
    async fn downgrade(&self, endpoint: &str, ask: Ask, version: &str) -> Result<(), CallError>;
    /// What the members say of their lines, and what keeps them from `target`, if one is named.
    async fn lines(&self, endpoint: &str, target: &str) -> Result<ShowResponse, CallError>;
    /// Has the members change their line; what keeps them from it, and nothing was begun then.
    async fn set_line(&self, endpoint: &str, target: &str) -> Result<Vec<Finding>, CallError>;
    /// Takes the lock, or renews it. `run` is the end of the value by which a run
    /// knows its own.
    async fn lock(
        &self,
        endpoint: &str,
        value: &str,
        run: &str,
        seconds: u64,
    ) -> Result<Lock, CallError>;
    /// Gives the lock back, if it is the one of `run`.
    async fn unlock(&self, endpoint: &str, run: &str) -> Result<(), CallError>;
    /// Time since some moment.
    fn now(&self) -> Duration;
    /// Waits.
    async fn sleep(&self, time: Duration);
    /// What `work` comes to; `None` where that takes longer than `limit`.
    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T>;
}

/// The key of the lock.
const KEY: &[u8] = b"pintle-upgrade/turn";
/// The key that is read, and deleted where entries are wanted. No one ever writes it.
const PROBE: &[u8] = b"pintle-upgrade";
/// How long a member may take to answer before it is seen whether anything listens there.
const KNOCK: Duration = Duration::from_millis(500);
/// Reads that are averaged.
const READS: u32 = 5;

impl Cluster for Access {
    async fn answers(&self, endpoint: &str) -> Answer<Facts> {
        let quick = Access {
            scratch: None,
            ..self.clone()
        };
        tokio::select! {
            facts = inspect::live(&quick, endpoint) => facts.into(),
            why = is_closed(self, endpoint) => Answer::Silent(format!("{endpoint}: {why}")),
        }
    }

    async fn everything(&self, endpoint: &str) -> Answer<Facts> {
        match self.answers(endpoint).await {
            Answer::Told(_) => inspect::live(self, endpoint).await.into(),
            other => other,
        }
    }

    async fn listens(&self, endpoint: &str) -> bool {
        inspect::knock(self, endpoint).await.is_ok()
    }

    fn files(&self, directory: &Path) -> Option<Facts> {
        inspect::directory(directory, None, false, true).ok()
    }

    fn process_in(&self, directory: &Path) -> Process {
        match inspect::is_in_use(directory) {
            Some(true) => Process::Runs,
            Some(false) => Process::Ended,
            None => Process::Unknown,
        }
    }

    async fn moments(&self, members: &mut [Facts]) {
        inspect::moments(self, members).await;
    }

    async fn cluster_version(&self, endpoint: &str) -> Option<Version> {
        inspect::cluster_version(self, endpoint).await
    }

    async fn is_pintle(&self, endpoint: &str) -> Option<bool> {
        inspect::is_pintle(self, endpoint).await
    }

    async fn started_at(&self, endpoint: &str) -> Option<String> {
        inspect::started_at(self, endpoint).await
    }

    async fn read(&self, endpoint: &str) -> Answer<Duration> {
        inspect::read(self, endpoint, PROBE, READS).await.into()
    }

    async fn make_entries(&self, endpoint: &str, count: usize) -> Result<(), CallError> {
        let client = self.client(endpoint).await?;
        let delete = || {
            client.delete_range(api::DeleteRangeRequest {
                key: PROBE.into(),
                ..Default::default()
            })
        };
        let entries = (0..count).map(|_| delete());
        futures_util::future::try_join_all(entries).await?;
        Ok(())
    }

    async fn hash(&self, endpoint: &str, revision: i64) -> Result<Hash, CallError> {
        Ok(inspect::hash(self, endpoint, revision).await?)
    }

    async fn move_leader(&self, endpoint: &str, to: u64) -> Result<(), CallError> {
        let client = self.client(endpoint).await?;
        let request = api::MoveLeaderRequest { target_id: to };
        let moved = client.move_leader(request).await;
        moved
            .map(drop)
            .map_err(|e| CallError::Failed(format!("move-leader: {e}")))
    }

    async fn announce(&self, endpoint: &str, member: &Member) -> Result<(), CallError> {
        let client = self.client(endpoint).await?;
        let request = api::MemberUpdateRequest {
            id: member.id.0,
            peer_ur_ls: member.peer_urls.clone(),
        };
        client.member_update(request).await?;
        Ok(())
    }

    async fn downgrade(&self, endpoint: &str, ask: Ask, version: &str) -> Result<(), CallError> {
        use api::downgrade_request::DowngradeAction as Action;
        let action = match ask {
            Ask::Validate => Action::Validate,
            Ask::Enable => Action::Enable,
        };
        let client = self.client(endpoint).await?;
        let request = api::DowngradeRequest {
            action: action.into(),
            version: version.to_owned(),
        };
        client.downgrade(request).await?;
        Ok(())
    }

    async fn lines(&self, endpoint: &str, target: &str) -> Result<ShowResponse, CallError> {
        let client = patient(self).client(endpoint).await?;
        client.show_lines(target).await.map_err(of_line)
    }

    async fn set_line(&self, endpoint: &str, target: &str) -> Result<Vec<Finding>, CallError> {
        let client = patient(self).client(endpoint).await?;
        client.begin_line(target).await.map_err(of_line)
    }

    async fn lock(
        &self,
        endpoint: &str,
        value: &str,
        run: &str,
        seconds: u64,
    ) -> Result<Lock, CallError> {
        let client = self.client(endpoint).await?;
        let lease = api::LeaseGrantRequest {
            ttl: i64::try_from(seconds).unwrap_or(i64::MAX),
            id: 0,
        };
        let lease = client.lease_grant(lease).await?.id;
        let put = op(api::request_op::Request::RequestPut(api::PutRequest {
            key: KEY.into(),
            value: value.as_bytes().to_vec().into(),
            lease,
            ..Default::default()
        }));
        let read = op(api::request_op::Request::RequestRange(api::RangeRequest {
            key: KEY.into(),
            ..Default::default()
        }));
        let mut condition = compare(
            api::compare::CompareTarget::Create,
            api::compare::TargetUnion::CreateRevision(0),
        );
        // Free; else what a killed attempt of this very run has left.
        let mut was_held = false;
        loop {
            let txn = api::TxnRequest {
                compare: vec![condition],
                success: vec![put.clone()],
                failure: vec![read.clone()],
            };
            let answer = client.txn(txn).await?;
            if answer.succeeded {
                return Ok(Lock::Ours { was_held });
            }
            let holder = holder(answer);
            if !is_of(&holder, run) {
                let revoke = api::LeaseRevokeRequest { id: lease };
                let _ = client.lease_revoke(revoke).await;
                return Ok(Lock::Of(holder));
            }
            condition = is(&holder);
            was_held = true;
        }
    }

    async fn unlock(&self, endpoint: &str, run: &str) -> Result<(), CallError> {
        let client = self.client(endpoint).await?;
        let range = api::RangeRequest {
            key: KEY.into(),
            ..Default::default()
        };
        let found = client.range(range).await?;
        let value = found.kvs.into_iter().next().map(|kv| kv.value);
        let Some(holder) = value.map(|v| String::from_utf8_lossy(&v).into_owned()) else {
            return Ok(());
        };
        if !is_of(&holder, run) {
            return Ok(());
        }
        let delete = api::DeleteRangeRequest {
            key: KEY.into(),
            ..Default::default()
        };
        let txn = api::TxnRequest {
            compare: vec![is(&holder)],
            success: vec![op(api::request_op::Request::RequestDeleteRange(delete))],
            failure: Vec::new(),
        };
        client.txn(txn).await?;
        Ok(())
    }

    fn now(&self) -> Duration {
        static BEGAN: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        BEGAN.get_or_init(std::time::Instant::now).elapsed()
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn within<T>(&self, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(limit, work).await.ok()
    }
}

/// Members look at each other, and may write a snapshot, before they answer for their line.
const LINE_WITHIN: Duration = Duration::from_secs(60);

fn patient(access: &Access) -> Access {
    Access {
        command_timeout: access.command_timeout.max(LINE_WITHIN),
        ..access.clone()
    }
}

/// That of a member which does not know of lines.
pub(super) fn of_etcd() -> CallError {
    CallError::Failed("it runs etcd, whose line is that of its binary".into())
}

fn of_line(error: client::Error) -> CallError {
    match error.as_status() {
        Some((client::Code::Unimplemented, _)) => of_etcd(),
        _ => error.into(),
    }
}

/// Ends when nothing takes connections at `endpoint`, and says why. A client goes on trying
/// for its whole time; here whoever asks asks again.
async fn is_closed(access: &Access, endpoint: &str) -> std::io::Error {
    loop {
        // A member that answers is not knocked at: it would log that.
        tokio::time::sleep(KNOCK).await;
        if let Err(error) = inspect::knock(access, endpoint).await {
            return error;
        }
    }
}

/// Whether the value of a lock is the one of `run`.
pub(super) fn is_of(value: &str, run: &str) -> bool {
    value.rsplit(' ').next() == Some(run)
}

/// The value of the key, out of a refused transaction; empty if it went meanwhile.
fn holder(answer: api::TxnResponse) -> String {
    let kvs = answer
        .responses
        .into_iter()
        .find_map(|one| match one.response? {
            api::response_op::Response::ResponseRange(range) => Some(range.kvs),
            _ => None,
        });
    let first = kvs.and_then(|kvs| kvs.into_iter().next());
    first.map_or(String::new(), |kv| {
        String::from_utf8_lossy(&kv.value).into_owned()
    })
}

fn is(value: &str) -> api::Compare {
    compare(
        api::compare::CompareTarget::Value,
        api::compare::TargetUnion::Value(value.as_bytes().to_vec().into()),
    )
}

fn op(request: api::request_op::Request) -> api::RequestOp {
    api::RequestOp {
        request: Some(request),
    }
}

fn compare(target: api::compare::CompareTarget, is: api::compare::TargetUnion) -> api::Compare {
    api::Compare {
        key: KEY.into(),
        target: target.into(),
        result: api::compare::CompareResult::Equal.into(),
        target_union: Some(is),
        ..Default::default()
    }
}
