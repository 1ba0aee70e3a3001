//! `kubectl --dry-run=server`: the verdict, the defaults and the warnings of the real request, and nothing is left of
//! it.

use std::time::Duration;

use codex_k8s_tests::{Guard, Identity, Kubectl, Ran, eventually};
use serde_json::{Value, json};

use crate::harness::{JSON, Send, namespace, playground, send, unique};

/// Two reservations in each project, and one for an agent Job.
const POLICY: &str = "\
quotas: {cluster: null, perRequester: null, perProject: {max: 2}, agentJobsPerProject: {max: 1}}
";
const TIMEOUT: Duration = Duration::from_mins(1);
const DRY: &str = "--dry-run=server";

/// A cluster of its own: other tests must not add to the counts or to the objects left.
struct Cluster {
    guard: Guard,
    kubectl: Kubectl,
}

/// A command, with kubectl's arguments and its standard input.
struct Case {
    args: Vec<String>,
    input: String,
    /// Words of the refusal; `None` if it is admitted.
    refused: Option<&'static str>,
}

impl Case {
    fn new(args: &[&str], input: &Value, refused: Option<&'static str>) -> Self {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Self { args, input: input.to_string(), refused }
    }

    fn run(&self, kubectl: &Kubectl, dry: bool) -> Ran {
        let mut args: Vec<_> = self.args.iter().map(String::as_str).collect();
        args.extend(dry.then_some(DRY));
        let ran = kubectl.run_with_input(&args, &self.input).unwrap();
        match self.refused {
            None => assert!(ran.succeeded(), "{ran}"),
            Some(words) => assert!(!ran.succeeded() && ran.stderr.contains(words), "no {words}: {ran}"),
        }
        ran
    }
}

impl Cluster {
    fn new() -> Self {
        let guard = Guard::start_with_policy(playground(), POLICY).unwrap();
        let kubectl = guard.kubectl(&Identity::developer()).unwrap();
        Self { guard, kubectl }
    }

    fn get(&self, path: &str) -> Value {
        let get =
            Send { identity: &Identity::Admin, method: "GET", path: path.to_owned(), content_type: JSON };
        send(&self.guard.control_plane, &get, &Value::Null).body
    }

    fn names(&self, path: &str) -> Vec<String> {
        let list = self.get(path);
        let name = |item: &Value| {
            let meta = &item["metadata"];
            format!("{}/{} {}", meta["namespace"], meta["name"], meta["uid"])
        };
        let mut names: Vec<_> = list["items"].as_array().unwrap().iter().map(name).collect();
        names.sort();
        names
    }

    /// Everything that a request could have left behind.
    fn state(&self) -> Vec<Vec<String>> {
        let reservations = "/apis/coordination.k8s.io/v1/namespaces/codex-k8s-guard/leases";
        ["/api/v1/namespaces", "/api/v1/events", "/apis/batch/v1/jobs", "/api/v1/pods", reservations]
            .into_iter()
            .map(|path| self.names(path))
            .collect()
    }

    /// The number of decided requests to create or delete something, and the number of refused ones.
    fn counted(&self, dry_run: bool) -> (u64, u64) {
        let dry_run = format!("dry_run=\"{dry_run}\"");
        let of = |label: &str| {
            let labels = [dry_run.as_str(), label];
            self.guard.webhook.health.sum_of("codex_k8s_webhook_decisions_total", &labels).unwrap()
        };
        (of("operation=\"CREATE\"") + of("operation=\"DELETE\""), of("outcome=\"denied\""))
    }

    fn create_ready(&self, name: &str, project: &str) {
        let created = Case::new(&["create", "-f", "-"], &of_project(name, project), None);
        created.run(&self.kubectl, false);
        let is_ready = || {
            let found = self.get(&format!("/api/v1/namespaces/{name}"));
            (!found["metadata"]["annotations"]["codex-k8s.dev/baseline-ready-at"].is_null()).then_some(())
        };
        eventually(&format!("{name} is ready"), TIMEOUT, is_ready).unwrap();
    }
}

fn fresh() -> String {
    format!("codex-issue-dry-{}", unique())
}

fn of_project(name: &str, project: &str) -> Value {
    let mut object = namespace(name);
    object["metadata"]["labels"]["codex-k8s.dev/project-id"] = project.into();
    object
}

fn job(namespace: &str, name: &str, field: &str, value: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name, "namespace": namespace},
        "spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36",
        "env": [{"name": "CODEXK8S_OPENAI_API_KEY", "value": "x"}]}]}}}});
    job["spec"]["template"]["spec"][field] = value;
    job
}

