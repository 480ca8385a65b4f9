//! Go's text forms, the flag grammar and the parts of commands that need no
//! server. Expected texts were printed by etcdctl 3.5.30.

use std::time::Duration;

use proptest::prelude::*;
use proto::{
    etcdserverpb::{self as api, ResponseOp, WatchResponse, response_op::Response},
    mvccpb::{Event, KeyValue},
};

use crate::{
    flags::{self, Flag, Kind, Parsed},
    output::{Format, Object, Output, Page, Show, Table},
    snapshot::Checksum,
    text::{duration, hex, parse_bool, parse_duration, parse_int, quote, size, unquote, words},
};

fn words_of(line: &str) -> Vec<Vec<u8>> {
    line.split(' ')
        .map(|word| word.as_bytes().to_vec())
        .collect()
}

const FLAGS: &[Flag] = &[
    Flag::switch("prefix", ""),
    Flag::new("rev", Kind::Int, "0", ""),
    Flag::new("endpoints", Kind::List, "a:1", ""),
    Flag::new("write-out", Kind::Text, "simple", "").short('w'),
    Flag::switch("interactive", "").short('i'),
    Flag::new("timeout", Kind::Duration, "5s", ""),
];

fn parse(line: &str) -> Result<Parsed, String> {
    flags::parse(&words_of(line), FLAGS.iter())
}

#[test]
fn flags_and_arguments_mix_until_two_dashes() {
    let parsed = parse("k --rev 0x10 -iw=json end -- --prefix").expect("parses");
    assert_eq!(parsed.args, words_of("k end --prefix"));
    assert_eq!(parsed.args_before_dash, Some(2));
    assert_eq!(parsed.int("rev"), 16);
    assert_eq!(parsed.text("write-out"), "json");
    assert!(parsed.bool("interactive") && !parsed.bool("prefix"));
    assert_eq!(parsed.list("endpoints"), ["a:1"]);
    assert_eq!(parsed.duration("timeout"), Duration::from_secs(5));
}

#[test]
fn a_list_given_twice_adds_up_and_replaces_its_default() {
    let parsed = parse("--endpoints x:1,y:2 --endpoints=z:3").expect("parses");
    assert_eq!(parsed.list("endpoints"), ["x:1", "y:2", "z:3"]);
}

#[test]
fn bad_flags_are_refused_in_pflags_words() {
    for (line, message) in [
        ("--bogus", "unknown flag: --bogus"),
        ("-x", "unknown shorthand flag: 'x' in -x"),
        ("-rev=1", "unknown shorthand flag: 'r' in -rev=1"),
        ("--rev", "flag needs an argument: --rev"),
        ("-w", "flag needs an argument: 'w' in -w"),
        ("--=x", "bad flag syntax: --=x"),
        (
            "--rev x",
            "invalid argument \"x\" for \"--rev\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "--prefix=maybe",
            "invalid argument \"maybe\" for \"--prefix\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            "--timeout 5",
            "invalid argument \"5\" for \"--timeout\" flag: time: missing unit in duration \"5\"",
        ),
    ] {
        assert_eq!(parse(line).expect_err(line), message);
    }
}

#[test]
fn integers_are_read_as_go_reads_them() {
    assert_eq!(parse_int("+50", 10), Ok(50));
    assert_eq!(parse_int("-8000000000000000", 16), Ok(i64::MIN));
    assert_eq!(parse_int("1_0", 0), Ok(10));
    let error = |text, base| parse_int(text, base).expect_err(text).to_string();
    assert_eq!(
        error("1_0", 10),
        "strconv.ParseInt: parsing \"1_0\": invalid syntax"
    );
    assert_eq!(
        error("", 0),
        "strconv.ParseInt: parsing \"\": invalid syntax"
    );
    assert_eq!(
        error("ffffffffffffffff", 16),
        "strconv.ParseInt: parsing \"ffffffffffffffff\": value out of range"
    );
    assert_eq!(parse_bool("T"), Ok(true));
    assert!(parse_bool("yes").is_err());
}

