//! The chart, as helm renders it.

use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::ensure;
use serde_json::Value;

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
