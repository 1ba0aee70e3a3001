//! Jobs that are deleted without their Pods: running Pods stay counted.

use codex_k8s_tests::Identity;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PropagationPolicy};
use serde_json::json;

use crate::agents::{job, limit, waits, works};
use crate::harness::{Cluster, person};

#[test]
fn a_job_that_is_deleted_without_its_pods_keeps_its_reservation_until_they_have_ended() {
    let cluster = Cluster::with_policy(&limit(1));
    let namespace = cluster.ready("codex-run-orphan", "p");
    cluster.await_limit(&namespace);
    cluster.create_job(&Identity::agent(&namespace), &namespace, &job("first")).unwrap();
    cluster.await_count("p", 1, works);
    cluster.create_job(&Identity::agent(&namespace), &namespace, &job("second")).unwrap();
    let pods = Api::<Pod>::namespaced(cluster.client(&person("jane")), &namespace);
    let names = || -> Vec<String> {
        let listed = cluster.runtime.block_on(pods.list(&ListParams::default())).unwrap();
        listed.items.into_iter().filter_map(|pod| pod.metadata.name).collect()
    };
    let pod = cluster.eventually("the first has its Pod", || names().pop());

    let orphan =
        DeleteParams { propagation_policy: Some(PropagationPolicy::Orphan), ..DeleteParams::default() };
    let jobs = cluster.jobs_in(&person("jane"), &namespace);
    let deleted = cluster.runtime.block_on(jobs.delete("first", &orphan));
    assert!(deleted.unwrap().left().is_some(), "it waits for its Pod");
    let taken = Patch::Merge(json!({"metadata": {"ownerReferences": null}}));
    let refused = cluster.runtime.block_on(pods.patch(&pod, &PatchParams::default(), &taken)).unwrap_err();
    let kube::Error::Api(refused) = refused else { panic!("{refused:?}") };
    assert!(
        refused.code == 403 && refused.message.contains("QUOTA004: metadata.ownerReferences"),
        "{refused:?}"
    );
    // The API server's garbage collector tries as well, repeatedly.
    let before = denied(&cluster);
    cluster.eventually("the garbage collector was denied twice", || {
        (denied(&cluster) >= before + 2).then_some(())
    });
    assert_eq!(
        (names(), cluster.names("p", waits)),
        (vec![pod.clone()], vec![format!("{namespace}/second")])
    );

    // The Pod ends, as a kubelet would report; then the Job is deleted, and the second one has its reservation.
    let kubelet = Api::<Pod>::namespaced(cluster.client(&Identity::kubelet()), &namespace);
    let ended = Patch::Merge(json!({"status": {"phase": "Succeeded"}}));
    cluster.runtime.block_on(kubelet.patch_status(&pod, &PatchParams::default(), &ended)).unwrap();
    cluster.eventually("the second works", || {
        (cluster.names("p", works) == [format!("{namespace}/second")]).then_some(())
    });
}

/// The number of denials by the rule.
fn denied(cluster: &Cluster) -> u64 {
    let labels = ["rule=\"QUOTA004\"", "outcome=\"denied\""];
    cluster.guard.webhook.health.sum_of("codex_k8s_webhook_decisions_total", &labels).unwrap()
}
