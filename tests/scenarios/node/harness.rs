//! A node with our chart installed on it, from our own image.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use codex_k8s_tests::chart;
use codex_k8s_tests::helm::helm;
use codex_k8s_tests::{Identity, Kubectl, Node, eventually, guard};
use serde_json::{Value, json};

/// The namespace that the chart is installed in.
pub(crate) const INSTALL_NAMESPACE: &str = "codex-k8s-guard";
/// The name of this test run's image; only the node has it, no registry does.
const IMAGE: &str = "node.invalid/codex-k8s-guard";
pub(crate) const TIMEOUT: Duration = Duration::from_mins(2);
/// The variable with the path of the image from `make test-node`.
const ARCHIVE: &str = "CODEX_K8S_GUARD_IMAGE";

pub(crate) fn playground() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_playground"))
}

/// Returns true if the machine can run a node; prints the reason if not.
#[allow(clippy::print_stderr, reason = "why nothing is tried has to be said")]
pub(crate) fn machine_can() -> bool {
    let hindrance = Node::hindrance();
    if let Some(hindrance) = &hindrance {
        eprintln!("skipped: no node on this machine: {hindrance}");
    }
    hindrance.is_none()
}

/// The time at which a claim is bound: at once, or with its first Pod, as on kind, k3s and the clouds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Binding {
    Immediate,
    WaitForFirstConsumer,
}

/// A node with the chart on it.
pub(crate) struct Installed {
    pub(crate) node: Node,
    pub(crate) admin: Kubectl,
    /// A folder on the machine that holds the collector's audit rows.
    rows: PathBuf,
    kubeconfig: PathBuf,
}

impl Installed {
    /// Installs the chart with these values, and waits until the rules are enforced, which is the work of the chart's
    /// hook.
    pub(crate) fn with(values: &str) -> Self {
        let installed = Self::prepared();
        installed.provide_volume(Binding::WaitForFirstConsumer);
        installed.release("install", &chart::folder(), "1", values);
        installed
    }

