//! The parts of commands that need no server. Expected texts were printed by
//! etcdctl 3.5.30.

use proto::{
    etcdserverpb::{self as api, ResponseOp, WatchResponse, response_op::Response},
    mvccpb::{Event, KeyValue},
};

use crate::{
    help,
    kv::range_request,
    output::{Format, Object, Output, Page, Show},
    snapshot::Checksum,
    spec::{COMMANDS, Command, GET},
};

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
fn every_command_has_a_page_and_every_flag_a_word_of_help() {
    fn walk(path: &[&'static Command]) {
        let page = help::command("pintle ctl", path);
        let command = path.last().expect("a command");
        assert!(page.contains(command.short), "{page}");
        for flag in command.flags {
            assert!(page.contains(&format!("--{}", flag.name)), "{page}");
            assert!(!flag.help.is_empty(), "{}", flag.name);
        }
        for child in command.children() {
            walk(&[path, &[child]].concat());
        }
    }
    for command in COMMANDS {
        walk(&[command]);
        assert!(help::program("pintle ctl").contains(command.name));
    }
}

#[test]
fn revisions_bound_what_is_read() {
    let request = |words: &str| {
        let words: Vec<Vec<u8>> = words.split(' ').map(|word| word.into()).collect();
        let parsed = cli::flags::parse(&words, GET.flags.iter()).expect("flags of get");
        range_request(&parsed)
    };
    let read = request("k --min-create-rev 3 --max-create-rev 5 --max-mod-rev 9")
        .expect("bounds that hold something");
    assert_eq!((read.min_create_revision, read.max_create_revision), (3, 5));
    assert_eq!((read.min_mod_revision, read.max_mod_revision), (0, 9));
    // In the words of etcdctl 3.6.16.
    let wrong = request("k --min-mod-rev 5 --max-mod-rev 3").expect_err("nothing is between");
    assert_eq!(
        wrong.message.as_deref(),
        Some("getMinModRev(=5) > getMaxModRev(=3)")
    );
}
