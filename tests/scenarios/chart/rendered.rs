//! The rendered chart, without a cluster.

use std::collections::BTreeSet;
use std::fs;

use clap::Parser as _;
use codex_k8s_guard::Cli;
use codex_k8s_shared::policy::RunPolicy;
use serde_json::{Value, json};
use similar::TextDiff;

use crate::documented::writes;
use crate::values::{SETS, Set, chart, helm, objects, pod, rendered, set};

/// Compares the whole first set, and of the others the differences from it.
#[test]
fn what_is_rendered_is_what_it_was() {
    let folder = chart().join("snapshots");
    let usual = rendered(set("default"));
    let mut wrong = Vec::new();
    for set in &SETS {
        let (name, found) = if set.0 == "default" {
            ("default.yaml".to_owned(), usual.clone())
        } else {
            let other = rendered(set);
            let diff = TextDiff::from_lines(&usual, &other);
            (format!("{}.diff", set.0), diff.unified_diff().context_radius(1).to_string())
        };
        let file = folder.join(&name);
        if writes() {
            fs::write(&file, &found).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if expected != found {
            let diff = TextDiff::from_lines(&expected, &found);
            wrong.push(format!("{name}\n{}", diff.unified_diff()));
        }
    }
    assert!(wrong.is_empty(), "if this is meant, run `make generate`:\n{}", wrong.join("\n"));
    let known: BTreeSet<_> = SETS.iter().map(|set| set.0).collect();
    let files: BTreeSet<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(files.iter().map(String::as_str).collect::<BTreeSet<_>>(), known);
}

#[test]
fn the_chart_is_well_formed_and_a_value_that_is_mistaken_is_refused() {
    let chart = chart().display().to_string();
    for (name, _, values) in &SETS {
        let ran = helm(&["lint", "--strict", "--quiet", &chart], values);
        assert!(ran.status.success(), "{name}: {}", String::from_utf8_lossy(&ran.stdout));
    }
    for (values, words) in [
        ("serve: {replica: 3}", "additional properties 'replica' not allowed"),
        ("serve: {replicas: 0}", "minimum"),
        ("gc: {mode: never}", "/gc/mode"),
        (
            "gc: {mode: cronjob, page: {hosts: [guard.example.org]}}",
            "gc.mode is cronjob, and the daemon serves the page: set gc.mode to daemon",
        ),
        ("gc: {page: {hosts: [\"a b\"]}}", "/gc/page/hosts"),
        ("image: {digest: latest}", "/image/digest"),
        ("policy: {kind: RunPolicy}", "additional properties 'kind' not allowed"),
        ("serve: {port: 0}", "/serve/port"),
        ("policy: {leases: {}}", "additional properties 'leases' not allowed"),
        ("policy: {rules: {JOB022: on}}", "/policy/rules/JOB022"),
        ("policy: {quotas: {agentJobsPerProject: {max: many}}}", "/policy/quotas/agentJobsPerProject"),
        ("nameOverride: guard", "additional properties 'nameOverride' not allowed"),
        ("serve: {args: [--log=text]}", "additional properties 'args' not allowed"),
        ("networkPolicy: {apiServerPorts: [https]}", "/networkPolicy/apiServerPorts"),
    ] {
        let ran = helm(&["template", "guard", &chart], values);
        let told = String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success() && told.contains(words), "{values}: {told}");
    }
}

fn containers(set: &Set) -> Vec<Value> {
    let of = |object: &Value| pod(object)?.pointer("/spec/containers").cloned();
    let lists = objects(&rendered(set)).iter().filter_map(of).collect::<Vec<_>>();
    lists.into_iter().flat_map(|list| list.as_array().unwrap().clone()).collect()
}

#[test]
fn every_container_calls_our_program_with_a_command_line_that_it_takes() {
    for set in &SETS {
        for container in containers(set) {
            // A command without options has no args.
            let words = |key: &str| container[key].as_array().cloned().unwrap_or_default();
            let line: Vec<_> = words("command")
                .iter()
                .chain(&words("args"))
                .map(|word| word.as_str().unwrap().to_owned())
                .collect();
            assert_eq!(line[0], codex_k8s_guard::NAME, "{}", set.0);
            let parsed = Cli::try_parse_from(&line).map(drop);
            assert!(parsed.is_ok(), "{}: {line:?}: {}", set.0, parsed.unwrap_err());
            let secured = json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]}});
            assert_eq!(container["securityContext"], secured);
            let resources = &container["resources"];
            assert!(
                resources["limits"]["memory"].is_string() && resources["limits"]["cpu"].is_null(),
                "{resources}"
            );
        }
    }
}

