//! The writes of the certificate rotation. Each writes one object, and only in the version that was observed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use codex_k8s_certs::plan::{AuthorityData, AuthorityWrite, Confirmation, LeafData, Part, Step, Stored};
use codex_k8s_shared::install::MANAGED_BY_RECONCILER;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use kube::api::{DynamicObject, PostParams};
use serde_json::Value;

use super::observe::{self, CERTIFICATE, KEY, PREVIOUS, Seen, TLS_CERTIFICATE, TLS_KEY};
use super::{CONFIRMED, Certificates, Failure, ROTATE};
use crate::reconcile::fault::{self, Point, Written};
use crate::registered::Which;
use codex_k8s_shared::install::FIELD_MANAGER;

impl Certificates {
    pub(super) async fn carry_out(&self, step: &Step, seen: &Seen) -> Result<(), Failure> {
        let written = match step {
            Step::WriteAuthority(_) => Written::Authority,
            Step::IssueLeaf(_) => Written::Leaf,
            Step::Publish { .. } => Written::Bundle,
            Step::Confirm { .. } => Written::Confirmation,
            Step::Refuse(_) | Step::Wait { .. } | Step::Rest(_) => return Ok(()),
        };
        fault::point(Point::BeforeWrite(written), &self.options.namespace);
        match step {
            Step::WriteAuthority(write) => self.write_authority(write, seen).await?,
            Step::IssueLeaf(because) => {
                self.issue(seen).await?;
                tracing::info!(
                    because = because.as_str(),
                    secret = self.options.leaf,
                    "issued a serving certificate"
                );
            }
            Step::Publish { part, bundle } => self.publish(*part, bundle, seen).await?,
            Step::Confirm { part, confirmation } => self.confirm(*part, *confirmation, seen).await?,
            Step::Refuse(_) | Step::Wait { .. } | Step::Rest(_) => {}
        }
        fault::point(Point::AfterWrite(written), &self.options.namespace);
        self.metrics.certificate_written(written);
        Ok(())
    }

    async fn write_authority(&self, write: &AuthorityWrite, seen: &Seen) -> Result<(), Failure> {
        let found = match &seen.state.authority {
            Stored::Ours(found) => Some(found),
            Stored::Missing | Stored::OtherOwner => None,
        };
        let AuthorityData { certificate, key, previous, rotate } =
            self.options.settings.authority(seen.state.cluster_time, write, found)?;
        let data = [(CERTIFICATE, certificate), (KEY, key), (PREVIOUS, previous)];
        self.write_secret(&self.options.authority, "Opaque", seen.authority.as_ref(), data, rotate).await?;
        let (because, secret) = (write.because.as_str(), &self.options.authority);
        if write.new {
            tracing::info!(because, secret, "created a CA");
        } else {
            tracing::info!(because, secret, "changed the previous CA that is still trusted");
        }
        Ok(())
    }

    async fn issue(&self, seen: &Seen) -> Result<(), Failure> {
        let Stored::Ours(authority) = &seen.state.authority else { return Err(Failure::Absent) };
        let LeafData { certificate, key, rotate } =
            self.options.settings.leaf(seen.state.cluster_time, authority)?;
        let data = [(TLS_CERTIFICATE, certificate), (TLS_KEY, key)];
        let (name, kind) = (&self.options.leaf, "kubernetes.io/tls");
        self.write_secret(name, kind, seen.leaf.as_ref(), data, rotate).await
    }

    /// Creates a Secret, or replaces the observed one, with its uid and resourceVersion as preconditions.
    async fn write_secret<const N: usize>(
        &self,
        name: &str,
        kind: &str,
        seen: Option<&Secret>,
        data: [(&str, Vec<u8>); N],
        rotate: bool,
    ) -> Result<(), Failure> {
        let mut secret =
            seen.cloned().unwrap_or_else(|| Secret { type_: Some(kind.to_owned()), ..Secret::default() });
        secret.metadata.name = Some(name.to_owned());
        secret.labels_mut().extend([MANAGED_BY_RECONCILER.entry()]);
        if !rotate {
            secret.annotations_mut().remove(ROTATE);
        }
        secret.data = Some(data.map(|(key, value)| (key.to_owned(), ByteString(value))).into());
        let written = match seen {
            Some(_) => self.secrets().replace(name, &ours(), &secret).await,
            None => self.secrets().create(&ours(), &secret).await,
        };
        written.map(drop).map_err(|error| Failure::Kube("write a Secret", error))
    }

    async fn publish(&self, part: Part, bundle: &str, seen: &Seen) -> Result<(), Failure> {
        let (which, mut object) = configuration(part, seen)?;
        let webhooks = object.data.get_mut("webhooks").and_then(Value::as_array_mut);
        for webhook in webhooks.into_iter().flatten() {
            if let Some(config) = webhook.get_mut("clientConfig").and_then(Value::as_object_mut) {
                config.insert("caBundle".to_owned(), BASE64.encode(bundle).into());
            }
        }
        self.write_configuration(which, &object).await?;
        tracing::info!(configuration = which.kind(), "wrote the caBundle");
        Ok(())
    }

    async fn confirm(&self, part: Part, confirmation: Confirmation, seen: &Seen) -> Result<(), Failure> {
        let (which, mut object) = configuration(part, seen)?;
        object.annotations_mut().insert(CONFIRMED.to_owned(), observe::note(confirmation));
        self.write_configuration(which, &object).await
    }

    /// Replaces the configuration that was observed.
    pub(super) async fn write_configuration(
        &self,
        which: Which,
        object: &DynamicObject,
    ) -> Result<(), Failure> {
        let written = which.api(self.client.clone()).replace(&object.name_any(), &ours(), object).await;
        written.map(drop).map_err(|error| Failure::Kube("write a webhook configuration", error))
    }
}

fn ours() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

fn configuration(part: Part, seen: &Seen) -> Result<(Which, DynamicObject), Failure> {
    let found = seen.configurations.iter().find(|(which, _)| observe::part(*which) == part);
    match found {
        Some((which, Some(object))) => Ok((*which, object.clone())),
        _ => Err(Failure::Absent),
    }
}
