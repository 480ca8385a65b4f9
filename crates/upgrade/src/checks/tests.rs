//! Every check finds a sick input and passes a sound one. The inputs are made
//! here; that real members give such inputs is shown by `tests/upgrades`.

use std::collections::{BTreeMap, BTreeSet};

use membership::{
    cluster::{Cluster, ClusterId, Downgrade, Member, MemberId},
    conf_change,
    v2store::Tree,
    v3store::V3View,
};
use proto::raftpb::ConfState;
use semver::Version;

use super::*;
use crate::facts::{Certificate, Database, Hash, Live, Log, V2Record};

const NOW: i64 = 1_800_000_000;

fn member(id: u64) -> Member {
    Member {
        id: MemberId(id),
        peer_urls: vec![format!("http://h{id}:2380")],
        is_learner: false,
        name: format!("m{id}"),
        client_urls: vec![format!("http://h{id}:2379")],
    }
}

fn cluster() -> Cluster {
    let (mut cluster, mut tree) = (Cluster::default(), Tree::new());
    for id in 1..=3 {
        conf_change::apply(
            &mut cluster,
            &mut tree,
            &conf_change::add(0, &member(id)),
            conf_change::Rules::Newer,
        )
        .expect("holds");
        let own = member(id);
        cluster
            .set_attributes(own.id, &own.name, &own.client_urls)
            .expect("there");
    }
    cluster.set_version(Some(Version::new(3, 5, 0)));
    cluster
}

/// One of three members of a sound 3.5.30 cluster, by all its sources.
fn sound(id: u64) -> Facts {
    let cluster = cluster();
    let members: Vec<Member> = cluster.members().cloned().collect();
    let conf_state = ConfState {
        voters: vec![1, 2, 3],
        ..ConfState::default()
    };
    Facts {
        in_use: false,
        label: format!("m{id}"),
        id: Some(MemberId(id)),
        cluster: Some(ClusterId(7)),
        log: Some(Log {
            dir: "wal".into(),
            snapshot: proto::EntryId { index: 50, term: 2 },
            at_snapshot: Some(cluster.clone()),
            v2_keys: Vec::new(),
            v2_auth: false,
            tree: Tree::new(),
            conf_state: conf_state.clone(),
            commit_term: 2,
            commit: 100,
            last: 100,
            v2_records: Vec::new(),
            expelled: Vec::new(),
            promotions: Vec::new(),
            torn: None,
            gaps: Vec::new(),
            leftovers: Vec::new(),
            at_database: Some(cluster.clone()),
            conf_state_at_database: Some(conf_state.clone()),
            now: cluster.clone(),
        }),
        database: Some(Database {
            size: 1 << 20,
            in_use: 1 << 20,
            consistent_index: 100,
            members: V3View {
                members: members.clone(),
                cluster_version: cluster.version().cloned(),
                conf_state: Some(conf_state),
                ..V3View::default()
            },
            revision: 90,
            writers: BTreeMap::from([("/registry".to_owned(), 90)]),
            pages_checked: true,
            ..Database::default()
        }),
        live: Some(Live {
            endpoint: format!("http://h{id}:2379"),
            version: Some(Version::new(3, 5, 30)),
            cluster_version: Some(Version::new(3, 5, 0)),
            leader: 1,
            term: 2,
            raft_index: 100,
            applied: 100,
            db_size: 1 << 20,
            db_in_use: 1 << 20,
            quota: 1 << 31,
            members,
            hash: Some(Hash {
                revision: 90,
                hash: 5,
                compacted: 0,
            }),
            command_line: Some(vec!["etcd".into(), format!("--name=m{id}")]),
            metrics: BTreeMap::from([("wal_fsync_p99_seconds".to_owned(), 0.002)]),
            certificates: vec![certificate(365)],
            ..Live::default()
        }),
        unread: Vec::new(),
    }
}

fn certificate(days: i64) -> Certificate {
    Certificate {
        what: "the client URL".into(),
        names: vec!["h1".into()],
        not_after: Some(NOW + days * 24 * 3600),
        covers: Some(true),
        weak_digest: None,
        serial: "01".into(),
        of_client: false,
    }
}

