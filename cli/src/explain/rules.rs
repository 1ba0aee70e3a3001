//! `explain`: the rule catalogue.

use std::fmt::Write as _;

use anyhow::Context as _;
use codex_k8s_shared::policy::Mode;
use codex_k8s_webhook::rules::catalogue::{self, all, find};
use codex_k8s_webhook::rules::example::{self, Object};
use codex_k8s_webhook::rules::{Rule, Subject};

/// Explains a rule, by its id.
pub(super) fn rule(id: &str) -> anyhow::Result<String> {
    let unknown = || {
        let known: Vec<_> = all().map(|rule| rule.id).collect();
        format!(
            "no rule has the id {id:?}; the rules are {}; to explain a namespace, pass ns/NAME",
            known.join(", ")
        )
    };
    find(id).map(entry).with_context(unknown)
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Warn => "warn",
        Mode::Audit => "audit",
        Mode::Off => "off",
    }
}

fn mutates(rule: &Rule) -> &'static str {
    match rule.subject {
        _ if !catalogue::mutates(rule) => "no",
        Subject::Namespace | Subject::Workload => "yes: missing fields are added on creation",
        Subject::Contents => "yes: fields that a manager writes are set to the policy's values",
    }
}

/// Formats all rules as a table.
pub(super) fn table() -> String {
    all().fold(String::new(), |mut text, rule| {
        let _ = writeln!(text, "{:<9} {:<8} {}", rule.id, mode(rule.default_mode), rule.title);
        text
    })
}

fn entry(rule: &Rule) -> String {
    let denied = rule.examples.iter().find(|example| example.outcome.is_denied());
    format!(
        "{}: {}\n\nAbout:    {}\nWhy:      {}\nComply:   {}\nSettings: {}\nDefault:  {} (rules.{} in the policy: enforce, warn, audit or off)\nMutates:  {}\n\n{}",
        rule.id,
        rule.title,
        rule.subject,
        rule.why,
        rule.remedy,
        rule.settings().collect::<Vec<_>>().join(", "),
        mode(rule.default_mode),
        rule.id,
        mutates(rule),
        example::yaml(denied.or(rule.examples.first())),
    )
}

/// Formats the settings that only this rule reads, as a line of the page.
fn reads(rule: &Rule) -> String {
    let settings: Vec<_> = rule.reads.iter().map(|setting| format!("`{setting}`")).collect();
    if settings.is_empty() { String::new() } else { format!("- Settings: {}\n", settings.join(", ")) }
}

/// Formats the catalogue as a Markdown page.
pub(super) fn markdown() -> String {
    let mut page = String::from(
        "# Rules\n\nGenerated from the catalogue by `make generate`; do not edit.\n\nEach rule can be set to `enforce`, `warn`, \
         `audit` or `off` under `rules:` in the policy. On update, a rule reports only violations that the old object did not have; but a user who changes the program of a workload is evaluated like its creator.\n\nThe examples of a rule are \
         tests of it. Each starts from one of the [objects](#objects-of-the-examples) at the end of this page; unless it says otherwise, \
         in a run namespace whose baseline is ready, under the default policy. The time is always 2026-02-01T12:00:00Z.\n",
    );
    let mut subject = None;
    for rule in all() {
        if subject.replace(rule.subject) != Some(rule.subject) {
            let _ = writeln!(page, "\n## {}", rule.subject);
        }
        let _ = write!(
            page,
            "\n<a id=\"{}\"></a>\n\n### {}: {}\n\n- Why: {}\n- Comply: {}\n{}- Default: `{}`\n- Mutates: {}\n\n{}",
            rule.id.to_lowercase(),
            rule.id,
            rule.title,
            rule.why,
            rule.remedy,
            reads(rule),
            mode(rule.default_mode),
            mutates(rule),
            folded("Examples", &example::yaml(rule.examples)),
        );
    }
    page.push_str(
        "\n## Objects of the examples\n\nThe objects from which the examples start. An example shows `change`, the difference of the request's object \
         from the stored one, and `stored`, the difference of the stored object from the one below. `null` removes a field.\n",
    );
    for object in Object::ALL {
        let _ = write!(page, "\n{}", folded(&format!("The {}", object.title()), object.yaml()));
    }
    page
}

/// Formats YAML in a collapsed block.
fn folded(summary: &str, yaml: &str) -> String {
    format!("<details><summary>{summary}</summary>\n\n```yaml\n{yaml}```\n\n</details>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_an_id_of_its_own_and_says_why() {
        let rules: Vec<_> = all().collect();
        for (index, rule) in rules.iter().enumerate() {
            assert!(rules.iter().skip(index + 1).all(|other| other.id != rule.id), "{}", rule.id);
            let digits = rule.id.trim_start_matches(|letter: char| letter.is_ascii_uppercase());
            assert!(digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{}", rule.id);
            assert!(
                !rule.title.ends_with('.') && rule.why.ends_with('.') && rule.remedy.ends_with('.'),
                "{}",
                rule.id
            );
        }
    }

    #[test]
    fn the_published_catalogue_is_the_one_of_the_code() {
        let published = include_str!("../../../docs/rules.md");
        assert!(published == markdown(), "docs/rules.md is out of date: run `make generate`");
    }
}
