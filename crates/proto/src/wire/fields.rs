//! The fields of a message, one after another. Reads bytes of any origin: no
//! recursion, no work or memory beyond the length of the input.

use std::cell::Cell;

use bytes::Bytes;

/// Why bytes are not a message. The texts are etcd's, without the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The message breaks off.
    Truncated,
    /// A number of more than ten bytes.
    Overflow,
    /// A length that no message has.
    Length,
    /// A field number that is not positive.
    Tag,
    /// A known field in another encoding than its own.
    WireType,
    /// The end of a group that did not begin.
    EndGroup,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Malformed::Truncated => "unexpected EOF",
            Malformed::Overflow => "proto: integer overflow",
            Malformed::Length => "proto: negative length found during unmarshaling",
            Malformed::Tag => "proto: illegal tag",
            Malformed::WireType => "proto: wrong wireType",
            Malformed::EndGroup => "proto: unexpected end of group",
        })
    }
}

impl std::error::Error for Malformed {}

/// Bytes as Go writes them into JSON: each that is no UTF-8 becomes U+FFFD.
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const DELIMITED: u8 = 2;
const START_GROUP: u8 = 3;
const END_GROUP: u8 = 4;
const FIXED32: u8 = 5;

/// How many groups may be open one within another, as in Go's own code.
const GROUPS_MAX: usize = 10_001;
/// The highest number of a field.
const NUMBER_MAX: u64 = (1 << 29) - 1;

/// Whose code reads a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// What etcd up to 3.6 is generated with. A known field in another encoding than its own ends
    /// the reading; groups need not match, and numbers may have superfluous bits.
    Gogo,
    /// Go's own, which etcd has from 3.7 on. Such a field is passed over as one that is not known,
    /// and a message of a union that comes twice grows as any other does.
    Golang,
}

/// Number and encoding of a field whose content comes next.
#[derive(Clone, Copy)]
pub struct Tag {
    pub(super) number: i32,
    kind: u8,
}

/// What is left of a message.
pub struct Fields<'a> {
    data: &'a Bytes,
    at: usize,
    end: usize,
    /// Whether the end of a range that is there, but empty, means all that follows.
    keeps_ends: bool,
    /// Becomes false once text is read that is not UTF-8.
    are_texts: Option<&'a Cell<bool>>,
    rules: Rules,
}

impl<'a> Fields<'a> {
    pub(super) fn new(data: &'a Bytes) -> Fields<'a> {
        Fields {
            data,
            at: 0,
            end: data.len(),
            keeps_ends: false,
            are_texts: None,
            rules: Rules::Gogo,
        }
    }

    /// The same, by other rules.
    pub(super) fn by(self, rules: Rules) -> Fields<'a> {
        Fields { rules, ..self }
    }

    /// Whether a message of a union grows that comes twice; else the last one replaces it.
    pub(super) fn unions_grow(&self) -> bool {
        self.rules == Rules::Golang
    }

    /// Passes over the field after all, if it could not be read for its encoding and that makes it
    /// one that is not known. Nothing of its content may have been read.
    pub(super) fn or_skip(
        &mut self,
        tag: Tag,
        read: Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        match read {
            Err(Malformed::WireType) if self.rules == Rules::Golang => self.skip(tag),
            read => read,
        }
    }

    /// The same; `are_texts` becomes false if some text is not UTF-8.
    pub(super) fn watched(self, are_texts: &'a Cell<bool>) -> Fields<'a> {
        Fields {
            are_texts: Some(are_texts),
            ..self
        }
    }

    /// The same, of a message that etcd does not write anew before it is used.
    pub(super) fn used(self) -> Fields<'a> {
        Fields {
            keeps_ends: true,
            ..self
        }
    }

