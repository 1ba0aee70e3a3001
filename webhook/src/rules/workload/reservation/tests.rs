//! Tests of the rule about reservations: which Jobs are suspended, who may resume them, and which workloads are out of
//! scope.

use std::sync::Arc;

use codex_k8s_shared::policy::{ProjectLimit, RunPolicy};
use serde_json::{Value, json};

use super::*;
use crate::rules::tests::{request, run_namespace};
use crate::rules::{Code, Entry, Facts, Request, decide};

const WORKER: &str = "system:serviceaccount:codex-k8s-prod:codex-k8s-worker";
const CRON: &str = "system:serviceaccount:kube-system:cronjob-controller";
const RECONCILER: &str = "system:serviceaccount:codex-k8s-guard:codex-k8s-reconcile";
const AGENT: &str = "system:serviceaccount:codex-issue-1:codex-runner";

fn limited() -> RunPolicy {
    let mut policy = RunPolicy::default();
    let overrides = [("p2".to_owned(), 0)].into();
    policy.quotas.agent_jobs_per_project = Some(ProjectLimit { max: 5, overrides });
    policy
}

fn facts(namespace: &str) -> Facts {
    let namespace = Some(Arc::new(run_namespace(namespace)));
    Facts { namespace, ..Facts::at("2026-02-01T12:00:00Z".parse().unwrap()) }
}

/// Returns a Job that lacks only a reservation.
fn job() -> Value {
    let env = [("RUN_ID", "r1"), ("PROJECT_ID", "p1"), ("RUNTIME_MODE", "full-env")]
        .map(|(name, value)| json!({"name": format!("CODEXK8S_{name}"), "value": value}));
    let pod = json!({"serviceAccountName": "codex-runner", "restartPolicy": "Never", "containers": [
        {"name": "c", "image": "busybox:1.36", "env": env, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}]});
    let labels = json!({"codex-k8s.dev/run-id": "r1", "codex-k8s.dev/project-id": "p1"});
    json!({"metadata": {"name": "unit-tests", "labels": labels},
        "spec": {"activeDeadlineSeconds": 900, "ttlSecondsAfterFinished": 600, "backoffLimit": 0,
            "template": {"metadata": {"labels": {"codex-k8s.dev/run-id": "r1"}}, "spec": pod}}})
}

fn with(mut object: Value, change: &Value) -> Value {
    json_patch::merge(&mut object, change);
    object
}

fn suspended(job: Value) -> Value {
    with(job, &json!({"spec": {"suspend": true}}))
}

fn annotated(job: Value, key: &str, value: &str) -> Value {
    with(job, &json!({"metadata": {"annotations": {key: value}}}))
}

fn waiting() -> Value {
    annotated(
        suspended(job()),
        keys::JOB_PENDING_REASON,
        "a quota reservation among the agent Jobs of project p1, whose limit is 5; held by a/b",
    )
}

fn reserved() -> Value {
    annotated(job(), keys::JOB_ADMITTED_AT, "2026-02-01T12:00:00Z")
}

fn mutated(policy: &RunPolicy, facts: &Facts, user: &str, old: Option<&Value>, new: &Value) -> Value {
    let evaluated = request(user, Kind::Job, old.cloned(), Some(new.clone()));
    let verdict = decide(policy, facts, &evaluated, Entry::Mutate);
    let mut stored = new.clone();
    json_patch::patch(&mut stored, &verdict.patch).unwrap();
    stored
}

/// Returns the findings as `path: found; remedy`, after a check that this rule denies the request.
fn found(policy: &RunPolicy, facts: &Facts, request: &Request<'_>) -> Vec<String> {
    let verdict = decide(policy, facts, request, Entry::Validate);
    let message = verdict.findings.iter().map(|finding| {
        assert_eq!((finding.rule.id, finding.code), ("QUOTA004", Code::Forbidden), "{finding}");
        format!("{}: {}; {}", finding.path, finding.found, finding.remedy)
    });
    message.collect()
}

