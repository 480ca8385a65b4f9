//! As much of HPACK (RFC 7541) as it takes to find a literal `:authority` among the first fields
//! of a block: no table of fields is kept.

use std::ops::Range;

/// The one name that is looked for, in the static table.
const AUTHORITY: usize = 1;
/// The last of its names that begin with a colon and belong to a request.
const LAST_PSEUDO: usize = 7;
/// Its last entry; what comes after it was sent before.
const LAST_STATIC: usize = 61;
/// Numbers of a legal block are small.
const NUMBER_MAX: usize = 1 << 20;

/// An `:authority` that is written out.
pub(super) struct Found {
    /// Where its value is, with its length.
    pub(super) place: Range<usize>,
    pub(super) value: Vec<u8>,
}

/// The first one of a block. `None` also for a block that cannot be read.
pub(super) fn authority(block: &[u8]) -> Option<Found> {
    let mut at = 0;
    loop {
        let first = *block.get(at)?;
        let (bits, is_literal) = match first {
            0x80.. => (7, false),
            0x40.. => (6, true),
            // The size of the table changes.
            0x20.. => {
                number(block, &mut at, 5)?;
                continue;
            }
            _ => (4, true),
        };
        let name = number(block, &mut at, bits)?;
        let mut is_authority = name == AUTHORITY;
        if is_literal && name == 0 {
            let (is_packed, text) = string(block, &mut at)?;
            let text = unpacked(is_packed, text)?;
            if text.first() != Some(&b':') {
                return None;
            }
            is_authority = text == b":authority";
        }
        // What a request is for comes before any other field.
        if (LAST_PSEUDO + 1..=LAST_STATIC).contains(&name) {
            return None;
        }
        if is_literal {
            let begin = at;
            let (is_packed, text) = string(block, &mut at)?;
            if is_authority {
                let value = unpacked(is_packed, text)?;
                return Some(Found {
                    place: begin..at,
                    value,
                });
            }
        }
    }
}

/// A text of so many letters.
pub(super) fn text(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 4);
    if len < 0x7f {
        out.push(len as u8);
    } else {
        out.push(0x7f);
        let mut rest = len - 0x7f;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    out.resize(out.len() + len, b'x');
    out
}

/// A number whose first byte has so many bits for it.
fn number(block: &[u8], at: &mut usize, bits: u32) -> Option<usize> {
    let mask = (1 << bits) - 1;
    let mut value = usize::from(*block.get(*at)?) & mask;
    *at += 1;
    if value < mask {
        return Some(value);
    }
    for shift in [0, 7, 14] {
        let byte = *block.get(*at)?;
        *at += 1;
        value += usize::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return (value <= NUMBER_MAX).then_some(value);
        }
    }
    None
}

/// A text, and whether it is packed by Huffman's code.
fn string<'a>(block: &'a [u8], at: &mut usize) -> Option<(bool, &'a [u8])> {
    let is_packed = *block.get(*at)? & 0x80 != 0;
    let len = number(block, at, 7)?;
    let text = block.get(*at..*at + len)?;
    *at += len;
    Some((is_packed, text))
}

/// The bits that each byte takes. The code is canonical: the lengths are all of it.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const LONGEST: usize = 30;

/// Where the codes of a length begin, and how many there are.
#[derive(Clone, Copy)]
struct Span {
    code: u32,
    count: u32,
    /// Of the bytes in the order of their codes.
    index: usize,
}

struct Code {
    spans: [Span; LONGEST + 1],
    bytes: [u8; 256],
}

static CODE: Code = code();

const fn code() -> Code {
    let mut spans = [Span {
        code: 0,
        count: 0,
        index: 0,
    }; LONGEST + 1];
    let mut bytes = [0; 256];
    let (mut next, mut index, mut len) = (0, 0, 1);
    while len <= LONGEST {
        next <<= 1;
        spans[len] = Span {
            code: next,
            count: 0,
            index,
        };
        let mut byte = 0;
        while byte < 256 {
            if LENGTHS[byte] as usize == len {
                bytes[index] = byte as u8;
                index += 1;
                next += 1;
                spans[len].count += 1;
            }
            byte += 1;
        }
        len += 1;
    }
    Code { spans, bytes }
}

fn unpacked(is_packed: bool, text: &[u8]) -> Option<Vec<u8>> {
    if is_packed {
        unpack(text)
    } else {
        Some(text.to_vec())
    }
}

/// Unpacks a text; the rest of its last byte is padding.
fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(packed.len() * 8 / 5);
    let (mut code, mut len) = (0, 0);
    for byte in packed {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            len += 1;
            let span = CODE.spans.get(len)?;
            if let Some(n) = code.checked_sub(span.code).filter(|n| *n < span.count) {
                out.push(CODE.bytes[span.index + n as usize]);
                (code, len) = (0, 0);
            }
        }
    }
    Some(out)
}
