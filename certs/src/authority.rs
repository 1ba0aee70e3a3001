//! Issues certificates: certificate authorities for ten years and leaf certificates for ninety days, both ECDSA
//! P-256.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;

const DAY: Duration = Duration::from_hours(24);
/// The default lifetime of an authority: ten years.
pub(crate) const AUTHORITY_LIFETIME: Duration = Duration::from_hours(87600);
/// The default lifetime of a leaf.
pub(crate) const LEAF_LIFETIME: Duration = Duration::from_secs(90 * DAY.as_secs());
/// The time that `NotBefore` lies in the past, so that a client whose clock is behind trusts a new certificate.
pub(crate) const BACKDATED: Duration = Duration::from_hours(1);

/// A certificate that could not be issued.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The name, the key or the certificate is not usable.
    #[error("failed to make a certificate")]
    Issue(#[from] rcgen::Error),
    /// The time cannot be represented in a certificate.
    #[error("failed to express {0} in a certificate")]
    Time(Timestamp),
}

/// A certificate chain and its private key, in PEM.
#[derive(Clone)]
pub struct KeyPairPem {
    /// The certificate.
    pub certificate: String,
    /// The private key, PKCS#8.
    pub key: String,
}

impl std::fmt::Debug for KeyPairPem {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("KeyPairPem").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// The contents of a leaf certificate.
#[derive(Debug, Clone, Default)]
pub struct Leaf {
    /// The common name. In a client certificate, this is the user.
    pub common_name: String,
    /// The organizations. In a client certificate, these are the groups.
    pub organizations: Vec<String>,
    /// The host names of a server certificate.
    pub dns_names: Vec<String>,
    /// The IP addresses of a server certificate.
    pub addresses: Vec<IpAddr>,
    /// The lifetime; [`LEAF_LIFETIME`] if `None`.
    pub lifetime: Option<Duration>,
}

impl Leaf {
    /// The leaf of a Service in a cluster, valid for each of its DNS names.
    pub fn of_service(service: &str, namespace: &str) -> Self {
        let dns_names = service_names(service, namespace);
        Self { common_name: format!("{service}.{namespace}.svc"), dns_names, ..Self::default() }
    }

    /// The leaf of a server on the loopback interface.
    pub fn of_loopback() -> Self {
        Self {
            common_name: "localhost".to_owned(),
            dns_names: vec!["localhost".to_owned()],
            addresses: vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            ..Self::default()
        }
    }

    /// The certificate of a client: a user and its groups.
    pub fn of_client(user: &str, groups: &[&str]) -> Self {
        let organizations = groups.iter().map(|&group| group.to_owned()).collect();
        Self { common_name: user.to_owned(), organizations, ..Self::default() }
    }
}

/// The DNS names of a Service inside a cluster; kube-apiserver uses the first.
pub(crate) fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![
        format!("{service}.{namespace}.svc"),
        format!("{service}.{namespace}.svc.cluster.local"),
        format!("{service}.{namespace}"),
        service.to_owned(),
    ]
}

/// A certificate authority.
#[derive(Debug, Clone)]
pub struct Authority {
    pem: KeyPairPem,
}

impl Authority {
    /// A new authority with a new key.
    ///
    /// # Errors
    /// [`AuthorityError`] if the name or the time cannot be represented in a certificate.
    pub fn generate(now: Timestamp, common_name: &str) -> Result<Self, AuthorityError> {
        Self::generate_for(now, common_name, AUTHORITY_LIFETIME)
    }

    /// A new authority with a new key and this lifetime.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub(crate) fn generate_for(
        now: Timestamp,
        common_name: &str,
        lifetime: Duration,
    ) -> Result<Self, AuthorityError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, lifetime)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self { pem: KeyPairPem { certificate, key: key.serialize_pem() } })
    }

    /// An existing authority.
    pub(crate) const fn from_pem(pem: KeyPairPem) -> Self {
        Self { pem }
    }

    /// The authority's own certificate and key.
    pub const fn pem(&self) -> &KeyPairPem {
        &self.pem
    }

    /// Issues a leaf with a new key, for servers and clients.
    ///
    /// # Errors
    /// [`AuthorityError`] if a name, the time or this authority's own key cannot be used.
    pub fn issue(&self, now: Timestamp, leaf: &Leaf) -> Result<KeyPairPem, AuthorityError> {
        let issuer = Issuer::from_ca_cert_pem(&self.pem.certificate, KeyPair::from_pem(&self.pem.key)?)?;
        let mut params = CertificateParams::new(leaf.dns_names.clone())?;
        params.subject_alt_names.extend(leaf.addresses.iter().copied().map(SanType::IpAddress));
        params.distinguished_name.push(DnType::CommonName, leaf.common_name.as_str());
        for organization in &leaf.organizations {
            params.distinguished_name.push(DnType::OrganizationName, organization.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, leaf.lifetime.unwrap_or(LEAF_LIFETIME))?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &issuer)?.pem();
        Ok(KeyPairPem { certificate, key: key.serialize_pem() })
    }
}

fn set_validity(
    params: &mut CertificateParams,
    now: Timestamp,
    lifetime: Duration,
) -> Result<(), AuthorityError> {
    let start =
        OffsetDateTime::from_unix_timestamp(now.as_second()).map_err(|_| AuthorityError::Time(now))?;
    params.not_before = start - BACKDATED;
    params.not_after = start + lifetime;
    Ok(())
}

#[cfg(test)]
mod tests {
    use x509_parser::pem::parse_x509_pem;

    use super::*;

    fn now() -> Timestamp {
        "2026-01-31T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_leaf_is_valid_ninety_days_and_from_an_hour_ago() {
        let authority = Authority::generate(now(), "guard").unwrap();
        let leaf = authority.issue(now(), &Leaf::of_service("hook", "guard")).unwrap();
        let (_, pem) = parse_x509_pem(leaf.certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.validity().not_before.timestamp(), now().as_second() - 3600);
        assert_eq!(certificate.validity().not_after.timestamp(), now().as_second() + 90 * 86_400);
        assert!(!certificate.is_ca());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        let names: Vec<_> = names.value.general_names.iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "DNSName(hook.guard.svc)",
                "DNSName(hook.guard.svc.cluster.local)",
                "DNSName(hook.guard)",
                "DNSName(hook)"
            ]
        );
    }

    #[test]
    fn an_authority_is_valid_ten_years_and_signs_leaves_only() {
        let authority = Authority::generate(now(), "guard").unwrap();
        let (_, pem) = parse_x509_pem(authority.pem().certificate.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert_eq!(certificate.validity().not_after.timestamp(), now().as_second() + 3650 * 86_400);
        let constraints = certificate.basic_constraints().unwrap().unwrap().value;
        assert!(constraints.ca);
        assert_eq!(constraints.path_len_constraint, Some(0));
    }

    #[test]
    fn debug_output_never_shows_a_private_key() {
        let authority = Authority::generate(now(), "guard").unwrap();
        assert!(!format!("{authority:?}").contains("PRIVATE KEY"));
    }
}
