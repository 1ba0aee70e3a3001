//! A policy that changes while the webhook runs.

use std::fs;
use std::time::Duration;

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::{Value, json};

use crate::harness::{Answer, JSON, Send, namespace, playground, send};

const TIMEOUT: Duration = Duration::from_secs(20);
const JOBS: &str = "/apis/batch/v1/namespaces/codex-issue-reload/jobs?dryRun=All";

fn post(guard: &Guard, path: &str, body: &Value) -> Answer {
    let (identity, path) = (&Identity::worker(), path.to_owned());
    send(&guard.control_plane, &Send { identity, method: "POST", path, content_type: JSON }, body)
}

fn wide_job_of(namespace: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "wide", "namespace": namespace},
        "spec": {"parallelism": 3, "template": {"spec": {
            "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

fn wide_job(guard: &Guard) -> Answer {
    post(guard, JOBS, &wide_job_of("codex-issue-reload"))
}

/// The hash of the active policy, as the metrics report it.
fn hash(guard: &Guard) -> String {
    let metrics = guard.webhook.health.get("/metrics").unwrap();
    let line = metrics.lines().find(|line| line.starts_with("codex_k8s_webhook_policy_info{")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

/// Returns true if the policy was valid when it was last read, as the metrics report it.
fn is_valid(guard: &Guard) -> bool {
    let metric = "codex_k8s_webhook_last_reload_successful{reason=\"policy\"}";
    guard.webhook.health.metric(metric).unwrap() == 1
}

fn await_failures(guard: &Guard, number: usize) {
    let line = format!("codex_k8s_webhook_reload_failures_total{{reason=\"policy\"}} {number}");
    eventually("the failed reload is counted", TIMEOUT, || {
        guard.webhook.health.get("/metrics").ok().filter(|metrics| metrics.contains(&line)).map(drop)
    })
    .unwrap();
}

#[test]
fn a_good_policy_takes_effect_and_a_bad_one_leaves_the_last_good_one_in_force() {
    let guard = Guard::start_with_policy(playground(), "").unwrap();
    post(&guard, "/api/v1/namespaces", &namespace("codex-issue-reload")).admitted();
    wide_job(&guard).admitted();
    assert!(is_valid(&guard));
    let (first, narrow) = (hash(&guard), "jobs: {parallelism: {max: 2}}\n");
    guard.write_policy(narrow).unwrap();
    eventually("the new policy is in force", TIMEOUT, || (hash(&guard) != first).then_some(())).unwrap();
    wide_job(&guard).refused(403, "JOB010", "spec.parallelism", "must be at most 2");
    let second = hash(&guard);
    for (failures, bad) in [
        "rules: {JOB099: off}\n",
        "jobs: {parallelism: {max: 0}}\n",
        "jobs: {parallelismus: 1}\n",
        "jobs: [\n",
    ]
    .into_iter()
    .enumerate()
    {
        guard.write_policy(bad).unwrap();
        await_failures(&guard, failures + 1);
        assert!(hash(&guard) == second && !is_valid(&guard), "{bad}");
        wide_job(&guard).refused(403, "JOB010", "spec.parallelism", "must be at most 2");
    }
    fs::remove_file(guard.file("policy.yaml")).unwrap();
    await_failures(&guard, 5);
    wide_job(&guard).refused(403, "JOB010", "spec.parallelism", "must be at most 2");
    let log = guard.control_plane.log_tail("webhook");
    assert!(
        log.contains("failed to load the new policy, keeping the old one") && log.contains("JOB099"),
        "{log}"
    );
    guard.write_policy("").unwrap();
    eventually("the first policy is back", TIMEOUT, || (hash(&guard) == first).then_some(())).unwrap();
    assert!(is_valid(&guard));
    wide_job(&guard).admitted();
}

/// The steps of docs/install.md: first the audit log and the metrics, then a warning to the requester, then a refusal;
/// and back.
#[test]
fn a_rule_is_rolled_out_from_audit_over_warn_to_enforce_and_taken_back_without_a_restart() {
    let narrow = |mode: &str| format!("jobs: {{parallelism: {{max: 2}}}}\nrules: {{JOB010: {mode}}}\n");
    let guard = Guard::start_with_policy(playground(), &narrow("audit")).unwrap();
    post(&guard, "/api/v1/namespaces", &namespace("codex-issue-reload")).admitted();
    let found = |outcome: &str| {
        let metrics = guard.webhook.health.get("/metrics").unwrap();
        let of = |line: &&str| {
            line.contains("rule=\"JOB010\"") && line.contains(&format!("outcome=\"{outcome}\""))
        };
        metrics.lines().any(|line| of(&line))
    };
    let kubectl = guard.kubectl(&Identity::worker()).unwrap();
    let ask = || {
        let args = ["create", "--dry-run=server", "-f", "-"];
        kubectl.run_with_input(&args, &wide_job_of("codex-issue-reload").to_string()).unwrap()
    };
    for (mode, outcome, admitted, told) in [
        ("audit", "audited", true, false),
        ("warn", "warned", true, true),
        ("enforce", "denied", false, true),
        ("warn", "warned", true, true),
    ] {
        guard.write_policy(&narrow(mode)).unwrap();
        let ran = eventually(&format!("JOB010 is set to {mode}"), TIMEOUT, || {
            let ran = ask();
            (ran.succeeded() == admitted && ran.stderr.contains("JOB010: ") == told).then_some(ran)
        });
        assert!(found(outcome), "{mode}: {ran:?}");
    }
}

#[test]
fn a_webhook_does_not_start_with_a_bad_policy() {
    let guard = tempfile::NamedTempFile::new().unwrap();
    fs::write(
        guard.path(),
        "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrules: {NS099: off}\n",
    )
    .unwrap();
    let ran = std::process::Command::new(playground())
        .args(["guard", "serve", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"])
        .args(["--tls-cert=absent.crt", "--tls-key=absent.key", "--policy"])
        .arg(guard.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    assert!(!ran.status.success() && told.contains("rules.NS099: no rule has this id"), "{told}");
}
