//! gRPC as it is on the wire: compression, bodies that end early, late or never, deadlines and
//! methods that are none. Each request goes to both servers, and status, headers, messages and
//! trailers come back equal.

use std::{io::Read as _, io::Write as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use http::{HeaderMap, Request};
use peers::{api, lockstep::Pair, peer};
use prost::Message as _;
use proto::etcdserverpb::*;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// One request, as frames.
#[derive(Clone, Debug)]
struct Ask {
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    data: Vec<Vec<u8>>,
    ends: bool,
}

impl Ask {
    fn new(path: &'static str, data: Vec<u8>) -> Ask {
        Ask {
            method: "POST",
            path,
            headers: Vec::new(),
            data: vec![data],
            ends: true,
        }
    }

    fn header(mut self, name: &'static str, value: &'static str) -> Ask {
        self.headers.push((name, value));
        self
    }

    fn open(mut self) -> Ask {
        self.ends = false;
        self
    }

    fn method(mut self, method: &'static str) -> Ask {
        self.method = method;
        self
    }
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![flag];
    out.extend((message.len() as u32).to_be_bytes());
    out.extend_from_slice(message);
    out
}

fn gzip(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).expect("memory takes it all");
    encoder.finish().expect("memory takes it all")
}

fn put(key: &str, value: &[u8]) -> Vec<u8> {
    api::put(key.to_owned(), value.to_vec()).encode_to_vec()
}

fn get(key: &str) -> Vec<u8> {
    api::get(key.to_owned()).encode_to_vec()
}

fn shown(headers: &HeaderMap) -> String {
    [
        "content-type",
        "grpc-encoding",
        "grpc-status",
        "grpc-message",
    ]
    .iter()
    .filter_map(|name| {
        let value = headers.get(*name)?;
        // The words of a library about bytes that are no message.
        if value
            .as_bytes()
            .starts_with(b"grpc: error unmarshalling request")
        {
            return Some(" grpc-message=unmarshalling".to_owned());
        }
        Some(format!(
            " {name}={}",
            String::from_utf8_lossy(value.as_bytes())
        ))
    })
    .collect()
}

/// The messages of a body: whether each is compressed, and what is in it without its header.
fn messages(mut body: &[u8], path: &str) -> Result<String> {
    let mut out = String::new();
    while let Some(head) = body.first_chunk::<5>() {
        let len = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let message = body.get(5..5 + len).context("a broken message")?;
        let plain = if head[0] == 1 {
            let mut plain = Vec::new();
            MultiGzDecoder::new(message).read_to_end(&mut plain)?;
            plain
        } else {
            message.to_vec()
        };
        let text = match path {
            PUT => {
                let mut answer = PutResponse::decode(&plain[..])?;
                answer.header = None;
                format!("{answer:?}")
            }
            RANGE => {
                let mut answer = RangeResponse::decode(&plain[..])?;
                answer.header = None;
                format!("{} keys, {} bytes", answer.count, answer.encoded_len())
            }
            _ => format!("{} bytes", plain.len()),
        };
        out.push_str(&format!(" [{}: {text}]", head[0]));
        body = &body[5 + len..];
    }
    ensure!(
        body.is_empty(),
        "{} bytes after the last message",
        body.len()
    );
    Ok(out)
}

async fn answer(port: u16, ask: &Ask) -> Result<String> {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
    let (client, connection) = h2::client::handshake(stream).await?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(ask.method)
        .uri(format!("http://127.0.0.1:{port}{}", ask.path))
        .header("te", "trailers");
    if !ask.headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in &ask.headers {
        request = request.header(*name, *value);
    }
    let mut client = client.ready().await?;
    let nothing = ask.data.is_empty() && ask.ends;
    let (response, mut sending) = client.send_request(request.body(())?, nothing)?;
    for (i, data) in ask.data.iter().enumerate() {
        let last = ask.ends && i + 1 == ask.data.len();
        // The other side may have given the stream up by now.
        if sending
            .send_data(Bytes::copy_from_slice(data), last)
            .is_err()
        {
            break;
        }
    }
    let received = async {
        let response = match response.await {
            Ok(response) => response,
            Err(error) => return Ok(format!("{:?}", error.reason())),
        };
        let (head, mut body) = response.into_parts();
        let mut bytes = Vec::new();
        while let Some(data) = body.data().await {
            match data {
                Ok(data) => {
                    body.flow_control().release_capacity(data.len())?;
                    bytes.extend_from_slice(&data);
                }
                Err(error) => return Ok(format!("{} {:?}", head.status, error.reason())),
            }
        }
        let trailers = body.trailers().await?.unwrap_or_default();
        let is_grpc = head
            .headers
            .get("content-type")
            .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
        let text = match is_grpc {
            true => messages(&bytes, ask.path)?,
            false => String::from_utf8_lossy(&bytes).into_owned(),
        };
        Ok(format!(
            "{}{}{text} |{}",
            head.status.as_u16(),
            shown(&head.headers),
            shown(&trailers)
        ))
    };
    let outcome: Result<String> =
        match tokio::time::timeout(Duration::from_secs(10), received).await {
            Ok(outcome) => outcome,
            Err(_) => Ok("no answer".to_owned()),
        };
    driver.abort();
    outcome
}

