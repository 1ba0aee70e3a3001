use serde_json::json;

use super::*;

fn job(spec: Value) -> Value {
    let mut job = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "a"}});
    job["spec"] = spec;
    job
}

fn defects(object: &Value) -> Vec<String> {
    let text = |key: &str| object[key].as_str().unwrap();
    let found = read(text("apiVersion"), text("kind"), object).defects;
    found.iter().map(|Defect { path, found, remedy }| format!("{path}: {found}: {remedy}")).collect()
}

#[test]
fn every_field_of_the_wrong_type_is_found_with_its_path() {
    let container = json!({"name": "a", "env": [{"name": "A", "value": 1}], "command": "x",
        "resources": {"limits": {"cpu": true}}});
    let job = job(json!({"backoffLimit": "1", "suspend": "true", "completions": 3_000_000_000_u32,
        "activeDeadlineSeconds": 1.5, "selector": [],
        "template": {"metadata": {"labels": {"a/b": 7}}, "spec": {"containers": [container]}}}));
    let mut found = defects(&job);
    found.sort();
    let pod = "spec.template.spec.containers[0]";
    let mut expected = vec![
        "spec.activeDeadlineSeconds: 1.5: must be an integer".to_owned(),
        "spec.backoffLimit: \"1\": must be an integer, without quotes".to_owned(),
        "spec.completions: 3000000000: must be from -2147483648 to 2147483647".to_owned(),
        "spec.selector: a list: must be an object".to_owned(),
        "spec.suspend: \"true\": must be true or false, without quotes".to_owned(),
        "spec.template.metadata.labels[\"a/b\"]: 7: must be a string: put it in quotes".to_owned(),
        format!("{pod}.command: \"x\": must be a list"),
        format!("{pod}.env[0].value: 1: must be a string: put it in quotes"),
        format!("{pod}.resources.limits[\"cpu\"]: true: must be a quantity such as 500m or 1Gi"),
    ];
    expected.sort();
    assert_eq!(found, expected);
}

#[test]
fn unknown_fields_are_found_and_names_are_case_sensitive() {
    let job =
        job(json!({"Suspend": true, "template": {"spec": {"containers": [{"name": "a", "comand": []}]}}}));
    let unknown = "leave it out or correct its name: it is an unknown field";
    assert_eq!(
        defects(&job),
        [
            format!("spec.Suspend: true: {unknown}"),
            format!("spec.template.spec.containers[0].comand: a list: {unknown}")
        ]
    );
}

#[test]
fn null_is_the_same_as_nothing() {
    let job = job(
        json!({"backoffLimit": null, "template": {"metadata": {"creationTimestamp": null, "labels": {"a": null}},
        "spec": {"containers": [{"name": "a", "env": null, "command": [null], "resources": {"limits": {"cpu": null}}}]}}}),
    );
    assert_eq!(defects(&job), [""; 0]);
}

#[test]
fn quantities_are_written_as_the_api_server_writes_them() {
    let limits = json!({"cpu": 0.5, "memory": "1024Mi", "x": "1Gi", "y": "1e3"});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a", "resources": {"limits": limits}}]}});
    let written = read("v1", "Pod", &pod).quantities;
    let at = |resource: &str| format!("/spec/containers/0/resources/limits/{resource}");
    assert_eq!(written, [(at("cpu"), "500m".to_owned()), (at("memory"), "1Gi".to_owned())]);
}

#[test]
fn of_other_kinds_the_metadata_are_decoded() {
    let widget = json!({"apiVersion": "example.org/v1", "kind": "Widget", "metadata": {"labels": {"a": true}}, "spec": 7});
    assert_eq!(defects(&widget), ["metadata.labels[\"a\"]: true: must be a string: put it in quotes"]);
}

#[test]
fn texts_with_a_syntax_and_fields_with_several_types_are_checked() {
    let data = json!({"apiVersion": "v1", "kind": "Secret", "data": {"a": "?"}});
    assert_eq!(defects(&data), ["data[\"a\"]: \"?\": must be base64"]);
    let time = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"creationTimestamp": "2026-12-01"}});
    let remedy = "must be a time such as 2026-12-01T09:00:00Z";
    assert_eq!(defects(&time), [format!("metadata.creationTimestamp: \"2026-12-01\": {remedy}")]);
    for (port, found) in
        [(json!(1.5), "1.5"), (json!(true), "true"), (json!([]), "a list"), (json!(3e9), "3000000000.0")]
    {
        let service =
            json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"targetPort": port}]}});
        let expected = format!("spec.ports[0].targetPort: {found}: must be an integer or a string");
        assert_eq!(defects(&service), [expected]);
    }
    let service = json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": [{"targetPort": "http"}]}});
    assert_eq!(defects(&service), [""; 0]);
}

#[test]
fn a_version_that_there_is_not_is_a_defect_of_kinds_with_rules() {
    let job = json!({"apiVersion": "batch/v1beta1", "kind": "Job", "metadata": {"name": "a"}});
    assert_eq!(read("batch/v1beta1", "Job", &job).defects[0].path, "apiVersion");
}
