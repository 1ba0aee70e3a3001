//! The policies of the two supported platform releases.

use std::time::Duration;

use super::baseline::rule;
use super::cleanup::ByOutcome;
use super::{Access, BaselineSet, Retention, RunPolicy};

/// A platform release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Each run has its own namespace, with a quota on CPU and memory and a LimitRange. The namespace goes when the
    /// run has ended.
    A,
    /// Leases, reuse and slots. Agents may change nearly everything in their namespace, and the quota only counts
    /// Pods.
    B,
}

impl RunPolicy {
    /// The policy whose baseline is the one that this platform release writes itself. The rules are the same for
    /// both.
    pub fn of(profile: Profile) -> Self {
        match profile {
            Profile::A => at_a(),
            Profile::B => at_b(),
        }
    }
}

/// The defaults also suit release B, which uses a namespace again after the end of its run. Release A does not.
fn at_a() -> RunPolicy {
    let mut policy = RunPolicy::default();
    let at_the_end = Retention { after_lease: None, after_finish: Some(Duration::from_secs(1)) };
    policy.cleanup.retention.full_env =
        ByOutcome { succeeded: at_the_end, failed: at_the_end, canceled: at_the_end };
    policy
}

fn at_b() -> RunPolicy {
    let mut policy = RunPolicy::default();
    // By default, slots already have the baseline of release B.
    policy.baseline.full_env = policy.baseline.slot.clone();
    policy.baseline.code_only = BaselineSet { access: Access::None, resource_quota: None, limit_range: None };
    let core = [
        "configmaps",
        "endpoints",
        "events",
        "limitranges",
        "persistentvolumeclaims",
        "pods",
        "pods/attach",
        "pods/exec",
        "pods/log",
        "pods/portforward",
        "replicationcontrollers",
        "resourcequotas",
        "serviceaccounts",
        "services",
        "services/proxy",
    ];
    let groups = ["apps", "batch", "autoscaling", "networking.k8s.io", "policy"];
    policy.baseline.candidate.rules = vec![rule("", &core, &["*"])];
    policy.baseline.candidate.rules.extend(groups.map(|group| rule(group, &["*"], &["*"])));
    policy.jobs.active_deadline_seconds.default = 18_000;
    policy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_pass_the_check_and_survive_a_round_trip() {
        for profile in [Profile::A, Profile::B] {
            let policy = RunPolicy::of(profile);
            policy.check().unwrap();
            let text = serde_saphyr::to_string(&policy).unwrap();
            assert_eq!(RunPolicy::from_yaml(&text).unwrap(), policy, "{profile:?}");
        }
    }

    #[test]
    fn at_b_only_pods_are_counted_and_code_only_namespaces_hold_nothing() {
        let baseline = RunPolicy::of(Profile::B).baseline;
        assert_eq!(baseline.full_env, baseline.slot);
        let quota = baseline.full_env.resource_quota.unwrap();
        assert_eq!(quota.hard, [("pods".to_owned(), "20".to_owned())].into());
        assert_eq!((baseline.full_env.limit_range, baseline.code_only.resource_quota), (None, None));
    }

    #[test]
    fn at_b_agents_reach_no_secrets_no_roles_and_no_tokens() {
        let rules = RunPolicy::of(Profile::B).baseline.candidate.rules;
        for rule in &rules {
            let is_core = rule.api_groups == [""];
            assert!(
                !rule.api_groups.iter().any(|group| ["*", "rbac.authorization.k8s.io"].contains(&&**group))
            );
            assert!(
                !is_core
                    || !rule
                        .resources
                        .iter()
                        .any(|one| ["*", "secrets", "serviceaccounts/token"].contains(&&**one))
            );
        }
        assert_eq!(rules.len(), 6);
    }
}
