//! Replays a decision and reports each rule's outcome.

use std::sync::Arc;

use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde::Serialize;
use serde_json::Value;

use super::{API_VERSION, Answer, KIND, Record};
use crate::check::{CheckError, Checker};
use crate::decision::{EvaluatedReview, PolicyInForce};
use crate::engine;
use crate::review::{self, AdmissionRequest, Entry};
use crate::rules::{self, Facts, Kind, catalogue};

/// The content of a file.
#[derive(Debug)]
pub enum Stored {
    /// A record.
    Record(Box<Record>),
    /// A review without facts, as the API server sent it.
    Review(Vec<u8>),
}

/// The reason why a file cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Not JSON, or not of a known form.
    #[error("found what is neither a record nor an AdmissionReview in JSON")]
    Form(#[from] serde_json::Error),
    /// An unsupported version of records.
    #[error("apiVersion: found {0:?}; this version reads {API_VERSION:?}")]
    Version(String),
    /// The review is invalid.
    #[error(transparent)]
    Review(#[from] review::ReviewError),
    /// There are no rules for the kind.
    #[error("request.kind: found {0:?}, which no rule is about")]
    Kind(String),
    /// An object is unreadable.
    #[error(transparent)]
    Request(#[from] engine::Failure),
    /// The namespace cannot be evaluated.
    #[error("failed to evaluate the namespace that it lies in")]
    Namespace(#[from] CheckError),
    /// The mutation cannot be applied.
    #[error("failed to fix the object as the webhook would")]
    Mutate(#[from] json_patch::PatchError),
}

/// A decision with its input.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// The decision id.
    pub id: String,
    /// The requester.
    pub user: String,
    /// The groups of the requester.
    pub groups: Vec<String>,
    /// The operation.
    pub operation: &'static str,
    /// The kind of the object.
    pub kind: String,
    /// The subresource, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// The object's namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// True for a dry run.
    pub dry_run: bool,
    /// The call of the webhook.
    pub entry: Entry,
    /// The hash of the policy of the replay.
    pub policy: String,
    /// The facts.
    pub facts: Facts,
    /// The outcome of every rule.
    pub rules: Vec<Consulted>,
    /// The answer of the replay.
    pub verdict: Answer,
    /// The recorded decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Recorded>,
}

/// A recorded decision, for comparison.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recorded {
    /// The hash of its policy.
    pub policy: String,
    /// The version of the program that made it.
    pub version: String,
    /// The answer.
    pub verdict: Answer,
}

/// The outcome of a rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Consulted {
    /// The rule.
    pub id: &'static str,
    /// The title of the rule.
    pub title: &'static str,
    /// The consequence of not having the rule.
    #[serde(skip)]
    pub why: &'static str,
    /// The way to comply.
    #[serde(skip)]
    pub remedy: &'static str,
    /// The outcome.
    pub outcome: RuleOutcome,
    /// The findings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Found>,
}

/// The outcome of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum RuleOutcome {
    /// Evaluated, with findings.
    Found,
    /// Evaluated, without findings.
    Passed,
    /// Does not apply.
    OutOfScope,
    /// Disabled by the policy.
    Off,
}

/// A finding of a rule.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    /// The mode of the rule.
    pub mode: Mode,
    /// The field.
    pub path: String,
    /// The value that was found.
    pub found: String,
    /// The fix.
    pub remedy: String,
}

impl Stored {
    /// Parses a file.
    ///
    /// # Errors
    /// If it is neither a record nor a review.
    pub fn read(bytes: Vec<u8>) -> Result<Self, ReplayError> {
        let value: Value = serde_json::from_slice(&bytes)?;
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        match (text("kind"), text("apiVersion")) {
            (KIND, API_VERSION) => Ok(Self::Record(serde_json::from_value(value)?)),
            (KIND, version) => Err(ReplayError::Version(version.to_owned())),
            _ => {
                review::parse(&bytes)?;
                Ok(Self::Review(bytes))
            }
        }
    }
}

