//! Agent Jobs while they are limited: they wait for a reservation, and none jumps the queue.

use std::sync::OnceLock;
use std::time::Duration;

use codex_k8s_tests::{Guard, Identity, eventually};
use serde_json::{Value, json};

use crate::harness::{
    APPLY, Answer, DOMAIN, JSON, MERGE, STRATEGIC, Send, annotation, namespace, playground, send, unique,
    with_label,
};

const POLICY: &str = "\
quotas: {cluster: null, perProject: null, agentJobsPerProject: {max: 1}}
identities: {breakGlass: {users: [rescuer]}}
";

fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    SHARED.get_or_init(|| Guard::start_with_policy(playground(), POLICY).unwrap())
}

#[track_caller]
fn ask(
    identity: &Identity,
    method: &'static str,
    path: &str,
    content_type: &'static str,
    body: &Value,
) -> Answer {
    send(&guard().control_plane, &Send { identity, method, path: path.to_owned(), content_type }, body)
}

#[track_caller]
fn read(path: &str) -> Value {
    ask(&Identity::Admin, "GET", path, JSON, &Value::Null).admitted()
}

/// A ready run namespace in a project of its own, and the path of its Jobs.
#[track_caller]
fn ready() -> (String, String) {
    let suffix = unique();
    let name = format!("codex-run-{suffix}");
    let object = with_label(namespace(&name), "project-id", &format!("p-{suffix}"));
    ask(&Identity::developer(), "POST", "/api/v1/namespaces", JSON, &object).admitted();
    eventually("the namespace is ready", Duration::from_secs(30), || {
        let found = read(&format!("/api/v1/namespaces/{name}"));
        (!annotation(&found, "baseline-ready-at").is_empty()).then_some(())
    })
    .unwrap();
    let jobs = format!("/apis/batch/v1/namespaces/{name}/jobs");
    (name, jobs)
}

/// Deletes the Pods of a Job as well, as kubectl and the platform do. The API's own default for Jobs is to orphan them,
/// and then the Job keeps its reservation until they have ended.
fn background() -> Value {
    json!({"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"})
}

fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"template": {"spec": {
        "restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

fn suspended(mut job: Value) -> Value {
    job["spec"]["suspend"] = true.into();
    job
}

#[track_caller]
fn create(identity: &Identity, jobs: &str, job: &Value) -> Value {
    ask(identity, "POST", jobs, JSON, job).admitted()
}

fn waits(job: &Value) -> bool {
    job["spec"]["suspend"] == true && !annotation(job, "job-pending-reason").is_empty()
}

#[track_caller]
fn await_start(path: &str) -> Value {
    let started = || Some(read(path)).filter(|job| job["spec"]["suspend"] == false);
    eventually(&format!("{path} starts"), Duration::from_secs(30), started).unwrap()
}

/// A namespace whose project has no reservation left, its Jobs, and a pending one that already says so.
#[track_caller]
fn one_that_waits() -> (String, String, String) {
    let (namespace, jobs) = ready();
    create(&Identity::worker(), &jobs, &job("first"));
    await_start(&format!("{jobs}/first"));
    create(&Identity::agent(&namespace), &jobs, &job("second"));
    let path = format!("{jobs}/second");
    eventually("it is told what it waits for", Duration::from_secs(30), || {
        annotation(&read(&path), "job-pending-reason").contains("held by").then_some(())
    })
    .unwrap();
    (namespace, jobs, path)
}

#[test]
fn no_one_but_the_reconciler_resumes_a_job_that_waits_for_a_place() {
    let (namespace, jobs, path) = one_that_waits();
    let told =
        format!("whose limit is 1; held by {namespace}/first; only the reconciler resumes it: delete a Job");
    let resume = json!({"spec": {"suspend": false}});
    for identity in [Identity::worker(), Identity::agent(&namespace), Identity::developer(), Identity::Admin]
    {
        for at in [&path, &format!("{path}?dryRun=All")] {
            for content_type in [MERGE, STRATEGIC] {
                let answer = ask(&identity, "PATCH", at, content_type, &resume);
                answer.refused(403, "QUOTA004", "spec.suspend", &told);
            }
        }
    }
    let apply = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "second"}, "spec": {"suspend": false}});
    let forced = format!("{path}?fieldManager=me&force=true");
    ask(&Identity::developer(), "PATCH", &forced, APPLY, &apply).refused(
        403,
        "QUOTA004",
        "spec.suspend",
        &told,
    );
    let mut whole = read(&path);
    whole["metadata"]["annotations"] = Value::Null;
    whole["spec"]["suspend"] = Value::Null;
    let replaced = ask(&Identity::developer(), "PUT", &path, JSON, &whole);
    replaced.refused(
        403,
        "QUOTA004",
        "job-pending-reason",
        "Forbidden: cannot be removed: must stay \"a quota reservation among the agent Jobs",
    );
    assert!(waits(&read(&path)));
    // Anyone may change an unrelated annotation.
    ask(&Identity::developer(), "PATCH", &path, MERGE, &json!({"metadata": {"annotations": {"a": "b"}}}))
        .admitted();
    ask(&Identity::worker(), "DELETE", &format!("{jobs}/first"), JSON, &background()).admitted();
    let started = await_start(&path);
    assert!(
        annotation(&started, "job-pending-reason").is_empty()
            && !annotation(&started, "job-admitted-at").is_empty()
    );
    // It has its reservation, and may be suspended and resumed at will.
    for suspend in [true, false] {
        let answer = ask(&Identity::worker(), "PATCH", &path, MERGE, &json!({"spec": {"suspend": suspend}}));
        assert_eq!(answer.admitted()["spec"]["suspend"], suspend);
    }
}

