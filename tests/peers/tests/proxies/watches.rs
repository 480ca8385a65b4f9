//! Watches through grpc-proxies: what comes, in front of whom, and how many there are behind.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use peers::{
    api::{Api, delete, put},
    http,
    peer::{self, Program},
    ports,
    server::{Launch, Server},
    streams::Stream,
};
use proto::{
    etcdserverpb::{watch_create_request::FilterType, *},
    mvccpb::Event,
};
use tempfile::TempDir;
use tokio::time::Instant;

use crate::programs::{GRPC_READY, WITHIN, proxy, started};

async fn in_front_of(program: &Program, server: &Server) -> Result<Server> {
    let port = ports::claim()?;
    let launch = proxy(program, "grpc-proxy", port)
        .flag(&format!("--advertise-client-url=127.0.0.1:{port}"))
        .flag(&format!("--endpoints=127.0.0.1:{}", server.port()));
    started(&launch, GRPC_READY).await
}

fn all_from(start_revision: i64) -> WatchCreateRequest {
    WatchCreateRequest {
        key: "\0".into(),
        range_end: "\0".into(),
        start_revision,
        ..WatchCreateRequest::default()
    }
}

/// What is known of the revisions of a watch once it is over, or has seen the key `last`.
#[derive(Debug, PartialEq)]
struct Seen {
    created: bool,
    canceled: bool,
    compact_revision: i64,
    events: Vec<Event>,
}

async fn seen(stream: &mut Stream) -> Result<Seen> {
    let mut seen = Seen {
        created: false,
        canceled: false,
        compact_revision: 0,
        events: Vec::new(),
    };
    loop {
        let response = stream.next().await?;
        seen.created |= response.created;
        seen.canceled |= response.canceled;
        seen.compact_revision = response.compact_revision;
        seen.events.extend(response.events);
        let last = seen.events.last().and_then(|event| event.kv.as_ref());
        if seen.canceled || last.is_some_and(|kv| kv.key == "last") {
            return Ok(seen);
        }
    }
}

async fn created(stream: &mut Stream) -> Result<()> {
    let response = stream.next().await?;
    ensure!(response.created && !response.canceled, "{response:?}");
    Ok(())
}

/// Watches of every kind; those that begin with the present are there before the writes.
async fn every_kind(to: &Api) -> Result<BTreeMap<&'static str, Seen>> {
    for value in ["1", "2", "3"] {
        to.put(put("a", value)).await?;
    }
    to.compact(CompactionRequest {
        revision: 3,
        physical: true,
    })
    .await?;
    let filtered = |filter: FilterType| WatchCreateRequest {
        filters: vec![filter.into()],
        ..all_from(3)
    };
    let kinds = [
        ("present", all_from(0)),
        ("past", all_from(3)),
        ("future", all_from(6)),
        (
            "previous",
            WatchCreateRequest {
                prev_kv: true,
                ..all_from(4)
            },
        ),
        ("deletions", filtered(FilterType::Noput)),
        ("puts", filtered(FilterType::Nodelete)),
        // A range of its own: etcd's proxy tells others of the same one that they are over, too.
        (
            "compacted",
            WatchCreateRequest {
                range_end: "\x02".into(),
                ..all_from(2)
            },
        ),
        ("before time", all_from(-1)),
        (
            "no range",
            WatchCreateRequest {
                key: "b".into(),
                range_end: "a".into(),
                ..WatchCreateRequest::default()
            },
        ),
        (
            "another key",
            WatchCreateRequest {
                key: "last".into(),
                ..WatchCreateRequest::default()
            },
        ),
    ];
    let mut streams = Vec::new();
    for (kind, request) in kinds {
        let mut stream = Stream::open(to);
        let is_present = request.start_revision == 0 && kind != "no range";
        stream.create(request).await?;
        if is_present {
            created(&mut stream).await?;
        }
        streams.push((kind, stream));
    }
    to.put(put("b", "1")).await?;
    to.put(put("a", "4")).await?;
    to.delete_range(DeleteRangeRequest {
        range_end: "c".into(),
        ..delete("a")
    })
    .await?;
    to.put(put("last", "1")).await?;
    to.delete_range(delete("last")).await?;
    let mut all = BTreeMap::new();
    for (kind, mut stream) in streams {
        let mut seen = seen(&mut stream).await.context(kind)?;
        seen.created |=
            all_from(0).start_revision == 0 && matches!(kind, "present" | "another key");
        all.insert(kind, seen);
    }
    Ok(all)
}

#[test]
fn watches_get_what_they_get_from_etcds_proxy() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let mut all = Vec::new();
        for proxying in [&subject, &reference] {
            let dir = TempDir::new()?;
            let server = Launch::new(&reference, dir.path()).start().await?;
            let through = in_front_of(proxying, &server).await?;
            all.push(every_kind(&through.connect()).await?);
        }
        for (own, theirs) in all[0].iter().zip(&all[1]) {
            ensure!(own == theirs, "{own:?}\nof etcd: {theirs:?}");
        }
        Ok(())
    });
}

