use bytes::{Buf as _, BytesMut};

use super::{
    Finder,
    scanner::{Scanner, SyntaxError},
};

/// The end of the first value of a whole text, and what is wrong with it.
fn first(text: &[u8]) -> Result<Option<usize>, String> {
    let mut finder = Finder::new();
    match finder.find(text) {
        Ok(None) => finder.end(),
        found => found,
    }
    .map_err(|error: SyntaxError| error.to_string())
}

#[test]
fn values_end_where_gos_decoder_ends_them() {
    for (text, end) in [
        (&b"{}"[..], 2),
        (b" \t\r\n{}x", 6),
        (b"[1,2,[]]{}", 8),
        (b"{\"a\":{\"b\":[true,false,null]}},", 29),
        (b"\"a\\\"\\u00e9\" 1", 11),
        (b"null1", 4),
        (b"-0.5e+10}", 8),
    ] {
        assert_eq!(first(text), Ok(Some(end)), "{text:?}");
    }
    assert_eq!(first(b"  \n"), Ok(None));
    assert_eq!(
        first(b"12"),
        Ok(Some(2)),
        "complete by the end of the stream"
    );
}

#[test]
fn what_is_no_value_is_refused_with_gos_words() {
    let cases: [(&[u8], &str); 25] = [
        (b"x", "invalid character 'x' looking for beginning of value"),
        (b"}", "invalid character '}' looking for beginning of value"),
        (
            b"{a",
            "invalid character 'a' looking for beginning of object key string",
        ),
        (b"{\"a\" 1", "invalid character '1' after object key"),
        (
            b"{\"a\":1 2",
            "invalid character '2' after object key:value pair",
        ),
        (b"[1 2", "invalid character '2' after array element"),
        (
            b"{\"a\":1,}",
            "invalid character '}' looking for beginning of object key string",
        ),
        (
            b"[1,]",
            "invalid character ']' looking for beginning of value",
        ),
        (b"\"\n", "invalid character '\\n' in string literal"),
        (b"\"\x01", "invalid character '\\x01' in string literal"),
        (b"\"\\x", "invalid character 'x' in string escape code"),
        (
            b"\"\\u12g",
            "invalid character 'g' in \\u hexadecimal character escape",
        ),
        (b"-a", "invalid character 'a' in numeric literal"),
        (
            b"[1.]",
            "invalid character ']' after decimal point in numeric literal",
        ),
        (
            b"[1e]",
            "invalid character ']' in exponent of numeric literal",
        ),
        (b"[01]", "invalid character '1' after array element"),
        (
            b"tx",
            "invalid character 'x' in literal true (expecting 'r')",
        ),
        (
            b"falx",
            "invalid character 'x' in literal false (expecting 's')",
        ),
        (
            b"nulx",
            "invalid character 'x' in literal null (expecting 'l')",
        ),
        (
            b"'",
            "invalid character '\\'' looking for beginning of value",
        ),
        (
            b"\xc3\xa9",
            "invalid character '\u{c3}' looking for beginning of value",
        ),
        (b"{", "unexpected EOF"),
        (b"{\"a\":1", "unexpected EOF"),
        (b"\"abc", "unexpected EOF"),
        (b"tru", "unexpected EOF"),
    ];
    for (text, words) in cases {
        assert_eq!(first(text), Err(words.to_owned()), "{text:?}");
    }
}

#[test]
fn nesting_has_gos_limit() {
    let nested = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
    assert_eq!(first(nested(10_000).as_bytes()), Ok(Some(20_000)));
    assert_eq!(
        first(nested(10_001).as_bytes()),
        Err("invalid character '[' exceeded max depth".to_owned())
    );
    assert!(Scanner::new().is_at_start());
}

/// Feeds a stream in pieces; the number of values, and of bytes looked at.
fn fed(stream: &[u8], piece: usize) -> (usize, usize) {
    let (mut finder, mut buffer, mut values) = (Finder::new(), BytesMut::new(), 0);
    for part in stream.chunks(piece) {
        buffer.extend_from_slice(part);
        while let Ok(Some(len)) = finder.find(&buffer) {
            buffer.advance(len);
            values += 1;
        }
    }
    (values, finder.looked_at)
}