fn given() -> Given {
    Given {
        no_restarts: false,
        silent: Vec::new(),
        flags: Some(vec!["--name=m1".into()]),
        backup: Some(("backup.db".into(), Ok("sound".into()))),
        hashes: Some(Ok((1..=3).map(|id| (format!("m{id}"), 5)).collect())),
        learners_max: 1,
        restore_is_planned: true,
        certificates: vec![certificate(365)],
        now: NOW,
        api_servers: vec![ApiServer {
            path: "kube-apiserver.yaml".into(),
            minor: Some(34),
            etcd_servers: (1..=3).map(|id| format!("http://h{id}:2379")).collect(),
        }],
        image: Some(("image.tar".into(), Ok("sound".into()))),
    }
}

/// A whole input.
struct Input {
    target: &'static str,
    members: Vec<Facts>,
    given: Given,
}

impl Input {
    fn sound() -> Input {
        Input {
            target: "3.6.14",
            members: (1..=3).map(sound).collect(),
            given: given(),
        }
    }

    fn report(self) -> Report {
        let target = Target::parse(self.target).expect("target");
        run(target, self.members, &self.given)
    }

    fn live(&mut self) -> &mut Live {
        self.members[0].live.as_mut().expect("live")
    }

    fn database(&mut self) -> &mut Database {
        self.members[0].database.as_mut().expect("database")
    }

    fn log(&mut self) -> &mut Log {
        self.members[0].log.as_mut().expect("log")
    }
}

type Spoil = fn(&mut Input);

