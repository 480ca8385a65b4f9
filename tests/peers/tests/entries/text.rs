//! Text that is not UTF-8. etcd's own code checks none that it reads from the log or from a
//! client: what is a name stays as it is, what goes through JSON is replaced there.

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use peers::{
    cluster::{Cluster, Plan, WITHIN, until},
    entries::{self, Field},
    http, mixes,
    users::{self, Call, Pair},
};
use tonic::Code;

use super::{authentication, no_password, records, with_bed};

/// Two texts that read alike and are not the same, and what both are read as. A role whose
/// name begins with the byte FF is not in etcd's list of roles.
const BAD: &[u8] = b"\xfe\xff";
const OTHER: &[u8] = b"\xff\xfe";
const REPLACED: &[u8] = "\u{fffd}\u{fffd}".as_bytes();
/// A hash of bcrypt's length does not matter to the log.
const HASH: &[u8] = b"aGFzaA==";

fn bytes(number: u32, content: &[u8]) -> Field {
    Field::Bytes(number, content.to_vec())
}

fn texts<const N: usize>(content: [&[u8]; N]) -> Vec<u8> {
    let fields = content.iter().zip(1..).map(|(text, n)| bytes(n, text));
    entries::plain(&fields.collect::<Vec<_>>())
}

fn permission(role: &[u8], key: &[u8]) -> Vec<u8> {
    let permission = vec![Field::Number(1, 2), bytes(2, key)];
    entries::plain(&[bytes(1, role), Field::Message(2, permission)])
}

/// With a hashed password.
fn user(name: &[u8], password: &[u8]) -> Vec<u8> {
    entries::plain(&[bytes(1, name), bytes(2, password), bytes(4, HASH)])
}

fn put(key: &[u8]) -> Vec<u8> {
    texts([key, b"v"])
}

fn attributes(member: u64, name: &[u8], url: &[u8]) -> Vec<u8> {
    let attributes = vec![bytes(1, name), bytes(2, url)];
    entries::plain(&[Field::Number(1, member), Field::Message(2, attributes)])
}

/// A request of the v2 API, bare.
fn v2(method: &[u8], path: &[u8], val: &[u8], prev: &[u8]) -> Bytes {
    entries::plain(&[
        Field::Number(1, 5),
        bytes(2, method),
        bytes(3, path),
        bytes(4, val),
        bytes(6, prev),
        Field::Number(12, 1),
    ])
    .into()
}

