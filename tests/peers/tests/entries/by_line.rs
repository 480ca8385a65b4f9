//! What each line makes of entries that end members, or once did: etcd of the line and Pintle that
//! speaks it start on the same log. Both serve the same state, or etcd stops: Pintle never does alone.
//! docs/evidence/apply-checks.md has the verdicts.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use line::Line;
use peers::{
    entries::{self, Field, plain},
    peer,
};
use prost::Message as _;
use proto::{
    etcdserverpb::Request,
    raftpb::{ConfChange, ConfChangeType, EntryType},
};

use super::{Bed, Outcome, outcome, v2};

/// Type and data of an entry.
pub(super) type Typed = (i32, Bytes);

/// What a log ends in.
pub(super) struct Log {
    pub(super) name: &'static str,
    pub(super) entries: Vec<Typed>,
}

pub(super) fn normal(data: impl Into<Bytes>) -> Typed {
    (EntryType::EntryNormal as i32, data.into())
}

fn one(name: &'static str, data: impl Into<Bytes>) -> Log {
    let entries = vec![normal(data)];
    Log { name, entries }
}

pub(super) fn text(number: u32, text: impl Into<Vec<u8>>) -> Field {
    Field::Bytes(number, text.into())
}

fn request(operation: u32, fields: &[Field]) -> Bytes {
    entries::logged(5, operation, plain(fields))
}

fn put(key: &str) -> Bytes {
    request(4, &[text(1, key), text(2, "v")])
}

/// Raises (1) or clears (2) an alarm.
pub(super) fn alarm(action: u64, member: u64, kind: i32) -> Bytes {
    let kind = i64::from(kind) as u64;
    let fields = [(1, action), (2, member), (3, kind)];
    request(
        10,
        &fields.map(|(number, value)| Field::Number(number, value)),
    )
}

fn txn(operations: Vec<Field>) -> Bytes {
    let success = operations.into_iter().map(|op| Field::Message(2, vec![op]));
    request(6, &success.collect::<Vec<_>>())
}

fn change(kind: ConfChangeType, id: u64, context: &str) -> Typed {
    let change = ConfChange {
        id: 1,
        r#type: kind as i32,
        node_id: id,
        context: (!context.is_empty()).then(|| Bytes::copy_from_slice(context.as_bytes())),
    };
    let data = change.encode_to_vec().into();
    (EntryType::EntryConfChange as i32, data)
}

fn alarms() -> Vec<Log> {
    let unknown = |requests: &[(u64, u64, i32)]| {
        let alarm = |&(action, member, kind): &_| normal(alarm(action, member, kind));
        requests.iter().map(alarm).collect::<Vec<_>>()
    };
    vec![
        Log {
            name: "alarm of kind 10",
            entries: unknown(&[(1, 7, 10)]),
        },
        Log {
            name: "alarm of kind -1 of no member",
            entries: unknown(&[(1, 0, -1)]),
        },
        Log {
            name: "alarms of kind 10, raised by two, cleared by one",
            entries: unknown(&[(1, 7, 10), (1, 8, 10), (2, 7, 10)]),
        },
        one("clearing of kind 10, which no one raised", alarm(2, 7, 10)),
        one("listing of kind 10", alarm(0, 7, 10)),
        one("unknown action of an alarm", alarm(9, 7, 1)),
        Log {
            name: "CORRUPT, then NOSPACE; CORRUPT is cleared; put",
            entries: [
                unknown(&[(1, 7, 2), (1, 7, 1), (2, 7, 2)]),
                vec![normal(put("lifted"))],
                unknown(&[(2, 7, 1)]),
            ]
            .concat(),
        },
    ]
}

