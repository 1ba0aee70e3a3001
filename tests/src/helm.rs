//! The pinned helm.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;

use crate::binaries;

/// Runs helm with values, in temporary folders. Without a kubeconfig, it has no cluster.
///
/// # Errors
/// Returns an error if helm cannot be built or started. A failure of helm itself is not an error here.
pub fn helm(args: &[&str], values: &str, kubeconfig: Option<&Path>) -> anyhow::Result<Output> {
    let home = tempfile::tempdir()?;
    let file = home.path().join("values.yaml");
    std::fs::write(&file, values)?;
    let mut command = Command::new(binaries::helm()?);
    command.args(args);
    if !values.is_empty() {
        command.arg("--values").arg(&file);
    }
    for name in ["HOME", "HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, home.path());
    }
    command.env_remove("KUBECONFIG").envs(kubeconfig.map(|file| ("KUBECONFIG", file)));
    command.stdin(Stdio::null()).output().context("failed to start helm")
}
