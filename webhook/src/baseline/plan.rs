//! The plan for a namespace: a pure function of its observed and its desired objects.

use std::collections::BTreeMap;

use codex_k8s_shared::baseline::{BaselineKind, Desired, Difference};
use codex_k8s_shared::keys;
use serde_json::Value;

use codex_k8s_shared::install::FIELD_MANAGER;

/// The kind and name of an object.
pub(crate) type Key = (BaselineKind, String);

/// The objects that a namespace holds: all with the managed-by label, and all with a baseline name.
pub(crate) type Observed = BTreeMap<Key, Value>;

/// A step, which changes one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// The object is missing.
    Create(Desired),
    /// The object differs from the desired one.
    Repair(Desired, Drift),
    /// The object differs in an immutable field: it is deleted and created again.
    Replace(Desired, Drift),
    /// We applied the object, and it is no longer desired: its kind, name and uid.
    Remove(BaselineKind, String, Option<String>),
}

impl Step {
    /// Returns the kind of the object.
    pub(crate) const fn kind(&self) -> BaselineKind {
        match self {
            Self::Create(desired) | Self::Repair(desired, _) | Self::Replace(desired, _) => desired.kind,
            Self::Remove(kind, ..) => *kind,
        }
    }

    /// Returns the label of the step in metrics.
    pub(crate) const fn action(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Repair(..) => "repair",
            Self::Replace(..) => "replace",
            Self::Remove(..) => "remove",
        }
    }
}

/// The drift of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    /// The differences from the desired object.
    pub differences: Vec<Difference>,
    /// The field manager that wrote last, other than ours, if the object names one.
    pub by: Option<String>,
    /// The uid of the stored object, so that no other one is deleted.
    pub uid: Option<String>,
}

/// The steps for a namespace, and the objects that its gate waits for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The steps, in the order in which they are carried out.
    pub steps: Vec<Step>,
    /// Objects with a baseline name that another manager owns. They are not changed, and keep the gate closed.
    pub conflicts: Vec<(BaselineKind, String)>,
    /// Quotas whose `status.hard` does not match `spec.hard` yet: until then they enforce nothing.
    pub unfilled: Vec<String>,
}

impl Plan {
    /// True if the baseline is complete, so that workloads may run.
    pub fn is_complete(&self) -> bool {
        self.steps.is_empty() && self.conflicts.is_empty() && self.unfilled.is_empty()
    }

    /// Returns the number of objects to create.
    pub(crate) fn creations(&self) -> usize {
        self.steps.iter().filter(|step| matches!(step, Step::Create(_))).count()
    }

    /// True if all objects exist, and only the usage of a quota has yet to be counted.
    pub fn only_counts(&self) -> bool {
        self.steps.is_empty() && self.conflicts.is_empty() && !self.unfilled.is_empty()
    }

    /// Returns the reasons why the gate is closed, as texts.
    pub fn missing(&self) -> Vec<String> {
        let steps = self.steps.iter().map(|step| match step {
            Step::Create(desired) => format!("{} {} is missing", desired.kind, desired.name),
            Step::Repair(desired, _) | Step::Replace(desired, _) => {
                format!("{} {} has drifted", desired.kind, desired.name)
            }
            Step::Remove(kind, name, _) => format!("{kind} {name} is not wanted any more"),
        });
        let conflicts =
            self.conflicts.iter().map(|(kind, name)| format!("{kind} {name} is owned by another manager"));
        let unfilled = self.unfilled.iter().map(|name| format!("ResourceQuota {name} does not count yet"));
        steps.chain(conflicts).chain(unfilled).collect()
    }
}

/// Compares the desired with the observed objects.
pub(crate) fn plan(desired: &[Desired], observed: &Observed) -> Plan {
    let mut plan = Plan::default();
    for desired in desired {
        match observed.get(&desired.key()) {
            None => plan.steps.push(Step::Create(desired.clone())),
            Some(stored) if !is_ours(desired.kind, stored) => {
                plan.conflicts.push((desired.kind, desired.name.clone()));
            }
            Some(stored) => plan.compare(desired, stored),
        }
    }
    for ((kind, name), stored) in observed {
        let desired = desired.iter().any(|desired| desired.kind == *kind && desired.name == *name);
        // Only objects that we applied ourselves: the platform's own copies of other profiles belong to the platform.
        if !desired && is_applied(stored) {
            plan.steps.push(Step::Remove(*kind, name.clone(), uid(stored)));
        }
    }
    plan
}

