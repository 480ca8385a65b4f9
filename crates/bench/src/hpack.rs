//! Header compression of HTTP/2 (RFC 7541), as far as a client of gRPC needs
//! it: a full decoder for what servers send, and an encoder that knows only
//! the few header lines of a call. It must never trust a length from the wire.

mod huffman;
mod malformed;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

pub(crate) use malformed::Malformed;

/// Table size that both sides begin with, in octets (RFC 7541 4.2, RFC 9113 6.5.2).
pub(crate) const DEFAULT_TABLE_SIZE: usize = 4096;

/// What an entry costs beyond its name and value (RFC 7541 4.1).
const ENTRY_OVERHEAD: usize = 32;

/// The longest name or value that is accepted, in octets. An error text of a
/// server is far shorter; beyond it the peer is not a gRPC server.
const STRING_MAX: usize = 1 << 20;

/// RFC 7541 Appendix A; index 1 is the first.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Name and value.
type Line = (Box<[u8]>, Box<[u8]>);

/// Reads the header blocks of one connection, in order.
#[derive(Debug)]
pub(crate) struct Decoder {
    /// Newest first, as indices count.
    table: VecDeque<Line>,
    size: usize,
    limit: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            table: VecDeque::new(),
            size: 0,
            limit: DEFAULT_TABLE_SIZE,
            name: Vec::new(),
            value: Vec::new(),
        }
    }

    /// Reads one whole block and hands each line to `line(name, value)`.
    pub(crate) fn decode(
        &mut self,
        block: &[u8],
        mut line: impl FnMut(&[u8], &[u8]),
    ) -> Result<(), Malformed> {
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                let (name, value) = self.entry(index)?;
                line(name, value);
            } else if first & 0xc0 == 0x40 {
                self.literal(&mut rest, 6)?;
                line(&self.name, &self.value);
                self.insert();
            } else if first & 0xe0 == 0x20 {
                let size = integer(&mut rest, 5)?;
                if size > DEFAULT_TABLE_SIZE {
                    return Err(Malformed("table size update above the limit"));
                }
                self.limit = size;
                self.evict(0);
            } else {
                self.literal(&mut rest, 4)?;
                line(&self.name, &self.value);
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

    fn literal(&mut self, rest: &mut &[u8], prefix: u32) -> Result<(), Malformed> {
        let mut name = std::mem::take(&mut self.name);
        name.clear();
        match integer(rest, prefix)? {
            0 => string(rest, &mut name)?,
            index => name.extend_from_slice(self.entry(index)?.0),
        }
        self.name = name;
        self.value.clear();
        string(rest, &mut self.value)
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

/// A string literal (RFC 7541 5.2), appended to `out`.
fn string(rest: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let coded = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    if length > STRING_MAX {
        return Err(Malformed("string too long"));
    }
    let (text, tail) = rest
        .split_at_checked(length)
        .ok_or(Malformed("block ends inside a string"))?;
    *rest = tail;
    if coded {
        huffman::decode(text, out)
    } else {
        out.extend_from_slice(text);
        Ok(())
    }
}

/// Writes the header block of calls on one connection. Each line that recurs
/// goes to the peer's table once, so that a later call costs seven octets.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// Lines in the order in which they entered the peer's table.
    lines: Vec<(&'static str, String)>,
    /// Whether the peer's table is large enough to be used.
    indexing: bool,
    /// A size update must open the next block.
    shrink: bool,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            lines: Vec::new(),
            indexing: true,
            shrink: false,
        }
    }

    /// The peer announced its table size, in octets. One smaller than the
    /// default is not used at all.
    pub(crate) fn peer_table_size(&mut self, size: usize) {
        if size < DEFAULT_TABLE_SIZE && self.indexing {
            self.indexing = false;
            self.shrink = true;
            self.lines.clear();
        }
    }

    /// Appends the block of a call of `path`, in the order in which Go's client sends it.
    pub(crate) fn call(
        &mut self,
        path: &'static str,
        authority: &str,
        require_leader: bool,
        out: &mut Vec<u8>,
    ) {
        if self.shrink {
            self.shrink = false;
            out.push(0x20);
        }
        // :method POST and :scheme http of the static table.
        out.extend_from_slice(&[0x83, 0x86]);
        self.line(":path", 4, path, out);
        self.line(":authority", 1, authority, out);
        self.line("content-type", 31, "application/grpc", out);
        self.line("user-agent", 58, "pintle-bench", out);
        self.line("te", 0, "trailers", out);
        if require_leader {
            self.line("hasleader", 0, "true", out);
        }
    }

    fn line(&mut self, name: &'static str, name_index: u8, value: &str, out: &mut Vec<u8>) {
        let known = self
            .lines
            .iter()
            .position(|(n, v)| *n == name && v == value);
        if let Some(at) = known {
            let index = 62 + (self.lines.len() - 1 - at);
            push_integer(0x80, 7, index, out);
            return;
        }
        let (flag, bits) = if self.indexing { (0x40, 6) } else { (0x00, 4) };
        push_integer(flag, bits, name_index as usize, out);
        if name_index == 0 {
            push_string(name, out);
        }
        push_string(value, out);
        let used: usize = self
            .lines
            .iter()
            .map(|(n, v)| n.len() + v.len() + ENTRY_OVERHEAD)
            .sum();
        if self.indexing {
            // The set of methods is small and fixed: nothing is ever evicted.
            assert!(
                used + name.len() + value.len() + ENTRY_OVERHEAD <= DEFAULT_TABLE_SIZE,
                "header table overflows"
            );
            self.lines.push((name, value.to_owned()));
        }
    }
}

fn push_integer(flag: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
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

fn push_string(text: &str, out: &mut Vec<u8>) {
    push_integer(0, 7, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}
