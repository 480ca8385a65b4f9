//! Bodies for the JSON gateway that a careful client does not send: what is lenient in Go is lenient
//! here, and what is refused is refused with the same status and the same text.

use anyhow::{Result, ensure};
use peers::{
    http::{self, Answer},
    lockstep::Pair,
    peer,
};
use serde_json::Value;

type Case = (
    &'static str,
    &'static [(&'static str, &'static str)],
    String,
);

fn case(path: &'static str, body: impl Into<String>) -> Case {
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
async fn ask(port: u16, path: &str, headers: &[(&str, &str)], body: &str) -> Result<String> {
    let mut tries = 20;
    loop {
        match http::send_with(port, "POST", path, headers, body).await {
            Ok(answer) => return Ok(shown(&answer)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => tries -= 1,
        }
    }
}

async fn same(pair: &Pair, cases: &[Case]) -> Result<()> {
    let mut differences = Vec::new();
    for (path, headers, body) in cases {
        let (ours, theirs) = tokio::join!(
            ask(pair.subject().port(), path, headers, body),
            ask(pair.reference().port(), path, headers, body),
        );
        let (ours, theirs) = (ours?, theirs?);
        if ours != theirs {
            let start: String = body.chars().take(80).collect();
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
        cases.push((RANGE, headers, "{\"key\":\"YQ==\"}".to_owned()));
        cases.push((RANGE, headers, "{".to_owned()));
    }
    on_a_pair("Grpc-Timeout", &cases);
}