fn created(user: &str, new: Value) -> Vec<String> {
    found(&limited(), &facts("codex-issue-1"), &request(user, Kind::Job, None, Some(new)))
}

fn changed(user: &str, old: Value, new: Value) -> Vec<String> {
    found(&limited(), &facts("codex-issue-1"), &request(user, Kind::Job, Some(old), Some(new)))
}

#[track_caller]
fn is_one(found: &[String], text: &str) {
    let [one] = found else { panic!("{found:?}") };
    assert!(one.contains(text), "no {text:?} in {one:?}");
}

#[test]
fn a_new_agent_job_waits_whoever_creates_it_and_says_so() {
    for user in [WORKER, AGENT, CRON, "jane"] {
        let stored = mutated(&limited(), &facts("codex-issue-1"), user, None, &job());
        assert_eq!(stored["spec"]["suspend"], true, "{user}");
        assert_eq!(
            stored["metadata"]["annotations"][keys::JOB_PENDING_REASON],
            PENDING_REASON_AT_CREATION,
            "{user}"
        );
        assert_eq!(created(user, stored), [""; 0], "{user}");
    }
}

#[test]
fn a_job_without_a_limit_is_not_touched() {
    let (policy, facts) = (RunPolicy::default(), facts("codex-issue-1"));
    assert_eq!(mutated(&policy, &facts, WORKER, None, &job()), job());
    let resumed = with(waiting(), &json!({"spec": {"suspend": false}, "metadata": {"annotations": null}}));
    for (old, new) in [(None, job()), (None, reserved()), (Some(waiting()), resumed)] {
        assert_eq!(found(&policy, &facts, &request(AGENT, Kind::Job, old, Some(new))), [""; 0]);
    }
}

#[test]
fn a_job_that_the_mutating_call_was_skipped_for_is_refused() {
    for job in [job(), with(job(), &json!({"spec": {"suspend": false}}))] {
        let message = "must be true until there is a quota reservation among the agent Jobs of project p1, whose limit is 5; create it again";
        is_one(&created(WORKER, job), message);
    }
    let nameless = with(suspended(job()), &json!({"metadata": {"labels": {"codex-k8s.dev/run-id": null}}}));
    let message = "metadata.labels[\"codex-k8s.dev/run-id\"]: nothing; the namespace's is \"r1\"";
    // JOB001 does not apply to a controller's Job, so this rule checks its identity.
    is_one(&created(CRON, nameless.clone()), message);
    let unnamed = RunPolicy { rules: [("JOB001".to_owned(), Mode::Off)].into(), ..limited() };
    for (policy, user) in [(limited(), CRON), (limited(), WORKER), (unnamed, WORKER)] {
        assert_eq!(mutated(&policy, &facts("codex-issue-1"), user, None, &nameless), suspended(job()));
    }
}

#[test]
fn a_job_of_which_somebody_says_that_it_has_a_reservation_is_refused() {
    let message = "job-admitted-at\"]: \"2026-02-01T12:00:00Z\"; leave it out: only the reconciler writes it";
    is_one(&created(WORKER, suspended(reserved())), message);
    let message = "job-pending-reason\"]: \"godot\"; leave it out";
    is_one(&created(WORKER, annotated(suspended(job()), keys::JOB_PENDING_REASON, "godot")), message);
    let message =
        "job-admitted-at\"]: \"2026-02-01T12:00:00Z\"; must stay unset: only the reconciler writes it";
    is_one(&changed(AGENT, suspended(job()), suspended(reserved())), message);
    is_one(&changed(AGENT, reserved(), job()), "must stay \"2026-02-01T12:00:00Z\"");
}