impl Plan {
    fn compare(&mut self, desired: &Desired, stored: &Value) {
        let differences = desired.differences(stored);
        if differences.is_empty() {
            if desired.kind == BaselineKind::ResourceQuota && !is_filled(desired, stored) {
                self.unfilled.push(desired.name.clone());
            }
            return;
        }
        let immutable = differences.iter().any(|difference| difference.path.starts_with("roleRef"));
        let drift = Drift { by: last_writer(stored), uid: uid(stored), differences };
        let step = if immutable { Step::Replace } else { Step::Repair };
        self.steps.push(step(desired.clone(), drift));
    }
}

/// True if an object has the platform's label or we have applied it before, because removing the label does not change
/// the owner. A ServiceAccount is always ours: the label may be all that we apply, so an account without it cannot be
/// recognized; but it holds nothing that another manager could own, because its rights are defined elsewhere.
fn is_ours(kind: BaselineKind, stored: &Value) -> bool {
    if kind == BaselineKind::ServiceAccount {
        return true;
    }
    let label = stored.pointer("/metadata/labels").and_then(|labels| labels.get(keys::MANAGED_BY));
    label.and_then(Value::as_str) == Some(keys::MANAGED_BY_VALUE) || is_applied(stored)
}

fn uid(stored: &Value) -> Option<String> {
    stored.pointer("/metadata/uid").and_then(Value::as_str).map(str::to_owned)
}

fn managers(stored: &Value) -> impl Iterator<Item = &Value> {
    stored.pointer("/metadata/managedFields").and_then(Value::as_array).into_iter().flatten()
}

