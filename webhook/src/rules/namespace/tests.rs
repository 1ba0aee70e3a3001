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
    let near_miss = json!({"metadata": {"name": "payroll", "labels": {"codex-k8s.dev/Run-Id": "r1"}}});
    assert_eq!(created("jane", &near_miss), [""; 0], "it has no effect");
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

/// A managed namespace with all that an update does not remove.
fn whole() -> Value {
    json!({"metadata": {
        "name": "codex-issue-7",
        "creationTimestamp": "2026-02-01T08:00:00Z",
        "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker",
            "codex-k8s.dev/namespace-purpose": "run",
            "codex-k8s.dev/runtime-mode": "full-env",
            "codex-k8s.dev/run-id": "r1",
            "codex-k8s.dev/project-id": "p1",
            "codex-k8s.dev/issue-number": "7",
            "codex-k8s.dev/agent-key": "dev",
            "pod-security.kubernetes.io/enforce": "baseline",
            "pod-security.kubernetes.io/audit": "restricted",
            "example.com/team": "shop",
        },
        "annotations": {
            "codex-k8s.dev/requested-by": "jane",
            "codex-k8s.dev/correlation-id": "r1",
            "codex-k8s.dev/runtime-fingerprint-hash": "abc",
            "codex-k8s.dev/baseline-ready-at": "2026-02-01T08:00:01Z",
            "codex-k8s.dev/baseline-hash": "def",
            "codex-k8s.dev/namespace-lease-ttl": "24h0m0s",
            "codex-k8s.dev/namespace-lease-expires-at": "2026-02-02T08:00:00Z",
            "codex-k8s.dev/namespace-lease-updated-at": "2026-02-01T08:00:00Z",
            "codex-k8s.dev/hold": "a bug",
            "example.com/note": "seen",
        },
    }})
}

/// Returns what the mutating call makes of an update, its warnings, and the denials of the validating call if the
/// mutating one is skipped.
fn updated(user: &str, new: &Value) -> (Value, Vec<String>, Vec<&'static str>) {
    let (policy, facts) = (RunPolicy::default(), Facts::at(CREATED.parse().unwrap()));
    let update = request(user, Kind::Namespace, Some(whole()), Some(new.clone()));
    let mutated = decide(&policy, &facts, &update, Entry::Mutate);
    let mut stored = new.clone();
    json_patch::patch(&mut stored, &mutated.patch).unwrap();
    let verdict = decide(&policy, &facts, &update, Entry::Validate);
    (stored, mutated.warnings, verdict.denials().map(|finding| finding.rule.id).collect())
}

#[test]
fn what_an_update_leaves_out_is_restored_and_without_the_mutating_call_refused() {
    let others = ["codex-k8s.dev/hold", "example.com/team", "example.com/note"];
    for map in ["labels", "annotations"] {
        for key in whole()["metadata"][map].as_object().unwrap().keys() {
            let mut new = whole();
            new["metadata"][map].as_object_mut().unwrap().remove(key);
            let (stored, warnings, refused) = updated("jane", &new);
            if others.contains(&key.as_str()) {
                assert_eq!((stored, warnings, refused), (new, vec![], vec![]), "{key}");
                continue;
            }
            assert_eq!(stored, whole(), "{key}");
            assert_eq!(
                warnings,
                [format!("restored, because they cannot be removed from a run namespace: {key}")]
            );
            assert!(!refused.is_empty(), "{key}");
        }
    }
}

#[test]
fn a_namespace_that_is_replaced_by_its_manifest_keeps_all_but_what_is_the_users() {
    let (stored, warnings, refused) = updated("jane", &json!({"metadata": {"name": "codex-issue-7"}}));
    let mut expected = whole();
    for (map, key) in [
        ("labels", "example.com/team"),
        ("annotations", "example.com/note"),
        ("annotations", "codex-k8s.dev/hold"),
    ] {
        expected["metadata"][map].as_object_mut().unwrap().remove(key);
    }
    expected["metadata"].as_object_mut().unwrap().remove("creationTimestamp");
    assert_eq!(stored, expected);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(refused.contains(&"NS007"), "{refused:?}");
}

#[test]
fn what_its_owner_removes_or_changes_is_not_restored() {
    let mut new = whole();
    new["metadata"]["annotations"].as_object_mut().unwrap().remove("codex-k8s.dev/baseline-ready-at");
    let reconciler = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";
    assert_eq!(updated(reconciler, &new), (new.clone(), vec![], vec![]));
    new["metadata"]["annotations"]["codex-k8s.dev/runtime-fingerprint-hash"] = Value::Null;
    let (stored, ..) = updated(WORKER, &new);
    assert_eq!(stored["metadata"]["annotations"]["codex-k8s.dev/runtime-fingerprint-hash"], Value::Null);
    assert_eq!(stored["metadata"]["annotations"]["codex-k8s.dev/baseline-ready-at"], "2026-02-01T08:00:01Z");
    // The parts of a lease belong together: a new ttl is not completed by the old times.
    let mut new = whole();
    let annotations = new["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.insert("codex-k8s.dev/namespace-lease-ttl".to_owned(), "48h0m0s".into());
    annotations.remove("codex-k8s.dev/namespace-lease-expires-at");
    let (stored, warnings, _) = updated("jane", &new);
    assert_eq!((stored, warnings), (new, vec![]));
}
