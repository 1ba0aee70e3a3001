//! Evaluates the objects of a live cluster under one policy, or under two policies to compare them.

use std::collections::{BTreeMap, BTreeSet};

use codex_k8s_shared::baseline::{BaselineKind, names};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::RunPolicy;
use jiff::Timestamp;
use json_patch::PatchOperation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::change::{Change, RolloutReport, changes, expiry};
use super::contents::Live;
use super::created::creator;
use super::drift::compare;
use super::kinds::Listed;
use super::{SortKey, sort_key};
use crate::baseline::meta::MetaExt;
use crate::baseline::plan::{Key, Observed, is_applied};
use crate::check::{
    CheckError, CheckRequest, Checker, Document, Evaluation, Report, Requester, Verdict, VirtualCluster,
};
use crate::created::as_created;

/// The result of a live check.
#[derive(Debug)]
pub enum Outcome {
    /// The evaluations under one policy.
    Verdicts(Report),
    /// The changes that another policy would make.
    Rollout(RolloutReport),
}

/// A policy with its checker.
#[derive(Debug)]
struct Evaluator {
    policy: RunPolicy,
    checker: Checker,
}

/// Evaluates a live cluster.
#[derive(Debug)]
pub struct LiveCheck {
    in_force: Evaluator,
    proposed: Option<Evaluator>,
    requester: Option<Requester>,
    now: Timestamp,
    cluster: VirtualCluster,
    namespaces: BTreeMap<String, ObjectMeta>,
    baselines: BTreeMap<String, Observed>,
    evaluated: Vec<Evaluation>,
    changed: Vec<Change>,
    objects: usize,
    live: Live,
}

/// A position in a live check.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    evaluated: usize,
    changed: usize,
    objects: usize,
}

impl LiveCheck {
    /// Starts a live check at a time, under the current policy and a proposed one, if given. With a requester, all
    /// objects that no controller creates are evaluated for it. If the cluster is not `whole`, free reservations are
    /// assumed.
    pub fn new(
        in_force: RunPolicy,
        proposed: Option<RunPolicy>,
        requester: Option<Requester>,
        now: Timestamp,
        is_whole: bool,
    ) -> Self {
        let cluster = if is_whole { VirtualCluster::whole() } else { VirtualCluster::default() };
        let evaluator = |policy: RunPolicy| {
            let request = CheckRequest { now: Some(now), ..CheckRequest::creation(Requester::default()) };
            let checker = Checker::over(cluster.clone(), policy.clone(), request);
            Evaluator { policy, checker }
        };
        Self {
            in_force: evaluator(in_force),
            proposed: proposed.map(evaluator),
            requester,
            now,
            namespaces: BTreeMap::new(),
            baselines: BTreeMap::new(),
            evaluated: Vec::new(),
            changed: Vec::new(),
            objects: 0,
            live: Live::default(),
            cluster,
        }
    }

    /// Returns the current position.
    pub(crate) const fn mark(&self) -> Mark {
        Mark { evaluated: self.evaluated.len(), changed: self.changed.len(), objects: self.objects }
    }

    /// Drops the evaluations since a position.
    pub(crate) fn return_to(&mut self, mark: Mark) {
        self.evaluated.truncate(mark.evaluated);
        self.changed.truncate(mark.changed);
        self.objects = mark.objects;
    }

    /// Adds all namespaces, and evaluates those that are managed or claim to be.
    ///
    /// # Errors
    /// If one cannot be evaluated at all.
    pub(crate) async fn take_namespaces(&mut self, all: Vec<Value>) -> Result<(), CheckError> {
        for namespace in &all {
            self.cluster.add(namespace);
        }
        for namespace in all {
            self.take_namespace(namespace).await?;
        }
        Ok(())
    }

