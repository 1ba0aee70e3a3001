//! Changes to a baseline, and their repair.

use std::time::{Duration, Instant};

use codex_k8s_tests::{Identity, eventually};
use http::Method;
use serde_json::{Value, json};

use crate::harness::{
    Client, TIMEOUT, annotation, at, baseline, guard, job, jobs, namespace, reconciles, unique,
};

const RECONCILER: &str = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";

/// A client that no rule keeps from changing a baseline.
fn insider() -> Client<'static> {
    Client::new(guard(), &Identity::reconciler())
}

/// A path with the field manager of `kubectl edit`.
fn by_hand(path: &str) -> String {
    format!("{path}?fieldManager=kubectl-edit")
}

/// An edit of each kind that grants more, or takes the object from the reconciler.
fn edit(kind: &str, namespace: &str) -> Value {
    match kind {
        "ServiceAccount" => json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": "somebody"}}}),
        "Role" => json!({"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]}),
        "RoleBinding" => {
            json!({"subjects": [{"kind": "ServiceAccount", "name": "default", "namespace": namespace}]})
        }
        "ResourceQuota" => json!({"spec": {"hard": {"pods": "1000"}}}),
        _ => json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "64"}}]}}),
    }
}

/// The reconciler's writes to a namespace's baseline and gate since a time, in order: resources and verbs.
fn written_by_us(namespace: &str, since: &str) -> Vec<String> {
    let ours = |event: &Value| {
        let agent = event["userAgent"].as_str().unwrap_or_default();
        event["impersonatedUser"]["username"] == RECONCILER
            && !agent.contains("kubectl")
            && event["objectRef"]["namespace"] == namespace
            && event["objectRef"]["resource"] != "events"
            && event["requestReceivedTimestamp"].as_str() > Some(since)
            && !event["requestURI"].as_str().unwrap_or_default().contains("kubectl-edit")
    };
    let mut events: Vec<_> = guard().control_plane.audit_events().into_iter().filter(ours).collect();
    events.sort_by_key(|event| event["requestReceivedTimestamp"].as_str().unwrap_or_default().to_owned());
    let told = |event: &Value| {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&event["verb"]), text(&event["objectRef"]["resource"]))
    };
    events.iter().map(told).collect()
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

