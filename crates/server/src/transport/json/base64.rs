//! Base64 as `protojson` reads it: of either alphabet, line ends anywhere, without padding where the
//! length is no multiple of four; bits that do not count are ignored.

/// The value of a digit.
fn digit(byte: u8, is_url: bool) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'-' if is_url => 62,
        b'_' if is_url => 63,
        b'+' if !is_url => 62,
        b'/' if !is_url => 63,
        _ => return None,
    })
}

/// The bytes that a text stands for.
pub(super) fn decode(text: &[u8]) -> Option<Vec<u8>> {
    let is_url = text.iter().any(|byte| b"-_".contains(byte));
    let is_padded = text.len().is_multiple_of(4);
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut group, mut filled) = ([0u8; 4], 0);
    let mut rest = text.iter().filter(|byte| !b"\r\n".contains(byte));
    while let Some(&byte) = rest.next() {
        if byte == b'=' {
            // One or two, which make the group whole, and nothing after them.
            let is_whole = match filled {
                2 => rest.next() == Some(&b'='),
                3 => true,
                _ => false,
            };
            if !is_padded || !is_whole || rest.next().is_some() {
                return None;
            }
            push(group, filled, &mut out);
            return Some(out);
        }
        group[filled] = digit(byte, is_url)?;
        filled += 1;
        if filled == 4 {
            push(group, filled, &mut out);
            filled = 0;
        }
    }
    match filled {
        0 => {}
        1 => return None,
        _ if is_padded => return None,
        _ => push(group, filled, &mut out),
    }
    Some(out)
}

/// Appends the bytes of a group of which so many digits are there.
fn push([a, b, c, d]: [u8; 4], filled: usize, out: &mut Vec<u8>) {
    let c = if filled > 2 { c } else { 0 };
    let bytes = [a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d];
    out.extend_from_slice(&bytes[..filled - 1]);
}
