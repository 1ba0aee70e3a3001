//! Who is who, and what may be added to anybody's rights.

use super::Wider::{Later, Listed, More, Unclear};
use super::Words::{List, Value};
use super::{EVERY, Setting, setting};

/// What tells managers from others; their own stack in slots is left alone.
const OF_MANAGERS: &[&str] = &[
    "NS001", "NS003", "NS004", "NS005", "NS006", "NS011", "NS015", "NS017", "NS019", "LEASE004", "LEASE006",
    "LEASE008", "JOB*", "QUOTA001", "QUOTA002", "QUOTA004", "GATE001", "BASE001", "BASE002", "RBAC*",
];
/// What tells the reconciler from others.
const OF_RECONCILERS: &[&str] =
    &["NS011", "LEASE004", "QUOTA001", "QUOTA004", "BASE001", "BASE002", "RBAC001", "RBAC002"];
/// What tells agents from others.
const OF_AGENTS: &[&str] = &["NS011", "LEASE005", "JOB002", "RBAC003", "TOKEN002"];
/// What leaves controllers alone.
const OF_CONTROLLERS: &[&str] =
    &["JOB*", "QUOTA001", "QUOTA002", "QUOTA004", "GATE001", "BASE001", "BASE002", "RBAC*"];
/// The same, and what leaves the end of a namespace alone.
const OF_THE_END: &[&str] =
    &["NS*", "LEASE*", "JOB*", "QUOTA001", "QUOTA002", "QUOTA004", "GATE001", "BASE001", "BASE002", "RBAC*"];
/// What tells slots from other run namespaces.
const OF_SLOTS: &[&str] = &[
    "NS006", "NS011", "NS014", "NS016", "NS017", "LEASE005", "JOB*", "QUOTA002", "QUOTA004", "GATE001",
    "BASE001", "RBAC*", "TOKEN002",
];

pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "identities.managers.users|groups",
        List("managers of the platform, who rebind, shorten and delete run namespaces"),
        Listed,
        OF_MANAGERS,
    ),
    setting(
        "identities.garbageCollectors.users|groups",
        List("garbage collectors, which delete run namespaces that are over, unless somebody holds them"),
        Unclear,
        &["NS015"],
    ),
    setting(
        "identities.reconcilers.users|groups",
        List("baseline reconcilers, which write baselines and say that one is ready"),
        Listed,
        OF_RECONCILERS,
    ),
    setting(
        "identities.namespaceControllers.users|groups",
        List("namespace controllers, which empty and finalize what is being deleted"),
        Listed,
        OF_THE_END,
    ),
    setting(
        "identities.workloadControllers.users|groups",
        List("controllers, whose Pods and Jobs were judged as templates"),
        Listed,
        OF_CONTROLLERS,
    ),
    setting(
        "identities.quotaControllers.users|groups",
        List("programs of the cluster that write the status of a ResourceQuota"),
        Listed,
        &["BASE003"],
    ),
    setting(
        "identities.candidateServiceAccounts",
        List("ServiceAccounts of slots that are the platform's candidate copies, not agents"),
        Listed,
        OF_AGENTS,
    ),
    setting(
        "identities.breakGlass.users|groups",
        List("those who pass every rule, with warnings"),
        Listed,
        EVERY,
    ),
    setting(
        "namespaces.prefixes",
        List("prefixes of names that are a run namespace's from birth"),
        Unclear,
        EVERY,
    ),
    setting(
        "namespaces.slotProjects",
        List(
            "projects that have slots, namespaces called <project>-dev-<n> that managers create bare and label later",
        ),
        Unclear,
        OF_SLOTS,
    ),
    setting(
        "namespaces.home",
        List("the platform's own namespaces, which are never managed"),
        Unclear,
        &["NS006", "NS008", "NS016", "RBAC003"],
    ),
    setting(
        "namespaces.protected",
        List("namespaces that can never become run namespaces"),
        Unclear,
        &["NS006", "NS008", "NS016", "RBAC003"],
    ),
    setting(
        "namespaces.creation",
        Value("who may create run namespaces, as far as RBAC lets them: {value}"),
        Later(&[&["managers"], &["anyone"]]),
        &["NS005"],
    ),
    setting("namespaces.allowedFinalizers", List("finalizers of run namespaces"), Listed, &["NS012"]),
    setting("namespaces.allowedOwners", List("kinds that may own a run namespace"), Listed, &["NS012"]),
    setting(
        "namespaces.allowedPrivileges",
        List("labels and annotations of Kubernetes that may give a run namespace privileges"),
        Listed,
        &["NS018"],
    ),
    setting(
        "rbac.roles",
        List("Roles that may be bound in run namespaces beside the profiles'"),
        Listed,
        &["RBAC002"],
    ),
    setting(
        "rbac.clusterRoles",
        List("ClusterRoles that may be bound in run namespaces, uncapped"),
        Listed,
        &["RBAC002"],
    ),
    setting(
        "rbac.subjects.users|groups",
        List("those whom a RoleBinding in a run namespace may bind beside its own ServiceAccounts"),
        Listed,
        &["RBAC002"],
    ),
    setting(
        "rbac.everybody",
        List("ClusterRoles that may be bound to all users, and so to every agent"),
        Listed,
        &["RBAC003", "RBAC004"],
    ),
    setting("tokens.audiences", List("audiences that a token may be for"), Listed, &["TOKEN001"]),
    setting("tokens.maxSeconds", Value("a token lives for at most {value} seconds"), More, &["TOKEN001"]),
];
