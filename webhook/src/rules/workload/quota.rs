//! Checks that the quota of a namespace can admit a workload's Pods.

use codex_k8s_shared::baseline;
use codex_k8s_shared::policy::{Mode, QuotaSettings};
use codex_k8s_shared::quota::pod_resources::{Amount, Part, PodResources};
use codex_k8s_shared::quota::quantity::Quantity;
use serde_json::Value;

use super::examples::quota as examples;
use super::subject::{Check, Context, Validate, Workload, dotted};
use crate::rules::Kind;
use crate::rules::object::at;
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(&QUOTA002, Validate::State(fits_the_quota))];

static QUOTA002: Rule = Rule {
    id: "QUOTA002",
    title: "A Job that can never fit the quota of its namespace is not allowed",
    why: "Its Pods would never all start. Until its deadline ends it, only FailedCreate events show that.",
    remedy: "Request less, lower spec.parallelism, or raise baseline.*.resourceQuota of the policy. The requests and \
             limits of a container count; where it has none, those of the LimitRange.",
    subject: Subject::Workload,
    reads: &[
        "baseline.*.resourceQuota.hard",
        "baseline.*.limitRange.default",
        "baseline.*.limitRange.defaultRequest",
    ],
    default_mode: Mode::Enforce,
    examples: examples::QUOTA002,
};

/// The maximum number of summands in a message. More would only blur it.
const SHOWN: usize = 8;

fn fits_the_quota(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let namespace = context.namespace;
    let slot = context.policy.namespaces.is_slot(&namespace.name);
    let set = baseline::set_of(context.policy, namespace.mode, slot);
    let evaluated = workload.is_the_runs() && !context.generated;
    let (Some(quota), Some(spec)) = (&set.resource_quota, workload.pod_spec().filter(|_| evaluated)) else {
        return;
    };
    let resources = PodResources::of_pod(spec, set.limit_range.as_ref());
    says_what_is_counted(workload, &resources, quota, report);
    let pods = width(workload);
    for (resource, hard) in &quota.hard {
        let (Some(total), Ok(hard)) = (resources.total(resource), hard.parse::<Quantity>()) else { continue };
        if total.times(pods) <= hard {
            continue;
        }
        let Some(amount) = resources.amount(resource) else { continue };
        let alone = amount.total > hard || pods == 1;
        let path = match workload.job_path().filter(|_| !alone) {
            Some(job) => format!("{}parallelism", dotted(job)),
            None => workload.pod_field("containers"),
        };
        let remedy = format!("the quota {} of the namespace has {hard}", quota.name);
        report.forbid(path, format!("{} of {resource}", sum(&amount, pods)), remedy);
    }
}

fn says_what_is_counted(
    workload: &Workload<'_>,
    resources: &PodResources<'_>,
    quota: &QuotaSettings,
    report: &mut Report,
) {
    for missing in resources.missing_values(quota.hard.keys().map(String::as_str)) {
        let field = match missing.resource.split_once('.') {
            Some((part, resource)) => format!("{part}.{resource}"),
            None => format!("requests.{}", missing.resource),
        };
        let path = workload.pod_field(&format!("{}[{}].resources.{field}", missing.list, missing.index));
        let remedy = format!("the quota {} counts {}: name how much it is", quota.name, missing.resource);
        report.forbid(path, "nothing", remedy);
    }
}

/// Returns the maximum number of Pods of a workload at a time.
fn width(workload: &Workload<'_>) -> u64 {
    let job = workload.job_path().and_then(|path| at(workload.object, path));
    let number = |field| job.and_then(|job| job.get(field)).and_then(Value::as_u64);
    match workload.kind {
        Kind::Job | Kind::CronJob => {
            number("parallelism").unwrap_or(1).min(number("completions").unwrap_or(u64::MAX))
        }
        _ => 1,
    }
}

/// Formats the sum, such as `3 Pods x ("a" 300m + "b" 200m) = 1500m`.
fn sum(amount: &Amount, pods: u64) -> String {
    let part = |part: &Part| format!("{} {}", quoted(&part.of), part.quantity);
    let mut parts: Vec<_> = amount.parts.iter().take(SHOWN).map(part).collect();
    if let Some(more @ 1..) = amount.parts.len().checked_sub(SHOWN) {
        parts.push(format!("{more} more"));
    }
    let (parts, total) = (parts.join(" + "), amount.total.times(pods));
    match (pods, amount.parts.len()) {
        (1, 1) => parts,
        (1, _) => format!("{parts} = {total}"),
        (pods, _) => format!("{pods} Pods x ({parts}) = {total}"),
    }
}
