//! The commands of a document, and a shell to run them in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::binaries::{self, Binaries};
use crate::control_plane::ControlPlane;
use crate::identity::Identity;

/// The parts of a document that can be run or read: code blocks of one language, and inline code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code<'a> {
    /// A block with its language, such as `sh`.
    Block(&'a str, &'a str),
    /// Code within a sentence.
    Inline(&'a str),
}

/// Returns the code of a document, in its order.
pub fn code(page: &str) -> Vec<Code<'_>> {
    let mut found = Vec::new();
    for (index, part) in page.split("```").enumerate() {
        if index % 2 == 1 {
            let (language, text) = part.split_once('\n').unwrap_or((part, ""));
            found.push(Code::Block(language, text));
        } else {
            found.extend(part.split('`').skip(1).step_by(2).map(Code::Inline));
        }
    }
    found
}

/// Joins the lines of inline code.
pub fn one_line(code: &str) -> String {
    code.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A shell in a folder of its own. Its `PATH` begins with our program, as a plugin of kubectl too, and the pinned kubectl and helm, and its cluster
/// is a control plane with the rights of an administrator. As in a clone, `deploy` is the folder of the manifests.
#[derive(Debug)]
pub struct Shell {
    folder: TempDir,
    kubeconfig: PathBuf,
}

impl Shell {
    /// Creates a shell for a control plane.
    ///
    /// # Errors
    /// Returns an error if a program cannot be found or built.
    pub fn new(control_plane: &ControlPlane, playground: &Path) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = folder.path().join("bin");
        fs::create_dir(&programs)?;
        symlink(Binaries::find()?.path("kubectl"), programs.join("kubectl"))?;
        symlink(binaries::helm()?, programs.join("helm"))?;
        let script = format!("#!/bin/sh\nexec '{}' guard \"$@\"\n", playground.display());
        for name in [codex_k8s_guard::NAME, "kubectl-guard"] {
            fs::write(programs.join(name), &script)?;
            fs::set_permissions(programs.join(name), fs::Permissions::from_mode(0o755))?;
        }
        symlink(Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy"), folder.path().join("deploy"))?;
        let kubeconfig = control_plane.kubeconfig(&Identity::Admin)?;
        Ok(Self { folder, kubeconfig })
    }

    /// Returns the path of a file in the folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command line.
    ///
    /// # Errors
    /// Returns an error if the shell does not start. A failure of the command is not an error here.
    pub fn run(&self, command: &str) -> anyhow::Result<Output> {
        let path = std::env::var("PATH").context("PATH is not set")?;
        Command::new("bash")
            .args(["--norc", "--noprofile", "-o", "pipefail", "-c", command])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.file("bin").display()))
            .env("HOME", self.folder.path())
            .env("KUBECONFIG", &self.kubeconfig)
            .output()
            .context("failed to start a shell")
    }

    /// Runs a command line, and returns its exit code and all that it prints.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn told(&self, command: &str) -> anyhow::Result<(Option<i32>, String)> {
        let ran = self.run(command)?;
        let printed = [ran.stdout, ran.stderr].concat();
        Ok((ran.status.code(), String::from_utf8_lossy(&printed).into_owned()))
    }
}
