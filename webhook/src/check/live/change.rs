//! The differences that another policy would make for a live cluster.

use codex_k8s_shared::cleanup::{self, Candidate, Work};
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schemars::JsonSchema;
use serde::Serialize;

use super::contents::Live;
use super::{SortKey, sort_key};
use crate::check::evaluation::{unevaluated, what};
use crate::check::{Evaluation, Problem, Report, Severity, Verdict, report};

/// Used instead of a rule id for a namespace that expires sooner.
const EXPIRY: &str = "EXPIRY";

/// The effect of a policy on an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Effect {
    /// It would be denied; now it would be admitted.
    NewlyDenied,
    /// It would be admitted; now it would be denied.
    NewlyAdmitted,
    /// It would still be denied, or admitted, but with other messages, warnings or additions.
    Otherwise,
    /// The garbage collector would delete it sooner.
    ExpiresSooner,
    /// The garbage collector would delete it later.
    ExpiresLater,
    /// The reconciler would change it, as part of a baseline.
    BaselineChanges,
}

/// The change for one object.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The effect.
    pub effect: Effect,
    /// The object's API version.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace; absent for cluster-scoped objects.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The result under the current policy.
    pub before: String,
    /// The result under the proposed policy.
    pub after: String,
    /// The evaluation under the proposed policy, if it changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
}

/// The number of changes by effect.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSummary {
    /// The evaluated objects.
    pub objects: usize,
    /// Objects that would be denied, and are not now.
    pub newly_denied: usize,
    /// Objects that would be admitted, and are not now.
    pub newly_admitted: usize,
    /// Objects that would be denied or admitted as now, but with other messages.
    pub otherwise: usize,
    /// Namespaces that would be deleted sooner.
    pub expire_sooner: usize,
    /// Namespaces that would be deleted later.
    pub expire_later: usize,
    /// Objects of baselines that the reconciler would change.
    pub baselines_change: usize,
}

/// The changes that a proposed policy would make.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutReport {
    /// Always `check.codex-k8s.dev/v1alpha1`.
    pub api_version: &'static str,
    /// Always `RolloutReport`.
    pub kind: &'static str,
    /// The hash of the current policy.
    pub from: String,
    /// The hash of the proposed policy.
    pub to: String,
    /// The number of changes.
    pub summary: RolloutSummary,
    /// The changes, by namespace.
    pub changes: Vec<Change>,
    /// The contents of the cluster.
    pub live: Live,
}

impl RolloutReport {
    /// Returns the JSON Schema of reports.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    pub(super) fn new(
        (from, to): (String, String),
        objects: usize,
        mut changes: Vec<Change>,
        live: Live,
    ) -> Self {
        let mut summary = RolloutSummary { objects, ..RolloutSummary::default() };
        for change in &changes {
            *match change.effect {
                Effect::NewlyDenied => &mut summary.newly_denied,
                Effect::NewlyAdmitted => &mut summary.newly_admitted,
                Effect::Otherwise => &mut summary.otherwise,
                Effect::ExpiresSooner => &mut summary.expire_sooner,
                Effect::ExpiresLater => &mut summary.expire_later,
                Effect::BaselineChanges => &mut summary.baselines_change,
            } += 1;
        }
        changes.sort_by(|one, other| one.sort_key().cmp(&other.sort_key()));
        let api_version = report::API_VERSION;
        Self { api_version, kind: "RolloutReport", from, to, summary, changes, live }
    }

    /// Returns the problems that only the proposed policy reports, as a report on the objects.
    #[must_use]
    pub fn into_report(self, proposed: &RunPolicy) -> Report {
        let objects = self.changes.into_iter().filter_map(|change| match change.effect {
            Effect::NewlyDenied | Effect::BaselineChanges | Effect::Otherwise => change.evaluation,
            Effect::ExpiresSooner => Some(change.warning()),
            Effect::NewlyAdmitted | Effect::ExpiresLater => None,
        });
        Report { live: Some(self.live), ..Report::new(proposed, objects.collect()) }
    }
}

