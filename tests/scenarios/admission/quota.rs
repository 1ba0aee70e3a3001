//! Pods that can never fit a quota are refused, and the cluster counts the others as we do.

use std::collections::BTreeMap;
use std::time::Duration;

use codex_k8s_shared::policy::{LimitSettings, RunPolicy};
use codex_k8s_shared::quota::pod_resources::PodResources;
use codex_k8s_shared::quota::quantity::Quantity;
use codex_k8s_tests::{Identity, eventually};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::harness::*;

fn jobs(namespace: &str) -> String {
    format!("/apis/batch/v1/namespaces/{namespace}/jobs?dryRun=All")
}

fn job(parallelism: u32, containers: &Value) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"parallelism": parallelism,
        "completions": 4, "template": {"spec": {"restartPolicy": "Never", "containers": containers}}}})
}

fn container(name: &str, limits: &Value) -> Value {
    json!({"name": name, "image": "busybox:1.36", "resources": {"limits": limits}})
}

#[test]
fn a_job_that_can_never_fit_its_quota_is_refused_with_the_sum_and_one_that_fits_is_not() {
    let (namespace, agent) = (managed(), |namespace: &str| Identity::agent(namespace));
    let send = |job: Value| create(&agent(&namespace), &jobs(&namespace), &job);
    let two = |cpu: &str| json!([container("a", &json!({"cpu": cpu})), container("b", &json!({"cpu": "1"}))]);
    send(job(2, &two("1"))).admitted();
    // These Pods start one after the other.
    send(job(4, &two("1"))).admitted();
    send(job(1, &two("7500m"))).refused(
        403,
        "QUOTA002",
        "spec.template.spec.containers",
        "Invalid value: \"a\" 7500m + \"b\" 1 = 8500m of limits.cpu: the quota codex-run-quota of the namespace has 8",
    );
    let init =
        json!({"template": {"spec": {"initContainers": [container("i", &json!({"memory": "17Gi"}))]}}});
    let mut large = job(1, &two("1"));
    large["spec"]["template"]["spec"]["initContainers"] = init["template"]["spec"]["initContainers"].clone();
    send(large).refused(403, "QUOTA002", "containers", "Invalid value: \"i\" 17Gi of limits.memory");
}

#[test]
fn a_cron_job_a_deployment_and_a_bare_pod_that_never_fit_are_refused_too() {
    let namespace = managed();
    let spec = json!({"restartPolicy": "Never", "containers": [container("c", &json!({"memory": "20Gi"}))]});
    let cron = json!({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "c"}, "spec": {
        "schedule": "0 3 * * *", "jobTemplate": {"spec": {"template": {"spec": spec}}}}});
    let path = format!("/apis/batch/v1/namespaces/{namespace}/cronjobs?dryRun=All");
    create(&Identity::developer(), &path, &cron).refused(
        403,
        "QUOTA002",
        "spec.jobTemplate.spec.template.spec.containers",
        "16Gi",
    );
    let template = json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": spec["containers"]}});
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"app": "d"}}, "template": template}});
    let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments?dryRun=All");
    create(&Identity::developer(), &path, &deployment).refused(
        403,
        "QUOTA002",
        "spec.template.spec.containers",
        "16Gi",
    );
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec});
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    create(&Identity::developer(), &path, &pod).refused(403, "QUOTA002", "spec.containers", "20Gi");
}

#[test]
fn a_suspended_job_is_not_edited_beyond_its_quota() {
    let namespace = managed();
    let mut suspended = job(1, &json!([container("c", &json!({"cpu": "1"}))]));
    suspended["spec"]["suspend"] = true.into();
    let path = format!("/apis/batch/v1/namespaces/{namespace}/jobs");
    create(&Identity::agent(&namespace), &path, &suspended).admitted();
    let larger = |cpu: &str| json!({"spec": {"template": {"spec": {"containers": [container("c", &json!({"cpu": cpu}))]}}}});
    let path = format!("{path}/j?dryRun=All");
    let edit = |cpu| patch_at(&Identity::agent(&namespace), path.clone(), STRATEGIC, &larger(cpu));
    edit("9").refused(403, "QUOTA002", "spec.template.spec.containers", "Invalid value: \"c\" 9 of");
    edit("3").admitted();
}

