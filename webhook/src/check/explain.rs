//! A single admission review or audit event, evaluated as an otherwise empty cluster would, with the findings of each
//! rule.

use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use serde_json::Value;

use super::replay::{self, Unevaluated};
use super::{CheckError, CheckRequest, Checker, Requester, Verdict};
use crate::engine::{self, Failure};
use crate::review::{self, AdmissionRequest, Entry, Operation};
use crate::rules::{Facts, Finding, Kind};

/// The reason why a request cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// Not JSON, or not of a known form.
    #[error("must be an AdmissionReview or an audit event in JSON")]
    Form(#[from] serde_json::Error),
    /// The review is invalid.
    #[error(transparent)]
    Review(#[from] review::ReviewError),
    /// The event does not hold what a decision needs.
    #[error("the audit event cannot be evaluated: {}; replay the whole log instead", .0.describe())]
    Event(Unevaluated),
    /// There are no rules for the kind.
    #[error("kind: Unsupported value: {0:?}: no rule is about it")]
    Kind(String),
    /// An object is unreadable.
    #[error(transparent)]
    Request(#[from] Failure),
    /// The namespace cannot be evaluated.
    #[error("failed to evaluate the namespace of the object")]
    Namespace(#[from] CheckError),
    /// The mutation cannot be applied.
    #[error("failed to mutate the object as the webhook would")]
    Mutate(#[from] json_patch::PatchError),
}

/// A request and its decision.
#[derive(Debug)]
pub struct Explanation {
    /// The id of the review or of the audit event.
    pub id: String,
    /// The requester.
    pub user: String,
    /// The groups of the requester.
    pub groups: Vec<String>,
    /// The operation.
    pub operation: Operation,
    /// The kind of the object.
    pub kind: String,
    /// The subresource, if any.
    pub subresource: Option<String>,
    /// The object's namespace.
    pub namespace: Option<String>,
    /// The object's name.
    pub name: Option<String>,
    /// True for a dry run.
    pub dry_run: bool,
    /// The hash of the policy.
    pub policy: String,
    /// The facts.
    pub facts: Facts,
    /// The findings of all rules.
    pub findings: Vec<Finding>,
    /// The result.
    pub verdict: Verdict,
    /// The HTTP status of a denial.
    pub code: Option<u16>,
    /// The warnings for the author.
    pub warnings: Vec<String>,
    /// The changes.
    pub patch: json_patch::Patch,
}

/// Decides a review or an audit event under a policy, in the namespace that the webhook would make of its name.
///
/// # Errors
/// If it cannot be evaluated.
pub async fn explain(body: &[u8], policy: RunPolicy) -> Result<Explanation, ExplainError> {
    let document: Value = serde_json::from_slice(body)?;
    match replay::review_of(body) {
        None => explain_review(document, policy, None).await,
        Some(Ok((review, time))) => explain_review(review, policy, Some(time)).await,
        Some(Err(reason)) => Err(ExplainError::Event(reason)),
    }
}

async fn explain_review(
    mut envelope: Value,
    policy: RunPolicy,
    now: Option<Timestamp>,
) -> Result<Explanation, ExplainError> {
    let request = CheckRequest { now, ..CheckRequest::creation(Requester::default()) };
    let checker = Checker::new(policy, request);
    let body = envelope.to_string();
    let review = review::parse(body.as_bytes())?;
    let kind = Kind::of(&review.kind.group, &review.kind.kind)
        .ok_or_else(|| ExplainError::Kind(review.kind.kind.to_string()))?;
    if let Some(namespace) = review.namespace().filter(|_| kind != Kind::Namespace) {
        checker.imagine(namespace).await?;
    }
    let mutated = checker.evaluate_review(Entry::Mutate, kind, &review).await?;
    if let Some(object) = envelope.pointer_mut("/request/object") {
        json_patch::patch(object, &mutated.verdict.patch.0)?;
    }
    let body = envelope.to_string();
    let review = review::parse(body.as_bytes())?;
    let evaluated = checker.evaluate_review(Entry::Validate, kind, &review).await?;
    let outcome = engine::outcome(&evaluated.verdict, &evaluated.policy.policy, &evaluated.policy.hash);
    let patch = mutated.verdict.patch;
    let verdict = match &outcome.denial {
        Some(_) => Verdict::Denied,
        None if !evaluated.verdict.in_scope => Verdict::NotOurs,
        None if patch.0.is_empty() => Verdict::Admitted,
        None => Verdict::Mutated,
    };
    Ok(Explanation {
        verdict,
        code: outcome.denial.map(|denial| denial.code.parts().0),
        warnings: outcome.warnings,
        policy: evaluated.policy.hash.clone(),
        facts: evaluated.facts,
        findings: evaluated.verdict.findings,
        patch,
        ..of_request(&review)
    })
}

fn of_request(review: &AdmissionRequest<'_>) -> Explanation {
    Explanation {
        id: review.uid.to_string(),
        user: review.user_info.username.to_string(),
        groups: review.user_info.groups.iter().map(|group| group.0.to_string()).collect(),
        operation: review.operation,
        kind: review.kind.kind.to_string(),
        subresource: review.subresource().map(str::to_owned),
        namespace: review.namespace().map(str::to_owned),
        name: review.name().map(str::to_owned),
        dry_run: review.is_dry_run(),
        policy: String::new(),
        facts: Facts::at(Timestamp::UNIX_EPOCH),
        findings: Vec::new(),
        verdict: Verdict::NotOurs,
        code: None,
        warnings: Vec::new(),
        patch: json_patch::Patch::default(),
    }
}
