//! The work in a namespace (contract.md, section 6: the platform's own list of kinds).

use std::collections::HashMap;
use std::time::Duration;

use codex_k8s_shared::cleanup::Work;
use codex_k8s_shared::lease::later;
use codex_k8s_shared::paged;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, try_join_all};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{ContainerState, Pod};
use k8s_openapi::{NamespaceResourceScope, Resource};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Cluster, ClusterError};

/// The maximum number of names of one kind in a message.
const MAX_NAMED: usize = 10;

/// A kind of object that may count as work, unless it is terminating.
trait Active {
    /// Returns true if it runs or may still run.
    fn is_active(&self) -> bool;

    /// Returns true if a node runs it, or has just been chosen to.
    fn is_scheduled(&self, _: &Deadline) -> bool {
        false
    }
}

/// The time of an inspection, and the time that a Pod may take from its scheduling to its first container.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    /// The time.
    pub now: Timestamp,
    /// The time for which a scheduled Pod counts without a container that has started: `cleanup.workGrace`.
    pub to_start: Duration,
}

impl Active for Pod {
    fn is_active(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    }

    fn is_scheduled(&self, deadline: &Deadline) -> bool {
        let has_node = self
            .spec
            .as_ref()
            .is_some_and(|spec| spec.node_name.as_deref().is_some_and(|node| !node.is_empty()));
        has_node
            && !is_past_its_deletion(self, deadline)
            && (has_started(self) || is_starting(self, deadline))
    }
}

/// Returns true if a Pod should be gone: its deletion timestamp already includes its grace period. After that, its
/// node does not respond any more.
fn is_past_its_deletion(pod: &Pod, deadline: &Deadline) -> bool {
    pod.metadata.deletion_timestamp.as_ref().is_some_and(|due| due.0 <= deadline.now)
}

/// Returns true if any of its containers has started.
fn has_started(pod: &Pod) -> bool {
    let Some(status) = &pod.status else { return false };
    let containers = [&status.init_container_statuses, &status.container_statuses];
    let has_run = |state: &ContainerState| state.running.is_some() || state.terminated.is_some();
    status.phase.as_deref() == Some("Running")
        || containers
            .into_iter()
            .flatten()
            .flatten()
            .any(|container| container.restart_count > 0 || container.state.as_ref().is_some_and(has_run))
}

/// Returns true if it was scheduled so recently that it may still start. An image that cannot be pulled, or a volume
/// that does not exist, keeps a Pod in this state forever.
fn is_starting(pod: &Pod, deadline: &Deadline) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let scheduled = conditions.into_iter().flatten().find(|found| found.type_ == "PodScheduled");
    let since = scheduled
        .and_then(|scheduled| scheduled.last_transition_time.as_ref())
        .or(pod.metadata.creation_timestamp.as_ref());
    // A Pod without any of these times has just been created.
    since.is_none_or(|since| later(since.0, deadline.to_start).is_none_or(|end| end > deadline.now))
}

impl Active for Job {
    fn is_active(&self) -> bool {
        let conditions = self.status.as_ref().and_then(|status| status.conditions.as_ref());
        let ends = |kind: &str| matches!(kind, "Complete" | "Failed");
        !conditions.into_iter().flatten().any(|found| ends(&found.type_) && found.status == "True")
    }
}

impl Active for CronJob {
    fn is_active(&self) -> bool {
        let children = self.status.as_ref().and_then(|status| status.active.as_ref());
        let suspended = self.spec.suspend.unwrap_or(false);
        children.is_some_and(|children| !children.is_empty()) || !suspended
    }
}

/// A set of Pods is idle if it wants none, has none, and none is ready.
fn any_replica(replicas: Option<i32>, counts: [Option<i32>; 2]) -> bool {
    replicas.unwrap_or(1) > 0 || counts.into_iter().flatten().any(|count| count > 0)
}

