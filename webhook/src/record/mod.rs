//! Records of decisions: the request, the facts and the answer, without anything that could be a secret. A record can
//! be [replayed](replay) under its own policy or another one.

pub mod folder;
pub mod recorder;
pub(crate) mod redact;
pub mod replay;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::redact::Redactor;
use crate::check::Verdict as Result;
use crate::decision::{EvaluatedReview, PolicyInForce};
use crate::review::{self, AdmissionRequest, Entry, Outcome};
use crate::rules::{Facts, Kind, Verdict};

/// The version of the format.
pub(crate) const API_VERSION: &str = "record.codex-k8s.dev/v1alpha1";
/// The kind of a record.
pub(crate) const KIND: &str = "DecisionRecord";

/// A recorded decision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`API_VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The decision id: the uid of its review.
    pub id: String,
    /// The version of the program that decided.
    pub version: String,
    /// The hash of the policy that it was decided under.
    pub policy: String,
    /// The call of the webhook.
    pub entry: Entry,
    /// The answer.
    pub verdict: Answer,
    /// The facts of the decision.
    pub facts: Facts,
    /// The redacted review.
    pub review: Value,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// The outcome for the object.
    pub result: Result,
    /// The HTTP status of a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// The message of a denial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The rules with findings.
    pub rules: Vec<String>,
    /// The warnings for the author.
    pub warnings: Vec<String>,
    /// The changes.
    pub patch: json_patch::Patch,
}

impl Answer {
    /// Returns the answer for a verdict.
    pub(crate) fn of(verdict: &Verdict, outcome: &Outcome) -> Self {
        let result = match &outcome.denial {
            Some(_) => Result::Denied,
            None if !verdict.in_scope => Result::NotOurs,
            None if outcome.patch.0.is_empty() => Result::Admitted,
            None => Result::Mutated,
        };
        let mut rules: Vec<_> = verdict.findings.iter().map(|finding| finding.rule.id.to_owned()).collect();
        rules.dedup();
        Self {
            result,
            code: outcome.denial.as_ref().map(|denial| denial.code.parts().0),
            message: outcome.denial.as_ref().map(|denial| denial.message.clone()),
            rules,
            warnings: outcome.warnings.clone(),
            patch: outcome.patch.clone(),
        }
    }
}

/// Replaces text that would quote a hidden value.
const WITHHELD: &str = "(withheld: it differs without what is hidden)";

/// A decision that has not been redacted yet.
#[derive(Debug)]
pub struct Snapshot {
    entry: Entry,
    kind: Kind,
    id: String,
    request: Value,
    object: Option<Value>,
    old_object: Option<Value>,
    facts: Facts,
    policy: Arc<PolicyInForce>,
    answer: Answer,
}

impl Snapshot {
    /// Takes a snapshot of a decision.
    pub fn new(
        entry: Entry,
        review: &AdmissionRequest<'_>,
        evaluated: EvaluatedReview<'_>,
        outcome: &Outcome,
    ) -> Self {
        let groups: Vec<_> = review.user_info.groups.iter().map(|group| &group.0).collect();
        let kind = &review.kind;
        Self {
            entry,
            kind: evaluated.request.kind,
            id: review.uid.to_string(),
            request: json!({
                "uid": review.uid,
                "kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
                "subResource": review.subresource(),
                "name": review.name(),
                "namespace": review.namespace(),
                "operation": review.operation.as_str(),
                "userInfo": {"username": review.user_info.username, "groups": groups},
                "dryRun": review.is_dry_run(),
            }),
            object: evaluated.request.object,
            old_object: evaluated.request.old_object,
            answer: Answer::of(&evaluated.verdict, outcome),
            facts: evaluated.facts,
            policy: evaluated.policy,
        }
    }

    /// Returns the redacted record. Findings quote values, so its messages are those of a replay of the redacted
    /// review.
    pub fn into_record(self) -> Record {
        let policy = Arc::clone(&self.policy);
        let mut record = self.redacted();
        let (message, warnings) = match replay::record(&record, policy) {
            Ok(replay) if replay.verdict.rules == record.verdict.rules => {
                (replay.verdict.message, replay.verdict.warnings)
            }
            // This has never happened. The original messages may quote hidden values, so they are not recorded.
            _ => (record.verdict.message.is_some().then(|| WITHHELD.to_owned()), Vec::new()),
        };
        record.verdict = Answer { message, warnings, ..record.verdict };
        record
    }

    fn redacted(mut self) -> Record {
        let mut redactor = Redactor::default();
        for object in [&mut self.old_object, &mut self.object].into_iter().flatten() {
            redactor.redact(self.kind, object);
        }
        if let Some(request) = self.request.as_object_mut() {
            request.insert("object".to_owned(), self.object.into());
            request.insert("oldObject".to_owned(), self.old_object.into());
        }
        Record {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            id: self.id,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            policy: self.policy.hash.clone(),
            entry: self.entry,
            verdict: self.answer,
            facts: self.facts,
            review: json!({
                "apiVersion": review::API_VERSION, "kind": review::KIND, "request": self.request,
            }),
        }
    }
}
