//! Completion in shells, and of `kubectl guard` by kubectl itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

const PROGRAM: &str = env!("CARGO_BIN_EXE_codex-k8s-guard");

fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn script() -> String {
    printed(Command::new(PROGRAM).args(["completions", "bash"]))
}

/// A folder with a kubeconfig of two contexts.
fn machine() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let context = |name: &str| format!("{{name: {name}, context: {{cluster: c, user: u}}}}");
    let contexts = ["production", "staging"].map(context).join(", ");
    let text = format!("apiVersion: v1\nkind: Config\ncontexts: [{contexts}]\n");
    std::fs::write(folder.path().join("kubeconfig"), text).unwrap();
    folder
}

/// The answer to kubectl about the last word of a command line of its plugin.
fn completed(line: &[&str]) -> Vec<String> {
    let folder = machine();
    let plugin = folder.path().join("kubectl_complete-guard");
    symlink(PROGRAM, &plugin).unwrap();
    let mut command = Command::new(plugin);
    let text = printed(command.args(line).env("KUBECONFIG", folder.path().join("kubeconfig")));
    text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect()
}

#[test]
fn kubectl_completes_commands_options_contexts_and_rules_of_its_plugin() {
    assert_eq!(completed(&["swe"]), ["sweep", ":4"]);
    assert_eq!(completed(&["audit", "ex"]), ["export", ":4"]);
    assert_eq!(completed(&["sweep", "--allow"]), ["--allow-mass-deletion", ":4"]);
    assert_eq!(completed(&["sweep", "--context", ""]), ["production", "staging", ":4"]);
    assert_eq!(completed(&["explain", "NS007"]), ["NS007", ":4"]);
    assert_eq!(completed(&["policy", "print", "--profile", ""]), ["a", "b", ":4"]);
}

/// Sources the script in bash and returns the completions of the last word of a command line.
fn offered(line: &[&str]) -> Vec<String> {
    let complete = r#"
        source "$1"; shift
        spec=$(complete -p "$1"); function=${spec##*-F }; function=${function%% *}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
        "$function" "$1" "${COMP_WORDS[$COMP_CWORD]}" "${COMP_WORDS[$COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let machine = machine();
    let file = machine.path().join("script");
    std::fs::write(&file, script()).unwrap();
    let folder = Path::new(PROGRAM).parent().unwrap().display().to_string();
    let mut bash = Command::new("bash");
    bash.args(["--norc", "--noprofile", "-c", complete, "bash"]).arg(&file).arg("codex-k8s-guard").args(line);
    bash.env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()));
    bash.env("KUBECONFIG", machine.path().join("kubeconfig"));
    printed(&mut bash).lines().map(|line| line.trim().to_owned()).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(offered(&["pol"]), ["policy"]);
    assert_eq!(offered(&["policy", "di"]), ["diff"]);
    assert_eq!(offered(&["sweep", "--context", "st"]), ["staging"]);
    assert_eq!(offered(&["policy", "print", "--pro"]), ["--profile"]);
}
