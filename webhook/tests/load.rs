//! Checks that the cost of a decision grows linearly with the size of its request, not quadratically.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use codex_k8s_shared::policy::{Mode, RunPolicy};
use codex_k8s_shared::run::RuntimeMode;
use codex_k8s_webhook::review::{Entry, Operation};
use codex_k8s_webhook::rules::{self, Kind, Request};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use support::{NAMESPACE, facts};

/// The size of the smaller request of each pair.
const SIZE: usize = 250;

/// How many times larger the other request of a pair is.
const TIMES: usize = 16;

/// Linear cost grows [`TIMES`] times, or twice that where the larger request no longer fits into the caches. Quadratic cost
/// grows 256 times. The limit is the geometric mean of 16 and 256.
const LIMIT: u32 = 64;

/// Builds a request of a size: its kind, the old object and the new one.
type Build = fn(usize) -> (Kind, Option<Value>, Value);

fn pod(spec: &Value) -> Value {
    json!({"metadata": {"name": "p", "namespace": NAMESPACE}, "spec": spec})
}

fn privileged(size: usize, named: &str) -> Value {
    let container = |index| {
        json!({"name": format!("{named}{index}"), "securityContext": {"privileged": true},
            "env": [{"name": "CODEXK8S_RUN_ID", "value": "another"}], "ports": [{"hostPort": 1}]})
    };
    pod(&json!({"containers": (0..size).map(container).collect::<Vec<_>>()}))
}

fn subjects(size: usize, named: &str) -> Value {
    let subject = |index| json!({"kind": "User", "name": format!("{named}{index}"), "apiGroup": "rbac"});
    json!({"metadata": {"name": "b"}, "subjects": (0..size).map(subject).collect::<Vec<_>>(),
        "roleRef": {"kind": "ClusterRole", "name": "admin"}})
}

fn role(size: usize, named: &str) -> Value {
    let rule =
        |index| json!({"apiGroups": [""], "resources": ["secrets"], "verbs": [format!("{named}{index}")]});
    json!({"metadata": {"name": "r"}, "rules": (0..size).map(rule).collect::<Vec<_>>()})
}

fn init_containers(size: usize) -> Value {
    let container = |index| {
        let sidecar = if index % 2 == 0 { json!("Always") } else { Value::Null };
        json!({"name": format!("c{index}"), "restartPolicy": sidecar, "resources": {"requests": {"cpu": "1m"}}})
    };
    pod(&json!({"containers": [], "initContainers": (0..size).map(container).collect::<Vec<_>>()}))
}

fn injected(size: usize) -> Value {
    let name = |index| format!("kube-api-access-{index}");
    let volumes: Vec<_> = (0..size).map(|index| json!({"name": name(index)})).collect();
    let mounts: Vec<_> = (0..size).rev().map(|index| json!({"name": name(index)})).collect();
    pod(&json!({"volumes": volumes, "containers": [{"name": "c", "volumeMounts": mounts}]}))
}

fn labelled(size: usize, key: &str) -> Value {
    let labels: serde_json::Map<_, _> =
        (0..size).map(|index| (format!("codex-k8s.dev/{key}{index}"), "v".into())).collect();
    json!({"metadata": {"name": NAMESPACE, "labels": labels, "finalizers": (0..size).map(|index| format!("f{index}")).collect::<Vec<_>>()}})
}

const REQUESTS: [(&str, Build); 9] = [
    ("containers of a new Pod", |size| (Kind::Pod, None, privileged(size, "c"))),
    ("containers of a changed Pod", |size| {
        (Kind::Pod, Some(privileged(size, "c")), privileged(size + 1, "c"))
    }),
    ("init containers and sidecars", |size| (Kind::Pod, None, init_containers(size))),
    ("injected volumes and their mounts", |size| (Kind::Pod, None, injected(size))),
    ("subjects", |size| (Kind::RoleBinding, Some(subjects(size, "a")), subjects(size, "b"))),
    ("subjects elsewhere", |size| (Kind::ClusterRoleBinding, Some(subjects(size, "a")), subjects(size, "b"))),
    ("rules of a Role", |size| (Kind::Role, Some(role(size, "a")), role(size, "b"))),
    ("labels of a new namespace", |size| (Kind::Namespace, None, labelled(size, "a"))),
    ("labels of a changed namespace", |size| {
        (Kind::Namespace, Some(labelled(size, "a")), labelled(size, "b"))
    }),
];

/// Returns the minimum CPU time of a few decisions.
fn cost(
    policy: &RunPolicy,
    entry: Entry,
    mode: RuntimeMode,
    (kind, old, new): (Kind, Option<Value>, Value),
) -> Duration {
    let request = Request {
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        kind,
        subresource: None,
        name: new.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default(),
        user: "jane",
        groups: Vec::new(),
        old_object: old,
        object: Some(new.clone()),
    };
    let mut facts = facts(mode);
    if kind == Kind::ClusterRoleBinding {
        facts.namespace = None;
    }
    let once = || {
        let begun = thread_cpu();
        std::hint::black_box(rules::decide(policy, &facts, &request, entry));
        thread_cpu().saturating_sub(begun)
    };
    (0..3).map(|_| once()).min().unwrap_or_default()
}

/// Returns the CPU time of this thread: other load on the machine does not count.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[test]
fn the_cost_of_a_request_grows_linearly_with_its_size() {
    let mut policy = RunPolicy::default();
    // This rule would deny such a Pod before any other rule is evaluated.
    policy.rules.insert("JOB024".to_owned(), Mode::Off);
    for (name, build) in REQUESTS {
        for entry in [Entry::Mutate, Entry::Validate] {
            for mode in [RuntimeMode::FullEnv, RuntimeMode::CodeOnly] {
                let cost = |size| cost(&policy, entry, mode, build(size));
                let (small, large) = (cost(SIZE), cost(TIMES * SIZE));
                assert!(
                    large < small * LIMIT + Duration::from_millis(20),
                    "{name}, {entry:?}, {mode}: {small:?} for {SIZE}, {large:?} for {TIMES} times as many"
                );
            }
        }
    }
}

#[test]
fn a_pod_of_too_many_containers_is_refused_for_that_alone_and_not_mutated() {
    let policy = RunPolicy::default();
    let decided = |entry, size| {
        let object = privileged(size, "c");
        let request = Request {
            operation: Operation::Create,
            kind: Kind::Pod,
            subresource: None,
            name: "p",
            user: "jane",
            groups: Vec::new(),
            object: Some(object),
            old_object: None,
        };
        rules::decide(&policy, &facts(RuntimeMode::FullEnv), &request, entry)
    };
    let messages: Vec<_> = decided(Entry::Validate, 101).findings.iter().map(ToString::to_string).collect();
    assert_eq!(messages, ["JOB024: spec.containers: Invalid value: 101 containers: must be at most 100"]);
    assert!(decided(Entry::Mutate, 101).patch.0.is_empty());
    assert!(decided(Entry::Validate, 100).findings.iter().all(|finding| finding.rule.id != "JOB024"));
}
