//! How long run namespaces live, how many there are at once, and what becomes of them.

use super::Wider::{Absent, Later, Longer, More, Shorter, Unclear};
use super::Words::{Mode, Optional, Value};
use super::{Setting, setting};

pub(super) const SETTINGS: &[Setting] = &[
    setting(
        "lease.defaultTtl",
        Value("leases of runs whose role has no time of its own end after {value}"),
        Longer,
        &["NS015", "LEASE001"],
    ),
    setting(
        "lease.ttlByRole.*",
        Optional(
            "leases of runs of the role {0} end after {value}",
            "leases of runs of the role {0} end after lease.defaultTtl, as others do",
        ),
        Longer,
        &["NS015", "LEASE001"],
    ),
    setting("lease.minTtl", Value("a lease is for {value} at least"), Shorter, &["LEASE002"]),
    setting(
        "lease.maxTtl",
        Value("a lease is for {value} at most, and ends no later than that from now"),
        Longer,
        &["LEASE002"],
    ),
    setting(
        "lease.tolerance",
        Value("the parts of a lease, and a client's clock and ours, may be {value} apart"),
        Longer,
        &["LEASE002", "LEASE003", "LEASE004"],
    ),
    setting(
        "lease.maxLifetime",
        Value("others than managers extend a lease up to {value} after the namespace was created"),
        Longer,
        &["LEASE006"],
    ),
    setting(
        "quotas.cluster",
        Optional(
            "the run namespaces that work at once in the cluster are limited",
            "nothing limits how many run namespaces work at once in the cluster",
        ),
        Absent,
        &["QUOTA003"],
    ),
    setting(
        "quotas.cluster.max",
        Value("{value} run namespaces work at once in the cluster, and no more"),
        More,
        &["QUOTA003"],
    ),
    setting(
        "quotas.perProject",
        Optional(
            "the run namespaces of a project that work at once are limited",
            "nothing limits how many run namespaces of a project work at once",
        ),
        Absent,
        &["QUOTA003"],
    ),
    setting(
        "quotas.perProject.max",
        Value("{value} run namespaces of a project without a limit of its own work at once, and no more"),
        More,
        &["QUOTA003"],
    ),
    setting(
        "quotas.perProject.overrides.*",
        Optional(
            "{value} run namespaces of the project {0} work at once, and no more",
            "as many run namespaces of the project {0} work at once as of others",
        ),
        More,
        &["QUOTA003"],
    ),
    setting(
        "quotas.perRequester",
        Optional(
            "the run namespaces of a user that work at once are limited, except for managers",
            "nothing limits how many run namespaces of a user work at once",
        ),
        Absent,
        &["QUOTA003"],
    ),
    setting(
        "quotas.perRequester.max",
        Value("{value} run namespaces of a user who is not a manager work at once, and no more"),
        More,
        &["QUOTA003"],
    ),
    setting(
        "quotas.agentJobsPerProject",
        Optional(
            "the agent Jobs of a project that work at once are limited",
            "nothing limits how many agent Jobs of a project work at once",
        ),
        Absent,
        &["QUOTA004"],
    ),
    setting(
        "quotas.agentJobsPerProject.max",
        Value("{value} agent Jobs of a project without a limit of its own work at once, and no more"),
        More,
        &["QUOTA004"],
    ),
    setting(
        "quotas.agentJobsPerProject.overrides.*",
        Optional(
            "{value} agent Jobs of the project {0} work at once, and no more",
            "as many agent Jobs of the project {0} work at once as of others",
        ),
        More,
        &["QUOTA004"],
    ),
    setting(
        "quotas.unplacedTtl",
        Value("a namespace that gets no place ends {value} after it is told so"),
        Longer,
        &["LEASE004"],
    ),
    setting(
        "cleanup.enabled",
        Value("whether the garbage collector deletes anything: {value}"),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.grace",
        Value("a namespace is left alone for {value} after the end of its lease"),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.workGrace",
        Value("workloads without a scheduled Pod keep a namespace for {value} beyond lease and hold"),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.withoutLease",
        Value("what becomes of a namespace whose lease is missing or cannot be read: {value}"),
        Later(&[&["keep"], &["age"]]),
        &["NS015"],
    ),
    setting(
        "cleanup.unknownRun",
        Value("what becomes of a namespace whose run the platform's database does not know: {value}"),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.unproven",
        Value("what becomes of a namespace of which nothing proves that it was born managed: {value}"),
        Unclear,
        &[],
    ),
    setting("cleanup.maxHold", Value("a hold ends no further ahead than {value}"), Longer, &["LEASE007"]),
    setting(
        "cleanup.maxHoldLifetime",
        Value("others than managers hold a namespace up to {value} after it was created"),
        Longer,
        &["LEASE008"],
    ),
    setting(
        "cleanup.retention.fullEnv|codeOnly.succeeded|failed|canceled.afterLease",
        Optional(
            "{0} namespaces whose run {1} stay for {value} beyond the end of their lease",
            "{0} namespaces whose run {1} do not stay beyond the end of their lease",
        ),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.retention.fullEnv|codeOnly.succeeded|failed|canceled.afterFinish",
        Optional(
            "{0} namespaces whose run {1} go {value} after its end, even if the lease lives",
            "{0} namespaces whose run {1} stay until their lease ends",
        ),
        Unclear,
        &["NS015"],
    ),
    setting(
        "cleanup.breaker.maxDeletions",
        Value("a sweep deletes {value} namespaces at most"),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.breaker.maxSharePercent",
        Value(
            "{value} percent of the managed namespaces may be due otherwise than by their own leases at most",
        ),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.breaker.shareFrom",
        Value(
            "below {value} namespaces that are due otherwise than by their own leases, their share does not matter",
        ),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.breaker.maxJump",
        Value("{value} times as many as the last sweep found may be due otherwise than by their own leases"),
        Unclear,
        &[],
    ),
    setting(
        "cleanup.breaker.maxClockSkew",
        Value("the collector's clock may be {value} from the API server's"),
        Unclear,
        &[],
    ),
    setting("cleanup.concurrency", Value("{value} deletions are under way at a time"), Unclear, &[]),
    setting(
        "cleanup.waitForGone",
        Value("a sweep waits for {value} before it tells what blocks a deletion"),
        Unclear,
        &[],
    ),
    setting("rules.*", Mode, Later(&[&["enforce"], &["warn"], &["audit"], &["off"]]), &[]),
];
