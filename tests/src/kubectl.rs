//! The pinned kubectl.

use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// A kubectl with one identity.
#[derive(Debug, Clone)]
pub struct Kubectl {
    pub(crate) program: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) home: PathBuf,
}

/// The outcome of a run of kubectl.
#[derive(Debug, Clone)]
pub struct Ran {
    /// True if it exited with 0.
    pub success: bool,
    /// The standard output.
    pub stdout: String,
    /// The standard error: warnings and errors.
    pub stderr: String,
}

impl Ran {
    /// True if it exited with 0.
    pub const fn succeeded(&self) -> bool {
        self.success
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}{}", self.stdout, self.stderr)
    }
}

impl Kubectl {
    /// Runs kubectl.
    ///
    /// # Errors
    /// Returns an error if kubectl cannot be started. A failure of kubectl itself is not an error here.
    pub fn run(&self, args: &[&str]) -> anyhow::Result<Ran> {
        self.run_with_input(args, "")
    }

    /// Runs kubectl with a text on its standard input.
    ///
    /// # Errors
    /// Returns an error if kubectl cannot be started or does not read its input.
    pub fn run_with_input(&self, args: &[&str], input: &str) -> anyhow::Result<Ran> {
        self.run_with_editor("false", args, input)
    }

    /// Runs kubectl with a text on its standard input, and returns its standard output.
    ///
    /// # Errors
    /// Returns an error if kubectl cannot be started or fails; with its output.
    pub fn succeed(&self, args: &[&str], input: &str) -> anyhow::Result<String> {
        let ran = self.run_with_input(args, input)?;
        ensure!(ran.succeeded(), "{ran}");
        Ok(ran.stdout)
    }

    /// Runs kubectl with the command that `kubectl edit` calls, and a text on its standard input.
    ///
    /// # Errors
    /// As [`run_with_input`](Self::run_with_input).
    pub fn run_with_editor(&self, editor: &str, args: &[&str], input: &str) -> anyhow::Result<Ran> {
        let mut process = Command::new(&self.program)
            .args(args)
            .env_clear()
            .env("HOME", &self.home)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBE_EDITOR", editor)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start kubectl")?;
        if let Some(mut stdin) = process.stdin.take() {
            stdin.write_all(input.as_bytes()).or_else(|error| match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            })?;
        }
        let output = process.wait_with_output()?;
        Ok(Ran {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
