//! Mail addresses of certificates (RFC 2821, 4.1.2, and what is accepted besides).

/// The two sides of an address, the right one in lower case.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mailbox {
    pub(super) local: Vec<u8>,
    pub(super) domain: String,
}

impl Mailbox {
    pub(super) fn parse(text: &str) -> Option<Mailbox> {
        let bytes = text.as_bytes();
        let (local, rest) = match bytes.split_first()? {
            (b'"', rest) => quoted(rest)?,
            _ => dotted(bytes)?,
        };
        let domain = std::str::from_utf8(rest.strip_prefix(b"@")?).ok()?;
        let is_domain = domain.is_empty()
            || domain
                .split('.')
                .all(|label| !label.is_empty() && label.bytes().all(|b| (33..=126).contains(&b)));
        is_domain.then(|| Mailbox {
            local,
            domain: domain.to_ascii_lowercase(),
        })
    }
}

/// Up to the closing quote.
fn quoted(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    loop {
        let (byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return Some((local, rest)),
            b'\\' => {
                let (escaped, after) = rest.split_first()?;
                if !matches!(escaped, 1..=9 | 11 | 12 | 14..=127) {
                    return None;
                }
                local.push(*escaped);
                rest = after;
            }
            1..=8 | 11 | 12 | 14..=33 | 35..=91 | 93..=127 => local.push(*byte),
            _ => return None,
        }
    }
}

/// Atoms with single dots between them.
fn dotted(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut local = Vec::new();
    while let Some((byte, after)) = rest.split_first() {
        match byte {
            b'\\' => {
                let (escaped, after) = after.split_first()?;
                local.push(*escaped);
                rest = after;
            }
            b if b.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(b) => {
                local.push(*b);
                rest = after;
            }
            _ => break,
        }
    }
    let has_gap = local.windows(2).any(|pair| pair == b"..");
    let is_open = local.first() == Some(&b'.') || local.last() == Some(&b'.');
    (!local.is_empty() && !has_gap && !is_open).then_some((local, rest))
}