#[test]
fn no_one_but_the_reconciler_lets_go_a_job_that_waits() {
    let resumed = with(waiting(), &json!({"spec": {"suspend": false}}));
    let forgotten = with(waiting(), &json!({"metadata": {"annotations": {keys::JOB_PENDING_REASON: null}}}));
    let started = with(
        forgotten.clone(),
        &json!({"spec": {"suspend": false}, "metadata": {"annotations":
        {keys::JOB_ADMITTED_AT: "2026-02-01T12:00:00Z"}}}),
    );
    for user in [WORKER, AGENT, "jane"] {
        let message = "spec.suspend: false; it waits for a quota reservation among the agent Jobs of project p1, whose limit is 5; held by \
                    a/b; only the reconciler resumes it: delete a Job that is done with";
        is_one(&changed(user, waiting(), resumed.clone()), message);
        is_one(
            &changed(user, waiting(), forgotten.clone()),
            "job-pending-reason\"]: nothing; must stay \"a quota reservation among",
        );
        assert_eq!(
            changed(user, waiting(), started.clone()).len(),
            3,
            "both annotations, and the suspension"
        );
        // The mutating call does not fix it.
        assert_eq!(mutated(&limited(), &facts("codex-issue-1"), user, Some(&waiting()), &resumed), resumed);
    }
    let renamed = with(waiting(), &json!({"metadata": {"labels": {"codex-k8s.dev/run-id": null}}}));
    let findings = decide(
        &limited(),
        &facts("codex-issue-1"),
        &request("jane", Kind::Job, Some(waiting()), Some(renamed)),
        Entry::Validate,
    )
    .findings;
    assert!(findings.iter().any(|finding| finding.rule.id == "QUOTA004"), "{findings:?}");
    for new in [resumed, forgotten, started] {
        assert_eq!(changed(RECONCILER, waiting(), new.clone()), [""; 0]);
        assert_eq!(mutated(&limited(), &facts("codex-issue-1"), RECONCILER, Some(&waiting()), &new), new);
    }
    let noted = annotated(waiting(), "example.dev/note", "x");
    assert_eq!(changed(AGENT, waiting(), noted), [""; 0]);
}

#[test]
fn a_job_that_its_creator_has_suspended_is_left_to_him_and_needs_a_reservation_once_he_resumes_it() {
    let (policy, facts) = (limited(), facts("codex-issue-1"));
    let own = suspended(job());
    assert_eq!(mutated(&policy, &facts, WORKER, None, &own), own);
    assert_eq!(created(WORKER, own.clone()), [""; 0]);
    let requests_it = annotated(own.clone(), keys::JOB_PENDING_REASON, PENDING_REASON_AT_CREATION);
    assert_eq!(mutated(&policy, &facts, WORKER, Some(&own), &job()), requests_it, "it waits instead");
    assert_eq!(changed(WORKER, own.clone(), requests_it), [""; 0]);
    let message = "spec.suspend: nothing; it needs a quota reservation among the agent Jobs of project p1, whose limit is 5: leave it \
                suspended, annotate it codex-k8s.dev/job-pending-reason=\"a quota reservation among the agent Jobs of its project\"";
    is_one(&changed(WORKER, own, job()), message);
}

#[test]
fn a_job_that_has_a_reservation_is_suspended_and_resumed_as_its_creator_likes() {
    let rests = suspended(reserved());
    assert_eq!(changed(WORKER, reserved(), rests.clone()), [""; 0]);
    assert_eq!(mutated(&limited(), &facts("codex-issue-1"), WORKER, Some(&rests), &reserved()), reserved());
    assert_eq!(changed(WORKER, rests, reserved()), [""; 0]);
    // A Job from before the limit is not denied.
    assert_eq!(changed(WORKER, job(), annotated(job(), "example.dev/note", "x")), [""; 0]);
}

#[test]
fn the_platforms_own_stack_in_a_slot_is_not_counted_and_a_run_there_is() {
    let (policy, slot) = (limited(), facts("codex-k8s-dev-1"));
    let stack = json!({"metadata": {"name": "migrate"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}});
    for user in [WORKER, CRON] {
        assert_eq!(mutated(&policy, &slot, user, None, &stack), stack);
        assert_eq!(found(&policy, &slot, &request(user, Kind::Job, None, Some(stack.clone()))), [""; 0]);
        let run = mutated(&policy, &slot, user, None, &job());
        assert_eq!(run["spec"]["suspend"], true, "{user}");
        is_one(&found(&policy, &slot, &request(user, Kind::Job, None, Some(job()))), "spec.suspend: nothing");
    }
    let rests = suspended(stack.clone());
    let resumed = request("jane", Kind::Job, Some(rests), Some(stack.clone()));
    let verdict = decide(&policy, &slot, &resumed, Entry::Validate);
    assert!(verdict.findings.iter().all(|finding| finding.rule.id != "QUOTA004"), "{:?}", verdict.findings);
    let agents = mutated(&policy, &slot, "system:serviceaccount:codex-k8s-dev-1:codex-runner", None, &stack);
    assert_eq!(agents["spec"]["suspend"], true);
}

