//! What run namespaces hold, and what workloads in them may ask for.

use super::Wider::{Absent, Granted, Greater, Later, Listed, More, Unclear, Unlisted};
use super::Words::{List, Optional, Ordered, Value};
use super::{Setting, setting};

const LEVELS: super::Wider = Later(&[&["restricted"], &["baseline"], &["privileged"]]);

const NEVER_WRITTEN: &str = "no rule writes it: the API server has written its own default before";

pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "podSecurity.run|slot.enforce",
        Value("{0} namespaces are born so that Pods below this level are refused: {value}"),
        LEVELS,
        &["NS014"],
    ),
    setting(
        "podSecurity.run|slot.warn",
        Value("{0} namespaces are born so that workloads below this level earn a warning: {value}"),
        LEVELS,
        &["NS014"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.access",
        Value("agents in {0} namespaces may do what this profile grants: {value}"),
        Later(&[&["none"], &["candidate", "read-only"]]),
        &["BASE001", "RBAC001"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.resourceQuota",
        Optional("{0} namespaces hold a ResourceQuota", "{0} namespaces hold no ResourceQuota"),
        Absent,
        &["QUOTA001", "QUOTA002", "BASE001", "BASE002"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.resourceQuota.name",
        Value("the ResourceQuota of {0} namespaces is named {value}"),
        Unclear,
        &["QUOTA001", "BASE001", "BASE002"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.resourceQuota.hard.*",
        Optional("in {0} namespaces, {1} is limited to {value}", "in {0} namespaces, {1} is not limited"),
        Greater,
        &["BASE001", "QUOTA002"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.limitRange",
        Optional("{0} namespaces hold a LimitRange", "{0} namespaces hold no LimitRange"),
        Unclear,
        &["JOB023", "QUOTA001", "QUOTA002", "BASE001", "BASE002"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.limitRange.name",
        Value("the LimitRange of {0} namespaces is named {value}"),
        Unclear,
        &["QUOTA001", "BASE001", "BASE002"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.limitRange.default.*",
        Optional(
            "in {0} namespaces, a container that names no limit of {1} gets {value}",
            "in {0} namespaces, a container that names no limit of {1} has none",
        ),
        Unclear,
        &["BASE001", "JOB023", "QUOTA002"],
    ),
    setting(
        "baseline.fullEnv|codeOnly|slot.limitRange.defaultRequest.*",
        Optional(
            "in {0} namespaces, a container that names no request of {1} gets {value}",
            "in {0} namespaces, a container that names no request of {1} gets its limit",
        ),
        Unclear,
        &["BASE001", "JOB023", "QUOTA002"],
    ),
    setting(
        "baseline.candidate|readOnly.serviceAccount",
        Value("the ServiceAccount of the profile {0} is named {value}"),
        Unclear,
        &["BASE001", "BASE002"],
    ),
    setting(
        "baseline.candidate|readOnly.role",
        Value("the Role of the profile {0} is named {value}"),
        Unclear,
        &["BASE001", "BASE002", "RBAC002"],
    ),
    setting(
        "baseline.candidate|readOnly.roleBinding",
        Value("the RoleBinding of the profile {0} is named {value}"),
        Unclear,
        &["BASE001", "BASE002"],
    ),
    setting(
        "baseline.candidate|readOnly.rules",
        List("what the profile {0} grants agents, and at most any Role beside it"),
        Granted,
        &["BASE001", "RBAC001"],
    ),
    setting(
        "jobs.serviceAccounts.fullEnv",
        Ordered(
            "ServiceAccounts that workloads of full-env runs may be",
            "workloads that name none are {value}",
        ),
        Listed,
        &["JOB004", "TOKEN002"],
    ),
    setting(
        "jobs.serviceAccounts.codeOnly",
        List("ServiceAccounts that workloads of code-only runs may be"),
        Listed,
        &["JOB004"],
    ),
    setting(
        "jobs.activeDeadlineSeconds.default",
        Value("a Job that names no deadline runs for {value} seconds at most"),
        More,
        &["JOB007"],
    ),
    setting(
        "jobs.activeDeadlineSeconds.max",
        Value("a Job runs for {value} seconds at most"),
        More,
        &["JOB007"],
    ),
    setting(
        "jobs.ttlSecondsAfterFinished.default",
        Value("a finished Job that names no time is removed after {value} seconds"),
        More,
        &["JOB008"],
    ),
    setting(
        "jobs.ttlSecondsAfterFinished.max",
        Value("a finished Job is removed after {value} seconds at most"),
        More,
        &["JOB008"],
    ),
    setting(
        "jobs.backoffLimit.default",
        Value("a Job that says nothing is retried {value} times"),
        Unclear,
        &["JOB009"],
    ),
    setting("jobs.backoffLimit.max", Value("a Job is retried {value} times at most"), More, &["JOB009"]),
    setting("jobs.parallelism.default", Value(NEVER_WRITTEN), Unclear, &[]),
    setting("jobs.parallelism.max", Value("a Job runs {value} Pods at a time at most"), More, &["JOB010"]),
    setting("jobs.completions.default", Value(NEVER_WRITTEN), Unclear, &[]),
    setting("jobs.completions.max", Value("of a Job, {value} Pods at most must succeed"), More, &["JOB010"]),
    setting("jobs.managedBy", List("controllers that may run a Job"), Listed, &["JOB011"]),
    setting("jobs.schedulers", List("schedulers that a workload may name"), Listed, &["JOB014"]),
    setting("jobs.priorityClasses", List("priority classes that a workload may name"), Listed, &["JOB013"]),
    setting("jobs.volumes", List("types of volumes that a workload may mount"), Listed, &["JOB019"]),
    setting("jobs.runtimeClasses", List("runtime classes that a workload may name"), Listed, &["JOB015"]),
    setting("jobs.tolerations", List("taints that a workload may tolerate"), Listed, &["JOB016"]),
    setting("jobs.finalizers", List("finalizers that a workload may carry"), Listed, &["JOB003"]),
    setting(
        "jobs.secretEnv",
        List("environment variables whose literal values are secrets"),
        Unlisted,
        &["JOB022"],
    ),
];
