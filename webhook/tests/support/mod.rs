//! Generators of reviews and their facts.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use codex_k8s_shared::policy::{Level, ProjectLimit, RunPolicy};
use codex_k8s_shared::quota::Scope;
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_webhook::engine::{Lookup, LookupError};
use codex_k8s_webhook::review::{Entry, Operation};
use codex_k8s_webhook::rules::{
    self, Facts, Holders, Kind, LevelVersion, ManagedNamespace, Request, Verdict,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

pub(crate) const WORKER: &str = "system:serviceaccount:codex-k8s-ai-staging:codex-k8s-worker";
pub(crate) const NAMESPACE: &str = "codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47";
pub(crate) const RUN_ID: &str = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";
pub(crate) const PROJECT_ID: &str = "a74d653c-adf0-5b7c-8c41-88ceadd6edd3";
pub(crate) const CORRELATION_ID: &str = "8c1f5a40-0763-11f1-9b2e-5d3a4f6c7e10";

/// Returns the managed namespace of generated workloads.
pub(crate) fn managed(mode: RuntimeMode) -> ManagedNamespace {
    ManagedNamespace {
        name: NAMESPACE.into(),
        mode,
        run_id: RUN_ID.into(),
        project_id: PROJECT_ID.into(),
        requested_by: None,
        correlation_id: Some(CORRELATION_ID.into()),
        expires_at: None,
        terminating: false,
        ready: true,
        waits_for: None,
        pod_security: LevelVersion { level: Level::Baseline, ..LevelVersion::default() },
    }
}

pub(crate) fn facts(mode: RuntimeMode) -> Facts {
    let now = "2026-02-01T12:00:00Z".parse().unwrap();
    Facts { namespace: Some(Arc::new(managed(mode))), requester_is_managed: true, ..Facts::at(now) }
}

/// A lookup that contains one managed namespace in full-env.
#[derive(Debug)]
pub(crate) struct OneNamespace;

impl Lookup for OneNamespace {
    async fn get(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
        Ok((name == NAMESPACE).then(|| Arc::new(managed(RuntimeMode::FullEnv))))
    }

    async fn get_fresh(&self, name: &str) -> Result<Option<Arc<ManagedNamespace>>, LookupError> {
        self.get(name).await
    }

    fn cached(&self, name: &str) -> Option<Arc<ManagedNamespace>> {
        (name == NAMESPACE).then(|| Arc::new(managed(RuntimeMode::FullEnv)))
    }

    fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }

    fn holders(&self, _: &str) -> Vec<Arc<ManagedNamespace>> {
        Vec::new()
    }

    fn holders_in(&self, _: &Scope, _: &str, _: u32) -> Holders {
        Holders::default()
    }
}

/// Builds a request of a user for an object.
pub(crate) fn request(
    user: &str,
    kind: Kind,
    object: Option<Value>,
    old_object: Option<Value>,
) -> Request<'_> {
    let operation = match (&object, &old_object) {
        (_, None) => Operation::Create,
        (None, Some(_)) => Operation::Delete,
        (Some(_), Some(_)) => Operation::Update,
    };
    Request { operation, kind, subresource: None, name: "", user, groups: Vec::new(), object, old_object }
}

pub(crate) fn decide(facts: &Facts, request: &Request<'_>, entry: Entry) -> Verdict {
    rules::decide(&RunPolicy::default(), facts, request, entry)
}

/// Generates the platform's own policies, with and without a limit of agent Jobs.
pub(crate) fn policies() -> impl Strategy<Value = RunPolicy> {
    any::<bool>().prop_map(|limited| {
        let mut policy = RunPolicy::default();
        let limit = ProjectLimit { max: 5, overrides: std::collections::BTreeMap::new() };
        policy.quotas.agent_jobs_per_project = limited.then_some(limit);
        policy
    })
}

pub(crate) fn users() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "jane",
        WORKER,
        "system:serviceaccount:codex-issue-a74d653cadf0-i42-r3f2b8c1e9d47:codex-runner",
        "system:serviceaccount:kube-system:namespace-controller",
        "system:serviceaccount:kube-system:job-controller",
        "system:serviceaccount:codex-k8s-guard:codex-k8s-gc",
        "",
    ])
}

/// Generates users who may choose the platform's run of a new namespace.
pub(crate) fn creators() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["system:serviceaccount:codex-k8s-prod:codex-k8s-control-plane", WORKER])
}

pub(crate) fn modes() -> impl Strategy<Value = RuntimeMode> {
    prop::sample::select(vec![RuntimeMode::FullEnv, RuntimeMode::CodeOnly])
}

pub(crate) fn kinds() -> impl Strategy<Value = Kind> {
    prop::sample::select(vec![
        Kind::Namespace,
        Kind::Job,
        Kind::CronJob,
        Kind::Pod,
        Kind::Template,
        Kind::ServiceAccount,
        Kind::Role,
        Kind::RoleBinding,
        Kind::ClusterRole,
        Kind::ClusterRoleBinding,
        Kind::ResourceQuota,
        Kind::LimitRange,
        Kind::Secret,
        Kind::TokenRequest,
    ])
}

