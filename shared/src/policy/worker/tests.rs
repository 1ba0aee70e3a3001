use std::fmt::Write as _;

use serde_json::json;

use super::*;
use crate::baseline::{Desired, desired};
use crate::run::RuntimeMode;

const PAGE: &str = include_str!("../../../../docs/policy.md");

fn of_worker(profile: Profile, variables: &[(&str, &str)]) -> Result<FromWorker, Vec<String>> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    RunPolicy::of_worker(profile, &variables)
}

/// A value that is not the default, for each variable that sets something, and what the worker then writes or does.
const VALUES: &[(&str, &str)] = &[
    ("CODEXK8S_WORKER_RUN_NAMESPACE_PREFIX", "Team_Runs"),
    ("CODEXK8S_WORKER_K8S_NAMESPACE", "home"),
    ("CODEXK8S_PRODUCTION_NAMESPACE", "prod"),
    ("CODEXK8S_WORKER_AI_REPAIR_NAMESPACE", "repair"),
    ("CODEXK8S_WORKER_RUN_SERVICE_ACCOUNT", "account"),
    ("CODEXK8S_WORKER_RUN_ROLE_NAME", "role"),
    ("CODEXK8S_WORKER_RUN_ROLE_BINDING_NAME", "binding"),
    ("CODEXK8S_WORKER_RUN_READONLY_SERVICE_ACCOUNT", "reader"),
    ("CODEXK8S_WORKER_RUN_READONLY_ROLE_NAME", "reader-role"),
    ("CODEXK8S_WORKER_RUN_READONLY_ROLE_BINDING_NAME", "reader-binding"),
    ("CODEXK8S_WORKER_RUN_RESOURCE_QUOTA_NAME", "quota"),
    ("CODEXK8S_WORKER_RUN_QUOTA_PODS", "7"),
    ("CODEXK8S_WORKER_RUN_QUOTA_REQUESTS_CPU", "3"),
    ("CODEXK8S_WORKER_RUN_QUOTA_REQUESTS_MEMORY", "5Gi"),
    ("CODEXK8S_WORKER_RUN_QUOTA_LIMITS_CPU", "6"),
    ("CODEXK8S_WORKER_RUN_QUOTA_LIMITS_MEMORY", "9Gi"),
    ("CODEXK8S_WORKER_RUN_LIMIT_RANGE_NAME", "limits"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_CPU", "100m"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_MEMORY", "64Mi"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_CPU", "2"),
    ("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_MEMORY", "2Gi"),
    ("CODEXK8S_WORKER_JOB_ACTIVE_DEADLINE_SECONDS", "36000"),
    ("CODEXK8S_WORKER_JOB_TTL_SECONDS", "60"),
    ("CODEXK8S_WORKER_JOB_BACKOFF_LIMIT", "2"),
    ("CODEXK8S_WORKER_RUN_NAMESPACE_CLEANUP", "F"),
    ("CODEXK8S_WORKER_NAMESPACE_LEASE_SWEEP_LIMIT", "12"),
];

fn object<'d>(objects: &'d [Desired], kind: &str, name: &str) -> &'d Value {
    let found = objects.iter().find(|desired| (desired.kind.as_str(), &*desired.name) == (kind, name));
    &found.unwrap_or_else(|| panic!("no {kind} {name} in {objects:?}")).object
}

