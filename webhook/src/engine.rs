//! The shell around the rules: gathers the facts, asks, and puts the verdict into words.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use codex_k8s_shared::keys;
use codex_k8s_shared::places::Scope;
use codex_k8s_shared::policy::{Mode, RunPolicy};
use futures::future::try_join_all;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::{Decision, Metrics};
use crate::record::recorder::Recorder;
use crate::review::{AdmissionRequest, Cause, Denial, DenialCode, Entry, Operation, Outcome};
use crate::rules::namespace::Namespace;
use crate::rules::requester::service_account;
use crate::rules::{
    self, Code, Facts, Finding, Holders, Kind, ManagedNamespace, Occupancy, Request, Verdict,
};

/// Where facts about managed namespaces come from.
pub trait Lookup: Send + Sync + 'static {
    /// The managed namespace of a name; `None` if it is certain that there is none.
    fn get(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<ManagedNamespace>>, LookupError>> + Send;

    /// As [`get`](Self::get), but never from a cache.
    fn get_fresh(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<Option<Arc<ManagedNamespace>>, LookupError>> + Send;

    /// The managed namespaces that carry a run id.
    fn holders(&self, run_id: &str) -> Vec<Arc<ManagedNamespace>>;

    /// The managed namespaces of a scope other than `but`. Who they are is told only where `max` or more of them are
    /// known.
    fn holders_in(&self, scope: &Scope, but: &str, max: u32) -> Holders;

    /// As [`get`](Self::get), but from the cache alone.
    fn cached(&self, name: &str) -> Option<Arc<ManagedNamespace>>;

    /// Changes whenever the cache does.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Whether a namespace is known to be managed. Never asks the API server.
    fn is_known(&self, name: &str) -> bool {
        self.cached(name).is_some()
    }
}

/// A fact that could not be had. Never "not managed".
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// The API server did not answer, or with an error.
    #[error("failed to read namespace {name}")]
    Failed {
        /// The namespace.
        name: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Too many look-ups are under way, or one took too long.
    #[error("failed to read namespace {name} in time")]
    Busy {
        /// The namespace.
        name: String,
    },
}

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

/// A decision, and what it was made of.
#[derive(Debug)]
pub struct Judged<'a> {
    /// The request, as the rules saw it.
    pub request: Request<'a>,
    /// The facts that were known in the end.
    pub facts: Facts,
    /// The policy.
    pub policy: Arc<PolicyInForce>,
    /// What came of it.
    pub verdict: Verdict,
}

/// Decides admission requests.
#[derive(Debug)]
pub struct Engine<L> {
    policy: ArcSwap<PolicyInForce>,
    lookup: L,
    metrics: Arc<Metrics>,
    stopped_at: Option<Timestamp>,
    recorder: Option<Recorder>,
}

/// What was found, and what is answered.
#[derive(Debug, Default)]
pub struct Decided {
    /// What rules found, also where they only warn.
    pub findings: Vec<Finding>,
    /// The answer.
    pub outcome: Outcome,
}

impl<L: Lookup> Engine<L> {
    /// An engine with a policy and a source of facts.
    pub fn new(policy: RunPolicy, lookup: L, metrics: Arc<Metrics>) -> Self {
        let engine = Self {
            policy: ArcSwap::from_pointee(RunPolicy::default().into()),
            lookup,
            metrics,
            stopped_at: None,
            recorder: None,
        };
        engine.set_policy(policy);
        engine
    }

    /// The same engine at a moment that does not pass.
    #[must_use]
    pub fn stopped_at(self, now: Timestamp) -> Self {
        Self { stopped_at: Some(now), ..self }
    }

    /// Has decisions recorded.
    #[must_use]
    pub fn recorded_by(self, recorder: Option<Recorder>) -> Self {
        Self { recorder, ..self }
    }

    /// Puts another policy in force. Requests under way end under the one that they began with.
    pub fn set_policy(&self, policy: RunPolicy) {
        let policy = PolicyInForce::from(policy);
        self.metrics.policy_in_force(&policy.hash);
        self.policy.store(Arc::new(policy));
    }

    /// The policy in force.
    pub fn policy(&self) -> Arc<PolicyInForce> {
        self.policy.load_full()
    }

