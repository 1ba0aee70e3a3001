//! The output and the exit codes of `render`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Ended, run};

const RUN: &str = "3f2b8c1e-9d47-4a06-b5e2-7c81d0f4a913";
const PAYLOAD: &str = r#"{"trigger":{"kind":"dev"},"issue":{"number":42}}"#;

fn render(folder: &Path, args: &[&str], input: &str) -> Ended {
    run(folder, &[&["render"], args].concat(), input.as_bytes())
}

#[test]
fn a_payload_in_a_file_or_on_standard_input_gives_the_same_documents_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("payload.json"), PAYLOAD).unwrap();
    let (code, yaml, complained) = render(folder.path(), &["--run-id", RUN, "payload.json"], "");
    assert_eq!((code, complained.as_str()), (0, ""));
    assert_eq!(yaml.matches("\n---\n").count(), 1, "{yaml}");
    let named = "  name: codex-issue-project-i42-r3f2b8c1e9d47\n---\napiVersion: batch/v1\nkind: Job\n";
    assert!(yaml.starts_with("apiVersion: v1\nkind: Namespace\n") && yaml.contains(named), "{yaml}");
    assert_eq!(render(folder.path(), &["--run-id", RUN, "-"], PAYLOAD), (0, yaml, String::new()));
    let (_, json, _) = render(folder.path(), &["--run-id", RUN, "--output=json", "payload.json"], "");
    let list: Value = serde_json::from_str(&json).unwrap();
    let kinds: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| &item["kind"]).collect();
    assert_eq!((&list["kind"], kinds), (&"List".into(), vec![&"Namespace".into(), &"Job".into()]));
}

#[test]
fn the_release_follows_from_the_payload_unless_it_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let payload = r#"{"trigger":{"kind":"plan"},"agent":{"key":"em","name":"EM"}}"#;
    let kinds = |args: &[&str], payload: &str| {
        let (code, output, complained) =
            render(folder.path(), &[&["--run-id", RUN, "-"], args].concat(), payload);
        assert_eq!(code, 0, "{complained}");
        output.lines().filter(|line| line.starts_with("kind:")).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[], payload), ["kind: Job"]);
    assert_eq!(kinds(&["--release=b"], payload), ["kind: Namespace", "kind: Job"]);
    let of_b = payload.replacen('{', r#"{"runtime":{},"#, 1);
    assert_eq!(kinds(&[], &of_b), ["kind: Namespace", "kind: Job"]);
    assert_eq!(kinds(&["--release=a"], &of_b), ["kind: Job"]);
}

#[test]
fn what_was_requested_wrongly_ends_with_2_and_says_what_is_expected() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), "kind: Nothing\n").unwrap();
    for (args, input, expected) in [
        (&["-"][..], PAYLOAD, "--run-id <ID>"),
        (&["--run-id", RUN], "", "no payload: pass a file, - for standard input, or a database with --runs"),
        (&["--run-id", RUN, "--project-id=p"], "", "<FILE>"),
        (&["--run-id", RUN, "-"], "{", "the run's payload is none; expected JSON"),
        (&["--run-id", RUN, "absent.json"], "", "failed to read absent.json"),
        (&["--run-id", "run-2026-0001", "-"], PAYLOAD, "run id: found \"run-2026-0001\""),
        (&["--run-id", RUN, "--prefix=mine", "-"], PAYLOAD, "namespace prefix: found \"mine\""),
        (&["--run-id", RUN, "--policy=policy.yaml", "-"], PAYLOAD, "is not a valid policy"),
        (&["--run-id", RUN, "--runs=mysql://u:secret@h/d"], "", "--runs: not a valid database address"),
        (&["--run-id", RUN, "--output=xml", "-"], PAYLOAD, "invalid value 'xml'"),
    ] {
        let (code, printed, complained) = render(folder.path(), args, input);
        assert_eq!((code, printed.as_str()), (2, ""), "{args:?}: {complained}");
        assert!(complained.contains(expected) && !complained.contains("secret"), "{args:?}: {complained}");
    }
}

#[test]
fn a_cluster_or_a_database_that_is_not_there_has_a_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, complained) = render(folder.path(), &["--run-id", RUN, "--apply", "-"], PAYLOAD);
    assert!(code == 4 && complained.contains("failed to find a cluster"), "{code} {complained}");
    let runs = "--runs=postgres://u@127.0.0.1:1/d";
    let (code, _, complained) = render(folder.path(), &["--run-id", RUN, runs], "");
    assert!(code == 5 && complained.contains("failed to reach the database"), "{code} {complained}");
}
