//! Rules about a Job's deadline and removal.

use codex_k8s_shared::policy::{Bounds, Jobs, Mode};
use serde_json::Value;

use super::examples::bounds as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload, dotted};
use crate::rules::object::at;
use crate::rules::report::Report;
use crate::rules::rule::{Rule, Subject};
use crate::rules::Edits;

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
    .with_mutation(Mutate::Creation(|context, workload, edits| {
        defaulted(context, workload, edits, &TTL);
    })),
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

/// A numeric field of a Job's spec.
struct Field {
    name: &'static str,
    bounds: fn(&Jobs) -> Bounds,
}

const DEADLINE: Field = Field { name: "activeDeadlineSeconds", bounds: |jobs| jobs.active_deadline_seconds };
const TTL: Field = Field { name: "ttlSecondsAfterFinished", bounds: |jobs| jobs.ttl_seconds_after_finished };

fn bounded(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report, field: &Field) {
    let Some(path) = workload.job_path().filter(|_| !context.generated) else { return };
    let Bounds { max, .. } = (field.bounds)(&context.policy.jobs);
    let found = at(workload.object, path).and_then(|spec| at(spec, &[field.name]));
    let name = || format!("{}{}", dotted(path), field.name);
    match found.map(Value::as_i64) {
        None => report.forbid(name(), "nothing", format!("must be at most {max}")),
        Some(Some(value)) if value > max => {
            report.forbid(name(), value.to_string(), format!("must be at most {max}"));
        }
        Some(_) => {}
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
