//! The extensions that Go reads (RFC 5280, 4.2). One that it reads and finds broken makes the whole
//! certificate unreadable, whether it matters or not.

use std::{collections::HashSet, net::IpAddr};

use super::{
    alt_names::address,
    certificate::{Basic, Certificate},
    domain::is_domain,
    fault::Fault,
    mailbox::Mailbox,
    subtrees::{Constraints, Network, Subtrees},
    uri::Uri,
};
use crate::der::{Reader, is_integer, is_oid, tag};

/// id-ce, 2.5.29
const STANDARD: &[u8] = &[0x55, 0x1d];
/// id-pe-authorityInfoAccess, 1.3.6.1.5.5.7.1.1
const AUTHORITY_INFO: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 1];

/// The last number of a standard extension.
mod id {
    pub(super) const SUBJECT_KEY: u8 = 14;
    pub(super) const KEY_USAGE: u8 = 15;
    pub(super) const ALT_NAMES: u8 = 17;
    pub(super) const BASIC_CONSTRAINTS: u8 = 19;
    pub(super) const NAME_CONSTRAINTS: u8 = 30;
    pub(super) const CRL_POINTS: u8 = 31;
    pub(super) const POLICIES: u8 = 32;
    pub(super) const POLICY_MAPPINGS: u8 = 33;
    pub(super) const AUTHORITY_KEY: u8 = 35;
    pub(super) const POLICY_CONSTRAINTS: u8 = 36;
    pub(super) const PURPOSES: u8 = 37;
    pub(super) const INHIBIT_ANY_POLICY: u8 = 54;
}

/// Forms of a GeneralName: `[1]`, `[2]`, `[6]`, `[7]`, and two groups in sequences.
mod general {
    pub(super) const EMAIL: u8 = 0x81;
    pub(super) const DNS: u8 = 0x82;
    pub(super) const URI: u8 = 0x86;
    pub(super) const IP: u8 = 0x87;
    pub(super) const GROUP_0: u8 = 0xa0;
    pub(super) const GROUP_1: u8 = 0xa1;
    pub(super) const NUMBER_0: u8 = 0x80;
    pub(super) const NUMBER_1: u8 = 0x81;
}

fn ascii(bytes: &[u8]) -> Option<String> {
    bytes
        .is_ascii()
        .then(|| String::from_utf8_lossy(bytes).into_owned())
}

impl Certificate {
    /// Reads one extension. False: it is not known, or known and of no use.
    pub(super) fn read_extension(
        &mut self,
        oid: &[u8],
        is_critical: bool,
        value: &[u8],
    ) -> Result<bool, Fault> {
        if oid == AUTHORITY_INFO {
            return if !is_critical && is_authority_info(value) {
                Ok(true)
            } else {
                Err(Fault::Malformed("invalid authority info access"))
            };
        }
        let [number] = oid.strip_prefix(STANDARD).unwrap_or_default() else {
            return Ok(false);
        };
        let read = match *number {
            id::KEY_USAGE => self.read_key_usage(value),
            id::BASIC_CONSTRAINTS => self.read_basic_constraints(value),
            id::ALT_NAMES => self.read_alt_names(value),
            id::NAME_CONSTRAINTS => self.read_name_constraints(value),
            id::PURPOSES => self.read_purposes(value),
            id::POLICIES => self.read_policies(value),
            id::POLICY_MAPPINGS => self.read_policy_mappings(value),
            id::POLICY_CONSTRAINTS => self.read_policy_constraints(value),
            id::INHIBIT_ANY_POLICY => self.read_inhibit_any(value),
            id::CRL_POINTS => is_crl_points(value).then_some(true),
            id::AUTHORITY_KEY => (!is_critical && is_authority_key(value)).then_some(true),
            id::SUBJECT_KEY => {
                let is_key = Reader::new(value).take(tag::OCTETS).is_some();
                (!is_critical && is_key).then_some(true)
            }
            _ => Some(false),
        };
        read.ok_or(Fault::Malformed(match *number {
            id::KEY_USAGE => "invalid key usage",
            id::BASIC_CONSTRAINTS => "invalid basic constraints",
            id::ALT_NAMES => "invalid subject alternative names",
            id::NAME_CONSTRAINTS => "invalid NameConstraints extension",
            id::PURPOSES => "invalid extended key usages",
            id::CRL_POINTS => "invalid CRL distribution point",
            id::AUTHORITY_KEY => "invalid authority key identifier",
            id::SUBJECT_KEY => "invalid subject key identifier",
            _ => "invalid certificate policies",
        }))
    }

