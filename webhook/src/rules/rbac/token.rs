//! Rules about token requests.

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::run::RuntimeMode;
use serde_json::Value;

use super::examples::token as examples;
use crate::rules::object::{at, items};
use crate::rules::report::{Report, clean, quoted};
use crate::rules::requester::KUBELETS;
use crate::rules::rule::{Rule, Subject};
use crate::rules::write::{Check, Context, Write};
use crate::rules::{Kind, Role};

pub(super) const CHECKS: &[Check] =
    &[Check::new(&TOKEN001, is_plain), Check::new(&TOKEN002, is_the_agents_own)];

static TOKEN001: Rule = Rule {
    id: "TOKEN001",
    title: "A requested token is short-lived and for an allowed audience",
    why: "A token for another audience authenticates to another system as the agent; a long-lived one outlives \
          the run.",
    remedy: "Leave out spec.audiences, and set spec.expirationSeconds to at most an hour; tokens in the policy \
             sets the allowed audiences and the longest lifetime of a token for each.",
    subject: Subject::Contents,
    reads: &["tokens.audiences", "tokens.maxSeconds"],
    default_mode: Mode::Enforce,
    examples: examples::TOKEN001,
};

static TOKEN002: Rule = Rule {
    id: "TOKEN002",
    title: "An agent requests tokens only for ServiceAccounts of its profile",
    why: "A slot contains the platform's own ServiceAccounts, which have rights in the whole cluster. An agent \
          with one of their tokens has the same rights.",
    remedy: "Request a token of a ServiceAccount that jobs.serviceAccounts.fullEnv of the policy lists. A \
             code-only run cannot get a token.",
    subject: Subject::Contents,
    reads: &[
        "identities.candidateServiceAccounts",
        "namespaces.slotProjects",
        "jobs.serviceAccounts.fullEnv",
    ],
    default_mode: Mode::Enforce,
    examples: examples::TOKEN002,
};

fn is_plain(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::TokenRequest, Some(_), Some(new)) = (context.kind, context.namespace(), write.new) else {
        return;
    };
    if context.groups.contains(&KUBELETS) {
        return;
    }
    let tokens = &context.policy.tokens;
    for (index, audience) in items(at(new, &["spec", "audiences"])).enumerate() {
        let audience = audience.as_str().unwrap_or_default();
        if tokens.max_seconds_for(Some(audience)).is_none() {
            let listed: Vec<_> = tokens.audiences.keys().map(String::as_str).collect();
            let remedy = format!("must be {}", listed.join(" or "));
            report.forbid(format!("spec.audiences[{index}]"), quoted(audience), remedy);
        }
    }
    let audiences = items(at(new, &["spec", "audiences"])).filter_map(Value::as_str);
    let max = audiences.filter_map(|audience| tokens.max_seconds_for(Some(audience))).min();
    let max = max.unwrap_or(tokens.max_seconds);
    let seconds = at(new, &["spec", "expirationSeconds"]);
    if let Some(seconds) = seconds.filter(|value| value.as_i64().is_none_or(|seconds| seconds > max)) {
        let remedy = format!("must be at most {max}");
        report.forbid("spec.expirationSeconds", clean(&seconds.to_string()), remedy);
    }
}

fn is_the_agents_own(context: &Context<'_>, write: &Write<'_>, report: &mut Report) {
    let (Kind::TokenRequest, Some(namespace), None) = (context.kind, context.namespace(), write.old) else {
        return;
    };
    if context.requester.role != Role::Agent {
        return;
    }
    let own = match namespace.mode {
        RuntimeMode::FullEnv => context.policy.jobs.service_accounts.full_env.as_slice(),
        RuntimeMode::CodeOnly => &[],
    };
    if !own.iter().any(|listed| listed == context.name) {
        let remedy = match own {
            [] => "a code-only run has no token".to_owned(),
            own => format!("must be {}", own.join(" or ")),
        };
        report.forbid("metadata.name", quoted(context.name), remedy);
    }
}
