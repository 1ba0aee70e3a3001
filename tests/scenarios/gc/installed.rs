//! The manifest, behind our own webhook: the `CronJob` works with the rights of its own roles, and these cannot delete
//! an active namespace.

use std::process::Command;

use codex_k8s_tests::{Guard, Identity, Kubectl, chart, eventually};
use serde_json::{Value, json};

use crate::harness::{INSTALL_NAMESPACE, SweepOutcome, TIMEOUT, minutes, playground};

/// Leases that end soon, and a collector that does not wait.
const POLICY: &str = "\
lease: {minTtl: 1s, defaultTtl: 3s}
cleanup: {grace: 1s}
";

/// A guarded cluster in which `ServiceAccounts` have only the rights that they are given, with the manifest installed.
pub(crate) struct Installed {
    pub(crate) guard: Guard,
    admin: Kubectl,
}

impl Installed {
    pub(crate) fn new() -> Self {
        let guard = Guard::start_with_policy(playground(), POLICY).unwrap();
        let admin = guard.kubectl(&Identity::Admin).unwrap();
        let subjects = json!([
            {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "every-right"},
            {"kind": "ServiceAccount", "name": "codex-k8s-reconcile", "namespace": INSTALL_NAMESPACE},
        ]);
        let patch = json!({"subjects": subjects}).to_string();
        let installed = Self { guard, admin };
        installed.done(&["patch", "clusterrolebinding", "every-right", "--type=merge", "-p", &patch]);
        let mut objects =
            chart::objects(&chart::rendered(INSTALL_NAMESPACE, "gc: {mode: cronjob}").unwrap()).unwrap();
        objects.retain(|object| object["metadata"]["labels"]["app.kubernetes.io/name"] == "codex-k8s-gc");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        installed.admin.succeed(&["apply", "-f", "-"], &list).unwrap();
        installed
    }

    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let ran = self.admin.run(args).unwrap();
        assert!(ran.succeeded(), "{args:?}: {ran}");
        ran.stdout
    }

    pub(crate) fn create(&self, name: &str, ttl: Option<&str>) {
        let annotations = ttl.map(|ttl| json!({"codex-k8s.dev/namespace-lease-ttl": ttl}));
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": name, "annotations": annotations}});
        let jane = self.guard.kubectl(&Identity::developer()).unwrap();
        let created = jane.run_with_input(&["create", "-f", "-"], &namespace.to_string()).unwrap();
        assert!(created.succeeded(), "{created}");
    }

    /// Runs the container of a Pod as kubelet would, with its ServiceAccount's rights.
    fn run(&self, container: &Value, more: &[&str]) -> SweepOutcome {
        let texts = |key: &str| -> Vec<String> {
            container[key].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(texts("command"), ["codex-k8s-guard"]);
        let volume = self.guard.file("audit-volume");
        std::fs::create_dir_all(&volume).unwrap();
        let mounts = container["volumeMounts"].as_array().unwrap();
        let of_rows = mounts.iter().find(|mount| mount["name"] == "audit").unwrap();
        let mounted = of_rows["mountPath"].as_str().unwrap();
        let policy = self.guard.file("policy.yaml").display().to_string();
        let mut command = Command::new(playground());
        command.arg("guard").args(texts("args")).arg("--output=json").args(more);
        for variable in container["env"].as_array().unwrap() {
            let value = match variable["value"].as_str() {
                Some(value) => value
                    .replace(mounted, &volume.display().to_string())
                    .replace("/policy/policy.yaml", &policy),
                None if variable["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.namespace" => {
                    INSTALL_NAMESPACE.to_owned()
                }
                None => "codex-k8s-gc-1".to_owned(),
            };
            command.env(variable["name"].as_str().unwrap(), value);
        }
        let kubeconfig = self.guard.control_plane.kubeconfig(&Identity::collector()).unwrap();
        SweepOutcome::of(&command.env("KUBECONFIG", kubeconfig).output().unwrap())
    }
}

#[test]
fn the_cron_job_sweeps_behind_our_own_webhook_with_the_rights_of_its_own_roles_only() {
    let cluster = Installed::new();
    let (goes, lives, held) = ("codex-issue-goes", "codex-issue-lives", "codex-issue-held");
    cluster.create(goes, None);
    cluster.create(lives, Some("1h0m0s"));
    cluster.create(held, None);
    let looking = format!("codex-k8s.dev/hold={} looking into it", minutes(60));
    cluster.done(&["annotate", "namespace", held, &looking]);

    let cron_job: Value = serde_json::from_str(&cluster.done(&[
        "get",
        "cronjob",
        "codex-k8s-gc",
        "-n",
        INSTALL_NAMESPACE,
        "-o",
        "json",
    ]))
    .unwrap();
    let spec = &cron_job["spec"];
    assert_eq!((&spec["concurrencyPolicy"], &spec["timeZone"]), (&json!("Forbid"), &json!("Etc/UTC")));
    // The CronJob's Job is created by hand, and its controller creates the Pod that kubelet would run.
    cluster.done(&["create", "job", "by-hand", "--from=cronjob/codex-k8s-gc", "-n", INSTALL_NAMESPACE]);
    let pods = || {
        let list =
            cluster.done(&["get", "pods", "-n", INSTALL_NAMESPACE, "-l", "job-name=by-hand", "-o", "json"]);
        let list: Value = serde_json::from_str(&list).unwrap();
        let pod = &list["items"][0];
        (!pod.is_null()).then(|| pod.clone())
    };
    let pod = eventually("the Pod of the Job is there", TIMEOUT, pods).unwrap();
    assert_eq!(pod["spec"]["serviceAccountName"], "codex-k8s-gc");
    let container = &pod["spec"]["containers"][0];

    let due = || (cluster.run(container, &["--dry-run=server"]).outcome(goes) == "wouldDelete").then_some(());
    eventually("the lease has ended", TIMEOUT, due).unwrap();
    let swept = cluster.run(container, &[]);
    assert_eq!((swept.code, swept.outcome(goes)), (0, "deleted"), "{swept:?}");
    assert_eq!(swept.verdict(lives), ("wait", "lease_lives"));
    assert_eq!(swept.verdict(held), ("wait", "held"));
    assert!(!swept.told.contains("forbidden"), "{}", swept.told);
    let left = cluster.done(&["get", "namespaces", "-l", "codex-k8s.dev/managed-by", "-o", "name"]);
    assert!(!left.contains(goes) && left.contains(lives) && left.contains(held), "{left}");
    let note =
        cluster.done(&["get", "configmap", "codex-k8s-gc-last-sweep", "-n", INSTALL_NAMESPACE, "-o", "yaml"]);
    assert!(note.contains("\"result\": \"succeeded\""), "{note}");
    // The reconciler exports it as well.
    let shown = || {
        let text = cluster.guard.reconciler.health.get("/metrics").ok()?;
        text.contains("codex_k8s_gc_last_sweep_result{result=\"succeeded\"} 1\n").then_some(text)
    };
    let text = eventually("the reconciler shows the sweep", TIMEOUT, shown).unwrap();
    assert!(text.contains("codex_k8s_gc_deleted_namespaces 1\n") && text.ends_with("# EOF\n"), "{text}");

    // A stolen token deletes no active or held namespace, and can do nothing else.
    let stolen = cluster.guard.kubectl(&Identity::collector()).unwrap();
    for (args, expected) in [
        (&["delete", "namespace", lives][..], "NS015: "),
        (&["delete", "namespace", held], "NS015: "),
        (&["delete", "namespace", "kube-public"], "forbidden"),
        (
            &[
                "annotate",
                "--overwrite",
                "namespace",
                lives,
                "codex-k8s.dev/namespace-lease-expires-at=2026-01-01T00:00:00Z",
            ],
            "forbidden",
        ),
        (&["delete", "serviceaccount", "codex-runner", "-n", lives], "forbidden"),
        (&["get", "secrets", "-n", lives], "forbidden"),
    ] {
        let ran = stolen.run(args).unwrap();
        assert!(!ran.succeeded() && ran.stderr.contains(expected), "{args:?}: {ran}");
    }
}

#[test]
fn a_persons_hold_and_a_managers_extension_by_kubectl_keep_a_namespace_within_the_rules_bounds() {
    let cluster = Installed::new();
    let (extended, held) = ("codex-issue-extended", "codex-issue-held");
    cluster.create(extended, None);
    cluster.create(held, None);
    let jane = cluster.guard.kubectl(&Identity::developer()).unwrap();
    let run = |args: &[&str]| jane.run(args).unwrap();
    let far = format!("codex-k8s.dev/hold={} for ever", minutes(60 * 24 * 30));
    let refused = run(&["annotate", "namespace", held, &far]);
    assert!(!refused.succeeded() && refused.stderr.contains("LEASE007: "), "{refused}");
    let looking = format!("codex-k8s.dev/hold={} the failed migration", minutes(60));
    assert!(run(&["annotate", "namespace", held, &looking]).succeeded());
    let ends = format!("codex-k8s.dev/namespace-lease-expires-at={}", minutes(60));
    let lasts = "codex-k8s.dev/namespace-lease-ttl=1h0m0s";
    let ran = run(&["annotate", "--overwrite", "namespace", extended, &ends, lasts]);
    assert!(ran.succeeded(), "{ran}");
    let container = json!({"command": ["codex-k8s-guard"], "args": ["sweep"], "env": [
        {"name": "CODEX_K8S_GUARD_LOCAL", "value": "true"},
        {"name": "CODEX_K8S_GUARD_POLICY", "value": "/policy/policy.yaml"},
        {"name": "CODEX_K8S_GUARD_AUDIT_STORE", "value": "sqlite:/volume/audit.db"}],
        "volumeMounts": [{"name": "audit", "mountPath": "/volume"}]});
    let swept = || {
        let swept = cluster.run(&container, &[]);
        (swept.verdict(held) == ("wait", "held")).then_some(swept)
    };
    let swept = eventually("the hold is seen", TIMEOUT, swept).unwrap();
    assert_eq!((swept.code, swept.verdict(extended)), (0, ("wait", "lease_lives")), "{swept:?}");
}
