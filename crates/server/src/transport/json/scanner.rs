//! Where a JSON value ends, byte by byte, as Go's `encoding/json` sees it: the same texts are
//! values, and the same words say why others are not. It keeps its state between two calls, so
//! bytes that have been looked at are not looked at again, however finely a stream is cut.

/// Go's limit, so that what reads the value may nest as deeply.
const DEPTH_MAX: usize = 10_000;

/// What a byte did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::transport) enum Step {
    /// It belongs to the value, or to the white space before it.
    Inside,
    /// It was the last of the value.
    Last,
    /// The value, a number, ended before it.
    Over,
}

/// The bytes are no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::transport) enum SyntaxError {
    /// A byte that cannot be where it is.
    #[error("invalid character {} {context}", quoted(*.byte))]
    Unexpected {
        /// The byte.
        byte: u8,
        /// Where it is.
        context: &'static str,
    },
    /// The bytes end inside a value.
    #[error("unexpected EOF")]
    Eof,
}

/// A byte as Go's messages show it.
fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        7 => r"'\a'".to_owned(),
        8 => r"'\b'".to_owned(),
        12 => r"'\f'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        11 => r"'\v'".to_owned(),
        0..0x20 | 0x7f => format!("'\\x{byte:02x}'"),
        // As the code point of that number.
        0x80..0xa0 => format!("'\\u{byte:04x}'"),
        0xad => r"'\u00ad'".to_owned(),
        0xa0 => r"'\u00a0'".to_owned(),
        _ => format!("'{}'", char::from(byte)),
    }
}

/// What may come next inside an array or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    Key,
    Value,
    Array,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    BeginValue,
    BeginValueOrEnd,
    BeginKey,
    BeginKeyOrEnd,
    EndValue,
    InString,
    Escape,
    /// So many digits of `\u` are there.
    Hex(u8),
    Minus,
    Zero,
    Digits,
    Dot,
    Fraction,
    Exp,
    ExpSign,
    ExpDigits,
    /// The rest of a literal, and its name.
    Literal(&'static [u8], &'static str),
}

/// Scans one value.
#[derive(Clone, Debug)]
pub(in crate::transport) struct Scanner {
    state: State,
    open: Vec<Within>,
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn unexpected(byte: u8, context: &'static str) -> SyntaxError {
    SyntaxError::Unexpected { byte, context }
}

impl Scanner {
    /// Before a value, and the white space in front of it.
    pub(in crate::transport) fn new() -> Scanner {
        Scanner {
            state: State::BeginValue,
            open: Vec::new(),
        }
    }

    /// True if nothing but white space has come.
    pub(in crate::transport) fn is_at_start(&self) -> bool {
        self.state == State::BeginValue && self.open.is_empty()
    }

    /// True if the bytes so far are a value, which more bytes might continue: a number.
    pub(in crate::transport) fn may_end(&self) -> bool {
        self.open.is_empty() && self.is_in_whole_number()
    }

    fn is_in_whole_number(&self) -> bool {
        matches!(
            self.state,
            State::Zero | State::Digits | State::Fraction | State::ExpDigits
        )
    }