#[test]
fn each_variable_of_the_contract_has_the_effect_that_it_has_on_the_worker_of_a() {
    let FromWorker { policy, .. } = of_worker(Profile::A, VALUES).unwrap();
    assert!(
        policy.namespaces.is_of_a_run("team-runs-p-i1-r1") && !policy.namespaces.is_of_a_run("codex-issue-1")
    );
    assert!(policy.namespaces.is_protected("home") && policy.namespaces.is_protected("prod"));
    for user in ["home:codex-k8s-worker", "home:codex-k8s-control-plane", "prod:codex-k8s-worker"] {
        assert!(policy.identities.managers.contains(&format!("system:serviceaccount:{user}"), []), "{user}");
    }
    assert_eq!(policy.identities.managers.users.len(), 4);
    let objects = desired(&policy, "team-runs-1", RuntimeMode::FullEnv);
    object(&objects, "ServiceAccount", "account");
    object(&objects, "Role", "role");
    let binding = object(&objects, "RoleBinding", "binding");
    assert_eq!(
        (&binding["roleRef"]["name"], &binding["subjects"][0]["name"]),
        (&json!("role"), &json!("account"))
    );
    assert_eq!(
        object(&objects, "ResourceQuota", "quota")["spec"]["hard"],
        json!({"pods": "7", "requests.cpu": "3", "requests.memory": "5Gi", "limits.cpu": "6", "limits.memory": "9Gi"})
    );
    let limits = &object(&objects, "LimitRange", "limits")["spec"]["limits"][0];
    assert_eq!(limits["defaultRequest"], json!({"cpu": "100m", "memory": "64Mi"}));
    assert_eq!(limits["default"], json!({"cpu": "2", "memory": "2Gi"}));
    assert_eq!(objects.len(), 5);
    let jobs = &policy.jobs;
    assert_eq!(jobs.service_accounts.full_env.first().map(String::as_str), Some("account"));
    // The worker's own Jobs are admitted, so that a maximum below its value is raised.
    assert_eq!(jobs.active_deadline_seconds, super::super::Bounds { default: 36_000, max: 36_000 });
    assert_eq!((jobs.ttl_seconds_after_finished.default, jobs.backoff_limit.default), (60, 2));
    assert!(!policy.cleanup.enabled);
}

#[test]
fn the_variables_that_only_the_worker_of_b_reads_have_their_effect_with_its_profile_alone() {
    let FromWorker { policy, warnings } = of_worker(Profile::B, VALUES).unwrap();
    let profile = &policy.baseline.read_only;
    assert_eq!(
        (&*profile.service_account, &*profile.role, &*profile.role_binding),
        ("reader", "reader-role", "reader-binding")
    );
    assert_eq!(policy.jobs.service_accounts.full_env, ["account", "reader", "default"]);
    assert_eq!(policy.namespaces.platform, ["home", "prod", "repair"]);
    assert_eq!(policy.cleanup.breaker.max_deletions, 12);
    let objects = desired(&policy, "codex-k8s-dev-1", RuntimeMode::FullEnv);
    assert_eq!(object(&objects, "ResourceQuota", "quota")["spec"]["hard"], json!({"pods": "7"}));
    let ignored: Vec<_> = warnings.iter().filter(|warning| warning.contains("this release has no")).collect();
    assert_eq!(ignored.len(), 9, "{warnings:#?}");
    let FromWorker { policy, warnings } = of_worker(Profile::A, VALUES).unwrap();
    assert_eq!(policy.cleanup.breaker.max_deletions, RunPolicy::default().cleanup.breaker.max_deletions);
    let of_b = VARIABLES.iter().filter(|variable| variable.only_at_b).count();
    let ignored = warnings.iter().filter(|warning| warning.contains("only release B reads it")).count();
    assert_eq!(ignored, of_b);
}

#[test]
fn every_variable_that_sets_something_is_tried_and_alone_changes_nothing_but_its_settings() {
    let sets = VARIABLES.iter().filter(|variable| !matches!(variable.form, Form::None(_)));
    assert_eq!(sets.map(|variable| variable.name).collect::<Vec<_>>().len(), VALUES.len());
    for (name, value) in VALUES {
        let variable = VARIABLES.iter().find(|variable| variable.name == *name).unwrap();
        let profile = if variable.only_at_b { Profile::B } else { Profile::A };
        let before = RunPolicy::of(profile);
        let after = of_worker(profile, &[(name, value)]).unwrap().policy;
        assert_ne!(after, before, "{name}");
        let (mut before, mut after) =
            (serde_json::to_value(before).unwrap(), serde_json::to_value(after).unwrap());
        for path in variable.settings {
            let whole = path.trim_end_matches("/-");
            let path: Vec<_> = whole.split('/').collect();
            for policy in [&mut before, &mut after] {
                assert!(set(policy, &path, &mut |value| *value = Value::Null), "{name} {whole}");
            }
        }
        assert_eq!(after, before, "{name}");
    }
}