/// Entries that etcd applies, with every text of a request in the log.
fn applied(member: u64) -> Vec<Bytes> {
    let path = format!("/0/members/{member:x}/attributes");
    let mut made: Vec<Bytes> = [
        // With authentication off the user of a request is not looked at.
        (1100, no_password(BAD)),
        (1100, no_password(OTHER)),
        (1100, no_password(REPLACED)),
        (1100, no_password(BAD)),
        (1100, user(b"\xff", BAD)),
        (1100, user(b"u", BAD)),
        (1100, entries::plain(&[bytes(1, b"x"), bytes(4, BAD)])),
        (1200, texts([BAD])),
        (1200, texts([OTHER])),
        (1200, texts([REPLACED])),
        (1200, texts([BAD])),
        (1104, texts([BAD, BAD])),
        (1104, texts([BAD, OTHER])),
        (1104, texts([BAD, b"root"])),
        (1104, texts([BAD, b"\xff"])),
        (1104, texts([OTHER, REPLACED])),
        (1104, texts([b"u", OTHER])),
        (1105, texts([BAD, b"root"])),
        (1105, texts([OTHER, BAD])),
        (1203, permission(BAD, b"\xff")),
        (1203, permission(REPLACED, b"r")),
        (1203, permission(b"\xff", b"r")),
        (1204, texts([OTHER, b"\xff"])),
        (
            1103,
            entries::plain(&[bytes(1, b"\xff"), bytes(2, BAD), bytes(3, HASH)]),
        ),
        (1103, entries::plain(&[bytes(1, b"u"), bytes(3, BAD)])),
        (1101, texts([b"\xfe"])),
        (1101, texts([b"\xff"])),
        (1102, texts([BAD])),
        (1202, texts([BAD])),
        (1012, texts([BAD, BAD, BAD])),
        (1201, texts([OTHER])),
        (1301, attributes(member, BAD, OTHER)),
        (1302, entries::plain(&[bytes(2, BAD)])),
    ]
    .into_iter()
    .zip(100..)
    .map(|((operation, content), id)| entries::logged(id, operation, content))
    .collect();
    made.extend([
        entries::logged_as(BAD, 200, 4, put(b"off")),
        v2(b"PUT", b"/1/\xff", BAD, b""),
        v2(b"PUT", b"/1/\xfe", BAD, b""),
        v2(b"PUT", b"/1/\xff", BAD, OTHER),
        v2(b"POST", b"/1/\xff/\xff", BAD, b""),
        v2(b"DELETE", b"/1/\xfe", b"", BAD),
        v2(b"QGET", BAD, b"", b""),
        v2(b"SYNC", BAD, BAD, BAD),
        v2(
            b"PUT",
            path.as_bytes(),
            b"{\"name\":\"\xff\",\"clientURLs\":[\"\xfe\"]}",
            b"",
        ),
        // This is text, whatever it is often put in the place of.
        v2("\u{fffd}".as_bytes(), b"/1", b"", b""),
    ]);
    made.extend(authentication());
    made.extend([
        entries::logged_as(BAD, 300, 4, put(b"\xff")),
        entries::logged_as(BAD, 301, 4, put(b"r")),
        entries::logged_as(OTHER, 302, 4, put(b"r")),
        entries::logged_as(OTHER, 303, 4, put(b"\xff")),
        entries::logged_as(REPLACED, 304, 4, put(b"\xff")),
        entries::logged_as(REPLACED, 305, 4, put(b"r")),
        entries::logged_as(b"\xff", 306, 4, put(b"r")),
        entries::logged_as(BAD, 307, 1100, user(b"y", b"")),
        entries::logged_as(b"root", 308, 1201, texts([REPLACED])),
    ]);
    made
}

/// Entries on which etcd ends, each for itself.
fn deadly() -> [Bytes; 4] {
    [
        entries::logged(1, 1300, texts([b"3.5.\xff"])),
        v2(b"PUT", b"/0/version", b"3.5.0\xff", b""),
        v2(BAD, b"/1", b"", b""),
        v2(b"PUT", b"/0/members/1/attributes", b"\xff", b""),
    ]
}

#[test]
fn advd_f1_text_that_is_not_utf8_is_applied_or_refused_as_by_etcd() {
    with_bed(600, async |bed| {
        let difference = bed.difference(&applied(bed.member)).await?;
        ensure!(difference.is_none(), "{}", difference.unwrap_or_default());
        ensure!(bed.ended.take() == 0, "both ended");
        for (n, entry) in deadly().into_iter().enumerate() {
            let difference = bed.difference(&[entry]).await?;
            ensure!(
                difference.is_none(),
                "{n}: {}",
                difference.unwrap_or_default()
            );
            ensure!(bed.ended.take() == 1, "both serve after {n}");
        }
        Ok(())
    });
}

fn call(path: &'static str, message: Vec<u8>) -> Call {
    Call {
        path,
        message: message.into(),
    }
}

