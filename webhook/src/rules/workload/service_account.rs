//! Rules about a workload's access to Kubernetes: its ServiceAccount and its tokens.

use std::collections::HashSet;

use codex_k8s_shared::policy::Mode;
use codex_k8s_shared::run::RuntimeMode;
use serde_json::Value;

use super::examples::service_account as examples;
use super::subject::{Check, Context, Mutate, Validate, Workload};
use crate::rules::object::{at, items, text};
use crate::rules::report::{Report, quoted, quoted_or_nothing};
use crate::rules::rule::{Rule, Subject};
use crate::rules::{Edits, Kind};

pub(super) const CHECKS: &[Check] = &[
    Check::new(&JOB004, Validate::State(account_is_listed))
        .about_privileges()
        .with_mutation(Mutate::Creation(add_account)),
    Check::new(&JOB005, Validate::State(code_only_has_no_token))
        .about_privileges()
        .with_mutation(Mutate::Creation(take_token_away)),
    Check::new(&JOB006, Validate::State(tokens_are_plain)).about_privileges(),
];

static JOB004: Rule = Rule {
    id: "JOB004",
    title: "A workload runs as a ServiceAccount of its profile",
    why: "A user who can create Pods can use every ServiceAccount of the namespace. In a slot, these include the \
          platform's own, which have rights in the whole cluster.",
    remedy: "Leave serviceAccountName out, or use one that jobs.serviceAccounts of the policy lists.",
    subject: Subject::Workload,
    reads: &["jobs.serviceAccounts"],
    default_mode: Mode::Enforce,
    examples: examples::JOB004,
};

static JOB005: Rule = Rule {
    id: "JOB005",
    title: "A code-only workload has no Kubernetes token",
    why: "A code-only run works on code. With a token, it could change the cluster.",
    remedy: "Leave automountServiceAccountToken out or set it to false, and do not mount a projected token.",
    subject: Subject::Workload,
    reads: &[],
    default_mode: Mode::Enforce,
    examples: examples::JOB005,
};

static JOB006: Rule = Rule {
    id: "JOB006",
    title: "Projected tokens are short-lived and for an allowed audience",
    why: "A token for another audience authenticates to another system as the agent; a long-lived one outlives \
          the run.",
    remedy: "Leave audience out, set expirationSeconds to an hour, and do not project a Pod certificate. For tokens \
             that a cloud's identity webhook adds, list their audience and age in tokens.audiences.",
    subject: Subject::Workload,
    reads: &["tokens.audiences", "tokens.maxSeconds"],
    default_mode: Mode::Enforce,
    examples: examples::JOB006,
};

/// The two names of one field. The API server keeps both equal.
const ACCOUNT_FIELDS: [&str; 2] = ["serviceAccountName", "serviceAccount"];
/// The account that Kubernetes uses if a Pod names none.
const DEFAULT_ACCOUNT: &str = "default";
/// The name prefix of the volumes that the API server's ServiceAccount plug-in adds to a Pod before any webhook is
/// called.
const INJECTED: &str = "kube-api-access-";

fn allowed<'a>(context: &Context<'a>) -> &'a [String] {
    let accounts = &context.policy.jobs.service_accounts;
    match context.namespace.mode {
        RuntimeMode::FullEnv => &accounts.full_env,
        RuntimeMode::CodeOnly => &accounts.code_only,
    }
}

fn account_is_listed(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec() else { return };
    let mut named = false;
    for field in ACCOUNT_FIELDS {
        let Some(account) = text(spec, field) else { continue };
        named = true;
        check_account(context, workload, field, account, report);
    }
    if !named {
        check_account(context, workload, "serviceAccountName", DEFAULT_ACCOUNT, report);
    }
}

fn check_account(
    context: &Context<'_>,
    workload: &Workload<'_>,
    field: &str,
    account: &str,
    report: &mut Report,
) {
    let allowed = allowed(context);
    if !allowed.iter().any(|listed| listed == account) {
        let remedy = format!("{} workloads run as {}", context.namespace.mode, allowed.join(" or "));
        report.forbid(workload.pod_field(field), quoted(account), remedy);
    }
}

fn add_account(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    let (Some(spec), Some(account)) = (workload.pod_spec(), allowed(context).first()) else { return };
    let named = |field: &&str| text(spec, field).is_some();
    if ACCOUNT_FIELDS.iter().any(|field| named(field) && workload.is_authors(field)) {
        return;
    }
    // A Pod already has the account that the API server gives to every Pod. A code-only workload keeps to it too.
    let has_default = ACCOUNT_FIELDS.iter().any(named) || context.namespace.mode == RuntimeMode::CodeOnly;
    if has_default && allowed(context).iter().any(|listed| listed == DEFAULT_ACCOUNT) {
        return;
    }
    workload.set_in_pod(edits, "serviceAccountName", account.as_str().into());
    if text(spec, "serviceAccount").is_some() {
        workload.set_in_pod(edits, "serviceAccount", account.as_str().into());
    }
}

