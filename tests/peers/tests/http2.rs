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
use proto::etcdserverpb::{LeaseGrantRequest, WatchCreateRequest};
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

const KEEP_ALIVE: &[u8] = b"/etcdserverpb.Lease/LeaseKeepAlive";

const WATCH: &[u8] = b"/etcdserverpb.Watch/Watch";

/// A gRPC message of a lease's id in one byte.
fn renewal(id: u8) -> Vec<u8> {
    vec![0, 0, 0, 0, 2, 0x08, id]
}

/// All that a stream's window takes, of the smallest messages, while their answers are not taken:
/// as a client does that has stopped for a while.
#[test]
fn a_stream_full_of_small_messages_leaves_the_connection() {
    on_each("a stream full of small messages", 120, async |server| {
        let lease = LeaseGrantRequest { ttl: 600, id: 7 };
        server.api().lease_grant(lease).await?;
        let progress = vec![0, 0, 0, 0, 2, 0x1a, 0];
        for (path, message) in [(KEEP_ALIVE, renewal(7)), (WATCH, progress)] {
            let mut raw = Raw::connect(server.port()).await?;
            let (stream, connection) = raw.windows().await?;
            let messages = stream.min(connection) / message.len();
            let mut burst = frame(kind::HEADERS, END_HEADERS, 1, &frames::call(path, &[]));
            burst.extend(frame(kind::DATA, 0, 1, &message).repeat(messages));
            raw.send(&burst).await?;
            raw.until_pong()
                .await
                .with_context(|| path.escape_ascii().to_string())?;
        }
        Ok(())
    });
}

