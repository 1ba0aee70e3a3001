//! The rendered chart.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// Returns the folder of the chart.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

/// Runs helm with values, without a cluster.
///
/// # Errors
/// Returns an error if helm cannot be built or started. A failure of helm itself is not an error here.
pub fn helm(args: &[&str], values: &str) -> anyhow::Result<Output> {
    crate::helm::helm(args, values, None)
}

/// Renders the chart for a release in a namespace, with hooks and tests.
///
/// # Errors
/// Returns an error if helm rejects the values; with its message.
pub fn rendered(namespace: &str, values: &str) -> anyhow::Result<String> {
    let chart = folder().display().to_string();
    let ran = helm(&["template", "guard", &chart, "--namespace", namespace], values)?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

/// Parses the objects of a rendered chart.
///
/// # Errors
/// Returns an error if the text is not valid YAML.
pub fn objects(rendered: &str) -> anyhow::Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// The manifests of the default chart, as `make generate` renders them, and the rights of the platform.
const INSTALLED: [&str; 6] = [
    include_str!("../../deploy/base/namespace.yaml"),
    include_str!("../../deploy/base/serve.yaml"),
    include_str!("../../deploy/base/reconcile.yaml"),
    include_str!("../../deploy/base/gc.yaml"),
    include_str!("../../deploy/base/admission-policies.yaml"),
    include_str!("../fixtures/platform-rights.yaml"),
];

/// The kinds to install, which run nothing.
const KINDS: [&str; 8] = [
    "Namespace",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

/// Installs the rights of the chart and of the platform, and the chart's admission policies, but not the workloads of
/// the chart.
///
/// # Errors
/// Returns an error if the API server refuses any of the objects.
pub fn install_rights(control_plane: &ControlPlane) -> anyhow::Result<()> {
    let mut installed = Vec::new();
    for text in INSTALLED {
        let is_wanted = |object: &Value| KINDS.iter().any(|kind| object["kind"] == *kind);
        installed.extend(objects(text)?.into_iter().filter(is_wanted));
    }
    let list = json!({"apiVersion": "v1", "kind": "List", "items": installed}).to_string();
    let applied = control_plane.kubectl(&Identity::Admin)?.run_with_input(&["apply", "-f", "-"], &list)?;
    ensure!(applied.succeeded(), "{applied}");
    Ok(())
}
