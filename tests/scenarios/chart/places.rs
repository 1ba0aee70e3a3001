//! The values files of docs/install: rendered, valid, and accepted by a real API server.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use codex_k8s_tests::{ControlPlane, Identity, Kubectl, eventually};
use serde_json::{Value, json};

use crate::installed::playground;
use crate::schemas::Schemas;
use crate::values::{chart, objects, pod};

const INSTALL_NAMESPACE: &str = "codex-k8s-guard";
/// The file whose Pods use the network of their node.
const ON_THE_NODE: &str = "eks-own-cni";
const TIMEOUT: std::time::Duration = std::time::Duration::from_mins(1);

pub(crate) fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/install")
}

/// The names of the files in a folder, without their extension.
fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

/// The values files by their names.
fn examples() -> Vec<(String, String)> {
    let folder = chart().join("examples");
    names(&folder)
        .into_iter()
        .map(|name| (name.clone(), fs::read_to_string(folder.join(format!("{name}.yaml"))).unwrap()))
        .collect()
}

fn rendered_of(values: &str) -> Vec<Value> {
    objects(&codex_k8s_tests::chart::rendered(INSTALL_NAMESPACE, values).unwrap())
}

#[test]
fn each_values_file_is_named_by_its_page_and_each_page_by_the_index() {
    let index = fs::read_to_string(pages().join("README.md")).unwrap();
    for page in names(&pages()).into_iter().filter(|name| name != "README") {
        assert!(index.contains(&format!("]({page}.md) | ")), "{page}");
    }
    for (name, values) in examples() {
        let page = values.lines().find_map(|line| line.split("docs/install/").nth(1)).unwrap();
        let text = fs::read_to_string(pages().join(page)).unwrap();
        assert!(text.contains(&format!("examples/{name}.yaml")), "{name} in {page}");
        assert!(text.contains("Tried: ") && text.contains("Not tried: "), "{page}");
        assert!(index.contains(&format!("(../../deploy/chart/examples/{name}.yaml)")), "{name}");
    }
}

/// The Pods of all objects, as they are created.
fn pods(objects: &[Value]) -> Vec<Value> {
    let pods = objects.iter().filter_map(|object| Some((object["metadata"]["name"].clone(), pod(object)?)));
    pods.map(|(name, template)| {
        json!({"apiVersion": "v1", "kind": "Pod", "spec": template["spec"], "metadata": {"name": name,
            "namespace": INSTALL_NAMESPACE, "labels": template["metadata"]["labels"]}})
    })
    .collect()
}

/// An API server with the install namespace and the `ServiceAccounts` of the chart.
struct Cluster {
    control_plane: ControlPlane,
    kubectl: Kubectl,
}

impl Cluster {
    fn new() -> Self {
        let control_plane = ControlPlane::start(playground()).unwrap();
        let kubectl = control_plane.kubectl(&Identity::Admin).unwrap();
        let cluster = Self { control_plane, kubectl };
        cluster.enforce("restricted");
        let is_account = |object: &Value| object["kind"] == "ServiceAccount";
        let accounts: Vec<_> = rendered_of("").into_iter().filter(is_account).collect();
        let (taken, told) = cluster.apply(&accounts, &[]);
        assert!(taken, "{told}");
        cluster
    }

    /// Sets the level of Pod Security.
    fn enforce(&self, level: &str) {
        let labels = json!({"pod-security.kubernetes.io/enforce": level,
            "pod-security.kubernetes.io/warn": level});
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": INSTALL_NAMESPACE, "labels": labels}});
        let (taken, told) = self.apply(&[namespace], &[]);
        assert!(taken, "{told}");
    }

    /// Applies objects. Returns true if they are accepted without a warning, and the output.
    fn apply(&self, objects: &[Value], options: &[&str]) -> (bool, String) {
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string();
        let args = ["apply", "--server-side", "--force-conflicts", "--validate=strict", "-f", "-"];
        let ran = self.kubectl.run_with_input(&[&args[..], options].concat(), &list).unwrap();
        let told = ran.to_string();
        (ran.succeeded() && !told.contains("Warning"), told)
    }

