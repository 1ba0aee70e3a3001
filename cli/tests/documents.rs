//! The pages with examples tell what the program prints, and the page about the policy its defaults.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use codex_k8s_shared::policy::RunPolicy;
use serde_json::Value;

const POLICY: &str = include_str!("../../docs/policy.md");

#[test]
fn the_pages_quote_what_is_printed() {
    trycmd::TestCases::new().case("../docs/dry-run.md").case("../docs/policy.md");
}

/// The blocks of YAML of a page, read.
fn blocks(page: &str) -> Vec<Value> {
    let blocks = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    blocks.map(|block| serde_saphyr::from_str(block).unwrap()).collect()
}

/// Asserts that what is documented is found; more may be found.
fn is_so(documented: &Value, found: &Value, path: &str) {
    match (documented, found) {
        (Value::Object(documented), Value::Object(found)) => {
            for (key, documented) in documented {
                is_so(documented, found.get(key).unwrap_or(&Value::Null), &format!("{path}.{key}"));
            }
        }
        _ => assert_eq!(documented, found, "docs/policy.md{path}"),
    }
}

#[test]
fn the_page_about_the_policy_reports_the_defaults() {
    let defaults = serde_json::to_value(RunPolicy::default()).unwrap();
    for block in blocks(POLICY) {
        is_so(&block, &defaults, "");
    }
}

#[test]
fn the_page_about_the_policy_names_every_section_and_its_fields() {
    let defaults = serde_json::to_value(RunPolicy::default()).unwrap();
    let mut sections = BTreeSet::new();
    for part in POLICY.split("\n## ").skip(1) {
        let heading = part.lines().next().unwrap();
        for section in heading.split('`').skip(1).step_by(2) {
            sections.insert(section.to_owned());
            for field in defaults[section].as_object().unwrap().keys() {
                let is_named = part.contains(&format!("`{field}`"))
                    || part.contains(&format!("\n  {field}: "))
                    || part.contains(&format!("\n  {field}:\n"));
                assert!(is_named, "docs/policy.md says nothing about {section}.{field}");
            }
        }
    }
    let expected =
        defaults.as_object().unwrap().keys().filter(|key| !["apiVersion", "kind"].contains(&key.as_str()));
    assert_eq!(sections, expected.cloned().collect());
}
