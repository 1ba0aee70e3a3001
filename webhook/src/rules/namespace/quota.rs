//! Quotas on run namespaces: an early check against the cache. The reconciler counts exactly, with reservations:
//! without one, nothing runs in a namespace.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::quota::Scope;

use super::examples::quota as examples;
use super::subject::{Check, Context, Namespace, Validate};
use crate::rules::Occupancy;
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

/// Reports the request if the scope is full.
fn report_if_full(occupancy: &Occupancy, context: &Context<'_>, report: &mut Report) {
    if !occupancy.is_full() {
        return;
    }
    let (path, value) = match &occupancy.scope {
        Scope::Cluster => ("metadata.name".to_owned(), context.name),
        Scope::Project(project) | Scope::AgentJobs(project) => (label_path("", keys::PROJECT_ID), &**project),
        Scope::Requester(requester) => (annotation_path(keys::REQUESTED_BY), &**requester),
    };
    let found =
        format!("{}, with {}", quoted(value), occupancy.holders.describe(&occupancy.scope, occupancy.max));
    let remedy = match occupancy.holders.next_end {
        Some(end) => format!("delete one, or wait: the next lease ends at {end}"),
        None => "delete one, or raise the limit under quotas in the policy".to_owned(),
    };
    report.forbid(path, found, remedy);
}

fn there_is_a_reservation(context: &Context<'_>, namespace: &Namespace<'_>, report: &mut Report) {
    if namespace.is_managed() {
        for occupancy in &context.facts.occupancy {
            report_if_full(occupancy, context, report);
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
            report_if_full(occupancy, context, report);
        }
    }
}