const COUNTED: [&str; 13] = [
    "pods",
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.example.com/gpu",
    "requests.hugepages-2Mi",
];

/// An ordinary namespace whose quota counts everything and has room for all of it.
fn counting(range: Option<&LimitSettings>) -> String {
    let namespace = unmanaged();
    let hard: BTreeMap<_, _> = COUNTED.iter().map(|name| (*name, "1Pi")).collect();
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "all"}, "spec": {"hard": hard}});
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas");
    create(&Identity::Admin, &path, &quota).admitted();
    if let Some(range) = range {
        let item =
            json!({"type": "Container", "default": range.default, "defaultRequest": range.default_request});
        let limits = json!({"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "l"}, "spec": {"limits": [item]}});
        create(&Identity::Admin, &format!("/api/v1/namespaces/{namespace}/limitranges"), &limits).admitted();
    }
    eventually("the quota counts", Duration::from_secs(30), || {
        (used(&namespace).len() == COUNTED.len()).then_some(())
    })
    .unwrap();
    eventually("the namespace takes Pods", Duration::from_secs(30), || {
        let probe = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": pod_spec(&[
            json!({"name": "c", "image": "busybox:1.36", "resources": {"limits": {"cpu": "1", "memory": "1Mi"}}})])});
        let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
        (create(&Identity::Admin, &path, &probe).code < 300).then_some(())
    })
    .unwrap();
    namespace
}

fn used(namespace: &str) -> BTreeMap<String, Quantity> {
    let path = format!("/api/v1/namespaces/{namespace}/resourcequotas/all");
    let quota =
        Send { identity: &Identity::Admin, method: "GET", path, content_type: JSON }.body(&Value::Null);
    let used = quota.admitted()["status"]["used"].clone();
    let parse = |(key, value): (&String, &Value)| (key.clone(), value.as_str().unwrap().parse().unwrap());
    used.as_object().map(|used| used.iter().map(parse).collect()).unwrap_or_default()
}

fn pod_spec(containers: &[Value]) -> Value {
    json!({"restartPolicy": "Never", "automountServiceAccountToken": false, "containers": containers})
}

/// A container's resources as the API server accepts them: no request above its limit, devices limited alike.
fn any_resources() -> impl Strategy<Value = Value> {
    let pair = |unit: &'static str| {
        (proptest::option::of(1_u32..500), proptest::option::of(500_u32..2000)).prop_map(
            move |(request, limit)| {
                (request.map(|n| format!("{n}{unit}")), limit.map(|n| format!("{n}{unit}")))
            },
        )
    };
    (pair("m"), pair("Mi"), pair("Ki"), proptest::option::of(1_u32..4), proptest::option::of(1_u32..4))
        .prop_map(|(cpu, memory, storage, gpu, pages)| {
            let mut resources = json!({"requests": {}, "limits": {}});
            for (name, (request, limit)) in [("cpu", cpu), ("memory", memory), ("ephemeral-storage", storage)]
            {
                for (part, quantity) in [("requests", request), ("limits", limit)] {
                    if let Some(quantity) = quantity {
                        resources[part][name] = quantity.into();
                    }
                }
            }
            // Huge pages require a request of CPU or memory as well.
            let asks = resources["limits"].get("cpu").is_some();
            let devices = [
                ("example.com/gpu", gpu.map(|n| n.to_string())),
                ("hugepages-2Mi", pages.filter(|_| asks).map(|n| format!("{}Mi", n * 2))),
            ];
            for (name, quantity) in devices {
                if let Some(quantity) = quantity {
                    resources["limits"][name] = quantity.into();
                }
            }
            resources
        })
}

