//! JSON with the bytes that Go writes: conf change contexts are compared
//! between members, and what stands in `.snap` files is read by people's diffs.

use serde::Serialize;

/// What Go escapes in strings beyond the standard, so that JSON can stand in
/// HTML. None of these can occur outside a string.
const ESCAPED: [(char, &str); 5] = [
    ('<', "\\u003c"),
    ('>', "\\u003e"),
    ('&', "\\u0026"),
    ('\u{2028}', "\\u2028"),
    ('\u{2029}', "\\u2029"),
];

/// The text of a value of strings, numbers, flags, lists and maps with text keys.
pub(crate) fn to_string(value: &impl Serialize) -> String {
    // Such values always serialize.
    let mut text = serde_json::to_string(value).unwrap_or_default();
    for (plain, escaped) in ESCAPED {
        if text.contains(plain) {
            text = text.replace(plain, escaped);
        }
    }
    text
}
