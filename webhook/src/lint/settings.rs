//! Checks of settings that are valid but dangerous or useless.

use codex_k8s_shared::policy::{
    Level, MissingLease, Mode, PolicyRule, RunPolicy, Subjects, UnknownRun, UnverifiedOrigin,
};

use super::Remark;
use crate::check::Severity::{Error, Warning};
use crate::rules::catalogue;

/// Groups and users that include every user without being assigned.
const EVERYBODY: [&str; 4] =
    ["system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:anonymous"];
/// Maximum number of namespaces in the scalability thresholds of Kubernetes.
const MOST_NAMESPACES: u32 = 10_000;

pub(super) fn remarks(policy: &RunPolicy) -> Vec<Remark> {
    [identities, namespaces, lease, security, rights, quotas, cleanup, modes]
        .into_iter()
        .flat_map(|check| check(policy))
        .collect()
}

fn identities(policy: &RunPolicy) -> Vec<Remark> {
    let identities = &policy.identities;
    let lists = [
        ("identities.managers", &identities.managers),
        ("identities.garbageCollectors", &identities.garbage_collectors),
        ("identities.reconcilers", &identities.reconcilers),
        ("identities.namespaceControllers", &identities.namespace_controllers),
        ("identities.workloadControllers", &identities.workload_controllers),
        ("identities.quotaControllers", &identities.quota_controllers),
        ("identities.breakGlass", &identities.break_glass),
        ("rbac.subjects", &policy.rbac.subjects),
    ];
    let mut remarks: Vec<_> =
        lists.into_iter().flat_map(|(field, list)| subjects(policy, field, list)).collect();
    if identities.break_glass != Subjects::default() {
        remarks.push(Remark::new(
            Warning,
            "identities.breakGlass",
            "whoever is listed passes every rule",
            "empty it once the emergency is over",
        ));
    }
    let agents = &policy.jobs.service_accounts.full_env;
    for (index, name) in identities.candidate_service_accounts.iter().enumerate() {
        if agents.contains(name) {
            remarks.push(Remark::new(
                Error,
                &format!("identities.candidateServiceAccounts[{index}]"),
                format!(
                    "{name:?} is also in jobs.serviceAccounts.fullEnv: agents would pass for the platform"
                ),
                "take it out of one of the two",
            ));
        }
    }
    remarks
}

fn subjects(policy: &RunPolicy, field: &str, list: &Subjects) -> Vec<Remark> {
    let named = |part: &'static str, names: &[String]| -> Vec<(String, String)> {
        names.iter().enumerate().map(|(at, name)| (format!("{field}.{part}[{at}]"), name.clone())).collect()
    };
    let both = named("users", &list.users).into_iter().chain(named("groups", &list.groups));
    both.filter_map(|(path, name)| {
        if EVERYBODY.contains(&name.as_str()) {
            let problem = format!("{name:?} is everybody, or every program of the cluster");
            return Some(Remark::new(
                Error,
                &path,
                problem,
                "name the ServiceAccounts or people that are meant",
            ));
        }
        let namespace = name
            .strip_prefix("system:serviceaccount:")
            .and_then(|rest| rest.split(':').next())
            .or_else(|| name.strip_prefix("system:serviceaccounts:"))?;
        policy.namespaces.is_of_a_run(namespace).then(|| {
            let problem = format!("{name:?} lives in a run namespace: an agent can be it");
            Remark::new(Error, &path, problem, "name a ServiceAccount outside of run namespaces")
        })
    })
    .collect()
}

