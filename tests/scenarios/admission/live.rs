//! The objects of a live cluster, evaluated without a write, and the effects of a policy change there.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{Caller, ControlPlane, Guard, Identity, eventually};
use codex_k8s_webhook::created::as_created;
use http::Method;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::harness::{lease, playground};

const TIMEOUT: Duration = Duration::from_mins(1);
const CHECK_ROLE: &str = include_str!("../../../deploy/base/check.yaml");

/// A guarded cluster, and an identity that may read it.
struct Looked {
    guard: Guard,
    runtime: Runtime,
    developer: Caller,
}

impl Looked {
    fn over(control_plane: ControlPlane, policy: &str) -> Self {
        let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
        let applied = kubectl.run_with_input(&["apply", "-f", "-"], CHECK_ROLE).unwrap();
        assert!(applied.succeeded(), "{applied}");
        let bound = kubectl
            .run(&[
                "create",
                "clusterrolebinding",
                "auditor",
                "--clusterrole=codex-k8s-check",
                "--user=auditor",
            ])
            .unwrap();
        assert!(bound.succeeded(), "{bound}");
        let guard = Guard::over_with_policy(control_plane, playground(), policy).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let developer = runtime.block_on(Caller::new(&guard.control_plane, &Identity::developer())).unwrap();
        Self { guard, runtime, developer }
    }

    fn send(&self, method: Method, path: &str, body: &Value) -> codex_k8s_tests::Answer {
        self.runtime.block_on(self.developer.send(method, path, body)).unwrap()
    }

    #[track_caller]
    fn create(&self, path: &str, object: &Value) -> Value {
        self.send(Method::POST, path, object).object().unwrap()
    }

    fn list(&self, path: &str) -> Vec<Value> {
        self.send(Method::GET, path, &Value::Null).object().unwrap()["items"].as_array().unwrap().clone()
    }

    #[track_caller]
    fn run_namespace(&self, name: &str, annotations: &Value) {
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations}});
        self.create("/api/v1/namespaces", &namespace);
    }

    #[track_caller]
    fn await_gate(&self, name: &str) {
        let is_open = || {
            let namespace = self.send(Method::GET, &format!("/api/v1/namespaces/{name}"), &Value::Null).body;
            namespace["metadata"]["annotations"]["codex-k8s.dev/baseline-ready-at"].is_string().then_some(())
        };
        eventually(&format!("the gate of {name} is open"), TIMEOUT, is_open).unwrap();
    }

    #[track_caller]
    fn await_reason(&self, name: &str, reason: &str) {
        let is_reported = || {
            let namespace = self.send(Method::GET, &format!("/api/v1/namespaces/{name}"), &Value::Null).body;
            let told = namespace["metadata"]["annotations"]["codex-k8s.dev/baseline-waits-for"].as_str();
            (told == Some(reason)).then_some(())
        };
        eventually(&format!("the gate of {name} waits for {reason}"), TIMEOUT, is_reported).unwrap();
    }

    /// `check --live` as an identity, under the policy that the cluster runs under.
    fn check_as(&self, identity: &Identity, args: &[&str]) -> Output {
        std::process::Command::new(playground())
            .args(["guard", "check", "--live", "--kubeconfig"])
            .arg(self.guard.control_plane.kubeconfig(identity).unwrap())
            .arg("--policy")
            .arg(self.guard.file("policy.yaml"))
            .args(args)
            .env_remove("KUBECONFIG")
            .output()
            .unwrap()
    }

    #[track_caller]
    fn report(&self, code: i32, args: &[&str]) -> Value {
        let args = [args, &["--output", "json"]].concat();
        let ran = self.check_as(&Identity::auditor(), &args);
        assert_eq!(ran.status.code(), Some(code), "{}", String::from_utf8_lossy(&ran.stderr));
        serde_json::from_slice(&ran.stdout).unwrap()
    }
}

fn wide_job(name: &str, parallelism: u8) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {"parallelism": parallelism,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]}}}})
}

fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs")
}

