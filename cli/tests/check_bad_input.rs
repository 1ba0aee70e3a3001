//! What `check` says to what it cannot evaluate: each with its place and exit code 2, and nothing printed that could be
//! taken for a verdict.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::process::{Command, Stdio};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo}\n";

struct Ended {
    code: i32,
    output: String,
    complained: String,
}

fn check(input: &[u8]) -> Ended {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("f.yaml"), input).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_codex-k8s-guard"))
        .args(["check", "f.yaml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // A process that a signal ended has no code: no stack may overflow.
    Ended {
        code: output.status.code().unwrap(),
        output: text(&output.stdout),
        complained: text(&output.stderr),
    }
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
fn what_cannot_be_evaluated_is_reported_with_its_place() {
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("an empty file", Vec::new(), "f.yaml: found no object"),
        ("comments", b"# nothing\n---\n".to_vec(), "f.yaml: found no object"),
        ("a program", b"\x7fELF\x02\x01\x01\0\xff\xfe".to_vec(), "f.yaml:1:9: found bytes that are no UTF-8"),
        (
            "Latin-1",
            b"apiVersion: v1\nkind: caf\xe9\n".to_vec(),
            "f.yaml:2:10: found bytes that are no UTF-8",
        ),
        ("a truncated file", b"apiVersion: v1\nkind: Job\nmetadata: {name: \"a\n".to_vec(), "line 3 column "),
        ("tabs", b"apiVersion: v1\nmetadata:\n\tname: a\n".to_vec(), "line 3 column 2"),
        ("a key twice", format!("{NAMESPACE}kind: Job\n").into_bytes(), "line 4 column 1"),
        ("a bomb of anchors", bomb().into_bytes(), "f.yaml: found what is neither YAML nor JSON"),
        ("nesting", "[".repeat(200_000).into_bytes(), "f.yaml: found what is neither YAML nor JSON"),
        (
            "nesting in blocks",
            "- ".repeat(200_000).into_bytes(),
            "f.yaml: found what is neither YAML nor JSON",
        ),
        ("no version", b"kind: Job\nmetadata: {name: a}\n".to_vec(), "f.yaml:1:1: apiVersion: found nothing"),
        ("lists in lists", lists(20).into_bytes(), "items: found nothing; expected lists that do not"),
        ("50 MB", vec![b' '; 50_000_000], "f.yaml: found more than 32 MiB"),
    ];
    for (what, input, expected) in cases {
        let ended = check(&input);
        assert_eq!((ended.code, ended.output.as_str()), (2, ""), "{what}: {}", ended.complained);
        assert!(ended.complained.contains(expected), "{what}: {}", ended.complained);
        assert!(ended.complained.len() < 2000, "{what}: it is told at length");
    }
}

#[test]
fn a_list_in_a_list_and_an_unknown_kind_are_no_bad_input() {
    let ended = check(lists(2).as_bytes());
    assert_eq!((ended.code, ended.output.lines().next()), (0, Some("f.yaml:1: ConfigMap a: not ours")));
    let ended = check(b"apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\n");
    assert_eq!((ended.code, ended.output.lines().next()), (0, Some("f.yaml:1: Widget w: not ours")));
}

#[test]
fn who_stops_reading_changes_no_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let denied =
        NAMESPACE.replace("codex-issue-demo", "codex-issue-demo, labels: {codex-k8s.dev/managed-by: me}");
    // More than a pipe holds.
    std::fs::write(folder.path().join("f.yaml"), vec![denied; 500].join("---\n")).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_codex-k8s-guard"))
        .args(["check", "f.yaml"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(process.stdout.take());
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(1), &b""[..]));
}
