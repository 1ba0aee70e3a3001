//! The output and the exit codes of `policy`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Ended, run};

const HEAD: &str = "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n";

fn policy(folder: &Path, args: &[&str]) -> Ended {
    policy_of_input(folder, args, "")
}

fn policy_of_input(folder: &Path, args: &[&str], input: &str) -> Ended {
    run(folder, &[&["policy"], args].concat(), input.as_bytes())
}

fn lint(body: &str, args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("p.yaml"), format!("{HEAD}{body}")).unwrap();
    policy(folder.path(), &[&["lint", "p.yaml"], args].concat())
}

#[test]
fn a_policy_of_which_nothing_is_to_be_said_ends_with_0() {
    assert_eq!(lint("", &["--fail-on", "warn"]), (0, String::new(), String::new()));
}

#[test]
fn a_warning_fails_only_where_it_is_requested_to() {
    let body = "cleanup:\n  unverifiedOrigin: trustLabels\n";
    let output = "p.yaml:4:3: warning: cleanup.unverifiedOrigin: is trustLabels: anyone who can label a namespace can have it deleted\n  remedy: set it to retain\n";
    assert_eq!(lint(body, &[]), (0, output.to_owned(), String::new()));
    assert_eq!(lint(body, &["--fail-on", "warn"]), (1, output.to_owned(), String::new()));
}

#[test]
fn everybody_as_a_manager_is_an_error_where_it_stands() {
    let (code, output, complained) =
        lint("identities:\n  managers:\n    groups: [system:authenticated]\n", &[]);
    let expected = "p.yaml:5:14: error: identities.managers.groups[0]: \"system:authenticated\" is everybody, or every program of the cluster\n  remedy: name the ServiceAccounts or people that are meant\n";
    assert_eq!((code, output.as_str(), complained.as_str()), (1, expected, ""));
}

#[test]
fn a_file_that_is_not_there_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output, complained) = policy(folder.path(), &["lint", "none.yaml"]);
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(complained.starts_with("error: failed to read none.yaml: "), "{complained}");
}

#[test]
fn a_policy_on_standard_input_is_looked_through_too() {
    let folder = tempfile::tempdir().unwrap();
    let input = format!("{HEAD}cleanup: {{enabled: false}}\n");
    let (code, output, complained) =
        policy_of_input(folder.path(), &["lint", "-", "--fail-on", "warn"], &input);
    let expected = "-:3:11: warning: cleanup.enabled: is false: run namespaces stay for ever\n  remedy: set it to true\n";
    assert_eq!((code, output.as_str(), complained.as_str()), (1, expected, ""));
}

#[test]
fn each_printed_policy_passes_lint() {
    let folder = tempfile::tempdir().unwrap();
    for profile in ["a", "b"] {
        let (code, page, complained) = policy(folder.path(), &["print", "--profile", profile]);
        assert_eq!((code, complained.as_str()), (0, ""));
        let (code, output, complained) = policy_of_input(folder.path(), &["lint", "-"], &page);
        assert_eq!((code, complained.as_str()), (0, ""), "{profile}: {output}");
        assert_eq!(output.is_empty(), profile == "a", "{output}");
    }
}

#[test]
fn a_whole_policy_is_printed_for_the_defaults_with_a_schema_of_ones_own() {
    let folder = tempfile::tempdir().unwrap();
    let (_, plain, _) = policy(folder.path(), &["print-defaults"]);
    let (code, page, _) = policy(folder.path(), &["print", "--schema-url", "https://example.dev/s.json"]);
    assert_eq!(code, 0);
    assert!(page.starts_with("# yaml-language-server: $schema=https://example.dev/s.json\n"), "{page}");
    let without_comments = page
        .lines()
        .filter(|line| !line.trim_start().starts_with('#') && !line.is_empty())
        .map(|line| format!("{line}\n"));
    assert_eq!(without_comments.collect::<String>(), plain);
    let (code, _, complained) = policy(folder.path(), &["print", "--schema-url", "a b"]);
    assert_eq!(code, 2);
    assert!(complained.contains("must be a path or URL without blanks"), "{complained}");
}

/// The output of `diff` for a change of the defaults.
fn diff(new: &str, args: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("old.yaml"), HEAD).unwrap();
    policy_of_input(folder.path(), &[&["diff", "old.yaml", "-"], args].concat(), &format!("{HEAD}{new}"))
}

#[test]
fn policies_that_do_not_differ_end_with_0() {
    let output = "no settings differ\n".to_owned();
    assert_eq!(diff("lease: {defaultTtl: 24h}\n", &[]), (0, output, String::new()));
}