fn namespaces(policy: &RunPolicy) -> Vec<Remark> {
    let prefixes = &policy.namespaces.prefixes;
    let hidden = prefixes.iter().enumerate().filter_map(|(index, prefix)| {
        let by = prefixes
            .iter()
            .enumerate()
            .find(|(other, by)| (*other < index && *by == prefix) || prefix.starts_with(&format!("{by}-")));
        let (_, by) = by?;
        let field = format!("namespaces.prefixes[{index}]");
        let problem = format!("every name that {prefix:?} reserves is already reserved by {by:?}");
        Some(Remark::new(Warning, &field, problem, "take it out"))
    });
    let mut remarks: Vec<_> = hidden.collect();
    if prefixes.is_empty() {
        remarks.push(Remark::new(
            Warning,
            "namespaces.prefixes",
            "is empty: no name is a run namespace's from birth",
            "name the prefixes that the platform gives, such as codex-issue",
        ));
    }
    remarks
}

fn lease(policy: &RunPolicy) -> Vec<Remark> {
    let lease = &policy.lease;
    let mut remarks = Vec::new();
    if lease.max_lifetime < lease.default_ttl {
        remarks.push(Remark::new(
            Warning,
            "lease.maxLifetime",
            "is shorter than lease.defaultTtl: no lease could be extended before it ends",
            "make it as long as lease.maxTtl at least",
        ));
    }
    if lease.tolerance >= lease.min_ttl * 2 {
        remarks.push(Remark::new(
            Warning,
            "lease.tolerance",
            "is twice lease.minTtl or more: short leases can end at nearly any time",
            "keep it to a few minutes",
        ));
    }
    remarks
}

fn security(policy: &RunPolicy) -> Vec<Remark> {
    let security = &policy.pod_security;
    let mut remarks = Vec::new();
    if security.run.enforce == Level::Privileged {
        remarks.push(Remark::new(
            Warning,
            "podSecurity.run.enforce",
            "is privileged: agents may run Pods that own their node",
            "set it to baseline or restricted",
        ));
    }
    for (field, levels) in
        [("podSecurity.run.audit", security.run), ("podSecurity.slot.audit", security.slot)]
    {
        if levels.audit < levels.enforce {
            let problem = "is looser than enforce: Pods that violate it are refused, not recorded";
            remarks.push(Remark::new(Warning, field, problem, "make it as strict as enforce, or stricter"));
        }
    }
    remarks
}

fn rights(policy: &RunPolicy) -> Vec<Remark> {
    let profiles = [("candidate", &policy.baseline.candidate), ("readOnly", &policy.baseline.read_only)];
    let mut remarks = Vec::new();
    for (name, profile) in profiles {
        for (index, rule) in profile.rules.iter().enumerate() {
            remarks.extend(wildcards(&format!("baseline.{name}.rules[{index}]"), rule));
        }
    }
    for (index, role) in policy.rbac.cluster_roles.iter().enumerate() {
        let field = format!("rbac.clusterRoles[{index}]");
        let (severity, problem) = if ["cluster-admin", "admin", "edit"].contains(&role.as_str()) {
            (Error, format!("{role:?} lets whoever is bound write nearly everything in the namespace"))
        } else {
            (Warning, format!("what {role:?} grants is not capped by the profiles' rules"))
        };
        remarks.push(Remark::new(severity, &field, problem, "list a Role in rbac.roles instead"));
    }
    remarks
}

/// Checks for `*` in a profile's rule: how much it grants cannot be known in advance.
fn wildcards(field: &str, rule: &PolicyRule) -> Vec<Remark> {
    let is_about = |group: &str| rule.api_groups.iter().any(|one| one == group);
    let is_of_rights = is_about("rbac.authorization.k8s.io");
    let parts = [
        ("apiGroups", &rule.api_groups, true, "everything that there is and will be"),
        (
            "resources",
            &rule.resources,
            is_about("") || is_of_rights,
            "all that its groups hold and will hold",
        ),
        ("verbs", &rule.verbs, is_of_rights, "every verb that there is and will be, impersonate among them"),
    ];
    let found = parts.into_iter().filter_map(|(part, values, is_worst, what)| {
        let at = values.iter().position(|value| value == "*")?;
        let severity = if is_worst { Error } else { Warning };
        let problem = format!("grants {what}, to agents");
        Some(Remark::new(severity, &format!("{field}.{part}[{at}]"), problem, "name what agents need"))
    });
    found.collect()
}

