//! The conditions and finalizers that block the deletion of a namespace.

use k8s_openapi::api::core::v1::{Namespace, NamespaceCondition};
use kube::Api;

use super::{Cluster, ClusterError};

/// The state of a namespace after the request to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Remains {
    /// The API server does not have it any more. Only this counts as gone.
    Gone,
    /// It is still terminating.
    Terminating {
        /// The blocking conditions, and the finalizers.
        blockers: Vec<String>,
    },
    /// It exists and is not terminating.
    Lives,
}

impl Cluster {
    /// The state of the namespace with this name and uid.
    ///
    /// # Errors
    /// If the API server does not respond, which does not mean that the namespace is gone.
    pub(crate) async fn remains(&self, name: &str, uid: &str) -> Result<Remains, ClusterError> {
        let read = Api::<Namespace>::all(self.client()).get_opt(name).await;
        let read = read.map_err(|error| ClusterError::new(format!("read namespace {name}"), error))?;
        Ok(match read.filter(|namespace| namespace.metadata.uid.as_deref() == Some(uid)) {
            None => Remains::Gone,
            Some(namespace) if namespace.metadata.deletion_timestamp.is_none() => Remains::Lives,
            Some(namespace) => Remains::Terminating { blockers: blockers(&namespace) },
        })
    }
}

/// The conditions that report remaining content, with their messages. The condition about failed deletions says
/// "successfully deleted" while a finalizer blocks, so alone it means nothing.
fn blockers(namespace: &Namespace) -> Vec<String> {
    let conditions = namespace.status.as_ref().and_then(|status| status.conditions.as_ref());
    let describe = |condition: &NamespaceCondition| {
        let message = condition.message.as_deref().unwrap_or_default();
        (condition.status == "True").then(|| format!("{}: {message}", condition.type_))
    };
    let mut blockers: Vec<_> = conditions.into_iter().flatten().filter_map(describe).collect();
    let of_metadata = namespace.metadata.finalizers.iter().flatten();
    let of_spec = namespace.spec.iter().flat_map(|spec| spec.finalizers.iter().flatten());
    // The API server's own finalizer is removed last, when the content is gone.
    let others = of_spec.filter(|finalizer| *finalizer != "kubernetes").chain(of_metadata);
    blockers.extend(others.map(|finalizer| format!("finalizer {finalizer} of the namespace itself")));
    blockers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_conditions_that_are_true_and_finalizers_that_are_not_the_api_servers_block() {
        let namespace: Namespace = serde_json::from_value(json!({
            "metadata": {"finalizers": ["example.org/hold"]},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"conditions": [
                {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "All content successfully deleted"},
                {"type": "NamespaceFinalizersRemaining", "status": "True",
                    "message": "Some content in the namespace has finalizers remaining: x/y in 1 resource instances"},
            ]},
        }))
        .unwrap();
        assert_eq!(
            blockers(&namespace),
            [
                "NamespaceFinalizersRemaining: Some content in the namespace has finalizers remaining: x/y in 1 resource instances",
                "finalizer example.org/hold of the namespace itself",
            ]
        );
    }
}