    /// Takes the next byte.
    pub(in crate::transport) fn step(&mut self, byte: u8) -> Result<Step, SyntaxError> {
        use State::*;
        self.state = match (self.state, byte) {
            (BeginValue | BeginValueOrEnd | BeginKey | BeginKeyOrEnd | EndValue, blank)
                if is_blank(blank) =>
            {
                return Ok(Step::Inside);
            }
            (BeginValueOrEnd, b']') | (BeginKeyOrEnd, b'}') => return Ok(self.close()),
            (BeginValue | BeginValueOrEnd, byte) => return self.begin_value(byte),
            (BeginKey | BeginKeyOrEnd, b'"') => InString,
            (BeginKey | BeginKeyOrEnd, byte) => {
                return Err(unexpected(
                    byte,
                    "looking for beginning of object key string",
                ));
            }
            (InString, b'"') => return Ok(self.end_value()),
            (InString, b'\\') => Escape,
            (InString, byte) if byte < 0x20 => return Err(unexpected(byte, "in string literal")),
            (InString, _) => InString,
            (Escape, b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => InString,
            (Escape, b'u') => Hex(0),
            (Escape, byte) => return Err(unexpected(byte, "in string escape code")),
            (Hex(3), byte) if byte.is_ascii_hexdigit() => InString,
            (Hex(n), byte) if byte.is_ascii_hexdigit() => Hex(n + 1),
            (Hex(_), byte) => {
                return Err(unexpected(byte, "in \\u hexadecimal character escape"));
            }
            (Minus, b'0') => Zero,
            (Minus, b'1'..=b'9') => Digits,
            (Minus, byte) => return Err(unexpected(byte, "in numeric literal")),
            (Digits, b'0'..=b'9') => Digits,
            (Digits | Zero, b'.') => Dot,
            (Dot | Fraction, b'0'..=b'9') => Fraction,
            (Dot, byte) => {
                return Err(unexpected(byte, "after decimal point in numeric literal"));
            }
            (Digits | Zero | Fraction, b'e' | b'E') => Exp,
            (Exp, b'+' | b'-') => ExpSign,
            (Exp | ExpSign | ExpDigits, b'0'..=b'9') => ExpDigits,
            (Exp | ExpSign, byte) => {
                return Err(unexpected(byte, "in exponent of numeric literal"));
            }
            (Digits | Zero | Fraction | ExpDigits, byte) => {
                if self.open.is_empty() {
                    return Ok(Step::Over);
                }
                self.state = EndValue;
                return self.after_value(byte);
            }
            (EndValue, byte) => return self.after_value(byte),
            (Literal([first, rest @ ..], name), byte) if *first == byte => {
                if rest.is_empty() {
                    return Ok(self.end_value());
                }
                Literal(rest, name)
            }
            (Literal(rest, name), byte) => {
                return Err(unexpected(byte, in_literal(name, rest)));
            }
        };
        Ok(Step::Inside)
    }

    fn begin_value(&mut self, byte: u8) -> Result<Step, SyntaxError> {
        use State::*;
        self.state = match byte {
            b'{' => {
                self.push(Within::Key, byte)?;
                BeginKeyOrEnd
            }
            b'[' => {
                self.push(Within::Array, byte)?;
                BeginValueOrEnd
            }
            b'"' => InString,
            b'-' => Minus,
            b'0' => Zero,
            b'1'..=b'9' => Digits,
            b't' => Literal(b"rue", "true"),
            b'f' => Literal(b"alse", "false"),
            b'n' => Literal(b"ull", "null"),
            byte => return Err(unexpected(byte, "looking for beginning of value")),
        };
        Ok(Step::Inside)
    }

    fn push(&mut self, within: Within, byte: u8) -> Result<(), SyntaxError> {
        self.open.push(within);
        if self.open.len() > DEPTH_MAX {
            return Err(unexpected(byte, "exceeded max depth"));
        }
        Ok(())
    }

    /// A byte after a key or a value inside an array or an object.
    fn after_value(&mut self, byte: u8) -> Result<Step, SyntaxError> {
        if is_blank(byte) {
            return Ok(Step::Inside);
        }
        let (state, within) = match (self.open.last(), byte) {
            (Some(Within::Key), b':') => (State::BeginValue, Within::Value),
            (Some(Within::Value), b',') => (State::BeginKey, Within::Key),
            (Some(Within::Array), b',') => (State::BeginValue, Within::Array),
            (Some(Within::Value), b'}') | (Some(Within::Array), b']') => return Ok(self.close()),
            (Some(Within::Key), byte) => return Err(unexpected(byte, "after object key")),
            (Some(Within::Value), byte) => {
                return Err(unexpected(byte, "after object key:value pair"));
            }
            (_, byte) => return Err(unexpected(byte, "after array element")),
        };
        self.state = state;
        if let Some(last) = self.open.last_mut() {
            *last = within;
        }
        Ok(Step::Inside)
    }

    fn close(&mut self) -> Step {
        self.open.pop();
        self.end_value()
    }

    fn end_value(&mut self) -> Step {
        self.state = State::EndValue;
        if self.open.is_empty() {
            Step::Last
        } else {
            Step::Inside
        }
    }
}

/// The words for a byte that does not continue a literal, of which `rest` is missing.
fn in_literal(name: &str, rest: &[u8]) -> &'static str {
    match (name, rest) {
        ("true", [b'r', ..]) => "in literal true (expecting 'r')",
        ("true", [b'u', ..]) => "in literal true (expecting 'u')",
        ("true", _) => "in literal true (expecting 'e')",
        ("false", [b'a', ..]) => "in literal false (expecting 'a')",
        ("false", [b'l', ..]) => "in literal false (expecting 'l')",
        ("false", [b's', ..]) => "in literal false (expecting 's')",
        ("false", _) => "in literal false (expecting 'e')",
        (_, [b'u', ..]) => "in literal null (expecting 'u')",
        _ => "in literal null (expecting 'l')",
    }
}

/// Finds the next value at the head of a buffer that grows.
#[derive(Debug)]
pub(in crate::transport) struct Finder {
    scanner: Scanner,
    /// Bytes of the buffer that have been looked at.
    scanned: usize,
    /// Bytes that were looked at since the stream began.
    #[cfg(test)]
    pub(in crate::transport) looked_at: usize,
}

impl Finder {
    /// At the beginning of a stream.
    pub(in crate::transport) fn new() -> Finder {
        Finder {
            scanner: Scanner::new(),
            scanned: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// The length of the value at the head of `buffer`, white space before it included. `None`
    /// while it is not complete; call again when the same buffer has grown. After a value the
    /// caller takes its bytes out of the buffer.
    pub(in crate::transport) fn find(
        &mut self,
        buffer: &[u8],
    ) -> Result<Option<usize>, SyntaxError> {
        while let Some(byte) = buffer.get(self.scanned) {
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            match self.scanner.step(*byte)? {
                Step::Inside => self.scanned += 1,
                Step::Last => return Ok(Some(self.start_over(1))),
                Step::Over => return Ok(Some(self.start_over(0))),
            }
        }
        Ok(None)
    }

    /// The end of the stream: the length of the value that it completes, if there is one.
    pub(in crate::transport) fn end(&mut self) -> Result<Option<usize>, SyntaxError> {
        if self.scanner.is_at_start() {
            Ok(None)
        } else if self.scanner.may_end() {
            Ok(Some(self.start_over(0)))
        } else {
            Err(SyntaxError::Eof)
        }
    }

    fn start_over(&mut self, more: usize) -> usize {
        self.scanner = Scanner::new();
        std::mem::take(&mut self.scanned) + more
    }
}
