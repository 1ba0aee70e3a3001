//! A decision as the engine makes it and a recorder receives it.

use std::fmt::Debug;
use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;

use crate::review::{AdmissionRequest, Entry, Outcome};
use crate::rules::{Facts, Finding, Request, Verdict};

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
pub struct EvaluatedReview<'a> {
    /// The request in the form that the rules use.
    pub request: Request<'a>,
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

/// A receiver of decisions. An admission waits for [`take`](Self::take), which must therefore return quickly.
pub trait DecisionSink: Debug + Send + Sync {
    /// Receives a decision, and the answer that was derived from it.
    fn take(
        &self,
        entry: Entry,
        review: &AdmissionRequest<'_>,
        evaluated: EvaluatedReview<'_>,
        outcome: &Outcome,
    );
}
