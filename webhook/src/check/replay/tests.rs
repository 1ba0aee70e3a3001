//! Tests of replays with small logs.

use serde_json::{Value, json};

use super::*;

const NAMESPACE: &str = "codex-issue-demo";
const JANE: &str = "jane";

/// An event about an object in the namespace.
struct Logged {
    verb: &'static str,
    resource: &'static str,
    name: &'static str,
    level: &'static str,
    code: u16,
    request: Value,
    response: Value,
    annotations: Value,
}

impl Logged {
    fn new(verb: &'static str, resource: &'static str, name: &'static str) -> Self {
        let (request, response, annotations) = (Value::Null, Value::Null, json!({}));
        Self { verb, resource, name, level: "RequestResponse", code: 200, request, response, annotations }
    }

    fn job(verb: &'static str, name: &'static str, object: &Value) -> Self {
        Self { request: object.clone(), response: object.clone(), ..Self::new(verb, "jobs", name) }
    }

    fn decided(self, decision: &str, rules: &str) -> Self {
        let mut annotations = json!({"workloads.guard.codex-k8s.dev/decision": decision});
        if !rules.is_empty() {
            annotations["workloads.guard.codex-k8s.dev/rules"] = rules.into();
        }
        let (code, response) =
            if decision == "denied" { (403, json!({"kind": "Status"})) } else { (self.code, self.response) };
        Self { code, response, annotations, ..self }
    }

    fn event(&self) -> Value {
        let group = if self.resource == "jobs" { "batch" } else { "" };
        let mut event = json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": self.level,
            "auditID": format!("{}-{}", self.verb, self.name), "stage": "ResponseComplete", "requestURI": "/", "verb": self.verb,
            "user": {"username": JANE}, "objectRef": {"apiGroup": group, "apiVersion": "v1", "resource": self.resource,
                "namespace": NAMESPACE, "name": self.name},
            "responseStatus": {"code": self.code}, "requestReceivedTimestamp": "2026-02-01T12:00:00.000000Z",
            "stageTimestamp": "2026-02-01T12:00:00.100000Z", "annotations": self.annotations});
        for (field, object) in [("requestObject", &self.request), ("responseObject", &self.response)] {
            if !object.is_null() && self.level != "Metadata" {
                event[field] = object.clone();
            }
        }
        event
    }
}

/// The managed namespace, whose gate is open.
fn existing() -> Document {
    Document::of_nowhere(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/run-id": "demo",
            "codex-k8s.dev/project-id": "unknown", "codex-k8s.dev/runtime-mode": "full-env"},
        "annotations": {"codex-k8s.dev/baseline-ready-at": "2026-02-01T11:00:00Z", "codex-k8s.dev/baseline-hash": "h"}},
        "spec": {"finalizers": ["kubernetes"]}}),
    )
}

fn job(name: &str, host_network: bool) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": name, "labels": {"codex-k8s.dev/run-id": "demo", "codex-k8s.dev/project-id": "unknown"}},
        "spec": {"activeDeadlineSeconds": 900, "backoffLimit": 0, "template": {
            "metadata": {"labels": {"codex-k8s.dev/run-id": "demo"}},
            "spec": {"restartPolicy": "Never", "serviceAccountName": "codex-runner", "hostNetwork": host_network,
                "containers": [{"name": "c", "image": "busybox:1.36", "env": [
                    {"name": "CODEXK8S_RUN_ID", "value": "demo"}, {"name": "CODEXK8S_CORRELATION_ID", "value": "demo"},
                    {"name": "CODEXK8S_PROJECT_ID", "value": "unknown"}, {"name": "CODEXK8S_RUNTIME_MODE", "value": "full-env"}]}]}}}})
}

async fn replayed_in(limit: usize, old: &[Document], log: &[Logged]) -> ReplayReport {
    let mut replay = LogReplay::new(RunPolicy::default(), limit);
    replay.assume(old);
    for logged in log {
        replay.line(logged.event().to_string().as_bytes()).await;
    }
    replay.finish()
}