#[test]
fn work_per_byte_does_not_grow_with_the_stream() {
    // One value that never ends, in pieces of two bytes, as large as it likes: each byte once.
    for doubling in 0..8 {
        let size = 4_096 << doubling;
        let stream = [
            &b"{\"create_request\":{\"filters\":["[..],
            &b"0,".repeat(size),
        ]
        .concat();
        assert_eq!(fed(&stream, 2), (0, stream.len()), "{size} elements");
    }
    // Values one after another, cut everywhere: each byte once, and the one after a number again.
    for doubling in 0..6 {
        let count = 500 << doubling;
        let stream = b"{\"a\":[1,2]} 17 ".repeat(count);
        let (values, looked_at) = fed(&stream, 1);
        assert_eq!(values, 2 * count);
        assert!(looked_at <= stream.len() + count, "{looked_at}");
    }
}

mod messages {
    use bytes::Bytes;
    use prost::Message as _;
    use proto::{
        etcdserverpb::{
            DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
            ResponseHeader, ResponseOp, TxnRequest, TxnResponse, WatchRequest,
            compare::TargetUnion, response_op::Response, watch_request::RequestUnion,
        },
        schema,
    };

    use super::super::{transcode, txn_to_json};

    fn put(text: &str) -> Result<PutRequest, String> {
        let bytes = transcode(text.as_bytes(), &schema::PutRequest).map_err(|e| e.to_string())?;
        Ok(PutRequest::decode(bytes).expect("a message"))
    }

