//! The outputs of `check` for programs, read by what reads each of them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use quick_junit::{NonSuccessKind, TestCaseStatus};
use serde_json::Value;
use support::program;
use uppsala::XsdValidator;

/// A folder with an object of each verdict, under a policy that only warns of one rule.
struct Folder {
    folder: tempfile::TempDir,
}

/// The strange name is what may end a property of an annotation.
const DENIED: &str = "manifests/a,b: 100% é.yaml";

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("manifests")).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        let job = "\
apiVersion: batch/v1
kind: Job
metadata: {name: tests, namespace: codex-issue-demo}
spec:
  template:
    spec:
      restartPolicy: Never
      hostNetwork: true
      containers:
      - name: é
        image: busybox
        securityContext:
          privileged: true
";
        write(DENIED, job);
        write(
            "manifests/good.yaml",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: codex-issue-demo}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
        );
        write(
            "policy.yaml",
            "apiVersion: policy.codex-k8s.dev/v1alpha1\nkind: RunPolicy\nrules: {JOB018: warn, PSS003: warn}\n",
        );
        Self { folder }
    }

    fn check(&self, args: &[&str]) -> Output {
        program(self.folder.path(), &[&["check"], args].concat()).output().unwrap()
    }

    fn output(&self, form: &str) -> String {
        let output = self.check(&["--policy=policy.yaml", &format!("--output={form}"), "manifests"]);
        assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

fn is_valid(schema: &Value, instance: &Value) {
    let validator = jsonschema::validator_for(schema).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

/// A file of the source of a library.
fn file_of(library: &str, path: &str) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let library = packages.iter().find(|package| package["name"] == library).unwrap();
    let manifest = Path::new(library["manifest_path"].as_str().unwrap());
    std::fs::read_to_string(manifest.parent().unwrap().join(path)).unwrap()
}

/// The standard's schema, as the library that writes it was generated from.
fn schema_of_sarif() -> Value {
    let text = file_of("serde-sarif", "src/schema.json");
    // A bracket that nothing opens: ECMAScript reads it as it is meant, the validator's engine does not.
    serde_json::from_str(&text.replace("[a-zA-Z]{2}]?$", r"[a-zA-Z]{2}\\]?$")).unwrap()
}

#[test]
fn sarif_is_valid_by_its_schema_and_names_rule_line_and_column() {
    let sarif: Value = serde_json::from_str(&Folder::new().output("sarif")).unwrap();
    let schema = schema_of_sarif();
    is_valid(&schema, &sarif);
    let run = &sarif["runs"][0];
    let results = run["results"].as_array().unwrap();
    let of = |rule: &str| results.iter().find(|result| result["ruleId"] == rule).unwrap();
    assert_eq!(of("JOB018")["level"], "warning", "{sarif:#}");
    let denied = results.iter().find(|result| result["level"] == "error").unwrap();
    let location = &denied["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "manifests/a%2Cb%3A%20100%25%20%C3%A9.yaml");
    assert!(location["region"]["startLine"].as_u64().unwrap() > 4, "{location}");
    let described: Vec<_> = run["tool"]["driver"]["rules"].as_array().unwrap().iter().collect();
    assert!(results.iter().all(|result| described.iter().any(|rule| rule["id"] == result["ruleId"])));
    // The schema does refuse something.
    let mut broken = sarif.clone();
    broken["runs"][0]["results"][0]["level"] = "fatal".into();
    assert!(!jsonschema::is_valid(&schema, &broken));
}

#[test]
fn json_is_valid_by_the_schema_that_is_published() {
    let folder = Folder::new();
    let published = include_str!("../../docs/check-report.schema.json");
    let printed = folder.check(&["--schema"]);
    assert_eq!(printed.status.code(), Some(0));
    assert!(
        published == String::from_utf8(printed.stdout).unwrap(),
        "docs/check-report.schema.json is out of date: run `make generate`"
    );
    let schema: Value = serde_json::from_str(published).unwrap();
    let report: Value = serde_json::from_str(&folder.output("json")).unwrap();
    is_valid(&schema, &report);
    let mut broken = report.clone();
    broken["objects"][0]["result"] = "perhaps".into();
    assert!(!jsonschema::is_valid(&schema, &broken));
}

#[test]
fn junit_is_valid_by_the_schema_of_jenkins() {
    let schema = file_of("junit-report", "tests/JUnit.xsd");
    let schema = XsdValidator::from_schema(&uppsala::parse(&schema).unwrap()).unwrap();
    let errors = |text: &str| -> Vec<String> {
        let found = schema.validate(&uppsala::parse(text).unwrap());
        found.into_iter().map(|error| error.message).collect()
    };
    let output = Folder::new().output("junit");
    assert_eq!(errors(&output), Vec::<String>::new(), "{output}");
    // The schema does refuse what it does not know, what is missing and what stands in a wrong place.
    for (right, wrong) in [
        ("<testcase ", "<testcase line=\"1\" "),
        ("<testsuite name=", "<testsuite package="),
        ("<failure ", "<failure><skipped/></failure><failure "),
        ("<testsuites ", "<testsuites skipped=\"1\" "),
    ] {
        assert!(output.contains(right), "{output}");
        let wrong = output.replacen(right, wrong, 1);
        assert!(!errors(&wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn junit_has_a_suite_for_each_file_and_a_case_for_each_object() {
    let report = quick_junit::Report::deserialize_from_str(&Folder::new().output("junit")).unwrap();
    assert_eq!((report.tests, report.failures, report.errors), (3, 1, 0));
    let suites: Vec<_> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(suites, [DENIED, "manifests/good.yaml"]);
    let case = &report.test_suites[0].test_cases[0];
    assert_eq!(case.name.as_str(), "Job codex-issue-demo/tests");
    let TestCaseStatus::NonSuccess { kind: NonSuccessKind::Failure, message, description, .. } = &case.status
    else {
        panic!("{:?}", case.status)
    };
    assert!(message.as_ref().unwrap().as_str().contains("privileged: Invalid value: true"), "{message:?}");
    let description = description.as_ref().unwrap().as_str();
    assert!(description.contains(&format!("{DENIED}:13:11: ")), "{description}");
    let ours: Vec<_> = report.test_suites[1].test_cases.iter().map(|case| &case.status).collect();
    assert!(matches!(ours[..], [TestCaseStatus::Success { .. }, TestCaseStatus::Skipped { .. }]), "{ours:?}");
}

const PRIVILEGED: &str = "Job codex-issue-demo/tests: spec.template.spec.containers[0].securityContext.privileged: Invalid value: true: ";

/// The properties and the text of a workflow command, read as the runner reads them.
fn annotation(line: &str) -> (String, Vec<(String, String)>, String) {
    let (head, data) = line.strip_prefix("::").unwrap().split_once("::").unwrap();
    let (command, properties) = head.split_once(' ').unwrap();
    let back = |text: &str| text.replace("%0D", "\r").replace("%0A", "\n");
    let properties = properties.split(',').map(|property| {
        let (key, value) = property.split_once('=').unwrap();
        (key.to_owned(), back(value).replace("%3A", ":").replace("%2C", ",").replace("%25", "%"))
    });
    (command.to_owned(), properties.collect(), back(data).replace("%25", "%"))
}

#[test]
fn annotations_are_read_by_github_as_they_are_meant() {
    let output = Folder::new().output("github");
    let lines: Vec<_> = output.lines().collect();
    let (summary, annotations) = lines.split_last().unwrap();
    assert_eq!(*summary, "3 objects: 1 mutated, 1 denied, 1 not ours");
    let found: Vec<_> = annotations.iter().map(|line| annotation(line)).collect();
    let (command, properties, text) = found.iter().find(|(_, _, text)| text.contains("privileged")).unwrap();
    assert_eq!(command, "error");
    let get = |name: &str| &properties.iter().find(|(key, _)| key == name).unwrap().1;
    assert_eq!((get("file").as_str(), get("line").as_str(), get("col").as_str()), (DENIED, "13", "11"));
    assert_eq!(get("endColumn"), "27");
    assert!(get("title").contains(": "), "{properties:?}");
    assert!(text.starts_with(PRIVILEGED), "{text}");
    assert!(found.iter().any(|(command, _, text)| command == "warning" && text.contains("hostNetwork")));
}

#[test]
fn a_review_is_reported_in_no_form_of_reports() {
    let folder = Folder::new();
    std::fs::write(folder.folder.path().join("review.json"), "{}").unwrap();
    let output = folder.check(&["--review=review.json", "--output=sarif"]);
    assert_eq!(output.status.code(), Some(2));
}