fn notes(client: &Client<'_>, namespace: &str, reason: &str, kind: &str) -> Vec<String> {
    let events = client.get(&format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events"));
    let about = |event: &&Value| event["reason"] == reason && event["regarding"]["kind"] == kind;
    let events = events["items"].as_array().unwrap().iter().filter(about);
    events.map(|event| event["note"].as_str().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
fn noted(client: &Client<'_>, namespace: &str, reason: &str, kind: &str, words: &str) {
    let is_noted =
        || notes(client, namespace, reason, kind).iter().any(|note| note.contains(words)).then_some(());
    let found = eventually(&format!("an Event {reason} of {kind} with {words:?}"), TIMEOUT, is_noted);
    found.unwrap_or_else(|error| panic!("{error}; there are {:?}", notes(client, namespace, reason, kind)));
}

/// Waits until an object is as it was and the gate is open; returns how long that took.
fn repaired(client: &Client<'_>, namespace: &str, path: &str, was: &Value) -> Duration {
    let begun = Instant::now();
    let parts = |object: &Value| {
        ["rules", "subjects", "roleRef", "spec"]
            .map(|part| object[part].clone())
            .into_iter()
            .collect::<Vec<_>>()
    };
    let as_before = |object: &Value| {
        parts(object) == parts(was) && object["metadata"]["labels"] == was["metadata"]["labels"]
    };
    eventually(&format!("{path} is repaired"), TIMEOUT, || client.find(path).filter(as_before)).unwrap();
    let took = begun.elapsed();
    client.await_gate(namespace);
    took
}

#[test]
fn edited_stripped_or_deleted_objects_are_repaired_behind_a_closed_gate() {
    let client = insider();
    let name = client.ready_namespace();
    for (kind, path) in baseline(&name) {
        let was = client.get(&path);
        let stripped = json!({"metadata": {"labels": null}});
        for (what, change) in
            [("edited", Some(edit(kind, &name))), ("stripped", Some(stripped)), ("deleted", None)]
        {
            let (since, ready) = (now(), annotation(&client.get(&at(&name)), "baseline-ready-at").to_owned());
            match &change {
                Some(change) => drop(client.patch(&by_hand(&path), change)),
                None => drop(client.delete(&path)),
            }
            let took = repaired(&client, &name, &path, &was);
            println!("{kind} {what}: repaired after {} ms (ready since {ready})", took.as_millis());
            let resource = path.split('/').nth_back(1).unwrap().to_owned();
            let order =
                ["patch namespaces".to_owned(), format!("patch {resource}"), "patch namespaces".to_owned()];
            eventually(&format!("{order:?} in the audit log"), TIMEOUT, || {
                written_by_us(&name, &since).ends_with(&order).then_some(())
            })
            .unwrap_or_else(|error| panic!("{error}; found {:?}", written_by_us(&name, &since)));
        }
        noted(&client, &name, "BaselineRepaired", kind, "(last written by kubectl-edit)");
        noted(&client, &name, "BaselineRestored", kind, "it was missing");
    }
}

#[test]
fn a_role_binding_to_another_role_is_replaced() {
    let client = insider();
    let name = client.ready_namespace();
    let path = &baseline(&name)[2].1;
    let was = client.get(path);
    let mut other = was.clone();
    other["metadata"] = json!({"name": "codex-runner", "labels": was["metadata"]["labels"]});
    other["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"});
    let collection = path.trim_end_matches("/codex-runner");
    // The reconciler may create it first: try again until the other one wins.
    eventually("the other one is created", TIMEOUT, || {
        client.send(Method::DELETE, path, &Value::Null);
        client.send(Method::POST, &by_hand(collection), &other).is_ok().then_some(())
    })
    .unwrap();
    let took = repaired(&client, &name, path, &was);
    println!("RoleBinding with another roleRef: replaced after {} ms", took.as_millis());
    noted(
        &client,
        &name,
        "BaselineRepaired",
        "RoleBinding",
        "roleRef.name: found \"cluster-admin\", now \"codex-runner\"",
    );
}

/// Takes an object from the reconciler, so that it is owned by another manager under the same name.
fn make_foreign(client: &Client<'_>, path: &str) {
    client.patch(&by_hand(path), &json!({"metadata": {"labels": null, "managedFields": [{}]}}));
}

#[test]
fn a_foreign_object_is_reported_keeps_the_gate_closed_and_is_never_overwritten() {
    let client = insider();
    let name = client.ready_namespace();
    let path = &baseline(&name)[1].1;
    make_foreign(&client, path);
    let theirs = client.get(path);
    let waits_for = "Role codex-runner is owned by another manager";
    eventually("the gate is closed", TIMEOUT, || {
        let namespace = client.get(&at(&name));
        let told = annotation(&namespace, "baseline-waits-for") == waits_for;
        (told && annotation(&namespace, "baseline-ready-at").is_empty()).then_some(())
    })
    .unwrap();
    noted(
        &client,
        &name,
        "BaselineConflict",
        "Role",
        "delete it, or give it the label codex-k8s.dev/managed-by",
    );
    let refused = client.send(Method::POST, &jobs(&name), &job("early"));
    assert_eq!((refused.code, refused.retry_after), (429, Some(1)), "{refused:?}");
    assert!(refused.message().contains("GATE001") && refused.message().contains(waits_for), "{refused:?}");
    let (looks, told) =
        (reconciles(guard(), "reconcile_total"), reconciles(guard(), "baseline_conflicts_total"));
    eventually("it was looked at again", TIMEOUT, || {
        (reconciles(guard(), "reconcile_total") > looks).then_some(())
    })
    .unwrap();
    assert_eq!(client.get(path)["metadata"]["resourceVersion"], theirs["metadata"]["resourceVersion"]);
    // With the label, it belongs to the platform again.
    client.patch(path, &json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}}}));
    client.await_gate(&name);
    assert!(reconciles(guard(), "baseline_conflicts_total") >= told);
    assert_eq!(notes(&client, &name, "BaselineConflict", "Role").len(), 1, "told once");
}

