//! Rules about the size of a workload: its author must not decide how much the evaluation costs.

use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::size as examples;
use super::subject::{Check, Context, Validate, Workload};
use crate::rules::object::{at, items};
use crate::rules::report::Report;
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] =
    &[Check::new(&JOB024, Validate::State(lists_are_bounded)).deciding_alone()];

static JOB024: Rule = Rule {
    id: "JOB024",
    title: "The lists of a Pod have a maximum length",
    why: "A Pod with thousands of containers does not run anywhere, and each evaluation costs the API server and \
          this webhook seconds of CPU. Meanwhile, requests of other users wait.",
    remedy: "Use at most 100 containers, init containers and ephemeral containers in total, and at most 1,000 \
             entries in each other list of a Pod or a container.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB024,
};

/// The maximum number of containers of a Pod in its three lists.
const MOST_CONTAINERS: usize = 100;
/// The maximum number of entries of any other list of a Pod or a container.
const MOST_ENTRIES: usize = 1_000;

fn lists_are_bounded(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    // The template was validated when it was written.
    if context.generated {
        return;
    }
    let count = workload.containers().count();
    if count > MOST_CONTAINERS {
        let remedy = format!("must be at most {MOST_CONTAINERS}");
        return report.invalid(workload.pod_field("containers"), format!("{count} containers"), remedy);
    }
    let of_pod = workload.pod_spec().map(|spec| (spec, None));
    let of_containers = workload.containers().map(|container| (container.value, Some(container)));
    for (holder, container) in of_pod.into_iter().chain(of_containers) {
        for (list, length) in long_lists(holder) {
            let path = match container {
                Some(container) => container.field(workload, &list),
                None => workload.pod_field(&list),
            };
            report.invalid(path, format!("{length} entries"), format!("must be at most {MOST_ENTRIES}"));
        }
    }
}

/// Returns the lists that are too long, directly in a Pod's spec or a container, or one level below.
fn long_lists(holder: &Value) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    let mut check_length = |path: String, value: &Value| {
        let length = items(Some(value)).count();
        if length > MOST_ENTRIES {
            found.push((path, length));
        }
    };
    for (key, value) in holder.as_object().into_iter().flatten() {
        check_length(key.clone(), value);
        for (inner, value) in value.as_object().into_iter().flatten() {
            check_length(format!("{key}.{inner}"), value);
        }
    }
    for (index, volume) in items(at(holder, &["volumes"])).enumerate() {
        if let Some(sources) = at(volume, &["projected", "sources"]) {
            check_length(format!("volumes[{index}].projected.sources"), sources);
        }
    }
    found
}