/// The same texts, from a client.
fn calls() -> Vec<Call> {
    const ADD: &str = "/etcdserverpb.Auth/UserAdd";
    const DELETE: &str = "/etcdserverpb.Auth/UserDelete";
    const GET: &str = "/etcdserverpb.Auth/UserGet";
    const LIST: &str = "/etcdserverpb.Auth/UserList";
    const PASSWORD: &str = "/etcdserverpb.Auth/UserChangePassword";
    const GRANT: &str = "/etcdserverpb.Auth/UserGrantRole";
    const REVOKE: &str = "/etcdserverpb.Auth/UserRevokeRole";
    const ROLE_ADD: &str = "/etcdserverpb.Auth/RoleAdd";
    const ROLE_GET: &str = "/etcdserverpb.Auth/RoleGet";
    const ROLE_LIST: &str = "/etcdserverpb.Auth/RoleList";
    const ROLE_DELETE: &str = "/etcdserverpb.Auth/RoleDelete";
    const ALLOW: &str = "/etcdserverpb.Auth/RoleGrantPermission";
    const FORBID: &str = "/etcdserverpb.Auth/RoleRevokePermission";
    vec![
        call(ADD, texts([BAD, BAD])),
        call(ADD, texts([BAD, BAD])),
        call(ADD, texts([OTHER, b"p"])),
        call(ADD, texts([REPLACED, b"p"])),
        call(ADD, no_password(b"\xff")),
        call(PASSWORD, texts([BAD, BAD])),
        call(PASSWORD, texts([b"\xfe", BAD])),
        call(ROLE_ADD, texts([BAD])),
        call(ROLE_ADD, texts([OTHER])),
        call(GRANT, texts([BAD, OTHER])),
        call(GRANT, texts([BAD, BAD])),
        call(GRANT, texts([BAD, REPLACED])),
        call(ALLOW, permission(BAD, b"\xff")),
        call(FORBID, texts([OTHER, b"\xff"])),
        call(LIST, Vec::new()),
        call(GET, texts([BAD])),
        call(GET, texts([b"\xfe"])),
        call(ROLE_LIST, Vec::new()),
        call(ROLE_GET, texts([BAD])),
        call(REVOKE, texts([BAD, OTHER])),
        call(REVOKE, texts([BAD, OTHER])),
        call(ROLE_DELETE, texts([OTHER])),
        call(ROLE_DELETE, texts([OTHER])),
        call(DELETE, texts([OTHER])),
        call(DELETE, texts([OTHER])),
        call(GET, texts([BAD])),
        call("/etcdserverpb.Auth/Authenticate", texts([BAD, BAD])),
        call(
            "/etcdserverpb.Maintenance/Downgrade",
            entries::plain(&[bytes(2, BAD)]),
        ),
        call("/etcdserverpb.KV/Put", put(BAD)),
    ]
}

/// Afterwards, by users whose names are such texts. root has authentication on.
fn calls_of_users() -> Vec<Call> {
    vec![
        call("/etcdserverpb.KV/Put", put(b"\xff")),
        call("/etcdserverpb.KV/Put", put(b"r")),
        call("/etcdserverpb.Auth/UserGet", texts([BAD])),
        call("/etcdserverpb.Auth/UserGet", texts([REPLACED])),
        call("/etcdserverpb.Auth/RoleGet", texts([BAD])),
        call("/etcdserverpb.Auth/RoleGet", texts([OTHER])),
        call("/etcdserverpb.Auth/UserList", Vec::new()),
    ]
}

#[test]
fn advd_f1_the_port_takes_text_that_is_not_utf8_as_etcds_port_does() {
    with_bed(300, async |bed| {
        let dir = bed.temp.path().join("port");
        let mut pair = Pair::start([&bed.subject, &bed.reference], &dir, &[]).await?;
        for call in calls() {
            pair.equal("", &call).await?;
        }
        pair.accept(
            "",
            &[call("/etcdserverpb.Auth/UserGrantRole", texts([BAD, BAD]))],
        )
        .await?;
        gateway(&pair).await?;
        pair.accept("", &users::enable()).await?;
        for (name, password) in [(BAD, REPLACED), (BAD, BAD), (REPLACED, b"p")] {
            let mut refused = Vec::new();
            for side in &mut pair.sides {
                let token = users::login(side.server.api(), name, password).await;
                refused.push(
                    token
                        .as_ref()
                        .err()
                        .map(|e| (e.code(), e.message().to_owned())),
                );
                side.tokens.extend(token.map(|token| (shown(name), token)));
            }
            ensure!(refused[0] == refused[1], "{name:?}: {refused:?}");
        }
        for name in [BAD, REPLACED] {
            ensure!(pair.sides[0].tokens.contains_key(&shown(name)), "{name:?}");
            for call in calls_of_users() {
                pair.equal(&shown(name), &call).await?;
            }
        }
        pair.stop().await
    });
}

fn shown(name: &[u8]) -> String {
    name.escape_ascii().to_string()
}

