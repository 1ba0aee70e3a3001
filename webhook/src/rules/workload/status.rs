//! Rules about the status of a workload, from which the platform reads the result of a run.

use codex_k8s_shared::policy::Mode;
use serde_json::Value;

use super::examples::status as examples;
use super::subject::{Check, Context, Validate, Workload};
use crate::rules::Kind;
use crate::rules::object::{at, text};
use crate::rules::report::{Report, clean, quoted_or_nothing, stays};
use crate::rules::rule::{Rule, Subject};

pub(super) const CHECKS: &[Check] =
    &[Check::new(&JOB025, Validate::Transition { applies: is_written_to, validate: stays_as_it_is })];

static JOB025: Rule = Rule {
    id: "JOB025",
    title: "Only the cluster writes the status of a Job and the phase of a Pod",
    why: "The platform takes the condition of a run's Job for the result of the run. With a forged status, or a Pod \
          that is marked as succeeded, a run reports success without having worked.",
    remedy: "Leave the status to the Job controller and kubelet; identities.workloadControllers of the policy lists \
             the controllers of the cluster.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB025,
};

/// Applies in slots too, and to managers: the platform reads these statuses and never writes them.
fn is_written_to(context: &Context<'_>, old: Option<&Workload<'_>>, new: &Workload<'_>) -> bool {
    let is_status = context.subresource == Some("status") && old.is_some();
    let by_the_cluster = context.generated || (context.by_kubelet && new.kind == Kind::Pod);
    is_status && !by_the_cluster && matches!(new.kind, Kind::Job | Kind::Pod)
}

fn stays_as_it_is(_: &Context<'_>, old: Option<&Workload<'_>>, new: &Workload<'_>, report: &mut Report) {
    let Some(old) = old else { return };
    let status = |workload: &Workload<'_>| at(workload.object, &["status"]).cloned().unwrap_or_default();
    let (before, after) = (status(old), status(new));
    if new.kind == Kind::Pod {
        // Many controllers write conditions of a Pod; the Job controller uses its phase.
        let (before, after) = (text(&before, "phase"), text(&after, "phase"));
        if before != after {
            let remedy = format!("{}: only kubelet and the cluster's controllers change it", stays(before));
            report.forbid("status.phase", quoted_or_nothing(after), remedy);
        }
        return;
    }
    let fields = [&before, &after].into_iter().filter_map(Value::as_object).flat_map(|status| status.keys());
    let mut changed: Vec<_> = fields.filter(|field| before.get(*field) != after.get(*field)).collect();
    changed.sort_unstable();
    changed.dedup();
    for field in changed {
        let found = after.get(field).map_or_else(|| "nothing".to_owned(), |value| clean(&value.to_string()));
        report.forbid(format!("status.{field}"), found, "only the cluster's Job controller writes it");
    }
}
