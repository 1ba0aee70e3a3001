//! The contents of certificates, and their verification.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::authority::{BACKDATED, Leaf};
use crate::resolver;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(resolver::provider()));

/// A certificate with its parsed fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    pub(crate) der: CertificateDer<'static>,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Timestamp,
    pub(crate) is_authority: bool,
}

impl Certificate {
    fn parse(der: CertificateDer<'static>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(&der).ok()?;
        let validity = parsed.validity();
        let is_authority = parsed.basic_constraints().ok().flatten().is_some_and(|found| found.value.ca);
        Some(Self {
            not_before: Timestamp::from_second(validity.not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(validity.not_after.timestamp()).ok()?,
            is_authority,
            der,
        })
    }

    /// The readable certificates of a PEM text.
    pub(crate) fn all(pem: &[u8]) -> Vec<Self> {
        CertificateDer::pem_slice_iter(pem).filter_map(|found| Self::parse(found.ok()?)).collect()
    }

    /// The time when it was issued, if it is one of ours.
    pub(crate) fn made_at(&self) -> Timestamp {
        later(self.not_before, BACKDATED)
    }

    /// The time when its successor is due: after two thirds of its lifetime.
    pub(crate) fn due_at(&self) -> Timestamp {
        let lifetime = self.not_after.duration_since(self.made_at());
        later(self.made_at(), Duration::try_from(lifetime).unwrap_or_default() / 3 * 2)
    }

    /// Returns true if an API server would trust certificates that it signs. An expired trust anchor is rejected like
    /// any other expired certificate.
    pub(crate) fn is_trustworthy(&self, now: Timestamp) -> bool {
        self.is_authority && self.not_before <= now && now < self.not_after
    }

    /// The certificate as PEM, encoded again, so that any text around it in an edited file is gone.
    pub(crate) fn pem(&self) -> String {
        encode(&self.der)
    }
}

/// A certificate in PEM.
pub(crate) fn encode(der: &CertificateDer<'_>) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der.as_ref()), config)
}

/// Certificates in PEM, one after the other.
pub(crate) fn bundle(certificates: &[Certificate]) -> String {
    certificates.iter().map(Certificate::pem).collect()
}

/// Returns true if a private key belongs to a certificate.
pub(crate) fn belongs(certificate: &CertificateDer<'static>, key: &[u8]) -> bool {
    let Ok(key) = PrivateKeyDer::from_pem_slice(key) else { return false };
    CertifiedKey::from_der(vec![certificate.clone()], key, &PROVIDER).is_ok()
}

/// Returns true if a caBundle verifies a chain for a host name or an address at a time, as the API server would
/// decide it.
pub fn bundle_verifies(bundle: &[u8], chain: &[CertificateDer<'_>], name: &str, now: Timestamp) -> bool {
    let name = ServerName::try_from(name.trim_matches(['[', ']']));
    name.is_ok_and(|name| verifies(&Certificate::all(bundle), chain, &name, now))
}

/// The end of the first certificate of a PEM text, if there is one.
pub fn end_of(pem: &[u8]) -> Option<Timestamp> {
    Certificate::all(pem).first().map(|found| found.not_after)
}

/// Returns true if one of the authorities verifies a chain for a name at a time.
pub(crate) fn verifies<'a>(
    authorities: impl IntoIterator<Item = &'a Certificate>,
    chain: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    now: Timestamp,
) -> bool {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        if authority.is_trustworthy(now) {
            // An authority that cannot be a trust anchor does not verify anything.
            let _ = roots.add(authority.der.clone());
        }
    }
    let Some((leaf, intermediates)) = chain.split_first() else { return false };
    let Ok(since_epoch) = u64::try_from(now.as_second()) else { return false };
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(since_epoch));
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER))
        .build()
        .is_ok_and(|verifier| verifier.verify_server_cert(leaf, intermediates, name, &[], moment).is_ok())
}

/// The sum of a time and a duration, or the maximum time if it is out of range.
pub(crate) fn later(moment: Timestamp, duration: Duration) -> Timestamp {
    moment.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Returns true if the first certificate of a chain has every name and address of a leaf.
pub(crate) fn is_good_for(chain: &[CertificateDer<'static>], leaf: &Leaf) -> bool {
    let Some(end) = chain.first().and_then(|der| ParsedCertificate::try_from(der).ok()) else { return false };
    let names = leaf.dns_names.iter().filter_map(|name| ServerName::try_from(name.clone()).ok());
    let addresses = leaf.addresses.iter().map(|&address| ServerName::from(address));
    names.chain(addresses).all(|name| verify_server_name(&end, &name).is_ok())
}
