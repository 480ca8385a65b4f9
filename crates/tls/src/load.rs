//! Reading the files. Every error names the file.

use std::{collections::HashSet, fs, path::Path, sync::Arc};

use rustls::{
    crypto::CryptoProvider,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{PemObject, SectionKind},
    },
    sign::CertifiedKey,
};

use crate::{
    Error, Identity, Leaf,
    revocation::revoked_serials,
    x509::{Certificate, Roots},
};

/// No file of certificates, keys or revocations is larger; a device or a log
/// file given by mistake is not read to its end.
const FILE_MAX: u64 = 64 << 20;

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    let failed = |source| Error::Read {
        what,
        path: path.to_owned(),
        source,
    };
    let meta = fs::metadata(path).map_err(failed)?;
    if meta.len() > FILE_MAX || !meta.is_file() {
        return Err(content(what, path, "it is no regular file of PEM blocks"));
    }
    fs::read(path).map_err(failed)
}

fn content(what: &'static str, path: &Path, why: impl Into<String>) -> Error {
    Error::Content {
        what,
        path: path.to_owned(),
        why: why.into(),
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bytes = read(what, path)?;
    let found = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| content(what, path, format!("its PEM is broken: {error}")))?;
    if found.is_empty() {
        return Err(content(
            what,
            path,
            "it holds no certificate; a PEM file with a BEGIN CERTIFICATE block is expected",
        ));
    }
    if let Some(at) = found.iter().position(|der| Leaf::parse(der).is_none()) {
        return Err(content(
            what,
            path,
            format!("its block {} is no X.509 certificate", at + 1),
        ));
    }
    Ok(found)
}

/// What is in the certificates of a PEM file, in their order.
///
/// # Errors
/// It cannot be read, or holds no certificate.
pub fn leaves(path: &Path) -> Result<Vec<Leaf>, Error> {
    let found = certificates("certificate", path)?;
    Ok(found.iter().filter_map(|der| Leaf::parse(der)).collect())
}

/// Certificate and key, proven to belong together.
pub(crate) fn identity(
    identity: &Identity,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Error> {
    let chain = certificates("certificate", &identity.cert)?;
    let bytes = read("key", &identity.key)?;
    let key = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        content(
            "key",
            &identity.key,
            match error {
                rustls::pki_types::pem::Error::NoItemsFound => {
                    "it holds no unencrypted private key; a PEM file with a BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or \
                     BEGIN RSA PRIVATE KEY block is expected"
                        .to_owned()
                }
                other => format!("its PEM is broken: {other}"),
            },
        )
    })?;
    let own = Certificate::parse(&chain[0])
        .map_err(|fault| content("certificate", &identity.cert, fault.to_string()))?;
    let key = provider
        .key_provider
        .load_private_key(key)
        .map_err(|error| content("key", &identity.key, error.to_string()))?;
    if key
        .public_key()
        .is_some_and(|public| public.as_ref() != own.key_info)
    {
        return Err(Error::Mismatch {
            cert: identity.cert.clone(),
            key: identity.key.clone(),
        });
    }
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// CAs out of a file.
pub(crate) fn roots(path: &Path) -> Result<Arc<Roots>, Error> {
    const WHAT: &str = "trusted CA";
    let bytes = read(WHAT, path)?;
    let mut roots = Roots::default();
    for (at, block) in <(SectionKind, Vec<u8>)>::pem_slice_iter(&bytes).enumerate() {
        let (kind, der) =
            block.map_err(|error| content(WHAT, path, format!("its PEM is broken: {error}")))?;
        // As in etcd: a key in this file is a mistake to be found now.
        if kind != SectionKind::Certificate {
            let why = format!("its block {} is no certificate", at + 1);
            return Err(content(WHAT, path, why));
        }
        let certificate = Certificate::parse(&der)
            .map_err(|fault| content(WHAT, path, format!("certificate {}: {fault}", at + 1)))?;
        roots.push(certificate);
    }
    if roots.is_empty() {
        return Err(content(
            WHAT,
            path,
            "it holds no certificate; a PEM file with a BEGIN CERTIFICATE block is expected",
        ));
    }
    Ok(Arc::new(roots))
}

/// The CAs of this machine.
pub(crate) fn system_roots() -> Result<Arc<Roots>, Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = Roots::default();
    // One that cannot be read is of no use, and no reason to distrust the others.
    let readable = found
        .certs
        .iter()
        .filter_map(|der| Certificate::parse(der).ok());
    readable.for_each(|certificate| roots.push(certificate));
    if roots.is_empty() {
        let why = found
            .errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ");
        return Err(Error::NoSystemRoots(if why.is_empty() {
            "it is empty".to_owned()
        } else {
            why
        }));
    }
    Ok(Arc::new(roots))
}

/// Serial numbers that are revoked.
pub(crate) type Revoked = HashSet<Vec<u8>>;

/// A revocation list, PEM or DER.
pub(crate) fn revoked(path: &Path) -> Result<Arc<Revoked>, Error> {
    const WHAT: &str = "revocation list";
    let bytes = read(WHAT, path)?;
    let der = if bytes.trim_ascii_start().starts_with(b"-----BEGIN") {
        rustls::pki_types::CertificateRevocationListDer::from_pem_slice(&bytes)
            .map_err(|error| {
                content(
                    WHAT,
                    path,
                    format!("it holds no BEGIN X509 CRL block: {error}"),
                )
            })?
            .as_ref()
            .to_vec()
    } else {
        bytes
    };
    revoked_serials(&der)
        .map(|serials| Arc::new(serials.into_iter().collect()))
        .ok_or_else(|| content(WHAT, path, "it is no X.509 CRL, neither as PEM nor as DER"))
}