/// The report's entry for each object that would not be admitted unchanged: its kind, name and rules.
fn amiss(report: &Value) -> BTreeMap<String, Vec<String>> {
    let objects = report["objects"].as_array().unwrap().iter();
    objects
        .filter(|object| object["result"] != "admitted")
        .map(|object| {
            let what = format!(
                "{} {}/{}: {}",
                object["kind"].as_str().unwrap(),
                object["namespace"].as_str().unwrap_or_default(),
                object["name"].as_str().unwrap(),
                object["result"].as_str().unwrap()
            );
            let problems = object["problems"].as_array().unwrap().iter();
            let mut rules: Vec<_> =
                problems.map(|problem| problem["rule"].as_str().unwrap().to_owned()).collect();
            rules.dedup();
            (what, rules)
        })
        .collect()
}

/// The reason that the gate of such a namespace is closed.
const SLIPPED: &str = "the removal of ClusterRoleBinding reaches-in (RBAC003), Job escape (JOB018)";

/// Creates objects before the webhook is registered, so that they were never evaluated.
fn slip_in(control_plane: &ControlPlane) {
    let labels = json!({"codex-k8s.dev/managed-by": "codex-k8s-worker", "codex-k8s.dev/namespace-purpose": "run",
        "codex-k8s.dev/runtime-mode": "full-env", "codex-k8s.dev/run-id": "slipped", "codex-k8s.dev/project-id": "p"});
    let mut annotations = json!({"codex-k8s.dev/correlation-id": "slipped"});
    for (key, value) in lease("24h0m0s", -3600) {
        annotations[format!("codex-k8s.dev/{key}")] = value;
    }
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "codex-issue-slipped", "labels": labels, "annotations": annotations}});
    let mut job = wide_job("escape", 1);
    job["metadata"]["namespace"] = "codex-issue-slipped".into();
    job["spec"]["template"]["spec"]["hostNetwork"] = true.into();
    job["spec"]["suspend"] = true.into();
    let binding = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": {"name": "reaches-in"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "namespace": "codex-issue-slipped", "name": "codex-runner"}]});
    let bare = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "codex-run-unlabelled"}});
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    for object in [namespace, job, binding, bare] {
        let created = kubectl.run_with_input(&["create", "-f", "-"], &object.to_string()).unwrap();
        assert!(created.succeeded(), "{created}");
    }
}

#[test]
fn a_live_cluster_is_evaluated_by_one_who_may_only_read_and_nothing_is_written() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    slip_in(&control_plane);
    let looked = Looked::over(control_plane, WITHOUT_QUOTAS);
    let names: Vec<_> = (0..12).map(|number| format!("codex-issue-live-{number}")).collect();
    for name in &names {
        looked.run_namespace(name, &json!({}));
    }
    for name in &names {
        looked.await_gate(name);
    }
    looked.await_reason("codex-issue-slipped", SLIPPED);
    for name in &names {
        looked.create(&jobs(name), &wide_job("tests", 1));
    }
    let report = looked.report(1, &[]);
    let rules = |rules: &[&str]| rules.iter().map(|rule| (*rule).to_owned()).collect::<Vec<_>>();
    let mut expected = BTreeMap::from([
        ("ClusterRoleBinding /reaches-in: denied".to_owned(), rules(&["RBAC003"])),
        ("Job codex-issue-slipped/escape: denied".to_owned(), rules(&["JOB018"])),
        ("Namespace /codex-issue-slipped: mutated".to_owned(), rules(&[])),
        ("Namespace /codex-run-unlabelled: mutated".to_owned(), rules(&[])),
    ]);
    assert_eq!(amiss(&report), expected);
    assert_eq!(report["live"]["namespaces"], 13);
    assert_eq!(report["live"]["closed"], json!({"codex-issue-slipped": SLIPPED}));

    // A baseline that is not repaired.
    looked.guard.reconciler.process.signal("TERM").unwrap();
    let ended = || (!looked.guard.reconciler.process.is_running()).then_some(());
    eventually("the reconciler has ended", TIMEOUT, ended).unwrap();
    let worker =
        looked.runtime.block_on(Caller::new(&looked.guard.control_plane, &Identity::worker())).unwrap();
    let limits = "/api/v1/namespaces/codex-issue-live-3/limitranges/codex-run-limits";
    looked.runtime.block_on(worker.send(Method::DELETE, limits, &Value::Null)).unwrap().object().unwrap();
    let before = looked.guard.control_plane.audit_events().len();
    let report = looked.report(1, &[]);
    expected.insert(
        "LimitRange codex-issue-live-3/codex-run-limits: drifted".to_owned(),
        vec!["BASELINE".to_owned()],
    );
    assert_eq!(amiss(&report), expected);
    let events = looked.guard.control_plane.audit_events();
    let asked: Vec<_> =
        events[before..].iter().filter(|event| event["user"]["username"] == "auditor").collect();
    println!(
        "{} objects of {} managed namespaces in {} requests",
        report["summary"]["objects"],
        report["live"]["namespaces"],
        asked.len()
    );
    assert!(asked.iter().all(|event| event["verb"] == "list"), "{asked:?}");
    assert_eq!(report["live"]["requests"], asked.len());
    forms(&looked, expected.len());
}

