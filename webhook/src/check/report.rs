//! The report on a set of objects, in a machine-readable form.

use codex_k8s_shared::policy::RunPolicy;
use schemars::JsonSchema;
use serde::Serialize;

use super::live::Live;
use super::{Evaluation, PassedOver, Severity, Verdict};

/// The version of the report format.
pub(super) const API_VERSION: &str = "check.codex-k8s.dev/v1alpha1";
/// The kind of the report.
pub(super) const KIND: &str = "CheckReport";

/// The report on a set of objects.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Always `check.codex-k8s.dev/v1alpha1`.
    pub api_version: &'static str,
    /// Always `CheckReport`.
    pub kind: &'static str,
    /// The hash of the policy.
    pub policy: String,
    /// The number of objects by verdict.
    pub summary: Summary,
    /// The contents of the live cluster, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// The documents that were passed over, because they are not objects for a cluster or were to be ignored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_over: Vec<PassedOver>,
    /// The evaluations in the order of the objects; for a live cluster, by namespace.
    pub objects: Vec<Evaluation>,
}

/// The number of objects by verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All objects.
    pub objects: usize,
    /// Admitted unchanged.
    pub admitted: usize,
    /// Admitted, and changed.
    pub mutated: usize,
    /// Denied.
    pub denied: usize,
    /// Unreadable for the API server.
    pub invalid: usize,
    /// In an invalid namespace of the same set.
    pub not_evaluated: usize,
    /// Out of scope. Such objects of a live cluster are not counted in `objects`.
    pub not_ours: usize,
    /// Objects of a live namespace's baseline that differ from the policy.
    pub drifted: usize,
    /// Admitted or mutated objects with warnings.
    pub warned: usize,
    /// Objects whose verdict rests on an assumption.
    pub assumed: usize,
}

impl Report {
    /// Returns the JSON Schema of reports.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    /// Creates a report on objects that were evaluated under a policy.
    pub fn new(policy: &RunPolicy, objects: Vec<Evaluation>) -> Self {
        let mut summary = Summary { objects: objects.len(), ..Summary::default() };
        for evaluation in &objects {
            *match evaluation.result {
                Verdict::Admitted => &mut summary.admitted,
                Verdict::Mutated => &mut summary.mutated,
                Verdict::Denied => &mut summary.denied,
                Verdict::Invalid => &mut summary.invalid,
                Verdict::NotEvaluated => &mut summary.not_evaluated,
                Verdict::Drifted => &mut summary.drifted,
                Verdict::NotOurs => &mut summary.not_ours,
            } += 1;
            let warned = evaluation.problems.iter().any(|problem| problem.severity == Severity::Warning);
            summary.warned += usize::from(warned && evaluation.result != Verdict::Denied);
            summary.assumed += usize::from(evaluation.assumption.is_some());
        }
        let (policy, passed_over) = (policy.hash(), Vec::new());
        Self { api_version: API_VERSION, kind: KIND, policy, summary, live: None, passed_over, objects }
    }
}
