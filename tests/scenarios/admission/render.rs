//! Rendered objects are admitted unchanged; each is created once, and the Job is followed to its end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use codex_k8s_tests::{Identity, Postgres, eventually};
use serde_json::{Value, json};

use crate::harness::*;
use crate::platform::keeps;

const A: &str = r#"{"trigger":{"kind":"dev"},"issue":{"number":77}}"#;
const B: &str = r#"{"repository":{"full_name":"o/r"},"trigger":{"kind":"dev","source":"issue_label","label":"run:dev"},"issue":{"number":77},"agent":{"key":"dev","name":"AI Developer"},"runtime":{"mode":"full-env","target_env":"ai","build_ref":"main","access_profile":"candidate"}}"#;

/// `render` as an identity.
fn command(identity: &Identity, args: &[&str]) -> Command {
    let mut command = Command::new(playground());
    command.args(["guard", "render"]).args(args);
    command.env("KUBECONFIG", cluster().kubeconfig(identity).unwrap());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run(identity: &Identity, args: &[&str], payload: &str) -> Output {
    let mut process = command(identity, args).spawn().unwrap();
    process.stdin.take().unwrap().write_all(payload.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

/// The output of a command that ended with this code; on failure, its error. The context that it names before it writes
/// is left out.
#[track_caller]
fn told(output: &Output, code: i32) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{all}");
    let lines = all.split_inclusive('\n').filter(|line| !line.starts_with("note: using context "));
    lines.collect()
}

/// The objects of a run.
fn rendered(args: &[&str], payload: &str) -> Vec<Value> {
    let output = run(&Identity::developer(), &[args, &["--output=json", "-"]].concat(), payload);
    let list: Value = serde_json::from_str(&told(&output, 0)).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

fn read_job(namespace: &str, job: &str) -> Value {
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job}");
    Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null).admitted()
}

/// Returns true if the API server noted that our webhook changed the object on its creation.
fn was_mutated(resource: &str, object: &str) -> bool {
    let created = |event: &Value| {
        event["verb"] == "create"
            && event["objectRef"]["resource"] == resource
            && event["objectRef"]["name"] == object
            && event["responseStatus"]["code"] == 201
    };
    let creation = eventually("the audit log has the creation", Duration::from_secs(10), || {
        cluster().audit_events().into_iter().find(created)
    });
    let creation = creation.unwrap();
    let notes = creation["annotations"].as_object().unwrap();
    let of_ours = |(key, note): (&String, &Value)| {
        let note = note.as_str().filter(|_| key.starts_with("mutation.webhook.admission.k8s.io/"))?;
        let note: Value = serde_json::from_str(note).unwrap();
        note["webhook"]
            .as_str()
            .unwrap()
            .ends_with("guard.codex-k8s.dev")
            .then(|| note["mutated"].as_bool())?
    };
    let mutated: Vec<bool> = notes.iter().filter_map(of_ours).collect();
    assert!(!mutated.is_empty(), "our webhook was asked: {creation}");
    mutated.contains(&true)
}

#[test]
fn what_is_rendered_of_both_payloads_is_admitted_unchanged_and_applied_once() {
    for (id, payload) in
        [("aaaa0001-9d47-4a06-b5e2-7c81d0f4a913", A), ("aaaa0002-9d47-4a06-b5e2-7c81d0f4a913", B)]
    {
        for (identity, id) in [
            (Identity::worker(), id.to_owned()),
            (Identity::platform_control_plane(), id.replace("aaaa", "bbbb")),
        ] {
            let args = ["--run-id", &id, "--project-id", "a74d653c-adf0-5b7c-8c41-88ceadd6edd3"];
            let sent = rendered(&args, payload);
            let [namespace, job] = sent.as_slice() else { panic!("{sent:?}") };
            let apply = [&args[..], &["--apply", "-"]].concat();
            let (namespace_name, job_name) = (name(namespace), name(job));
            assert_eq!(
                told(&run(&identity, &apply, payload), 0),
                format!("namespace {namespace_name} created\njob {namespace_name}/{job_name} created\n")
            );
            let stored = read_namespace(namespace_name);
            assert!(keeps(&stored, namespace), "sent {namespace}\nstored {stored}");
            let stored_job = read_job(namespace_name, job_name);
            assert!(keeps(&stored_job, job), "sent {job}\nstored {stored_job}");
            // The parts of the Namespace that depend on the time and on the requester were added.
            assert!(
                was_mutated("namespaces", namespace_name) && !annotation(&stored, "requested-by").is_empty()
            );
            assert!(!was_mutated("jobs", job_name));
            let again = told(&run(&identity, &apply, payload), 0);
            assert_eq!(again.matches(" reused\n").count(), 2, "{again}");
            let uid = &read_job(namespace_name, job_name)["metadata"]["uid"];
            assert_eq!(uid, &stored_job["metadata"]["uid"]);
        }
    }
}

#[test]
fn kubectl_reads_the_same_from_the_yaml_as_from_the_json() {
    let kubectl = cluster().kubectl(&Identity::developer()).unwrap();
    for odd in
        ["yes", "1234e567", "0123", "12:30:45", "~", "<<", "a: b #c", "two\nlines ", "\u{7}\u{2028}\u{fffd}"]
    {
        let mut payload: Value = serde_json::from_str(B).unwrap();
        payload["runtime"]["build_ref"] = odd.into();
        let payload = payload.to_string();
        let args = ["--run-id", "odd1", "--correlation-id", odd];
        let sent = rendered(&args, &payload);
        let yaml = told(&run(&Identity::developer(), &[&args[..], &["-"]].concat(), &payload), 0);
        let ran =
            kubectl.run_with_input(&["create", "--dry-run=client", "-f", "-", "-o", "json"], &yaml).unwrap();
        assert!(ran.succeeded(), "{odd:?}: {ran}");
        let objects = serde_json::Deserializer::from_str(&ran.stdout).into_iter::<Value>();
        let read: Vec<Value> = objects.map(Result::unwrap).collect();
        let read =
            if let [list] = read.as_slice() { list["items"].as_array().unwrap().clone() } else { read };
        assert_eq!(read.len(), 2, "{ran}");
        assert!(
            sent.iter().zip(&read).all(|(sent, read)| keeps(read, sent)),
            "{odd:?}: sent {sent:?}\nread {read:?}"
        );
    }
}

#[test]
fn a_namespace_or_a_job_of_another_owner_is_refused_and_left_unchanged() {
    let id = "cccc0001-9d47-4a06-b5e2-7c81d0f4a913";
    let args = ["--run-id", id, "--apply", "-"];
    let foreign = "codex-issue-project-i77-rcccc00019d47";
    create_namespace(&Identity::worker(), &namespace(foreign)).admitted();
    let before = read_namespace(foreign);
    let refused = told(&run(&Identity::worker(), &args, A), 3);
    let run_id =
        "codex-k8s.dev/run-id is \"cccc00019d47\"; expected \"cccc0001-9d47-4a06-b5e2-7c81d0f4a913\"";
    let expected =
        format!("error: namespace {foreign} exists and is not this run's: {run_id}; it is left as it is\n");
    assert_eq!(refused, expected);
    assert_eq!(read_namespace(foreign)["metadata"]["labels"], before["metadata"]["labels"]);
    // A Job of that name in one of the platform's own namespaces.
    let home = unmanaged();
    let path = format!("/apis/batch/v1/namespaces/{home}/jobs");
    let squatter = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": format!("codex-k8s-run-{id}")},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}});
    create(&Identity::developer(), &path, &squatter).admitted();
    let refused =
        told(&run(&Identity::worker(), &[&args[..], &["--platform-namespace", &home]].concat(), "{}"), 3);
    let expected_job = format!(
        "job {home}/codex-k8s-run-{id} exists and is not this run's: codex-k8s.dev/run-id is not there"
    );
    assert!(refused.contains(&expected_job), "{refused}");
    // A namespace that is not managed, and objects that the API server itself refuses.
    let bare = slot_name();
    create_namespace(&Identity::platform_control_plane(), &namespace(&bare)).admitted();
    let payload = B.replace(r#""mode":"#, &format!(r#""namespace":"{bare}","mode":"#));
    let refused = told(&run(&Identity::worker(), &args, &payload), 3);
    assert!(
        refused.contains("codex-k8s.dev/managed-by is not there; expected \"codex-k8s-worker\""),
        "{refused}"
    );
    let refused = told(
        &run(&Identity::user("nobody"), &["--run-id", &id.replace("cccc", "cccd"), "--apply", "-"], A),
        3,
    );
    assert!(
        refused.contains("the API server refuses namespace codex-issue-") && refused.contains("forbidden"),
        "{refused}"
    );
}

/// Ends the Pod of a Job. There is no kubelet: the test writes the Pod's status, and the Job controller acts on that.
fn end_pod(namespace: &str, job: &str, phase: &str) {
    let list = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=job-name%3D{job}");
    let pod = eventually("the Job has a Pod", Duration::from_mins(1), || {
        let path = list.clone();
        let pods =
            Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
        pods.admitted()["items"].as_array()?.first().map(|pod| name(pod).to_owned())
    });
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/status", pod.unwrap());
    patch_at(&Identity::kubelet(), path, MERGE, &json!({"status": {"phase": phase}})).admitted();
}

/// Follows the Job of a run that ends with this status; returns the code and the last line.
fn followed(id: &str, end: impl FnOnce(&str, &str)) -> (i32, String) {
    let args = ["--run-id", id, "--wait", "-"];
    let mut process = command(&Identity::worker(), &args).spawn().unwrap();
    process.stdin.take().unwrap().write_all(A.as_bytes()).unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let job = format!("codex-k8s-run-{id}");
    let first = lines.by_ref().find(|line| line.starts_with(&format!("job {job}: "))).unwrap();
    assert!(first.ends_with(": pending") || first.ends_with(": running, 1 active"), "{first}");
    let namespace = format!("codex-issue-project-i77-r{}", &id.replace('-', "")[..12]);
    end(&namespace, &job);
    let last = lines.last().unwrap();
    (process.wait().unwrap().code().unwrap(), last)
}

#[test]
fn a_job_is_followed_to_its_success_its_failure_and_its_deletion() {
    let id = "dddd0001-9d47-4a06-b5e2-7c81d0f4a913";
    let (code, last) = followed(id, |namespace, job| end_pod(namespace, job, "Succeeded"));
    assert_eq!((code, last), (0, format!("job codex-k8s-run-{id}: succeeded")));
    let id = "dddd0002-9d47-4a06-b5e2-7c81d0f4a913";
    let (code, last) = followed(id, |namespace, job| end_pod(namespace, job, "Failed"));
    assert_eq!(code, 1, "{last}");
    assert!(last.starts_with(&format!("job codex-k8s-run-{id}: failed: BackoffLimitExceeded: ")), "{last}");
    let id = "dddd0003-9d47-4a06-b5e2-7c81d0f4a913";
    let (code, last) = followed(id, |namespace, job| {
        let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs/{job}?propagationPolicy=Background");
        Send { identity: &Identity::Admin, method: "DELETE", path, content_type: JSON }
            .body(&Value::Null)
            .admitted();
    });
    assert_eq!((code, last), (1, format!("job codex-k8s-run-{id}: gone")));
}

#[test]
fn a_run_of_the_platforms_database_gives_what_its_payload_gives() {
    let postgres = Postgres::start(playground()).unwrap();
    postgres.create_platform("platform").unwrap();
    let (id, project) = ("eeee0001-9d47-4a06-b5e2-7c81d0f4a913", "a74d653c-adf0-5b7c-8c41-88ceadd6edd3");
    let orphan = "eeee0002-9d47-4a06-b5e2-7c81d0f4a913";
    let rows = format!(
        "INSERT INTO projects VALUES ('{project}'); INSERT INTO agent_runs (id, correlation_id, project_id, run_payload) \
         VALUES ('{id}', 'c1', '{project}', '{B}'), ('{orphan}', 'c2', NULL, '{A}')"
    );
    postgres.sql("platform", &rows).unwrap();
    postgres.create_user("reader").unwrap();
    let runs = format!("--runs={}", postgres.url("reader", "platform"));
    let from_database = |id: &str| run(&Identity::developer(), &["--run-id", id, &runs], "");
    let refused = told(&from_database(id), 5);
    assert!(refused.contains("GRANT SELECT ON public.agent_runs TO \"reader\""), "{refused}");
    postgres.sql("platform", "GRANT SELECT ON agent_runs TO reader").unwrap();
    let args = ["--run-id", id, "--project-id", project, "--correlation-id", "c1", "-"];
    assert_eq!(told(&from_database(id), 0), told(&run(&Identity::developer(), &args, B), 0));
    let args = ["--run-id", orphan, "--correlation-id", "c2", "-"];
    assert_eq!(told(&from_database(orphan), 0), told(&run(&Identity::developer(), &args, A), 0));
    let unknown = told(&from_database("eeee0003-9d47-4a06-b5e2-7c81d0f4a913"), 5);
    assert!(unknown.contains("has no run eeee0003-"), "{unknown}");
    assert!(told(&from_database("run1"), 5).contains("has no run run1"));
    postgres.sql("platform", "DROP TABLE agent_runs").unwrap();
    let refused = told(&from_database(id), 5);
    assert!(refused.contains("has no table agent_runs; name the platform's database"), "{refused}");
}
