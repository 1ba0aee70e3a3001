//! The shell around the rules: collects the facts, evaluates, and converts the verdict to an answer.

mod lookup;
mod response;
mod traces;

use std::collections::BTreeSet;
use std::sync::Arc;

use arc_swap::ArcSwap;
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{Mode, RunPolicy};
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::decision::{Decided, EvaluatedReview, PolicyInForce};
use crate::metrics::{Decision, Metrics};
use crate::review::{AdmissionRequest, Entry, Operation, Outcome};
use crate::rules::namespace::Namespace;
use crate::rules::requester::service_account;
use crate::rules::{self, Facts, Kind, ManagedNamespace, Occupancy, Request, Verdict, Version};

pub use lookup::{Lookup, LookupError};
pub(crate) use response::Failure;
pub(crate) use response::outcome;
use response::{is_controller, request};

/// Decides admission requests.
#[derive(Debug)]
pub struct Engine<L> {
    policy: ArcSwap<PolicyInForce>,
    lookup: L,
    metrics: Arc<Metrics>,
    stopped_at: Option<Timestamp>,
    kubernetes: ArcSwap<Version>,
}

impl<L: Lookup> Engine<L> {
    /// Creates an engine with a policy and a source of facts.
    pub fn new(policy: RunPolicy, lookup: L, metrics: Arc<Metrics>) -> Self {
        let engine = Self {
            policy: ArcSwap::from_pointee(RunPolicy::default().into()),
            lookup,
            metrics,
            stopped_at: None,
            kubernetes: ArcSwap::default(),
        };
        engine.set_policy(policy);
        engine
    }

    /// Fixes the time of the engine.
    #[must_use]
    pub(crate) fn stopped_at(self, now: Timestamp) -> Self {
        Self { stopped_at: Some(now), ..self }
    }

    /// Replaces the policy. Requests in progress are decided under the policy that they began with.
    pub fn set_policy(&self, policy: RunPolicy) {
        let policy = PolicyInForce::from(policy);
        self.metrics.policy_in_force(&policy.hash);
        self.policy.store(Arc::new(policy));
    }

    /// Sets the minor version of the API server. Until then, it is assumed to be the latest.
    pub fn set_kubernetes(&self, minor: u32) {
        self.kubernetes.store(Arc::new(Version::minor(minor)));
    }

    /// Returns the current policy.
    pub fn policy(&self) -> Arc<PolicyInForce> {
        self.policy.load_full()
    }

    /// Decides a request. A request that is only too early is held until shortly before the deadline.
    pub async fn review(&self, entry: Entry, request: &AdmissionRequest<'_>, deadline: Instant) -> Outcome {
        self.decide(entry, request, deadline).await.outcome
    }

    /// Decides a request like [`review`](Self::review), and also returns the findings.
    pub(crate) async fn decide(
        &self,
        entry: Entry,
        request: &AdmissionRequest<'_>,
        deadline: Instant,
    ) -> Decided {
        let span = traces::span(entry, request);
        let decided = self.decide_within(entry, request, deadline).instrument(span.clone()).await;
        traces::record(&span, &decided);
        decided
    }

    async fn decide_within(
        &self,
        entry: Entry,
        request: &AdmissionRequest<'_>,
        deadline: Instant,
    ) -> Decided {
        let kind = Kind::of(&request.kind.group, &request.kind.kind);
        let decision = Decision::new(entry, request.operation, kind, request.is_dry_run());
        let Some(kind) = kind else {
            self.metrics.decided(&decision);
            return Decided::default();
        };
        match self.evaluate(entry, kind, request, deadline).await {
            Ok(evaluated) => {
                self.count(&decision, &evaluated.verdict);
                let mut outcome =
                    outcome(&evaluated.verdict, &evaluated.policy.policy, &evaluated.policy.hash);
                log_denial(&evaluated, request);
                if entry == Entry::Mutate {
                    // Both webhooks have the same name, and the API server keeps the first value of an annotation: only
                    // the validating call sets it.
                    outcome.audit.clear();
                }
                Decided { findings: evaluated.verdict.findings, outcome }
            }
            Err(failure) => {
                tracing::warn!(uid = %request.uid, error = %failure, "failed to decide");
                self.metrics.decided(&Decision { outcome: "failed", ..decision });
                let outcome = failure.outcome(is_controller(&self.policy().policy, request));
                Decided { findings: Vec::new(), outcome }
            }
        }
    }

    /// Evaluates a request about a kind that has rules.
    ///
    /// # Errors
    /// If a fact is unavailable, or an object is unreadable.
    pub(crate) async fn evaluate(
        &self,
        entry: Entry,
        kind: Kind,
        review: &AdmissionRequest<'_>,
        deadline: Instant,
    ) -> Result<EvaluatedReview, Failure> {
        let now = self.stopped_at.unwrap_or_else(Timestamp::now);
        self.evaluate_before(deadline, now, entry, kind, review).await
    }

