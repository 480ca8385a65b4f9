//! A JSON text as a list of its values, each of which knows where it ends: a text is read once,
//! however deeply it is nested, and nothing here recurses.

use std::borrow::Cow;

use super::{
    scanner::{Finder, SyntaxError},
    text::{self, Flaw},
};

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    fn of(byte: u8) -> Kind {
        match byte {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            b'"' => Kind::String,
            b'[' => Kind::Array,
            b'{' => Kind::Object,
            _ => Kind::Number,
        }
    }
}

/// A place in a text, for a message; both count from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) struct Position {
    line: usize,
    column: usize,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}:{}", self.line, self.column)
    }
}

#[derive(Clone, Copy, Debug)]
struct Node {
    kind: Kind,
    start: usize,
    end: usize,
    /// The value after this one and all that is in it.
    next: usize,
}

/// A text that is known to be one value.
#[derive(Debug)]
pub(super) struct Document<'a> {
    text: &'a [u8],
    nodes: Vec<Node>,
}

/// A value of a [`Document`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Value<'a> {
    document: &'a Document<'a>,
    at: usize,
}

impl<'a> Document<'a> {
    /// Reads a text; what comes after its first value is left alone, as by Go's decoder.
    ///
    /// # Errors
    /// In Go's words.
    pub(super) fn parse(text: &'a [u8]) -> Result<Option<Document<'a>>, SyntaxError> {
        let mut finder = Finder::new();
        let end = match finder.find(text)? {
            Some(end) => Some(end),
            None => finder.end()?,
        };
        Ok(end.map(|end| Document {
            text,
            nodes: nodes(&text[..end]),
        }))
    }

    /// The value.
    pub(super) fn root(&'a self) -> Value<'a> {
        Value {
            document: self,
            at: 0,
        }
    }
}

/// The values of a text without errors, each before what is in it.
fn nodes(text: &[u8]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let start = at;
        at += 1;
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' | b',' | b':' => continue,
            b']' | b'}' => {
                if let Some(container) = open.pop() {
                    nodes[container].end = at;
                    nodes[container].next = nodes.len();
                }
                continue;
            }
            b'[' | b'{' => open.push(nodes.len()),
            b'"' => {
                while let Some(&byte) = text.get(at) {
                    at += 1 + usize::from(byte == b'\\');
                    if byte == b'"' {
                        break;
                    }
                }
            }
            _ => {
                let ends = |byte: &u8| b" \t\r\n,]}".contains(byte);
                at += text[at..].iter().take_while(|byte| !ends(byte)).count();
            }
        }
        nodes.push(Node {
            kind: Kind::of(byte),
            start,
            end: at,
            next: nodes.len() + 1,
        });
    }
    nodes
}

impl<'a> Value<'a> {
    fn node(self) -> Node {
        self.document.nodes[self.at]
    }

    pub(super) fn kind(self) -> Kind {
        self.node().kind
    }

    /// Its text.
    pub(super) fn text(self) -> &'a [u8] {
        let node = self.node();
        &self.document.text[node.start..node.end]
    }

    /// As Go's messages show it: whole, or the bracket that it begins with.
    pub(super) fn token(self) -> String {
        let text = match self.kind() {
            Kind::Array => b"[",
            Kind::Object => b"{",
            _ => self.text(),
        };
        String::from_utf8_lossy(text).into_owned()
    }

    /// Where it is, counted from the first value of the document.
    pub(super) fn position(self) -> Position {
        let first = self.document.nodes.first().map_or(0, |node| node.start);
        let before = &self.document.text[first..self.node().start];
        let line = before.split(|byte| *byte == b'\n').count();
        let last = before.rsplit(|byte| *byte == b'\n').next();
        Position {
            line,
            column: columns(last.unwrap_or_default()) + 1,
        }
    }

    /// The content of a string.
    ///
    /// # Errors
    /// It has none.
    pub(super) fn content(self) -> Result<Cow<'a, str>, Flaw> {
        // Go's messages show bytes after the string too.
        let end = self.document.nodes.first().map_or(0, |node| node.end);
        text::content(&self.document.text[self.node().start..end])
    }

    /// The strings in it, or the one that it is, names included.
    pub(super) fn strings(self) -> impl Iterator<Item = Value<'a>> {
        let document = self.document;
        let all = (self.at..self.node().next).map(move |at| Value { document, at });
        all.filter(|value| value.kind() == Kind::String)
    }

    /// The elements of an array; of an object, names and values in turn.
    pub(super) fn children(self) -> Children<'a> {
        let node = self.node();
        Children {
            document: self.document,
            at: self.at + 1,
            end: node.next,
        }
    }
}

/// Iterates over [`Value::children`].
#[derive(Clone, Debug)]
pub(super) struct Children<'a> {
    document: &'a Document<'a>,
    at: usize,
    end: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Value<'a>;

    fn next(&mut self) -> Option<Value<'a>> {
        if self.at >= self.end {
            return None;
        }
        let value = Value {
            document: self.document,
            at: self.at,
        };
        self.at = value.node().next;
        Some(value)
    }
}

/// How many code points Go counts: a byte that is in none is one.
fn columns(text: &[u8]) -> usize {
    text.utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}