#[test]
fn no_one_says_of_a_job_that_it_has_a_place() {
    let (namespace, jobs, path) = one_that_waits();
    let admitted =
        json!({"metadata": {"annotations": {format!("{DOMAIN}/job-admitted-at"): "2026-02-01T12:00:00Z"}}});
    for at in [path.clone(), format!("{path}/status")] {
        for identity in [Identity::worker(), Identity::agent(&namespace), Identity::developer()] {
            ask(&identity, "PATCH", &at, MERGE, &admitted).refused(
                403,
                "QUOTA004",
                "job-admitted-at",
                "must stay unset: only the reconciler writes it",
            );
        }
    }
    let forget = json!({"metadata": {"annotations": {format!("{DOMAIN}/job-pending-reason"): null}}});
    let status = format!("{path}/status");
    ask(&Identity::developer(), "PATCH", &status, MERGE, &forget).refused(
        403,
        "QUOTA004",
        "job-pending-reason",
        "must stay",
    );
    let mut planted = job("forged");
    planted["metadata"]["annotations"] = admitted["metadata"]["annotations"].clone();
    ask(&Identity::worker(), "POST", &jobs, JSON, &planted).refused(
        403,
        "QUOTA004",
        "job-admitted-at",
        "leave it out: only the reconciler writes it",
    );
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
        "schedule": "0 3 * * *", "jobTemplate": {"metadata": admitted["metadata"], "spec": job("c")["spec"]}}});
    let crons = format!("/apis/batch/v1/namespaces/{namespace}/cronjobs");
    let field = "spec.jobTemplate.metadata.annotations";
    ask(&Identity::developer(), "POST", &crons, JSON, &cron).refused(403, "QUOTA004", field, "leave it out");
}

#[test]
fn a_dry_run_reports_that_a_job_would_wait_and_leaves_nothing() {
    let (namespace, jobs) = ready();
    let shown = create(&Identity::developer(), &format!("{jobs}?dryRun=All"), &job("try"));
    assert!(waits(&shown), "{shown}");
    // A real one queued behind it is reconciled: by then the other one would have been, too.
    create(&Identity::developer(), &jobs, &job("real"));
    await_start(&format!("{jobs}/real"));
    assert_eq!(ask(&Identity::Admin, "GET", &format!("{jobs}/try"), JSON, &Value::Null).code, 404);
    let leases = read("/apis/coordination.k8s.io/v1/namespaces/codex-k8s-guard/leases").to_string();
    assert!(
        leases.contains(&format!("{namespace}/real")) && !leases.contains(&format!("{namespace}/try")),
        "{leases}"
    );
    let events = read(&format!("/api/v1/namespaces/{namespace}/events"))["items"].to_string();
    assert!(!events.contains("\"try\""), "{events}");
}

#[test]
fn a_job_that_its_creator_has_suspended_is_left_to_him_until_he_resumes_it() {
    let (_, jobs) = ready();
    let own = create(&Identity::worker(), &jobs, &suspended(job("own")));
    assert_eq!(annotation(&own, "job-pending-reason"), "");
    create(&Identity::worker(), &jobs, &job("other"));
    await_start(&format!("{jobs}/other"));
    let path = format!("{jobs}/own");
    assert_eq!(
        read(&path)["spec"]["suspend"],
        true,
        "there was a reservation, and nobody took it for this one"
    );
    let resumed =
        ask(&Identity::worker(), "PATCH", &path, MERGE, &json!({"spec": {"suspend": false}})).admitted();
    assert!(waits(&resumed), "{resumed}");
    ask(&Identity::worker(), "DELETE", &format!("{jobs}/other"), JSON, &background()).admitted();
    await_start(&path);
}

