//! The output and the exit codes of `replay`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use support::run;

const STRICTER: &str = "\
apiVersion: policy.codex-k8s.dev/v1alpha1
kind: RunPolicy
jobs: {activeDeadlineSeconds: {default: 60, max: 120}}
";

fn event(name: &str, namespace: &str, request: &Value, response: &Value, annotations: &Value) -> Value {
    let resource = if namespace.is_empty() { "namespaces" } else { "jobs" };
    let group = if namespace.is_empty() { "" } else { "batch" };
    json!({"kind": "Event", "apiVersion": "audit.k8s.io/v1", "level": "RequestResponse", "auditID": format!("id-of-{name}"),
        "stage": "ResponseComplete", "requestURI": "/", "verb": "create", "user": {"username": "jane\u{1b}[31m"},
        "objectRef": {"apiGroup": group, "apiVersion": "v1", "resource": resource, "namespace": namespace, "name": name},
        "responseStatus": {"code": 201}, "requestObject": request, "responseObject": response,
        "requestReceivedTimestamp": "2026-02-01T12:00:00.000000Z", "stageTimestamp": "2026-02-01T12:00:00.100000Z",
        "annotations": annotations})
}

/// The events of a namespace and of a Job that may run for an hour.
fn log() -> String {
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "codex-issue-demo", "labels": {
            "codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/run-id": "demo",
            "codex-k8s.dev/project-id": "unknown", "codex-k8s.dev/runtime-mode": "full-env"},
        "annotations": {"codex-k8s.dev/baseline-ready-at": "2026-02-01T11:00:00Z", "codex-k8s.dev/baseline-hash": "h"}},
        "spec": {"finalizers": ["kubernetes"]}});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job",
        "metadata": {"name": "long", "labels": {"codex-k8s.dev/run-id": "demo", "codex-k8s.dev/project-id": "unknown"}},
        "spec": {"activeDeadlineSeconds": 3600, "backoffLimit": 0, "template": {"metadata": {"labels": {"codex-k8s.dev/run-id": "demo"}},
            "spec": {"restartPolicy": "Never", "serviceAccountName": "codex-runner", "containers": [{"name": "c",
                "image": "busybox:1.36", "env": [{"name": "CODEXK8S_RUN_ID", "value": "demo"},
                    {"name": "CODEXK8S_CORRELATION_ID", "value": "demo"}, {"name": "CODEXK8S_PROJECT_ID", "value": "unknown"},
                    {"name": "CODEXK8S_RUNTIME_MODE", "value": "full-env"}]}]}}}});
    let allowed = json!({"workloads.guard.codex-k8s.dev/decision": "allowed"});
    // Patched by its owner before the log began to hold the decisions: only a fact here.
    let mut fact = event("codex-issue-demo", "", &Value::Null, &namespace, &json!({}));
    fact["verb"] = "patch".into();
    fact["responseStatus"]["code"] = 200.into();
    format!("{fact}\n{}\n", event("long", "codex-issue-demo", &job, &job, &allowed))
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("stricter.yaml"), STRICTER).unwrap();
    folder
}

fn json_of(folder: &Path, args: &[&str], input: &[u8]) -> (i32, Value) {
    let args = [&["replay", "--output=json", "--policy=stricter.yaml"], args].concat();
    let (code, output, complained) = run(folder, &args, input);
    assert_eq!(complained, "");
    (code, serde_json::from_str(&output).unwrap())
}

