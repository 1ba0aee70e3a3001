use super::*;

const HEAD: &str = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";

fn refused(body: &str) -> String {
    RunPolicy::from_yaml(&format!("{HEAD}{body}")).unwrap_err().to_string()
}

#[test]
fn a_policy_of_two_lines_is_the_default() {
    assert_eq!(RunPolicy::from_yaml(HEAD).unwrap(), RunPolicy::default());
}

#[test]
fn an_unknown_field_is_refused_with_its_line_and_column() {
    let message = refused("lease:\n  defaultTTL: 24h\n");
    assert!(message.contains("defaultTTL"), "{message}");
    assert!(message.contains("line 4") && message.contains("column 3"), "{message}");
}

#[test]
fn another_version_or_kind_is_refused() {
    for text in [
        "apiVersion: policy.codex-k8s.dev/v1\nkind: RunPolicy\n",
        "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: Policy\n",
        "kind: RunPolicy\n",
        "",
    ] {
        assert!(matches!(RunPolicy::from_yaml(text), Err(PolicyError::Parse(_))), "{text:?}");
    }
}

#[test]
fn a_duration_that_go_would_not_print_is_refused_where_it_stands() {
    let message = refused("lease:\n  maxTtl: 7 days\n");
    assert!(message.contains("line 4"), "{message}");
    assert!(message.contains("7 days"), "{message}");
}

#[test]
fn a_default_ttl_beyond_the_maximum_is_refused() {
    let message = refused("lease:\n  defaultTtl: 200h\n");
    assert_eq!(message, "lease.defaultTtl: lies outside lease.minTtl and lease.maxTtl");
}

#[test]
fn a_prefix_that_would_claim_a_protected_namespace_is_refused() {
    let message = refused("namespaces:\n  prefixes: [kube]\n");
    assert!(message.starts_with("namespaces.prefixes[0]: "), "{message}");
    assert!(message.contains("kube-system"), "{message}");
}

#[test]
fn a_cluster_role_that_rules_the_cluster_is_never_everybodys() {
    for name in ["admin", "cluster-admin", "edit", "\"\""] {
        let message = refused(&format!("rbac: {{everybody: [system:discovery, {name}]}}\n"));
        assert!(message.starts_with("rbac.everybody[1]: found "), "{message}");
    }
}

#[test]
fn an_empty_prefix_never_means_every_namespace() {
    assert!(refused("namespaces:\n  prefixes: [\"\"]\n").starts_with("namespaces.prefixes[0]: found \"\""));
}

#[test]
fn a_reserved_name_is_no_slot_whatever_its_end_says() {
    let mut namespaces = RunPolicy::default().namespaces;
    assert!(namespaces.is_slot("codex-k8s-dev-1"));
    namespaces.slot_projects.push("codex-issue-x".to_owned());
    assert!(!namespaces.is_slot("codex-issue-x-dev-1"));
    namespaces.slot_projects.clear();
    assert!(!namespaces.is_slot("codex-k8s-dev-1"));
}

#[test]
fn only_projects_that_the_policy_lists_have_slots() {
    let namespaces = RunPolicy::default().namespaces;
    for name in ["evil-dev-1", "codex-k8s-x-dev-1", "x-codex-k8s-dev-1", "codex-k8s-dev-1-dev-1"] {
        assert!(!namespaces.is_slot(name), "{name}");
        assert!(!namespaces.is_of_a_run(name), "{name}");
    }
    for project in ["\"\"", "Codex", "a.b", "-a"] {
        let message = refused(&format!("namespaces:\n  slotProjects: [{project}]\n"));
        assert!(message.starts_with("namespaces.slotProjects[0]: found "), "{message}");
    }
}

#[test]
fn limits_are_there_unless_they_are_taken_away() {
    use crate::quota::Scope;
    let quotas = |body: &str| RunPolicy::from_yaml(&format!("{HEAD}{body}")).unwrap().quotas;
    let [cluster, project, requester] = Scope::of(Some("p1"), Some("jane"));
    let default = quotas("");
    assert_eq!(default.limit(&cluster), Some(1000));
    assert_eq!(default.limit(&project), Some(250));
    assert_eq!(default.limit(&requester), Some(25));
    let worker = "system:serviceaccount:codex-k8s-prod:codex-k8s-worker";
    assert_eq!(default.limit(&Scope::Requester(worker.into())), None, "it requests them for all its users");
    let renamed = quotas("identities: {managers: {users: [builder]}}");
    assert_eq!(renamed.limit(&Scope::Requester("builder".into())), None);
    assert_eq!(renamed.limit(&Scope::Requester(worker.into())), Some(25));
    let own =
        quotas("quotas: {cluster: null, perProject: {max: 2, overrides: {p1: 7}}, perRequester: {max: 3}}");
    assert_eq!(own.limit(&cluster), None);
    assert_eq!(own.limit(&project), Some(7));
    assert_eq!(own.limit(&Scope::Project("p2".into())), Some(2));
    assert_eq!(own.limit(&requester), Some(3));
    assert!(!quotas("quotas: {cluster: null, perProject: null, perRequester: null}").is_on());
    let jobs = Scope::of_jobs(Some("p1"));
    assert_eq!(default.limit(&jobs), None);
    let capped = quotas("quotas: {agentJobsPerProject: {max: 5, overrides: {p2: 0}}}");
    assert_eq!(capped.limit(&jobs), Some(5));
    assert_eq!(capped.limit(&Scope::of_jobs(Some("p2"))), Some(0));
    assert_eq!(capped.limit(&Scope::Project("p2".into())), Some(250), "namespaces are counted apart");
}