/// Generates objects with baseline names as a manager may write them: with the right values, other ones, or none.
pub(crate) fn baseline_object() -> impl Strategy<Value = (Kind, Value)> {
    const ACCESS: [&str; 2] = ["codex-runner", "codex-runner-readonly"];
    let of = |kind, names: &[&'static str], fields: &[&'static str]| {
        let name = prop::sample::select(names.to_vec());
        let fields = some_of(fields.iter().map(|&field| (field, perhaps(any_json()).boxed())).collect());
        let labels = perhaps(some_of(vec![("codex-k8s.dev/managed-by", absent_or("codex-k8s-worker"))]));
        (name, fields, labels).prop_map(move |(name, mut object, labels)| {
            object["metadata"] = json!({"name": name});
            if let Some(labels) = labels {
                object["metadata"]["labels"] = labels;
            }
            (kind, object)
        })
    };
    prop_oneof![
        of(Kind::ServiceAccount, &ACCESS, &["secrets"]),
        of(Kind::Role, &ACCESS, &["rules"]),
        of(Kind::RoleBinding, &ACCESS, &["roleRef", "subjects"]),
        of(Kind::ResourceQuota, &["codex-run-quota"], &["spec", "status"]),
        of(Kind::LimitRange, &["codex-run-limits"], &["spec"]),
    ]
}

