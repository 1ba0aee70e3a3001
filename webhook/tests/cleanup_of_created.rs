//! Checks that the garbage collector would delete every namespace that the rules let be created or become managed, once
//! it has expired.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod support;

use std::cell::Cell;
use std::collections::BTreeMap;

use codex_k8s_shared::cleanup::{self, Candidate, Outcome, Run, Work};
use codex_k8s_shared::keys;
use codex_k8s_shared::policy::{Creation, RunPolicy};
use codex_k8s_webhook::review::Entry;
use codex_k8s_webhook::rules::{self, Facts, Kind};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use support::{WORKER, request};

const NOW: &str = "2026-02-01T12:00:00Z";

/// One write: the hours since the previous one, its requester, and the change as a merge patch.
#[derive(Debug, Clone)]
struct Write {
    hours: i64,
    user: &'static str,
    change: Value,
}

fn some_of(all: &[&str]) -> impl Strategy<Value = Vec<String>> {
    let all: Vec<String> = all.iter().map(|&item| item.to_owned()).collect();
    let most = all.len();
    prop::sample::subsequence(all, 0..=most)
}

/// Generates policies that name run namespaces in many ways, and that the loader accepts.
fn policies() -> BoxedStrategy<RunPolicy> {
    let names = (
        some_of(&["codex-issue", "codex-run", "team", "team-a", "evil-dev"]),
        some_of(&["codex-k8s", "team", "team-a", "codex-issue", "evil"]),
        some_of(&["codex-k8s-prod", "team-dev-1"]),
        some_of(&["kube-system", "evil-dev-1", "payroll"]),
        any::<bool>(),
    );
    let valid = names.prop_filter_map(
        "the policy is invalid",
        |(prefixes, slots, platform, protected, by_managers)| {
            let mut policy = RunPolicy::default();
            policy.namespaces.prefixes = prefixes;
            policy.namespaces.slot_projects = slots;
            policy.namespaces.platform = platform;
            policy.namespaces.protected = protected;
            policy.namespaces.creation = if by_managers { Creation::Managers } else { Creation::Anyone };
            policy.check().is_ok().then_some(policy)
        },
    );
    valid.boxed()
}

fn names() -> BoxedStrategy<String> {
    let stems =
        ["codex-issue", "codex-run", "codex-k8s", "team", "team-a", "evil", "payroll", "codex-issues"];
    let ends = [
        "",
        "-x",
        "-dev-1",
        "-dev-0",
        "-dev-01",
        "-dev-2000000000",
        "-dev-x",
        "-prod",
        "-run-r1",
        "-p-i7-rr1",
        "-run-3f2b8c1e9d47",
    ];
    let built = (prop::sample::select(stems.to_vec()), prop::sample::select(ends.to_vec()))
        .prop_map(|(stem, end)| format!("{stem}{end}"));
    let fixed = prop::sample::select(vec!["kube-system", "codex-k8s-prod", "team-dev-1", "evil-dev-1"]);
    prop_oneof![8 => built, 1 => fixed.prop_map(str::to_owned), 1 => "[a-z]{1,6}(-dev-[0-9]{1,2})?"].boxed()
}

fn users() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        3 => Just(WORKER),
        3 => Just("jane"),
        1 => Just("system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile"),
        1 => Just("system:serviceaccount:codex-k8s-guard:codex-k8s-gc"),
        1 => Just("system:serviceaccount:kube-system:namespace-controller"),
        1 => Just("system:serviceaccount:codex-issue-x:codex-runner"),
    ]
}

/// Generates a value of a label or annotation: mostly the right one, or its removal.
fn values(right: &'static [&'static str]) -> impl Strategy<Value = Value> {
    let wrong = prop::sample::select(vec!["", "x", "run", "unknown", "codex-k8s-worker", "Full-Env", "7"]);
    prop_oneof![
        6 => prop::sample::select(right.to_vec()).prop_map(Value::from),
        1 => wrong.prop_map(Value::from),
        1 => Just(Value::Null),
    ]
}