impl Active for Deployment {
    fn is_active(&self) -> bool {
        let status = self.status.as_ref();
        let counts =
            [status.and_then(|status| status.replicas), status.and_then(|status| status.ready_replicas)];
        any_replica(self.spec.replicas, counts)
    }
}

impl Active for StatefulSet {
    fn is_active(&self) -> bool {
        let status = self.status.as_ref();
        let counts = [status.map(|status| status.replicas), status.and_then(|status| status.ready_replicas)];
        any_replica(self.spec.replicas, counts)
    }
}

impl Active for ReplicaSet {
    fn is_active(&self) -> bool {
        let status = self.status.as_ref();
        let counts = [status.map(|status| status.replicas), status.and_then(|status| status.ready_replicas)];
        any_replica(self.spec.replicas, counts)
    }
}

impl Active for DaemonSet {
    fn is_active(&self) -> bool {
        self.status.as_ref().is_some_and(|status| {
            [status.desired_number_scheduled, status.current_number_scheduled, status.number_ready]
                .into_iter()
                .any(|count| count > 0)
        })
    }
}

/// The work in each namespace.
pub(crate) type Everywhere = HashMap<String, Work>;

/// An object that is active, or is terminating while a node still runs it.
#[derive(Debug)]
struct Found {
    namespace: String,
    name: String,
    /// True if the platform counts it as work.
    is_active: bool,
    /// True for a Pod that a node runs or is about to run.
    is_scheduled: bool,
}

impl Cluster {
    /// The work in a namespace.
    ///
    /// # Errors
    /// If any of the kinds cannot be listed, because a namespace without a complete inspection does not count as
    /// idle.
    pub async fn work(&self, namespace: &str, deadline: Deadline) -> Result<Work, ClusterError> {
        let mut found = self.active_in(Some(namespace), deadline).await?;
        Ok(found.remove(namespace).unwrap_or(Work::Idle))
    }

    /// The work in all namespaces. For many namespaces, this takes seven lists instead of seven for each.
    ///
    /// # Errors
    /// As [`work`](Self::work).
    pub(crate) async fn work_everywhere(&self, deadline: Deadline) -> Result<Everywhere, ClusterError> {
        self.active_in(None, deadline).await
    }

    async fn active_in(
        &self,
        namespace: Option<&str>,
        deadline: Deadline,
    ) -> Result<Everywhere, ClusterError> {
        let kinds: [LocalBoxFuture<'_, _>; 7] = [
            self.active::<Pod>(namespace, "pods", deadline).boxed_local(),
            self.active::<Job>(namespace, "jobs", deadline).boxed_local(),
            self.active::<CronJob>(namespace, "cronjobs", deadline).boxed_local(),
            self.active::<Deployment>(namespace, "deployments", deadline).boxed_local(),
            self.active::<StatefulSet>(namespace, "statefulsets", deadline).boxed_local(),
            self.active::<ReplicaSet>(namespace, "replicasets", deadline).boxed_local(),
            self.active::<DaemonSet>(namespace, "daemonsets", deadline).boxed_local(),
        ];
        Ok(by_namespace(try_join_all(kinds).await?))
    }

