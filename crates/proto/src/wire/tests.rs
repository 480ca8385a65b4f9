use bytes::Bytes;
use prost::Message as _;

use super::*;
use crate::etcdserverpb::{
    InternalRaftRequest, PutRequest, RangeRequest, Request, RequestHeader, RequestOp, ResponseOp,
    TxnRequest, TxnResponse, internal_raft_request::Op, request_op, response_op,
};

fn put(key: &str) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestPut(PutRequest {
            key: Bytes::copy_from_slice(key.as_bytes()),
            value: Bytes::from_static(b"v"),
            ..PutRequest::default()
        })),
    }
}

fn within(txn: TxnRequest) -> RequestOp {
    RequestOp {
        request: Some(request_op::Request::RequestTxn(txn)),
    }
}

fn deep(levels: usize) -> Nested<TxnRequest> {
    let mut txn = TxnRequest {
        success: vec![put("k")],
        ..TxnRequest::default()
    };
    for _ in 0..levels {
        txn = TxnRequest {
            success: vec![within(txn)],
            ..TxnRequest::default()
        };
    }
    Nested::new(txn)
}

fn depth(txn: &TxnRequest) -> usize {
    let (mut at, mut depth) = (txn, 0);
    while let Some(RequestOp {
        request: Some(request_op::Request::RequestTxn(inner)),
    }) = at.success.first()
    {
        (at, depth) = (inner, depth + 1);
    }
    depth
}

fn logged(op: Op) -> Nested<InternalRaftRequest> {
    Nested::new(InternalRaftRequest {
        id: 0,
        header: Some(RequestHeader {
            id: 7,
            ..RequestHeader::default()
        }),
        op: Some(op),
    })
}

#[test]
fn a_transaction_of_any_depth_goes_through_the_log() {
    for levels in [0, 1, 60, 127, 100_000] {
        let request = logged(Op::Txn(deep(levels).into_inner()));
        let bytes = encode_internal(&request);
        let again = read_logged(&bytes).unwrap();
        let Some(Op::Txn(txn)) = &again.op else {
            panic!("no transaction");
        };
        assert_eq!(depth(txn), levels);
        assert_eq!(encode_internal(&again), bytes);
    }
}

#[test]
fn what_is_written_without_recursion_is_what_prost_writes() {
    let mut txn = deep(5).into_inner();
    txn.failure = vec![put("b"), within(deep(2).into_inner()), put("c")];
    txn.success.push(put("a"));
    assert_eq!(encode_nested(&txn)[..], txn.encode_to_vec());
    let request = logged(Op::Txn(txn));
    assert_eq!(encode_internal(&request)[..], request.encode_to_vec());

    let inner = TxnResponse {
        succeeded: true,
        responses: vec![ResponseOp { response: None }],
        ..TxnResponse::default()
    };
    let nested = ResponseOp {
        response: Some(response_op::Response::ResponseTxn(inner.clone())),
    };
    let outer = TxnResponse {
        header: Some(Default::default()),
        responses: vec![nested.clone(), ResponseOp { response: None }, nested],
        ..TxnResponse::default()
    };
    assert_eq!(encode_nested(&outer)[..], outer.encode_to_vec());
}

/// Broken off at every place, and what was read so far is let go.
#[test]
fn a_deep_transaction_that_breaks_off_is_malformed() {
    let bytes = encode_nested(&*deep(20_000));
    for len in (1..bytes.len()).step_by(10_007) {
        assert!(TxnRequest::read(&bytes.slice(..len)).is_err());
    }
    // A deep one is complete, what follows is not; then a deep one is replaced.
    let mut tail = bytes.to_vec();
    tail.push(0xff);
    assert!(TxnRequest::read(&tail.into()).is_err());
    let request = logged(Op::Txn(deep(20_000).into_inner()));
    let mut twice = encode_internal(&request).to_vec();
    twice.extend_from_slice(&[0x22, 0x00, 0x1a, 0x00]);
    let read = read_logged(&twice.into()).unwrap();
    assert!(matches!(read.op, Some(Op::Range(_))));
}

#[test]
fn unknown_groups_are_passed_over_however_deep() {
    // Field 99, 150 times begun and ended, as a client may append to a put.
    let mut bytes = encode_nested(&TxnRequest::default()).to_vec();
    bytes.extend(
        PutRequest {
            key: Bytes::from_static(b"k"),
            ..PutRequest::default()
        }
        .encode_to_vec(),
    );
    for _ in 0..150 {
        bytes.extend([0x9b, 0x06]);
    }
    for _ in 0..150 {
        bytes.extend([0x9c, 0x06]);
    }
    assert_eq!(PutRequest::read(&bytes.clone().into()).unwrap().key, "k");
    bytes.pop();
    bytes.pop();
    assert_eq!(PutRequest::read(&bytes.into()), Err(Malformed::Truncated));
}

