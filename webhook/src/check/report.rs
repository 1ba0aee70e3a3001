//! What is told of a set of objects, as programs read it.

use codex_k8s_shared::policy::RunPolicy;
use schemars::JsonSchema;
use serde::Serialize;

use super::live::Live;
use super::{Evaluation, Severity, Verdict};

/// The version of the report's form.
pub(super) const API_VERSION: &str = "check.codex-k8s.dev/v1alpha1";
/// The kind of the report.
pub(super) const KIND: &str = "CheckReport";

/// The verdicts on a set of objects.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Always `check.codex-k8s.dev/v1alpha1`.
    pub api_version: &'static str,
    /// Always `CheckReport`.
    pub kind: &'static str,
    /// The hash of the policy that they were evaluated under.
    pub policy: String,
    /// How many there are.
    pub summary: Summary,
    /// What was read of a live cluster, if it was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live: Option<Live>,
    /// The verdicts, in the order of the objects; of a live cluster, by namespace.
    pub objects: Vec<Evaluation>,
}

/// How many objects there are of each verdict.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All of them.
    pub objects: usize,
    /// Admitted as they are.
    pub admitted: usize,
    /// Admitted, and changed.
    pub mutated: usize,
    /// Refused.
    pub denied: usize,
    /// None of the webhook's business. Those of a live cluster are not among the objects.
    pub not_ours: usize,
    /// Objects of a live namespace's baseline that are not as the policy has them.
    pub drifted: usize,
    /// Of the admitted and fixed ones, those that are warned about.
    pub warned: usize,
}

impl Report {
    /// The JSON Schema of reports.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    /// A report on what was evaluated under a policy.
    pub fn new(policy: &RunPolicy, objects: Vec<Evaluation>) -> Self {
        let mut summary = Summary { objects: objects.len(), ..Summary::default() };
        for evaluation in &objects {
            *match evaluation.result {
                Verdict::Admitted => &mut summary.admitted,
                Verdict::Mutated => &mut summary.mutated,
                Verdict::Denied => &mut summary.denied,
                Verdict::Drifted => &mut summary.drifted,
                Verdict::NotOurs => &mut summary.not_ours,
            } += 1;
            let warned = evaluation.problems.iter().any(|problem| problem.severity == Severity::Warning);
            summary.warned += usize::from(warned && evaluation.result != Verdict::Denied);
        }
        Self { api_version: API_VERSION, kind: KIND, policy: policy.hash(), summary, live: None, objects }
    }
}
