//! Rules about a Job's deadline, removal, retries, width and controller.

use codex_k8s_shared::policy::{Bounds, Jobs, Mode};
use serde_json::Value;

use super::examples::bounds as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload, dotted};
use crate::rules::Edits;
use crate::rules::object::{at, text};
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(
        &JOB007,
        Validate::State(|context, workload, report| {
            bounded(context, workload, report, &DEADLINE);
        }),
    )
    .with_mutation(Mutate::Creation(|context, workload, edits| {
        defaulted(context, workload, edits, &DEADLINE);
    })),
    Check::new(
        &JOB008,
        Validate::State(|context, workload, report| {
            bounded(context, workload, report, &TTL);
        }),
    )
    .with_mutation(Mutate::Creation(|context, workload, edits| defaulted(context, workload, edits, &TTL))),
    Check::new(
        &JOB009,
        Validate::State(|context, workload, report| {
            bounded(context, workload, report, &BACKOFF);
            bounded(context, workload, report, &BACKOFF_PER_INDEX);
        }),
    )
    .with_mutation(Mutate::Creation(|context, workload, edits| {
        defaulted(context, workload, edits, &BACKOFF);
    })),
    Check::new(
        &JOB010,
        Validate::State(|context, workload, report| {
            bounded(context, workload, report, &PARALLELISM);
            bounded(context, workload, report, &COMPLETIONS);
        }),
    ),
    Check::new(&JOB011, Validate::State(managed_by_the_cluster)),
];

static JOB007: Rule = Rule {
    id: "JOB007",
    title: "A Job has a deadline",
    why: "A Job without a deadline uses its namespace, its quota and its model budget until a person notices.",
    remedy: "Leave spec.activeDeadlineSeconds out: it is added. Or stay within jobs.activeDeadlineSeconds.max.",
    subject: Subject::Workload,
    reads: &["jobs.activeDeadlineSeconds"],
    default_mode: Mode::Enforce,
    examples: examples::JOB007,
};

static JOB008: Rule = Rule {
    id: "JOB008",
    title: "A finished Job is removed after a while",
    why: "Finished Jobs that are never removed stay in the namespace and fill the API server's storage.",
    remedy: "Leave spec.ttlSecondsAfterFinished out: it is added. Or stay within \
             jobs.ttlSecondsAfterFinished.max.",
    subject: Subject::Workload,
    reads: &["jobs.ttlSecondsAfterFinished"],
    default_mode: Mode::Enforce,
    examples: examples::JOB008,
};

static JOB009: Rule = Rule {
    id: "JOB009",
    title: "The number of retries of a Job is limited",
    why: "An agent is not idempotent: each retry uses its budget again and may repeat what it did.",
    remedy: "Lower spec.backoffLimit (and backoffLimitPerIndex) to at most jobs.backoffLimit.max.",
    subject: Subject::Workload,
    reads: &["jobs.backoffLimit"],
    default_mode: Mode::Enforce,
    examples: examples::JOB009,
};

static JOB010: Rule = Rule {
    id: "JOB010",
    title: "The parallelism and completions of a Job are limited",
    why: "Parallel Pods multiply the resources that one Job may use.",
    remedy: "Lower spec.parallelism and spec.completions to at most jobs.parallelism.max and \
             jobs.completions.max.",
    subject: Subject::Workload,
    reads: &["jobs.parallelism.max", "jobs.completions.max"],
    default_mode: Mode::Enforce,
    examples: examples::JOB010,
};

static JOB011: Rule = Rule {
    id: "JOB011",
    title: "A Job is run by the cluster's Job controller",
    why: "The Job controller ignores a Job with another spec.managedBy: its deadline and its ttl then have no \
          effect.",
    remedy: "Leave spec.managedBy out.",
    subject: Subject::Workload,
    reads: &["jobs.managedBy"],
    default_mode: Mode::Enforce,
    examples: examples::JOB011,
};

/// A numeric field of a Job's spec.
struct Field {
    name: &'static str,
    bounds: fn(&Jobs) -> Bounds,
    /// True if a Job without the field is denied.
    due: bool,
}

const DEADLINE: Field =
    Field { name: "activeDeadlineSeconds", bounds: |jobs| jobs.active_deadline_seconds, due: true };
const TTL: Field =
    Field { name: "ttlSecondsAfterFinished", bounds: |jobs| jobs.ttl_seconds_after_finished, due: true };
const BACKOFF: Field = Field { name: "backoffLimit", bounds: |jobs| jobs.backoff_limit, due: false };
const BACKOFF_PER_INDEX: Field = Field { name: "backoffLimitPerIndex", ..BACKOFF };
const PARALLELISM: Field = Field { name: "parallelism", bounds: |jobs| jobs.parallelism, due: false };
const COMPLETIONS: Field = Field { name: "completions", bounds: |jobs| jobs.completions, due: false };

fn bounded(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report, field: &Field) {
    let Some(path) = workload.job_path().filter(|_| !context.generated) else { return };
    let Bounds { max, .. } = (field.bounds)(&context.policy.jobs);
    let found = at(workload.object, path).and_then(|spec| at(spec, &[field.name]));
    let name = || format!("{}{}", dotted(path), field.name);
    match found.map(Value::as_i64) {
        None if field.due => report.forbid(name(), "nothing", format!("must be at most {max}")),
        Some(Some(value)) if value > max => {
            report.forbid(name(), value.to_string(), format!("must be at most {max}"));
        }
        _ => {}
    }
}

fn defaulted(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>, field: &Field) {
    let Some(path) = workload.job_path().filter(|_| !context.generated) else { return };
    let spec = at(workload.object, path);
    if spec.and_then(|spec| at(spec, &[field.name])).is_none() {
        let mut whole = path.to_vec();
        whole.push(field.name);
        edits.set(&whole, (field.bounds)(&context.policy.jobs).default.into());
    }
}

fn managed_by_the_cluster(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(path) = workload.job_path() else { return };
    let manager = at(workload.object, path).and_then(|spec| text(spec, "managedBy"));
    if let Some(manager) =
        manager.filter(|manager| !context.policy.jobs.managed_by.iter().any(|listed| listed == manager))
    {
        report.forbid(
            format!("{}managedBy", dotted(path)),
            quoted(manager),
            "not in jobs.managedBy of the policy",
        );
    }
}