#[test]
fn a_cron_jobs_template_says_nothing_of_reservations() {
    let cron = |annotations: Value| {
        json!({"metadata": {"name": "nightly", "labels": job()["metadata"]["labels"]}, "spec": {"schedule": "@daily",
            "jobTemplate": {"metadata": {"labels": job()["metadata"]["labels"], "annotations": annotations},
                "spec": job()["spec"]}}})
    };
    let forged = cron(json!({keys::JOB_ADMITTED_AT: "x"}));
    let ask = |old, new| {
        found(&limited(), &facts("codex-issue-1"), &request("jane", Kind::CronJob, old, Some(new)))
    };
    let message =
        "spec.jobTemplate.metadata.annotations[\"codex-k8s.dev/job-admitted-at\"]: \"x\"; leave it out";
    is_one(&ask(None, forged.clone()), message);
    is_one(&ask(Some(cron(json!({}))), forged.clone()), message);
    assert_eq!(ask(Some(forged.clone()), forged), [""; 0]);
    assert_eq!(ask(None, cron(json!({}))), [""; 0]);
}

#[test]
fn the_rule_has_its_modes_like_any_other() {
    let facts = facts("codex-issue-1");
    let off = RunPolicy { rules: [("QUOTA004".to_owned(), Mode::Off)].into(), ..limited() };
    assert_eq!(mutated(&off, &facts, WORKER, None, &job()), job());
    assert_eq!(found(&off, &facts, &request(WORKER, Kind::Job, None, Some(job()))), [""; 0]);
    let warn = RunPolicy { rules: [("QUOTA004".to_owned(), Mode::Warn)].into(), ..limited() };
    let verdict = decide(&warn, &facts, &request(WORKER, Kind::Job, None, Some(job())), Entry::Validate);
    assert!(verdict.is_allowed() && verdict.findings.len() == 1, "{:?}", verdict.findings);
    assert_eq!(mutated(&warn, &facts, WORKER, None, &job())["spec"]["suspend"], true);
}

#[test]
fn a_pod_that_may_still_run_is_not_taken_from_its_job() {
    let owner = |uid: &str| json!([{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": uid, "controller": true}]);
    let pod = |owners: Value, phase: &str| {
        json!({"metadata": {"name": "p", "labels": {"codex-k8s.dev/run-id": "r1"}, "ownerReferences": owners},
            "spec": {"containers": []}, "status": {"phase": phase}})
    };
    let leaves = |old: &Value, new: &Value| {
        leaves_its_job(&Workload::of(Kind::Pod, old), &Workload::of(Kind::Pod, new))
    };
    for phase in ["Pending", "Running"] {
        assert!(leaves(&pod(owner("u"), phase), &pod(json!([]), phase)), "{phase}");
        assert!(leaves(&pod(owner("u"), phase), &pod(owner("other"), phase)), "{phase}");
        assert!(!leaves(&pod(owner("u"), phase), &pod(owner("u"), phase)), "{phase}");
        assert!(!leaves(&pod(json!([]), phase), &pod(owner("u"), phase)), "{phase}: it is adopted");
    }
    assert!(!leaves(&pod(owner("u"), "Succeeded"), &pod(json!([]), "Succeeded")), "it has ended");
    let ending =
        with(pod(json!([]), "Running"), &json!({"metadata": {"deletionTimestamp": "2026-02-01T12:00:00Z"}}));
    assert!(!leaves(&pod(owner("u"), "Running"), &ending), "it is ending");
}