/// What is spoiled, how bad that is, and a word of what is said.
const SICK: [(&str, Level, Spoil, &str); 43] = [
    (
        "P25",
        Level::Block,
        |i| {
            i.members[0].database = None;
            i.members[0].unread.push("member/snap/db: truncated".into());
        },
        "truncated",
    ),
    (
        "P1",
        Level::Block,
        |i| i.given.silent.push(("http://h9".into(), "refused".into())),
        "does not answer",
    ),
    ("P1", Level::Block, |i| i.live().leader = 0, "one leader"),
    ("P1", Level::Block, |i| i.live().applied = 0, ""),
    (
        "P1",
        Level::Block,
        |i| i.live().errors.push("NOSPACE".into()),
        "NOSPACE",
    ),
    ("P1", Level::Block, |i| i.live().term = 9, "raft terms"),
    (
        "P1",
        Level::Block,
        |i| i.members[1].cluster = Some(ClusterId(8)),
        "different clusters",
    ),
    (
        "P1",
        Level::Block,
        |i| drop(i.members.pop()),
        "was not looked at",
    ),
    (
        "P2",
        Level::Block,
        |i| i.target = "3.7.1",
        "the target at 3.7",
    ),
    (
        "P2",
        Level::Warn,
        |i| i.live().version = Some(Version::new(3, 6, 14)),
        "is half done: m2, m3",
    ),
    (
        "P2",
        Level::Block,
        |i| i.live().version = Some(Version::new(3, 4, 45)),
        "different minor",
    ),
    (
        "P2",
        Level::Block,
        |i| i.target = "3.4.45",
        "the target at 3.4",
    ),
    (
        "P3",
        Level::Block,
        |i| i.live().version = Some(Version::new(3, 5, 16)),
        "runs 3.5.16",
    ),
    (
        "P3",
        Level::Block,
        |i| i.target = "3.6.2",
        "the target is 3.6.2",
    ),
    (
        "P4",
        Level::Block,
        |i| i.database().members.members[1].is_learner = true,
        "as a learner",
    ),
    (
        "P5",
        Level::Block,
        |i| i.database().members.members.push(member(9)),
        "a zombie",
    ),
    (
        "P5",
        Level::Block,
        |i| drop(i.database().members.members.pop()),
        "not in the database",
    ),
    (
        "P5",
        Level::Block,
        |i| i.log().conf_state.voters.push(9),
        "raft counts member 9",
    ),
    (
        "P6",
        Level::Block,
        |i| i.database().members.members[0].peer_urls = vec!["http://old:2380".into()],
        "http://old:2380",
    ),
    (
        "P6",
        Level::Warn,
        |i| i.database().members.members[0].name.clear(),
        "recorded in the database",
    ),
    (
        "P7",
        Level::Block,
        |i| i.database().members.removed.push(MemberId(2)),
        "counts as removed",
    ),
    (
        "P8",
        Level::Block,
        |i| {
            for record in &mut i.database().members.members[1..] {
                record.is_learner = true;
            }
            // The promotions are behind the snapshot.
            let mut old = Cluster::default();
            let mut tree = Tree::new();
            conf_change::apply(
                &mut old,
                &mut tree,
                &conf_change::add(0, &member(1)),
                conf_change::Rules::Newer,
            )
            .expect("holds");
            i.log().at_snapshot = Some(old);
        },
        "not in the newest .snap",
    ),
    (
        "P9",
        Level::Block,
        |i| i.log().v2_keys.push("/1/foo".into()),
        "/1/foo",
    ),
    (
        "P10",
        Level::Block,
        |i| i.log().v2_records.push(record(false)),
        "v2 requests in the log",
    ),
    (
        "P11",
        Level::Block,
        |i| {
            i.target = "3.7.1";
            i.log().v2_records.push(record(true));
        },
        "raw v2 records",
    ),
    (
        "P12",
        Level::Block,
        |i| i.live().command_line = Some(vec!["etcd".into(), "--enable-v2".into()]),
        "--enable-v2",
    ),
    (
        "P12",
        Level::Block,
        |i| i.given.flags = Some(vec!["--proxy=off".into()]),
        "--proxy",
    ),
    (
        "P13",
        Level::Block,
        |i| {
            i.target = "3.5.30";
            for facts in &mut i.members {
                let live = facts.live.as_mut().expect("live");
                live.cluster_version = Some(Version::new(3, 4, 0));
                facts.database.as_mut().expect("a database").auth_enabled = true;
            }
        },
        "auth is enabled",
    ),
    (
        "P14",
        Level::Block,
        |i| i.live().alarms.push((MemberId(1), "NOSPACE".into())),
        "alarm NOSPACE",
    ),
    (
        "P14",
        Level::Block,
        |i| i.live().quota = 1 << 20,
        "of its quota",
    ),
    (
        "P15",
        Level::Block,
        |i| i.given.hashes = Some(Ok(vec![("m1".into(), 1), ("m2".into(), 2)])),
        "the keys differ",
    ),
    (
        "P16",
        Level::Block,
        |i| i.given.backup = Some(("b.db".into(), Err(Unverified("damaged".into())))),
        "damaged",
    ),
    (
        "P17",
        Level::Warn,
        |i| i.given.restore_is_planned = false,
        "no plan for a restore",
    ),
    (
        "P18",
        Level::Block,
        |i| i.database().members.downgrade = Downgrade::To("3.4.0".into()),
        "a downgrade to",
    ),
    (
        "P19",
        Level::Block,
        |i| i.live().certificates = vec![certificate(-3)],
        "expired 3 days ago",
    ),
    (
        "P19",
        Level::Warn,
        |i| i.given.certificates = vec![certificate(10)],
        "expires in 10 days",
    ),
    (
        "P19",
        Level::Warn,
        |i| i.live().certificates[0].covers = Some(false),
        "is for h1",
    ),
    (
        "P19",
        Level::Warn,
        |i| i.live().certificates[0].weak_digest = Some("SHA-1"),
        "is signed with SHA-1",
    ),
    (
        "P21",
        Level::Warn,
        |i| {
            i.database().writers.insert("/calico".into(), 3);
        },
        "/calico",
    ),
    (
        "P22",
        Level::Warn,
        |i| i.given.api_servers[0].minor = Some(33),
        "goes with etcd 3.5",
    ),
    (
        "P22",
        Level::Warn,
        |i| i.given.api_servers[0].etcd_servers = vec!["http://gone:2379".into()],
        "no member advertises",
    ),
    (
        "P23",
        Level::Block,
        |i| i.given.image = Some(("i.tar".into(), Err(Unverified("another digest".into())))),
        "another digest",
    ),
    (
        "P25",
        Level::Block,
        |i| i.database().consistent_index = 40,
        "ends at index 40",
    ),
];

fn record(is_membership: bool) -> V2Record {
    V2Record {
        index: 60,
        what: "PUT /1/foo".into(),
        is_membership,
    }
}