#[test]
fn what_the_cron_job_controller_makes_waits_as_well() {
    let (_, jobs) = ready();
    let controller = Identity::service_account("kube-system", "cronjob-controller");
    let created = create(&controller, &jobs, &job("nightly-1"));
    assert!(waits(&created), "{created}");
    await_start(&format!("{jobs}/nightly-1"));
}

#[test]
fn a_user_who_breaks_the_glass_resumes_a_job_and_it_is_counted() {
    let (_, _, path) = one_that_waits();
    let rescuer = Identity::user("rescuer").in_group(codex_k8s_tests::identity::EVERY_RIGHT);
    ask(&rescuer, "PATCH", &path, MERGE, &json!({"spec": {"suspend": false}})).admitted();
    let counted = || Some(read(&path)).filter(|job| !annotation(job, "job-admitted-at").is_empty());
    let job = eventually("it is counted", Duration::from_secs(30), counted).unwrap();
    assert_eq!((annotation(&job, "job-pending-reason"), &job["spec"]["suspend"]), ("", &json!(false)));
}

#[test]
fn a_job_that_no_one_had_wait_is_refused() {
    let guard = Guard::start_with_policy(playground(), POLICY).unwrap();
    let name = format!("codex-run-{}", unique());
    let ask = |identity: &Identity, method, path: &str, body: &Value| {
        let content_type = if method == "PATCH" { MERGE } else { JSON };
        send(&guard.control_plane, &Send { identity, method, path: path.to_owned(), content_type }, body)
    };
    ask(&Identity::developer(), "POST", "/api/v1/namespaces", &namespace(&name)).admitted();
    let found =
        || ask(&Identity::Admin, "GET", &format!("/api/v1/namespaces/{name}"), &Value::Null).admitted();
    let ready = || Some(found()).filter(|found| !annotation(found, "baseline-ready-at").is_empty());
    let namespace = eventually("the namespace is ready", Duration::from_secs(30), ready).unwrap();
    let mutating = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/codex-k8s-guard";
    ask(&Identity::Admin, "DELETE", mutating, &Value::Null).admitted();
    let path = format!("/apis/batch/v1/namespaces/{name}/jobs");
    let mut whole = suspended(job("j"));
    let labels = namespace["metadata"]["labels"].clone();
    for key in ["run-id", "project-id"].map(|key| format!("{DOMAIN}/{key}")) {
        whole["metadata"]["labels"][&key] = labels[&key].clone();
    }
    whole["spec"]["template"]["metadata"]["labels"] =
        json!({format!("{DOMAIN}/run-id"): labels[format!("{DOMAIN}/run-id")]});
    whole["spec"]["activeDeadlineSeconds"] = 900.into();
    whole["spec"]["ttlSecondsAfterFinished"] = 600.into();
    whole["spec"]["template"]["spec"]["serviceAccountName"] = "codex-runner".into();
    let mut hasty = whole.clone();
    hasty["spec"]["suspend"] = false.into();
    let told = "must be true until there is a quota reservation among the agent Jobs of project";
    eventually("the deletion is in force", Duration::from_secs(30), || {
        (ask(&Identity::worker(), "POST", &format!("{path}?dryRun=All"), &hasty).code == 403).then_some(())
    })
    .unwrap();
    ask(&Identity::worker(), "POST", &path, &hasty).refused(403, "QUOTA004", "spec.suspend", told);
    // It may be suspended, and is resumed by requesting a reservation.
    ask(&Identity::worker(), "POST", &path, &whole).admitted();
    let at = format!("{path}/j");
    let resume = json!({"spec": {"suspend": false}});
    ask(&Identity::worker(), "PATCH", &at, &resume).refused(
        403,
        "QUOTA004",
        "spec.suspend",
        "it needs a quota reservation among",
    );
    let asks = "a quota reservation among the agent Jobs of its project";
    let asks = json!({"metadata": {"annotations": {format!("{DOMAIN}/job-pending-reason"): asks}}});
    ask(&Identity::worker(), "PATCH", &at, &asks).admitted();
    let started = || {
        let job = ask(&Identity::Admin, "GET", &at, &Value::Null).admitted();
        (job["spec"]["suspend"] == false).then_some(())
    };
    eventually("it starts", Duration::from_secs(30), started).unwrap();
}
