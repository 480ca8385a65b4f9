use prost::Message as _;
use proto::{etcdserverpb::WatchResponse, mvccpb};

use super::*;

fn kv(key: &str, create: i64, modified: i64) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::copy_from_slice(key.as_bytes()),
        create_revision: create,
        mod_revision: modified,
        version: 1 + modified - create,
        value: Bytes::from_static(b"value"),
        lease: 7,
    }
}

fn put(key: &str, create: i64, modified: i64) -> Event {
    let kv = kv(key, create, modified);
    Event::put(kv.key.clone(), kv.encode_to_vec().into())
}

fn decode(field: &[u8]) -> mvccpb::Event {
    let response = WatchResponse::decode(field).expect("a field of WatchResponse");
    assert_eq!(response.events.len(), 1);
    response.events[0].clone()
}

#[test]
fn a_put_encodes_as_prost_would() {
    let event = put("a", 3, 5);
    let want = WatchResponse {
        events: vec![mvccpb::Event {
            r#type: 0,
            kv: Some(kv("a", 3, 5)),
            prev_kv: None,
        }],
        ..Default::default()
    };
    assert_eq!(event.encoded()[..], want.encode_to_vec());
}

#[test]
fn a_delete_shows_key_and_revision_only() {
    let event = decode(Event::delete(Bytes::from_static(b"a"), 300).encoded());
    assert_eq!(event.r#type, 1);
    let shown = event.kv.expect("a kv");
    let want = mvccpb::KeyValue {
        key: Bytes::from_static(b"a"),
        mod_revision: 300,
        ..Default::default()
    };
    assert_eq!(shown, want);
}

#[test]
fn prev_kv_is_looked_up_once_and_never_for_a_create() {
    let create = put("a", 5, 5);
    let never = || -> Result<Option<Bytes>, ()> { panic!("asked") };
    assert!(
        create.encoded_with_prev(never).is_ok(),
        "nothing was before"
    );

    let update = put("a", 3, 5);
    let previous = kv("a", 3, 3);
    assert_eq!(update.encoded_with_prev(|| Err("disk")), Err("disk"));
    let found = || Ok::<_, ()>(Some(previous.encode_to_vec().into()));
    let field = update.encoded_with_prev(found).expect("found");
    assert_eq!(decode(field).prev_kv, Some(previous));
    assert_eq!(update.encoded_with_prev(never), Ok(field));

    let compacted = put("a", 3, 5);
    let field = compacted
        .encoded_with_prev(|| Ok::<_, ()>(None))
        .expect("encoded");
    assert_eq!(decode(field).prev_kv, None);
}

#[test]
fn broken_bytes_are_no_create() {
    assert!(create_equals_mod(&kv("a", 5, 5).encode_to_vec()));
    for bytes in [&b""[..], b"\x0a", b"\x0a\x7fa", b"\x10\xff", b"\xff\xff"] {
        assert!(!create_equals_mod(bytes), "{bytes:?}");
    }
}
