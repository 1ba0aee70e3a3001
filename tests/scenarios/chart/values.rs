//! What the chart is rendered with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use codex_k8s_tests::binaries;
use serde_json::Value;

/// A name, the namespace of the release, and the values.
pub(crate) type Set = (&'static str, &'static str, &'static str);

const HOME: &str = "codex-k8s-guard";

pub(crate) const SETS: [Set; 14] = [
    ("default", HOME, ""),
    ("other-namespace", "agents-guard", ""),
    ("daemon", HOME, "gc: {mode: daemon, schedule: \"@hourly\", timeZone: Europe/Berlin}"),
    ("no-collector", HOME, "gc: {mode: \"off\"}"),
    ("undeleting", HOME, "gc: {disabled: true}"),
    (
        "database",
        HOME,
        "gc: {auditStore: {secret: platform-database}}\nnetworkPolicy: {databasePorts: [6432]}",
    ),
    ("database-daemon", HOME, "gc: {mode: daemon, auditStore: {secret: platform-database}}"),
    ("cert-manager", HOME, "certificates: {mode: cert-manager}"),
    (
        "policy",
        HOME,
        "policy: {rules: {JOB018: warn}, lease: {defaultTtl: 6h0m0s}, namespaces: {protected: [default, ours], home: []}}\n\
         admissionPolicies: {trusted: [\"system:serviceaccount:tools:reloader\"]}",
    ),
    ("agent-jobs", "agents-guard", "policy: {quotas: {agentJobsPerProject: {max: 4}}}"),
    ("recorded", HOME, "serve: {record: denied, args: [--max-in-flight=64]}\nlog: text"),
    (
        "one-of-each",
        HOME,
        "image: {repository: registry.example.org/guard, digest: \"sha256:\
         0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n\
         imagePullSecrets: [{name: registry}]\nserve: {replicas: 1, priorityClassName: \"\"}\nreconcile: {replicas: 1}",
    ),
    (
        "open-network",
        HOME,
        "networkPolicy: {enabled: false}\ncheckRole: {enabled: true}\n\
         admissionPolicies: {enabled: false}",
    ),
    (
        "closed-network",
        HOME,
        "networkPolicy: {apiServer: [{ipBlock: {cidr: 10.0.0.0/28}}], apiServerPorts: [6443], \
         metrics: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}\n\
         serve: {nodeSelector: {pool: system}, tolerations: [{key: system, operator: Exists}], \
         affinity: {nodeAffinity: {}}}",
    ),
];

pub(crate) fn set(name: &str) -> &'static Set {
    SETS.iter().find(|set| set.0 == name).unwrap()
}

pub(crate) fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

/// Runs helm on values, in folders of its own, without a cluster.
pub(crate) fn helm(args: &[&str], values: &str) -> Output {
    helm_on(Path::new("/dev/null"), args, values)
}

/// Runs helm on the cluster of a kubeconfig.
pub(crate) fn helm_on(kubeconfig: &Path, args: &[&str], values: &str) -> Output {
    static HELM: OnceLock<PathBuf> = OnceLock::new();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("values.yaml");
    std::fs::write(&file, values).unwrap();
    let mut helm = Command::new(HELM.get_or_init(|| binaries::helm().unwrap()));
    helm.args(args);
    if !values.is_empty() {
        helm.arg("--values").arg(&file);
    }
    let folders = ["HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"];
    helm.envs(folders.map(|name| (name, home.path())));
    helm.env("KUBECONFIG", kubeconfig).stdin(Stdio::null()).output().unwrap()
}

/// What the chart renders for a set, hooks and tests with it.
#[track_caller]
pub(crate) fn rendered((name, namespace, values): &Set) -> String {
    let chart = chart().display().to_string();
    let ran = helm(&["template", "guard", &chart, "--namespace", namespace], values);
    assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}

pub(crate) fn objects(rendered: &str) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

/// The Pod template of an object, if it has one.
pub(crate) fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        _ => object.pointer("/spec/template"),
    }
}
