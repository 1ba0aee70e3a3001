//! Run namespaces: creation, identity, adoption, metadata, security, deletion.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

#[test]
fn a_namespace_created_by_name_alone_becomes_a_managed_one() {
    let name = format!("codex-issue-proj-i7-r{}", unique());
    let stored = create_namespace(&Identity::developer(), &namespace(&name)).admitted();
    assert_eq!(label(&stored, "managed-by"), "codex-k8s-worker");
    assert_eq!(label(&stored, "namespace-purpose"), "run");
    assert_eq!(label(&stored, "runtime-mode"), "full-env");
    assert_eq!(label(&stored, "project-id"), "proj");
    assert_eq!(label(&stored, "issue-number"), "7");
    assert!(name.ends_with(&format!("r{}", label(&stored, "run-id"))));
    assert_eq!(annotation(&stored, "requested-by"), "jane");
    assert_eq!(annotation(&stored, "namespace-lease-ttl"), "24h0m0s");
    assert_eq!(stored["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    assert_eq!(stored["metadata"]["labels"]["pod-security.kubernetes.io/audit"], "restricted");
}

#[test]
fn kubectl_create_apply_and_server_side_apply_all_get_it_mutated() {
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    for args in [vec!["create"], vec!["apply"], vec!["apply", "--server-side"]] {
        let name = format!("codex-run-{}", unique());
        let mut args = args.clone();
        args.extend(["-f", "-"]);
        kubectl.succeed(&args, &namespace(&name).to_string()).unwrap();
        assert_eq!(label(&read_namespace(&name), "managed-by"), "codex-k8s-worker");
        // Applying once more changes nothing and is not refused.
        if args[0] == "apply" {
            kubectl.succeed(&args, &namespace(&name).to_string()).unwrap();
        }
    }
}

#[test]
fn a_generated_name_gets_a_managed_namespace_too() {
    let object =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "codex-issue-"}});
    let stored = create_namespace(&Identity::developer(), &object).admitted();
    assert_eq!(label(&stored, "managed-by"), "codex-k8s-worker");
    assert_eq!(label(&stored, "run-id"), "unknown");
    assert!(stored["metadata"]["name"].as_str().unwrap().starts_with("codex-issue-"));
}

#[test]
fn a_dry_run_is_mutated_and_evaluated_and_stores_nothing() {
    let name = format!("codex-issue-{}", unique());
    let path = "/api/v1/namespaces?dryRun=All";
    let shown = create(&Identity::developer(), path, &namespace(&name)).admitted();
    assert_eq!(label(&shown, "managed-by"), "codex-k8s-worker");
    let bad = with_label(namespace(&name), "surprise", "x");
    create(&Identity::developer(), path, &bad).refused(403, "NS009", "codex-k8s.dev/surprise", "no such key");
    create_namespace(&Identity::developer(), &namespace(&name)).admitted();
}

#[test]
fn a_namespace_of_another_name_without_labels_is_left_as_it_is() {
    let stored = read_namespace(&unmanaged());
    assert_eq!(label(&stored, "managed-by"), "");
    assert_eq!(annotation(&stored, "requested-by"), "");
    let lookalike = format!("codex-issues-{}", unique());
    let stored = create_namespace(&Identity::developer(), &namespace(&lookalike)).admitted();
    assert_eq!(label(&stored, "managed-by"), "", "the prefix ends at its dash");
}

#[test]
fn a_foreign_value_of_a_constant_label_is_refused() {
    let object = with_label(namespace(&format!("codex-issue-{}", unique())), "managed-by", "somebody");
    create_namespace(&Identity::Admin, &object).refused(
        403,
        "NS001",
        "codex-k8s.dev/managed-by",
        "must be \"codex-k8s-worker\"",
    );
}

#[test]
fn an_unknown_runtime_mode_is_invalid() {
    let object = with_label(namespace(&format!("codex-issue-{}", unique())), "runtime-mode", "god");
    create_namespace(&Identity::worker(), &object).refused(
        422,
        "NS001",
        "codex-k8s.dev/runtime-mode",
        "Invalid value: \"god\"",
    );
}

#[test]
fn an_issue_number_that_is_none_is_invalid() {
    let object = with_label(namespace(&format!("codex-issue-{}", unique())), "issue-number", "042");
    create_namespace(&Identity::worker(), &object).refused(
        422,
        "NS001",
        "codex-k8s.dev/issue-number",
        "Invalid value: \"042\"",
    );
}

