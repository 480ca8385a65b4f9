//! A reader of DER: one element after the other, nothing copied. It must not
//! panic on any input; what does not parse is `None`.

/// Tags of the elements that are read here (X.690, RFC 5280).
pub(crate) mod tag {
    pub(crate) const BOOLEAN: u8 = 0x01;
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BITS: u8 = 0x03;
    pub(crate) const OCTETS: u8 = 0x04;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const UTC_TIME: u8 = 0x17;
    pub(crate) const GENERALIZED_TIME: u8 = 0x18;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[0]`, explicit: the version of a certificate, the extensions of a CRL.
    pub(crate) const VERSION: u8 = 0xa0;
    /// `[1]` and `[2]`: numbers of issuer and subject that no one uses.
    pub(crate) const ISSUER_ID: u8 = 0x81;
    pub(crate) const SUBJECT_ID: u8 = 0x82;
    /// `[3]`, explicit: the extensions of a certificate.
    pub(crate) const EXTENSIONS: u8 = 0xa3;
}

/// The elements inside one element.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// The tag of the next element.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element: tag and content.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        if tag & 0x1f == 0x1f {
            return None; // a tag of several bytes; no certificate has one
        }
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            // Four bytes count up to 4 GiB; no file of certificates is that long.
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            let (digits, rest) = rest.split_at(count);
            let len = digits.iter().fold(0u64, |n, &d| n << 8 | u64::from(d));
            if digits[0] == 0 || len < 0x80 {
                return None; // DER has one form of a length, the shortest
            }
            (usize::try_from(len).ok()?, rest)
        };
        if rest.len() < len {
            return None;
        }
        let (content, rest) = rest.split_at(len);
        self.0 = rest;
        Some((tag, content))
    }

    /// True after the last element.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The content of the next element, which must have `tag`.
    pub(crate) fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.next()?;
        (found == tag).then(|| {
            *self = ahead;
            content
        })
    }

    /// As [`Reader::take`], and before the content the whole element, its head included.
    pub(crate) fn take_whole(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let before = self.0;
        let content = self.take(tag)?;
        Some((&before[..before.len() - self.0.len()], content))
    }

    /// As [`Reader::take`], as a reader of its own.
    pub(crate) fn enter(&mut self, tag: u8) -> Option<Reader<'a>> {
        self.take(tag).map(Reader)
    }
}

/// Whether this is the content of an INTEGER in its shortest form.
pub(crate) fn is_integer(content: &[u8]) -> bool {
    match content {
        [] => false,
        [0, second, ..] => second & 0x80 != 0,
        [0xff, second, ..] => second & 0x80 == 0,
        _ => true,
    }
}

/// Whether this is the content of an OBJECT IDENTIFIER whose numbers have 31 bits at most.
pub(crate) fn is_oid(content: &[u8]) -> bool {
    let mut value = 0u64;
    let mut is_open = false;
    for byte in content {
        if !is_open && *byte == 0x80 {
            return false;
        }
        value = value << 7 | u64::from(byte & 0x7f);
        if value > u64::from(i32::MAX as u32) {
            return false;
        }
        is_open = byte & 0x80 != 0;
        if !is_open {
            value = 0;
        }
    }
    !content.is_empty() && !is_open
}

/// The bytes of a BIT STRING that has no unused bits.
pub(crate) fn whole_bytes(content: &[u8]) -> Option<&[u8]> {
    match content {
        [0, bytes @ ..] => Some(bytes),
        _ => None,
    }
}

/// An INTEGER without the zero bytes in front: how serial numbers are compared.
pub(crate) fn magnitude(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|&&byte| byte == 0).count();
    &integer[zeros..]
}