    /// A node that has the image, and the install namespace, but no volume.
    pub(crate) fn prepared() -> Self {
        let node = Node::start(playground()).unwrap();
        let admin = node.control_plane().kubectl(&Identity::Admin).unwrap();
        let kubeconfig = node.control_plane().kubeconfig(&Identity::Admin).unwrap();
        let rows = node.control_plane().folder().join("rows");
        fs::create_dir(&rows).unwrap();
        let installed = Self { node, admin, rows, kubeconfig };
        installed.import("1");
        guard::let_developers_do_all(installed.node.control_plane()).unwrap();
        let home = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": INSTALL_NAMESPACE, "labels": {
            "pod-security.kubernetes.io/enforce": "restricted"}}});
        installed.create(&home);
        installed
    }

    /// Creates a default `StorageClass`, and a volume of that class on the node.
    pub(crate) fn provide_volume(&self, binding: Binding) {
        let class = json!({"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "rows",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": format!("{binding:?}")});
        let nodes = self.get(&["nodes"]).unwrap();
        let here = json!([{"key": "kubernetes.io/hostname", "operator": "In",
            "values": [nodes["items"][0]["metadata"]["labels"]["kubernetes.io/hostname"]]}]);
        let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "rows"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "rows",
            "local": {"path": self.rows.display().to_string()},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": here}]}}}});
        for object in [class, volume] {
            self.create(&object);
        }
    }

    /// Imports our image into the node, under a tag.
    pub(crate) fn import(&self, tag: &str) {
        let archive = std::env::var_os(ARCHIVE).map(PathBuf::from);
        let archive = archive.unwrap_or_else(|| panic!("{ARCHIVE} names no image: `make test-node`"));
        self.import_from(&archive, tag);
    }

    /// Imports an image from an archive into the node, under a tag.
    pub(crate) fn import_from(&self, archive: &Path, tag: &str) {
        self.node.import(archive).unwrap();
        let name = format!("ghcr.io/codex-k8s/codex-k8s-guard:{}", env!("CARGO_PKG_VERSION"));
        self.node.tag(&name, &format!("{IMAGE}:{tag}")).unwrap();
    }

    /// Installs or upgrades the release with one of the node's images, and waits until all of it is ready.
    #[track_caller]
    pub(crate) fn release(&self, what: &str, chart: &Path, tag: &str, values: &str) {
        let chart = chart.display().to_string();
        let (image, tag) = (format!("image.repository={IMAGE}"), format!("image.tag={tag}"));
        let ready = ["--set", &image, "--set-string", &tag, "--wait", "--timeout", "3m"];
        self.helm(&[&[what, "guard", &chart], ready.as_slice()].concat(), values);
    }

    /// Runs helm on the installation; it must succeed.
    #[track_caller]
    pub(crate) fn helm(&self, args: &[&str], values: &str) -> String {
        let (succeeded, told) = self.try_helm(args, values);
        assert!(succeeded, "helm {}: {told}\n{}", args.join(" "), self.happened());
        told
    }

    /// Runs helm on the installation. Returns whether it succeeded, and its output.
    pub(crate) fn try_helm(&self, args: &[&str], values: &str) -> (bool, String) {
        let all = [args, &["--namespace", INSTALL_NAMESPACE]].concat();
        let ran = helm(&all, values, Some(&self.kubeconfig)).unwrap();
        let told =
            format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        (ran.status.success(), told)
    }

    /// The state of our Pods, for the message of a failed test.
    pub(crate) fn happened(&self) -> String {
        let told = |args: &[&str]| {
            self.admin.run(args).map_or_else(|error| error.to_string(), |ran| ran.to_string())
        };
        let logs = |name| {
            told(&[
                "logs",
                "-n",
                INSTALL_NAMESPACE,
                "--tail=20",
                "-l",
                &format!("app.kubernetes.io/name={name}"),
            ])
        };
        [
            told(&["get", "pods,pvc,events", "-n", INSTALL_NAMESPACE, "-o", "wide"]),
            logs("codex-k8s-webhook"),
            logs("codex-k8s-reconcile"),
            logs("codex-k8s-registration"),
            logs("codex-k8s-gc"),
        ]
        .join("\n")
    }

    /// Runs kubectl as the admin; it must succeed.
    #[track_caller]
    pub(crate) fn done(&self, args: &[&str]) -> String {
        let ran = self.admin.run(args).unwrap();
        assert!(ran.succeeded(), "kubectl {}: {ran}\n{}", args.join(" "), self.happened());
        ran.stdout
    }

    /// Runs kubectl as an identity; it must be refused, with these words.
    #[track_caller]
    pub(crate) fn refused(&self, identity: &Identity, args: &[&str], object: &Value, words: &str) {
        let kubectl = self.node.control_plane().kubectl(identity).unwrap();
        let ran = kubectl.run_with_input(args, &object.to_string()).unwrap();
        assert!(!ran.succeeded() && ran.stderr.contains(words), "kubectl {}: {ran}", args.join(" "));
    }

    /// Creates an object as the admin.
    #[track_caller]
    pub(crate) fn create(&self, object: &Value) {
        self.admin.succeed(&["create", "-f", "-"], &object.to_string()).unwrap();
    }

    /// An object, if it exists.
    pub(crate) fn get(&self, args: &[&str]) -> Option<Value> {
        let ran = self.admin.run(&[&["get", "-o", "json"], args].concat()).unwrap();
        ran.succeeded().then(|| serde_json::from_str(&ran.stdout).unwrap())
    }

    /// Waits until there is an answer; on timeout, shows what happened.
    #[track_caller]
    pub(crate) fn eventually<T>(&self, what: &str, answer: impl FnMut() -> Option<T>) -> T {
        eventually(what, TIMEOUT, answer).unwrap_or_else(|error| panic!("{error}\n{}", self.happened()))
    }

    /// The collector's rows about a namespace; none before its first sweep.
    pub(crate) fn rows_of(&self, namespace: &str) -> String {
        let store = format!("sqlite:{}", self.rows.join("audit.db").display());
        let ran = std::process::Command::new(playground())
            .args(["guard", "audit", "list", namespace, "--local"])
            .env("CODEX_K8S_GUARD_AUDIT_STORE", store)
            .output()
            .unwrap();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }
}
