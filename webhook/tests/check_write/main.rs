//! `check --write`: files with what is mended of their objects in them, and all else as it was.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod hand;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::{
    Asked, Checker, Document, Judgement, Requester, Unwritten, Verdict, read, rewritten,
};
use serde_json::{Value, json};

const NOW: &str = "2026-12-01T09:00:00Z";

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-demo\n";

fn judged(text: &str, user: &str) -> (Vec<Document>, Vec<Judgement>) {
    let documents = read("f.yaml", text.as_bytes()).unwrap();
    let requester = Requester { user: user.to_owned(), groups: Vec::new() };
    let asked = Asked {
        now: Some(NOW.parse().unwrap()),
        default_namespace: support::NAMESPACE.to_owned(),
        ..Asked::creation(requester)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let judged = runtime.block_on(Checker::new(RunPolicy::default(), asked).judge_all(&documents)).unwrap();
    (documents, judged)
}

fn rewrite(text: &str, user: &str) -> Result<String, Vec<Unwritten>> {
    let (documents, judged) = judged(text, user);
    rewritten(&documents.iter().zip(&judged).collect::<Vec<_>>())
}

/// The text once it is written, of which it is known that it is stored as the one before, needs no mending, and would not
/// be written again.
fn written(text: &str, user: &str) -> String {
    let new = rewrite(text, user).unwrap_or_else(|reasons| panic!("{reasons:?}\n{text}"));
    let ((_, before), (documents, after)) = (judged(text, user), judged(&new, user));
    assert_eq!(before.len(), after.len(), "{new}");
    for (before, after) in before.iter().zip(&after) {
        assert_ne!(after.result, Verdict::Mended, "{new}");
        assert_eq!(before.result == Verdict::Denied, after.result == Verdict::Denied, "{new}");
        assert_eq!(with_one_account(before), with_one_account(after), "{text}\n->\n{new}");
    }
    let again = rewritten(&documents.iter().zip(&after).collect::<Vec<_>>()).unwrap();
    assert_eq!(again, new);
    new
}

/// What is stored, without the older one of the two names of an account: the API server fills it in once more after the
/// mutating call.
fn with_one_account(judgement: &Judgement) -> Option<Value> {
    let mut stored = judgement.stored.clone()?;
    for spec in ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"] {
        if let Some(Value::Object(spec)) = stored.pointer_mut(spec) {
            spec.remove("serviceAccount");
        }
    }
    Some(stored)
}

/// The lines of a text that do not stand in another one, in the same order.
fn missing<'t>(old: &'t str, new: &str) -> Vec<&'t str> {
    let mut rest = new.lines();
    let mut missing = Vec::new();
    for line in old.lines() {
        let before = rest.clone();
        if !rest.by_ref().any(|new| new == line) {
            missing.push(line);
            rest = before;
        }
    }
    missing
}

#[test]
fn what_is_mended_is_added_and_nothing_else_is_touched() {
    let text = "\
# a header

apiVersion: v1 # of the core group
kind: Namespace
metadata:
  # what it is called
  name: \"codex-issue-demo\" # quoted
  labels:
    team: 'payments'

    # after an empty line
    tier: x
  # at the end

--- # the next one
# which is not touched
apiVersion: v1
kind:   ConfigMap
metadata: {name: x}
---
---
apiVersion: batch/v1
kind: Job
spec:
    template:
        spec:
            restartPolicy: Never
            containers:
                # the first
                -   name: é
                    image: busybox
                    command: [\"sh\", \"-c\",
                      \"echo\"]
                    args:
                    - |
                      # no comment
                      a: b

                      c
                # the second
                -   name: b
                    image: busybox
                    env:
                    - name: A # first
                      value: >-
                        folded

                        text
                    # after the last
metadata:
    name: tests
    namespace: codex-issue-demo
# a footer";
    let new = written(text, "developer");
    assert_eq!(missing(text, &new), Vec::<&str>::new(), "{new}");
    assert!(new.ends_with("\n# a footer"), "{new}");
    assert!(new.contains("    tier: x\n    codex-k8s.dev/managed-by: codex-k8s-worker\n"), "{new}");
    assert!(new.contains("codex-k8s.dev/namespace-lease-expires-at: \"2026-12-02T09:00:00Z\"\n"), "{new}");
    assert!(!new.contains("backoffLimit: 6"), "what the API server fills in is no mutation:\n{new}");
    let untouched = "--- # the next one\n# which is not touched\napiVersion: v1\nkind:   ConfigMap\nmetadata: {name: x}\n---\n---\n";
    assert!(new.contains(untouched), "{new}");
}

#[test]
fn ends_of_lines_stay_as_they_are() {
    for text in [NAMESPACE.replace('\n', "\r\n"), NAMESPACE.trim_end().to_owned()] {
        let new = written(&text, "developer");
        assert_eq!(missing(&text, &new), Vec::<&str>::new());
        assert_eq!(text.ends_with('\n'), new.ends_with('\n'), "{new:?}");
        let crlf = new.matches("\r\n").count();
        assert!(crlf == 0 || crlf == new.matches('\n').count(), "{new:?}");
        assert_eq!(crlf > 0, text.contains("\r\n"));
    }
}

#[test]
fn what_stands_in_braces_is_written_in_braces() {
    let text = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo, labels: {}} # all\n";
    let new = written(text, "developer");
    assert_eq!((new.lines().count(), missing(text, &new).len()), (3, 1), "{new}");
    assert!(new.lines().nth(2).unwrap().ends_with("}} # all"), "{new}");
}