fn quotas(policy: &RunPolicy) -> Vec<Remark> {
    let Some(cluster) = policy.quotas.cluster else {
        return vec![Remark::new(
            Warning,
            "quotas.cluster",
            "is null: nothing bounds how many run namespaces there are",
            "set quotas.cluster.max",
        )];
    };
    let field = "quotas.cluster.max";
    let mut remarks = Vec::new();
    if cluster.max == 0 {
        let problem = "is 0: there is never a run namespace";
        remarks.push(Remark::new(Warning, field, problem, "set it to what the cluster carries"));
    } else if cluster.max > MOST_NAMESPACES {
        let problem =
            format!("found {}; Kubernetes is tested with {MOST_NAMESPACES} namespaces", cluster.max);
        remarks.push(Remark::new(Warning, field, problem, "set it to what the cluster carries"));
    }
    let projects = policy.quotas.per_project.iter().flat_map(|limit| {
        let overrides = limit.overrides.iter();
        overrides
            .map(|(project, max)| (format!("quotas.perProject.overrides[{project:?}]"), *max))
            .chain([("quotas.perProject.max".to_owned(), limit.max)])
    });
    let requester =
        policy.quotas.per_requester.map(|limit| ("quotas.perRequester.max".to_owned(), limit.max));
    for (field, max) in projects.chain(requester).filter(|(_, max)| *max > cluster.max) {
        let problem = format!("{max} is never reached: quotas.cluster.max is {}", cluster.max);
        remarks.push(Remark::new(Warning, &field, problem, "lower it, or raise quotas.cluster.max"));
    }
    remarks
}

fn cleanup(policy: &RunPolicy) -> Vec<Remark> {
    let (cleanup, breaker) = (&policy.cleanup, &policy.cleanup.breaker);
    let idle = cleanup.enabled && breaker.max_deletions == 0;
    [
        (!cleanup.enabled, "cleanup.enabled", "is false: run namespaces stay for ever", "set it to true"),
        (
            cleanup.missing_lease == MissingLease::UseAge,
            "cleanup.missingLease",
            "is age: a namespace that lost its lease is deleted by its age",
            "set it to retain",
        ),
        (
            cleanup.unknown_run == UnknownRun::Finished,
            "cleanup.unknownRun",
            "is finished: with another or a restored database every run has ended",
            "set it to retain",
        ),
        (
            cleanup.unverified_origin == UnverifiedOrigin::TrustLabels,
            "cleanup.unverifiedOrigin",
            "is trustLabels: anyone who can label a namespace can have it deleted",
            "set it to retain",
        ),
        (
            breaker.max_share_percent == 100,
            "cleanup.breaker.maxSharePercent",
            "is 100: one sweep may delete all that there is",
            "set it to 50 or so",
        ),
        (
            idle,
            "cleanup.breaker.maxDeletions",
            "is 0 while cleanup.enabled is true: every sweep that has something to do is refused",
            "raise it, or set cleanup.enabled to false",
        ),
    ]
    .into_iter()
    .filter(|(applies, ..)| *applies)
    .map(|(_, field, problem, remedy)| Remark::new(Warning, field, problem, remedy))
    .collect()
}

fn modes(policy: &RunPolicy) -> Vec<Remark> {
    let weaker = policy.rules.iter().filter_map(|(id, mode)| {
        let rule = catalogue::find(id).filter(|rule| rule.default_mode == Mode::Enforce)?;
        if *mode == Mode::Enforce {
            return None;
        }
        let problem = format!("what breaks it ({}) is {}", rule.title, catalogue::consequence(*mode));
        Some(Remark::new(Warning, &format!("rules.{id}"), problem, "take the line out, or set it to enforce"))
    });
    weaker.collect()
}