async fn metric(server: &Server, name: &str) -> Result<u64> {
    let page = http::send(server.port(), "GET", "/metrics", "")
        .await?
        .text();
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value: f64 = line.with_context(|| format!("no {name}"))?.parse()?;
    Ok(value as u64)
}

#[test]
fn watches_of_one_range_become_one() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let dir = TempDir::new()?;
        let server = Launch::new(&reference, dir.path()).start().await?;
        let through = in_front_of(&subject, &server).await?;
        let to = through.connect();
        to.put(put("a", "0")).await?;
        let mut streams = Vec::new();
        for n in 0..20 {
            let mut stream = Stream::open(&to);
            stream
                .create(all_from(if n % 2 == 0 { 0 } else { 2 }))
                .await?;
            created(&mut stream).await?;
            streams.push(stream);
        }
        let deadline = Instant::now() + WITHIN;
        while metric(&server, "etcd_debugging_mvcc_watcher_total").await? != 1 {
            ensure!(Instant::now() < deadline, "they stay apart");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        to.put(put("last", "1")).await?;
        for (n, stream) in streams.iter_mut().enumerate() {
            let seen = seen(stream).await?;
            let revisions = seen.events.iter().flat_map(|event| &event.kv);
            let revisions: Vec<i64> = revisions.map(|kv| kv.mod_revision).collect();
            let expected: &[i64] = if n % 2 == 0 { &[3] } else { &[2, 3] };
            ensure!(revisions == expected, "{n}: {revisions:?}");
        }
        drop(streams);
        while metric(&server, "etcd_debugging_mvcc_watcher_total").await? != 0 {
            ensure!(Instant::now() < deadline, "one stays");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    });
}

#[test]
fn a_watch_outlives_the_member_behind_the_proxy() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let (dir, port) = (TempDir::new()?, ports::claim()?);
        let launch = Launch::new(&reference, dir.path())
            .only_given_flags()
            .flag(&format!("--data-dir={}", dir.path().display()))
            .flag(&format!("--listen-client-urls=http://127.0.0.1:{port}"))
            .flag(&format!("--advertise-client-urls=http://127.0.0.1:{port}"))
            .flag("--listen-peer-urls=http://127.0.0.1:0")
            .ports(port, 0);
        let server = launch.start().await?;
        let through = in_front_of(&subject, &server).await?;
        let mut stream = Stream::open(&through.connect());
        stream.create(all_from(0)).await?;
        created(&mut stream).await?;
        server.api().put(put("a", "1")).await?;
        server.kill().await?;
        let server = launch.start().await?;
        server.api().put(put("a", "2")).await?;
        server.api().put(put("last", "3")).await?;
        let seen = seen(&mut stream).await?;
        let revisions = seen.events.iter().flat_map(|event| &event.kv);
        let revisions: Vec<i64> = revisions.map(|kv| kv.mod_revision).collect();
        ensure!(revisions == [2, 3, 4], "{revisions:?}");
        Ok(())
    });
}

/// Values that together are several times what waits for a client.
const LARGE: usize = 64 << 10;
const WRITES: usize = 300;

#[test]
fn a_client_that_does_not_read_misses_nothing_and_holds_no_one_up() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let dir = TempDir::new()?;
        let server = Launch::new(&reference, dir.path()).start().await?;
        let through = in_front_of(&subject, &server).await?;
        let create = WatchRequest {
            request_union: Some(watch_request::RequestUnion::CreateRequest(all_from(0))),
        };
        let requests = futures_util::StreamExt::chain(
            futures_util::stream::iter([create]),
            futures_util::stream::pending(),
        );
        let slow_client = through.connect();
        let mut slow = slow_client.watch().max_decoding_message_size(usize::MAX);
        let mut slow = slow.watch(requests).await?.into_inner();
        ensure!(
            slow.message()
                .await?
                .is_some_and(|response| response.created)
        );
        let mut quick = Stream::open(&through.connect());
        quick.create(all_from(0)).await?;
        created(&mut quick).await?;
        for n in 0..WRITES {
            server
                .api()
                .put(put(format!("k{n}"), vec![1; LARGE]))
                .await?;
        }
        server.api().put(put("last", "")).await?;
        ensure!(seen(&mut quick).await?.events.len() == WRITES + 1);
        let mut revisions = Vec::new();
        while revisions.len() <= WRITES {
            let response = slow.message().await?.context("an end")?;
            ensure!(!response.canceled, "{response:?}");
            let kvs = response.events.iter().flat_map(|event| &event.kv);
            revisions.extend(kvs.map(|kv| kv.mod_revision));
        }
        let expected: Vec<i64> = (2..).take(WRITES + 1).collect();
        ensure!(revisions == expected, "{revisions:?}");
        Ok(())
    });
}
