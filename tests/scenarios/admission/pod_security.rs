//! The manifests with which Kubernetes itself tests Pod Security, wrapped into Jobs: none is admitted whose Pods are
//! refused, and our controls refuse what the controls of the API server refuse.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use codex_k8s_shared::policy::{Level, Mode, RunPolicy};
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_tests::guard::WITHOUT_QUOTAS;
use codex_k8s_tests::{ControlPlane, Guard, Identity, binaries, eventually};
use codex_k8s_webhook::review::Entry;
use codex_k8s_webhook::rules::report::Finding;
use codex_k8s_webhook::rules::{
    self, Facts, Kind, LevelVersion, ManagedNamespace, Operation, Request, catalogue,
};
use serde_json::{Value, json};

use crate::harness::*;

/// A manifest of a Pod.
struct Manifest {
    /// Its file without the extension.
    name: String,
    /// True if Pod Security refuses the Pod.
    is_refused: bool,
    pod: Value,
}

const LEVELS: [Level; 2] = [Level::Baseline, Level::Restricted];

fn folder() -> &'static Path {
    static FOLDER: OnceLock<std::path::PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| binaries::pod_security_admission().unwrap().join("test/testdata"))
}

fn manifests(level: Level, version: &str) -> Vec<Manifest> {
    let mut all = Vec::new();
    for (kind, is_refused) in [("pass", false), ("fail", true)] {
        let files = fs::read_dir(folder().join(level.as_str()).join(version).join(kind)).unwrap();
        all.extend(files.map(|file| {
            let path = file.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let pod = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
            Manifest { name, is_refused, pod }
        }));
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

impl Manifest {
    /// Returns a Job with the Pod as its template.
    fn job(&self) -> Value {
        let mut spec = self.pod["spec"].clone();
        spec["restartPolicy"] = "Never".into();
        let annotations = &self.pod["metadata"]["annotations"];
        json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": self.name.replace('_', "-")},
            "spec": {"template": {"metadata": {"annotations": annotations}, "spec": spec}}})
    }

    /// Returns the control that refuses it at a level, in lower case: that of its name, or the one that replaces it.
    fn control(&self, level: Level, version: u32) -> &str {
        let name = self.name.trim_end_matches(|digit: char| digit.is_ascii_digit());
        match (level, name) {
            (Level::Restricted, "hostpathvolumes") => "restrictedvolumes",
            (Level::Restricted, "capabilities_baseline") if version >= 22 => "capabilities_restricted",
            (Level::Restricted, "seccompprofile_baseline") if version >= 19 => "seccompprofile_restricted",
            (Level::Restricted, "procmount") if version >= 35 => "procmount_restricted",
            _ => name,
        }
    }
}

/// Returns a policy under which only the controls of Pod Security apply.
fn only_controls() -> RunPolicy {
    let others = catalogue::all().filter(|rule| !rule.id.starts_with("PSS"));
    RunPolicy { rules: others.map(|rule| (rule.id.to_owned(), Mode::Off)).collect(), ..RunPolicy::default() }
}

/// Returns the findings about an object that a person creates in a namespace of a level.
fn findings(policy: &RunPolicy, enforced: LevelVersion, kind: Kind, object: Value) -> Vec<Finding> {
    let namespace = ManagedNamespace {
        name: "codex-issue-7".into(),
        mode: RuntimeMode::FullEnv,
        run_id: "r1".into(),
        project_id: "p1".into(),
        requested_by: None,
        correlation_id: None,
        expires_at: None,
        terminating: false,
        ready: true,
        waits_for: None,
        pod_security: enforced,
    };
    let facts = Facts { namespace: Some(Arc::new(namespace)), ..Facts::at(jiff::Timestamp::UNIX_EPOCH) };
    let request = Request {
        operation: Operation::Create,
        kind,
        subresource: None,
        name: "",
        user: "jane",
        groups: Vec::new(),
        object: Some(object),
        old_object: None,
    };
    rules::decide(policy, &facts, &request, Entry::Validate).findings
}

/// Returns the names of the controls that refuse an object, in lower case.
fn controls(findings: &[Finding]) -> BTreeSet<String> {
    let control = |finding: &Finding| finding.rule.title.split([' ', ':']).nth(2).unwrap().to_lowercase();
    findings.iter().map(control).collect()
}

/// The minor versions in which a control begins or changes, and the oldest one that we support.
const VERSIONS: [u32; 14] = [0, 8, 19, 22, 23, 25, 27, 29, 30, 31, 32, 34, 35, 37];

/// Controls whose manifests violate another control as well, because they would not be valid otherwise.
const COMPANIONS: [(&str, &str); 3] = [
    ("windowshostprocess", "hostnamespaces"),
    ("privileged", "allowprivilegeescalation"),
    ("allowprivilegeescalation", "capabilities_restricted"),
];

