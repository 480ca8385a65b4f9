//! Go's forms of numbers, strings, durations and sizes, both ways. Scripts
//! read them from the tools' output and write them into their flags. It must
//! never panic on any text.

use std::{fmt, time::Duration};

/// Why a text is no integer, with Go's wording.
#[derive(Debug, PartialEq, Eq)]
pub struct ParseError {
    function: &'static str,
    text: String,
    reason: &'static str,
}

impl ParseError {
    /// Whether the text is a number, but too large a one.
    pub fn is_out_of_range(&self) -> bool {
        self.reason == RANGE
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = quote(self.text.as_bytes());
        write!(
            f,
            "strconv.{}: parsing {text}: {}",
            self.function, self.reason
        )
    }
}

/// Why digits are no number, in Go's words.
const SYNTAX: &str = "invalid syntax";
const RANGE: &str = "value out of range";

/// Takes the base from the prefix of an unsigned number, as base 0 asks for.
fn base_of(digits: &str) -> (u32, String) {
    let lower = digits.to_ascii_lowercase();
    let (base, rest) = if let Some(rest) = lower.strip_prefix("0x") {
        (16, rest)
    } else if let Some(rest) = lower.strip_prefix("0b") {
        (2, rest)
    } else if let Some(rest) = lower.strip_prefix("0o") {
        (8, rest)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    (base, rest.replace('_', ""))
}

/// Base and digits, if they are digits of that base.
fn digits_of(digits: &str, base: u32) -> Option<(u32, String)> {
    let (base, digits) = match base {
        0 => base_of(digits),
        base => (base, digits.to_owned()),
    };
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(base));
    valid.then_some((base, digits))
}

/// Reads an integer as Go's `ParseInt(text, base, 64)`: an optional sign and
/// digits; base 0 takes the base from the prefix and allows `_`.
///
/// # Errors
/// Go's own words for it.
pub fn parse_int(text: &str, base: u32) -> Result<i64, ParseError> {
    let error = |reason| ParseError {
        function: "ParseInt",
        text: text.to_owned(),
        reason,
    };
    let (sign, digits) = match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    };
    let (base, digits) = digits_of(digits, base).ok_or_else(|| error(SYNTAX))?;
    i64::from_str_radix(&format!("{sign}{digits}"), base).map_err(|_| error(RANGE))
}

/// Reads an unsigned integer as Go's `ParseUint(text, base, 64)`.
///
/// # Errors
/// Go's own words for it.
pub fn parse_uint(text: &str, base: u32) -> Result<u64, ParseError> {
    let error = |reason| ParseError {
        function: "ParseUint",
        text: text.to_owned(),
        reason,
    };
    let (base, digits) = digits_of(text, base).ok_or_else(|| error(SYNTAX))?;
    u64::from_str_radix(&digits, base).map_err(|_| error(RANGE))
}

/// Reads a decimal number as Go's `ParseFloat(text, 64)`. Go's hexadecimal fractions are refused.
///
/// # Errors
/// Go's own words for it.
pub fn parse_float(text: &str) -> Result<f64, ParseError> {
    let error = |reason| ParseError {
        function: "ParseFloat",
        text: text.to_owned(),
        reason,
    };
    let number: f64 = text.parse().map_err(|_| error(SYNTAX))?;
    // Only a text that says so is infinite.
    if number.is_infinite() && text.contains(|c: char| c.is_ascii_digit()) {
        return Err(error(RANGE));
    }
    Ok(number)
}

/// Reads a boolean as Go's `ParseBool`.
///
/// # Errors
/// Go's own words for it.
pub fn parse_bool(text: &str) -> Result<bool, ParseError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ParseError {
            function: "ParseBool",
            text: text.to_owned(),
            reason: "invalid syntax",
        }),
    }
}

/// Units of Go's durations in nanoseconds, as they may be written.
const UNITS: [(&str, f64); 8] = [
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Reads a duration as Go's `ParseDuration`. A negative one is returned as
/// zero: nothing that takes a duration here has a use for the past.
///
/// # Errors
/// Go's own words for it.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let nanoseconds = parse_nanoseconds(text)?;
    Ok(Duration::from_nanos(
        u64::try_from(nanoseconds).unwrap_or(0),
    ))
}

/// Reads a duration as Go's `ParseDuration`, in nanoseconds.
///
/// # Errors
/// Go's own words for it.
pub fn parse_nanoseconds(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote(text.as_bytes()));
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Ok(0);
    }
    if unsigned.is_empty() {
        return Err(invalid());
    }
    let mut rest = unsigned;
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let unit_end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let unit = &rest[..unit_end];
        rest = &rest[unit_end..];
        if unit.is_empty() {
            let text = quote(text.as_bytes());
            return Err(format!("time: missing unit in duration {text}"));
        }
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            let (unit, text) = (quote(unit.as_bytes()), quote(text.as_bytes()));
            return Err(format!("time: unknown unit {unit} in duration {text}"));
        };
        nanoseconds += number * scale;
    }
    // Go's durations are 64-bit nanoseconds.
    if nanoseconds > i64::MAX as f64 {
        return Err(invalid());
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    Ok((sign * nanoseconds) as i64)
}

