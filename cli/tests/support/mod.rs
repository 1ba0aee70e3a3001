//! The program as a process, for the tests of its commands.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The exit code, the standard output and the standard error of a run.
pub(crate) type Ended = (i32, String, String);

/// Returns the program with arguments, in a folder, without a policy or a cluster of the machine.
pub(crate) fn program(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_codex-k8s-guard"));
    command.args(args).current_dir(folder).env_remove("CODEX_K8S_GUARD_POLICY");
    command.env("KUBECONFIG", folder.join("absent"));
    command
}

/// Runs the program with an input. A process that a signal ended has no code, and fails the test.
pub(crate) fn run(folder: &Path, args: &[&str], input: &[u8]) -> Ended {
    let mut process = program(folder, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let input = input.to_vec();
    // In a thread: the program may print more than a pipe holds before it reads on.
    let writing = std::thread::spawn(move || {
        // A program that ends early does not read the rest.
        let _ = stdin.write_all(&input);
    });
    let output = process.wait_with_output().unwrap();
    writing.join().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}
