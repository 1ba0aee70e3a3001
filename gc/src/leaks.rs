//! Leftovers of deleted namespaces: bindings, volumes, reservations and rows that refer to them.

use std::collections::BTreeSet;

use codex_k8s_shared::audit::{AuditStore, Store};
use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_shared::quota::{NAMESPACE_UID, RESERVATION};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, PersistentVolume};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, Subject};
use kube::api::{ListParams, PartialObjectMeta};
use kube::{Api, ResourceExt};

use crate::cluster::{Cluster, ClusterError};
use crate::rows::Decision;
use crate::sweep::SweepError;
use crate::sweep::report::Leak;

/// The existing namespaces.
struct Living {
    names: BTreeSet<String>,
    uids: BTreeSet<String>,
}

/// Finds all leftovers.
///
/// # Errors
/// If the API server or the store does not respond, or a permission is missing.
pub(crate) async fn find(
    cluster: &Cluster,
    store: Option<&AuditStore>,
    policy: &RunPolicy,
    namespace: &str,
) -> Result<Vec<Leak>, SweepError> {
    // Bindings first, so that namespaces that are created meanwhile are in the later list of namespaces.
    let bindings = bindings(cluster).await?;
    let volumes = cluster.list_of::<PersistentVolume>("volumes", Api::all(cluster.client())).await?;
    let reservations = reservations(cluster, namespace).await?;
    let living = living(cluster).await?;
    let namespaces = &policy.namespaces;
    let is_of_a_run = |name: &str| namespaces.is_of_a_run(name) && !namespaces.is_protected(name);
    let is_vanished = |name: &str| is_of_a_run(name) && !living.names.contains(name);
    let mut leaks: Vec<_> = bindings.into_iter().filter_map(|binding| binding.leak(&is_vanished)).collect();
    leaks.extend(volumes.iter().filter_map(|volume| of_volume(volume, &is_vanished)));
    leaks.extend(
        reservations.iter().filter_map(|reservation| of_reservation(reservation, &living.uids, namespace)),
    );
    if let Some(store) = store {
        let open = store.open_intentions().await?;
        leaks.extend(open.iter().filter_map(Decision::of_row).map(|decision| of_row(&decision)));
    }
    leaks.sort();
    Ok(leaks)
}

async fn living(cluster: &Cluster) -> Result<Living, ClusterError> {
    let all: Vec<PartialObjectMeta<Namespace>> = cluster.all_namespaces().await?;
    Ok(Living {
        names: all.iter().map(ResourceExt::name_any).collect(),
        uids: all.iter().filter_map(|namespace| namespace.metadata.uid.clone()).collect(),
    })
}

/// A binding of either kind.
struct Binding {
    namespace: Option<String>,
    name: String,
    subjects: Vec<Subject>,
}

impl Binding {
    /// Reports `ServiceAccounts` of deleted namespaces among the subjects: a user who creates one of that name gets its
    /// rights.
    fn leak(self, is_vanished: &impl Fn(&str) -> bool) -> Option<Leak> {
        let of = |subject: &Subject| match (subject.kind.as_str(), subject.namespace.as_deref()) {
            ("ServiceAccount", namespace) => namespace.map(str::to_owned),
            ("Group", _) => subject.name.strip_prefix("system:serviceaccounts:").map(str::to_owned),
            _ => None,
        };
        let gone: BTreeSet<_> =
            self.subjects.iter().filter_map(of).filter(|namespace| is_vanished(namespace)).collect();
        let gone = gone.into_iter().collect::<Vec<_>>().join(", ");
        let (name, namespace) = (&self.name, &self.namespace);
        (!gone.is_empty()).then(|| match namespace {
            Some(namespace) => Leak {
                what: format!("RoleBinding {namespace}/{name} gives rights to {gone}, which is gone"),
                command: format!("kubectl delete rolebinding --namespace {namespace} {name}"),
            },
            None => Leak {
                what: format!("ClusterRoleBinding {name} gives rights to {gone}, which is gone"),
                command: format!("kubectl delete clusterrolebinding {name}"),
            },
        })
    }
}

