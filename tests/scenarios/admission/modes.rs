//! A custom policy: modes, break glass, creators, listed exceptions, the lifetime of a namespace.

use std::sync::OnceLock;
use std::time::Duration;

use codex_k8s_tests::identity::EVERY_RIGHT;
use codex_k8s_tests::{Guard, Identity, Ran, eventually};
use serde_json::{Value, json};

use crate::harness::{
    Answer, DOMAIN, JSON, MERGE, Send, label, lease, namespace, playground, send, unique, with_label,
};

/// NS009 is the rule that `register` violates first to verify the webhook: it must detect us without it as well.
const POLICY: &str = "\
namespaces: {creation: managers, allowedFinalizers: [example.dev/backup], allowedOwners: [example.dev/v1/Tenant]}
lease: {maxLifetime: 25h}
cleanup: {maxHold: 30h, maxHoldLifetime: 30h}
identities: {breakGlass: {users: [rescuer]}}
jobs:
  priorityClasses: [batch-low]
  runtimeClasses: [gvisor]
rules: {NS009: warn, JOB007: \"off\", JOB010: audit, JOB018: warn, PSS004: warn, JOB022: enforce}
";

fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start_with_policy(playground(), POLICY).unwrap())
}

#[track_caller]
fn ask(identity: &Identity, method: &'static str, path: String, body: &Value) -> Answer {
    let content_type = if method == "PATCH" { MERGE } else { JSON };
    send(&guard().control_plane, &Send { identity, method, path, content_type }, body)
}

#[track_caller]
fn create_namespace(identity: &Identity, object: &Value) -> Answer {
    ask(identity, "POST", "/api/v1/namespaces".to_owned(), object)
}

#[track_caller]
fn managed() -> String {
    let name = format!("codex-issue-{}", unique());
    create_namespace(&Identity::worker(), &namespace(&name)).admitted();
    name
}

/// Creates a Job with kubectl, whose output contains the warnings.
fn create_job(namespace: &str, spec: &Value, container: &Value) -> Ran {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"backoffLimit": 0,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let first = &mut job["spec"]["template"]["spec"]["containers"][0];
    first.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
    let kubectl = guard().kubectl(&Identity::developer()).unwrap();
    let args = ["create", "-n", namespace, "-f", "-", "-o", "json"];
    kubectl.run_with_input(&args, &job.to_string()).unwrap()
}

/// Our entries in the audit log for the creation of the Job in a namespace that was answered with this status.
fn noted(namespace: &str, code: u16) -> Value {
    eventually("the audit log has the request", Duration::from_secs(10), || {
        let of_the_job = |event: &Value| {
            event["verb"] == "create"
                && event["objectRef"]["resource"] == "jobs"
                && event["objectRef"]["namespace"] == namespace
                && event["responseStatus"]["code"] == code
        };
        guard()
            .control_plane
            .audit_events()
            .into_iter()
            .find(of_the_job)
            .map(|event| event["annotations"].clone())
    })
    .unwrap()
}

#[track_caller]
fn has_metric(rule: &str, outcome: &str) {
    let metrics = guard().webhook.health.get("/metrics").unwrap();
    let counted = |line: &str| {
        line.contains(&format!("rule=\"{rule}\"")) && line.contains(&format!("outcome=\"{outcome}\""))
    };
    assert!(metrics.lines().any(counted), "no {rule} {outcome} in\n{metrics}");
}

const RULES: &str = "workloads.guard.codex-k8s.dev/rules";
const DECISION: &str = "workloads.guard.codex-k8s.dev/decision";

#[test]
fn a_rule_set_to_warn_reports_whoever_requested_and_lets_them() {
    let namespace = managed();
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 80}]});
    let ran = create_job(&namespace, &json!({}), &port);
    assert!(ran.succeeded(), "{ran}");
    let told = "Warning: JOB018: spec.template.spec.containers[0].ports[0].hostPort: Forbidden: leave it out (found 80)";
    assert!(ran.stderr.contains(told), "{ran}");
    let noted = noted(&namespace, 201);
    assert_eq!((&noted[RULES], &noted[DECISION]), (&json!("JOB018"), &json!("allowed")));
    has_metric("JOB018", "warned");
}

