//! Who speaks to the API server.

/// An identity that a test takes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A cluster admin: group `system:masters`, by client certificate.
    Admin,
    /// A person, by client certificate.
    User {
        /// The user name.
        name: String,
        /// The groups.
        groups: Vec<String>,
    },
    /// A ServiceAccount, impersonated by the admin: it need not exist, and its RBAC rights are its own.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Identity {
    /// A person without groups.
    pub fn user(name: &str) -> Self {
        Self::User { name: name.to_owned(), groups: Vec::new() }
    }

    /// The same person in one group more.
    #[must_use]
    pub fn in_group(self, group: &str) -> Self {
        match self {
            Self::User { name, mut groups } => {
                groups.push(group.to_owned());
                Self::User { name, groups }
            }
            other => other,
        }
    }

    /// A ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The platform's worker in its home namespace.
    pub fn worker() -> Self {
        Self::service_account("codex-k8s-ai-staging", "codex-k8s-worker")
    }

    /// The platform's control-plane at B.
    pub fn platform_control_plane() -> Self {
        Self::service_account("codex-k8s-prod", "codex-k8s-control-plane")
    }

    /// The baseline reconciler.
    pub fn reconciler() -> Self {
        Self::service_account("codex-k8s-guard", "codex-k8s-reconcile")
    }

    /// The garbage collector.
    pub fn collector() -> Self {
        Self::service_account("codex-k8s-guard", "codex-k8s-gc")
    }

    /// The kubelet of a node that does not exist.
    pub fn kubelet() -> Self {
        Self::user("system:node:n1").in_group(KUBELETS)
    }

    /// The agent of a run namespace.
    pub fn agent(namespace: &str) -> Self {
        Self::service_account(namespace, "codex-runner")
    }

    /// An ordinary person whom RBAC lets do everything.
    pub fn developer() -> Self {
        Self::user("jane").in_group(EVERY_RIGHT)
    }

    /// One who may look at what `check --live` reads, and whose every request is in the audit log.
    pub fn auditor() -> Self {
        Self::user("auditor")
    }

    /// The name of its kubeconfig file.
    pub fn file_name(&self) -> String {
        let text = match self {
            Self::Admin => "admin".to_owned(),
            Self::User { name, groups } => format!("user-{name}-{}", groups.join("-")),
            Self::ServiceAccount { namespace, name } => format!("sa-{namespace}-{name}"),
        };
        let safe: String = text
            .chars()
            .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
            .collect();
        format!("{safe}.kubeconfig")
    }
}

/// A group of the `ServiceAccounts` of tests alone, which a guarded cluster gives every right of RBAC. Their own groups
/// would do too, but rights of all `ServiceAccounts` are an agent's rights: no gate opens beside these.
pub const EVERY_ACCOUNT: &str = "every-account";

/// The group of kubelets.
pub const KUBELETS: &str = "system:nodes";
/// A group that a guarded cluster gives every right of RBAC, so that only admission says no.
pub const EVERY_RIGHT: &str = "every-right";
