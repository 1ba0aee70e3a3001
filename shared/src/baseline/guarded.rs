//! What guards ask of the baseline: which names are its own, what has such a name, and the most that may be granted.

use super::{BaselineKind, Desired, access, desired, set_of};
use crate::policy::{Access, AccessProfile, BaselineSet, PolicyRule, RunPolicy};
use crate::run::RuntimeMode;

/// The names that baseline objects of a kind have, whatever the namespace: those of both access profiles and of every
/// set, once each or more.
pub fn names(policy: &RunPolicy, kind: BaselineKind) -> impl Iterator<Item = &str> {
    let profiles = policy.baseline.profiles().into_iter();
    let sets = policy.baseline.sets().into_iter();
    profiles
        .filter_map(move |profile| of_profile(kind, profile))
        .chain(sets.filter_map(move |set| of_set(kind, set)))
}

fn of_set(kind: BaselineKind, set: &BaselineSet) -> Option<&str> {
    match kind {
        BaselineKind::ResourceQuota => set.resource_quota.as_ref().map(|quota| quota.name.as_str()),
        BaselineKind::LimitRange => set.limit_range.as_ref().map(|limits| limits.name.as_str()),
        BaselineKind::ServiceAccount | BaselineKind::Role | BaselineKind::RoleBinding => None,
    }
}

fn of_profile(kind: BaselineKind, profile: &AccessProfile) -> Option<&str> {
    match kind {
        BaselineKind::ServiceAccount => Some(&profile.service_account),
        BaselineKind::Role => Some(&profile.role),
        BaselineKind::RoleBinding => Some(&profile.role_binding),
        BaselineKind::ResourceQuota | BaselineKind::LimitRange => None,
    }
}

/// What an object of this name is to be in a namespace: as the namespace's own set has it, else as the access profile
/// has it whose object it is. `None` if the policy wants no such object there.
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
        let profile = profiles.find(|profile| of_profile(kind, profile) == Some(name))?;
        access(profile, namespace).into_iter().find(is_it)
    })
}

/// The most that a Role in such a namespace may grant: the rules of both profiles, or nothing where there is no access.
pub fn maximum(policy: &RunPolicy, mode: RuntimeMode, slot: bool) -> Vec<&PolicyRule> {
    match set_of(policy, mode, slot).access {
        Access::None => Vec::new(),
        Access::Candidate | Access::ReadOnly => {
            policy.baseline.profiles().into_iter().flat_map(|profile| &profile.rules).collect()
        }
    }
}