#[test]
fn the_policy_of_a_worker_without_variables_is_its_profile_and_survives_a_round_trip() {
    for profile in [Profile::A, Profile::B] {
        assert_eq!(of_worker(profile, &[]).unwrap().policy, RunPolicy::of(profile));
        let empty = of_worker(profile, &[("CODEXK8S_WORKER_RUN_QUOTA_PODS", ""), ("OTHER", "x")]).unwrap();
        assert_eq!(empty, FromWorker { policy: RunPolicy::of(profile), warnings: Vec::new() });
        let policy = of_worker(profile, VALUES).unwrap().policy;
        let text = serde_saphyr::to_string(&policy).unwrap();
        assert_eq!(RunPolicy::from_yaml(&text).unwrap(), policy);
    }
}

#[test]
fn both_platform_namespaces_may_be_the_same() {
    let same = [("CODEXK8S_WORKER_K8S_NAMESPACE", "codex-k8s-prod")];
    let policy = of_worker(Profile::B, &same).unwrap().policy;
    assert_eq!(policy.namespaces.platform, ["codex-k8s-prod"]);
    assert_eq!(policy.identities.managers.users.len(), 2);
}

#[test]
fn invalid_values_are_all_reported_with_name_value_and_fix() {
    let invalid = [
        ("CODEXK8S_WORKER_JOB_BACKOFF_LIMIT", "-1"),
        ("CODEXK8S_WORKER_JOB_TTL_SECONDS", "10m"),
        ("CODEXK8S_WORKER_RUN_NAMESPACE_CLEANUP", "yes"),
        ("CODEXK8S_WORKER_RUN_NAMESPACE_PREFIX", "--"),
        ("CODEXK8S_WORKER_RUN_QUOTA_PODS", "many"),
        ("CODEXK8S_WORKER_RUN_ROLE_NAME", "Runner"),
    ];
    let problems = of_worker(Profile::A, &invalid).unwrap_err();
    assert_eq!(problems.len(), invalid.len(), "{problems:#?}");
    for (name, value) in invalid {
        let lead = format!("{name}: Invalid value: {value:?}: must be ");
        assert!(problems.iter().any(|problem| problem.starts_with(&lead)), "{lead}\n{problems:#?}");
    }
}

#[test]
fn a_contradiction_names_the_variable_that_causes_it() {
    let above =
        [("CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_CPU", "2"), ("CODEXK8S_WORKER_RUN_QUOTA_PODS", "9")];
    assert_eq!(
        of_worker(Profile::A, &above).unwrap_err(),
        ["CODEXK8S_WORKER_RUN_LIMIT_DEFAULT_REQUEST_CPU: Invalid value: \"2\": \
          baseline.fullEnv.limitRange.defaultRequest[cpu]: found \"2\", more than limitRange.default"]
    );
}

#[test]
fn variables_without_a_setting_and_unknown_ones_are_warned_about() {
    let found = of_worker(Profile::A, &[("CODEXK8S_WORKER_ID", "w"), ("CODEXK8S_WORKER_NEW", "1")]).unwrap();
    assert_eq!(
        found.warnings,
        [
            "CODEXK8S_WORKER_ID: not a setting of the policy: audit rows have the name of the collector instead",
            "CODEXK8S_WORKER_NEW: not a known variable of the worker"
        ]
    );
}

#[test]
fn the_table_of_the_variables_is_that_of_the_page() {
    let mut table = "| variable | setting |\n| --- | --- |\n".to_owned();
    for variable in VARIABLES {
        let settings =
            variable.settings.iter().map(|path| format!("`{}`", dotted(path))).collect::<Vec<_>>().join(", ");
        let effect = match variable.form {
            Form::None(reason) => format!("none: {reason}"),
            Form::Bounds(_) => format!("{settings}: the default, and the maximum if that is lower"),
            _ => settings,
        };
        let release = if variable.only_at_b { " (release B)" } else { "" };
        let _ = writeln!(table, "| `{}` | {effect}{release} |", variable.name);
    }
    assert!(PAGE.contains(&table), "docs/policy.md must contain:\n{table}");
}
