//! Ways round the rules about namespaces.

use codex_k8s_tests::Identity;
use serde_json::{Value, json};

use crate::harness::*;

const MANAGED_BY: &str = "metadata.labels[\"codex-k8s.dev/managed-by\"]";

fn at(name: &str, subresource: &str) -> String {
    format!("/api/v1/namespaces/{name}{subresource}")
}

#[track_caller]
fn put(identity: &Identity, name: &str, subresource: &str, object: &Value) -> Answer {
    Send { identity, method: "PUT", path: at(name, subresource), content_type: JSON }.body(object)
}

/// The labels that a manager writes on a bare slot.
fn slot_labels(run: &str) -> Value {
    let mut labels = json!({"metadata": {"labels": {
        "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
        "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": run, "codex-k8s.dev/project-id": "p",
    }, "annotations": {"codex-k8s.dev/correlation-id": "c1"}}});
    for (key, value) in lease("24h", 0) {
        labels["metadata"]["annotations"][format!("{DOMAIN}/{key}")] = value;
    }
    labels
}

#[test]
fn replacing_the_whole_of_the_labels_strips_nothing() {
    let name = managed();
    let metadata_name = json!({"kubernetes.io/metadata.name": name});
    let patches = [
        (JSON_PATCH, json!([{"op": "remove", "path": "/metadata/labels"}])),
        (JSON_PATCH, json!([{"op": "replace", "path": "/metadata/labels", "value": metadata_name}])),
        (
            JSON_PATCH,
            json!([{"op": "move", "from": "/metadata/labels/codex-k8s.dev~1managed-by", "path": "/metadata/labels/x"}]),
        ),
        (MERGE, json!({"metadata": {"labels": null}})),
        (STRATEGIC, json!({"metadata": {"labels": {"$patch": "replace"}}})),
    ];
    let before = read_namespace(&name);
    for (content_type, patch) in &patches {
        let after = patch_at(&Identity::Admin, at(&name, ""), content_type, patch).admitted();
        for (key, value) in before["metadata"]["labels"].as_object().unwrap() {
            assert_eq!(&after["metadata"]["labels"][key], value, "{patch}");
        }
        patch_at(&Identity::Admin, at(&name, "/status"), content_type, patch).refused(
            403,
            "NS007",
            MANAGED_BY,
            "must stay",
        );
    }
    merge(&Identity::Admin, &name, &json!({"metadata": {"labels": {"x": null}}})).restored(&before);
    for empty in [json!({}), Value::Null] {
        let mut stored = read_namespace(&name);
        stored["metadata"]["labels"] = empty.clone();
        put(&Identity::worker(), &name, "", &stored).restored(&before);
        for subresource in ["/status", "/finalize"] {
            let mut stored = read_namespace(&name);
            stored["metadata"]["labels"] = empty.clone();
            put(&Identity::worker(), &name, subresource, &stored).refused(403, "NS007", MANAGED_BY, "");
        }
    }
}

#[test]
fn an_applier_that_no_longer_applies_its_labels_does_not_take_them_away() {
    let name = format!("codex-issue-{}", unique());
    let path = format!("{}?fieldManager=me&force=true", at(&name, ""));
    let mut object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {
        "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
        "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": name, "codex-k8s.dev/project-id": "p"}}});
    let before = patch_at(&Identity::developer(), path.clone(), APPLY, &object).admitted();
    object["metadata"]["labels"] = json!({});
    patch_at(&Identity::developer(), path, APPLY, &object).restored(&before);
}

#[test]
fn a_status_patch_first_and_a_metadata_patch_after_strip_nothing() {
    let name = managed();
    let without = |key: &str| json!({"metadata": {"labels": {format!("codex-k8s.dev/{key}"): null}}});
    patch_at(&Identity::worker(), at(&name, "/status"), MERGE, &without("run-id")).refused(
        403,
        "NS007",
        "run-id",
        "must stay",
    );
    let before = read_namespace(&name);
    merge(&Identity::worker(), &name, &without("managed-by")).restored(&before);
    patch_at(&Identity::developer(), at(&name, "/status"), MERGE, &without("project-id")).refused(
        403,
        "NS007",
        "project-id",
        "must stay",
    );
}

