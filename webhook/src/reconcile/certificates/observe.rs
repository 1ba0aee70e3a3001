//! The observed state of the cluster, which decides the next step.

use codex_k8s_certs::plan::{AuthorityData, Configuration, Confirmation, LeafData, Part, State, Stored};
use codex_k8s_shared::install::{MANAGED_BY_RECONCILER, PART_OF};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DynamicObject;
use kube::client::Body;
use kube::{Api, ResourceExt};

use super::{CONFIRMED, Certificates, Failure, ROTATE};
use crate::registered::{Which, bundles};
use codex_k8s_shared::install::WEBHOOK_CONFIGURATION;

pub(super) const CERTIFICATE: &str = "ca.crt";
pub(super) const KEY: &str = "ca.key";
pub(super) const PREVIOUS: &str = "previous.crt";
pub(super) const TLS_CERTIFICATE: &str = "tls.crt";
pub(super) const TLS_KEY: &str = "tls.key";

/// The observed state, with the objects themselves, which are replaced only in the observed version.
pub(super) struct Seen {
    pub(super) authority: Option<Secret>,
    pub(super) leaf: Option<Secret>,
    pub(super) configurations: Vec<(Which, Option<DynamicObject>)>,
    pub(super) state: State,
}

impl Certificates {
    pub(super) fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.options.namespace)
    }

    pub(super) async fn observe(&self) -> Result<Seen, Failure> {
        let read = |error| Failure::Kube("read the Secrets", error);
        let secrets = self.secrets();
        let authority = secrets.get_opt(&self.options.authority).await.map_err(read)?;
        let leaf = secrets.get_opt(&self.options.leaf).await.map_err(read)?;
        let mut configurations = Vec::new();
        for which in Which::BOTH {
            let found = which.api(self.client.clone()).get_opt(WEBHOOK_CONFIGURATION).await;
            configurations.push((
                which,
                found.map_err(|error| Failure::Kube("read the webhook configurations", error))?,
            ));
        }
        let replicas = self.replicas().await?;
        let stored =
            |(which, found): &(Which, Option<DynamicObject>)| (part(*which), configuration(found.as_ref()));
        let state = State {
            authority: stored_secret(authority.as_ref(), authority_data),
            leaf: stored_secret(leaf.as_ref(), leaf_data),
            configurations: configurations.iter().map(stored).collect(),
            replicas,
            // Read last, because a confirmation must not be earlier than the read of the configuration.
            cluster_time: self.cluster_time().await?,
        };
        Ok(Seen { authority, leaf, configurations, state })
    }

    async fn cluster_time(&self) -> Result<Timestamp, Failure> {
        let request = http::Request::get("/version").body(Body::empty()).map_err(|_| Failure::Timeless)?;
        let answer = self.client.send(request).await;
        let answer = answer.map_err(|error| Failure::Kube("read the time of the API server", error))?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| rfc2822::parse(date).ok()).ok_or(Failure::Timeless)?;
        Ok(date.timestamp())
    }
}

pub(super) const fn part(which: Which) -> Part {
    match which {
        Which::Mutating => Part::Mutating,
        Which::Validating => Part::Validating,
    }
}

fn stored_secret<T>(found: Option<&Secret>, data: impl Fn(&Secret) -> T) -> Stored<T> {
    match found {
        None => Stored::Missing,
        Some(secret) if MANAGED_BY_RECONCILER.is_among(secret.labels()) => Stored::Ours(data(secret)),
        Some(_) => Stored::OtherOwner,
    }
}

fn value(secret: &Secret, key: &str) -> Vec<u8> {
    secret.data.as_ref().and_then(|data| data.get(key)).map(|value| value.0.clone()).unwrap_or_default()
}

fn authority_data(secret: &Secret) -> AuthorityData {
    AuthorityData {
        certificate: value(secret, CERTIFICATE),
        key: value(secret, KEY),
        previous: value(secret, PREVIOUS),
        rotate: secret.annotations().contains_key(ROTATE),
    }
}

fn leaf_data(secret: &Secret) -> LeafData {
    LeafData {
        certificate: value(secret, TLS_CERTIFICATE),
        key: value(secret, TLS_KEY),
        rotate: secret.annotations().contains_key(ROTATE),
    }
}

/// Extracts the data of a configuration. Without our label, it is owned by another manager.
fn configuration(found: Option<&DynamicObject>) -> Stored<Configuration> {
    let Some(found) = found else { return Stored::Missing };
    if !PART_OF.is_among(found.labels()) {
        return Stored::OtherOwner;
    }
    Stored::Ours(Configuration {
        bundles: bundles(found),
        generation: found.metadata.generation.unwrap_or_default(),
        confirmed: found.annotations().get(CONFIRMED).and_then(|text| confirmation(text)),
    })
}

/// Parses a confirmation in the format of [`note`].
fn confirmation(text: &str) -> Option<Confirmation> {
    let (generation, since) = text.split_once(' ')?;
    Some(Confirmation { generation: generation.parse().ok()?, since: since.parse().ok()? })
}

/// Formats a confirmation for the annotation of a configuration.
pub(super) fn note(confirmation: Confirmation) -> String {
    format!("{} {}", confirmation.generation, confirmation.since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_says_what_it_was_written_for_and_anything_else_says_nothing() {
        let since = "2026-01-31T12:00:00Z".parse().unwrap();
        let written = Confirmation { generation: 7, since };
        assert_eq!(note(written), "7 2026-01-31T12:00:00Z");
        assert_eq!(confirmation(&note(written)), Some(written));
        for text in ["", "7", "7 yesterday", "seven 2026-01-31T12:00:00Z"] {
            assert_eq!(confirmation(text), None, "{text}");
        }
    }

    #[test]
    fn a_secret_without_our_label_is_a_conflict_with_any_content() {
        let mut secret = Secret::default();
        assert_eq!(stored_secret(Some(&secret), leaf_data), Stored::OtherOwner);
        secret.labels_mut().extend([MANAGED_BY_RECONCILER.entry()]);
        assert_eq!(stored_secret(Some(&secret), leaf_data), Stored::Ours(LeafData::default()));
        assert_eq!(stored_secret(None, leaf_data), Stored::Missing);
    }
}