#[test]
fn each_control_refuses_what_that_of_the_api_server_refuses_in_every_version() {
    let policy = only_controls();
    let mut evaluated = 0;
    let mut wrong = Vec::new();
    for (level, version) in LEVELS.into_iter().flat_map(|level| VERSIONS.map(|version| (level, version))) {
        let enforced = LevelVersion { level, version: format!("v1.{version}").into() };
        for manifest in manifests(level, &format!("v1.{version}")) {
            let expected = manifest.is_refused.then(|| manifest.control(level, version));
            for (kind, object) in [(Kind::Job, manifest.job()), (Kind::Pod, manifest.pod.clone())] {
                evaluated += 1;
                let mut found = controls(&findings(&policy, enforced, kind, object));
                let companions = COMPANIONS.iter().filter(|(control, _)| Some(*control) == expected);
                for (_, companion) in companions {
                    found.remove(*companion);
                }
                if !found.iter().map(String::as_str).eq(expected) {
                    let name = &manifest.name;
                    wrong.push(format!("{enforced} {name} {kind:?}: expected {expected:?}, found {found:?}"));
                }
            }
        }
    }
    assert_eq!(wrong, [""; 0]);
    assert!(evaluated > 2_000, "only {evaluated} manifests are evaluated");
}

/// A cluster whose namespaces may enforce an old version, and in which only the controls protect the host.
fn guard() -> &'static Guard {
    static SHARED: OnceLock<Guard> = OnceLock::new();
    let off = ["NS014", "JOB017", "JOB018", "JOB019", "JOB020"].map(|rule| format!("{rule}: \"off\""));
    let policy = format!("{WITHOUT_QUOTAS}rules: {{{}}}\n", off.join(", "));
    SHARED.get_or_init(|| Guard::start_with_policy(playground(), &policy).unwrap())
}

fn post(cluster: &ControlPlane, identity: &Identity, path: String, body: &Value) -> Answer {
    send(cluster, &Send { identity, method: "POST", path, content_type: JSON }, body)
}

/// Creates a run namespace that enforces a level in a version.
pub(crate) fn enforcing(cluster: &ControlPlane, level: Level, version: Option<&str>) -> String {
    let name = format!("codex-issue-{}", unique());
    let mut object = namespace(&name);
    object["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = level.as_str().into();
    if let Some(version) = version {
        object["metadata"]["labels"]["pod-security.kubernetes.io/enforce-version"] = version.into();
    }
    post(cluster, &Identity::developer(), "/api/v1/namespaces".to_owned(), &object).admitted();
    let read = |path: String| {
        let send_read = Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON };
        send(cluster, &send_read, &Value::Null)
    };
    eventually("the namespace is ready", Duration::from_secs(30), || {
        let stored = read(format!("/api/v1/namespaces/{name}")).admitted();
        let account = read(format!("/api/v1/namespaces/{name}/serviceaccounts/default"));
        (!annotation(&stored, "baseline-ready-at").is_empty() && account.code == 200).then_some(())
    })
    .unwrap();
    name
}

/// Returns the Pod that the Job controller creates of a Job.
fn pod_of(job: &Value) -> Value {
    let mut pod = job["spec"]["template"].clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    pod["metadata"]["generateName"] = "pod-".into();
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "batch/v1", "kind": "Job", "controller": true,
        "name": job["metadata"]["name"], "uid": job["metadata"]["uid"]}]);
    pod
}

