//! The names that a CA may sign for, as it says.

/// A range of addresses: the address and the mask, of one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Network {
    pub(super) address: Vec<u8>,
    pub(super) mask: Vec<u8>,
}

impl Network {
    pub(super) fn contains(&self, ip: &[u8]) -> bool {
        ip.len() == self.address.len()
            && ip
                .iter()
                .zip(&self.address)
                .zip(&self.mask)
                .all(|((ip, net), mask)| ip & mask == net & mask)
    }
}

/// One side of the constraints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Subtrees {
    pub(super) dns: Vec<String>,
    pub(super) networks: Vec<Network>,
    pub(super) emails: Vec<String>,
    pub(super) uri_domains: Vec<String>,
}

/// What a CA says about the names below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constraints {
    pub(super) permitted: Subtrees,
    pub(super) excluded: Subtrees,
}

impl Constraints {
    pub(super) fn is_empty(&self) -> bool {
        *self == Constraints::default()
    }
}
