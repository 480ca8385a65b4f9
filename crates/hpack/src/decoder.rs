//! Whole lines of the header blocks of one connection.

use std::collections::VecDeque;

use super::{
    field::{Field, Name, Text},
    malformed::Malformed,
    tables::{DEFAULT_TABLE_SIZE, ENTRY_OVERHEAD, STATIC},
};

/// Name and value.
type Line = (Box<[u8]>, Box<[u8]>);

/// Reads the header blocks of one connection, in order.
#[derive(Debug)]
pub struct Decoder {
    /// Newest first, as indices count.
    pub(crate) table: VecDeque<Line>,
    pub(crate) size: usize,
    limit: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// At the beginning of a connection.
    pub fn new() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            limit: DEFAULT_TABLE_SIZE,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads one whole block and hands each line to `line(name, value)`.
    ///
    /// # Errors
    /// The block is none, or refers to what was not sent before.
    pub fn decode(
        &mut self,
        block: &[u8],
        mut line: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut rest = block;
        while !rest.is_empty() {
            match Field::take(&mut rest)? {
                Field::Indexed(index) => {
                    let (name, value) = self.entry(index)?;
                    line(name, value);
                }
                Field::Literal { kept, name, value } => {
                    self.literal(name, value)?;
                    line(&self.name, &self.value);
                    if kept {
                        self.insert();
                    }
                }
                Field::TableSize(size) => {
                    if size > DEFAULT_TABLE_SIZE {
                        return Err(Malformed("table size update above the limit"));
                    }
                    self.limit = size;
                    self.evict(0);
                }
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        match index {
            0 => Err(Malformed("index 0")),
            1..=61 => {
                let (name, value) = STATIC[index - 1];
                Ok((name.as_bytes(), value.as_bytes()))
            }
            _ => {
                let (name, value) = self
                    .table
                    .get(index - 62)
                    .ok_or(Malformed("index beyond the table"))?;
                Ok((name, value))
            }
        }
    }

    fn literal(&mut self, name: Name<'_>, value: Text<'_>) -> Result<(), Malformed> {
        let mut text = std::mem::take(&mut self.name);
        text.clear();
        match name {
            Name::Text(name) => name.append_to(&mut text)?,
            Name::Indexed(index) => text.extend_from_slice(self.entry(index)?.0),
        }
        self.name = text;
        self.value.clear();
        value.append_to(&mut self.value)
    }

    fn insert(&mut self) {
        let cost = self.name.len() + self.value.len() + ENTRY_OVERHEAD;
        self.evict(cost);
        if cost <= self.limit {
            self.size += cost;
            self.table
                .push_front((self.name.as_slice().into(), self.value.as_slice().into()));
        }
    }

    fn evict(&mut self, coming: usize) {
        while self.size + coming > self.limit {
            let Some((name, value)) = self.table.pop_back() else {
                break;
            };
            self.size -= name.len() + value.len() + ENTRY_OVERHEAD;
        }
    }
}