fn code_only_has_no_token(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec().filter(|_| context.namespace.mode == RuntimeMode::CodeOnly) else {
        return;
    };
    if spec.get("automountServiceAccountToken").and_then(Value::as_bool) != Some(false) {
        let found = match at(spec, &["automountServiceAccountToken"]) {
            Some(value) => value.to_string(),
            None => "nothing".to_owned(),
        };
        report.forbid(
            workload.pod_field("automountServiceAccountToken"),
            found,
            "must be false: this run is code-only",
        );
    }
    for (volume, source) in projected(spec) {
        for kind in ["serviceAccountToken", "podCertificate"] {
            if at(source.value, &[kind]).is_some() {
                let path = workload
                    .pod_field(&format!("volumes[{volume}].projected.sources[{}].{kind}", source.index));
                report.forbid(path, "a credential", "a code-only run has none");
            }
        }
    }
}

struct Source<'a> {
    index: usize,
    value: &'a Value,
}

fn projected(spec: &Value) -> impl Iterator<Item = (usize, Source<'_>)> {
    items(spec.get("volumes")).enumerate().flat_map(|(volume, value)| {
        let sources = items(at(value, &["projected", "sources"])).enumerate();
        sources.map(move |(index, value)| (volume, Source { index, value }))
    })
}

fn take_token_away(context: &Context<'_>, workload: &Workload<'_>, edits: &mut Edits<'_>) {
    let Some(spec) = workload.pod_spec().filter(|_| context.namespace.mode == RuntimeMode::CodeOnly) else {
        return;
    };
    if at(spec, &["automountServiceAccountToken"]).is_none() {
        workload.set_in_pod(edits, "automountServiceAccountToken", false.into());
        if workload.kind == Kind::Pod {
            remove_injected_token(spec, edits);
        }
    }
}

/// Removes the token volume that the API server's plug-in has already added to a bare Pod that did not set the field.
fn remove_injected_token(spec: &Value, edits: &mut Edits<'_>) {
    let injected: Vec<(usize, &str)> = items(spec.get("volumes"))
        .enumerate()
        .filter_map(|(index, volume)| Some((index, text(volume, "name")?)))
        .filter(|(_, name)| name.starts_with(INJECTED))
        .collect();
    let names: HashSet<&str> = injected.iter().map(|(_, name)| *name).collect();
    for list in ["containers", "initContainers"] {
        for (index, container) in items(spec.get(list)).enumerate() {
            let mounts: Vec<_> = items(container.get("volumeMounts")).collect();
            for (mount, value) in mounts.iter().enumerate().rev() {
                if text(value, "name").is_some_and(|name| names.contains(name)) {
                    edits.remove(&["spec", list, &index.to_string(), "volumeMounts", &mount.to_string()]);
                }
            }
        }
    }
    for (index, _) in injected.iter().rev() {
        edits.remove(&["spec", "volumes", &index.to_string()]);
    }
}

fn tokens_are_plain(context: &Context<'_>, workload: &Workload<'_>, report: &mut Report) {
    let Some(spec) = workload.pod_spec() else { return };
    for (volume, source) in projected(spec) {
        let field = |name: &str| {
            workload.pod_field(&format!("volumes[{volume}].projected.sources[{}].{name}", source.index))
        };
        if at(source.value, &["podCertificate"]).is_some() {
            report.forbid(
                field("podCertificate"),
                "a credential",
                "its signer may be anybody's: use the ServiceAccount's token",
            );
        }
        let Some(token) = at(source.value, &["serviceAccountToken"]) else { continue };
        let audience = text(token, "audience");
        let Some(max) = context.policy.tokens.max_seconds_for(audience) else {
            let remedy = "leave it out for a token for this API server, or list it in tokens.audiences";
            report.forbid(field("serviceAccountToken.audience"), quoted_or_nothing(audience), remedy);
            continue;
        };
        let seconds = token.get("expirationSeconds").and_then(Value::as_i64);
        if let Some(seconds) = seconds.filter(|seconds| *seconds > max) {
            let remedy = format!("must be at most {max}");
            report.forbid(field("serviceAccountToken.expirationSeconds"), seconds.to_string(), remedy);
        }
    }
}