#[test]
fn a_refusal_is_noted_as_one_with_its_rules() {
    let namespace = managed();
    let secret = json!({"env": [{"name": "CODEXK8S_OPENAI_API_KEY", "value": "x"}]});
    assert!(!create_job(&namespace, &json!({}), &secret).succeeded());
    let noted = noted(&namespace, 403);
    assert_eq!(noted[DECISION], "denied");
    assert!(noted[RULES].as_str().unwrap().contains("JOB022"), "{noted}");
}

#[test]
fn a_rule_set_to_audit_reports_the_audit_log_alone() {
    let namespace = managed();
    let ran = create_job(&namespace, &json!({"parallelism": 5}), &json!({}));
    assert!(ran.succeeded() && !ran.stderr.contains("JOB010"), "{ran}");
    let noted = noted(&namespace, 201);
    assert_eq!((&noted[RULES], &noted[DECISION]), (&json!("JOB010"), &json!("allowed")));
    has_metric("JOB010", "audited");
}

#[test]
fn a_rule_that_is_off_neither_evaluators_nor_mutates() {
    let namespace = managed();
    let ran = create_job(&namespace, &json!({}), &json!({}));
    let stored: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(stored["spec"]["activeDeadlineSeconds"], Value::Null, "JOB007 would have added it");
    assert_eq!(stored["spec"]["template"]["spec"]["serviceAccountName"], "codex-runner", "JOB004 still does");
    let other = managed();
    let ran = create_job(&other, &json!({"activeDeadlineSeconds": 999_999_999}), &json!({}));
    assert!(ran.succeeded() && !ran.stderr.contains("Warning: JOB"), "{ran}");
    assert_eq!(noted(&other, 201)[RULES], Value::Null);
}

#[test]
fn a_rule_that_only_warns_by_default_can_be_enforced() {
    let secret = json!({"env": [{"name": "CODEXK8S_OPENAI_API_KEY", "value": "x"}]});
    let ran = create_job(&managed(), &json!({}), &secret);
    assert!(!ran.succeeded() && ran.stderr.contains("JOB022: "), "{ran}");
    let reference = json!({"env": [{"name": "CODEXK8S_OPENAI_API_KEY",
        "valueFrom": {"secretKeyRef": {"name": "keys", "key": "openai"}}}]});
    let ran = create_job(&managed(), &json!({}), &reference);
    assert!(ran.succeeded() && !ran.stderr.contains("Warning: JOB"), "{ran}");
}

#[test]
fn where_the_policy_says_so_only_managers_create_run_namespaces() {
    let reserved = namespace(&format!("codex-issue-{}", unique()));
    let other = with_label(namespace(&format!("codex-run-{}", unique())), "run-id", "r1");
    let generated =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "codex-issue-"}});
    for object in [&reserved, &other, &generated] {
        for identity in [Identity::developer(), Identity::Admin, Identity::agent("codex-issue-x")] {
            create_namespace(&identity, object).refused(
                403,
                "NS005",
                "metadata.name",
                "only managers create",
            );
        }
    }
    create_namespace(&Identity::worker(), &reserved).admitted();
    let ordinary = namespace(&format!("payments-{}", unique()));
    let stored = create_namespace(&Identity::developer(), &ordinary).admitted();
    assert_eq!(label(&stored, "managed-by"), "");
}

#[test]
fn only_managers_extend_a_lease_beyond_the_longest_lifetime() {
    let name = managed();
    let extend = |identity: &Identity, ttl: &str| {
        let pairs: serde_json::Map<_, _> =
            lease(ttl, 1).into_iter().map(|(key, value)| (format!("{DOMAIN}/{key}"), value)).collect();
        let path = format!("/api/v1/namespaces/{name}");
        ask(identity, "PATCH", path, &json!({"metadata": {"annotations": pairs}}))
    };
    extend(&Identity::developer(), "24h30m").admitted();
    extend(&Identity::developer(), "26h").refused(
        403,
        "LEASE006",
        "namespace-lease-expires-at",
        "only a manager extends it beyond",
    );
    extend(&Identity::worker(), "48h").admitted();
}

