//! The baseline of a run namespace: only the platform edits, strips or deletes it, and the platform itself is never
//! refused.

use std::time::Duration;

use codex_k8s_tests::{Identity, eventually};
use serde_json::{Value, json};

use crate::harness::*;

const STRIPPED: &str = "metadata.labels";

/// Every baseline object, with a change that would widen it and the field that the change is in.
fn widened() -> [(&'static str, &'static str, Value, &'static str); 5] {
    let star = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
    let everybody =
        json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:authenticated"}]);
    let large = json!([{"type": "Container", "default": {"cpu": "64"}, "defaultRequest": {"cpu": "1m"}}]);
    [
        ("serviceaccounts", "codex-runner", json!({"secrets": [{"name": "s"}]}), "secrets"),
        ("roles", "codex-runner", json!({"rules": star}), "rules"),
        ("rolebindings", "codex-runner", json!({"subjects": everybody}), "subjects"),
        ("resourcequotas", "codex-run-quota", json!({"spec": {"hard": {"pods": "2000"}}}), "spec.hard.pods"),
        ("limitranges", "codex-run-limits", json!({"spec": {"limits": large}}), "spec.limits"),
    ]
}

/// Users outside the platform: RBAC lets each of them do everything here.
fn strangers(namespace: &str) -> [Identity; 4] {
    [
        Identity::agent(namespace),
        Identity::developer(),
        Identity::Admin,
        Identity::service_account(namespace, "codex-k8s-worker"),
    ]
}

pub(crate) fn path(namespace: &str, plural: &str) -> String {
    let root = if plural.starts_with("role") { "/apis/rbac.authorization.k8s.io/v1" } else { "/api/v1" };
    format!("{root}/namespaces/{namespace}/{plural}")
}

#[track_caller]
pub(crate) fn get(path: String) -> Answer {
    Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null)
}

#[track_caller]
pub(crate) fn delete(identity: &Identity, path: String) -> Answer {
    Send { identity, method: "DELETE", path, content_type: JSON }.body(&Value::Null)
}

#[track_caller]
pub(crate) fn put(identity: &Identity, path: String, object: &Value) -> Answer {
    Send { identity, method: "PUT", path, content_type: JSON }.body(object)
}

/// The content of an object, without the fields that the API server manages.
pub(crate) fn essence(object: &Value) -> Value {
    json!([
        object["metadata"]["labels"],
        object["rules"],
        object["roleRef"],
        object["subjects"],
        object["spec"]
    ])
}

#[test]
fn no_one_but_the_platform_edits_a_baseline_object() {
    let namespace = managed();
    for (plural, name, change, field) in widened() {
        for identity in strangers(&namespace) {
            let at = format!("{}/{name}", path(&namespace, plural));
            patch_at(&identity, at, MERGE, &change).refused(
                403,
                "BASE001",
                field,
                "the baseline reconciler change",
            );
        }
    }
}

#[test]
fn no_one_but_the_platform_strips_a_baseline_object_of_its_label() {
    let namespace = managed();
    let bare = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": null}}});
    let other = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": "me"}}});
    for (plural, name, _, _) in widened() {
        for identity in strangers(&namespace) {
            let at = format!("{}/{name}", path(&namespace, plural));
            patch_at(&identity, at.clone(), MERGE, &bare).refused(403, "BASE001", STRIPPED, "Required value");
            patch_at(&identity, at, MERGE, &other).refused(403, "BASE001", STRIPPED, "Invalid value: \"me\"");
        }
    }
}

#[test]
fn no_one_but_the_platform_deletes_a_baseline_object() {
    let namespace = managed();
    for (plural, name, _, _) in widened() {
        for identity in strangers(&namespace) {
            let at = format!("{}/{name}", path(&namespace, plural));
            delete(&identity, at).refused(403, "BASE002", "metadata.name", name);
        }
    }
}

#[test]
fn a_baseline_object_is_not_deleted_among_others_either() {
    let namespace = managed();
    for (plural, name, _, _) in widened() {
        delete(&Identity::developer(), path(&namespace, plural)).refused(
            403,
            "BASE002",
            "metadata.name",
            name,
        );
        assert_eq!(get(format!("{}/{name}", path(&namespace, plural))).code, 200);
    }
}

#[test]
fn no_one_makes_an_object_that_looks_like_the_baseline() {
    let namespace = managed();
    let account = |name: &str, labels: Value| json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "labels": labels}});
    let accounts = path(&namespace, "serviceaccounts");
    for identity in strangers(&namespace) {
        create(&identity, &accounts, &account("codex-runner-readonly", json!({}))).refused(
            403,
            "BASE001",
            "metadata.name",
            "codex-runner-readonly",
        );
        let labelled = account("mine", json!({"codex-k8s.dev/managed-by": "codex-k8s-worker"}));
        create(&identity, &accounts, &labelled).refused(403, "BASE001", STRIPPED, "make baseline objects");
    }
    create(&Identity::agent(&namespace), &accounts, &account("mine", json!({"team": "a"}))).admitted();
}