#[test]
fn a_sick_input_is_found_by_its_check() {
    for (id, level, spoil, word) in SICK {
        let mut input = Input::sound();
        spoil(&mut input);
        // One entry more than a member may be behind.
        if word.is_empty() {
            input.members[1].live.as_mut().expect("live").raft_index = 2000;
        }
        let report = input.report();
        let found: Vec<&Finding> = report.findings.iter().filter(|f| f.check == id).collect();
        assert!(
            found
                .iter()
                .any(|f| f.level == level && f.seen.contains(word)),
            "{id} {word:?}: {found:?}"
        );
        assert!(found.iter().all(|f| !f.why.is_empty() && !f.fix.is_empty()));
    }
}

#[test]
fn without_what_decides_nothing_is_safe() {
    type Take = fn(&mut Facts);
    let blind: [(&str, Take); 4] = [
        ("P4", |facts| facts.database = None),
        ("P9", |facts| facts.log = None),
        ("P12", |facts| {
            facts.live.as_mut().expect("live").command_line = None
        }),
        ("P3", |facts| {
            facts.live.as_mut().expect("live").version = None
        }),
    ];
    for (id, take) in blind {
        let mut input = Input::sound();
        input.given.flags = None;
        input.members.iter_mut().for_each(take);
        let report = input.report();
        assert!(
            report.missing.iter().any(|m| m.check == id),
            "{id}: {:?}",
            report.missing
        );
        assert!(report.missing.iter().all(|m| !m.lacks.is_empty()));
        assert_ne!(report.exit_code(), 0, "{id}");
    }
    // Warnings do not outweigh it.
    let mut input = Input::sound();
    input.given.restore_is_planned = false;
    input.log().v2_records.clear();
    input.members.iter_mut().for_each(|facts| facts.log = None);
    assert_eq!(input.report().exit_code(), 5);
}

#[test]
fn directories_of_some_members_are_not_the_cluster() {
    let mut input = Input::sound();
    input.members.truncate(1);
    input.members[0].live = None;
    let missing = input.report().missing;
    assert!(
        missing.iter().any(|m| m.lacks.contains("m2, m3")),
        "{missing:?}"
    );
}

#[test]
fn a_member_that_is_down_counts_once_and_by_its_name() {
    let silent = |endpoint: &str| vec![(endpoint.to_owned(), "refused".to_owned())];
    // By the URL that the others list, and by one that they do not know.
    for (endpoint, name) in [
        ("h3:2379", "m3"),
        ("http://other:2379", "http://other:2379"),
    ] {
        let mut input = Input::sound();
        input.members.truncate(2);
        input.given.silent = silent(endpoint);
        let report = input.report();
        let down: Vec<_> = report.findings.iter().filter(|f| f.check == "P1").collect();
        assert_eq!(down.len(), 1, "{down:?}");
        assert_eq!(down[0].member, name);
        assert!(!down[0].fix.contains("remove"), "{}", down[0].fix);
    }
}

#[test]
fn a_broken_log_is_found() {
    let mut input = Input::sound();
    input.log().gaps.push("the segment 5 is missing".into());
    let report = input.report();
    assert!(report.findings.iter().any(|f| f.check == "P24"));
    assert_eq!(report.exit_code(), 3);
}

#[test]
fn a_sound_input_passes_every_check() {
    let report = Input::sound().report();
    assert_eq!(report.findings, []);
    for check in &report.checks {
        // 3.7 alone reads what P11 is about, and P13 is about coming from 3.4.
        let state = match check.id {
            "P11" | "P13" => State::Unneeded,
            _ => State::Passed,
        };
        assert_eq!(check.state, state, "{}", check.id);
    }
    assert_eq!((report.exit_code(), report.checks.len()), (0, 25));
}

#[test]
fn every_check_has_a_sick_input_here() {
    // P20 records and never finds; P24 has a test of its own.
    let tested: BTreeSet<&str> = SICK.iter().map(|row| row.0).chain(["P20", "P24"]).collect();
    let all: BTreeSet<&str> = ALL.iter().map(|row| row.0).collect();
    assert_eq!(tested, all);
}