#[test]
fn adopting_an_unmanaged_namespace_is_denied_through_every_subresource() {
    let name = unmanaged();
    let adopt = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": "codex-k8s-worker"}}});
    for identity in [Identity::worker(), Identity::Admin] {
        patch_at(&identity, at(&name, "/status"), MERGE, &adopt).refused(
            403,
            "NS006",
            MANAGED_BY,
            "exists and is not managed",
        );
        let mut stored = read_namespace(&name);
        stored["metadata"]["labels"]["codex-k8s.dev/managed-by"] = "codex-k8s-worker".into();
        put(&identity, &name, "/finalize", &stored).refused(403, "NS006", MANAGED_BY, "not managed");
    }
    let applied = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name,
        "labels": {"codex-k8s.dev/managed-by": ""}}});
    patch_at(&Identity::developer(), format!("{}?fieldManager=me", at(&name, "")), APPLY, &applied).refused(
        403,
        "NS006",
        MANAGED_BY,
        "not managed",
    );
}

#[test]
fn an_empty_or_look_alike_value_is_not_the_label() {
    for value in ["", "Codex-K8s-Worker", "codex-k8s-worker."] {
        let object = with_label(namespace(&format!("codex-issue-{}", unique())), "managed-by", value);
        let answer = create_namespace(&Identity::worker(), &object);
        if value.ends_with('.') {
            assert_eq!(answer.code, 422, "the API server itself refuses {value:?}: {}", answer.body);
        } else {
            answer.refused(403, "NS001", MANAGED_BY, "must be \"codex-k8s-worker\"");
        }
    }
    let name = managed();
    relabel(&Identity::worker(), &name, "managed-by", &"".into()).refused(403, "NS003", MANAGED_BY, "");
    relabel(&Identity::worker(), &name, "RUN-ID", &"x".into()).refused(403, "NS009", "RUN-ID", "no such key");
}

#[test]
fn a_generated_name_under_a_reserved_prefix_dodges_nothing() {
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"generateName": "codex-issue-run-", "labels": {"codex-k8s.dev/run-id": "another"}}});
    create_namespace(&Identity::worker(), &object).refused(403, "NS002", "run-id", "the name says run");
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"generateName": "codex-issue-", "finalizers": ["example.dev/stay"]}});
    create_namespace(&Identity::worker(), &object).refused(403, "NS012", "metadata.finalizers", "");
}