/// Writes a duration as Go prints it: `1.5s`, `2m0s`, `340.5µs`.
pub fn duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    let fraction = |value: u128, unit: u128, name: &str| {
        let width = unit.ilog10() as usize;
        let text = format!("{}.{:0width$}", value / unit, value % unit);
        let text = if unit > 1 {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            (value / unit).to_string()
        };
        text + name
    };
    match nanoseconds {
        0 => "0s".into(),
        1..1_000 => fraction(nanoseconds, 1, "ns"),
        1_000..1_000_000 => fraction(nanoseconds, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(nanoseconds, 1_000_000, "ms"),
        _ => {
            let seconds = duration.as_secs();
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            let below = nanoseconds - u128::from(seconds / 60) * 60_000_000_000;
            let below = fraction(below, 1_000_000_000, "s");
            match (hours, minutes) {
                (0, 0) => below,
                (0, _) => format!("{minutes}m{below}"),
                _ => format!("{hours}h{minutes}m{below}"),
            }
        }
    }
}

/// Writes a size in decimal units as etcdctl does: `25 kB`, `2.1 GB`.
pub fn size(bytes: u64) -> String {
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let exponent = (bytes.ilog10() / 3).min(6);
    let unit = ["B", "kB", "MB", "GB", "TB", "PB", "EB"][exponent as usize];
    let value = (bytes as f64 / 1000f64.powi(exponent as i32) * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 {
        format!("{value:.1} {unit}")
    } else {
        format!("{value:.0} {unit}")
    }
}

/// Writes bytes as `\x61\x62`, the form of `--hex`.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\x{byte:02x}");
        text
    })
}

/// Writes bytes as a Go string literal (`%q`).
pub fn quote(bytes: &[u8]) -> String {
    use fmt::Write;
    let mut text = String::with_capacity(bytes.len() + 2);
    text.push('"');
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let _ = match c {
                '"' => text.write_str("\\\""),
                '\\' => text.write_str("\\\\"),
                '\x07' => text.write_str("\\a"),
                '\x08' => text.write_str("\\b"),
                '\x0c' => text.write_str("\\f"),
                '\n' => text.write_str("\\n"),
                '\r' => text.write_str("\\r"),
                '\t' => text.write_str("\\t"),
                '\x0b' => text.write_str("\\v"),
                ' '..='~' => text.write_char(c),
                '\0'..='\x7f' => write!(text, "\\x{:02x}", c as u32),
                _ if printable(c) => text.write_char(c),
                '\u{80}'..='\u{ffff}' => write!(text, "\\u{:04x}", c as u32),
                _ => write!(text, "\\U{:08x}", c as u32),
            };
        }
        for byte in chunk.invalid() {
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text.push('"');
    text
}

/// Go's and Rust's ideas of a printable character agree, but for combining
/// marks, which Rust escapes only at the start of a string.
fn printable(c: char) -> bool {
    let mut behind_a_letter = String::from("a");
    behind_a_letter.push(c);
    !behind_a_letter.escape_debug().any(|shown| shown == '{')
}

/// Reads a Go string literal in double quotes; `None` if it is none.
pub fn unquote(literal: &str) -> Option<Vec<u8>> {
    let inner = literal.strip_prefix('"')?.strip_suffix('"')?;
    if literal.len() < 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '"' | '\n' => return None,
            '\\' => rest = unescape(rest, &mut bytes)?,
            _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Some(bytes)
}

/// Reads one escape after its backslash; returns what follows it.
fn unescape<'a>(rest: &'a str, bytes: &mut Vec<u8>) -> Option<&'a str> {
    let kind = rest.chars().next()?;
    let after = &rest[kind.len_utf8()..];
    let number = |length: usize, text: &'a str, base: u32| {
        let digits = text.get(..length)?;
        digits.chars().all(|c| c.is_digit(base)).then_some(())?;
        Some((u32::from_str_radix(digits, base).ok()?, &text[length..]))
    };
    let plain = match kind {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => {
            let (value, after) = number(2, after, 16)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(after);
        }
        '0'..='7' => {
            let (value, after) = number(3, rest, 8)?;
            bytes.push(u8::try_from(value).ok()?);
            return Some(after);
        }
        'u' | 'U' => {
            let (value, after) = number(if kind == 'u' { 4 } else { 8 }, after, 16)?;
            let c = char::from_u32(value)?;
            bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(after);
        }
        _ => return None,
    };
    bytes.push(plain);
    Some(after)
}

/// Splits a line into words as a shell does in its simplest form: words in
/// single quotes are literal, words in double quotes are Go string literals,
/// all others end at a space. `None` when a double-quoted word is malformed.
pub fn words(line: &str) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next() {
        let (word, after) = match first {
            '"' => {
                let end = literal_end(rest)?;
                (unquote(&rest[..end])?, &rest[end..])
            }
            '\'' => {
                let end = rest[1..].find('\'')? + 1;
                (rest.as_bytes()[1..end].to_vec(), &rest[end + 1..])
            }
            _ => {
                let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
                (rest.as_bytes()[..end].to_vec(), &rest[end..])
            }
        };
        words.push(word);
        rest = after.trim_start();
    }
    Some(words)
}

/// The length of the double-quoted literal at the start of `text`.
pub fn literal_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}
