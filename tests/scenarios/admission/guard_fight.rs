//! The platform at B writes its own values into the baseline again and again, and the reconciler does not fight it.

use std::time::Duration;

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::{Value, json};

use crate::guard::{delete, essence, get, path, put};
use crate::harness::*;

const RECONCILER: &str = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";

/// The values of the worker at B: a wide Role, and a quota on nothing but Pods.
fn values_of_b(namespace: &str) -> [(&'static str, &'static str, &'static str, Value); 4] {
    let rules = json!([
        {"apiGroups": [""], "resources": ["configmaps", "pods", "pods/exec", "resourcequotas", "limitranges",
            "serviceaccounts", "services"], "verbs": ["*"]},
        {"apiGroups": ["apps", "batch"], "resources": ["*"], "verbs": ["*"]},
    ]);
    let subject = json!([{"kind": "ServiceAccount", "name": "codex-runner", "namespace": namespace}]);
    [
        ("serviceaccounts", "codex-runner", "automountServiceAccountToken", json!(true)),
        ("roles", "codex-runner", "rules", rules),
        ("rolebindings", "codex-runner", "subjects", subject),
        ("resourcequotas", "codex-run-quota", "spec", json!({"hard": {"pods": "20"}})),
    ]
}

/// One round of the worker at B: it reads, sets label and values, and puts the whole object back.
fn ensure_of_b(namespace: &str) -> Vec<Value> {
    let ensure = |(plural, name, field, value): (&str, &str, &str, Value)| {
        let at = format!("{}/{name}", path(namespace, plural));
        loop {
            let mut object = get(at.clone()).admitted();
            object["metadata"]["labels"] = json!({"codex-k8s.dev/managed-by": "codex-k8s-worker"});
            object[field] = value.clone();
            let answer = put(&Identity::worker(), at.clone(), &object);
            // The quota controller wrote in between: the worker's next round follows.
            if answer.code != 409 {
                return answer.admitted();
            }
        }
    };
    values_of_b(namespace).into_iter().map(ensure).collect()
}

/// The reconciler's writes to objects in a namespace so far, as resource names.
fn written_by_the_reconciler(namespace: &str) -> Vec<String> {
    let events = cluster().audit_events();
    let by_us = events.iter().filter(|event| {
        event["impersonatedUser"]["username"] == RECONCILER && event["objectRef"]["namespace"] == namespace
    });
    let resources = by_us.filter_map(|event| event["objectRef"]["resource"].as_str());
    // The namespace itself carries the gate, and Events report what was done.
    resources.filter(|resource| !["namespaces", "events"].contains(resource)).map(str::to_owned).collect()
}

#[test]
fn bs_values_leave_what_is_stored_and_the_reconciler_has_nothing_to_write() {
    let namespace = managed();
    let limits = format!("{}/codex-run-limits", path(&namespace, "limitranges"));
    let read = || {
        values_of_b(&namespace)
            .map(|(plural, name, _, _)| get(format!("{}/{name}", path(&namespace, plural))).admitted())
    };
    let before = read();
    let written = written_by_the_reconciler(&namespace);
    let first = ensure_of_b(&namespace);
    for (before, after) in before.iter().zip(&first) {
        assert_eq!(essence(before), essence(after));
    }
    let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
    let again = ensure_of_b(&namespace);
    assert_eq!(
        first.iter().map(version).collect::<Vec<_>>(),
        again.iter().map(version).collect::<Vec<_>>(),
        "from the second round on, nothing is stored at all"
    );
    // Once the reconciler has reacted to this, it has seen everything before it.
    delete(&Identity::worker(), limits.clone()).admitted();
    eventually("the LimitRange is back", Duration::from_secs(20), || {
        (get(limits.clone()).code == 200).then_some(())
    })
    .unwrap();
    let mut expected = written;
    expected.push("limitranges".to_owned());
    let writes = || {
        let all = written_by_the_reconciler(&namespace);
        (all.len() >= expected.len() && all.last().is_some_and(|last| last == "limitranges")).then_some(all)
    };
    let all = eventually("the audit log tells of it", Duration::from_secs(10), writes)
        .unwrap_or_else(|error| panic!("{error}\n{}", cluster().audit_about(&namespace)));
    assert_eq!(all, expected);
}

#[test]
fn a_profile_of_b_that_the_policy_does_not_choose_keeps_the_name_in_the_policy() {
    let namespace = managed();
    let name = "codex-runner-readonly";
    let star = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let role = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": name}, "rules": star});
    let stored = ensure(&Identity::worker(), &path(&namespace, "roles"), &role);
    let profile = &codex_k8s_shared::policy::RunPolicy::default().baseline.read_only;
    assert_eq!(stored["rules"], serde_json::to_value(&profile.rules).unwrap());
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:serviceaccounts"}]});
    let stored = ensure(&Identity::worker(), &path(&namespace, "rolebindings"), &binding);
    assert_eq!((&stored["roleRef"]["kind"], &stored["roleRef"]["name"]), (&json!("Role"), &json!(name)));
    assert_eq!(stored["subjects"], json!([{"kind": "ServiceAccount", "name": name, "namespace": namespace}]));
}

#[test]
fn in_a_slot_the_limit_range_that_the_policy_does_not_want_is_the_managers_own() {
    let slot = slot();
    let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "codex-run-limits", "labels": {}},
        "spec": {"limits": [{"type": "Container", "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}]}});
    let at = path(&slot, "limitranges");
    let stored = create(&Identity::worker(), &at, &limits).admitted();
    assert_eq!(stored["spec"], limits["spec"]);
    assert_eq!(stored["metadata"]["labels"], Value::Null);
    patch_at(
        &Identity::agent(&slot),
        format!("{at}/codex-run-limits"),
        MERGE,
        &json!({"spec": {"limits": []}}),
    )
    .refused(403, "BASE001", "spec", "the baseline reconciler change");
    delete(&Identity::worker(), format!("{at}/codex-run-limits")).admitted();
}

#[test]
fn a_policy_that_takes_a_limit_away_takes_it_away_after_bs_rounds_as_well() {
    let guard = Guard::start_with_policy(playground(), "").unwrap();
    let namespace = "codex-issue-changing";
    let ask = |identity: &Identity, method, path: &str, body: &Value| {
        send(
            &guard.control_plane,
            &Send { identity, method, path: path.to_owned(), content_type: JSON },
            body,
        )
    };
    ask(&Identity::worker(), "POST", "/api/v1/namespaces", &crate::harness::namespace(namespace)).admitted();
    let at = format!("{}/codex-run-quota", path(namespace, "resourcequotas"));
    let quota = || ask(&Identity::Admin, "GET", &at, &Value::Null);
    let await_limits = |count: usize| {
        eventually("the quota has its limits", Duration::from_secs(30), || {
            let found = quota().body;
            (found["spec"]["hard"].as_object().map_or(0, serde_json::Map::len) == count).then_some(found)
        })
        .unwrap_or_else(|error| panic!("{error}\n{}", quota().body))
    };
    let mut object = await_limits(5);
    object["spec"]["hard"] = json!({"pods": "20"});
    object["metadata"].as_object_mut().unwrap().remove("resourceVersion");
    ask(&Identity::worker(), "PUT", &at, &object).admitted();
    await_limits(5);
    let set =
        "{access: candidate, resourceQuota: {name: codex-run-quota, hard: {pods: \"20\"}}, limitRange: null}";
    guard.write_policy(&format!("baseline: {{fullEnv: {set}}}\n")).unwrap();
    await_limits(1);
}