#[test]
fn what_differs_is_printed_with_both_values_and_the_rules_that_read_it_and_ends_with_1() {
    let output = "\
jobs.finalizers:
    - batch.kubernetes.io/job-tracking
    - orphan
    + example.dev/a
    rules: JOB003
lease.defaultTtl: 24h0m0s -> 12h0m0s
    rules: NS015, LEASE001
rules.JOB018: enforce -> warn
    rules: JOB018
3 settings differ
";
    let new = "lease: {defaultTtl: 12h}\njobs: {finalizers: [example.dev/a, foregroundDeletion]}\nrules: {JOB018: warn}\n";
    assert_eq!(diff(new, &[]), (1, output.to_owned(), String::new()));
    let (code, coloured, _) = diff(new, &["--color", "always"]);
    assert_eq!(code, 1);
    assert!(coloured.starts_with("\u{1b}[1mjobs.finalizers\u{1b}[0m:\n"), "{coloured}");
}

#[test]
fn for_programs_differences_are_valid_by_their_schema() {
    let folder = tempfile::tempdir().unwrap();
    let (code, schema, _) = policy(folder.path(), &["diff", "--schema"]);
    let schema: Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(code, 0);
    let new = "quotas: {cluster: null}\ncleanup: {enabled: false}\nrbac: {roles: [reader]}\n";
    let (code, json, _) = diff(new, &["--output", "json"]);
    let found: Value = serde_json::from_str(&json).unwrap();
    jsonschema::validate(&schema, &found).unwrap();
    assert_eq!(code, 1);
    assert_eq!(found["changes"].as_array().unwrap().len(), 3);
    let cluster =
        found["changes"].as_array().unwrap().iter().find(|change| change["path"] == "quotas.cluster");
    let (cluster, rule) = (cluster.unwrap(), serde_json::json!("QUOTA003"));
    assert_eq!((&cluster["old"]["max"], &cluster["new"]), (&1000.into(), &Value::Null));
    assert_eq!((&cluster["effect"], &cluster["rules"][0]["id"]), (&Value::Null, &rule));
    let (_, yaml, _) = diff(new, &["--output", "yaml"]);
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap(), found);
}

#[test]
fn what_cannot_be_compared_ends_with_2_and_says_why() {
    let (code, output, complained) = diff("rules: {NS099: off}\n", &[]);
    assert_eq!((code, output.as_str()), (2, ""));
    assert!(
        complained.starts_with("error: - is not a valid policy: rules.NS099: no rule has this id"),
        "{complained}"
    );
    let folder = tempfile::tempdir().unwrap();
    for (args, expected) in [
        (["diff", "-", "-"], "error: OLD and NEW are both standard input: pass a file for one of them\n"),
        (["diff", "none.yaml", "-"], "error: failed to read none.yaml: "),
    ] {
        let (code, output, complained) = policy_of_input(folder.path(), &args, HEAD);
        assert_eq!((code, output.as_str()), (2, ""));
        assert!(complained.starts_with(expected), "{complained}");
    }
}

#[test]
fn the_published_schema_of_differences_is_the_one_of_the_code() {
    let folder = tempfile::tempdir().unwrap();
    let (_, generated, _) = policy(folder.path(), &["diff", "--schema"]);
    let published = include_str!("../../docs/policy-diff.schema.json");
    assert!(published == generated, "docs/policy-diff.schema.json is out of date: run `make generate`");
}

#[test]
fn the_variables_of_the_worker_become_a_policy_and_those_that_it_does_not_express_are_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let list = "# Deployment codex-k8s-worker, container worker\nCODEXK8S_WORKER_RUN_QUOTA_PODS=7\n\
                CODEXK8S_WORKER_ID=worker-1\nCODEXK8S_WORKER_TYPO=1\n";
    let args = ["print", "--from-worker-env=-"];
    let (code, output, complained) = policy_of_input(folder.path(), &args, list);
    assert_eq!(code, 0, "{complained}");
    assert!(output.contains("        pods: '7'\n") || output.contains("        pods: \"7\"\n"), "{output}");
    assert!(output.contains("afterFinish: 1s\n"), "{output}");
    let warnings: Vec<_> = complained.lines().collect();
    assert!(
        warnings[0].starts_with("warning: CODEXK8S_WORKER_ID: not a setting of the policy: "),
        "{complained}"
    );
    assert_eq!(warnings[1], "warning: CODEXK8S_WORKER_TYPO: not a known variable of the worker");
    // Without a file, the variables are those of the process.
    let mut command =
        support::program(folder.path(), &["policy", "print", "--from-worker-env", "--profile", "b"]);
    let ran = command.env("CODEXK8S_WORKER_RUN_QUOTA_PODS", "7").output().unwrap();
    let printed = String::from_utf8(ran.stdout).unwrap();
    assert!(
        ran.status.success() && printed.contains("pods: ") && !printed.contains("afterFinish: 1s"),
        "{printed}"
    );
    let (code, output, complained) =
        policy_of_input(folder.path(), &args, "CODEXK8S_WORKER_JOB_TTL_SECONDS=10m\n");
    let expected = "error: the variables of the worker are not valid:\nCODEXK8S_WORKER_JOB_TTL_SECONDS: Invalid \
                    value: \"10m\": must be a whole number from 0 to 2147483647\n";
    assert_eq!((code, output.as_str(), complained.as_str()), (2, "", expected));
}
