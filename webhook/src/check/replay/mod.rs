//! Evaluates the requests of the API server's audit log under a policy, and compares the decisions with the recorded
//! ones.
//!
//! The log has objects as they were sent and as they were stored, but not as they were before a change. The last seen
//! object of each name is therefore cached, in bounded memory, and so is the state of each namespace. A request whose
//! facts are not certain is counted by reason, and not evaluated.

mod before;
mod event;
mod namespaces;
mod objects;
mod report;
mod request;

use std::borrow::Cow;
use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;
use jiff::{SignedDuration, Timestamp};
use json_patch::Patch;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

pub use objects::OldObjects;
pub use report::{
    Difference, Differences, LogSummary, ReplayReport, ReplaySummary, RequestChange, Unevaluated,
};

use self::before::is_equal;
use self::event::{AuditEvent, Decision, ObjectRef, Write};
use self::namespaces::LogNamespaces;
use self::objects::Objects;
use self::request::{Change, LogRequest};
use super::{Document, Verdict};
use crate::engine::{self, Engine, Lookup as _};
use crate::metrics::Metrics;
use crate::registration::Resources;
use crate::review::{self, Entry, Operation};
use crate::rules::{self, Kind};

/// The default limit for the cache of old objects, in bytes.
pub const OBJECTS: usize = 16 << 20;

/// Evaluates a log, line by line.
#[derive(Debug)]
pub struct LogReplay {
    engine: Engine<LogNamespaces>,
    namespaces: LogNamespaces,
    registered: Resources,
    objects: Objects,
    report: ReplayReport,
}

/// The decision of the policy on a request.
struct Evaluated {
    verdict: Verdict,
    rules: Vec<String>,
    message: Option<String>,
    object: Option<Value>,
}

/// Returns the review of a single event, and its time; `None` for anything but an event.
pub(super) fn review_of(line: &[u8]) -> Option<Result<(Value, Timestamp), Unevaluated>> {
    let event = serde_json::from_slice::<AuditEvent<'_>>(line).ok().filter(AuditEvent::is_known)?;
    let review = || {
        if event.is_metadata_only() {
            return Err(Unevaluated::MetadataLevel);
        }
        let request = LogRequest::of(&event).ok_or(Unevaluated::ObjectUnknown)?;
        let change = request.change(&mut Objects::new(0))?;
        let time = event.received_at().ok_or(Unevaluated::Unreadable)?;
        Ok((request.review(&change, change.unnamed().as_ref()), time))
    };
    Some(review())
}

impl LogReplay {
    /// Starts the replay of a log under a policy, with a cache of old objects of at most this many bytes.
    pub fn new(policy: RunPolicy, cache_bytes: usize) -> Self {
        let namespaces = LogNamespaces::default();
        let registered = Resources::of(&policy);
        let report = ReplayReport::new(policy.hash());
        let engine = Engine::new(policy, namespaces.clone(), Arc::<Metrics>::default());
        Self { engine, namespaces, registered, objects: Objects::new(cache_bytes), report }
    }

    /// Adds objects that are older than the log: Namespaces are facts, and all can be old objects.
    pub fn assume(&mut self, documents: &[Document]) {
        let policy = self.engine.policy();
        for document in documents {
            if document.kind == "Namespace"
                && let Ok(namespace) = serde_json::from_value(document.object.clone())
            {
                self.namespaces.apply(&policy.policy, &namespace);
            }
            if let Some(key) = request::key_of_document(document) {
                self.objects.insert(key, &document.object.to_string());
            }
        }
    }

    /// Evaluates the last line of a file, which lacks its end and may be incomplete.
    pub async fn last_line(&mut self, line: &[u8]) {
        if serde_json::from_slice::<IgnoredAny>(line).is_ok() {
            self.line(line).await;
        } else {
            self.report.log.lines += 1;
            self.report.log.cut += 1;
        }
    }

    /// Counts a line that is too long to be an event.
    pub const fn add_malformed(&mut self) {
        self.report.log.lines += 1;
        self.report.log.malformed += 1;
    }