    async fn take_namespace(&mut self, namespace: Value) -> Result<(), CheckError> {
        let mut meta: ObjectMeta = namespace
            .get("metadata")
            .and_then(|meta| serde_json::from_value(meta.clone()).ok())
            .unwrap_or_default();
        // Most of the metadata, and never used.
        meta.managed_fields = None;
        let is_managed = meta.is_managed();
        let is_terminating = meta.deletion_timestamp.is_some();
        if is_managed {
            self.live.namespaces += 1;
            self.live.terminating += usize::from(is_terminating);
        }
        if is_terminating {
            return Ok(());
        }
        let requested_by = meta.annotation(keys::REQUESTED_BY).unwrap_or("developer").to_owned();
        self.evaluate(namespace, Some(&requested_by)).await?;
        if is_managed {
            if meta.annotation(keys::BASELINE_READY_AT).is_none() {
                let waits = meta.annotation(keys::BASELINE_WAITS_FOR).unwrap_or("its baseline").to_owned();
                self.live.closed.insert(meta.name.clone().unwrap_or_default(), waits);
            }
            self.expiry(&meta);
            self.namespaces.insert(meta.name.clone().unwrap_or_default(), meta);
        }
        Ok(())
    }

    /// Records a change if a namespace would be deleted at another time.
    fn expiry(&mut self, meta: &ObjectMeta) {
        if let Some(proposed) = &self.proposed {
            self.changed.extend(expiry(&self.in_force.policy, &proposed.policy, self.now, meta));
        }
    }

    /// Adds a page of objects, and evaluates those in managed namespaces, and all bindings.
    ///
    /// # Errors
    /// If an object cannot be evaluated at all.
    pub(crate) async fn take(&mut self, listed: &Listed, page: Vec<Value>) -> Result<(), CheckError> {
        for mut object in page {
            object["apiVersion"] = listed.api_version().into();
            object["kind"] = listed.kind.into();
            self.take_object(listed, object).await?;
        }
        Ok(())
    }

