//! Conversion between the protocol and the rules: from a review to a request, and from a verdict or a failure to an
//! answer.

use std::fmt::Write as _;

use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

use super::LookupError;
use crate::review::{AdmissionRequest, Cause, Denial, DenialCode, Operation, Outcome};
use crate::rules::{Code, Finding, Kind, Request, Verdict};

/// The reason why there is no verdict.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A fact is unavailable.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// An object is unreadable.
    #[error("{field}: Invalid value: must be JSON: {source}")]
    Object {
        /// The field.
        field: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl Failure {
    pub(super) fn outcome(&self, by_controller: bool) -> Outcome {
        let (code, retry) = match self {
            Self::Lookup(_) => (DenialCode::TooManyRequests, !by_controller),
            Self::Object { .. } => (DenialCode::Invalid, false),
        };
        let denial = Denial {
            code,
            message: format!("{self}; try again"),
            retry_after_seconds: retry.then_some(1),
            causes: Vec::new(),
        };
        Outcome { denial: Some(denial), audit: vec![("decision", "failed".to_owned())], ..Outcome::default() }
    }
}

/// Returns true for a controller. A retry delay would put its worker to sleep.
pub(super) fn is_controller(policy: &RunPolicy, review: &AdmissionRequest<'_>) -> bool {
    let (identities, user) = (&policy.identities, &review.user_info);
    [&identities.workload_controllers, &identities.namespace_controllers]
        .into_iter()
        .any(|controllers| controllers.contains(&user.username, user.groups.iter().map(|group| &*group.0)))
}

/// Converts a review to a request for the rules.
///
/// # Errors
/// If an object is unreadable.
pub(super) fn request<'a>(kind: Kind, review: &'a AdmissionRequest<'_>) -> Result<Request<'a>, Failure> {
    let read = |field, raw: Option<&serde_json::value::RawValue>| {
        raw.map(|raw| {
            serde_json::from_str::<Value>(raw.get()).map_err(|source| Failure::Object { field, source })
        })
        .transpose()
    };
    Ok(Request {
        operation: review.operation,
        kind,
        subresource: review.subresource(),
        name: review.name().unwrap_or_default(),
        user: &review.user_info.username,
        groups: review.user_info.groups.iter().map(|group| &*group.0).collect(),
        object: if review.operation == Operation::Delete { None } else { read("object", review.object)? },
        old_object: if review.operation == Operation::Create {
            None
        } else {
            read("oldObject", review.old_object)?
        },
    })
}

/// The maximum number of warnings in an answer: kube-apiserver cuts them off at 4,096 characters in total.
const WARNINGS: usize = 50;

/// Converts a verdict to an answer. `hash` is that of the policy.
pub(crate) fn outcome(verdict: &Verdict, policy: &RunPolicy, hash: &str) -> Outcome {
    if !verdict.in_scope {
        return Outcome::default();
    }
    let warned = verdict.findings.iter().filter(|finding| finding.mode == Mode::Warn);
    let warnings = verdict.warnings.iter().cloned().chain(warned.map(ToString::to_string));
    let denial = denial(verdict, policy);
    let decision = if denial.is_some() { "denied" } else { "allowed" };
    let mut audit = vec![("decision", decision.to_owned()), ("policy", hash.to_owned())];
    if !verdict.findings.is_empty() {
        let mut rules: Vec<_> = verdict.findings.iter().map(|finding| finding.rule.id).collect();
        rules.dedup();
        audit.push(("rules", rules.join(",")));
    }
    Outcome { patch: verdict.patch.clone(), denial, warnings: warnings.take(WARNINGS).collect(), audit }
}

fn denial(verdict: &Verdict, policy: &RunPolicy) -> Option<Denial> {
    let denials: Vec<&Finding> = verdict.denials().collect();
    let first = denials.first()?;
    let code = if denials.iter().any(|finding| finding.code == Code::Forbidden) {
        DenialCode::Forbidden
    } else if denials.iter().any(|finding| finding.code == Code::Invalid) {
        DenialCode::Invalid
    } else {
        DenialCode::TooManyRequests
    };
    // A retry delay would put a controller's worker to sleep.
    let retry = code == DenialCode::TooManyRequests && !verdict.by_controller;
    let (listed, left_out) = shortened(&denials);
    let mut message = String::new();
    for finding in &listed {
        let _ = write!(message, "{}{finding}", if message.is_empty() { "" } else { "\n" });
    }
    for left_out in &left_out {
        let _ = write!(message, "\n{}", left_out.message);
    }
    let help = policy.denials.help(first.rule.id);
    let _ = write!(message, " {help}");
    let mut causes: Vec<_> = listed.into_iter().map(cause).collect();
    causes.extend(left_out);
    // For a 422, kubectl shows the causes and not the message.
    if let Some(last) = causes.last_mut().filter(|_| code == DenialCode::Invalid) {
        let _ = write!(last.message, " {help}");
    }
    Some(Denial { code, message, retry_after_seconds: retry.then_some(1), causes })
}

fn cause(finding: &Finding) -> Cause {
    Cause {
        reason: finding.rule.id,
        message: format!("{}: {}", finding.rule.id, finding.problem()),
        field: finding.path.clone(),
    }
}

/// The maximum number of findings of one rule in a denial: a list of thousands is never read, and is copied to the
/// audit log.
const LISTED: usize = 10;

/// Returns the findings for a denial. For each rule with more findings, it adds their number and the field of the first
/// one.
fn shortened<'a>(denials: &[&'a Finding]) -> (Vec<&'a Finding>, Vec<Cause>) {
    let (mut listed, mut left_out) = (Vec::new(), Vec::new());
    for of_rule in denials.chunk_by(|one, next| one.rule.id == next.rule.id) {
        let (shown, rest) = of_rule.split_at(of_rule.len().min(LISTED));
        listed.extend_from_slice(shown);
        if let Some(first) = rest.first() {
            left_out.push(Cause {
                reason: first.rule.id,
                message: format!(
                    "{}: {} more problems of this kind are not listed",
                    first.rule.id,
                    rest.len()
                ),
                field: first.path.clone(),
            });
        }
    }
    (listed, left_out)
}
