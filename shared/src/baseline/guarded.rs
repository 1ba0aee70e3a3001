//! The parts of the baseline that the rules need: its names, the desired object of a name, and the maximum of a Role.

use super::{BaselineKind, Desired, access, desired, set_of};
use crate::policy::{Access, AccessProfile, BaselineSet, PolicyRule, RunPolicy};
use crate::run::RuntimeMode;

/// The names of the baseline objects of a kind in any namespace: those of both access profiles and of every set. A
/// name may occur more than once.
pub fn names(policy: &RunPolicy, kind: BaselineKind) -> impl Iterator<Item = &str> {
    let profiles = policy.baseline.profiles().into_iter();
    let sets = policy.baseline.sets().into_iter();
    profiles
        .filter_map(move |profile| name_in_profile(kind, profile))
        .chain(sets.filter_map(move |set| of_set(kind, set)))
}

fn of_set(kind: BaselineKind, set: &BaselineSet) -> Option<&str> {
    match kind {
        BaselineKind::ResourceQuota => set.resource_quota.as_ref().map(|quota| quota.name.as_str()),
        BaselineKind::LimitRange => set.limit_range.as_ref().map(|limits| limits.name.as_str()),
        BaselineKind::ServiceAccount | BaselineKind::Role | BaselineKind::RoleBinding => None,
    }
}

/// The name of the object of a kind in an access profile.
pub fn name_in_profile(kind: BaselineKind, profile: &AccessProfile) -> Option<&str> {
    match kind {
        BaselineKind::ServiceAccount => Some(&profile.service_account),
        BaselineKind::Role => Some(&profile.role),
        BaselineKind::RoleBinding => Some(&profile.role_binding),
        BaselineKind::ResourceQuota | BaselineKind::LimitRange => None,
    }
}

/// The desired object of this name in a namespace: the one of the namespace's own set, or that of the access profile
/// that the name belongs to. `None` if the policy does not have such an object there.
pub fn desired_object(
    policy: &RunPolicy,
    namespace: &str,
    mode: RuntimeMode,
    kind: BaselineKind,
    name: &str,
) -> Option<Desired> {
    let is_it = |desired: &Desired| desired.kind == kind && desired.name == name;
    desired(policy, namespace, mode).into_iter().find(is_it).or_else(|| {
        let mut profiles = policy.baseline.profiles().into_iter();
        let profile = profiles.find(|profile| name_in_profile(kind, profile) == Some(name))?;
        access(profile, namespace).into_iter().find(is_it)
    })
}

/// The maximum that a Role in such a namespace may grant: the rules of both profiles, or nothing if there is no
/// access.
pub fn maximum(policy: &RunPolicy, mode: RuntimeMode, slot: bool) -> Vec<&PolicyRule> {
    match set_of(policy, mode, slot).access {
        Access::None => Vec::new(),
        Access::Candidate | Access::ReadOnly => {
            policy.baseline.profiles().into_iter().flat_map(|profile| &profile.rules).collect()
        }
    }
}