fn same(name: &str, flags: &[&str], asks: &[Ask]) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let pair = Pair::start(&subject, &reference, flags).await?;
        let mut differences = Vec::new();
        for ask in asks {
            let (ours, theirs) = tokio::join!(
                answer(pair.subject().port(), ask),
                answer(pair.reference().port(), ask)
            );
            let ours = ours.unwrap_or_else(|error| format!("{error:#}"));
            let theirs = theirs?;
            if ours != theirs {
                let mut ask = ask.clone();
                ask.data.iter_mut().for_each(|data| data.truncate(40));
                differences.push(format!(
                    "{ask:?}\n  subject:   {ours}\n  reference: {theirs}"
                ));
            }
        }
        ensure!(
            differences.is_empty(),
            "{} of {} answers differ:\n{}",
            differences.len(),
            asks.len(),
            differences.join("\n")
        );
        pair.stop().await
    });
    peer::say(&format!("RAN: grpc wire, {name}, {} requests", asks.len()));
}

#[test]
fn compressed_requests() {
    let large = vec![b'v'; 200_000];
    let bomb = vec![0; 64 << 20];
    let broken = {
        let mut bytes = gzip(&put("k", b"v"));
        let last = bytes.len() - 6;
        bytes[last] ^= 1;
        bytes
    };
    let cut = {
        let bytes = gzip(&put("k", b"v"));
        bytes[..bytes.len() - 12].to_vec()
    };
    same(
        "compression",
        &[],
        &[
            Ask::new(PUT, framed(1, &gzip(&put("k", b"v")))).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, &gzip(&put("large", &large)))).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(0, &put("plain", b"v"))).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(0, &put("plain", b"v"))).header("grpc-encoding", "identity"),
            Ask::new(PUT, framed(0, &put("plain", b"v"))).header("grpc-accept-encoding", "gzip"),
            Ask::new(RANGE, framed(1, &gzip(&get("large")))).header("grpc-encoding", "gzip"),
            Ask::new(RANGE, framed(1, &gzip(&get("nothing")))).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, &gzip(&put("", b"v")))).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, &gzip(&put("k", b"v")))),
            Ask::new(PUT, framed(1, &gzip(&put("k", b"v")))).header("grpc-encoding", "identity"),
            Ask::new(PUT, framed(1, &gzip(&put("k", b"v")))).header("grpc-encoding", "snappy"),
            Ask::new(PUT, framed(0, &put("k", b"v"))).header("grpc-encoding", "snappy"),
            Ask::new(PUT, framed(1, b"no gzip at all")).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, b"")).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, &cut)).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, &broken)).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(1, &gzip(&bomb))).header("grpc-encoding", "gzip"),
            Ask::new(PUT, framed(2, &put("k", b"v"))),
            Ask::new(PUT, framed(2, &put("k", b"v"))).header("grpc-encoding", "gzip"),
        ],
    );
}

#[test]
fn bodies_that_end_early_late_or_never() {
    let whole = framed(0, &put("k", b"v"));
    let two = [whole.clone(), whole.clone()].concat();
    let mut too_long = whole[..5].to_vec();
    too_long[1..5].copy_from_slice(&(64u32 << 20).to_be_bytes());
    let mut split = Ask::new(PUT, whole[..3].to_vec());
    split.data.push(whole[3..9].to_vec());
    split.data.push(whole[9..].to_vec());
    same(
        "bodies",
        &[],
        &[
            Ask::new(PUT, whole.clone()).open(),
            split.clone(),
            split.open(),
            Ask::new(PUT, two.clone()),
            Ask::new(PUT, two).open(),
            Ask::new(PUT, Vec::new()),
            Ask::new(PUT, whole[..3].to_vec()),
            Ask::new(PUT, whole[..8].to_vec()),
            Ask::new(PUT, too_long),
            Ask::new(PUT, framed(0, b"\xff\xff\xff")),
            Ask::new(PUT, [whole.clone(), vec![0, 0]].concat()),
        ],
    );
}

#[test]
fn deadlines_methods_and_types() {
    let timed = |timeout: &'static str| {
        Ask::new(RANGE, framed(0, &get("k"))).header("grpc-timeout", timeout)
    };
    let mut asks: Vec<Ask> = [
        "1S",
        "10S",
        "1H",
        "00000001M",
        "99999999H",
        "0n",
        "0S",
        "1n",
        "",
        "1",
        "S",
        "x",
        "1x",
        "-1S",
        "+1S",
        "1.5S",
        "123456789S",
        "1 S",
        " 1S",
        "1SS",
    ]
    .into_iter()
    .map(timed)
    .collect();
    let request = || Ask::new(RANGE, framed(0, &get("k")));
    for method in ["GET", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH"] {
        asks.push(request().method(method));
    }
    for kind in [
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "application/grpc-web",
        "application/grpcx",
        "text/plain",
        "application/json",
        "",
    ] {
        asks.push(request().header("content-type", kind));
    }
    for binary in [
        "", "YQ==", "YQ", "YWI=", "!!!", "a", "YQ=", "YQ=c", "a===", "YQ==YQ==", "YWJjZA!",
    ] {
        asks.push(request().header("x-bin", binary));
    }
    asks.push(
        Ask::new("/health", Vec::new())
            .method("GET")
            .header("content-type", "text/html"),
    );
    for path in [
        "/",
        "/x",
        "/etcdserverpb.KV",
        "/etcdserverpb.KV/",
        "/no.Service/Method",
    ] {
        asks.push(Ask::new(path, framed(0, b"")));
    }
    same("deadlines, methods, types", &[], &asks);
}

/// Metadata of a call: tokens and traces, far more than any client sends.
#[test]
fn calls_with_much_metadata() {
    let much: &'static str = "m".repeat(200_000).leak();
    let ask = Ask::new(RANGE, framed(0, &get("k"))).header("baggage", much);
    same("metadata", &[], &[ask]);
}