    /// Decides a request. One that only comes too early is kept until shortly before the deadline.
    pub async fn review(&self, entry: Entry, request: &AdmissionRequest<'_>, deadline: Instant) -> Outcome {
        self.decide(entry, request, deadline).await.outcome
    }

    /// As [`review`](Self::review), and tells what was found.
    pub async fn decide(&self, entry: Entry, request: &AdmissionRequest<'_>, deadline: Instant) -> Decided {
        let kind = Kind::of(&request.kind.group, &request.kind.kind);
        let decision = Decision::new(entry, request.operation, kind, request.is_dry_run());
        let Some(kind) = kind else {
            self.metrics.decided(&decision);
            return Decided::default();
        };
        match self.judge(entry, kind, request, deadline).await {
            Ok(judged) => {
                self.count(&decision, &judged.verdict);
                let mut outcome = outcome(&judged.verdict, &judged.policy.hash);
                tell(&judged, request);
                let findings = match &self.recorder {
                    None => judged.verdict.findings,
                    Some(recorder) => {
                        let findings = judged.verdict.findings.clone();
                        recorder.take(entry, request, judged, &outcome);
                        findings
                    }
                };
                if entry == Entry::Mutate {
                    // Both webhooks have one name, and the first note of a name stays: only the judgement is noted.
                    outcome.audit.clear();
                }
                Decided { findings, outcome }
            }
            Err(failure) => {
                tracing::warn!(uid = %request.uid, error = %failure, "failed to decide");
                self.metrics.decided(&Decision { outcome: "failed", ..decision });
                let outcome = failure.outcome(is_controller(&self.policy().policy, request));
                Decided { findings: Vec::new(), outcome }
            }
        }
    }

