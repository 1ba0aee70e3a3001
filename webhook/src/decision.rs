//! A decision with its input.

use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;

use crate::review::Outcome;
use crate::rules::{Facts, Finding, Verdict};

/// A policy and its hash.
#[derive(Debug)]
pub struct PolicyInForce {
    /// The policy.
    pub policy: RunPolicy,
    /// Its hash.
    pub hash: String,
}

impl From<RunPolicy> for PolicyInForce {
    fn from(policy: RunPolicy) -> Self {
        let hash = policy.hash();
        Self { policy, hash }
    }
}

/// A decision with its input.
#[derive(Debug)]
pub(crate) struct EvaluatedReview {
    /// The facts of the final evaluation.
    pub facts: Facts,
    /// The policy.
    pub policy: Arc<PolicyInForce>,
    /// The verdict.
    pub verdict: Verdict,
}

/// The findings and the answer.
#[derive(Debug, Default)]
pub(crate) struct Decided {
    /// The findings of the rules, including those that only warn.
    pub findings: Vec<Finding>,
    /// The answer.
    pub outcome: Outcome,
}