#[test]
fn a_name_that_says_another_run_than_the_label_is_refused() {
    let object = with_label(namespace(&format!("codex-issue-run-{}", unique())), "run-id", "another");
    create_namespace(&Identity::worker(), &object).refused(
        403,
        "NS002",
        "codex-k8s.dev/run-id",
        "the name says run",
    );
}

#[test]
fn a_name_that_says_another_issue_than_the_label_is_refused() {
    let name = format!("codex-issue-proj-i7-r{}", unique());
    let object = with_label(namespace(&name), "issue-number", "8");
    create_namespace(&Identity::worker(), &object).refused(
        403,
        "NS002",
        "codex-k8s.dev/issue-number",
        "issue 7",
    );
}

#[test]
fn identity_labels_never_change_for_an_ordinary_user_or_an_admin() {
    let name = managed();
    for identity in [Identity::developer(), Identity::Admin, Identity::agent(&name)] {
        let change = relabel(&identity, &name, "run-id", &"finished".into());
        change.refused(403, "NS003", "codex-k8s.dev/run-id", "for the life of the run");
    }
    relabel(&Identity::developer(), &name, "agent-key", &"dev".into()).refused(
        403,
        "NS003",
        "agent-key",
        "only a manager adds it",
    );
}

#[test]
fn a_manager_rebinds_a_namespace_to_another_run_with_a_renewed_lease() {
    let name = managed();
    let run_id = unique();
    relabel(&Identity::worker(), &name, "run-id", &run_id.as_str().into()).refused(
        403,
        "NS003",
        "run-id",
        "renewed lease",
    );
    let mut patch = json!({"metadata": {"labels": {"codex-k8s.dev/run-id": run_id}, "annotations": {}}});
    for (key, value) in lease("24h", 5) {
        patch["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value;
    }
    let stored = merge(&Identity::worker(), &name, &patch).admitted();
    assert_eq!(label(&stored, "run-id"), run_id);
}

#[test]
fn a_second_living_namespace_for_a_run_is_refused() {
    let first = managed();
    let run_id = label(&read_namespace(&first), "run-id").to_owned();
    let second = with_label(namespace(&format!("codex-run-{}", unique())), "run-id", &run_id);
    let developer = Identity::developer();
    // The cache follows the watch: retry until it has caught up, as a client would.
    codex_k8s_tests::eventually(
        "the cache knows the first namespace",
        std::time::Duration::from_secs(10),
        || {
            let path = "/api/v1/namespaces?dryRun=All";
            (create(&developer, path, &second).code == 403).then_some(())
        },
    )
    .unwrap();
    create_namespace(&developer, &second).refused(403, "NS004", "codex-k8s.dev/run-id", &first);
}

#[test]
fn an_existing_namespace_is_not_adopted_by_anybody() {
    let name = unmanaged();
    for identity in [Identity::developer(), Identity::worker(), Identity::Admin] {
        let adoption = relabel(&identity, &name, "managed-by", &"codex-k8s-worker".into());
        adoption.refused(403, "NS006", "codex-k8s.dev/managed-by", "exists and is not managed");
    }
}

#[test]
fn adoption_in_two_steps_fails_at_the_first() {
    let name = unmanaged();
    relabel(&Identity::developer(), &name, "run-id", &"r1".into()).refused(
        403,
        "NS006",
        "run-id",
        "not managed",
    );
    // An annotation alone claims nothing; the label that would make it count is still refused.
    annotate(
        &Identity::developer(),
        &name,
        &[("namespace-lease-expires-at", &"2026-01-01T00:00:00Z".into())],
    )
    .admitted();
    relabel(&Identity::developer(), &name, "managed-by", &"codex-k8s-worker".into()).refused(
        403,
        "NS006",
        "managed-by",
        "",
    );
}

#[test]
fn managed_labels_are_never_stripped_however_it_is_tried() {
    let name = managed();
    let nothing = Value::Null;
    let key = "metadata.labels[\"codex-k8s.dev/managed-by\"]";
    let main = format!("/api/v1/namespaces/{name}");
    let before = read_namespace(&name);
    let strip = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": nothing}}});
    let remove = json!([{"op": "remove", "path": "/metadata/labels/codex-k8s.dev~1managed-by"}]);
    for identity in [Identity::developer(), Identity::worker(), Identity::agent(&name), Identity::Admin] {
        for (content_type, patch) in [(MERGE, &strip), (STRATEGIC, &strip), (JSON_PATCH, &remove)] {
            patch_at(&identity, main.clone(), content_type, patch).restored(&before);
        }
        patch_at(&identity, format!("{main}/status"), MERGE, &strip).refused(
            403,
            "NS007",
            key,
            "must stay \"codex-k8s-worker\"",
        );
    }
}

#[test]
fn a_label_that_a_replacement_leaves_out_is_restored_and_finalize_is_refused() {
    let name = managed();
    let before = read_namespace(&name);
    let replace = |subresource: &str| {
        let mut stored = before.clone();
        stored["metadata"]["labels"].as_object_mut().unwrap().remove("codex-k8s.dev/run-id");
        let path = format!("/api/v1/namespaces/{name}{subresource}");
        Send { identity: &Identity::Admin, method: "PUT", path, content_type: JSON }.body(&stored)
    };
    replace("/finalize").refused(403, "NS007", "codex-k8s.dev/run-id", "must stay");
    replace("").restored(&before);
}

#[test]
fn server_side_apply_with_force_does_not_change_identity_either() {
    let name = managed();
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "labels": {"codex-k8s.dev/runtime-mode": "code-only"}}});
    let path = format!("/api/v1/namespaces/{name}?fieldManager=me&force=true");
    patch_at(&Identity::developer(), path, APPLY, &object).refused(
        403,
        "NS003",
        "runtime-mode",
        "must stay \"full-env\"",
    );
}

