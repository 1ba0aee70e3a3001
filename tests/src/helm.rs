//! Running the pinned helm.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::Context as _;

use crate::binaries;

/// Runs helm with values, in folders of its own; without a kubeconfig it knows no cluster.
///
/// # Errors
/// If it cannot be built or started; a failure of its own is no error here.
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
