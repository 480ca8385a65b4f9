//! How tokens are signed: the methods of RFC 7518 that etcd takes.

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Rsa,
    RsaPss,
    Ecdsa,
    Hmac,
    EdDsa,
}

/// The digest that is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Size {
    S256,
    S384,
    S512,
}

/// A signing method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Method {
    pub(super) family: Family,
    pub(super) size: Size,
}

const METHODS: [(&str, Family, Size); 13] = [
    ("RS256", Family::Rsa, Size::S256),
    ("RS384", Family::Rsa, Size::S384),
    ("RS512", Family::Rsa, Size::S512),
    ("PS256", Family::RsaPss, Size::S256),
    ("PS384", Family::RsaPss, Size::S384),
    ("PS512", Family::RsaPss, Size::S512),
    ("ES256", Family::Ecdsa, Size::S256),
    ("ES384", Family::Ecdsa, Size::S384),
    ("ES512", Family::Ecdsa, Size::S512),
    ("HS256", Family::Hmac, Size::S256),
    ("HS384", Family::Hmac, Size::S384),
    ("HS512", Family::Hmac, Size::S512),
    ("EdDSA", Family::EdDsa, Size::S512),
];

impl Method {
    pub(super) fn parse(name: &str) -> Option<Method> {
        METHODS
            .iter()
            .find(|(known, ..)| *known == name)
            .map(|&(_, family, size)| Method { family, size })
    }

    pub(super) fn name(self) -> &'static str {
        METHODS
            .iter()
            .find(|(_, family, size)| (*family, *size) == (self.family, self.size))
            .map_or("", |(name, ..)| name)
    }
}
