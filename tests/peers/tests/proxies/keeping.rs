//! What grpc-proxies keep to themselves, or from each other: renewals, namespaces, registrations,
//! the order of revisions, leased keys, answers for one user.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{Api, delete, get, op_put, op_range, put},
    http,
    peer::{self, Program},
    ports,
    server::{Launch, Server},
    streams::Stream,
    users,
};
use proto::etcdserverpb::*;
use tempfile::TempDir;
use tokio::time::Instant;

use crate::programs::{GRPC_READY, WITHIN, proxy, started};

async fn with_flags(program: &Program, endpoints: &[u16], flags: &[&str]) -> Result<Server> {
    let port = ports::claim()?;
    let endpoints: Vec<String> = endpoints
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let mut launch = proxy(program, "grpc-proxy", port)
        .flag(&format!("--advertise-client-url=127.0.0.1:{port}"))
        .flag(&format!("--endpoints={}", endpoints.join(",")));
    for flag in flags {
        launch = launch.flag(flag);
    }
    started(&launch, GRPC_READY).await
}

async fn one(program: &Program) -> Result<(TempDir, Server)> {
    let dir = TempDir::new()?;
    let server = Launch::new(program, dir.path()).start().await?;
    Ok((dir, server))
}

async fn metric(server: &Server, path: &str, name: &str) -> Result<f64> {
    let page = http::send(server.port(), "GET", path, "").await?.text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("no {name}"))?.parse()?)
}

#[test]
fn renewals_of_one_lease_are_shared() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let (_dir, server) = one(&reference).await?;
        let through = with_flags(&subject, &[server.port()], &[]).await?;
        let to = through.connect();
        to.lease_grant(LeaseGrantRequest { ttl: 600, id: 5 })
            .await?;
        let renewals = (0..50).map(|_| to.keep_alive(5));
        for renewal in futures_util::future::join_all(renewals).await {
            ensure!(renewal?.ttl == 600);
        }
        let renewed = metric(&server, "/metrics", "etcd_debugging_lease_renewed_total").await?;
        ensure!(renewed <= 10.0, "{renewed}");
        to.lease_revoke(LeaseRevokeRequest { id: 5 }).await?;
        // etcd's proxy says -1, or nothing.
        ensure!(to.keep_alive(5).await?.ttl == -1);
        Ok(())
    });
}

async fn in_a_namespace(to: &Api) -> Result<Vec<String>> {
    let mut watch = Stream::open(to);
    watch
        .create(WatchCreateRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            prev_kv: true,
            ..WatchCreateRequest::default()
        })
        .await?;
    watch.next().await?;
    let mut said = Vec::new();
    let mut say = |text: String| said.push(text);
    to.lease_grant(LeaseGrantRequest { ttl: 600, id: 5 })
        .await?;
    let leased = PutRequest {
        lease: 5,
        prev_kv: true,
        ..put("a", "1")
    };
    to.put(leased.clone()).await?;
    say(format!("{:?}", to.put(leased).await?.prev_kv));
    let txn = TxnRequest {
        compare: vec![Compare {
            key: "\0".into(),
            range_end: "\0".into(),
            target: compare::CompareTarget::Version.into(),
            target_union: Some(compare::TargetUnion::Version(2)),
            ..Compare::default()
        }],
        success: vec![op_put(put("b", "1")), op_range(get("a"))],
        failure: vec![],
    };
    let txn = to.txn(txn).await?;
    say(format!("{} {:?}", txn.succeeded, txn.responses));
    let all = RangeRequest {
        range_end: "\0".into(),
        ..get("\0")
    };
    say(format!("{:?}", to.range(all).await?.kvs));
    let keys = LeaseTimeToLiveRequest { id: 5, keys: true };
    say(format!("{:?}", to.lease_time_to_live(keys).await?.keys));
    let all = DeleteRangeRequest {
        range_end: "\0".into(),
        prev_kv: true,
        ..delete("\0")
    };
    say(format!("{:?}", to.delete_range(all).await?.prev_kvs));
    let mut events = Vec::new();
    while events.len() < 5 {
        events.extend(watch.next().await?.events);
    }
    // etcd leaves the previous pair of keys to the name of the present one.
    say(format!("{events:?}"));
    say(format!(
        "{:?}",
        to.put(put("", "1"))
            .await
            .map_err(|status| status.message().to_owned())
    ));
    to.put(put("left", "1")).await?;
    Ok(said)
}

