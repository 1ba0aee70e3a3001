//! Rules about bindings outside a run namespace that grant rights to its `ServiceAccounts`.

use std::collections::{BTreeSet, HashSet};

use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

use super::binding::{new_subjects, shown};
use super::examples::elsewhere as examples;
use crate::rules::object::{at, text};
use crate::rules::report::Report;
use crate::rules::requester::service_account;
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};
use crate::rules::{Kind, Request};

pub(super) const CHECKS: &[Check] = &[Check::new(&RBAC003, nothing_reaches_in)];

static RBAC003: Rule = Rule {
    id: "RBAC003",
    title: "A binding elsewhere does not grant rights to a ServiceAccount of a run namespace",
    why: "A ClusterRoleBinding, or a RoleBinding in another namespace, gives an agent rights that the rules of its \
          namespace cannot see. A binding to a run namespace that does not exist yet does so as soon as it is \
          created. The groups of all ServiceAccounts and of all users include every agent, present and future.",
    remedy: "Bind a ServiceAccount outside run namespaces, or the users and groups that need the rights; in a run \
             namespace, the baseline grants what a run needs. A manager binds the platform's own copies in slots. \
             List ClusterRoles that may be bound to all users in rbac.everybody of the policy.",
    subject: Subject::Contents,
    reads: &[
        "identities.managers",
        "identities.namespaceControllers",
        "identities.workloadControllers",
        "identities.candidateServiceAccounts",
        "namespaces.slotProjects",
        "namespaces.platform",
        "namespaces.protected",
        "rbac.everybody",
    ],
    default_mode: Mode::Enforce,
    examples: examples::RBAC003,
};

/// The group of all `ServiceAccounts`. The groups for single namespaces are this name, a `:` and the namespace.
pub(super) const ALL: &str = "system:serviceaccounts";

/// The groups that include every agent, or every request that an agent can send.
pub(crate) const EVERYBODY: [&str; 3] = [ALL, "system:authenticated", "system:unauthenticated"];

/// The user of requests without credentials. An agent can send one.
pub(crate) const ANONYMOUS: &str = "system:anonymous";

/// The `ServiceAccounts` that a subject includes.
enum Named<'a> {
    /// One ServiceAccount of a namespace.
    One(&'a str, &'a str),
    /// All `ServiceAccounts` of a namespace.
    AllOf(&'a str),
    /// All `ServiceAccounts` of the cluster, perhaps with other users.
    All,
}

impl<'a> Named<'a> {
    fn by(subject: &'a Value) -> Option<Self> {
        let name = text(subject, "name").unwrap_or_default();
        match text(subject, "kind")? {
            "ServiceAccount" => Some(Self::One(text(subject, "namespace")?, name)),
            "User" if name == ANONYMOUS => Some(Self::All),
            "User" => service_account(name).map(|(namespace, name)| Self::One(namespace, name)),
            "Group" if EVERYBODY.contains(&name) => Some(Self::All),
            "Group" => name.strip_prefix(ALL)?.strip_prefix(':').map(Self::AllOf),
            _ => None,
        }
    }

    const fn namespace(&self) -> Option<&'a str> {
        match self {
            Self::One(namespace, _) | Self::AllOf(namespace) => Some(namespace),
            Self::All => None,
        }
    }
}

/// The namespaces whose `ServiceAccounts` a subject includes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Included<'a> {
    /// One or all `ServiceAccounts` of this namespace.
    Of(&'a str),
    /// The `ServiceAccounts` of every namespace.
    All,
}

/// Returns the `ServiceAccounts` that a subject of a binding includes.
pub(crate) fn included(subject: &Value) -> Option<Included<'_>> {
    Named::by(subject).map(|named| named.namespace().map_or(Included::All, Included::Of))
}

/// Returns the namespaces of the `ServiceAccounts` that a binding elsewhere adds, if the name does not show that the
/// namespace is managed: the caller must find out. `own_namespace` is that of the binding.
pub(crate) fn namespaces<'a>(
    policy: &RunPolicy,
    request: &'a Request<'_>,
    own_namespace: Option<&str>,
) -> BTreeSet<&'a str> {
    if !matches!(request.kind, Kind::RoleBinding | Kind::ClusterRoleBinding) {
        return BTreeSet::new();
    }
    let write = Write { old: request.old_object.as_ref(), new: request.object.as_ref() };
    let unknown = |name: &&str| !policy.namespaces.is_protected(name) && Some(*name) != own_namespace;
    new_subjects(&write)
        .filter_map(|(_, subject)| Named::by(subject)?.namespace())
        .filter(unknown)
        .filter(|name| !policy.namespaces.is_of_a_run(name))
        .collect()
}

fn nothing_reaches_in(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let is_binding = matches!(context.kind, Kind::RoleBinding | Kind::ClusterRoleBinding);
    if !is_binding || context.namespace().is_some() {
        return;
    }
    let managed: HashSet<&str> = context.facts.named.iter().map(|name| &**name).collect();
    let for_everybody = write.new.is_some_and(|binding| binds_what_is_everybodys(context, binding));
    let reaching = new_subjects(write).filter_map(|(index, subject)| {
        let named = Named::by(subject)?;
        let remedy = match named {
            Named::All if for_everybody => return None,
            Named::All => {
                "it includes the agents of every run namespace; name the subjects that are meant, or bind a \
                 ClusterRole that rbac.everybody of the policy lists"
            }
            _ if !reaches_in(context, &managed, &named) => return None,
            _ => "a run has rights in its own namespace alone; bind a ServiceAccount of another namespace",
        };
        Some((index, subject, remedy))
    });
    for (index, subject, remedy) in reaching {
        report.forbid(format!("subjects[{index}]"), shown(subject), remedy);
    }
}

/// Returns true if the policy allows the role to be bound to all users.
fn binds_what_is_everybodys(context: &Context<'_>, binding: &Value) -> bool {
    let role = |field| at(binding, &["roleRef"]).and_then(|role| text(role, field));
    let listed = &context.policy.rbac.everybody;
    role("kind") == Some("ClusterRole")
        && role("name").is_some_and(|name| listed.iter().any(|listed| listed == name))
}

/// Returns true if the binding grants rights in a run namespace. A name that a run namespace can have counts before
/// there is such a namespace, so that a binding cannot wait for it.
fn reaches_in(context: &Context<'_>, managed: &HashSet<&str>, named: &Named<'_>) -> bool {
    let policy = context.policy;
    let Some(namespace) = named.namespace().filter(|name| !policy.namespaces.is_protected(name)) else {
        return false;
    };
    let is_run = policy.namespaces.is_of_a_run(namespace) || managed.contains(namespace);
    let platforms = match named {
        Named::One(_, name) => {
            context.requester.is_manager()
                && policy.namespaces.is_slot(namespace)
                && policy.identities.candidate_service_accounts.iter().any(|listed| listed == name)
        }
        Named::AllOf(_) | Named::All => false,
    };
    is_run && !platforms
}