#[test]
fn protected_namespaces_are_never_managed() {
    for (identity, name) in [(Identity::Admin, "kube-system"), (Identity::worker(), "default")] {
        let adoption = relabel(&identity, name, "managed-by", &"codex-k8s-worker".into());
        adoption.refused(403, "NS008", "codex-k8s.dev/managed-by", "protected");
    }
    let home = with_label(namespace("codex-k8s-prod"), "run-id", "r1");
    create_namespace(&Identity::worker(), &home).refused(403, "NS008", "run-id", "codex-k8s-prod");
}

#[test]
fn the_platforms_home_is_created_as_ever() {
    let stored = create_namespace(&Identity::Admin, &namespace("codex-k8s-system")).admitted();
    assert_eq!(label(&stored, "managed-by"), "");
}

#[test]
fn keys_that_the_contract_does_not_know_are_refused() {
    let name = managed();
    relabel(&Identity::worker(), &name, "Managed-By", &"x".into()).refused(
        403,
        "NS009",
        "Managed-By",
        "no such key",
    );
    annotate(&Identity::developer(), &name, &[("notes", &"x".into())]).refused(
        403,
        "NS009",
        "codex-k8s.dev/notes",
        "no such key",
    );
    let legacy = json!({"metadata": {"labels": {"codexk8s.io/managed-by": "x"}}});
    merge(&Identity::developer(), &name, &legacy).refused(
        403,
        "NS009",
        "codexk8s.io/managed-by",
        "no such key",
    );
    let own = json!({"metadata": {"labels": {"team": "a"}, "annotations": {"example.dev/notes": "x"}}});
    merge(&Identity::developer(), &name, &own).admitted();
}

#[test]
fn who_requested_cannot_be_forged_at_creation_or_changed_later() {
    let forged = with_annotation(namespace(&format!("codex-issue-{}", unique())), "requested-by", "alice");
    create_namespace(&Identity::developer(), &forged).refused(
        403,
        "NS010",
        "requested-by",
        "must be \"jane\"",
    );
    let name = managed();
    annotate(&Identity::worker(), &name, &[("requested-by", &"alice".into())]).refused(
        403,
        "NS010",
        "requested-by",
        "must stay \"jane\"",
    );
    annotate(&Identity::worker(), &name, &[("requested-by", &Value::Null)]).restored(&read_namespace(&name));
}

#[test]
fn only_the_reconciler_says_that_a_baseline_is_ready() {
    let not_ready = with_annotation(
        namespace(&format!("codex-issue-{}", unique())),
        "baseline-ready-at",
        "2026-01-01T00:00:00Z",
    );
    create_namespace(&Identity::worker(), &not_ready).refused(
        403,
        "NS011",
        "baseline-ready-at",
        "only the reconciler",
    );
    let name = managed();
    let ready = [("baseline-ready-at", &Value::from("2026-01-01T00:00:00Z"))];
    annotate(&Identity::worker(), &name, &ready).refused(
        403,
        "NS011",
        "baseline-ready-at",
        "only the reconciler",
    );
    let reconciler = Identity::service_account("codex-k8s-guard", "codex-k8s-reconcile");
    annotate(&reconciler, &name, &ready).admitted();
}