async fn bindings(cluster: &Cluster) -> Result<Vec<Binding>, ClusterError> {
    let of_cluster =
        cluster.list_of::<ClusterRoleBinding>("cluster role bindings", Api::all(cluster.client())).await?;
    let of_namespaces = cluster.list_of::<RoleBinding>("role bindings", Api::all(cluster.client())).await?;
    let of_cluster = of_cluster.into_iter().map(|binding| Binding {
        namespace: None,
        name: binding.name_any(),
        subjects: binding.subjects.unwrap_or_default(),
    });
    let of_namespaces = of_namespaces.into_iter().map(|binding| Binding {
        namespace: binding.namespace(),
        name: binding.name_any(),
        subjects: binding.subjects.unwrap_or_default(),
    });
    Ok(of_cluster.chain(of_namespaces).collect())
}

fn of_volume(volume: &PersistentVolume, is_vanished: &impl Fn(&str) -> bool) -> Option<Leak> {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let claim = volume.spec.as_ref()?.claim_ref.as_ref()?;
    let namespace = claim.namespace.as_deref().filter(|namespace| is_vanished(namespace))?;
    let name = volume.name_any();
    (phase == Some("Released")).then(|| Leak {
        what: format!("PersistentVolume {name} keeps the data of {namespace}, which is gone"),
        command: format!("kubectl delete persistentvolume {name}"),
    })
}

async fn reservations(cluster: &Cluster, namespace: &str) -> Result<Vec<Lease>, ClusterError> {
    let leases = Api::<Lease>::namespaced(cluster.client(), namespace);
    cluster.list_with("reservations", leases, &ListParams::default().labels(RESERVATION)).await
}

fn of_reservation(reservation: &Lease, living: &BTreeSet<String>, namespace: &str) -> Option<Leak> {
    let uid = reservation.labels().get(NAMESPACE_UID).filter(|uid| !living.contains(*uid))?;
    let name = reservation.name_any();
    Some(Leak {
        what: format!("reservation {name} is held by a namespace of uid {uid}, which is gone"),
        command: format!("kubectl delete lease --namespace {namespace} {name}"),
    })
}

fn of_row(decision: &Decision) -> Leak {
    let (name, id) = (&decision.candidate.name, &decision.id);
    Leak {
        what: format!("no audit row records the end of decision {id} about {name}"),
        command: "codex-k8s-guard sweep".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn gone(name: &str) -> bool {
        name == "codex-issue-gone"
    }

    #[test]
    fn a_binding_that_names_what_is_gone_is_reported_with_the_command_that_fixes_it() {
        let subject = |value| serde_json::from_value::<Subject>(value).unwrap();
        let account = |namespace: &str| {
            subject(json!({"kind": "ServiceAccount", "name": "codex-runner", "namespace": namespace}))
        };
        let group = subject(json!({"kind": "Group", "name": "system:serviceaccounts:codex-issue-gone"}));
        let leak = |namespace: Option<&str>, subjects| {
            let namespace = namespace.map(str::to_owned);
            Binding { namespace, name: "b".to_owned(), subjects }.leak(&gone)
        };
        assert_eq!(leak(None, vec![account("codex-issue-lives")]), None);
        assert_eq!(
            leak(None, vec![account("codex-issue-gone"), group]).unwrap().command,
            "kubectl delete clusterrolebinding b"
        );
        let in_namespace = leak(Some("n"), vec![account("codex-issue-gone")]).unwrap();
        assert_eq!(in_namespace.command, "kubectl delete rolebinding --namespace n b");
        assert_eq!(in_namespace.what, "RoleBinding n/b gives rights to codex-issue-gone, which is gone");
    }

    #[test]
    fn only_a_volume_that_is_released_keeps_the_data_of_what_is_gone() {
        let volume = |namespace: &str, phase: &str| {
            let object = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"namespace": namespace, "name": "c"}},
                "status": {"phase": phase}});
            of_volume(&serde_json::from_value(object).unwrap(), &gone)
        };
        assert_eq!(
            volume("codex-issue-gone", "Released").unwrap().command,
            "kubectl delete persistentvolume v"
        );
        assert_eq!(volume("codex-issue-gone", "Bound"), None);
        assert_eq!(volume("codex-issue-lives", "Released"), None);
    }
}
