//! What a client's HTTP/2 connection survives, and what it must not cost the others: calls that
//! are cancelled in a stall, and floods of every frame that asks for work or memory. The same
//! frames go to a real etcd.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use peers::{
    api,
    frames::{self, END_HEADERS, END_STREAM, Raw, frame, kind},
    peer::{self, Program},
    server::{Launch, Server},
    streams::Stream,
};
use proto::etcdserverpb::WatchCreateRequest;
use rustix::process::Signal;

const RANGE: &[u8] = b"/etcdserverpb.KV/Range";

fn on_each(name: &str, seconds_max: u64, body: impl AsyncFn(&Server) -> Result<()>) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let one = async |program: &Program| {
        let temp = tempfile::tempdir()?;
        let mut server = Launch::new(program, &temp.path().join("d")).start().await?;
        body(&server)
            .await
            .with_context(|| format!("{program}\n{}", server.tail()))?;
        ensure!(server.poll_exit()?.is_none(), "it ended\n{}", server.tail());
        server.terminate().await
    };
    peers::run(seconds_max, async {
        one(&subject).await?;
        one(&reference).await
    });
    peer::say(&format!("RAN: http2, {name}"));
}

/// More calls than h2's own limit of 20, and than a busy client has open.
const CANCELLED: usize = 400;

#[test]
fn calls_cancelled_in_a_stall_end_only_themselves() {
    on_each("calls cancelled in a stall", 120, async |server| {
        let connection = server.connect();
        let mut stream = Stream::open(&connection);
        let request = WatchCreateRequest {
            key: "k".into(),
            ..Default::default()
        };
        stream.create(request).await?;
        ensure!(stream.next().await?.created, "the watch is not there");
        server.signal(Signal::STOP)?;
        let gets = (0..CANCELLED).map(|_| {
            let get = connection.range(api::get("k"));
            async move { tokio::time::timeout(Duration::from_millis(500), get).await }
        });
        let answers = futures_util::future::join_all(gets).await;
        server.signal(Signal::CONT)?;
        ensure!(
            answers.iter().all(Result::is_err),
            "a stopped server answered"
        );
        server.connect().put(api::put("k", "v")).await?;
        let event = stream.next().await.context("the watch ended")?;
        ensure!(event.events.len() == 1, "{event:?}");
        Ok(())
    });
}

#[test]
fn a_burst_of_cancelled_calls_leaves_the_connection() {
    on_each("a burst of cancelled calls", 60, async |server| {
        let mut raw = Raw::connect(server.port()).await?;
        let header = frames::call(RANGE, &[]);
        let mut burst = Vec::new();
        for call in 0..2_000 {
            let stream = 1 + 2 * call;
            burst.extend(frame(kind::HEADERS, END_HEADERS, stream, &header));
            burst.extend(frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes()));
        }
        raw.send(&burst).await?;
        raw.until_pong().await?;
        Ok(())
    });
}

fn resident_mb(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    let kb: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kb >> 10)
}

/// What a flood may add to the memory of the process.
const FLOOD_MB_MAX: u64 = 100;

/// Floods a server over one connection while another client puts: that one is answered all the
/// while, and memory stays where it was.
async fn withstands(server: &Server, opening: &[u8], piece: &[u8], times: usize) -> Result<()> {
    let client = server.connect();
    client.put(api::put("before", "v")).await?;
    let before = resident_mb(server)?;
    let mut raw = Raw::connect(server.port()).await?;
    raw.send(opening).await?;
    let flooding = raw.flood(piece, times, Duration::from_secs(2));
    let putting = async {
        for i in 0..20 {
            let put = client.put(api::put(format!("k{i}"), "v"));
            tokio::time::timeout(Duration::from_secs(20), put)
                .await
                .with_context(|| format!("put {i} is not answered"))??;
        }
        Ok::<(), anyhow::Error>(())
    };
    let (_, put) = tokio::join!(flooding, putting);
    put?;
    let after = resident_mb(server)?;
    ensure!(
        !server.is_pintle() || after < before + FLOOD_MB_MAX,
        "{before} MB grew to {after} MB"
    );
    drop(raw);
    client.put(api::put("after", "v")).await?;
    Ok(())
}

