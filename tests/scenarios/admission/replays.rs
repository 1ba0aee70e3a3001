//! The replay of the API server's audit log: the recorded decisions under the policy of the recording, and the decisions
//! of a webhook with a stricter policy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{ControlPlane, Guard, Identity, eventually};
use serde_json::{Value, json};

use crate::harness::*;

/// Replays a log by the command, and returns its report.
fn replay(log: &Path, policy: &Path) -> Value {
    let ran = Command::new(playground())
        .args(["guard", "replay", "--output=json", "--policy"])
        .args([policy, log])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.code().is_some_and(|code| code < 2), "{:?}: {complaint}", ran.status);
    serde_json::from_slice(&ran.stdout).unwrap()
}

/// A copy of the audit log as far as it is written.
fn copied(control_plane: &ControlPlane) -> tempfile::NamedTempFile {
    let copy = tempfile::NamedTempFile::new().unwrap();
    fs::copy(control_plane.audit_log(), copy.path()).unwrap();
    copy
}

fn job(name: &str, spec: &Value) -> Value {
    let mut template =
        json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]});
    json_patch::merge(&mut template, spec);
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": template}}})
}

#[test]
fn the_id_that_a_denial_carries_finds_the_audit_event_and_the_log() {
    let namespace = managed();
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let denied = create(&Identity::agent(&namespace), &path, &job("escapes", &json!({"hostNetwork": true})));
    let id = denied.body["details"]["uid"].as_str().unwrap_or_default().to_owned();
    let message = denied.body["message"].as_str().unwrap().to_owned();
    assert!(!message.contains(&id), "Events are counted by their text: {message}");
    denied.refused(403, "JOB018", "spec.template.spec.hostNetwork", "true");
    let is_about = |event: &Value| event["annotations"]["workloads.guard.codex-k8s.dev/decision-id"] == id;
    let logged = || cluster().audit_events().into_iter().find(is_about);
    let event = eventually("the audit log has the id", Duration::from_secs(10), logged).unwrap();
    let log = fs::read_to_string(guard().file("webhook.log")).unwrap();
    assert!(log.lines().any(|line| line.contains(&id) && line.contains("denied")), "no {id} in the log");
    // The event alone is enough to explain the denial.
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), event.to_string()).unwrap();
    let explained =
        Command::new(playground()).args(["guard", "explain", "--review"]).arg(file.path()).output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("\nJOB018: ") && explained.contains("  denied (403)\n"), "{explained}");
}

/// Requests of each kind that the log of this suite must have, whichever of its other tests have run.
fn mix() {
    let namespace = managed();
    let (agent, developer) = (Identity::agent(&namespace), Identity::developer());
    let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    create(&agent, &jobs, &job("fine", &json!({}))).admitted();
    create(&agent, &jobs, &job("escapes", &json!({"hostNetwork": true}))).refused(
        403,
        "JOB018",
        "hostNetwork",
        "",
    );
    let one = |name: &str| format!("{jobs}/{name}");
    let labels = json!({"metadata": {"labels": {"team": "a"}}});
    for content_type in [MERGE, STRATEGIC] {
        patch_at(&agent, one("fine"), content_type, &labels).admitted();
    }
    let remove = json!([{"op": "remove", "path": "/metadata/labels/team"}]);
    patch_at(&agent, one("fine"), JSON_PATCH, &remove).admitted();
    let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
    let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}});
    create(&developer, &accounts, &account).admitted();
    let other = Value::from("other");
    assert!(relabel(&agent, &namespace, "run-id", &other).code >= 400);
    assert!(relabel(&developer, &namespace, "run-id", &other).code >= 400);
    let generated =
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "codex-issue-"}});
    create_namespace(&developer, &generated).admitted();
    let dry_run = format!("{jobs}?dryRun=All");
    create(&agent, &dry_run, &job("never-stored", &json!({}))).admitted();
    let exec = format!("/api/v1/namespaces/{namespace}/pods/none/exec?command=true");
    assert!(create(&developer, &exec, &Value::Null).code >= 400);
    assert!(delete_namespace(&agent, &namespace).code >= 400);
    assert!(delete_namespace(&developer, &namespace).code >= 400);
    delete_namespace(&Identity::worker(), &namespace).admitted();
}