/// Names in JSON.
async fn gateway(pair: &Pair) -> Result<()> {
    for (path, body) in [
        ("/v3/auth/user/list", "{}"),
        ("/v3/auth/role/list", "{}"),
        ("/v3/auth/user/get", r#"{"name":"\ufffd\ufffd"}"#),
    ] {
        let mut answers = Vec::new();
        for side in &pair.sides {
            let answer = http::send(side.server.port(), "POST", path, body).await?;
            let mut json: serde_json::Value = serde_json::from_str(&answer.text())?;
            json["header"]["raft_term"].take();
            // By a whim of its build, Go's protojson writes a space that is none.
            if let Some(message) = json["message"].as_str() {
                json = message.replace('\u{a0}', " ").into();
            }
            answers.push((answer.status, json));
        }
        ensure!(answers[0] == answers[1], "{path}: {answers:?}");
    }
    Ok(())
}

/// Calls that change something, and one that is refused when it is applied; whose names end with
/// `n`.
fn changes(n: u8) -> [(Call, Option<Code>); 6] {
    let name = |text: &[u8]| [text, &[n]].concat();
    let (user, role) = (name(BAD), name(BAD));
    let auth = |method, message: Vec<u8>| (call(method, message), None);
    [
        auth("/etcdserverpb.Auth/UserAdd", no_password(&user[..])),
        auth("/etcdserverpb.Auth/RoleAdd", texts([&role])),
        auth("/etcdserverpb.Auth/UserGrantRole", texts([&user, &role])),
        auth(
            "/etcdserverpb.Auth/RoleGrantPermission",
            permission(&role, BAD),
        ),
        auth("/etcdserverpb.KV/Put", put(&user)),
        (
            call("/etcdserverpb.Auth/UserDelete", texts([&name(OTHER)])),
            Some(Code::FailedPrecondition),
        ),
    ]
}

/// Whoever leads and whoever is asked, no member stops and no call waits in vain.
async fn through_every_member(mix: mixes::Mix) -> Result<String> {
    let mut cluster = Plan::of(&mix.0).start().await?;
    let mut n = 0;
    for leader in [0, mix.0.len() - 1] {
        cluster.move_leader(leader).await?;
        for via in cluster.places() {
            n += 1;
            for (call, refused) in changes(n) {
                let answer = users::ask(cluster.api(via), None, &call).await;
                let code = answer.err().map(|status| status.code());
                ensure!(
                    code == refused,
                    "m{leader} leads, m{via} is asked {call:?}: {code:?}"
                );
            }
        }
    }
    same_names(&cluster).await?;
    cluster.agree().await?;
    // From the log and the database.
    for place in cluster.places() {
        cluster.stop(place).await?;
        cluster.start(place).await?;
    }
    same_names(&cluster).await?;
    cluster.end().await?;
    let of = |place: usize| records(&cluster.members()[place].dir);
    for place in cluster.places() {
        ensure!(of(place)? == of(0)?, "m{place} has other records of users");
    }
    Ok(format!("{n} times 6 calls"))
}

async fn same_names(cluster: &Cluster) -> Result<()> {
    for path in ["/etcdserverpb.Auth/UserList", "/etcdserverpb.Auth/RoleList"] {
        let list = call(path, Vec::new());
        let names = async |place: usize| {
            let answer = users::ask(cluster.api(place), None, &list).await?;
            // The header says who answers.
            let start = answer.windows(2).position(|pair| pair == BAD);
            anyhow::Ok(start.map(|at| answer.slice(at..)))
        };
        let first = until("a list", WITHIN, async || names(0).await).await?;
        for place in cluster.places() {
            let found = until("a list", WITHIN, async || names(place).await).await;
            ensure!(found.context(path)? == first, "m{place} has another list");
        }
    }
    Ok(())
}

#[test]
fn advd_f1_names_that_are_not_utf8_go_through_every_member() {
    let mut mixes = mixes::clusters(3, &["P P 3.5.30"]);
    // 3.7 lets no such text in.
    mixes.retain(|mix| mix.0.iter().all(|program| program.minor() < (3, 7)));
    mixes::each(
        "advd_f1_names_that_are_not_utf8_go_through_every_member",
        180,
        mixes,
        through_every_member,
    );
}
