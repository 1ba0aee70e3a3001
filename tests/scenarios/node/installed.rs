//! One installation, used only through kubectl.

use codex_k8s_tests::node::PAUSE;
use codex_k8s_tests::{Identity, Kubectl, eventually};
use serde_json::{Value, json};

use crate::harness::{INSTALL_NAMESPACE, Installed, TIMEOUT, machine_can};

/// Leases that may be short, and a sweep every minute.
const VALUES: &str = "\
policy:
  lease: {minTtl: 1s}
  cleanup: {grace: 1s}
gc: {schedule: \"* * * * *\"}
";

/// A run namespace with this lease.
fn namespace(name: &str, ttl: Option<&str>) -> Value {
    let annotations = ttl.map(|ttl| json!({"codex-k8s.dev/namespace-lease-ttl": ttl}));
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}})
}

/// A Pod that runs until it is terminated.
fn endless(name: &str, security: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {
        "containers": [{"name": "c", "image": PAUSE, "securityContext": security}]}})
}

struct Tour {
    cluster: Installed,
    jane: Kubectl,
}

impl Tour {
    fn create(&self, args: &[&str], object: &Value) {
        let ran =
            self.jane.run_with_input(&[&["create", "-f", "-"], args].concat(), &object.to_string()).unwrap();
        assert!(ran.succeeded(), "{ran}\n{}", self.cluster.happened());
    }

    fn a_namespace_created_by_name_is_managed_and_its_baseline_appears(&self, name: &str) {
        self.create(&[], &namespace(name, None));
        let stored = self.cluster.get(&["namespace", name]).unwrap();
        assert_eq!(stored["metadata"]["labels"]["codex-k8s.dev/managed-by"], "codex-k8s-worker");
        assert!(stored["metadata"]["annotations"]["codex-k8s.dev/namespace-lease-expires-at"].is_string());
        let kinds = "serviceaccount/codex-runner,role/codex-runner,rolebinding/codex-runner,\
            resourcequota/codex-run-quota,limitrange/codex-run-limits";
        let parts: Vec<_> = kinds.split(',').collect();
        self.cluster.eventually("the baseline is there", || {
            self.cluster.get(&[&["-n", name], parts.as_slice()].concat())
        });
    }

