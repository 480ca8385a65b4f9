//! The header blocks of calls as this client writes them: the few lines of a call of gRPC.

/// Writes the header block of calls on one connection. Each line that recurs
/// goes to the peer's table once, so that a later call costs seven bytes.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// Lines in the order in which they entered the peer's table.
    lines: Vec<(&'static str, String)>,
    /// Whether the peer's table is large enough to be used.
    indexing: bool,
    /// A size update must open the next block.
    shrink: bool,
    /// What calls show in place of a password; empty for none.
    token: String,
}

impl Encoder {
    pub(crate) fn new() -> Self {
        Self {
            lines: Vec::new(),
            indexing: true,
            shrink: false,
            token: String::new(),
        }
    }

    /// Calls show this token from here on.
    pub(crate) fn set_token(&mut self, token: &str) {
        token.clone_into(&mut self.token);
    }

    /// The peer announced its table size, in bytes. One smaller than the
    /// default is not used at all.
    pub(crate) fn peer_table_size(&mut self, size: usize) {
        if size < hpack::DEFAULT_TABLE_SIZE && self.indexing {
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
        if !self.token.is_empty() {
            let token = std::mem::take(&mut self.token);
            self.line("token", 0, &token, out);
            self.token = token;
        }
    }

    fn line(&mut self, name: &'static str, name_index: u8, value: &str, out: &mut Vec<u8>) {
        let known = self
            .lines
            .iter()
            .position(|(n, v)| *n == name && v == value);
        if let Some(at) = known {
            let index = 62 + (self.lines.len() - 1 - at);
            hpack::put_integer(0x80, 7, index, out);
            return;
        }
        let (flag, bits) = if self.indexing { (0x40, 6) } else { (0x00, 4) };
        hpack::put_integer(flag, bits, name_index as usize, out);
        if name_index == 0 {
            hpack::put_text(name.as_bytes(), out);
        }
        hpack::put_text(value.as_bytes(), out);
        let used: usize = self
            .lines
            .iter()
            .map(|(n, v)| n.len() + v.len() + hpack::ENTRY_OVERHEAD)
            .sum();
        if self.indexing {
            // The set of methods is small and fixed: nothing is ever evicted.
            assert!(
                used + name.len() + value.len() + hpack::ENTRY_OVERHEAD
                    <= hpack::DEFAULT_TABLE_SIZE,
                "header table overflows"
            );
            self.lines.push((name, value.to_owned()));
        }
    }
}

#[cfg(test)]
mod tests;