    /// Evaluates a line.
    pub async fn line(&mut self, line: &[u8]) {
        let Some(event) = serde_json::from_slice::<AuditEvent<'_>>(line).ok().filter(AuditEvent::is_known)
        else {
            return self.add_malformed();
        };
        self.report.log.lines += 1;
        if event.is_last() {
            self.report.log.events += 1;
            self.add(&event).await;
        }
    }

    async fn add(&mut self, event: &AuditEvent<'_>) {
        let policy = self.engine.policy();
        match request::request(event, &policy.policy, &self.namespaces, &self.registered) {
            Ok(None) => {}
            Err(reason) => self.report.add_unevaluated(reason),
            Ok(Some(request)) => {
                let compared = match request.change(&mut self.objects) {
                    Ok(change) => self.compare(&request, &change).await,
                    Err(reason) => Err(reason),
                };
                if let Err(reason) = compared {
                    self.report.add_unevaluated(reason);
                }
            }
        }
        self.apply(event, &policy.policy);
    }

    /// Evaluates a request and counts the difference to the recorded decision.
    async fn compare(&mut self, request: &LogRequest<'_>, change: &Change) -> Result<(), Unevaluated> {
        let event = request.event;
        let (Some(time), Some(end)) = (event.received_at(), event.ended_at()) else {
            return Err(Unevaluated::Unreadable);
        };
        let evaluated = self.evaluate(request, change, time).await?;
        let is_equal = |one: &Value, other: &Value| {
            is_equal(one, other, end.duration_since(time).abs() + SignedDuration::from_secs(1))
        };
        let is_same_object = match (&change.recorded, &evaluated.object) {
            (Some(recorded), Some(object)) => is_equal(recorded, object),
            _ => true,
        };
        let was_mutated = change.recorded != change.object;
        let (before, rules_before) = match &request.decision {
            Decision::Denied(rules) => (Verdict::Denied, rules.clone()),
            Decision::None => (Verdict::NotOurs, Vec::new()),
            Decision::Admitted | Decision::Failed if was_mutated => (Verdict::Mutated, Vec::new()),
            Decision::Admitted | Decision::Failed => (Verdict::Admitted, Vec::new()),
        };
        self.report.add_evaluated(time, before, evaluated.verdict);
        let difference = match (before == Verdict::Denied, evaluated.verdict == Verdict::Denied) {
            (false, true) => Difference::NewlyDenied,
            (true, false) => Difference::NewlyAdmitted,
            (false, false) if !is_same_object => Difference::OtherwiseMutated,
            _ => {
                self.report.summary.same += 1;
                return Ok(());
            }
        };
        let patch = match (difference, &change.recorded, &evaluated.object) {
            (Difference::OtherwiseMutated, Some(recorded), Some(object)) => {
                json_patch::diff(recorded, object)
            }
            _ => Patch::default(),
        };
        let (reference, Evaluated { verdict, rules, message, .. }) = (request.reference, evaluated);
        let name = change.object.as_ref().and_then(|object| object.pointer("/metadata/name")?.as_str());
        self.report.add_change(RequestChange {
            difference,
            audit_id: event.id.to_string(),
            time,
            user: event.requester().username.to_string(),
            operation: request.operation.as_str(),
            kind: request.kind,
            subresource: reference.subresource().map(str::to_owned),
            namespace: reference.namespace.to_string(),
            name: name.unwrap_or(&reference.name).to_owned(),
            before,
            rules_before,
            after: verdict,
            rules_after: rules,
            message,
            patch,
        });
        Ok(())
    }

    /// Mutates and validates, as the API server lets the webhook do.
    async fn evaluate(
        &self,
        request: &LogRequest<'_>,
        change: &Change,
        time: Timestamp,
    ) -> Result<Evaluated, Unevaluated> {
        let mut object = change.object.clone();
        if let (true, Some(object)) = (request.is_mutated, &mut object) {
            let mutated =
                self.decide(Entry::Mutate, request, change, change.unnamed().as_ref(), time).await?;
            json_patch::patch(object, &mutated.patch).map_err(|_| Unevaluated::Unreadable)?;
        }
        let verdict = self.decide(Entry::Validate, request, change, object.as_ref(), time).await?;
        let policy = self.engine.policy();
        let denial = engine::outcome(&verdict, &policy.policy, &policy.hash).denial;
        let mut rules: Vec<_> = verdict.denials().map(|finding| finding.rule.id.to_owned()).collect();
        rules.dedup();
        let verdict = match &denial {
            Some(_) => Verdict::Denied,
            None if !verdict.in_scope => Verdict::NotOurs,
            None if object == change.object => Verdict::Admitted,
            None => Verdict::Mutated,
        };
        Ok(Evaluated { verdict, rules, message: denial.map(|denial| denial.message), object })
    }

