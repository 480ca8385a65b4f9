//! Bodies for the JSON gateway that a careful client does not send: what is lenient in Go is lenient
//! here, and what is refused is refused with the same status and the same text.

use anyhow::{Context as _, Result, ensure};
use peers::{
    http::{self, Answer},
    lockstep::Pair,
    peer,
    workload::Dice,
};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    Vec<u8>,
);

fn case(path: &'static str, body: impl Into<Vec<u8>>) -> Case {
    (path, &[], body.into())
}

fn nested(depth: usize, open: &str, middle: &str, close: &str) -> String {
    [&open.repeat(depth), middle, &close.repeat(depth)].concat()
}

/// Status and JSON. Left out: the term, which two clusters need not share, and "error", which repeats
/// the message for clients of the gateway before its second version.
fn shown(answer: &Answer) -> String {
    let text = answer.text();
    let Ok(mut value) = serde_json::from_str::<Value>(&text) else {
        return format!("{} {}", answer.status, plain(&text));
    };
    if let Some(map) = value.as_object_mut() {
        map.remove("error");
    }
    if let Some(term) = value.pointer_mut("/header/raft_term") {
        *term = Value::Null;
    }
    if let Some(Value::String(message)) = value.pointer_mut("/message") {
        // By a whim of its build, Go's protojson writes a space that is none.
        *message = message.replace('\u{a0}', " ");
    }
    format!("{} {value}", answer.status)
}

/// The same for what the reader takes for nested too deep: no text of a nested answer has a space.
fn plain(text: &str) -> String {
    let text = text.replace(", ", ",");
    match text.split_once(r#""raft_term":""#) {
        Some((before, after)) => format!("{before}{}", after.trim_start_matches(char::is_numeric)),
        None => text,
    }
}