/// Each main operation, admitted and refused; in an order in which the real requests can follow each other.
fn cases(existing: &str) -> Vec<Case> {
    let create = ["create", "-f", "-", "-o", "json"];
    let nothing = Value::Null;
    let labelled = {
        let mut object = namespace(&fresh());
        object["metadata"]["labels"]["codex-k8s.dev/surprise"] = "x".into();
        object
    };
    let here = ["-n", existing, "-o", "json"];
    let at = |args: &[&str], refused| Case::new(&[args, &here[..]].concat(), &nothing, refused);
    let lift = r#"--patch={"spec":{"suspend":false}}"#;
    vec![
        Case::new(&create, &of_project(&fresh(), "admitted"), None),
        Case::new(&create, &labelled, Some("NS009: ")),
        Case::new(&create, &of_project(&fresh(), "full"), Some("QUOTA003: ")),
        Case::new(&create, &job(existing, "warned", "automountServiceAccountToken", false.into()), None),
        Case::new(&create, &job(existing, "escapes", "hostNetwork", true.into()), Some("JOB018: ")),
        at(&["label", "namespace", existing, "team=payments"], None),
        at(&["label", "--overwrite", "namespace", existing, "codex-k8s.dev/run-id=other"], Some("NS003: ")),
        at(&["annotate", "job", "waits", "note=x"], None),
        at(&["patch", "job", "waits", "--type=merge", lift], Some("QUOTA004: ")),
        Case::new(&["delete", "job", "waits", "-n", existing, "--wait=false"], &nothing, None),
        Case::new(&["delete", "namespace", existing, "--wait=false"], &nothing, Some("NS015: ")),
    ]
}

/// The output, without the parts that differ from one request to the next.
fn told(ran: &Ran) -> (String, Value) {
    let mut object: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        for key in ["uid", "resourceVersion", "creationTimestamp", "managedFields"] {
            meta.remove(key);
        }
    }
    let text = object.to_string();
    // The time of a lease is the time of the request.
    let annotations = object.pointer_mut("/metadata/annotations").and_then(Value::as_object_mut);
    for (key, value) in annotations.into_iter().flatten().filter(|(key, _)| key.ends_with("-at")) {
        assert!(value.as_str().is_some_and(|at| at.starts_with("20")), "{key} in {text}");
        *value = "a moment".into();
    }
    // The uid of a Job is in its Pods' labels.
    for path in ["/spec/selector", "/spec/template/metadata/labels"] {
        if let Some(value) = object.pointer_mut(path) {
            *value = Value::Null;
        }
    }
    (ran.stderr.clone(), object)
}

#[test]
fn each_operation_is_reported_what_the_real_one_is_reported_and_leaves_nothing() {
    let cluster = Cluster::new();
    let (existing, other) = (fresh(), fresh());
    cluster.create_ready(&existing, "full");
    cluster.create_ready(&other, "full");
    for name in ["works", "waits"] {
        let job = job(&existing, name, "automountServiceAccountToken", false.into());
        Case::new(&["create", "-f", "-"], &job, None).run(&cluster.kubectl, false);
        let path = format!("/apis/batch/v1/namespaces/{existing}/jobs/{name}");
        let pod = format!("/api/v1/namespaces/{existing}/pods");
        let event = format!("/api/v1/namespaces/{existing}/events");
        eventually("the reconciler has looked at it, and told of it", TIMEOUT, || {
            let (found, events) = (cluster.get(&path), cluster.get(&event).to_string());
            let works = found["spec"]["suspend"] == false && cluster.names(&pod).len() == 1;
            let waits = events.contains("\"QuotaExceeded\"");
            (if name == "works" { works && events.contains("SuccessfulCreate") } else { waits }).then_some(())
        })
        .unwrap();
    }
    let cases = cases(&existing);
    let (state, counted, dry) = (cluster.state(), cluster.counted(false), cluster.counted(true));
    let rehearsed: Vec<_> = cases.iter().map(|case| case.run(&cluster.kubectl, true)).collect();
    // The watch is ordered: any event of the dry runs would have reached the reconciler before the events of this
    // probe.
    assert_eq!(cluster.counted(false), counted, "no dry run is counted as real");
    let dry_now = cluster.counted(true);
    assert!(dry_now.0 >= dry.0 + 7 && dry_now.1 == dry.1 + 6, "{dry:?} {dry_now:?}");
    let probe = fresh();
    cluster.create_ready(&probe, "probe");
    let left: Vec<Vec<_>> = cluster.state().into_iter().map(|names| without(names, &probe)).collect();
    // The reservations of the probe are named after its project.
    assert_eq!(left, state, "no namespace, Event, Job, Pod or reservation is left");

    for (case, rehearsed) in cases.iter().zip(&rehearsed) {
        let real = case.run(&cluster.kubectl, false);
        assert_eq!(told(rehearsed), told(&real), "{:?}\n{rehearsed}\n{real}", case.args);
    }
    println!("{} operations were told the same by a server dry run as really", cases.len());
    let warning = "Warning: JOB022: ";
    assert!(rehearsed.iter().any(|ran| ran.stderr.contains(warning)), "one of them was to be warned about");
}

#[test]
fn dry_runs_take_no_places() {
    let cluster = Cluster::new();
    for _ in 0..5 {
        Case::new(&["create", "-f", "-"], &of_project(&fresh(), "p"), None).run(&cluster.kubectl, true);
    }
    for _ in 0..2 {
        cluster.create_ready(&fresh(), "p");
    }
    let third = Case::new(&["create", "-f", "-"], &of_project(&fresh(), "p"), Some("QUOTA003: "));
    for dry in [true, false] {
        third.run(&cluster.kubectl, dry);
    }
}

fn without(mut names: Vec<String>, stem: &str) -> Vec<String> {
    names.retain(|name| !name.contains(stem) && !name.contains("probe"));
    names
}
