//! What can be known of a member, by where it is read. A part that could not be
//! read is absent, and says so; it never reads as "nothing found".

use std::{collections::BTreeMap, path::PathBuf};

use membership::{
    cluster::{Cluster, ClusterId, Member, MemberId},
    v2store::Tree,
    v3store::V3View,
};
use proto::{EntryId, raftpb::ConfState};
use semver::Version;

/// One member, as far as the sources tell.
#[derive(Debug, Default)]
pub struct Facts {
    /// How reports call it: a name, an id, or the path or endpoint it was read from.
    pub label: String,
    /// Its id, if a source tells.
    pub id: Option<MemberId>,
    /// Its cluster, if a source tells.
    pub cluster: Option<ClusterId>,
    /// The log and the snapshots beside it.
    pub log: Option<Log>,
    /// The database.
    pub database: Option<Database>,
    /// What the running member answers.
    pub live: Option<Live>,
    /// Whether a running member holds the database, so that only its log was read.
    pub in_use: bool,
    /// Sources that should have been there and could not be read, in words.
    pub unread: Vec<String>,
}

/// The write-ahead log and the newest `.snap` it knows.
#[derive(Debug)]
pub struct Log {
    /// Directory of the segments.
    pub dir: PathBuf,
    /// The newest snapshot record that a start begins from, zero for the very beginning.
    pub snapshot: EntryId,
    /// The membership in the `.snap` of that record; `None` without one.
    pub at_snapshot: Option<Cluster>,
    /// Keys of API version 2 in that `.snap`, as far as they block 3.6.
    pub v2_keys: Vec<String>,
    /// Whether anything of v2 auth is left in it, which blocks up to 3.6.2.
    pub v2_auth: bool,
    /// The membership after everything committed, by the rules of etcd 3.5.
    pub now: Cluster,
    /// The v2 store after everything committed.
    pub tree: Tree,
    /// The raft configuration after everything committed.
    pub conf_state: ConfState,
    /// Term of the entry at the commit index.
    pub commit_term: u64,
    /// Commit index.
    pub commit: u64,
    /// Last entry.
    pub last: u64,
    /// Raw v2 requests behind the snapshot, committed or not.
    pub v2_records: Vec<V2Record>,
    /// Living members that a replay by 3.5.26 or later takes for zombies: the
    /// database has them already at an index where the log does not (as 3.4 leaves
    /// it, which saves its index only with a key).
    pub expelled: Vec<MemberId>,
    /// Promotions behind the snapshot: index and member.
    pub promotions: Vec<(u64, MemberId)>,
    /// The last segment and where a torn write begins in it, as after a crash.
    pub torn: Option<(PathBuf, u64)>,
    /// Snapshot records and `.snap` files that do not fit each other, in words.
    pub gaps: Vec<String>,
    /// `<index>.snap.db` files that were left over.
    pub leftovers: Vec<PathBuf>,
    /// The membership as of the database's consistent index, if the log reaches there.
    pub at_database: Option<Cluster>,
    /// The raft configuration as of there: with any other a database that has members removed or
    /// added since would look damaged.
    pub conf_state_at_database: Option<ConfState>,
}

/// By what the members that a database lists are judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruler<'a> {
    /// By the v2 store and the log.
    Tree,
    /// By raft's configuration as of that database. Once a member of 3.6 has ruled, the v2 tree of
    /// a `.snap` is made of the database, zombies included: nothing else is another source.
    Raft(&'a ConfState),
    /// By raft's configuration, and the log does not have it as of that database.
    Unknown,
}

impl Log {
    /// By what the members that `database` lists are judged.
    pub(crate) fn ruler(&self, database: &Database) -> Ruler<'_> {
        match (&database.storage_version, &self.conf_state_at_database) {
            (None, _) => Ruler::Tree,
            (Some(_), Some(counted)) => Ruler::Raft(counted),
            (Some(_), None) => Ruler::Unknown,
        }
    }
}

/// A raw v2 request in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2Record {
    /// Its index.
    pub index: u64,
    /// Method and path.
    pub what: String,
    /// Whether it is one of the two that 3.6 takes: a member's attributes, the cluster version.
    pub is_membership: bool,
}

/// A database file.
#[derive(Debug, Default)]
pub struct Database {
    /// Where it lies.
    pub path: PathBuf,
    /// Bytes of its pages.
    pub size: u64,
    /// Bytes of those in use.
    pub in_use: u64,
    /// `meta/consistent_index`.
    pub consistent_index: u64,
    /// `meta/term`, since 3.5.
    pub term: Option<u64>,
    /// `meta/storageVersion`, since 3.6.
    pub storage_version: Option<String>,
    /// The membership buckets.
    pub members: V3View,
    /// Whether auth is on.
    pub auth_enabled: bool,
    /// Alarms: member and kind.
    pub alarms: Vec<(MemberId, String)>,
    /// Newest revision.
    pub revision: i64,
    /// Revision of the last compaction, 0 for none.
    pub compacted: i64,
    /// Records among the newest, by the first part of their key.
    pub writers: BTreeMap<String, u64>,
    /// What contradicts the format.
    pub damage: Vec<String>,
    /// Whether its pages were walked for that.
    pub pages_checked: bool,
}