#[test]
fn a_reserved_name_that_ends_like_a_slots_gets_no_slots_rules() {
    let name = format!("codex-issue-{}-dev-1", unique());
    let stored = create_namespace(&Identity::developer(), &namespace(&name)).admitted();
    assert_eq!(label(&stored, "managed-by"), "codex-k8s-worker");
    assert_eq!(stored["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
    let candidate = Identity::service_account(&name, "codex-k8s-worker");
    set_lease(&candidate, &name, &lease("48h", 10)).refused(
        403,
        "LEASE005",
        "namespace-lease-expires-at",
        "an agent never",
    );
}

#[test]
fn a_namespace_is_not_created_undeletable() {
    let mut object = namespace(&format!("codex-issue-{}", unique()));
    object["metadata"]["finalizers"] = json!(["example.dev/stay"]);
    create_namespace(&Identity::worker(), &object).refused(
        403,
        "NS012",
        "metadata.finalizers",
        "example.dev/stay",
    );
    let mut object = namespace(&format!("codex-issue-{}", unique()));
    object["spec"] = json!({"finalizers": ["example.dev/stay"]});
    create_namespace(&Identity::worker(), &object).refused(
        403,
        "NS013",
        "spec.finalizers",
        "example.dev/stay",
    );
    let mut object = namespace(&format!("codex-issue-{}", unique()));
    object["spec"] = json!({"finalizers": ["kubernetes"]});
    create_namespace(&Identity::worker(), &object).admitted();
}

#[test]
fn an_owner_that_would_get_the_namespace_deleted_is_refused_at_creation_and_later() {
    let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": "gone", "uid": "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"}]);
    let mut object = namespace(&format!("codex-issue-{}", unique()));
    object["metadata"]["ownerReferences"] = owner.clone();
    create_namespace(&Identity::Admin, &object).refused(
        403,
        "NS012",
        "metadata.ownerReferences",
        "v1/Node gone",
    );
    let name = managed();
    for subresource in ["", "/status", "/finalize"] {
        let mut stored = read_namespace(&name);
        stored["metadata"]["ownerReferences"] = owner.clone();
        put(&Identity::worker(), &name, subresource, &stored).refused(
            403,
            "NS012",
            "metadata.ownerReferences",
            "",
        );
    }
}

#[test]
fn finalizers_are_not_added_through_a_subresource_and_can_always_be_removed() {
    let name = managed();
    for subresource in ["/status", "/finalize"] {
        let mut stored = read_namespace(&name);
        stored["metadata"]["finalizers"] = json!(["example.dev/stay"]);
        put(&Identity::agent(&name), &name, subresource, &stored).refused(
            403,
            "NS012",
            "metadata.finalizers",
            "",
        );
    }
    // A finalizer added before the slot is managed is still there when it becomes managed: it is refused then.
    let slot = slot_name();
    let mut bare = namespace(&slot);
    bare["metadata"]["finalizers"] = json!(["example.dev/stay"]);
    create_namespace(&Identity::platform_control_plane(), &bare).admitted();
    merge(&Identity::worker(), &slot, &slot_labels(&slot)).refused(
        403,
        "NS012",
        "metadata.finalizers",
        "stay",
    );
    merge(&Identity::developer(), &slot, &json!({"metadata": {"finalizers": null}})).admitted();
    merge(&Identity::worker(), &slot, &slot_labels(&slot)).admitted();
}

#[test]
fn what_was_planted_in_a_bare_slot_is_forgotten_when_it_becomes_managed() {
    let bare_slot = || {
        let slot = slot_name();
        create_namespace(&Identity::platform_control_plane(), &namespace(&slot)).admitted();
        slot
    };
    let slot = bare_slot();
    let planted: [(&str, &Value); 3] = [
        ("requested-by", &"mallory".into()),
        ("baseline-ready-at", &"2026-01-01T00:00:00Z".into()),
        ("hold", &"9999-01-01T00:00:00Z for ever".into()),
    ];
    annotate(&Identity::developer(), &slot, &planted).admitted();
    merge(&Identity::worker(), &slot, &slot_labels(&slot)).admitted();
    let stored = read_namespace(&slot);
    assert!(annotation(&stored, "requested-by").ends_with(":codex-k8s-worker"), "{stored}");
    assert_eq!((annotation(&stored, "baseline-ready-at"), annotation(&stored, "hold")), ("", ""));
    let slot = bare_slot();
    annotate(&Identity::developer(), &slot, &[("surprise", &"x".into())]).admitted();
    merge(&Identity::worker(), &slot, &slot_labels(&slot)).refused(403, "NS009", "surprise", "no such key");
}

#[test]
fn a_namespace_is_not_created_with_what_only_managers_write() {
    for key in ["runtime-fingerprint-hash", "runtime-fingerprint-json"] {
        let object = with_annotation(namespace(&format!("codex-issue-{}", unique())), key, "another");
        create_namespace(&Identity::developer(), &object).refused(
            403,
            "NS011",
            key,
            "only a manager writes it",
        );
        create_namespace(&Identity::worker(), &object).admitted();
    }
}

#[test]
fn any_user_but_an_agent_who_names_the_run_of_a_new_namespace_names_its_correlation_id() {
    let named =
        || with_annotation(namespace(&format!("codex-issue-{}", unique())), "correlation-id", "another");
    let agent = Identity::agent(&managed());
    create_namespace(&agent, &named()).refused(403, "NS011", "correlation-id", "only a manager writes it");
    create_namespace(&Identity::developer(), &named()).admitted();
}

#[test]
fn an_agent_neither_holds_its_namespace_nor_is_it_created_held_by_one() {
    let name = managed();
    let agent = Identity::agent(&name);
    annotate(&agent, &name, &[("hold", &"mine".into())]).refused(
        403,
        "LEASE005",
        "codex-k8s.dev/hold",
        "neither",
    );
    let path = at(&name, "/status");
    let hold = json!({"metadata": {"annotations": {"codex-k8s.dev/hold": "mine"}}});
    patch_at(&agent, path, MERGE, &hold).refused(403, "LEASE005", "codex-k8s.dev/hold", "");
    let hold = |hours: i64, why: &str| {
        let until = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
        let text = format!("{}{why}", until.strftime("%Y-%m-%dT%H:%M:%SZ"));
        annotate(&Identity::developer(), &name, &[("hold", &text.into())])
    };
    hold(24, "").refused(422, "LEASE007", "codex-k8s.dev/hold", "a blank and a reason");
    hold(24 * 8, " looking into it").refused(422, "LEASE007", "codex-k8s.dev/hold", "at most 168h0m0s ahead");
    // For a 422, kubectl shows only the field errors: the rule must be named there.
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    let ran = kubectl.run(&["annotate", "namespace", &name, "codex-k8s.dev/hold=please"]).unwrap();
    assert!(!ran.succeeded() && ran.stderr.contains("LEASE007: Invalid value: \"please\""), "{ran}");
    hold(24, " looking into it").admitted();
    annotate(&agent, &name, &[("hold", &Value::Null)]).refused(403, "LEASE005", "codex-k8s.dev/hold", "");
    let created = with_annotation(namespace(&format!("codex-issue-{}", unique())), "hold", "mine");
    create_namespace(&agent, &created).refused(403, "LEASE005", "codex-k8s.dev/hold", "holds nothing");
}

#[test]
fn a_lease_is_not_extended_or_shortened_through_a_subresource() {
    let name = managed();
    let change = |lease: [(&str, Value); 3]| {
        let pairs: serde_json::Map<_, _> =
            lease.into_iter().map(|(key, value)| (format!("{DOMAIN}/{key}"), value)).collect();
        json!({"metadata": {"annotations": pairs}})
    };
    patch_at(&Identity::agent(&name), at(&name, "/status"), MERGE, &change(lease("48h", 10))).refused(
        403,
        "LEASE005",
        "namespace-lease-expires-at",
        "",
    );
    patch_at(&Identity::developer(), at(&name, "/status"), MERGE, &change(lease("1h", 10))).refused(
        403,
        "LEASE004",
        "namespace-lease-expires-at",
        "only a manager",
    );
}

#[test]
fn an_annotation_that_only_looks_like_a_time_is_no_lease() {
    let name = managed();
    for text in [
        "2026-01-01t00:00:00z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:00:00.000000Z",
        "2026-01-01T00:00:00-00:00",
        "\u{0662}026-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        " 2026-01-01T00:00:00Z",
        "1767225600",
        "null",
    ] {
        let expiry = [("namespace-lease-expires-at", &Value::from(text))];
        annotate(&Identity::worker(), &name, &expiry).refused(422, "LEASE001", "expires-at", "whole seconds");
    }
    let long = "9".repeat(4096);
    annotate(&Identity::worker(), &name, &[("namespace-lease-ttl", &Value::from(long))]).refused(
        422,
        "LEASE001",
        "namespace-lease-ttl",
        "",
    );
}

#[test]
fn no_dry_run_is_more_or_less_than_the_real_thing() {
    let name = managed();
    let strip = json!({"metadata": {"labels": {"codex-k8s.dev/managed-by": null}}});
    let before = read_namespace(&name);
    patch_at(&Identity::Admin, format!("{}?dryRun=All", at(&name, "")), MERGE, &strip).restored(&before);
    patch_at(&Identity::Admin, format!("{}?dryRun=All", at(&name, "/status")), MERGE, &strip)
        .refused(403, "NS007", MANAGED_BY, "");
    let delete = Send {
        identity: &Identity::developer(),
        method: "DELETE",
        path: at(&name, "?dryRun=All"),
        content_type: JSON,
    };
    delete.body(&Value::Null).refused(403, "NS015", "namespace-lease-expires-at", "");
    assert_eq!(read_namespace(&name)["status"]["phase"], "Active");
}