#[test]
fn a_namespace_that_ends_is_left_alone() {
    let client = Client::new(guard(), &Identity::worker());
    let name = client.ready_namespace();
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.dev/held"]}});
    client.create(&format!("{}/configmaps", at(&name)), &held);
    client.delete(&at(&name));
    let since = now();
    for (kind, path) in baseline(&name) {
        eventually(&format!("{kind} is gone"), TIMEOUT, || client.find(&path).is_none().then_some(()))
            .unwrap();
    }
    // Another namespace is reconciled meanwhile, from beginning to end.
    client.ready_namespace();
    assert_eq!(written_by_us(&name, &since), Vec::<String>::new());
    client.patch(&format!("{}/configmaps/held", at(&name)), &json!({"metadata": {"finalizers": null}}));
    eventually("the namespace is gone", TIMEOUT, || client.find(&at(&name)).is_none().then_some(())).unwrap();
}

#[test]
fn what_is_not_managed_is_never_written_to() {
    let client = Client::new(guard(), &Identity::developer());
    let name = format!("payments-{}", unique());
    client.create("/api/v1/namespaces", &namespace(&name));
    // The object that most resembles ours, and is not: the label and the name, in a namespace that is not managed.
    let labels = json!({"codex-k8s.dev/managed-by": "codex-k8s-worker"});
    let looks_like_ours = json!({"metadata": {"name": "codex-runner", "labels": labels}});
    let path = format!("{}/serviceaccounts", at(&name));
    client.create(&path, &looks_like_ours);
    let own = format!("{path}/codex-runner");
    client.patch(&own, &json!({"metadata": {"annotations": {"example.dev/touched": "yes"}}}));
    client.delete(&own);
    client.ready_namespace();
    let ours = |event: &&Value| event["impersonatedUser"]["username"] == RECONCILER;
    let events = guard().control_plane.audit_events();
    let places: std::collections::BTreeSet<_> =
        events.iter().filter(ours).filter_map(|event| event["objectRef"]["namespace"].as_str()).collect();
    println!("the reconciler wrote in {} namespaces", places.len());
    let strange: Vec<_> = places.iter().filter(|place| !place.starts_with("codex-issue-")).collect();
    assert!(places.len() > 1 && strange.is_empty(), "{strange:?}");
}

#[test]
fn what_the_worker_keeps_deleting_comes_back_ever_later_and_the_log_names_the_setting() {
    let worker = Client::new(guard(), &Identity::worker());
    let name = Client::new(guard(), &Identity::developer()).ready_namespace();
    let path = &baseline(&name)[4].1;
    let mut gaps = Vec::new();
    for _ in 0..4 {
        worker.delete(path);
        let begun = Instant::now();
        eventually("the LimitRange is back", TIMEOUT, || worker.find(path)).unwrap();
        gaps.push(begun.elapsed().as_millis());
    }
    println!("a LimitRange that is deleted whenever it is there came back after {gaps:?} ms");
    let at_least = [0, 0, 1000, 3000];
    assert!(gaps.iter().zip(at_least).all(|(gap, least)| *gap >= least), "{gaps:?}");
    let log = std::fs::read_to_string(guard().file("reconcile.log")).unwrap();
    let warns = |line: &str| {
        line.contains("the object keeps being deleted; to remove it from the baseline, change the setting")
            && line.contains(&name)
            && line.contains("limitRange in baseline.fullEnv, codeOnly or slot")
    };
    assert!(log.lines().any(warns), "{}", guard().control_plane.log_tail("reconcile"));
    worker.await_gate(&name);
}