    /// Decides a request about a kind that the rules know.
    ///
    /// # Errors
    /// If a fact cannot be had, or an object not be read.
    pub async fn judge<'a>(
        &self,
        entry: Entry,
        kind: Kind,
        review: &'a AdmissionRequest<'_>,
        deadline: Instant,
    ) -> Result<Judged<'a>, Failure> {
        let policy = self.policy();
        let request = request(kind, review)?;
        let mut facts = Facts::at(self.stopped_at.unwrap_or_else(Timestamp::now));
        let home = service_account(request.user).map(|(namespace, _)| namespace);
        facts.requester_is_managed = home.is_some_and(|home| self.lookup.is_known(home));
        let verdict = if kind == Kind::Namespace {
            self.judge_namespace(entry, &policy.policy, &mut facts, &request).await?
        } else {
            self.judge_content(entry, &policy.policy, &mut facts, &request, review, deadline).await?
        };
        Ok(Judged { request, facts, policy, verdict })
    }

    async fn judge_content(
        &self,
        entry: Entry,
        policy: &RunPolicy,
        facts: &mut Facts,
        request: &Request<'_>,
        review: &AdmissionRequest<'_>,
        deadline: Instant,
    ) -> Result<Verdict, LookupError> {
        let name = review.namespace().unwrap_or_default();
        facts.namespace = self.lookup.get(name).await?;
        if entry == Entry::Validate && facts.namespace.is_none() {
            facts.named = self.managed_among(rules::guard::namespaces(policy, request, Some(name))).await?;
        }
        let home = service_account(request.user).map(|(namespace, _)| namespace);
        facts.requester_is_managed |= facts.namespace.is_some() && home == Some(name);
        let dry_run = review.is_dry_run();
        let mut verdict = decide(policy, facts, request, entry, dry_run);
        if verdict.is_early() && !verdict.by_controller {
            verdict = self.wait_until_ready(verdict, policy, facts, request, deadline).await;
        }
        if verdict.is_allowed() {
            return Ok(verdict);
        }
        // The namespace may just have been rebound: before a refusal, the cache is not trusted.
        let fresh = match self.lookup.get_fresh(name).await {
            // Come back later is all that would be said of this as well.
            Err(_) if verdict.is_early() => return Ok(verdict),
            fresh => fresh?,
        };
        if fresh == facts.namespace {
            return Ok(verdict);
        }
        facts.namespace = fresh;
        Ok(decide(policy, facts, request, entry, dry_run))
    }

    /// Those of the namespaces that are managed. One that cannot be looked up is an error.
    async fn managed_among(&self, names: BTreeSet<&str>) -> Result<Vec<Box<str>>, LookupError> {
        let found = try_join_all(names.into_iter().map(|name| self.lookup.get(name))).await?;
        Ok(found.into_iter().flatten().map(|namespace| namespace.name.clone()).collect())
    }

    /// Waits at the gate, on the cache, for half of the time there is: the rest is for the last look and for an API
    /// server that is slow just then, whose own clock has begun earlier. An answer that comes too late is an error
    /// that no client retries; one in time makes it ask again. A controller's request is never kept: it would keep
    /// its worker from every other namespace.
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
            if !verdict.is_early() {
                return verdict;
            }
            match tokio::time::timeout_at(gives_up, changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return verdict,
            }
        }
    }

    async fn judge_namespace(
        &self,
        entry: Entry,
        policy: &RunPolicy,
        facts: &mut Facts,
        request: &Request<'_>,
    ) -> Result<Verdict, LookupError> {
        let object = request.object.as_ref().filter(|_| entry == Entry::Validate);
        let run_id = object.and_then(|object| rules::Meta::of(object).label(keys::RUN_ID));
        facts.run_holders = run_id.map(|run_id| self.lookup.holders(run_id)).unwrap_or_default();
        facts.places = object.map(|object| self.places(policy, request, object)).unwrap_or_default();
        let verdict = rules::decide(policy, facts, request, entry);
        let matters = entry == Entry::Validate
            && request.operation == Operation::Update
            && verdict.concerned
            && verdict.is_allowed();
        let unknown = matters && !facts.requester_is_managed && !policy.identities.is_listed(request.user);
        let Some((home, _)) = service_account(request.user).filter(|_| unknown) else {
            return Ok(verdict);
        };
        // The cache is not trusted before an agent of a young namespace is taken for a stranger, either.
        if self.lookup.get(home).await?.is_none() {
            return Ok(verdict);
        }
        facts.requester_is_managed = true;
        Ok(rules::decide(policy, facts, request, entry))
    }

    /// How full the scopes are that a namespace comes into: at its birth, when it becomes managed, and when it is
    /// handed to another project.
    fn places(&self, policy: &RunPolicy, request: &Request<'_>, object: &Value) -> Vec<Occupancy> {
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
            let outcome = if verdict.patch.0.is_empty() { "allowed" } else { "mended" };
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

/// Tells the log of a refusal: by its id, of what it was, and by which rules.
fn tell(judged: &Judged<'_>, review: &AdmissionRequest<'_>) {
    if judged.verdict.is_allowed() {
        return;
    }
    let mut rules: Vec<_> = judged.verdict.denials().map(|finding| finding.rule.id).collect();
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

/// The rules' verdict, as it is answered: a dry run stores nothing that could come too early, and is only warned.
pub fn decide(
    policy: &RunPolicy,
    facts: &Facts,
    request: &Request<'_>,
    entry: Entry,
    dry_run: bool,
) -> Verdict {
    let mut verdict = rules::decide(policy, facts, request, entry);
    if dry_run && verdict.is_early() {
        verdict.only_warn();
    }
    verdict
}

/// Why no verdict was reached.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A fact could not be had.
    #[error(transparent)]
    Lookup(#[from] LookupError),
    /// An object is none.
    #[error("{field} is no JSON that can be read: {source}")]
    Object {
        /// Which.
        field: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
}

impl Failure {
    fn outcome(&self, by_controller: bool) -> Outcome {
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

/// A delay to wait would put a controller's worker to sleep.
fn is_controller(policy: &RunPolicy, review: &AdmissionRequest<'_>) -> bool {
    let (identities, user) = (&policy.identities, &review.user_info);
    [&identities.workload_controllers, &identities.namespace_controllers]
        .into_iter()
        .any(|controllers| controllers.contains(&user.username, user.groups.iter().map(|group| &*group.0)))
}

/// The request of a review, as the rules see it.
///
/// # Errors
/// If an object cannot be read.
pub fn request<'a>(kind: Kind, review: &'a AdmissionRequest<'_>) -> Result<Request<'a>, Failure> {
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

/// Puts a verdict into the words of the protocol.
pub fn outcome(verdict: &Verdict, policy_hash: &str) -> Outcome {
    if !verdict.concerned {
        return Outcome::default();
    }
    let warned = verdict.findings.iter().filter(|finding| finding.mode == Mode::Warn);
    let denial = denial(verdict);
    let decision = if denial.is_some() { "denied" } else { "allowed" };
    let mut audit = vec![("decision", decision.to_owned()), ("policy", policy_hash.to_owned())];
    if !verdict.findings.is_empty() {
        let mut rules: Vec<_> = verdict.findings.iter().map(|finding| finding.rule.id).collect();
        rules.dedup();
        audit.push(("rules", rules.join(",")));
    }
    Outcome {
        patch: verdict.patch.clone(),
        denial,
        warnings: warned.map(ToString::to_string).collect(),
        audit,
    }
}

fn denial(verdict: &Verdict) -> Option<Denial> {
    let denials: Vec<&Finding> = verdict.denials().collect();
    let first = denials.first()?;
    let code = if denials.iter().any(|finding| finding.code == Code::Forbidden) {
        DenialCode::Forbidden
    } else if denials.iter().any(|finding| finding.code == Code::Invalid) {
        DenialCode::Invalid
    } else {
        DenialCode::TooManyRequests
    };
    // A delay to wait would put a controller's worker to sleep.
    let retry = code == DenialCode::TooManyRequests && !verdict.by_controller;
    let mut message = String::new();
    for finding in &denials {
        let _ = write!(message, "{}{finding}", if message.is_empty() { "" } else { "\n" });
    }
    let _ = write!(message, " (codex-k8s-webhook explain {})", first.rule.id);
    let causes = denials.iter().map(|finding| Cause {
        reason: finding.rule.id,
        // Of a 422, kubectl shows the causes and not the message.
        message: format!("{}: found {}; {}", finding.rule.id, finding.found, finding.remedy),
        field: finding.path.clone(),
    });
    Some(Denial { code, message, retry_after_seconds: retry.then_some(1), causes: causes.collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache that has not heard of any namespace yet, over an API server that has one.
    struct Behind;

    impl Lookup for Behind {
        async fn get(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
            self.get_fresh(name).await
        }

        async fn get_fresh(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
            let young = ManagedNamespace {
                name: name.into(),
                mode: codex_k8s_shared::run::RuntimeMode::FullEnv,
                run_id: "r1".into(),
                project_id: "p1".into(),
                requested_by: None,
                correlation_id: None,
                expires_at: None,
                terminating: false,
                ready: true,
                waits_for: None,
            };
            Ok((name == "codex-issue-young").then(|| Arc::new(young)))
        }

        fn holders(&self, _: &str) -> Vec<Arc<ManagedNamespace>> {
            Vec::new()
        }

        fn holders_in(&self, _: &Scope, _: &str, _: u32) -> Holders {
            Holders::default()
        }

        fn cached(&self, _: &str) -> Option<Arc<ManagedNamespace>> {
            None
        }

        fn changes(&self) -> watch::Receiver<u64> {
            watch::channel(0).1
        }
    }

    async fn hold_by(user: &str) -> Outcome {
        let namespace = |annotations: &str| {
            format!(
                r#"{{"metadata": {{"name": "codex-issue-young", "labels": {{"codex-k8s.dev/managed-by":
                "codex-k8s-worker"}}, "annotations": {annotations}}}}}"#
            )
        };
        let until = (Timestamp::now() + jiff::SignedDuration::from_hours(1)).strftime("%Y-%m-%dT%H:%M:%SZ");
        let body = format!(
            r#"{{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {{"uid": "u",
            "kind": {{"group": "", "version": "v1", "kind": "Namespace"}}, "name": "codex-issue-young",
            "operation": "UPDATE", "userInfo": {{"username": "{user}"}}, "object": {}, "oldObject": {}}}}}"#,
            namespace(&format!(r#"{{"codex-k8s.dev/hold": "{until} looking into it"}}"#)),
            namespace("{}"),
        );
        let engine = Engine::new(RunPolicy::default(), Behind, Arc::default());
        engine.review(Entry::Validate, &crate::review::parse(body.as_bytes()).unwrap(), Instant::now()).await
    }

    #[tokio::test]
    async fn an_agent_of_a_namespace_younger_than_the_cache_is_still_an_agent() {
        let agent = hold_by("system:serviceaccount:codex-issue-young:codex-runner").await;
        assert!(agent.denial.is_some_and(|denial| denial.message.starts_with("LEASE005: ")));
        assert!(hold_by("system:serviceaccount:ci:deployer").await.denial.is_none());
        assert!(hold_by("jane").await.denial.is_none());
    }
}
