//! The names by which the program can be called.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

fn ran(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_codex-k8s-guard");

#[test]
fn called_as_a_plugin_of_kubectl_it_shows_itself_as_one() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("kubectl-guard");
    symlink(PROGRAM, &link).unwrap();
    let (code, help) = ran(Command::new(&link).args(["check", "--help"]));
    assert_eq!(code, Some(0));
    assert!(help.contains("Usage: kubectl guard check"), "{help}");
    assert!(help.contains("\n  kubectl guard check manifests/\n"), "{help}");
    let (code, refused) = ran(Command::new(&link).arg("sweeep"));
    assert_eq!(code, Some(2));
    assert!(refused.contains("Usage: kubectl guard"), "{refused}");
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(ran(Command::new(&link).arg("--version")), (Some(0), format!("kubectl-guard {version}\n")));
}

#[test]
fn called_by_any_other_name_it_is_codex_k8s_guard() {
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        ran(Command::new(PROGRAM).arg("--version")),
        (Some(0), format!("codex-k8s-guard {version}\n"))
    );
    let (code, help) = ran(Command::new(PROGRAM).args(["sweep", "--help"]));
    assert_eq!(code, Some(0));
    assert!(help.contains("Usage: codex-k8s-guard sweep") && help.contains("Exit codes:"), "{help}");
}
