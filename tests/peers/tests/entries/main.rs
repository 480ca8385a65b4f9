//! The same log under etcd and under Pintle: the same state afterwards, or neither
//! goes on. Entries are made at random, among them spellings that no encoder
//! writes and damaged ones. `PINTLE_ENTRIES_SECONDS` says for how long; the seed of
//! a round that failed, and the entries it came down to, are in its message.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use membership::{Payload, Refusal, entry};
use peers::{
    api, dirs,
    entries::{self, Writer},
    fingerprint::Fingerprint,
    peer::{self, Program},
    server::{Launch, Server},
    workload::Dice,
};
use prost::Message as _;
use proto::{
    etcdserverpb::{
        HashKvRequest, MemberListRequest, RangeResponse, Request, StatusRequest,
        internal_raft_request::Op,
    },
    raftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, MessageType},
};

mod by_line;
mod encodings;
mod pairs;
mod text;

/// What the reference is; its line is the one that Pintle speaks.
const REFERENCE: &str = "3.5.30";

/// A directory that etcd founded, the bed of every log.
struct Bed {
    temp: tempfile::TempDir,
    member: u64,
    reference: Program,
    subject: Program,
    /// Logs on which both ended.
    ended: Cell<usize>,
    /// Logs of which etcd lost a key, see [`LOST`].
    lost: Cell<usize>,
}

impl Bed {
    async fn new(reference: Program, subject: Program) -> Result<Bed> {
        let temp = tempfile::tempdir()?;
        let dir = temp.path().join("bed");
        let server = Launch::new(&reference, &dir).start().await?;
        let members = server
            .api()
            .member_list(MemberListRequest::default())
            .await?;
        let member = members.members.first().context("no member")?.id;
        // A line decides what it is when it knows the version of its cluster.
        peers::cluster::until("a cluster version", Duration::from_secs(60), async || {
            let page = peers::http::send(server.port(), "GET", "/version", "").await?;
            ensure!(!page.text().contains("not_decided"), "{}", page.text());
            Ok(())
        })
        .await?;
        server.terminate().await?;
        // Without the blocks that etcd allocates ahead, copies are cheap.
        for segment in dirs::segments(&dir)? {
            let end = dirs::written_end(&segment)?.next_multiple_of(512) + 512;
            fs::OpenOptions::new()
                .write(true)
                .open(&segment)?
                .set_len(end)?;
        }
        Ok(Bed {
            temp,
            member,
            reference,
            subject,
            ended: Cell::new(0),
            lost: Cell::new(0),
        })
    }

    /// A copy whose log continues with these entries.
    fn dir(&self, name: &str, entries: &[Bytes]) -> Result<PathBuf> {
        let normal = |data: &Bytes| (EntryType::EntryNormal as i32, data.clone());
        self.typed_dir(name, &entries.iter().map(normal).collect::<Vec<_>>())
    }

    /// The same with entries of any type.
    fn typed_dir(&self, name: &str, entries: &[(i32, Bytes)]) -> Result<PathBuf> {
        let dir = self.temp.path().join(name);
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        dirs::copy(&self.temp.path().join("bed"), &dir)?;
        entries::append(&dir, entries)?;
        Ok(dir)
    }

    /// Alarms are over, whoever they were raised for, and the last change is one that a watch
    /// sees: none sees the empty key, which only a log can have.
    fn close(&self, entries: &[Bytes]) -> Vec<Bytes> {
        let raised = entries.iter().filter_map(|data| {
            let Ok(Payload::Internal(request)) =
                membership::decode_entry(data, line::Line::DEFAULT)
            else {
                return None;
            };
            match &request.op {
                Some(Op::Alarm(alarm)) => Some(alarm.member_id),
                _ => None,
            }
        });
        let members: BTreeSet<u64> = raised.chain([self.member]).collect();
        let mut closing = Vec::new();
        for (member, kind) in members.iter().flat_map(|m| [(*m, 1), (*m, 2)]) {
            let fields = [(1, 2), (2, member), (3, kind)];
            let off = entries::plain(&fields.map(|(n, value)| entries::Field::Number(n, value)));
            closing.push(entries::logged(closing.len() as u64 + 1, 10, off));
        }
        // Everyone may look.
        let id = closing.len() as u64 + 1;
        closing.push(entries::logged_as("root", id, 1011, Vec::new()));
        closing.push(entries::logged(id + 1, 4, [0x0a, 1, b'z', 0x12, 1, b'v']));
        closing
    }