    async fn active<K>(
        &self,
        namespace: Option<&str>,
        kind: &'static str,
        deadline: Deadline,
    ) -> Result<(&'static str, Vec<Found>), ClusterError>
    where
        K: Active + kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>,
        K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
    {
        let api = match namespace {
            Some(namespace) => Api::<K>::namespaced(self.client(), namespace),
            None => Api::<K>::all(self.client()),
        };
        let page = async |params: &ListParams| api.list(params).await;
        let params = ListParams::default();
        let found = paged::filtered(&params, page, |object| found(&object, deadline));
        let suffix = namespace.map(|namespace| format!(" of {namespace}")).unwrap_or_default();
        let found =
            found.await.map_err(|error| ClusterError::new(format!("list the {kind}{suffix}"), error))?;
        Ok((kind, found))
    }
}

fn found<K: Active + kube::Resource<DynamicType = ()>>(object: &K, deadline: Deadline) -> Option<Found> {
    let may_work = object.is_active();
    let is_active = may_work && object.meta().deletion_timestamp.is_none();
    let is_scheduled = may_work && object.is_scheduled(&deadline);
    (is_active || is_scheduled).then(|| Found {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        is_active,
        is_scheduled,
    })
}

/// Groups work by namespace. A terminating Pod alone is not work, as in the platform; together with other work, it is
/// listed because it still runs.
fn by_namespace(kinds: Vec<(&'static str, Vec<Found>)>) -> Everywhere {
    let mut everywhere = HashMap::<String, [Vec<String>; 2]>::new();
    for (kind, found) in kinds {
        let mut names = HashMap::<String, [Vec<String>; 2]>::new();
        for Found { namespace, name, is_active, is_scheduled } in found {
            let [active, scheduled] = names.entry(namespace).or_default();
            if is_scheduled {
                scheduled.push(name.clone());
            }
            if is_active {
                active.push(name);
            }
        }
        for (namespace, [active, scheduled]) in names {
            let [all_active, all_scheduled] = everywhere.entry(namespace).or_default();
            all_active.extend((!active.is_empty()).then(|| format_names(kind, active)));
            all_scheduled.extend((!scheduled.is_empty()).then(|| format_names(kind, scheduled)));
        }
    }
    let work = |[found, scheduled]: [Vec<String>; 2]| {
        if found.is_empty() { Work::Idle } else { Work::Active { found, scheduled } }
    };
    everywhere.into_iter().map(|(namespace, lists)| (namespace, work(lists))).collect()
}

/// The names of one kind, as `kind=a,b`.
fn format_names(kind: &str, mut names: Vec<String>) -> String {
    names.sort_unstable();
    let all = names.len();
    names.truncate(MAX_NAMED);
    let more = if all > MAX_NAMED { format!(" and {} more", all - MAX_NAMED) } else { String::new() };
    format!("{kind}={}{more}", names.join(","))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn active<K: Active + DeserializeOwned>(object: Value) -> bool {
        serde_json::from_value::<K>(object).unwrap().is_active()
    }

    #[test]
    fn a_pod_works_until_it_has_ended() {
        for (phase, works) in
            [("Pending", true), ("Running", true), ("Unknown", true), ("Succeeded", false), ("Failed", false)]
        {
            assert_eq!(active::<Pod>(json!({"status": {"phase": phase}})), works, "{phase}");
        }
        assert!(active::<Pod>(json!({})));
    }

    const NOW: &str = "2026-02-01T12:00:00Z";

    fn scheduled(pod: Value) -> bool {
        let deadline = Deadline { now: NOW.parse().unwrap(), to_start: Duration::from_hours(24) };
        serde_json::from_value::<Pod>(pod).unwrap().is_scheduled(&deadline)
    }

    #[test]
    fn a_pod_is_scheduled_while_its_node_runs_it_or_may_still_start_it() {
        let pod = |status: Value| json!({"spec": {"nodeName": "n", "containers": []}, "status": status});
        assert!(scheduled(pod(json!({"phase": "Running"}))));
        assert!(!scheduled(json!({"spec": {"containers": []}, "status": {"phase": "Pending"}})), "no node");
        let condition = |since: &str| {
            json!({"phase": "Pending", "conditions": [
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": since}]})
        };
        assert!(scheduled(pod(condition("2026-02-01T11:00:00Z"))), "its image is being pulled");
        assert!(!scheduled(pod(condition("2026-01-31T11:00:00Z"))), "its image cannot be pulled");
        let mut init = condition("2026-01-31T11:00:00Z");
        init["initContainerStatuses"] = json!([{"name": "i", "image": "i", "imageID": "i", "ready": false,
            "restartCount": 0, "state": {"running": {}}}]);
        assert!(scheduled(pod(init)), "an init container runs");
    }

    #[test]
    fn a_pod_whose_deletion_is_overdue_is_not_scheduled_any_more() {
        let deleted = |due: &str| {
            scheduled(
                json!({"metadata": {"deletionTimestamp": due}, "spec": {"nodeName": "n", "containers": []},
                "status": {"phase": "Running"}}),
            )
        };
        assert!(deleted("2026-02-01T12:00:30Z"), "it is ending");
        assert!(!deleted("2026-02-01T11:59:59Z"), "its node is lost");
    }

    #[test]
    fn a_pod_that_is_being_deleted_is_work_only_beside_other_work() {
        let one = |name: &str, is_active, is_scheduled| Found {
            namespace: "n".to_owned(),
            name: name.to_owned(),
            is_active,
            is_scheduled,
        };
        let pods = || ("pods", vec![one("p", false, true)]);
        assert_eq!(by_namespace(vec![pods()]), Everywhere::from([("n".to_owned(), Work::Idle)]));
        let work = Work::Active { found: vec!["jobs=j".to_owned()], scheduled: vec!["pods=p".to_owned()] };
        let both = by_namespace(vec![pods(), ("jobs", vec![one("j", true, false)])]);
        assert_eq!(both, Everywhere::from([("n".to_owned(), work)]));
    }

    #[test]
    fn a_job_works_until_a_true_condition_says_that_it_has_ended() {
        let with = |kind: &str, status: &str| {
            active::<Job>(json!({"status": {"conditions": [{"type": kind, "status": status}]}}))
        };
        assert!(active::<Job>(json!({})));
        assert!(!with("Complete", "True") && !with("Failed", "True"));
        assert!(with("Complete", "False") && with("Suspended", "True") && with("FailureTarget", "True"));
    }

    #[test]
    fn a_cron_job_works_unless_it_is_suspended_and_has_no_children() {
        let spec = |suspend: bool| json!({"schedule": "@daily", "jobTemplate": {}, "suspend": suspend});
        assert!(active::<CronJob>(json!({"spec": spec(false)})));
        assert!(!active::<CronJob>(json!({"spec": spec(true)})));
        assert!(active::<CronJob>(json!({"spec": spec(true), "status": {"active": [{"name": "child"}]}})));
    }

    #[test]
    fn sets_of_pods_work_while_they_want_or_have_any() {
        let spec = |replicas: Value| json!({"replicas": replicas, "selector": {}, "template": {}, "serviceName": ""});
        for replicas in [json!(null), json!(1)] {
            assert!(active::<Deployment>(json!({"spec": spec(replicas.clone())})), "{replicas}");
        }
        assert!(!active::<Deployment>(json!({"spec": spec(json!(0))})));
        assert!(active::<Deployment>(json!({"spec": spec(json!(0)), "status": {"replicas": 1}})));
        assert!(active::<StatefulSet>(
            json!({"spec": spec(json!(0)), "status": {"replicas": 0, "readyReplicas": 1}})
        ));
        assert!(!active::<ReplicaSet>(json!({"spec": spec(json!(0)), "status": {"replicas": 0}})));
        let counts = |desired: i32| {
            json!({"status": {"desiredNumberScheduled": desired, "currentNumberScheduled": 0, "numberReady": 0,
                "numberMisscheduled": 0}})
        };
        assert!(
            active::<DaemonSet>(counts(1))
                && !active::<DaemonSet>(counts(0))
                && !active::<DaemonSet>(json!({}))
        );
    }

    #[test]
    fn what_works_is_reported_by_name_and_not_without_end() {
        assert_eq!(format_names("pods", ["b", "a"].map(str::to_owned).into()), "pods=a,b");
        let many = format_names("jobs", (0..12).map(|number| format!("j{number:02}")).collect());
        assert_eq!(many, "jobs=j00,j01,j02,j03,j04,j05,j06,j07,j08,j09 and 2 more");
    }
}