/// Replays a record with its own facts.
///
/// # Errors
/// If its review is unreadable.
pub fn record(record: &Record, policy: Arc<PolicyInForce>) -> Result<Replay, ReplayError> {
    let body = serde_json::to_vec(&record.review)?;
    let review = review::parse(&body)?;
    let request = engine::request(kind(&review)?, &review)?;
    let facts = record.facts.clone();
    let verdict = engine::decide(&policy.policy, &facts, &request, record.entry, review.is_dry_run());
    let then = Recorded {
        policy: record.policy.clone(),
        version: record.version.clone(),
        verdict: record.verdict.clone(),
    };
    let replay = replay_of(record.entry, &review, EvaluatedReview { request, facts, policy, verdict });
    Ok(Replay { recorded: Some(then), ..replay })
}

/// Decides a review without facts, as an otherwise empty cluster would: the object is mutated first.
///
/// # Errors
/// If it is unreadable.
pub async fn review(body: &[u8], checker: &Checker) -> Result<Replay, ReplayError> {
    let sent = review::parse(body)?;
    let kind = kind(&sent)?;
    if let Some(namespace) = sent.namespace().filter(|_| kind != Kind::Namespace) {
        checker.imagine(namespace).await?;
    }
    let mutated = checker.evaluate_review(Entry::Mutate, kind, &sent).await?;
    let mut envelope: Value = serde_json::from_slice(body)?;
    if let Some(object) = envelope.pointer_mut("/request/object") {
        json_patch::patch(object, &mutated.verdict.patch.0)?;
    }
    let body = serde_json::to_vec(&envelope)?;
    let review = review::parse(&body)?;
    let mut evaluated = checker.evaluate_review(Entry::Validate, kind, &review).await?;
    evaluated.verdict.patch = mutated.verdict.patch;
    Ok(replay_of(Entry::Validate, &review, evaluated))
}

fn kind(review: &AdmissionRequest<'_>) -> Result<Kind, ReplayError> {
    let kind = &review.kind;
    Kind::of(&kind.group, &kind.kind).ok_or_else(|| ReplayError::Kind(kind.kind.to_string()))
}

fn replay_of(entry: Entry, review: &AdmissionRequest<'_>, evaluated: EvaluatedReview<'_>) -> Replay {
    let EvaluatedReview { facts, policy, verdict, .. } = evaluated;
    let outcome = engine::outcome(&verdict, &policy.policy, &policy.hash);
    Replay {
        id: review.uid.to_string(),
        user: review.user_info.username.to_string(),
        groups: review.user_info.groups.iter().map(|group| group.0.to_string()).collect(),
        operation: review.operation.as_str(),
        kind: review.kind.kind.to_string(),
        subresource: review.subresource().map(str::to_owned),
        namespace: review.namespace().map(str::to_owned),
        name: review.name().map(str::to_owned),
        dry_run: review.is_dry_run(),
        entry,
        rules: catalogue::all().map(|rule| consulted(&policy.policy, rule, &verdict)).collect(),
        verdict: Answer::of(&verdict, &outcome),
        policy: policy.hash.clone(),
        facts,
        recorded: None,
    }
}

fn consulted(policy: &RunPolicy, rule: &'static rules::Rule, verdict: &rules::Verdict) -> Consulted {
    let of_the_rule = verdict.findings.iter().filter(|finding| finding.rule.id == rule.id);
    let findings: Vec<_> = of_the_rule
        .map(|finding| Found {
            mode: finding.mode,
            path: finding.path.clone(),
            found: finding.found.clone(),
            remedy: finding.remedy.clone(),
        })
        .collect();
    let is_evaluated = verdict.evaluated.iter().any(|listed| listed.id == rule.id);
    let outcome = match (findings.is_empty(), is_evaluated) {
        (false, _) => RuleOutcome::Found,
        (true, true) => RuleOutcome::Passed,
        (true, false) if rule.mode(policy) == Mode::Off => RuleOutcome::Off,
        (true, false) => RuleOutcome::OutOfScope,
    };
    Consulted { id: rule.id, title: rule.title, why: rule.why, remedy: rule.remedy, outcome, findings }
}