    async fn take_object(&mut self, listed: &Listed, mut object: Value) -> Result<(), CheckError> {
        let text =
            |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (own_namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
        let Some(meta) = self.namespaces.get(&own_namespace) else {
            // Bindings elsewhere can grant rights in run namespaces.
            if matches!(listed.kind, "RoleBinding" | "ClusterRoleBinding") {
                self.evaluate(object, None).await?;
            }
            return Ok(());
        };
        if let Some(kind) = BaselineKind::of(listed.group, listed.kind)
            .filter(|kind| self.is_compared(*kind, &name, meta, &object))
        {
            slim(&mut object);
            self.baselines.entry(own_namespace).or_default().insert((kind, name), object);
            return Ok(());
        }
        let requested_by = meta.annotation(keys::REQUESTED_BY).unwrap_or("developer").to_owned();
        self.evaluate(object, Some(&requested_by)).await
    }

    /// Returns true if an object is part of a baseline: it is then compared and not evaluated.
    fn is_compared(&self, kind: BaselineKind, name: &str, meta: &ObjectMeta, object: &Value) -> bool {
        self.evaluators().any(|Evaluator { policy, .. }| {
            meta.is_in_scope(policy)
                && (is_applied(object) || names(policy, kind).any(|baseline| baseline == name))
        })
    }

    fn evaluators(&self) -> impl Iterator<Item = &Evaluator> {
        [&self.in_force].into_iter().chain(&self.proposed)
    }

    async fn evaluate(&mut self, object: Value, requested_by: Option<&str>) -> Result<(), CheckError> {
        let document = Document::of_nowhere(as_created(object.clone(), self.now));
        let before = self.evaluated(&self.in_force, &object, &document, requested_by).await?;
        let after = match &self.proposed {
            None => None,
            Some(proposed) => Some(self.evaluated(proposed, &object, &document, requested_by).await?),
        };
        self.note(Some(before), after);
        Ok(())
    }

    async fn evaluated(
        &self,
        evaluator: &Evaluator,
        object: &Value,
        document: &Document,
        requested_by: Option<&str>,
    ) -> Result<Evaluation, CheckError> {
        let requester = creator(&evaluator.policy, object, requested_by, self.requester.as_ref());
        let evaluation = evaluator.checker.evaluate_by(&requester, document).await?;
        Ok(only_what_is_missing(evaluation, object))
    }

    fn note(&mut self, before: Option<Evaluation>, after: Option<Evaluation>) {
        let ours = |evaluation: &Option<Evaluation>| {
            evaluation.as_ref().is_some_and(|evaluation| evaluation.result != Verdict::NotOurs)
        };
        if !ours(&before) && !ours(&after) {
            return;
        }
        self.objects += 1;
        match (&self.proposed, before, after) {
            (None, before, _) => self.evaluated.extend(before),
            (Some(_), before, Some(after)) => self.changed.extend(changes(before.as_ref(), after)),
            // If the proposed policy does not apply, there is no comparison under either policy.
            (Some(_), _, None) => {}
        }
    }

    /// Compares the baselines and returns the result.
    pub fn finish(mut self, requests: usize, left_out: Vec<String>) -> Outcome {
        let is_baseline_listed =
            BaselineKind::ALL.iter().all(|kind| !left_out.iter().any(|left| left == kind.plural()));
        if is_baseline_listed {
            self.compare_baselines();
        }
        (self.live.requests, self.live.left_out) = (requests, left_out);
        match self.proposed {
            None => {
                self.evaluated.sort_by(|one, other| sort_key_of(one).cmp(&sort_key_of(other)));
                let report = Report::new(&self.in_force.policy, self.evaluated);
                Outcome::Verdicts(Report { live: Some(self.live), ..report })
            }
            Some(proposed) => {
                let (from, to) = (self.in_force.policy.hash(), proposed.policy.hash());
                Outcome::Rollout(RolloutReport::new((from, to), self.objects, self.changed, self.live))
            }
        }
    }

    fn compare_baselines(&mut self) {
        for (name, meta) in std::mem::take(&mut self.namespaces) {
            let observed = self.baselines.remove(&name).unwrap_or_default();
            let compared = |Evaluator { policy, .. }: &Evaluator| {
                if meta.is_in_scope(policy) { compare(policy, &meta, &observed) } else { BTreeMap::new() }
            };
            let mut before = compared(&self.in_force);
            let mut after = self.proposed.as_ref().map(compared);
            let keys: BTreeSet<Key> =
                before.keys().chain(after.iter().flat_map(BTreeMap::keys)).cloned().collect();
            for key in keys {
                let proposed = after.as_mut().and_then(|after| after.remove(&key));
                self.note(before.remove(&key), proposed);
            }
        }
    }
}

fn sort_key_of(evaluation: &Evaluation) -> SortKey<'_> {
    sort_key(&evaluation.kind, evaluation.namespace.as_deref(), &evaluation.name)
}

/// Drops the changes of fields that the object already has: they were set after its creation.
fn only_what_is_missing(mut evaluation: Evaluation, object: &Value) -> Evaluation {
    evaluation.patch.0.retain(|operation| match operation {
        PatchOperation::Add(add) => {
            object.pointer(add.path.as_str()).is_none() && !is_noted(add.path.as_str())
        }
        _ => false,
    });
    if evaluation.result == Verdict::Mutated && evaluation.patch.0.is_empty() {
        evaluation.result = Verdict::Admitted;
    }
    evaluation
}

/// Returns true for a field that is set only while a Job waits for its reservation.
fn is_noted(pointer: &str) -> bool {
    pointer.replace("~1", "/").ends_with(keys::JOB_PENDING_REASON)
}

/// Removes the managed fields: most of an object, and never compared.
fn slim(object: &mut Value) {
    for entry in
        object.pointer_mut("/metadata/managedFields").and_then(Value::as_array_mut).into_iter().flatten()
    {
        if let Some(entry) = entry.as_object_mut() {
            entry.remove("fieldsV1");
        }
    }
}
