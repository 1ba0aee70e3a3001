//! Records of real requests: the id that a denial carries finds them, and they are decided the same once more.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use codex_k8s_tests::{Identity, eventually};
use codex_k8s_webhook::record::Record;
use codex_k8s_webhook::record::folder;
use codex_k8s_webhook::record::replay::{self, Stored};
use serde_json::json;

use crate::harness::*;

const SECRET: &str = "hunter2-5d1e";

fn record(id: &str) -> Record {
    let found = || folder::find(&guard().records(), id).unwrap();
    let file = eventually(&format!("the record of {id} is written"), Duration::from_secs(10), found).unwrap();
    read(fs::read(file).unwrap())
}

fn read(bytes: Vec<u8>) -> Record {
    let Stored::Record(record) = Stored::read(bytes).unwrap() else { panic!("it is no record") };
    *record
}

#[test]
fn the_id_that_a_denial_carries_finds_its_record_the_audit_event_and_the_log() {
    let namespace = managed();
    let container =
        json!({"name": "c", "image": "busybox:1.36", "env": [{"name": "TOKEN", "value": SECRET}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "escapes"},
        "spec": {"template": {"spec": {"hostNetwork": true, "restartPolicy": "Never", "containers": [container]}}}});
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    let denied = create(&Identity::agent(&namespace), &path, &job);
    let id = denied.body["details"]["uid"].as_str().unwrap_or_default().to_owned();
    let message = denied.body["message"].as_str().unwrap().to_owned();
    assert!(!message.contains(&id), "Events are counted by their text: {message}");
    denied.refused(403, "JOB018", "spec.template.spec.hostNetwork", "true");
    let record = record(&id);
    let recorded = record.verdict.message.unwrap();
    assert!(message.ends_with(&recorded), "{message}\n{recorded}");
    assert_eq!(record.review["request"]["object"]["metadata"]["name"], "escapes");
    assert!(!record.review.to_string().contains(SECRET), "{}", record.review);
    let noted =
        |event: &serde_json::Value| event["annotations"]["workloads.guard.codex-k8s.dev/decision-id"] == id;
    let audited = || cluster().audit_events().iter().any(noted).then_some(());
    eventually("the audit log has the id", Duration::from_secs(10), audited).unwrap();
    let log = fs::read_to_string(guard().file("webhook.log")).unwrap();
    assert!(log.lines().any(|line| line.contains(&id) && line.contains("denied")), "no {id} in the log");
}

#[test]
fn every_recorded_request_is_decided_the_same_again() {
    let namespace = managed();
    create(
        &Identity::developer(),
        &format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
        &json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own"}}),
    )
    .admitted();
    let policy = guard().policy().unwrap();
    let (mut replayed, mut denied) = (0, 0);
    for (file, _) in folder::list(&guard().records()).unwrap() {
        let record = read(fs::read(&file).unwrap());
        assert_eq!(record.policy, policy.hash(), "{}", file.display());
        let now = replay::record(&record, Arc::new(policy.clone().into())).unwrap();
        assert_eq!(now.verdict, record.verdict, "{}", file.display());
        replayed += 1;
        denied += usize::from(record.verdict.code.is_some());
    }
    println!("{replayed} decisions of this run were decided the same once more, {denied} of them refusals");
    assert!(replayed >= 4, "{replayed}");
}
