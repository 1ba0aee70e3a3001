//! Quotas on run namespaces: an early check against the cache. The reconciler counts exactly, with reservations:
//! without one, nothing runs in a namespace.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::quota::Scope;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::examples::quota as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::report::{Report, annotation_path, label_path, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(
    &QUOTA003,
    &[Validate::Creation(there_is_a_reservation), Validate::Change(there_is_a_reservation_for_what_comes_in)],
)];

static QUOTA003: Rule = Rule {
    id: "QUOTA003",
    title: "The number of run namespaces is limited by the quotas of the policy",
    why: "Without a limit, run namespaces fill the cluster, and a burst of one project leaves no capacity for the \
          others.",
    remedy: "Delete a run namespace that is no longer needed, wait until a lease ends, or raise the limit under \
             quotas in the policy. The limits apply to managers too, except quotas.perRequester. If many namespaces \
             are created at the same time, some may be admitted beyond the limit: they stay pending and run nothing.",
    subject: Subject::Namespace,
    reads: &["identities.managers", "quotas.cluster", "quotas.perProject", "quotas.perRequester"],
    default_mode: Mode::Enforce,
    examples: examples::QUOTA003,
};

/// The number of namespaces in a scope, without the one in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occupancy {
    /// The scope.
    pub scope: Scope,
    /// Its limit.
    pub max: u32,
    /// The namespaces in it.
    pub holders: Holders,
}

/// The managed namespaces of a scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holders {
    /// The number of namespaces, including those that are being deleted.
    pub held: usize,
    /// The names of at most three namespaces whose leases end first. Empty while the scope has free reservations.
    pub some: Vec<Box<str>>,
    /// The earliest end of their leases.
    pub next_end: Option<Timestamp>,
}

impl Occupancy {
    fn is_full(&self) -> bool {
        usize::try_from(self.max).is_ok_and(|max| self.holders.held >= max)
    }

    fn validate(&self, context: &Context<'_>, report: &mut Report) {
        if !self.is_full() {
            return;
        }
        let (path, value) = match &self.scope {
            Scope::Cluster => ("metadata.name".to_owned(), context.name),
            Scope::Project(project) | Scope::AgentJobs(project) => {
                (label_path("", keys::PROJECT_ID), &**project)
            }
            Scope::Requester(requester) => (annotation_path(keys::REQUESTED_BY), &**requester),
        };
        let found = format!("{}, with {}", quoted(value), self.holders.describe(&self.scope, self.max));
        let remedy = match self.holders.next_end {
            Some(end) => format!("delete one, or wait: the next lease ends at {end}"),
            None => "delete one, or raise the limit under quotas in the policy".to_owned(),
        };
        report.forbid(path, found, remedy);
    }
}

impl Holders {
    fn describe(&self, scope: &Scope, max: u32) -> String {
        let kind = scope.kind();
        let some = match self.some.as_slice() {
            [] => String::new(),
            some if some.len() == self.held => format!(": {}", some.join(", ")),
            some => format!(": {} and {} more", some.join(", "), self.held.saturating_sub(some.len())),
        };
        format!("{} run namespaces in this {kind}, whose limit is {max}{some}", self.held)
    }
}

fn there_is_a_reservation(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    if namespace.is_managed() {
        for occupancy in &context.facts.occupancy {
            occupancy.validate(context, report);
        }
    }
}

/// Checks a slot that becomes managed, or that is handed to another project.
fn there_is_a_reservation_for_what_comes_in(
    context: &Context<'_>,
    old: &Namespace<'_>,
    new: &Namespace<'_>,
    report: &mut Report,
) {
    if context.becomes_managed {
        return there_is_a_reservation(context, new, report);
    }
    if old.meta.label(keys::PROJECT_ID) == new.meta.label(keys::PROJECT_ID) {
        return;
    }
    for occupancy in &context.facts.occupancy {
        if matches!(occupancy.scope, Scope::Project(_)) {
            occupancy.validate(context, report);
        }
    }
}