#[test]
fn json_stays_json_in_its_own_layout() {
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "codex-issue-demo", "labels": {"a": "b"}}});
    let new = written(&object.to_string(), "developer");
    assert!(!new.contains('\n'), "{new}");
    assert!(serde_json::from_str::<Value>(&new).is_ok(), "{new}");
    let pretty = serde_json::to_string_pretty(&object).unwrap();
    for text in [pretty.clone(), pretty.replace("  ", "\t"), pretty.replace('\n', "\r\n")] {
        let new = written(&text, "developer");
        let value: Value = serde_json::from_str(&new).unwrap();
        // The last field of an object has no comma, as long as it is the last.
        let changed = missing(&text, &new);
        assert!(changed.iter().all(|line| new.contains(&format!("{line},"))), "{changed:?} of {new}");
        assert_eq!(new.matches('{').count(), value_objects(&value), "{new}");
        assert!(new.lines().all(|line| line.matches("\": ").count() <= 1), "a field a line: {new}");
    }
}

fn value_objects(value: &Value) -> usize {
    value.as_object().map_or(0, |fields| 1 + fields.values().map(value_objects).sum::<usize>())
}

#[test]
fn objects_of_lists_are_written_where_they_stand() {
    let text = "\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap # not ours
  metadata:
    name: x
- apiVersion: v1
  kind: List
  items:
  - apiVersion: v1
    kind: Namespace
    metadata:
      name: codex-issue-demo # deep
";
    let new = written(text, "developer");
    assert_eq!(missing(text, &new), Vec::<&str>::new());
    assert!(
        new.contains("\n      name: codex-issue-demo # deep\n      annotations:\n        codex-k8s.dev/"),
        "{new}"
    );
}

#[test]
fn the_labels_that_a_job_would_have_from_its_template_are_not_lost_to_those_that_are_written() {
    let job = "\
apiVersion: batch/v1
kind: Job
metadata:
  name: tests
  namespace: codex-issue-demo
spec:
  template:
    metadata:
      labels:
        app: tests
    spec:
      restartPolicy: Never
      containers:
      - name: c
        image: busybox
";
    let new = written(&format!("{NAMESPACE}---\n{job}"), "developer");
    assert!(new.contains("\n  labels:\n    app: tests\n    codex-k8s.dev/"), "{new}");
}

#[test]
fn what_cannot_be_written_is_told_and_nothing_of_its_file_is() {
    let aliased = "apiVersion: v1\nkind: Namespace\nmetadata: &m\n  name: codex-issue-demo\n  labels: &l\n    a: b\n  annotations: *l\n";
    assert_eq!(rewrite(aliased, "developer").unwrap_err(), [Unwritten::Aliased]);
    let other = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-other}\n";
    assert_eq!(
        rewrite(&format!("{other}---\n{aliased}"), "developer").unwrap_err(),
        [Unwritten::Beside, Unwritten::Aliased]
    );
    let merged = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-demo\n  annotations: &l {a: b}\n  labels:\n    <<: *l\n";
    if let Err(reasons) = rewrite(merged, "developer") {
        assert_eq!(reasons, [Unwritten::Aliased]);
    }
}

#[test]
fn the_objects_that_the_platform_creates_are_written_with_their_comments() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    let mut texts: Vec<_> = std::fs::read_dir(fixtures)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    texts.sort();
    assert!(!texts.is_empty());
    for text in texts {
        let bare: Vec<_> = text.lines().filter(|line| !line.contains("codex-k8s.dev/")).collect();
        let bare = bare.join("\n");
        for text in [text, bare] {
            for user in ["developer", support::WORKER] {
                let new = written(&text, user);
                let changed = missing(&text, &new);
                assert!(changed.iter().all(|line| line.ends_with("{}")), "{changed:?} of {new}");
            }
        }
    }
}