async fn replayed(log: &[Logged]) -> ReplayReport {
    replayed_in(OBJECTS, &[existing()], log).await
}

#[tokio::test]
async fn a_request_that_would_be_decided_otherwise_is_a_difference() {
    let report = replayed(&[
        Logged::job("create", "same", &job("same", false)).decided("allowed", ""),
        Logged::job("create", "escapes", &job("escapes", true)).decided("denied", "JOB018"),
        Logged::job("create", "escaped", &job("escaped", true)).decided("allowed", ""),
        Logged::job("create", "fine", &job("fine", false)).decided("denied", "JOB099"),
    ])
    .await;
    let summary = report.summary;
    assert_eq!(
        (summary.evaluated, summary.same, summary.recorded_denied),
        (4, 2, 2),
        "{:#?}",
        report.changes
    );
    let one =
        |newly_denied, newly_admitted| Differences { newly_denied, newly_admitted, otherwise_mutated: 0 };
    assert_eq!(summary.differences, one(1, 1));
    assert_eq!(report.by_rule.get("JOB018"), Some(&one(1, 0)));
    assert_eq!(report.by_rule.get("JOB099"), Some(&one(0, 1)));
    assert_eq!(report.by_user.get(JANE), Some(&one(1, 1)));
    assert_eq!(report.by_namespace.get(NAMESPACE), Some(&one(1, 1)));
    let [denied, admitted] = &*report.changes else { panic!("{:?}", report.changes) };
    assert_eq!(
        (denied.what().as_str(), denied.audit_id.as_str()),
        ("Job codex-issue-demo/escaped", "create-escaped")
    );
    assert!(denied.message.as_ref().is_some_and(|message| message.starts_with("JOB018: ")), "{denied:?}");
    assert_eq!((admitted.before, admitted.after), (Verdict::Denied, Verdict::Admitted));
}

#[tokio::test]
async fn an_object_that_would_be_mutated_otherwise_is_a_difference_with_its_fields() {
    let mut stored = job("default", false);
    let mut sent = stored.clone();
    sent["spec"].as_object_mut().unwrap().remove("activeDeadlineSeconds");
    stored["spec"]["activeDeadlineSeconds"] = 123.into();
    let patch = json!([{"op": "add", "path": "/spec/activeDeadlineSeconds", "value": 123}]);
    let about = json!({"configuration": "codex-k8s-guard", "webhook": "workloads.guard.codex-k8s.dev", "patch": patch});
    let mut logged = Logged::job("create", "default", &sent).decided("allowed", "");
    logged.response = stored;
    logged.annotations["patch.webhook.admission.k8s.io/round_0_index_1"] = about.to_string().into();
    let report = replayed(&[logged]).await;
    assert_eq!(report.summary.differences.otherwise_mutated, 1, "{report:#?}");
    let expected = json!([{"op": "replace", "path": "/spec/activeDeadlineSeconds", "value": 900}]);
    assert_eq!(serde_json::to_value(&report.changes[0].patch).unwrap(), expected);
}

#[tokio::test]
async fn a_request_whose_facts_are_not_certain_is_counted_by_its_reason() {
    let metadata = Logged { level: "Metadata", ..Logged::job("create", "m", &job("m", false)) };
    let conflict = Logged {
        code: 409,
        response: json!({"kind": "Status"}),
        ..Logged::job("create", "c", &job("c", false))
    };
    let unknown = Logged::job("update", "u", &job("u", false)).decided("allowed", "");
    let all = Logged::new("deletecollection", "serviceaccounts", "");
    let log = [metadata, conflict, unknown, all];
    let report = replayed(&log).await;
    let reasons = [
        Unevaluated::MetadataLevel,
        Unevaluated::FailedBefore,
        Unevaluated::OldObjectUnknown,
        Unevaluated::Collection,
    ];
    assert_eq!(report.not_evaluated, reasons.map(|reason| (reason, 1)).into(), "{report:#?}");
    assert_eq!((report.summary.requests, report.summary.not_evaluated, report.old_objects.missed), (4, 4, 1));
    let elsewhere = Logged::job("create", "j", &job("j", false)).decided("allowed", "");
    let report = replayed_in(OBJECTS, &[], &[elsewhere]).await;
    assert_eq!(report.not_evaluated, [(Unevaluated::NamespaceUnknown, 1)].into());
}