#[test]
fn a_check_without_its_source_is_not_passed() {
    let mut nothing = Input::sound();
    nothing.given = Given::default();
    for facts in &mut nothing.members {
        facts.live = None;
        facts.log = None;
        facts.database = None;
    }
    for check in &nothing.report().checks {
        // These have nothing to look at on the way to this target.
        if ["P3", "P11", "P13"].contains(&check.id) {
            continue;
        }
        assert!(
            matches!(check.state, State::Unchecked(_)),
            "{}: {:?}",
            check.id,
            check.state
        );
    }
}

#[test]
fn a_certificate_is_one_finding_wherever_it_is_shown_and_a_clients_has_a_clients_reason() {
    let mut input = Input::sound();
    for facts in &mut input.members {
        let live = facts.live.as_mut().expect("it runs");
        let on = |what: &str| Certificate {
            what: what.into(),
            ..certificate(29)
        };
        live.certificates = vec![on("the client URL"), on("the peer URL")];
    }
    input.given.certificates = vec![Certificate {
        what: "root.crt".into(),
        serial: "02".into(),
        of_client: true,
        covers: None,
        ..certificate(29)
    }];
    let report = input.report();
    let found: Vec<_> = report
        .findings
        .iter()
        .filter(|f| f.check == "P19")
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].member, "m1, m2, m3");
    assert!(
        found[0].seen.starts_with("the client URL, the peer URL: "),
        "{}",
        found[0].seen
    );
    assert!(
        found[0].why.contains("a member that restarts"),
        "{}",
        found[0].why
    );
    assert!(found[1].why.contains("this client"), "{}", found[1].why);
    assert!(!found[1].fix.contains("restart"), "{}", found[1].fix);
}

#[test]
fn a_release_that_is_not_known_is_said_to_be_unknown() {
    for (target, unknown) in [("3.6.99", true), ("3.6.16", false), ("3.6.14", false)] {
        let mut input = Input::sound();
        input.target = target;
        let report = input.report();
        let said = report
            .findings
            .iter()
            .any(|f| f.seen.contains("is not known here"));
        assert_eq!(said, unknown, "{target}: {:?}", report.findings);
        assert_eq!(report.exit_code(), if unknown { 4 } else { 0 }, "{target}");
    }
}

/// A directory that 3.6 has had: its `.snap` was made of the database.
fn ruled_by_3_6(change: impl Fn(&mut Vec<Member>)) -> Facts {
    let mut facts = sound(1);
    facts.live = None;
    let mut records: Vec<Member> = cluster().members().cloned().collect();
    change(&mut records);
    let (mut copy, mut tree) = (Cluster::default(), Tree::new());
    for record in &records {
        let added = conf_change::add(0, record);
        conf_change::apply(&mut copy, &mut tree, &added, conf_change::Rules::Newer).expect("holds");
    }
    copy.set_version(Some(Version::new(3, 6, 0)));
    let log = facts.log.as_mut().expect("a log");
    log.at_snapshot = Some(copy.clone());
    log.at_database = Some(copy.clone());
    log.now = copy;
    let database = facts.database.as_mut().expect("a database");
    database.storage_version = Some("3.6.0".into());
    database.members.cluster_version = Some(Version::new(3, 6, 0));
    database.members.members = records;
    facts
}

#[test]
fn from_3_6_on_raft_shows_the_zombie_that_every_other_copy_has() {
    for target in ["3.6.14", "3.7.1", "pintle:3.6"] {
        let target = Target::parse(target).expect("a target");
        let zombie = ruled_by_3_6(|records| records.push(member(9)));
        let boot = predict::boot(&zombie, &target).expect("files");
        assert_eq!(boot.zombies, [MemberId(9).to_string()], "{target}");
        let found = run(target.clone(), vec![zombie], &given()).findings;
        let shown = |f: &Finding| f.check == "P5" && f.seen.contains("a zombie");
        assert!(found.iter().any(shown), "{target}: {found:?}");
    }
}

#[test]
fn from_3_6_on_raft_shows_the_voter_that_every_other_copy_has_as_a_learner() {
    let target = Target::parse("3.6.14").expect("a target");
    let stale = ruled_by_3_6(|records| records[1].is_learner = true);
    let boot = predict::boot(&stale, &target).expect("files");
    assert_eq!(boot.learners, [MemberId(2).to_string()]);
    let found = run(target, vec![stale], &given()).findings;
    let shown = |f: &Finding| f.check == "P4" && f.seen.contains("raft's configuration");
    assert!(found.iter().any(shown), "{found:?}");
}