/// Generates any JSON, with keys that rules read.
pub(crate) fn any_json() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 39] = [
        "metadata",
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "name",
        "generateName",
        "deletionTimestamp",
        "spec",
        "template",
        "jobTemplate",
        "containers",
        "initContainers",
        "env",
        "value",
        "valueFrom",
        "securityContext",
        "volumes",
        "projected",
        "sources",
        "serviceAccountToken",
        "tolerations",
        "rules",
        "apiGroups",
        "resources",
        "verbs",
        "roleRef",
        "subjects",
        "kind",
        "namespace",
        "audiences",
        "status",
        "codex-k8s.dev/run-id",
        "codex-k8s.dev/managed-by",
        "codex-k8s.dev/namespace-lease-ttl",
        "codex-k8s.dev/namespace-lease-expires-at",
        "suspend",
        "codex-k8s.dev/job-pending-reason",
        "codex-k8s.dev/job-admitted-at",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["codex-k8s-worker", "run", "24h0m0s", "2026-02-01T12:00:00Z", RUN_ID])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(8, 96, 6, |inner| {
        let key =
            prop_oneof![8 => prop::sample::select(KEYS.to_vec()).prop_map(str::to_owned), 1 => ".{0,8}"];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// Generates absence, `null`, or the value.
fn perhaps<S>(value: S) -> impl Strategy<Value = Option<Value>>
where
    S: Strategy + 'static,
    S::Value: Into<Value>,
{
    prop_oneof![Just(None), Just(Some(Value::Null)), value.prop_map(|value| Some(value.into()))]
}

/// Generates a map in which each entry may be missing.
fn some_of(entries: Vec<(&'static str, BoxedStrategy<Option<Value>>)>) -> impl Strategy<Value = Value> {
    let (keys, values): (Vec<_>, Vec<_>) = entries.into_iter().unzip();
    values.prop_map(move |values| {
        let present = keys.iter().zip(values).filter_map(|(key, value)| Some(((*key).to_owned(), value?)));
        Value::Object(present.collect::<Map<_, _>>())
    })
}

/// Generates absence or the value. Labels are never `null` after the API server has parsed them.
fn absent_or(value: &'static str) -> BoxedStrategy<Option<Value>> {
    prop::option::of(Just(Value::from(value))).boxed()
}

/// Generates harmless namespaces: some correct values are present, others are missing.
pub(crate) fn benign_namespace() -> impl Strategy<Value = Value> {
    let labels = some_of(vec![
        ("codex-k8s.dev/managed-by", absent_or("codex-k8s-worker")),
        ("codex-k8s.dev/namespace-purpose", absent_or("run")),
        (
            "codex-k8s.dev/runtime-mode",
            prop::option::of(modes().prop_map(|mode| mode.as_str().into())).boxed(),
        ),
        ("codex-k8s.dev/run-id", absent_or(RUN_ID)),
        ("codex-k8s.dev/project-id", absent_or(PROJECT_ID)),
        ("codex-k8s.dev/agent-key", absent_or("dev")),
        ("team", absent_or("payments")),
        (
            "pod-security.kubernetes.io/enforce",
            prop::option::of(prop::sample::select(vec!["baseline", "restricted"]).prop_map(Value::from))
                .boxed(),
        ),
    ]);
    let annotations = some_of(vec![
        ("codex-k8s.dev/correlation-id", absent_or(CORRELATION_ID)),
        ("codex-k8s.dev/namespace-lease-ttl", absent_or("24h0m0s")),
        ("codex-k8s.dev/namespace-lease-expires-at", absent_or("2026-02-02T12:00:00Z")),
        ("codex-k8s.dev/namespace-lease-updated-at", absent_or("2026-02-01T12:00:00Z")),
        ("example.dev/note", absent_or("anything")),
    ]);
    let name = prop::sample::select(vec![NAMESPACE]);
    (name, perhaps(labels), perhaps(annotations)).prop_map(|(name, labels, annotations)| {
        let mut metadata = json!({"name": name});
        for (key, value) in [("labels", labels), ("annotations", annotations)] {
            if let Some(value) = value {
                metadata[key] = value;
            }
        }
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata, "spec": {}, "status": {}})
    })
}

fn benign_env() -> impl Strategy<Value = Value> {
    let known = prop::sample::subsequence(
        vec![
            json!({"name": "CODEXK8S_RUN_ID", "value": RUN_ID}),
            json!({"name": "CODEXK8S_PROJECT_ID", "value": PROJECT_ID}),
            json!({"name": "CODEXK8S_CORRELATION_ID", "value": CORRELATION_ID}),
            json!({"name": "PATH", "value": "/bin"}),
            json!({"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}),
        ],
        0..=5,
    );
    known.prop_map(Value::from)
}

fn benign_containers(least: usize) -> impl Strategy<Value = Value> {
    let container = perhaps(benign_env()).prop_map(|env| {
        let mut container = json!({"name": "c", "image": "busybox:1.36"});
        if let Some(env) = env {
            container["env"] = env;
        }
        container
    });
    prop::collection::vec(container, least..4).prop_map(Value::from)
}

/// Adds the volume that the API server's ServiceAccount plug-in adds to a bare Pod before any webhook is called.
fn inject_token(spec: &mut Value) {
    let open = spec["automountServiceAccountToken"].is_null();
    if open {
        spec["volumes"] = json!([{"name": "kube-api-access-x7k2p", "projected": {"sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt"}},
        ]}}]);
        for list in ["containers", "initContainers"] {
            for container in spec[list].as_array_mut().into_iter().flatten() {
                container["volumeMounts"] = json!([{"name": "data", "mountPath": "/data"},
                    {"name": "kube-api-access-x7k2p", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]);
            }
        }
    }
}

fn benign_meta() -> impl Strategy<Value = Value> {
    let labels = some_of(vec![("codex-k8s.dev/run-id", absent_or(RUN_ID)), ("app", absent_or("tests"))]);
    perhaps(labels).prop_map(|labels| labels.map_or_else(|| json!({}), |labels| json!({"labels": labels})))
}

/// Generates harmless workloads for a namespace with this mode.
pub(crate) fn benign_workload(mode: RuntimeMode) -> impl Strategy<Value = (Kind, Value)> {
    let account = match mode {
        RuntimeMode::FullEnv => perhaps(Just("codex-runner")).boxed(),
        RuntimeMode::CodeOnly => Just(None).boxed(),
    };
    let pod = some_of(vec![
        ("serviceAccountName", account),
        ("automountServiceAccountToken", prop_oneof![Just(None), Just(Some(Value::from(false)))].boxed()),
        ("containers", benign_containers(1).prop_map(Some).boxed()),
        ("initContainers", perhaps(benign_containers(0)).boxed()),
        ("tolerations", perhaps(Just(Value::Array(Vec::new()))).boxed()),
        ("securityContext", perhaps(Just(json!({}))).boxed()),
        ("restartPolicy", absent_or("Never")),
    ]);
    let job = some_of(vec![
        ("activeDeadlineSeconds", perhaps(1_i64..=600).boxed()),
        ("ttlSecondsAfterFinished", perhaps(0_i64..=600).boxed()),
        ("backoffLimit", perhaps(Just(0_i64)).boxed()),
        ("parallelism", perhaps(Just(1_i64)).boxed()),
        ("completions", perhaps(Just(1_i64)).boxed()),
        ("suspend", perhaps(any::<bool>()).boxed()),
    ]);
    let kind = prop::sample::select(vec![Kind::Job, Kind::CronJob, Kind::Pod]);
    (kind, pod, job, benign_meta(), benign_meta()).prop_map(|(kind, mut pod, mut job, mut meta, template)| {
        meta["name"] = "unit-tests".into();
        if kind == Kind::Pod {
            inject_token(&mut pod);
            return (kind, json!({"metadata": meta, "spec": pod}));
        }
        job["template"] = json!({"metadata": template, "spec": pod});
        let object = if kind == Kind::Job {
            json!({"metadata": meta, "spec": job})
        } else {
            json!({"metadata": meta, "spec": {"schedule": "@daily", "jobTemplate": {"spec": job}}})
        };
        (kind, object)
    })
}
