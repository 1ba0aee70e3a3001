use codex_k8s_shared::policy::{API_VERSION, KIND};

use super::*;

fn found(body: &str) -> Vec<(Severity, usize, usize, String)> {
    let text = format!("apiVersion: {API_VERSION}\nkind: {KIND}\n{body}");
    let findings = lint(&text).into_iter();
    findings.map(|found| (found.severity, found.line, found.column, found.field)).collect()
}

#[test]
fn nothing_is_said_of_the_defaults() {
    assert_eq!(found(""), []);
    assert_eq!(lint(&serde_saphyr::to_string(&RunPolicy::default()).unwrap()), []);
}

#[test]
fn what_the_loader_refuses_is_found_where_it_stands() {
    for (body, line, column, field) in [
        ("lease:\n  defaultTTL: 24h\n", 4, 3, ""),
        ("lease:\n  defaultTtl: 200h\n", 4, 3, "lease.defaultTtl"),
        ("rules:\n  NS001: enforce\n  NS099: warn\n", 5, 3, "rules.NS099"),
    ] {
        assert_eq!(found(body), [(Severity::Error, line, column, field.to_owned())], "{body}");
    }
}

#[test]
fn what_is_allowed_and_dangerous_is_found_where_it_stands() {
    use Severity::{Error, Warning};
    for (body, severity, line, column, field) in [
        (
            "identities:\n  managers: {groups: [a, system:authenticated]}\n",
            Error,
            4,
            26,
            "identities.managers.groups[1]",
        ),
        (
            "identities:\n  reconcilers:\n    users:\n    - system:serviceaccount:codex-issue-1:x\n",
            Error,
            6,
            7,
            "identities.reconcilers.users[0]",
        ),
        ("identities:\n  breakGlass: {users: [jane]}\n", Warning, 4, 3, "identities.breakGlass"),
        (
            "identities:\n  candidateServiceAccounts: [codex-runner]\n",
            Error,
            4,
            30,
            "identities.candidateServiceAccounts[0]",
        ),
        ("namespaces:\n  prefixes: [codex-run, codex-run-x]\n", Warning, 4, 25, "namespaces.prefixes[1]"),
        ("namespaces: {prefixes: []}\n", Warning, 3, 14, "namespaces.prefixes"),
        ("lease: {maxLifetime: 1h}\n", Warning, 3, 9, "lease.maxLifetime"),
        ("lease: {tolerance: 10m}\n", Warning, 3, 9, "lease.tolerance"),
        (
            "podSecurity: {run: {enforce: privileged, audit: baseline}}\n",
            Warning,
            3,
            21,
            "podSecurity.run.enforce",
        ),
        (
            "podSecurity: {run: {enforce: restricted, audit: baseline}}\n",
            Warning,
            3,
            42,
            "podSecurity.run.audit",
        ),
        ("rbac: {clusterRoles: [edit]}\n", Error, 3, 23, "rbac.clusterRoles[0]"),
        ("rbac: {clusterRoles: [own]}\n", Warning, 3, 23, "rbac.clusterRoles[0]"),
        ("quotas: {cluster: null}\n", Warning, 3, 10, "quotas.cluster"),
        ("quotas: {cluster: {max: 20000}}\n", Warning, 3, 20, "quotas.cluster.max"),
        ("quotas: {perProject: {max: 1001}}\n", Warning, 3, 23, "quotas.perProject.max"),
        ("cleanup: {unverifiedOrigin: trustLabels}\n", Warning, 3, 11, "cleanup.unverifiedOrigin"),
        ("cleanup: {breaker: {maxDeletions: 0}}\n", Warning, 3, 21, "cleanup.breaker.maxDeletions"),
        ("cleanup: {enabled: false}\n", Warning, 3, 11, "cleanup.enabled"),
        ("cleanup: {missingLease: useAge}\n", Warning, 3, 11, "cleanup.missingLease"),
        ("cleanup: {unknownRun: finished}\n", Warning, 3, 11, "cleanup.unknownRun"),
        ("cleanup: {breaker: {maxSharePercent: 100}}\n", Warning, 3, 21, "cleanup.breaker.maxSharePercent"),
        ("rules: {GATE001: off}\n", Warning, 3, 9, "rules.GATE001"),
    ] {
        assert_eq!(found(body), [(severity, line, column, field.to_owned())], "{body}");
    }
}

/// Returns the findings about a profile with one rule.
fn of_rights(groups: &str, resources: &str, verbs: &str) -> Vec<(Severity, String)> {
    let body = format!(
        "baseline:\n  readOnly:\n    serviceAccount: r\n    role: r\n    roleBinding: r\n    rules:\n    - \
         {{apiGroups: {groups}, resources: {resources}, verbs: {verbs}}}\n"
    );
    found(&body)
        .into_iter()
        .map(|(severity, line, _, field)| {
            assert_eq!(line, 9, "{body}");
            (severity, field)
        })
        .collect()
}

#[test]
fn a_wildcard_in_a_profile_is_as_bad_as_what_it_reaches() {
    use Severity::{Error, Warning};
    for (groups, resources, verbs, expected) in [
        ("['']", "[pods]", "[get]", vec![]),
        ("[apps, '*']", "[deployments]", "[get]", vec![(Error, "apiGroups[1]")]),
        // These include Secrets and tokens.
        ("['', apps]", "['*']", "[get]", vec![(Error, "resources[0]")]),
        ("[apps]", "['*']", "[get]", vec![(Warning, "resources[0]")]),
        ("['']", "[pods]", "['*']", vec![(Warning, "verbs[0]")]),
        // These include escalate and bind.
        ("[rbac.authorization.k8s.io]", "[roles]", "[get, '*']", vec![(Error, "verbs[1]")]),
        ("[apps]", "['*']", "['*']", vec![(Warning, "resources[0]"), (Warning, "verbs[0]")]),
    ] {
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(severity, part)| (severity, format!("baseline.readOnly.rules[0].{part}")))
            .collect();
        assert_eq!(of_rights(groups, resources, verbs), expected, "{groups} {resources} {verbs}");
    }
}

#[test]
fn a_cluster_limit_of_zero_is_found_with_the_limits_that_are_never_reached() {
    let body = "quotas:\n  cluster: {max: 0}\n  perProject: {max: 0, overrides: {p1: 1}}\n  perRequester: {max: 1}\n";
    let fields: Vec<_> =
        found(body).into_iter().map(|(_, line, column, field)| (line, column, field)).collect();
    assert_eq!(
        fields,
        [
            (4, 13, "quotas.cluster.max".to_owned()),
            (5, 36, "quotas.perProject.overrides[\"p1\"]".to_owned()),
            (6, 18, "quotas.perRequester.max".to_owned()),
        ]
    );
}

#[test]
fn a_project_limit_above_that_of_the_cluster_is_found_at_its_position() {
    let body = "quotas:\n  perRequester: null\n  cluster: {max: 10}\n  perProject:\n    max: 10\n    overrides:\n      small: 10\n      large: 11\n";
    assert_eq!(
        found(body),
        [(Severity::Warning, 10, 7, "quotas.perProject.overrides[\"large\"]".to_owned())]
    );
}
