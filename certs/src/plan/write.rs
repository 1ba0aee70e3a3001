//! The contents that the steps write.

use jiff::Timestamp;

use super::{AuthorityData, AuthorityWrite, LeafData, Settings};
use crate::authority::{Authority, AuthorityError, KeyPairPem, Leaf};
use crate::trust::Certificate;

impl Settings {
    /// The content of the authority's Secret after a write; `found` is the content before it.
    ///
    /// # Errors
    /// [`AuthorityError`] if a name or the time cannot be represented in a certificate.
    pub fn authority(
        &self,
        now: Timestamp,
        write: &AuthorityWrite,
        found: Option<&AuthorityData>,
    ) -> Result<AuthorityData, AuthorityError> {
        let previous = write.previous.clone().into_bytes();
        if let Some(found) = found.filter(|_| !write.new) {
            return Ok(AuthorityData { previous, ..found.clone() });
        }
        let authority = Authority::generate_for(now, &self.authority_name, self.authority_lifetime)?;
        let KeyPairPem { certificate, key } = authority.pem().clone();
        Ok(AuthorityData {
            certificate: certificate.into_bytes(),
            key: key.into_bytes(),
            previous,
            rotate: false,
        })
    }

    /// A leaf of the authority, which does not outlive it.
    ///
    /// # Errors
    /// [`AuthorityError`] if a name, the time or the authority's key cannot be used.
    pub fn leaf(&self, now: Timestamp, authority: &AuthorityData) -> Result<LeafData, AuthorityError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let left = Certificate::all(&authority.certificate)
            .first()
            .and_then(|found| found.not_after.duration_since(now).try_into().ok());
        let lifetime = self.leaf_lifetime.min(left.unwrap_or(self.leaf_lifetime));
        let pem = KeyPairPem { certificate: text(&authority.certificate), key: text(&authority.key) };
        let leaf = Leaf { lifetime: Some(lifetime), ..self.leaf.clone() };
        let KeyPairPem { certificate, key } = Authority::from_pem(pem).issue(now, &leaf)?;
        Ok(LeafData { certificate: certificate.into_bytes(), key: key.into_bytes(), rotate: false })
    }
}
