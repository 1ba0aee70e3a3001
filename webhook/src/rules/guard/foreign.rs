//! Bindings outside a run namespace that reach into it.

use std::collections::BTreeSet;

use codex_k8s_shared::names::reserved_prefix;
use codex_k8s_shared::policy::{Mode, RunPolicy};
use serde_json::Value;

use super::binding::{new_subjects, shown};
use super::{Context, Write};
use crate::rules::catalogue::{Check, Rule};
use crate::rules::object::text;
use crate::rules::report::Report;
use crate::rules::requester::service_account;
use crate::rules::{Kind, Request};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "RBAC003",
    title: "No binding elsewhere names a ServiceAccount of a run namespace",
    why: "A ClusterRoleBinding, or a RoleBinding in another namespace, gives an agent rights that its namespace's own \
          rules cannot see. The group of all ServiceAccounts takes in every agent, of today and of tomorrow.",
    remedy: "Bind a ServiceAccount outside of run namespaces; in a run namespace, the baseline grants what a run \
             needs. The platform's own copies in slots are bound by a manager.",
    default_mode: Mode::Enforce,
    check: Check::Guard { judge: nothing_reaches_in, mend: None },
}];

/// Every ServiceAccount there is; those of one namespace follow a `:`.
const ALL: &str = "system:serviceaccounts";

/// What a subject has to do with `ServiceAccounts`.
enum Named<'a> {
    /// One of a namespace.
    One(&'a str, &'a str),
    /// All of a namespace.
    AllOf(&'a str),
    /// All of the cluster.
    All,
}

impl<'a> Named<'a> {
    fn by(subject: &'a Value) -> Option<Self> {
        let name = text(subject, "name").unwrap_or_default();
        match text(subject, "kind")? {
            "ServiceAccount" => Some(Self::One(text(subject, "namespace")?, name)),
            "User" => service_account(name).map(|(namespace, name)| Self::One(namespace, name)),
            "Group" if name == ALL => Some(Self::All),
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

/// The namespaces that the subjects which a binding brings are of, and of which it must be known whether they are
/// managed; `home` is the binding's own.
pub fn namespaces<'a>(policy: &RunPolicy, request: &'a Request<'_>, home: Option<&str>) -> BTreeSet<&'a str> {
    if !matches!(request.kind, Kind::RoleBinding | Kind::ClusterRoleBinding) {
        return BTreeSet::new();
    }
    let write = Write { old: request.old_object.as_ref(), new: request.object.as_ref() };
    let unknown = |name: &&str| !policy.namespaces.is_protected(name) && Some(*name) != home;
    new_subjects(&write)
        .filter_map(|(_, subject)| Named::by(subject)?.namespace())
        .filter(unknown)
        .filter(|name| reserved_prefix(name, &policy.namespaces.prefixes).is_none())
        .collect()
}

fn nothing_reaches_in(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let is_binding = matches!(context.kind, Kind::RoleBinding | Kind::ClusterRoleBinding);
    if !is_binding || context.namespace().is_some() {
        return;
    }
    let reaching = new_subjects(write).filter_map(|(index, subject)| {
        let named = Named::by(subject)?;
        let remedy = match named {
            Named::All => {
                "it takes in the agents of every run namespace; name the ServiceAccounts that are meant"
            }
            _ if !reaches_in(context, &named) => return None,
            _ => "a run has rights in its own namespace alone; bind a ServiceAccount of another namespace",
        };
        Some((index, subject, remedy))
    });
    for (index, subject, remedy) in reaching {
        report.forbid(format!("subjects[{index}]"), shown(subject), remedy);
    }
}

/// Whether it is a run namespace that is reached into. A reserved name is one from birth: a binding that waits for it
/// is refused as well.
fn reaches_in(context: &Context<'_>, named: &Named<'_>) -> bool {
    let policy = context.policy;
    let Some(namespace) = named.namespace().filter(|name| !policy.namespaces.is_protected(name)) else {
        return false;
    };
    let managed = reserved_prefix(namespace, &policy.namespaces.prefixes).is_some()
        || context.facts.named.iter().any(|managed| &**managed == namespace);
    let platforms = match named {
        Named::One(_, name) => {
            context.requester.is_manager()
                && policy.namespaces.is_slot(namespace)
                && policy.identities.candidate_service_accounts.iter().any(|listed| listed == name)
        }
        Named::AllOf(_) | Named::All => false,
    };
    managed && !platforms
}