#[test]
fn a_newly_denied_request_is_reported_and_makes_the_exit_code_1() {
    let folder = folder();
    let (code, output, complained) =
        run(folder.path(), &["replay", "--policy=stricter.yaml", "-"], log().as_bytes());
    assert_eq!((code, complained.as_str()), (1, ""), "{output}");
    for part in [
        "newly denied: 2026-02-01T12:00:00Z CREATE Job codex-issue-demo/long by jane\\u{1b}[31m\n",
        "  audit event id-of-long, was admitted\n",
        "  JOB007: spec.activeDeadlineSeconds: Invalid value: 3600: ",
        "\n  JOB007 ",
        "    newly denied                1\n",
    ] {
        assert!(output.contains(part), "no {part:?} in\n{output}");
    }
    assert!(!output.contains('\u{1b}'), "{output}");
    let (code, report) = json_of(folder.path(), &["-"], log().as_bytes());
    assert_eq!((code, &report["byRule"]["JOB007"]["newlyDenied"]), (1, &json!(1)));
    let lenient = run(folder.path(), &["replay", "-"], log().as_bytes());
    assert_eq!(lenient.0, 0, "{}", lenient.1);
}

#[test]
fn the_report_has_the_form_of_its_schema() {
    let folder = folder();
    let (_, report) = json_of(folder.path(), &["-"], log().as_bytes());
    let printed = run(folder.path(), &["replay", "--schema"], b"").1;
    let published = include_str!("../../docs/replay-report.schema.json");
    assert_eq!(printed, published, "docs/replay-report.schema.json is out of date: run `make generate`");
    let schema: Value = serde_json::from_str(&printed).unwrap();
    assert!(jsonschema::validator_for(&schema).unwrap().is_valid(&report), "{report}");
    let args = ["replay", "--output=yaml", "--policy=stricter.yaml", "-"];
    let yaml = run(folder.path(), &args, log().as_bytes()).1;
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), report);
}

#[test]
fn sarif_has_the_newly_denied_requests_with_their_rules() {
    let folder = folder();
    let args = ["replay", "--output=sarif", "--policy=stricter.yaml", "-"];
    let sarif: Value = serde_json::from_str(&run(folder.path(), &args, log().as_bytes()).1).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(run["results"][0]["ruleId"], "JOB007");
    assert_eq!(run["tool"]["driver"]["rules"][0]["id"], "JOB007");
    let object = &run["results"][0]["locations"][0]["logicalLocations"][0];
    assert_eq!(object["fullyQualifiedName"], "Job codex-issue-demo/long");
}

#[test]
fn rotated_and_compressed_files_are_one_log() {
    let folder = folder();
    let log = log();
    let (first, last) = log.split_once('\n').unwrap();
    let mut packed = GzEncoder::new(File::create(folder.path().join("1.gz")).unwrap(), Compression::fast());
    writeln!(packed, "{first}").unwrap();
    packed.finish().unwrap();
    fs::write(folder.path().join("2"), last).unwrap();
    let (code, report) = json_of(folder.path(), &["1.gz", "2"], b"");
    assert_eq!((code, &report["log"]["lines"]), (1, &json!(2)));
    // In the wrong order, the namespace is not known when its Job is created.
    let (code, report) = json_of(folder.path(), &["2", "1.gz"], b"");
    assert_eq!((code, &report["notEvaluated"]["namespaceUnknown"]), (0, &json!(1)));
    fs::write(
        folder.path().join("before.json"),
        serde_json::from_str::<Value>(first).unwrap()["responseObject"].to_string(),
    )
    .unwrap();
    let (code, _) = json_of(folder.path(), &["--old=before.json", "2"], b"");
    assert_eq!(code, 1, "--old names the namespace");
}

#[test]
fn a_file_without_events_ends_with_2_and_a_cut_one_with_a_warning() {
    let folder = folder();
    let (code, output, complained) = run(folder.path(), &["replay", "-"], b"not json\n");
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(complained.contains("found no audit events in 1 lines"), "{complained}");
    let (code, _, complained) = run(folder.path(), &["replay", "gone.log"], b"");
    assert!(code == 2 && complained.contains("failed to read gone.log"), "{complained}");
    let log = log();
    let (code, output, complained) = run(folder.path(), &["replay", "-"], &log.as_bytes()[..log.len() - 9]);
    assert_eq!(code, 0, "{output}{complained}");
    assert!(complained.contains("warning: 1 files end within a line"), "{complained}");
}
