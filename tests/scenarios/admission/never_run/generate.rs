//! Random workloads. Each is made of parts, which are functions of the same source of numbers.

use serde_json::{Value, json};

use super::{fields, resources};

/// A source of numbers that a seed determines (`SplitMix64`).
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end).unwrap()).unwrap()
    }

    /// True in that many of a hundred cases.
    pub(super) fn percent(&mut self, cases: usize) -> bool {
        self.below(100) < cases
    }

    /// One of the values.
    pub(super) fn pick<'a, T>(&mut self, values: &'a [T]) -> &'a T {
        &values[self.below(values.len())]
    }
}

/// A workload of any kind whose Pods have random resources, ready to be created.
pub(super) fn workload(random: &mut Random) -> Value {
    let spec = pod_spec(random);
    of_any_kind(random, spec)
}

/// A workload of any kind whose Pods have random fields, ready to be created.
pub(super) fn workload_with_fields(random: &mut Random) -> Value {
    let mut spec = if random.percent(15) { pod_spec(random) } else { json!({"containers": [named("c0")]}) };
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            fields::of_container(random, container);
        }
    }
    fields::of_pod(random, &mut spec);
    if random.percent(10) {
        let meta = json!({"name": "w", "annotations": fields::annotations(random)});
        return json!({"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec});
    }
    let annotations = fields::annotations(random);
    let mut workload = of_any_kind(random, spec);
    let pointer =
        if workload["kind"] == "CronJob" { "/spec/jobTemplate/spec/template" } else { "/spec/template" };
    workload.pointer_mut(pointer).unwrap()["metadata"]["annotations"] = annotations;
    if random.percent(5) {
        workload.pointer_mut(pointer).unwrap()["spec"]["restartPolicy"] = "OnFailure".into();
    }
    workload
}

fn of_any_kind(random: &mut Random, spec: Value) -> Value {
    match random.below(10) {
        0 => cron_job(spec),
        1 => replicated("apps/v1", "Deployment", &spec),
        2 => replicated("apps/v1", "ReplicaSet", &spec),
        3 => replicated("apps/v1", "StatefulSet", &spec),
        4 => replicated("apps/v1", "DaemonSet", &spec),
        5 => replicated("v1", "ReplicationController", &spec),
        _ => job(spec),
    }
}

/// A Job with Pods of this spec.
pub(super) fn job(mut spec: Value) -> Value {
    spec["restartPolicy"] = "Never".into();
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "w"}, "spec": {"template": {"spec": spec}}})
}

fn cron_job(spec: Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "w"}, "spec": {
        "schedule": "0 3 * * *", "jobTemplate": {"spec": job(spec)["spec"]}}})
}

fn replicated(version: &str, kind: &str, spec: &Value) -> Value {
    let labels = json!({"app": "w"});
    let template = json!({"metadata": {"labels": labels}, "spec": spec});
    let selector = if kind == "ReplicationController" { labels } else { json!({"matchLabels": labels}) };
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "w"},
        "spec": {"selector": selector, "template": template}})
}

/// The spec of a Pod. Further fields are further parts here.
pub(super) fn pod_spec(random: &mut Random) -> Value {
    let mut spec = json!({"containers": [], "initContainers": []});
    for index in 0..=random.below(3) {
        spec["containers"].as_array_mut().unwrap().push(container(random, &format!("c{index}")));
    }
    for index in 0..random.below(3) {
        let mut init = container(random, &format!("i{index}"));
        if random.percent(50) {
            init["restartPolicy"] = "Always".into();
        }
        spec["initContainers"].as_array_mut().unwrap().push(init);
    }
    resources::of_pod(random, &mut spec);
    spec
}

fn named(name: &str) -> Value {
    json!({"name": name, "image": "busybox:1.36"})
}

fn container(random: &mut Random, name: &str) -> Value {
    let mut container = named(name);
    resources::of_container(random, &mut container);
    container
}
