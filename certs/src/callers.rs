//! Authentication of callers by client certificates of an authority, optionally limited to certain names.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme,
};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::resolver;

/// A configuration of callers that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    /// The text is not PEM, or its content is not a certificate.
    #[error("the authority of callers holds something that is no PEM certificate")]
    Pem(#[source] rustls::pki_types::pem::Error),
    /// A certificate cannot be used as an authority.
    #[error("the authority of callers cannot be used")]
    Anchor(#[source] Error),
    /// There is no certificate.
    #[error("the authority of callers is empty: give a file with a certificate in PEM")]
    Empty,
    /// The TLS library does not support it.
    #[error("callers cannot be verified")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
}

/// Accepts client certificates of an authority, with one of these common names if there are any. For all others the
/// handshake fails.
#[derive(Debug)]
pub struct Callers {
    of_authority: Arc<dyn ClientCertVerifier>,
    names: Vec<String>,
}

impl Callers {
    /// The callers of the authorities in a PEM text. Without names, all of them are accepted.
    ///
    /// # Errors
    /// If the text does not contain a usable certificate.
    pub fn of(authorities: &[u8], names: Vec<String>) -> Result<Self, CallersError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            roots.add(certificate.map_err(CallersError::Pem)?).map_err(CallersError::Anchor)?;
        }
        if roots.is_empty() {
            return Err(CallersError::Empty);
        }
        let provider = Arc::new(resolver::provider());
        let of_authority = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(CallersError::Verifier)?;
        Ok(Self { of_authority, names })
    }

    fn is_named(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return false };
        let mut found = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        self.names.is_empty() || found.any(|name| self.names.iter().any(|allowed| allowed == name))
    }
}

impl ClientCertVerifier for Callers {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.of_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.of_authority.verify_client_cert(certificate, intermediates, now)?;
        if self.is_named(certificate) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_authority.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.of_authority.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.of_authority.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{Authority, Leaf};

    fn verified(callers: &Callers, authority: &Authority, leaf: &Leaf) -> Result<(), Error> {
        let pair = authority.issue(Timestamp::now(), leaf).unwrap();
        let certificate = CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap();
        callers.verify_client_cert(&certificate, &[], UnixTime::now()).map(drop)
    }

    #[test]
    fn only_clients_of_the_authority_and_of_the_names_are_let_in() {
        let (ours, other) =
            ["ours", "other"].map(|name| Authority::generate(Timestamp::now(), name).unwrap()).into();
        let pem = ours.pem().certificate.clone();
        let api_server = Leaf::of_client("kube-apiserver", &[]);
        let anyone = Callers::of(pem.as_bytes(), Vec::new()).unwrap();
        let named = Callers::of(pem.as_bytes(), vec!["kube-apiserver".to_owned()]).unwrap();
        verified(&anyone, &ours, &api_server).unwrap();
        verified(&named, &ours, &api_server).unwrap();
        verified(&anyone, &ours, &Leaf::of_client("kubelet", &[])).unwrap();
        let refused = verified(&named, &ours, &Leaf::of_client("kubelet", &[])).unwrap_err();
        assert_eq!(refused, CertificateError::ApplicationVerificationFailure.into());
        let refused = verified(&anyone, &other, &api_server).unwrap_err();
        assert_eq!(refused, CertificateError::UnknownIssuer.into());
    }

    #[test]
    fn what_is_no_authority_is_said_so() {
        let said = |pem: &str| Callers::of(pem.as_bytes(), Vec::new()).unwrap_err().to_string();
        assert!(said("").contains("is empty"), "{}", said(""));
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(said(broken).contains("cannot be used"), "{}", said(broken));
    }
}
