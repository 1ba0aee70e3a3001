//! The chart, as helm renders it.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::ensure;
use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// The folder of the chart.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart")
}

/// Runs helm on values, without a cluster.
///
/// # Errors
/// If it cannot be built or started; a refusal is no error here.
pub fn helm(args: &[&str], values: &str) -> anyhow::Result<Output> {
    crate::helm::helm(args, values, None)
}

/// What the chart renders for a release in a namespace, hooks and tests with it.
///
/// # Errors
/// If helm refuses the values, with what it says.
pub fn rendered(namespace: &str, values: &str) -> anyhow::Result<String> {
    let chart = folder().display().to_string();
    let ran = helm(&["template", "guard", &chart, "--namespace", namespace], values)?;
    ensure!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    Ok(String::from_utf8(ran.stdout)?)
}

/// The objects of what was rendered.
///
/// # Errors
/// If it is no YAML.
pub fn objects(rendered: &str) -> anyhow::Result<Vec<Value>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(rendered)?;
    Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
}

/// What the chart installs by default, as `make generate` renders it, and the rights of the platform.
const INSTALLED: [&str; 6] = [
    include_str!("../../deploy/base/namespace.yaml"),
    include_str!("../../deploy/base/serve.yaml"),
    include_str!("../../deploy/base/reconcile.yaml"),
    include_str!("../../deploy/base/gc.yaml"),
    include_str!("../../deploy/base/admission-policies.yaml"),
    include_str!("../fixtures/platform-rights.yaml"),
];

/// The kinds that run nothing.
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

/// Installs the rights of the chart and of the platform, and the chart's admission policies. What the chart runs in
/// Pods is left out.
///
/// # Errors
/// If the API server refuses any of it.
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
