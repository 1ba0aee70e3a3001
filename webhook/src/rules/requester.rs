//! Who asks, as far as it matters to a rule.

use codex_k8s_shared::policy::RunPolicy;

use super::{Facts, Request};

const SERVICE_ACCOUNT: &str = "system:serviceaccount:";

/// What the requester is to the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The platform's worker or control-plane.
    Manager,
    /// The garbage collector.
    GarbageCollector,
    /// The baseline reconciler.
    Reconciler,
    /// The cluster's namespace controller.
    NamespaceController,
    /// A controller of the cluster that makes Pods and Jobs from templates.
    WorkloadController,
    /// A ServiceAccount of a run namespace: the agent, or what it started.
    Agent,
    /// A person, or any other program.
    Anyone,
}

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Requester<'a> {
    /// The user name.
    pub user: &'a str,
    /// What the user is to the platform.
    pub role: Role,
    /// Whether the policy lets this user pass every rule.
    pub breaks_glass: bool,
}

impl<'a> Requester<'a> {
    /// Finds out who asks. Names are compared whole: a ServiceAccount of the right name in another namespace is
    /// nobody in particular.
    pub fn classify(policy: &RunPolicy, facts: &Facts, request: &Request<'a>) -> Self {
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

    /// Whether the platform itself asks.
    pub fn is_manager(&self) -> bool {
        self.role == Role::Manager
    }

    /// Whether a controller of the cluster asks: the namespace controller or one that makes Pods from templates.
    pub fn is_cluster_controller(&self, policy: &RunPolicy) -> bool {
        // One identity may be both: a controller manager without credentials per controller.
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

/// The namespace and name of a ServiceAccount's user name.
pub fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')
}
