//! The chart as others pack it, and the clusters that it says it is for.

use std::path::Path;

use serde_json::{Value, json};

use crate::values::{chart, helm, objects, pod};

/// Packs the chart under versions, and renders it.
fn packed(version: &str, app_version: &str) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let from = chart().display().to_string();
    let ran = helm(
        &["package", &from, "--version", version, "--app-version", app_version, "--destination", &to],
        "",
    );
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let file = std::fs::read_dir(Path::new(&to)).unwrap().next().unwrap().unwrap().path();
    let ran = helm(&["template", "guard", &file.display().to_string()], "gc: {mode: cronjob}");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    objects(&String::from_utf8(ran.stdout).unwrap())
}

/// Returns true if the API server takes a text as the value of a label.
fn is_label(value: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric();
    value.len() <= 63
        && value.chars().all(|char| is_plain(char) || "-_.".contains(char))
        && value.starts_with(is_plain)
        && value.ends_with(is_plain)
}

#[test]
fn any_version_is_a_label_and_a_tag_also_as_flux_makes_them() {
    let long = format!("0.1.0-{}", "pre.".repeat(16) + "1");
    let longer = format!("0.1.0+{}", "build.".repeat(30) + "1");
    let versions = [
        ("0.1.0+4fda46fd8c4e", "0.1.0", ":0.1.0"),
        (&long, "v0.1.0+dirty", ":v0.1.0_dirty"),
        ("0.1.0", &longer, ":0.1.0_build."),
    ];
    for (version, app_version, tag) in versions {
        let objects = packed(version, app_version);
        assert!(objects.len() > 20, "{version}");
        let templates = objects.iter().filter_map(pod).collect::<Vec<_>>();
        for object in objects.iter().chain(templates.iter().copied()) {
            let labels = object["metadata"]["labels"].as_object().unwrap();
            for (key, value) in labels {
                assert!(is_label(value.as_str().unwrap()), "{version}, {app_version}: {key}: {value}");
            }
        }
        for template in templates {
            let image = template["spec"]["containers"][0]["image"].as_str().unwrap();
            let (_, found) = image.rsplit_once(':').unwrap();
            assert!(image.contains(tag) && found.len() <= 128 && !found.contains('+'), "{image}");
        }
    }
}

/// A chart that depends on ours, with these values for it.
fn umbrella(values: &Value) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("charts").display().to_string();
    let ran = helm(&["package", &chart().display().to_string(), "--destination", &to], "");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let parent = json!({"apiVersion": "v2", "name": "platform", "version": "1.0.0", "dependencies": [
        {"name": "codex-k8s-guard", "version": "*", "condition": "codex-k8s-guard.enabled"}]});
    let all = json!({"global": {"imageRegistry": "registry.example.org"}, "codex-k8s-guard": values});
    for (file, content) in [("Chart.yaml", &parent), ("values.yaml", &all)] {
        std::fs::write(folder.path().join(file), content.to_string()).unwrap();
    }
    let ran = helm(&["template", "platform", &folder.path().display().to_string()], "");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    objects(&String::from_utf8(ran.stdout).unwrap())
}

#[test]
fn another_chart_may_depend_on_it_and_switch_it_off() {
    let ids = json!({"runAsUser": "", "runAsGroup": "", "fsGroup": ""});
    let objects = umbrella(&json!({"enabled": true, "gc": {"mode": false}, "podSecurityContext": ids}));
    let pods: Vec<_> = objects.iter().filter_map(pod).collect();
    assert_eq!(pods.len(), 6);
    for pod in pods {
        let context = json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}});
        assert_eq!(pod["spec"]["securityContext"], context);
    }
    assert_eq!(umbrella(&json!({"enabled": false})), [] as [Value; 0]);
}

#[test]
fn a_version_of_kubernetes_may_have_the_suffix_of_a_vendor_but_must_not_be_older_than_1_30() {
    let chart = chart().display().to_string();
    let renders = |version: &str| {
        let ran = helm(&["template", "guard", &chart, "--kube-version", version], "");
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success() || told.contains("incompatible with Kubernetes"), "{told}");
        ran.status.success()
    };
    for version in
        ["v1.30.0", "v1.30.5-gke.1014001", "v1.31.2-eks-7f9249a", "v1.30.3+k3s1", "v1.33.1+rke2r1", "v1.37.2"]
    {
        assert!(renders(version), "{version}");
    }
    for version in ["v1.29.15", "v1.29.8-gke.1", "v1.28.2+k3s1"] {
        assert!(!renders(version), "{version}");
    }
}