/// What a running member answers.
#[derive(Debug, Default)]
pub struct Live {
    /// Where it was asked.
    pub endpoint: String,
    /// Its version: of a Pintle the release of etcd that it answers as.
    pub version: Option<Version>,
    /// Whether it is Pintle, where it shows its measures.
    pub is_pintle: Option<bool>,
    /// The cluster's version, from `/version` or the status.
    pub cluster_version: Option<Version>,
    /// Id of the leader it knows, 0 for none.
    pub leader: u64,
    /// Its term.
    pub term: u64,
    /// Its commit index.
    pub raft_index: u64,
    /// What it has applied.
    pub applied: u64,
    /// Its newest revision.
    pub revision: i64,
    /// The version that a downgrade leads to, where it says that one is under way.
    pub downgrade: Option<Version>,
    /// Bytes of its database.
    pub db_size: i64,
    /// Bytes of those in use.
    pub db_in_use: i64,
    /// Its quota in bytes, 0 where it does not tell.
    pub quota: i64,
    /// Whether it says of itself that it is a learner.
    pub is_learner: bool,
    /// Errors in its status.
    pub errors: Vec<String>,
    /// Storage version, where it tells.
    pub storage_version: String,
    /// Its member list.
    pub members: Vec<Member>,
    /// Active alarms: member and kind.
    pub alarms: Vec<(MemberId, String)>,
    /// Hash of all keys at the common revision, with the compacted revision.
    pub hash: Option<Hash>,
    /// Its command line, where it tells.
    pub command_line: Option<Vec<String>>,
    /// Measures: of its `/metrics`, and what reads took.
    pub metrics: BTreeMap<String, f64>,
    /// The certificates that it shows to clients and members.
    pub certificates: Vec<Certificate>,
}

/// A certificate, as far as an upgrade is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Who shows it, or the file it is in.
    pub what: String,
    /// Names and addresses that it is for.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub not_after: Option<i64>,
    /// Whether it is for the host that it was asked of.
    pub covers: Option<bool>,
    /// The digest of its signature where that is refused nowadays.
    pub weak_digest: Option<&'static str>,
    /// Its serial number, in hexadecimal.
    pub serial: String,
    /// Whether it is the one that this client shows: no member has it.
    pub of_client: bool,
}

impl Certificate {
    /// What is of interest in a certificate; `host` is where it was seen.
    pub fn of(what: String, leaf: &tls::Leaf, host: Option<&str>) -> Certificate {
        let addresses = leaf.ip_addresses.iter().map(ToString::to_string);
        let names: Vec<String> = leaf.dns_names.iter().cloned().chain(addresses).collect();
        let fits = |host: &str| {
            names.iter().any(|name| {
                let wild = name.strip_prefix('*').filter(|rest| rest.starts_with('.'));
                name.eq_ignore_ascii_case(host)
                    || wild.is_some_and(|rest| {
                        host.split_once('.')
                            .is_some_and(|(_, tail)| tail == &rest[1..])
                    })
            })
        };
        Certificate {
            covers: host.map(fits),
            not_after: leaf.not_after.map(|end| end.unix_timestamp()),
            weak_digest: leaf.weak_digest,
            serial: leaf.serial.iter().map(|b| format!("{b:02x}")).collect(),
            of_client: false,
            what,
            names,
        }
    }
}

/// What `HashKV` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// At which revision.
    pub revision: i64,
    /// The hash.
    pub hash: u32,
    /// The compacted revision it goes with.
    pub compacted: i64,
}

impl Facts {
    /// The truth about membership by the best source there is, and its name.
    pub fn truth(&self) -> Option<(Vec<Member>, &'static str)> {
        if let Some(log) = &self.log {
            return Some((
                log.now.members().cloned().collect(),
                "the v2 store and the log",
            ));
        }
        let live = self.live.as_ref()?;
        (!live.members.is_empty()).then(|| (live.members.clone(), "the member list"))
    }

    /// The cluster version by the best source there is.
    pub fn cluster_version(&self) -> Option<Version> {
        let live = self.live.as_ref().and_then(|l| l.cluster_version.clone());
        let log = || self.log.as_ref().and_then(|l| l.now.version().cloned());
        let database = || {
            self.database
                .as_ref()
                .and_then(|d| d.members.cluster_version.clone())
        };
        live.or_else(log).or_else(database)
    }
}

/// The highest cluster version that any source of `members` has.
pub fn cluster_version(members: &[Facts]) -> Option<Version> {
    members.iter().filter_map(Facts::cluster_version).max()
}
