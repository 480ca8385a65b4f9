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
        Ok(Some(0)),
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
        Err("exceeded max depth".to_owned())
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