#[test]
fn durations_are_written_and_read_as_go_does() {
    for (nanoseconds, text) in [
        (0, "0s"),
        (1, "1ns"),
        (678_249, "678.249µs"),
        (4_686_930, "4.68693ms"),
        (1_000_463_571, "1.000463571s"),
        (90_000_000_000, "1m30s"),
        (3_723_500_000_000, "1h2m3.5s"),
    ] {
        let value = Duration::from_nanos(nanoseconds);
        assert_eq!(duration(value), text);
        assert_eq!(parse_duration(text), Ok(value), "{text}");
    }
    assert_eq!(parse_duration("-1s"), Ok(Duration::ZERO));
    assert_eq!(
        parse_duration("5x").expect_err("unit"),
        "time: unknown unit \"x\" in duration \"5x\""
    );
}

#[test]
fn sizes_are_decimal() {
    assert_eq!(
        [0, 9, 10, 1500, 24_576, 2_100_000_000].map(size),
        ["0 B", "9 B", "10 B", "1.5 kB", "25 kB", "2.1 GB"]
    );
}

#[test]
fn strings_are_quoted_as_go_does() {
    let bytes = b"a\xffb\x01\x7f\xc3\xbc\xe2\x80\x8b\"\\\n";
    assert_eq!(quote(bytes), r#""a\xffb\x01\x7fü\u200b\"\\\n""#);
    assert_eq!(quote("\u{a0}e\u{301}".as_bytes()), "\"\\u00a0e\u{301}\"");
    assert_eq!(hex(b"a\0"), r"\x61\x00");
}

#[test]
fn a_line_splits_into_plain_literal_and_quoted_words() {
    let split = words(r#" put  'q "q' "a\tb\x41" --x=1 "#).expect("splits");
    assert_eq!(split, [&b"put"[..], b"q \"q", b"a\tbA", b"--x=1"]);
    assert_eq!(words(r#"get "a\q""#), None);
    assert_eq!(words(r#"get "open"#), None);
}

#[test]
fn a_snapshot_is_accepted_only_with_its_own_checksum() {
    use sha2::{Digest, Sha256};
    let page = vec![7; 1024];
    let sum = Sha256::digest(&page).to_vec();
    let verify = |blobs: &[&[u8]]| {
        let mut checksum = Checksum::default();
        blobs.iter().for_each(|blob| checksum.update(blob));
        checksum.verify().map_err(|failure| failure.message)
    };
    assert_eq!(
        verify(&[&page[..1000], &page[1000..], &sum[..5], &sum[5..]]),
        Ok(())
    );
    let cut = verify(&[&page]).expect_err("no checksum");
    assert_eq!(
        cut.as_deref(),
        Some("sha256 checksum not found [bytes: 1024]")
    );
    let mut damaged = page.clone();
    damaged[3] = 8;
    assert!(verify(&[&damaged, &sum]).is_err());
}

#[test]
fn json_leaves_out_zeros_and_escapes_for_html() {
    let mut out = Vec::new();
    Object::write(&mut out, |object| {
        object.uint("zero", 0);
        object.text("text", "<a&\u{2028}\x01\">");
        object.always("forced", 0);
    });
    assert_eq!(
        String::from_utf8_lossy(&out),
        r#"{"text":"\u003ca\u0026\u2028\u0001\"\u003e","forced":0}"#
    );
}

fn header(revision: i64) -> Option<api::ResponseHeader> {
    Some(api::ResponseHeader {
        cluster_id: 324_952_591_200_643_719,
        member_id: 3_319_814_642_761_637_952,
        revision,
        raft_term: 2,
    })
}

fn a_key() -> KeyValue {
    KeyValue {
        key: "a".into(),
        create_revision: 114,
        mod_revision: 114,
        version: 1,
        value: "1".into(),
        lease: 0,
    }
}

fn shown(hex: bool, show: impl FnOnce(&mut Page)) -> String {
    let mut page = Output::new(Format::Simple, hex).page();
    show(&mut page);
    String::from_utf8(page.bytes).expect("text")
}

#[test]
fn a_transaction_looks_as_etcdctl_prints_it() {
    let inner = Some(api::ResponseHeader {
        revision: 118,
        ..Default::default()
    });
    let range = api::RangeResponse {
        header: inner,
        kvs: vec![a_key()],
        more: false,
        count: 1,
    };
    let put = api::PutResponse {
        header: inner,
        prev_kv: None,
    };
    let delete = api::DeleteRangeResponse {
        header: inner,
        ..Default::default()
    };
    let responses = [
        Response::ResponsePut(put),
        Response::ResponseRange(range),
        Response::ResponseDeleteRange(delete),
    ];
    let txn = api::TxnResponse {
        header: header(118),
        succeeded: true,
        responses: responses
            .map(|response| ResponseOp {
                response: Some(response),
            })
            .into(),
    };
    assert_eq!(
        shown(false, |page| txn.json(page)),
        r#"{"header":{"cluster_id":324952591200643719,"member_id":3319814642761637952,"revision":118,"raft_term":2},"succeeded":true,"responses":[{"Response":{"response_put":{"header":{"revision":118}}}},{"Response":{"response_range":{"header":{"revision":118},"kvs":[{"key":"YQ==","create_revision":114,"mod_revision":114,"version":1,"value":"MQ=="}],"count":1}}},{"Response":{"response_delete_range":{"header":{"revision":118}}}}]}"#
    );
    assert_eq!(
        shown(true, |page| txn.simple(page)),
        "SUCCESS\n\nOK\n\n\\x61\n\\x31\n\n0\n"
    );
    let fields = shown(false, |page| txn.fields(page));
    assert!(fields.starts_with("\"ClusterID\" : 324952591200643719\n"));
    assert!(fields.contains("\"Succeeded\" : true\n\"ClusterID\" : 0\n"));
    assert!(fields.ends_with("\"Deleted\" : 0\n"));
}

#[test]
fn a_watch_response_looks_as_etcdctl_prints_it() {
    let deleted = KeyValue {
        key: "wk".into(),
        mod_revision: 35,
        ..Default::default()
    };
    let response = WatchResponse {
        header: header(35),
        events: vec![Event {
            r#type: 1,
            kv: Some(deleted),
            prev_kv: Some(a_key()),
        }],
        ..Default::default()
    };
    assert_eq!(
        shown(false, |page| response.json(page)),
        r#"{"Header":{"cluster_id":324952591200643719,"member_id":3319814642761637952,"revision":35,"raft_term":2},"Events":[{"type":1,"kv":{"key":"d2s=","mod_revision":35},"prev_kv":{"key":"YQ==","create_revision":114,"mod_revision":114,"version":1,"value":"MQ=="}}],"CompactRevision":0,"Canceled":false,"Created":false}"#
    );
    assert_eq!(
        shown(false, |page| response.simple(page)),
        "DELETE\na\n1\nwk\n\n"
    );
    let progress = WatchResponse {
        header: header(102),
        ..Default::default()
    };
    assert_eq!(
        shown(false, |page| progress.simple(page)),
        "progress notify: 102\n"
    );
}

#[test]
fn a_table_is_a_box_with_centred_headings_and_cells_to_the_right() {
    let mut table = Table::new(&["endpoint", "hash"]);
    table.row(vec!["127.0.0.1:2379".into(), "1".into()]);
    table.row(vec![
        "x".into(),
        "memberID:8837003876426463409 alarm:NOSPACE ".into(),
    ]);
    assert_eq!(
        shown(false, |page| table.print(page)),
        "\
+----------------+------------------------------+
|    ENDPOINT    |             HASH             |
+----------------+------------------------------+
| 127.0.0.1:2379 |                            1 |
|              x | memberID:8837003876426463409 |
|                |                alarm:NOSPACE |
+----------------+------------------------------+
"
    );
}

proptest! {
    #[test]
    fn what_is_quoted_unquotes_to_itself(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        prop_assert_eq!(unquote(&quote(&bytes)), Some(bytes));
    }

    #[test]
    fn no_text_breaks_the_parsers(text in "[-+ \\PC\"'\\\\x0-9a-z=]{0,30}") {
        let _ = (parse_duration(&text), parse_int(&text, 0), unquote(&text), words(&text));
        let _ = parse(&text);
    }
}