/// The same report in every output format.
fn forms(looked: &Looked, amiss: usize) {
    let told = |form: &str| {
        let ran = looked.check_as(&Identity::auditor(), &["--output", form]);
        assert_eq!(ran.status.code(), Some(1), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let sarif: Value = serde_json::from_str(&told("sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let of = |rule: &str| results.iter().filter(|result| result["ruleId"] == rule).count();
    assert_eq!((of("RBAC003"), of("JOB018"), of("BASELINE")), (1, 1, 1), "{results:#?}");
    let described = sarif["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(described.len(), 3);
    let junit = told("junit");
    assert!(junit.contains("<testsuite name=\"codex-issue-live-3\""), "{junit}");
    assert_eq!(junit.matches("<failure").count(), 3);
    let github = told("github");
    assert!(github.contains("::error title=BASELINE"), "{github}");
    assert_eq!(github.matches("::error ").count(), 3);
    let human = told("human");
    assert!(human.contains("Namespace codex-run-unlabelled: admitted, mutated\n"), "{human}");
    // Objects without a finding are only counted.
    assert_eq!(human.matches(": admitted\n").count(), 0);
    let told = [": denied\n", ": drifted\n", ": admitted, mutated\n"].map(|end| human.matches(end).count());
    assert_eq!(told.iter().sum::<usize>(), amiss, "{human}");
}

#[test]
fn one_who_may_not_list_something_is_reported_what_and_may_leave_it_out() {
    let looked = Looked::over(ControlPlane::start(playground()).unwrap(), WITHOUT_QUOTAS);
    looked.run_namespace("codex-issue-partly", &json!({}));
    looked.await_gate("codex-issue-partly");
    looked.run_namespace("codex-issue-other", &json!({}));
    let kubectl = looked.guard.kubectl(&Identity::Admin).unwrap();
    let role = ["create", "clusterrole", "partly", "--verb=list", "--resource=namespaces,serviceaccounts"];
    let binding = ["create", "clusterrolebinding", "partly", "--clusterrole=partly", "--user=jim"];
    for args in [&role[..], &binding[..]] {
        let ran = kubectl.run(args).unwrap();
        assert!(ran.succeeded(), "{ran}");
    }
    let jim = Identity::user("jim");
    let ran = looked.check_as(&jim, &[]);
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("failed to list roles: roles.rbac.authorization.k8s.io is forbidden"), "{told}");
    assert!(told.contains("--without roles"), "{told}");
    let without: Vec<_> = codex_k8s_webhook::check::live::kinds::LISTED
        .iter()
        .filter(|listed| listed.plural != "serviceaccounts")
        .flat_map(|listed| ["--without", listed.plural])
        .collect();
    let ran = looked.check_as(&jim, &without);
    let told = String::from_utf8_lossy(&ran.stdout);
    assert_eq!(ran.status.code(), Some(0), "{told}{}", String::from_utf8_lossy(&ran.stderr));
    assert!(told.starts_with("2 managed namespaces, 2 requests, without roles, rolebindings, "), "{told}");

    let one = looked.report(0, &["--namespace", "codex-issue-partly"]);
    assert_eq!(one["live"]["namespaces"], 1);
    let ran = looked.check_as(&Identity::auditor(), &["--namespace", "codex-issue-absent"]);
    let told = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(2), "{told}");
    assert!(told.contains("found no namespace codex-issue-absent"), "{told}");
}

/// The answer to the creation of a namespace or a Job with a lease that begins at that time.
fn answered(looked: &Looked, object: &Value, now: Timestamp) -> Option<String> {
    let path = match object["metadata"]["namespace"].as_str() {
        Some(namespace) => jobs(namespace),
        None => "/api/v1/namespaces".to_owned(),
    };
    let created = as_created(object.clone(), now);
    let answer = looked.send(Method::POST, &format!("{path}?dryRun=All"), &created);
    // An object of this name exists, and nothing else is wrong with it.
    if answer.code == 409 {
        return None;
    }
    let message = answer.message().split_once("denied the request: ").map(|(_, message)| message.to_owned());
    Some(message.unwrap_or_else(|| panic!("{} {}", answer.code, answer.body)))
}

fn what(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}/{}", text("/kind"), text("/metadata/namespace"), text("/metadata/name"))
}

/// The changes of an effect, by object.
fn predicted(report: &Value, effect: &str) -> BTreeMap<String, Value> {
    let changes = report["changes"].as_array().unwrap().iter();
    changes
        .filter(|change| change["effect"] == effect)
        .map(|change| {
            let text = |key: &str| change[key].as_str().unwrap_or_default();
            (format!("{} {}/{}", text("kind"), text("namespace"), text("name")), change.clone())
        })
        .collect()
}

/// The time at which the garbage collector says that it would delete a namespace.
fn end(looked: &Looked, name: &str) -> String {
    let ran = std::process::Command::new(playground())
        .args(["guard", "explain", &format!("ns/{name}"), "--local", "--output=json", "--policy"])
        .arg(looked.guard.file("policy.yaml"))
        .arg(format!("--audit-store=sqlite:{}", looked.guard.file("audit.db").display()))
        .env("KUBECONFIG", looked.guard.control_plane.kubeconfig(&Identity::Admin).unwrap())
        .output()
        .unwrap();
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| {
        panic!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr))
    });
    told["verdict"]["until"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned()
}