    async fn decide(
        &self,
        entry: Entry,
        request: &LogRequest<'_>,
        change: &Change,
        object: Option<&Value>,
        time: Timestamp,
    ) -> Result<rules::Verdict, Unevaluated> {
        let unreadable = |_| Unevaluated::Unreadable;
        let body = request.review(change, object).to_string();
        let review = review::parse(body.as_bytes()).map_err(|_| Unevaluated::Unreadable)?;
        let kind = Kind::of(&review.kind.group, &review.kind.kind).ok_or(Unevaluated::Unreadable)?;
        let evaluated = self.engine.evaluate_at(time, entry, kind, &review).await.map_err(unreadable)?;
        Ok(evaluated.verdict)
    }

    /// Stores the result of a successful request.
    fn apply(&mut self, event: &AuditEvent<'_>, policy: &RunPolicy) {
        let (Some(Write::One(operation)), Some(reference)) = (event.write(), event.object_ref.as_ref())
        else {
            return;
        };
        let Some((_, kind)) = request::stored_kind(reference) else { return };
        if !event.has_succeeded() || event.is_dry_run() {
            return;
        }
        // An object that was deleted may remain for its finalizers, or until its Pod has ended.
        let remains = |stored: &Cow<'_, str>| {
            operation != Operation::Delete || stored.contains("\"deletionTimestamp\"")
        };
        let stored = event.stored(kind, self.objects.get(&reference.key())).filter(remains);
        if kind == "Namespace" {
            match stored.as_ref().and_then(|stored| serde_json::from_str(stored).ok()) {
                Some(namespace) => self.namespaces.apply(policy, &namespace),
                None => self.namespaces.remove(&reference.name),
            }
        }
        match (stored, reference.subresource()) {
            (Some(stored), _) => self.store(reference, &stored, policy),
            (None, Some("token")) => {}
            (None, Some("binding")) => self.bind(event, reference),
            (None, _) => self.objects.remove(&reference.key()),
        }
    }

    /// Stores an object, unless no later request about it can be in scope.
    fn store(&mut self, reference: &ObjectRef<'_>, stored: &str, policy: &RunPolicy) {
        let namespace = &*reference.namespace;
        let is_elsewhere = self.namespaces.is_certain(policy, namespace)
            && self.namespaces.cached(namespace).is_none()
            && !policy.namespaces.is_slot(namespace);
        let is_selected_everywhere = ["namespaces", "rolebindings", "clusterrolebindings", "clusterroles"]
            .contains(&&*reference.resource);
        if is_elsewhere && !is_selected_everywhere {
            return;
        }
        if let Some(name) = request::name_in(stored) {
            self.objects.insert(reference.key_of(&name), stored);
        }
    }

    /// Assigns a cached Pod to its node. The response to a binding is not the Pod.
    fn bind(&mut self, event: &AuditEvent<'_>, reference: &ObjectRef<'_>) {
        let key = reference.key();
        let node = |raw: &RawValue| {
            Some(serde_json::from_str::<Value>(raw.get()).ok()?.pointer("/target/name")?.clone())
        };
        let pod = self.objects.get(&key).and_then(|text| serde_json::from_str::<Value>(text).ok());
        match (pod, event.request_object.and_then(node)) {
            (Some(mut pod), Some(node)) if pod.get("spec").is_some_and(Value::is_object) => {
                pod["spec"]["nodeName"] = node;
                self.objects.insert(key, &pod.to_string());
            }
            _ => self.objects.remove(&key),
        }
    }

    /// Returns the report.
    pub fn finish(self) -> ReplayReport {
        ReplayReport { old_objects: self.objects.statistics(), ..self.report }
    }
}

#[cfg(test)]
mod tests;
