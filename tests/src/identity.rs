//! Identities of clients of the API server.

/// An identity that a test uses.
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
    /// A ServiceAccount, impersonated by the admin. It does not have to exist, and has its own RBAC rights.
    ServiceAccount {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl Identity {
    /// Returns a person without groups.
    pub fn user(name: &str) -> Self {
        Self::User { name: name.to_owned(), groups: Vec::new() }
    }

    /// Adds a group to a person.
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

    /// Returns a ServiceAccount.
    pub fn service_account(namespace: &str, name: &str) -> Self {
        Self::ServiceAccount { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Returns the platform's worker in its platform namespace.
    pub fn worker() -> Self {
        Self::service_account("codex-k8s-ai-staging", "codex-k8s-worker")
    }

    /// Returns the control plane of platform release B.
    pub fn platform_control_plane() -> Self {
        Self::service_account("codex-k8s-prod", "codex-k8s-control-plane")
    }

    /// Returns the baseline reconciler.
    pub fn reconciler() -> Self {
        Self::service_account("codex-k8s-guard", "codex-k8s-reconcile")
    }

    /// Returns the garbage collector.
    pub fn collector() -> Self {
        Self::service_account("codex-k8s-guard", "codex-k8s-gc")
    }

    /// Returns the kubelet of a node that does not exist.
    pub fn kubelet() -> Self {
        Self::user("system:node:n1").in_group(KUBELETS)
    }

    /// Returns the agent of a run namespace.
    pub fn agent(namespace: &str) -> Self {
        Self::service_account(namespace, "codex-runner")
    }

    /// Returns an ordinary person with every right of RBAC.
    pub fn developer() -> Self {
        Self::user("jane").in_group(EVERY_RIGHT)
    }

    /// Returns a user with the rights for `check --live`, whose requests are all in the audit log.
    pub fn auditor() -> Self {
        Self::user("auditor")
    }

    /// Returns the name of the kubeconfig file.
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

/// A group of the `ServiceAccounts` of tests only, which a guarded cluster gives every right of RBAC. With their
/// standard groups, agents would have these rights as well, and no gate would open.
pub const EVERY_ACCOUNT: &str = "every-account";

/// The group of kubelets.
pub const KUBELETS: &str = "system:nodes";
/// A group that a guarded cluster gives every right of RBAC, so that only admission denies requests.
pub const EVERY_RIGHT: &str = "every-right";