#[test]
fn a_hold_is_not_renewed_beyond_the_longest_in_all_but_by_a_manager() {
    let name = managed();
    let path = || format!("/api/v1/namespaces/{name}");
    let text = |seconds: i64| {
        let until = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + seconds).unwrap();
        format!("{until} looking into it")
    };
    let hold = |identity: &Identity, text: &str| {
        let change = json!({"metadata": {"annotations": {format!("{DOMAIN}/hold"): text}}});
        ask(identity, "PATCH", path(), &change)
    };
    let stored = || {
        let read = ask(&Identity::Admin, "GET", path(), &Value::Null).admitted();
        read["metadata"]["annotations"][format!("{DOMAIN}/hold")].as_str().unwrap_or_default().to_owned()
    };
    let first = text(29 * 3600);
    hold(&Identity::developer(), &first).admitted();
    // The renewed hold ends one second before the bound from now: the namespace must be older than that second, so that
    // the hold exceeds only the bound from the creation.
    let older = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + 4).unwrap();
    eventually("the namespace is older", Duration::from_secs(10), || {
        (jiff::Timestamp::now() > older).then_some(())
    })
    .unwrap();
    let renewed = text(30 * 3600 - 1);
    for identity in [Identity::developer(), Identity::Admin] {
        hold(&identity, &renewed).refused(
            403,
            "LEASE008",
            "codex-k8s.dev/hold",
            "only a manager holds it beyond",
        );
        assert_eq!(stored(), first);
    }
    hold(&Identity::worker(), &renewed).admitted();
    assert_eq!(stored(), renewed);
}

#[test]
fn finalizers_and_owners_that_the_policy_lists_are_admitted_and_no_others() {
    let name = managed();
    let path = format!("/api/v1/namespaces/{name}");
    let finalizers = |list: Value| json!({"metadata": {"finalizers": list}});
    ask(
        &Identity::worker(),
        "PATCH",
        path.clone(),
        &finalizers(json!(["example.dev/backup", "example.dev/stay"])),
    )
    .refused(403, "NS012", "metadata.finalizers", "example.dev/stay");
    ask(&Identity::worker(), "PATCH", path.clone(), &finalizers(json!(["example.dev/backup"]))).admitted();
    ask(&Identity::worker(), "PATCH", path.clone(), &finalizers(Value::Null)).admitted();
    let owner = |kind: &str| {
        json!({"metadata": {"ownerReferences": [{"apiVersion": "example.dev/v1", "kind": kind, "name": "t",
            "uid": "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913"}]}})
    };
    let dry_run = format!("{path}?dryRun=All");
    ask(&Identity::worker(), "PATCH", dry_run.clone(), &owner("Other")).refused(
        403,
        "NS012",
        "metadata.ownerReferences",
        "allowedOwners",
    );
    ask(&Identity::worker(), "PATCH", dry_run, &owner("Tenant")).admitted();
}

#[test]
fn priority_and_runtime_classes_that_the_policy_lists_are_admitted_and_no_others() {
    let template = |field: &str, value: &str| {
        json!({"template": {"spec": {"restartPolicy": "Never", field: value,
            "containers": [{"name": "c", "image": "busybox:1.36"}]}}})
    };
    for (field, listed, rule) in
        [("priorityClassName", "batch-low", "JOB013"), ("runtimeClassName", "gvisor", "JOB015")]
    {
        let ran = create_job(&managed(), &template(field, listed), &json!({}));
        assert!(ran.succeeded(), "{ran}");
        let ran = create_job(&managed(), &template(field, "rogue"), &json!({}));
        let told = format!("{rule}: spec.template.spec.{field}: Invalid value: \"rogue\": must be {listed}");
        assert!(!ran.succeeded() && ran.stderr.contains(&told), "{ran}");
    }
}

#[test]
fn a_user_who_breaks_the_glass_passes_with_a_warning_for_each_rule() {
    let rescuer = Identity::user("rescuer").in_group(EVERY_RIGHT);
    let (name, kubectl) = (managed(), guard().kubectl(&rescuer).unwrap());
    let relabelled = ["label", "--overwrite", "namespace", &name, "codex-k8s.dev/run-id=other"];
    let ran = kubectl.run(&relabelled).unwrap();
    assert!(ran.succeeded() && ran.stderr.contains("Warning: NS003: "), "{ran}");
    let ran = kubectl.run(&["delete", "namespace", &name, "--wait=false"]).unwrap();
    assert!(ran.succeeded() && ran.stderr.contains("Warning: NS015: "), "{ran}");
    // A ServiceAccount of the same name is a different identity.
    let namesake = Identity::service_account("default", "rescuer");
    let name = managed();
    ask(&namesake, "DELETE", format!("/api/v1/namespaces/{name}"), &Value::Null).refused(
        403,
        "NS015",
        "namespace-lease-expires-at",
        "",
    );
}