#[test]
fn quotas_that_no_namespace_could_meet_are_refused() {
    let short = refused("quotas: {pendingTtl: 1m}\n");
    let message = "quotas.pendingTtl: found 1m0s; expected lease.minTtl (5m0s) at least and lease.maxTtl (168h0m0s) at most";
    assert_eq!(short, message);
    let project = refused("quotas: {perProject: {max: 1, overrides: {My_Project: 2}}}\n");
    let message = "quotas.perProject.overrides[\"My_Project\"]: no project's label has this value; \"My_Project\" is labelled \"my-project\"";
    assert_eq!(project, message);
    let project = refused("quotas: {agentJobsPerProject: {max: 1, overrides: {My_Project: 2}}}\n");
    assert!(project.starts_with("quotas.agentJobsPerProject.overrides[\"My_Project\"]: "), "{project}");
    assert!(refused("quotas: {cluster: {max: -1}}\n").contains("line 3"));
}

#[test]
fn the_defaults_pass_their_own_check_and_survive_a_round_trip() {
    let policy = RunPolicy::default();
    policy.check().unwrap();
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(RunPolicy::from_yaml(&json).unwrap(), policy);
}

#[test]
fn equal_policies_have_equal_hashes_and_others_have_not() {
    let mut other = RunPolicy::default();
    assert_eq!(other.hash(), RunPolicy::default().hash());
    other.jobs.parallelism.max += 1;
    assert_ne!(other.hash(), RunPolicy::default().hash());
    assert_eq!(other.hash().len(), 16);
}

#[test]
fn managers_are_the_worker_and_the_control_plane_of_both_platform_namespaces() {
    let managers = RunPolicy::default().identities.managers;
    for platform in ["codex-k8s-ai-staging", "codex-k8s-prod"] {
        for name in ["codex-k8s-worker", "codex-k8s-control-plane"] {
            assert!(managers.contains(&format!("system:serviceaccount:{platform}:{name}"), []));
        }
    }
    assert!(!managers.contains("system:serviceaccount:elsewhere:codex-k8s-worker", []));
}

#[test]
fn a_policy_that_would_deny_what_the_api_server_writes_is_refused() {
    for (policy, message) in [
        ("volumes: [emptyDir]", "jobs.volumes: lacks \"projected\""),
        ("parallelism: {max: 0}", "jobs.parallelism.max: found 0; expected 1 or more"),
        ("completions: {max: 0}", "jobs.completions.max: found 0; expected 1 or more"),
    ] {
        let found = refused(&format!("jobs:\n  {policy}\n"));
        assert!(found.starts_with(message), "{found}");
    }
}

#[test]
fn a_maximum_age_of_tokens_admits_those_whose_age_the_api_server_sets() {
    for (policy, message) in [
        ("maxSeconds: 3606", "tokens.maxSeconds: found 3606; expected 3607 to 4294967296"),
        ("audiences: {vault: 3599}", "tokens.audiences[vault]: found 3599; expected 3600 to 4294967296"),
        (
            "audiences: {vault: 4294967297}",
            "tokens.audiences[vault]: found 4294967297; expected 3600 to 4294967296",
        ),
        ("audiences: {\"\": 3600}", "tokens.audiences: found \"\"; expected the name of an audience"),
    ] {
        let found = refused(&format!("tokens:\n  {policy}\n"));
        assert!(found.starts_with(message), "{found}");
    }
}

#[test]
fn a_privilege_that_is_not_one_and_a_hold_shorter_than_the_longest_are_refused() {
    let refused = |text: &str| {
        let head = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";
        RunPolicy::from_yaml(&format!("{head}{text}")).unwrap_err().to_string()
    };
    let message = refused("namespaces:\n  allowedPrivileges: [example.dev/x]\n");
    assert!(
        message.starts_with("namespaces.allowedPrivileges[0]: found \"example.dev/x\"; supported"),
        "{message}"
    );
    let message = refused("cleanup: {maxHold: 48h, maxHoldLifetime: 24h}\n");
    assert!(message.starts_with("cleanup.maxHoldLifetime: is shorter than cleanup.maxHold"), "{message}");
}

#[test]
fn the_published_schema_is_the_one_of_the_code() {
    let published = include_str!("../../../docs/run-policy.schema.json");
    let generated = serde_json::to_string_pretty(&RunPolicy::json_schema()).unwrap();
    assert!(
        published.trim_end() == generated,
        "docs/run-policy.schema.json is out of date: run `make generate`"
    );
}
