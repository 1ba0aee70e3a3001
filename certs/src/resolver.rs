//! The current certificate, which can be replaced while connections are open; a broken successor never replaces it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate that cannot be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The certificate file is not PEM.
    #[error("failed to read the certificate chain")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// The certificate file does not contain a certificate.
    #[error("failed to find a certificate in the chain")]
    Empty,
    /// The key file is not PEM, or does not contain a private key.
    #[error("failed to read the private key")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// The key is of an unsupported kind, or does not match the certificate.
    #[error("failed to match the private key with the certificate")]
    Mismatch(#[source] rustls::Error),
    /// The certificate is not an X.509 certificate.
    #[error("failed to decode the certificate: {0}")]
    Decode(String),
    /// The certificate has expired.
    #[error("the certificate ended at {not_after}")]
    Expired {
        /// The end of its validity.
        not_after: Timestamp,
    },
}

/// The result of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// The certificate is already installed.
    Unchanged,
    /// New connections get the new certificate.
    Swapped,
}

#[derive(Debug)]
struct InForce {
    key: Arc<CertifiedKey>,
    not_after: Timestamp,
}

/// Provides the current certificate for every TLS handshake.
#[derive(Debug, Default)]
pub struct ReloadableResolver {
    in_force: ArcSwapOption<InForce>,
}

impl ReloadableResolver {
    /// A resolver without a certificate: handshakes fail until one is installed.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Installs a certificate. On any error the current one stays.
    ///
    /// # Errors
    /// [`InstallError`] if it cannot be read, does not match its key, or has expired at `now`.
    pub fn install(&self, certificate: &[u8], key: &[u8], now: Timestamp) -> Result<Swap, InstallError> {
        let chain = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(InstallError::Certificate)?;
        let not_after = not_after(chain.first().ok_or(InstallError::Empty)?)?;
        if not_after <= now {
            return Err(InstallError::Expired { not_after });
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(InstallError::Key)?;
        let key = CertifiedKey::from_der(chain, key, &provider()).map_err(InstallError::Mismatch)?;
        if self.in_force.load().as_ref().is_some_and(|in_force| in_force.key.cert == key.cert) {
            return Ok(Swap::Unchanged);
        }
        self.in_force.store(Some(Arc::new(InForce { key: Arc::new(key), not_after })));
        Ok(Swap::Swapped)
    }

    /// The end of the current certificate; `None` if there is none.
    pub fn not_after(&self) -> Option<Timestamp> {
        self.in_force.load().as_ref().map(|in_force| in_force.not_after)
    }

    /// The current chain; empty if there is none.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.in_force.load().as_ref().map(|in_force| in_force.key.cert.clone()).unwrap_or_default()
    }
}

impl ResolvesServerCert for ReloadableResolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.in_force.load().as_ref().map(|in_force| Arc::clone(&in_force.key))
    }
}

/// The cryptography of every TLS connection of this product.
pub fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn not_after(certificate: &CertificateDer<'_>) -> Result<Timestamp, InstallError> {
    let decode = |error: String| InstallError::Decode(error);
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| decode(error.to_string()))?;
    Timestamp::from_second(parsed.validity().not_after.timestamp()).map_err(|error| decode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::{Authority, KeyPairPem, Leaf};

    fn now() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    fn leaf() -> KeyPairPem {
        Authority::generate(now(), "guard").unwrap().issue(now(), &Leaf::of_loopback()).unwrap()
    }

    fn install(resolver: &ReloadableResolver, pem: &KeyPairPem, at: Timestamp) -> Result<Swap, InstallError> {
        resolver.install(pem.certificate.as_bytes(), pem.key.as_bytes(), at)
    }

    fn in_force(resolver: &ReloadableResolver) -> Vec<CertificateDer<'static>> {
        resolver.in_force.load().as_ref().unwrap().key.cert.clone()
    }

    #[test]
    fn a_new_certificate_is_swapped_in_and_the_same_one_is_not() {
        let (resolver, first) = (ReloadableResolver::empty(), leaf());
        assert_eq!(resolver.not_after(), None);
        assert_eq!(install(&resolver, &first, now()).unwrap(), Swap::Swapped);
        assert_eq!(install(&resolver, &first, now()).unwrap(), Swap::Unchanged);
        assert_eq!(install(&resolver, &leaf(), now()).unwrap(), Swap::Swapped);
    }

    #[test]
    fn a_broken_successor_leaves_the_old_certificate_in_force() {
        let (resolver, first, second) = (ReloadableResolver::empty(), leaf(), leaf());
        install(&resolver, &first, now()).unwrap();
        let before = in_force(&resolver);
        let mixed = KeyPairPem { certificate: second.certificate.clone(), key: first.key.clone() };
        assert!(matches!(install(&resolver, &mixed, now()), Err(InstallError::Mismatch(_))));
        let truncated =
            KeyPairPem { certificate: second.certificate[..90].to_owned(), key: second.key.clone() };
        assert!(install(&resolver, &truncated, now()).is_err());
        let empty = KeyPairPem { certificate: String::new(), key: second.key.clone() };
        assert!(matches!(install(&resolver, &empty, now()), Err(InstallError::Empty)));
        let keyless = KeyPairPem { certificate: second.certificate.clone(), key: String::new() };
        assert!(matches!(install(&resolver, &keyless, now()), Err(InstallError::Key(_))));
        let late = "2026-06-01T00:00:00Z".parse().unwrap();
        assert!(matches!(install(&resolver, &second, late), Err(InstallError::Expired { .. })));
        assert_eq!(in_force(&resolver), before);
    }
}
