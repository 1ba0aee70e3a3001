//! Rules about a Job's width and controller.

use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::width as examples;
use super::subject::{Check, Context, Validate, Workload, dotted};
use crate::rules::object::{at, text};
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB010, Validate::State(width_is_low)),
    Check::new(&JOB011, Validate::State(managed_by_the_cluster)),
];

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

fn width_is_low(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some((path, spec)) = workload.job_spec().filter(|_| !context.generated) else { return };
    let jobs = &context.policy.jobs;
    for (field, max) in [("parallelism", jobs.parallelism.max), ("completions", jobs.completions.max)] {
        if let Some(value) = spec.get(field).and_then(Value::as_i64).filter(|value| *value > max) {
            report.forbid(format!("{path}{field}"), value.to_string(), format!("must be at most {max}"));
        }
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
