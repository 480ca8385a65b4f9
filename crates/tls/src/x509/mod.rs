//! Certificates and chains as Go's `crypto/x509` judges them, because etcd does: who gets in is the
//! same, and so is the text of a refusal. No library for Rust has these rules (webpki takes no CA
//! as a leaf and no version 1, ignores what a root says of itself, and more), so they are here.
//! Signatures are left to the provider. What arrives is untrusted: nothing here panics, and work is
//! bounded by what the certificates justify.
//!
//! - [`Certificate`]: one certificate, read with Go's strictness
//! - [`Roots`]: the certificates that are trusted
//! - [`Verification`]: from a leaf to a root
//! - [`Fault`]: why not

mod alt_names;
mod certificate;
mod chain;
mod constraints;
mod domain;
mod extensions;
mod fault;
mod handshake;
mod hostname;
mod mailbox;
mod name;
mod parse;
mod policy;
mod purpose;
mod signature;
mod subtrees;
mod uri;

pub(crate) use certificate::Certificate;
pub(crate) use chain::{Roots, Verification};
pub(crate) use fault::{Fault, within};
pub(crate) use handshake::{Handshake, check_handshake, schemes};
pub(crate) use purpose::Purpose;
