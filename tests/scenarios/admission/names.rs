//! The names, labels and run ids that a new namespace may have, and who may give them.

use std::time::Duration;

use codex_k8s_shared::keys::{KeyKind, PRIVILEGES};
use codex_k8s_tests::{Identity, eventually};
use serde_json::{Value, json};

use crate::harness::*;

/// The status code of an admin's read: 404 shows that nothing was created.
fn read_code(name: &str) -> u16 {
    let path = format!("/api/v1/namespaces/{name}");
    Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null).code
}

/// The five labels of a run namespace.
fn labelled(name: &str) -> Value {
    let mut object = namespace(name);
    for (key, value) in [
        ("managed-by", "codex-k8s-worker"),
        ("namespace-purpose", "run"),
        ("runtime-mode", "full-env"),
        ("run-id", "r1"),
        ("project-id", "p1"),
    ] {
        object = with_label(object, key, value);
    }
    object
}

fn everyone() -> [Identity; 5] {
    [
        Identity::developer(),
        Identity::worker(),
        Identity::platform_control_plane(),
        Identity::Admin,
        Identity::agent("codex-issue-x"),
    ]
}

#[test]
fn no_label_makes_a_namespace_of_another_name_managed_whoever_creates_it() {
    let number = unique();
    let names = [
        format!("payroll-{number}"),
        format!("codex-issues-{number}"),
        format!("evil-{number}-dev-1"),
        format!("codex-k8s-{number}-dev-1"),
        "codex-k8s-dev-01".to_owned(),
    ];
    for name in &names {
        for identity in everyone() {
            for object in [labelled(name), with_label(namespace(name), "run-id", "r1")] {
                let answer = create_namespace(&identity, &object);
                let causes = answer.body["details"]["causes"].as_array().map_or(0, Vec::len);
                assert_eq!(causes, 1, "one denial says all: {}", answer.body);
                answer.refused(403, "NS016", "metadata.name", "begins with \"codex-issue-\"");
            }
        }
        assert_eq!(read_code(name), 404);
    }
    let generated = json!({"apiVersion": "v1", "kind": "Namespace", "metadata":
        {"generateName": format!("payroll-{number}-"), "labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}}});
    create_namespace(&Identity::worker(), &generated).refused(403, "NS016", "metadata.name", "payroll");
    let path = "/api/v1/namespaces?labelSelector=codex-k8s.dev/managed-by".to_owned();
    let list = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
    let managed = list.body(&Value::Null).admitted();
    let of_any_name = |item: &Value| item["metadata"]["name"].as_str().unwrap().starts_with("payroll");
    assert!(!managed["items"].as_array().unwrap().iter().any(of_any_name));
}

#[test]
fn only_managers_create_a_slot_bare_or_labelled() {
    let name = slot_name();
    for identity in
        [Identity::developer(), Identity::Admin, Identity::reconciler(), Identity::agent("codex-issue-x")]
    {
        for object in [namespace(&name), labelled(&name)] {
            create_namespace(&identity, &object).refused(
                403,
                "NS017",
                "metadata.name",
                "only managers create slots",
            );
        }
    }
    assert_eq!(read_code(&name), 404);
    create_namespace(&Identity::worker(), &namespace(&name)).admitted();
    let stored = read_namespace(&name);
    assert_eq!(label(&stored, "managed-by"), "", "it is created bare: {stored}");
    let labels = slot_name();
    create_namespace(&Identity::worker(), &labelled(&labels)).admitted();
    assert_eq!(label(&read_namespace(&labels), "managed-by"), "codex-k8s-worker");
    let notes = format!("codex-k8s-dev-notes-{}", unique());
    create_namespace(&Identity::developer(), &namespace(&notes)).admitted();
    assert_eq!(read_code(&notes), 200);
}

/// A change that adds one of Kubernetes' own keys to a namespace.
fn addition(kind: KeyKind, key: &str) -> Value {
    let kind = if kind == KeyKind::Label { "labels" } else { "annotations" };
    json!({"metadata": {kind: {key: "true"}}})
}

#[test]
fn no_key_of_kubernetes_gives_a_run_namespace_privileges() {
    let name = managed();
    for privilege in PRIVILEGES {
        let added = addition(privilege.kind, privilege.key);
        for identity in [Identity::developer(), Identity::worker(), Identity::Admin, Identity::agent(&name)] {
            for subresource in ["", "/status"] {
                let path = format!("/api/v1/namespaces/{name}{subresource}");
                patch_at(&identity, path, MERGE, &added).refused(
                    403,
                    "NS018",
                    privilege.key,
                    "allowedPrivileges",
                );
            }
        }
        let mut stored = read_namespace(&name);
        json_patch::merge(&mut stored, &added);
        let path = format!("/api/v1/namespaces/{name}/finalize");
        Send { identity: &Identity::Admin, method: "PUT", path, content_type: JSON }.body(&stored).refused(
            403,
            "NS018",
            privilege.key,
            "",
        );
        let created = format!("codex-issue-{}", unique());
        let mut object = namespace(&created);
        json_patch::merge(&mut object, &added);
        for identity in [Identity::developer(), Identity::worker()] {
            create_namespace(&identity, &object).refused(403, "NS018", privilege.key, "");
        }
        assert_eq!(read_code(&created), 404);
    }
    let stored = read_namespace(&name);
    for privilege in PRIVILEGES {
        let metadata = stored["metadata"].to_string();
        assert!(!metadata.contains(privilege.key), "{stored}");
    }
}

#[test]
fn a_slot_with_privileges_does_not_become_managed() {
    let name = slot_name();
    create_namespace(&Identity::worker(), &namespace(&name)).admitted();
    let key = "resource.kubernetes.io/admin-access";
    merge(&Identity::developer(), &name, &addition(KeyKind::Label, key)).admitted();
    let mut labels =
        json!({"metadata": {"labels": labelled(&name)["metadata"]["labels"], "annotations": {}}});
    for (key, value) in lease("24h", 0) {
        labels["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value;
    }
    merge(&Identity::worker(), &name, &labels).refused(403, "NS018", key, "ResourceClaims with adminAccess");
    assert_eq!(label(&read_namespace(&name), "managed-by"), "");
    merge(&Identity::worker(), &name, &json!({"metadata": {"labels": {key: null}}})).admitted();
    labels["metadata"]["labels"]["codex-k8s.dev/run-id"] = name.as_str().into();
    merge(&Identity::worker(), &name, &labels).admitted();
    assert_eq!(label(&read_namespace(&name), "managed-by"), "codex-k8s-worker");
}

#[test]
fn a_managers_claim_of_a_run_id_wins_over_a_users() {
    let run_id = unique();
    let claim = |prefix: &str| with_label(namespace(&format!("{prefix}-{}", unique())), "run-id", &run_id);
    let developer = Identity::developer();
    let users = create_namespace(&developer, &claim("codex-issue")).admitted();
    eventually("the cache knows the user's namespace", Duration::from_secs(10), || {
        let again = create(&developer, "/api/v1/namespaces?dryRun=All", &claim("codex-run"));
        (again.code == 403).then_some(())
    })
    .unwrap();
    let name = users["metadata"]["name"].as_str().unwrap();
    create_namespace(&developer, &claim("codex-run")).refused(403, "NS004", "run-id", name);
    // A new namespace of the platform, and one that it passes on to the run.
    let platforms = create_namespace(&Identity::worker(), &claim("codex-run")).admitted();
    let platforms = platforms["metadata"]["name"].as_str().unwrap();
    assert_eq!(label(&read_namespace(platforms), "run-id"), run_id);
    eventually("the cache knows the platform's namespace", Duration::from_secs(10), || {
        let again = create(&Identity::worker(), "/api/v1/namespaces?dryRun=All", &claim("codex-run"));
        (again.code == 403).then_some(())
    })
    .unwrap();
    for identity in [&developer, &Identity::worker()] {
        create_namespace(identity, &claim("codex-run")).refused(403, "NS004", "run-id", "");
    }
}

#[test]
fn only_managers_claim_a_run_id_of_the_platforms_form() {
    let number: u32 = unique().trim_start_matches('t').parse().unwrap();
    let run_id = format!("{number:08x}-1111-4a06-b5e2-7c81d0f4a913");
    let names = [format!("codex-issue-run-{number:08x}1111"), format!("codex-issue-p-i7-r{number:08x}1111")];
    let own = with_label(namespace(&format!("codex-issue-{}", unique())), "run-id", &run_id);
    for identity in [Identity::developer(), Identity::Admin, Identity::agent("codex-issue-x")] {
        create_namespace(&identity, &own).refused(403, "NS019", "run-id", "only managers");
        for name in &names {
            create_namespace(&identity, &namespace(name)).refused(
                403,
                "NS019",
                "metadata.name",
                "only managers",
            );
            assert_eq!(read_code(name), 404);
        }
    }
    assert_eq!(read_code(own["metadata"]["name"].as_str().unwrap()), 404);
    let name = &names[1];
    create_namespace(&Identity::worker(), &with_label(namespace(name), "run-id", &run_id)).admitted();
    assert_eq!(label(&read_namespace(name), "run-id"), run_id);
}
