//! The completion scripts in real shells. That of bash, which each machine has, is tested next to the command.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use codex_k8s_tests::Shells;
use tempfile::TempDir;

const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
contexts:
- {name: production, context: {cluster: c, user: u}}
- {name: staging, context: {cluster: c, user: u}}
";

/// A folder with our program and the script for a shell.
fn machine(shell: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(codex_k8s_guard::NAME);
    let script = format!("#!/bin/sh\nexec '{}' guard \"$@\"\n", env!("CARGO_BIN_EXE_playground"));
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("kubeconfig"), KUBECONFIG).unwrap();
    let script = Command::new(&program).args(["completions", shell]).output().unwrap();
    assert!(script.status.success(), "{script:?}");
    fs::write(folder.path().join("script"), script.stdout).unwrap();
    folder
}

/// The first words of the lines that a shell prints, on a machine whose `PATH` has our program.
fn printed(mut shell: Command, machine: &Path) -> Vec<String> {
    let path = std::env::var("PATH").unwrap();
    shell.current_dir(machine).env("PATH", format!("{}:{path}", machine.display()));
    let ran = shell.env("HOME", machine).env("KUBECONFIG", machine.join("kubeconfig")).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    let text = String::from_utf8(ran.stdout).unwrap();
    text.lines().map(|line| line.split(['\t', ':']).next().unwrap().to_owned()).collect()
}

#[test]
fn fish_completes_commands_options_and_contexts() {
    let machine = machine("fish");
    let offered = |line: &str| {
        let mut fish = Shells::find().unwrap().fish();
        fish.arg("-c").arg(format!("source script; complete -C 'codex-k8s-guard {line}'"));
        printed(fish, machine.path())
    };
    assert_eq!(offered("pol"), ["policy"]);
    assert_eq!(offered("policy di"), ["diff"]);
    assert_eq!(offered("sweep --allow"), ["--allow-mass-deletion"]);
    assert_eq!(offered("get --context "), ["production", "staging"]);
}

#[test]
fn zsh_completes_commands_options_and_contexts() {
    let machine = machine("zsh");
    // `_describe` would show the candidates on a terminal; here it prints them.
    let offered = |words: &str| {
        let script = format!(
            "source script\n_describe() {{ print -l -- ${{(P)3}} }}\n\
             words=(codex-k8s-guard {words}); CURRENT=$#words; $_comps[codex-k8s-guard]"
        );
        printed(Shells::find().unwrap().zsh(&script), machine.path())
    };
    assert_eq!(offered("pol"), ["policy"]);
    assert_eq!(offered("policy di"), ["diff"]);
    assert_eq!(offered("sweep --allow"), ["--allow-mass-deletion"]);
    assert_eq!(offered("get --context ''"), ["production", "staging"]);
}
