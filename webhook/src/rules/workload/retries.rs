//! The rule about the retries of a Job: each is counted.

use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::retries as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload, dotted};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

pub(super) const CHECKS: &[Check] = &[Check::new(
    &JOB009,
    Validate::State(|context, workload, report| {
        if !context.generated {
            limit_is_low(context, workload, report);
            failures_are_counted(workload, report);
            restarts_are_counted(workload, report);
        }
    }),
)
.with_mutation(Mutate::Creation(set_limit))];

static JOB009: Rule = Rule {
    id: "JOB009",
    title: "The number of retries of a Job is limited",
    why: "An agent is not idempotent: each retry uses its budget again and may repeat what it did.",
    remedy: "Lower spec.backoffLimit, or spec.backoffLimitPerIndex times spec.completions, to at most \
             jobs.backoffLimit.max. Use the action Ignore of spec.podFailurePolicy only for the condition \
             DisruptionTarget, and restartPolicy: OnFailure of the Pod instead of restart rules of its containers.",
    subject: Subject::Workload,
    reads: &["jobs.backoffLimit"],
    default_mode: Mode::Enforce,
    examples: examples::JOB009,
};

const LIMIT: &str = "backoffLimit";
const LIMIT_PER_INDEX: &str = "backoffLimitPerIndex";
/// The limit that the API server writes into a Job without one and without a limit per index. A Job does not show if a
/// person wrote it.
const SERVERS_DEFAULT: i64 = 6;

fn number(spec: &Value, field: &str) -> Option<i64> {
    at(spec, &[field]).and_then(Value::as_i64)
}

/// Reports a limit above the maximum. With a limit per index, the API server writes the largest number into the other
/// one, and the retries of all indexes together count.
fn limit_is_low(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some((path, spec)) = workload.job_spec() else { return };
    let max = context.policy.jobs.backoff_limit.max;
    let limit = number(spec, LIMIT);
    let Some(per_index) = number(spec, LIMIT_PER_INDEX) else {
        if let Some(limit) = limit.filter(|limit| *limit > max) {
            report.forbid(format!("{path}{LIMIT}"), limit.to_string(), format!("must be at most {max}"));
        }
        return;
    };
    let completions = number(spec, "completions").unwrap_or(1);
    let is_low = |limit: i64| limit <= max;
    if !limit.is_some_and(is_low) && !is_low(per_index.saturating_mul(completions)) {
        let found = format!("{per_index} for each of {completions} completions");
        let remedy = format!("must be at most {max} together, or set {LIMIT} to at most {max}");
        report.forbid(format!("{path}{LIMIT_PER_INDEX}"), found, remedy);
    }
}

/// Reports rules of the Pod failure policy that do not count failures. Disruptions are not caused by the agent.
fn failures_are_counted(workload: &Workload<'_>, report: &mut Report) {
    let Some((path, spec)) = workload.job_spec() else { return };
    for (index, rule) in items(at(spec, &["podFailurePolicy", "rules"])).enumerate() {
        if text(rule, "action") == Some("Ignore") && !is_about_disruptions(rule) {
            report.forbid(
                format!("{path}podFailurePolicy.rules[{index}].action"),
                quoted("Ignore"),
                "must be Count, FailIndex or FailJob, unless the rule is only about the condition DisruptionTarget",
            );
        }
    }
}

fn is_about_disruptions(rule: &Value) -> bool {
    let is_one = |condition: &Value| {
        text(condition, "type") == Some("DisruptionTarget")
            && text(condition, "status").is_none_or(|status| status == "True")
    };
    let mut conditions = items(rule.get("onPodConditions")).peekable();
    at(rule, &["onExitCodes"]).is_none() && conditions.peek().is_some() && conditions.all(is_one)
}

/// Reports containers that the kubelet restarts although the Pod's own restart policy does not say so. The Job
/// controller counts restarts only if the Pod's policy is `OnFailure`. A sidecar is not a retry.
fn restarts_are_counted(workload: &Workload<'_>, report: &mut Report) {
    let Some(pod) = workload.pod_spec().filter(|_| workload.job_path().is_some()) else { return };
    let counted = text(pod, "restartPolicy") == Some("OnFailure");
    for container in workload.containers() {
        let policy = text(container.value, "restartPolicy").filter(|_| !counted);
        let is_sidecar = container.list == "initContainers" && policy == Some("Always");
        if let Some(policy) = policy.filter(|policy| *policy != "Never" && !is_sidecar) {
            report.forbid(
                container.field(workload, "restartPolicy"),
                quoted(policy),
                "must be Never: its restarts would not count as retries",
            );
        }
        for (index, rule) in items(container.value.get("restartPolicyRules")).enumerate() {
            let action = text(rule, "action");
            if !(counted && action == Some("Restart")) {
                report.forbid(
                    container.field(workload, &format!("restartPolicyRules[{index}].action")),
                    quoted_or_nothing(action),
                    "leave it out: its restarts would not count as retries",
                );
            }
        }
    }
}

/// Sets the policy's default if the limit is missing, or is the API server's default.
fn set_limit(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    let Some(job) = workload.job_path() else { return };
    let spec = at(workload.object, job).unwrap_or(&Value::Null);
    let (limit, default) = (number(spec, LIMIT), context.policy.jobs.backoff_limit.default);
    // The API server writes the limit into Jobs only, not into the template of a CronJob.
    let is_servers = workload.kind == Kind::Job && limit == Some(SERVERS_DEFAULT);
    let is_written = (limit.is_some() && !is_servers) || at(spec, &[LIMIT_PER_INDEX]).is_some();
    if context.generated || is_written || limit == Some(default) {
        return;
    }
    edits.set(&[job, &[LIMIT]].concat(), default.into());
    if is_servers {
        edits.warn(format!(
            "{}: {}{LIMIT}: set to {default}, jobs.{LIMIT}.default of the policy, because {SERVERS_DEFAULT} is \
             what the API server writes into a Job without it",
            JOB009.id,
            dotted(job)
        ));
    }
}