    fn read_key_usage(&mut self, value: &[u8]) -> Option<bool> {
        let (unused, bits) = Reader::new(value).take(tag::BITS)?.split_first()?;
        let is_padded = match *unused {
            0 => true,
            1..=7 => bits
                .last()
                .is_some_and(|last| last.trailing_zeros() >= u32::from(*unused)),
            _ => false,
        };
        if !is_padded {
            return None;
        }
        let byte = |at: usize| u16::from(bits.get(at).copied().unwrap_or_default());
        // Nine bits have names.
        self.key_usage = (byte(0) << 8 | byte(1)) & 0xff80;
        Some(true)
    }

    fn read_basic_constraints(&mut self, value: &[u8]) -> Option<bool> {
        let mut constraints = Reader::new(value).enter(tag::SEQUENCE)?;
        let is_ca = match constraints.take(tag::BOOLEAN) {
            None | Some([0]) => false,
            Some([0xff]) => true,
            Some(_) => return None,
        };
        let path_len = match constraints.take(tag::INTEGER) {
            None => None,
            Some(len) => Some(number(len)?),
        };
        self.basic = Some(Basic { is_ca, path_len });
        Some(true)
    }

    fn read_alt_names(&mut self, value: &[u8]) -> Option<bool> {
        self.has_alt_names = true;
        self.alt_names_der = value.to_vec();
        let mut names = Reader::new(value).enter(tag::SEQUENCE)?;
        let found = &mut self.alt_names;
        let mut is_any = false;
        while !names.is_empty() {
            let (form, bytes) = names.next()?;
            match form {
                general::EMAIL => found.emails.push(ascii(bytes)?),
                general::DNS => found.dns.push(ascii(bytes)?),
                general::URI => found.uris.push(Uri::parse(&ascii(bytes)?)?),
                general::IP => {
                    address(bytes)?;
                    found.addresses.push(bytes.to_vec());
                }
                _ => continue,
            }
            is_any = true;
        }
        Some(is_any)
    }

    fn read_name_constraints(&mut self, value: &[u8]) -> Option<bool> {
        let mut outside = Reader::new(value);
        let mut both = outside.enter(tag::SEQUENCE)?;
        let mut side = |group| match both.peek() == Some(group) {
            true => both.take(group),
            false => Some(&[][..]),
        };
        let (permitted, excluded) = (side(general::GROUP_0)?, side(general::GROUP_1)?);
        let is_empty = permitted.is_empty() && excluded.is_empty();
        if !outside.is_empty() || !both.is_empty() || is_empty {
            return None;
        }
        let mut is_handled = true;
        self.constraints = Some(Constraints {
            permitted: subtrees(permitted, &mut is_handled)?,
            excluded: subtrees(excluded, &mut is_handled)?,
        });
        Some(is_handled)
    }

    fn read_purposes(&mut self, value: &[u8]) -> Option<bool> {
        let mut list = Reader::new(value).enter(tag::SEQUENCE)?;
        while !list.is_empty() {
            let purpose = list.take(tag::OID).filter(|oid| is_oid(oid))?;
            self.purposes.push(purpose.to_vec());
        }
        Some(true)
    }

    fn read_policies(&mut self, value: &[u8]) -> Option<bool> {
        let mut list = Reader::new(value).enter(tag::SEQUENCE)?;
        let mut seen = HashSet::new();
        while !list.is_empty() {
            let policy = list.enter(tag::SEQUENCE)?.take(tag::OID)?;
            if !seen.insert(policy) {
                return None;
            }
            self.policies.named.push(policy.to_vec());
        }
        Some(true)
    }

    fn read_policy_mappings(&mut self, value: &[u8]) -> Option<bool> {
        let mut list = Reader::new(value).enter(tag::SEQUENCE)?;
        while !list.is_empty() {
            let mut pair = list.enter(tag::SEQUENCE)?;
            pair.take(tag::OID)?;
            pair.take(tag::OID)?;
            self.policies.has_mappings = true;
        }
        Some(true)
    }