#[test]
fn every_logged_request_is_decided_as_it_was_recorded() {
    mix();
    let log = copied(&guard().control_plane);
    let report = replay(log.path(), &guard().file("policy.yaml"));
    let count = |pointer: &str| report.pointer(pointer).and_then(Value::as_u64).unwrap();
    println!(
        "{}",
        json!({"log": report["log"], "summary": report["summary"],
        "notEvaluated": report["notEvaluated"], "oldObjects": report["oldObjects"]})
    );
    let changes = serde_json::to_string_pretty(&report["changes"]).unwrap();
    for difference in ["newlyDenied", "newlyAdmitted", "otherwiseMutated"] {
        assert_eq!(count(&format!("/summary/{difference}")), 0, "{difference}: {changes}");
    }
    assert_eq!(count("/log/malformed"), 0);
    assert!(count("/summary/recordedDenied") >= 3, "{report}");
    // Nothing that any policy could decide was left out, except what the log must not or cannot hold.
    let by_design: u64 = ["metadataLevel", "failedBefore", "collection"]
        .iter()
        .filter_map(|reason| report["notEvaluated"][reason].as_u64())
        .sum();
    let (evaluated, rest) = (count("/summary/evaluated"), count("/summary/notEvaluated") - by_design);
    assert!(
        evaluated >= 20 && rest * 20 <= evaluated,
        "{evaluated} evaluated, {rest} not: {}",
        report["notEvaluated"]
    );
}

const STRICTER: &str = "jobs: {activeDeadlineSeconds: {default: 60, max: 120}, parallelism: {max: 1}}\nquotas: {cluster: null, perProject: null, perRequester: null}\n";

/// The rules that an answer names.
fn rules_of(answer: &Answer) -> BTreeSet<String> {
    let causes =
        answer.body.pointer("/details/causes").and_then(Value::as_array).cloned().unwrap_or_default();
    causes.iter().filter_map(|cause| Some(cause["reason"].as_str()?.to_owned())).collect()
}

#[test]
fn under_a_stricter_policy_a_replay_says_what_the_webhook_then_answers() {
    let guard = Guard::start_logged(playground(), WITHOUT_QUOTAS).unwrap();
    let namespace = "codex-issue-replayed";
    let developer = Identity::developer();
    let request = |path: String, object: &Value| {
        send(
            &guard.control_plane,
            &Send { identity: &developer, method: "POST", path, content_type: JSON },
            object,
        )
    };
    let with = |name: &str, field: &str, value: u32| {
        let mut job = job(name, &json!({}));
        job["spec"][field] = value.into();
        job
    };
    request("/api/v1/namespaces".to_owned(), &crate::harness::namespace(namespace)).admitted();
    let read = || {
        let path = format!("/api/v1/namespaces/{namespace}");
        let read = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
        let found = send(&guard.control_plane, &read, &Value::Null).admitted();
        (!annotation(&found, "baseline-ready-at").is_empty()).then_some(())
    };
    eventually("the namespace has its baseline", Duration::from_secs(30), read).unwrap();
    let jobs = || format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let sent = [
        with("short", "activeDeadlineSeconds", 100),
        with("long", "activeDeadlineSeconds", 3600),
        with("parallel", "parallelism", 3),
        job("escapes", &json!({"hostNetwork": true})),
        job("plain", &json!({})),
    ];
    let recorded: Vec<_> = sent.iter().map(|object| request(jobs(), object).code).collect();
    let log = copied(&guard.control_plane);
    let policy = tempfile::NamedTempFile::new().unwrap();
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    fs::write(policy.path(), format!("{head}{STRICTER}")).unwrap();
    let report = replay(log.path(), policy.path());
    let mut replayed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for change in report["changes"].as_array().unwrap() {
        let is_created = change["kind"] == "Job" && change["operation"] == "CREATE";
        if is_created && change["difference"] == "newlyDenied" {
            let rules = change["rulesAfter"].as_array().unwrap().iter();
            let rules = rules.filter_map(|rule| Some(rule.as_str()?.to_owned())).collect();
            replayed.insert(change["name"].as_str().unwrap().to_owned(), rules);
        }
    }
    guard.write_policy(STRICTER).unwrap();
    let answers = || sent.iter().map(|object| request(jobs(), object)).collect::<Vec<_>>();
    let answers = eventually("the webhook enforces the stricter policy", Duration::from_secs(30), || {
        Some(answers()).filter(|answers| rules_of(&answers[1]) != BTreeSet::new())
    })
    .unwrap();
    let mut newly_denied = BTreeMap::new();
    for ((object, code), answer) in sent.iter().zip(&recorded).zip(&answers) {
        // A Job that is admitted meets itself.
        assert!([201, 200, 409, 403, 422].contains(&answer.code), "{answer:?}");
        if *code < 300 && ![200, 201, 409].contains(&answer.code) {
            newly_denied.insert(object["metadata"]["name"].as_str().unwrap().to_owned(), rules_of(answer));
        }
    }
    assert!(!newly_denied.is_empty() && newly_denied.len() < sent.len(), "{newly_denied:?}");
    assert_eq!(replayed, newly_denied, "{report}");
}
