//! Tests of bindings outside run namespaces: the namespaces that are looked up, and failed look-ups.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::sync::{Arc, Mutex};

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::quota::Scope;
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_webhook::engine::{Engine, Lookup, LookupError};
use codex_k8s_webhook::review::{self, DenialCode, Entry, Outcome};
use codex_k8s_webhook::rules::{Holders, ManagedNamespace};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

type Found = Result<Option<Arc<ManagedNamespace>>, LookupError>;

/// A lookup that contains `experiment`, cannot read `lost`, and records its calls.
#[derive(Debug, Clone, Default)]
struct SeenRequests(Arc<Mutex<Vec<String>>>);

impl Lookup for SeenRequests {
    async fn get(&self, name: &str) -> Found {
        self.get_fresh(name).await
    }

    async fn get_fresh(&self, name: &str) -> Found {
        if name.is_empty() {
            return Ok(None);
        }
        self.0.lock().unwrap().push(name.to_owned());
        match name {
            "experiment" => {
                let managed = support::managed(RuntimeMode::FullEnv);
                Ok(Some(Arc::new(ManagedNamespace { name: name.into(), ..managed })))
            }
            "lost" => Err(LookupError::Busy { name: name.to_owned() }),
            _ => Ok(None),
        }
    }

    fn holders(&self, _: &str) -> Vec<Arc<ManagedNamespace>> {
        Vec::new()
    }

    fn holders_in(&self, _: &Scope, _: &str, _: u32) -> Holders {
        Holders::default()
    }

    fn cached(&self, name: &str) -> Option<Arc<ManagedNamespace>> {
        let managed = support::managed(RuntimeMode::FullEnv);
        (name == "experiment").then(|| Arc::new(ManagedNamespace { name: name.into(), ..managed }))
    }

    fn changes(&self) -> watch::Receiver<u64> {
        watch::channel(0).1
    }
}

/// Returns the answer to a `ClusterRoleBinding` of accounts of these namespaces, and the look-ups.
async fn bind(old: &[&str], new: &[&str]) -> (Outcome, Vec<String>) {
    bind_as(RunPolicy::default(), &json!({"username": "jane"}), old, new).await
}

/// Returns the same as [`bind`], under a policy and for another user.
async fn bind_as(policy: RunPolicy, user: &Value, old: &[&str], new: &[&str]) -> (Outcome, Vec<String>) {
    let binding = |namespaces: &[&str]| {
        let account = |name: &&str| json!({"kind": "ServiceAccount", "name": "default", "namespace": name});
        json!({"metadata": {"name": "b"}, "subjects": namespaces.iter().map(account).collect::<Value>()})
    };
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "name": "b", "operation": "UPDATE", "userInfo": user,
        "kind": {"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "ClusterRoleBinding"},
        "object": binding(new), "oldObject": binding(old)}});
    let lookup = SeenRequests::default();
    let engine = Engine::new(policy, lookup.clone(), Arc::default());
    let body = body.to_string();
    let outcome =
        engine.review(Entry::Validate, &review::parse(body.as_bytes()).unwrap(), Instant::now()).await;
    let request = lookup.0.lock().unwrap().clone();
    (outcome, request)
}

/// Returns the answer to a Role in a namespace.
async fn grant_in(namespace: &str, policy: RunPolicy, user: &Value) -> Outcome {
    let body = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
        "uid": "u", "name": "r", "namespace": namespace, "operation": "CREATE", "userInfo": user,
        "kind": {"group": "rbac.authorization.k8s.io", "version": "v1", "kind": "Role"},
        "object": {"metadata": {"name": "r", "namespace": namespace}, "rules": []}}});
    let engine = Engine::new(policy, SeenRequests::default(), Arc::default());
    let body = body.to_string();
    engine.review(Entry::Validate, &review::parse(body.as_bytes()).unwrap(), Instant::now()).await
}

#[tokio::test]
async fn a_namespace_that_cannot_be_looked_up_is_never_taken_for_unmanaged() {
    let outcome = grant_in("lost", RunPolicy::default(), &json!({"username": "jane"})).await;
    let denial = outcome.denial.unwrap();
    assert_eq!(denial.code, DenialCode::TooManyRequests);
    assert_eq!(denial.message, "failed to read namespace lost in time; try again");
}

#[tokio::test]
async fn a_delay_to_wait_is_reported_to_people_and_never_to_a_controller_by_name_or_by_group() {
    let retry = async |user: Value| {
        let mut policy = RunPolicy::default();
        policy.identities.workload_controllers.groups.push("controllers".to_owned());
        grant_in("lost", policy, &user).await.denial.unwrap().retry_after_seconds
    };
    assert_eq!(retry(json!({"username": "jane"})).await, Some(1));
    assert_eq!(retry(json!({"username": "system:kube-scheduler"})).await, None);
    assert_eq!(retry(json!({"username": "argo", "groups": ["controllers"]})).await, None);
}

#[tokio::test]
async fn a_managed_namespace_of_any_name_is_found_in_the_cache_and_refused() {
    let (outcome, requested) = bind(&[], &["payments", "experiment"]).await;
    let denial = outcome.denial.unwrap();
    assert_eq!(denial.code, DenialCode::Forbidden);
    assert!(denial.message.starts_with("RBAC003: subjects[1]: "), "{}", denial.message);
    assert_eq!(requested, [""; 0]);
}

#[tokio::test]
async fn a_binding_of_thousands_of_other_namespaces_is_admitted_without_a_request() {
    let names: Vec<String> = (0..3000).map(|number| format!("payments-{number}")).collect();
    let mut subjects: Vec<&str> = names.iter().map(String::as_str).chain(["lost", "kube-system"]).collect();
    let (outcome, requested) = bind(&[], &subjects).await;
    assert!(outcome.denial.is_none() && requested.is_empty(), "{outcome:?} {requested:?}");
    for waits_for in ["codex-issue-not-created-yet", "codex-k8s-dev-9"] {
        subjects.push(waits_for);
        let (outcome, requested) = bind(&[], &subjects).await;
        let message = outcome.denial.unwrap().message;
        assert!(message.starts_with("RBAC003: subjects[3002]: "), "{message}");
        assert_eq!(requested, [""; 0], "its name says what it is");
        subjects.pop();
    }
}