#[test]
fn a_namespace_is_all_that_its_clients_see() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let mut both = Vec::new();
        for program in [&subject, &reference] {
            let (_dir, server) = one(&reference).await?;
            server.api().put(put("a", "outside")).await?;
            server.api().put(put("z", "outside")).await?;
            let through = with_flags(program, &[server.port()], &["--namespace=n/"]).await?;
            both.push(in_a_namespace(&through.connect()).await?);
            let left = server.api().everything(0).await?;
            let left: Vec<_> = left.kvs.iter().map(|kv| kv.key.clone()).collect();
            ensure!(left == ["a", "n/left", "z"], "{left:?}");
        }
        for (own, theirs) in both[0].iter().zip(&both[1]) {
            ensure!(own == theirs, "{own}\nof etcd: {theirs}");
        }
        Ok(())
    });
}

async fn listed(proxy: &Server) -> Result<Vec<String>> {
    let list = proxy
        .connect()
        .member_list(MemberListRequest::default())
        .await?;
    let shown = |member: &Member| format!("{} {:?}", member.name, member.client_ur_ls);
    let mut members: Vec<String> = list.members.iter().map(shown).collect();
    members.sort();
    Ok(members)
}

#[test]
fn proxies_find_each_other_whichever_program_they_are() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let (_dir, server) = one(&reference).await?;
        let flags = ["--resolver-prefix=proxies", "--resolver-ttl=2"];
        let own = with_flags(&subject, &[server.port()], &flags).await?;
        let theirs = with_flags(&reference, &[server.port()], &flags).await?;
        let deadline = Instant::now() + WITHIN;
        loop {
            let (own, theirs) = (listed(&own).await?, listed(&theirs).await?);
            if own.len() == 2 && own == theirs {
                break;
            }
            ensure!(Instant::now() < deadline, "{own:?} {theirs:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let left = listed(&own).await?;
        drop(theirs);
        while listed(&own).await? == left {
            ensure!(Instant::now() < deadline, "the one that is gone stays");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    });
}

#[test]
fn in_order_no_answer_is_older_than_the_last() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        // Two members that do not know of each other: one is as far behind as can be.
        let ((_one, ahead), (_other, behind)) = (one(&reference).await?, one(&reference).await?);
        for _ in 0..10 {
            ahead.api().put(put("a", "1")).await?;
        }
        let ports = [ahead.port(), behind.port()];
        let flag = "--experimental-serializable-ordering";
        let through = with_flags(&subject, &ports, &[flag]).await?;
        let to = through.connect();
        let mut seen = 0;
        for n in 0..40 {
            let read = RangeRequest {
                serializable: true,
                ..get(format!("k{n}"))
            };
            let revision = to
                .range(read)
                .await?
                .header
                .map_or(0, |header| header.revision);
            ensure!(revision >= seen, "{revision} after {seen}");
            seen = revision;
        }
        ensure!(seen == 11, "{seen}");
        Ok(())
    });
}

