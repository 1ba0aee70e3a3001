//! Rules about the run of a workload.

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::{keys, names, sanitize};

use super::examples::identity as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload, dotted};
use crate::rules::evaluate::is_on;
use crate::rules::report::{Report, label_path, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind, Role};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB001, Validate::State(identity_is_the_namespaces))
        .with_mutation(Mutate::Creation(add_identity)),
    Check::new(&JOB002, Validate::State(run_and_name_agree)),
    Check::new(&JOB003, Validate::State(finalizers_are_listed)),
];

static JOB001: Rule = Rule {
    id: "JOB001",
    title: "A workload has the identity labels of its namespace",
    why: "The platform looks up a run's workload by its run id, in all namespaces. A Job with another run's id \
          is mistaken for that run's work, and its success for that run's success.",
    remedy: "Leave the labels run-id and project-id out: they are added to the Job and its Pod template.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB001,
};

static JOB002: Rule = Rule {
    id: "JOB002",
    title: "Only the Job of a run has the name of the run",
    why: "The platform takes a Job with that name, or with the application label of a run, for the run itself.",
    remedy: "Use another name, and leave out the label app.kubernetes.io/name=codex-k8s-run. The run's own Job \
             is codex-k8s-run-<run id>, and an agent cannot create it.",
    subject: Subject::Workload,
    reads: &["identities.candidateServiceAccounts"],
    default_mode: Mode::Enforce,
    examples: examples::JOB002,
};

static JOB003: Rule = Rule {
    id: "JOB003",
    title: "Finalizers of workloads must be listed in the policy",
    why: "A finalizer that no program removes keeps a workload, and therefore its namespace, for ever.",
    remedy: "Leave metadata.finalizers empty on the workload and on its template.",
    subject: Subject::Workload,
    reads: &["jobs.finalizers"],
    default_mode: Mode::Enforce,
    examples: examples::JOB003,
};

const fn is_bound(context: &Context<'_>, workload: &Workload<'_>) -> bool {
    !context.generated && workload.is_the_runs()
}

fn identity_is_the_namespaces(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    if context.generated {
        return;
    }
    // A Deployment or similar object may lack the labels, because its Pods get those of the template. Its own labels
    // may come from the API server: a ReplicationController without labels gets those of its template.
    let is_due = is_bound(context, workload);
    let holders = workload.holders();
    for holder in holders.iter().skip(if is_due { 0 } else { holders.len() - 1 }) {
        let meta = workload.meta_at(holder);
        let project_is_due = is_due && holder.is_empty();
        for (key, expected, due) in [
            (keys::RUN_ID, &context.namespace.run_id, is_due),
            (keys::PROJECT_ID, &context.namespace.project_id, project_is_due),
        ] {
            let found = meta.label(key);
            if found.map_or(!due, |found| sanitize::label_equals(expected, found)) {
                continue;
            }
            let remedy = format!("the namespace's is {}", quoted(expected));
            report.forbid(label_path(&dotted(holder), key), quoted_or_nothing(found), remedy);
        }
    }
}

fn add_identity(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    if !is_bound(context, workload) {
        return;
    }
    let run_id = workload.meta.label(keys::RUN_ID).unwrap_or(&context.namespace.run_id);
    for holder in workload.holders() {
        let meta = workload.meta_at(holder);
        if meta.label(keys::RUN_ID).is_none() {
            edits.label(holder, keys::RUN_ID, run_id);
        }
        if holder.is_empty() && meta.label(keys::PROJECT_ID).is_none() {
            edits.label(holder, keys::PROJECT_ID, &context.namespace.project_id);
        }
    }
}

/// Returns true if JOB001 adds the run's labels to a workload without them.
pub(super) fn names_the_run(context: &Context<'_>) -> bool {
    !context.generated && is_on(context.policy, &JOB001)
}

fn run_and_name_agree(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    // A Binding has the name of its Pod, which has been validated.
    if context.generated || workload.kind == Kind::Binding {
        return;
    }
    let labelled = |holder: &super::subject::Path| {
        workload.meta_at(holder).label(keys::APP_NAME) == Some(keys::APP_NAME_RUN)
    };
    let run_id = workload.meta.label(keys::RUN_ID).unwrap_or(&context.namespace.run_id);
    let expected = names::run_job_name(run_id);
    let can_be_a_run = matches!(workload.kind, Kind::Job | Kind::Pod);
    if can_be_a_run && context.name == expected {
        if context.role == Role::Agent {
            // Otherwise the slot's next run would find its Job's name in use, and the previous agent's Job would count
            // as its work.
            report.forbid(
                "metadata.name",
                quoted(context.name),
                "only the platform starts the run's own Job",
            );
        }
        return;
    }
    if context.name.starts_with(names::JOB_PREFIX) {
        let remedy =
            format!("names under codex-k8s-run- are the runs' own; this run's is {}", quoted(&expected));
        report.forbid("metadata.name", quoted(context.name), remedy);
    }
    for holder in workload.holders().iter().filter(|holder| labelled(holder)) {
        let path = label_path(&dotted(holder), keys::APP_NAME);
        let remedy = format!("only the run's own Job, {}, carries it", quoted(&expected));
        report.forbid(path, quoted(keys::APP_NAME_RUN), remedy);
    }
}

fn finalizers_are_listed(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let listed = &context.policy.jobs.finalizers;
    for holder in workload.holders() {
        for finalizer in workload.meta_at(holder).finalizers() {
            if !listed.iter().any(|allowed| allowed == finalizer) {
                let path = format!("{}metadata.finalizers", dotted(holder));
                report.forbid(path, quoted(finalizer), "not in jobs.finalizers of the policy");
            }
        }
    }
}