    /// What becomes of both; `None` where they agree.
    async fn difference(&self, entries: &[Bytes]) -> Result<Option<String>> {
        let closed = [entries, &self.close(entries)].concat();
        let theirs = outcome(&self.reference, &self.dir("etcd", &closed)?).await?;
        let ours = outcome(&self.subject, &self.dir("pintle", &closed)?).await?;
        Ok(match (&theirs, &ours) {
            (Outcome::Serves(theirs, users), Outcome::Serves(ours, others)) => {
                let differ = (users != others).then(|| {
                    format!("the records of users differ:\netcd   {users:?}\nPintle {others:?}")
                });
                let state = theirs.same_as(ours).err();
                state.map(|error| format!("{error:#}")).or(differ)
            }
            (Outcome::Ended(_), Outcome::Ended(_)) => {
                self.ended.set(self.ended.get() + 1);
                None
            }
            (Outcome::Lost, _) => {
                self.lost.set(self.lost.get() + 1);
                None
            }
            (_, Outcome::Lost) => Some("Pintle lost a key".to_owned()),
            (Outcome::Ended(log), Outcome::Serves(..)) => Some(format!("etcd alone ends: {log}")),
            (Outcome::Serves(..), Outcome::Ended(log)) => Some(format!("Pintle alone ends: {log}")),
        })
    }

    /// The shortest log, of those tried, that still makes a difference.
    async fn shortest(&self, entries: Vec<Bytes>) -> Result<(Vec<Bytes>, String)> {
        // The shortest beginning, then without what can be left out of it.
        let (mut low, mut high) = (0, entries.len());
        let mut why = self.difference(&entries).await?;
        while low + 1 < high {
            let middle = low.midpoint(high);
            match self.difference(&entries[..middle]).await? {
                Some(found) => (high, why) = (middle, Some(found)),
                None => low = middle,
            }
        }
        let mut left = entries[..high].to_vec();
        let mut step = left.len().div_ceil(2);
        while step > 0 {
            let mut at = 0;
            while at + 1 < left.len() {
                let mut without = left.clone();
                without.drain(at..(at + step).min(left.len() - 1));
                match self.difference(&without).await? {
                    Some(found) => (left, why) = (without, Some(found)),
                    None => at += step,
                }
            }
            step /= 2;
        }
        Ok((
            left,
            why.unwrap_or_else(|| "it did not happen again".to_owned()),
        ))
    }
}

enum Outcome {
    Serves(Box<Fingerprint>, Records),
    Ended(String),
    /// A key of its index is not in its database, see [`LOST`].
    Lost,
}

/// etcd says this, and ends, when it reads a key that a transaction deleted and put again and
/// that a compaction at its very revision has taken. At the next start the key is gone. No API
/// lets such a transaction through; Pintle keeps the key.
const LOST: &str = "range failed to find revision pair";

