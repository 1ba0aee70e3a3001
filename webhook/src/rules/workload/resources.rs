//! Default resources for Pods.

use codex_k8s_shared::baseline;
use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::resources as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload};
use crate::rules::object::at;
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

pub(super) const CHECKS: &[Check] =
    &[Check::new(&JOB023, Validate::State(|_, _, _| {})).with_mutation(Mutate::Creation(add_resources))];

static JOB023: Rule = Rule {
    id: "JOB023",
    title: "A Pod without resource requests gets the defaults",
    why: "kube-apiserver applies a LimitRange before it calls the webhook. A Pod that is created while its namespace \
          still waits for its baseline would have no requests, and the quota would reject it.",
    remedy: "You do not need to do anything: the defaults of baseline.limitRange in the policy are added, as the \
             LimitRange would add them.",
    subject: Subject::Workload,
    reads: &["baseline.*.limitRange.default", "baseline.*.limitRange.defaultRequest"],
    default_mode: Mode::Enforce,
    examples: examples::JOB023,
};

fn add_resources(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    let namespace = context.namespace;
    let slot = context.policy.namespaces.is_slot(&namespace.name);
    let set = baseline::set_of(context.policy, namespace.mode, slot);
    let Some(range) = set.limit_range.as_ref().filter(|_| workload.kind == Kind::Pod) else { return };
    for container in workload.containers().filter(|container| container.list != "ephemeralContainers") {
        let index = container.index.to_string();
        let evaluated =
            |part: &str, resource: &str| at(container.value, &["resources", part, resource]).is_some();
        let mut add = |part: &str, resource: &str, quantity: &str| {
            edits.set(&["spec", container.list, &index, "resources", part, resource], Value::from(quantity));
        };
        for (resource, quantity) in &range.default {
            if !evaluated("limits", resource) {
                add("limits", resource, quantity);
            }
            if !evaluated("requests", resource) {
                // The API server does the same: the request is the container's own limit if it has one, otherwise the
                // default.
                let own = at(container.value, &["resources", "limits", resource]).and_then(Value::as_str);
                let default = range.default_request.get(resource).unwrap_or(quantity);
                add("requests", resource, own.unwrap_or(default));
            }
        }
        for (resource, quantity) in &range.default_request {
            if !range.default.contains_key(resource) && !evaluated("requests", resource) {
                add("requests", resource, quantity);
            }
        }
    }
}