/// True if we have applied the object before.
pub(crate) fn is_applied(stored: &Value) -> bool {
    managers(stored).any(|entry| entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply")
}

fn last_writer(stored: &Value) -> Option<String> {
    let others =
        managers(stored).filter(|entry| entry["manager"] != FIELD_MANAGER && entry["subresource"].is_null());
    let last = others.max_by_key(|entry| entry["time"].as_str().unwrap_or_default())?;
    last["manager"].as_str().map(str::to_owned)
}

/// True if the usage of a quota is counted. Until then, the quota admits everything.
fn is_filled(desired: &Desired, stored: &Value) -> bool {
    let mut counted = stored.clone();
    counted["spec"]["hard"] = stored.pointer("/status/hard").cloned().unwrap_or_default();
    desired.differences(&counted).is_empty()
}

#[cfg(test)]
mod tests {
    use codex_k8s_shared::baseline;
    use codex_k8s_shared::policy::RunPolicy;
    use codex_k8s_shared::run::RuntimeMode;
    use serde_json::json;

    use super::*;

    fn desired() -> Vec<Desired> {
        baseline::desired(&RunPolicy::default(), "codex-issue-1", RuntimeMode::FullEnv)
    }

    fn stored(desired: &Desired) -> ((BaselineKind, String), Value) {
        let mut object = desired.object.clone();
        object["metadata"]["uid"] = "u1".into();
        object["metadata"]["managedFields"] = json!([{"manager": FIELD_MANAGER, "operation": "Apply"}]);
        if desired.kind == BaselineKind::ResourceQuota {
            object["status"] = json!({"hard": object["spec"]["hard"]});
        }
        ((desired.kind, desired.name.clone()), object)
    }

    fn complete() -> Observed {
        desired().iter().map(stored).collect()
    }

    fn key(kind: BaselineKind) -> (BaselineKind, String) {
        complete().into_keys().find(|(found, _)| *found == kind).unwrap()
    }

    #[test]
    fn a_new_namespace_gets_everything_in_order() {
        let plan = plan(&desired(), &Observed::new());
        let kinds: Vec<_> = plan
            .steps
            .iter()
            .map(|step| match step {
                Step::Create(desired) => desired.kind,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kinds, BaselineKind::ALL);
        assert!(!plan.is_complete());
        assert_eq!(plan.missing()[0], "ServiceAccount codex-runner is missing");
    }

    #[test]
    fn a_complete_namespace_needs_nothing() {
        let plan = plan(&desired(), &complete());
        assert!(plan.is_complete(), "{plan:?}");
    }

    #[test]
    fn a_quota_that_is_not_counted_yet_keeps_the_gate_closed() {
        for status in [json!(null), json!({}), json!({"hard": {"pods": "20"}})] {
            let mut observed = complete();
            observed.get_mut(&key(BaselineKind::ResourceQuota)).unwrap()["status"] = status;
            let plan = plan(&desired(), &observed);
            assert_eq!(plan.missing(), ["ResourceQuota codex-run-quota does not count yet"]);
            assert!(plan.steps.is_empty());
        }
    }

    #[test]
    fn what_drifted_is_repaired_and_reports_by_whom() {
        let mut observed = complete();
        let role = observed.get_mut(&key(BaselineKind::Role)).unwrap();
        role["rules"] = json!([{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]);
        let managers = role["metadata"]["managedFields"].as_array_mut().unwrap();
        managers.push(json!({"manager": "old", "operation": "Update", "time": "2026-01-01T00:00:00Z"}));
        managers
            .push(json!({"manager": "kubectl-edit", "operation": "Update", "time": "2026-02-01T00:00:00Z"}));
        let plan = plan(&desired(), &observed);
        let [Step::Repair(desired, drift)] = plan.steps.as_slice() else { panic!("{plan:?}") };
        assert_eq!((desired.kind, drift.by.as_deref()), (BaselineKind::Role, Some("kubectl-edit")));
        assert!(drift.differences[0].path.starts_with("rules[0]"), "{drift:?}");
    }

    #[test]
    fn another_role_ref_is_replaced_for_it_cannot_be_changed() {
        let mut observed = complete();
        observed.get_mut(&key(BaselineKind::RoleBinding)).unwrap()["roleRef"]["name"] =
            "cluster-admin".into();
        let plan = plan(&desired(), &observed);
        let [Step::Replace(_, drift)] = plan.steps.as_slice() else { panic!("{plan:?}") };
        assert_eq!(drift.uid.as_deref(), Some("u1"));
    }

    #[test]
    fn an_object_of_somebody_else_is_left_alone_and_keeps_the_gate_closed() {
        let mut observed = complete();
        let quota = observed.get_mut(&key(BaselineKind::ResourceQuota)).unwrap();
        quota["metadata"] = json!({"name": "codex-run-quota"});
        let plan = plan(&desired(), &observed);
        assert_eq!(plan.missing(), ["ResourceQuota codex-run-quota is owned by another manager"]);
        assert!(plan.steps.is_empty());
    }

    #[test]
    fn what_lost_its_label_is_still_ours() {
        let mut observed = complete();
        observed.get_mut(&key(BaselineKind::LimitRange)).unwrap()["metadata"]["labels"] = json!({});
        let plan = plan(&desired(), &observed);
        assert!(
            matches!(plan.steps.as_slice(), [Step::Repair(desired, _)] if desired.kind == BaselineKind::LimitRange)
        );
    }

    #[test]
    fn what_we_applied_and_is_not_desired_any_more_goes_and_the_platforms_own_stays() {
        let mut observed = complete();
        let without_access = baseline::desired(&RunPolicy::default(), "codex-issue-1", RuntimeMode::CodeOnly);
        observed.get_mut(&key(BaselineKind::Role)).unwrap()["metadata"]["managedFields"] = json!([]);
        let plan = plan(&without_access, &observed);
        let removed: Vec<_> = plan.missing();
        assert_eq!(
            removed,
            [
                "ServiceAccount codex-runner is not wanted any more",
                "RoleBinding codex-runner is not wanted any more"
            ]
        );
    }
}