/// Bucket, key and value.
type Records = Vec<(&'static str, String, String)>;

/// What a directory has of users, roles and authentication.
fn records(dir: &Path) -> Result<Records> {
    let options = bolt::Options {
        read_only: true,
        ..bolt::Options::default()
    };
    let db = bolt::Db::open(&dir.join("member/snap/db"), options)?;
    let tx = db.begin_read();
    let mut records = Records::new();
    for name in [auth::BUCKET, auth::USERS, auth::ROLES] {
        let bucket = tx.bucket(name.as_bytes())?.context("no bucket")?;
        let mut cursor = bucket.cursor();
        let mut next = cursor.first()?;
        while let Some((key, value)) = next {
            let show = |bytes: &[u8]| bytes.escape_ascii().to_string();
            records.push((name, show(key), show(value)));
            next = cursor.next()?;
        }
    }
    Ok(records)
}

async fn outcome(program: &Program, dir: &Path) -> Result<Outcome> {
    let mut error = anyhow::anyhow!("it was not started");
    for _ in 0..5 {
        let mut launch = Launch::new(program, dir);
        for flag in peer::STEADY_USERS {
            launch = launch.flag(flag);
        }
        let mut server = launch.spawn()?;
        error = match server.ready().await {
            // A loaded machine can be late with an answer; one that differs counts.
            Ok(()) => match Fingerprint::of(server.api()).await {
                Ok(state) => {
                    server.terminate().await?;
                    return Ok(Outcome::Serves(Box::new(state), records(dir)?));
                }
                Err(_) if server.log_text().contains(LOST) => return Ok(Outcome::Lost),
                Err(error) => error,
            },
            Err(error) if server.log_text().contains("address already in use") => error,
            Err(error) if server.poll_exit()?.is_none() => error,
            Err(_) => return ended(&server),
        }
    }
    Err(error.context(format!("{program}: neither serves nor ends")))
}

fn ended(server: &Server) -> Result<Outcome> {
    if server.is_pintle() {
        server.no_panic()?;
        let text = server.log_text();
        ensure!(
            text.contains("cannot be applied")
                || text.contains("cannot apply a committed entry")
                || text.contains("server version is lower than determined cluster version"),
            "Pintle ended for another reason\n{}",
            server.tail()
        );
    }
    let text = server.log_text();
    let told = |line: &&str| {
        line.starts_with("panic: ")
            || line.contains("\"level\":\"fatal\"")
            || line.contains("\"level\":\"panic\"")
    };
    let line = text.lines().find(told).unwrap_or("it does not say why");
    Ok(Outcome::Ended(line.to_owned()))
}

fn judged(data: &Bytes) -> Result<(), Refusal> {
    let entry = Entry {
        r#type: EntryType::EntryNormal as i32,
        data: Some(data.clone()),
        ..Entry::default()
    };
    entry::judge(&entry, true, line::Line::DEFAULT).map(drop)
}

fn has_empty_operation(data: &Bytes) -> bool {
    let entry = Entry {
        data: Some(data.clone()),
        ..Entry::default()
    };
    entry::judge_proposal(&entry, line::Line::DEFAULT).err() == Some(Refusal::Invalid("operation"))
}

/// Left out: what has another effect with every second that passes, what other
/// releases of the line do otherwise, and what changes who is a member.
fn is_comparable(data: &Bytes, member: u64) -> bool {
    match membership::decode_entry(data, line::Line::DEFAULT) {
        Ok(Payload::Internal(request)) => match &request.op {
            Some(Op::LeaseGrant(grant)) => grant.ttl > 10_000,
            Some(Op::LeaseCheckpoint(_)) => true,
            // Known to 3.6 only, as an entry without effect.
            Some(Op::DowngradeVersionTest(_)) => false,
            Some(Op::DowngradeInfoSet(set)) => !set.enabled,
            Some(Op::ClusterVersionSet(set)) => set.ver == "3.5.0",
            Some(Op::ClusterMemberAttrSet(set)) => set.member_id == member,
            // Every member hashes a plain password for itself.
            Some(Op::AuthUserAdd(user)) => user.password.is_empty(),
            Some(Op::AuthUserChangePassword(user)) => user.password.is_empty(),
            // Etcd ends if it is refused in the middle; here the whole is refused.
            Some(Op::Txn(_)) => true,
            _ => true,
        },
        Ok(Payload::V2(request)) => !request.path.contains("/0"),
        _ => true,
    }
}

fn hex(data: &[u8]) -> String {
    let shown: String = data.iter().take(600).map(|b| format!("{b:02x}")).collect();
    format!("{} bytes {shown}", data.len())
}

/// What a run has compared.
#[derive(Default)]
struct Tally {
    rounds: usize,
    applied: usize,
    refused: usize,
    /// Entries with an empty operation, which end both or neither.
    doubtful: usize,
    /// Logs of which etcd lost a key.
    lost: usize,
    /// Logs whose entries hold each for itself, and ended both together.
    ended: usize,
}

/// One log of entries that both must apply, and one for each that neither may.
async fn round(bed: &Bed, seed: u64, has_users: bool, tally: &mut Tally) -> Result<()> {
    let mut dice = Dice::new(seed);
    let mut sound = if has_users {
        authentication()
    } else {
        Vec::new()
    };
    let mut unsound = Vec::new();
    let mut doubtful = Vec::new();
    {
        let mut writer = Writer::new(&mut dice, bed.member);
        if has_users {
            writer = writer.with_users();
        }
        for n in 0..400 {
            let data = match n % 4 {
                0 => writer.damaged(),
                _ => writer.entry(),
            };
            match judged(&data) {
                Ok(()) if n % 4 == 0 && !is_comparable(&data, bed.member) => {}
                // Ends both if the branch with it runs: a log of its own, or most logs would
                // end early.
                Ok(()) if has_empty_operation(&data) => doubtful.push(data),
                Ok(()) => sound.push(data),
                Err(refusal) => unsound.push((data, refusal)),
            }
        }
    }
    let (ended, lost) = (bed.ended.get(), bed.lost.get());
    if bed.difference(&sound).await?.is_some() {
        let (left, why) = bed.shortest(sound).await?;
        let shown: Vec<String> = left.iter().map(|data| hex(data)).collect();
        anyhow::bail!("seed {seed}: {why}\nentries:\n{}", shown.join("\n"));
    }
    // Entries that hold each for itself can end both together: a request of the v2 API makes a
    // directory of what the next one writes.
    if bed.ended.get() > ended {
        tally.ended += 1;
    } else if bed.lost.get() > lost {
        tally.lost += 1;
    } else {
        tally.applied += sound.len();
    }
    for data in doubtful.into_iter().take(1) {
        let found = bed.difference(std::slice::from_ref(&data)).await?;
        let entry = hex(&data);
        ensure!(found.is_none(), "seed {seed}: {found:?}\nentry: {entry}");
        tally.doubtful += 1;
    }
    for (data, refusal) in unsound.into_iter().take(2) {
        let found = bed.difference(std::slice::from_ref(&data)).await?;
        ensure!(
            found.is_none(),
            "seed {seed}: judged {refusal:?}, but {}\nentry: {}",
            found.unwrap_or_default(),
            hex(&data)
        );
        tally.refused += 1;
    }
    tally.rounds += 1;
    Ok(())
}

fn with_bed(seconds_max: u64, body: impl AsyncFnOnce(Bed) -> Result<()>) {
    let (Some(subject), Some(reference)) = (peer::subject(), peer::etcd(REFERENCE)) else {
        return;
    };
    peers::run(seconds_max, async {
        body(Bed::new(reference, subject).await?).await
    });
}

#[test]
fn the_same_log_makes_the_same_state() {
    rounds(false);
}

#[test]
fn the_same_log_with_users_makes_the_same_state() {
    rounds(true);
}

fn rounds(has_users: bool) {
    let seconds = peers::env_number("PINTLE_ENTRIES_SECONDS").unwrap_or(15);
    with_bed(seconds + 900, async |bed| {
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut tally = Tally::default();
        let mut seed = peers::seed(1);
        while Instant::now() < end {
            round(&bed, seed, has_users, &mut tally).await?;
            seed += 1;
        }
        peer::say(&format!(
            "RAN: {} rounds, {} entries applied by both, {} refused by both, {} with an empty \
             operation, {} logs ended both, of {} etcd lost a key",
            tally.rounds, tally.applied, tally.refused, tally.doubtful, tally.ended, tally.lost
        ));
        Ok(())
    });
}

#[test]
fn issue_8_1_deep_transactions_and_unknown_groups_are_applied() {
    with_bed(300, async |bed| {
        let put = [&[0x0a, 1, b'g', 0x12, 1, b'v'][..], &groups(150)].concat();
        let made: Vec<Bytes> = [49, 60, 127, 5_000, 10_000]
            .iter()
            .map(|depth| entries::logged(*depth as u64, 6, entries::nested(*depth)))
            .chain([entries::logged(1, 4, put)])
            .collect();
        let difference = bed.difference(&made).await?;
        ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
        Ok(())
    });
}

/// A request of the v2 API, bare.
fn v2(method: &str, path: &str, val: &str) -> Bytes {
    let request = Request {
        id: 5,
        method: method.to_owned().into(),
        path: path.into(),
        val: val.into(),
        recursive: true,
        ..Request::default()
    };
    request.encode_to_vec().into()
}

#[test]
fn what_blocks_the_place_of_the_version_or_of_attributes_ends_both() {
    with_bed(300, async |bed| {
        let attributes = format!("/0/members/{:x}/attributes", bed.member);
        for (path, val) in [("/0/version", "3.5.0"), (&attributes, "{}")] {
            let made = ["DELETE", "POST", "PUT"].map(|method| v2(method, path, val));
            let difference = bed.difference(&made).await?;
            ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
            ensure!(bed.ended.take() == 1, "both serve after {path}");
        }
        Ok(())
    });
}

/// What is not let in by any API, and why the random logs pass over it.
#[test]
fn a_key_deleted_and_put_in_one_transaction_is_lost_by_etcd_in_a_compaction_of_its_revision() {
    with_bed(300, async |bed| {
        let key = entries::Field::Bytes(1, b"k".to_vec());
        let value = entries::Field::Bytes(2, b"v".to_vec());
        let put = vec![key.clone(), value];
        let operation =
            |kind, fields| entries::Field::Message(2, vec![entries::Field::Message(kind, fields)]);
        let txn = [operation(3, vec![key]), operation(2, put.clone())];
        let made: Vec<Bytes> = [
            (4, entries::plain(&put)),
            (6, entries::plain(&txn)),
            (7, entries::plain(&[entries::Field::Number(1, 3)])),
        ]
        .into_iter()
        .zip(1..)
        .map(|((kind, fields), id)| entries::logged(id, kind, fields))
        .collect();
        let dir = bed.dir("pintle", &made)?;
        let server = Launch::new(&bed.subject, &dir).start().await?;
        if server.is_pintle() {
            let found = server.api().range(api::get("k")).await?;
            ensure!(found.count == 1 && found.kvs.len() == 1, "{found:?}");
        }
        server.terminate().await?;
        // It may answer before the compaction is done.
        let mut server = Launch::new(&bed.reference, &bed.dir("etcd", &made)?)
            .start()
            .await?;
        peers::cluster::until("etcd loses the key", Duration::from_secs(60), async || {
            let answer = server.api().range(api::get("k")).await;
            ensure!(answer.is_err(), "not yet");
            Ok(())
        })
        .await?;
        server.wait_exit(Duration::from_secs(60)).await?;
        ensure!(server.log_text().contains(LOST), "{}", server.tail());
        Ok(())
    });
}

/// Field 99, begun and ended so many times.
fn groups(depth: usize) -> Vec<u8> {
    [[0x9b, 0x06].repeat(depth), [0x9c, 0x06].repeat(depth)].concat()
}

/// A put of a key of this length, and what comes after it.
fn put_with(more: &[u8]) -> Bytes {
    [&[0x0a, 1, b'k', 0x12, 1, b'v'][..], more].concat().into()
}

#[test]
fn issue_8_1_the_port_takes_and_refuses_what_etcds_port_does() {
    with_bed(300, async |bed| {
        const PUT: &str = "/etcdserverpb.KV/Put";
        const TXN: &str = "/etcdserverpb.KV/Txn";
        const RANGE: &str = "/etcdserverpb.KV/Range";
        const ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
        let empty_op = Bytes::from_static(&[0x12, 0]);
        let range_at = |revision: u8| {
            // A range at a revision beside a put: refused before anything is changed.
            Bytes::from(vec![
                0x12, 7, 0x0a, 5, 0x0a, 1, b'k', 0x20, revision, 0x12, 8, 0x12, 6, 0x0a, 1, b'z',
                0x12, 1, b'v',
            ])
        };
        let questions = [
            (PUT, put_with(&groups(150))),
            (PUT, put_with(&groups(3000))),
            (PUT, put_with(&groups(2)[1..])),
            (PUT, put_with(&[0x9c, 0x06])),
            (PUT, put_with(&[0x18, 0xff])),
            (PUT, put_with(&[0x1a, 1, 1])),
            (PUT, put_with(&[0x02, 1])),
            (PUT, put_with(&[0xff, 0xff, 0xff])),
            (
                PUT,
                put_with(&[
                    0x20, 0x82, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7f,
                ]),
            ),
            (PUT, put_with(&[0x0a, 0])),
            (TXN, entries::nested(48).into()),
            (TXN, entries::nested(49).into()),
            (TXN, entries::nested(60).into()),
            (TXN, entries::nested(126).into()),
            (TXN, entries::nested(127).into()),
            (TXN, entries::nested(128).into()),
            (TXN, entries::nested(5000).into()),
            (TXN, empty_op),
            (TXN, range_at(99)),
            (TXN, range_at(1)),
            (RANGE, Bytes::from_static(&[0x0a, 1, b'k', 0x28, 9])),
            (ADD, Bytes::from_static(&[0x0a, 3, b'h', 0xff, 0xfe])),
        ];
        let theirs = Launch::new(&bed.reference, &bed.dir("etcd", &[])?)
            .start()
            .await?;
        let ours = Launch::new(&bed.subject, &bed.dir("pintle", &[])?)
            .start()
            .await?;
        for (at, (path, message)) in questions.into_iter().enumerate() {
            let theirs = theirs.api().raw(path, message.clone()).await;
            let ours = ours.api().raw(path, message.clone()).await;
            let code = |answer: &std::result::Result<Bytes, tonic::Status>| {
                answer.as_ref().err().map(tonic::Status::code)
            };
            ensure!(
                code(&theirs) == code(&ours),
                "question {at}, {path} of {}: etcd {theirs:?}, Pintle {ours:?}",
                hex(&message)
            );
        }
        // An end that is there but empty is no end to etcd, as long as it reads it itself.
        let all = Bytes::from_static(&[0x0a, 1, b'a', 0x12, 0]);
        let count = async |server: &Server| {
            let answer = server.api().raw(RANGE, all.clone()).await?;
            anyhow::Ok(RangeResponse::decode(answer)?.count)
        };
        let (many, few) = (count(&theirs).await?, count(&ours).await?);
        ensure!(
            many == few && many > 1,
            "etcd finds {many} keys, Pintle {few}"
        );
        let (a, b) = (theirs.api(), ours.api());
        Fingerprint::of(a)
            .await?
            .same_as(&Fingerprint::of(b).await?)?;
        theirs.terminate().await?;
        ours.terminate().await
    });
}

#[test]
fn issue_8_1_a_hundred_thousand_operations_and_as_many_levels() {
    with_bed(600, async |bed| {
        let dir = bed.dir("pintle", &[])?;
        let flags = ["--max-txn-ops=200000", "--max-request-bytes=16777216"];
        let launch = |program: &Program, dir: &Path| {
            flags
                .iter()
                .fold(Launch::new(program, dir), |launch, flag| launch.flag(flag))
        };
        let ours = launch(&bed.subject, &dir).start().await?;
        let theirs = launch(&bed.reference, &bed.dir("etcd", &[])?)
            .start()
            .await?;
        let flat = |ops: u32| -> Vec<u8> {
            let op = |n: u32| [&[0x12, 8, 0x12, 6, 0x0a, 4][..], &n.to_be_bytes()].concat();
            (0..ops).flat_map(op).collect()
        };
        let ask = async |server: &Server, message: Vec<u8>| {
            let answer = server.api().raw("/etcdserverpb.KV/Txn", message.into());
            anyhow::Ok(answer.await.map(drop)?)
        };
        for server in [&ours, &theirs] {
            ask(server, flat(20_000)).await?;
            ask(server, entries::nested(2_000)).await?;
        }
        let hash = async |server: &Server| {
            let answer = server.api().hash_kv(HashKvRequest { revision: 0 }).await?;
            anyhow::Ok((answer.hash, answer.header.map(|h| h.revision)))
        };
        ensure!(
            hash(&ours).await? == hash(&theirs).await?,
            "the hashes differ"
        );
        // etcd's time grows with the square of the depth; it is not asked for more.
        ask(&ours, flat(100_000)).await?;
        ask(&ours, entries::nested(100_000)).await?;
        ours.terminate().await?;
        theirs.terminate().await
    });
}

#[test]
fn issue_8_1_an_entry_of_a_hundred_megabytes_is_applied() {
    with_bed(300, async |bed| {
        let put = entries::plain(&[
            entries::Field::Bytes(1, b"k".into()),
            entries::Field::Bytes(2, vec![b'v'; 100 << 20]),
        ]);
        let made = [entries::logged(1, 4, put)];
        let mut found = Vec::new();
        for (name, program) in [("etcd", &bed.reference), ("pintle", &bed.subject)] {
            let server = Launch::new(program, &bed.dir(name, &made)?).start().await?;
            let answer = server.api().hash_kv(HashKvRequest { revision: 0 }).await?;
            found.push((answer.hash, answer.header.map(|header| header.revision)));
            server.terminate().await?;
        }
        ensure!(
            found[0] == found[1],
            "etcd {:?}, Pintle {:?}",
            found[0],
            found[1]
        );
        Ok(())
    });
}

fn no_password(name: impl Into<Vec<u8>>) -> Vec<u8> {
    entries::plain(&[
        entries::Field::Bytes(1, name.into()),
        entries::Field::Message(3, vec![entries::Field::Number(1, 1)]),
    ])
}

/// What `user add root`, `role add root`, `user grant-role root root` and
/// `auth enable` write.
fn authentication() -> Vec<Bytes> {
    let text = |number, text: &str| entries::Field::Bytes(number, text.into());
    vec![
        entries::logged(11, 1100, no_password("root")),
        entries::logged(12, 1200, entries::plain(&[text(1, "root")])),
        entries::logged(
            13,
            1104,
            entries::plain(&[text(1, "root"), text(2, "root")]),
        ),
        entries::logged(14, 1000, Vec::new()),
    ]
}

/// Sends a raft message of a member that no one knows to a peer port.
async fn forge(server: &Server, entries: Vec<Entry>) -> Result<http::StatusCode> {
    let status = server.api().status(StatusRequest {}).await?;
    let header = status.header.context("no header")?;
    let message = Message {
        r#type: MessageType::MsgProp as i32,
        to: header.member_id,
        from: 0xbad,
        entries,
        ..Message::default()
    };
    let request = http::Request::post("/raft")
        .header("X-Etcd-Cluster-ID", format!("{:x}", header.cluster_id))
        .header("X-Server-From", "bad")
        .header("X-Server-Version", "3.5.30")
        .header("X-Min-Cluster-Version", "3.0.0")
        .header("Content-Type", "application/protobuf")
        .body(message.encode_to_vec().into())?;
    let connect: std::sync::Arc<dyn ::peer::Connect> = std::sync::Arc::new(::peer::NoTls);
    let url = format!("http://127.0.0.1:{}", server.peer_port());
    let reply = ::peer::ask::call(&connect, &url, request, Duration::from_secs(5)).await?;
    Ok(reply.status)
}

#[test]
fn issue_8_6_a_junk_proposal_is_refused_before_it_is_appended() {
    with_bed(300, async |bed| {
        if !bed.subject.is_pintle {
            return Ok(());
        }
        let mut server = Launch::new(&bed.subject, &bed.dir("pintle", &[])?)
            .start()
            .await?;
        let normal = |data: &[u8]| Entry {
            data: Some(Bytes::copy_from_slice(data)),
            ..Entry::default()
        };
        let change = |data: &[u8]| Entry {
            r#type: EntryType::EntryConfChange as i32,
            ..normal(data)
        };
        let conf_change = |kind: ConfChangeType, id: u64, context: &str| {
            let conf_change = ConfChange {
                id: 1,
                r#type: kind as i32,
                node_id: id,
                context: Some(Bytes::copy_from_slice(context.as_bytes())),
            };
            change(&conf_change.encode_to_vec())
        };
        use ConfChangeType::*;
        let alarm = entries::plain(&[entries::Field::Number(1, 1), entries::Field::Number(3, 9)]);
        let junk = [
            normal(&[0xff, 0xff, 0xff]),
            normal(&[]),
            // No request id; no operation; one of a release to come.
            normal(&[0x22, 3, 0x0a, 1, b'k']),
            normal(&entries::plain(&[entries::Field::Number(1, 5)])),
            normal(&entries::logged(5, 8000, Vec::new())),
            normal(&entries::logged(5, 6, [0x12, 0])),
            normal(&entries::logged(5, 10, alarm)),
            normal(&entries::logged(5, 1300, *b"\x0a\x01x")),
            // A role whose name is longer than a key of the database.
            normal(&entries::logged(
                5,
                1200,
                entries::plain(&[entries::Field::Bytes(1, vec![b'r'; 40_000])]),
            )),
            change(&[0xff]),
            change(&[0x08, 1, 0x10, 0, 0x18, 7]),
            change(&[0x08, 1, 0x10, 9, 0x18, 7]),
            // The only vote there is; another vote in the kind than in the context; no address.
            conf_change(ConfChangeRemoveNode, bed.member, ""),
            conf_change(
                ConfChangeAddNode,
                7,
                r#"{"id":7,"peerURLs":["http://h:1"],"isLearner":true}"#,
            ),
            conf_change(
                ConfChangeAddLearnerNode,
                7,
                r#"{"id":7,"peerURLs":["http://h:1"]}"#,
            ),
            conf_change(ConfChangeAddNode, 7, r#"{"id":7,"peerURLs":["h"]}"#),
            // It would make a directory of the cluster version.
            normal(&v2("POST", "/0/version", "")),
            // Every member would be older than its cluster.
            normal(&v2("PUT", "/0/version", "9.9.9")),
            normal(&entries::logged(5, 1300, *b"\x0a\x059.9.9")),
            // No member, not one of this cluster, and no attributes.
            normal(&v2("PUT", "/0/members/zz/attributes", "{}")),
            normal(&v2("PUT", "/0/members/63/attributes", "{}")),
            normal(&entries::logged(5, 1301, *b"\x08\x63\x12\x00")),
            normal(&v2(
                "PUT",
                &format!("/0/members/{:x}/attributes", bed.member),
                "{bad",
            )),
            // etcd reads the version to downgrade to when it compares it.
            normal(&entries::logged(5, 1302, *b"\x08\x01\x12\x01x")),
            normal(&v2("DELETE", "/0/members", "")),
        ];
        let before = server.api().status(StatusRequest {}).await?.raft_index;
        for (n, entry) in junk.into_iter().enumerate() {
            let status = forge(&server, vec![entry]).await?;
            ensure!(status == http::StatusCode::NO_CONTENT, "junk {n}: {status}");
            ensure!(
                server.poll_exit()?.is_none(),
                "junk {n} stopped it\n{}",
                server.tail()
            );
        }
        server.api().put(api::put("a", "1")).await?;
        let after = server.api().status(StatusRequest {}).await?.raft_index;
        ensure!(after == before + 1, "the log went from {before} to {after}");
        // What is no junk comes through.
        let sound = entries::logged(77, 4, [0x0a, 1, b'f', 0x12, 1, b'v']);
        forge(&server, vec![normal(&sound)]).await?;
        peers::cluster::until("the forwarded put", Duration::from_secs(20), async || {
            let found = server.api().range(api::get("f")).await?;
            ensure!(found.count == 1, "not there yet");
            Ok(())
        })
        .await?;
        server.terminate().await
    });
}
