//! The connection against the `h2` crate as a server, and against bytes that
//! no server should send.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Response};
use proptest::prelude::*;

use super::*;
use crate::closed::{self, Amount, OnceFailed, Requests};
use crate::net::{Failed, Pool};

/// The length of the answer to `Range`, in bytes: more than any window.
const LARGE: usize = 9 << 20;

/// A server on a loopback port; what it does depends on the method alone.
fn serve(builder: h2::server::Builder) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                let handshake = builder.handshake::<_, Bytes>(socket);
                tokio::spawn(async move {
                    let Ok(mut connection) = handshake.await else {
                        return;
                    };
                    while let Some(Ok((request, respond))) = connection.accept().await {
                        if request.uri().path() == Method::LeaseGrant.path() {
                            connection.graceful_shutdown();
                        }
                        tokio::spawn(answer(request, respond));
                    }
                });
            }
        });
    });
    address
}

async fn answer(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
) {
    let path = request.uri().path().to_owned();
    assert_eq!(request.headers()["te"], "trailers");
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(Ok(part)) = body.data().await {
        bytes.extend_from_slice(&part);
        let _ = body.flow_control().release_capacity(part.len());
    }
    let head = || {
        Response::builder()
            .status(200)
            .header("content-type", "application/grpc")
    };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    if path == Method::Put.path() {
        let mut stream = respond
            .send_response(head().body(()).unwrap(), false)
            .unwrap();
        stream.send_data(bytes.into(), false).unwrap();
        stream.send_trailers(trailers).unwrap();
    } else if path == Method::Range.path() {
        let mut stream = respond
            .send_response(head().body(()).unwrap(), false)
            .unwrap();
        let mut message = vec![0];
        message.extend_from_slice(&(LARGE as u32).to_be_bytes());
        message.extend((0..LARGE).map(|at| (at % 251) as u8));
        stream.send_data(message.into(), false).unwrap();
        stream.send_trailers(trailers).unwrap();
    } else if path == Method::Compact.path() {
        let refused = head()
            .header("grpc-status", "11")
            .header("grpc-message", "etcdserver: a%2Fb");
        respond
            .send_response(refused.body(()).unwrap(), true)
            .unwrap();
    } else if path == Method::Txn.path() {
        respond.send_reset(h2::Reason::REFUSED_STREAM);
    } else if path == Method::Status.path() {
        let mut stream = respond
            .send_response(head().body(()).unwrap(), false)
            .unwrap();
        stream.send_data(Bytes::new(), true).unwrap();
    } else {
        respond
            .send_response(Response::builder().status(503).body(()).unwrap(), true)
            .unwrap();
    }
}

fn connect(address: SocketAddr) -> Pool {
    Pool::connect(&[address.to_string()], 1).unwrap()
}

fn refused(pool: &mut Pool, method: Method) -> Status {
    match closed::once(pool, method, b"x") {
        Err(OnceFailed::Refused(_, status)) => status,
        other => panic!("{method:?} was not refused: {other:?}"),
    }
}

/// Echoes of messages that differ by slot and turn.
struct Echoes {
    turns: Vec<u8>,
    length: usize,
}

impl Requests for Echoes {
    fn method(&mut self, _: usize) -> Method {
        Method::Put
    }

    fn body(&mut self, slot: usize, out: &mut Vec<u8>) {
        self.turns[slot] += 1;
        out.resize(out.len() + self.length + slot, self.turns[slot]);
    }

    fn answer(&mut self, slot: usize, body: &[u8]) -> Result<(), String> {
        let right =
            body.len() == self.length + slot && body.iter().all(|byte| *byte == self.turns[slot]);
        if right {
            Ok(())
        } else {
            Err(format!("an echo of {} bytes", body.len()))
        }
    }
}

#[test]
fn messages_larger_than_the_peers_windows_arrive_whole() {
    for (window, length) in [(100, 3_000), (65_535, 200_000), (1 << 20, 200)] {
        let mut builder = h2::server::Builder::new();
        builder
            .initial_window_size(window)
            .initial_connection_window_size(window.max(65_535));
        let mut pool = connect(serve(builder));
        let mut echoes = Echoes {
            turns: vec![0; 8],
            length,
        };
        let amount = Amount {
            clients: 8,
            total: 40,
            rate: 0,
            classes: 1,
        };
        let (tally, outcome) = closed::run(&mut pool, &mut echoes, amount);
        outcome.unwrap();
        assert_eq!((tally.succeeded(), tally.errors), (40, Default::default()));
    }
}

#[test]
fn an_answer_larger_than_our_windows_arrives_whole() {
    let mut pool = connect(serve(h2::server::Builder::new()));
    for _ in 0..3 {
        let body = closed::once(&mut pool, Method::Range, b"").unwrap();
        assert_eq!(body.len(), LARGE);
        assert!(
            body.iter()
                .enumerate()
                .all(|(at, byte)| *byte == (at % 251) as u8)
        );
    }
}

#[test]
fn every_way_to_fail_has_its_status() {
    let mut pool = connect(serve(h2::server::Builder::new()));
    let status = refused(&mut pool, Method::Compact);
    assert_eq!(
        (status.code, status.message.as_str()),
        (11, "etcdserver: a/b")
    );
    assert_eq!(refused(&mut pool, Method::Txn).code, 14);
    assert_eq!(refused(&mut pool, Method::Status), Status::missing());
    assert_eq!(
        refused(&mut pool, Method::DeleteRange),
        Status::from_http(503)
    );
    // The connection is still good.
    assert_eq!(
        closed::once(&mut pool, Method::Put, b"again").unwrap(),
        b"again"
    );
}

