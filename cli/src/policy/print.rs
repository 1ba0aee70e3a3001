//! `policy print`: a complete policy to start from, with a comment on each field.

mod worker;

use std::collections::HashSet;
use std::path::PathBuf;

use clap::ValueEnum;
use codex_k8s_shared::policy::{Profile, RunPolicy};
use serde_json::Value;

use crate::exit::{Ended, Exit};
use crate::output;

/// The maximum width of comments.
const WIDTH: usize = 100;

/// Print a complete policy to start from, with a comment on each field
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  codex-k8s-guard policy print --profile b > policy.yaml\n  kubectl set env deployment/codex-k8s-worker --list | codex-k8s-guard policy print --from-worker-env=-"
)]
pub(crate) struct Args {
    /// Platform release to print the policy for (default: the defaults, or `a` with --from-worker-env)
    #[arg(long, value_enum)]
    profile: Option<ProfileName>,
    /// Set what the environment variables of the platform's worker set
    ///
    /// Without FILE, the variables of this process. FILE, or standard input if it is `-`, has lines of the form
    /// NAME=VALUE, as `kubectl set env deployment/codex-k8s-worker --list` prints them. Variables that a policy does not
    /// express, and unknown ones with the worker's prefix, are warned about.
    #[arg(long, value_name = "FILE", num_args = 0..=1, require_equals = true)]
    #[expect(clippy::option_option, reason = "clap's form of an option whose value may be missing")]
    from_worker_env: Option<Option<PathBuf>>,
    /// Location of the schema for editors: a URL, or a path relative to the policy file
    #[arg(long, value_name = "URL", default_value = "run-policy.schema.json", value_parser = one_word)]
    schema_url: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileName {
    /// One namespace per run, with quotas on CPU and memory, which is deleted when the run has ended
    A,
    /// Slots and reuse: agents may change nearly everything in their namespace, and only Pods are limited
    B,
}

/// Parses a URL or path without blanks or control characters, because those could end the comment that it is printed
/// in.
fn one_word(text: &str) -> Result<String, String> {
    if text.is_empty() || text.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        return Err("must be a path or URL without blanks".to_owned());
    }
    Ok(text.to_owned())
}

impl Args {
    pub(super) fn run(self) -> Ended {
        let profile = self.profile.map(|name| match name {
            ProfileName::A => Profile::A,
            ProfileName::B => Profile::B,
        });
        let policy = match self.from_worker_env {
            Some(file) => worker::read(profile.unwrap_or(Profile::A), file.as_deref())?,
            None => profile.map_or_else(RunPolicy::default, RunPolicy::of),
        };
        output::print(&page(&policy, &self.schema_url)?)?;
        Ok(Exit::Done)
    }
}

/// Formats the policy with comments and a line for editors.
fn page(policy: &RunPolicy, schema_url: &str) -> anyhow::Result<String> {
    let schema = serde_json::to_value(RunPolicy::json_schema())?;
    let body = commented(&super::plain(policy)?, &schema);
    Ok(format!(
        "# yaml-language-server: $schema={schema_url}\n\
         # The schema: codex-k8s-guard policy schema > run-policy.schema.json\n\
         # Omitted fields have the values that `codex-k8s-guard policy print-defaults` prints.\n\n{body}"
    ))
}

/// Inserts the schema's descriptions above the keys of a policy's YAML, each of them once.
fn commented(yaml: &str, schema: &Value) -> String {
    let mut text = String::new();
    let mut printed = HashSet::new();
    // The keys above the current line, with their indentation and schema.
    let mut above: Vec<(usize, Option<&Value>)> = Vec::new();
    for line in yaml.lines() {
        let body = line.trim_start();
        let indent = line.len() - body.len();
        if let Some((key, _)) = body.split_once(':').filter(|_| !body.starts_with('-')) {
            above.retain(|(of, _)| *of < indent);
            let parent = above.last().map_or(Some(schema), |(_, node)| *node);
            let node = parent.and_then(|parent| properties(schema, parent)?.get(key));
            let description = node.and_then(|node| node.get("description")?.as_str());
            if let Some(description) = description.filter(|description| printed.insert(*description)) {
                text.push_str(&comment(description, indent));
            }
            above.push((indent, node));
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// Returns the properties of a schema node. Follows references, and skips the `null` of optional fields.
fn properties<'s>(root: &'s Value, node: &'s Value) -> Option<&'s Value> {
    if let Some(reference) = node.get("$ref").and_then(Value::as_str) {
        return properties(root, root.pointer(reference.strip_prefix('#')?)?);
    }
    match node.get("anyOf").and_then(Value::as_array) {
        Some(either) => either.iter().find_map(|node| properties(root, node)),
        None => node.get("properties"),
    }
}

fn comment(description: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut lines = vec![format!("{margin}#")];
    for word in description.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= WIDTH => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{margin}# {word}")),
        }
    }
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use codex_k8s_webhook::check::Severity;
    use codex_k8s_webhook::lint::lint;

    fn printed(profile: Profile) -> String {
        page(&RunPolicy::of(profile), "run-policy.schema.json").unwrap()
    }

    #[test]
    fn what_is_printed_is_the_profile_again() {
        for profile in [Profile::A, Profile::B] {
            let policy = crate::policy_file::parse(&printed(profile)).unwrap();
            assert_eq!(policy, RunPolicy::of(profile));
        }
    }

    #[test]
    fn what_is_printed_is_what_the_schema_describes() {
        let schema = serde_json::to_value(RunPolicy::json_schema()).unwrap();
        for profile in [Profile::A, Profile::B] {
            let policy: Value = serde_saphyr::from_str(&printed(profile)).unwrap();
            jsonschema::validate(&schema, &policy).unwrap_or_else(|error| panic!("{profile:?}: {error}"));
        }
    }

    #[test]
    fn of_a_lint_says_nothing_and_of_b_it_warns_of_what_agents_may_do() {
        assert_eq!(lint(&printed(Profile::A)), []);
        let found = lint(&printed(Profile::B));
        assert!(found.iter().all(|one| one.severity == Severity::Warning), "{found:?}");
        let fields: Vec<_> = found.iter().map(|one| one.field.as_str()).collect();
        assert_eq!(fields.len(), 11);
        assert!(fields.iter().all(|field| field.starts_with("baseline.candidate.rules[")), "{fields:?}");
    }

    #[test]
    fn editors_find_the_schema_by_the_first_line() {
        let page = page(&RunPolicy::default(), "https://example.dev/s.json").unwrap();
        assert!(page.starts_with("# yaml-language-server: $schema=https://example.dev/s.json\n"), "{page}");
        assert!(one_word("a b").is_err() && one_word("a\nkind: x").is_err() && one_word("").is_err());
    }

    #[test]
    fn a_field_is_described_as_in_the_schema_and_only_once() {
        let page = printed(Profile::A);
        for (line, count) in [
            ("  # The minimum time to live.\n  minTtl: 5m0s\n", 1),
            ("    # The ResourceQuota, or `null` for none.\n    resourceQuota:\n", 1),
            ("# The value that is set if the field is absent.\n", 1),
        ] {
            assert_eq!(page.matches(line).count(), count, "{line}{page}");
        }
        assert!(page.lines().all(|line| line.len() <= WIDTH || !line.trim_start().starts_with('#')));
    }
}