    /// The next field's tag; `None` at the end of the message.
    pub(super) fn next(&mut self) -> Result<Option<Tag>, Malformed> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.raw_varint()?;
        let kind = (tag & 7) as u8;
        if self.rules == Rules::Golang && tag >> 3 > NUMBER_MAX {
            return Err(Malformed::Tag);
        }
        // etcd up to 3.6 looks at 32 bits of the number.
        let number = (tag >> 3) as i32;
        if kind == END_GROUP {
            return Err(Malformed::EndGroup);
        }
        if number <= 0 {
            return Err(Malformed::Tag);
        }
        Ok(Some(Tag { number, kind }))
    }

    /// Ten bytes at most; bits beyond the 64th are lost, or too many.
    fn raw_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            if self.at >= self.end {
                return Err(Malformed::Truncated);
            }
            let byte = self.data[self.at];
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if shift == 63 && byte > 1 && self.rules == Rules::Golang {
                return Err(Malformed::Overflow);
            }
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Overflow)
    }

    /// Where the content of a length-delimited field ends.
    fn raw_end(&mut self) -> Result<usize, Malformed> {
        let len = self.raw_varint()? as i64;
        let len = usize::try_from(len).map_err(|_| Malformed::Length)?;
        let end = self.at.checked_add(len).ok_or(Malformed::Length)?;
        if i64::try_from(end).is_err() {
            return Err(Malformed::Length);
        }
        if end > self.end {
            return Err(Malformed::Truncated);
        }
        Ok(end)
    }

    /// Passes over the content of an unknown field, a whole group if one begins.
    pub(super) fn skip(&mut self, tag: Tag) -> Result<(), Malformed> {
        let matches = self.rules == Rules::Golang;
        let (mut number, mut kind) = (tag.number as u64, tag.kind);
        // The numbers of the groups that are open.
        let mut open = Vec::new();
        loop {
            match kind {
                VARINT => drop(self.raw_varint()?),
                FIXED64 => self.advance(8)?,
                DELIMITED => self.at = self.raw_end()?,
                FIXED32 => self.advance(4)?,
                START_GROUP if matches && open.len() == GROUPS_MAX => {
                    return Err(Malformed::Length);
                }
                START_GROUP => open.push(number),
                END_GROUP => match open.pop() {
                    Some(begun) if !matches || begun == number => {}
                    _ => return Err(Malformed::EndGroup),
                },
                // Not the error of a field that is passed over.
                _ if matches => return Err(Malformed::Tag),
                _ => return Err(Malformed::WireType),
            }
            if open.is_empty() {
                return Ok(());
            }
            if self.at == self.end {
                return Err(Malformed::Truncated);
            }
            let tag = self.raw_varint()?;
            (number, kind) = (tag >> 3, (tag & 7) as u8);
            // Up to 3.6, numbers within a group are not looked at.
            if matches && i32::try_from(number).map_or(true, |number| number == 0) {
                return Err(Malformed::Tag);
            }
        }
    }

    fn advance(&mut self, bytes: usize) -> Result<(), Malformed> {
        if self.end - self.at < bytes {
            return Err(Malformed::Truncated);
        }
        self.at += bytes;
        Ok(())
    }

    pub(super) fn varint(&mut self, tag: Tag) -> Result<u64, Malformed> {
        match tag.kind {
            VARINT => self.raw_varint(),
            _ => Err(Malformed::WireType),
        }
    }

    /// The content of a field as a message of its own.
    pub(super) fn message(&mut self, tag: Tag) -> Result<Fields<'a>, Malformed> {
        if tag.kind != DELIMITED {
            return Err(Malformed::WireType);
        }
        let end = self.raw_end()?;
        let inner = Fields {
            data: self.data,
            at: self.at,
            end,
            keeps_ends: self.keeps_ends,
            are_texts: self.are_texts,
            rules: self.rules,
        };
        self.at = end;
        Ok(inner)
    }

    pub(super) fn bytes(&mut self, tag: Tag) -> Result<Bytes, Malformed> {
        let inner = self.message(tag)?;
        Ok(inner.data.slice(inner.at..inner.end))
    }

    /// The end of a range. Up to 3.6 an empty one that is there is not the same as none: it stands
    /// for what a single zero byte stands for.
    pub(super) fn range_end(&mut self, tag: Tag) -> Result<Bytes, Malformed> {
        let end = self.bytes(tag)?;
        match end.is_empty() && self.keeps_ends && self.rules == Rules::Gogo {
            true => Ok(Bytes::from_static(&[0])),
            false => Ok(end),
        }
    }

    /// Text that is kept as it came, UTF-8 or not.
    pub(super) fn raw_text(&mut self, tag: Tag) -> Result<Bytes, Malformed> {
        let bytes = self.bytes(tag)?;
        if let Some(are_texts) = self.are_texts
            && std::str::from_utf8(&bytes).is_err()
        {
            are_texts.set(false);
        }
        Ok(bytes)
    }

    pub(super) fn text(&mut self, tag: Tag) -> Result<String, Malformed> {
        Ok(text(&self.raw_text(tag)?))
    }

    /// Numbers of a list, packed or one by one: Go's code takes both.
    pub(super) fn numbers(&mut self, tag: Tag, into: &mut Vec<i32>) -> Result<(), Malformed> {
        if tag.kind != DELIMITED {
            into.push(self.varint(tag)? as i32);
            return Ok(());
        }
        let mut packed = self.message(tag)?;
        while packed.at < packed.end {
            into.push(packed.raw_varint()? as i32);
        }
        Ok(())
    }
}
