//! Bad input of `check`: the place of the error, exit code 2, and no output that could be taken for a verdict.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fmt::Write as _;
use std::process::Stdio;

use support::{Ended, program, run};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo}\n";

fn check(input: &[u8]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.yaml"), input).unwrap();
    run(folder.path(), &["check", "f.yaml"], b"")
}

/// One value is ten of the one before, ten times over.
fn bomb() -> String {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for number in 1..10 {
        let ten = vec![format!("*a{}", number - 1); 10].join(", ");
        let _ = writeln!(text, "a{number}: &a{number} [{ten}]");
    }
    text
}

fn lists(depth: usize) -> String {
    let item = r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}"#;
    (0..depth).fold(item.to_owned(), |inner, _| {
        format!(r#"{{"apiVersion": "v1", "kind": "List", "items": [{inner}]}}"#)
    })
}

#[test]
fn what_cannot_be_evaluated_is_reported_with_its_position() {
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("an empty file", Vec::new(), "f.yaml: found no object"),
        ("comments", b"# nothing\n---\n".to_vec(), "f.yaml: found no object"),
        ("a program", b"\x7fELF\x02\x01\x01\0\xff\xfe".to_vec(), "f.yaml:1:9: found bytes that are no UTF-8"),
        (
            "Latin-1",
            b"apiVersion: v1\nkind: caf\xe9\n".to_vec(),
            "f.yaml:2:10: found bytes that are no UTF-8",
        ),
        (
            "a truncated file",
            b"apiVersion: v1\nkind: Job\nmetadata: {name: \"a\n".to_vec(),
            "f.yaml:3:18: found",
        ),
        ("tabs", b"apiVersion: v1\nmetadata:\n\tname: a\n".to_vec(), "f.yaml:3:2: found"),
        ("a bomb of anchors", bomb().into_bytes(), "found what is neither YAML nor JSON"),
        ("nesting", "[".repeat(200_000).into_bytes(), "found what is neither YAML nor JSON"),
        ("nesting in blocks", "- ".repeat(200_000).into_bytes(), "found what is neither YAML nor JSON"),
        ("no version", b"kind: Job\nmetadata: {name: a}\n".to_vec(), "f.yaml:1:1: apiVersion: found nothing"),
        (
            "lists in lists",
            lists(20).into_bytes(),
            "items: found nothing; expected lists that are not nested",
        ),
        ("50 MB", vec![b' '; 50_000_000], "f.yaml: found more than 32 MiB"),
    ];
    for (what, input, expected) in cases {
        let (code, output, complained) = check(&input);
        assert_eq!((code, output.as_str()), (2, ""), "{what}: {complained}");
        assert!(complained.contains(expected), "{what}: {complained}");
        assert!(complained.len() < 2000, "{what}: the message is too long");
    }
}

#[test]
fn a_list_in_a_list_and_an_unknown_kind_are_no_bad_input() {
    let (code, output, _) = check(lists(2).as_bytes());
    assert_eq!((code, output.lines().next()), (0, Some("f.yaml:1: ConfigMap a: not ours")));
    let (code, output, _) = check(b"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n");
    assert_eq!((code, output.lines().next()), (0, Some("f.yaml:1: Widget w: not ours")));
}

#[test]
fn who_stops_reading_changes_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let denied =
        NAMESPACE.replace("codex-issue-demo", "codex-issue-demo, labels: {codex-k8s.dev/managed-by: me}");
    // More than a pipe holds.
    std::fs::write(folder.path().join("f.yaml"), vec![denied; 500].join("---\n")).unwrap();
    let mut process = program(folder.path(), &["check", "f.yaml"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}
