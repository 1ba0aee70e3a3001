//! Additional access in run namespaces: roles, subjects and tokens.

use std::collections::BTreeMap;

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
    /// The allowed audiences of a token, each with the maximum lifetime of a token for it in seconds. The default is the
    /// API server, under its usual names. A cloud's audience is listed here so that its identity webhook can add tokens
    /// to Pods, such as `sts.amazonaws.com: 86400`.
    pub audiences: BTreeMap<String, i64>,
    /// The maximum lifetime in seconds of a token that names no audience, and is therefore for the API server.
    pub max_seconds: i64,
}

impl Default for Tokens {
    fn default() -> Self {
        let server = ["https://kubernetes.default.svc", "https://kubernetes.default.svc.cluster.local"];
        Self {
            audiences: server.map(|name| (name.to_owned(), Self::OF_PLUG_IN)).into(),
            max_seconds: Self::OF_PLUG_IN,
        }
    }
}

impl Tokens {
    /// The lifetime that the API server writes into a request and into a volume without one.
    const OF_SERVER: i64 = 3600;
    /// The lifetime of the token volume that the API server's plug-in adds to every Pod: kubelet then renews in time.
    const OF_PLUG_IN: i64 = 3607;
    /// The maximum that Kubernetes accepts.
    const MOST: i64 = 1 << 32;

    /// The maximum lifetime in seconds of a token for an audience, or for none; `None` if the audience is not allowed.
    pub fn max_seconds_for(&self, audience: Option<&str>) -> Option<i64> {
        audience.map_or(Some(self.max_seconds), |audience| self.audiences.get(audience).copied())
    }

    /// A lower maximum would deny what the API server writes.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let audiences = self.audiences.iter();
        let audiences =
            audiences.map(|(name, seconds)| (format!("tokens.audiences[{name}]"), *seconds, Self::OF_SERVER));
        let own = ("tokens.maxSeconds".to_owned(), self.max_seconds, Self::OF_PLUG_IN);
        for (field, seconds, least) in audiences.chain([own]) {
            if !(least..=Self::MOST).contains(&seconds) {
                let most = Self::MOST;
                let problem = format!(
                    "found {seconds}; expected {least} to {most}, because the API server writes {least} itself"
                );
                return Err(invalid(&field, problem));
            }
        }
        if self.audiences.contains_key("") {
            return Err(invalid("tokens.audiences", "found \"\"; expected the name of an audience"));
        }
        Ok(())
    }
}
