//! The namespaces of a set that content cannot be evaluated in, or only with an assumption.

use std::collections::BTreeSet;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

use super::{Assumption, CheckRequest, Document, Severity, VirtualCluster};
use crate::engine::Lookup as _;

/// The Namespaces of a set that are not facts.
#[derive(Debug, Default)]
pub(super) struct Set {
    invalid: BTreeSet<String>,
    denied: BTreeSet<String>,
}

impl Set {
    /// Adds a Namespace that the API server cannot read. Its name may be a number, which content names in quotes.
    pub(super) fn add_invalid(&mut self, document: &Document) {
        match document.object.pointer("/metadata/name") {
            Some(Value::String(name)) => self.invalid.insert(name.clone()),
            Some(other) => self.invalid.insert(other.to_string()),
            None => false,
        };
    }

    /// Adds a Namespace whose creation is denied.
    pub(super) fn add_denied(&mut self, name: &str) {
        self.denied.insert(name.to_owned());
    }

    /// Returns true for a namespace that the API server cannot read.
    pub(super) fn is_invalid(&self, name: &str) -> bool {
        self.invalid.contains(name)
    }

    /// Returns the assumption about a namespace, if there is one.
    pub(super) fn assumption(
        &self,
        cluster: &VirtualCluster,
        policy: &RunPolicy,
        request: &CheckRequest,
        name: &str,
    ) -> Option<Assumption> {
        let message = if self.denied.contains(name) {
            format!("the namespace {name} is denied; assumed to exist as in the set")
        } else {
            let assumed = imagined(cluster, policy, name)?;
            format!("the namespace {name} is not in the set; assumed to be {assumed}")
        };
        let severity = if request.strict { Severity::Error } else { Severity::Warning };
        Some(Assumption { severity, message })
    }
}

/// Describes an imagined namespace that is managed, or could be. No other name can become managed.
fn imagined(cluster: &VirtualCluster, policy: &RunPolicy, name: &str) -> Option<String> {
    if !cluster.is_imagined(name) {
        return None;
    }
    match cluster.cached(name) {
        Some(namespace) => Some(format!("a new one with the runtime mode {}", namespace.mode.as_str())),
        None if policy.namespaces.is_slot(name) => Some("a slot that is not managed yet".to_owned()),
        None => None,
    }
}
