//! Additional access in run namespaces: roles, subjects and tokens.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::{Subjects, strings};
use super::{PolicyError, invalid};

/// The roles that `RoleBindings` in run namespaces may bind in addition to the Roles of the access profiles, and the
/// subjects in addition to the namespace's own `ServiceAccounts`: none by default. Also the roles that may be bound to
/// all users elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rbac {
    /// Names of Roles in the namespace. Their rules cannot exceed those of the access profiles.
    pub roles: Vec<String>,
    /// Names of `ClusterRoles`. Their rules are not limited: every user that can change such a `ClusterRole` can widen
    /// all its bindings.
    pub cluster_roles: Vec<String>,
    /// Users and groups that may be bound.
    pub subjects: Subjects,
    /// Names of `ClusterRoles` that may be bound to the groups that include every agent, such as
    /// `system:authenticated`. The default is the `ClusterRoles` that Kubernetes itself binds to them. The rules of a
    /// listed `ClusterRole` cannot be widened.
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
    /// The `ClusterRoles` of Kubernetes that allow taking over the cluster, or the namespaces of other agents.
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

/// The tokens that may be requested for `ServiceAccounts` of run namespaces. Tokens that kubelets request for Pods are
/// not limited here, because they are evaluated as part of the Pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tokens {
    /// The allowed audiences of a token. The default is the API server, under its usual names.
    pub audiences: Vec<String>,
    /// The maximum lifetime of a token in seconds. Must be at least 600, because Kubernetes does not issue shorter
    /// tokens.
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
    /// The minimum that the API server accepts in `spec.expirationSeconds`.
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
