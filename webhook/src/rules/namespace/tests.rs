//! Tests of names, claims and holds under policies and clocks that are hard to arrange on a real API server.

use std::sync::Arc;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::{Value, json};

use crate::rules::tests::{request, run_namespace};
use crate::rules::{Entry, Facts, Kind, ManagedNamespace, decide};

const WORKER: &str = "system:serviceaccount:codex-k8s-prod:codex-k8s-worker";
const CREATED: &str = "2026-02-01T12:00:00Z";

/// Returns the rules that deny a write, each once.
fn refusals(
    policy: &RunPolicy,
    facts: &Facts,
    user: &str,
    old: Option<&Value>,
    new: &Value,
) -> Vec<&'static str> {
    let evaluated = request(user, Kind::Namespace, old.cloned(), Some(new.clone()));
    let mut object = new.clone();
    json_patch::patch(&mut object, &decide(policy, facts, &evaluated, Entry::Mutate).patch).unwrap();
    let evaluated = request(user, Kind::Namespace, old.cloned(), Some(object));
    let verdict = decide(policy, facts, &evaluated, Entry::Validate);
    let mut rules: Vec<_> = verdict.denials().map(|finding| finding.rule.id).collect();
    rules.dedup();
    rules
}

fn created(user: &str, object: &Value) -> Vec<&'static str> {
    refusals(&RunPolicy::default(), &Facts::at(CREATED.parse().unwrap()), user, None, object)
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

fn claiming(name: &str, run_id: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"codex-k8s.dev/run-id": run_id}}})
}

#[test]
fn a_label_of_the_contract_needs_the_name_of_a_run() {
    for user in ["jane", WORKER] {
        for name in ["payroll-x", "codex-issue", "codex-issues-1", "codex-k8s-dev-0", "other-dev-1"] {
            assert_eq!(created(user, &claiming(name, "r1")), ["NS016"], "{name}");
            assert_eq!(created(user, &named(name)), [""; 0], "{name}");
        }
        assert_eq!(created(user, &claiming("codex-issue-x", "r1")), [""; 0]);
        assert_eq!(created(user, &claiming("codex-k8s-prod", "r1")), ["NS008"], "with its own reason");
    }
    let look_alike = json!({"metadata": {"name": "payroll", "labels": {"codex-k8s.dev/Run-Id": "r1"}}});
    assert_eq!(created("jane", &look_alike), [""; 0], "it has no effect");
}

#[test]
fn without_prefixes_and_slots_no_namespace_becomes_managed() {
    let mut policy = RunPolicy::default();
    policy.namespaces.prefixes.clear();
    policy.namespaces.slot_projects.clear();
    let facts = Facts::at(CREATED.parse().unwrap());
    assert_eq!(refusals(&policy, &facts, WORKER, None, &claiming("codex-issue-1", "r1")), ["NS016"]);
}

#[test]
fn a_slot_is_created_bare_or_labelled_by_managers_alone() {
    for object in [named("codex-k8s-dev-1"), claiming("codex-k8s-dev-1", "r1")] {
        assert_eq!(created("jane", &object), ["NS017"]);
        assert_eq!(created("system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile", &object), ["NS017"]);
        assert_eq!(created(WORKER, &object), [""; 0]);
    }
    let evaluated = request(WORKER, Kind::Namespace, None, Some(named("codex-k8s-dev-1")));
    let facts = Facts::at(CREATED.parse().unwrap());
    let mutated = decide(&RunPolicy::default(), &facts, &evaluated, Entry::Mutate);
    assert!(mutated.patch.0.is_empty(), "it stays bare: {:?}", mutated.patch);
    assert_eq!(created("jane", &named("codex-k8s-dev-notes")), [""; 0]);
}

fn holder(requested_by: Option<&str>) -> Facts {
    let holder =
        ManagedNamespace { requested_by: requested_by.map(Into::into), ..run_namespace("codex-issue-1") };
    Facts { run_holders: vec![Arc::new(holder)], ..Facts::at(CREATED.parse().unwrap()) }
}

#[test]
fn a_manager_gives_way_only_to_what_may_be_the_platforms() {
    let mut policy = RunPolicy::default();
    let second = claiming("codex-issue-2", "r1");
    for (requested_by, refused) in [(Some("jane"), false), (Some(WORKER), true), (None, true)] {
        let facts = holder(requested_by);
        let expected: &[&str] = if refused { &["NS004"] } else { &[] };
        assert_eq!(refusals(&policy, &facts, WORKER, None, &second), expected, "{requested_by:?}");
        assert_eq!(refusals(&policy, &facts, "jane", None, &second), ["NS004"]);
    }
    policy.identities.managers.groups.push("operators".to_owned());
    assert_eq!(refusals(&policy, &holder(Some("jane")), WORKER, None, &second), ["NS004"], "she may be one");
}

#[test]
fn run_ids_and_names_of_the_platforms_form_are_the_managers() {
    let run_id = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";
    for object in [
        claiming("codex-issue-x", run_id),
        named("codex-issue-run-3f2b8c1e9d47"),
        named("codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47"),
        named(&format!("codex-issue-{run_id}")),
    ] {
        assert_eq!(created("jane", &object), ["NS019"], "{object}");
        assert_eq!(created(WORKER, &object), [""; 0], "{object}");
    }
    assert_eq!(created("jane", &named("codex-issue-run-nightly")), [""; 0]);
}

/// Returns the rules that deny a hold of some hours from now, at an age of the namespace.
fn held(user: &str, age_days: i64, hours: i64, before: Option<&str>) -> Vec<&'static str> {
    let now = CREATED.parse::<jiff::Timestamp>().unwrap() + jiff::SignedDuration::from_hours(24 * age_days);
    let until = now + jiff::SignedDuration::from_hours(hours);
    let mut old = json!({"metadata": {"name": "codex-issue-1", "creationTimestamp": CREATED, "annotations": {},
        "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}}});
    if let Some(before) = before {
        old["metadata"]["annotations"]["codex-k8s.dev/hold"] = before.into();
    }
    let mut new = old.clone();
    new["metadata"]["annotations"]["codex-k8s.dev/hold"] = format!("{until} why").into();
    refusals(&RunPolicy::default(), &Facts::at(now), user, Some(&old), &new)
}

#[test]
fn a_hold_that_is_renewed_every_week_ends_all_the_same() {
    for day in [0, 7, 14, 21, 28, 30] {
        assert_eq!(held("jane", day, 24 * 7, None), [""; 0], "day {day}");
    }
    for day in [31, 36, 37, 400] {
        assert_eq!(held("jane", day, 24 * 7, None), ["LEASE008"], "day {day}");
        assert_eq!(held(WORKER, day, 24 * 7, None), [""; 0], "day {day}");
    }
    let by_manager = "2026-03-15T12:00:00Z why";
    assert_eq!(held("jane", 37, 24, Some(by_manager)), [""; 0], "it ends sooner than before");
    assert_eq!(held("jane", 31, 24 * 8, None), ["LEASE007", "LEASE008"]);
}
