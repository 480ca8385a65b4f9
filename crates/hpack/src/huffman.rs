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
    /// By the next eight bits: the symbol of a word that short, and its length; 0 for a longer one.
    short: [(u8, u8); 256],
}

/// Bits that `Table::short` is indexed by; all that a name usually has is within them.
const SHORT: usize = 8;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut symbols: Vec<u16> = (0..257).collect();
    symbols.sort_by_key(|&symbol| (LENGTHS[symbol as usize], symbol));
    let mut table = Table {
        first: [0; LONGEST + 2],
        count: [0; LONGEST + 2],
        offset: [0; LONGEST + 2],
        symbols,
        short: [(0, 0); 256],
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
        if length <= SHORT {
            let words = &table.symbols[offset..offset + table.count[length] as usize];
            for (word, symbol) in (code as usize..).zip(words) {
                let from = word << (SHORT - length);
                let to = (word + 1) << (SHORT - length);
                table.short[from..to].fill((*symbol as u8, length as u8));
            }
        }
        code += table.count[length];
        offset += table.count[length] as usize;
    }
    table
});

/// Appends the decoded octets of `text` to `out`.
pub(crate) fn decode(text: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let table = &*TABLE;
    let mut octets = text.iter();
    // The bits to come, from the highest one on.
    let (mut window, mut have) = (0u64, 0usize);
    loop {
        while have <= 56
            && let Some(&octet) = octets.next()
        {
            window |= u64::from(octet) << (56 - have);
            have += 8;
        }
        let (symbol, length) = match table.short[(window >> 56) as usize] {
            (_, 0) => match table.long(window) {
                Some(found) => found,
                None => break,
            },
            (symbol, length) => (u16::from(symbol), usize::from(length)),
        };
        if length > have {
            break;
        }
        if symbol == END_OF_STRING {
            return Err(Malformed("end-of-string symbol inside a string"));
        }
        out.push(symbol as u8);
        window <<= length;
        have -= length;
    }
    // What is left over must be padding: fewer than eight bits, all ones.
    if have >= 8 || window != !(u64::MAX >> have) {
        return Err(Malformed("wrong padding of a string"));
    }
    Ok(())
}

impl Table {
    /// The symbol of a word longer than [`SHORT`] at the beginning of `window`, and its length.
    fn long(&self, window: u64) -> Option<(u16, usize)> {
        (SHORT + 1..=LONGEST).find_map(|length| {
            let within = (window >> (64 - length)).checked_sub(self.first[length].into())?;
            let is_word = within < u64::from(self.count[length]);
            is_word.then(|| (self.symbols[self.offset[length] + within as usize], length))
        })
    }
}