impl Change {
    /// Returns a warning that a namespace expires sooner.
    fn warning(self) -> Evaluation {
        let problem = Problem {
            rule: EXPIRY,
            title: "A run namespace is kept as long as it is now",
            severity: Severity::Warning,
            path: "metadata.annotations".to_owned(),
            found: format!("a policy that deletes it {}", self.after),
            remedy: format!("the policy in force deletes it {}", self.before),
            line: None,
            column: None,
            position: None,
        };
        Evaluation {
            warnings: vec![problem.to_string()],
            problems: vec![problem],
            ..unevaluated(self.api_version, self.kind, self.namespace, self.name)
        }
    }

    /// Returns kind, namespace and name.
    pub fn what(&self) -> String {
        what(&self.kind, self.namespace.as_deref(), &self.name)
    }

    fn sort_key(&self) -> (SortKey<'_>, Effect) {
        (sort_key(&self.kind, self.namespace.as_deref(), &self.name), self.effect)
    }
}

/// Returns the change between two evaluations of an object.
pub(super) fn changes(before: Option<&Evaluation>, after: Evaluation) -> Option<Change> {
    let denied = |evaluation: Option<&Evaluation>| {
        evaluation.is_some_and(|evaluation| evaluation.result == Verdict::Denied)
    };
    let effect = match (denied(before), denied(Some(&after))) {
        (false, true) => Effect::NewlyDenied,
        (true, false) => Effect::NewlyAdmitted,
        _ if before.is_some_and(|before| is_same(before, &after)) => return None,
        _ if after.result == Verdict::Drifted => Effect::BaselineChanges,
        // A baseline object to which only the proposed policy applies, and which complies with it.
        _ if before.is_none() => return None,
        _ => Effect::Otherwise,
    };
    Some(Change {
        effect,
        api_version: after.api_version.clone(),
        kind: after.kind.clone(),
        namespace: after.namespace.clone(),
        name: after.name.clone(),
        before: before.map(describe).unwrap_or_default(),
        after: describe(&after),
        evaluation: Some(after),
    })
}

fn is_same(before: &Evaluation, after: &Evaluation) -> bool {
    (before.result, &before.message, &before.warnings, &before.patch)
        == (after.result, &after.message, &after.warnings, &after.patch)
}

/// Describes an evaluation in one line.
fn describe(evaluation: &Evaluation) -> String {
    let what = evaluation.result.describe();
    let messages =
        evaluation.message.iter().chain(&evaluation.warnings).map(String::as_str).collect::<Vec<_>>();
    if messages.is_empty() { what.to_owned() } else { format!("{what}: {}", messages.join("; ")) }
}

/// The time at which the garbage collector would delete a namespace, from its annotations alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum End {
    At(Timestamp),
    Never,
}

/// Returns the end of a namespace. If the collector would wait, evaluates again at the end of the wait, because it may
/// retain the namespace then.
fn end(policy: &RunPolicy, now: Timestamp, candidate: &Candidate) -> (End, String) {
    let mut at = now;
    loop {
        let verdict = cleanup::decide(policy, at, candidate);
        let reason = verdict.reason();
        match verdict {
            cleanup::Verdict::Wait { until, .. } if until > at => at = until,
            cleanup::Verdict::Delete(_) if at == now => return (End::At(at), format!("at once: {reason}")),
            cleanup::Verdict::Delete(_) => return (End::At(at), format!("at {at}: {reason}")),
            cleanup::Verdict::Retain(_) | cleanup::Verdict::Wait { .. } => {
                return (End::Never, format!("never: {reason}"));
            }
        }
    }
}

/// Returns the change if a namespace would be deleted at another time. It assumes a finished run and an idle namespace,
/// because neither the platform's database nor the workloads are read.
pub(super) fn expiry(
    before: &RunPolicy,
    after: &RunPolicy,
    now: Timestamp,
    meta: &ObjectMeta,
) -> Option<Change> {
    let candidate = Candidate { work: Work::Idle, terminating_since: None, ..Candidate::from(meta) };
    let ((was, before), (becomes, after)) = (end(before, now, &candidate), end(after, now, &candidate));
    if was == becomes {
        return None;
    }
    Some(Change {
        effect: if becomes < was { Effect::ExpiresSooner } else { Effect::ExpiresLater },
        api_version: "v1".to_owned(),
        kind: "Namespace".to_owned(),
        namespace: None,
        name: candidate.name,
        before,
        after,
        evaluation: None,
    })
}
