//! `explain --review`: a single request, with the reasons for its verdict.

use std::fmt::Write as _;
use std::path::Path;

use codex_k8s_shared::policy::RunPolicy;
use codex_k8s_webhook::check::Verdict;
use codex_k8s_webhook::check::explain::{Explanation, explain};
use codex_k8s_webhook::rules::report::{Finding, clean, problem};
use codex_k8s_webhook::rules::{Facts, ManagedNamespace};

use crate::{input, process};

/// Maximum number of bytes of a review or an event.
const LARGEST: u64 = 16 << 20;

/// Evaluates a review or an audit event in a file, and formats it: each finding with the purpose of its rule, and how to
/// comply.
pub(super) fn format_file(file: &Path, policy: RunPolicy) -> anyhow::Result<String> {
    let body = input::bytes(file, LARGEST)?;
    let explained = process::runtime()?.block_on(explain(&body, policy));
    let explanation = explained.map_err(|error| {
        anyhow::Error::new(error).context(format!("failed to explain {}", file.display()))
    })?;
    Ok(format(&explanation))
}

fn format(explanation: &Explanation) -> String {
    let mut text = head(explanation);
    for of_rule in explanation.findings.chunk_by(|one, next| one.rule.id == next.rule.id) {
        findings(&mut text, of_rule);
    }
    let _ = writeln!(text);
    verdict(&mut text, explanation);
    text
}

fn findings(text: &mut String, of_rule: &[Finding]) {
    let Some(rule) = of_rule.first().map(|finding| finding.rule) else { return };
    let _ = writeln!(text, "\n{}: {}", rule.id, rule.title);
    for found in of_rule {
        let _ = writeln!(text, "  {}: {}", found.path, problem(&found.found, &found.remedy));
    }
    let _ = writeln!(text, "  Why:    {}\n  Comply: {}", rule.why, rule.remedy);
}

fn head(explanation: &Explanation) -> String {
    let namespace = explanation.namespace.as_deref().filter(|_| explanation.kind != "Namespace");
    let object: Vec<_> = [namespace, explanation.name.as_deref()].into_iter().flatten().map(clean).collect();
    let subresource =
        explanation.subresource.as_ref().map(|name| format!("/{}", clean(name))).unwrap_or_default();
    let dry_run = if explanation.dry_run { ", a dry run" } else { "" };
    let mut text = format!("Request {}\n", clean(&explanation.id));
    let _ = writeln!(text, "  user        {}", clean(&explanation.user));
    if !explanation.groups.is_empty() {
        let _ = writeln!(text, "  groups      {}", clean(&explanation.groups.join(", ")));
    }
    let (operation, kind) = (explanation.operation.as_str(), clean(&explanation.kind));
    let _ = writeln!(text, "  operation   {operation} {kind}{subresource} {}{dry_run}", object.join("/"));
    for (name, fact) in facts(&explanation.facts) {
        let _ = writeln!(text, "  {name:<11} {fact}");
    }
    let _ = writeln!(text, "  policy      {}", explanation.policy);
    text
}

fn facts(facts: &Facts) -> [(&'static str, String); 2] {
    let namespace = facts.namespace.as_deref().map_or_else(|| "not managed".to_owned(), described);
    [("time", facts.now.to_string()), ("namespace", namespace)]
}

fn described(namespace: &ManagedNamespace) -> String {
    format!(
        "{}, assumed: {}, run {}, project {}, Pod Security {}",
        clean(&namespace.name),
        namespace.mode,
        namespace.run_id,
        namespace.project_id,
        namespace.pod_security
    )
}

fn verdict(text: &mut String, explanation: &Explanation) {
    let code = explanation.code.map(|code| format!(" ({code})")).unwrap_or_default();
    let _ = writeln!(text, "  {}{code}", explanation.verdict.describe());
    for warning in &explanation.warnings {
        let _ = writeln!(text, "    warning: {}", clean(warning));
    }
    for operation in explanation.patch.0.iter().filter(|_| explanation.verdict == Verdict::Mutated) {
        let _ = writeln!(text, "    {}", clean(&operation.to_string()));
    }
}