    /// Evaluates a request as it would have been evaluated at a time. Nothing is waited for.
    ///
    /// # Errors
    /// If a fact is unavailable, or an object is unreadable.
    pub(crate) async fn evaluate_at(
        &self,
        now: Timestamp,
        entry: Entry,
        kind: Kind,
        review: &AdmissionRequest<'_>,
    ) -> Result<EvaluatedReview, Failure> {
        self.evaluate_before(Instant::now(), now, entry, kind, review).await
    }

    async fn evaluate_before(
        &self,
        deadline: Instant,
        now: Timestamp,
        entry: Entry,
        kind: Kind,
        review: &AdmissionRequest<'_>,
    ) -> Result<EvaluatedReview, Failure> {
        let policy = self.policy();
        let request = request(kind, review)?;
        let mut facts = Facts::at(now);
        facts.kubernetes = **self.kubernetes.load();
        let requester_namespace = service_account(request.user).map(|(namespace, _)| namespace);
        facts.requester_is_managed =
            requester_namespace.is_some_and(|requester_namespace| self.lookup.is_known(requester_namespace));
        let verdict = if kind == Kind::Namespace {
            self.evaluate_namespace(entry, &policy.policy, &mut facts, &request).await?
        } else {
            self.evaluate_content(entry, &policy.policy, &mut facts, &request, review, deadline).await?
        };
        Ok(EvaluatedReview { facts, policy, verdict })
    }

    async fn evaluate_content(
        &self,
        entry: Entry,
        policy: &RunPolicy,
        facts: &mut Facts,
        request: &Request<'_>,
        review: &AdmissionRequest<'_>,
        deadline: Instant,
    ) -> Result<Verdict, LookupError> {
        // A ClusterRole has no namespace, so none needs to be read.
        let name = review.namespace().unwrap_or_default();
        facts.namespace = or_bare_slot(policy, name, self.lookup.get(name).await?);
        if entry == Entry::Validate && facts.namespace.is_none() {
            facts.named = self.managed_among(rules::rbac::namespaces(policy, request, Some(name)));
        }
        let requester_namespace = service_account(request.user).map(|(namespace, _)| namespace);
        facts.requester_is_managed |= facts.namespace.is_some() && requester_namespace == Some(name);
        let dry_run = review.is_dry_run();
        let mut verdict = decide(policy, facts, request, entry, dry_run);
        if verdict.is_retryable() && !verdict.by_controller {
            verdict = self.wait_until_ready(verdict, policy, facts, request, deadline).await;
        }
        if verdict.is_allowed() {
            return Ok(verdict);
        }
        // The namespace may just have been rebound: the cache is not trusted before a denial.
        let fresh = match self.lookup.get_fresh(name).await {
            // The answer would be to retry in this case too.
            Err(_) if verdict.is_retryable() => return Ok(verdict),
            fresh => or_bare_slot(policy, name, fresh?),
        };
        if fresh == facts.namespace {
            return Ok(verdict);
        }
        facts.namespace = fresh;
        Ok(decide(policy, facts, request, entry, dry_run))
    }

    /// Returns those of the namespaces that are managed. The cache is enough: no namespace becomes managed unless its
    /// name shows it, and those that did under an earlier policy are older than the cache. A binding may name
    /// thousands.
    fn managed_among(&self, names: BTreeSet<&str>) -> Vec<Box<str>> {
        names.into_iter().filter_map(|name| Some(self.lookup.cached(name)?.name.clone())).collect()
    }

    /// Waits for the gate, with the cache, for half of the remaining time. The other half is for the final read, and
    /// for a slow API server, whose own timeout began earlier. An answer that is too late is an error that no client
    /// retries; one in time makes the client retry. A controller's request is never held, because its worker could not
    /// serve any other namespace meanwhile.
    async fn wait_until_ready(
        &self,
        mut verdict: Verdict,
        policy: &RunPolicy,
        facts: &mut Facts,
        request: &Request<'_>,
        deadline: Instant,
    ) -> Verdict {
        let Some(name) = facts.namespace.as_ref().map(|namespace| namespace.name.clone()) else {
            return verdict;
        };
        let mut changes = self.lookup.changes();
        let now = Instant::now();
        let gives_up = now + deadline.duration_since(now) / 2;
        loop {
            let cached = self.lookup.cached(&name);
            if cached.is_some() && cached != facts.namespace {
                facts.namespace = cached;
                verdict = rules::decide(policy, facts, request, Entry::Validate);
            }
            if !verdict.is_retryable() {
                return verdict;
            }
            match tokio::time::timeout_at(gives_up, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return verdict,
            }
        }
    }

