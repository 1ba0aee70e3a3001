//! Comparison of a namespace's baseline with the policy, as the reconciler would do it.

use std::collections::{BTreeMap, BTreeSet};

use codex_k8s_shared::baseline::{BaselineKind, Desired};
use codex_k8s_shared::policy::RunPolicy;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::super::evaluation::unevaluated;
use super::super::{Evaluation, Problem, Severity, Verdict};
use crate::baseline::desired;
use crate::baseline::plan::{Drift, Key, Observed, Step, plan};
use crate::baseline::resource;

/// Used instead of a rule id for a baseline that differs from the policy.
pub const RULE: &str = "BASELINE";
/// Its title.
pub const TITLE: &str = "The baseline is as the policy says";
/// Its reason.
pub const WHY: &str =
    "What a run may do and use is what its namespace's baseline says, not what the policy says.";
/// The way to comply.
pub const REMEDY: &str = "Let codex-k8s-guard reconcile run: it repairs what drifts.";

/// Compares each baseline object of a namespace with the policy.
pub(super) fn compare(
    policy: &RunPolicy,
    meta: &ObjectMeta,
    observed: &Observed,
) -> BTreeMap<Key, Evaluation> {
    let namespace = meta.name.as_deref().unwrap_or_default();
    let desired = desired(policy, meta);
    let keys: BTreeSet<_> = observed.keys().cloned().chain(desired.iter().map(Desired::key)).collect();
    let settled = keys.into_iter().map(|key| {
        let evaluation = evaluation(&key, namespace, Vec::new());
        (key, evaluation)
    });
    let mut all: BTreeMap<_, _> = settled.collect();
    let plan = plan(&desired, observed);
    let mut amiss = |key: Key, problems: Vec<Problem>| {
        let evaluation = evaluation(&key, namespace, problems);
        all.insert(key, evaluation);
    };
    for step in plan.steps {
        match step {
            Step::Create(desired) => {
                amiss(desired.key(), vec![problem("", "nothing", "reconcile creates it")]);
            }
            Step::Repair(desired, drift) => amiss(desired.key(), differences(&drift, "reconcile sets it to")),
            Step::Replace(desired, drift) => {
                amiss(desired.key(), differences(&drift, "reconcile makes it anew with"));
            }
            Step::Remove(kind, name, _) => {
                amiss((kind, name), vec![problem("", "what is not wanted any more", "reconcile deletes it")]);
            }
        }
    }
    for key in plan.conflicts {
        let remedy = "reconcile leaves it alone; rename or delete it, or label it as the platform's";
        amiss(key, vec![problem("", "an object that another manager owns", remedy)]);
    }
    for name in plan.unfilled {
        let remedy =
            "it enforces nothing until the cluster's quota controller has counted once; does that run?";
        amiss(
            (BaselineKind::ResourceQuota, name),
            vec![problem("status.hard", "another value than spec.hard", remedy)],
        );
    }
    all
}

fn differences(drift: &Drift, does: &str) -> Vec<Problem> {
    let by = drift.by.as_deref().map(|by| format!(", written by {by}")).unwrap_or_default();
    let all = drift.differences.iter();
    all.map(|difference| {
        let found = format!("{}{by}", difference.found);
        problem(&difference.path, &found, &format!("{does} {}", difference.desired))
    })
    .collect()
}

fn problem(path: &str, found: &str, remedy: &str) -> Problem {
    Problem {
        rule: RULE,
        title: TITLE,
        severity: Severity::Error,
        path: if path.is_empty() { "object".to_owned() } else { path.to_owned() },
        found: found.to_owned(),
        remedy: remedy.to_owned(),
        line: None,
        column: None,
        position: None,
    }
}

fn evaluation((kind, name): &Key, namespace: &str, problems: Vec<Problem>) -> Evaluation {
    let message = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    let is_amiss = !problems.is_empty();
    Evaluation {
        result: if is_amiss { Verdict::Drifted } else { Verdict::Admitted },
        message: is_amiss.then_some(message),
        problems,
        ..unevaluated(
            resource(*kind).api_version,
            kind.as_str().to_owned(),
            Some(namespace.to_owned()),
            name.clone(),
        )
    }
}