    #[test]
    fn values_are_taken_as_leniently_as_by_go() {
        let request = put(
            r#"{"key":"Zm9v","value":"YmFy\r\nYmF6","lease":"12","prevKv":true,"x":{"y":[1]}} trailing"#,
        );
        let request = request.expect("taken");
        assert_eq!(request.key, "foo");
        assert_eq!((request.lease, request.prev_kv), (12, true));
        assert_eq!(put(" \n"), Ok(PutRequest::default()));
        let request = put(r#"{"key":null,"lease":1.5e1,"value":"_w","prev_kv":null}"#);
        let request = request.expect("taken");
        assert_eq!((request.lease, &request.value[..]), (15, &b"\xff"[..]));
        let text = br#"{"sort_order":"DESCEND","sort_target":77}"#;
        let bytes = transcode(text, &schema::RangeRequest).expect("taken");
        let request = RangeRequest::decode(bytes).expect("a message");
        assert_eq!((request.sort_order, request.sort_target), (2, 77));
        let text = br#"{"sort_order":"NEVER HEARD OF","limit":"-0"}"#;
        let bytes = transcode(text, &schema::RangeRequest).expect("taken");
        assert_eq!(RangeRequest::decode(bytes), Ok(RangeRequest::default()));
    }

    #[test]
    fn what_is_not_taken_is_refused_with_gos_words() {
        let value = |at: usize, token: &str| {
            format!("proto: (line 1:{at}): invalid value for int64 field lease: {token}")
        };
        for (text, words) in [
            (r#"{"lease":1.5}"#, value(10, "1.5")),
            (r#"{"lease":"x"}"#, value(10, "\"x\"")),
            (r#"{"lease":[1]}"#, value(10, "[")),
            (r#"{"lease":"1x"}"#, value(10, "\"1x\"")),
            (
                r#" {"lease":99999999999999999999}"#,
                value(10, "99999999999999999999"),
            ),
            (
                "{\n \"\u{e9}\":1, \"key\":1}",
                "proto: (line 2:15): invalid value for bytes field key: 1".to_owned(),
            ),
            (
                r#"{"key":"","key":""}"#,
                "proto: (line 1:11): duplicate field \"key\"".to_owned(),
            ),
            (
                "null",
                "proto: syntax error (line 1:1): unexpected token null".to_owned(),
            ),
            (
                "[]",
                "proto: syntax error (line 1:1): unexpected token [".to_owned(),
            ),
            ("{", "unexpected EOF".to_owned()),
        ] {
            assert_eq!(put(text), Err(words), "{text}");
        }
        let twice = br#"{"create_request":{},"cancel_request":{}}"#;
        let error = transcode(twice, &schema::WatchRequest).expect_err("refused");
        assert_eq!(
            error.to_string(),
            "proto: (line 1:22): error parsing \"cancel_request\", oneof \
             etcdserverpb.WatchRequest.request_union is already set"
        );
    }

    #[test]
    fn messages_in_messages_and_lists_arrive() {
        let text = br#"{"compare":[{"target":"VERSION","version":"0","key":"YQ=="},{}],
            "success":[{"request_txn":{"failure":[{"requestPut":{"key":"YQ=="}}]}}]}"#;
        let bytes = transcode(text, &schema::TxnRequest).expect("taken");
        let txn = TxnRequest::decode(bytes).expect("a message");
        assert_eq!(txn.compare.len(), 2);
        assert_eq!(txn.compare[0].target_union, Some(TargetUnion::Version(0)));
        assert_eq!(txn.success.len(), 1);
        let text = br#"{"create_request":{"filters":["NOPUT",1],"start_revision":"-1"}}"#;
        let bytes = transcode(text, &schema::WatchRequest).expect("taken");
        let Some(RequestUnion::CreateRequest(create)) = WatchRequest::decode(bytes)
            .expect("a message")
            .request_union
        else {
            panic!("another request");
        };
        assert_eq!((create.filters, create.start_revision), (vec![0, 1], -1));
    }

    /// An answer nested so deep, around one of each operation, serialized from the inside out.
    fn answer(depth: usize) -> Bytes {
        use prost::encoding::{WireType, encode_key, encode_varint};
        let header = Some(ResponseHeader {
            revision: 2,
            ..ResponseHeader::default()
        });
        let put = PutResponse {
            header,
            prev_kv: None,
        };
        let range = RangeResponse {
            count: 3,
            ..RangeResponse::default()
        };
        let ops = [
            Response::ResponsePut(put),
            Response::ResponseRange(range),
            Response::ResponseDeleteRange(DeleteRangeResponse::default()),
            Response::ResponseTxn(TxnResponse::default()),
        ];
        let responses = ops.into_iter().map(|op| ResponseOp { response: Some(op) });
        let mut bytes = TxnResponse {
            header,
            succeeded: true,
            responses: responses.chain([ResponseOp::default()]).collect(),
        }
        .encode_to_vec();
        for _ in 0..depth {
            for field in [4, 3] {
                let mut outer = Vec::new();
                encode_key(field, WireType::LengthDelimited, &mut outer);
                encode_varint(bytes.len() as u64, &mut outer);
                outer.extend(bytes);
                bytes = outer;
            }
        }
        bytes.into()
    }

    #[test]
    fn the_answer_of_a_transaction_is_written_as_serde_writes_it() {
        for depth in [0, 1, 5] {
            let message = TxnResponse::decode(answer(depth)).expect("a message");
            let expected = serde_json::to_string(&message).expect("a text");
            assert_eq!(txn_to_json(answer(depth)), Ok(expected));
        }
        assert_eq!(txn_to_json(Bytes::new()), Ok("{}".to_owned()));
        assert!(txn_to_json(Bytes::from_static(&[0x1a, 9, 1])).is_err());
    }

    #[test]
    fn the_answer_of_a_transaction_is_written_without_recursion() {
        let text = txn_to_json(answer(3_000)).expect("a text");
        assert_eq!(text.matches("response_txn").count(), 3_001);
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }

    #[test]
    fn deep_nesting_neither_recurses_nor_reads_twice() {
        let txns = 3_000;
        let text = [
            r#"{"success":[{"request_txn":"#.repeat(txns),
            "{}".to_owned(),
            "}]}".repeat(txns),
        ]
        .concat();
        let bytes = transcode(text.as_bytes(), &schema::TxnRequest).expect("taken");
        assert!(bytes.len() > 2 * txns);
    }
}