fn changes(likely: f64) -> BoxedStrategy<Value> {
    let key = move |key: &'static str, right: &'static [&'static str], likely: f64| {
        prop::option::weighted(likely, values(right)).prop_map(move |value| (key, value)).boxed()
    };
    let labels = vec![
        key(keys::MANAGED_BY, &["codex-k8s-worker"], likely),
        key(keys::NAMESPACE_PURPOSE, &["run"], likely),
        key(keys::RUNTIME_MODE, &["full-env", "code-only"], likely),
        key(keys::RUN_ID, &["r1", "r2", "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"], likely),
        key(keys::PROJECT_ID, &["p", "q"], likely),
        key(keys::ISSUE_NUMBER, &["7"], 0.1),
        key("codex-k8s.dev/Managed-By", &["codex-k8s-worker"], 0.02),
        key(keys::POD_SECURITY_ENFORCE, &["privileged", "baseline", "restricted"], 0.1),
        key("resource.kubernetes.io/admin-access", &["true"], 0.02),
    ];
    let times = &["2026-02-01T12:00:00Z", "2026-02-02T12:00:00Z", "2026-02-03T12:00:00Z"];
    let annotations = vec![
        key(keys::NAMESPACE_LEASE_TTL, &["24h0m0s", "48h0m0s", "9999h0m0s"], likely / 4.0),
        key(keys::NAMESPACE_LEASE_EXPIRES_AT, times, likely / 4.0),
        key(keys::NAMESPACE_LEASE_UPDATED_AT, times, likely / 4.0),
        key(keys::HOLD, &["2026-02-03T12:00:00Z why", "9999-01-01T00:00:00Z why", "mine"], 0.1),
        key(keys::REQUESTED_BY, &["jane", WORKER], 0.05),
        key(keys::BASELINE_READY_AT, times, 0.05),
    ];
    let both = (labels, annotations).prop_map(|(labels, annotations)| {
        json!({"metadata": {"labels": written(&labels), "annotations": written(&annotations)}})
    });
    both.boxed()
}

fn written(all: &[(&'static str, Option<Value>)]) -> Value {
    let given = all.iter().filter_map(|(key, value)| Some(((*key).to_owned(), value.clone()?)));
    Value::Object(given.collect())
}

fn writes() -> BoxedStrategy<(Write, Vec<Write>)> {
    let write = |likely| {
        (0_i64..40, users(), changes(likely))
            .prop_map(|(hours, user, change)| Write { hours, user, change })
            .boxed()
    };
    let first = prop_oneof![write(0.01), write(0.3), write(0.9)];
    (first, prop::collection::vec(prop_oneof![write(0.05), write(0.9)], 0..4)).boxed()
}

/// Returns the object that the API server would store: mutated, then validated.
fn stored(
    policy: &RunPolicy,
    now: Timestamp,
    user: &str,
    old: Option<&Value>,
    mut new: Value,
    name: &str,
) -> Option<Value> {
    let facts = Facts { requester_is_managed: user.contains(":codex-runner"), ..Facts::at(now) };
    let made = request(user, Kind::Namespace, Some(new.clone()), old.cloned());
    let mutated = rules::decide(policy, &facts, &made, Entry::Mutate);
    json_patch::patch(&mut new, &mutated.patch).unwrap();
    new["metadata"]["name"] = name.into();
    let made = request(user, Kind::Namespace, Some(new.clone()), old.cloned());
    rules::decide(policy, &facts, &made, Entry::Validate).is_allowed().then_some(new)
}

fn candidate(object: &Value) -> Candidate {
    let texts = |key: &str| -> BTreeMap<String, String> {
        serde_json::from_value(object["metadata"][key].clone()).unwrap_or_default()
    };
    let created_at: Timestamp = object["metadata"]["creationTimestamp"].as_str().unwrap().parse().unwrap();
    Candidate {
        name: object["metadata"]["name"].as_str().unwrap().to_owned(),
        labels: texts("labels"),
        annotations: texts("annotations"),
        created_at: Some(created_at),
        run: Run::Ended { outcome: Outcome::Succeeded, at: Some(created_at) },
        work: Work::Idle,
        ..Candidate::default()
    }
}

#[test]
fn whatever_becomes_managed_is_deleted_once_it_is_over() {
    let (managed, renewed) = (Cell::new(0_u32), Cell::new(0_u32));
    let cases = 4_000;
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let space = (policies(), names(), any::<bool>(), writes());
    let outcome = TestRunner::new(config).run(&space, |(policy, name, generated, (first, later))| {
        let mut now: Timestamp = NOW.parse().unwrap();
        let mut object = json!({"metadata": {"name": name, "labels": {}, "annotations": {},
            "creationTimestamp": NOW}, "spec": {"finalizers": ["kubernetes"]}});
        if generated {
            // The API server sets the name only between the two calls.
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.remove("name");
            metadata.insert("generateName".to_owned(), name[..name.len() - 1].into());
        }
        json_patch::merge(&mut object, &first.change);
        let Some(mut object) = stored(&policy, now, first.user, None, object, &name) else { return Ok(()) };
        for write in later {
            now += SignedDuration::from_hours(write.hours);
            let mut new = object.clone();
            json_patch::merge(&mut new, &write.change);
            if let Some(new) = stored(&policy, now, write.user, Some(&object), new, &name) {
                renewed.set(renewed.get() + u32::from(new != object));
                object = new;
            }
        }
        let candidate = candidate(&object);
        if candidate.labels.contains_key(keys::MANAGED_BY) {
            managed.set(managed.get() + 1);
            let over = now + SignedDuration::from_hours(24 * 60);
            let verdict = cleanup::decide(&policy, over, &candidate);
            prop_assert!(matches!(verdict, cleanup::Verdict::Delete(_)), "{verdict:?} of {object}");
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    // Otherwise the property would be checked on almost no namespaces.
    assert!(managed.get() > cases / 50 && renewed.get() > cases / 50, "{managed:?} {renewed:?}");
}
