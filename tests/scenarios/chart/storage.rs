//! The volume for audit rows: an installation that could never be ready is refused, on a real API server.

use codex_k8s_tests::helm::helm;
use codex_k8s_tests::{ControlPlane, Identity};
use serde_json::{Value, json};

use crate::installed::playground;
use crate::values::chart;

const NOTHING: &str = "the cluster has no default StorageClass: set gc.auditStore.volume.storageClassName (\"-\" for a \
    volume without a class), gc.auditStore.volume.existingClaim, or gc.auditStore.secret to use a database";

struct Cluster(ControlPlane);

impl Cluster {
    /// Renders an installation with what the cluster has, and returns helm's complaint, if it refuses.
    fn refusal(&self, values: &str) -> Option<String> {
        let kubeconfig = self.0.kubeconfig(&Identity::Admin).unwrap();
        let chart = chart().display().to_string();
        let args = ["template", "guard", &chart, "--namespace", "default", "--dry-run=server"];
        let ran = helm(&args, values, Some(&kubeconfig)).unwrap();
        (!ran.status.success()).then(|| String::from_utf8_lossy(&ran.stderr).into_owned())
    }

    #[track_caller]
    fn apply(&self, object: &Value) {
        let kubectl = self.0.kubectl(&Identity::Admin).unwrap();
        kubectl.succeed(&["apply", "-f", "-"], &object.to_string()).unwrap();
    }

    fn class(&self, annotations: &Value) {
        self.apply(&json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "example.org/disk",
            "metadata": {"name": "disk", "annotations": annotations}}));
    }
}

#[test]
fn without_a_default_class_of_volumes_an_installation_says_what_to_set() {
    let cluster = Cluster(ControlPlane::start(playground()).unwrap());
    let is_refused = |values: &str| cluster.refusal(values).is_some_and(|told| told.contains(NOTHING));
    for values in ["", "gc: {mode: cronjob}"] {
        assert!(is_refused(values), "{:?}", cluster.refusal(values));
    }
    for values in [
        "gc: {mode: off}",
        "gc: {auditStore: {secret: database}}",
        "gc: {auditStore: {volume: {existingClaim: rows}}}",
        "gc: {auditStore: {volume: {storageClassName: disk}}}",
        "gc: {auditStore: {volume: {storageClassName: \"-\"}}}",
    ] {
        assert_eq!(cluster.refusal(values), None, "{values}");
    }
    cluster.class(&json!({"storageclass.kubernetes.io/is-default-class": "false"}));
    assert!(is_refused(""));
    cluster.class(&json!({"storageclass.kubernetes.io/is-default-class": "true"}));
    assert_eq!(cluster.refusal(""), None);
}

/// As at an upgrade, or at an installation after an earlier one.
#[test]
fn a_claim_that_exists_is_no_question_any_more() {
    let cluster = Cluster(ControlPlane::start(playground()).unwrap());
    assert!(cluster.refusal("").is_some());
    cluster.apply(&json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "codex-k8s-gc-audit",
        "namespace": "default", "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {
        "meta.helm.sh/release-name": "guard", "meta.helm.sh/release-namespace": "default"}}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}));
    assert_eq!(cluster.refusal(""), None);
}
