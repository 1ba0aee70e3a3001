//! `check --write`: its output, its exit code, and the files afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-demo\n";

/// The exit code, what was printed, and what was complained of.
fn check(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_codex-k8s-guard"))
        .arg("check")
        .args(args)
        .current_dir(folder)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn what_is_written_is_told_and_is_admitted_as_it_is_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.yaml");
    std::fs::write(&file, format!("\u{feff}{NAMESPACE}")).unwrap();
    let (code, told, complained) = check(folder.path(), &["--write", "f.yaml"]);
    assert_eq!((code, complained.as_str()), (0, ""), "{told}");
    assert!(told.contains("\n    written\n"), "{told}");
    let new = std::fs::read_to_string(&file).unwrap();
    assert!(new.starts_with("\u{feff}apiVersion: v1\n") && new.len() > 200, "{new}");
    let (code, told, _) = check(folder.path(), &["f.yaml"]);
    assert_eq!((code, told.lines().next()), (0, Some("f.yaml:1: Namespace codex-issue-demo: admitted")));
    let (code, json, _) = check(folder.path(), &["--write", "--output=json", "f.yaml"]);
    assert_eq!((code, std::fs::read_to_string(&file).unwrap()), (0, new));
    assert!(!json.contains("\"written\""), "{json}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside the file");
}

#[test]
fn links_and_permissions_stay_and_a_file_given_twice_is_written_once() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("real.yaml"), folder.path().join("link.yaml"));
    std::fs::write(&file, NAMESPACE).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
    std::os::unix::fs::symlink("real.yaml", &link).unwrap();
    let (code, _, complained) = check(folder.path(), &["--write", "link.yaml", "real.yaml"]);
    assert_eq!((code, complained.as_str()), (0, ""));
    assert!(link.is_symlink() && std::fs::read_to_string(&file).unwrap().contains("managed-by"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
}

#[test]
fn what_is_denied_is_not_written_and_what_cannot_be_written_ends_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let denied = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, namespace: codex-issue-demo}\nspec: {template: {spec: {restartPolicy: Never, hostNetwork: true, containers: [{name: c, image: i}]}}}\n";
    std::fs::write(path("denied.yaml"), denied).unwrap();
    let (code, _, complained) = check(folder.path(), &["--write", "denied.yaml"]);
    assert_eq!((code, complained.as_str()), (1, ""));
    assert_eq!(std::fs::read_to_string(path("denied.yaml")).unwrap(), denied);

    let aliased = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-demo\n  labels: &l {a: b}\n  annotations: *l\n";
    std::fs::write(path("aliased.yaml"), aliased).unwrap();
    std::fs::write(path("plain.yaml"), NAMESPACE.replace("demo", "other")).unwrap();
    let (code, json, complained) =
        check(folder.path(), &["--write", "--output=json", "aliased.yaml", "plain.yaml"]);
    assert_eq!(code, 2);
    let told = "error: aliased.yaml:1: Namespace codex-issue-demo: could not be written: found an anchor";
    assert!(complained.starts_with(told), "{complained}");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["objects"][0]["written"]["done"], &json["objects"][1]["written"]),
        (&json!(false), &json!({"done": true}))
    );
    assert_eq!(std::fs::read_to_string(path("aliased.yaml")).unwrap(), aliased);
    assert_ne!(std::fs::read_to_string(path("plain.yaml")).unwrap(), NAMESPACE.replace("demo", "other"));
}

#[test]
fn what_leaves_nothing_to_write_to_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.yaml"), NAMESPACE).unwrap();
    for (args, told) in [
        (&["--write"][..], "required"),
        (&["--write", "-"], "--write: found standard input; expected files"),
        (&["--write", "--operation=delete", "f.yaml"], "--write: found --operation delete; expected create"),
        (&["--write", "--subresource=status", "f.yaml"], "cannot be used with"),
        (&["--write", "--review=f.yaml"], "cannot be used with"),
    ] {
        let (code, printed, complained) = check(folder.path(), args);
        assert_eq!((code, printed.as_str()), (2, ""), "{args:?}");
        assert!(complained.contains(told), "{args:?}: {complained}");
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("f.yaml")).unwrap(), NAMESPACE);
}
