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
            "podSecurity: {run: {enforce: privileged, warn: baseline}}\n",
            Warning,
            3,
            21,
            "podSecurity.run.enforce",
        ),
        (
            "podSecurity: {run: {enforce: restricted, warn: baseline}}\n",
            Warning,
            3,
            42,
            "podSecurity.run.warn",
        ),
        ("rbac: {clusterRoles: [edit]}\n", Error, 3, 23, "rbac.clusterRoles[0]"),
        ("rbac: {clusterRoles: [own]}\n", Warning, 3, 23, "rbac.clusterRoles[0]"),
        ("quotas: {cluster: null}\n", Warning, 3, 10, "quotas.cluster"),
        ("quotas: {cluster: {max: 20000}}\n", Warning, 3, 20, "quotas.cluster.max"),
        ("quotas: {perProject: {max: 1001}}\n", Warning, 3, 23, "quotas.perProject.max"),
        ("cleanup: {unproven: believe}\n", Warning, 3, 11, "cleanup.unproven"),
        ("cleanup: {breaker: {maxDeletions: 0}}\n", Warning, 3, 21, "cleanup.breaker.maxDeletions"),
        ("cleanup: {enabled: false}\n", Warning, 3, 11, "cleanup.enabled"),
        ("cleanup: {withoutLease: age}\n", Warning, 3, 11, "cleanup.withoutLease"),
        ("cleanup: {unknownRun: finished}\n", Warning, 3, 11, "cleanup.unknownRun"),
        ("rules: {GATE001: off}\n", Warning, 3, 9, "rules.GATE001"),
    ] {
        assert_eq!(found(body), [(severity, line, column, field.to_owned())], "{body}");
    }
}
