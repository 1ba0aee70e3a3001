//! The values that the chart is rendered with.

use std::path::PathBuf;
use std::process::Output;

use codex_k8s_tests::chart;
use serde_json::Value;

/// A name, the namespace of the release, and the values.
pub(crate) type Set = (&'static str, &'static str, &'static str);

pub(crate) const INSTALL_NAMESPACE: &str = "codex-k8s-guard";

/// A namespace whose Pods may use the node's network.
pub(crate) const HOST_NETWORK: &str = "host-network";

/// Values of every kind that an operator can add.
const EXTRAS: &str = r#"
commonLabels: {team: platform}
global: {imageRegistry: registry.example.org}
enabled: true
webhooks: {timeoutSeconds: 5, annotations: {example.org/owner: platform team}, labels: {team: platform}}
serve: &component
  podAnnotations: {example.org/scrape: "true"}
  podLabels: {tier: control}
  serviceAccount: {annotations: {example.org/role: guard}}
  extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}, {name: NO_PROXY, value: 10.0.0.0/8}]
  extraVolumes: [{name: authority, configMap: {name: authority, optional: true}}]
  extraVolumeMounts: [{name: authority, mountPath: /authority}]
  readinessProbe: {periodSeconds: 1, timeoutSeconds: 2}
  affinity: {nodeAffinity: {}}
reconcile: *component
gc: *component
hooks:
  podAnnotations: {sidecar.istio.io/inject: "false"}
  podLabels: {tier: control}
  extraEnv: [{name: HTTPS_PROXY, value: "http://proxy:3128"}]
  nodeSelector: {pool: system}
  tolerations: [{key: system, operator: Exists}]
  resources: {requests: {memory: 64Mi}, limits: {memory: 64Mi}}
"#;

pub(crate) const SETS: [Set; 25] = [
    ("default", INSTALL_NAMESPACE, ""),
    ("other-namespace", "agents-guard", ""),
    ("cronjob", INSTALL_NAMESPACE, "gc: {mode: cronjob, schedule: \"@hourly\", timeZone: Europe/Berlin}"),
    ("no-page", "agents-guard", "gc: {page: {enabled: false}}"),
    (
        "page-behind-a-proxy",
        INSTALL_NAMESPACE,
        "gc: {page: {hosts: [guard.example.org, guard]}}\n\
         networkPolicy: {metrics: [{podSelector: {}}], page: [{podSelector: {matchLabels: {app: proxy}}}]}",
    ),
    // As people write it; Helm reads false.
    ("no-collector", INSTALL_NAMESPACE, "gc: {mode: off}"),
    ("undeleting", INSTALL_NAMESPACE, "gc: {disabled: true}"),
    (
        "database",
        INSTALL_NAMESPACE,
        "gc: {auditStore: {secret: platform-database}}\nnetworkPolicy: {databasePorts: [6432]}",
    ),
    ("database-cronjob", INSTALL_NAMESPACE, "gc: {mode: cronjob, auditStore: {secret: platform-database}}"),
    ("volume-of-others", INSTALL_NAMESPACE, "gc: {auditStore: {volume: {existingClaim: rows}}}"),
    (
        "volume-without-a-class",
        INSTALL_NAMESPACE,
        "gc: {auditStore: {volume: {storageClassName: \"-\", accessModes: [ReadWriteMany]}}}",
    ),
    ("cert-manager", INSTALL_NAMESPACE, "certificates: {mode: cert-manager}"),
    (
        "policy",
        INSTALL_NAMESPACE,
        "policy: {rules: {JOB018: warn, JOB022: off}, lease: {defaultTtl: 6h0m0s}, namespaces: {protected: [default, ours], platform: []}}\n\
         admissionPolicies: {trusted: [\"system:serviceaccount:tools:reloader\"]}",
    ),
    ("agent-jobs", "agents-guard", "policy: {quotas: {agentJobsPerProject: {max: 4}}}"),
    (
        "extra-arguments",
        INSTALL_NAMESPACE,
        "serve: {extraArgs: [--max-in-flight=64]}\nlog: text\n\
         workerRole: {enabled: true}",
    ),
    (
        "one-of-each",
        INSTALL_NAMESPACE,
        "image: {repository: registry.example.org/guard, digest: \"sha256:\
         0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}\n\
         imagePullSecrets: [{name: registry}]\nserve: {replicas: 1}\nreconcile: {replicas: 1}",
    ),
    (
        "watched",
        INSTALL_NAMESPACE,
        "monitoring: {enabled: true, labels: {release: prometheus}, interval: 15s}\n\
         traces: {endpoint: \"http://collector.tracing:4318\", to: [{namespaceSelector: {matchLabels: \
         {kubernetes.io/metadata.name: tracing}}}]}",
    ),
    (
        "service-monitor",
        INSTALL_NAMESPACE,
        "monitoring: {enabled: true, podMonitor: {enabled: false}, prometheusRule: {enabled: false}, dashboard: \
         {enabled: false}, serviceMonitor: {enabled: true, relabelings: [{targetLabel: cluster, replacement: one}]}}",
    ),
    (
        "openshift",
        INSTALL_NAMESPACE,
        "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}",
    ),
    (
        "gke",
        INSTALL_NAMESPACE,
        "serve: {priorityClassName: system-cluster-critical}\n\
         extraObjects: [{apiVersion: v1, kind: ResourceQuota, metadata: {name: critical, namespace: \
         \"{{ .Release.Namespace }}\"}, spec: {hard: {pods: \"10\"}, scopeSelector: {matchExpressions: \
         [{operator: In, scopeName: PriorityClass, values: [system-cluster-critical]}]}}}]",
    ),
    (
        "host-network",
        HOST_NETWORK,
        "serve: {hostNetwork: true, port: 9443, healthPort: 9080, drainDelaySeconds: 25}\n\
         reconcile: {healthPort: 9081}\ngc: {healthPort: 9082}",
    ),
    ("one-of-every-extra", INSTALL_NAMESPACE, EXTRAS),
    (
        "known-callers",
        INSTALL_NAMESPACE,
        "serve: {callers: {secret: api-server-ca, names: [kube-apiserver-webhooks]}}",
    ),
    (
        "open-network",
        INSTALL_NAMESPACE,
        "networkPolicy: {enabled: false}\ncheckRole: {enabled: true}\nworkerRole: {enabled: true}\n\
         operatorRole: {enabled: true}\n\
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
