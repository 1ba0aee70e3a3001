//! Quotas on agent Jobs. A Job is created suspended, with the reason why it is pending. Only the reconciler resumes it,
//! once it has a reservation.

use codex_k8s_shared::keys;
use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::quota::{PENDING_REASON_AT_CREATION, Scope};
use serde_json::Value;

use super::examples::reservation as examples;
use super::identity;
use super::subject::{Check, Context, Mutate, Validate, Workload, dotted};
use crate::rules::object::{at, is_true, items};
use crate::rules::report::{Report, annotation_path, clean, label_path, quoted, quoted_or_nothing, stays};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind, Role};

pub(super) const CHECKS: &[Check] = &[Check::new(&QUOTA004, Validate::Transition { applies, validate })
    .with_mutation(Mutate::Transition(mutate))];

static QUOTA004: Rule = Rule {
    id: "QUOTA004",
    title: "The number of running agent Jobs of a project is limited by quotas.agentJobsPerProject",
    why: "A burst of runs of one project uses every node and every budget, and leaves nothing for the others. A \
          pending Job that is resumed by hand jumps the queue and exceeds the limit.",
    remedy: "Create the Job as usual: while quotas.agentJobsPerProject is set, it stays suspended until it has a \
             reservation, oldest first, and its annotation codex-k8s.dev/job-pending-reason gives the reason. To \
             start it sooner, delete a Job that is no longer needed or raise the limit. A Job that you suspended \
             yourself starts after you resume it and it has a reservation. Only the reconciler resumes a pending Job \
             and writes codex-k8s.dev/job-admitted-at. A Pod stays with its Job until it has ended: do not use \
             --cascade=orphan to delete a Job.",
    subject: Subject::Workload,
    reads: &["identities.reconcilers", "quotas.agentJobsPerProject"],
    default_mode: Mode::Enforce,
    examples: examples::QUOTA004,
};

/// Returns true if a workload is an agent Job, or creates some, while their number is limited. In a slot, objects of
/// the platform and of the cluster's controllers belong to the platform's own stack, unless they claim to be of a run.
fn applies(context: &Context<'_>, old: Option<&Workload<'_>>, new: &Workload<'_>) -> bool {
    let limited = context.policy.quotas.agent_jobs_per_project.is_some();
    let can_matter = match new.kind {
        Kind::Job | Kind::CronJob => true,
        Kind::Pod => old.is_some_and(|old| leaves_its_job(old, new)),
        _ => false,
    };
    if !limited || !can_matter {
        return false;
    }
    let theirs = |workload: &Workload<'_>| workload.is_of_a_run(context.name);
    match old {
        _ if !context.is_in_slot() => true,
        Some(old) => theirs(old) || theirs(new),
        None => theirs(new) || !(context.role == Role::Manager || context.generated),
    }
}

fn is_suspended(job: &Workload<'_>) -> bool {
    at(job.object, &["spec"]).is_some_and(|spec| is_true(spec, "suspend"))
}

/// Returns true if a Job starts to run with this change: it is resumed, or created without being suspended.
fn is_resumed(old: Option<&Workload<'_>>, new: &Workload<'_>) -> bool {
    old.is_none_or(is_suspended) && !is_suspended(new)
}

/// Suspends a new Job, unless its creator has already suspended it, and a Job that its creator resumes. A pending Job
/// is not changed, so that a user who resumes it gets a denial.
fn mutate(context: &Context<'_>, old: Option<&Workload<'_>>, new: &Workload<'_>, edits: &mut Edits<'_>) {
    if new.kind != Kind::Job || context.role == Role::Reconciler {
        return;
    }
    if old.is_none() && new.meta.label(keys::RUN_ID).is_none() && !identity::names_the_run(context) {
        edits.label(&[], keys::RUN_ID, &context.namespace.run_id);
    }
    let of_its_own = |old: &Workload<'_>| {
        [keys::JOB_PENDING_REASON, keys::JOB_ADMITTED_AT].iter().all(|key| old.meta.annotation(key).is_none())
    };
    if is_resumed(old, new) && old.is_none_or(of_its_own) {
        edits.set(&["spec", "suspend"], true.into());
        edits.annotation(&[], keys::JOB_PENDING_REASON, PENDING_REASON_AT_CREATION);
    }
}

fn validate(context: &Context<'_>, old: Option<&Workload<'_>>, new: &Workload<'_>, report: &mut Report) {
    match (new.kind, old) {
        _ if context.role == Role::Reconciler => {}
        (Kind::CronJob, old) => template_says_nothing(old, new, report),
        (Kind::Pod, old) => stays_with_its_job(old, new, report),
        (_, None) => waits_from_the_start(context, new, report),
        (_, Some(old)) => goes_on_waiting(context, old, new, report),
    }
}

/// The Jobs of such a `CronJob` would be denied, which only Events would show.
fn template_says_nothing(old: Option<&Workload<'_>>, new: &Workload<'_>, report: &mut Report) {
    const TEMPLATE: super::subject::Path = &["spec", "jobTemplate"];
    for key in [keys::JOB_PENDING_REASON, keys::JOB_ADMITTED_AT] {
        let found = new.meta_at(TEMPLATE).annotation(key);
        let before = old.and_then(|old| old.meta_at(TEMPLATE).annotation(key));
        if let Some(found) = found.filter(|found| before != Some(found)) {
            let path = format!("{}{}", dotted(TEMPLATE), annotation_path(key));
            report.forbid(path, quoted(found), "leave it out: each of its Jobs gets its own");
        }
    }
}

