//! The report on a log, in a machine-readable form.

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::objects::OldObjects;
use crate::check::Verdict;

/// The version of the report format.
const API_VERSION: &str = "replay.codex-k8s.dev/v1alpha1";
/// The kind of the report.
const KIND: &str = "ReplayReport";
/// Maximum number of changed requests in a report. Further ones are only counted.
const CHANGES: usize = 1_000;
/// Maximum number of names in a group. Further ones are counted together as [`OTHERS`].
const NAMES: usize = 1_000;
/// The name for all names of a group after the first [`NAMES`].
const OTHERS: &str = "(others)";

/// The decisions of a policy on the requests in a log, compared with the recorded ones.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplayReport {
    /// Always `replay.codex-k8s.dev/v1alpha1`.
    pub api_version: &'static str,
    /// Always `ReplayReport`.
    pub kind: &'static str,
    /// The hash of the policy.
    pub policy: String,
    /// The content of the log.
    pub log: LogSummary,
    /// The number of requests by result.
    pub summary: ReplaySummary,
    /// The requests that could not be evaluated, by reason.
    pub not_evaluated: BTreeMap<Unevaluated, u64>,
    /// The use of the old objects of updates and deletions.
    pub old_objects: OldObjects,
    /// The differences by rule. An object that is mutated otherwise has no rule.
    pub by_rule: BTreeMap<String, Differences>,
    /// The differences by user.
    pub by_user: BTreeMap<String, Differences>,
    /// The differences by namespace; empty for cluster-scoped objects.
    pub by_namespace: BTreeMap<String, Differences>,
    /// The first 1,000 requests with a difference, in the order of the log.
    pub changes: Vec<RequestChange>,
}

/// The content of a log.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogSummary {
    /// All lines.
    pub lines: u64,
    /// Lines that are not audit events: not JSON, of another version, or too long.
    pub malformed: u64,
    /// Files whose last line is incomplete.
    pub cut: u64,
    /// Events of requests that have ended.
    pub events: u64,
    /// The time of the first evaluated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub from: Option<Timestamp>,
    /// The time of the last evaluated request.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub to: Option<Timestamp>,
}

/// The number of requests by result. Only writes of the resources that the webhook is registered for are counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReplaySummary {
    /// All requests.
    pub requests: u64,
    /// Requests that were evaluated.
    pub evaluated: u64,
    /// Requests that could not be evaluated.
    pub not_evaluated: u64,
    /// Evaluated requests that the rules do not apply to.
    pub not_ours: u64,
    /// Evaluated requests that the webhook denied when they were recorded.
    pub recorded_denied: u64,
    /// Evaluated requests with the recorded result.
    pub same: u64,
    /// The evaluated requests with another result.
    #[serde(flatten)]
    pub differences: Differences,
}

/// The number of requests with another result than the recorded one.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Differences {
    /// Requests that were admitted, and would be denied.
    pub newly_denied: u64,
    /// Requests that were denied, and would be admitted.
    pub newly_admitted: u64,
    /// Requests that were and would be admitted, with another object.
    pub otherwise_mutated: u64,
}

/// The difference between the recorded and the replayed decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Difference {
    /// Admitted, and would be denied.
    NewlyDenied,
    /// Denied, and would be admitted.
    NewlyAdmitted,
    /// Admitted, and would be admitted with another object.
    OtherwiseMutated,
}

/// The reason why a request was not evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unevaluated {
    /// The level of the event is `Metadata`, which omits the objects.
    MetadataLevel,
    /// The request failed before the webhook decided, such as for missing rights, a conflict or an invalid object. No
    /// policy would change that.
    FailedBefore,
    /// The webhook failed, was not reachable, or could not read a fact.
    WebhookFailed,
    /// The log has not shown the namespace of the object or of the requester, so it may or may not be managed.
    NamespaceUnknown,
    /// The log has not shown the object as it was before an update or a deletion.
    OldObjectUnknown,
    /// The event has neither the object that was sent nor the one that was stored: a patch that failed, or whose result
    /// is not logged.
    ObjectUnknown,
    /// A deletion of all objects of a list, which the log does not name.
    Collection,
    /// An object or a time that cannot be read.
    Unreadable,
}