/// Requests in no language or of no known operation, and those of the v2 API.
fn foreign(member: u64) -> Vec<Log> {
    let attributes = format!("/0/members/{member:x}/attributes");
    let method = Request {
        id: 5,
        method: Bytes::from_static(&[0xff, 0xfe]),
        path: "/1/a".into(),
        ..Request::default()
    };
    let wrapped = plain(&[text(2, v2("PUT", "/1/a", "b").to_vec())]);
    let wrapped_own = plain(&[text(2, v2("PUT", &attributes, "{}").to_vec())]);
    let after = |second| {
        vec![
            normal(v2("DELETE", "/0/version", "")),
            normal(v2("POST", "/0/version", "")),
            second,
        ]
    };
    vec![
        one("no request", vec![0xff, 0xff, 0xff]),
        one("no operation", plain(&[Field::Number(1, 5)])),
        one("operation 8000", request(8000, &[])),
        one("no id", plain(&[Field::Message(4, vec![text(1, "k")])])),
        one("no id and no operation", plain(&[text(900, "x")])),
        one("9900, a version", request(9900, &[text(1, "3.6.0")])),
        one("9900, no version", request(9900, &[text(1, "x")])),
        one("v2: a key", v2("PUT", "/1/a", "b")),
        one("v2: a key, wrapped", wrapped),
        one("v2: a query", v2("QGET", "/1/a", "")),
        one("v2: attributes", v2("PUT", &attributes, r#"{"name":"m"}"#)),
        one("v2: attributes, wrapped", wrapped_own),
        one("v2: attributes deleted", v2("DELETE", &attributes, "")),
        one(
            "v2: attributes that are none",
            v2("PUT", &attributes, "{bad"),
        ),
        one(
            "v2: attributes of an unknown member",
            v2("PUT", "/0/members/63/attributes", "{}"),
        ),
        one(
            "v2: attributes of no id",
            v2("PUT", "/0/members/zz/attributes", "{}"),
        ),
        one("v2: method that is no text", method.encode_to_vec()),
        one("v2: version", v2("PUT", "/0/version", "3.5.0")),
        one("v2: version that is none", v2("PUT", "/0/version", "x")),
        one("v2: version above all", v2("PUT", "/0/version", "9.9.9")),
        Log {
            name: "v2: version where a directory is",
            entries: after(normal(v2("PUT", "/0/version", "3.5.0"))),
        },
    ]
}

/// Requests about members.
fn about_members(member: u64) -> Vec<Log> {
    let attributes = |id: u64, fields: Vec<Field>| {
        request(1301, &[Field::Number(1, id), Field::Message(2, fields)])
    };
    let downgrade = |version: &[u8]| request(1302, &[Field::Number(1, 1), text(2, version)]);
    vec![
        one("1300, 3.5.0", request(1300, &[text(1, "3.5.0")])),
        one("1300, 3.4.0", request(1300, &[text(1, "3.4.0")])),
        one("1300, 3.5", request(1300, &[text(1, "3.5")])),
        one("1300, 3.5.0-rc.0", request(1300, &[text(1, "3.5.0-rc.0")])),
        one("1300, no version", request(1300, &[text(1, "x")])),
        one("1300, 9.9.9", request(1300, &[text(1, "9.9.9")])),
        one(
            "1301 of an unknown member",
            attributes(99, vec![text(1, "m")]),
        ),
        one(
            "1301 without attributes",
            request(1301, &[Field::Number(1, member)]),
        ),
        one(
            "1301, a name that is no text",
            attributes(member, vec![text(1, [0xff, 0xfe])]),
        ),
        one("1302, no version", downgrade(b"x")),
        one("1302, a version that is no text", downgrade(&[0xff])),
    ]
}

/// Operations that are wrong in themselves.
fn operations() -> Vec<Log> {
    let range = |target| vec![text(1, "a"), Field::Number(5, 1), Field::Number(6, target)];
    let key = vec![text(1, "k"), text(2, "v")];
    let header = Field::Message(100, vec![Field::Number(1, 5), text(2, [0xff, 0xfe])]);
    let as_no_text = plain(&[Field::Message(4, key.clone()), header]);
    vec![
        one(
            "a transaction with an empty operation",
            request(6, &[Field::Message(2, vec![])]),
        ),
        one(
            "a range by an unknown target",
            txn(vec![Field::Message(1, range(9))]),
        ),
        one(
            "a key deleted and put in one transaction",
            txn(vec![
                Field::Message(3, vec![text(1, "k")]),
                Field::Message(2, key.clone()),
            ]),
        ),
        one(
            "a put that keeps the value of a key deleted by its transaction",
            txn(vec![
                Field::Message(2, key.clone()),
                Field::Message(3, vec![text(1, "k")]),
                Field::Message(2, vec![text(1, "k"), Field::Number(5, 1)]),
            ]),
        ),
        one("a put of a user that is no text", as_no_text),
        one(
            "a role of 40,000 letters",
            request(1200, &[text(1, vec![b'r'; 40_000])]),
        ),
        one(
            "a user of 40,000 letters",
            entries::logged(5, 1100, super::no_password(vec![b'u'; 40_000])),
        ),
        one(
            "a role that is no text",
            request(1200, &[text(1, [0xff, 0xfe])]),
        ),
        one(
            "a user that is no text",
            entries::logged(5, 1100, super::no_password([0xff, 0xfe])),
        ),
        one("a permission that is none", request(1203, &[text(1, "r")])),
        one("a password changed without a user", request(1103, &[])),
        one(
            "an authentication",
            request(1012, &[text(1, "root"), text(3, "t")]),
        ),
    ]
}

/// Changes of the configuration, and entries of other types.
fn changes(member: u64) -> Vec<Log> {
    use ConfChangeType::*;
    let typed = |name, entry| Log {
        name,
        entries: vec![entry],
    };
    let bytes = |kind: EntryType, data: &'static [u8]| (kind as i32, Bytes::from_static(data));
    vec![
        typed(
            "a change in no language",
            bytes(EntryType::EntryConfChange, &[0xff]),
        ),
        typed(
            "a change of unknown kind",
            bytes(EntryType::EntryConfChange, &[0x08, 1, 0x10, 9, 0x18, 7]),
        ),
        typed("a change without context", change(ConfChangeAddNode, 7, "")),
        typed(
            "a context of another member",
            change(
                ConfChangeAddLearnerNode,
                7,
                r#"{"id":8,"peerURLs":["http://h:1"],"isLearner":true}"#,
            ),
        ),
        typed(
            "a context in no language",
            change(ConfChangeAddNode, 7, "{"),
        ),
        typed(
            "the last vote is removed",
            change(ConfChangeRemoveNode, member, ""),
        ),
        typed(
            "the last vote becomes a learner",
            change(
                ConfChangeAddLearnerNode,
                member,
                &format!(r#"{{"id":{member},"peerURLs":["http://h:1"],"isLearner":true}}"#),
            ),
        ),
        typed("type 2", bytes(EntryType::EntryConfChangeV2, &[])),
    ]
}

pub(super) fn bed_of(line: Line) -> Option<(peer::Program, peer::Program)> {
    match line {
        Line::V3_5 => peer::pair(),
        _ => peer::pair_at(&line.to_string()),
    }
}

async fn verdict(bed: &Bed, log: &Log) -> Result<String> {
    let theirs = outcome(&bed.reference, &bed.typed_dir("etcd", &log.entries)?).await?;
    let ours = outcome(&bed.subject, &bed.typed_dir("pintle", &log.entries)?).await?;
    Ok(match (theirs, ours) {
        (Outcome::Serves(theirs, users), Outcome::Serves(ours, others)) => {
            theirs.same_as(&ours)?;
            ensure!(users == others, "{users:?}\n{others:?}");
            "applied by both".to_owned()
        }
        (Outcome::Ended(log), Outcome::Ended(_)) => format!("ends both, etcd: {log}"),
        (Outcome::Serves(..), Outcome::Ended(log)) => anyhow::bail!("Pintle alone ends: {log}"),
        // No etcd is left that could hold anything else.
        (Outcome::Ended(log), Outcome::Serves(..)) => format!("ends etcd alone: {log}"),
        (Outcome::Lost, _) | (_, Outcome::Lost) => anyhow::bail!("a key was lost"),
    })
}

/// Compares both on every log, and says each verdict. All differences are found in one run.
pub(super) async fn compare(line: Line, logs: impl FnOnce(u64) -> Vec<Log>) -> Result<()> {
    let Some((subject, reference)) = bed_of(line) else {
        return Ok(());
    };
    let bed = Bed::new(reference, subject).await?;
    let mut differences = Vec::new();
    for log in logs(bed.member) {
        let verdict = match verdict(&bed, &log).await {
            Ok(verdict) => verdict,
            Err(error) => {
                differences.push(log.name);
                format!("DIFFERS: {error:#}")
            }
        };
        let shown: String = verdict.chars().take(220).collect();
        peer::say(&format!("RAN: line {line}, {}: {shown}", log.name));
    }
    ensure!(differences.is_empty(), "line {line}: {differences:?}");
    Ok(())
}

/// Every kind of alarm is kept, and what alarms forbid is what those that are left forbid.
#[test]
fn later_lines_take_alarms_of_any_kind_and_in_any_order() {
    peers::run(300, async {
        for line in [Line::V3_6, Line::V3_7] {
            let all = |_| {
                let entries = alarms().into_iter().flat_map(|log| log.entries);
                let entries = entries.collect();
                let name = "all alarms";
                vec![Log { name, entries }]
            };
            compare(line, all)
                .await
                .with_context(|| format!("line {line}"))?;
        }
        Ok(())
    });
}

#[test]
#[ignore = "starts some 400 servers"]
fn every_verdict_is_that_of_the_line() {
    peers::run(3600, async {
        let mut differences = Vec::new();
        for line in Line::ALL {
            let all = |member| {
                let logs = [
                    alarms(),
                    foreign(member),
                    about_members(member),
                    operations(),
                    changes(member),
                ];
                logs.into_iter().flatten().collect()
            };
            differences.extend(compare(line, all).await.err());
        }
        ensure!(differences.is_empty(), "{differences:#?}");
        Ok(())
    });
}
