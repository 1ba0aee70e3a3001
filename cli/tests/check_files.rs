//! Files and folders as `check` reads them: like kubectl, and no verdict on what cannot be known.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::fmt::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use support::{Ended, run};

const POD: &str = "\
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: codex-issue-demo}
spec: {restartPolicy: Never, containers: [{name: a, image: busybox}]}
";
const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo}\n";

/// A folder with files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn check(&self, args: &[&str]) -> Ended {
        run(self.path(), &[&["check"], args].concat(), b"")
    }

    /// The exit code and the report.
    fn report(&self, args: &[&str]) -> (i32, Value) {
        let (code, output, complained) = self.check(&[&["--output=json"], args].concat());
        assert!(!output.is_empty(), "{complained}");
        (code, serde_json::from_str(&output).unwrap())
    }
}

#[test]
fn files_of_a_folder_that_are_not_for_a_cluster_are_passed_over_and_counted() {
    let kustomization =
        "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [pod.yaml]\n";
    let folder = Folder::with(&[
        ("m/namespace.yaml", NAMESPACE),
        ("m/pod.yaml", POD),
        ("m/empty.yaml", ""),
        ("m/off.yaml", "# switched off\n---\n# Source: chart/templates/ingress.yaml\n"),
        ("m/kustomization.yaml", kustomization),
        ("m/policy.yaml", "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\n"),
        ("m/values.yaml", "replicas: 2\n"),
        ("m/compose.yaml", "services: {a: {image: b}}\n"),
    ]);
    let (code, output, complained) = folder.check(&["m"]);
    assert_eq!(code, 0, "{complained}");
    assert!(output.ends_with("2 objects: 2 mutated; 6 documents passed over\n"), "{output}");
    let values = "note: m/values.yaml:1: passed over: not a Kubernetes object: it has no kind\n";
    assert!(complained.contains(values), "{complained}");
    assert_eq!(complained.lines().count(), 6, "{complained}");
    let (_, report) = folder.report(&["m"]);
    assert_eq!(report["passedOver"].as_array().unwrap().len(), 6);
    // Like kubectl: what is named must be an object, and a file without any is passed over among others.
    for (file, expected) in [
        ("m/values.yaml", "m/values.yaml:1:1: apiVersion: found nothing"),
        ("m/kustomization.yaml", "m/kustomization.yaml:2:1: kind: found \"Kustomization\""),
        ("m/empty.yaml", "m/empty.yaml: found no object"),
    ] {
        let (code, _, complained) = folder.check(&[file]);
        assert_eq!(code, 2, "{file}");
        assert!(complained.contains(expected), "{complained}");
    }
    assert_eq!(folder.check(&["m/empty.yaml", "m/pod.yaml"]).0, 0);
}

#[test]
fn what_is_ignored_by_name_or_by_kind_is_not_read_or_not_evaluated() {
    let folder = Folder::with(&[
        ("m/namespace.yaml", NAMESPACE),
        ("m/charts/a/templates/pod.yaml", "{{ if .Values.pod }}\nkind: Pod\n"),
        ("m/widget.yaml", "apiVersion: example.org/v1\nkind: Widget\nmetadata: {name: w}\n"),
    ]);
    assert_eq!(folder.check(&["m"]).0, 2);
    for glob in ["m/charts", "m/charts/**", "templates", "**/templates/*.yaml"] {
        let (code, output, complained) = folder.check(&["--ignore", glob, "m"]);
        assert_eq!(code, 0, "{glob}: {complained}");
        assert!(
            output.ends_with("2 objects: 1 mutated, 1 not ours; 1 document passed over\n"),
            "{glob}: {output}"
        );
    }
    for kind in ["Widget", "Widget.example.org"] {
        let (_, report) = folder.report(&["--ignore=m/charts", "--ignore-kind", kind, "m"]);
        assert_eq!(report["summary"]["objects"], 1, "{report}");
        assert_eq!(report["passedOver"][1]["reason"], "ignored by its kind Widget");
    }
    assert_eq!(folder.check(&["--ignore=[", "m"]).0, 2);
}

#[test]
fn a_file_is_read_once_also_through_the_links_of_a_mounted_config_map() {
    let folder = Folder::with(&[("m/..2026_11_30/pod.yaml", POD), ("m/namespace.yaml", NAMESPACE)]);
    symlink("..2026_11_30", folder.path().join("m/..data")).unwrap();
    symlink("..data/pod.yaml", folder.path().join("m/pod.yaml")).unwrap();
    let (_, report) = folder.report(&["m", "m/pod.yaml"]);
    let files: Vec<_> = report["objects"].as_array().unwrap().iter().map(|object| &object["file"]).collect();
    assert_eq!(files, ["m/namespace.yaml", "m/pod.yaml"]);
}