/// Returns the reasons for which a request is refused: our rules, or words of the API server.
fn reasons(answer: &Answer) -> Vec<String> {
    let causes = answer.body.pointer("/details/causes").and_then(Value::as_array);
    let reasons = causes.into_iter().flatten().filter_map(|cause| cause["reason"].as_str());
    reasons.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The answers to the Jobs of all manifests.
#[derive(Debug, Default)]
struct Answers {
    admitted: usize,
    refused: usize,
    /// Admitted, and the Pod is refused.
    never_run: Vec<String>,
    /// Admitted, although Pod Security refuses the manifest.
    slipped: Vec<String>,
    /// Manifests that Pod Security admits, with the rules that refuse their Jobs.
    others: Vec<(String, Vec<String>)>,
}

impl Answers {
    /// Sends the Jobs of all manifests, and the Pods of those that are admitted.
    fn to_all(cluster: &ControlPlane, version: &str, enforced: Option<&str>) -> Self {
        let mut answers = Self::default();
        for level in LEVELS {
            let namespace = enforcing(cluster, level, enforced);
            for manifest in manifests(level, version) {
                answers.add(
                    cluster,
                    &manifest,
                    &namespace,
                    &format!("{}: {}", level.as_str(), manifest.name),
                );
            }
        }
        answers
    }

    /// Asserts that no admitted Job has Pods that are refused.
    #[track_caller]
    fn are_right(&self) {
        assert_eq!((&self.never_run, &self.slipped), (&Vec::new(), &Vec::new()));
        assert!(self.admitted >= 30 && self.refused >= 90, "{self:#?}");
    }

    fn add(&mut self, cluster: &ControlPlane, manifest: &Manifest, namespace: &str, name: &str) {
        let jobs = format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All");
        let answer = post(cluster, &Identity::developer(), jobs, &manifest.job());
        if answer.code >= 300 {
            self.refused += 1;
            if !manifest.is_refused {
                self.others.push((name.to_owned(), reasons(&answer)));
            }
            return;
        }
        self.admitted += 1;
        let pods = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        let controller = Identity::service_account("kube-system", "job-controller");
        let pod = post(cluster, &controller, pods, &pod_of(&answer.body));
        if pod.code >= 300 {
            self.never_run.push(format!("{name}: {}", pod.body["message"]));
        }
        if manifest.is_refused {
            self.slipped.push(name.to_owned());
        }
    }
}

#[test]
fn no_job_is_admitted_whose_pods_are_refused() {
    let answers = Answers::to_all(cluster(), "v1.37", None);
    answers.are_right();
    let refused: Vec<_> = answers.others.iter().map(|(name, rules)| (&**name, rules.join(", "))).collect();
    let by_our_own_rule = |name| (name, "JOB020".to_owned());
    let expected =
        ["baseline: procmount1", "baseline: sysctls1", "restricted: sysctls1"].map(by_our_own_rule);
    assert_eq!(refused, expected);
}

#[test]
fn in_a_namespace_of_an_old_version_the_controls_alone_are_those_of_the_api_server() {
    let answers = Answers::to_all(&guard().control_plane, "v1.30", Some("v1.30"));
    answers.are_right();
    assert_eq!(answers.others, []);
}

/// Returns a Pod spec that meets the level `restricted`, with changes of the Pod and of its container.
fn changed(pod: &Value, container: &Value) -> Value {
    let mut spec = json!({
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
    });
    let mut first = json!({"name": "c", "image": "busybox:1.36", "securityContext": {
        "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}});
    json_patch::merge(&mut first, container);
    spec["containers"] = json!([first]);
    json_patch::merge(&mut spec, pod);
    spec
}

/// Creates a Job with a Pod.
fn create_job(namespace: &str, spec: &Value) -> Answer {
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"},
        "spec": {"template": {"spec": spec}}});
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All");
    post(&guard().control_plane, &Identity::agent(namespace), path, &job)
}

/// A rule, the field that violates it, and the Pod: changes of its spec and of its container.
type Violation = (&'static str, &'static str, Value, Value);

fn of_pod(rule: &'static str, field: &'static str, spec: Value) -> Violation {
    (rule, field, spec, json!({}))
}

fn of_container(rule: &'static str, field: &'static str, container: Value) -> Violation {
    (rule, field, json!({}), container)
}

fn in_context(rule: &'static str, field: &'static str, context: &Value) -> Violation {
    of_container(rule, field, json!({"securityContext": context}))
}

#[track_caller]
fn are_refused(level: Level, violations: impl IntoIterator<Item = Violation>) {
    let namespace = enforcing(&guard().control_plane, level, None);
    create_job(&namespace, &changed(&json!({}), &json!({}))).admitted();
    for (rule, field, pod, container) in violations {
        create_job(&namespace, &changed(&pod, &container)).refused(
            403,
            rule,
            &format!("spec.template.spec.{field}"),
            &format!("of Pod Security \"{}:latest\"", level.as_str()),
        );
    }
}

#[test]
fn each_control_of_baseline_refuses_a_job_at_its_field() {
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 80}]});
    let host_process = json!({"windowsOptions": {"hostProcess": true}});
    let handler = json!({"lifecycle": {"preStop": {"httpGet": {"host": "127.0.0.1", "port": 80}}}});
    let seccomp = json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}});
    let role = json!({"seLinuxOptions": {"role": "system_r"}});
    let sysctls = json!({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}});
    let privileged = json!({"privileged": true, "allowPrivilegeEscalation": null});
    are_refused(
        Level::Baseline,
        [
            in_context("PSS001", "containers[0].securityContext.privileged", &privileged),
            (
                "PSS002",
                "securityContext.windowsOptions.hostProcess",
                json!({"hostNetwork": true, "securityContext": &host_process}),
                json!({"securityContext": &host_process}),
            ),
            of_pod("PSS003", "hostPID", json!({"hostPID": true})),
            of_container("PSS004", "containers[0].ports[0].hostPort", port),
            of_container("PSS005", "containers[0].lifecycle.preStop.httpGet.host", handler),
            of_pod(
                "PSS006",
                "volumes[0].hostPath",
                json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}),
            ),
            in_context(
                "PSS007",
                "containers[0].securityContext.capabilities.add[0]",
                &json!({"capabilities": {"add": ["NET_RAW"]}}),
            ),
            of_pod("PSS008", "securityContext.seccompProfile.type", seccomp),
            in_context(
                "PSS009",
                "containers[0].securityContext.appArmorProfile.type",
                &json!({"appArmorProfile": {"type": "Unconfined"}}),
            ),
            in_context("PSS010", "containers[0].securityContext.seLinuxOptions.role", &role),
            of_pod("PSS012", "securityContext.sysctls[0].name", sysctls),
        ],
    );
}