    /// Applies objects in a dry run.
    fn accepts(&self, objects: &[Value]) -> (bool, String) {
        self.apply(objects, &["--dry-run=server"])
    }
}

#[test]
fn the_values_of_each_place_are_valid_and_accepted_with_their_pods_at_the_level_restricted() {
    let cluster = Cluster::new();
    let places: Vec<_> = examples().into_iter().map(|(name, values)| (name, rendered_of(&values))).collect();
    let kinds: Vec<_> = places.iter().flat_map(|(_, objects)| objects.clone()).collect();
    let schemas = Schemas::read(&cluster.kubectl, &kinds);
    for (name, all) in places {
        let (wrong, valid) = schemas.findings(&all);
        assert!(wrong.is_empty() && valid == all.len(), "{name}: {wrong:#?}");
        let pods = pods(&all);
        assert!(pods.len() >= 5, "{name}: {}", pods.len());
        let (taken, told) = cluster.accepts(&pods);
        if name == ON_THE_NODE {
            assert!(!taken && told.contains("host namespaces (hostNetwork=true)"), "{name}: {told}");
            cluster.enforce("privileged");
            let (taken, told) = cluster.accepts(&[all, pods].concat());
            assert!(taken, "{name}: {told}");
            cluster.enforce("restricted");
        } else {
            assert!(taken, "{name}: {told}");
            let (taken, told) = cluster.accepts(&all);
            assert!(taken, "{name}: {told}");
        }
    }
}

/// A policy that refuses every Pod with a fixed id, as the constraint `restricted-v2` of `OpenShift` does with ids
/// outside of the range of the namespace.
fn no_fixed_ids() -> [Value; 2] {
    let without = |path: &str, fields: &[&str]| {
        let missing = fields.iter().map(|field| format!("!has({path}.securityContext.{field})"));
        format!("!has({path}.securityContext) || ({})", missing.collect::<Vec<_>>().join(" && "))
    };
    let pod = without("object.spec", &["runAsUser", "runAsGroup", "fsGroup", "supplementalGroups"]);
    let containers = format!("object.spec.containers.all(c, {})", without("c", &["runAsUser", "runAsGroup"]));
    let validation =
        |expression: String| json!({"expression": expression, "message": "fixed ids are not allowed"});
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "no-fixed-ids"}, "spec": {
            "matchConstraints": {"resourceRules": [{"apiGroups": [""], "apiVersions": ["v1"],
                "operations": ["CREATE", "UPDATE"], "resources": ["pods"]}]},
            "validations": [validation(pod), validation(containers)]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": "no-fixed-ids"},
        "spec": {"policyName": "no-fixed-ids", "validationActions": ["Deny"]}});
    [policy, binding]
}

#[test]
fn where_fixed_ids_are_refused_the_values_for_openshift_are_accepted_and_the_defaults_are_not() {
    let cluster = Cluster::new();
    let (taken, told) = cluster.apply(&no_fixed_ids(), &[]);
    assert!(taken, "{told}");
    let usual = pods(&rendered_of(""));
    eventually("the policy is in force", TIMEOUT, || (!cluster.accepts(&usual).0).then_some(())).unwrap();
    for pod in &usual {
        let (taken, told) = cluster.accepts(std::slice::from_ref(pod));
        assert!(!taken && told.contains("fixed ids are not allowed"), "{}: {told}", pod["metadata"]["name"]);
    }
    let values = fs::read_to_string(chart().join("examples/openshift.yaml")).unwrap();
    let (taken, told) = cluster.accepts(&pods(&rendered_of(&values)));
    assert!(taken, "{told}");
    drop(cluster.control_plane);
}