#[test]
fn utf_16_is_read_if_it_is_marked_and_named_if_it_is_not() {
    let utf_16 = |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let folder = Folder::with(&[]);
    std::fs::write(folder.path().join("marked.yaml"), utf_16(&format!("\u{feff}{POD}"))).unwrap();
    std::fs::write(folder.path().join("unmarked.yaml"), utf_16(POD)).unwrap();
    assert_eq!(folder.report(&["marked.yaml"]).1["summary"]["mutated"], 1);
    let (code, _, complained) = folder.check(&["unmarked.yaml"]);
    assert_eq!(code, 2);
    assert!(
        complained.contains("found UTF-16 without a byte order mark; expected YAML or JSON in UTF-8"),
        "{complained}"
    );
}

#[test]
fn lists_of_every_form_and_size_are_read() {
    let anchored: String = (0..101).fold(
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Namespace, metadata: {name: codex-issue-n, labels: &l {team: a}}}\n".to_owned(),
        |mut text, number| {
            let _ = writeln!(text, "- {{apiVersion: v1, kind: Namespace, metadata: {{name: codex-issue-n{number}, labels: *l}}}}");
            text
        },
    );
    let pods: Vec<Value> = (0..1000)
        .map(|number| {
            let fields: serde_json::Map<_, _> = (0..80).map(|field| (format!("f:{field}"), serde_json::json!({}))).collect();
            serde_json::json!({"metadata": {"name": format!("p{number}"), "namespace": "codex-issue-demo",
                "managedFields": [{"manager": "m", "fieldsV1": fields}]},
                "spec": {"hostNetwork": true, "restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}})
        })
        .collect();
    let list = serde_json::json!({"apiVersion": "v1", "kind": "PodList", "items": pods}).to_string();
    let json =
        |name: &str| format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{name}"}}}}"#);
    let folder = Folder::with(&[
        ("anchored.yaml", &anchored),
        ("list.json", &list),
        ("stream.json", &format!("{}\n{}", json("codex-issue-a"), json("codex-issue-b"))),
    ]);
    assert_eq!(folder.report(&["anchored.yaml"]).1["summary"]["mutated"], 102);
    assert_eq!(folder.report(&["stream.json"]).1["summary"]["mutated"], 2);
    let (code, output, _) = folder.check(&["list.json"]);
    assert_eq!(code, 1);
    assert!(output.contains("\n1000 objects: 1000 denied\n"));
    // The file is one line, which is not printed for each problem.
    assert!(output.len() < list.len(), "{}", output.len());
}

#[test]
fn an_object_that_the_api_server_cannot_read_is_invalid_and_so_is_the_verdict_on_what_lies_in_it() {
    let namespace =
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo, labels: {release: 1.20}}\n";
    let folder = Folder::with(&[("m.yaml", &format!("{namespace}---\n{POD}"))]);
    let (code, report) = folder.report(&["m.yaml"]);
    assert_eq!(code, 1);
    let (namespace, pod) = (&report["objects"][0], &report["objects"][1]);
    assert_eq!((&namespace["result"], &pod["result"]), (&"invalid".into(), &"notEvaluated".into()));
    let problem = &namespace["problems"][0];
    assert_eq!(
        (&problem["rule"], &problem["path"]),
        (&"SCHEMA".into(), &"metadata.labels[\"release\"]".into())
    );
    assert_eq!((&problem["line"], &problem["column"]), (&3.into(), &45.into()));
    let message = "not evaluated, because the namespace codex-issue-demo in the same set is invalid";
    assert_eq!(pod["message"], message);
    let (_, output, _) = folder.check(&["m.yaml"]);
    assert!(output.contains(&format!("Pod codex-issue-demo/a: not evaluated\n    {message}\n")), "{output}");
    assert!(output.ends_with("2 objects: 1 invalid, 1 not evaluated\n"), "{output}");
    for (form, expected) in [("github", message), ("junit", message), ("sarif", "\"id\": \"SCHEMA\"")] {
        let (code, output, _) = folder.check(&["--output", form, "m.yaml"]);
        assert_eq!(code, 1);
        assert!(output.contains(expected), "{output}");
    }
    let (code, _, complained) = folder.check(&["--namespace-file=m.yaml", "m.yaml"]);
    assert_eq!(code, 2);
    assert!(complained.contains("m.yaml:3: Namespace codex-issue-demo: metadata.labels"), "{complained}");
}

#[test]
fn numbers_are_those_that_kubectl_sends() {
    let job = |spec: &str| {
        let pod = "template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}";
        format!(
            "apiVersion: batch/v1\nkind: Job\nmetadata: {{name: a, namespace: codex-issue-demo}}\nspec: {{{spec}, {pod}}}\n"
        )
    };
    for (spec, result, rule) in [
        ("backoffLimit: 010", "denied", "JOB009"),
        ("activeDeadlineSeconds: 1e5", "denied", "JOB007"),
        ("backoffLimit: 1.0", "mutated", ""),
        ("backoffLimit: 1.5", "invalid", "SCHEMA"),
        ("backoffLimit: \"1\"", "invalid", "SCHEMA"),
        ("backoffLimit: 1, backoffLimit: 2", "invalid", "SCHEMA"),
        ("suspend: yes", "mutated", ""),
        ("suspend: \"yes\"", "invalid", "SCHEMA"),
        ("backofLimit: 1", "invalid", "SCHEMA"),
    ] {
        let folder = Folder::with(&[("job.yaml", &job(spec))]);
        let (_, report) = folder.report(&["job.yaml"]);
        let found = &report["objects"][0];
        assert_eq!(found["result"], result, "{spec}: {found}");
        assert_eq!(found["problems"][0]["rule"].as_str().unwrap_or_default(), rule, "{spec}");
    }
}

#[test]
fn an_assumption_is_reported_in_every_form_and_an_error_only_if_it_is_to_be() {
    let folder = Folder::with(&[("pod.yaml", POD), ("namespace.yaml", NAMESPACE)]);
    let assumed = "the namespace codex-issue-demo is not in the set; assumed to be a new one with the runtime mode full-env";
    for form in ["human", "json", "yaml", "sarif", "junit", "github"] {
        // Long texts of YAML are folded.
        let is_reported =
            |output: &str| output.split_whitespace().collect::<Vec<_>>().join(" ").contains(assumed);
        let (code, output, _) = folder.check(&["--output", form, "pod.yaml"]);
        assert_eq!(code, 0, "{output}");
        assert!(is_reported(&output), "{output}");
        let (code, strict, _) = folder.check(&["--strict", "--output", form, "pod.yaml"]);
        assert_eq!(code, 1, "{strict}");
        assert!(is_reported(&strict) && strict != output, "{strict}");
        for known in [
            &["--strict", "pod.yaml", "namespace.yaml"][..],
            &["--strict", "--namespace-file=namespace.yaml", "pod.yaml"],
        ] {
            let (code, output, _) = folder.check(&[&["--output", form], known].concat());
            assert_eq!(code, 0, "{output}");
            assert!(!output.contains("assumed to be"), "{output}");
        }
    }
}

#[test]
fn what_lies_in_a_namespace_that_cannot_be_managed_or_in_a_denied_one_is_evaluated_as_that() {
    let elsewhere = Folder::with(&[("pod.yaml", &POD.replace("codex-issue-demo", "payments"))]);
    assert_eq!(elsewhere.check(&["--strict", "pod.yaml"]).0, 0);
    // The runtime mode is that of the set, although the Namespace is denied for another label.
    let labels = "labels: {codex-k8s.dev/runtime-mode: code-only, codex-k8s.dev/unknown: x}";
    let namespace =
        NAMESPACE.replace("{name: codex-issue-demo}", &format!("{{name: codex-issue-demo, {labels}}}"));
    let pod = POD.replace("spec: {", "spec: {serviceAccountName: codex-runner, ");
    let folder = Folder::with(&[("m.yaml", &format!("{namespace}---\n{pod}"))]);
    let (code, report) = folder.report(&["m.yaml"]);
    let result = |index: usize| report["objects"][index]["result"].as_str().unwrap();
    assert_eq!((code, result(0), result(1)), (1, "denied", "denied"));
    let assumption = &report["objects"][1]["assumption"]["message"];
    assert_eq!(*assumption, "the namespace codex-issue-demo is denied; assumed to exist as in the set");
}

#[test]
fn the_hook_evaluates_the_whole_set_although_only_one_file_has_changed() {
    let hooks: Value = serde_saphyr::from_str(include_str!("../../.pre-commit-hooks.yaml")).unwrap();
    let hook = &hooks[0];
    assert_eq!((&hook["pass_filenames"], &hook["require_serial"]), (&false.into(), &true.into()));
    assert_eq!(hook["entry"], "codex-k8s-guard check");
    let args: Vec<_> = hook["args"].as_array().unwrap().iter().map(|arg| arg.as_str().unwrap()).collect();
    // What is denied in a code-only namespace would be admitted in a full-env one.
    let namespace = NAMESPACE.replace("demo}", "demo, labels: {codex-k8s.dev/runtime-mode: code-only}}");
    let pod = POD.replace("spec: {", "spec: {serviceAccountName: codex-runner, ");
    let folder =
        Folder::with(&[("a/namespace.yaml", &namespace), ("b/pod.yaml", &pod), ("values.yaml", "a: 1\n")]);
    assert_eq!(folder.check(&["b/pod.yaml"]).0, 0);
    let (code, output, _) = folder.check(&args);
    assert_eq!(code, 1);
    assert!(output.contains("error[JOB004]"), "{output}");
}