#[test]
fn what_etcd_refuses_is_refused() {
    let refused = |bytes: &[u8]| PutRequest::read(&Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(refused(&[0xff, 0xff, 0xff]), Malformed::Truncated);
    assert_eq!(refused(&[0xff; 12]), Malformed::Overflow);
    assert_eq!(refused(&[0x0a, 5, b'k']), Malformed::Truncated);
    assert_eq!(refused(&[0x08, 1]), Malformed::WireType);
    assert_eq!(refused(&[0x02, 0]), Malformed::Tag);
    assert_eq!(refused(&[0x0c]), Malformed::EndGroup);
    assert_eq!(refused(&[0x9b, 6, 0x0f]), Malformed::WireType);
    let negative = [
        0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
    ];
    assert_eq!(refused(&negative), Malformed::Length);
}

#[test]
fn what_etcd_lets_pass_passes() {
    // A lease in ten bytes with superfluous bits, a key that comes twice, a field
    // number of which 32 bits count.
    let put = PutRequest::read(&Bytes::from_static(&[
        0x0a, 1, b'a', 0x18, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x7e, 0x0a, 1,
        b'b',
    ]))
    .unwrap();
    assert_eq!((&put.key[..], put.lease), (&b"b"[..], 1));
    let far = PutRequest::read(&Bytes::from_static(&[
        0x8a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 1, b'k',
    ]));
    assert!(far.is_ok());
    // Text that is not UTF-8, as Go writes it into JSON.
    let v2 = Request {
        method: "PUT".into(),
        ..Request::default()
    };
    let mut bytes = v2.encode_to_vec();
    bytes.extend([0x22, 4, b'a', 0xe2, 0x82, b'b']);
    assert_eq!(
        Request::read(&bytes.into()).unwrap().val,
        "a\u{fffd}\u{fffd}b"
    );
    // The last member of a union counts, whole.
    let bytes = [0x12, 4, 0x0a, 2, b'a', b'b', 0x12, 3, 0x12, 1, b'v'];
    let op = TxnRequest::read(&Bytes::from([&[0x12, 11][..], &bytes].concat())).unwrap();
    let Some(request_op::Request::RequestPut(put)) = &op.success[0].request else {
        panic!("no put");
    };
    assert_eq!((&put.key[..], &put.value[..]), (&b""[..], &b"v"[..]));
}

fn read_logged(bytes: &Bytes) -> Result<Logged, Malformed> {
    Logged::read(bytes, Order::V3_5)
}

#[test]
fn of_several_operations_the_one_that_etcd_performs_is_kept() {
    let both = [0x32, 0x00, 0x22, 0x03, 0x0a, 1, b'k', 0xa2, 0x06, 0x00];
    let read = read_logged(&Bytes::copy_from_slice(&both)).unwrap();
    assert!(matches!(&read.op, Some(Op::Put(put)) if put.key == "k"));
    assert!(read.header.is_some() && read.has_several() && !read.is_of_root());
}

#[test]
fn each_line_performs_its_own_of_several_operations() {
    const V2: &[u8] = &[0x12, 0x00];
    const PUT: &[u8] = &[0x22, 0x00];
    const VERSION: &[u8] = &[0xa2, 0x51, 0x00];
    const TEST: &[u8] = &[0xe2, 0xea, 0x04, 0x00];
    const USERS: &[u8] = &[0x92, 0x45, 0x00];
    const BROKEN_V2: &[u8] = &[0x12, 0x01, 0xff];
    const NUMBER_V2: &[u8] = &[0x10, 0x01];
    const BROKEN_TEST: &[u8] = &[0xe2, 0xea, 0x04, 0x01, 0xff];
    const NUMBER_TEST: &[u8] = &[0xe0, 0xea, 0x04, 0x01];
    let performed = |parts: [&[u8]; 2]| {
        let bytes = Bytes::from(parts.concat());
        [Order::V3_5, Order::V3_6, Order::V3_7].map(|order| {
            let read = Logged::read(&bytes, order).ok()?;
            Some(match &read.op {
                Some(Op::V2(_)) => "v2",
                Some(Op::Put(_)) => "put",
                Some(Op::ClusterVersionSet(_)) => "version",
                Some(Op::DowngradeVersionTest(_)) => "test",
                _ => "another",
            })
        })
    };
    for (parts, expected) in [
        ([PUT, TEST], ["put", "test", "test"].map(Some)),
        ([TEST, PUT], ["put", "test", "test"].map(Some)),
        ([TEST, VERSION], ["version"; 3].map(Some)),
        ([TEST, USERS], ["another", "test", "test"].map(Some)),
        ([V2, TEST], ["v2", "v2", "test"].map(Some)),
        ([PUT, V2], ["v2", "v2", "put"].map(Some)),
        ([V2, V2], ["v2"; 3].map(Some)),
        ([BROKEN_V2, PUT], [None, None, Some("put")]),
        ([BROKEN_V2, BROKEN_V2], [None; 3]),
        ([PUT, NUMBER_V2], [None, None, Some("put")]),
        ([PUT, BROKEN_TEST], [Some("put"), None, None]),
        ([NUMBER_TEST, PUT], [Some("put"), None, Some("put")]),
    ] {
        assert_eq!(performed(parts), expected, "{parts:x?}");
    }
    let of_root = read_logged(&Bytes::from([PUT, USERS].concat())).unwrap();
    assert!(matches!(of_root.op, Some(Op::Put(_))) && of_root.is_of_root());
}

/// From 3.7 on etcd reads with Go's own code. Next to real members: `tests/peers` entries.
#[test]
fn from_3_7_on_a_field_in_another_encoding_is_not_known() {
    let read = |order, bytes: &[u8]| Logged::read(&Bytes::copy_from_slice(bytes), order);
    let put = |content: &[u8]| [&[0x22, content.len() as u8][..], content].concat();
    // A key, and numbers, text, fixed numbers and groups in the place of other fields.
    let odd: [&[u8]; 6] = [
        &[0x0a, 1, b'k', 0x10, 0x05],
        &[0x0a, 1, b'k', 0x1a, 0x01, 0x61],
        &[0x0a, 1, b'k', 0x25, 1, 2, 3, 4],
        &[0x0a, 1, b'k', 0x19, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0x0a, 1, b'k', 0x13, 0x08, 0x01, 0x14],
        &[0x10, 0x05, 0x0a, 1, b'k', 0x13, 0x1b, 0x1c, 0x14],
    ];
    for content in odd {
        let bytes = put(content);
        assert_eq!(read(Order::V3_6, &bytes).err(), Some(Malformed::WireType));
        let read = read(Order::V3_7, &bytes).expect("it is read");
        let Some(Op::Put(put)) = &read.op else {
            panic!("no put");
        };
        assert_eq!(
            (&put.key[..], &put.value[..], put.lease),
            (&b"k"[..], &b""[..], 0)
        );
    }
    // Of the request itself, its header, and an operation that is none.
    let bytes = [
        &[0x0a, 1, b'x', 0xa0, 0x06, 0x07, 0x28, 0x01][..],
        &put(odd[0]),
    ]
    .concat();
    assert!(matches!(
        &read(Order::V3_7, &bytes).unwrap().op,
        Some(Op::Put(_))
    ));
    // Groups must match, numbers fit, and no encoding is reserved.
    for content in [
        &[0x13, 0x1c][..],
        &[0x13, 0x1b, 0x14],
        &[0x17],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0x00],
        &[
            0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02,
        ],
    ] {
        assert!(read(Order::V3_7, &put(content)).is_err(), "{content:x?}");
    }
}

