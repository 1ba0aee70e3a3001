//! Rules about a Job's deadline and removal.

use codex_k8s_shared::policy::{Bounds, Jobs, Mode};
use serde_json::Value;

use super::examples::bounds as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload, dotted};
use crate::rules::object::at;
use crate::rules::report::Report;
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

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
            if is_one_of_many(context, workload) {
                bounded(context, workload, report, &TTL);
            }
        }),
    )
    .with_mutation(Mutate::Creation(|context, workload, edits| {
        if is_one_of_many(context, workload) {
            defaulted(context, workload, edits, &TTL);
        }
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
    title: "A finished Job with a generated name is removed after a while",
    why: "Jobs with generated names become more with each creation, and finished ones would fill the API server's \
          storage. A Job with a name of its own gets no ttl, and stays until its namespace is deleted: a tool \
          that applies manifests again and again would create a removed Job again, and run its agent twice.",
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

/// The number of random characters that the API server appends to `generateName`.
const SUFFIX: usize = 5;

/// Returns true for a Job whose name is generated, and for the Jobs of a `CronJob`.
fn is_one_of_many(context: &Context<'_>, workload: &Workload<'_>) -> bool {
    let is_generated = |prefix: &str| {
        let suffix = context.name.strip_prefix(prefix);
        context.name.is_empty() || suffix.is_some_and(|suffix| suffix.len() == SUFFIX)
    };
    workload.kind == Kind::CronJob || workload.meta.text("generateName").is_some_and(is_generated)
}

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
