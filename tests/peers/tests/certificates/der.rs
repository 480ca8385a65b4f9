//! Certificates byte by byte: no library makes the ones that a verifier should be afraid of.

use super::keys::Key;

/// One element.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        len @ 0..0x80 => out.push(len as u8),
        len @ 0x80..0x100 => out.extend([0x81, len as u8]),
        len => {
            let bytes = (len as u32).to_be_bytes();
            let skip = bytes.iter().take_while(|byte| **byte == 0).count();
            out.push(0x80 | (4 - skip) as u8);
            out.extend(&bytes[skip..]);
        }
    }
    out.extend(content);
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let numbers: Vec<u32> = dotted
        .split('.')
        .map(|n| n.parse().expect("number"))
        .collect();
    let mut content = vec![(numbers[0] * 40 + numbers[1]) as u8];
    for number in &numbers[2..] {
        let mut digits = vec![(number & 0x7f) as u8];
        let mut rest = number >> 7;
        while rest > 0 {
            digits.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        content.extend(digits.iter().rev());
    }
    element(6, &content)
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(4, content)
}

pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    element(3, &[&[0], content].concat())
}

/// A name with one common name, none if it is empty.
pub(crate) fn name(common_name: &str) -> Vec<u8> {
    if common_name.is_empty() {
        return sequence(&[]);
    }
    name_of(0x0c, common_name.as_bytes())
}

/// A name whose common name is a string of any kind.
pub(crate) fn name_of(string: u8, bytes: &[u8]) -> Vec<u8> {
    let attribute = sequence(&[&oid("2.5.4.3"), &element(string, bytes)]);
    sequence(&[&element(0x31, &attribute)])
}

/// What a certificate says; the default is a plain leaf of today for 127.0.0.1 and localhost.
#[derive(Clone)]
pub(crate) struct Says {
    pub(crate) version: Option<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: Vec<u8>,
    pub(crate) not_after: Vec<u8>,
    /// Whole extensions.
    pub(crate) extensions: Vec<Vec<u8>>,
    /// In place of the AlgorithmIdentifier of the signature.
    pub(crate) algorithm: Option<Vec<u8>>,
    /// In place of the AlgorithmIdentifier inside of what is signed.
    pub(crate) inner_algorithm: Option<Vec<u8>>,
    /// After what belongs there.
    pub(crate) trailer: Vec<u8>,
}

pub(crate) fn utc(text: &str) -> Vec<u8> {
    element(0x17, text.as_bytes())
}

pub(crate) fn generalized(text: &str) -> Vec<u8> {
    element(0x18, text.as_bytes())
}

pub(crate) fn extension(id: &str, is_critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if is_critical {
        element(1, &[0xff])
    } else {
        Vec::new()
    };
    sequence(&[&oid(id), &critical, &octets(value)])
}

pub(crate) fn alt_names(names: &[Vec<u8>]) -> Vec<u8> {
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    extension("2.5.29.17", false, &sequence(&names))
}

pub(crate) fn dns(name: &str) -> Vec<u8> {
    element(0x82, name.as_bytes())
}

pub(crate) fn ip(bytes: &[u8]) -> Vec<u8> {
    element(0x87, bytes)
}

pub(crate) fn uri(text: &str) -> Vec<u8> {
    element(0x86, text.as_bytes())
}

pub(crate) fn email(text: &str) -> Vec<u8> {
    element(0x81, text.as_bytes())
}

pub(crate) fn here() -> Vec<u8> {
    alt_names(&[dns("localhost"), ip(&[127, 0, 0, 1])])
}

pub(crate) fn purposes(ids: &[&str]) -> Vec<u8> {
    let ids: Vec<Vec<u8>> = ids.iter().map(|id| oid(id)).collect();
    let ids: Vec<&[u8]> = ids.iter().map(Vec::as_slice).collect();
    extension("2.5.29.37", false, &sequence(&ids))
}

pub(crate) fn key_usage(unused: u8, byte: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &element(3, &[unused, byte]))
}

/// Basic constraints.
pub(crate) fn basic(is_ca: bool, path_len: Option<u8>) -> Vec<u8> {
    let ca = if is_ca {
        element(1, &[0xff])
    } else {
        Vec::new()
    };
    let len = path_len.map_or_else(Vec::new, |len| element(2, &[len]));
    extension("2.5.29.19", true, &sequence(&[&ca, &len]))
}

/// Name constraints of these forms.
pub(crate) fn name_constraints(permitted: &[Vec<u8>], excluded: &[Vec<u8>]) -> Vec<u8> {
    let side = |tag, bases: &[Vec<u8>]| {
        if bases.is_empty() {
            return Vec::new();
        }
        let trees: Vec<u8> = bases.iter().flat_map(|base| sequence(&[base])).collect();
        element(tag, &trees)
    };
    let (permitted, excluded) = (side(0xa0, permitted), side(0xa1, excluded));
    extension("2.5.29.30", true, &sequence(&[&permitted, &excluded]))
}

impl Says {
    pub(crate) fn leaf() -> Says {
        Says {
            version: Some(2),
            serial: vec![0x11],
            subject: name("someone"),
            not_before: utc("200101000000Z"),
            not_after: generalized("20800101000000Z"),
            extensions: vec![here()],
            algorithm: None,
            inner_algorithm: None,
            trailer: Vec::new(),
        }
    }

    pub(crate) fn ca(subject: &str) -> Says {
        Says {
            subject: name(subject),
            extensions: vec![basic(true, None), key_usage(1, 0x06)],
            ..Says::leaf()
        }
    }

    pub(crate) fn with(mut self, extension: Vec<u8>) -> Says {
        self.extensions.push(extension);
        self
    }

    pub(crate) fn only(mut self, extensions: &[Vec<u8>]) -> Says {
        self.extensions = extensions.to_vec();
        self
    }

    /// The certificate for `key`, signed by the key of an issuer with this name.
    pub(crate) fn sign(&self, key: &Key, issuer: &[u8], issuer_key: &Key) -> Vec<u8> {
        let algorithm = self.algorithm.clone();
        let algorithm = algorithm.unwrap_or_else(|| issuer_key.algorithm());
        let inner = self.inner_algorithm.clone();
        let inner = inner.unwrap_or_else(|| algorithm.clone());
        let version = self
            .version
            .map_or_else(Vec::new, |version| element(0xa0, &element(2, &[version])));
        let extensions = match self.extensions.as_slice() {
            [] => Vec::new(),
            some => element(0xa3, &element(0x30, &some.concat())),
        };
        let signed = sequence(&[
            &version,
            &element(2, &self.serial),
            &inner,
            issuer,
            &sequence(&[&self.not_before, &self.not_after]),
            &self.subject,
            &key.info(),
            &extensions,
        ]);
        let signature = bits(&issuer_key.sign(&signed));
        let mut whole = sequence(&[&signed, &algorithm, &signature]);
        whole.extend(&self.trailer);
        whole
    }
}