#[test]
fn a_leased_key_is_answered_alone_and_never_late() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let (_dir, server) = one(&reference).await?;
        let flags = ["--experimental-leasing-prefix=leased/"];
        let first = with_flags(&subject, &[server.port()], &flags).await?;
        let second = with_flags(&subject, &[server.port()], &flags).await?;
        let theirs = with_flags(&reference, &[server.port()], &flags).await?;
        let clients = [first.connect(), second.connect(), theirs.connect()];
        for round in 0..12_usize {
            let (writer, reader) = (
                &clients[round % 3],
                &clients[(round + 1 + round / 3 % 2) % 3],
            );
            let value = format!("{round}");
            // It may have the key, or not.
            reader.range(get("k")).await?;
            if round % 4 == 3 {
                writer.delete_range(delete("k")).await?;
            } else {
                writer.put(put("k", value.clone())).await?;
            }
            for client in &clients {
                let read = client.range(get("k")).await?;
                let read = read.kvs.first().map(|kv| kv.value.clone());
                let expected = (round % 4 != 3).then(|| value.clone().into());
                ensure!(
                    read == expected,
                    "round {round}: {read:?}, not {expected:?}"
                );
            }
        }
        // The first one gets a key of its own, and needs no one for it any more.
        clients[0].put(put("own", "1")).await?;
        let deadline = Instant::now() + WITHIN;
        loop {
            ensure!(clients[0].range(get("own")).await?.kvs.len() == 1);
            let key = server.api().range(get("leased/own")).await?;
            if !key.kvs.is_empty() {
                break;
            }
            ensure!(Instant::now() < deadline, "it never has the key");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        clients[0].put(put("own", "2")).await?;
        server.kill().await?;
        let alone = clients[0].range(get("own")).await?;
        ensure!(
            alone.kvs[0].value == "2" && alone.kvs[0].version == 2,
            "{alone:?}"
        );
        Ok(())
    });
}

#[test]
fn a_user_gets_no_answer_that_was_given_to_another() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let (_dir, server) = one(&reference).await?;
        let through = with_flags(&subject, &[server.port()], &[]).await?;
        let to = through.connect();
        let calls = [
            users::add_user("u"),
            users::add_role("r"),
            users::allow("r", 2, "u", "v"),
            users::grant("u", "r"),
        ];
        for call in calls.iter().chain(&users::enable()) {
            users::ask(&to, None, call).await?;
        }
        let root = users::login(&to, "root", "root").await?;
        let user = users::login(&to, "u", "u").await?;
        let secret = users::call("/etcdserverpb.KV/Put", &put("secret", "1"));
        users::ask(&to, Some(&root), &secret).await?;
        let read = RangeRequest {
            serializable: true,
            ..get("secret")
        };
        let read = users::call("/etcdserverpb.KV/Range", &read);
        for _ in 0..2 {
            users::ask(&to, Some(&root), &read).await?;
            let refused = users::ask(&to, Some(&user), &read).await;
            let refused = refused.expect_err("not for everyone");
            ensure!(
                refused.message() == "etcdserver: permission denied",
                "{refused:?}"
            );
            users::ask(&to, None, &read)
                .await
                .expect_err("not for no one");
        }
        Ok(())
    });
}

#[test]
fn pages_say_what_those_of_etcds_proxy_say() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let (_dir, server) = one(&reference).await?;
        let mut both = Vec::new();
        for program in [&subject, &reference] {
            let through = with_flags(program, &[server.port()], &[]).await?;
            let to = through.connect();
            to.put(put("a", "1")).await?;
            to.range(get("a")).await?;
            let cached = RangeRequest {
                serializable: true,
                ..get("a")
            };
            to.range(cached).await?;
            let hits = "etcd_grpc_proxy_cache_hits_total";
            ensure!(metric(&through, "/proxy/metrics", hits).await? == 1.0);
            let of_the_member = "etcd_server_has_leader";
            ensure!(metric(&through, "/metrics", of_the_member).await? == 1.0);
            let mut pages = Vec::new();
            for path in ["/health", "/proxy/health", "/", "/nothing", "/debug/pprof/"] {
                let answer = http::send(through.port(), "GET", path, "").await?;
                pages.push((path, answer.status, answer.text()));
            }
            let posted = http::send(through.port(), "POST", "/health", "").await?;
            pages.push(("POST", posted.status, String::new()));
            both.push(pages);
        }
        ensure!(both[0] == both[1], "{:?}\nof etcd: {:?}", both[0], both[1]);
        Ok(())
    });
}
