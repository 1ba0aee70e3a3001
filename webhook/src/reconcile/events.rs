//! Kubernetes Events, which show developers the work of the reconciler.

use codex_k8s_shared::baseline::BaselineKind;
use codex_k8s_shared::errors;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::runtime::events::{Event, EventType};

use super::context::Context;
use crate::baseline::resource;

impl Context {
    /// Returns the end of a note about a rule: its address, as in a denial.
    pub(super) fn help(&self, rule: &str) -> String {
        self.policy.load().denials.help(rule)
    }

    /// Publishes an Event about a run namespace.
    pub(super) async fn event_of_namespace(
        &self,
        meta: &ObjectMeta,
        type_: EventType,
        reason: &str,
        note: String,
    ) {
        let reference = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Namespace".to_owned()),
            name: meta.name.clone(),
            // In the namespace itself, where developers look for it.
            namespace: meta.name.clone(),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        };
        self.publish(&reference, type_, reason, note).await;
    }

    /// Publishes an Event about a baseline object.
    pub(super) async fn event(
        &self,
        namespace: &str,
        kind: BaselineKind,
        name: &str,
        type_: EventType,
        reason: &str,
        note: String,
    ) {
        let resource = resource(kind);
        let reference = ObjectReference {
            api_version: Some(resource.api_version),
            kind: Some(resource.kind),
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectReference::default()
        };
        self.publish(&reference, type_, reason, note).await;
    }

    /// Publishes an Event. Failures are only logged, because nothing depends on Events.
    pub(super) async fn publish(
        &self,
        reference: &ObjectReference,
        type_: EventType,
        reason: &str,
        note: String,
    ) {
        let note = Some(note.chars().take(1000).collect());
        let (reason, action) = (reason.to_owned(), "Reconcile".to_owned());
        let event = Event { type_, reason, note, action, secondary: None };
        if let Err(error) = self.recorder.publish(&event, reference).await {
            tracing::debug!(error = errors::chain(&error), "failed to write an Event");
        }
    }
}