/// A hundred copies of what `one` makes for each of a hundred new streams.
fn hundred(first: u32, one: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..100).flat_map(|i| one(first + 2 * i)).collect()
}

#[test]
fn rapid_reset() {
    on_each("rapid reset", 180, async |server| {
        let header = frames::call(RANGE, &[]);
        let mut raw = Raw::connect(server.port()).await?;
        let client = server.connect();
        let before = resident_mb(server)?;
        let flooding = async {
            for round in 0..1_000 {
                let burst = hundred(1 + 200 * round, |stream| {
                    let mut pair = frame(kind::HEADERS, END_HEADERS, stream, &header);
                    pair.extend(frame(kind::RST_STREAM, 0, stream, &8u32.to_be_bytes()));
                    pair
                });
                if raw.flood(&burst, 1, Duration::from_secs(2)).await == 0 {
                    return;
                }
            }
        };
        let putting = async {
            for i in 0..20 {
                let put = client.put(api::put(format!("k{i}"), "v"));
                tokio::time::timeout(Duration::from_secs(20), put)
                    .await
                    .with_context(|| format!("put {i} is not answered"))??;
            }
            Ok::<(), anyhow::Error>(())
        };
        let ((), put) = tokio::join!(flooding, putting);
        put?;
        let after = resident_mb(server)?;
        ensure!(
            !server.is_pintle() || after < before + FLOOD_MB_MAX,
            "{before} MB grew to {after} MB"
        );
        Ok(())
    });
}

#[test]
fn continuation_floods() {
    on_each("CONTINUATION floods", 180, async |server| {
        let open = frame(kind::HEADERS, 0, 1, &frames::call(RANGE, &[]));
        let empty = frame(kind::CONTINUATION, 0, 1, &[]).repeat(100);
        withstands(server, &open, &empty, 2_000).await?;
        let field = frames::block(&[(b"x-flood", &[b'a'; 8_000])]);
        let full = frame(kind::CONTINUATION, 0, 1, &field);
        withstands(server, &open, &full, 20_000).await
    });
}

#[test]
fn empty_data_flood() {
    on_each("zero-length DATA", 120, async |server| {
        let open = frame(kind::HEADERS, END_HEADERS, 1, &frames::call(RANGE, &[]));
        let empty = frame(kind::DATA, 0, 1, &[]).repeat(100);
        withstands(server, &open, &empty, 5_000).await
    });
}

#[test]
fn floods_that_ask_for_answers() {
    on_each("PING and SETTINGS floods", 180, async |server| {
        let ping = frame(kind::PING, 0, 0, b"01234567").repeat(100);
        withstands(server, &[], &ping, 5_000).await?;
        let settings = frame(kind::SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100]).repeat(100);
        withstands(server, &[], &settings, 5_000).await
    });
}

#[test]
fn floods_that_ask_for_nothing() {
    on_each("WINDOW_UPDATE and PRIORITY floods", 180, async |server| {
        let update = frame(kind::WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(100);
        withstands(server, &[], &update, 5_000).await?;
        let priority = hundred(1, |stream| {
            frame(kind::PRIORITY, 0, stream, &[0, 0, 0, 0, 16])
        });
        withstands(server, &[], &priority, 5_000).await
    });
}

#[test]
fn header_bomb() {
    on_each("HPACK bombs", 120, async |server| {
        // One field of 4,000 bytes goes into the table, and is then named 4,000 times by one byte.
        let mut header = frames::call(RANGE, &[]);
        header.push(0x40);
        header.extend_from_slice(&[1, b'x', 127]);
        header.extend_from_slice(&[0x81, 0x1e]);
        header.extend_from_slice(&[b'a'; 127 + 1 + 0x1e * 128]);
        header.extend_from_slice(&[0xbe; 4_000]);
        let bombs = hundred(1, |stream| {
            frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &header)
        });
        withstands(server, &[], &bombs, 1).await
    });
}
