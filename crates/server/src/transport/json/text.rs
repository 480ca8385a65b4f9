//! The content of strings, by the rules of Go's `protojson`: bytes that are no UTF-8 and halves of
//! surrogate pairs are refused.

use std::borrow::Cow;

/// Why a string has no content.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// The document ends where the other half of a pair should be.
    Eof,
    /// Bytes that are no UTF-8.
    Utf8,
    /// Half of a pair; what comes where the other half should be, as Go quotes it.
    Escape(String),
}

/// Bytes of an escape with digits.
const ESCAPE: usize = 6;

/// The content of the string at the beginning of a text that is JSON.
pub(super) fn content(text: &[u8]) -> Result<Cow<'_, str>, Flaw> {
    let mut rest = text.strip_prefix(b"\"").ok_or(Flaw::Eof)?;
    let mut out = Cow::Borrowed("");
    loop {
        let plain = rest.iter().take_while(|byte| !b"\"\\".contains(byte));
        let (plain, after) = rest.split_at(plain.count());
        out += std::str::from_utf8(plain).map_err(|_| Flaw::Utf8)?;
        let [b'\\', escaped, after @ ..] = after else {
            return match after {
                [] => Err(Flaw::Eof),
                _ => Ok(out),
            };
        };
        rest = after;
        let one = match escaped {
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => code_point(&mut rest)?,
            other => char::from(*other),
        };
        out.to_mut().push(one);
    }
}

/// Takes the digits of an escape, and the escape with its other half if it is one of a pair.
fn code_point(rest: &mut &[u8]) -> Result<char, Flaw> {
    let (first, after) = rest.split_at_checked(ESCAPE - 2).ok_or(Flaw::Eof)?;
    *rest = after;
    let first = unit(first).ok_or(Flaw::Eof)?;
    if let Some(one) = char::from_u32(first) {
        return Ok(one);
    }
    let (other, after) = rest.split_at_checked(ESCAPE).ok_or(Flaw::Eof)?;
    let second = other.strip_prefix(b"\\u").and_then(unit);
    match second {
        Some(second @ 0xdc00..0xe000) if first < 0xdc00 => {
            *rest = after;
            let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            Ok(char::from_u32(both).unwrap_or(char::REPLACEMENT_CHARACTER))
        }
        _ => Err(Flaw::Escape(cli::text::quote(other))),
    }
}

fn unit(digits: &[u8]) -> Option<u32> {
    let is_hex = digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| is_hex)?;
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_have_their_content() {
        for (text, expected) in [
            (&br#""""#[..], ""),
            (br#""a" b"#, "a"),
            (br#""a\"\\\/\b\f\n\r\t""#, "a\"\\/\u{8}\u{c}\n\r\t"),
            (
                br#""\u00e4\ud83d\ude00\ufffdz""#,
                "\u{e4}\u{1f600}\u{fffd}z",
            ),
        ] {
            assert_eq!(content(text).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let escape = |code: &str| Err(Flaw::Escape(code.to_owned()));
        for (text, expected) in [
            (&b"\"a\xff\""[..], Err(Flaw::Utf8)),
            (b"\"\xed\xa0\x80\"", Err(Flaw::Utf8)),
            (b"\"\xc3\\n\"", Err(Flaw::Utf8)),
            (br#""\ud800"}"#, Err(Flaw::Eof)),
            (br#""\ud800", "a": 1}"#, escape(r#""\", \"a\"""#)),
            (br#""\udc00\ud800""#, escape(r#""\\ud800""#)),
            (br#""\ud800\u0041""#, escape(r#""\\u0041""#)),
            (
                b"\"\\ud800ab\xff\x7f\n\xc3\"",
                escape(r#""ab\xff\x7f\n\xc3""#),
            ),
        ] {
            assert_eq!(content(text).map(String::from), expected);
        }
    }
}