    async fn evaluate_namespace(
        &self,
        entry: Entry,
        policy: &RunPolicy,
        facts: &mut Facts,
        request: &Request<'_>,
    ) -> Result<Verdict, LookupError> {
        let object = request.object.as_ref().filter(|_| entry == Entry::Validate);
        let run_id = object.and_then(|object| rules::Meta::of(object).label(keys::RUN_ID));
        facts.run_holders = run_id.map(|run_id| self.lookup.holders(run_id)).unwrap_or_default();
        facts.occupancy = object.map(|object| self.occupancy(policy, request, object)).unwrap_or_default();
        let verdict = rules::decide(policy, facts, request, entry);
        let matters = entry == Entry::Validate
            && request.operation == Operation::Update
            && verdict.in_scope
            && verdict.is_allowed();
        let unknown = matters && !facts.requester_is_managed && !policy.identities.is_listed(request.user);
        let Some((requester_namespace, _)) = service_account(request.user).filter(|_| unknown) else {
            return Ok(verdict);
        };
        // The cache is not trusted either before an agent of a new namespace is classified as an unknown user.
        if self.lookup.get(requester_namespace).await?.is_none() {
            return Ok(verdict);
        }
        facts.requester_is_managed = true;
        Ok(rules::decide(policy, facts, request, entry))
    }

    /// Returns the occupancy of the scopes that a namespace enters: at its creation, when it becomes managed, and when
    /// it is handed to another project.
    fn occupancy(&self, policy: &RunPolicy, request: &Request<'_>, object: &Value) -> Vec<Occupancy> {
        let scopes = |namespace: &Namespace<'_>| {
            let meta = namespace.meta;
            Scope::of(meta.label(keys::PROJECT_ID), meta.annotation(keys::REQUESTED_BY))
        };
        let new = Namespace::of(object);
        let old = request.old_object.as_ref().map(Namespace::of).filter(Namespace::is_managed);
        let held = old.as_ref().map(scopes);
        let is_held = |scope: &Scope| held.as_ref().is_some_and(|held| held.contains(scope));
        let entered = scopes(&new).into_iter().filter(|scope| !is_held(scope));
        let limited = entered.filter_map(|scope| {
            let max = policy.quotas.limit(&scope)?;
            let holders = self.lookup.holders_in(&scope, request.name, max);
            Some(Occupancy { scope, max, holders })
        });
        if new.is_managed() { limited.collect() } else { Vec::new() }
    }

    fn count(&self, decision: &Decision, verdict: &Verdict) {
        if verdict.findings.is_empty() {
            let outcome = if verdict.patch.0.is_empty() { "allowed" } else { "mutated" };
            self.metrics.decided(&Decision { outcome, ..decision.clone() });
        }
        for finding in &verdict.findings {
            let outcome = match finding.mode {
                Mode::Enforce => "denied",
                Mode::Warn => "warned",
                Mode::Audit | Mode::Off => "audited",
            };
            self.metrics.decided(&Decision { rule: finding.rule.id, outcome, ..decision.clone() });
        }
    }
}

/// Treats a namespace with the name of a slot as a slot before it is managed: the objects that it contains then will
/// stay in it.
fn or_bare_slot(
    policy: &RunPolicy,
    name: &str,
    found: Option<Arc<ManagedNamespace>>,
) -> Option<Arc<ManagedNamespace>> {
    let bare = || policy.namespaces.is_slot(name) && !policy.namespaces.is_protected(name);
    found.or_else(|| bare().then(|| Arc::new(ManagedNamespace::bare(name))))
}

/// Logs a denial: its id, its object and its rules.
fn log_denial(evaluated: &EvaluatedReview, review: &AdmissionRequest<'_>) {
    if evaluated.verdict.is_allowed() {
        return;
    }
    let mut rules: Vec<_> = evaluated.verdict.denials().map(|finding| finding.rule.id).collect();
    rules.dedup();
    tracing::info!(
        uid = &*review.uid,
        user = &*review.user_info.username,
        operation = review.operation.as_str(),
        kind = &*review.kind.kind,
        namespace = review.namespace(),
        name = review.name(),
        dry_run = review.is_dry_run(),
        rules = rules.join(","),
        "denied"
    );
}

/// Evaluates the rules. A dry run never stores anything too early, so it gets only a warning about that.
fn decide(policy: &RunPolicy, facts: &Facts, request: &Request<'_>, entry: Entry, dry_run: bool) -> Verdict {
    let mut verdict = rules::decide(policy, facts, request, entry);
    if dry_run && verdict.is_retryable() {
        verdict.only_warn();
    }
    verdict
}

#[cfg(test)]
mod tests;
