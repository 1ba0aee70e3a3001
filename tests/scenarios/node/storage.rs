//! Installation where volumes bind with their first Pod, which is how most clusters come, and where there is none.

use codex_k8s_tests::chart;
use serde_json::json;

use crate::harness::{Binding, INSTALL_NAMESPACE, Installed, machine_can};

/// A policy that is registered differently: with another prefix.
const OTHER_PREFIX: &str = "policy: {namespaces: {prefixes: [agents]}}";
const COLLECTOR: &str = "deployment/codex-k8s-gc";
const CLAIM: &str = "codex-k8s-gc-audit";

impl Installed {
    /// Runs our program in the collector's Pod.
    #[track_caller]
    fn exec(&self, args: &[&str]) -> String {
        let program = ["exec", "-n", INSTALL_NAMESPACE, COLLECTOR, "--", "codex-k8s-guard"];
        self.done(&[&program, args].concat())
    }

    /// Returns true if namespaces of the other prefix are registered.
    fn has_other_prefix(&self) -> bool {
        let registered = self.get(&["validatingwebhookconfiguration", "codex-k8s-guard"]).unwrap();
        registered["webhooks"].to_string().contains("agents")
    }

    fn claim(&self) -> serde_json::Value {
        self.get(&["pvc", CLAIM, "-n", INSTALL_NAMESPACE]).unwrap()
    }

    /// Frees the volume for the next claim.
    fn delete_claim(&self) {
        self.done(&["delete", "pvc", CLAIM, "-n", INSTALL_NAMESPACE, "--timeout=60s"]);
        self.done(&[
            "patch",
            "pv",
            "rows",
            "--type=merge",
            "-p",
            &json!({"spec": {"claimRef": null}}).to_string(),
        ]);
    }
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn it_installs_with_nothing_said_where_volumes_bind_late_and_a_rollback_registers_as_before() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with("");
    let claim = cluster.claim();
    assert_eq!(
        (&claim["status"]["phase"], &claim["spec"]["storageClassName"]),
        (&json!("Bound"), &json!("rows"))
    );
    // The rows can be read before the first sweep on the schedule, and a sweep by hand writes some.
    assert_eq!(cluster.exec(&["audit", "list"]), "no rows\n");
    let name = "codex-issue-first";
    cluster.create(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}));
    cluster.eventually("the namespace is ready", || {
        let found = cluster.get(&["namespace", name])?;
        found["metadata"]["annotations"]["codex-k8s.dev/baseline-ready-at"].is_string().then_some(())
    });
    cluster.exec(&["sweep", "--policy=/policy/policy.yaml"]);
    let rows = || cluster.exec(&["audit", "list", name]);
    assert!(rows().contains("prepared"), "{}", rows());
    let passes = || {
        let told = cluster.helm(&["test", "guard"], "");
        assert!(told.contains("Succeeded"), "{told}");
    };
    passes();

    cluster.release("upgrade", &chart::folder(), "1", OTHER_PREFIX);
    assert!(cluster.has_other_prefix());
    passes();
    cluster.helm(&["rollback", "guard", "1", "--wait", "--timeout", "3m"], "");
    assert!(!cluster.has_other_prefix());
    passes();
    assert!(rows().contains("prepared"), "{}", rows());

    cluster.helm(&["uninstall", "guard", "--wait"], "");
    assert!(cluster.get(&["validatingwebhookconfiguration", "codex-k8s-guard"]).is_none());
    assert_eq!(cluster.claim()["status"]["phase"], "Bound");

    // With a CronJob, a Job opens the file, and binds the claim.
    cluster.delete_claim();
    cluster.release("install", &chart::folder(), "1", "gc: {mode: cronjob}");
    assert_eq!(cluster.claim()["status"]["phase"], "Bound");
    passes();
    let job = ["job", "-n", INSTALL_NAMESPACE, "-l", "app.kubernetes.io/name=codex-k8s-gc"];
    cluster.eventually("the file is opened", || {
        let jobs = cluster.get(&job)?;
        (jobs["items"][0]["status"]["succeeded"] == 1).then_some(())
    });
    // The volume is the same, and so are its rows.
    assert!(cluster.rows_of(name).contains("prepared"), "{}", cluster.rows_of(name));
    cluster.helm(&["uninstall", "guard", "--wait"], "");
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn without_a_default_class_of_volumes_it_says_what_to_set_and_a_volume_without_a_class_is_one_way() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::prepared();
    let chart = chart::folder().display().to_string();
    let install = ["install", "guard", &chart];
    let (succeeded, told) = cluster.try_helm(&install, "");
    let words = [
        "the cluster has no default StorageClass",
        "gc.auditStore.volume.storageClassName",
        "gc.auditStore.volume.existingClaim",
        "gc.auditStore.secret",
    ];
    assert!(!succeeded && words.iter().all(|words| told.contains(words)), "{told}");
    assert!(cluster.get(&["deployment", "codex-k8s-gc", "-n", INSTALL_NAMESPACE]).is_none());
    cluster.provide_volume(Binding::Immediate);
    let patch =
        json!({"metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "false"}}});
    cluster.done(&["patch", "storageclass", "rows", "--type=merge", "-p", &patch.to_string()]);
    let (succeeded, told) = cluster.try_helm(&install, "");
    assert!(!succeeded && told.contains(words[0]), "{told}");
    cluster.release("install", &chart::folder(), "1", "gc: {auditStore: {volume: {storageClassName: rows}}}");
    assert_eq!(cluster.claim()["status"]["phase"], "Bound");
}