#[test]
fn each_control_of_restricted_refuses_a_job_at_its_field() {
    let share = json!({"volumes": [{"name": "v", "nfs": {"server": "nfs.example.com", "path": "/"}}]});
    let unset = |field: &str| json!({"securityContext": {field: null}});
    let unmasked = json!({"securityContext": {"procMount": "Unmasked"}});
    are_refused(
        Level::Restricted,
        [
            of_pod("PSS013", "volumes[0].nfs", share),
            in_context(
                "PSS014",
                "containers[0].securityContext.allowPrivilegeEscalation",
                &json!({"allowPrivilegeEscalation": null}),
            ),
            of_pod("PSS015", "containers[0].securityContext.runAsNonRoot", unset("runAsNonRoot")),
            in_context("PSS016", "containers[0].securityContext.runAsUser", &json!({"runAsUser": 0})),
            in_context(
                "PSS017",
                "containers[0].securityContext.capabilities.drop",
                &json!({"capabilities": {"drop": ["CHOWN"]}}),
            ),
            of_pod("PSS018", "containers[0].securityContext.seccompProfile.type", unset("seccompProfile")),
            ("PSS019", "containers[0].securityContext.procMount", json!({"hostUsers": false}), unmasked),
        ],
    );
}

#[test]
fn the_template_of_every_kind_is_evaluated() {
    let namespace = at_level("restricted");
    let template = json!({"metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "busybox:1.36"}]}});
    let mut finite = template.clone();
    finite["spec"]["restartPolicy"] = "Never".into();
    let selected = json!({"selector": {"matchLabels": {"a": "b"}}, "template": &template});
    let nightly = json!({"schedule": "0 2 * * *", "jobTemplate": {"spec": {"template": finite}}});
    for (api, kind, spec, parent) in [
        ("batch/v1", "CronJob", nightly, "spec.jobTemplate.spec.template.spec"),
        ("apps/v1", "Deployment", selected.clone(), "spec.template.spec"),
        ("apps/v1", "ReplicaSet", selected.clone(), "spec.template.spec"),
        ("apps/v1", "StatefulSet", selected.clone(), "spec.template.spec"),
        ("apps/v1", "DaemonSet", selected, "spec.template.spec"),
        (
            "v1",
            "ReplicationController",
            json!({"selector": {"a": "b"}, "template": &template}),
            "spec.template.spec",
        ),
    ] {
        let root = if api == "v1" { "/api" } else { "/apis" };
        let path = format!("{root}/{api}/namespaces/{namespace}/{}s", kind.to_lowercase());
        let object = json!({"apiVersion": api, "kind": kind, "metadata": {"name": "w"}, "spec": spec});
        let field = format!("{parent}.containers[0].securityContext.runAsNonRoot");
        create(&Identity::developer(), &path, &object).refused(
            403,
            "PSS015",
            &field,
            "Required value: must be true",
        );
    }
}

#[test]
fn a_pod_with_users_of_its_own_unmasks_proc_only_since_the_version_that_allows_it() {
    let cluster = &guard().control_plane;
    let unmasked =
        changed(&json!({"hostUsers": false}), &json!({"securityContext": {"procMount": "Unmasked"}}));
    let job = |version| create_job(&enforcing(cluster, Level::Baseline, Some(version)), &unmasked);
    job("v1.35").admitted();
    job("v1.34").refused(403, "PSS011", "containers[0].securityContext.procMount", "baseline:v1.34");
}

#[test]
fn a_job_without_a_security_context_is_recorded_and_causes_no_warning() {
    let namespace = managed();
    let spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox:1.36"}]});
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "plain"},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}}});
    let kubectl = cluster().kubectl(&Identity::worker()).unwrap();
    let created = kubectl.run_with_input(&["create", "-n", &namespace, "-f", "-"], &job.to_string()).unwrap();
    assert!(created.succeeded() && created.stderr.is_empty(), "{created}");
    eventually("the audit log has the violations", Duration::from_secs(10), || {
        let is_recorded = |event: &Value| {
            event["objectRef"]["namespace"] == namespace.as_str()
                && event["annotations"]["pod-security.kubernetes.io/audit-violations"].is_string()
        };
        cluster().audit_events().iter().any(is_recorded).then_some(())
    })
    .unwrap();
}