const IN_FORCE: &str =
    "quotas: {cluster: null, perProject: null, perRequester: null}\nrules: {JOB010: warn}\n";
const PROPOSED: &str = "quotas: {cluster: null, perProject: null, perRequester: null}
lease: {defaultTtl: 6h0m0s, maxTtl: 6h0m0s}
jobs: {parallelism: {max: 2}}
rules: {JOB018: warn, PSS003: warn}
cleanup: {grace: 1m0s}
baseline:
  fullEnv: {access: candidate, limitRange: null, resourceQuota: {name: codex-run-quota, hard: {pods: \"7\"}}}
";

#[test]
fn what_a_change_of_policy_is_predicted_to_do_is_what_it_does() {
    let control_plane = ControlPlane::start(playground()).unwrap();
    slip_in(&control_plane);
    let looked = Looked::over(control_plane, IN_FORCE);
    looked.await_reason("codex-issue-slipped", SLIPPED);
    let short = json!({"codex-k8s.dev/namespace-lease-ttl": "4h0m0s"});
    for (name, annotations) in [("long", &json!({})), ("short", &short), ("bare", &short)] {
        let name = format!("codex-issue-{name}");
        looked.run_namespace(&name, annotations);
        looked.await_gate(&name);
        for parallelism in [1, 3] {
            looked.create(&jobs(&name), &wide_job(&format!("wide-{parallelism}"), parallelism));
        }
    }
    let proposed = looked.guard.file("proposed.yaml");
    let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
    std::fs::write(&proposed, format!("{head}{PROPOSED}")).unwrap();
    let objects = || {
        let of_kind = |path: &str, kind: &str| {
            let mut all = looked.list(path);
            for object in &mut all {
                object["kind"] = kind.into();
            }
            all
        };
        let mut all = of_kind("/api/v1/namespaces", "Namespace");
        all.retain(|namespace| namespace["metadata"]["name"].as_str().unwrap().starts_with("codex-issue-"));
        all.extend(of_kind("/apis/batch/v1/jobs", "Job"));
        all
    };
    let all = objects();
    let now = Timestamp::now();
    let answered = |object: &Value| answered(&looked, object, now);
    let refused: Vec<_> = all.iter().filter(|object| answered(object).is_some()).map(what).collect();
    assert_eq!(refused, ["Job codex-issue-slipped/escape"]);
    let report = looked.report(1, &["--proposed", proposed.to_str().unwrap(), "--now", &now.to_string()]);
    println!("{:#}", report["summary"]);
    let denied = predicted(&report, "newlyDenied");
    assert_eq!(
        denied.keys().collect::<Vec<_>>(),
        [
            "Job codex-issue-bare/wide-3",
            "Job codex-issue-long/wide-3",
            "Job codex-issue-short/wide-3",
            "Namespace /codex-issue-long",
            "Namespace /codex-issue-slipped"
        ]
    );
    let admitted = predicted(&report, "newlyAdmitted");
    assert_eq!(admitted.keys().collect::<Vec<_>>(), ["Job codex-issue-slipped/escape"]);
    let sooner = predicted(&report, "expiresSooner");
    assert_eq!(sooner.len(), 3);
    let rewritten = predicted(&report, "baselineChanges");
    assert_eq!(rewritten.len(), 8, "{rewritten:?}");

    looked.guard.write_policy(PROPOSED).unwrap();
    let wide = all.iter().find(|object| what(object) == "Job codex-issue-bare/wide-3").unwrap();
    eventually("the policy is in force", TIMEOUT, || answered(wide).map(drop)).unwrap();
    for object in &all {
        let message = denied.get(&what(object)).and_then(|change| change["evaluation"]["message"].as_str());
        // Its gate is closed for a moment, while its baseline is rewritten.
        let is_as_predicted = || (answered(object).as_deref() == message).then_some(());
        let told = || format!("{}: {message:?}, {:?}", what(object), answered(object));
        eventually(&what(object), TIMEOUT, is_as_predicted).unwrap_or_else(|_| panic!("{}", told()));
    }
    for (namespace, change) in sooner {
        let name = namespace.rsplit('/').next().unwrap();
        let after = change["after"].as_str().unwrap();
        assert!(after.starts_with(&format!("at {}: ", end(&looked, name))), "{after}");
    }
    let quota = |name: &str| {
        let path = format!("/api/v1/namespaces/{name}/resourcequotas/codex-run-quota");
        looked.send(Method::GET, &path, &Value::Null).body["spec"]["hard"].clone()
    };
    for name in ["codex-issue-long", "codex-issue-short", "codex-issue-bare", "codex-issue-slipped"] {
        let told = &rewritten[&format!("ResourceQuota {name}/codex-run-quota")]["after"];
        assert!(told.as_str().unwrap().contains("reconcile sets it to \"7\""), "{told}");
        eventually("the quota is rewritten", TIMEOUT, || (quota(name) == json!({"pods": "7"})).then_some(()))
            .unwrap();
    }
    // All predicted rewrites are done, and no others are pending.
    let settled = || {
        let report = looked.report(1, &[]);
        (report["summary"]["drifted"] == 0).then_some(report)
    };
    let report = eventually("nothing drifts", TIMEOUT, settled).unwrap();
    // The predicted objects, and the binding that reaches in, which every policy refuses.
    assert_eq!(report["summary"]["denied"], denied.len() + 1, "{:?}", amiss(&report));
}