    fn an_agents_job_runs_to_completion_under_the_quota(&self, name: &str) {
        // The only other program in the node's images that exits: it prints its version.
        let command = ["--image=node.invalid/coredns:1", "--", "/app", "-version"];
        let ran = self.jane.run(&[&["create", "job", "unit-tests", "-n", name], command.as_slice()].concat());
        let ran = ran.unwrap();
        assert!(ran.succeeded(), "{ran}");
        let complete = ["--for=condition=Complete", "job/unit-tests", "--timeout=120s"];
        self.cluster.done(&[&["wait", "-n", name], complete.as_slice()].concat());
        let told = self.cluster.done(&["logs", "-n", name, "job/unit-tests"]);
        assert!(told.contains("CoreDNS-"), "{told}");
        // It ran within the limits of its namespace, although it set none itself.
        let pods = self.cluster.get(&["pods", "-n", name]).unwrap();
        let limits = &pods["items"][0]["spec"]["containers"][0]["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["cpu"].is_string(), "{limits}");
        self.create(&["-n", name], &endless("counted", &Value::Null));
        self.cluster.eventually("the quota counts a Pod that runs", || {
            let quota = self.cluster.get(&["resourcequota", "codex-run-quota", "-n", name]).unwrap();
            (quota["status"]["used"]["pods"] == "1").then_some(())
        });
    }

    fn a_privileged_pod_is_refused(&self, name: &str) {
        let jane = Identity::developer();
        let job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "escape"}, "spec": {
            "template": {"spec": {"hostNetwork": true, "restartPolicy": "Never",
                "containers": [{"name": "c", "image": PAUSE, "securityContext": {"privileged": true}}]}}}});
        self.cluster.refused(&jane, &["create", "-n", name, "-f", "-"], &job, "JOB018");
        let pod = endless("escape", &json!({"privileged": true}));
        self.cluster.refused(&jane, &["create", "-n", name, "-f", "-"], &pod, "violates PodSecurity");
    }

    /// While the Pod works, its namespace is retained: that is the platform's own rule.
    fn the_collector_keeps_an_expired_namespace_while_a_pod_works_in_it_and_sweeps_it_then(
        &self,
        name: &str,
    ) {
        let cluster = &self.cluster;
        self.create(&[], &namespace(name, Some("20s")));
        self.create(&["-n", name], &endless("works", &Value::Null));
        cluster.done(&["wait", "-n", name, "--for=condition=Ready", "pod/works", "--timeout=60s"]);
        cluster.eventually("it is kept for its Pod", || {
            cluster.rows_of(name).contains("active_workloads_present").then_some(())
        });
        assert!(cluster.get(&["namespace", name]).is_some(), "it is there");
        cluster.done(&["delete", "-n", name, "pod/works", "--wait=false"]);
        cluster.eventually("the namespace is gone", || {
            cluster.get(&["namespace", name]).is_none().then_some(())
        });
        // Written after the namespace is gone.
        cluster.eventually("the row that says so is there", || {
            let rows = cluster.rows_of(name);
            rows.lines().any(|row| row.contains("cleaned") && row.contains("ttl_expired")).then_some(())
        });
    }

    fn helm_test_passes(&self) {
        let told = self.cluster.helm(&["test", "guard"], "");
        assert!(told.contains("Succeeded"), "{told}");
    }

    fn uninstalling_leaves_the_cluster_free(self, name: &str) {
        let cluster = &self.cluster;
        cluster.helm(&["uninstall", "guard", "--wait"], "");
        // Every kind; Events expire by themselves.
        let kinds = |namespaced: &str| {
            let args = ["api-resources", "--verbs=list", "-o=name", &format!("--namespaced={namespaced}")];
            let listed = cluster.done(&args);
            listed.lines().filter(|kind| !kind.starts_with("events")).collect::<Vec<_>>().join(",")
        };
        let names = |args: &[&str]| -> Vec<String> {
            let found = cluster.get(args).unwrap();
            let items = found["items"].as_array().unwrap().iter();
            items
                .map(|item| format!("{} {}", item["kind"], item["metadata"]["name"]).replace('"', ""))
                .collect()
        };
        let namespaced = kinds("true");
        // The objects that every namespace has, and the record of deletions, which is retained.
        let stays = [
            "ConfigMap kube-root-ca.crt",
            "PersistentVolumeClaim codex-k8s-gc-audit",
            "ServiceAccount default",
        ];
        let mut left = vec![];
        let what = "nothing is left in the namespace";
        eventually(what, TIMEOUT, || {
            left = names(&[&namespaced, "-n", INSTALL_NAMESPACE]);
            left.sort();
            (left == stays).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {left:?}"));
        let ours = ["-l", "app.kubernetes.io/part-of=codex-k8s-guard"];
        assert_eq!(names(&[&[kinds("false").as_str()], ours.as_slice()].concat()), [""; 0]);
        assert_eq!(
            names(&[&[namespaced.as_str(), "-A"], ours.as_slice()].concat()),
            ["PersistentVolumeClaim codex-k8s-gc-audit"]
        );
        for kind in ["validatingwebhookconfiguration", "mutatingwebhookconfiguration"] {
            let found = cluster.get(&[kind]).unwrap();
            assert_eq!(found["items"], json!([]), "{kind}");
        }
        // Nothing is blocked any more: neither the namespaces that were managed, nor the names that were protected.
        let free = |args: &[&str]| {
            let ran = self.jane.run(args).unwrap();
            assert!(ran.succeeded(), "{ran}");
        };
        free(&["label", "namespace", name, "codex-k8s.dev/managed-by-"]);
        free(&["delete", "namespace", name, "--timeout=60s"]);
        free(&["create", "namespace", "codex-run-free"]);
        let created = cluster.get(&["namespace", "codex-run-free"]).unwrap();
        assert!(created["metadata"]["labels"]["codex-k8s.dev/managed-by"].is_null(), "{created}");
    }
}

#[test]
#[ignore = "takes a real node: make test-node"]
fn what_helm_installs_guards_real_pods_until_it_is_uninstalled() {
    if !machine_can() {
        return;
    }
    let cluster = Installed::with(VALUES);
    let jane = cluster.node.control_plane().kubectl(&Identity::developer()).unwrap();
    let tour = Tour { cluster, jane };
    let name = "codex-issue-tour";
    tour.a_namespace_created_by_name_is_managed_and_its_baseline_appears(name);
    tour.an_agents_job_runs_to_completion_under_the_quota(name);
    tour.a_privileged_pod_is_refused(name);
    tour.the_collector_keeps_an_expired_namespace_while_a_pod_works_in_it_and_sweeps_it_then(
        "codex-issue-short",
    );
    tour.helm_test_passes();
    tour.uninstalling_leaves_the_cluster_free(name);
}
