//! Classification of the requester.

use codex_k8s_shared::policy::RunPolicy;

use super::{Facts, Request};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// The user name of kube-apiserver itself. Its writes are never denied, because it needs them to start.
pub(crate) const API_SERVER: &str = "system:apiserver";

/// The group of kubelets, which request the tokens of the Pods on their nodes.
pub(crate) const KUBELETS: &str = "system:nodes";

/// The role of the requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// The platform's worker or control-plane.
    Manager,
    /// The garbage collector.
    GarbageCollector,
    /// The baseline reconciler.
    Reconciler,
    /// The cluster's namespace controller.
    NamespaceController,
    /// A controller of the cluster that creates Pods and Jobs from templates.
    WorkloadController,
    /// A ServiceAccount of a run namespace: the agent, or something that it started.
    Agent,
    /// A person or any other program.
    Anyone,
}

/// The requester.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Requester<'a> {
    /// The user name.
    pub user: &'a str,
    /// The role of the user.
    pub role: Role,
    /// True if the policy lists this user under `identities.breakGlass`.
    pub breaks_glass: bool,
}

impl<'a> Requester<'a> {
    /// Classifies the requester of a request. Names are compared whole: a ServiceAccount with the right name in another
    /// namespace has no role.
    pub(crate) fn classify(policy: &RunPolicy, facts: &Facts, request: &Request<'a>) -> Self {
        let identities = &policy.identities;
        let is = |subjects: &codex_k8s_shared::policy::Subjects| {
            subjects.contains(request.user, request.groups.iter().copied())
        };
        let listed = [
            (&identities.managers, Role::Manager),
            (&identities.garbage_collectors, Role::GarbageCollector),
            (&identities.reconcilers, Role::Reconciler),
            (&identities.namespace_controllers, Role::NamespaceController),
            (&identities.workload_controllers, Role::WorkloadController),
        ];
        let role = listed.into_iter().find(|(subjects, _)| is(subjects)).map_or_else(
            || if is_agent(policy, facts, request.user) { Role::Agent } else { Role::Anyone },
            |(_, role)| role,
        );
        Self { user: request.user, role, breaks_glass: is(&identities.break_glass) }
    }

    /// Returns true if the requester is the platform itself.
    pub(crate) fn is_manager(&self) -> bool {
        self.role == Role::Manager
    }

    /// Returns true if the requester is the namespace controller, or a controller that creates Pods from templates.
    pub(crate) fn is_cluster_controller(&self, policy: &RunPolicy) -> bool {
        // One identity can be both: a controller manager without separate credentials for its controllers.
        matches!(self.role, Role::NamespaceController | Role::WorkloadController)
            || policy.identities.workload_controllers.users.iter().any(|user| user == self.user)
    }
}

fn is_agent(policy: &RunPolicy, facts: &Facts, user: &str) -> bool {
    let Some((namespace, name)) = service_account(user) else {
        return false;
    };
    let slot = policy.namespaces.is_slot(namespace);
    let candidate = slot && policy.identities.candidate_service_accounts.iter().any(|listed| listed == name);
    !candidate && facts.requester_is_managed
}

/// Splits the user name of a ServiceAccount into namespace and name.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
}
