//! The rights of the platform's worker: the chart's role has those that its traffic needs, and no others.

use std::collections::BTreeSet;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_tests::{ControlPlane, Identity, chart, eventually};
use serde_json::json;

use super::is_forbidden;
use super::table::{self, Right};
use crate::installed::playground;
use crate::platform_worker::{Run, Version, Worker};
use crate::values::objects;

const PLATFORM: &str = "codex-k8s-ai-staging";

/// The rights of the role with these values, in addition to its ServiceAccount.
fn role(values: &str) -> Vec<serde_json::Value> {
    let values = format!(
        "workerRole: {{enabled: true, subjects: [{{namespace: {PLATFORM}, name: codex-k8s-worker}}], {values}}}\n"
    );
    let mut all = objects(&chart::rendered("codex-k8s-guard", &values).unwrap());
    all.retain(|object| {
        object["metadata"]["name"] == "codex-k8s-worker"
            && object["kind"].as_str().unwrap().starts_with("ClusterRole")
    });
    all
}

/// Sends all that the worker sends for a run.
async fn whole_run(worker: &Worker, run: &Run) -> anyhow::Result<()> {
    worker.prepare(run).await?;
    // The second time, everything is there already, and is put back.
    worker.prepare(run).await?;
    worker.start(run).await?.object()?;
    worker.limit_and_start(run).await?;
    worker.clean_up(run).await
}

fn plain(right: &Right) -> (String, String, String) {
    (right.group.clone(), right.resource.clone(), right.verb.clone())
}

#[test]
fn the_role_of_the_worker_has_the_rights_that_its_traffic_needs_and_no_others() {
    let control_plane = ControlPlane::start_audited(playground()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
    let apply = |escalate: &str| {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": role(escalate)}).to_string();
        kubectl.succeed(&["apply", "-f", "-"], &list).unwrap();
    };
    let can = |verb: &str, resource: &str, expected: bool| {
        let user = format!("--as=system:serviceaccount:{PLATFORM}:codex-k8s-worker");
        eventually("the role is in force", std::time::Duration::from_secs(30), || {
            let ran = kubectl.run(&["auth", "can-i", verb, resource, "--all-namespaces", &user]).unwrap();
            (ran.succeeded() == expected).then_some(())
        })
        .unwrap();
    };
    apply("");
    can("create", "namespaces", true);
    let at_a = runtime.block_on(Worker::of(&control_plane, Version::A));
    runtime.block_on(whole_run(&at_a, &Run::of_issue(1))).unwrap();
    // Agents have more rights at B than the worker itself.
    let at_b = runtime.block_on(Worker::of(&control_plane, Version::B));
    let refused = runtime.block_on(whole_run(&at_b, &Run::of_issue(2))).unwrap_err();
    assert!(
        format!("{refused:#}").contains("attempting to grant RBAC permissions not currently held"),
        "{refused:#}"
    );
    let before = table::requests(&control_plane.audit_events(), PLATFORM).len();
    apply("escalate: true");
    can("escalate", "roles", true);
    runtime.block_on(whole_run(&at_b, &Run::of_issue(3))).unwrap();
    let requests = table::requests(&control_plane.audit_events(), PLATFORM);
    let denied: Vec<_> = requests.iter().skip(before).filter(|request| is_forbidden(request)).collect();
    assert!(denied.is_empty(), "wanted, and not granted: {denied:#?}");
    let used = requests.iter().map(|one| (one.group.clone(), one.resource.clone(), one.verb.clone()));
    let mut needed: BTreeSet<_> = used.collect();
    for rule in RunPolicy::default().baseline.candidate.rules {
        for (group, resource) in
            rule.api_groups.iter().flat_map(|group| rule.resources.iter().map(move |one| (group, one)))
        {
            needed.extend(rule.verbs.iter().map(|verb| (group.clone(), resource.clone(), verb.clone())));
        }
    }
    let granted: BTreeSet<_> = table::granted(&role("")).iter().map(plain).collect();
    assert_eq!(granted, needed);
    let wider: BTreeSet<_> = table::granted(&role("escalate: true")).iter().map(plain).collect();
    let more: Vec<_> =
        wider.difference(&granted).map(|(_, resource, verb)| format!("{verb} {resource}")).collect();
    assert_eq!(more, ["bind roles", "escalate roles"]);
}