/// One exchange. A server that answers before it has read the body resets the connection when it
/// closes it, and with bad luck the answer is lost: then it is asked again.
async fn ask(port: u16, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<String> {
    let mut tries = 20;
    loop {
        match http::send_with(port, "POST", path, headers, body).await {
            Ok(answer) => return Ok(shown(&answer)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

/// Bytes of a body in a message.
const SHOWN: usize = 200;

async fn same(pair: &Pair, cases: &[Case]) -> Result<()> {
    let mut differences = Vec::new();
    for (path, headers, body) in cases {
        let (ours, theirs) = tokio::join!(
            ask(pair.subject().port(), path, headers, body),
            ask(pair.reference().port(), path, headers, body),
        );
        let (ours, theirs) = (ours?, theirs?);
        if ours != theirs {
            let start = body[..body.len().min(SHOWN)].escape_ascii();
            differences.push(format!(
                "{path} {headers:?} {start}\n  subject:   {ours}\n  reference: {theirs}"
            ));
        }
    }
    ensure!(
        differences.is_empty(),
        "{} of {} answers differ:\n{}",
        differences.len(),
        cases.len(),
        differences.join("\n")
    );
    Ok(())
}

fn on_a_pair(name: &str, cases: &[Case]) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        same(&pair, cases).await?;
        pair.stop().await
    });
    peer::say(&format!("RAN: gateway bodies, {name}, {}", cases.len()));
}

const PUT: &str = "/v3/kv/put";
const RANGE: &str = "/v3/kv/range";
const TXN: &str = "/v3/kv/txn";
const GRANT: &str = "/v3/lease/grant";
const COMPACT: &str = "/v3/kv/compaction";

#[test]
fn values_of_the_wrong_kind() {
    let mut cases: Vec<Case> = Vec::new();
    for value in [
        "null",
        "1",
        "\"1\"",
        "\" 1 \"",
        "1e2",
        "1.0",
        "1.5",
        "-1",
        "\"-0\"",
        "-0",
        "true",
        "\"true\"",
        "\"null\"",
        "\"\"",
        "\"x\"",
        "\"1 2\"",
        "\"1x\"",
        "[]",
        "{}",
        "\"{}\"",
        "[1]",
        "99999999999999999999",
        "\"0x10\"",
        "\"+1\"",
        "\"1e2\"",
        "\"\\u0031\"",
    ] {
        cases.push(case(
            PUT,
            format!("{{\"key\":\"YQ==\",\"value\":\"Yg==\",\"lease\":{value}}}"),
        ));
        cases.push(case(
            RANGE,
            format!("{{\"key\":\"YQ==\",\"limit\":{value}}}"),
        ));
    }
    for value in [
        "null",
        "1",
        "\"YQ\"",
        "\"YQ==\"",
        "\"Y Q==\"",
        "\"YQ=\\n=\"",
        "\"YQ==\\r\\n\"",
        "\"YQ==x\"",
        "\"YQ=x\"",
        "\"_w==\"",
        "\"/w==\"",
        "\"YWI=\"",
        "\"YWJj\"",
        "\"YWJjZ\"",
        "\"=\"",
        "\"Y===\"",
        "\"\"",
        "true",
        "{}",
        "[]",
        "[97,98]",
        "[300]",
        "[\"a\"]",
        "[null]",
        "[1.5]",
        "\"Y\\u0051==\"",
        "\"YR==\"",
    ] {
        cases.push(case(PUT, format!("{{\"key\":{value},\"value\":\"Yg==\"}}")));
    }
    for value in ["null", "true", "false", "1", "\"true\"", "[]"] {
        cases.push(case(
            RANGE,
            format!("{{\"key\":\"YQ==\",\"keys_only\":{value}}}"),
        ));
    }
    for value in [
        "null",
        "1",
        "77",
        "-3",
        "1.5",
        "\"ASCEND\"",
        "\"ascend\"",
        "\"NOPE\"",
        "\"1\"",
        "\"\"",
        "99999999999",
        "true",
        "{}",
        "\"<&>\"",
    ] {
        cases.push(case(
            RANGE,
            format!("{{\"key\":\"YQ==\",\"sort_order\":{value}}}"),
        ));
    }
    on_a_pair("values of the wrong kind", &cases);
}

#[test]
fn texts_that_are_no_objects_or_more_than_one() {
    let mut cases: Vec<Case> = Vec::new();
    for text in [
        "",
        " ",
        "\n\t ",
        "null",
        "true",
        "1",
        "\"a\"",
        "[]",
        "[{}]",
        "{",
        "{\"",
        "{\"key\"",
        "{\"key\":",
        "{\"key\":\"YQ==\"",
        "{\"key\":\"YQ==\",}",
        "{\"key\" \"YQ==\"}",
        "{key:1}",
        "{'key':1}",
        "<xml/>",
        "nul",
        "nulL",
        "tru}",
        "{\"key\":\"YQ==\"}}",
        "{\"key\":\"YQ==\"} trailing",
        "{\"key\":\"YQ==\"}{\"key\":\"Yg==\"}",
        "{\"key\":\"YQ==\"}\u{0}",
        "{\"key\":\"a\u{1}\"}",
        "{\"key\":\"\\x\"}",
        "{\"key\":\"\\u12g4\"}",
        "{\"lease\":01}",
        "{\"lease\":-}",
        "{\"lease\":1.}",
        "{\"lease\":1e}",
        "{\"a\":1,\"a\":}",
        "\u{feff}{}",
        "{\"key\":\"YQ==\",\"key\":\"Yg==\"}",
        "{\"key\":\"YQ==\",\"unknown\":{\"a\":[1,2,{\"b\":null}]}}",
        "{\"\":1}",
        "é",
        "{\"key\":\"é\"}",
        "{\"rangeEnd\":\"Yg==\",\"key\":\"YQ==\"}",
        "{\"range_end\":\"Yg==\",\"rangeEnd\":\"Yw==\",\"key\":\"YQ==\"}",
        "{\"KEY\":\"YQ==\"}",
        "{\"\\u006bey\":\"YQ==\"}",
    ] {
        cases.push(case(RANGE, text));
    }
    cases.push(case(GRANT, "{\"TTL\":\"60\",\"ID\":7}"));
    cases.push(case(GRANT, "{\"ttl\":60,\"ID\":8}"));
    cases.push(case(COMPACT, "{\"revision\":null,\"physical\":null}"));
    on_a_pair("texts", &cases);
}

#[test]
fn nesting_and_size() {
    let unknown = |depth| {
        let value = nested(depth, "[", "", "]");
        format!("{{\"key\":\"YQ==\",\"x\":{value}}}")
    };
    let txn = |depth| {
        let put = r#"{"request_put":{"key":"YQ==","value":"Yg=="}}"#;
        let body = nested(depth, r#"{"request_txn":{"success":["#, put, "]}}");
        format!("{{\"success\":[{body}]}}")
    };
    let value = |len: usize| {
        let value = "YWFh".repeat(len / 3);
        format!("{{\"key\":\"YQ==\",\"value\":\"{value}\"}}")
    };
    on_a_pair(
        "nesting and size",
        &[
            case(RANGE, unknown(100)),
            case(RANGE, unknown(200)),
            case(RANGE, unknown(9_999)),
            // Ends where it is too deep: etcd resets the connection of one that goes on.
            case(RANGE, format!("{{\"x\":{}", "[".repeat(10_000))),
            case(RANGE, nested(10_000, "{\"a\":", "{", "")),
            case(TXN, "{\"compare\":null,\"success\":null}"),
            case(TXN, "{\"success\":[null]}"),
            case(TXN, "{\"success\":{}}"),
            case(TXN, "{\"success\":[{\"request_put\":null}]}"),
            case(
                TXN,
                "{\"success\":[{\"request_put\":{\"key\":\"YQ==\"}},5]}",
            ),
            case(TXN, "{\"success\":[{\"requestRange\":{\"key\":\"YQ==\"}}]}"),
            case(
                TXN,
                "{\"compare\":[{\"key\":\"YQ==\",\"target\":\"VERSION\",\"version\":\"0\"}],\"failure\":[{\"request_range\":{\"key\":\"YQ==\"}}]}",
            ),
            case(
                TXN,
                "{\"compare\":[{\"key\":\"YQ==\",\"target\":\"WHAT\"}]}",
            ),
            case(TXN, txn(30)),
            case(TXN, txn(60)),
            case(TXN, txn(127)),
            case(TXN, txn(128)),
            case(PUT, value(1_000_000)),
            case(PUT, value(1_600_000)),
            case(PUT, value(2_200_000)),
            case(PUT, value(5_000_000)),
        ],
    );
}

#[test]
fn the_header_grpc_timeout() {
    const TIMEOUTS: [&[(&str, &str)]; 14] = [
        &[("Grpc-Timeout", "10S")],
        &[("Grpc-Timeout", "1H")],
        &[("Grpc-Timeout", "1n")],
        &[("Grpc-Timeout", "0S")],
        &[("Grpc-Timeout", "-1S")],
        &[("Grpc-Timeout", "")],
        &[("Grpc-Timeout", "1")],
        &[("Grpc-Timeout", "S")],
        &[("Grpc-Timeout", "1x")],
        &[("Grpc-Timeout", "abc")],
        &[("Grpc-Timeout", "1.5S")],
        &[("Grpc-Timeout", "+1S")],
        &[("Grpc-Timeout", "123456789S")],
        &[("Grpc-Timeout", "1s")],
    ];
    let mut cases: Vec<Case> = Vec::new();
    for headers in TIMEOUTS {
        cases.push((RANGE, headers, "{\"key\":\"YQ==\"}".into()));
        cases.push((RANGE, headers, "{".into()));
    }
    on_a_pair("Grpc-Timeout", &cases);
}

/// Bodies at random, of the members that the messages have and some that they have not.
struct Generator(Dice);

/// What a member may be.
#[derive(Clone, Copy)]
enum Shape {
    Bytes,
    Number,
    Bool,
    Enum,
    Text,
    Texts,
    Compares,
    Operations,
}

const MEMBERS: [(&str, &[(&str, Shape)]); 7] = [
    (
        RANGE,
        &[
            ("key", Shape::Bytes),
            ("range_end", Shape::Bytes),
            ("rangeEnd", Shape::Bytes),
            ("limit", Shape::Number),
            ("revision", Shape::Number),
            ("sort_order", Shape::Enum),
            ("sortTarget", Shape::Enum),
            ("keysOnly", Shape::Bool),
            ("count_only", Shape::Bool),
            ("min_mod_revision", Shape::Number),
        ],
    ),
    (
        PUT,
        &[
            ("key", Shape::Bytes),
            ("value", Shape::Bytes),
            ("lease", Shape::Number),
            ("prev_kv", Shape::Bool),
            ("ignoreValue", Shape::Bool),
        ],
    ),
    (
        TXN,
        &[
            ("compare", Shape::Compares),
            ("success", Shape::Operations),
            ("failure", Shape::Operations),
        ],
    ),
    (
        "/v3/auth/user/add",
        &[("name", Shape::Text), ("password", Shape::Text)],
    ),
    ("/v3/auth/role/get", &[("role", Shape::Text)]),
    (
        "/v3/cluster/member/update",
        &[("ID", Shape::Number), ("peerURLs", Shape::Texts)],
    ),
    (
        "/v3/lease/timetolive",
        &[("ID", Shape::Number), ("keys", Shape::Bool)],
    ),
];

impl Generator {
    fn pick(&mut self, from: &[&str]) -> Vec<u8> {
        self.0.pick(from).into()
    }

    /// A string, of pieces that are plain for the most part.
    fn text(&mut self) -> Vec<u8> {
        const PLAIN: [&[u8]; 5] = [b"a", b"k1", "\u{e4}\u{20ac}".as_bytes(), b" ", b"\\u0041"];
        const ODD: [&[u8]; 14] = [
            b"\\ud83d\\ude00",
            b"\\ud800",
            b"\\udc00",
            b"\\ud800\\u0041",
            b"\\ud800x",
            b"\\uDBFF\\uDFFF",
            b"\xff",
            b"\xc3",
            b"\xe2\x82",
            b"\xed\xa0\x80",
            b"\xf0\x9f\x98\x80",
            b"\\n",
            b"\\/",
            b"\\u0000",
        ];
        let mut text = vec![b'"'];
        for _ in 0..self.0.below(4) {
            let piece = match self.0.one_in(4) {
                true => self.0.pick(&ODD),
                false => self.0.pick(&PLAIN),
            };
            text.extend_from_slice(piece);
        }
        text.push(b'"');
        text
    }

    fn bytes(&mut self) -> Vec<u8> {
        if self.0.one_in(6) {
            return self.text();
        }
        self.pick(&[
            "\"YQ==\"",
            "\"YQ\"",
            "\"YWI=\"",
            "\"YWJj\"",
            "\"_-8=\"",
            "\"/+8=\"",
            "\"_+8=\"",
            "\"YW\\nJj\"",
            "\"YQ=\"",
            "\"Y\"",
            "\"YR==\"",
            "\"YQ== \"",
            "\"\\u0059Q==\"",
            "\"\"",
        ])
    }

    fn number(&mut self) -> Vec<u8> {
        self.pick(&[
            "0",
            "1",
            "7",
            "-1",
            "\"5\"",
            "1e1",
            "1.0",
            "2.50e1",
            "\"1e1\"",
            "1.5",
            "1e-1",
            "10e-1",
            "-0",
            "9223372036854775807",
            "9223372036854775808",
            "\"-0\"",
            "1E400",
            "\" 1\"",
            "0.0e9",
        ])
    }

    fn any(&mut self) -> Vec<u8> {
        match self.0.below(8) {
            0 => b"null".to_vec(),
            1 => b"true".to_vec(),
            2 => self.number(),
            3 => self.text(),
            4 => b"[]".to_vec(),
            5 => [&b"[{\"x\":"[..], &self.text(), b"}]"].concat(),
            6 => b"{}".to_vec(),
            _ => [&b"{"[..], &self.text(), b":", &self.number(), b"}"].concat(),
        }
    }

    fn value(&mut self, shape: Shape) -> Vec<u8> {
        if self.0.one_in(10) {
            return self.any();
        }
        match shape {
            Shape::Bytes => self.bytes(),
            Shape::Number => self.number(),
            Shape::Bool => self.pick(&["true", "false", "\"true\"", "1", "null"]),
            Shape::Enum => self.pick(&[
                "1",
                "0",
                "7",
                "-3",
                "\"ASCEND\"",
                "\"KEY\"",
                "\"ascend\"",
                "\"x\"",
                "1e0",
                "null",
                "\"\"",
            ]),
            Shape::Text => self.text(),
            Shape::Texts => self.list(|generator| generator.text()),
            Shape::Compares => self.list(|generator| {
                generator.object(&[
                    ("key", Shape::Bytes),
                    ("target", Shape::Enum),
                    ("result", Shape::Enum),
                    ("version", Shape::Number),
                    ("modRevision", Shape::Number),
                ])
            }),
            Shape::Operations => self.list(|generator| {
                let (kind, members): (_, &[(&str, Shape)]) = match generator.0.below(4) {
                    0 => ("request_range", MEMBERS[0].1),
                    1 => ("requestPut", MEMBERS[1].1),
                    2 => ("request_txn", MEMBERS[2].1),
                    _ => ("request_delete_range", &[("key", Shape::Bytes)]),
                };
                let inner = generator.object(members);
                [format!("{{\"{kind}\":").as_bytes(), &inner, b"}"].concat()
            }),
        }
    }

    fn list(&mut self, one: impl Fn(&mut Generator) -> Vec<u8>) -> Vec<u8> {
        let elements: Vec<Vec<u8>> = (0..self.0.below(3)).map(|_| one(self)).collect();
        [&b"["[..], &elements.join(&b','), b"]"].concat()
    }

    fn object(&mut self, members: &[(&str, Shape)]) -> Vec<u8> {
        let written: Vec<Vec<u8>> = (0..self.0.below(4))
            .map(|_| {
                let (name, shape) = self.0.pick(members);
                let name = match self.0.below(16) {
                    0 => self.text(),
                    1 => b"\"unknown\"".to_vec(),
                    _ => format!("\"{name}\"").into(),
                };
                let blank = self.pick(&["", "", "", " ", "\n"]);
                [&name[..], b":", &blank, &self.value(shape)].concat()
            })
            .collect();
        [&b"{"[..], &written.join(&b','), b"}"].concat()
    }

    fn case(&mut self) -> Case {
        let (path, members) = self.0.pick(&MEMBERS);
        let mut body = self.object(members);
        let tail = match self.0.below(20) {
            0 => self.any(),
            1 => b" trailing".to_vec(),
            2 => {
                let len = self.0.below(body.len() as u64) as usize;
                body.truncate(len);
                Vec::new()
            }
            _ => Vec::new(),
        };
        body.extend(tail);
        case(path, body)
    }
}

/// `PINTLE_SEED=<n>` makes others, `PINTLE_STEPS=<n>` more.
#[test]
fn bodies_at_random() {
    let mut generator = Generator(Dice::new(peers::seed(1)));
    let count = peers::env_number("PINTLE_STEPS").unwrap_or(400);
    let cases: Vec<Case> = (0..count).map(|_| generator.case()).collect();
    on_a_pair("bodies at random", &cases);
}

#[test]
fn a_form_that_names_another_method() {
    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
    const ASKED: [&[(&str, &str)]; 5] = [
        &[FORM, ("X-HTTP-Method-Override", "GET")],
        &[FORM, ("X-HTTP-Method-Override", "put")],
        &[FORM],
        &[("X-HTTP-Method-Override", "GET")],
        &[
            ("Content-Type", "application/json"),
            ("X-HTTP-Method-Override", "GET"),
        ],
    ];
    let ask = |headers: &&'static [_]| (RANGE, *headers, "{\"key\":\"YQ==\"}".into());
    let cases: Vec<Case> = ASKED.iter().map(ask).collect();
    on_a_pair("X-HTTP-Method-Override", &cases);
}

/// Requests as they are sent, after which the server ends the connection.
fn on_a_pair_raw(name: &str, ports: fn(&Pair) -> [u16; 2], requests: &[String]) {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(180, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let (ports, mut differences) = (ports(&pair), Vec::new());
        for request in requests {
            let ask = async |port: u16| -> Result<String> {
                let answer = http::send_raw(port, request.as_bytes()).await?;
                let connection = answer.header("connection").unwrap_or_default();
                Ok(format!("{connection} {}", shown(&answer)))
            };
            let (ours, theirs) = tokio::join!(ask(ports[0]), ask(ports[1]));
            let (ours, theirs) = (ours?, theirs?);
            if ours != theirs {
                differences.push(format!("{request}\n  {ours}\n  {theirs}"));
            }
        }
        ensure!(differences.is_empty(), "{}", differences.join("\n"));
        pair.stop().await
    });
    peer::say(&format!("RAN: gateway bodies, {name}, {}", requests.len()));
}

#[test]
fn a_body_is_read_as_far_as_it_counts() {
    let post = |body: &str| {
        format!("POST {RANGE} HTTP/1.1\r\nHost: h\r\nContent-Length: 600000000\r\n\r\n{body}")
    };
    let bodies = [
        "{\"key\":x",
        "{\"key\":\"YQ==\",,",
        "{\"key\":5}",
        "[]",
        "nul?",
    ];
    on_a_pair_raw("bodies that do not come", Pair::ports, &bodies.map(post));
}

#[test]
fn a_call_whose_body_is_cut_off_is_not_made() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    peers::run(60, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        let [port, _] = pair.ports();
        let put = r#"{"key":"Y3V0","value":"MQ=="}"#;
        let head = "POST /v3/kv/put HTTP/1.1\r\nHost: h\r\nContent-Length: 40";
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream
            .write_all(format!("{head}\r\n\r\n{put}").as_bytes())
            .await?;
        stream.shutdown().await?;
        stream.read_to_end(&mut Vec::new()).await?;
        let found = http::send_with(port, "POST", RANGE, &[], br#"{"key":"Y3V0"}"#).await?;
        ensure!(!found.text().contains("kvs"), "{}", found.text());
        pair.stop().await
    });
    peer::say("RAN: gateway bodies, one cut off");
}

/// What Go reads of a body that no one asked for is more than this, and what hyper drops is less.
const LONG: usize = 200 << 10;

const NEXT: &str = "GET /version HTTP/1.1\r\nHost: h\r\n\r\n";

/// What a request is answered, and what one after it on the same connection.
async fn two(port: u16, request: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let first = http::exchange(&mut stream, request.as_bytes()).await?;
    let first = first.context("no answer")?;
    let connection = first.header("connection").unwrap_or_default();
    let next = http::exchange(&mut stream, NEXT.as_bytes()).await?;
    let next = next.map_or_else(|| "end".to_owned(), |answer| answer.status.to_string());
    Ok(format!("{connection} {}, then {next}", shown(&first)))
}

/// Requests of which the body comes late, or not, or for nothing. Where some of it does not come, the
/// next request is longer than that: etcd waits for it before it ends the connection.
fn early() -> Vec<String> {
    let (body, long) = ("{\"key\":\"YQ==\"}", "x".repeat(LONG));
    let post = |path: &str, head: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: h\r\n{head}\r\n\r\n{body}")
    };
    let all = format!("Content-Length: {LONG}");
    let chunks = format!("{LONG:x}\r\n{long}\r\n0\r\n\r\n");
    let begun = format!("{body}{}", &long[body.len()..]);
    let expects = "Expect: 100-continue\r\nContent-Length: 29";
    vec![
        post("/nope", expects, ""),
        post("/health", expects, ""),
        post(RANGE, &format!("{expects}\r\nGrpc-Timeout: x"), ""),
        post("/nope", "Expect: more\r\nContent-Length: 0", ""),
        post("/nope", "Content-Length: 600000", ""),
        post("/nope", &all, &long),
        post("/nope", "Transfer-Encoding: chunked", &chunks),
        post("/nope", "Transfer-Encoding: chunked", "zz\r\n"),
        post(RANGE, &all, &long),
        post(RANGE, &all, &begun),
        post("/version", &all, &long).replace("POST", "GET"),
        post("/nope", &format!("Connection: keep-alive\r\n{all}"), &long).replace("1.1", "1.0"),
    ]
}