#[test]
fn from_3_7_on_a_message_of_a_union_that_comes_twice_grows() {
    // An operation with a put of a key, and a put of a value.
    let op = [0x12, 3, 0x0a, 1, b'k', 0x12, 3, 0x12, 1, b'v'];
    let txn = [&[0x12, op.len() as u8][..], &op].concat();
    let bytes = Bytes::from([&[0x32, txn.len() as u8][..], &txn].concat());
    let put = |order| {
        let read = Logged::read(&bytes, order).unwrap();
        let Some(Op::Txn(txn)) = &read.op else {
            panic!("no transaction");
        };
        match &txn.success[0].request {
            Some(request_op::Request::RequestPut(put)) => (put.key.clone(), put.value.clone()),
            _ => panic!("no put"),
        }
    };
    assert_eq!(put(Order::V3_6), (Bytes::new(), Bytes::from("v")));
    assert_eq!(put(Order::V3_7), (Bytes::from("k"), Bytes::from("v")));
}

#[test]
fn an_empty_end_of_a_range_counts_where_etcd_does_not_write_it_anew() {
    let bytes = Bytes::from_static(&[0x0a, 1, b'k', 0x12, 0]);
    assert_eq!(RangeRequest::read(&bytes).unwrap().range_end, "");
    let end = |order: Order| {
        RangeRequest::read_used_as(&bytes, order.rules())
            .unwrap()
            .range_end
    };
    assert_eq!(
        (end(Order::V3_6), end(Order::V3_7)),
        ("\0".into(), "".into())
    );
    let logged = [&[0x2a, 5][..], &bytes].concat();
    let read = read_logged(&logged.into()).unwrap();
    assert!(matches!(&read.op, Some(Op::DeleteRange(delete)) if delete.range_end == "\0"));
}

/// Whatever is read, is read again from what it is written as.
#[test]
fn reading_agrees_with_prost_on_what_prost_takes() {
    let mut seed = 1u64;
    let mut next = move || {
        seed = seed
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (seed >> 33) as usize
    };
    let sample = encode_internal(&logged(Op::Txn(deep(3).into_inner())));
    let mut both = 0;
    for _ in 0..200_000 {
        let mut bytes = sample.to_vec();
        for _ in 0..1 + next() % 3 {
            let at = next() % bytes.len();
            bytes[at] = next() as u8;
        }
        let bytes = Bytes::from(bytes);
        let theirs = InternalRaftRequest::decode(bytes.clone());
        let ours = read_logged(&bytes);
        if let (Ok(theirs), Ok(ours)) = (theirs, ours) {
            // prost merges members of a union that come twice.
            both += usize::from(theirs == **ours);
        }
    }
    assert!(both > 10_000, "{both}");
}