#[test]
fn the_policy_is_one_and_knows_our_own_identities() {
    for set in &SETS {
        let objects = objects(&rendered(set));
        let is_policy = |object: &&Value| object["metadata"]["name"] == "codex-k8s-policy";
        let map = objects.iter().find(is_policy).unwrap();
        let policy = RunPolicy::from_yaml(map["data"]["policy.yaml"].as_str().unwrap()).unwrap();
        let identities = &policy.identities;
        let account = |name: &str| format!("system:serviceaccount:{}:{name}", set.1);
        assert!(identities.reconcilers.users.contains(&account("codex-k8s-reconcile")), "{}", set.0);
        assert!(identities.garbage_collectors.users.contains(&account("codex-k8s-gc")), "{}", set.0);
    }
    let policy = rendered(set("policy"));
    for text in ["JOB018: warn", "JOB022: \"off\"", "defaultTtl: 6h0m0s"] {
        assert!(policy.contains(text), "{text}: {policy}");
    }
}

#[test]
fn accounts_of_other_names_have_the_rights_and_are_known_to_the_policies() {
    let values = "serve: {serviceAccount: {create: false, name: web}}\nreconcile: {serviceAccount: {name: baseline}}\n\
                  gc: {serviceAccount: {name: sweeper}}";
    let objects = objects(&rendered(&("accounts", "codex-k8s-guard", values)));
    let named = |kind: &str, name: &str| {
        objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    assert!(named("ServiceAccount", "web").is_none());
    for (component, account) in
        [("codex-k8s-webhook", "web"), ("codex-k8s-reconcile", "baseline"), ("codex-k8s-gc", "sweeper")]
    {
        assert_eq!(named("ServiceAccount", account).is_some(), account != "web");
        assert!(named("ServiceAccount", component).is_none(), "{component}");
        let pod = pod(named("Deployment", component).unwrap()).unwrap();
        assert_eq!(pod["spec"]["serviceAccountName"], account);
        for kind in ["ClusterRoleBinding", "RoleBinding"] {
            if let Some(binding) = named(kind, component) {
                assert_eq!(binding["subjects"][0]["name"], account, "{kind} {component}");
            }
        }
    }
    let policy = named("ConfigMap", "codex-k8s-policy").unwrap()["data"]["policy.yaml"].as_str().unwrap();
    let identities = RunPolicy::from_yaml(policy).unwrap().identities;
    let user = |name: &str| vec![format!("system:serviceaccount:codex-k8s-guard:{name}")];
    assert_eq!(identities.reconcilers.users, user("baseline"));
    assert_eq!(identities.garbage_collectors.users, user("sweeper"));
    for (name, account) in [("codex-k8s-reconcile", "baseline"), ("codex-k8s-gc", "sweeper")] {
        let conditions = &named("ValidatingAdmissionPolicy", name).unwrap()["spec"]["matchConditions"];
        assert!(conditions.to_string().contains(&user(account)[0]), "{conditions}");
    }
    let lock = named("ValidatingAdmissionPolicy", "codex-k8s-guard").unwrap().to_string();
    assert!(lock.contains("'web', 'baseline', 'sweeper'"), "{lock}");
}

/// The rules of a Role or `ClusterRole`.
fn rules<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a [Value] {
    let role = objects.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name);
    role.unwrap_or_else(|| panic!("no {kind} {name}"))["rules"].as_array().unwrap()
}

#[test]
fn the_page_needs_no_more_rights_and_is_reached_by_no_one_but_its_proxy() {
    let without = objects(&rendered(set("no-page")));
    let (alone, proxied) =
        (objects(&rendered(set("default"))), objects(&rendered(set("page-behind-a-proxy"))));
    let has = |objects: &[Value], kind: &str, name: &str| {
        objects.iter().any(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    };
    for objects in [&alone, &proxied] {
        for kind in ["ClusterRole", "Role"] {
            assert_eq!(rules(objects, kind, "codex-k8s-gc"), rules(&without, kind, "codex-k8s-gc"));
        }
    }
    assert!(!has(&alone, "Service", "codex-k8s-gc-page") && has(&proxied, "Service", "codex-k8s-gc-page"));
    let ingress = |objects: &[Value]| {
        let policy = |object: &&Value| {
            object["kind"] == "NetworkPolicy" && object["metadata"]["name"] == "codex-k8s-gc"
        };
        let ports = objects.iter().find(policy).unwrap()["spec"]["ingress"].as_array().unwrap();
        ports.iter().filter(|rule| rule["ports"][0]["port"] == "page").cloned().collect::<Vec<_>>()
    };
    assert_eq!(ingress(&alone), [] as [Value; 0]);
    let proxy = json!({"podSelector": {"matchLabels": {"app": "proxy"}}});
    assert_eq!(ingress(&proxied), [json!({"ports": [{"port": "page"}], "from": [proxy]})]);
}
