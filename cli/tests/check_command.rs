//! The output and the exit codes of `check`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::{Ended, run};

const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo}\n";
const JOB: &str = "\
apiVersion: batch/v1
kind: Job
metadata: {name: tests, namespace: codex-issue-demo}
spec:
  template:
    spec:
      restartPolicy: Never
      containers: [{name: c, image: busybox}]
";

fn check(folder: &Path, args: &[&str], input: &[u8]) -> Ended {
    run(folder, &[&["check"], args].concat(), input)
}

#[test]
fn what_is_admitted_ends_with_0_and_reports_what_is_mutated() {
    let folder = tempfile::tempdir().unwrap();
    let (code, output, complained) = check(folder.path(), &[], format!("{NAMESPACE}---\n{JOB}").as_bytes());
    assert_eq!((code, complained.as_str()), (0, ""));
    assert!(
        output.starts_with("-:1: Namespace codex-issue-demo: admitted, mutated\n    + /metadata/"),
        "{output}"
    );
    assert!(output.contains("-:4: Job codex-issue-demo/tests: admitted, mutated\n"), "{output}");
    assert!(output.contains("    + /spec/template/spec/serviceAccountName: \"codex-runner\"\n"), "{output}");
    assert!(output.ends_with("2 objects: 2 mutated\n"), "{output}");
}

#[test]
fn what_is_inserted_before_a_variable_is_not_shown_as_its_replacement() {
    let folder = tempfile::tempdir().unwrap();
    let job = JOB.replace("image: busybox", "image: busybox, env: [{name: A, value: $(CODEXK8S_RUN_ID)}]");
    let (code, output, _) = check(folder.path(), &[], format!("{NAMESPACE}---\n{job}").as_bytes());
    assert_eq!(code, 0, "{output}");
    assert!(output.contains("    + /spec/template/spec/containers/0/env/0: "), "{output}");
    assert!(!output.contains("    - /spec"), "{output}");
}

#[test]
fn what_is_denied_ends_with_1_and_says_why_in_each_form() {
    let folder = tempfile::tempdir().unwrap();
    let escape = JOB.replace("restartPolicy", "hostNetwork: true\n      restartPolicy");
    std::fs::create_dir(folder.path().join("manifests")).unwrap();
    std::fs::write(folder.path().join("manifests/b.yaml"), &escape).unwrap();
    std::fs::write(
        folder.path().join("manifests/a.json"),
        r#"{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}"#,
    )
    .unwrap();
    std::fs::write(folder.path().join("manifests/notes.txt"), "no manifest").unwrap();
    let (code, output, _) = check(folder.path(), &["--requester=agent", "manifests"], b"");
    assert_eq!(code, 1);
    let lines: Vec<_> = output.lines().collect();
    assert_eq!(lines[0], "manifests/a.json:1: ConfigMap x: not ours");
    assert_eq!(lines[1], "manifests/b.yaml:1: Job codex-issue-demo/tests: denied");
    let shown = [
        "error[JOB018]: spec.template.spec.hostNetwork: found true",
        " --> manifests/b.yaml:7:7",
        "  |",
        "7 |       hostNetwork: true",
        "  |       ^^^^^^^^^^^^^^^^^",
    ];
    assert!(lines[2].starts_with("    note: the namespace codex-issue-demo is not in the set"), "{output}");
    assert_eq!(lines[3..8], shown, "{output}");
    assert!(lines.iter().any(|line| line.starts_with("  = help: must be false")), "{output}");
    assert!(lines.contains(&"Why, and how to comply: codex-k8s-guard explain JOB018"), "{output}");
    let (code, json, _) = check(folder.path(), &["--output=json", "manifests/b.yaml"], b"");
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (code, &json["objects"][0]["result"], &json["objects"][0]["problems"][0]["rule"]),
        (1, &"denied".into(), &"JOB018".into())
    );
    assert_eq!(check(folder.path(), &["--output=yaml", "manifests/b.yaml"], b"").0, 1);
}