#[test]
fn what_a_run_namespace_holds_beside_the_baseline_is_its_own() {
    let namespace = managed();
    let agent = Identity::agent(&namespace);
    let map =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}, "data": {"a": "b"}});
    create(&agent, &path(&namespace, "configmaps"), &map).admitted();
    let default = format!("{}/default", path(&namespace, "serviceaccounts"));
    eventually("default ServiceAccount", Duration::from_secs(10), || {
        (get(default.clone()).code == 200).then_some(())
    })
    .unwrap();
    let noted = json!({"metadata": {"annotations": {"team": "a"}}});
    patch_at(&agent, default.clone(), MERGE, &noted).admitted();
    delete(&agent, default.clone()).admitted();
    eventually("the cluster makes it again", Duration::from_secs(10), || {
        (get(default.clone()).code == 200).then_some(())
    })
    .unwrap();
}

#[test]
fn no_one_but_the_cluster_writes_a_quotas_status() {
    let namespace = managed();
    let at = format!("{}/codex-run-quota/status", path(&namespace, "resourcequotas"));
    let forged = json!({"status": {"hard": {"pods": "2000"}}});
    let bare = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": null}}});
    let mut everyone = strangers(&namespace).to_vec();
    everyone.extend([Identity::worker(), Identity::reconciler()]);
    for identity in everyone {
        patch_at(&identity, at.clone(), MERGE, &forged).refused(403, "BASE003", "status", "quota controller");
        patch_at(&identity, at.clone(), MERGE, &bare).refused(403, "BASE003", STRIPPED, "quota controller");
    }
    let counter = Identity::service_account("kube-system", "resourcequota-controller");
    patch_at(&counter, at, MERGE, &json!({"status": {"used": {"pods": "0"}}})).admitted();
}

#[test]
fn what_the_worker_widens_is_narrowed_on_its_way_in() {
    let namespace = managed();
    for (plural, name, change, _) in widened() {
        let at = format!("{}/{name}", path(&namespace, plural));
        let before = get(at.clone()).admitted();
        let stored = patch_at(&Identity::worker(), at.clone(), MERGE, &change).admitted();
        assert_eq!(essence(&stored), essence(&before), "{plural}");
        let bare = json!({"metadata": {"labels": null}});
        let stored = patch_at(&Identity::worker(), at, MERGE, &bare).admitted();
        assert_eq!(essence(&stored), essence(&before), "{plural}");
    }
}

#[test]
fn a_quota_that_would_count_nothing_counts_all_the_same() {
    let namespace = managed();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "codex-run-quota"},
        "spec": {"hard": {"pods": "2000"}, "scopes": ["Terminating"]}});
    let at = path(&namespace, "resourcequotas");
    delete(&Identity::worker(), format!("{at}/codex-run-quota")).admitted();
    // The worker or the reconciler may be first: the policy's values are stored either way.
    let created = create(&Identity::worker(), &at, &quota);
    assert!(created.code == 200 || created.code == 409, "{created:?}");
    let stored = get(format!("{at}/codex-run-quota")).admitted();
    assert_eq!((&stored["spec"]["scopes"], &stored["spec"]["hard"]["pods"]), (&Value::Null, &json!("20")));
    assert_eq!(label(&stored, "managed-by"), "codex-k8s-worker");
}

#[test]
fn what_the_worker_deletes_comes_back() {
    for (plural, name, _, _) in widened() {
        let namespace = managed();
        let at = format!("{}/{name}", path(&namespace, plural));
        let before = get(at.clone()).admitted();
        delete(&Identity::worker(), at.clone()).admitted();
        let back = eventually("it is made again", Duration::from_secs(20), || {
            let found = get(at.clone());
            (found.code == 200)
                .then_some(found.body)
                .filter(|found| found["metadata"]["uid"] != before["metadata"]["uid"])
        });
        assert_eq!(essence(&back.unwrap()), essence(&before), "{plural}");
    }
}

#[test]
fn a_run_namespace_ends_with_everything_that_guards_it() {
    let namespace = managed();
    delete_namespace(&Identity::worker(), &namespace).admitted();
    eventually("the namespace is gone", Duration::from_mins(1), || {
        (get(format!("/api/v1/namespaces/{namespace}")).code == 404).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}\n{}", get(format!("/api/v1/namespaces/{namespace}")).body));
}