#[test]
fn a_peer_without_a_header_table_is_understood() {
    let mut builder = h2::server::Builder::new();
    builder.header_table_size(0);
    let mut pool = connect(serve(builder));
    for _ in 0..3 {
        assert_eq!(closed::once(&mut pool, Method::Put, b"x").unwrap(), b"x");
    }
}

#[test]
fn more_calls_than_the_peer_allows_end_the_run_clearly() {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(3);
    let mut pool = connect(serve(builder));
    let mut echoes = Echoes {
        turns: vec![0; 4],
        length: 5,
    };
    let amount = Amount {
        clients: 4,
        total: 40,
        rate: 0,
        classes: 1,
    };
    let (_, outcome) = closed::run(&mut pool, &mut echoes, amount);
    assert!(
        matches!(outcome, Err(Failed::Broken(_, Broken::StreamLimit(3)))),
        "{outcome:?}"
    );
}

#[test]
fn goaway_ends_the_run_clearly() {
    let mut pool = connect(serve(h2::server::Builder::new()));
    let outcome = closed::once(&mut pool, Method::LeaseGrant, b"");
    assert!(
        matches!(
            outcome,
            Err(OnceFailed::Run(Failed::Broken(
                _,
                Broken::GoAway { code: 0, .. }
            )))
        ),
        "{outcome:?}"
    );
}

/// Collects what a connection tells.
#[derive(Default, PartialEq, Debug)]
struct Told(Vec<(u64, Vec<u8>)>, Vec<(u64, u32)>);

impl Handler for Told {
    fn message(&mut self, _: &mut Connection, tag: u64, body: &[u8]) {
        self.0.push((tag, body.to_vec()));
    }

    fn closed(&mut self, _: &mut Connection, tag: u64, status: Status) {
        self.1.push((tag, status.code));
    }
}

/// Two answers with padding, a continued header block and an unknown frame.
fn transcript() -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&stream.to_be_bytes());
        out.extend_from_slice(payload);
    };
    put(4, 0, 0, &[]);
    put(1, 0, 1, &[0x88]);
    put(9, 4, 1, &[]);
    put(0, 8, 1, &[2, 0, 0, 0, 0, 3, b'a', 0, 0]);
    put(99, 0, 1, b"unknown");
    put(1, 4 | 32, 3, &[0, 0, 0, 0, 7, 0x88]);
    put(0, 0, 1, b"bc\0\0\0\0\0\0");
    put(0, 0, 1, &[0, 0, 0, 1, b'z']);
    let mut trailers = vec![0x40, 11];
    trailers.extend_from_slice(b"grpc-status\x010");
    put(1, 5, 1, &trailers);
    put(1, 5, 3, &[0xbe]);
    out
}

fn told(parts: &[&[u8]]) -> Result<Told, Broken> {
    let mut connection = Connection::new("test");
    let mut told = Told::default();
    for tag in [10, 20] {
        connection.call(Method::Put, tag, true, |out| out.extend_from_slice(b"body"));
    }
    for part in parts {
        connection.input().extend_from_slice(part);
        connection.receive(&mut told)?;
    }
    Ok(told)
}

#[test]
fn frames_are_read_however_they_are_cut() {
    let whole = transcript();
    let expected = Told(
        vec![(10, b"abc".to_vec()), (10, vec![]), (10, b"z".to_vec())],
        vec![(10, 0), (20, 0)],
    );
    assert_eq!(told(&[&whole]).unwrap(), expected);
    for size in 1..20 {
        let parts: Vec<&[u8]> = whole.chunks(size).collect();
        assert_eq!(told(&parts).unwrap(), expected);
    }
}

#[test]
fn messages_that_wait_for_window_keep_their_order() {
    let mut connection = Connection::new("test");
    let feed = |connection: &mut Connection, bytes: &[u8]| {
        connection.input().extend_from_slice(bytes);
        connection.receive(&mut Told::default()).unwrap();
    };
    // SETTINGS with an initial window of 3.
    feed(
        &mut connection,
        &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 3],
    );
    let stream = connection.call(Method::Watch, 1, false, |out| {
        out.extend_from_slice(b"first")
    });
    connection.send(stream, false, |out| out.extend_from_slice(b"2"));
    connection.output().clear();
    let mut sent = Vec::new();
    for _ in 0..4 {
        // WINDOW_UPDATE of 4 for stream 1.
        feed(&mut connection, &[0, 0, 4, 8, 0, 0, 0, 0, 1, 0, 0, 0, 4]);
        let output = std::mem::take(connection.output());
        let mut rest = &output[..];
        while let Some((frame, length)) = Frame::parse(rest, 100).unwrap() {
            assert_eq!((frame.kind, frame.stream), (Some(Kind::Data), 1));
            sent.extend_from_slice(frame.payload);
            rest = &rest[length..];
        }
    }
    // The first three bytes went before the loop.
    assert_eq!(sent, b"\0\x05first\0\0\0\0\x012");
}

#[test]
fn an_answer_that_ends_inside_a_message_is_an_error() {
    let mut bytes = transcript();
    let at = bytes
        .windows(5)
        .position(|part| part == [0, 0, 0, 1, b'z'])
        .unwrap();
    bytes[at + 3] = 2;
    assert_eq!(told(&[&bytes]).unwrap().1, [(10, 2), (20, 0)]);
}

proptest! {
    #[test]
    fn damaged_bytes_are_read_or_refused(at in 0usize..140, byte in any::<u8>(), tail in proptest::collection::vec(any::<u8>(), 0..60)) {
        let mut bytes = transcript();
        let length = bytes.len();
        bytes[at % length] = byte;
        bytes.extend_from_slice(&tail);
        let _ = told(&[&bytes]);
        let _ = told(&[&tail]);
    }
}