fn any_pod() -> impl Strategy<Value = Value> {
    let own = proptest::option::weighted(
        0.25,
        Just(json!({"requests": {"cpu": "70"}, "limits": {"cpu": "90", "memory": "90Gi"}})),
    );
    let containers = proptest::collection::vec(any_resources(), 1..4);
    let before = proptest::collection::vec((any_resources(), any::<bool>()), 0..4);
    (containers, before, own, proptest::bool::weighted(0.3)).prop_map(|(containers, before, own, heavy)| {
        let named = |prefix: &str, index: usize, resources: Value| {
            json!({"name": format!("{prefix}{index}"), "image": "busybox:1.36", "resources": resources})
        };
        let containers = containers.into_iter().enumerate().map(|(index, it)| named("c", index, it));
        let mut spec = pod_spec(&containers.collect::<Vec<_>>());
        let before = before.into_iter().enumerate().map(|(index, (resources, stays))| {
            let mut container = named("i", index, resources);
            if stays {
                container["restartPolicy"] = "Always".into();
            }
            container
        });
        spec["initContainers"] = before.collect();
        if let Some(own) = own {
            spec["resources"] = own;
        }
        if heavy {
            spec["runtimeClassName"] = "heavy".into();
        }
        spec
    })
}

/// The runtime class's overhead, as the API server writes it into the Pods that name it.
fn overhead() -> Value {
    json!({"cpu": "50m", "memory": "10Mi"})
}

fn counts_as_the_cluster_does(range: Option<&LimitSettings>, cases: usize) -> (usize, usize) {
    let namespace = counting(range);
    let mut runner = TestRunner::deterministic();
    let (mut counted, mut refused) = (0, 0);
    for case in 0..cases {
        let sent = any_pod().new_tree(&mut runner).unwrap().current();
        let mut spec = sent.clone();
        if spec.get("runtimeClassName").is_some() {
            spec["overhead"] = overhead();
        }
        let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": format!("p{case}")}, "spec": sent});
        let before = used(&namespace);
        let answer = create(&Identity::Admin, &format!("/api/v1/namespaces/{namespace}/pods"), &pod);
        let resources = PodResources::of_pod(&spec, range);
        let missing_values = resources.missing_values(COUNTED.into_iter());
        let message = answer.body["message"].as_str().unwrap_or_default().to_owned();
        if !missing_values.is_empty() {
            assert!(
                answer.code == 403 && message.contains("must specify"),
                "{missing_values:?}\n{message}\n{spec}"
            );
            refused += 1;
            continue;
        }
        // The combination of resources in one container is not the quota's concern.
        if answer.code == 422 {
            continue;
        }
        answer.admitted();
        let after = used(&namespace);
        for resource in COUNTED {
            let asked = resources.total(resource).unwrap_or(Quantity::ZERO);
            let (before, after) = (before[resource], after[resource]);
            assert!(before + asked == after, "{resource}: {before} + {asked} is not {after}, for\n{spec}");
        }
        counted += 1;
    }
    (counted, refused)
}

#[test]
fn our_sum_for_generated_pods_is_what_the_quota_of_the_cluster_counts() {
    let class = json!({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "heavy"},
        "handler": "heavy", "overhead": {"podFixed": overhead()}});
    create(&Identity::Admin, "/apis/node.k8s.io/v1/runtimeclasses", &class).admitted();
    let range = RunPolicy::default().baseline.full_env.limit_range;
    let (counted, _) = counts_as_the_cluster_does(range.as_ref(), 60);
    assert!(counted >= 30, "{counted} Pods were counted");
    let (counted, refused) = counts_as_the_cluster_does(None, 60);
    assert!(counted >= 5 && refused >= 5, "{counted} Pods were counted, {refused} refused");
}