/// A request with a difference.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequestChange {
    /// The difference.
    pub difference: Difference,
    /// The id of the audit event.
    #[serde(rename = "auditID")]
    pub audit_id: String,
    /// The time of the request.
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// The user.
    pub user: String,
    /// The operation.
    pub operation: &'static str,
    /// The kind of the object.
    pub kind: &'static str,
    /// The subresource, if any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subresource: Option<String>,
    /// Its namespace; empty for cluster-scoped objects.
    pub namespace: String,
    /// Its name; empty if it was not generated.
    pub name: String,
    /// The recorded result: not ours also if the webhook was not called.
    pub before: Verdict,
    /// The rules with findings when it was recorded.
    pub rules_before: Vec<String>,
    /// The result under the policy.
    pub after: Verdict,
    /// The rules that deny it under the policy.
    pub rules_after: Vec<String>,
    /// The message of the denial under the policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The changes from the recorded object to the one under the policy, as a JSON patch (RFC 6902).
    #[schemars(with = "Vec<Value>")]
    pub patch: json_patch::Patch,
}

impl RequestChange {
    /// Returns kind, subresource, namespace and name.
    pub fn what(&self) -> String {
        let subresource = self.subresource.as_ref().map(|name| format!("/{name}")).unwrap_or_default();
        let namespace = if self.namespace.is_empty() || self.kind == "Namespace" {
            String::new()
        } else {
            format!("{}/", self.namespace)
        };
        format!("{}{subresource} {namespace}{}", self.kind, self.name)
    }
}

impl Unevaluated {
    /// Returns the reason in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::MetadataLevel => "logged at level Metadata, without the object",
            Self::FailedBefore => "failed before the webhook decided",
            Self::WebhookFailed => "the webhook failed or was not reachable",
            Self::NamespaceUnknown => "namespace unknown: name it by --old",
            Self::OldObjectUnknown => "old object unknown: changed or created outside the log",
            Self::ObjectUnknown => "neither the sent nor the stored object is logged",
            Self::Collection => "deletion of a collection",
            Self::Unreadable => "unreadable object or time",
        }
    }
}

impl Differences {
    /// Counts a difference.
    const fn add(&mut self, difference: Difference) {
        *match difference {
            Difference::NewlyDenied => &mut self.newly_denied,
            Difference::NewlyAdmitted => &mut self.newly_admitted,
            Difference::OtherwiseMutated => &mut self.otherwise_mutated,
        } += 1;
    }

    /// Returns the number of all differences.
    pub const fn total(&self) -> u64 {
        self.newly_denied + self.newly_admitted + self.otherwise_mutated
    }
}

impl ReplayReport {
    /// Returns the JSON Schema of reports.
    pub fn json_schema() -> schemars::Schema {
        schemars::schema_for!(Self)
    }

    /// Starts a report without requests.
    pub(super) fn new(policy: String) -> Self {
        Self {
            api_version: API_VERSION,
            kind: KIND,
            policy,
            log: LogSummary::default(),
            summary: ReplaySummary::default(),
            not_evaluated: BTreeMap::new(),
            old_objects: OldObjects::default(),
            by_rule: BTreeMap::new(),
            by_user: BTreeMap::new(),
            by_namespace: BTreeMap::new(),
            changes: Vec::new(),
        }
    }

    /// Counts a request that was not evaluated.
    pub(super) fn add_unevaluated(&mut self, reason: Unevaluated) {
        self.summary.requests += 1;
        self.summary.not_evaluated += 1;
        *self.not_evaluated.entry(reason).or_default() += 1;
    }

    /// Counts an evaluated request.
    pub(super) fn add_evaluated(&mut self, time: Timestamp, before: Verdict, after: Verdict) {
        self.log.from.get_or_insert(time);
        self.log.to = Some(time);
        let summary = &mut self.summary;
        summary.requests += 1;
        summary.evaluated += 1;
        summary.not_ours += u64::from(after == Verdict::NotOurs);
        summary.recorded_denied += u64::from(before == Verdict::Denied);
    }

    /// Counts a difference of an evaluated request.
    pub(super) fn add_change(&mut self, change: RequestChange) {
        let difference = change.difference;
        self.summary.differences.add(difference);
        let mut rules: Vec<_> = match difference {
            Difference::NewlyAdmitted => change.rules_before.clone(),
            Difference::NewlyDenied | Difference::OtherwiseMutated => change.rules_after.clone(),
        };
        rules.sort();
        rules.dedup();
        for rule in &rules {
            count(&mut self.by_rule, rule, difference);
        }
        count(&mut self.by_user, &change.user, difference);
        count(&mut self.by_namespace, &change.namespace, difference);
        if self.changes.len() < CHANGES {
            self.changes.push(change);
        }
    }
}

fn count(group: &mut BTreeMap<String, Differences>, name: &str, difference: Difference) {
    let name = if group.len() < NAMES || group.contains_key(name) { name } else { OTHERS };
    group.entry(name.to_owned()).or_default().add(difference);
}
