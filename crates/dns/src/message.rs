//! Questions and answers on the wire (RFC 1035, 2782). What comes in is
//! untrusted: nothing here panics, loops, or holds more than the message does.

/// One SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// Share within one priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host of the service, with the final dot.
    pub target: String,
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// These records, at least one.
    Records(Vec<Srv>),
    /// The name does not exist, or has no such record.
    NoSuchHost,
    /// The answer did not fit; ask by TCP.
    Truncated,
    /// The server cannot or will not say.
    Misbehaving,
}

/// The longest name on the wire, dots and all.
const NAME_MAX: usize = 255;
const LABEL_MAX: usize = 63;
const HEADER_LEN: usize = 12;
const TYPE_SRV: u16 = 33;
const CLASS_IN: u16 = 1;

/// True for a name that can be asked for.
pub(crate) fn is_askable(name: &str) -> bool {
    let bare = name.strip_suffix('.').unwrap_or(name);
    !bare.is_empty()
        && bare.len() + 2 <= NAME_MAX
        && bare
            .split('.')
            .all(|label| (1..=LABEL_MAX).contains(&label.len()) && label.is_ascii())
}

/// The question for the SRV records of `name`, which must be [`is_askable`].
pub(crate) fn question(id: u16, name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN + name.len() + 6);
    out.extend(id.to_be_bytes());
    // A query; recursion is desired.
    out.extend([0x01, 0x00]);
    // One question, nothing else.
    out.extend([0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        out.push(label.len() as u8);
        out.extend(label.as_bytes());
    }
    out.push(0);
    out.extend(TYPE_SRV.to_be_bytes());
    out.extend(CLASS_IN.to_be_bytes());
    out
}

/// Reads the answer to the question `id` for `name`. `None` if these bytes are
/// no message, or the answer to something else.
pub(crate) fn answer(bytes: &[u8], id: u16, name: &str) -> Option<Answer> {
    let mut reader = Reader { bytes, at: 0 };
    let (their_id, flags) = (reader.u16()?, reader.u16()?);
    let (questions, answers) = (reader.u16()?, reader.u16()?);
    reader.skip(4)?;
    let is_response = flags & 0x8000 != 0;
    if their_id != id || !is_response || questions != 1 {
        return None;
    }
    let asked = reader.name()?;
    let (kind, class) = (reader.u16()?, reader.u16()?);
    let same = asked
        .trim_end_matches('.')
        .eq_ignore_ascii_case(name.trim_end_matches('.'));
    if !same || kind != TYPE_SRV || class != CLASS_IN {
        return None;
    }
    match flags & 0x000f {
        0 => {}
        3 => return Some(Answer::NoSuchHost),
        _ => return Some(Answer::Misbehaving),
    }
    if flags & 0x0200 != 0 {
        return Some(Answer::Truncated);
    }
    let mut records = Vec::new();
    for _ in 0..answers {
        reader.name()?;
        let (kind, class) = (reader.u16()?, reader.u16()?);
        reader.skip(4)?;
        let end = usize::from(reader.u16()?) + reader.at;
        if end > bytes.len() {
            return None;
        }
        // An alias comes before its target; only the target matters.
        if kind == TYPE_SRV && class == CLASS_IN {
            let record = Srv {
                priority: reader.u16()?,
                weight: reader.u16()?,
                port: reader.u16()?,
                target: reader.name()?,
            };
            if reader.at != end {
                return None;
            }
            if is_host(&record.target) {
                records.push(record);
            }
        }
        reader.at = end;
    }
    Some(if records.is_empty() {
        Answer::NoSuchHost
    } else {
        Answer::Records(records)
    })
}

/// A host that may be in a URL. "." means that there is no service.
fn is_host(target: &str) -> bool {
    let bare = target.trim_end_matches('.');
    !bare.is_empty()
        && bare
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn u16(&mut self) -> Option<u16> {
        let bytes = self.bytes.get(self.at..self.at + 2)?;
        self.at += 2;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn skip(&mut self, count: usize) -> Option<()> {
        self.bytes.get(self.at..self.at + count)?;
        self.at += count;
        Some(())
    }

    /// A name, with its final dot. A pointer leads strictly backwards, so that
    /// every name ends. A label with a dot or an odd byte in it reads as `?`.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let (mut at, mut fence) = (self.at, self.at);
        let mut jumped = false;
        loop {
            let len = *self.bytes.get(at)?;
            match len >> 6 {
                0 if len == 0 => {
                    if !jumped {
                        self.at = at + 1;
                    }
                    if name.is_empty() {
                        name.push('.');
                    }
                    return Some(name);
                }
                0 => {
                    let label = self.bytes.get(at + 1..at + 1 + usize::from(len))?;
                    if name.len() + label.len() + 2 > NAME_MAX {
                        return None;
                    }
                    name.extend(label.iter().map(|&b| match b {
                        b'.' => '?',
                        b if b.is_ascii_graphic() => char::from(b),
                        _ => '?',
                    }));
                    name.push('.');
                    at += 1 + usize::from(len);
                }
                3 => {
                    let low = *self.bytes.get(at + 1)?;
                    let to = usize::from(len & 0x3f) << 8 | usize::from(low);
                    if to >= fence {
                        return None;
                    }
                    if !jumped {
                        self.at = at + 2;
                        jumped = true;
                    }
                    (at, fence) = (to, to);
                }
                _ => return None,
            }
        }
    }
}
