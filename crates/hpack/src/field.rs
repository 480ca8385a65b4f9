//! The fields of a block as they are written (RFC 7541 5 and 6).

use super::{huffman, malformed::Malformed};

/// The longest name or value that is accepted, in octets: no frame of a sane peer has more.
const STRING_MAX: usize = 1 << 20;

/// One field of a block, or a change of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// Name and value are an entry of the tables.
    Indexed(usize),
    /// The value is written out.
    Literal {
        /// Whether it becomes an entry of the table.
        kept: bool,
        /// The name.
        name: Name<'a>,
        /// The value.
        value: Text<'a>,
    },
    /// The table has another size from here on.
    TableSize(usize),
}

/// The name of a literal field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// That of an entry of the tables.
    Indexed(usize),
    /// Written out.
    Text(Text<'a>),
}

/// A string literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Whether the octets are words of the Huffman code.
    pub is_coded: bool,
    /// What is written.
    pub octets: &'a [u8],
}

impl<'a> Field<'a> {
    /// Takes the first field off the rest of a block.
    ///
    /// # Errors
    /// The block ends inside it, or it has a length that no block has.
    pub fn take(rest: &mut &'a [u8]) -> Result<Field<'a>, Malformed> {
        let first = *rest.first().ok_or(Malformed("block ends"))?;
        let (kept, bits) = match first {
            0x80.. => return Ok(Field::Indexed(integer(rest, 7)?)),
            0x40.. => (true, 6),
            0x20.. => return Ok(Field::TableSize(integer(rest, 5)?)),
            _ => (false, 4),
        };
        let name = match integer(rest, bits)? {
            0 => Name::Text(Text::take(rest)?),
            index => Name::Indexed(index),
        };
        let value = Text::take(rest)?;
        Ok(Field::Literal { kept, name, value })
    }
}

impl<'a> Text<'a> {
    fn take(rest: &mut &'a [u8]) -> Result<Text<'a>, Malformed> {
        let is_coded = rest.first().is_some_and(|first| first & 0x80 != 0);
        let length = integer(rest, 7)?;
        if length > STRING_MAX {
            return Err(Malformed("string too long"));
        }
        let (octets, tail) = rest
            .split_at_checked(length)
            .ok_or(Malformed("block ends inside a string"))?;
        *rest = tail;
        Ok(Text { is_coded, octets })
    }

    /// Appends the text itself to `out`.
    ///
    /// # Errors
    /// The code is not one.
    pub fn append_to(self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        if self.is_coded {
            return huffman::decode(self.octets, out);
        }
        out.extend_from_slice(self.octets);
        Ok(())
    }
}

/// An integer with a prefix of `bits` (RFC 7541 5.1).
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let (&first, mut tail) = rest
        .split_first()
        .ok_or(Malformed("block ends inside an integer"))?;
    let mask = (1usize << bits) - 1;
    let mut value = first as usize & mask;
    if value == mask {
        let mut shift = 0;
        loop {
            let (&byte, next) = tail
                .split_first()
                .ok_or(Malformed("block ends inside an integer"))?;
            tail = next;
            // Four groups hold every length that fits in a frame.
            if shift > 21 {
                return Err(Malformed("integer too large"));
            }
            value += (byte as usize & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = tail;
    Ok(value)
}

/// Appends an integer with a prefix of `bits` after the bits of `flag`.
pub fn put_integer(flag: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
    let mask = (1usize << bits) - 1;
    if value < mask {
        out.push(flag | value as u8);
        return;
    }
    out.push(flag | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a string literal, not coded.
pub fn put_text(text: &[u8], out: &mut Vec<u8>) {
    put_integer(0, 7, text.len(), out);
    out.extend_from_slice(text);
}