/// Returns the uid of the Job that controls a Pod.
fn controlling_job<'a>(pod: &Workload<'a>) -> Option<&'a str> {
    let owners = items(at(pod.object, &["metadata", "ownerReferences"]));
    let mut jobs = owners.filter(|owner| {
        let is = |key: &str, value: &str| owner.get(key).and_then(Value::as_str) == Some(value);
        is("kind", "Job") && is("apiVersion", "batch/v1") && is_true(owner, "controller")
    });
    jobs.next()?.get("uid")?.as_str()
}

/// Returns true if a Pod that may still run is detached from the Job that it counts for, as deleting the Job with
/// `--cascade=orphan` does.
fn leaves_its_job(old: &Workload<'_>, new: &Workload<'_>) -> bool {
    let phase = at(old.object, &["status", "phase"]).and_then(Value::as_str);
    let is_over = matches!(phase, Some("Succeeded" | "Failed"))
        || at(new.object, &["metadata", "deletionTimestamp"]).is_some();
    let job = controlling_job(old);
    job.is_some() && !is_over && controlling_job(new) != job
}

fn stays_with_its_job(old: Option<&Workload<'_>>, new: &Workload<'_>, report: &mut Report) {
    if old.is_some_and(|old| leaves_its_job(old, new)) {
        let remedy = "the Job stays its controller until the Pod has ended, because agent Jobs are counted with their \
                      Pods: delete the Job without --cascade=orphan, or delete the Pod";
        report.forbid("metadata.ownerReferences", quoted_or_nothing(controlling_job(new)), remedy);
    }
}

fn waits_from_the_start(context: &Context<'_>, new: &Workload<'_>, report: &mut Report) {
    if let Some(found) = new.meta.annotation(keys::JOB_ADMITTED_AT) {
        let path = annotation_path(keys::JOB_ADMITTED_AT);
        report.forbid(path, quoted(found), "leave it out: only the reconciler writes it");
    }
    if let Some(found) =
        new.meta.annotation(keys::JOB_PENDING_REASON).filter(|found| *found != PENDING_REASON_AT_CREATION)
    {
        let path = annotation_path(keys::JOB_PENDING_REASON);
        report.forbid(path, quoted(found), "leave it out: only the reconciler says what a Job waits for");
    }
    if new.meta.label(keys::RUN_ID).is_none() {
        let run_id = quoted(&context.namespace.run_id);
        let remedy = format!("the namespace's is {run_id}, and agent Jobs are counted by it");
        report.forbid(label_path("", keys::RUN_ID), "nothing", remedy);
    }
    if !is_suspended(new) {
        let remedy = format!(
            "must be true until there is {}; create it again, for the call that suspends it was skipped",
            required_reservation(context)
        );
        report.forbid("spec.suspend", suspension(new), remedy);
    }
}

fn goes_on_waiting(context: &Context<'_>, old: &Workload<'_>, new: &Workload<'_>, report: &mut Report) {
    let label = |workload: &Workload<'_>| workload.meta.label(keys::RUN_ID).is_some();
    if label(old) && !label(new) {
        report.forbid(label_path("", keys::RUN_ID), "nothing", "must stay: agent Jobs are counted by it");
    }
    for key in [keys::JOB_ADMITTED_AT, keys::JOB_PENDING_REASON] {
        let (before, found) = (old.meta.annotation(key), new.meta.annotation(key));
        let requests_it = key == keys::JOB_PENDING_REASON
            && before.is_none()
            && found == Some(PENDING_REASON_AT_CREATION)
            && is_suspended(new);
        if before != found && !requests_it {
            let remedy = format!("{}: only the reconciler writes it", stays(before));
            report.forbid(annotation_path(key), quoted_or_nothing(found), remedy);
        }
    }
    if !is_resumed(Some(old), new) {
        return;
    }
    if let Some(reason) = old.meta.annotation(keys::JOB_PENDING_REASON) {
        let remedy = format!(
            "it waits for {}; only the reconciler resumes it: delete a Job that is done with, or raise \
             quotas.agentJobsPerProject in the policy",
            clean(reason)
        );
        report.forbid("spec.suspend", suspension(new), remedy);
    } else if old.meta.annotation(keys::JOB_ADMITTED_AT).is_none() {
        let remedy = format!(
            "it needs {}: leave it suspended, annotate it {}={PENDING_REASON_AT_CREATION:?}, and it starts when there is one",
            required_reservation(context),
            keys::JOB_PENDING_REASON
        );
        report.forbid("spec.suspend", suspension(new), remedy);
    }
}

fn suspension(job: &Workload<'_>) -> String {
    at(job.object, &["spec", "suspend"]).map_or_else(|| "nothing".to_owned(), ToString::to_string)
}

/// Returns the reservation that a Job needs, for a message.
fn required_reservation(context: &Context<'_>) -> String {
    let scope = Scope::of_jobs(Some(&context.namespace.project_id));
    let max = context.policy.quotas.limit(&scope).unwrap_or_default();
    scope.needed(max)
}

#[cfg(test)]
mod tests;
