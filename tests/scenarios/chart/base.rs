//! The kustomize base: the chart rendered with its defaults, without helm's own labels.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::documented::writes;
use crate::values::{Set, objects, rendered, set};

/// The install namespace, which helm gets as an option and does not create.
const NAMESPACE: &str = "\
# Pods of the restricted level only, as all of ours are.
apiVersion: v1
kind: Namespace
metadata:
  name: codex-k8s-guard
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
";

/// Values that include the role without a binding.
const WITH_CHECK: Set = ("check", "codex-k8s-guard", "checkRole: {enabled: true}");

pub(crate) fn base() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/base")
}

/// Rendered documents by their template, such as `serve`.
fn by_template(rendered: &str) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::<_, Vec<_>>::new();
    let lead = "# Source: codex-k8s-guard/templates/";
    for document in rendered.split("\n---\n") {
        let template = document.lines().find_map(|line| line.strip_prefix(lead)).unwrap();
        let name = template.strip_suffix(".yaml").unwrap().to_owned();
        all.entry(name).or_default().push(without_helm(document));
    }
    all
}

/// Removes what only helm reads, and annotations that become empty.
fn without_helm(document: &str) -> String {
    let of_helm =
        ["# Source: ", "helm.sh/", "app.kubernetes.io/managed-by: Helm", "app.kubernetes.io/instance: "];
    let stays =
        |line: &&str| *line != "---" && !of_helm.iter().any(|lead| line.trim_start().starts_with(lead));
    let lines: Vec<_> = document.lines().filter(stays).collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let mut retained = Vec::new();
    let mut rest = lines.iter().peekable();
    while let Some(line) = rest.next() {
        if line.trim() == "annotations:" {
            let mut remarks = Vec::new();
            while let Some(remark) =
                rest.next_if(|next| next.trim_start().starts_with('#') && depth(next) > depth(line))
            {
                remarks.push(*remark);
            }
            if rest.peek().is_some_and(|next| depth(next) > depth(line)) {
                retained.push(*line);
                retained.extend(remarks);
            }
        } else {
            retained.push(*line);
        }
    }
    format!("{}\n", retained.join("\n").trim())
}

fn kustomization(remark: &str, resources: &[String]) -> String {
    let resources = resources.join("\n- ");
    format!(
        "# {remark}\napiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n- {resources}\n"
    )
}

/// Every generated file of the base, by its path.
fn files() -> BTreeMap<String, String> {
    let generated = "# Rendered from deploy/chart by `make generate`.\n";
    let written = |documents: &[String]| format!("{generated}{}", documents.join("---\n"));
    let mut templates = by_template(&rendered(set("default")));
    templates.retain(|name, _| !name.starts_with("tests/"));
    let mut registration = templates.remove("registration").unwrap();
    // Here, the removing Jobs are one line of kubectl each.
    let takes_away = ["codex-k8s-deregistration", "codex-k8s-uninstall"];
    registration.retain(|document| !takes_away.iter().any(|name| document.contains(name)));
    let check = by_template(&rendered(&WITH_CHECK)).remove("check").unwrap();
    let mut files: BTreeMap<_, _> =
        templates.iter().map(|(name, documents)| (format!("{name}.yaml"), written(documents))).collect();
    files.insert("namespace.yaml".to_owned(), NAMESPACE.to_owned());
    let resources: Vec<_> = files.keys().cloned().collect();
    let remark = "All but the registration: docs/install.md. Rendered from deploy/chart by `make generate`.";
    files.insert("kustomization.yaml".to_owned(), kustomization(remark, &resources));
    files.insert("check.yaml".to_owned(), written(&check));
    files.insert("registration/job.yaml".to_owned(), written(&registration));
    let remark =
        "A Job that registers the webhook, after all else. Rendered from deploy/chart by `make generate`.";
    files.insert(
        "registration/kustomization.yaml".to_owned(),
        kustomization(remark, &["job.yaml".to_owned()]),
    );
    files
}

#[test]
fn what_is_rendered_into_the_base_is_what_the_chart_says() {
    let files = files();
    fs::create_dir_all(base().join("registration")).unwrap();
    let mut wrong = Vec::new();
    for (name, expected) in &files {
        let file = base().join(name);
        if writes() {
            fs::write(&file, expected).unwrap();
        }
        if fs::read_to_string(&file).unwrap_or_default() != *expected {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "if this is meant, run `make generate`: {wrong:?}");
    for folder in ["", "registration/"] {
        for file in fs::read_dir(base().join(folder)).unwrap().map(Result::unwrap) {
            let name = format!("{folder}{}", file.file_name().to_str().unwrap());
            // The output of `register --print`, which has a test of its own.
            let known =
                name == "registration" || name == "webhook-configurations.yaml" || files.contains_key(&name);
            assert!(known, "{name} is not rendered any more");
        }
    }
}

#[test]
fn the_base_is_all_of_the_chart_but_what_is_helms() {
    let names = |objects: &[Value]| -> BTreeSet<String> {
        objects.iter().map(|object| format!("{} {}", object["kind"], object["metadata"]["name"])).collect()
    };
    let is_of_a_hook = |object: &Value| object.pointer("/metadata/annotations/helm.sh~1hook").is_some();
    let mut chart = objects(&rendered(set("default")));
    chart.retain(|object| !is_of_a_hook(object));
    let files = files();
    let is_listed = |name: &str| files["kustomization.yaml"].contains(&format!("- {name}\n"));
    let listed = files.iter().filter(|(name, _)| is_listed(name)).map(|(_, text)| &**text);
    let base = listed.collect::<Vec<_>>().join("---\n");
    let mut expected = names(&chart);
    expected.insert("\"Namespace\" \"codex-k8s-guard\"".to_owned());
    assert_eq!(names(&objects(&base)), expected);
    assert!(!base.to_lowercase().contains("helm"), "{base}");
}
