//! Checks that the quota of a namespace can admit a workload's Pods.

use codex_k8s_shared::policy::{Mode, QuotaSettings};
use codex_k8s_shared::quota::pod_resources::{Amount, Part, PodResources};
use codex_k8s_shared::quota::quantity::Quantity;

use super::examples::quota as examples;
use super::subject::{Check, Context, Validate, Workload};
use crate::rules::object::text;
use crate::rules::report::{Report, quoted};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] = &[Check::new(&QUOTA002, Validate::State(fits_the_quota))];

static QUOTA002: Rule = Rule {
    id: "QUOTA002",
    title: "A workload whose Pods can never fit the quota of its namespace is not allowed",
    why: "Not one of its Pods would start. Only FailedCreate events show that, for a Job until its deadline ends it.",
    remedy: "Request less, or raise baseline.*.resourceQuota of the policy. The requests and limits of a container \
             count; where it has none, those of the LimitRange. Several Pods may exceed the quota together: they start \
             one after the other.",
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
    let set = context.baseline();
    let (Some(quota), Some(spec)) = (&set.resource_quota, workload.pod_spec().filter(|_| !context.generated))
    else {
        return;
    };
    let resources = PodResources::of_pod(spec, set.limit_range.as_ref());
    says_what_is_counted(workload, &resources, quota, report);
    let remedy = |hard| format!("the quota {} of the namespace has {hard}", quota.name);
    for (resource, hard) in &quota.hard {
        let Ok(hard) = hard.parse::<Quantity>() else { continue };
        if resources.total(resource).is_some_and(|total| total > hard) {
            let Some(amount) = resources.amount(resource) else { continue };
            let path = workload.pod_field("containers");
            report.forbid(path, format!("{} of {resource}", sum(&amount)), remedy(hard));
        } else if hard == Quantity::ZERO && counts(workload, resource) {
            report.forbid("kind", format!("1 of {resource}"), remedy(hard));
        }
    }
}

/// Returns true if a quota counts the workload, or an object that a controller creates between it and its Pods, by this
/// name.
fn counts(workload: &Workload<'_>, counted: &str) -> bool {
    let counts: &[&str] = match text(workload.object, "kind").unwrap_or_default() {
        "Job" => &["count/jobs.batch"],
        "CronJob" => &["count/cronjobs.batch", "count/jobs.batch"],
        "Deployment" => &["count/deployments.apps", "count/replicasets.apps"],
        "ReplicaSet" => &["count/replicasets.apps"],
        "StatefulSet" => &["count/statefulsets.apps", "count/controllerrevisions.apps"],
        "DaemonSet" => &["count/daemonsets.apps", "count/controllerrevisions.apps"],
        "ReplicationController" => &["replicationcontrollers", "count/replicationcontrollers"],
        _ => &[],
    };
    counts.contains(&counted)
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

/// Formats the sum, such as `"a" 300m + "b" 200m = 500m`.
fn sum(amount: &Amount) -> String {
    let part = |part: &Part| format!("{} {}", quoted(&part.of), part.quantity);
    let mut parts: Vec<_> = amount.parts.iter().take(SHOWN).map(part).collect();
    if let Some(more @ 1..) = amount.parts.len().checked_sub(SHOWN) {
        parts.push(format!("{more} more"));
    }
    let parts = parts.join(" + ");
    if amount.parts.len() == 1 { parts } else { format!("{parts} = {}", amount.total) }
}
