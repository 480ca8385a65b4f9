//! Integers as `protojson` reads them: a number with a point or an exponent is one if its value is.

/// True for what cannot follow a number directly.
fn continues(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-+._".contains(&byte)
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// A number in its parts.
struct Parts<'a> {
    is_negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: &'a [u8],
    len: usize,
}

fn parts(text: &[u8]) -> Option<Parts<'_>> {
    let is_negative = text.first() == Some(&b'-');
    let mut at = usize::from(is_negative);
    let start = at;
    at += match text.get(at)? {
        b'0' => 1,
        _ => digits(&text[at..]),
    };
    let whole = &text[start..at];
    if whole.is_empty() {
        return None;
    }
    let mut fraction: &[u8] = &[];
    if text.get(at) == Some(&b'.') && digits(&text[at + 1..]) > 0 {
        fraction = &text[at + 1..at + 1 + digits(&text[at + 1..])];
        at += 1 + fraction.len();
    }
    let mut exponent: &[u8] = &[];
    if matches!(text.get(at), Some(b'e' | b'E')) && text.len() > at + 1 {
        let sign = usize::from(matches!(text[at + 1], b'+' | b'-'));
        if sign == 1 && text.len() == at + 2 {
            return None;
        }
        let end = at + 1 + sign + digits(&text[at + 1 + sign..]);
        exponent = &text[at + 1..end];
        at = end;
    }
    Some(Parts {
        is_negative,
        whole,
        fraction,
        exponent,
        len: at,
    })
}

/// The number at the head of a text, if nothing follows that could be a part of it.
pub(super) fn leading_number(text: &[u8]) -> Option<&[u8]> {
    let len = parts(text)?.len;
    let ends = text.get(len).is_none_or(|byte| !continues(*byte));
    ends.then(|| &text[..len])
}

fn trim_end_zeros(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'0'] = text {
        text = rest;
    }
    text
}

/// The value of a number, if it is an integer within bounds.
pub(super) fn integer(text: &[u8], min: i128, max: i128) -> Option<i128> {
    let parts = parts(text)?;
    let whole = match parts.whole {
        b"0" => &[],
        whole => whole,
    };
    let fraction = trim_end_zeros(parts.fraction);
    if whole.is_empty() && fraction.is_empty() {
        return Some(0);
    }
    let exponent: i32 = match parts.exponent {
        [] => 0,
        text => std::str::from_utf8(text).ok()?.parse().ok()?,
    };
    // Digits to the right of the point, once the exponent has moved it.
    let behind = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
    let all = whole.iter().chain(fraction);
    let mut digits: Vec<u8> = all.skip_while(|digit| **digit == b'0').copied().collect();
    if behind > 0 {
        let behind = usize::try_from(behind).ok()?;
        let cut = digits.len().checked_sub(behind)?;
        // An exponent below zero may take zeros away, and nothing else.
        if exponent >= 0 || !fraction.is_empty() || digits[cut..].iter().any(|d| *d != b'0') {
            return None;
        }
        digits.truncate(cut);
    }
    // More than any integer type has.
    let zeros = usize::try_from((-behind).max(0)).ok()?;
    if digits.len() + zeros > 30 {
        return None;
    }
    digits.resize(digits.len() + zeros, b'0');
    let magnitude = digits
        .iter()
        .fold(0i128, |n, digit| n * 10 + i128::from(digit - b'0'));
    let value = if parts.is_negative {
        -magnitude
    } else {
        magnitude
    };
    (min..=max).contains(&value).then_some(value)
}