/// Calls that end at once, and what their client sends before it has heard of that.
#[test]
fn messages_to_calls_that_have_ended_leave_the_connection() {
    on_each("messages to calls that have ended", 240, async |server| {
        let mut raw = Raw::connect(server.port()).await?;
        let header = frames::call(b"/etcdserverpb.KV/Unknown", &[]);
        let mut sent = 0;
        for call in 0..300 {
            let stream = 1 + 2 * call;
            raw.send(&frame(kind::HEADERS, END_HEADERS, stream, &header))
                .await?;
            raw.until_end_of(stream).await?;
            // To this one, and to one that ended long ago.
            let mut late = frame(kind::DATA, 0, stream, &renewal(7)).repeat(50);
            late.extend(frame(kind::DATA, 0, 1, &renewal(7)).repeat(50));
            raw.send(&late).await?;
            sent += 100;
            raw.until_pong()
                .await
                .with_context(|| format!("after {sent} messages"))?;
        }
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

/// How much of the end of a call is compared.
#[derive(Clone, Copy, PartialEq)]
enum Compare {
    /// All of it.
    Whole,
    /// The status; what h2 cannot read is not in our text.
    Status,
    /// That it ends, and the next call of the connection does not.
    Next,
}

/// A header list that is none of HTTP, or nearly one.
struct Odd {
    name: &'static str,
    fields: Vec<u8>,
    compare: Compare,
}

const POST: (&[u8], &[u8]) = (b":method", b"POST");
const HTTP: (&[u8], &[u8]) = (b":scheme", b"http");
const PATH: (&[u8], &[u8]) = (b":path", RANGE);
const HOST: (&[u8], &[u8]) = (b":authority", b"127.0.0.1");
const GRPC: (&[u8], &[u8]) = (b"content-type", b"application/grpc");

fn odd(compare: Compare, name: &'static str, fields: &[(&[u8], &[u8])]) -> Odd {
    Odd {
        name,
        fields: frames::block(fields),
        compare,
    }
}

fn odd_fields() -> Vec<Odd> {
    let after = |name, field: (&[u8], &[u8])| {
        let fields = [POST, HTTP, PATH, HOST, GRPC, field];
        odd(Compare::Whole, name, &fields)
    };
    vec![
        after("sound", (b"x-some", b"value")),
        after("upper case", (b"X-Some", b"value")),
        after("upper case, short", (b"X", b"")),
        after("no name", (b"", b"value")),
        after("a space in a name", (b"x some", b"value")),
        after("a name not of ASCII", (b"x-\xc3\xa4", b"value")),
        after("a line break in a value", (b"x-some", b"va\r\nlue")),
        after("NUL in a value", (b"x-some", b"va\0lue")),
        after("DEL in a value", (b"x-some", b"va\x7flue")),
        after("tab in a value", (b"x-some", b"va\tlue")),
        after("a value not of UTF-8", (b"x-some", b"va\xfflue")),
        after("unknown pseudo", (b":some", b"value")),
        after("pseudo after others", (b":path", b"/a")),
        after("status", (b":status", b"200")),
        after("connection", (b"connection", b"close")),
    ]
}

fn odd_pseudos() -> Vec<Odd> {
    let whole = |name, fields: &[(&[u8], &[u8])]| odd(Compare::Whole, name, fields);
    let next = |name, fields: &[(&[u8], &[u8])]| odd(Compare::Next, name, fields);
    let method = |method| [(&b":method"[..], method), HTTP, PATH, HOST, GRPC];
    let scheme = |scheme| [POST, (&b":scheme"[..], scheme), PATH, HOST, GRPC];
    let authority = |name| [POST, HTTP, PATH, (&b":authority"[..], name), GRPC];
    let unknown: (&[u8], &[u8]) = (b":some", b"v");
    let status: (&[u8], &[u8]) = (b":status", b"x");
    vec![
        whole("unknown pseudo", &[unknown, POST, HTTP, PATH, HOST, GRPC]),
        whole("odd status", &[status, POST, HTTP, PATH, HOST, GRPC]),
        whole("two paths", &[POST, HTTP, PATH, PATH, HOST, GRPC]),
        whole("two authorities", &[POST, HTTP, PATH, HOST, HOST, GRPC]),
        whole("no authority", &[POST, HTTP, PATH, GRPC]),
        next("no path", &[POST, HTTP, HOST, GRPC]),
        next("no scheme", &[POST, PATH, HOST, GRPC]),
        next("no method", &[HTTP, PATH, HOST, GRPC]),
        odd(Compare::Status, "empty method", &method(b"")),
        odd(Compare::Status, "odd method", &method(b"PO ST")),
        whole("odd scheme", &scheme(b"1 2")),
        whole("empty scheme", &scheme(b"")),
        whole("scheme not of UTF-8", &scheme(b"\xff")),
        whole("empty authority", &authority(b"")),
        whole("authority with a space", &authority(b"a b")),
        whole("authority not of UTF-8", &authority(b"\xff")),
        whole("authority with a line break", &authority(b"a\nb")),
    ]
}

fn odd_paths() -> Vec<Odd> {
    let whole = |name, path: &[u8]| {
        let fields = [POST, HTTP, (b":path", path), HOST, GRPC];
        odd(Compare::Whole, name, &fields)
    };
    vec![
        whole("path not of UTF-8", b"/etcdserverpb.KV/Range\xff"),
        whole("path of UTF-8", "/etcdserverpb.KV/R\u{e4}ng".as_bytes()),
        whole("path with a space", b"/etcdserverpb.KV/Ra nge"),
        whole("path with <", b"/etcdserverpb.KV/Ra<nge"),
        whole("path with #", b"/etcdserverpb.KV/Range#a"),
        whole("path with ?", b"/etcdserverpb.KV/Range?a"),
        whole("path without a slash", b"etcdserverpb.KV/Range"),
        whole("path with another first letter", b"xetcdserverpb.KV/Range"),
        whole("path of a star", b"*"),
        whole("path with a line break", b"/etcdserverpb.KV/Ra\nnge"),
        whole("empty path", b""),
    ]
}

/// How a call ended, without what may differ between two correct servers.
fn end(decoder: &mut hpack::Decoder, frames: &[frames::Frame], compare: Compare) -> Result<String> {
    let mut end = String::new();
    for frame in frames {
        match frame.kind {
            kind::RST_STREAM => end += &format!("RST {:?}", frame.payload),
            kind::DATA => end += "DATA ",
            kind::HEADERS => {
                let read = decoder.decode(&frame.payload, |name, value| {
                    let is_compared = match name {
                        b":status" | b"grpc-status" => true,
                        b"grpc-message" => compare == Compare::Whole,
                        _ => false,
                    };
                    if is_compared {
                        end += &format!("{}={} ", name.escape_ascii(), value.escape_ascii());
                    }
                });
                read.map_err(|error| anyhow::anyhow!("{error:?}"))?;
            }
            _ => {}
        }
    }
    Ok(end)
}

/// A block of headers in frames of so many bytes.
fn in_frames(stream: u32, block: &[u8], part: usize) -> Vec<u8> {
    let count = block.len().div_ceil(part);
    let parts = block.chunks(part).enumerate().map(|(n, part)| {
        let kind = if n == 0 {
            kind::HEADERS
        } else {
            kind::CONTINUATION
        };
        let flags = if n + 1 == count { END_HEADERS } else { 0 };
        frame(kind, flags, stream, part)
    });
    parts.collect::<Vec<_>>().concat()
}

/// How a call with odd headers ended, and the next one of the connection, which names a field of
/// the first by its place in the table. `part` is how much of a block is in a frame.
async fn ends(server: &Server, odd: &Odd, part: usize) -> Result<(String, String)> {
    let mut decoder = hpack::Decoder::new();
    let mut raw = Raw::connect(server.port()).await?;
    raw.until_pong().await?;
    let get = [0, 0, 0, 0, 3, 0x0a, 1, b'k'];
    let mut call = in_frames(1, &odd.fields, part);
    call.extend(frame(kind::DATA, END_STREAM, 1, &get));
    raw.send(&call).await?;
    let frames = raw.until_end_of(1).await?;
    let first = end(&mut decoder, &frames, odd.compare)?;
    let sound = frames::call(RANGE, &[]);
    let mut call = in_frames(3, &sound, part);
    call.extend(frame(kind::DATA, END_STREAM, 3, &get));
    raw.send(&call).await?;
    let frames = raw.until_end_of(3).await?;
    Ok((first, end(&mut decoder, &frames, Compare::Whole)?))
}

#[test]
fn odd_headers_end_their_stream_as_on_etcd() {
    compare_odd_headers(frames::PAYLOAD_MAX, 0);
}

/// More frames than h2 takes by itself. Where something is wrong before the last of them, etcd ends
/// the connection.
#[test]
fn headers_in_many_frames_are_judged_as_on_etcd() {
    compare_odd_headers(3, 20);
}

/// `ended_max` is how many may cost a connection of etcd.
fn compare_odd_headers(part: usize, ended_max: usize) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(120, async {
        let temp = tempfile::tempdir()?;
        let ours = Launch::new(&subject, &temp.path().join("a"));
        let theirs = Launch::new(&reference, &temp.path().join("b"));
        let (ours, theirs) = (ours.start().await?, theirs.start().await?);
        let (mut wrong, mut ended) = (Vec::new(), 0);
        let sound = odd(Compare::Whole, "none", &[POST, HTTP, PATH, HOST, GRPC]);
        let odds = [vec![sound], odd_fields(), odd_pseudos(), odd_paths()];
        for odd in odds.into_iter().flatten() {
            let named = |server: &str| format!("{server}: {}", odd.name);
            let (first, next) = match ends(&theirs, &odd, part).await {
                Ok(answers) => answers,
                Err(error) => {
                    ended += 1;
                    ensure!(ended <= ended_max, "{}: {error:#}", named("etcd"));
                    continue;
                }
            };
            let is_equal = match ends(&ours, &odd, part).await {
                Ok(ours) if odd.compare == Compare::Next => ours.1 == next,
                Ok(ours) => ours == (first.clone(), next.clone()),
                Err(_) => false,
            };
            if !is_equal {
                let ours = ends(&ours, &odd, part).await;
                wrong.push(format!("{}: {ours:?}, etcd {first}, {next}", odd.name));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        ours.terminate().await?;
        theirs.terminate().await
    });
    peer::say("RAN: http2, odd headers");
}

/// A bad field that a client keeps in its table, and names again: each stream ends, and the
/// entries after it keep their places.
#[test]
fn a_bad_field_of_the_table_ends_every_stream_that_names_it() {
    on_each("a bad field of the table", 60, async |server| {
        let mut raw = Raw::connect(server.port()).await?;
        let mut bad = frames::call(RANGE, &[]);
        bad.extend_from_slice(b"\x40\x06X-Some\x05value");
        bad.extend_from_slice(b"\x40\x06x-some\x05other");
        let mut again = frames::call(RANGE, &[]);
        again.push(0xbf);
        let mut sound = frames::call(RANGE, &[]);
        sound.push(0xbe);
        let get = [0, 0, 0, 0, 3, 0x0a, 1, b'k'];
        let mut decoder = hpack::Decoder::new();
        for (n, (block, ends)) in (0..).zip([(&bad, "RST"), (&again, "RST"), (&sound, ":status")]) {
            let stream = 1 + 2 * n;
            let mut call = frame(kind::HEADERS, END_HEADERS, stream, block);
            call.extend(frame(kind::DATA, END_STREAM, stream, &get));
            raw.send(&call).await?;
            let frames = raw.until_end_of(stream).await?;
            let end = end(&mut decoder, &frames, Compare::Whole)?;
            ensure!(end.starts_with(ends), "stream {stream}: {end}");
        }
        Ok(())
    });
}

/// A put that every watch is told of.
const VALUE_BYTES: usize = 100_000;
/// What a stream whose client takes nothing may hold: half a mebibyte of output, one response, a
/// piece in h2 and one under way, and its share of what the puts themselves take.
const STALLED_KB_MAX: u64 = 1_400;

fn anonymous_kb(server: &Server) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid()))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let line = line.context("no RssAnon")?.trim();
    Ok(line.trim_end_matches(" kB").parse()?)
}

/// Connections of ten streams of ten watches each, which are told of everything and take nothing.
#[test]
fn stalled_streams_hold_little() {
    let connections = peers::env_number("PINTLE_STALLED").unwrap_or(10);
    on_each("stalled streams", 240, async |server| {
        let client = server.connect();
        for _ in 0..30 {
            client.put(api::put("k", vec![b'v'; VALUE_BYTES])).await?;
        }
        let before = anonymous_kb(server)?;
        // Create a watch of "k".
        let create = [0, 0, 0, 0, 5, 0x0a, 3, 0x0a, 1, b'k'];
        let mut stalled = Vec::new();
        for _ in 0..connections {
            let mut raw = Raw::connect(server.port()).await?;
            for call in 0..10 {
                let stream = 1 + 2 * call;
                let header = frames::call(WATCH, &[]);
                let mut open = frame(kind::HEADERS, END_HEADERS, stream, &header);
                open.extend(frame(kind::DATA, 0, stream, &create).repeat(10));
                raw.send(&open).await?;
            }
            raw.until_pong().await?;
            stalled.push(raw);
        }
        for _ in 0..100 {
            client.put(api::put("k", vec![b'v'; VALUE_BYTES])).await?;
        }
        let held = anonymous_kb(server)?.saturating_sub(before);
        let each = held / (10 * connections);
        peer::say(&format!(
            "{each} kB for each of {} stalled streams",
            10 * connections
        ));
        ensure!(
            !server.is_pintle() || each <= STALLED_KB_MAX,
            "{each} kB for each stream"
        );
        drop(stalled);
        Ok(())
    });
}