#[test]
fn only_managers_change_correlation_id_and_fingerprint() {
    let name = managed();
    for key in ["correlation-id", "runtime-fingerprint-hash"] {
        annotate(&Identity::developer(), &name, &[(key, &"x".into())]).refused(
            403,
            "NS011",
            key,
            "only a manager",
        );
        annotate(&Identity::worker(), &name, &[(key, &"x".into())]).admitted();
    }
}

#[test]
fn finalizers_and_owners_are_refused() {
    let name = managed();
    let finalizer = json!({"metadata": {"finalizers": ["example.dev/stay"]}});
    merge(&Identity::developer(), &name, &finalizer).refused(
        403,
        "NS012",
        "metadata.finalizers",
        "example.dev/stay",
    );
    let path = format!("/api/v1/namespaces/{name}/status");
    let owner = json!({"metadata": {"ownerReferences":
        [{"apiVersion": "example.dev/v1", "kind": "Tenant", "name": "t", "uid": "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"}]}});
    patch_at(&Identity::Admin, path, MERGE, &owner).refused(
        403,
        "NS012",
        "metadata.ownerReferences",
        "example.dev/v1/Tenant",
    );
}

#[test]
fn spec_finalizers_are_not_emptied_on_a_living_namespace() {
    let name = managed();
    let mut stored = read_namespace(&name);
    stored["spec"]["finalizers"] = json!([]);
    let path = format!("/api/v1/namespaces/{name}/finalize");
    let emptied = Send { identity: &Identity::Admin, method: "PUT", path, content_type: JSON }.body(&stored);
    emptied.refused(403, "NS013", "spec.finalizers", "they stay \"kubernetes\"");
}

#[test]
fn pod_security_is_never_lowered_and_may_be_raised() {
    let name = managed();
    let level = |level: Value| json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce": level}}});
    merge(&Identity::Admin, &name, &level("privileged".into())).refused(
        403,
        "NS014",
        "pod-security.kubernetes.io/enforce",
        "",
    );
    merge(&Identity::Admin, &name, &level(Value::Null)).restored(&read_namespace(&name));
    let old = json!({"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.0"}}});
    merge(&Identity::developer(), &name, &old).refused(403, "NS014", "enforce-version", "latest");
    merge(&Identity::developer(), &name, &level("restricted".into())).admitted();
    merge(&Identity::developer(), &name, &level("baseline".into())).refused(
        403,
        "NS014",
        "enforce",
        "never lowered",
    );
}

#[test]
fn a_namespace_whose_lease_lives_is_deleted_by_the_platform_only() {
    let name = managed();
    let collector = Identity::service_account("codex-k8s-guard", "codex-k8s-gc");
    for identity in [Identity::developer(), Identity::Admin, Identity::agent(&name), collector] {
        delete_namespace(&identity, &name).refused(
            403,
            "NS015",
            "namespace-lease-expires-at",
            "the lease lives",
        );
    }
    delete_namespace(&Identity::worker(), &name).admitted();
}

#[test]
fn a_managed_namespace_with_content_terminates_fully() {
    let name = managed();
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    create(&Identity::worker(), &format!("/apis/batch/v1/namespaces/{name}/jobs"), &job).admitted();
    delete_namespace(&Identity::worker(), &name).admitted();
    codex_k8s_tests::eventually("the namespace is gone", std::time::Duration::from_mins(1), || {
        let path = format!("/api/v1/namespaces/{name}");
        let read =
            Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
        (read.code == 404).then_some(())
    })
    .unwrap();
}

#[test]
fn a_slot_is_created_bare_and_labelled_later_by_a_manager_only() {
    let name = slot_name();
    let stored = create_namespace(&Identity::platform_control_plane(), &namespace(&name)).admitted();
    assert_eq!(label(&stored, "managed-by"), "", "a slot is born bare");
    let mut labels = json!({"metadata": {"labels": {
        "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
        "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": name, "codex-k8s.dev/project-id": "proj",
    }, "annotations": {"codex-k8s.dev/correlation-id": "c1"}}});
    for (key, value) in lease("24h", 0) {
        labels["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value;
    }
    merge(&Identity::developer(), &name, &labels).refused(403, "NS006", "managed-by", "not managed");
    let stored = merge(&Identity::worker(), &name, &labels).admitted();
    assert_eq!(
        stored["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "privileged",
        "its stack builds on the host network"
    );
    assert!(annotation(&stored, "requested-by").ends_with(":codex-k8s-worker"));
}