async fn same_two(ports: [u16; 2], requests: &[String]) -> Result<()> {
    for request in requests {
        let (ours, theirs) = tokio::join!(two(ports[0], request), two(ports[1], request));
        let start = &request[..request.len().min(SHOWN)];
        let (ours, theirs) = (ours.context(start.to_owned())?, theirs?);
        ensure!(ours == theirs, "{start}\n  {ours}\n  {theirs}");
    }
    Ok(())
}

#[test]
fn an_answer_before_the_body_is_there() {
    let Some((subject, reference)) = peer::pair() else {
        return;
    };
    let requests = early();
    let is_of_gateway = |request: &&String| request.contains(RANGE);
    let of_peers: Vec<String> = requests
        .iter()
        .filter(|r| !is_of_gateway(r))
        .cloned()
        .collect();
    peers::run(180, async {
        let pair = Pair::start(&subject, &reference, &[]).await?;
        same_two(pair.ports(), &requests).await?;
        same_two(pair.peer_ports(), &of_peers).await?;
        pair.stop().await
    });
    peer::say(&format!("RAN: early answers, {}", requests.len()));
}

#[test]
fn requests_that_go_s_server_refuses() {
    const BODY: &str = "e\r\n{\"key\":\"YQ==\"}\r\n0\r\n\r\n";
    let post = |head: &str| format!("POST {RANGE} HTTP/1.1\r\n{head}\r\n\r\n{BODY}");
    let requests = [
        post("Transfer-Encoding: chunked"),
        post("Host: h\r\nHost: h\r\nTransfer-Encoding: chunked"),
        post("Host: a b\r\nTransfer-Encoding: chunked"),
        post("Host: h\r\nTransfer-Encoding: gzip, chunked"),
        post("Host: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        post("Transfer-Encoding: gzip, chunked"),
        post("Host:\r\nConnection: close\r\nTransfer-Encoding: Chunked"),
        "GET /health HTTP/1.1\r\n\r\n".to_owned(),
        "GET /health HTTP/1.0\r\nHost: a b\r\n\r\n".to_owned(),
        "GET /health HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n".to_owned(),
        "POST /v3/kv/range HTTP/1.0\r\nContent-Length: 14\r\n\r\n{\"key\":\"YQ==\"}".to_owned(),
    ];
    on_a_pair_raw("requests that Go's server refuses", Pair::ports, &requests);
    let get = |head: &str| format!("GET /version HTTP/1.1\r\n{head}\r\n");
    let of_peers = [
        get(""),
        get("Host: a b\r\n"),
        get("Host: h\r\nTransfer-Encoding: gzip, chunked\r\n"),
        get("Host: h\r\nConnection: close\r\n"),
    ];
    on_a_pair_raw("the same by peers", Pair::peer_ports, &of_peers);
}