    fn read_policy_constraints(&mut self, value: &[u8]) -> Option<bool> {
        let mut both = Reader::new(value).enter(tag::SEQUENCE)?;
        if both.peek() == Some(general::NUMBER_0) {
            self.policies.require_explicit = Some(number(both.take(general::NUMBER_0)?)?);
        }
        if both.peek() == Some(general::NUMBER_1) {
            number(both.take(general::NUMBER_1)?)?;
        }
        Some(true)
    }

    fn read_inhibit_any(&mut self, value: &[u8]) -> Option<bool> {
        let skipped = Reader::new(value).take(tag::INTEGER)?;
        self.policies.inhibit_any = Some(number(skipped)?);
        Some(true)
    }
}

/// A number that is not negative.
fn number(content: &[u8]) -> Option<u64> {
    if !is_integer(content) || content[0] & 0x80 != 0 || content.len() > 8 {
        return None;
    }
    Some(content.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)))
}

fn subtrees(list: &[u8], is_handled: &mut bool) -> Option<Subtrees> {
    let mut list = Reader::new(list);
    let mut found = Subtrees::default();
    let domain = |bytes: &[u8]| ascii(bytes).filter(|domain| is_domain(domain, true));
    while !list.is_empty() {
        let (form, base) = list.enter(tag::SEQUENCE)?.next()?;
        match form {
            general::DNS => found.dns.push(domain(base)?),
            general::IP => found.networks.push(network(base)?),
            general::EMAIL => {
                let text = ascii(base)?;
                let is_whole = text.contains('@');
                if is_whole && Mailbox::parse(&text).is_none()
                    || !is_whole && !is_domain(&text, true)
                {
                    return None;
                }
                found.emails.push(text);
            }
            general::URI => {
                let domain = domain(base)?;
                if domain.parse::<IpAddr>().is_ok() {
                    return None;
                }
                found.uri_domains.push(domain);
            }
            _ => *is_handled = false,
        }
    }
    Some(found)
}

/// An address and a mask of ones and then zeros.
fn network(base: &[u8]) -> Option<Network> {
    if !matches!(base.len(), 8 | 32) {
        return None;
    }
    let (address, mask) = base.split_at(base.len() / 2);
    let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).sum();
    let all: u32 = mask.iter().map(|byte| byte.count_ones()).sum();
    let first_gap = mask
        .iter()
        .position(|byte| *byte != 0xff)
        .unwrap_or(mask.len());
    let is_mask = ones == all && mask.iter().skip(first_gap + 1).all(|byte| *byte == 0);
    is_mask.then(|| Network {
        address: address.to_vec(),
        mask: mask.to_vec(),
    })
}

fn is_authority_key(value: &[u8]) -> bool {
    let Some(mut inside) = Reader::new(value).enter(tag::SEQUENCE) else {
        return false;
    };
    inside.peek() != Some(general::NUMBER_0) || inside.take(general::NUMBER_0).is_some()
}

fn is_authority_info(value: &[u8]) -> bool {
    let Some(mut list) = Reader::new(value).enter(tag::SEQUENCE) else {
        return false;
    };
    while !list.is_empty() {
        let Some(mut access) = list.enter(tag::SEQUENCE) else {
            return false;
        };
        let is_method = access.take(tag::OID).is_some_and(is_oid);
        let is_place = access.peek() != Some(general::URI) || access.take(general::URI).is_some();
        if !is_method || !is_place {
            return false;
        }
    }
    true
}

fn is_crl_points(value: &[u8]) -> bool {
    let Some(mut list) = Reader::new(value).enter(tag::SEQUENCE) else {
        return false;
    };
    while !list.is_empty() {
        let Some(mut point) = list.enter(tag::SEQUENCE) else {
            return false;
        };
        if point.peek() != Some(general::GROUP_0) {
            continue;
        }
        // A name relative to the issuer is what Go does not take.
        let Some(mut names) = point
            .enter(general::GROUP_0)
            .and_then(|mut name| name.enter(general::GROUP_0))
        else {
            return false;
        };
        while names.peek() == Some(general::URI) {
            if names.take(general::URI).is_none() {
                return false;
            }
        }
    }
    true
}
