//! The Huffman code of RFC 7541 Appendix B. The code is canonical, so the
//! lengths of its words determine it; only they are written down here.

use std::sync::LazyLock;

use super::malformed::Malformed;

/// Bits of the code word of each octet; the last entry is the end-of-string symbol.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,
     5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,
     7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,
     6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;
const END_OF_STRING: u16 = 256;

/// For each length: its first code word, and where its symbols begin.
struct Table {
    first: [u32; LONGEST + 2],
    count: [u32; LONGEST + 2],
    offset: [usize; LONGEST + 2],
    symbols: Vec<u16>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut symbols: Vec<u16> = (0..257).collect();
    symbols.sort_by_key(|&symbol| (LENGTHS[symbol as usize], symbol));
    let mut table = Table {
        first: [0; LONGEST + 2],
        count: [0; LONGEST + 2],
        offset: [0; LONGEST + 2],
        symbols,
    };
    for length in LENGTHS {
        table.count[length as usize] += 1;
    }
    let mut code = 0;
    let mut offset = 0;
    for length in 1..=LONGEST {
        code <<= 1;
        table.first[length] = code;
        table.offset[length] = offset;
        code += table.count[length];
        offset += table.count[length] as usize;
    }
    table
});

/// Appends the decoded octets of `text` to `out`.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let table = &*TABLE;
    let mut code = 0u32;
    let mut length = 0usize;
    for &byte in text {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let within = code.wrapping_sub(table.first[length]);
            if code >= table.first[length] && within < table.count[length] {
                let symbol = table.symbols[table.offset[length] + within as usize];
                if symbol == END_OF_STRING {
                    return Err(Malformed("end-of-string symbol inside a string"));
                }
                out.push(symbol as u8);
                code = 0;
                length = 0;
            }
        }
    }
    // What is left over must be padding: fewer than eight bits, all ones.
    if length >= 8 || code != (1 << length) - 1 {
        return Err(Malformed("wrong padding of a string"));
    }
    Ok(())
}