#[test]
fn a_pre_release_is_a_warning_and_ends_on_what_3_7_ends_on() {
    let target = Target::parse("3.8.0-alpha.0").expect("known");
    let at_3_7 = |id| {
        let mut facts = sound(id);
        let seven = Some(Version::new(3, 7, 0));
        if let Some(live) = &mut facts.live {
            live.version = Some(Version::new(3, 7, 3));
            live.cluster_version = seven.clone();
        }
        if let Some(log) = &mut facts.log {
            log.now.set_version(seven.clone());
        }
        if let Some(database) = &mut facts.database {
            database.storage_version = Some("3.7.0".into());
            database.members.cluster_version = seven;
        }
        facts
    };
    let mut given = given();
    given.api_servers.clear();
    let found = run(target.clone(), (1..=3).map(at_3_7).collect(), &given);
    assert_eq!(found.verdict(), Verdict::Warnings, "{:?}", found.findings);
    let seen = found.findings.iter().map(|f| f.seen.as_str());
    assert!(seen.eq(["etcd 3.8.0-alpha.0 is a pre-release"]));
    // A member of 3.5 skips nothing for it.
    let report = run(target.clone(), (1..=3).map(sound).collect(), &given);
    assert_eq!(report.verdict(), Verdict::Blocked);
    let mut raw = at_3_7(1);
    let log = raw.log.as_mut().expect("a log");
    log.v2_records.push(V2Record {
        index: 60,
        what: "PUT /0/members".into(),
        is_membership: true,
    });
    let boot = predict::boot(&raw, &target).expect("files");
    assert_eq!(boot.text, predict::NOT_V3);
    // Pintle has no line that high.
    let mut above = at_3_7(1);
    let log = above.log.as_mut().expect("a log");
    log.now.set_version(Some(Version::new(3, 8, 0)));
    above.live = None;
    let seven = Target::parse("pintle:3.7").expect("a line");
    let boot = predict::boot(&above, &seven).expect("files");
    assert_eq!(boot.text, predict::DOWNGRADE);
}

fn zombies_of(facts: Facts, target: &Target) -> (Vec<String>, State) {
    let boot = predict::boot(&facts, target).expect("files");
    let report = run(target.clone(), vec![facts], &given());
    let p5 = report.checks.into_iter().find(|check| check.id == "P5");
    (boot.zombies, p5.expect("a check").state)
}

#[test]
fn a_database_of_3_6_is_compared_with_raft_as_of_its_own_index() {
    for target in ["3.6.14", "3.7.1", "pintle:3.6"] {
        let target = Target::parse(target).expect("a target");
        // One that was removed after what the database has.
        let removed_since = |records: fn(&mut Vec<Member>)| {
            let mut facts = ruled_by_3_6(records);
            facts
                .database
                .as_mut()
                .expect("a database")
                .consistent_index = 80;
            let log = facts.log.as_mut().expect("a log");
            log.conf_state.voters.retain(|id| *id != 3);
            let left = ruled_by_3_6(|records| records.retain(|m| m.id != MemberId(3)));
            log.now = left.log.expect("a log").now;
            facts
        };
        let sound = removed_since(|_| {});
        assert_eq!(
            zombies_of(sound, &target),
            (vec![], State::Passed),
            "{target}"
        );
        let zombie = removed_since(|records| records.push(member(9)));
        let found = (vec![MemberId(9).to_string()], State::Found);
        assert_eq!(zombies_of(zombie, &target), found, "{target}");
        // What was written after the last commit that is on disk is not known.
        let mut ahead = ruled_by_3_6(|records| records.push(member(9)));
        ahead
            .database
            .as_mut()
            .expect("a database")
            .consistent_index = 110;
        let log = ahead.log.as_mut().expect("a log");
        (log.at_database, log.conf_state_at_database) = (None, None);
        let boot = predict::boot(&ahead, &target).expect("files");
        assert_eq!(boot.unsure.len(), 1, "{target}: {boot:?}");
        let (zombies, state) = zombies_of(ahead, &target);
        assert!(zombies.is_empty(), "{target}");
        assert!(matches!(state, State::Unchecked(_)), "{target}: {state:?}");
    }
}
