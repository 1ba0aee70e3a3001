//! The values that the chart is rendered with.

use std::path::PathBuf;
use std::process::Output;

use codex_k8s_tests::chart;
use serde_json::Value;

/// A name, the namespace of the release, and the values.
pub(crate) type Set = (&'static str, &'static str, &'static str);

const INSTALL_NAMESPACE: &str = "codex-k8s-guard";

pub(crate) const SETS: [Set; 18] = [
    ("default", INSTALL_NAMESPACE, ""),
    ("other-namespace", "agents-guard", ""),
    ("daemon", INSTALL_NAMESPACE, "gc: {mode: daemon, schedule: \"@hourly\", timeZone: Europe/Berlin}"),
    ("page", "agents-guard", "gc: {mode: daemon, page: {enabled: true}}"),
    (
        "page-behind-a-proxy",
        INSTALL_NAMESPACE,
        "gc: {mode: daemon, page: {enabled: true, hosts: [guard.example.org, guard]}}\n\
         networkPolicy: {metrics: [{podSelector: {}}], page: [{podSelector: {matchLabels: {app: proxy}}}]}",
    ),
    ("no-collector", INSTALL_NAMESPACE, "gc: {mode: \"off\"}"),
    ("undeleting", INSTALL_NAMESPACE, "gc: {disabled: true}"),
    (
        "database",
        INSTALL_NAMESPACE,
        "gc: {auditStore: {secret: platform-database}}\nnetworkPolicy: {databasePorts: [6432]}",
    ),
    ("database-daemon", INSTALL_NAMESPACE, "gc: {mode: daemon, auditStore: {secret: platform-database}}"),
    ("cert-manager", INSTALL_NAMESPACE, "certificates: {mode: cert-manager}"),
    (
        "policy",
        INSTALL_NAMESPACE,
        "policy: {rules: {JOB018: warn}, lease: {defaultTtl: 6h0m0s}, namespaces: {protected: [default, ours], platform: []}}\n\
         admissionPolicies: {trusted: [\"system:serviceaccount:tools:reloader\"]}",
    ),
    ("agent-jobs", "agents-guard", "policy: {quotas: {agentJobsPerProject: {max: 4}}}"),
    ("recorded", INSTALL_NAMESPACE, "serve: {record: denied, args: [--max-in-flight=64]}\nlog: text"),
    (
        "one-of-each",
        INSTALL_NAMESPACE,
        "image: {repository: registry.example.org/guard, digest: \"sha256:\
         0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n\
         imagePullSecrets: [{name: registry}]\nserve: {replicas: 1, priorityClassName: \"\"}\nreconcile: {replicas: 1}",
    ),
    (
        "watched",
        INSTALL_NAMESPACE,
        "gc: {mode: daemon}\nmonitoring: {enabled: true, labels: {release: prometheus}, interval: 15s}\n\
         traces: {endpoint: \"http://collector.tracing:4318\", to: [{namespaceSelector: {matchLabels: \
         {kubernetes.io/metadata.name: tracing}}}]}",
    ),
    (
        "known-callers",
        INSTALL_NAMESPACE,
        "serve: {callers: {secret: api-server-ca, names: [kube-apiserver-webhooks]}}",
    ),
    (
        "open-network",
        INSTALL_NAMESPACE,
        "networkPolicy: {enabled: false}\ncheckRole: {enabled: true}\n\
         admissionPolicies: {enabled: false}",
    ),
    (
        "closed-network",
        INSTALL_NAMESPACE,
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
    chart::folder()
}

pub(crate) fn helm(args: &[&str], values: &str) -> Output {
    chart::helm(args, values).unwrap()
}

/// The chart's output for a set, including hooks and tests.
#[track_caller]
pub(crate) fn rendered((name, namespace, values): &Set) -> String {
    chart::rendered(namespace, values).unwrap_or_else(|error| panic!("{name}: {error}"))
}

pub(crate) fn objects(rendered: &str) -> Vec<Value> {
    chart::objects(rendered).unwrap()
}

/// The Pod template of an object, if it has one.
pub(crate) fn pod(object: &Value) -> Option<&Value> {
    match object["kind"].as_str()? {
        "Pod" => Some(object),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template"),
        _ => object.pointer("/spec/template"),
    }
}
