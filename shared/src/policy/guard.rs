//! What may be added to the rights of a run namespace: further roles and subjects, and tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{Subjects, strings};
use super::{PolicyError, invalid};

/// What `RoleBindings` in run namespaces may bind beside the Roles of the access profiles, and to whom beside the
/// namespace's own `ServiceAccounts`: nothing, by default. And what all users may be granted elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rbac {
    /// Names of Roles in the namespace. What they grant is capped by the profiles' rules all the same.
    pub roles: Vec<String>,
    /// Names of `ClusterRoles`. What they grant is not capped: whoever may change one widens every binding of it.
    pub cluster_roles: Vec<String>,
    /// Users and groups that may be bound.
    pub subjects: Subjects,
    /// Names of `ClusterRoles` that may be bound to the groups which include every agent, such as
    /// `system:authenticated`; by default those that Kubernetes binds so itself. Their rules are not widened while they
    /// are listed.
    pub everybody: Vec<String>,
}

impl Default for Rbac {
    fn default() -> Self {
        Self {
            roles: Vec::new(),
            cluster_roles: Vec::new(),
            subjects: Subjects::default(),
            everybody: strings(&[
                "system:basic-user",
                "system:cluster-trust-bundle-discovery",
                "system:discovery",
                "system:public-info-viewer",
                "system:service-account-issuer-discovery",
            ]),
        }
    }
}

impl Rbac {
    /// `ClusterRoles` of Kubernetes that let their holder take over the cluster, or other agents' namespaces.
    const TOO_MUCH: [&str; 3] = ["admin", "cluster-admin", "edit"];

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        for (index, name) in self.everybody.iter().enumerate() {
            let field = format!("rbac.everybody[{index}]");
            if name.is_empty() {
                return Err(invalid(&field, "found \"\"; expected the name of a ClusterRole"));
            }
            if Self::TOO_MUCH.contains(&name.as_str()) {
                let problem = format!("found {name:?}; expected a ClusterRole that every agent may hold");
                return Err(invalid(&field, problem));
            }
        }
        Ok(())
    }
}

/// What a token of a ServiceAccount of a run namespace may be. Kubelets ask for those of Pods, which are evaluated as
/// part of the Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tokens {
    /// The audiences that a token may be for; those of this API server, by default under its usual names.
    pub audiences: Vec<String>,
    /// The longest life of a token, in seconds: 600 or more, which is the least that Kubernetes grants.
    pub max_seconds: i64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            audiences: strings(&[
                "https://kubernetes.default.svc",
                "https://kubernetes.default.svc.cluster.local",
            ]),
            max_seconds: 3607,
        }
    }
}

impl Tokens {
    /// The least that the API server accepts in `spec.expirationSeconds`.
    const LEAST_SECONDS: i64 = 600;

    pub(super) fn check(&self) -> Result<(), PolicyError> {
        if self.max_seconds < Self::LEAST_SECONDS {
            let problem = format!(
                "found {}; expected {} or more, for Kubernetes grants no shorter token",
                self.max_seconds,
                Self::LEAST_SECONDS
            );
            return Err(invalid("tokens.maxSeconds", problem));
        }
        Ok(())
    }
}
