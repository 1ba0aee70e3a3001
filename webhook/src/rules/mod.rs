//! The rules: the required form of a run namespace and an agent Job, and who may change what.
//!
//! [`decide`] is a total function of plain values, including the time. The webhook, the check command, the tests and
//! the benchmarks all call it, so they cannot disagree. It is called twice for a request, because the API server calls
//! the webhook twice: [`Entry::Mutate`] fixes the object and never denies; [`Entry::Validate`] validates the final
//! object and never changes it.
//!
//! On an UPDATE, the rules about the state of an object ignore violations that the old object already had. An object
//! that is older than its rules can therefore always be fixed step by step, and no user is locked out of it. There is
//! one exception: a permission that lets a Pod do more than its namespace allows was granted to the program in it. If
//! an update changes the program, the whole object is evaluated, as if its author had created it.

mod baseline;
pub mod catalogue;
pub(crate) mod contents;
pub(crate) mod edits;
mod evaluate;
pub mod example;
mod facts;
mod level_version;
pub(crate) mod namespace;
pub(crate) mod object;
pub(crate) mod rbac;
pub mod report;
mod request;
pub(crate) mod requester;
pub(crate) mod rule;
mod verdict;
pub(crate) mod workload;
pub(crate) mod write;

#[cfg(test)]
pub(crate) mod tests;

use codex_k8s_shared::policy::RunPolicy;

pub(crate) use edits::Edits;
pub(crate) use facts::Occupancy;
pub use facts::{Facts, Holders, ManagedNamespace};
pub use level_version::{LevelVersion, Version};
pub(crate) use object::Meta;
pub(crate) use report::{Code, Finding};
pub use request::{Entry, Kind, Operation, Request};
pub(crate) use requester::{Requester, Role};
pub use rule::{Rule, Subject};
pub use verdict::Verdict;

/// Evaluates a request.
pub fn decide(policy: &RunPolicy, facts: &Facts, request: &Request<'_>, entry: Entry) -> Verdict {
    let requester = Requester::classify(policy, facts, request);
    let mut verdict = match request.kind {
        Kind::Namespace => namespace::decide(policy, facts, request, &requester, entry),
        Kind::Job | Kind::CronJob | Kind::Pod | Kind::Template | Kind::Revision | Kind::Binding => {
            workload::decide(policy, facts, request, &requester, entry)
        }
        Kind::ServiceAccount
        | Kind::Role
        | Kind::RoleBinding
        | Kind::ClusterRole
        | Kind::ClusterRoleBinding
        | Kind::ResourceQuota
        | Kind::LimitRange
        | Kind::Secret
        | Kind::TokenRequest => contents::decide(policy, facts, request, &requester, entry),
    };
    if requester.breaks_glass {
        verdict.only_warn();
    }
    verdict.by_controller = requester.is_cluster_controller(policy);
    verdict
}