#[tokio::test]
async fn an_update_is_evaluated_with_the_result_of_the_last_logged_write() {
    let mut escaped = job("j", true);
    let created = Logged::job("create", "j", &escaped).decided("allowed", "");
    escaped["metadata"]["labels"]["team"] = "a".into();
    let updated = Logged::job("update", "j", &escaped).decided("allowed", "");
    escaped["metadata"]["labels"]["team"] = "b".into();
    let by_metadata = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": escaped["metadata"]});
    let patched = Logged {
        response: by_metadata,
        request: json!({"metadata": {"labels": {"team": "b"}}}),
        ..Logged::job("patch", "j", &Value::Null).decided("allowed", "")
    };
    let patched_again = Logged {
        response: json!({"kind": "Status"}),
        ..Logged::job("patch", "j", &json!({"metadata": {"labels": {"team": null}}}))
    }
    .decided("denied", "JOB099");
    let report = replayed(&[created, updated, patched, patched_again]).await;
    assert_eq!(report.summary.evaluated, 4, "{report:#?}");
    assert_eq!((report.old_objects.lookups, report.old_objects.missed), (3, 0));
    // Updates may leave the violation that the old object already has.
    assert_eq!(
        report.summary.differences,
        Differences { newly_denied: 1, newly_admitted: 1, otherwise_mutated: 0 }
    );
}

#[tokio::test]
async fn a_change_that_is_not_logged_with_its_result_makes_the_old_object_unknown() {
    let created = || Logged::job("create", "j", &job("j", false)).decided("allowed", "");
    let updated = || Logged::job("update", "j", &job("j", false)).decided("allowed", "");
    let hidden = Logged { level: "Metadata", ..updated() };
    let report = replayed(&[created(), hidden, updated(), updated()]).await;
    assert_eq!(report.not_evaluated[&Unevaluated::OldObjectUnknown], 1, "{report:#?}");
    assert_eq!(report.summary.evaluated, 2, "the result of the third event is known again");
}

#[tokio::test]
async fn a_log_of_any_number_of_objects_is_replayed_in_bounded_memory() {
    const LIMIT: usize = 50_000;
    let names: Vec<&'static str> =
        (0..300).map(|number| &*Box::leak(format!("j{number}").into_boxed_str())).collect();
    let created =
        names.iter().map(|name| Logged::job("create", name, &job(name, false)).decided("allowed", ""));
    let updated =
        names.iter().map(|name| Logged::job("update", name, &job(name, false)).decided("allowed", ""));
    let log: Vec<_> = created.chain(updated).collect();
    let report = replayed_in(LIMIT, &[existing()], &log).await;
    assert!(report.old_objects.evicted > 200 && report.old_objects.missed > 200, "{:?}", report.old_objects);
    assert_eq!(report.not_evaluated[&Unevaluated::OldObjectUnknown], report.old_objects.missed);
    assert_eq!(report.summary.evaluated + report.old_objects.missed, 600);
    assert_eq!(report.summary.differences, Differences::default());
}

#[tokio::test]
async fn lines_that_are_not_events_and_files_that_are_cut_are_counted() {
    let mut replay = LogReplay::new(RunPolicy::default(), OBJECTS);
    let event = Logged::job("create", "j", &job("j", false)).event().to_string();
    for line in ["", "{", "[]", r#"{"kind": "Event", "apiVersion": "audit.k8s.io/v1beta1"}"#] {
        replay.line(line.as_bytes()).await;
    }
    replay.last_line(&event.as_bytes()[..event.len() / 2]).await;
    replay.last_line(event.as_bytes()).await;
    let log = replay.finish().log;
    assert_eq!((log.lines, log.malformed, log.cut, log.events), (6, 4, 1, 1));
}