#[test]
fn what_cannot_be_evaluated_ends_with_2_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.yaml"), "kind: Nothing\n").unwrap();
    for (args, input, expected) in [
        (&[][..], &b""[..], "-: found no object"),
        (&[], b"\x7fELF\xff", "no UTF-8"),
        (&[], b"apiVersion: v1\nkind: [Job\n", "-:2:7: found what is neither YAML nor JSON"),
        (&[], b"kind: Job\nmetadata: {}\n", "-:1:1: apiVersion: found nothing"),
        (&["absent.yaml"], b"", "failed to read absent.yaml"),
        (
            &["--context=staging"],
            NAMESPACE.as_bytes(),
            "--kubeconfig, --context, --cluster and --user require --live",
        ),
        (&["--policy=policy.yaml"], NAMESPACE.as_bytes(), "is not a valid policy"),
        (&["--output=xml"], b"", "invalid value 'xml'"),
    ] {
        let (code, printed, complained) = check(folder.path(), args, input);
        assert_eq!((code, printed.as_str()), (2, ""), "{args:?}: {complained}");
        assert!(complained.contains(expected), "{args:?}: {complained}");
    }
}

#[test]
fn warnings_fail_only_if_they_are_to() {
    let folder = tempfile::tempdir().unwrap();
    let policy =
        "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrules: {JOB018: warn, PSS003: warn}\n";
    std::fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let escape = JOB.replace("restartPolicy", "hostNetwork: true\n      restartPolicy");
    let (code, output, _) = check(folder.path(), &["--policy=policy.yaml"], escape.as_bytes());
    assert!(code == 0 && output.contains("warning[JOB018]: "), "{output}");
    assert_eq!(check(folder.path(), &["--policy=policy.yaml", "--fail-on=warn"], escape.as_bytes()).0, 1);
}

#[test]
fn a_change_is_evaluated_by_what_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write(
        "new.yaml",
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: codex-issue-demo\n  labels: {codex-k8s.dev/managed-by: codex-k8s-worker}\n",
    );
    let (code, _, complained) = check(folder.path(), &["--operation=update", "new.yaml"], b"");
    assert_eq!(code, 2);
    assert!(
        complained.contains("new.yaml:1: found no old object for Namespace codex-issue-demo"),
        "{complained}"
    );
    write("old.yaml", NAMESPACE);
    let (code, output, _) = check(folder.path(), &["--operation=update", "--old=old.yaml", "new.yaml"], b"");
    assert_eq!(code, 1, "{output}");
    assert!(output.contains("error[NS006]"), "{output}");
    assert!(output.contains(" --> new.yaml:5:"), "{output}");
}

#[test]
fn a_deletion_is_evaluated_as_of_what_was_created_and_by_whom() {
    let folder = tempfile::tempdir().unwrap();
    let deleted =
        |args: &[&str]| check(folder.path(), &[&["--operation=delete"], args].concat(), NAMESPACE.as_bytes());
    let (code, output, _) = deleted(&["--requester=agent"]);
    assert_eq!(code, 1, "{output}");
    assert!(output.starts_with("-:1: Namespace codex-issue-demo: denied"), "{output}");
    let (code, output, _) = deleted(&["--requester=worker"]);
    assert_eq!(code, 0, "{output}");
}

#[test]
fn a_lease_is_evaluated_at_the_time_that_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let at = |now: &str| {
        let (code, json, complained) = check(folder.path(), &["--output=json", now], NAMESPACE.as_bytes());
        assert_eq!((code, complained.as_str()), (0, ""), "{json}");
        json
    };
    assert!(at("--now=2031-05-06T07:08:09Z").contains("2031-05-0"));
    assert_eq!(at("--now=2031-05-06T07:08:09Z"), at("--now=2031-05-06T07:08:09Z"));
    let (code, _, complained) = check(folder.path(), &["--now=tomorrow"], NAMESPACE.as_bytes());
    assert_eq!(code, 2);
    assert!(complained.contains("--now"), "{complained}");
}

#[test]
fn a_connection_is_evaluated_by_the_kind_of_its_options_which_no_rule_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: codex-issue-demo}\nspec: {hostNetwork: true}\n";
    let connect =
        |args: &[&str]| check(folder.path(), &[&["--operation=connect"], args].concat(), pod.as_bytes());
    for subresource in ["exec", "attach", "portforward", "proxy"] {
        let (code, output, complained) = connect(&["--requester=agent", "--subresource", subresource]);
        assert_eq!((code, complained.as_str()), (0, ""), "{output}");
        assert!(output.starts_with("-:1: Pod codex-issue-demo/p: not ours\n"), "{output}");
    }
    for (args, found) in [(&[][..], "found nothing"), (&["--subresource=log"], "found log")] {
        let (code, _, complained) = connect(args);
        assert_eq!(code, 2);
        assert!(complained.contains(&format!("--subresource: {found}; expected")), "{complained}");
    }
}
