//! Objects left in the install namespace are deleted once they are not needed any more.

use std::process::Command;
use std::time::Duration;

use codex_k8s_tests::{ControlPlane, Identity, Kubectl, eventually};
use serde_json::{Value, json};

use crate::installed::playground;

const INSTALL_NAMESPACE: &str = "codex-k8s-guard";
const PART: &str = "app.kubernetes.io/part-of=codex-k8s-guard";

struct Cluster {
    control_plane: ControlPlane,
    kubectl: Kubectl,
}

impl Cluster {
    fn new() -> Self {
        let control_plane = ControlPlane::start(playground()).unwrap();
        let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
        let cluster = Self { control_plane, kubectl };
        cluster.kubectl(&["create", "namespace", INSTALL_NAMESPACE], &Value::Null);
        let account = ["get", "serviceaccount", "default", "-n", INSTALL_NAMESPACE];
        let can = || cluster.kubectl.run(&account).unwrap().succeeded().then_some(());
        eventually("Pods can be created", Duration::from_secs(30), can).unwrap();
        cluster
    }

    #[track_caller]
    fn kubectl(&self, args: &[&str], input: &Value) -> String {
        self.kubectl.succeed(args, &input.to_string()).unwrap()
    }

    #[track_caller]
    fn create(&self, version: &str, kind: &str, name: &str, labels: &[&str]) {
        let labels: serde_json::Map<_, _> = labels
            .iter()
            .map(|label| label.split_once('=').unwrap())
            .map(|(key, value)| (key.to_owned(), json!(value)))
            .collect();
        let mut object =
            json!({"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}});
        if kind == "Pod" {
            object["spec"] = json!({"containers": [{"name": "c", "image": "guard"}]});
        }
        self.kubectl(&["create", "-n", INSTALL_NAMESPACE, "-f", "-"], &object);
    }

    /// Runs the command, and asserts its exit code and output.
    #[track_caller]
    fn uninstall(&self, args: &[&str], code: i32, words: &str) {
        let ran = Command::new(playground())
            .args(["guard", "uninstall"])
            .args(args)
            .env("KUBECONFIG", self.control_plane.kubeconfig(&Identity::Admin).unwrap())
            .output()
            .unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {told}");
        assert!(told.contains(words), "{args:?}: {told}");
    }

    /// The objects in the install namespace, as kinds with names.
    fn left(&self) -> Vec<String> {
        let args = ["get", "secret,lease,configmap", "-n", INSTALL_NAMESPACE, "-o", "name"];
        self.kubectl(&args, &Value::Null).lines().map(str::to_owned).collect()
    }
}

#[test]
fn leftovers_are_deleted_once_unused_and_objects_of_others_stay() {
    let cluster = Cluster::new();
    let registration = "ValidatingWebhookConfiguration";
    cluster.create("admissionregistration.k8s.io/v1", registration, "codex-k8s-guard", &[]);
    cluster.create("v1", "Pod", "reconcile-0", &[PART, "app.kubernetes.io/name=codex-k8s-reconcile"]);
    let label = "app.kubernetes.io/managed-by=codex-k8s-reconcile";
    cluster.create("v1", "Secret", "codex-k8s-webhook-ca", &[label]);
    cluster.create("v1", "Secret", "codex-k8s-webhook-tls", &["app.kubernetes.io/managed-by=somebody"]);
    for (name, labels) in [
        ("codex-k8s-reconcile", vec![]),
        ("codex-k8s-gc", vec![]),
        ("reservation-cluster-1", vec![PART]),
        ("agent-jobs-are-limited", vec![PART]),
        ("of-somebody", vec![]),
    ] {
        cluster.create("coordination.k8s.io/v1", "Lease", name, &labels);
    }
    cluster.create("v1", "ConfigMap", "codex-k8s-gc-last-sweep", &[]);
    let before = cluster.left();

    let needed = "nothing was deleted, because the installation is still in use: after 0s, found";
    let both = format!("{needed} {registration}/codex-k8s-guard, Pod/reconcile-0; uninstall the chart first");
    cluster.uninstall(&["--wait=0s"], 1, &both);
    cluster.kubectl(&["delete", registration, "codex-k8s-guard"], &Value::Null);
    cluster.uninstall(&["--wait=0s"], 1, &format!("{needed} Pod/reconcile-0; uninstall the chart first"));
    cluster.kubectl(&["delete", "pod", "reconcile-0", "-n", INSTALL_NAMESPACE, "--now"], &Value::Null);
    cluster.uninstall(&["--dry-run"], 0, "Secret/codex-k8s-webhook-ca would be deleted\n");
    assert_eq!(cluster.left(), before);

    cluster.uninstall(&["--keep-secrets"], 0, "Lease/reservation-cluster-1 deleted\n");
    let secrets = ["secret/codex-k8s-webhook-ca", "secret/codex-k8s-webhook-tls"];
    let others = [
        "lease.coordination.k8s.io/agent-jobs-are-limited",
        "lease.coordination.k8s.io/of-somebody",
        "configmap/kube-root-ca.crt",
    ];
    assert_eq!(cluster.left(), [secrets.as_slice(), &others].concat());
    cluster.uninstall(&[], 0, "Secret/codex-k8s-webhook-tls kept: it has no label of ours\n");
    assert_eq!(cluster.left(), [&secrets[1..], &others].concat());
    cluster.uninstall(&[], 0, "Lease/agent-jobs-are-limited kept: agent Jobs may wait");
    cluster.uninstall(&["--guard-namespace=default"], 0, "nothing is left in namespace default\n");
}
