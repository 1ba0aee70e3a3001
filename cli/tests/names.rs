//! The file is the program by whose name it is called.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::symlink;
use std::process::{Command, Output};

fn ran(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_codex-k8s-guard");

#[test]
fn it_is_the_program_that_its_name_says() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["codex-k8s-webhook", "codex-k8s-gc"] {
        let link = folder.path().join(name);
        symlink(PROGRAM, &link).unwrap();
        let version = (Some(0), format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
        assert_eq!(ran(Command::new(&link).arg("--version")), version);
        assert_eq!(ran(Command::new(PROGRAM).args([name, "--version"])), version);
    }
}

#[test]
fn without_a_name_of_ours_it_says_what_it_is() {
    for args in [&[][..], &["serve"], &["--help"]] {
        let (code, told) = ran(Command::new(PROGRAM).args(args));
        assert_eq!(code, Some(2));
        assert!(told.contains("call it by one of these names, or name one first"), "{told}");
    }
}
