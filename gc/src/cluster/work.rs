//! What is at work in a namespace (contract.md, section 6: the platform's own list).

use std::collections::HashMap;

use codex_k8s_shared::cleanup::Work;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, try_join_all};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::{NamespaceResourceScope, Resource};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::de::DeserializeOwned;

use super::{Cluster, ClusterError, paged};

/// Names of one kind that are told; there may be more.
const TOLD: usize = 10;

/// What may be at work: something of this kind whose deletion has not begun.
trait Active {
    /// Whether it works, or is about to.
    fn is_active(&self) -> bool;
}

impl Active for Pod {
    fn is_active(&self) -> bool {
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        !matches!(phase, Some("Succeeded" | "Failed"))
    }
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

/// A set of Pods is at rest once it wants none, has none, and none is ready.
fn any_replica(wanted: Option<i32>, counts: [Option<i32>; 2]) -> bool {
    wanted.unwrap_or(1) > 0 || counts.into_iter().flatten().any(|count| count > 0)
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

/// What is at work, by the namespace that it is in.
pub type Everywhere = HashMap<String, Vec<String>>;

/// Something that works: the namespace that it is in, and its name.
type Found = (String, String);

impl Cluster {
    /// What is at work in a namespace.
    ///
    /// # Errors
    /// If any of its kinds cannot be listed: what was not seen is not idle.
    pub async fn work(&self, namespace: &str) -> Result<Work, ClusterError> {
        let mut found = self.active_in(Some(namespace)).await?;
        Ok(found.remove(namespace).map_or(Work::Idle, Work::Active))
    }

    /// What is at work in any namespace: for many of them, this is seven lists and not seven for each.
    ///
    /// # Errors
    /// As [`work`](Self::work).
    pub async fn work_everywhere(&self) -> Result<Everywhere, ClusterError> {
        self.active_in(None).await
    }

    async fn active_in(&self, namespace: Option<&str>) -> Result<Everywhere, ClusterError> {
        let kinds: [LocalBoxFuture<'_, _>; 7] = [
            self.active::<Pod>(namespace, "pods").boxed_local(),
            self.active::<Job>(namespace, "jobs").boxed_local(),
            self.active::<CronJob>(namespace, "cronjobs").boxed_local(),
            self.active::<Deployment>(namespace, "deployments").boxed_local(),
            self.active::<StatefulSet>(namespace, "statefulsets").boxed_local(),
            self.active::<ReplicaSet>(namespace, "replicasets").boxed_local(),
            self.active::<DaemonSet>(namespace, "daemonsets").boxed_local(),
        ];
        let mut everywhere = Everywhere::new();
        for (kind, found) in try_join_all(kinds).await? {
            for (namespace, names) in by_namespace(found) {
                everywhere.entry(namespace).or_default().push(told(kind, names));
            }
        }
        Ok(everywhere)
    }

    async fn active<K>(
        &self,
        namespace: Option<&str>,
        kind: &'static str,
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
        let found = paged::kept(&params, page, |object| {
            let works = object.meta().deletion_timestamp.is_none() && object.is_active();
            works.then(|| (object.namespace().unwrap_or_default(), object.name_any()))
        });
        let place = namespace.map(|namespace| format!(" of {namespace}")).unwrap_or_default();
        let found =
            found.await.map_err(|error| ClusterError::new(format!("list the {kind}{place}"), error))?;
        Ok((kind, found))
    }
}

fn by_namespace(found: Vec<Found>) -> HashMap<String, Vec<String>> {
    let mut by_namespace = HashMap::<_, Vec<_>>::new();
    for (namespace, name) in found {
        by_namespace.entry(namespace).or_default().push(name);
    }
    by_namespace
}

/// Those of one kind, as `kind=a,b`.
fn told(kind: &str, mut names: Vec<String>) -> String {
    names.sort_unstable();
    let all = names.len();
    names.truncate(TOLD);
    let more = if all > TOLD { format!(" and {} more", all - TOLD) } else { String::new() };
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
    fn what_works_is_told_by_name_and_not_without_end() {
        assert_eq!(told("pods", ["b", "a"].map(str::to_owned).into()), "pods=a,b");
        let many = told("jobs", (0..12).map(|number| format!("j{number:02}")).collect());
        assert_eq!(many, "jobs=j00,j01,j02,j03,j04,j05,j06,j07,j08,j09 and 2 more");
    }
}
